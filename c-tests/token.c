/* Purpose: tokens: dm_create_userevent, dm_getall_tokens, dm_find_eventmsg, dm_respond_event, dm_move_event,
 * dm_pending: what they give, each errno, stale and foreign tokens, threads, and the next worker. */
#include <pthread.h>

#include "messages.h"

enum { DATA_MAX = 3960, THREADS = 4, EACH = 40 };

static dm_sessid_t sid, other;

/* What each call that takes a token says to one that is not good.
 * produces: dm_respond_event, dm_find_eventmsg, dm_pending EINVAL ESRCH; dm_move_event EINVAL ESRCH ENOENT */
static void every_call_says(dm_sessid_t of, dm_token_t token, int expected, int expected_of_move) {
  _Alignas(8) char buffer[64] = "untouched";
  size_t length = 3;
  dm_token_t moved = 3;
  dm_timestruct_t delay = {.dm_tv_sec = 1};
  CHECK_ERRNO(dm_respond_event(of, token, DM_RESP_CONTINUE, 0, 0, NULL), expected);
  CHECK_ERRNO_KEEPS(dm_find_eventmsg(of, token, sizeof buffer, buffer, &length), expected, buffer);
  CHECK_EQ(length, 3);
  CHECK_ERRNO(dm_pending(of, token, &delay), expected);
  CHECK_ERRNO_KEEPS(dm_move_event(of, token, of, &moved), expected_of_move, moved);
}

static void a_user_event_is_outstanding_at_once(void) {
  dm_token_t token = 0, listed[2] = {0, 7};
  struct messages got;
  u_int count = 0;
  CHECK_EQ(dm_getall_tokens(sid, 0, NULL, &count), 0);
  CHECK_EQ(count, 0);
  CHECK_EQ(dm_create_userevent(sid, 4, (void *)"data", &token), 0);
  CHECK(token > 0);
  CHECK_ERRNO(dm_getall_tokens(sid, 0, NULL, &count), E2BIG);
  CHECK_EQ(count, 1);
  CHECK_EQ(dm_getall_tokens(sid, 2, listed, &count), 0);
  CHECK_EQ(count, 1);
  CHECK_EQ(listed[0], token);
  CHECK_EQ(listed[1], 7);
  CHECK_ERRNO(get_messages(sid, 0, 0, &got), EAGAIN);
  CHECK_EQ(dm_find_eventmsg(sid, token, sizeof got.bytes, got.bytes, &got.length), 0);
  CHECK(says(message_at(&got, 0), "data"));
  CHECK_EQ(message_at(&got, 0)->ev_token, token);
  answer(sid, token);
  CHECK_EQ(count_tokens(sid), 0);
}

static void data_of_a_user_event_has_a_limit(void) {
  static unsigned char data[DATA_MAX + 1];
  struct messages got;
  dm_token_t token = 5;
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = pattern_at(i);
  CHECK_ERRNO_KEEPS(dm_create_userevent(sid, DATA_MAX + 1, data, &token), E2BIG, token);
  CHECK_ERRNO_KEEPS(dm_create_userevent(sid, (size_t)-1, data, &token), E2BIG, token);
  for (int i = 0; i < BAD_POINTERS; i++) {
    CHECK_ERRNO_KEEPS(dm_create_userevent(sid, 8, bad_pointer(i), &token), EFAULT, token);
    CHECK_ERRNO(dm_create_userevent(sid, 8, data, bad_pointer(i)), EFAULT);
  }
  CHECK_ERRNO_KEEPS(dm_create_userevent(-100, 8, data, &token), EINVAL, token);
  CHECK_EQ(count_tokens(sid), 0);
  CHECK_EQ(dm_create_userevent(sid, DATA_MAX, data, &token), 0);
  CHECK_EQ(dm_find_eventmsg(sid, token, sizeof got.bytes, got.bytes, &got.length), 0);
  dm_eventmsg_t *message = message_at(&got, 0);
  CHECK_EQ(DM_GET_LEN(message, ev_data), DATA_MAX);
  CHECK(memcmp(data_of(message), data, DATA_MAX) == 0);
  answer(sid, token);
}

static void only_outstanding_tokens_are_listed(void) {
  struct messages got;
  struct sender sender;
  dm_token_t own = new_token(sid), listed[2] = {0, 0};
  u_int count = 0;
  start_sender(&sender, sid, "event");
  dm_token_t token = receive_sync(sid, "event");
  send_async(sid, "no token");
  CHECK_EQ(get_messages(sid, 0, 0, &got), 1);
  CHECK_ERRNO_KEEPS(dm_getall_tokens(sid, 1, listed, &count), E2BIG, listed);
  CHECK_EQ(count, 2);
  CHECK_EQ(dm_getall_tokens(sid, 2, listed, &count), 0);
  CHECK_EQ(listed[0] + listed[1], own + token);
  for (int i = 0; i < BAD_POINTERS; i++) {
    CHECK_ERRNO(dm_getall_tokens(sid, 2, bad_pointer(i), &count), EFAULT);
    CHECK_ERRNO(dm_getall_tokens(sid, 2, listed, bad_pointer(i)), EFAULT);
  }
  CHECK_ERRNO(dm_getall_tokens(-100, 2, listed, &count), EINVAL);
  answer(sid, own);
  answer(sid, token);
  join_sender(&sender);
}

static void a_found_message_is_the_one_that_was_delivered(void) {
  struct messages got, found = {.length = 0};
  struct sender sender;
  start_sender(&sender, sid, "look again");
  CHECK_EQ(get_messages(sid, 1, DM_EV_WAIT, &got), 1);
  dm_token_t token = message_at(&got, 0)->ev_token;
  CHECK_ERRNO(dm_find_eventmsg(sid, token, 1, found.bytes, &found.length), E2BIG);
  CHECK_EQ(found.length, got.length);
  for (int i = 0; i < BAD_POINTERS; i++) {
    CHECK_ERRNO(dm_find_eventmsg(sid, token, 64, bad_pointer(i), &found.length), EFAULT);
    CHECK_ERRNO(dm_find_eventmsg(sid, token, 64, found.bytes, bad_pointer(i)), EFAULT);
  }
  CHECK_ERRNO(dm_find_eventmsg(sid, token, 64, found.bytes + 1, &found.length), EFAULT);
  CHECK_EQ(dm_find_eventmsg(sid, token, got.length, found.bytes, &found.length), 0);
  CHECK_EQ(found.length, got.length);
  CHECK(memcmp(found.bytes, got.bytes, got.length) == 0);
  answer(sid, token);
  join_sender(&sender);
}

static void a_bad_answer_leaves_the_event(void) {
  dm_token_t token = new_token(sid);
  CHECK_ERRNO(dm_respond_event(sid, token, DM_RESP_CONTINUE, 1, 0, NULL), EINVAL);
  CHECK_ERRNO(dm_respond_event(sid, token, DM_RESP_CONTINUE, -1, 0, NULL), EINVAL);
  CHECK_ERRNO(dm_respond_event(sid, token, DM_RESP_ABORT, 0, 0, NULL), EINVAL);
  CHECK_ERRNO(dm_respond_event(sid, token, DM_RESP_ABORT, -5, 0, NULL), EINVAL);
  CHECK_ERRNO(dm_respond_event(sid, token, DM_RESP_INVALID, 0, 0, NULL), EINVAL);
  CHECK_ERRNO(dm_respond_event(sid, token, (dm_response_t)99, 0, 0, NULL), EINVAL);
  CHECK_ERRNO(dm_respond_event(sid, token, DM_RESP_DONTCARE, 0, 0, NULL), EINVAL);
  CHECK_ERRNO(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, DATA_MAX + 1, NULL), E2BIG);
  CHECK_ERRNO(dm_respond_event(-100, token, DM_RESP_CONTINUE, 0, 0, NULL), EINVAL);
  CHECK_EQ(count_tokens(sid), 1);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_ABORT, EIO, 0, NULL), 0);
}

static void a_token_is_good_once(void) {
  dm_token_t token = new_token(sid);
  answer(sid, token);
  every_call_says(sid, token, ESRCH, ESRCH);
}

static void what_was_never_a_token_is_einval(void) {
  const dm_token_t bad[] = {DM_NO_TOKEN, DM_INVALID_TOKEN, -100, 0x7fffffff};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    every_call_says(sid, bad[i], EINVAL, EINVAL);
}

static void a_foreign_token_is_einval(void) {
  dm_token_t token = new_token(sid);
  every_call_says(other, token, EINVAL, ENOENT);
  CHECK_EQ(count_tokens(sid), 1);
  answer(sid, token);
  every_call_says(other, token, EINVAL, ENOENT);
}

static void a_message_that_was_not_received_has_no_token_yet(void) {
  struct messages got;
  struct sender sender;
  /* User events and messages take their tokens from one row, so this one tells the next. */
  dm_token_t before = new_token(sid);
  start_sender(&sender, sid, "undelivered");
  while (dm_get_events(sid, 0, 0, 0, got.bytes, &got.length) != -1 || errno != E2BIG)
    CHECK_EQ(errno, EAGAIN);
  CHECK_EQ(count_tokens(sid), 1);
  every_call_says(sid, before + 1, ESRCH, ESRCH);
  CHECK_EQ(receive_sync(sid, "undelivered"), before + 1);
  answer(sid, before + 1);
  answer(sid, before);
  join_sender(&sender);
}

static void a_moved_event_is_the_targets(void) {
  struct messages got;
  struct sender sender;
  dm_token_t moved = 0;
  start_sender(&sender, sid, "moves");
  dm_token_t token = receive_sync(sid, "moves");
  for (int i = 0; i < BAD_POINTERS; i++)
    CHECK_ERRNO(dm_move_event(sid, token, other, bad_pointer(i)), EFAULT);
  CHECK_ERRNO_KEEPS(dm_move_event(sid, token, -100, &moved), EINVAL, moved);
  CHECK_ERRNO_KEEPS(dm_move_event(-100, token, sid, &moved), EINVAL, moved);
  CHECK_EQ(count_tokens(sid), 1);
  CHECK_EQ(dm_move_event(sid, token, sid, &moved), 0);
  token = moved;
  CHECK_EQ(dm_move_event(sid, token, other, &moved), 0);
  CHECK_EQ(count_tokens(sid), 0);
  CHECK_ERRNO(dm_find_eventmsg(sid, token, sizeof got.bytes, got.bytes, &got.length), EINVAL);
  CHECK_ERRNO(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), EINVAL);
  CHECK_EQ(dm_find_eventmsg(other, moved, sizeof got.bytes, got.bytes, &got.length), 0);
  CHECK(says(message_at(&got, 0), "moves"));
  CHECK(!has_ended(&sender));
  CHECK_EQ(dm_respond_event(other, moved, DM_RESP_ABORT, EXDEV, 0, NULL), 0);
  join_sender(&sender);
  CHECK_EQ(sender.error, EXDEV);
}

static void a_pending_event_must_still_be_answered(void) {
  dm_timestruct_t delay = {.dm_tv_sec = 5};
  struct sender sender;
  dm_token_t own = new_token(sid);
  for (int i = 0; i < BAD_POINTERS; i++)
    CHECK_ERRNO(dm_pending(sid, own, bad_pointer(i)), EFAULT);
  CHECK_EQ(dm_pending(sid, own, &delay), 0);
  dm_timestruct_t longest = delay;
  memset(&longest.dm_tv_sec, 0xff, sizeof longest.dm_tv_sec);
  CHECK_ERRNO(dm_pending(sid, own, &longest), EINVAL);
  longest.dm_tv_sec = 0x7fffffffffffffff;
  longest.dm_tv_nsec = 999999999;
  CHECK_EQ(dm_pending(sid, own, &longest), 0);
  start_sender(&sender, sid, "pending");
  dm_token_t token = receive_sync(sid, "pending");
  CHECK_EQ(dm_pending(sid, token, &delay), 0);
  CHECK_EQ(dm_pending(sid, token, &delay), 0);
  CHECK(!has_ended(&sender));
  CHECK_EQ(count_tokens(sid), 2);
  answer(sid, token);
  answer(sid, own);
  join_sender(&sender);
  CHECK_EQ(sender.result, 0);
}

static void *use_tokens(void *unused) {
  (void)unused;
  dm_token_t last = 0;
  for (int i = 0; i < EACH; i++) {
    dm_token_t token = new_token(sid), moved = 0;
    CHECK(token > last);
    last = token;
    CHECK_EQ(dm_move_event(sid, token, other, &moved), 0);
    answer(other, moved);
    CHECK_ERRNO(dm_respond_event(other, moved, DM_RESP_CONTINUE, 0, 0, NULL), ESRCH);
  }
  return NULL;
}

static void threads_have_tokens_of_their_own(void) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    CHECK_EQ(pthread_create(&threads[i], NULL, use_tokens, NULL), 0);
  for (int i = 0; i < THREADS; i++)
    CHECK_EQ(pthread_join(threads[i], NULL), 0);
  CHECK_EQ(count_tokens(sid), 0);
  CHECK_EQ(count_tokens(other), 0);
}

static dm_token_t contended;
static int winners;

static void *answer_once(void *unused) {
  (void)unused;
  if (dm_respond_event(sid, contended, DM_RESP_CONTINUE, 0, 0, NULL) == 0)
    __atomic_add_fetch(&winners, 1, __ATOMIC_RELAXED);
  else
    CHECK_EQ(errno, ESRCH);
  return NULL;
}

static void of_two_answers_one_counts(void) {
  pthread_t threads[2];
  contended = new_token(sid);
  for (int i = 0; i < 2; i++)
    CHECK_EQ(pthread_create(&threads[i], NULL, answer_once, NULL), 0);
  for (int i = 0; i < 2; i++)
    CHECK_EQ(pthread_join(threads[i], NULL), 0);
  CHECK_EQ(winners, 1);
}

static void the_next_worker_knows_all_tokens(void) {
  struct messages got;
  dm_token_t kept = 0, gone = new_token(sid), moved = new_token(sid), rtoken = 0;
  CHECK_EQ(dm_create_userevent(sid, 4, (void *)"kept", &kept), 0);
  answer(sid, gone);
  CHECK_EQ(dm_move_event(sid, moved, other, &rtoken), 0);
  kill_worker();
  CHECK_EQ(count_tokens(sid), 1);
  CHECK_EQ(dm_find_eventmsg(sid, kept, sizeof got.bytes, got.bytes, &got.length), 0);
  CHECK(says(message_at(&got, 0), "kept"));
  every_call_says(sid, gone, ESRCH, ESRCH);
  every_call_says(sid, rtoken, EINVAL, ENOENT);
  dm_token_t newer = new_token(sid);
  CHECK(newer > kept);
  restart_daemon(true);
  CHECK_EQ(count_tokens(sid), 2);
  answer(sid, newer);
  answer(sid, kept);
  answer(other, rtoken);
  every_call_says(sid, kept, ESRCH, ESRCH);
}

static void body(void) {
  sid = new_session("tokens");
  other = new_session("other");
  a_user_event_is_outstanding_at_once();
  data_of_a_user_event_has_a_limit();
  only_outstanding_tokens_are_listed();
  a_found_message_is_the_one_that_was_delivered();
  a_bad_answer_leaves_the_event();
  a_token_is_good_once();
  what_was_never_a_token_is_einval();
  a_foreign_token_is_einval();
  a_message_that_was_not_received_has_no_token_yet();
  a_moved_event_is_the_targets();
  a_pending_event_must_still_be_answered();
  threads_have_tokens_of_their_own();
  of_two_answers_one_counts();
  the_next_worker_knows_all_tokens();
  CHECK_EQ(dm_destroy_session(sid), 0);
  CHECK_EQ(dm_destroy_session(other), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON, body);
}
