/* Purpose: PREUNMOUNT: dmctl umount waits for the answer; ABORT leaves the file system mounted, CONTINUE unmounts it, and
 * UNMOUNT tells of it. */
#include "harness.h"

#include <sys/wait.h>

static dm_sessid_t sid;
static struct handle fs, root;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static dm_size_t room[64];

static pid_t begin_umount(void) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0)
    _exit(dmctl("umount", bed.fs, (char *)NULL) == 0 ? 0 : 1);
  return child;
}

static bool has_worked(pid_t child) {
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status));
  return WEXITSTATUS(status) == 0;
}

static dm_eventmsg_t *next(int type) {
  size_t length = 0;
  CHECK_EQ(dm_get_events(sid, 1, DM_EV_WAIT, sizeof room, room, &length), 0);
  dm_eventmsg_t *message = (dm_eventmsg_t *)room;
  CHECK_EQ(message->ev_type, type);
  dm_namesp_event_t *body = DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
  CHECK_EQ(dm_handle_cmp(DM_GET_VALUE(body, ne_handle1, void *), DM_GET_LEN(body, ne_handle1), fs.hanp, fs.hlen), 0);
  return message;
}

static dm_token_t preunmount(void) {
  dm_eventmsg_t *message = next(DM_EVENT_PREUNMOUNT);
  dm_namesp_event_t *body = DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
  CHECK_EQ(body->ne_mode, 0);
  CHECK_EQ(dm_handle_cmp(DM_GET_VALUE(body, ne_handle2, void *), DM_GET_LEN(body, ne_handle2), root.hanp, root.hlen), 0);
  return message->ev_token;
}

static void body(void) {
  fs = fs_handle_of(bed.fs);
  root = handle_of(bed.fs);
  make_file(in_fs("file"), 10);
  struct handle file = handle_of(in_fs("file"));
  sid = new_session("unmount");
  dm_eventset_t set = 0;
  DMEV_SET(DM_EVENT_PREUNMOUNT, set);
  DMEV_SET(DM_EVENT_UNMOUNT, set);
  CHECK_EQ(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_set_eventlist(ON(fs), &set, DM_EVENT_MAX), 0);

  pid_t child = begin_umount();
  CHECK_EQ(dm_respond_event(sid, preunmount(), DM_RESP_ABORT, EPERM, 0, NULL), 0);
  CHECK(!has_worked(child));
  struct handle still = handle_of(in_fs("file"));
  CHECK_EQ(dm_handle_cmp(still.hanp, still.hlen, file.hanp, file.hlen), 0);

  child = begin_umount();
  CHECK_EQ(dm_respond_event(sid, preunmount(), DM_RESP_CONTINUE, 0, 0, NULL), 0);
  dm_eventmsg_t *message = next(DM_EVENT_UNMOUNT);
  CHECK_EQ(DM_GET_VALUE(message, ev_data, dm_namesp_event_t *)->ne_retcode, 0);
  /* Nobody waits for its answer, which it must have all the same. */
  dm_token_t token = message->ev_token;
  CHECK(has_worked(child));
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK(access(in_fs("file"), F_OK) != 0);
  CHECK_ERRNO(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), EBADF);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
