/* Purpose: dm_get_bulkattr and dm_get_bulkall: every live object of the file system once, in whatever pieces; handles
 * that are right, the named attribute where it is, and sizes that are exact. */
#include "harness.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { FILES = 200, ROOM = 65536, KNOWN = FILES + 4 };

static dm_sessid_t sid;
static struct handle fs, dir;
static dm_attrname_t name = {"BULKNAME"};
static char value[] = "the value of it";

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static _Alignas(8) char room[ROOM];

/* Objects that must be found. */
static struct known {
  dm_ino_t ino;
  struct handle handle;
  bool has_value;
  int seen;
} known[KNOWN];
static size_t known_count;
static dm_ino_t unlinked;

static void know(const char *path, bool has_value) {
  struct stat stat;
  CHECK_EQ(lstat(path, &stat), 0);
  CHECK(known_count < KNOWN);
  struct known *one = &known[known_count++];
  *one = (struct known){stat.st_ino, handle_of(path), has_value, 0};
  if (has_value)
    CHECK_EQ(dm_set_dmattr(ON(one->handle), &name, 0, sizeof value, value), 0);
}

static void check_object(dm_stat_t *object, u_int mask, bool with_value, bool has_value) {
  CHECK(object->dt_ino != unlinked);
  CHECK_EQ(DM_GET_LEN(object, dt_compname), 0);
  for (size_t at = 0; at < known_count; at++) {
    if (known[at].ino != object->dt_ino)
      continue;
    known[at].seen++;
    CHECK_EQ(known[at].seen, 1);
    if (with_value)
      CHECK_EQ(has_value, known[at].has_value);
    if ((mask & DM_AT_HANDLE) != 0)
      CHECK_EQ(dm_handle_cmp(DM_GET_VALUE(object, dt_handle, void *), DM_GET_LEN(object, dt_handle),
                             known[at].handle.hanp, known[at].handle.hlen),
               0);
    else
      CHECK_EQ(DM_GET_LEN(object, dt_handle), 0);
    if ((mask & DM_AT_PATTR) != 0)
      CHECK_EQ(object->dt_pers != 0, known[at].has_value);
  }
}

static void begin(dm_attrloc_t *location) {
  CHECK_EQ(dm_init_attrloc(ON(fs), location), 0);
  for (size_t at = 0; at < known_count; at++)
    known[at].seen = 0;
}

static void check_all_seen(void) {
  for (size_t at = 0; at < known_count; at++)
    CHECK_EQ(known[at].seen, 1);
}

static void bulkattr(u_int mask, size_t piece) {
  dm_attrloc_t location;
  begin(&location);
  int more = 1;
  dm_ino_t last = 0;
  size_t length = 0;
  while (more == 1) {
    more = dm_get_bulkattr(ON(fs), mask, &location, piece, room, &length);
    CHECK(more == 0 || more == 1);
    size_t offset = 0;
    while (offset < length) {
      dm_stat_t *object = (dm_stat_t *)(void *)(room + offset);
      CHECK(object->dt_ino > last);
      last = object->dt_ino;
      check_object(object, mask, false, false);
      size_t bytes = (sizeof(dm_stat_t) + DM_GET_LEN(object, dt_handle) + 7) / 8 * 8;
      CHECK_EQ(object->_link == 0 ? length - offset : (size_t)object->_link, bytes);
      offset += bytes;
    }
  }
  CHECK_EQ(more, 0);
  check_all_seen();
  CHECK_EQ(dm_get_bulkattr(ON(fs), mask, &location, piece, room, &length), 0);
  CHECK_EQ(length, 0);
}

static void bulkall(u_int mask, size_t piece) {
  dm_attrloc_t location;
  begin(&location);
  int more = 1;
  size_t length = 0;
  while (more == 1) {
    more = dm_get_bulkall(ON(fs), mask, &name, &location, piece, room, &length);
    CHECK(more == 0 || more == 1);
    for (dm_xstat_t *object = length > 0 ? (dm_xstat_t *)(void *)room : NULL; object != NULL;
         object = DM_STEP_TO_NEXT(object, dm_xstat_t *)) {
      bool has_value = DM_GET_LEN(object, dx_attrdata) != 0;
      if (has_value) {
        CHECK_EQ(DM_GET_LEN(object, dx_attrdata), sizeof value);
        CHECK(memcmp(DM_GET_VALUE(object, dx_attrdata, char *), value, sizeof value) == 0);
      }
      check_object(&object->dx_statinfo, mask, true, has_value);
    }
  }
  CHECK_EQ(more, 0);
  check_all_seen();
}

static void refused(void) {
  dm_attrloc_t location;
  begin(&location);
  size_t length = 0;
  dm_attrname_t empty = {""};
  CHECK_ERRNO(dm_get_bulkattr(ON(fs), DM_AT_STAT, &location, sizeof(dm_stat_t) - 1, room, &length), E2BIG);
  CHECK_EQ(length, sizeof(dm_stat_t));
  CHECK_ERRNO(dm_get_bulkattr(ON(fs), DM_AT_STAT, &location, 0, NULL, &length), E2BIG);
  CHECK_EQ(dm_get_bulkattr(ON(fs), DM_AT_STAT, &location, sizeof(dm_stat_t), room, &length), 1);
  CHECK_EQ(length, sizeof(dm_stat_t));
  begin(&location);
  CHECK_ERRNO(dm_get_bulkall(ON(fs), DM_AT_STAT, &name, &location, 8, room, &length), E2BIG);
  CHECK(length >= sizeof(dm_xstat_t));
  CHECK_ERRNO(dm_get_bulkall(ON(fs), DM_AT_STAT, &empty, &location, ROOM, room, &length), EINVAL);
  CHECK_ERRNO(dm_get_bulkall(ON(fs), DM_AT_STAT, NULL, &location, ROOM, room, &length), EFAULT);
  CHECK_ERRNO(dm_get_bulkattr(ON(fs), DM_AT_SIZE, &location, ROOM, room, &length), EINVAL);
  CHECK_ERRNO(dm_get_bulkall(ON(fs), 1u << 20, &name, &location, ROOM, room, &length), EINVAL);
  CHECK_ERRNO(dm_get_bulkattr(ON(fs), DM_AT_STAT, &location, ROOM - 8, room + 4, &length), EFAULT);
  CHECK_ERRNO(dm_get_bulkall(ON(fs), DM_AT_STAT, &name, &location, ROOM - 8, room + 4, &length), EFAULT);
  CHECK_ERRNO(dm_get_bulkattr(ON(fs), DM_AT_STAT, NULL, ROOM, room, &length), EFAULT);
  CHECK_ERRNO(dm_get_bulkall(ON(fs), DM_AT_STAT, &name, &location, ROOM, room, NULL), EFAULT);
  dm_attrloc_t garbage = 0x123456789;
  CHECK_ERRNO(dm_get_bulkattr(ON(fs), DM_AT_STAT, &garbage, ROOM, room, &length), EINVAL);
  CHECK_ERRNO(dm_get_bulkall(ON(fs), DM_AT_STAT, &name, &garbage, ROOM, room, &length), EINVAL);
}

static void body(void) {
  sid = new_session("bulk");
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  fs = fs_handle_of(bed.fs);
  dir = handle_of(in_fs("dir"));
  char path[64];
  for (int at = 0; at < FILES; at++) {
    snprintf(path, sizeof path, "dir/file-%d", at);
    make_file(in_fs(path), 1);
    know(in_fs(path), at % 2 == 0);
  }
  know(in_fs("dir"), true);
  CHECK_EQ(symlink("x", in_fs("link")), 0);
  know(in_fs("link"), false);
  CHECK_EQ(mkfifo(in_fs("fifo"), 0600), 0);
  know(in_fs("fifo"), false);
  /* Another name is no other object; one without a name is none. */
  CHECK_EQ(link(in_fs("dir/file-0"), in_fs("hard")), 0);
  make_file(in_fs("unlinked"), 1);
  int fd = open(in_fs("unlinked"), O_RDONLY | O_CLOEXEC);
  struct stat stat;
  CHECK_EQ(fstat(fd, &stat), 0);
  unlinked = stat.st_ino;
  CHECK_EQ(unlink(in_fs("unlinked")), 0);
  /* The scans of the inode tables see what is on the disk. */
  int root = open(bed.fs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK_EQ(syncfs(root), 0);
  CHECK_EQ(close(root), 0);
  refused();
  const size_t pieces[] = {256, 4096, ROOM};
  for (size_t at = 0; at < sizeof pieces / sizeof pieces[0]; at++) {
    bulkattr(DM_AT_STAT | DM_AT_HANDLE | DM_AT_PATTR, pieces[at]);
    bulkattr(DM_AT_STAT, pieces[at]);
    bulkall(DM_AT_STAT | DM_AT_HANDLE, pieces[at]);
  }
  CHECK_EQ(close(fd), 0);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
