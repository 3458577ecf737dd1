/* Purpose: a store through a shared mapping is a WRITE when its page is written back: it waits until the answer, also over
 * the death of the worker; ABORT keeps the bytes from the file and gives who writes back an error; pages without a
 * region make none. */
#include "events.h"
#include "user.h"

#include <fcntl.h>

static dm_sessid_t sid;
static struct handle fs, file;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

enum { PAGE = 4096, PAGES = 16, FILE_BYTES = PAGES * PAGE, SHIFT = 100, PART = 300 };

/* The token of the WRITE of that page. */
static dm_token_t write_of(dm_off_t page) {
  dm_eventmsg_t *message = next_event(sid, DM_EVENT_WRITE);
  CHECK(message->ev_token != DM_INVALID_TOKEN);
  dm_data_event_t *body = DM_GET_VALUE(message, ev_data, dm_data_event_t *);
  CHECK_HANDLE(body, de_handle, file);
  CHECK_EQ(body->de_offset, page * PAGE);
  CHECK_EQ(body->de_length, PAGE);
  return message->ev_token;
}

/* What the file behind the mount has there: the pattern, moved so far. */
static void is_moved_by(size_t offset, size_t shift) {
  char path[128];
  snprintf(path, sizeof path, "%s/file", bed.back);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  unsigned char bytes[PART];
  CHECK_EQ(pread(fd, bytes, PART, (off_t)offset), PART);
  CHECK_EQ(close(fd), 0);
  for (size_t at = 0; at < PART; at++)
    CHECK_EQ(bytes[at], pattern_at(offset + at + shift));
}

static void body(void) {
  make_file(in_fs("file"), FILE_BYTES);
  fs = fs_handle_of(bed.fs);
  file = handle_of(in_fs("file"));
  sid = new_session("writeback");
  dm_eventset_t set = 0;
  DMEV_SET(DM_EVENT_WRITE, set);
  CHECK_EQ(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), 0);
  dm_region_t half = {0, 8 * PAGE, DM_REGION_WRITE, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(ON(file), 1, &half, &exact), 0);

  struct user *user = user_stores("file", 3 * PAGE + 50, PART, SHIFT);
  dm_token_t token = write_of(3);
  is_moved_by(3 * PAGE + 50, 0);
  CHECK(!has_done(user));
  kill_worker();
  CHECK(!has_done(user));
  is_moved_by(3 * PAGE + 50, 0);
  respond(sid, token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(user), 0);
  is_moved_by(3 * PAGE + 50, SHIFT);
  no_event(sid);

  /* Refused. */
  user = user_stores("file", 5 * PAGE, PART, SHIFT);
  respond(sid, write_of(5), DM_RESP_ABORT, EIO);
  CHECK_EQ(await(user), EIO);
  is_moved_by(5 * PAGE, 0);
  no_event(sid);

  /* Where no region is, and by one who is behind the regions. */
  user = user_stores("file", 12 * PAGE, PART, SHIFT);
  CHECK_EQ(await(user), 0);
  is_moved_by(12 * PAGE, SHIFT);
  no_event(sid);
  CHECK_EQ(dm_set_region(ON(file), 0, NULL, &exact), 0);
  user = user_stores("file", 6 * PAGE, PART, SHIFT);
  CHECK_EQ(await(user), 0);
  is_moved_by(6 * PAGE, SHIFT);
  no_event(sid);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
