/* user.c: see user.h. */
#include "user.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { DATA_BYTES = 256, WAIT_MS = 60000 };

struct deed {
  enum { READ, WRITE, TRUNCATE, MAP, STORE, TOUCH, NAMES } what;
  int open_flags;
  const char *path;
  const char *second;
  enum deed_on_names on_names;
  long offset;
  size_t length;
  long shift; /* of what is stored in the pattern */
  int protection;
  int flags;
};

/* What comes back through the pipe. */
struct outcome {
  int error;
  unsigned char data[DATA_BYTES];
};

static void wake(int number) {
  (void)number;
}

static sigjmp_buf after_fault;

static void jump(int number) {
  (void)number;
  siglongjmp(after_fault, 1);
}

/* The mapping is there before the parent goes on: it reads a byte from the pipe first. */
static struct outcome touch(const struct deed *deed, int pipe, int start) {
  struct outcome outcome = {0, {0}};
  int protection = deed->protection, fd = open(deed->path, deed->open_flags);
  long page = sysconf(_SC_PAGESIZE), from = deed->offset / page * page;
  volatile unsigned char *map = mmap(NULL, (size_t)page, protection, MAP_SHARED, fd, from);
  char ready = map == MAP_FAILED ? 'n' : 'y';
  if (write(pipe, &ready, 1) != 1 || map == MAP_FAILED || read(start, &ready, 1) != 1)
    _exit(1);
  struct sigaction action = {.sa_handler = jump};
  sigaction(SIGBUS, &action, NULL);
  if (sigsetjmp(after_fault, 1) != 0) {
    outcome.error = EFAULT;
    return outcome;
  }
  if ((protection & PROT_WRITE) != 0)
    map[deed->offset - from] = 'S';
  outcome.data[0] = map[deed->offset - from];
  return outcome;
}

static int on_names(const struct deed *deed) {
  const char *one = deed->path, *two = deed->second;
  switch (deed->on_names) {
  case NAME_CREATE: {
    int fd = open(one, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    return fd < 0 ? -1 : close(fd);
  }
  case NAME_MKDIR:
    return mkdir(one, 0750);
  case NAME_MKFIFO:
    return mkfifo(one, 0600);
  case NAME_UNLINK:
    return unlink(one);
  case NAME_RMDIR:
    return rmdir(one);
  case NAME_RENAME:
    return rename(one, two);
  case NAME_LINK:
    return link(one, two);
  default:
    return symlink(two, one);
  }
}

static void put_pattern(unsigned char *to, long offset, size_t length) {
  for (size_t at = 0; at < length; at++)
    to[at] = pattern_at((size_t)offset + at);
}

/* Where the bytes are in the file is where they are in the mapping. */
static int store(int fd, const struct deed *deed) {
  size_t length = (size_t)deed->offset + deed->length;
  unsigned char *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED)
    return -1;
  put_pattern(map + deed->offset, deed->offset + deed->shift, deed->length);
  return msync(map, length, MS_SYNC);
}

static struct outcome carry_out(const struct deed *deed) {
  static unsigned char bytes[65536];
  struct outcome outcome = {0, {0}};
  if (deed->what == NAMES) {
    outcome.error = on_names(deed) == 0 ? 0 : errno;
    return outcome;
  }
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
    put_pattern(bytes, deed->offset, deed->length);
    done = pwrite(fd, bytes, deed->length, deed->offset);
  } else if (fd >= 0 && deed->what == STORE) {
    done = store(fd, deed);
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
  int starts[2];
  CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
  CHECK_EQ(pipe2(starts, O_CLOEXEC), 0);
  user.pid = fork();
  CHECK(user.pid >= 0);
  if (user.pid == 0) {
    close(ends[0]);
    close(starts[1]);
    umask(022);
    static const int handled[] = {SIGUSR1, SIGINT, SIGTERM, SIGALRM};
    for (size_t at = 0; at < sizeof handled / sizeof handled[0]; at++)
      sigaction(handled[at], &(struct sigaction){.sa_handler = wake}, NULL);
    struct outcome outcome = deed->what == TOUCH ? touch(deed, ends[1], starts[0]) : carry_out(deed);
    _exit(write(ends[1], &outcome, sizeof outcome) == sizeof outcome ? 0 : 1);
  }
  close(ends[1]);
  close(starts[0]);
  user.pipe = ends[0];
  user.start = starts[1];
  return &user;
}

struct user *user_reads(const char *name, long offset, size_t length) {
  return start(&(struct deed){.what = READ, .open_flags = O_RDONLY, .path = in_fs(name), .offset = offset, .length = length});
}

struct user *user_reads_without_waiting(const char *name, long offset, size_t length) {
  return start(&(struct deed){.what = READ,
                               .open_flags = O_RDONLY | O_NONBLOCK,
                               .path = in_fs(name),
                               .offset = offset,
                               .length = length});
}

struct user *user_writes(const char *name, long offset, size_t length) {
  return start(&(struct deed){.what = WRITE, .open_flags = O_WRONLY, .path = in_fs(name), .offset = offset, .length = length});
}

struct user *user_truncates(const char *name, long size) {
  return start(&(struct deed){.what = TRUNCATE, .path = in_fs(name), .offset = size});
}

struct user *user_maps(const char *name, long offset, size_t length, int protection, int flags) {
  int open_flags = (protection & PROT_WRITE) != 0 ? O_RDWR : O_RDONLY;
  return start(&(struct deed){.what = MAP,
                               .open_flags = open_flags,
                               .path = in_fs(name),
                               .offset = offset,
                               .length = length,
                               .protection = protection,
                               .flags = flags});
}

struct user *user_stores(const char *name, long offset, size_t length, long shift) {
  return start(&(struct deed){
      .what = STORE, .open_flags = O_RDWR, .path = in_fs(name), .offset = offset, .length = length, .shift = shift});
}

struct user *user_will_touch(const char *name, long offset, bool store) {
  struct user *user = start(&(struct deed){.what = TOUCH,
                                           .open_flags = store ? O_RDWR : O_RDONLY,
                                           .path = in_fs(name),
                                           .offset = offset,
                                           .protection = store ? PROT_READ | PROT_WRITE : PROT_READ});
  char ready = 'n';
  CHECK_EQ(read(user->pipe, &ready, 1), 1);
  CHECK_EQ(ready, 'y');
  return user;
}

void let_touch(struct user *user) {
  CHECK_EQ(write(user->start, "t", 1), 1);
}

struct user *user_names(enum deed_on_names what, const char *name, const char *second) {
  const char *two = what == NAME_SYMLINK || second == NULL ? second : in_fs(second);
  return start(&(struct deed){.what = NAMES, .path = in_fs(name), .second = two, .on_names = what});
}

void signal_user(struct user *user, int number) {
  CHECK_EQ(kill(user->pid, number), 0);
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
  close(user->start);
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
