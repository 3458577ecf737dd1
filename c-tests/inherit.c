/* Purpose: dm_set_inherit: new objects get attributes of their directory, by kind, before POSTCREATE is told; the list
 * outlives worker and mount. */
#include "harness.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct handle fs, dir;
static dm_sessid_t sid;
static dm_attrname_t class_name = {"CLASS"}, pool_name = {"POOL"}, late_name = {"LATENAME"};

static int set_inherit(dm_attrname_t *name, mode_t mode) {
  return dm_set_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, name, mode);
}

static u_int listed(dm_inherit_t *inherits, u_int room) {
  u_int count = 4711;
  CHECK_EQ(dm_getall_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, room, inherits, &count), 0);
  return count;
}

/* The length of the attribute of a new object, or -1. */
static int attribute(const char *path, dm_attrname_t *name, char *value) {
  struct handle object = handle_of(path);
  size_t length = 0;
  int result = dm_get_dmattr(sid, object.hanp, object.hlen, DM_NO_TOKEN, name, 64, value, &length);
  if (result != 0)
    CHECK_EQ(errno, ENOENT);
  dm_handle_free(object.hanp, object.hlen);
  return result == 0 ? (int)length : -1;
}

/* Receives until the event of that name came: what is inherited is there by then. */
static void await_name(const char *name) {
  for (;;) {
    dm_size_t room[512];
    size_t length = 0;
    CHECK_EQ(dm_get_events(sid, 1, DM_EV_WAIT, sizeof room, room, &length), 0);
    dm_eventmsg_t *message = (dm_eventmsg_t *)room;
    dm_namesp_event_t *body = DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
    if (strcmp(DM_GET_VALUE(body, ne_name1, char *), name) == 0)
      return;
  }
}

static void the_list(void) {
  dm_inherit_t inherits[4];
  CHECK_EQ(listed(NULL, 0), 0);
  dm_attrname_t empty = {""};
  CHECK_ERRNO(set_inherit(&empty, S_IFREG), EINVAL);
  CHECK_ERRNO(set_inherit(&class_name, S_IFIFO), EINVAL);
  CHECK_ERRNO(set_inherit(NULL, S_IFREG), EFAULT);
  CHECK_EQ(set_inherit(&class_name, S_IFREG | 0644), 0);
  CHECK_EQ(set_inherit(&class_name, S_IFREG), 0);
  CHECK_EQ(set_inherit(&class_name, S_IFDIR), 0);
  CHECK_EQ(set_inherit(&pool_name, 0), 0);
  CHECK_EQ(set_inherit(&late_name, S_IFLNK), 0);
  CHECK_EQ(listed(inherits, 4), 4);
  CHECK(memcmp(inherits[0].ih_name.an_chars, "CLASS\0\0", 8) == 0);
  CHECK_EQ(inherits[0].ih_filetype, S_IFDIR);
  CHECK_EQ(inherits[1].ih_filetype, S_IFREG);
  CHECK(memcmp(inherits[2].ih_name.an_chars, "LATENAME", 8) == 0);
  CHECK_EQ(inherits[3].ih_filetype, 0);
  u_int count = 0;
  CHECK_ERRNO(dm_getall_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, 3, inherits, &count), E2BIG);
  CHECK_EQ(count, 4);
  CHECK_ERRNO(dm_getall_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, 4, NULL, &count), EFAULT);
  CHECK_ERRNO(dm_getall_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, 4, inherits, NULL), EFAULT);
  CHECK_EQ(dm_clear_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &late_name), 0);
  CHECK_ERRNO(dm_clear_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &late_name), ENOENT);
  CHECK_ERRNO(dm_clear_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &empty), EINVAL);
  CHECK_ERRNO(dm_clear_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, NULL), EFAULT);
  CHECK_EQ(listed(inherits, 4), 3);
  dm_size_t is_persistent = DM_FALSE;
  CHECK_EQ(dm_get_config(fs.hanp, fs.hlen, DM_CONFIG_PERS_INHERIT_ATTRIBS, &is_persistent), 0);
  CHECK_EQ(is_persistent, DM_TRUE);
}

static void events_on(void) {
  dm_eventset_t set;
  DMEV_ZERO(set);
  DMEV_SET(DM_EVENT_POSTCREATE, set);
  DMEV_SET(DM_EVENT_POSTSYMLINK, set);
  CHECK_EQ(dm_set_disp(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &set, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_set_eventlist(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &set, DM_EVENT_MAX), 0);
}

/* dir has CLASS and no POOL; below has POOL as well. */
static void new_objects(const char *tag) {
  char name[64], path[128], value[64];
  snprintf(name, sizeof name, "file-%s", tag);
  snprintf(path, sizeof path, "dir/%s", name);
  make_file(in_fs(path), 100);
  await_name(name);
  CHECK_EQ(attribute(in_fs(path), &class_name, value), 4);
  CHECK(memcmp(value, "gold", 4) == 0);
  CHECK_EQ(attribute(in_fs(path), &pool_name, value), -1);

  snprintf(name, sizeof name, "below-%s", tag);
  snprintf(path, sizeof path, "dir/%s", name);
  CHECK_EQ(mkdir(in_fs(path), 0700), 0);
  await_name(name);
  CHECK_EQ(attribute(in_fs(path), &class_name, value), 4);
  struct handle below = handle_of(in_fs(path));
  CHECK_EQ(dm_set_dmattr(sid, below.hanp, below.hlen, DM_NO_TOKEN, &pool_name, 0, 0, NULL), 0);

  snprintf(path, sizeof path, "dir/%s/link-%s", name, tag);
  snprintf(name, sizeof name, "link-%s", tag);
  CHECK_EQ(symlink("nowhere", in_fs(path)), 0);
  await_name(name);
  CHECK_EQ(attribute(in_fs(path), &class_name, value), -1);
  CHECK_EQ(attribute(in_fs(path), &pool_name, value), 0);
}

static void body(void) {
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  dir = handle_of(in_fs("dir"));
  fs = fs_handle_of(bed.fs);
  sid = new_session("inherit");
  CHECK_EQ(dm_set_dmattr(sid, dir.hanp, dir.hlen, DM_NO_TOKEN, &class_name, 0, 4, (char[]){"gold"}), 0);
  the_list();
  events_on();
  new_objects("first");

  kill_worker();
  CHECK_EQ(listed((dm_inherit_t[4]){{{{0}}, 0}}, 4), 3);
  new_objects("second");

  /* What was there before, and what is cleared, inherits nothing. */
  char value[64];
  CHECK_EQ(dm_clear_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &class_name), 0);
  make_file(in_fs("dir/after"), 1);
  await_name("after");
  CHECK_EQ(attribute(in_fs("dir/after"), &class_name, value), -1);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
