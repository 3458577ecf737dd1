/* Purpose: PREUNMOUNT: dmctl umount waits for the answer; ABORT leaves the file system mounted, CONTINUE unmounts it, and
 * UNMOUNT tells of it. */
#include "events.h"

#include <sys/wait.h>

static dm_sessid_t sid;
static struct handle fs, root;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

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
  dm_eventmsg_t *message = next_event(sid, type);
  dm_namesp_event_t *body = DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
  CHECK_HANDLE(body, ne_handle1, fs);
  return message;
}

static dm_token_t preunmount(void) {
  dm_eventmsg_t *message = next(DM_EVENT_PREUNMOUNT);
  dm_namesp_event_t *body = DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
  CHECK_EQ(body->ne_mode, 0);
  CHECK_HANDLE(body, ne_handle2, root);
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
  respond(sid, preunmount(), DM_RESP_ABORT, EPERM);
  CHECK(!has_worked(child));
  struct handle still = handle_of(in_fs("file"));
  CHECK_EQ(dm_handle_cmp(still.hanp, still.hlen, file.hanp, file.hlen), 0);

  child = begin_umount();
  respond(sid, preunmount(), DM_RESP_CONTINUE, 0);
  dm_eventmsg_t *message = next(DM_EVENT_UNMOUNT);
  CHECK_EQ(DM_GET_VALUE(message, ev_data, dm_namesp_event_t *)->ne_retcode, 0);
  /* Nobody waits for its answer, which it must have all the same. */
  dm_token_t token = message->ev_token;
  CHECK(has_worked(child));
  respond(sid, token, DM_RESP_CONTINUE, 0);
  CHECK(access(in_fs("file"), F_OK) != 0);
  CHECK_ERRNO(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), EBADF);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
