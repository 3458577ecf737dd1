/* Purpose: NOSPACE: a write, and the making of a name, for which there is no room waits; CONTINUE tries again (and asks
 * again if there is still none), ABORT gives the user the errno. */
#include "events.h"
#include "user.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static dm_sessid_t sid;
static struct handle fs, file;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

enum { PIECE = 65536, KEPT_FREE = 8 * PIECE };

static dm_token_t no_space(void) {
  dm_eventmsg_t *message = next_event(sid, DM_EVENT_NOSPACE);
  CHECK(message->ev_token != DM_INVALID_TOKEN);
  dm_namesp_event_t *body = DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
  CHECK_HANDLE(body, ne_handle1, fs);
  return message->ev_token;
}

/* Writes to a file until nothing fits; the list is empty yet. */
static void fill(const char *name, size_t piece) {
  static char bytes[PIECE];
  memset(bytes, 'x', sizeof bytes);
  int fd = open(in_fs(name), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  CHECK(fd >= 0);
  struct statvfs stat;
  CHECK_EQ(statvfs(bed.fs, &stat), 0);
  long long most = (long long)(stat.f_bavail * stat.f_frsize) - KEPT_FREE;
  if (piece == PIECE && most > 0) {
    int failed = posix_fallocate(fd, 0, most);
    CHECK(failed == 0 || failed == ENOSPC);
  }
  ssize_t written;
  do {
    written = write(fd, bytes, piece);
  } while (written > 0);
  CHECK_EQ(errno, ENOSPC);
  /* What is reserved only may be given back later; on the disk it is settled. */
  fsync(fd);
  CHECK_EQ(close(fd), 0);
}

static void body(void) {
  fs = fs_handle_of(bed.fs);
  CHECK(makes_event(DM_EVENT_NOSPACE));
  make_file(in_fs("file"), 10);
  file = handle_of(in_fs("file"));
  make_file(in_fs("spare"), 16 * PIECE);
  make_file(in_fs("spare 2"), 16 * PIECE);
  sid = new_session("space");
  fill("filler", PIECE);
  fill("filler", PIECE);
  fill("filler", 4096);
  fill("filler", 4096);
  dm_eventset_t set = 0;
  DMEV_SET(DM_EVENT_NOSPACE, set);
  CHECK_EQ(dm_set_disp(ON(fs), &set, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_set_eventlist(ON(fs), &set, DM_EVENT_MAX), 0);

  struct user *user = user_writes("file", 4096, 4 * PIECE / 4);
  respond(sid, no_space(), DM_RESP_ABORT, ENOSPC);
  CHECK_EQ(await(user), ENOSPC);
  user = user_writes("file", 4096, PIECE);
  respond(sid, no_space(), DM_RESP_ABORT, EDQUOT);
  CHECK_EQ(await(user), EDQUOT);

  /* Again and again, until there is room. */
  user = user_writes("file", 4096, PIECE);
  respond(sid, no_space(), DM_RESP_CONTINUE, 0);
  dm_token_t token = no_space();
  CHECK(!has_done(user));
  CHECK_EQ(unlink(in_fs("spare")), 0);
  respond(sid, token, DM_RESP_CONTINUE, 0);
  int failed = 0;
  /* A file system may give room back a moment later. */
  while (!has_done(user) && failed < 100) {
    dm_eventmsg_t *message = waiting_event(sid);
    if (message != NULL) {
      failed++;
      respond(sid, message->ev_token, DM_RESP_CONTINUE, 0);
    }
    usleep(20000);
  }
  CHECK_EQ(await(user), 0);
  struct stat stat;
  CHECK_EQ(lstat(in_fs("file"), &stat), 0);
  CHECK_EQ(stat.st_size, 4096 + PIECE);
  no_event(sid);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
