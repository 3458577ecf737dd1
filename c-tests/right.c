/* Purpose: dm_request_right, dm_release_right, dm_query_right, dm_upgrade_right, dm_downgrade_right: sequences of one
 * token, conflicts of two, waiting, each errno, what an answer releases, and the next worker. */
#include <pthread.h>
#include <signal.h>

#include "messages.h"

static dm_sessid_t sid;
static struct handle file, second, directory, fs;

static int ask(struct handle on, dm_token_t token, u_int flags, dm_right_t right) {
  return dm_request_right(sid, on.hanp, on.hlen, token, flags, right);
}

static int release(struct handle on, dm_token_t token) {
  return dm_release_right(sid, on.hanp, on.hlen, token);
}

static int upgrade(struct handle on, dm_token_t token) {
  return dm_upgrade_right(sid, on.hanp, on.hlen, token);
}

static int downgrade(struct handle on, dm_token_t token) {
  return dm_downgrade_right(sid, on.hanp, on.hlen, token);
}

static dm_right_t right_of(struct handle on, dm_token_t token) {
  dm_right_t right = (dm_right_t)99;
  CHECK_EQ(dm_query_right(sid, on.hanp, on.hlen, token, &right), 0);
  return right;
}

static void one_token_asks_in_every_order(struct handle on) {
  dm_token_t token = new_token(sid);
  CHECK_ERRNO(ask(on, token, 0, DM_RIGHT_NULL), EINVAL);
  CHECK_ERRNO(ask(on, token, 0, (dm_right_t)99), EINVAL);
  CHECK_ERRNO(ask(on, token, 64, DM_RIGHT_SHARED), EINVAL);
  CHECK_EQ(right_of(on, token), DM_RIGHT_NULL);
  CHECK_EQ(ask(on, token, 0, DM_RIGHT_SHARED), 0);
  CHECK_EQ(right_of(on, token), DM_RIGHT_SHARED);
  CHECK_EQ(ask(on, token, DM_RR_WAIT, DM_RIGHT_SHARED), 0);
  CHECK_ERRNO(ask(on, token, DM_RR_WAIT, DM_RIGHT_EXCL), EACCES);
  CHECK_EQ(right_of(on, token), DM_RIGHT_SHARED);
  CHECK_EQ(ask(on, token, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(right_of(on, token), DM_RIGHT_EXCL);
  CHECK_EQ(ask(on, token, DM_RR_WAIT, DM_RIGHT_EXCL), 0);
  CHECK_EQ(ask(on, token, 0, DM_RIGHT_SHARED), 0);
  CHECK(right_of(on, token) >= DM_RIGHT_SHARED);
  answer(sid, token);
  token = new_token(sid);
  CHECK_EQ(ask(on, token, DM_RR_WAIT, DM_RIGHT_EXCL), 0);
  answer(sid, token);
}

static void steps_need_what_they_change(struct handle on) {
  dm_token_t token = new_token(sid);
  CHECK_ERRNO(upgrade(on, token), EPERM);
  CHECK_ERRNO(downgrade(on, token), EPERM);
  CHECK_ERRNO(release(on, token), EACCES);
  CHECK_EQ(ask(on, token, 0, DM_RIGHT_SHARED), 0);
  CHECK_ERRNO(downgrade(on, token), EPERM);
  CHECK_EQ(upgrade(on, token), 0);
  CHECK_EQ(upgrade(on, token), 0);
  CHECK_EQ(right_of(on, token), DM_RIGHT_EXCL);
  CHECK_EQ(downgrade(on, token), 0);
  CHECK_EQ(right_of(on, token), DM_RIGHT_SHARED);
  CHECK_EQ(release(on, token), 0);
  CHECK_EQ(right_of(on, token), DM_RIGHT_NULL);
  CHECK_ERRNO(release(on, token), EACCES);
  answer(sid, token);
}

static void two_tokens_conflict(struct handle on) {
  dm_token_t one = new_token(sid), two = new_token(sid);
  CHECK_EQ(ask(on, one, 0, DM_RIGHT_SHARED), 0);
  CHECK_EQ(ask(on, two, 0, DM_RIGHT_SHARED), 0);
  CHECK_ERRNO(ask(on, one, 0, DM_RIGHT_EXCL), EAGAIN);
  CHECK_ERRNO(upgrade(on, one), EAGAIN);
  CHECK_EQ(right_of(on, one), DM_RIGHT_SHARED);
  CHECK_EQ(release(on, two), 0);
  CHECK_ERRNO(ask(on, two, 0, DM_RIGHT_EXCL), EAGAIN);
  CHECK_EQ(upgrade(on, one), 0);
  CHECK_ERRNO(ask(on, two, 0, DM_RIGHT_SHARED), EAGAIN);
  CHECK_ERRNO(ask(on, two, 0, DM_RIGHT_EXCL), EAGAIN);
  CHECK_EQ(right_of(on, two), DM_RIGHT_NULL);
  CHECK_EQ(downgrade(on, one), 0);
  CHECK_EQ(ask(on, two, 0, DM_RIGHT_SHARED), 0);
  answer(sid, one);
  CHECK_EQ(upgrade(on, two), 0);
  answer(sid, two);
}

/* A request that waits in a thread of its own. */
struct waiter {
  struct handle on;
  dm_token_t token;
  dm_right_t right;
  int result, error;
  bool ended;
  pthread_t thread;
};

static void *wait_for_right(void *argument) {
  struct waiter *waiter = argument;
  waiter->result = ask(waiter->on, waiter->token, DM_RR_WAIT, waiter->right);
  waiter->error = errno;
  __atomic_store_n(&waiter->ended, true, __ATOMIC_RELEASE);
  return NULL;
}

static bool waiter_ended(struct waiter *waiter) {
  return __atomic_load_n(&waiter->ended, __ATOMIC_ACQUIRE);
}

static void start_waiter(struct waiter *waiter, struct handle on, dm_token_t token, dm_right_t right) {
  *waiter = (struct waiter){.on = on, .token = token, .right = right};
  CHECK_EQ(pthread_create(&waiter->thread, NULL, wait_for_right, waiter), 0);
}

static void join_waiter(struct waiter *waiter) {
  CHECK_EQ(pthread_join(waiter->thread, NULL), 0);
}

/* How a right that others wait for goes: by release, downgrade, answer. */
static int end_by_answer(struct handle on, dm_token_t token) {
  (void)on;
  return dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL);
}

static void waiting_ends_with(int (*end)(struct handle, dm_token_t), dm_right_t wanted) {
  struct waiter waiter;
  dm_token_t one = new_token(sid), two = new_token(sid);
  CHECK_EQ(ask(file, one, 0, DM_RIGHT_EXCL), 0);
  start_waiter(&waiter, file, two, wanted);
  usleep(20000); /* most often the thread waits now; it must not get through in any case */
  CHECK(!waiter_ended(&waiter));
  CHECK_EQ(right_of(file, two), DM_RIGHT_NULL);
  CHECK_EQ(end(file, one), 0);
  join_waiter(&waiter);
  CHECK_EQ(waiter.result, 0);
  CHECK_EQ(right_of(file, two), wanted);
  answer(sid, two);
  if (end != end_by_answer)
    answer(sid, one);
}

static void on_signal(int number) {
  (void)number;
}

static bool signal_waiter(void *argument) {
  struct waiter *waiter = argument;
  if (waiter_ended(waiter))
    return true;
  pthread_kill(waiter->thread, SIGUSR1);
  return false;
}

static void a_signal_ends_waiting(void) {
  struct sigaction action = {.sa_handler = on_signal};
  struct waiter waiter;
  dm_token_t one = new_token(sid), two = new_token(sid);
  CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
  CHECK_EQ(ask(file, one, 0, DM_RIGHT_EXCL), 0);
  start_waiter(&waiter, file, two, DM_RIGHT_SHARED);
  wait_until(signal_waiter, &waiter, "the waiting request is interrupted");
  join_waiter(&waiter);
  CHECK_EQ(waiter.result, -1);
  CHECK_EQ(waiter.error, EINTR); /* produces: dm_request_right EINTR */
  CHECK_EQ(right_of(file, two), DM_RIGHT_NULL);
  answer(sid, one);
  answer(sid, two);
}

static void a_waiter_whose_token_ends_gets_nothing(void) {
  struct waiter waiter;
  dm_token_t one = new_token(sid), two = new_token(sid), three = new_token(sid);
  CHECK_EQ(ask(file, one, 0, DM_RIGHT_EXCL), 0);
  start_waiter(&waiter, file, two, DM_RIGHT_EXCL);
  answer(sid, two);
  answer(sid, one);
  join_waiter(&waiter);
  CHECK_EQ(waiter.result, -1);
  CHECK_EQ(waiter.error, ESRCH);
  CHECK_EQ(ask(file, three, 0, DM_RIGHT_EXCL), 0);
  answer(sid, three);
}

static void an_answer_releases_all(void) {
  dm_token_t token = new_token(sid), next = new_token(sid);
  dm_right_t right = (dm_right_t)7;
  CHECK_EQ(ask(file, token, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(ask(second, token, 0, DM_RIGHT_SHARED), 0);
  CHECK_EQ(ask(fs, token, 0, DM_RIGHT_EXCL), 0);
  answer(sid, token);
  CHECK_EQ(ask(file, next, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(ask(second, next, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(ask(fs, next, 0, DM_RIGHT_EXCL), 0);
  CHECK_ERRNO(ask(file, token, 0, DM_RIGHT_SHARED), ESRCH);
  CHECK_ERRNO(release(file, token), ESRCH);
  CHECK_ERRNO(upgrade(file, token), ESRCH);
  CHECK_ERRNO(downgrade(file, token), ESRCH);
  CHECK_ERRNO_KEEPS(dm_query_right(sid, file.hanp, file.hlen, token, &right), ESRCH, right);
  answer(sid, next);
}

static void rights_cover_one_object(void) {
  dm_token_t one = new_token(sid), two = new_token(sid);
  CHECK_EQ(ask(directory, one, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(ask(fs, one, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(ask(file, two, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(ask(second, one, 0, DM_RIGHT_EXCL), 0);
  answer(sid, one);
  answer(sid, two);
}

static void rights_travel_with_the_event(void) {
  dm_sessid_t other = new_session("target");
  dm_token_t token = new_token(sid), moved = 0;
  dm_right_t right = DM_RIGHT_NULL;
  CHECK_EQ(ask(file, token, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(dm_move_event(sid, token, other, &moved), 0);
  CHECK_EQ(dm_query_right(other, file.hanp, file.hlen, moved, &right), 0);
  CHECK_EQ(right, DM_RIGHT_EXCL);
  CHECK_ERRNO(dm_query_right(sid, file.hanp, file.hlen, moved, &right), EINVAL);
  answer(other, moved);
  CHECK_EQ(dm_destroy_session(other), 0);
}

/* All five calls on one set of arguments. */
/* produces: dm_request_right, dm_release_right, dm_upgrade_right, dm_downgrade_right, dm_query_right EINVAL EFAULT EBADF */
static void every_call_says(dm_sessid_t of, void *hanp, size_t hlen, dm_token_t token, int expected) {
  dm_right_t right = (dm_right_t)7;
  CHECK_ERRNO(dm_request_right(of, hanp, hlen, token, 0, DM_RIGHT_SHARED), expected);
  CHECK_ERRNO(dm_release_right(of, hanp, hlen, token), expected);
  CHECK_ERRNO(dm_upgrade_right(of, hanp, hlen, token), expected);
  CHECK_ERRNO(dm_downgrade_right(of, hanp, hlen, token), expected);
  CHECK_ERRNO_KEEPS(dm_query_right(of, hanp, hlen, token, &right), expected, right);
}

static void bad_arguments(void) {
  dm_token_t token = new_token(sid);
  const dm_token_t bad_tokens[] = {DM_NO_TOKEN, DM_INVALID_TOKEN, -100, 0x7fffffff};
  const dm_sessid_t bad_sids[] = {DM_NO_SESSION, -100, 0x7fffffff};
  for (size_t i = 0; i < sizeof bad_tokens / sizeof *bad_tokens; i++)
    every_call_says(sid, file.hanp, file.hlen, bad_tokens[i], EINVAL);
  for (size_t i = 0; i < sizeof bad_sids / sizeof *bad_sids; i++)
    every_call_says(bad_sids[i], file.hanp, file.hlen, token, EINVAL);
  for (int i = 0; i < BAD_POINTERS; i++) {
    every_call_says(sid, bad_pointer(i), file.hlen, token, EFAULT);
    CHECK_ERRNO(dm_query_right(sid, file.hanp, file.hlen, token, bad_pointer(i)), EFAULT);
  }
  every_call_says(sid, file.hanp, file.hlen - 1, token, EBADF);
  every_call_says(sid, file.hanp, file.hlen + 1, token, EBADF);
  every_call_says(sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, token, EBADF);
  unsigned char changed[24];
  memcpy(changed, file.hanp, sizeof changed);
  changed[12] ^= 0x55; /* the generation */
  CHECK_ERRNO(dm_request_right(sid, changed, sizeof changed, token, 0, DM_RIGHT_SHARED), EBADF);
  memset(changed, 0x11, sizeof changed); /* a file system that nobody serves */
  CHECK_ERRNO(dm_request_right(sid, changed, 8, token, 0, DM_RIGHT_SHARED), EBADF);
  answer(sid, token);
}

static void the_next_worker_knows_all_rights(void) {
  struct waiter waiter;
  dm_token_t one = new_token(sid), two = new_token(sid);
  CHECK_EQ(ask(file, one, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(ask(second, one, 0, DM_RIGHT_SHARED), 0);
  start_waiter(&waiter, file, two, DM_RIGHT_EXCL);
  kill_worker();
  CHECK_EQ(right_of(file, one), DM_RIGHT_EXCL);
  CHECK_EQ(right_of(second, one), DM_RIGHT_SHARED);
  CHECK_EQ(right_of(directory, one), DM_RIGHT_NULL);
  CHECK_ERRNO(ask(second, two, 0, DM_RIGHT_EXCL), EAGAIN);
  CHECK(!waiter_ended(&waiter));
  CHECK_EQ(release(file, one), 0);
  join_waiter(&waiter);
  CHECK_EQ(waiter.result, 0);
  CHECK_EQ(right_of(file, two), DM_RIGHT_EXCL);
  answer(sid, one);
  answer(sid, two);
}

static void body(void) {
  make_file(in_fs("file"), 10);
  make_file(in_fs("second"), 10);
  file = handle_of(in_fs("file"));
  second = handle_of(in_fs("second"));
  directory = handle_of(bed.fs);
  fs = fs_handle_of(bed.fs);
  sid = new_session("rights");
  struct handle kinds[] = {file, directory, fs};
  for (size_t i = 0; i < 3; i++) {
    one_token_asks_in_every_order(kinds[i]);
    steps_need_what_they_change(kinds[i]);
    two_tokens_conflict(kinds[i]);
  }
  waiting_ends_with(release, DM_RIGHT_EXCL);
  waiting_ends_with(release, DM_RIGHT_SHARED);
  waiting_ends_with(downgrade, DM_RIGHT_SHARED);
  waiting_ends_with(end_by_answer, DM_RIGHT_EXCL);
  a_signal_ends_waiting();
  a_waiter_whose_token_ends_gets_nothing();
  an_answer_releases_all();
  rights_cover_one_object();
  rights_travel_with_the_event();
  bad_arguments();
  the_next_worker_knows_all_rights();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
