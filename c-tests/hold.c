/* Purpose: dm_obj_ref_hold, dm_obj_ref_rele, dm_obj_ref_query: holds are per token, convey no right, end with the
 * answer; each errno, threads, and the next worker. */
#include <pthread.h>

#include "messages.h"

enum { THREADS = 4, EACH = 30 };

static dm_sessid_t sid;
static struct handle file, directory, fs;

static int hold(struct handle on, dm_token_t token) {
  return dm_obj_ref_hold(sid, token, on.hanp, on.hlen);
}

static int release(struct handle on, dm_token_t token) {
  return dm_obj_ref_rele(sid, token, on.hanp, on.hlen);
}

static int is_held(struct handle on, dm_token_t token) {
  return dm_obj_ref_query(sid, token, on.hanp, on.hlen);
}

static void a_hold_is_taken_once(struct handle on) {
  dm_token_t token = new_token(sid);
  CHECK_EQ(is_held(on, token), 0);
  CHECK_ERRNO(release(on, token), EACCES);
  CHECK_EQ(hold(on, token), 0);
  CHECK_ERRNO(hold(on, token), EBUSY);
  CHECK_EQ(is_held(on, token), 1);
  CHECK_EQ(release(on, token), 0);
  CHECK_EQ(is_held(on, token), 0);
  CHECK_ERRNO(release(on, token), EACCES);
  CHECK_EQ(hold(on, token), 0);
  answer(sid, token);
  CHECK_ERRNO(is_held(on, token), ESRCH);
  CHECK_ERRNO(hold(on, token), ESRCH);
  CHECK_ERRNO(release(on, token), ESRCH);
}

static void each_token_has_its_own_hold(void) {
  dm_token_t one = new_token(sid), two = new_token(sid);
  CHECK_EQ(hold(file, one), 0);
  CHECK_EQ(is_held(file, two), 0);
  CHECK_ERRNO(release(file, two), EACCES);
  CHECK_EQ(hold(file, two), 0);
  CHECK_EQ(hold(directory, two), 0);
  answer(sid, one);
  CHECK_EQ(is_held(file, two), 1);
  CHECK_EQ(is_held(directory, two), 1);
  answer(sid, two);
}

static void a_hold_is_no_right(void) {
  dm_token_t one = new_token(sid), two = new_token(sid);
  dm_right_t right = (dm_right_t)7;
  CHECK_EQ(hold(file, one), 0);
  CHECK_EQ(dm_query_right(sid, file.hanp, file.hlen, one, &right), 0);
  CHECK_EQ(right, DM_RIGHT_NULL);
  CHECK_EQ(dm_request_right(sid, file.hanp, file.hlen, two, 0, DM_RIGHT_EXCL), 0);
  CHECK_EQ(release(file, one), 0);
  CHECK_EQ(hold(file, one), 0);
  /* Nor does a right end it. */
  CHECK_EQ(hold(file, two), 0);
  CHECK_EQ(dm_release_right(sid, file.hanp, file.hlen, two), 0);
  CHECK_EQ(is_held(file, two), 1);
  answer(sid, one);
  answer(sid, two);
}

static void a_hold_moves_with_its_event(void) {
  dm_sessid_t other = new_session("target");
  dm_token_t token = new_token(sid), moved = 0;
  CHECK_EQ(hold(file, token), 0);
  CHECK_EQ(dm_move_event(sid, token, other, &moved), 0);
  CHECK_EQ(dm_obj_ref_query(other, moved, file.hanp, file.hlen), 1);
  CHECK_ERRNO(is_held(file, moved), EINVAL);
  answer(other, moved);
  CHECK_EQ(dm_destroy_session(other), 0);
}

/* produces: dm_obj_ref_hold, dm_obj_ref_rele, dm_obj_ref_query EINVAL EFAULT EBADF */
static void every_call_says(dm_sessid_t of, void *hanp, size_t hlen, dm_token_t token, int expected) {
  CHECK_ERRNO(dm_obj_ref_hold(of, token, hanp, hlen), expected);
  CHECK_ERRNO(dm_obj_ref_rele(of, token, hanp, hlen), expected);
  CHECK_ERRNO(dm_obj_ref_query(of, token, hanp, hlen), expected);
}

static void bad_arguments(void) {
  dm_token_t token = new_token(sid);
  const dm_token_t bad_tokens[] = {DM_NO_TOKEN, DM_INVALID_TOKEN, -100, 0x7fffffff};
  const dm_sessid_t bad_sids[] = {DM_NO_SESSION, -100, 0x7fffffff};
  for (size_t i = 0; i < sizeof bad_tokens / sizeof *bad_tokens; i++)
    every_call_says(sid, file.hanp, file.hlen, bad_tokens[i], EINVAL);
  for (size_t i = 0; i < sizeof bad_sids / sizeof *bad_sids; i++)
    every_call_says(bad_sids[i], file.hanp, file.hlen, token, EINVAL);
  for (int i = 0; i < BAD_POINTERS; i++)
    every_call_says(sid, bad_pointer(i), file.hlen, token, EFAULT);
  every_call_says(sid, file.hanp, file.hlen - 1, token, EBADF);
  every_call_says(sid, file.hanp, file.hlen + 1, token, EBADF);
  every_call_says(sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, token, EBADF);
  every_call_says(sid, fs.hanp, fs.hlen, token, EBADF);
  unsigned char changed[24];
  memcpy(changed, file.hanp, sizeof changed);
  changed[12] ^= 0x55; /* the generation */
  CHECK_ERRNO(dm_obj_ref_hold(sid, token, changed, sizeof changed), EBADF);
  answer(sid, token);
}

static void *use_holds(void *unused) {
  (void)unused;
  dm_token_t token = new_token(sid);
  for (int i = 0; i < EACH; i++) {
    CHECK_EQ(hold(file, token), 0);
    CHECK_EQ(is_held(file, token), 1);
    CHECK_EQ(release(file, token), 0);
  }
  answer(sid, token);
  return NULL;
}

static void threads_hold_at_one_time(void) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    CHECK_EQ(pthread_create(&threads[i], NULL, use_holds, NULL), 0);
  for (int i = 0; i < THREADS; i++)
    CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void the_next_worker_knows_all_holds(void) {
  dm_token_t token = new_token(sid);
  CHECK_EQ(hold(file, token), 0);
  CHECK_EQ(hold(directory, token), 0);
  CHECK_EQ(release(directory, token), 0);
  kill_worker();
  CHECK_EQ(is_held(file, token), 1);
  CHECK_EQ(is_held(directory, token), 0);
  CHECK_ERRNO(hold(file, token), EBUSY);
  CHECK_EQ(release(file, token), 0);
  answer(sid, token);
}

static void body(void) {
  make_file(in_fs("file"), 10);
  file = handle_of(in_fs("file"));
  directory = handle_of(bed.fs);
  fs = fs_handle_of(bed.fs);
  sid = new_session("holds");
  a_hold_is_taken_once(file);
  a_hold_is_taken_once(directory);
  each_token_has_its_own_hold();
  a_hold_is_no_right();
  a_hold_moves_with_its_event();
  bad_arguments();
  threads_hold_at_one_time();
  the_next_worker_knows_all_holds();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
