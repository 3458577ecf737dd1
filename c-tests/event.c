/* Purpose: dm_get_events and dm_send_msg: order and counts, room in the buffer, bad pointers, waiting and signals,
 * several getters, killed getters, and what the next worker knows. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "messages.h"

enum { DATA_MAX = 3960, GETTERS = 3, MESSAGES = 90 };

static dm_sessid_t sid;

static void an_empty_queue_is_eagain(void) {
  struct messages got = {.length = 7};
  CHECK_ERRNO_KEEPS(dm_get_events(sid, 0, 0, sizeof got.bytes, got.bytes, &got.length), EAGAIN, got.length);
  CHECK_ERRNO(dm_get_events(sid, 0, 2, sizeof got.bytes, got.bytes, &got.length), EINVAL);
}

static void unknown_sessions_are_einval(void) {
  struct messages got;
  dm_sessid_t unknown[] = {DM_NO_SESSION, -100, 0x7fffffff};
  for (size_t i = 0; i < 3; i++) {
    CHECK_ERRNO(dm_get_events(unknown[i], 0, 0, sizeof got.bytes, got.bytes, &got.length), EINVAL);
    CHECK_ERRNO(dm_get_events(unknown[i], 0, DM_EV_WAIT, sizeof got.bytes, got.bytes, &got.length), EINVAL);
    CHECK_ERRNO(dm_send_msg(unknown[i], DM_MSGTYPE_ASYNC, 0, NULL), EINVAL);
    CHECK_ERRNO(dm_send_msg(unknown[i], DM_MSGTYPE_SYNC, 0, NULL), EINVAL);
  }
}

static void messages_come_in_order_and_by_count(void) {
  struct messages got;
  send_async(sid, "one");
  send_async(sid, "two");
  send_async(sid, "three");
  CHECK_EQ(get_messages(sid, 1, 0, &got), 1);
  CHECK(says(message_at(&got, 0), "one"));
  send_async(sid, "four");
  CHECK_EQ(get_messages(sid, 2, DM_EV_WAIT, &got), 2);
  CHECK(says(message_at(&got, 0), "two"));
  CHECK(says(message_at(&got, 1), "three"));
  send_async(sid, "");
  CHECK_EQ(get_messages(sid, 0, 0, &got), 2);
  CHECK(says(message_at(&got, 0), "four"));
  CHECK(says(message_at(&got, 1), ""));
  CHECK_EQ(message_at(&got, 1)->ev_token, DM_INVALID_TOKEN);
  CHECK_ERRNO(get_messages(sid, 0, 0, &got), EAGAIN);
}

static bool is_queued(void *unused) {
  (void)unused;
  size_t length;
  static _Alignas(8) char none[8];
  if (dm_get_events(sid, 1, 0, 0, none, &length) == 0)
    return true;
  CHECK(errno == E2BIG || errno == EAGAIN);
  return errno == E2BIG;
}

static bool is_taken(void *unused) {
  return !is_queued(unused);
}

static void a_list_of_both_kinds_may_be_copied(void) {
  struct messages got;
  static struct messages copy;
  struct sender sender;
  start_sender(&sender, sid, "synchronous");
  wait_until(is_queued, NULL, "a message is queued");
  send_async(sid, "asynchronous");
  CHECK_EQ(get_messages(sid, 0, DM_EV_WAIT, &got), 2);
  copy = got;
  memset(&got, 0xee, sizeof got);
  dm_eventmsg_t *first = message_at(&copy, 0), *second = message_at(&copy, 1);
  CHECK(says(first, "synchronous"));
  CHECK(first->ev_token > 0);
  CHECK(says(second, "asynchronous"));
  CHECK_EQ(second->ev_token, DM_INVALID_TOKEN);
  CHECK(DM_STEP_TO_NEXT(second, dm_eventmsg_t *) == NULL);
  answer(sid, first->ev_token);
  join_sender(&sender);
  CHECK_EQ(sender.result, 0);
}

static void a_small_buffer_is_told_the_size(void) {
  struct messages got = {.length = 0};
  send_async(sid, "123456789");
  for (size_t room = 0; room < 48; room += 47) {
    got.length = 0;
    CHECK_ERRNO(dm_get_events(sid, 0, 0, room, got.bytes, &got.length), E2BIG);
    CHECK_EQ(got.length, 48);
  }
  send_async(sid, "second");
  CHECK_EQ(dm_get_events(sid, 0, 0, 48, got.bytes, &got.length), 0);
  CHECK_EQ(got.length, 48);
  CHECK(says(message_at(&got, 0), "123456789"));
  CHECK_EQ(message_at(&got, 0)->_link, 0);
  CHECK_EQ(get_messages(sid, 0, 0, &got), 1);
  CHECK(says(message_at(&got, 0), "second"));
}

static void a_bad_pointer_loses_no_message(void) {
  struct messages got;
  send_async(sid, "stays");
  for (int i = 0; i < BAD_POINTERS; i++) {
    CHECK_ERRNO(dm_get_events(sid, 0, 0, 4096, bad_pointer(i), &got.length), EFAULT);
    CHECK_ERRNO(dm_get_events(sid, 0, 0, sizeof got.bytes, got.bytes, bad_pointer(i)), EFAULT);
  }
  CHECK_ERRNO(dm_get_events(sid, 0, 0, 4096, got.bytes + 4, &got.length), EFAULT);
  /* The end of the message would lie in memory that is not there. */
  CHECK_ERRNO(dm_get_events(sid, 0, 0, 4096, partly_mapped(40, 8), &got.length), EFAULT);
  CHECK_EQ(get_messages(sid, 0, 0, &got), 1);
  CHECK(says(message_at(&got, 0), "stays"));
}

static void an_absurd_size_does_no_harm(void) {
  struct messages got;
  send_async(sid, "stays");
  errno = 0;
  int result = dm_get_events(sid, 0, 0, (size_t)1 << 63, got.bytes, &got.length);
  if (result != 0) {
    CHECK_EQ(errno, E2BIG);
    CHECK_EQ(get_messages(sid, 0, 0, &got), 1);
  }
  CHECK(says(message_at(&got, 0), "stays"));
}

static void data_comes_back_bit_exact(void) {
  static unsigned char data[DATA_MAX + 1];
  static const size_t sizes[] = {1, 7, 8, 9, 1000, DATA_MAX};
  struct messages got;
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = pattern_at(i);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    CHECK_EQ(dm_send_msg(sid, DM_MSGTYPE_ASYNC, sizes[i], data), 0);
    CHECK_EQ(get_messages(sid, 0, 0, &got), 1);
    dm_eventmsg_t *message = message_at(&got, 0);
    CHECK_EQ(DM_GET_LEN(message, ev_data), sizes[i]);
    CHECK(memcmp(data_of(message), data, sizes[i]) == 0);
  }
  CHECK_ERRNO(dm_send_msg(sid, DM_MSGTYPE_ASYNC, DATA_MAX + 1, data), E2BIG);
  CHECK_ERRNO(dm_send_msg(sid, DM_MSGTYPE_ASYNC, (size_t)-1, data), E2BIG);
  CHECK_ERRNO(dm_send_msg(sid, DM_MSGTYPE_SYNC, DATA_MAX + 1, data), E2BIG);
  CHECK_ERRNO(dm_send_msg(sid, DM_MSGTYPE_INVALID, 1, data), EINVAL);
  CHECK_ERRNO(dm_send_msg(sid, (dm_msgtype_t)3, 1, data), EINVAL);
  for (int i = 0; i < BAD_POINTERS; i++)
    CHECK_ERRNO(dm_send_msg(sid, DM_MSGTYPE_ASYNC, 8, bad_pointer(i)), EFAULT);
  CHECK_ERRNO(get_messages(sid, 0, 0, &got), EAGAIN);
}

static void a_synchronous_message_waits_for_its_answer(void) {
  static const int errnos[] = {1, ENOSPC, 133};
  struct sender sender;
  start_sender(&sender, sid, "continue");
  answer(sid, receive_sync(sid, "continue"));
  join_sender(&sender);
  CHECK_EQ(sender.result, 0);
  for (size_t i = 0; i < 3; i++) {
    start_sender(&sender, sid, "abort");
    dm_token_t token = receive_sync(sid, "abort");
    CHECK(!has_ended(&sender));
    CHECK_EQ(dm_respond_event(sid, token, DM_RESP_ABORT, errnos[i], 0, NULL), 0);
    join_sender(&sender);
    CHECK_EQ(sender.result, -1);
    CHECK_EQ(sender.error, errnos[i]);
  }
}

static void on_signal(int number) {
  (void)number;
}

static bool is_interrupted;

static void *wait_in_vain(void *unused) {
  (void)unused;
  struct messages got;
  CHECK_ERRNO(get_messages(sid, 0, DM_EV_WAIT, &got), EINTR); /* produces: dm_get_events EINTR */
  __atomic_store_n(&is_interrupted, true, __ATOMIC_RELEASE);
  return NULL;
}

static bool signal_and_look(void *thread) {
  if (__atomic_load_n(&is_interrupted, __ATOMIC_ACQUIRE))
    return true;
  pthread_kill(*(pthread_t *)thread, SIGUSR1);
  return false;
}

static bool signal_sender(void *argument) {
  struct sender *sender = argument;
  if (!has_ended(sender))
    pthread_kill((pthread_t)sender->thread, SIGUSR1);
  return has_ended(sender);
}

static void a_signal_ends_waiting(void) {
  struct sigaction action = {.sa_handler = on_signal};
  struct messages got;
  pthread_t getter;
  CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
  CHECK_EQ(pthread_create(&getter, NULL, wait_in_vain, NULL), 0);
  wait_until(signal_and_look, &getter, "the getter is interrupted");
  CHECK_EQ(pthread_join(getter, NULL), 0);
  send_async(sid, "nobody took it");
  CHECK_EQ(get_messages(sid, 0, 0, &got), 1);

  /* A sender that was interrupted after its message was queued leaves it: it must be answered. */
  struct sender sender;
  start_sender(&sender, sid, "interrupted");
  dm_token_t token = receive_sync(sid, "interrupted");
  wait_until(signal_sender, &sender, "the sender is interrupted");
  join_sender(&sender);
  CHECK_EQ(sender.result, -1);
  CHECK_EQ(sender.error, EINTR); /* produces: dm_send_msg EINTR */
  CHECK_EQ(count_tokens(sid), 1);
  answer(sid, token);
}

static int taken[MESSAGES];

static void *take_some(void *unused) {
  (void)unused;
  struct messages got;
  for (;;) {
    int count = get_messages(sid, 7, DM_EV_WAIT, &got);
    CHECK(count >= 1);
    for (int i = 0; i < count; i++) {
      dm_eventmsg_t *message = message_at(&got, i);
      if (says(message, "stop")) {
        CHECK_EQ(i, count - 1);
        return NULL;
      }
      int number = atoi(data_of(message));
      CHECK(number >= 0 && number < MESSAGES);
      __atomic_add_fetch(&taken[number], 1, __ATOMIC_RELAXED);
    }
  }
}

static void each_message_goes_to_one_getter(void) {
  pthread_t getters[GETTERS];
  for (int i = 0; i < GETTERS; i++)
    CHECK_EQ(pthread_create(&getters[i], NULL, take_some, NULL), 0);
  for (int i = 0; i < MESSAGES; i++) {
    char text[8] = "";
    snprintf(text, sizeof text, "%d", i);
    CHECK_EQ(dm_send_msg(sid, DM_MSGTYPE_ASYNC, sizeof text, text), 0);
  }
  for (int i = 0; i < GETTERS; i++) {
    /* One at a time, so that no getter takes two of them. */
    send_async(sid, "stop");
    wait_until(is_taken, NULL, "a getter takes the message");
  }
  for (int i = 0; i < GETTERS; i++)
    CHECK_EQ(pthread_join(getters[i], NULL), 0);
  for (int i = 0; i < MESSAGES; i++)
    CHECK_EQ(taken[i], 1);
}

static bool is_outstanding(void *unused) {
  (void)unused;
  struct messages got;
  if (count_tokens(sid) == 1)
    return true;
  if (get_messages(sid, 0, 0, &got) < 0)
    CHECK_EQ(errno, EAGAIN);
  return false;
}

static void a_killed_getter_loses_nothing(int pause_us) {
  struct sender sender;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    struct messages mine;
    get_messages(sid, 0, DM_EV_WAIT, &mine);
    pause();
    _exit(1);
  }
  start_sender(&sender, sid, "for whoever lives");
  usleep((useconds_t)pause_us);
  CHECK_EQ(kill(child, SIGKILL), 0);
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFSIGNALED(status));
  /* It comes to us, or it is outstanding, as the child had got it before it died. */
  wait_until(is_outstanding, NULL, "the message is outstanding");
  dm_token_t token = 0;
  u_int count = 0;
  CHECK_EQ(dm_getall_tokens(sid, 1, &token, &count), 0);
  answer(sid, token);
  join_sender(&sender);
  CHECK_EQ(sender.result, 0);
}

static void the_next_worker_knows_all_messages(void) {
  struct messages got;
  struct sender before, during;
  send_async(sid, "queued");
  kill_worker();
  CHECK_EQ(get_messages(sid, 0, 0, &got), 1);
  CHECK(says(message_at(&got, 0), "queued"));

  start_sender(&before, sid, "before");
  dm_token_t token = receive_sync(sid, "before");
  start_sender(&during, sid, "during");
  kill_worker();
  answer(sid, token);
  join_sender(&before);
  CHECK_EQ(before.result, 0);
  answer(sid, receive_sync(sid, "during"));
  join_sender(&during);
  CHECK_EQ(during.result, 0);
  CHECK_EQ(count_tokens(sid), 0);
  CHECK_ERRNO(get_messages(sid, 0, 0, &got), EAGAIN);
}

static void body(void) {
  sid = new_session("events");
  an_empty_queue_is_eagain();
  unknown_sessions_are_einval();
  messages_come_in_order_and_by_count();
  a_list_of_both_kinds_may_be_copied();
  a_small_buffer_is_told_the_size();
  a_bad_pointer_loses_no_message();
  an_absurd_size_does_no_harm();
  data_comes_back_bit_exact();
  a_synchronous_message_waits_for_its_answer();
  a_signal_ends_waiting();
  each_message_goes_to_one_getter();
  for (int pause_us = 0; pause_us < 8000; pause_us = pause_us * 2 + 250)
    a_killed_getter_loses_nothing(pause_us);
  the_next_worker_knows_all_messages();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON, body);
}
