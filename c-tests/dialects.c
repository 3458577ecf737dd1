/* Purpose: each point of docs/dialects.md, in the dialect that DMAPI_DIALECT names. Arguments: kind of file system,
 * dialect. */
#include "events.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

enum { BLOCK = 4096, FILE_BYTES = 5 * BLOCK + 100 };

static bool sgi, gpfs;
static struct handle fs, file, dir;
static dm_sessid_t sid;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static dm_eventset_t only(int event) {
  return (dm_eventset_t)1 << event;
}

static int set_list(struct handle handle, dm_eventset_t set) {
  return dm_set_eventlist(ON(handle), &set, DM_EVENT_MAX);
}

static int set_disp(dm_eventset_t set) {
  return dm_set_disp(ON(fs), &set, DM_EVENT_MAX);
}

static void lists(void) {
  CHECK_EQ(set_list(dir, only(DM_EVENT_REMOVE) | only(DM_EVENT_CREATE)), 0);
  dm_eventset_t set = 0;
  u_int count = 0;
  CHECK_EQ(dm_get_eventlist(ON(dir), 64, &set, &count), 0);
  CHECK_EQ(count, sgi ? 64 : DM_EVENT_REMOVE + 1);
  if (sgi) {
    CHECK_EQ(dm_get_eventlist(ON(dir), DM_EVENT_REMOVE, &set, &count), 0);
    CHECK_EQ(count, DM_EVENT_REMOVE);
    CHECK_EQ(set, only(DM_EVENT_CREATE));
    CHECK_ERRNO(dm_get_eventlist(ON(dir), 0, &set, &count), EINVAL);
  } else {
    CHECK_ERRNO(dm_get_eventlist(ON(dir), DM_EVENT_REMOVE, &set, &count), E2BIG);
    CHECK_EQ(count, DM_EVENT_REMOVE + 1);
    CHECK_ERRNO(dm_get_eventlist(ON(dir), 0, &set, &count), E2BIG);
  }
  CHECK_EQ(set_list(dir, 0), 0);

  CHECK_EQ(dm_get_config_events(fs.hanp, fs.hlen, DM_EVENT_MAX, &set, &count), 0);
  CHECK_EQ(count, 23);
  CHECK_EQ(DMEV_ISSET(DM_EVENT_USER, set) != 0, !sgi);
  CHECK_EQ(DMEV_ISSET(DM_EVENT_CLOSE, set) != 0, !sgi);
  CHECK_EQ(DMEV_ISSET(DM_EVENT_DEBUT, set) != 0, !sgi);
  CHECK(DMEV_ISSET(DM_EVENT_READ, set));
  count = 0;
  if (sgi) {
    CHECK_ERRNO(dm_get_config_events(fs.hanp, fs.hlen, 22, &set, &count), EINVAL);
  } else {
    CHECK_ERRNO(dm_get_config_events(fs.hanp, fs.hlen, 22, &set, &count), E2BIG);
    CHECK_EQ(count, 23);
  }

  dm_eventset_t data = only(DM_EVENT_READ) | only(DM_EVENT_WRITE) | only(DM_EVENT_TRUNCATE);
  if (sgi) {
    CHECK_ERRNO(set_list(file, only(DM_EVENT_CLOSE)), EINVAL);
    CHECK_ERRNO(set_list(fs, only(DM_EVENT_CLOSE)), EINVAL);
    CHECK_ERRNO(set_disp(only(DM_EVENT_CLOSE)), EINVAL);
    CHECK_EQ(set_list(fs, only(DM_EVENT_DEBUT)), 0);
    CHECK_EQ(dm_get_eventlist(ON(fs), 64, &set, &count), 0);
    CHECK_EQ(set, only(DM_EVENT_DEBUT));
  } else {
    CHECK_EQ(set_list(file, only(DM_EVENT_CLOSE)), 0);
    CHECK_EQ(set_list(fs, only(DM_EVENT_CLOSE)), 0);
    CHECK_EQ(set_disp(only(DM_EVENT_CLOSE)), 0);
    CHECK_ERRNO(set_list(fs, only(DM_EVENT_DEBUT)), EINVAL);
  }
  CHECK_EQ(set_disp(only(DM_EVENT_DEBUT)), 0);
  CHECK_ERRNO(set_list(file, only(DM_EVENT_DEBUT)), EINVAL);
  if (gpfs) {
    CHECK_EQ(set_list(fs, data), 0);
    CHECK_EQ(dm_get_eventlist(ON(fs), 64, &set, &count), 0);
    CHECK_EQ(set, data);
  } else {
    CHECK_ERRNO(set_list(fs, data), EINVAL);
  }
  CHECK_ERRNO(set_list(file, data), EINVAL);
  CHECK_EQ(set_list(fs, 0), 0);
  CHECK_EQ(dm_get_eventlist(ON(fs), 64, &set, &count), 0);
  CHECK_EQ(set, 0);
  CHECK_EQ(set_list(file, 0), 0);
  CHECK_EQ(set_disp(0), 0);
}

static pid_t read_byte(const char *name) {
  pid_t user = fork();
  if (user == 0) {
    char byte;
    int fd = open(name, O_RDONLY);
    _exit(read(fd, &byte, 1) == 1 ? 0 : 1);
  }
  CHECK(user > 0);
  return user;
}

static void ends_well(pid_t user) {
  int status = 1;
  CHECK_EQ(waitpid(user, &status, 0), user);
  CHECK_EQ(status, 0);
}

/* READ in the list of the file system: files without regions make it, also such that were read before. */
static void data_lists(void) {
  if (!gpfs)
    return;
  dm_region_t none = {0, 0, DM_REGION_NOEVENT, 0};
  dm_boolean_t exact;
  make_file(in_fs("own"), 10);
  struct handle own = handle_of(in_fs("own"));
  CHECK_EQ(dm_set_region(ON(own), 1, &none, &exact), 0);
  ends_well(read_byte(in_fs("file")));
  CHECK_EQ(set_disp(only(DM_EVENT_READ)), 0);
  CHECK_EQ(set_list(fs, only(DM_EVENT_READ)), 0);
  for (int round = 0; round < 2; round++) {
    pid_t user = read_byte(in_fs("file"));
    dm_eventmsg_t *message = next_event(sid, DM_EVENT_READ);
    dm_data_event_t *data = DM_GET_VALUE(message, ev_data, dm_data_event_t *);
    CHECK(memcmp(DM_GET_VALUE(data, de_handle, void *), file.hanp, file.hlen) == 0);
    CHECK(data->de_offset == 0 && data->de_length == 1);
    respond(sid, message->ev_token, DM_RESP_CONTINUE, 0);
    ends_well(user);
  }
  ends_well(read_byte(in_fs("own")));
  CHECK_EQ(set_list(fs, 0), 0);
  CHECK_EQ(set_disp(0), 0);
  ends_well(read_byte(in_fs("file")));
}

static void regions(void) {
  dm_region_t set[2] = {{10, 20, DM_REGION_NOEVENT, 7}, {100, 1, DM_REGION_NOEVENT, 0}}, got[4];
  dm_boolean_t exact = 7;
  u_int count = 0;
  dm_size_t most = 0;
  CHECK_EQ(dm_get_config(file.hanp, file.hlen, DM_CONFIG_MAX_MANAGED_REGIONS, &most), 0);
  if (sgi) {
    CHECK_EQ(most, 1);
    CHECK_ERRNO(dm_set_region(ON(file), 2, set, &exact), E2BIG);
    CHECK_EQ(dm_set_region(ON(file), 1, set, &exact), 0);
    CHECK_EQ(exact, DM_FALSE);
    CHECK_EQ(dm_get_region(ON(file), 4, got, &count), 0);
    CHECK_EQ(count, 1);
    CHECK(got[0].rg_offset == 0 && got[0].rg_size == 0);
    CHECK_EQ(dm_set_region(ON(file), 1, got, &exact), 0);
  } else {
    CHECK(most > 1);
    CHECK_EQ(dm_set_region(ON(file), 2, set, &exact), 0);
    CHECK_EQ(dm_get_region(ON(file), 4, got, &count), 0);
    CHECK_EQ(count, 2);
    CHECK(memcmp(got, set, sizeof set) == 0);
  }
  CHECK_EQ(exact, DM_TRUE);
  CHECK_EQ(dm_set_region(ON(file), 0, NULL, &exact), 0);
}

static void direct_reads(void) {
  dm_region_t region = {0, 0, DM_REGION_DIRECT_READ, 0}, got;
  dm_boolean_t exact = DM_FALSE;
  if (!gpfs) {
    CHECK_ERRNO(dm_set_region(ON(file), 1, &region, &exact), EINVAL);
    return;
  }
  CHECK_EQ(dm_set_region(ON(file), 1, &region, &exact), 0);
  u_int count = 0;
  CHECK_EQ(dm_get_region(ON(file), 1, &got, &count), 0);
  CHECK_EQ(got.rg_flags, DM_REGION_DIRECT_READ);
  dm_eventset_t set = 0;
  CHECK_EQ(dm_get_eventlist(ON(file), 64, &set, &count), 0);
  CHECK_EQ(set, only(DM_EVENT_READ));
  CHECK_EQ(set_disp(only(DM_EVENT_READ)), 0);
  pid_t user = read_byte(in_fs("file"));
  dm_eventmsg_t *message = next_event(sid, DM_EVENT_READ);
  CHECK_EQ(dm_set_region(ON(file), 0, NULL, &exact), 0);
  respond(sid, message->ev_token, DM_RESP_CONTINUE, 0);
  ends_well(user);
  CHECK_EQ(set_disp(0), 0);
}

static dm_size_t block_bytes(void) {
  struct statvfs stat;
  CHECK_EQ(statvfs(bed.fs, &stat), 0);
  CHECK(stat.f_bsize <= BLOCK);
  return stat.f_bsize;
}

static void holes(void) {
  dm_extent_t extents[8];
  u_int count = 0;
  dm_off_t offset = 0;
  CHECK_EQ(dm_get_allocinfo(ON(file), &offset, 8, extents, &count), 0);
  dm_extent_t last = extents[count - 1];
  if (sgi) {
    CHECK_EQ(count, 2);
    CHECK_EQ(last.ex_type, DM_EXTENT_HOLE);
    CHECK((dm_size_t)last.ex_offset + last.ex_length > (dm_size_t)1 << 42);
    CHECK_EQ(offset, 0);
  } else {
    CHECK_EQ(count, 1);
    CHECK_EQ(last.ex_type, DM_EXTENT_RES);
    CHECK_EQ((dm_size_t)last.ex_offset + last.ex_length, FILE_BYTES);
  }
  offset = BLOCK + 1;
  if (sgi) {
    CHECK_EQ(dm_get_allocinfo(ON(file), &offset, 8, extents, &count), 0);
    CHECK_EQ(extents[0].ex_offset, BLOCK);
  } else {
    CHECK_ERRNO(dm_get_allocinfo(ON(file), &offset, 8, extents, &count), EINVAL);
  }
  offset = 100 * BLOCK;
  if (sgi) {
    CHECK_EQ(dm_get_allocinfo(ON(file), &offset, 8, extents, &count), 0);
    CHECK_EQ(count, 1);
    CHECK_EQ(extents[0].ex_type, DM_EXTENT_HOLE);
  } else {
    CHECK_ERRNO(dm_get_allocinfo(ON(file), &offset, 8, extents, &count), EINVAL);
  }

  dm_size_t length = 0;
  dm_size_t block = block_bytes(); /* at most BLOCK */
  CHECK_EQ(dm_probe_hole(ON(file), 1, 2 * block, &offset, &length), 0);
  CHECK_EQ(offset, sgi ? 1 : block);
  CHECK_EQ(length, sgi ? 2 * block : block);
  if (sgi)
    CHECK_EQ(dm_probe_hole(ON(file), 1, 100, &offset, &length), 0);
  else
    CHECK_ERRNO(dm_probe_hole(ON(file), 1, 100, &offset, &length), EINVAL);
  CHECK_ERRNO(dm_probe_hole(ON(file), 0, FILE_BYTES + 1, &offset, &length), E2BIG);
  if (sgi)
    CHECK_ERRNO(dm_punch_hole(ON(file), 1, BLOCK), EINVAL);
  else
    CHECK_ERRNO(dm_punch_hole(ON(file), 1, BLOCK), EAGAIN);
  CHECK_EQ(dm_punch_hole(ON(file), BLOCK, BLOCK), 0);
}

static void times(void) {
  dm_stat_t stat;
  CHECK_EQ(dm_get_fileattr(ON(file), DM_AT_STAT | DM_AT_DTIME, &stat), 0);
  CHECK_EQ(stat.dt_dtime, sgi ? stat.dt_ctime : 0);
  dm_fileattr_t attr;
  memset(&attr, 0, sizeof attr);
  attr.fa_dtime = 1234567;
  CHECK_EQ(dm_set_fileattr(ON(file), DM_AT_DTIME, &attr), 0);
  CHECK_EQ(dm_get_fileattr(ON(file), DM_AT_DTIME, &stat), 0);
  CHECK_EQ(stat.dt_dtime, sgi ? 1234567 : 0);
  u_int strange = DM_AT_HANDLE | DM_AT_SIZE;
  if (sgi)
    CHECK_EQ(dm_get_fileattr(ON(file), strange, &stat), 0);
  else
    CHECK_ERRNO(dm_get_fileattr(ON(file), strange, &stat), EINVAL);
}

static void kinds(void) {
  char data[8];
  int wrong = sgi ? EOPNOTSUPP : EINVAL;
  CHECK_ERRNO(dm_read_invis(ON(dir), 0, 8, data), wrong);
  CHECK_ERRNO(dm_punch_hole(ON(dir), 0, 0), wrong);
  dm_attrname_t name = {"name"};
  CHECK_ERRNO(dm_set_dmattr(ON(fs), &name, 0, 0, NULL), wrong);
  dm_size_t room[64];
  size_t length = 0;
  CHECK_ERRNO(dm_get_mountinfo(ON(file), sizeof room, room, &length), wrong);
  dm_attrloc_t location = 0;
  CHECK_ERRNO(dm_get_bulkattr(ON(dir), DM_AT_STAT, &location, sizeof room, room, &length), wrong);
  CHECK_ERRNO(dm_get_dirattrs(ON(fs), DM_AT_STAT, &location, sizeof room, room, &length), wrong);
  /* Other reasons are EINVAL everywhere. */
  CHECK_ERRNO(dm_read_invis(-1, file.hanp, file.hlen, DM_NO_TOKEN, 0, 8, data), EINVAL);

  length = 4711;
  if (sgi) {
    CHECK_ERRNO(dm_get_dirattrs(ON(dir), DM_AT_STAT, &location, 0, room, &length), E2BIG);
    CHECK_EQ(length, sizeof(dm_stat_t) + 8);
  } else {
    CHECK_EQ(dm_get_dirattrs(ON(dir), DM_AT_STAT, &location, 0, room, &length), 1);
    CHECK_EQ(length, 0);
  }
}

static void paths(void) {
  char path[256], wanted[256];
  size_t length = 0;
  struct handle below = handle_of(in_fs("dir/below")), entry = handle_of(in_fs("dir/entry"));
  struct handle root = handle_of(bed.fs);
#define PATH(d, t) dm_handle_to_path((d).hanp, (d).hlen, (t).hanp, (t).hlen, sizeof path, path, &length)
  CHECK_EQ(PATH(dir, entry), 0);
  snprintf(wanted, sizeof wanted, "%s%sdir/entry", sgi ? bed.fs : "", sgi ? "/" : "");
  CHECK(strcmp(path, wanted) == 0);
  CHECK_EQ(length, strlen(wanted) + 1);
  if (sgi) {
    CHECK_EQ(PATH(dir, below), 0);
    snprintf(wanted, sizeof wanted, "%s/dir/below", bed.fs);
    CHECK(strcmp(path, wanted) == 0);
    CHECK_EQ(PATH(dir, dir), 0);
    CHECK(strcmp(path + strlen(path) - 2, "/.") == 0);
    CHECK_ERRNO(PATH(root, entry), ENOENT);
  } else {
    CHECK_ERRNO(PATH(dir, below), EBADF);
    CHECK_ERRNO(PATH(dir, dir), EBADF);
    CHECK_ERRNO(PATH(root, entry), EINVAL);
  }
}

/* A user maps two pages of the file; the event tells which. Behind FUSE the faults make events: fault.c. */
static void mapping(void) {
  if (bed.fuse)
    return;
  dm_region_t all = {0, 0, DM_REGION_READ, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(ON(file), 0, NULL, &exact), 0);
  struct handle whole = handle_of(in_fs("whole"));
  CHECK_EQ(set_disp(only(DM_EVENT_READ)), 0);
  CHECK_EQ(dm_set_region(ON(whole), 1, &all, &exact), 0);
  pid_t user = fork();
  if (user == 0) {
    int fd = open(in_fs("whole"), O_RDONLY);
    void *map = mmap(NULL, 2 * BLOCK, PROT_READ, MAP_SHARED, fd, BLOCK);
    _exit(map == MAP_FAILED ? 1 : 0);
  }
  dm_eventmsg_t *message = next_event(sid, DM_EVENT_READ);
  dm_data_event_t *data = DM_GET_VALUE(message, ev_data, dm_data_event_t *);
  CHECK_EQ(data->de_offset, sgi ? 0 : BLOCK);
  CHECK_EQ(data->de_length, sgi ? FILE_BYTES : 2 * BLOCK);
  dm_size_t room[64];
  size_t length = 0;
  CHECK_EQ(dm_find_eventmsg(sid, message->ev_token, sizeof room, room, &length), 0);
  dm_eventmsg_t *found = (dm_eventmsg_t *)room;
  data = DM_GET_VALUE(found, ev_data, dm_data_event_t *);
  CHECK_EQ(data->de_offset, sgi ? 0 : BLOCK);
  CHECK_EQ(dm_set_region(ON(whole), 0, NULL, &exact), 0);
  respond(sid, message->ev_token, DM_RESP_CONTINUE, 0);
  int status = 1;
  CHECK_EQ(waitpid(user, &status, 0), user);
  CHECK_EQ(status, 0);
  CHECK_EQ(set_disp(0), 0);
}

static void destroy(void) {
  make_file(in_fs("victim"), 10);
  struct handle victim = handle_of(in_fs("victim"));
  CHECK_EQ(set_list(victim, only(DM_EVENT_DESTROY)), 0);
  CHECK_EQ(set_disp(only(DM_EVENT_DESTROY)), 0);
  CHECK_EQ(unlink(in_fs("victim")), 0);
  dm_eventmsg_t *message = next_event(sid, DM_EVENT_DESTROY);
  if (gpfs) {
    CHECK(!DM_TOKEN_EQ(message->ev_token, DM_INVALID_TOKEN));
    CHECK_ERRNO(dm_destroy_session(sid), EBUSY);
    respond(sid, message->ev_token, DM_RESP_CONTINUE, 0);
  } else {
    CHECK_EQ(message->ev_token, DM_INVALID_TOKEN);
  }
  CHECK_EQ(set_disp(0), 0);
}

static void rights(void) {
  dm_token_t token;
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &token), 0);
  if (gpfs) {
    CHECK_ERRNO(dm_request_right(sid, fs.hanp, fs.hlen, token, 0, DM_RIGHT_SHARED), EINVAL);
  } else {
    CHECK_EQ(dm_request_right(sid, fs.hanp, fs.hlen, token, 0, DM_RIGHT_SHARED), 0);
    CHECK_EQ(dm_release_right(sid, fs.hanp, fs.hlen, token), 0);
  }
  CHECK_EQ(dm_request_right(sid, file.hanp, file.hlen, token, 0, DM_RIGHT_SHARED), 0);
  respond(sid, token, DM_RESP_CONTINUE, 0);
}

static void assumption(void) {
  dm_sessid_t old = new_session("before"), new = DM_NO_SESSION;
  dm_token_t token, found;
  CHECK_EQ(dm_create_userevent(old, 0, NULL, &token), 0);
  CHECK_EQ(dm_create_session(old, (char[]){"after"}, &new), 0);
  CHECK_EQ(new == old, gpfs);
  char text[DM_SESSION_INFO_LEN];
  size_t length = 0;
  CHECK_EQ(dm_query_session(new, sizeof text, text, &length), 0);
  CHECK(strcmp(text, "after") == 0);
  if (!gpfs)
    CHECK_ERRNO(dm_query_session(old, sizeof text, text, &length), EINVAL);
  u_int count = 0;
  CHECK_EQ(dm_getall_tokens(new, 1, &found, &count), 0);
  CHECK_EQ(count, 1);
  CHECK_EQ(found, token);
  CHECK_EQ(dm_respond_event(new, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK_EQ(dm_destroy_session(new), 0);
}

static void body(void) {
  const char *dialect = getenv("DMAPI_DIALECT");
  printf("dialect: %s\n", dialect != NULL ? dialect : "default");
  make_file(in_fs("file"), FILE_BYTES);
  make_file(in_fs("whole"), FILE_BYTES);
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  CHECK_EQ(mkdir(in_fs("dir/below"), 0755), 0);
  make_file(in_fs("dir/entry"), 1);
  file = handle_of(in_fs("file"));
  dir = handle_of(in_fs("dir"));
  fs = fs_handle_of(bed.fs);
  sid = new_session("dialects");
  lists();
  data_lists();
  regions();
  direct_reads();
  holes();
  times();
  kinds();
  paths();
  mapping();
  destroy();
  rights();
  assumption();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

/* The test bed clears the environment of dialects: it is set for the process of the test alone. */
static const char *wanted;

static void in_dialect(void) {
  if (strcmp(wanted, "default") != 0)
    setenv("DMAPI_DIALECT", wanted, 1);
  body();
}

int main(int argc, char **argv) {
  wanted = argc > 2 ? argv[2] : "default";
  sgi = strcmp(wanted, "sgi") == 0;
  gpfs = strcmp(wanted, "gpfs") == 0;
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, in_dialect);
}
