/* user.c: see user.h. */
#include "user.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { DATA_BYTES = 256, WAIT_MS = 60000 };

struct deed {
  enum { READ, WRITE, TRUNCATE, MAP } what;
  int open_flags;
  const char *path;
  long offset;
  size_t length;
  int protection;
  int flags;
};

/* What comes back through the pipe. */
struct outcome {
  int error;
  unsigned char data[DATA_BYTES];
};

static struct outcome carry_out(const struct deed *deed) {
  static unsigned char bytes[65536];
  struct outcome outcome = {0, {0}};
  if (deed->what == TRUNCATE) {
    outcome.error = truncate(deed->path, deed->offset) == 0 ? 0 : errno;
    return outcome;
  }
  int fd = open(deed->path, deed->open_flags);
  ssize_t done = -1;
  if (fd >= 0 && deed->what == READ) {
    done = pread(fd, bytes, deed->length, deed->offset);
    memcpy(outcome.data, bytes, DATA_BYTES);
  } else if (fd >= 0 && deed->what == WRITE) {
    for (size_t at = 0; at < deed->length; at++)
      bytes[at] = pattern_at((size_t)deed->offset + at);
    done = pwrite(fd, bytes, deed->length, deed->offset);
  } else if (fd >= 0) {
    void *map = mmap(NULL, deed->length, deed->protection, deed->flags, fd, deed->offset);
    done = map == MAP_FAILED ? -1 : munmap(map, deed->length);
  }
  outcome.error = done < 0 ? errno : 0;
  return outcome;
}

static struct user *start(const struct deed *deed) {
  static struct user user;
  int ends[2];
  CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
  user.pid = fork();
  CHECK(user.pid >= 0);
  if (user.pid == 0) {
    close(ends[0]);
    struct outcome outcome = carry_out(deed);
    _exit(write(ends[1], &outcome, sizeof outcome) == sizeof outcome ? 0 : 1);
  }
  close(ends[1]);
  user.pipe = ends[0];
  return &user;
}

struct user *user_reads(const char *name, long offset, size_t length) {
  return start(&(struct deed){READ, O_RDONLY, in_fs(name), offset, length, 0, 0});
}

struct user *user_reads_without_waiting(const char *name, long offset, size_t length) {
  return start(&(struct deed){READ, O_RDONLY | O_NONBLOCK, in_fs(name), offset, length, 0, 0});
}

struct user *user_writes(const char *name, long offset, size_t length) {
  return start(&(struct deed){WRITE, O_WRONLY, in_fs(name), offset, length, 0, 0});
}

struct user *user_truncates(const char *name, long size) {
  return start(&(struct deed){TRUNCATE, 0, in_fs(name), size, 0, 0, 0});
}

struct user *user_maps(const char *name, long offset, size_t length, int protection, int flags) {
  int open_flags = (protection & PROT_WRITE) != 0 ? O_RDWR : O_RDONLY;
  return start(&(struct deed){MAP, open_flags, in_fs(name), offset, length, protection, flags});
}

static bool is_ready(struct user *user, int ms) {
  struct pollfd polled = {user->pipe, POLLIN, 0};
  int ready;
  while ((ready = poll(&polled, 1, ms)) < 0 && errno == EINTR) {
  }
  return ready > 0;
}

bool has_done(struct user *user) {
  return is_ready(user, 0);
}

static void reap(struct user *user) {
  int status;
  CHECK_EQ(waitpid(user->pid, &status, 0), user->pid);
  close(user->pipe);
}

int await(struct user *user) {
  struct outcome outcome;
  CHECK(is_ready(user, WAIT_MS));
  CHECK_EQ(read(user->pipe, &outcome, sizeof outcome), sizeof outcome);
  memcpy(user->data, outcome.data, sizeof user->data);
  reap(user);
  return outcome.error;
}

void kill_user(struct user *user) {
  CHECK_EQ(kill(user->pid, SIGKILL), 0);
  reap(user);
}
