/* Purpose: events after the fact: names, attributes, closes, the end of objects; which list enables them for what; the
 * attribute that DESTROY returns. */
#include "events.h"

#include <fcntl.h>
#include <sys/stat.h>

static dm_sessid_t sid;
static struct handle fs, root, dir;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static dm_eventset_t only(int event) {
  return (dm_eventset_t)1 << event;
}

static void set_list(struct handle on, dm_eventset_t set) {
  CHECK_EQ(dm_set_eventlist(ON(on), &set, DM_EVENT_MAX), 0);
}

static void set_disp(dm_eventset_t set) {
  CHECK_EQ(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), 0);
}

static dm_eventmsg_t *next(int type) {
  dm_eventmsg_t *message = next_event(sid, type);
  CHECK_EQ(message->ev_token, DM_INVALID_TOKEN);
  return message;
}

static dm_namesp_event_t *next_name(int type) {
  dm_eventmsg_t *message = next(type);
  return DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
}

/* The next event is about that object. */
static void check_object(int type, struct handle wanted) {
  dm_namesp_event_t *body = next_name(type);
  CHECK_HANDLE(body, ne_handle1, wanted);
}

static void check_name(const char *got, u_int length, const char *wanted) {
  CHECK_EQ(length, strlen(wanted) + 1);
  CHECK(strcmp(got, wanted) == 0);
}

#define NAME(body, field, wanted) check_name(DM_GET_VALUE(body, field, char *), DM_GET_LEN(body, field), wanted)

/* The kernel merges what happens to one object in quick succession: each step waits for its event. */
static void names_in_a_directory(void) {
  dm_eventset_t all = only(DM_EVENT_POSTCREATE) | only(DM_EVENT_POSTREMOVE) | only(DM_EVENT_POSTRENAME) |
                      only(DM_EVENT_POSTLINK) | only(DM_EVENT_POSTSYMLINK);
  set_disp(all);
  set_list(dir, all);
  /* Not here, and not below. */
  make_file(in_fs("elsewhere"), 1);
  CHECK_EQ(mkdir(in_fs("dir/below"), 0700), 0);
  dm_namesp_event_t *body = next_name(DM_EVENT_POSTCREATE);
  NAME(body, ne_name1, "below");
  CHECK(S_ISDIR(body->ne_mode));
  make_file(in_fs("dir/below/x"), 1);

  int fd = open(in_fs("dir/new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
  CHECK(fd >= 0);
  body = next_name(DM_EVENT_POSTCREATE);
  struct handle new = handle_of(in_fs("dir/new"));
  CHECK_HANDLE(body, ne_handle1, dir);
  CHECK_HANDLE(body, ne_handle2, new);
  NAME(body, ne_name1, "new");
  CHECK_EQ(body->ne_mode, S_IFREG | 0640);
  CHECK_EQ(body->ne_retcode, 0);
  /* It exists by now: no event. */
  CHECK_EQ(close(fd), 0);
  fd = open(in_fs("dir/new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
  CHECK_EQ(close(fd), 0);

  CHECK_EQ(link(in_fs("dir/new"), in_fs("dir/hard")), 0);
  body = next_name(DM_EVENT_POSTLINK);
  CHECK_HANDLE(body, ne_handle1, dir);
  CHECK_HANDLE(body, ne_handle2, new);
  NAME(body, ne_name1, "hard");

  CHECK_EQ(symlink("where/to", in_fs("dir/soft")), 0);
  body = next_name(DM_EVENT_POSTSYMLINK);
  struct handle soft = handle_of(in_fs("dir/soft"));
  CHECK_HANDLE(body, ne_handle1, dir);
  CHECK_HANDLE(body, ne_handle2, soft);
  NAME(body, ne_name1, "soft");
  NAME(body, ne_name2, "where/to");

  CHECK_EQ(rename(in_fs("dir/hard"), in_fs("moved")), 0);
  body = next_name(DM_EVENT_POSTRENAME);
  CHECK_HANDLE(body, ne_handle1, dir);
  CHECK_HANDLE(body, ne_handle2, root);
  NAME(body, ne_name1, "hard");
  NAME(body, ne_name2, "moved");
  /* Either directory enables it. */
  CHECK_EQ(rename(in_fs("moved"), in_fs("dir/back")), 0);
  body = next_name(DM_EVENT_POSTRENAME);
  CHECK_HANDLE(body, ne_handle1, root);
  CHECK_HANDLE(body, ne_handle2, dir);

  CHECK_EQ(unlink(in_fs("dir/back")), 0);
  body = next_name(DM_EVENT_POSTREMOVE);
  CHECK_HANDLE(body, ne_handle1, dir);
  NAME(body, ne_name1, "back");
  CHECK_EQ(DM_GET_LEN(body, ne_handle2), 0);
  CHECK_EQ(unlink(in_fs("dir/soft")), 0);
  next_name(DM_EVENT_POSTREMOVE);
  set_list(dir, 0);
}

/* The list of the file system, that of an object, and none. */
static void lists(void) {
  struct handle one, two;
  make_file(in_fs("one"), 1);
  make_file(in_fs("two"), 1);
  one = handle_of(in_fs("one"));
  two = handle_of(in_fs("two"));
  set_disp(only(DM_EVENT_ATTRIBUTE));
  /* A disposition alone enables nothing: the first event is that of the one with the list. */
  CHECK_EQ(chmod(in_fs("one"), 0600), 0);
  set_list(two, only(DM_EVENT_ATTRIBUTE));
  CHECK_EQ(chmod(in_fs("one"), 0640), 0);
  CHECK_EQ(chmod(in_fs("two"), 0600), 0);
  check_object(DM_EVENT_ATTRIBUTE, two);
  set_list(fs, only(DM_EVENT_ATTRIBUTE));
  const uid_t other = bed.ordinary ? 0 : 1; /* the only one that there is */
  CHECK_EQ(chown(in_fs("one"), other, other), 0);
  check_object(DM_EVENT_ATTRIBUTE, one);
  CHECK_EQ(chmod(in_fs("dir"), 0711), 0);
  check_object(DM_EVENT_ATTRIBUTE, dir);
  /* DM attributes, regions and lists are nobody's business. */
  dm_attrname_t name = {"NAME"};
  dm_region_t region = {0, 0, DM_REGION_NOEVENT, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_dmattr(ON(one), &name, 1, 1, (char[]){"v"}), 0);
  CHECK_EQ(dm_set_region(ON(one), 1, &region, &exact), 0);
  set_list(one, only(DM_EVENT_DESTROY));
  CHECK_EQ(dm_remove_dmattr(ON(one), 0, &name), 0);
  CHECK_EQ(utimensat(AT_FDCWD, in_fs("two"), NULL, 0), 0);
  check_object(DM_EVENT_ATTRIBUTE, two);
  set_list(one, 0);
  set_list(two, 0);
  set_list(fs, 0);
}

static void closes(void) {
  make_file(in_fs("closed"), 1);
  struct handle closed = handle_of(in_fs("closed"));
  set_disp(only(DM_EVENT_CLOSE));
  set_list(closed, only(DM_EVENT_CLOSE));
  int fd = open(in_fs("closed"), O_RDONLY | O_CLOEXEC);
  int copy = dup(fd);
  CHECK(fd >= 0 && copy >= 0);
  CHECK_EQ(close(fd), 0);
  no_event(sid);
  CHECK_EQ(close(copy), 0);
  check_object(DM_EVENT_CLOSE, closed);
  set_list(closed, 0);
}

static void destroy(const char *path, dm_attrname_t *name, const char *value, size_t length) {
  make_file(in_fs(path), 1);
  struct handle victim = handle_of(in_fs(path));
  if (value != NULL)
    CHECK_EQ(dm_set_dmattr(ON(victim), name, 0, length, (void *)value), 0);
  int fd = open(in_fs(path), O_RDONLY | O_CLOEXEC);
  CHECK_EQ(link(in_fs(path), in_fs("second name")), 0);
  CHECK_EQ(unlink(in_fs(path)), 0);
  CHECK_EQ(unlink(in_fs("second name")), 0);
  /* Not before the last close. */
  no_event(sid);
  CHECK_EQ(close(fd), 0);
  dm_eventmsg_t *message = next(DM_EVENT_DESTROY);
  dm_destroy_event_t *body = DM_GET_VALUE(message, ev_data, dm_destroy_event_t *);
  CHECK_HANDLE(body, ds_handle, victim);
  dm_attrname_t none = {{0}};
  if (value == NULL) {
    CHECK(memcmp(&body->ds_attrname, &none, sizeof none) == 0);
    CHECK_EQ(DM_GET_LEN(body, ds_attrcopy), 0);
    return;
  }
  CHECK(memcmp(&body->ds_attrname, name, sizeof *name) == 0);
  dm_size_t most = 0;
  CHECK_EQ(dm_get_config(fs.hanp, fs.hlen, DM_CONFIG_MAX_ATTR_ON_DESTROY, &most), 0);
  size_t wanted = length < most ? length : (size_t)most;
  CHECK_EQ(DM_GET_LEN(body, ds_attrcopy), wanted);
  if (wanted > 0)
    CHECK(memcmp(DM_GET_VALUE(body, ds_attrcopy, char *), value, wanted) == 0);
  char room[64];
  size_t got = 0;
  CHECK_ERRNO(dm_get_dmattr(ON(victim), name, sizeof room, room, &got), EBADF);
}

static void destroyed(void) {
  static char big[300];
  memset(big, 'b', sizeof big);
  dm_attrname_t name = {"RETURNED"}, other = {"OTHER"};
  set_disp(only(DM_EVENT_DESTROY));
  set_list(fs, only(DM_EVENT_DESTROY));
  CHECK_EQ(dm_set_return_on_destroy(ON(fs), &name, DM_TRUE), 0);
  kill_worker();
  destroy("with", &name, "the value", 9);
  destroy("empty", &name, "", 0);
  destroy("without", &name, NULL, 0);
  destroy("long", &name, big, sizeof big);
  CHECK_EQ(dm_set_return_on_destroy(ON(fs), &other, DM_FALSE), 0);
  destroy("ended", &name, NULL, 0);
  set_list(fs, 0);
}

static void body(void) {
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  fs = fs_handle_of(bed.fs);
  root = handle_of(bed.fs);
  dir = handle_of(in_fs("dir"));
  sid = new_session("names");
  names_in_a_directory();
  lists();
  closes();
  destroyed();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
