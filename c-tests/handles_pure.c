/* Purpose: the calls on handles that look nothing up: taking apart, making, comparing, hashing, validity. */
#include "harness.h"

static dm_fsid_t fsid = 0x1122334455667788u;
static dm_ino_t inode = 0x99aabbccddeeu;
static dm_igen_t generation = 77;

static struct handle file_handle(void) {
  struct handle handle = {NULL, 0};
  CHECK_EQ(dm_make_handle(&fsid, &inode, &generation, &handle.hanp, &handle.hlen), 0);
  return handle;
}

static struct handle fs_handle(void) {
  struct handle handle = {NULL, 0};
  CHECK_EQ(dm_make_fshandle(&fsid, &handle.hanp, &handle.hlen), 0);
  return handle;
}

static void parts(void) {
  struct handle file = file_handle(), fs = fs_handle();
  CHECK_EQ(file.hlen, 24);
  CHECK_EQ(fs.hlen, 8);
  CHECK(memcmp(file.hanp, fs.hanp, 8) == 0);
  CHECK(memcmp(fs.hanp, &fsid, 8) == 0);
  dm_handle_t inside;
  memcpy(&inside, file.hanp, sizeof inside);
  CHECK_EQ(DM_HSIZE(inside), 24);
  CHECK_EQ(inside.ha_fsid, fsid);

  dm_fsid_t got_fsid = 0;
  dm_ino_t got_inode = 0;
  dm_igen_t got_generation = 0;
  dm_snap_t snap = 1;
  CHECK_EQ(dm_handle_to_fsid(file.hanp, file.hlen, &got_fsid), 0);
  CHECK_EQ(got_fsid, fsid);
  got_fsid = 0;
  CHECK_EQ(dm_handle_to_fsid(fs.hanp, fs.hlen, &got_fsid), 0);
  CHECK_EQ(got_fsid, fsid);
  CHECK_EQ(dm_handle_to_ino(file.hanp, file.hlen, &got_inode), 0);
  CHECK_EQ(got_inode, inode);
  CHECK_EQ(dm_handle_to_igen(file.hanp, file.hlen, &got_generation), 0);
  CHECK_EQ(got_generation, generation);
  CHECK_EQ(dm_handle_to_snap(file.hanp, file.hlen, &snap), 0);
  CHECK_EQ(snap, DM_SNAP_ROOT);

  CHECK_ERRNO_KEEPS(dm_handle_to_ino(fs.hanp, fs.hlen, &got_inode), EBADF, got_inode);
  CHECK_ERRNO_KEEPS(dm_handle_to_igen(fs.hanp, fs.hlen, &got_generation), EBADF, got_generation);
  CHECK_ERRNO_KEEPS(dm_handle_to_fsid(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, &got_fsid), EBADF, got_fsid);
  CHECK_ERRNO_KEEPS(dm_handle_to_ino(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, &got_inode), EBADF, got_inode);
  CHECK_ERRNO_KEEPS(dm_handle_to_snap(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, &snap), EBADF, snap);

  struct handle up = {NULL, 0}, again = {NULL, 0};
  CHECK_EQ(dm_handle_to_fshandle(file.hanp, file.hlen, &up.hanp, &up.hlen), 0);
  CHECK_EQ(dm_handle_cmp(up.hanp, up.hlen, fs.hanp, fs.hlen), 0);
  CHECK_EQ(dm_handle_to_fshandle(up.hanp, up.hlen, &again.hanp, &again.hlen), 0);
  CHECK_EQ(dm_handle_cmp(again.hanp, again.hlen, fs.hanp, fs.hlen), 0);
  CHECK_ERRNO_KEEPS(dm_handle_to_fshandle(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, &up.hanp, &up.hlen), EBADF, up);

  dm_snap_t root = DM_SNAP_ROOT, other = 5;
  struct handle extended = {NULL, 0};
  CHECK_EQ(dm_make_xhandle(&fsid, &inode, &generation, &root, &extended.hanp, &extended.hlen), 0);
  CHECK_EQ(dm_handle_cmp(extended.hanp, extended.hlen, file.hanp, file.hlen), 0);
  CHECK_ERRNO(dm_make_xhandle(&fsid, &inode, &generation, &other, &up.hanp, &up.hlen), ENOSYS);

  dm_handle_free(file.hanp, file.hlen);
  dm_handle_free(fs.hanp, fs.hlen);
  dm_handle_free(up.hanp, up.hlen);
  dm_handle_free(again.hanp, again.hlen);
  dm_handle_free(extended.hanp, extended.hlen);
  dm_handle_free(DM_GLOBAL_HANP, DM_GLOBAL_HLEN);
  dm_handle_free(DM_INVALID_HANP, DM_INVALID_HLEN);
}

static void comparing(void) {
  struct handle file = file_handle(), same = file_handle(), fs = fs_handle();
  CHECK_EQ(dm_handle_cmp(file.hanp, file.hlen, same.hanp, same.hlen), 0);
  CHECK_EQ(dm_handle_hash(file.hanp, file.hlen), dm_handle_hash(same.hanp, same.hlen));
  CHECK(dm_handle_cmp(file.hanp, file.hlen, fs.hanp, fs.hlen) > 0);
  CHECK(dm_handle_cmp(fs.hanp, fs.hlen, file.hanp, file.hlen) < 0);
  ((unsigned char *)same.hanp)[23] ^= 1;
  int order = dm_handle_cmp(file.hanp, file.hlen, same.hanp, same.hlen);
  CHECK(order != 0);
  CHECK(order * dm_handle_cmp(same.hanp, same.hlen, file.hanp, file.hlen) < 0);
  CHECK_EQ(dm_handle_cmp(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_GLOBAL_HANP, DM_GLOBAL_HLEN), 0);
  CHECK(dm_handle_cmp(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, file.hanp, file.hlen) != 0);
  CHECK(dm_handle_cmp(file.hanp, file.hlen, DM_GLOBAL_HANP, DM_GLOBAL_HLEN) != 0);
  CHECK(dm_handle_cmp(unmapped_address(), 24, file.hanp, file.hlen) != 0);
  CHECK(dm_handle_cmp(file.hanp, file.hlen, (void *)0xDEADBEEF, 24) != 0);
  CHECK(dm_handle_cmp(NULL, 24, NULL, 24) != 0);
  dm_handle_hash(DM_GLOBAL_HANP, DM_GLOBAL_HLEN);
  dm_handle_hash(NULL, 24);
  dm_handle_hash(unmapped_address(), (size_t)-1);
  free(file.hanp);
  free(same.hanp);
  free(fs.hanp);
}

static void validity(void) {
  struct handle file = file_handle(), fs = fs_handle();
  unsigned char zeros[64] = {0};
  CHECK_EQ(dm_handle_is_valid(file.hanp, file.hlen), DM_TRUE);
  CHECK_EQ(dm_handle_is_valid(fs.hanp, fs.hlen), DM_TRUE);
  CHECK_EQ(dm_handle_is_valid(DM_GLOBAL_HANP, DM_GLOBAL_HLEN), DM_TRUE);
  CHECK_EQ(dm_handle_is_valid(DM_INVALID_HANP, DM_INVALID_HLEN), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(NULL, 24), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(zeros, 24), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(zeros, 8), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(file.hanp, 0), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(file.hanp, file.hlen - 1), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(file.hanp, file.hlen + 1), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(fs.hanp, fs.hlen - 1), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(fs.hanp, fs.hlen + 1), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(file.hanp, (size_t)-1), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid(unmapped_address(), 24), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid((void *)0xDEADBEEF, 24), DM_FALSE);
  CHECK_EQ(dm_handle_is_valid((void *)-3, 24), DM_FALSE);
  ((unsigned char *)file.hanp)[8] = 15; /* the length inside */
  CHECK_EQ(dm_handle_is_valid(file.hanp, file.hlen), DM_FALSE);
  free(file.hanp);
  free(fs.hanp);
}

/* Each pointer of each of these calls, bad in each way; `what` it would have stored stays. */
static void bad_pointers(void) {
  struct handle file = file_handle(), out = {NULL, 0};
  dm_fsid_t fs = 1;
  dm_ino_t ino = 2;
  void *bad[] = {NULL, (void *)-3, (void *)0xDEADBEEF, unmapped_address(), partly_mapped(24, 2)};
  for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++) {
    void *wild = bad[at];
    CHECK_ERRNO_KEEPS(dm_handle_to_fsid(wild, 24, &fs), EFAULT, fs);
    CHECK_ERRNO_KEEPS(dm_handle_to_ino(wild, 24, &ino), EFAULT, ino);
    CHECK_ERRNO_KEEPS(dm_handle_to_fshandle(wild, 24, &out.hanp, &out.hlen), EFAULT, out);
  }
  bad[4] = partly_mapped(4, 1);
  for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++) {
    void *wild = bad[at];
    CHECK_ERRNO(dm_handle_to_fsid(file.hanp, file.hlen, wild), EFAULT);
    CHECK_ERRNO(dm_handle_to_ino(file.hanp, file.hlen, wild), EFAULT);
    CHECK_ERRNO(dm_handle_to_igen(file.hanp, file.hlen, wild), EFAULT);
    CHECK_ERRNO(dm_handle_to_snap(file.hanp, file.hlen, wild), EFAULT);
    CHECK_ERRNO_KEEPS(dm_handle_to_fshandle(file.hanp, file.hlen, wild, &out.hlen), EFAULT, out);
    CHECK_ERRNO_KEEPS(dm_handle_to_fshandle(file.hanp, file.hlen, &out.hanp, wild), EFAULT, out);
    CHECK_ERRNO_KEEPS(dm_make_handle(wild, &inode, &generation, &out.hanp, &out.hlen), EFAULT, out);
    CHECK_ERRNO_KEEPS(dm_make_handle(&fsid, wild, &generation, &out.hanp, &out.hlen), EFAULT, out);
    CHECK_ERRNO_KEEPS(dm_make_handle(&fsid, &inode, wild, &out.hanp, &out.hlen), EFAULT, out);
    CHECK_ERRNO_KEEPS(dm_make_handle(&fsid, &inode, &generation, wild, &out.hlen), EFAULT, out);
    CHECK_ERRNO_KEEPS(dm_make_handle(&fsid, &inode, &generation, &out.hanp, wild), EFAULT, out);
    CHECK_ERRNO_KEEPS(dm_make_fshandle(wild, &out.hanp, &out.hlen), EFAULT, out);
  }
  dm_fsid_t *fixed = read_only_copy(&fs, sizeof fs);
  CHECK_ERRNO(dm_handle_to_fsid(file.hanp, file.hlen, fixed), EFAULT);
  CHECK_EQ(*fixed, 1);
  /* A partly mapped output: the mapped part stays as it was. */
  dm_fsid_t *straddles = partly_mapped(8, 1);
  unsigned char before[4];
  memcpy(before, straddles, 4);
  CHECK_ERRNO(dm_handle_to_fsid(file.hanp, file.hlen, straddles), EFAULT);
  CHECK(memcmp(before, straddles, 4) == 0);
  free(file.hanp);
}

static void body(void) {
  parts();
  comparing();
  validity();
  bad_pointers();
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_NOTHING, body);
}
