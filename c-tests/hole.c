/* Purpose: extents and holes: maps of files of all shapes, in pieces, and punches that change nothing else. */
#include "harness.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { BLOCKS_MAX = 16, EXTENTS_MAX = 32 };

static dm_sessid_t sid;
static dm_size_t block; /* of the file system */

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static void write_blocks(const char *path, unsigned first, unsigned count) {
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  CHECK(fd >= 0);
  unsigned char *bytes = malloc(count * block);
  for (size_t at = 0; at < count * block; at++)
    bytes[at] = pattern_at(first * block + at);
  CHECK_EQ(pwrite(fd, bytes, count * block, (off_t)(first * block)), count * block);
  free(bytes);
  CHECK_EQ(fsync(fd), 0);
  CHECK_EQ(close(fd), 0);
}

/* The map as text: R3 H2 is three resident blocks, then two of a hole; the last one may be part of one. Asked for in
 * pieces of `piece` extents. */
static const char *map_of(struct handle handle, u_int piece) {
  static char text[256];
  dm_extent_t extents[EXTENTS_MAX];
  dm_off_t offset = 0, end = 0;
  size_t length = 0;
  text[0] = '\0';
  for (int more = 1; more == 1;) {
    u_int count = 4711;
    more = dm_get_allocinfo(ON(handle), &offset, piece, extents, &count);
    CHECK(more == 0 || more == 1);
    CHECK(count <= piece);
    if (more == 1) {
      CHECK_EQ(count, piece);
      CHECK_EQ(offset, extents[count - 1].ex_offset + (dm_off_t)extents[count - 1].ex_length);
    }
    for (u_int at = 0; at < count; at++) {
      CHECK_EQ(extents[at].ex_offset, end);
      end += (dm_off_t)extents[at].ex_length;
      char kind = extents[at].ex_type == DM_EXTENT_RES ? 'R' : 'H';
      CHECK(kind == 'R' || extents[at].ex_type == DM_EXTENT_HOLE);
      length += (size_t)snprintf(text + length, sizeof text - length, "%s%c%llu", length == 0 ? "" : " ", kind,
                                 (unsigned long long)((extents[at].ex_length + block - 1) / block));
    }
  }
  return text;
}

static void check_map(struct handle handle, const char *wanted) {
  for (u_int piece = 1; piece <= EXTENTS_MAX; piece *= 2) {
    const char *got = map_of(handle, piece);
    if (strcmp(got, wanted) != 0)
      fail_at(__FILE__, __LINE__, "the map in pieces of %u is \"%s\", not \"%s\"", piece, got, wanted);
  }
}

static void maps(void) {
  char *path = strdup(in_fs("shapes"));
  make_file(path, 0);
  struct handle handle = handle_of(path);
  check_map(handle, "");
  CHECK_EQ(truncate(path, (off_t)(10 * block)), 0);
  check_map(handle, "H10");
  write_blocks(path, 0, 2);
  check_map(handle, "R2 H8");
  write_blocks(path, 4, 1);
  write_blocks(path, 8, 2);
  check_map(handle, "R2 H2 R1 H3 R2");
  CHECK_EQ(truncate(path, (off_t)(10 * block + 5)), 0);
  write_blocks(path, 2, 2);
  write_blocks(path, 5, 3);
  CHECK_EQ(truncate(path, (off_t)(10 * block - 5)), 0);
  check_map(handle, "R10");
  dm_extent_t extents[4];
  u_int count = 0;
  dm_off_t offset = 0;
  CHECK_EQ(dm_get_allocinfo(ON(handle), &offset, 4, extents, &count), 0);
  CHECK_EQ(count, 1);
  CHECK_EQ(extents[0].ex_length, 10 * block - 5); /* cut at the end of the file */
  offset = (dm_off_t)(3 * block);
  CHECK_EQ(dm_get_allocinfo(ON(handle), &offset, 4, extents, &count), 0);
  CHECK_EQ(extents[0].ex_offset, 3 * block);

  offset = 1;
  CHECK_ERRNO(dm_get_allocinfo(ON(handle), &offset, 4, extents, &count), EINVAL);
  CHECK_EQ(offset, 1);
  offset = (dm_off_t)(11 * block);
  CHECK_ERRNO(dm_get_allocinfo(ON(handle), &offset, 4, extents, &count), EINVAL);
  offset = -1;
  CHECK_ERRNO(dm_get_allocinfo(ON(handle), &offset, 4, extents, &count), EINVAL);
  offset = 0;
  CHECK_ERRNO(dm_get_allocinfo(ON(handle), &offset, 0, extents, &count), EINVAL);
  CHECK_ERRNO(dm_get_allocinfo(ON(handle), &offset, 4, NULL, &count), EFAULT);
  CHECK_ERRNO(dm_get_allocinfo(ON(handle), NULL, 4, extents, &count), EFAULT);
  CHECK_ERRNO(dm_get_allocinfo(ON(handle), &offset, 4, extents, NULL), EFAULT);
  free(path);
}

static void probes(void) {
  char *path = strdup(in_fs("probed"));
  dm_size_t size = 6 * block + 100;
  make_file(path, size);
  struct handle handle = handle_of(path);
  const struct {
    dm_off_t offset;
    dm_size_t length;
    dm_off_t roffset;
    dm_size_t rlength;
  } good[] = {{0, 0, 0, 0},
              {0, size, 0, 0},
              {(dm_off_t)block, 0, (dm_off_t)block, 0},
              {(dm_off_t)block, size - block, (dm_off_t)block, 0},
              {(dm_off_t)block, 2 * block, (dm_off_t)block, 2 * block},
              {1, 3 * block, (dm_off_t)block, 2 * block},
              {(dm_off_t)block, 2 * block + 1, (dm_off_t)block, 2 * block},
              {1, 0, (dm_off_t)block, 0}};
  for (size_t at = 0; at < sizeof good / sizeof good[0]; at++) {
    dm_off_t offset = -1;
    dm_size_t length = 4711;
    CHECK_EQ(dm_probe_hole(ON(handle), good[at].offset, good[at].length, &offset, &length), 0);
    CHECK_EQ(offset, good[at].roffset);
    CHECK_EQ(length, good[at].rlength);
  }
  dm_off_t offset = -1;
  dm_size_t length = 4711;
  CHECK_ERRNO(dm_probe_hole(ON(handle), 1, block, &offset, &length), EINVAL);
  CHECK_ERRNO(dm_probe_hole(ON(handle), (dm_off_t)block, block - 1, &offset, &length), EINVAL);
  CHECK_ERRNO(dm_probe_hole(ON(handle), -1, 0, &offset, &length), EINVAL);
  CHECK_ERRNO(dm_probe_hole(ON(handle), (dm_off_t)size + 1, 0, &offset, &length), E2BIG);
  CHECK_ERRNO(dm_probe_hole(ON(handle), 0, size + 1, &offset, &length), E2BIG);
  CHECK_ERRNO(dm_probe_hole(ON(handle), 0, (dm_size_t)-1, &offset, &length), E2BIG);
  CHECK_ERRNO(dm_probe_hole(ON(handle), 0, 0, NULL, &length), EFAULT);
  CHECK_ERRNO(dm_probe_hole(ON(handle), 0, 0, &offset, NULL), EFAULT);
  CHECK(offset == -1 && length == 4711);
  free(path);
}

static bool same_time(struct timespec left, struct timespec right) {
  return left.tv_sec == right.tv_sec && left.tv_nsec == right.tv_nsec;
}

/* Punches; size and times stay, blocks go, the range reads as zeros, its neighbours are whole. */
static void punch(const char *path, struct handle handle, dm_off_t offset, dm_size_t length, const char *map) {
  const struct timespec old[2] = {{1000000, 1}, {2000000, 2}};
  CHECK_EQ(utimensat(AT_FDCWD, path, old, 0), 0);
  struct stat before, after;
  CHECK_EQ(stat(path, &before), 0);
  CHECK_EQ(dm_punch_hole(ON(handle), offset, length), 0);
  CHECK_EQ(stat(path, &after), 0);
  CHECK_EQ(after.st_size, before.st_size);
  CHECK(after.st_blocks < before.st_blocks);
  CHECK(same_time(after.st_atim, before.st_atim));
  CHECK(same_time(after.st_mtim, before.st_mtim));
  /* ctime moves: what is punched is kept in an xattr (docs/kernel-features.md). */
  dm_size_t end = length == 0 ? (dm_size_t)after.st_size : (dm_size_t)offset + length;
  unsigned char data[BLOCKS_MAX * 4096];
  CHECK(after.st_size <= (off_t)sizeof data);
  CHECK_EQ(dm_read_invis(ON(handle), 0, (dm_size_t)after.st_size, data), after.st_size);
  for (dm_size_t at = 0; at < (dm_size_t)after.st_size; at++)
    CHECK_EQ(data[at], at >= (dm_size_t)offset && at < end ? 0 : pattern_at(at));
  check_map(handle, map);
}

/* The last close comes to the daemon a moment later, behind FUSE. */
static bool is_punched(void *handle) {
  struct handle on = *(struct handle *)handle;
  int result = dm_punch_hole(ON(on), 0, 0);
  CHECK(result == 0 || errno == EBUSY);
  return result == 0;
}

static void punches(void) {
  char *path = strdup(in_fs("punched"));
  dm_size_t size = 6 * block + 100;
  struct handle handle = {NULL, 0};
  const struct {
    dm_off_t offset;
    dm_size_t length;
    const char *map;
  } good[] = {{0, 0, ""},
              {0, size, ""},
              {(dm_off_t)block, 0, "R1"},
              {(dm_off_t)block, size - block, "R1"},
              {(dm_off_t)(2 * block), 2 * block, "R2 H2 R3"}};
  for (size_t at = 0; at < sizeof good / sizeof good[0]; at++) {
    unlink(path);
    make_file(path, size);
    handle = handle_of(path);
    check_map(handle, "R7");
    punch(path, handle, good[at].offset, good[at].length, good[at].map);
  }
  CHECK_ERRNO(dm_punch_hole(ON(handle), 1, block), EAGAIN);
  CHECK_ERRNO(dm_punch_hole(ON(handle), 0, block + 1), EAGAIN);
  CHECK_ERRNO(dm_punch_hole(ON(handle), -1, 0), EINVAL);
  CHECK_ERRNO(dm_punch_hole(ON(handle), 0, size + 1), E2BIG);
  CHECK_ERRNO(dm_punch_hole(ON(handle), (dm_off_t)size + 1, 0), E2BIG);
  check_map(handle, "R2 H2 R3");

  /* In use: mapped, open, executed. */
  int fd = open(path, O_RDWR | O_CLOEXEC);
  void *map = mmap(NULL, block, PROT_READ, MAP_PRIVATE, fd, 0);
  CHECK(map != MAP_FAILED);
  if (!bed.ordinary) { /* whose files are all read through the cache, which is dropped: fault.c */
    CHECK_ERRNO(dm_punch_hole(ON(handle), 0, 0), EBUSY);
    CHECK_EQ(close(fd), 0);
    CHECK_ERRNO(dm_punch_hole(ON(handle), 0, 0), EBUSY);
    check_map(handle, "R2 H2 R3");
  }
  CHECK_EQ(munmap(map, block), 0);
  wait_until(is_punched, &handle, "the file stays busy after its munmap");
  check_map(handle, "");
  free(path);
}

static void body(void) {
  struct statvfs stat;
  CHECK_EQ(statvfs(bed.fs, &stat), 0);
  block = stat.f_bsize;
  CHECK(block >= 512 && block <= 4096);
  sid = new_session("holes");
  maps();
  probes();
  punches();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
