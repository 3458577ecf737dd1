/* Purpose: what outlives an unmount: handles, attributes, regions, lists of objects, inheritance; and what does not: the
 * list of the file system, dispositions. In between the handles name nothing. */
#include "harness.h"

#include <sys/stat.h>

static dm_sessid_t sid;
static struct handle fs, dir, file;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

/* A new file in dir gets its attribute soon. */
static bool has_class(void *path) {
  struct handle new = handle_of(path);
  dm_attrname_t name = {"CLASS"};
  char value[8];
  size_t length = 0;
  int result = dm_get_dmattr(ON(new), &name, sizeof value, value, &length);
  dm_handle_free(new.hanp, new.hlen);
  return result == 0 && length == 4 && memcmp(value, "gold", 4) == 0;
}

static void body(void) {
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  make_file(in_fs("file"), 10000);
  fs = fs_handle_of(bed.fs);
  dir = handle_of(in_fs("dir"));
  file = handle_of(in_fs("file"));
  sid = new_session("remount");
  dm_attrname_t class_name = {"CLASS"};
  dm_region_t regions[2] = {{5, 100, DM_REGION_READ, 17}, {1000, 0, DM_REGION_WRITE, 0}}, found[4];
  dm_boolean_t exact;
  dm_eventset_t attribute = (dm_eventset_t)1 << DM_EVENT_ATTRIBUTE, set = 0;
  CHECK_EQ(dm_set_dmattr(ON(dir), &class_name, 0, 4, (char[]){"gold"}), 0);
  CHECK_EQ(dm_set_region(ON(file), 2, regions, &exact), 0);
  CHECK_EQ(dm_set_eventlist(ON(dir), &attribute, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_set_eventlist(ON(fs), &attribute, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_set_disp(ON(fs), &attribute, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_set_inherit(ON(fs), &class_name, S_IFREG), 0);
  make_file(in_fs("dir/before"), 1);
  wait_until(has_class, (void *)in_fs("dir/before"), "a new file inherits");

  CHECK_EQ(dmctl("umount", bed.fs, (char *)NULL), 0);
  dm_size_t room[64];
  size_t length = 0;
  u_int count = 4711;
  dm_stat_t stat;
  CHECK_ERRNO(dm_get_mountinfo(ON(fs), sizeof room, room, &length), EBADF);
  CHECK_ERRNO(dm_set_disp(ON(fs), &attribute, DM_EVENT_MAX), EBADF);
  CHECK_ERRNO(dm_get_fileattr(ON(file), DM_AT_STAT, &stat), EBADF);
  CHECK_ERRNO(dm_getall_inherit(ON(fs), 0, NULL, &count), EBADF);
  CHECK_EQ(dm_getall_disp(sid, sizeof room, room, &length), 0);
  CHECK_EQ(length, 0);

  mount_again();
  struct handle again = handle_of(in_fs("file")), fs_again = fs_handle_of(bed.fs);
  CHECK_EQ(dm_handle_cmp(again.hanp, again.hlen, file.hanp, file.hlen), 0);
  CHECK_EQ(dm_handle_cmp(fs_again.hanp, fs_again.hlen, fs.hanp, fs.hlen), 0);
  CHECK_EQ(dm_get_mountinfo(ON(fs), sizeof room, room, &length), 0);
  CHECK_EQ(dm_get_region(ON(file), 4, found, &count), 0);
  CHECK_EQ(count, 2);
  CHECK(memcmp(found, regions, sizeof regions) == 0);
  CHECK_EQ(dm_get_eventlist(ON(dir), 64, &set, &count), 0);
  CHECK_EQ(set, attribute);
  CHECK(has_class((void *)in_fs("dir/before")));
  CHECK_EQ(dm_get_eventlist(ON(fs), 64, &set, &count), 0);
  CHECK_EQ(set, 0);
  CHECK_EQ(dm_getall_disp(sid, sizeof room, room, &length), 0);
  CHECK_EQ(length, 0);
  CHECK_EQ(dm_getall_inherit(ON(fs), 0, NULL, &count), -1);
  CHECK_EQ(count, 1);
  make_file(in_fs("dir/after"), 1);
  wait_until(has_class, (void *)in_fs("dir/after"), "a new file inherits after the mount");
  CHECK_EQ(dm_set_region(ON(file), 0, NULL, &exact), 0);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
