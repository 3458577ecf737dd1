/* harness.c: checks, helpers, and the process that keeps watch over a test. The test bed itself is testbed.c. */
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "testbed.h"

enum { SECONDS_MAX = 90, WAIT_MS_MAX = 60000, POLL_MS = 5 };

struct bed bed;

static void say(const char *file, int line, const char *what, const char *format, va_list arguments) {
  fflush(stdout);
  fprintf(stderr, "%s:%d: %s: ", file, line, what);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
}

void fail_at(const char *file, int line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(file, line, "failed", format, arguments);
  va_end(arguments);
  _exit(FAIL);
}

int result_of_skip(void) {
  const char *strict = getenv("DMAPI_NO_SKIP");
  return strict == NULL || strcmp(strict, "1") != 0 ? SKIPPED : FAIL;
}

void skip_at(const char *file, int line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(file, line, result_of_skip() == SKIPPED ? "skipped" : "failed, as DMAPI_NO_SKIP=1 forbids to skip", format, arguments);
  va_end(arguments);
  _exit(result_of_skip());
}

long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void pause_ms(int ms) {
  struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};
  while (nanosleep(&pause, &pause) != 0 && errno == EINTR) {
  }
}

void wait_until(bool (*done)(void *), void *argument, const char *what) {
  long long end = now_ms() + WAIT_MS_MAX;
  while (!done(argument)) {
    if (now_ms() > end)
      fail_at(__FILE__, __LINE__, "waited %d ms in vain: %s", WAIT_MS_MAX, what);
    pause_ms(POLL_MS);
  }
}

bool ends_within(pid_t child, long long ms, int *status) {
  long long end = now_ms() + ms;
  for (;;) {
    pid_t got = waitpid(child, status, WNOHANG);
    if (got == child)
      return true;
    if (got < 0 && errno != EINTR)
      return true; /* no such child any more */
    if (now_ms() > end)
      return false;
    pause_ms(POLL_MS);
  }
}

/* Between the body and the process that watches: the daemon is the latter's child, so that one restarts it. */
enum { ORDERLY = 'o', KILLED = 'k', DONE = 'd', NOT_DONE = 'n' };
static int to_watcher = -1;

void restart_daemon(bool kill_it) {
  char word[1 + sizeof bed.supervisor] = {kill_it ? KILLED : ORDERLY};
  CHECK_EQ(write(to_watcher, word, 1), 1);
  CHECK_EQ(read(to_watcher, word, sizeof word), sizeof word);
  CHECK_EQ(word[0], DONE);
  memcpy(&bed.supervisor, word + 1, sizeof bed.supervisor);
}

static void serve_body(int body) {
  char word[1 + sizeof bed.supervisor];
  if (recv(body, word, 1, MSG_DONTWAIT) != 1)
    return;
  word[0] = testbed_restart(word[0] == KILLED) ? DONE : NOT_DONE;
  memcpy(word + 1, &bed.supervisor, sizeof bed.supervisor);
  if (write(body, word, sizeof word) < 0)
    perror("answering the test");
}

/* Everything that a test started lives in the process group of its body. */
static int watch(pid_t body, int socket) {
  const char *asked = getenv("DMAPI_TEST_SECONDS");
  int seconds = asked != NULL ? atoi(asked) : SECONDS_MAX;
  long long end = now_ms() + (long long)seconds * 1000;
  int status = 0;
  while (!ends_within(body, POLL_MS, &status)) {
    serve_body(socket);
    if (now_ms() > end) {
      fprintf(stderr, "the test took more than %d seconds: killed\n", seconds);
      kill(-body, SIGKILL);
      waitpid(body, &status, 0);
      return FAIL;
    }
  }
  kill(-body, SIGKILL); /* processes that it left behind */
  if (WIFSIGNALED(status)) {
    fprintf(stderr, "the test was killed by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    return FAIL;
  }
  return WEXITSTATUS(status);
}

/* Runs the body in a process group of its own, which goes with us. */
static int run_body(void (*body)(void)) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    perror("socketpair");
    return FAIL;
  }
  pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends[0]);
    to_watcher = ends[1];
    body();
    fflush(stdout);
    _exit(PASS);
  }
  close(ends[1]);
  int result = FAIL;
  if (child > 0) {
    setpgid(child, child);
    result = watch(child, ends[0]);
  } else {
    perror("fork");
  }
  close(ends[0]);
  return result;
}

int run_test(int argc, char **argv, int needs, void (*body)(void)) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  int result = testbed_set_up(needs, argc > 1 ? argv[1] : NULL);
  if (result == PASS)
    result = run_body(body);
  testbed_tear_down(result == PASS || result == SKIPPED);
  return result;
}

/* -- helpers of tests */

const char *in_fs(const char *name) {
  static char paths[8][256];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", bed.fs, name);
  return path;
}

unsigned char pattern_at(size_t offset) {
  return (unsigned char)(offset * 31 + offset / 251 + 7);
}

void make_file(const char *path, size_t size) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  CHECK(fd >= 0);
  unsigned char piece[4096];
  for (size_t done = 0; done < size;) {
    size_t length = size - done < sizeof piece ? size - done : sizeof piece;
    for (size_t at = 0; at < length; at++)
      piece[at] = pattern_at(done + at);
    CHECK_EQ(write(fd, piece, length), length);
    done += length;
  }
  CHECK_EQ(close(fd), 0);
}

dm_sessid_t new_session(const char *text) {
  dm_sessid_t sid = DM_NO_SESSION;
  char copy[DM_SESSION_INFO_LEN];
  snprintf(copy, sizeof copy, "%s", text);
  CHECK_EQ(dm_create_session(DM_NO_SESSION, copy, &sid), 0);
  CHECK(sid > 0);
  return sid;
}

struct handle handle_of(const char *path) {
  struct handle handle = {NULL, 0};
  CHECK_EQ(dm_path_to_handle((char *)path, &handle.hanp, &handle.hlen), 0);
  return handle;
}

struct handle fs_handle_of(const char *path) {
  struct handle handle = {NULL, 0};
  CHECK_EQ(dm_path_to_fshandle((char *)path, &handle.hanp, &handle.hlen), 0);
  return handle;
}

bool makes_event(int event) {
  struct handle fs = fs_handle_of(bed.fs);
  dm_eventset_t events = 0;
  u_int highest = 0;
  CHECK_EQ(dm_get_config_events(fs.hanp, fs.hlen, 64, &events, &highest), 0);
  dm_handle_free(fs.hanp, fs.hlen);
  return (events >> event & 1) != 0;
}

/* Two pages; the second is not there. */
static char *edge(size_t page) {
  char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(map != MAP_FAILED);
  CHECK_EQ(mprotect(map + page, page, PROT_NONE), 0);
  return map + page;
}

void *unmapped_address(void) {
  /* Kept reserved, so that nothing else gets mapped there. */
  static char *address;
  if (address == NULL)
    address = edge((size_t)sysconf(_SC_PAGESIZE));
  return address;
}

void *partly_mapped(size_t size, size_t align) {
  size_t inside = size / 2 / align * align;
  if (inside == 0)
    inside = align;
  return edge((size_t)sysconf(_SC_PAGESIZE)) - inside;
}

void *read_only_copy(const void *from, size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t room = (size + page - 1) / page * page;
  char *map = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(map != MAP_FAILED);
  memcpy(map, from, size);
  CHECK_EQ(mprotect(map, room, PROT_READ), 0);
  return map;
}
