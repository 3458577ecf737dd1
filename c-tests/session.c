/* Purpose: dm_create_session, dm_destroy_session, dm_getall_sessions, dm_query_session: what they give, each
 * errno, stale ids, several threads and processes, and the next worker. */
#include "harness.h"

#include <pthread.h>
#include <sys/wait.h>

#include "messages.h"

enum { MANY = 300, THREADS = 4, EACH = 25 };

static u_int count_sessions(void) {
  u_int count = 0;
  if (dm_getall_sessions(0, NULL, &count) != 0)
    CHECK_EQ(errno, E2BIG);
  return count;
}

static bool text_is(dm_sessid_t sid, const char *text) {
  char found[DM_SESSION_INFO_LEN];
  size_t length = 0;
  CHECK_EQ(dm_query_session(sid, sizeof found, found, &length), 0);
  return length == strlen(text) + 1 && strcmp(found, text) == 0;
}

static void end_session(dm_sessid_t sid) {
  CHECK_EQ(dm_destroy_session(sid), 0);
}

static void nothing_is_listed_at_first(void) {
  dm_sessid_t sid = 77;
  u_int count = 99;
  CHECK_EQ(dm_getall_sessions(0, NULL, &count), 0);
  CHECK_EQ(count, 0);
  count = 99;
  CHECK_EQ(dm_getall_sessions(1, &sid, &count), 0);
  CHECK_EQ(count, 0);
  CHECK_EQ(sid, 77);
}

static void a_text_of_255_bytes_is_the_longest(void) {
  char text[DM_SESSION_INFO_LEN + 1];
  memset(text, 'x', sizeof text);
  text[255] = '\0';
  dm_sessid_t sid = new_session(text);
  CHECK(text_is(sid, text));
  end_session(sid);

  text[255] = 'x';
  text[256] = '\0';
  CHECK_ERRNO_KEEPS(dm_create_session(DM_NO_SESSION, text, &sid), E2BIG, sid);
  CHECK_EQ(count_sessions(), 0);

  sid = new_session("");
  CHECK(text_is(sid, ""));
  end_session(sid);
}

static void a_bad_pointer_makes_no_session(void) {
  dm_sessid_t sid = 5;
  char *unended = partly_mapped(8, 1);
  memset(unended, 'x', 4);
  CHECK_ERRNO_KEEPS(dm_create_session(DM_NO_SESSION, unended, &sid), EFAULT, sid);
  for (int i = 0; i < BAD_POINTERS; i++) {
    CHECK_ERRNO_KEEPS(dm_create_session(DM_NO_SESSION, bad_pointer(i), &sid), EFAULT, sid);
    CHECK_ERRNO(dm_create_session(DM_NO_SESSION, (char *)"text", bad_pointer(i)), EFAULT);
  }
  CHECK_EQ(count_sessions(), 0);
}

static void ids_grow_and_are_listed_in_order(void) {
  dm_sessid_t made[3], found[4] = {0, 0, 0, 7};
  u_int count = 0;
  for (int i = 0; i < 3; i++)
    made[i] = new_session("same");
  CHECK(made[0] < made[1] && made[1] < made[2]);
  CHECK_ERRNO(dm_getall_sessions(0, NULL, &count), E2BIG);
  CHECK_EQ(count, 3);
  count = 0;
  CHECK_ERRNO_KEEPS(dm_getall_sessions(2, found, &count), E2BIG, found);
  CHECK_EQ(count, 3);
  CHECK_EQ(dm_getall_sessions(4, found, &count), 0);
  CHECK_EQ(count, 3);
  CHECK_EQ(found[3], 7);
  CHECK(memcmp(found, made, sizeof made) == 0);
  for (int i = 0; i < BAD_POINTERS; i++) {
    CHECK_ERRNO_KEEPS(dm_getall_sessions(4, found, bad_pointer(i)), EFAULT, found);
    CHECK_ERRNO(dm_getall_sessions(4, bad_pointer(i), &count), EFAULT);
  }
  for (int i = 0; i < 3; i++)
    end_session(made[i]);
  dm_sessid_t later = new_session("later");
  CHECK(later > made[2]);
  CHECK_EQ(dm_getall_sessions(4, found, &count), 0);
  CHECK_EQ(count, 1);
  CHECK_EQ(found[0], later);
  end_session(later);
}

static void a_query_needs_room_for_the_nul(void) {
  dm_sessid_t sid = new_session("12345");
  char text[8] = "keep me";
  size_t length = 0;
  CHECK_ERRNO_KEEPS(dm_query_session(sid, 0, text, &length), E2BIG, text);
  CHECK_EQ(length, 6);
  length = 0;
  CHECK_ERRNO_KEEPS(dm_query_session(sid, 5, text, &length), E2BIG, text);
  CHECK_EQ(length, 6);
  for (int i = 0; i < BAD_POINTERS; i++) {
    CHECK_ERRNO(dm_query_session(sid, 6, bad_pointer(i), &length), EFAULT);
    CHECK_ERRNO_KEEPS(dm_query_session(sid, 6, text, bad_pointer(i)), EFAULT, text);
  }
  CHECK_EQ(dm_query_session(sid, 6, text, &length), 0);
  CHECK_EQ(length, 6);
  CHECK(strcmp(text, "12345") == 0);
  end_session(sid);
}

static void an_unknown_session_is_einval(dm_sessid_t sid) {
  char text[64] = "";
  size_t length = 3;
  dm_sessid_t assumed = 3;
  CHECK_ERRNO_KEEPS(dm_query_session(sid, sizeof text, text, &length), EINVAL, length);
  CHECK_ERRNO(dm_destroy_session(sid), EINVAL);
  if (sid != DM_NO_SESSION)
    CHECK_ERRNO_KEEPS(dm_create_session(sid, (char *)"text", &assumed), EINVAL, assumed);
}

static void unknown_sessions_are_einval(void) {
  dm_sessid_t gone = new_session("gone");
  end_session(gone);
  an_unknown_session_is_einval(gone);
  an_unknown_session_is_einval(DM_NO_SESSION);
  an_unknown_session_is_einval(-100);
  an_unknown_session_is_einval(0x7fffffff);
}

static void an_assumed_session_has_a_new_id_and_text(void) {
  dm_sessid_t old = new_session("old"), assumed = 0, found = 0;
  dm_token_t token = 0, listed = 0;
  u_int count = 0;
  CHECK_EQ(dm_create_userevent(old, 0, NULL, &token), 0);
  for (int i = 0; i < BAD_POINTERS; i++)
    CHECK_ERRNO(dm_create_session(old, (char *)"text", bad_pointer(i)), EFAULT);
  CHECK(text_is(old, "old"));
  CHECK_EQ(dm_create_session(old, (char *)"new", &assumed), 0);
  CHECK(assumed > old);
  CHECK(text_is(assumed, "new"));
  an_unknown_session_is_einval(old);
  CHECK_ERRNO(dm_respond_event(old, token, DM_RESP_CONTINUE, 0, 0, NULL), EINVAL);
  CHECK_EQ(dm_getall_sessions(1, &found, &count), 0);
  CHECK_EQ(count, 1);
  CHECK_EQ(found, assumed);
  CHECK_EQ(dm_getall_tokens(assumed, 1, &listed, &count), 0);
  CHECK_EQ(count, 1);
  CHECK_EQ(listed, token);
  CHECK_ERRNO(dm_destroy_session(assumed), EBUSY);
  answer(assumed, token);
  end_session(assumed);
}

static void messages_keep_a_session(void) {
  dm_sessid_t sid = new_session("busy");
  struct messages got;
  send_async(sid, "data");
  CHECK_ERRNO(dm_destroy_session(sid), EBUSY);
  CHECK_EQ(get_messages(sid, 0, 0, &got), 1);
  dm_token_t token = 0;
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &token), 0);
  CHECK_ERRNO(dm_destroy_session(sid), EBUSY);
  answer(sid, token);
  end_session(sid);
}

/* Gets one message, or fails with EINVAL as the session ended before the thread came. */
static void *get_one(void *sid) {
  struct messages got;
  if (dm_get_events(*(dm_sessid_t *)sid, 1, DM_EV_WAIT, sizeof got.bytes, got.bytes, &got.length) != 0)
    CHECK_EQ(errno, EINVAL);
  return NULL;
}

static void a_waiting_getter_keeps_a_session(void) {
  /* Nothing shows from outside that the getter waits, but that the session cannot end: each try gives it longer. */
  for (int pause_us = 100;; pause_us *= 2) {
    dm_sessid_t sid = new_session("waited for");
    pthread_t getter;
    CHECK_EQ(pthread_create(&getter, NULL, get_one, &sid), 0);
    usleep((useconds_t)pause_us);
    bool is_busy = dm_destroy_session(sid) != 0;
    if (is_busy) {
      CHECK_EQ(errno, EBUSY);
      send_async(sid, "go on");
    }
    CHECK_EQ(pthread_join(getter, NULL), 0);
    if (is_busy) {
      end_session(sid);
      return;
    }
    CHECK(pause_us < 30000000);
  }
}

static void a_waiting_getter_goes_on_with_the_assumed_session(void) {
  dm_sessid_t old = new_session("old"), assumed = 0;
  pthread_t getter;
  CHECK_EQ(pthread_create(&getter, NULL, get_one, &old), 0);
  CHECK_EQ(dm_create_session(old, (char *)"new", &assumed), 0);
  send_async(assumed, "to whoever waits");
  struct messages got;
  /* The thread came too late for the old id, or it got the message. */
  CHECK_EQ(pthread_join(getter, NULL), 0);
  if (dm_destroy_session(assumed) != 0) {
    CHECK_EQ(errno, EBUSY);
    CHECK_EQ(get_messages(assumed, 0, 0, &got), 1);
    end_session(assumed);
  }
}

static void *make_and_end(void *number) {
  char text[40];
  for (int i = 0; i < EACH; i++) {
    snprintf(text, sizeof text, "thread %d, session %d", *(int *)number, i);
    dm_sessid_t sid = new_session(text);
    CHECK(text_is(sid, text));
    end_session(sid);
  }
  return NULL;
}

static void threads_do_not_disturb_each_other(void) {
  pthread_t threads[THREADS];
  int numbers[THREADS];
  for (int i = 0; i < THREADS; i++) {
    numbers[i] = i;
    CHECK_EQ(pthread_create(&threads[i], NULL, make_and_end, &numbers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++)
    CHECK_EQ(pthread_join(threads[i], NULL), 0);
  CHECK_EQ(count_sessions(), 0);
}

static void another_process_may_use_a_session(void) {
  dm_sessid_t sid = new_session("shared");
  struct messages got;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK(text_is(sid, "shared"));
    send_async(sid, "from the child");
    _exit(0);
  }
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
  CHECK_ERRNO(dm_destroy_session(sid), EBUSY);
  CHECK_EQ(get_messages(sid, 0, 0, &got), 1);
  end_session(sid);
}

static void hundreds_of_sessions_work(void) {
  static dm_sessid_t made[MANY], found[MANY];
  u_int count = 0;
  for (int i = 0; i < MANY; i++)
    made[i] = new_session("one of many");
  CHECK_EQ(dm_getall_sessions(MANY, found, &count), 0);
  CHECK_EQ(count, MANY);
  CHECK(memcmp(made, found, sizeof made) == 0);
  for (int i = 0; i < MANY; i++)
    end_session(made[i]);
  CHECK_EQ(count_sessions(), 0);
}

static void the_next_worker_knows_all_sessions(void (*restart)(void)) {
  dm_sessid_t kept = new_session("kept"), gone = new_session("gone");
  end_session(gone);
  restart();
  CHECK(text_is(kept, "kept"));
  an_unknown_session_is_einval(gone);
  CHECK_EQ(count_sessions(), 1);
  dm_sessid_t newer = new_session("newer");
  CHECK(newer > gone);
  end_session(newer);
  end_session(kept);
}

static void stop_and_start(void) {
  restart_daemon(false);
}

static void kill_and_start(void) {
  restart_daemon(true);
}

static void body(void) {
  nothing_is_listed_at_first();
  a_text_of_255_bytes_is_the_longest();
  a_bad_pointer_makes_no_session();
  ids_grow_and_are_listed_in_order();
  a_query_needs_room_for_the_nul();
  unknown_sessions_are_einval();
  an_assumed_session_has_a_new_id_and_text();
  messages_keep_a_session();
  a_waiting_getter_keeps_a_session();
  a_waiting_getter_goes_on_with_the_assumed_session();
  threads_do_not_disturb_each_other();
  another_process_may_use_a_session();
  hundreds_of_sessions_work();
  the_next_worker_knows_all_sessions(kill_worker);
  the_next_worker_knows_all_sessions(stop_and_start);
  the_next_worker_knows_all_sessions(kill_and_start);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON, body);
}
