/* Purpose: invisible I/O: what comes back, what is refused, and that nobody sees it happen. */
#include "harness.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { PAGE = 4096, FILE_BYTES = 5 * PAGE + 77, BIG_BYTES = 9 * 1024 * 1024 + 5 };

static struct handle file;
static dm_sessid_t sid;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static void check_pattern(const unsigned char *data, size_t offset, size_t length) {
  for (size_t at = 0; at < length; at++)
    CHECK_EQ(data[at], pattern_at(offset + at));
}

static void reads(void) {
  static unsigned char data[FILE_BYTES + 100];
  CHECK_EQ(dm_read_invis(ON(file), 0, FILE_BYTES, data), FILE_BYTES);
  check_pattern(data, 0, FILE_BYTES);
  CHECK_EQ(dm_read_invis(ON(file), 1, 1, data), 1);
  check_pattern(data, 1, 1);
  CHECK_EQ(dm_read_invis(ON(file), PAGE - 3, 10, data), 10);
  check_pattern(data, PAGE - 3, 10);
  CHECK_EQ(dm_read_invis(ON(file), FILE_BYTES - 7, 100, data), 7);
  check_pattern(data, FILE_BYTES - 7, 7);
  CHECK_EQ(dm_read_invis(ON(file), FILE_BYTES, 100, data), 0);
  CHECK_EQ(dm_read_invis(ON(file), 0, 0, data), 0);
  CHECK_EQ(dm_read_invis(ON(file), 0, 0, NULL), 0);
  CHECK_ERRNO(dm_read_invis(ON(file), FILE_BYTES + 1, 1, data), EINVAL);
  CHECK_ERRNO(dm_read_invis(ON(file), -1, 1, data), EINVAL);
  CHECK_ERRNO(dm_read_invis(ON(file), 0, (dm_size_t)-1, data), EINVAL);
  CHECK_ERRNO(dm_read_invis(ON(file), 0, 10, NULL), EFAULT);
  CHECK_ERRNO(dm_read_invis(ON(file), 0, 10, unmapped_address()), EFAULT);
  CHECK_ERRNO(dm_read_invis(sid, file.hanp, file.hlen - 1, DM_NO_TOKEN, 0, 0, data), EBADF);
}

static void writes(void) {
  char *path = strdup(in_fs("written"));
  make_file(path, FILE_BYTES);
  struct handle written = handle_of(path);
  static unsigned char data[3 * PAGE];
  int fd = open(path, O_RDWR | O_CLOEXEC);
  CHECK(fd >= 0);
  /* Start, middle, end, beyond; ordinary readers see it at once. */
  const struct {
    dm_off_t offset;
    size_t length;
    int flags;
  } pieces[] = {{0, 3, 0},
                {PAGE - 2, PAGE + 4, DM_WRITE_SYNC},
                {FILE_BYTES - 5, 5, 0},
                {FILE_BYTES, 10, DM_WRITE_SYNC},
                {FILE_BYTES + 3 * PAGE, 2 * PAGE + 1, 0}};
  dm_off_t size = FILE_BYTES;
  for (size_t at = 0; at < sizeof pieces / sizeof pieces[0]; at++) {
    dm_off_t end = pieces[at].offset + (dm_off_t)pieces[at].length;
    memset(data, 'a' + (int)at, pieces[at].length);
    CHECK_EQ(dm_write_invis(ON(written), pieces[at].flags, pieces[at].offset, pieces[at].length, data), pieces[at].length);
    unsigned char seen[3 * PAGE];
    CHECK_EQ(pread(fd, seen, pieces[at].length, pieces[at].offset), pieces[at].length);
    CHECK(memcmp(seen, data, pieces[at].length) == 0);
    size = end > size ? end : size;
    struct stat stat;
    CHECK_EQ(fstat(fd, &stat), 0);
    CHECK_EQ(stat.st_size, size);
  }
  /* What a user wrote and did not sync is seen. */
  CHECK_EQ(pwrite(fd, "fresh", 5, 100), 5);
  CHECK_EQ(dm_read_invis(ON(written), 100, 5, data), 5);
  CHECK(memcmp(data, "fresh", 5) == 0);
  CHECK_EQ(dm_write_invis(ON(written), 0, 10, 0, NULL), 0);
  CHECK_ERRNO(dm_write_invis(ON(written), 2, 0, 10, data), EINVAL);
  CHECK_ERRNO(dm_write_invis(ON(written), 0, -1, 10, data), EINVAL);
  CHECK_ERRNO(dm_write_invis(ON(written), 0, 0, (dm_size_t)1 << 63, data), EINVAL);
  CHECK_ERRNO(dm_write_invis(ON(written), 0, INT64_MAX - 1, 10, data), EFBIG);
  CHECK_ERRNO(dm_write_invis(ON(written), 0, 0, 10, NULL), EFAULT);
  CHECK_ERRNO(dm_write_invis(ON(written), 0, 0, 10, unmapped_address()), EFAULT);
  struct stat stat;
  CHECK_EQ(fstat(fd, &stat), 0);
  CHECK_EQ(stat.st_size, size);
  CHECK_EQ(close(fd), 0);
  free(path);
}

/* Longer than one piece of the library's. */
static void big(void) {
  char *path = strdup(in_fs("big"));
  make_file(path, 0);
  struct handle handle = handle_of(path);
  unsigned char *out = malloc(BIG_BYTES), *in = malloc(BIG_BYTES);
  CHECK(out != NULL && in != NULL);
  for (size_t at = 0; at < BIG_BYTES; at++)
    out[at] = pattern_at(at);
  CHECK_EQ(dm_write_invis(ON(handle), DM_WRITE_SYNC, 0, BIG_BYTES, out), BIG_BYTES);
  CHECK_EQ(dm_read_invis(ON(handle), 0, BIG_BYTES, in), BIG_BYTES);
  CHECK(memcmp(in, out, BIG_BYTES) == 0);
  free(in);
  free(out);
  free(path);
}

static bool same_time(struct timespec left, struct timespec right) {
  return left.tv_sec == right.tv_sec && left.tv_nsec == right.tv_nsec;
}

static void unseen(void) {
  char *path = strdup(in_fs("unseen"));
  make_file(path, FILE_BYTES);
  struct handle handle = handle_of(path);
  CHECK_EQ(chmod(path, 0), 0);
  const struct timespec old[2] = {{1000000, 123456789}, {2000000, 987654321}};
  CHECK_EQ(utimensat(AT_FDCWD, path, old, 0), 0);
  dm_region_t all = {0, 0, DM_REGION_READ | DM_REGION_WRITE | DM_REGION_TRUNCATE, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(ON(handle), 1, &all, &exact), 0);
  struct stat before, after;
  CHECK_EQ(lstat(path, &before), 0);
  unsigned char data[PAGE];
  CHECK_EQ(dm_read_invis(ON(handle), 10, sizeof data, data), sizeof data);
  CHECK_EQ(lstat(path, &after), 0);
  CHECK(same_time(before.st_atim, after.st_atim));
  CHECK(same_time(before.st_mtim, after.st_mtim));
  CHECK(same_time(before.st_ctim, after.st_ctim));
  CHECK_EQ(after.st_mode & 07777, 0);
  CHECK_EQ(dm_write_invis(ON(handle), 0, 10, sizeof data, data), sizeof data);
  CHECK_EQ(dm_write_invis(ON(handle), DM_WRITE_SYNC, FILE_BYTES, 10, data), 10);
  CHECK_EQ(lstat(path, &after), 0);
  CHECK(same_time(before.st_atim, after.st_atim));
  CHECK(same_time(before.st_mtim, after.st_mtim));
  if (bed.fuse || strcmp(bed.content, "xfs") == 0)
    CHECK(same_time(before.st_ctim, after.st_ctim)); /* a limit on the others: docs/kernel-features.md */
  CHECK_EQ(after.st_size, FILE_BYTES + 10);
  free(path);
}

static void geometry(void) {
  dm_dioinfo_t dio;
  CHECK_EQ(dm_get_dioinfo(ON(file), &dio), 0);
  CHECK(dio.d_mem > 0 && dio.d_miniosz >= 512 && dio.d_maxiosz >= dio.d_miniosz);
  CHECK_EQ(dio.d_maxiosz % dio.d_miniosz, 0);
  CHECK_EQ(dio.d_dio_only, DM_FALSE);
  CHECK_ERRNO(dm_get_dioinfo(ON(file), NULL), EFAULT);
  /* It tells the truth. */
  int fd = open(in_fs("file"), O_RDONLY | O_DIRECT | O_CLOEXEC);
  CHECK(fd >= 0);
  void *memory = NULL;
  CHECK_EQ(posix_memalign(&memory, dio.d_mem < sizeof(void *) ? sizeof(void *) : dio.d_mem, dio.d_miniosz), 0);
  CHECK_EQ(pread(fd, memory, dio.d_miniosz, dio.d_miniosz), dio.d_miniosz);
  check_pattern(memory, dio.d_miniosz, dio.d_miniosz);
  free(memory);
  CHECK_EQ(close(fd), 0);
}

/* A descriptor by handle: what is done with it makes no events. */
static void by_handle(void) {
  int fd = dm_open_by_handle(file.hanp, file.hlen, O_RDONLY);
  CHECK(fd >= 0);
  unsigned char data[64];
  CHECK_EQ(pread(fd, data, sizeof data, PAGE), sizeof data);
  check_pattern(data, PAGE, sizeof data);
  CHECK_EQ(close(fd), 0);
  CHECK_ERRNO(dm_open_by_handle(file.hanp, file.hlen, O_ACCMODE), EINVAL);
  CHECK_ERRNO(dm_open_by_handle(file.hanp, file.hlen - 1, O_RDONLY), EBADF);
  CHECK_ERRNO(dm_open_by_handle(NULL, file.hlen, O_RDONLY), EFAULT);
}

/* The file system is filled: what was written before the end counts, then ENOSPC. */
static void no_space(void) {
  char *path = strdup(in_fs("filler"));
  struct statvfs room;
  CHECK_EQ(statvfs(bed.fs, &room), 0);
  off_t most = (off_t)(room.f_bavail * room.f_frsize) - 24 * 1024 * 1024;
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  CHECK(fd >= 0 && most > 0);
  int failed = posix_fallocate(fd, 0, most);
  CHECK(failed == 0 || failed == ENOSPC);
  CHECK_EQ(close(fd), 0);
  make_file(in_fs("full"), 0);
  struct handle full = handle_of(in_fs("full"));
  enum { PIECE = 1024 * 1024 };
  static unsigned char data[PIECE];
  dm_off_t offset = 0;
  dm_ssize_t got;
  while ((got = dm_write_invis(ON(full), DM_WRITE_SYNC, offset, PIECE, data)) > 0) {
    offset += got;
    CHECK(offset < 256L * 1024 * 1024);
  }
  CHECK_ERRNO(dm_write_invis(ON(full), DM_WRITE_SYNC, offset, PIECE, data), ENOSPC);
  CHECK_EQ(unlink(path), 0);
  CHECK_EQ(unlink(in_fs("full")), 0);
  free(path);
}

static void body(void) {
  make_file(in_fs("file"), FILE_BYTES);
  file = handle_of(in_fs("file"));
  sid = new_session("rdwr");
  reads();
  writes();
  big();
  unseen();
  geometry();
  by_handle();
  CHECK_EQ(dm_sync_by_handle(ON(file)), 0);
  no_space();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
