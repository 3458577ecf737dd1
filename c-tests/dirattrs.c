/* Purpose: dm_get_dirattrs: every entry once, in whatever pieces; exact record sizes; handles and attributes right. */
#include "harness.h"

#include <dirent.h>
#include <sys/stat.h>

enum { ENTRIES = 300, ROOM = 65536 };

static dm_sessid_t sid;
static struct handle dir;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static _Alignas(8) char room[ROOM];

static size_t record_bytes(const char *name, size_t handle_bytes) {
  return (sizeof(dm_stat_t) + handle_bytes + strlen(name) + 1 + 7) / 8 * 8;
}

/* Names seen so far. */
static char seen[ENTRIES + 16][64];
static size_t seen_count;

static bool is_seen(const char *name) {
  for (size_t at = 0; at < seen_count; at++) {
    if (strcmp(seen[at], name) == 0)
      return true;
  }
  return false;
}

static void check_entry(dm_stat_t *entry, u_int mask) {
  const char *name = DM_GET_VALUE(entry, dt_compname, char *);
  CHECK_EQ(DM_GET_LEN(entry, dt_compname), strlen(name) + 1);
  CHECK(!is_seen(name));
  CHECK(seen_count < sizeof seen / sizeof seen[0]);
  if (seen_count == 0)
    CHECK(strcmp(name, ".") == 0);
  if (seen_count == 1)
    CHECK(strcmp(name, "..") == 0);
  snprintf(seen[seen_count++], sizeof seen[0], "%s", name);
  char path[128];
  snprintf(path, sizeof path, "dir/%s", name);
  struct stat stat;
  CHECK_EQ(lstat(in_fs(path), &stat), 0);
  CHECK_EQ(entry->dt_ino, stat.st_ino);
  CHECK_EQ(entry->dt_mode, stat.st_mode);
  CHECK_EQ(entry->dt_size, stat.st_size);
  CHECK_EQ(entry->dt_nlink, stat.st_nlink);
  if ((mask & DM_AT_HANDLE) == 0) {
    CHECK_EQ(DM_GET_LEN(entry, dt_handle), 0);
    return;
  }
  struct handle wanted = handle_of(in_fs(path));
  CHECK_EQ(dm_handle_cmp(DM_GET_VALUE(entry, dt_handle, void *), DM_GET_LEN(entry, dt_handle), wanted.hanp, wanted.hlen),
           0);
  dm_handle_free(wanted.hanp, wanted.hlen);
}

/* Walks the records of one call; their number. */
static size_t check_records(size_t length, u_int mask) {
  size_t count = 0, offset = 0;
  while (offset < length) {
    dm_stat_t *entry = (dm_stat_t *)(void *)(room + offset);
    check_entry(entry, mask);
    size_t bytes = record_bytes(DM_GET_VALUE(entry, dt_compname, char *), DM_GET_LEN(entry, dt_handle));
    count++;
    if (entry->_link == 0) {
      CHECK_EQ(offset + bytes, length);
      break;
    }
    CHECK_EQ(entry->_link, bytes);
    offset += bytes;
  }
  return count;
}

static dm_attrloc_t start(void) {
  dm_attrloc_t location = -1;
  CHECK_EQ(dm_init_attrloc(ON(dir), &location), 0);
  return location;
}

static void whole_in_pieces(u_int mask, size_t piece) {
  dm_attrloc_t location = start();
  seen_count = 0;
  int more = 1;
  while (more == 1) {
    size_t length = 4711;
    more = dm_get_dirattrs(ON(dir), mask, &location, piece, room, &length);
    CHECK(more == 0 || more == 1);
    CHECK(check_records(length, mask) > 0);
  }
  CHECK_EQ(more, 0);
  CHECK_EQ(seen_count, ENTRIES + 2 + 4);
  /* After the end: nothing, again and again. */
  for (int again = 0; again < 2; again++) {
    size_t length = 4711;
    CHECK_EQ(dm_get_dirattrs(ON(dir), mask, &location, piece, room, &length), 0);
    CHECK_EQ(length, 0);
  }
}

/* A buffer for exactly n records gets n; the call with the last one says so itself. */
static void exact_sizes(void) {
  CHECK_EQ(mkdir(in_fs("small"), 0755), 0);
  make_file(in_fs("small/13_characters"), 1);
  struct handle small = handle_of(in_fs("small"));
  CHECK_EQ(record_bytes(".", 0), 192);
  CHECK_EQ(record_bytes("13_characters", 0), 200);
  dm_attrloc_t location = 0;
  size_t length = 0;
  CHECK_EQ(dm_init_attrloc(ON(small), &location), 0);
  CHECK_EQ(dm_get_dirattrs(ON(small), DM_AT_STAT, &location, 192 + 192, room, &length), 1);
  CHECK_EQ(length, 192 + 192);
  dm_attrloc_t before = location;
  CHECK_EQ(dm_get_dirattrs(ON(small), DM_AT_STAT, &location, 199, room, &length), 1);
  CHECK_EQ(length, 0);
  CHECK_EQ(location, before);
  CHECK_EQ(dm_get_dirattrs(ON(small), DM_AT_STAT, &location, 0, NULL, &length), 1);
  CHECK_EQ(length, 0);
  CHECK_EQ(location, before);
  CHECK_EQ(dm_get_dirattrs(ON(small), DM_AT_STAT, &location, 200, room, &length), 0);
  CHECK_EQ(length, 200);
  CHECK_EQ(dm_init_attrloc(ON(small), &location), 0);
  CHECK_EQ(dm_get_dirattrs(ON(small), DM_AT_STAT, &location, 192 + 192 + 200, room, &length), 0);
  CHECK_EQ(length, 192 + 192 + 200);
  CHECK_EQ(dm_init_attrloc(ON(small), &location), 0);
  CHECK_EQ(dm_get_dirattrs(ON(small), DM_AT_STAT, &location, 192 + 192 + 199, room, &length), 1);
  CHECK_EQ(length, 192 + 192);
}

static void refused(void) {
  dm_attrloc_t location = start();
  size_t length = 4711;
  u_int all = DM_AT_HANDLE | DM_AT_EMASK | DM_AT_PMANR | DM_AT_PATTR | DM_AT_DTIME | DM_AT_CFLAG | DM_AT_STAT;
  for (int bit = 0; bit < 32; bit++) {
    dm_attrloc_t here = location;
    if ((1u << bit & all) != 0)
      CHECK_EQ(dm_get_dirattrs(ON(dir), 1u << bit, &here, 1024, room, &length), 1);
    else
      CHECK_ERRNO(dm_get_dirattrs(ON(dir), 1u << bit, &here, 1024, room, &length), EINVAL);
  }
  dm_attrloc_t garbage = 0x123456789;
  CHECK_ERRNO(dm_get_dirattrs(ON(dir), all, &garbage, ROOM, room, &length), EINVAL);
  garbage = -1;
  CHECK_ERRNO(dm_get_dirattrs(ON(dir), all, &garbage, ROOM, room, &length), EINVAL);
  CHECK_ERRNO(dm_get_dirattrs(ON(dir), all, &location, ROOM - 8, room + 4, &length), EFAULT);
  CHECK_ERRNO(dm_get_dirattrs(ON(dir), all, &location, ROOM, NULL, &length), EFAULT);
  CHECK_ERRNO(dm_get_dirattrs(ON(dir), all, NULL, ROOM, room, &length), EFAULT);
  CHECK_ERRNO(dm_get_dirattrs(ON(dir), all, &location, ROOM, room, NULL), EFAULT);
  CHECK_ERRNO(dm_init_attrloc(ON(dir), NULL), EFAULT);
}

/* Marks of an entry are told if they are asked for. */
static void marks(void) {
  struct handle one = handle_of(in_fs("dir/entry-0"));
  dm_attrname_t name = {"NAME"};
  dm_region_t region = {0, 0, DM_REGION_NOEVENT, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_dmattr(ON(one), &name, 0, 1, (char[]){"v"}), 0);
  CHECK_EQ(dm_set_region(ON(one), 1, &region, &exact), 0);
  dm_attrloc_t location = start();
  size_t length = 0, found = 0;
  int more = 1;
  while (more == 1) {
    more = dm_get_dirattrs(ON(dir), DM_AT_PATTR | DM_AT_PMANR | DM_AT_STAT, &location, ROOM, room, &length);
    CHECK(more >= 0);
    for (dm_stat_t *entry = length > 0 ? (dm_stat_t *)(void *)room : NULL; entry != NULL;
         entry = DM_STEP_TO_NEXT(entry, dm_stat_t *)) {
      bool is_one = strcmp(DM_GET_VALUE(entry, dt_compname, char *), "entry-0") == 0;
      CHECK_EQ(entry->dt_pers != 0, is_one);
      CHECK_EQ(entry->dt_pmanreg != 0, is_one);
      found += is_one;
    }
  }
  CHECK_EQ(found, 1);
}

static void body(void) {
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  char name[64];
  for (int at = 0; at < ENTRIES; at++) {
    snprintf(name, sizeof name, at % 3 == 0 ? "dir/entry-%d" : "dir/a-somewhat-longer-name-%d", at);
    make_file(in_fs(name), (size_t)at % 5);
  }
  CHECK_EQ(mkdir(in_fs("dir/below"), 0700), 0);
  CHECK_EQ(symlink("below", in_fs("dir/link")), 0);
  CHECK_EQ(mkfifo(in_fs("dir/fifo"), 0600), 0);
  CHECK_EQ(link(in_fs("dir/entry-0"), in_fs("dir/hard")), 0);
  dir = handle_of(in_fs("dir"));
  sid = new_session("dirattrs");
  exact_sizes();
  refused();
  const size_t pieces[] = {256, 257, 1024, 4096, ROOM};
  for (size_t at = 0; at < sizeof pieces / sizeof pieces[0]; at++) {
    whole_in_pieces(DM_AT_STAT | DM_AT_HANDLE, pieces[at]);
    whole_in_pieces(DM_AT_STAT, pieces[at]);
  }
  CHECK_EQ(unlink(in_fs("dir/hard")), 0);
  marks();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
