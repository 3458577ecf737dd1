/* ordinary.c: a test that is an ordinary user's, in namespaces of his own. */
#include "testbed.h"

#include "harness.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

enum { ORDINARY_ID = 1000 };

static bool write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  if (fd >= 0)
    close(fd);
  return done;
}

/* Root there, and nobody outside. */
static bool enter_namespaces(uid_t uid, gid_t gid) {
  char map[64];
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
    return false;
  snprintf(map, sizeof map, "0 %d 1", (int)uid);
  bool mapped = write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", map);
  snprintf(map, sizeof map, "0 %d 1", (int)gid);
  return mapped && write_file("/proc/self/gid_map", map);
}

static bool become(uid_t id) {
  bool changed = setgroups(0, NULL) == 0 && setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0;
  /* Files of /proc/self are root's until this. */
  return changed && prctl(PR_SET_DUMPABLE, 1) == 0;
}

static int copy_program(const char *from, char *to, size_t room, const char *name) {
  char source[256];
  snprintf(source, sizeof source, "%s", from);
  path_in_dir(to, room, name);
  char *arguments[] = {(char *)"cp", source, to, NULL};
  return run_program("cp", arguments);
}

/* Does it work for an ordinary user? Asked in a process of its own. 0, or which of the steps failed. */
static int failing_step(void) {
  pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && !become(ORDINARY_ID))
      _exit(1);
    if (access(programs.dmapid, X_OK) != 0 || access(programs.dmctl, X_OK) != 0)
      _exit(2);
    if (access("/dev/fuse", R_OK | W_OK) != 0)
      _exit(3);
    _exit(enter_namespaces(geteuid(), getegid()) ? 0 : 4);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* On most systems anybody may open /dev/fuse. Where not, root puts such a device in its place, for this test. */
static bool open_fuse_to_all(void) {
  char dir[96], node[112];
  path_in_dir(dir, sizeof dir, "dev");
  snprintf(node, sizeof node, "%s/fuse", dir);
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mkdir(dir, 0755) != 0 ||
      mount("none", dir, "tmpfs", 0, NULL) != 0)
    return false;
  bool is_there = mknod(node, S_IFCHR | 0666, makedev(10, 229)) == 0 && chmod(node, 0666) == 0 &&
                  mount(node, "/dev/fuse", NULL, MS_BIND, NULL) == 0;
  return umount2(dir, MNT_DETACH) == 0 && rmdir(dir) == 0 && is_there;
}

int become_ordinary(void) {
  bool is_root = geteuid() == 0;
  if (is_root && chown(bed.dir, ORDINARY_ID, ORDINARY_ID) != 0)
    return FAIL;
  int step = failing_step();
  if (is_root && step == 2 && copy_program(DMAPID_PATH, programs.dmapid, sizeof programs.dmapid, "dmapid") == 0 &&
      copy_program(DMCTL_PATH, programs.dmctl, sizeof programs.dmctl, "dmctl") == 0)
    step = failing_step();
  if (is_root && step == 3 && open_fuse_to_all())
    step = failing_step();
  if (step != 0) {
    static const char *const steps[] = {"a user", "programs", "/dev/fuse", "user namespaces"};
    return skip("an ordinary user has no access here", steps[step - 1]);
  }
  if (is_root && !become(ORDINARY_ID))
    return FAIL;
  return enter_namespaces(geteuid(), getegid()) ? 0 : FAIL;
}
