/* harness.h: what the C tests share: checks, a private daemon, a managed file system, and the cleaning up. */
#ifndef HARNESS_H
#define HARNESS_H

#include <dmapi.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* -- checks: each ends the test with the place and what was found */

#define CHECK(cond) \
  do { \
    if (!(cond)) \
      fail_at(__FILE__, __LINE__, "%s is false (errno %d, %s)", #cond, errno, strerror(errno)); \
  } while (0)

#define CHECK_EQ(left, right) \
  do { \
    long long left_ = (long long)(left), right_ = (long long)(right); \
    if (left_ != right_) \
      fail_at(__FILE__, __LINE__, "%s is %lld, not %s (%lld); errno %d, %s", #left, left_, #right, right_, \
              errno, strerror(errno)); \
  } while (0)

/* The call gives -1 and that errno. */
#define CHECK_ERRNO(call, expected) \
  do { \
    errno = 0; \
    long long got_ = (long long)(call); \
    int errno_ = errno; \
    if (got_ != -1 || errno_ != (expected)) \
      fail_at(__FILE__, __LINE__, "%s gave %lld, errno %d (%s), not -1 and %s", #call, got_, errno_, \
              strerror(errno_), #expected); \
  } while (0)

/* And `output` has the bytes it had. */
#define CHECK_ERRNO_KEEPS(call, expected, output) \
  do { \
    unsigned char before_[sizeof(output)]; \
    memcpy(before_, &(output), sizeof(output)); \
    CHECK_ERRNO(call, expected); \
    if (memcmp(before_, &(output), sizeof(output)) != 0) \
      fail_at(__FILE__, __LINE__, "%s failed but changed %s", #call, #output); \
  } while (0)

#define SKIP(...) skip_at(__FILE__, __LINE__, __VA_ARGS__)

void fail_at(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void skip_at(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

/* -- the test bed */

enum { WITH_NOTHING = 0, WITH_DAEMON = 1, WITH_FS = 2 };

/* Where the test runs. */
struct bed {
  char dir[64];        /* private directory of the test */
  char fs[96];         /* WITH_FS: mount point of the managed file system */
  const char *kind;    /* xfs, ext4, btrfs; fuse-xfs, fuse-ext4, fuse-tmpfs, fuse-user (an ordinary user's tmpfs) */
  const char *content; /* the kind that holds the data */
  bool fuse;           /* users reach it through FUSE */
  bool ordinary;       /* daemon and test run as an ordinary user in namespaces of his own */
  char back[96];       /* fuse: the directory behind the mount */
  pid_t supervisor;    /* WITH_DAEMON: its supervisor */
};
extern struct bed bed;

/* Does the source of the file system make that event (dm_get_config_events)? Docs: docs/kernel-features.md. */
bool makes_event(int event);

/* Runs `body` in a process of its own with a private daemon (WITH_DAEMON), and with a managed file system of the kind
 * that the first argument names (WITH_FS). Ends everything afterwards, also when the test crashes or takes longer than
 * 90 seconds (DMAPI_TEST_SECONDS). To be returned from main. */
int run_test(int argc, char **argv, int needs, void (*body)(void));

/* Kills the worker of the daemon with SIGKILL and waits until the next one serves. */
void kill_worker(void);
/* The process id of the worker. */
pid_t worker_pid(void);
/* Stops the daemon in order, or kills supervisor and worker, and starts it again on the same state. */
void restart_daemon(bool kill_it);

/* Mounts the managed file system again, after `dmctl umount`. */
void mount_again(void);

/* Waits until `done(argument)` is true, at most 60 seconds: else the test fails with `what`. */
void wait_until(bool (*done)(void *), void *argument, const char *what);

/* Runs a program and returns its exit status; its output goes where that of the test goes. */
int run_program(const char *program, char *const arguments[]);
/* dmctl of this build; arguments end with NULL. */
int dmctl(const char *first, ...) __attribute__((sentinel));

/* -- things that most tests need */

/* Path of `name` in the managed file system; valid until 8 further calls. */
const char *in_fs(const char *name);
/* A file of `size` bytes with a known pattern. */
void make_file(const char *path, size_t size);
/* The byte of that pattern at `offset`. */
unsigned char pattern_at(size_t offset);
/* A new session with this text. */
dm_sessid_t new_session(const char *text);

/* A handle with its length. */
struct handle {
  void *hanp;
  size_t hlen;
};
struct handle handle_of(const char *path);
struct handle fs_handle_of(const char *path);

/* Addresses that must give EFAULT. */
void *unmapped_address(void);
/* `size` bytes of which only the first half (at least one) lies in mapped memory; aligned to `align`. */
void *partly_mapped(size_t size, size_t align);
/* A copy of `size` bytes in memory that cannot be written. */
void *read_only_copy(const void *from, size_t size);

#endif
