/* Purpose: attributes of objects: what dm_get_fileattr tells is what stat(2) tells, and more; dm_set_fileattr sets what
 * is named and nothing else, without events. */
#include "harness.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { FILE_BYTES = 10000 };

static dm_sessid_t sid;
static struct handle file, dir, sym, fifo;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static dm_stat_t look(struct handle on, u_int mask) {
  dm_stat_t found;
  CHECK_EQ(dm_get_fileattr(ON(on), mask, &found), 0);
  return found;
}

static void check_stat(const char *path, struct handle on) {
  struct stat wanted;
  CHECK_EQ(lstat(path, &wanted), 0);
  dm_stat_t got = look(on, DM_AT_STAT);
  CHECK_EQ(got.dt_dev, wanted.st_dev);
  CHECK_EQ(got.dt_ino, wanted.st_ino);
  CHECK_EQ(got.dt_mode, wanted.st_mode);
  CHECK_EQ(got.dt_nlink, wanted.st_nlink);
  CHECK_EQ(got.dt_uid, wanted.st_uid);
  CHECK_EQ(got.dt_gid, wanted.st_gid);
  CHECK_EQ(got.dt_rdev, wanted.st_rdev);
  CHECK_EQ(got.dt_size, wanted.st_size);
  CHECK_EQ(got.dt_atime, wanted.st_atime);
  CHECK_EQ(got.dt_mtime, wanted.st_mtime);
  CHECK_EQ(got.dt_ctime, wanted.st_ctime);
  CHECK_EQ(got.dt_blksize, wanted.st_blksize);
  CHECK_EQ(got.dt_blocks, wanted.st_blocks);
  CHECK(DM_GET_LEN(&got, dt_handle) == 0 && DM_GET_LEN(&got, dt_compname) == 0);
}

static void masks(void) {
  u_int all = DM_AT_EMASK | DM_AT_PMANR | DM_AT_PATTR | DM_AT_DTIME | DM_AT_CFLAG | DM_AT_STAT;
  look(file, 0);
  dm_stat_t found = look(file, all);
  CHECK(!found.dt_pmanreg && !found.dt_pers && found.dt_emask == 0 && found.dt_dtime == 0);
  for (int bit = 0; bit < 32; bit++) {
    u_int mask = 1u << bit;
    dm_stat_t got;
    if ((mask & (all | DM_AT_FOPEN)) != 0)
      CHECK_EQ(dm_get_fileattr(ON(file), mask, &got), 0);
    else
      CHECK_ERRNO(dm_get_fileattr(ON(file), mask, &got), EINVAL);
  }
  CHECK_ERRNO(dm_get_fileattr(ON(file), all, NULL), EFAULT);

  dm_region_t region = {0, 10, DM_REGION_WRITE, 0};
  dm_boolean_t exact;
  dm_attrname_t name = {"NAME"};
  dm_eventset_t set = (dm_eventset_t)1 << DM_EVENT_ATTRIBUTE;
  CHECK_EQ(dm_set_region(ON(file), 1, &region, &exact), 0);
  CHECK_EQ(dm_set_dmattr(ON(file), &name, 0, 1, (char[]){"v"}), 0);
  CHECK_EQ(dm_set_eventlist(ON(file), &set, DM_EVENT_MAX), 0);
  found = look(file, all);
  CHECK(found.dt_pmanreg && found.dt_pers && found.dt_dtime != 0);
  CHECK_EQ(found.dt_emask, set | (dm_eventset_t)1 << DM_EVENT_WRITE);
  set = 0;
  CHECK_EQ(dm_set_eventlist(ON(file), &set, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_remove_dmattr(ON(file), 0, &name), 0);
  CHECK_EQ(dm_set_region(ON(file), 0, NULL, &exact), 0);
  found = look(file, all);
  CHECK(!found.dt_pmanreg && !found.dt_pers && found.dt_emask == 0 && found.dt_dtime == 0);
}

static u_int change_of(struct handle on) {
  return look(on, DM_AT_CFLAG).dt_change;
}

/* The last close comes to the daemon a moment later, behind FUSE. */
static bool is_punched(void *unused) {
  (void)unused;
  int result = dm_punch_hole(ON(file), 0, 0);
  CHECK(result == 0 || errno == EBUSY);
  return result == 0;
}

static void changes(void) {
  u_int before = change_of(file);
  CHECK_EQ(change_of(file), before);
  int fd = open(in_fs("file"), O_RDWR | O_CLOEXEC);
  CHECK(fd >= 0);
  char byte;
  CHECK_EQ(pread(fd, &byte, 1, 0), 1);
  CHECK_EQ(change_of(file), before);
  CHECK_EQ(pwrite(fd, "x", 1, 5), 1);
  u_int after = change_of(file);
  CHECK(after != before);
  CHECK_EQ(fchmod(fd, 0640), 0);
  before = change_of(file);
  CHECK(after != before);
  dm_attrname_t name = {"NAME"};
  CHECK_EQ(dm_set_dmattr(ON(file), &name, 0, 1, (char[]){"v"}), 0);
  after = change_of(file);
  CHECK(after != before);
  CHECK_EQ(dm_remove_dmattr(ON(file), 0, &name), 0);
  before = change_of(file);
  CHECK(after != before);
  CHECK_EQ(close(fd), 0);
  wait_until(is_punched, NULL, "the file stays busy after its close");
  CHECK(change_of(file) != before);
  make_file(in_fs("file"), FILE_BYTES);
}

static bool is_closed(void *unused) {
  (void)unused;
  return !look(file, DM_AT_FOPEN).dt_fopen;
}

static void open_files(void) {
  CHECK(!look(file, DM_AT_FOPEN).dt_fopen);
  int fd = open(in_fs("file"), O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0);
  CHECK(look(file, DM_AT_FOPEN).dt_fopen);
  void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  CHECK(map != MAP_FAILED);
  CHECK_EQ(close(fd), 0);
  CHECK(look(file, DM_AT_FOPEN).dt_fopen);
  CHECK_EQ(munmap(map, 4096), 0);
  wait_until(is_closed, NULL, "the file stays open after the last munmap");
  CHECK(!look(dir, DM_AT_FOPEN).dt_fopen);
}

/* Members that dm_set_fileattr sets, in seconds and bytes. */
struct shown {
  long mode, uid, gid, atime, mtime, size;
};

static struct shown shown(const char *path) {
  struct stat stat;
  CHECK_EQ(lstat(path, &stat), 0);
  return (struct shown){stat.st_mode & 07777, stat.st_uid, stat.st_gid, stat.st_atime, stat.st_mtime, stat.st_size};
}

static void check_shown(const char *path, struct shown wanted) {
  struct shown got = shown(path);
  CHECK_EQ(got.mode, wanted.mode);
  CHECK_EQ(got.uid, wanted.uid);
  CHECK_EQ(got.gid, wanted.gid);
  CHECK_EQ(got.atime, wanted.atime);
  CHECK_EQ(got.mtime, wanted.mtime);
  CHECK_EQ(got.size, wanted.size);
}

static void settings(const char *name, struct handle on, bool has_size) {
  char path[256];
  snprintf(path, sizeof path, "%s", in_fs(name));
  dm_fileattr_t attr;
  memset(&attr, 0, sizeof attr);
  attr.fa_mode = 0100000 | 02751; /* the type does not count */
  attr.fa_uid = bed.ordinary ? 0 : 17; /* the only one that there is */
  attr.fa_gid = bed.ordinary ? 0 : 18;
  attr.fa_atime = 1111111;
  attr.fa_mtime = 2222222;
  attr.fa_ctime = 3333333;
  attr.fa_dtime = 4444444;
  attr.fa_size = 5555;
  struct shown wanted = shown(path);
  CHECK_EQ(dm_set_fileattr(ON(on), 0, &attr), 0);
  check_shown(path, wanted);
  CHECK_EQ(dm_set_fileattr(ON(on), DM_AT_ATIME, &attr), 0);
  wanted.atime = 1111111;
  check_shown(path, wanted);
  CHECK_EQ(dm_set_fileattr(ON(on), DM_AT_MTIME, &attr), 0);
  wanted.mtime = 2222222;
  check_shown(path, wanted);
  CHECK_EQ(dm_set_fileattr(ON(on), DM_AT_MODE, &attr), 0);
  wanted.mode = 02751;
  check_shown(path, wanted);
  CHECK_EQ(dm_set_fileattr(ON(on), DM_AT_UID, &attr), 0);
  wanted.uid = attr.fa_uid;
  check_shown(path, wanted);
  CHECK_EQ(dm_set_fileattr(ON(on), DM_AT_GID, &attr), 0);
  wanted.gid = attr.fa_gid;
  check_shown(path, wanted);
  CHECK_EQ(dm_set_fileattr(ON(on), DM_AT_CTIME | DM_AT_DTIME, &attr), 0);
  check_shown(path, wanted);
  if (!has_size) {
    CHECK_ERRNO(dm_set_fileattr(ON(on), DM_AT_SIZE, &attr), EINVAL);
    check_shown(path, wanted);
    return;
  }
  CHECK_EQ(dm_set_fileattr(ON(on), DM_AT_SIZE, &attr), 0);
  wanted.size = 5555;
  check_shown(path, wanted);
  attr.fa_size = 20000;
  CHECK_EQ(dm_set_fileattr(ON(on), DM_AT_SIZE, &attr), 0);
  wanted.size = 20000;
  check_shown(path, wanted);
  attr.fa_size = -1;
  CHECK_ERRNO(dm_set_fileattr(ON(on), DM_AT_SIZE, &attr), EINVAL);
  check_shown(path, wanted);
}

static void bad_settings(void) {
  dm_fileattr_t attr;
  memset(&attr, 0, sizeof attr);
  CHECK_ERRNO(dm_set_fileattr(ON(file), DM_AT_STAT, &attr), EINVAL);
  CHECK_ERRNO(dm_set_fileattr(ON(file), DM_AT_MTIME | 1u << 30, &attr), EINVAL);
  CHECK_ERRNO(dm_set_fileattr(ON(file), DM_AT_MTIME, NULL), EFAULT);
  /* What is set makes no event: with a session that would get one, the call would wait for ever. */
  dm_eventset_t set = 0;
  DMEV_SET(DM_EVENT_TRUNCATE, set);
  DMEV_SET(DM_EVENT_ATTRIBUTE, set);
  struct handle fs = fs_handle_of(bed.fs);
  CHECK_EQ(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), 0);
  DMEV_ZERO(set);
  DMEV_SET(DM_EVENT_ATTRIBUTE, set);
  CHECK_EQ(dm_set_eventlist(ON(fs), &set, DM_EVENT_MAX), 0);
  dm_region_t region = {0, 0, DM_REGION_TRUNCATE, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(ON(file), 1, &region, &exact), 0);
  attr.fa_size = 10;
  attr.fa_mode = 0600;
  CHECK_EQ(dm_set_fileattr(ON(file), DM_AT_SIZE | DM_AT_MODE, &attr), 0);
  CHECK_EQ(dm_set_region(ON(file), 0, NULL, &exact), 0);
  /* A user's is the first that comes. */
  CHECK_EQ(chmod(in_fs("dir"), 0711), 0);
  dm_size_t room[64];
  size_t length = 0;
  CHECK_EQ(dm_get_events(sid, 1, DM_EV_WAIT, sizeof room, room, &length), 0);
  dm_eventmsg_t *message = (dm_eventmsg_t *)room;
  CHECK_EQ(message->ev_type, DM_EVENT_ATTRIBUTE);
  dm_namesp_event_t *body = DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
  CHECK_EQ(dm_handle_cmp(DM_GET_VALUE(body, ne_handle1, void *), DM_GET_LEN(body, ne_handle1), dir.hanp, dir.hlen), 0);
}

static void body(void) {
  make_file(in_fs("file"), FILE_BYTES);
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  CHECK_EQ(symlink("file", in_fs("link")), 0);
  CHECK_EQ(mkfifo(in_fs("fifo"), 0600), 0);
  file = handle_of(in_fs("file"));
  dir = handle_of(in_fs("dir"));
  sym = handle_of(in_fs("link"));
  fifo = handle_of(in_fs("fifo"));
  sid = new_session("attr");
  check_stat(in_fs("file"), file);
  check_stat(in_fs("dir"), dir);
  check_stat(in_fs("link"), sym);
  check_stat(in_fs("fifo"), fifo);
  masks();
  changes();
  open_files();
  settings("file", file, true);
  settings("dir", dir, false);
  bad_settings();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
