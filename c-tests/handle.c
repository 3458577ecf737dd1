/* Purpose: handles from paths and descriptors, and paths from handles. */
#include "harness.h"

#include <fcntl.h>
#include <sys/stat.h>

static bool same(struct handle a, struct handle b) {
  return dm_handle_cmp(a.hanp, a.hlen, b.hanp, b.hlen) == 0;
}

static struct handle handle_of_fd(int fd) {
  struct handle handle = {NULL, 0};
  CHECK_EQ(dm_fd_to_handle(fd, &handle.hanp, &handle.hlen), 0);
  return handle;
}

static void drop(struct handle handle) {
  dm_handle_free(handle.hanp, handle.hlen);
}

static void objects(void) {
  make_file(in_fs("file"), 100);
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  CHECK_EQ(symlink("file", in_fs("link")), 0);
  CHECK_EQ(mkfifo(in_fs("fifo"), 0644), 0);
  CHECK_EQ(link(in_fs("file"), in_fs("hard")), 0);
  struct handle file = handle_of(in_fs("file")), dir = handle_of(in_fs("dir")), sym = handle_of(in_fs("link")),
                fifo = handle_of(in_fs("fifo")), hard = handle_of(in_fs("hard"));
  CHECK(same(file, hard));
  CHECK(!same(file, sym) && !same(file, dir) && !same(file, fifo) && !same(dir, fifo) && !same(sym, fifo));
  const struct handle all[] = {file, dir, sym, fifo};
  for (size_t at = 0; at < 4; at++)
    CHECK_EQ(dm_handle_is_valid(all[at].hanp, all[at].hlen), DM_TRUE);

  int fd = open(in_fs("file"), O_RDONLY | O_CLOEXEC);
  struct handle by_fd = handle_of_fd(fd);
  CHECK(same(file, by_fd));
  CHECK_EQ(dm_handle_hash(file.hanp, file.hlen), dm_handle_hash(by_fd.hanp, by_fd.hlen));
  close(fd);
  fd = open(in_fs("dir"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  drop(by_fd);
  by_fd = handle_of_fd(fd);
  CHECK(same(dir, by_fd));
  close(fd);

  struct stat stat;
  dm_ino_t inode = 0;
  CHECK_EQ(lstat(in_fs("link"), &stat), 0);
  CHECK_EQ(dm_handle_to_ino(sym.hanp, sym.hlen, &inode), 0);
  CHECK_EQ(inode, stat.st_ino);

  /* Parts and whole. */
  dm_fsid_t fsid = 0;
  dm_igen_t generation = 0;
  struct handle made = {NULL, 0};
  CHECK_EQ(dm_handle_to_fsid(file.hanp, file.hlen, &fsid), 0);
  CHECK_EQ(dm_handle_to_ino(file.hanp, file.hlen, &inode), 0);
  CHECK_EQ(dm_handle_to_igen(file.hanp, file.hlen, &generation), 0);
  CHECK_EQ(dm_make_handle(&fsid, &inode, &generation, &made.hanp, &made.hlen), 0);
  CHECK_EQ(made.hlen, file.hlen);
  CHECK(memcmp(made.hanp, file.hanp, made.hlen) == 0);

  drop(file), drop(dir), drop(sym), drop(fifo), drop(hard), drop(by_fd), drop(made);
}

static void file_systems(void) {
  struct handle root = handle_of(bed.fs), fs = fs_handle_of(bed.fs);
  CHECK_EQ(fs.hlen, 8);
  CHECK(!same(root, fs));
  const char *paths[] = {"file", "dir", "link", "fifo"};
  for (size_t at = 0; at < 4; at++) {
    struct handle object = handle_of(in_fs(paths[at])), by_path = fs_handle_of(in_fs(paths[at])), up = {NULL, 0};
    CHECK(same(by_path, fs));
    CHECK_EQ(dm_handle_to_fshandle(object.hanp, object.hlen, &up.hanp, &up.hlen), 0);
    CHECK(same(up, fs));
    CHECK(memcmp(object.hanp, fs.hanp, fs.hlen) == 0);
    drop(object), drop(by_path), drop(up);
  }
  dm_fsid_t fsid = 0;
  struct handle made = {NULL, 0};
  CHECK_EQ(dm_handle_to_fsid(fs.hanp, fs.hlen, &fsid), 0);
  CHECK_EQ(dm_make_fshandle(&fsid, &made.hanp, &made.hlen), 0);
  CHECK(same(made, fs));
  drop(root), drop(fs), drop(made);
}

static void paths(void) {
  struct handle out = {NULL, 0}, dir = handle_of(in_fs("dir")), here;
  CHECK_EQ(chdir(in_fs("dir")), 0);
  here = handle_of("");
  CHECK(same(here, dir));
  drop(here);
  here = handle_of(".");
  CHECK(same(here, dir));
  drop(here);
  struct handle file = handle_of(in_fs("file"));
  here = handle_of("../file");
  CHECK(same(here, file));
  CHECK_EQ(chdir("/"), 0);

  char longest[5000];
  memset(longest, 'a', sizeof longest - 1);
  longest[sizeof longest - 1] = '\0';
  /* produces: dm_path_to_handle, dm_path_to_fshandle ENOENT ENOTDIR ENAMETOOLONG ENXIO EFAULT */
  for (int as_fs = 0; as_fs < 2; as_fs++) {
    int (*call)(char *, void **, size_t *) = as_fs ? dm_path_to_fshandle : dm_path_to_handle;
    CHECK_ERRNO_KEEPS(call((char *)in_fs("missing"), &out.hanp, &out.hlen), ENOENT, out);
    CHECK_ERRNO_KEEPS(call((char *)in_fs("file/x"), &out.hanp, &out.hlen), ENOTDIR, out);
    CHECK_ERRNO_KEEPS(call(longest, &out.hanp, &out.hlen), ENAMETOOLONG, out);
    CHECK_ERRNO_KEEPS(call((char *)"/proc", &out.hanp, &out.hlen), ENXIO, out);
    CHECK_ERRNO_KEEPS(call((char *)bed.dir, &out.hanp, &out.hlen), ENXIO, out);
    CHECK_ERRNO_KEEPS(call(NULL, &out.hanp, &out.hlen), EFAULT, out);
    CHECK_ERRNO_KEEPS(call((char *)in_fs("file"), NULL, &out.hlen), EFAULT, out);
    CHECK_ERRNO_KEEPS(call((char *)in_fs("file"), &out.hanp, NULL), EFAULT, out);
  }
  CHECK_EQ(symlink("loop", in_fs("loop")), 0);
  CHECK_ERRNO_KEEPS(dm_path_to_handle((char *)in_fs("loop/x"), &out.hanp, &out.hlen), ELOOP, out);
  CHECK_ERRNO_KEEPS(dm_path_to_fshandle((char *)in_fs("loop"), &out.hanp, &out.hlen), ELOOP, out);
  drop(dir), drop(file), drop(here);
}

static void descriptors(void) {
  struct handle out = {NULL, 0};
  int ends[2];
  CHECK_EQ(pipe(ends), 0);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC), elsewhere = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  CHECK_ERRNO_KEEPS(dm_fd_to_handle(ends[0], &out.hanp, &out.hlen), ENXIO, out);
  CHECK_ERRNO_KEEPS(dm_fd_to_handle(null, &out.hanp, &out.hlen), ENXIO, out);
  CHECK_ERRNO_KEEPS(dm_fd_to_handle(elsewhere, &out.hanp, &out.hlen), ENXIO, out);
  close(ends[0]), close(ends[1]), close(null), close(elsewhere);
  CHECK_ERRNO_KEEPS(dm_fd_to_handle(-1, &out.hanp, &out.hlen), EBADF, out);
  CHECK_ERRNO_KEEPS(dm_fd_to_handle(1 << 20, &out.hanp, &out.hlen), EBADF, out);
  CHECK_ERRNO_KEEPS(dm_fd_to_handle(elsewhere, &out.hanp, &out.hlen), EBADF, out);
}

static void check_path(struct handle dir, struct handle target, const char *expected) {
  char path[256] = "untouched";
  size_t length = 4711, exact = strlen(expected) + 1;
  CHECK_EQ(dm_handle_to_path(dir.hanp, dir.hlen, target.hanp, target.hlen, sizeof path, path, &length), 0);
  if (strcmp(path, expected) != 0 || length != exact)
    fail_at(__FILE__, __LINE__, "path is \"%s\" (%zu), not \"%s\"", path, length, expected);
  CHECK_EQ(dm_handle_to_path(dir.hanp, dir.hlen, target.hanp, target.hlen, exact, path, &length), 0);
  memcpy(path, "same", 5);
  CHECK_ERRNO_KEEPS(dm_handle_to_path(dir.hanp, dir.hlen, target.hanp, target.hlen, 1, path, &length), E2BIG, path);
  CHECK(length >= exact);
}

static void handles_to_paths(void) {
  CHECK_EQ(mkdir(in_fs("dir/deep"), 0755), 0);
  make_file(in_fs("dir/deep/inner"), 10);
  CHECK_EQ(symlink("inner", in_fs("dir/deep/sym")), 0);
  struct handle root = handle_of(bed.fs), dir = handle_of(in_fs("dir")), deep = handle_of(in_fs("dir/deep")),
                file = handle_of(in_fs("fifo")), inner = handle_of(in_fs("dir/deep/inner")),
                sym = handle_of(in_fs("dir/deep/sym")), fs = fs_handle_of(bed.fs);
  check_path(root, file, "fifo");
  check_path(deep, inner, "dir/deep/inner");
  check_path(deep, sym, "dir/deep/sym");
  CHECK_EQ(chdir(in_fs("dir")), 0);
  check_path(deep, inner, "dir/deep/inner");
  CHECK_EQ(chdir("/"), 0);

  char path[64] = "untouched";
  size_t length = 4711;
#define TO_PATH(a, b) dm_handle_to_path((a).hanp, (a).hlen, (b).hanp, (b).hlen, sizeof path, path, &length)
  struct handle global = {DM_GLOBAL_HANP, DM_GLOBAL_HLEN};
  CHECK_ERRNO_KEEPS(TO_PATH(root, inner), EINVAL, path);
  CHECK_ERRNO_KEEPS(TO_PATH(dir, deep), EBADF, path);
  CHECK_ERRNO_KEEPS(TO_PATH(file, inner), EBADF, path);
  CHECK_ERRNO_KEEPS(TO_PATH(fs, inner), EBADF, path);
  CHECK_ERRNO_KEEPS(TO_PATH(deep, fs), EBADF, path);
  CHECK_ERRNO_KEEPS(TO_PATH(global, inner), EBADF, path);
  CHECK_ERRNO_KEEPS(TO_PATH(deep, global), EBADF, path);
  CHECK_EQ(length, 4711);

  /* A handle stays good after rename, and is dead after the last unlink. */
  CHECK_EQ(rename(in_fs("dir/deep/inner"), in_fs("dir/deep/renamed")), 0);
  check_path(deep, inner, "dir/deep/renamed");
  CHECK_EQ(unlink(in_fs("dir/deep/renamed")), 0);
  CHECK_ERRNO_KEEPS(TO_PATH(deep, inner), EBADF, path);
  CHECK_EQ(unlink(in_fs("dir/deep/sym")), 0);
  CHECK_EQ(rmdir(in_fs("dir/deep")), 0);
  CHECK_ERRNO_KEEPS(TO_PATH(deep, file), EBADF, path);
  drop(root), drop(dir), drop(deep), drop(file), drop(inner), drop(sym), drop(fs);
}

static void generations(void) {
  make_file(in_fs("again"), 10);
  struct handle before = handle_of(in_fs("again"));
  CHECK_EQ(unlink(in_fs("again")), 0);
  make_file(in_fs("again"), 10);
  struct handle after = handle_of(in_fs("again"));
  CHECK(!same(before, after));
  drop(before), drop(after);
}

static void syncing(void) {
  dm_sessid_t sid = new_session("sync");
  struct handle file = handle_of(in_fs("file")), dir = handle_of(in_fs("dir")), fs = fs_handle_of(bed.fs);
  int (*calls[])(dm_sessid_t, void *, size_t, dm_token_t) = {dm_sync_by_handle, dm_sync_dmattr_by_handle};
  for (size_t at = 0; at < 2; at++) {
    CHECK_EQ(calls[at](sid, file.hanp, file.hlen, DM_NO_TOKEN), 0);
    CHECK_ERRNO(calls[at](sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_NO_TOKEN), EBADF);
    CHECK_ERRNO(calls[at](sid, fs.hanp, fs.hlen, DM_NO_TOKEN), EINVAL);
  }
  CHECK_ERRNO(dm_sync_by_handle(sid, dir.hanp, dir.hlen, DM_NO_TOKEN), EINVAL);
  dm_token_t token;
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &token), 0);
  CHECK_ERRNO(dm_sync_by_handle(sid, file.hanp, file.hlen, token), EACCES);
  CHECK_EQ(dm_request_right(sid, file.hanp, file.hlen, token, 0, DM_RIGHT_SHARED), 0);
  CHECK_ERRNO(dm_sync_by_handle(sid, file.hanp, file.hlen, token), EACCES);
  CHECK_EQ(dm_upgrade_right(sid, file.hanp, file.hlen, token), 0);
  CHECK_EQ(dm_sync_by_handle(sid, file.hanp, file.hlen, token), 0);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK_ERRNO(dm_sync_by_handle(sid, file.hanp, file.hlen, token), ESRCH);

  /* Objects cannot be made by handle; the arguments are checked all the same. */
  CHECK_ERRNO(dm_create_by_handle(sid, dir.hanp, dir.hlen, DM_NO_TOKEN, file.hanp, file.hlen, (char *)"x"), ENOSYS);
  CHECK_ERRNO(dm_mkdir_by_handle(sid, dir.hanp, dir.hlen, DM_NO_TOKEN, file.hanp, file.hlen, (char *)"x"), ENOSYS);
  CHECK_ERRNO(dm_symlink_by_handle(sid, dir.hanp, dir.hlen, DM_NO_TOKEN, file.hanp, file.hlen, (char *)"x", (char *)"y"),
              ENOSYS);
  CHECK_ERRNO(dm_create_by_handle(-7, dir.hanp, dir.hlen, DM_NO_TOKEN, file.hanp, file.hlen, (char *)"x"), EINVAL);
  CHECK_ERRNO(dm_create_by_handle(sid, dir.hanp, dir.hlen, DM_NO_TOKEN, file.hanp, 5, (char *)"x"), EBADF);
  CHECK_EQ(dm_destroy_session(sid), 0);
  drop(file), drop(dir), drop(fs);
}

static void opening(void) {
  struct handle file = handle_of(in_fs("file")), fs = fs_handle_of(bed.fs);
  int fd = dm_open_by_handle(file.hanp, file.hlen, O_RDONLY);
  CHECK(fd >= 0);
  unsigned char byte = 0;
  CHECK_EQ(pread(fd, &byte, 1, 50), 1);
  CHECK_EQ(byte, pattern_at(50));
  CHECK_EQ(close(fd), 0);
  CHECK_ERRNO(dm_open_by_handle(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, O_RDONLY), EBADF);
  CHECK_ERRNO(dm_open_by_handle(file.hanp, file.hlen - 1, O_RDONLY), EBADF);
  drop(file), drop(fs);
}

static void body(void) {
  objects();
  file_systems();
  paths();
  descriptors();
  generations();
  syncing();
  opening();
  handles_to_paths();
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
