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

enum { START_MS_MAX = 40000, STOP_MS_MAX = 20000, STOP_TRY_MS = 200, TRY_MS = 20, NO_BED = 1, SKIP_BED = 77 };

static int wanted;
static bool is_mounted;

static void path_in_dir(char *path, size_t room, const char *name) {
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

int dmctl(const char *first, ...) {
  char *arguments[32] = {(char *)"dmctl", (char *)first};
  va_list more;
  va_start(more, first);
  for (int at = 2; at < 31 && (arguments[at] = va_arg(more, char *)) != NULL; at++) {
  }
  va_end(more);
  return run_program(DMCTL_PATH, arguments);
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
    execl(DMAPID_PATH, "dmapid", "--foreground", (char *)NULL);
    perror(DMAPID_PATH);
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
  int pid = 0;
  if (children != NULL) {
    if (fscanf(children, "%d", &pid) != 1)
      pid = 0;
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

static bool mount_image(void) {
  char image[96];
  path_in_dir(image, sizeof image, "image");
  char *arguments[] = {(char *)"mount", (char *)"-t", (char *)bed.kind, (char *)"-o", (char *)"loop",
                       image,           bed.fs,       NULL};
  return run_program("mount", arguments) == 0;
}

/* The loop device frees itself when the last mount of it goes. */
static bool unmount(void) {
  long long end = now_ms() + STOP_MS_MAX;
  while (is_mounted && umount2(bed.fs, 0) != 0) {
    if (errno != EBUSY || now_ms() > end) {
      fprintf(stderr, "%s: umount: %s\n", bed.fs, strerror(errno));
      return false;
    }
    pause_ms(TRY_MS);
  }
  is_mounted = false;
  return true;
}

static bool is_kind(const char *kind) {
  return kind != NULL && (strcmp(kind, "xfs") == 0 || strcmp(kind, "ext4") == 0 || strcmp(kind, "btrfs") == 0);
}

static bool set_up_fs(void) {
  char image[96];
  path_in_dir(image, sizeof image, "image");
  path_in_dir(bed.fs, sizeof bed.fs, "fs");
  is_mounted = make_image(image, bed.kind) && mkdir(bed.fs, 0755) == 0 && mount_image();
  return is_mounted;
}

static bool manage(void) {
  if (dmctl("manage", bed.fs, (char *)NULL) == 0)
    return true;
  fprintf(stderr, "dmctl manage %s failed\n", bed.fs);
  return false;
}

void mount_again(void) {
  CHECK(mount_image());
  CHECK(manage());
}

/* -- all of it */

static int set_up(int needs) {
  snprintf(bed.dir, sizeof bed.dir, "/tmp/dmapi-test-XXXXXX");
  if (mkdtemp(bed.dir) == NULL) {
    perror(bed.dir);
    return NO_BED;
  }
  char path[96];
  path_in_dir(path, sizeof path, "socket");
  setenv("DMAPI_SOCKET", path, 1);
  path_in_dir(path, sizeof path, "state");
  setenv("DMAPI_STATE", path, 1);
  unsetenv("DMAPI_AUTOSTART");
  unsetenv("DMAPI_DIALECT");
  if ((needs & WITH_FS) != 0 && !set_up_fs())
    return NO_BED;
  if ((needs & WITH_DAEMON) != 0 && !start_daemon())
    return NO_BED;
  if ((needs & WITH_FS) != 0 && !manage())
    return NO_BED;
  return 0;
}

int testbed_set_up(int needs, const char *kind) {
  wanted = needs;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  if ((needs & WITH_FS) != 0) {
    bed.kind = kind;
    if (!is_kind(kind)) {
      fprintf(stderr, "usage: the first argument is xfs, ext4 or btrfs\n");
      return NO_BED;
    }
    if (geteuid() != 0) {
      const char *strict = getenv("DMAPI_NO_SKIP");
      fprintf(stderr, "skipped: loop mounts and fanotify need root\n");
      return strict != NULL && strcmp(strict, "1") == 0 ? NO_BED : SKIP_BED;
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
