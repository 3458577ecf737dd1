/* Purpose: CANCEL: a session that wants it is told when the process behind an event that it received is killed, or (FUSE)
 * interrupted by a signal that it handles; one that does not, is not. The event stays and is answered. */
#include "events.h"
#include "user.h"

#include <signal.h>

static dm_sessid_t sid;
static struct handle file, other, fs;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

/* A reader is killed after its READ was received. */
static dm_eventmsg_t read_and_kill(const char *name) {
  struct user *user = user_reads(name, 0, 10);
  dm_eventmsg_t message = *next_event(sid, DM_EVENT_READ);
  kill_user(user);
  return message;
}

/* The next message is the CANCEL of that event. */
static void is_cancelled(const dm_eventmsg_t *before) {
  dm_eventmsg_t *message = next_event(sid, DM_EVENT_CANCEL);
  CHECK_EQ(message->ev_token, DM_INVALID_TOKEN);
  CHECK(message->ev_sequence > before->ev_sequence);
  dm_cancel_event_t *cancel = DM_GET_VALUE(message, ev_data, dm_cancel_event_t *);
  CHECK_EQ(DM_GET_LEN(message, ev_data), sizeof *cancel);
  CHECK_EQ(cancel->ce_sequence, before->ev_sequence);
  CHECK_EQ(cancel->ce_token, before->ev_token);
}

/* A user waits and gets a signal that it handles. */
static struct user *wait_and_signal(bool writes, int number, dm_eventmsg_t *message) {
  struct user *user = writes ? user_writes("file", 0, 10) : user_reads("file", 0, 10);
  *message = *next_event(sid, writes ? DM_EVENT_WRITE : DM_EVENT_READ);
  signal_user(user, number);
  return user;
}

static void ends_the_wait(bool writes, int number) {
  dm_eventmsg_t message;
  struct user *user = wait_and_signal(writes, number, &message);
  is_cancelled(&message);
  CHECK_EQ(await(user), EINTR);
  respond(sid, message.ev_token, DM_RESP_CONTINUE, 0);
}

/* Another one, who waits for another file, is killed later, and is the first of which anybody hears. */
static void ends_no_wait(bool writes, int number) {
  dm_eventmsg_t message;
  struct user waits = *wait_and_signal(writes, number, &message);
  dm_eventmsg_t killed = read_and_kill("other");
  is_cancelled(&killed);
  respond(sid, killed.ev_token, DM_RESP_CONTINUE, 0);
  CHECK(!has_done(&waits));
  respond(sid, message.ev_token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(&waits), 0);
}

static void body(void) {
  make_file(in_fs("file"), 100);
  make_file(in_fs("other"), 100);
  file = handle_of(in_fs("file"));
  other = handle_of(in_fs("other"));
  fs = fs_handle_of(bed.fs);
  sid = new_session("cancel");
  dm_eventset_t set = 0;
  DMEV_SET(DM_EVENT_READ, set);
  DMEV_SET(DM_EVENT_WRITE, set);
  CHECK_EQ(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), 0);
  DMEV_SET(DM_EVENT_CANCEL, set);
  CHECK_ERRNO(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), EINVAL);
  dm_region_t all = {0, 0, DM_REGION_READ | DM_REGION_WRITE, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(ON(file), 1, &all, &exact), 0);
  CHECK_EQ(dm_set_region(ON(other), 1, &all, &exact), 0);

  CHECK_ERRNO(dmx_set_cancel(-1, DM_TRUE), EINVAL);
  CHECK_ERRNO(dmx_set_cancel(DM_NO_SESSION, DM_TRUE), EINVAL);
  CHECK_EQ(dmx_set_cancel(sid, DM_TRUE), 0);
  dm_eventmsg_t killed = read_and_kill("file");
  is_cancelled(&killed);
  respond(sid, killed.ev_token, DM_RESP_CONTINUE, 0);

  /* Signals that say "do not wait". */
  void (*check)(bool, int) = bed.fuse ? ends_the_wait : ends_no_wait;
  check(false, SIGINT);
  check(true, SIGTERM);
  check(false, SIGALRM);
  /* Of this one nobody expects that it ends a read of a file. */
  ends_no_wait(false, SIGUSR1);
  ends_no_wait(true, SIGUSR1);

  /* It goes with the session, also over the death of the worker. */
  dm_sessid_t old = sid;
  CHECK_EQ(dm_create_session(old, (char[]){"cancel again"}, &sid), 0);
  kill_worker();
  killed = read_and_kill("file");
  is_cancelled(&killed);
  respond(sid, killed.ev_token, DM_RESP_CONTINUE, 0);

  /* Not wanted any more: the next that comes is the next read. */
  CHECK_EQ(dmx_set_cancel(sid, DM_FALSE), 0);
  killed = read_and_kill("file");
  struct user *user = user_reads("file", 0, 10);
  dm_eventmsg_t message = *next_event(sid, DM_EVENT_READ);
  CHECK_EQ(dm_set_region(ON(file), 0, NULL, &exact), 0);
  respond(sid, message.ev_token, DM_RESP_CONTINUE, 0);
  respond(sid, killed.ev_token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(user), 0);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
