/* Purpose: a dm_punch_hole whose worker dies after it was decided is completed, and not called busy because users
 * came meanwhile: an application that is told "busy" takes the guard off bytes that are gone. */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { FILE_BYTES = 1 << 20 };

struct punch {
  dm_sessid_t sid;
  struct handle file;
  int result, error;
};

static void *punch_whole(void *argument)
{
  struct punch *punch = argument;
  punch->result = dm_punch_hole(punch->sid, punch->file.hanp, punch->file.hlen, DM_NO_TOKEN, 0, 0);
  punch->error = errno;
  return NULL;
}

/* Is a thread of the worker stopped by the frozen file system? */
static bool worker_is_held(void *argument)
{
  pid_t worker = *(pid_t *)argument;
  char path[320];
  snprintf(path, sizeof(path), "/proc/%d/task", (int)worker);
  DIR *tasks = opendir(path);
  bool held = false;
  for (struct dirent *task; tasks && !held && (task = readdir(tasks));) {
    if (task->d_name[0] == '.')
      continue;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/wchan", (int)worker, task->d_name);
    FILE *wchan = fopen(path, "r");
    char where[128] = "";
    if (wchan) {
      held = fgets(where, sizeof(where), wchan) && strstr(where, "percpu_rwsem_wait");
      fclose(wchan);
    }
  }
  if (tasks)
    closedir(tasks);
  return held;
}

static int frozen = -1;

static void thaw(void)
{
  if (frozen >= 0)
    ioctl(frozen, FITHAW, 0);
  frozen = -1;
}

static void run(void)
{
  make_file(in_fs("file"), FILE_BYTES);
  struct punch punch = {.sid = new_session("punch"), .file = handle_of(in_fs("file"))};
  dm_region_t region = {0, 0, DM_REGION_READ | DM_REGION_WRITE | DM_REGION_TRUNCATE, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(punch.sid, punch.file.hanp, punch.file.hlen, DM_NO_TOKEN, 1, &region, &exact), 0);

  frozen = open(bed.fuse ? bed.back : bed.fs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(frozen >= 0);
  atexit(thaw);
  CHECK_EQ(ioctl(frozen, FIFREEZE, 0), 0);
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, punch_whole, &punch), 0);
  pid_t worker = worker_pid();
  wait_until(worker_is_held, &worker, "the punch does not reach the frozen file system");

  /* It dies as soon as the file system lets go of it; then a user is there before the request comes again. */
  CHECK_EQ(kill(worker, SIGKILL), 0);
  pid_t user = fork();
  if (user == 0) {
    int fd = open(in_fs("file"), O_RDONLY | O_CLOEXEC);
    pause();
    _exit(fd < 0);
  }
  CHECK(user > 0);
  thaw();
  CHECK_EQ(pthread_join(thread, NULL), 0);
  CHECK_EQ(kill(user, SIGKILL), 0);
  CHECK_EQ(waitpid(user, NULL, 0), user);
  if (punch.result != 0)
    fail_at(__FILE__, __LINE__, "dm_punch_hole: %s", strerror(punch.error));
}

int main(int argc, char **argv) { return run_test(argc, argv, WITH_DAEMON | WITH_FS, run); }
