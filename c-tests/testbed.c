/* testbed.c: the private daemon and the managed file system of a test. Everything is started by the process that
 * watches over the test and is ended by it, by process id. */
#include "testbed.h"

#include "harness.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { START_MS_MAX = 40000, STOP_MS_MAX = 20000, STOP_TRY_MS = 200, TRY_MS = 20 };

/* What can be named as the first argument. */
static const struct kind {
  const char *name, *content;
  bool fuse, ordinary;
} kinds[] = {
    {"xfs", "xfs", false, false},       {"ext4", "ext4", false, false},       {"btrfs", "btrfs", false, false},
    {"fuse-xfs", "xfs", true, false},   {"fuse-ext4", "ext4", true, false},   {"fuse-btrfs", "btrfs", true, false},
    {"fuse-tmpfs", "tmpfs", true, false}, {"fuse-user", "tmpfs", true, true},
};

static int wanted;
/* The file system that holds the data, and what users see of it. */
static bool has_content, is_mounted;

void path_in_dir(char *path, size_t room, const char *name) {
  snprintf(path, room, "%s/%s", bed.dir, name);
}

int run_program(const char *program, char *const arguments[]) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    execvp(program, arguments);
    fprintf(stderr, "%s: %s\n", program, strerror(errno));
    _exit(127);
  }
  int status = 0;
  while (child < 0 || waitpid(child, &status, 0) < 0) {
    if (child < 0 || errno != EINTR)
      return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int skip(const char *why, const char *what) {
  int result = result_of_skip();
  fprintf(stderr, "%s: %s: %s\n", result == SKIPPED ? "skipped" : "failed, as DMAPI_NO_SKIP=1 forbids to skip", why, what);
  return result;
}

struct programs programs = {DMAPID_PATH, DMCTL_PATH};

int dmctl(const char *first, ...) {
  char *arguments[32] = {(char *)"dmctl", (char *)first};
  va_list more;
  va_start(more, first);
  for (int at = 2; at < 31 && (arguments[at] = va_arg(more, char *)) != NULL; at++) {
  }
  va_end(more);
  return run_program(programs.dmctl, arguments);
}

/* -- the daemon */

/* The library keeps connections per process, so the question is asked in a process of its own. */
static bool serves(void) {
  pid_t child = fork();
  if (child == 0) {
    char *version = NULL;
    setenv("DMAPI_WAIT_MS", "1000", 1);
    _exit(dm_init_service(&version) == 0 ? 0 : 1);
  }
  int status = 1;
  if (child > 0)
    waitpid(child, &status, 0);
  return child > 0 && status == 0;
}

static bool start_daemon(void) {
  char log[96];
  path_in_dir(log, sizeof log, "daemon.log");
  fflush(stdout);
  bed.supervisor = fork();
  if (bed.supervisor == 0) {
    setsid();
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(fd, 1);
    dup2(fd, 2);
    int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    close(fd);
    close(null);
    execl(programs.dmapid, "dmapid", "--foreground", (char *)NULL);
    perror(programs.dmapid);
    _exit(127);
  }
  long long end = now_ms() + START_MS_MAX;
  while (!serves()) {
    int status = 0;
    if (bed.supervisor < 0 || waitpid(bed.supervisor, &status, WNOHANG) == bed.supervisor) {
      fprintf(stderr, "dmapid ended with status %d at its start\n", status);
      bed.supervisor = 0;
      return false;
    }
    if (now_ms() > end) {
      fprintf(stderr, "dmapid does not serve after %d ms\n", START_MS_MAX);
      return false;
    }
    pause_ms(TRY_MS);
  }
  return true;
}

/* Its process group goes at once: a worker whose supervisor alone dies would go on. */
static void kill_daemon(void) {
  kill(-bed.supervisor, SIGKILL);
  int status = 0;
  ends_within(bed.supervisor, STOP_MS_MAX, &status);
}

static void stop_daemon(bool kill_it) {
  if (bed.supervisor <= 0)
    return;
  int status = 0;
  if (!kill_it) {
    /* It refuses while it believes that a file system is mounted, and hears of an unmount a moment later. */
    long long end = now_ms() + STOP_MS_MAX;
    bool has_ended = false;
    while (!has_ended && now_ms() < end) {
      kill(bed.supervisor, SIGTERM);
      has_ended = ends_within(bed.supervisor, STOP_TRY_MS, &status);
    }
    if (!has_ended)
      fprintf(stderr, "dmapid did not end within %d ms after SIGTERM: killed\n", STOP_MS_MAX);
  }
  kill_daemon();
  /* The workers became children of ours (subreaper). They hold the lock of the node until they are gone. */
  long long end = now_ms() + STOP_MS_MAX;
  while (waitpid(-bed.supervisor, &status, WNOHANG) >= 0 && now_ms() < end)
    pause_ms(1);
  bed.supervisor = 0;
}

pid_t worker_pid(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)bed.supervisor, (int)bed.supervisor);
  FILE *children = fopen(path, "r");
  int pid = 0, next;
  if (children != NULL) {
    /* The last one: the end of an earlier one may wait for a thread in the kernel. */
    while (fscanf(children, "%d", &next) == 1)
      pid = next;
    fclose(children);
  }
  return pid;
}

static bool is_next_worker(void *before) {
  pid_t now = worker_pid();
  return now > 0 && now != *(pid_t *)before && serves();
}

void kill_worker(void) {
  pid_t worker = worker_pid();
  CHECK(worker > 0);
  CHECK_EQ(kill(worker, SIGKILL), 0);
  wait_until(is_next_worker, &worker, "no worker serves after the last one was killed");
}

bool testbed_restart(bool kill_it) {
  stop_daemon(kill_it);
  return start_daemon();
}

/* -- the file system */

static bool make_image(const char *image, const char *kind) {
  off_t bytes = 320 * 1024 * 1024; /* what mkfs.xfs wants at least */
  int fd = open(image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, bytes) != 0) {
    perror(image);
    return false;
  }
  close(fd);
  char program[32];
  snprintf(program, sizeof program, "mkfs.%s", kind);
  char *quiet = strcmp(kind, "ext4") == 0 ? (char *)"-qF" : (char *)"-q";
  char *arguments[] = {program, quiet, (char *)image, NULL};
  return run_program(program, arguments) == 0;
}

/* Where the data is: for users, or behind the FUSE mount. */
static char *content_dir(void) {
  return bed.fuse ? bed.back : bed.fs;
}

static bool mount_content(void) {
  char image[96];
  path_in_dir(image, sizeof image, "image");
  bool no_image = strcmp(bed.content, "tmpfs") == 0;
  char *options = no_image ? (char *)"size=256m" : (char *)"loop";
  char *arguments[] = {(char *)"mount", (char *)"-t", (char *)bed.content, (char *)"-o", options,
                       no_image ? (char *)"none" : image, content_dir(), NULL};
  has_content = run_program("mount", arguments) == 0;
  return has_content;
}

/* The loop device frees itself when the last mount of it goes. */
static bool unmount_one(const char *path, bool *is_there) {
  long long end = now_ms() + STOP_MS_MAX;
  while (*is_there && umount2(path, 0) != 0) {
    if (errno == EINVAL) /* gone already */
      break;
    if (errno != EBUSY || now_ms() > end) {
      fprintf(stderr, "%s: umount: %s\n", path, strerror(errno));
      return false;
    }
    pause_ms(TRY_MS);
  }
  *is_there = false;
  return true;
}

/* What users see of it. */
static bool unmount(void) {
  return unmount_one(bed.fs, bed.fuse ? &is_mounted : &has_content);
}

/* The private mount that the worker has of it may last a moment longer. */
static bool unmount_content(void) {
  return unmount_one(content_dir(), &has_content);
}

static bool set_up_fs(void) {
  char image[96];
  path_in_dir(image, sizeof image, "image");
  path_in_dir(bed.fs, sizeof bed.fs, "fs");
  path_in_dir(bed.back, sizeof bed.back, "back");
  if (strcmp(bed.content, "tmpfs") != 0 && !make_image(image, bed.content))
    return false;
  if (mkdir(bed.fs, 0755) != 0 || mkdir(bed.back, 0755) != 0)
    return false;
  return mount_content();
}

static bool manage(void) {
  if (!bed.fuse && dmctl("manage", bed.fs, (char *)NULL) == 0)
    return true;
  if (bed.fuse && dmctl("mount", "--source", "fuse", bed.back, bed.fs, (char *)NULL) == 0)
    return is_mounted = true;
  fprintf(stderr, "dmctl cannot bring %s under management\n", bed.fs);
  return false;
}

/* Does a loop device still have the image? */
static bool is_free(void *image) {
  char command[160], line[160];
  snprintf(command, sizeof command, "losetup -j %s", (char *)image);
  FILE *devices = popen(command, "r");
  bool found = devices == NULL || fgets(line, sizeof line, devices) != NULL;
  if (devices != NULL)
    pclose(devices);
  return !found;
}

void mount_again(void) {
  if (!bed.fuse) {
    /* The daemon lets its own mount go a moment after the unmount; until then it would be the same file system still,
     * with all that the kernel has cached of it. */
    char image[96];
    path_in_dir(image, sizeof image, "image");
    wait_until(is_free, image, "the file system is still there after its unmount");
    CHECK(mount_content());
  }
  CHECK(manage());
}

/* -- all of it */

static bool take_kind(const char *name) {
  for (size_t at = 0; name != NULL && at < sizeof kinds / sizeof kinds[0]; at++) {
    if (strcmp(name, kinds[at].name) == 0) {
      bed.content = kinds[at].content;
      bed.fuse = kinds[at].fuse;
      bed.ordinary = kinds[at].ordinary;
      return true;
    }
  }
  return false;
}

static int set_up(int needs) {
  snprintf(bed.dir, sizeof bed.dir, "/tmp/dmapi-test-XXXXXX");
  if (mkdtemp(bed.dir) == NULL) {
    perror(bed.dir);
    return FAIL;
  }
  if (bed.ordinary) {
    int result = become_ordinary();
    if (result != 0)
      return result;
  }
  char path[96];
  path_in_dir(path, sizeof path, "socket");
  setenv("DMAPI_SOCKET", path, 1);
  path_in_dir(path, sizeof path, "state");
  setenv("DMAPI_STATE", path, 1);
  unsetenv("DMAPI_AUTOSTART");
  unsetenv("DMAPI_DIALECT");
  if ((needs & WITH_FS) != 0 && !set_up_fs())
    return FAIL;
  if ((needs & WITH_DAEMON) != 0 && !start_daemon())
    return FAIL;
  if ((needs & WITH_FS) != 0 && !manage())
    return FAIL;
  return 0;
}

int testbed_set_up(int needs, const char *kind) {
  wanted = needs;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  if ((needs & WITH_FS) != 0) {
    bed.kind = kind;
    if (!take_kind(kind)) {
      fprintf(stderr, "usage: the first argument is one of");
      for (size_t at = 0; at < sizeof kinds / sizeof kinds[0]; at++)
        fprintf(stderr, " %s", kinds[at].name);
      fprintf(stderr, "\n");
      return FAIL;
    }
    if (geteuid() != 0 && !bed.ordinary) {
      return skip("this user is not root", "loop mounts and fanotify");
    }
  }
  return needs == WITH_NOTHING ? 0 : set_up(needs);
}

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *walk) {
  (void)stat;
  (void)type;
  (void)walk;
  return remove(path);
}

void testbed_tear_down(bool passed) {
  if (wanted == WITH_NOTHING)
    return;
  /* The daemon leaves in order only when nothing is mounted any more. */
  bool is_unmounted = unmount();
  stop_daemon(!is_unmounted);
  if (!is_unmounted && !unmount())
    umount2(bed.fs, MNT_DETACH);
  if (!unmount_content())
    umount2(content_dir(), MNT_DETACH);
  if (bed.dir[0] == '\0')
    return;
  if (passed) {
    nftw(bed.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
  } else {
    fprintf(stderr, "kept for a look: %s\n", bed.dir);
    char log[96];
    path_in_dir(log, sizeof log, "daemon.log");
    char *arguments[] = {(char *)"tail", (char *)"-n", (char *)"60", log, NULL};
    run_program("tail", arguments);
  }
}
