/* The kernel as it was before; see fuse_uring_guard.h. */
#include "fuse_uring_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"

#define PARAMETER "/sys/module/fuse/parameters/enable_uring"
#define END_S 20

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return good ? 0 : -1;
}

/* The connection's number (its device's minor number), without a look at its files; -1: none. */
static int connection_of(const char *mountpoint)
{
    char line[1024], place[512];
    unsigned major, minor;
    int number = -1;
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    must(mounts != NULL, "/proc/self/mountinfo");
    while (fgets(line, sizeof line, mounts) != NULL)
        if (sscanf(line, "%*u %*u %u:%u %*s %511s", &major, &minor, place) == 3 &&
            strcmp(place, mountpoint) == 0 && strstr(line, " fuse.bare ") != NULL)
            number = (int)minor;
    fclose(mounts);
    return number;
}

void guard_abort(const char *mountpoint)
{
    char control[] = "/tmp/fusectl-XXXXXX", path[64];
    int number = connection_of(mountpoint);
    if (number < 0)
        return;
    must(mkdtemp(control) != NULL, control);
    must(mount("none", control, "fusectl", 0, NULL) == 0, control);
    snprintf(path, sizeof path, "%s/%d/abort", control, number);
    if (write_text(path, "1") != 0)
        fprintf(stderr, "bench: %s: %s\n", path, strerror(errno));
    must(umount2(control, MNT_DETACH) == 0, control);
    rmdir(control);
}

/* Waits for a child that ended or for a signal; 0: the time is over. */
static int wait_for(pid_t pid, int seconds, int *status)
{
    sigset_t signals;
    struct timespec second = {1, 0};
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    for (int i = 0; i < seconds; i++) {
        if (waitpid(pid, status, WNOHANG) == pid)
            return 1;
        int signal = sigtimedwait(&signals, NULL, &second);
        if (signal > 0 && signal != SIGCHLD)
            return 0;
    }
    return 0;
}

static void unmount(const char *mountpoint)
{
    int status;
    if (connection_of(mountpoint) < 0)
        return;
    guard_abort(mountpoint);
    pid_t pid = fork();
    if (pid == 0)
        _exit(umount2(mountpoint, MNT_DETACH) == 0 ? 0 : 1);
    if (!wait_for(pid, END_S, &status))
        fprintf(stderr, "bench: %s cannot be unmounted; process %ld waits for it\n", mountpoint,
                (long)pid);
}

static int run(void (*body)(void), const char *mountpoint)
{
    int status = -1;
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        alarm(GUARD_S);
        body();
        exit(0);
    }
    if (!wait_for(pid, GUARD_S, &status)) {
        fprintf(stderr, "bench: the time is over, or a signal came\n");
        kill(pid, SIGKILL);
        guard_abort(mountpoint);
        wait_for(pid, END_S, &status);
        status = -1;
    }
    unmount(mountpoint);
    return status == 0 ? 0 : 1;
}

int guard(void (*body)(void), const char *mountpoint)
{
    char before[8] = "", real[PATH_MAX];
    must(realpath(mountpoint, real) != NULL, mountpoint);
    if (strcmp(real, mountpoint) != 0) {
        fprintf(stderr, "bench: %s: name it as %s\n", mountpoint, real);
        return 2;
    }
    int fd = open(PARAMETER, O_RDONLY | O_CLOEXEC);
    must(fd >= 0 && read(fd, before, sizeof before - 1) > 0, PARAMETER);
    close(fd);
    must(write_text(PARAMETER, "Y") == 0, PARAMETER);
    int status = run(body, mountpoint);
    must(write_text(PARAMETER, before) == 0, PARAMETER);
    return status;
}
