/* Purpose: events before the fact for names: CREATE, REMOVE, RENAME, LINK and SYMLINK hold the operation; ABORT gives the
 * user the errno and does nothing, CONTINUE lets it happen; the event after it tells what came of it. */
#include "events.h"
#include "user.h"

#include <fcntl.h>
#include <sys/stat.h>

static dm_sessid_t sid;
static struct handle fs, dir, other, target;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

struct operation {
  const char *what;
  enum deed_on_names deed;
  const char *name, *second;
  int before, after;
  mode_t mode;              /* of what is made or removed */
  const char *name1, *name2;
  bool second_dir;          /* handle2 is the directory `other` */
  bool has_target;          /* handle2 is `target` */
};

static dm_namesp_event_t *next(int type, dm_token_t *token) {
  dm_eventmsg_t *message = next_event(sid, type);
  CHECK_EQ(message->ev_token != DM_INVALID_TOKEN, token != NULL);
  if (token != NULL)
    *token = message->ev_token;
  return DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
}

static void check_name(const char *got, u_int length, const char *wanted) {
  CHECK_EQ(length, wanted == NULL ? 0 : strlen(wanted) + 1);
  CHECK(wanted == NULL || strcmp(got, wanted) == 0);
}

static void check_body(dm_namesp_event_t *body, const struct operation *operation, int retcode) {
  CHECK_EQ(body->ne_retcode, retcode);
  CHECK_HANDLE(body, ne_handle1, dir);
  if (operation->second_dir)
    CHECK_HANDLE(body, ne_handle2, other);
  if (operation->has_target)
    CHECK_HANDLE(body, ne_handle2, target);
  check_name(DM_GET_VALUE(body, ne_name1, char *), DM_GET_LEN(body, ne_name1), operation->name1);
  check_name(DM_GET_VALUE(body, ne_name2, char *), DM_GET_LEN(body, ne_name2), operation->name2);
  if (operation->mode != 0)
    CHECK_EQ(body->ne_mode, operation->mode);
}

static bool exists(const char *name) {
  struct stat stat;
  return lstat(in_fs(name), &stat) == 0;
}

/* What the operation changes: is it as it was before? */
static bool is_undone(const struct operation *operation) {
  switch (operation->deed) {
  case NAME_UNLINK:
  case NAME_RMDIR:
    return exists(operation->name);
  case NAME_RENAME:
    return exists(operation->name) && !exists(operation->second);
  case NAME_LINK:
    return !exists(operation->second);
  default:
    return !exists(operation->name);
  }
}

static struct user *begin(const struct operation *operation) {
  return user_names(operation->deed, operation->name, operation->second);
}

static void aborted(const struct operation *operation, int errno_value) {
  struct user *user = begin(operation);
  dm_token_t token;
  check_body(next(operation->before, &token), operation, 0);
  CHECK(!has_done(user));
  respond(sid, token, DM_RESP_ABORT, errno_value);
  CHECK_EQ(await(user), errno_value);
  check_body(next(operation->after, NULL), operation, errno_value);
  CHECK(is_undone(operation));
}

static void continued(const struct operation *operation, bool worker_dies) {
  struct user *user = begin(operation);
  dm_token_t token;
  check_body(next(operation->before, &token), operation, 0);
  if (worker_dies) {
    kill_worker();
    CHECK(!has_done(user));
  }
  respond(sid, token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(user), 0);
  check_body(next(operation->after, NULL), operation, 0);
  CHECK(!is_undone(operation));
  no_event(sid);
}

/* Each is undone by the next that fits. */
static const struct operation operations[] = {
    {"create", NAME_CREATE, "dir/new", NULL, DM_EVENT_CREATE, DM_EVENT_POSTCREATE, S_IFREG | 0640, "new", NULL, false, false},
    {"mkdir", NAME_MKDIR, "dir/sub", NULL, DM_EVENT_CREATE, DM_EVENT_POSTCREATE, S_IFDIR | 0750, "sub", NULL, false, false},
    {"mkfifo", NAME_MKFIFO, "dir/fifo", NULL, DM_EVENT_CREATE, DM_EVENT_POSTCREATE, S_IFIFO | 0600, "fifo", NULL, false, false},
    {"symlink", NAME_SYMLINK, "dir/soft", "where/to", DM_EVENT_SYMLINK, DM_EVENT_POSTSYMLINK, 0, "soft", "where/to", false,
     false},
    {"link", NAME_LINK, "target", "dir/hard", DM_EVENT_LINK, DM_EVENT_POSTLINK, 0, "hard", NULL, false, true},
    {"rename", NAME_RENAME, "dir/hard", "other/moved", DM_EVENT_RENAME, DM_EVENT_POSTRENAME, 0, "hard", "moved", true, false},
    {"unlink", NAME_UNLINK, "dir/new", NULL, DM_EVENT_REMOVE, DM_EVENT_POSTREMOVE, S_IFREG | 0640, "new", NULL, false, false},
    {"unlink a link", NAME_UNLINK, "dir/soft", NULL, DM_EVENT_REMOVE, DM_EVENT_POSTREMOVE, S_IFLNK | 0777, "soft", NULL, false,
     false},
    {"rmdir", NAME_RMDIR, "dir/sub", NULL, DM_EVENT_REMOVE, DM_EVENT_POSTREMOVE, S_IFDIR | 0750, "sub", NULL, false, false},
};

/* An operation that nobody could do makes no event; one that fails later tells so. */
static void failures(void) {
  CHECK_EQ(await(user_names(NAME_UNLINK, "dir/absent", NULL)), ENOENT);
  CHECK_EQ(await(user_names(NAME_MKDIR, "dir/fifo", NULL)), EEXIST);
  no_event(sid);
  CHECK_EQ(mkdir(in_fs("other/full"), 0755), 0);
  make_file(in_fs("other/full/file"), 1);
  dm_eventset_t set = 0;
  DMEV_SET(DM_EVENT_REMOVE, set);
  DMEV_SET(DM_EVENT_POSTREMOVE, set);
  CHECK_EQ(dm_set_eventlist(ON(other), &set, DM_EVENT_MAX), 0);
  struct user *user = user_names(NAME_RMDIR, "other/full", NULL);
  dm_token_t token;
  next(DM_EVENT_REMOVE, &token);
  respond(sid, token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(user), ENOTEMPTY);
  CHECK_EQ(next(DM_EVENT_POSTREMOVE, NULL)->ne_retcode, ENOTEMPTY);
}

static void body(void) {
  fs = fs_handle_of(bed.fs);
  static const int needed[] = {DM_EVENT_CREATE, DM_EVENT_REMOVE, DM_EVENT_RENAME, DM_EVENT_LINK, DM_EVENT_SYMLINK};
  for (size_t at = 0; at < sizeof needed / sizeof needed[0]; at++)
    CHECK(makes_event(needed[at]));
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  CHECK_EQ(mkdir(in_fs("other"), 0755), 0);
  make_file(in_fs("target"), 1);
  dir = handle_of(in_fs("dir"));
  other = handle_of(in_fs("other"));
  target = handle_of(in_fs("target"));
  sid = new_session("names before");
  dm_eventset_t set = 0;
  for (int event = DM_EVENT_CREATE; event <= DM_EVENT_POSTSYMLINK; event++)
    DMEV_SET(event, set);
  CHECK_EQ(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_set_eventlist(ON(dir), &set, DM_EVENT_MAX), 0);

  static const int errnos[] = {EPERM, EBUSY, ENOSPC, EXDEV, ENOLCK, ECANCELED, EDQUOT, EIO, ETXTBSY};
  for (size_t at = 0; at < sizeof operations / sizeof operations[0]; at++) {
    fprintf(stderr, "%s\n", operations[at].what);
    aborted(&operations[at], errnos[at % (sizeof errnos / sizeof errnos[0])]);
    continued(&operations[at], at % 2 == 1);
  }
  failures();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
