/* A mount served over a ring, its worker, its callers; see fuse_uring_scene.h. */
#include "fuse_uring_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse_uring_guard.h"
#include "measure.h"

#define LOOK_MS 50
#define MOST_CALLERS 64

struct scene scene;

void fact(const char *what, const char *found)
{
    printf("  %-86s %s\n", what, found);
    fflush(stdout);
}

static struct server server_of(int worker, struct uring *ring)
{
    return (struct server){.channel = scene.channel,
                           .worker = worker,
                           .queues = (int)sysconf(_SC_NPROCESSORS_CONF),
                           .ring = ring,
                           .shared = scene.shared};
}

int wait_until(int (*is)(const void *), const void *argument, unsigned limit_ms)
{
    double end_us = now_us() + 1000.0 * limit_ms;
    struct server own = server_of(0, &scene.own);
    while (!is(argument)) {
        if (scene.own.fd > 0)
            server_drain(&own);
        if (now_us() > end_us)
            return 0;
        usleep(LOOK_US);
    }
    return 1;
}

int is_done(const void *caller)
{
    return ((const struct caller *)caller)->done;
}

int is_gone(const void *caller)
{
    siginfo_t ended = {0};
    id_t pid = (id_t)((const struct caller *)caller)->pid;
    return waitid(P_PID, pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0;
}

static int obeyed(const void *unused)
{
    (void)unused;
    return scene.shared->order == ORDER_NONE;
}

int order(enum order what, unsigned argument, int error)
{
    scene.shared->order_argument = argument;
    scene.shared->order_error = error;
    scene.shared->order = (int)what;
    must(wait_until(obeyed, NULL, WAIT_MS), "an order that is obeyed");
    return scene.shared->order_error;
}

static int is_ready(const void *worker)
{
    return scene.shared->worker_ready == *(const int *)worker;
}

int reads_or_ended(const void *caller)
{
    char path[64], line[16] = "";
    snprintf(path, sizeof path, "/proc/%ld/syscall", (long)((const struct caller *)caller)->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, line, sizeof line - 1) < 0)
        line[0] = '\0';
    close(fd);
    return atoi(line) == SYS_pread64 || is_done(caller);
}

struct caller *call(int block, int cpu)
{
    struct caller *caller = &scene.callers[scene.callers_used++];
    char data[SERVER_BLOCK], right[SERVER_BLOCK];
    char path[PATH_MAX];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", scene.directory, SERVER_ODD);
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid > 0) {
        caller->pid = pid;
        return caller;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(cpu);
    /* A user has none of these; a ring lives as long as any process has it. */
    uring_close(&scene.ring);
    uring_close(&scene.own);
    close(scene.channel);
    errno = 0;
    if (block == ASK_ON) {
        while (!scene.shared->stop_asking && caller->error == 0)
            caller->error = fstat(scene.file, &status) == 0 ? 0 : errno;
    } else if (block == LOOK_UP) {
        caller->error = stat(path, &status) == 0 ? 0 : errno;
    } else if (block == GET_ATTRIBUTES) {
        caller->error = fstat(scene.file, &status) == 0 ? 0 : errno;
    } else {
        ssize_t got = pread(scene.file, data, sizeof data, (off_t)block * SERVER_BLOCK);
        memset(right, server_pattern((uint64_t)block), sizeof right);
        caller->error = got < 0                                                  ? errno
                        : got == sizeof data && memcmp(data, right, sizeof data) == 0 ? 0
                                                                                 : -1;
    }
    caller->done = 1;
    _exit(0);
}

const char *end_of(const struct caller *caller, unsigned limit_ms)
{
    static char text[64];
    if (!wait_until(is_done, caller, limit_ms))
        return "waits";
    if (caller->error == 0)
        return "right";
    snprintf(text, sizeof text, "%s", caller->error < 0 ? "WRONG DATA" : strerror(caller->error));
    return text;
}

const char *ends_of(struct caller *const callers[], unsigned number)
{
    static char text[256];
    size_t used = 0;
    for (unsigned i = 0; i < number;) {
        char end[64];
        unsigned same = 0;
        snprintf(end, sizeof end, "%s", end_of(callers[i], ABSENT_MS));
        while (i < number && strcmp(end, end_of(callers[i], same == 0 ? ABSENT_MS : LOOK_MS)) == 0)
            same++, i++;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u %s", used > 0 ? ", " : "",
                                 same, end);
    }
    return text;
}

int find(uint32_t opcode, int block, unsigned from)
{
    unsigned number = scene.shared->number_seen;
    unsigned kept = number > SERVER_SEEN ? number - SERVER_SEEN : 0;
    for (unsigned i = number; i-- > (from > kept ? from : kept);) {
        const struct seen *seen = &scene.shared->seen[i % SERVER_SEEN];
        if (seen->opcode == opcode && (block < 0 || seen->block == (uint64_t)block))
            return (int)(i % SERVER_SEEN);
    }
    return -1;
}

struct sought {
    uint32_t opcode;
    int block;
    unsigned from;
};

static int is_seen(const void *sought)
{
    const struct sought *what = sought;
    return find(what->opcode, what->block, what->from) >= 0;
}

const char *came(uint32_t opcode, int block, unsigned from)
{
    struct sought what = {opcode, block, from};
    if (!wait_until(is_seen, &what, ABSENT_MS))
        return "nowhere";
    return scene.shared->seen[find(opcode, block, from)].by_ring ? "ring" : "/dev/fuse";
}

struct caller *held_read(int block, int cpu)
{
    struct caller *caller = call(block, cpu);
    struct sought what = {FUSE_READ, block, 0};
    must(wait_until(is_seen, &what, WAIT_MS), "a READ that comes");
    return caller;
}

void start_worker(int number)
{
    struct uring private;
    struct server server = server_of(number, &scene.ring);
    fflush(NULL);
    scene.worker = (pid_t)syscall(
        SYS_clone, scene.from == FROM_SHARED_RING ? CLONE_FILES | SIGCHLD : SIGCHLD, 0, 0, 0, 0);
    must(scene.worker >= 0, "clone");
    if (scene.worker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (scene.from == FROM_PRIVATE_RING)
            uring_open(server.ring = &private, scene.channel, 0);
        if (scene.from == FROM_DEVICE)
            server.ring = NULL;
        server_run(&server);
        _exit(0);
    }
    must(wait_until(is_ready, &number, WAIT_MS), "a worker that registers its entries");
}

void begin(enum from from)
{
    char path[PATH_MAX];
    memset(&scene.ring, 0, sizeof scene.ring);
    memset(&scene.own, 0, sizeof scene.own);
    scene.callers_used = 0;
    scene.from = from;
    scene.shared = uring_share(sizeof *scene.shared);
    scene.callers = uring_share(MOST_CALLERS * sizeof *scene.callers);
    scene.shared->again_errno = -1;
    scene.shared->hold = 1;
    scene.channel = uring_mount(
        scene.directory, RESEND_INIT_FLAG | (from == FROM_DEVICE ? 0 : URING_INIT_FLAG));
    must(fcntl(scene.channel, F_SETFL, O_NONBLOCK) == 0, "O_NONBLOCK");
    if (from == FROM_SHARED_RING)
        uring_open(&scene.ring, scene.channel, 0);
    start_worker(1);
    snprintf(path, sizeof path, "%s/%s", scene.directory, SERVER_FILE);
    /* The first close makes FLUSH known as missing, so that callers can end without one. */
    must(close(open(path, O_RDONLY | O_CLOEXEC)) == 0, path);
    scene.file = open(path, O_RDONLY | O_CLOEXEC);
    must(scene.file >= 0, path);
}

void end_quietly(void)
{
    guard_abort(scene.directory);
    for (unsigned i = 0; i < scene.callers_used; i++)
        reap(scene.callers[i].pid);
    reap(scene.worker);
    close(scene.file);
    uring_close(&scene.ring);
    uring_close(&scene.own);
    close(scene.channel);
    must(umount2(scene.directory, 0) == 0, scene.directory);
    munmap(scene.shared, sizeof *scene.shared);
    munmap(scene.callers, MOST_CALLERS * sizeof *scene.callers);
}

void finish(void)
{
    struct caller *waiting[MOST_CALLERS];
    unsigned number = 0;
    for (unsigned i = 0; i < scene.callers_used; i++)
        if (!scene.callers[i].done)
            waiting[number++] = &scene.callers[i];
    guard_abort(scene.directory);
    fact("who still waited, after an abort of the connection",
         number > 0 ? ends_of(waiting, number) : "nobody");
    end_quietly();
}
