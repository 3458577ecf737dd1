/* Purpose: page faults of a mapping that is older than the regions: a load of migrated bytes is a READ, which ABORT makes
 * SIGBUS, and the recalled bytes come; other pages make none. */
#include "events.h"
#include "user.h"

#include <fcntl.h>
#include <sys/stat.h>

static dm_sessid_t sid;
static struct handle fs, file;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

enum { PAGE = 4096, PAGES = 16, FILE_BYTES = PAGES * PAGE };

/* The token of a READ that covers the byte. */
static dm_token_t read_of(dm_off_t offset) {
  dm_eventmsg_t *message = next_event(sid, DM_EVENT_READ);
  dm_data_event_t *body = DM_GET_VALUE(message, ev_data, dm_data_event_t *);
  CHECK_HANDLE(body, de_handle, file);
  CHECK(body->de_offset <= offset && offset < body->de_offset + (dm_off_t)body->de_length);
  return message->ev_token;
}

/* The kernel may ask once more for a page that it did not get. */
static void refuse(struct user *user, dm_off_t offset) {
  respond(sid, read_of(offset), DM_RESP_ABORT, EIO);
  while (!has_done(user)) {
    dm_eventmsg_t *message = waiting_event(sid);
    if (message != NULL) {
      CHECK_EQ(message->ev_type, DM_EVENT_READ);
      respond(sid, message->ev_token, DM_RESP_ABORT, EIO);
    }
    usleep(5000);
  }
}

static void guard(void) {
  dm_region_t all = {0, 0, DM_REGION_READ | DM_REGION_WRITE | DM_REGION_TRUNCATE, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(ON(file), 1, &all, &exact), 0);
}

static bool is_punched(void *token) {
  (void)token;
  int result = dm_punch_hole(ON(file), 0, 0);
  CHECK(result == 0 || errno == EBUSY);
  return result == 0;
}

static void recall(void) {
  static unsigned char data[FILE_BYTES];
  for (size_t at = 0; at < FILE_BYTES; at++)
    data[at] = pattern_at(at);
  CHECK_EQ(dm_write_invis(ON(file), DM_WRITE_SYNC, 0, FILE_BYTES, data), FILE_BYTES);
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(ON(file), 0, NULL, &exact), 0);
}

static void body(void) {
  make_file(in_fs("file"), FILE_BYTES);
  fs = fs_handle_of(bed.fs);
  file = handle_of(in_fs("file"));
  sid = new_session("fault");
  dm_eventset_t set = 0;
  DMEV_SET(DM_EVENT_READ, set);
  DMEV_SET(DM_EVENT_WRITE, set);
  CHECK_EQ(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), 0);

  /* Guarded: the file is opened through the cache from here on, also after its recall while it is mapped. */
  guard();
  wait_until(is_punched, NULL, "the file is not punched");
  struct user *user = user_will_touch("file", 5 * PAGE + 7, false);
  no_event(sid);
  let_touch(user);
  dm_token_t token = read_of(5 * PAGE + 7);
  CHECK(!has_done(user));
  recall();
  respond(sid, token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(user), 0);
  CHECK_EQ(user->data[0], pattern_at(5 * PAGE + 7));

  /* Refused. */
  guard();
  wait_until(is_punched, NULL, "the file is not punched again");
  user = user_will_touch("file", 3 * PAGE, false);
  let_touch(user);
  refuse(user, 3 * PAGE);
  CHECK_EQ(await(user), EFAULT);

  /* The mapping is older than the migration. */
  recall();
  guard();
  user = user_will_touch("file", 9 * PAGE, false);
  wait_until(is_punched, NULL, "a mapped file is not punched");
  let_touch(user);
  token = read_of(9 * PAGE);
  kill_worker();
  CHECK(!has_done(user));
  recall();
  respond(sid, token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(user), 0);
  CHECK_EQ(user->data[0], pattern_at(9 * PAGE));

  /* A store needs the page first. */
  guard();
  wait_until(is_punched, NULL, "the file is not punched for the store");
  user = user_will_touch("file", 2 * PAGE + 1, true);
  let_touch(user);
  token = read_of(2 * PAGE + 1);
  recall();
  respond(sid, token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(user), 0);
  int fd = open(in_fs("file"), O_RDONLY | O_CLOEXEC);
  unsigned char two[2];
  CHECK_EQ(pread(fd, two, 2, 2 * PAGE + 1), 2);
  CHECK_EQ(two[0], 'S');
  CHECK_EQ(two[1], pattern_at(2 * PAGE + 2));
  CHECK_EQ(close(fd), 0);
  no_event(sid);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
