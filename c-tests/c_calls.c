/* Purpose: no arguments whatever harm the caller or the daemon. Every exported function is called again and again with
 * random scalars and pointers (NULL, wild, unmapped, partly mapped, read-only, good): the process survives, each result
 * is at least -1, each error has an errno that is not that of an inner fault, and the worker is the same one afterwards.
 *
 * The calls are the same ones each time. DMAPI_FUZZ_SEED and DMAPI_FUZZ_CALLS choose others; fuzz/run.sh does. */
#include "harness.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>

typedef long (*any_function)(long, long, long, long, long, long, long, long, long, long);

static const char *const names[] = {
#define SYMBOL(name) #name,
#include "symbols.inc"
};

enum {
  NAMES = sizeof names / sizeof names[0],
  ARGUMENTS = 10,
  CALLS_EACH = 100,
  ERRNO_MAX = 133,
  /* What a length that is too long makes a call write stays in here. */
  ROOM_BYTES = 4 << 20,
  GOOD_BYTES = 64 << 10,
};

static unsigned long long state;
static unsigned char *room, *read_only, *edge;
static void *unmapped;
static dm_sessid_t sid;
static dm_token_t token;
static int good_results;

static unsigned dice(unsigned count) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)(state >> 33) % count;
}

static long scalar(void) {
  static const long usual[] = {0, 1, 2, 3, 7, 8, 16, 23, 24, 64, 255, 256, 4096, 65536, -1, -2, 0x7fffffff, 0x80000000L,
                               0xffffffffL, 0x100000000L, 0x7fffffffffffffffL, (long)0x8000000000000000UL};
  switch (dice(4)) {
  case 0:
    return sid;
  case 1:
    return token;
  default:
    return usual[dice(sizeof usual / sizeof usual[0])];
  }
}

/* Good memory begins with what some call could want: a handle, a path, small numbers. */
static long good(void) {
  unsigned char *at = room + dice(GOOD_BYTES / 64) * 64;
  dm_fsid_t fsid = 0x1234567;
  switch (dice(4)) {
  case 0:
    memset(at, 0, 64);
    memcpy(at, &fsid, sizeof fsid);
    at[8] = 14;
    at[16] = (unsigned char)dice(256);
    break;
  case 1:
    strcpy((char *)at, dice(2) ? "/" : "/nonexistent/file");
    break;
  case 2:
    for (int byte = 0; byte < 64; byte++)
      at[byte] = (unsigned char)dice(dice(2) ? 256 : 4);
    break;
  default:
    memset(at, (int)dice(2) * 255, 64);
  }
  return (long)at + (dice(16) == 0);
}

static long argument(void) {
  switch (dice(16)) {
  case 0:
    return 0;
  case 1:
    return (long)unmapped + dice(64);
  case 2:
    return (long)edge - dice(64);
  case 3:
    return (long)read_only + dice(64);
  case 4:
    return -(long)dice(64);
  case 5:
  case 6:
  case 7:
  case 8:
    return good();
  default:
    return scalar();
  }
}

/* Functions that give no error. */
static bool has_no_errno(const char *name) {
  return strcmp(name, "dm_handle_cmp") == 0 || strcmp(name, "dm_handle_free") == 0 ||
         strcmp(name, "dm_handle_hash") == 0 || strcmp(name, "dm_handle_is_valid") == 0;
}

static bool gives_size(const char *name) {
  return strcmp(name, "dm_read_invis") == 0 || strcmp(name, "dm_write_invis") == 0;
}

static void call(const char *name) {
  void *address = dlsym(RTLD_DEFAULT, name);
  CHECK(address != NULL);
  any_function function;
  memcpy(&function, &address, sizeof function);
  long a[ARGUMENTS];
  for (int at = 0; at < ARGUMENTS; at++)
    a[at] = argument();
  if (dice(2) == 0)
    a[0] = sid;
  /* free(3) takes only what malloc(3) gave. */
  if (strcmp(name, "dm_handle_free") == 0)
    a[0] = dice(2) ? 0 : (long)malloc(24);
  errno = 0;
  long whole = function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]);
  int error = errno;
  good_results += (int)whole >= 0;
  long result = gives_size(name) ? whole : (int)whole;
  if (has_no_errno(name))
    return;
  /* A panic that is caught becomes EIO, which nothing else gives without a file system. */
  if (result < -1 || (result == -1 && (error <= 0 || error > ERRNO_MAX || error == EIO)))
    fail_at(__FILE__, __LINE__, "%s(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx, %#lx, %#lx, ...) gave %ld, errno %d", name, a[0],
            a[1], a[2], a[3], a[4], a[5], a[6], a[7], result, error);
}

static void woken(int signal) {
  (void)signal;
}

/* A call that waits ends with EINTR: again and again, as the signal may come before it waits. */
static void wake_often(void) {
  struct sigaction action = {.sa_handler = woken};
  CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
  struct itimerval often = {{0, 20000}, {0, 20000}};
  CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
}

static void renew_undisturbed(void) {
  u_int count = 0;
  dm_sessid_t sids[256];
  CHECK_EQ(dm_getall_sessions(256, sids, &count), 0);
  for (u_int at = 0; at < count; at++)
    if (sids[at] == sid)
      return;
  CHECK_EQ(dm_create_session(DM_NO_SESSION, (char[]){"calls"}, &sid), 0);
  CHECK_EQ(dm_create_userevent(sid, 5, (char[]){"mine"}, &token), 0);
}

/* A session to call with, and a token in it; the calls may have ended them. */
static void renew(void) {
  sigset_t alarm, before;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  CHECK_EQ(sigprocmask(SIG_BLOCK, &alarm, &before), 0);
  renew_undisturbed();
  CHECK_EQ(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

static void body(void) {
  const char *seed = getenv("DMAPI_FUZZ_SEED"), *calls = getenv("DMAPI_FUZZ_CALLS");
  state = seed != NULL ? strtoull(seed, NULL, 10) : 1;
  int rounds = calls != NULL ? atoi(calls) : CALLS_EACH;
  printf("seed %llu\n", state);
  room = mmap(NULL, ROOM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(room != MAP_FAILED);
  read_only = read_only_copy(room, 4096);
  unmapped = unmapped_address();
  edge = partly_mapped(2, 1);
  edge += 1;
  pid_t worker = worker_pid();
  renew();
  wake_often();
  for (int round = 0; round < rounds; round++) {
    for (int at = 0; at < NAMES; at++)
      call(names[at]);
    renew();
  }
  struct itimerval never = {{0, 0}, {0, 0}};
  CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
  CHECK_EQ(worker_pid(), worker);
  printf("%d calls, %d of them good\n", rounds * (int)NAMES, good_results);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON, body);
}
