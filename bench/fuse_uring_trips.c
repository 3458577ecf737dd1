/* Round trips over a ring and over /dev/fuse; see fuse_uring_trips.h. */
#include "fuse_uring_trips.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse_uring_guard.h"
#include "fuse_uring_server.h"
#include "measure.h"

#define CALLS 20000
#define MOST_QUEUES (SERVER_SLOTS / SERVER_ENTRIES)

static struct {
    int channel, file;
    struct uring_slot *slots;
} mounted;

struct ring_server {
    int cpu;
    long first_queue, queues;
};

static void serve_ring(void *ring_server)
{
    struct ring_server *self = ring_server;
    struct uring ring;
    struct uring_slot *slot;
    char body[SERVER_BLOCK];
    size_t bytes;
    int result;
    pin(self->cpu);
    uring_open(&ring, mounted.channel, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    for (long i = 0; i < self->queues * SERVER_ENTRIES; i++) {
        long queue = self->first_queue + i % self->queues;
        uring_register(&ring, &mounted.slots[self->first_queue * SERVER_ENTRIES + i],
                       (uint16_t)queue);
    }
    for (;;) {
        uring_enter(&ring, 1);
        while ((slot = uring_next(&ring, &result)) != NULL) {
            if (result != 0)
                return;
            struct fuse_in_header header = slot->header.in;
            int error = server_reply(&header, slot->header.op_in, slot->payload, body, &bytes);
            bytes = error == 0 ? bytes : 0;
            memcpy(slot->payload, body, bytes);
            uring_commit(&ring, slot, slot->header.entry.commit_id, error, bytes);
        }
    }
}

static void serve_device(void *cpu)
{
    struct request *request = malloc(FUSE_RAW_BUFFER);
    char body[SERVER_BLOCK];
    size_t bytes;
    must(request != NULL, "memory");
    pin(*(int *)cpu);
    while (fuse_raw_next(mounted.channel, request)) {
        if (request->header.opcode == FUSE_FORGET || request->header.opcode == FUSE_INTERRUPT)
            continue;
        int error = server_reply(&request->header, request->body, request->body, body, &bytes);
        if (error == 0)
            fuse_raw_reply(mounted.channel, request, body, bytes);
        else
            fuse_raw_refuse(mounted.channel, request, error);
    }
}

static int read_step(void *unused)
{
    char data[SERVER_BLOCK];
    (void)unused;
    return pread(mounted.file, data, sizeof data, 0) == sizeof data ? 0 : -1;
}

static int stat_step(void *unused)
{
    struct stat status;
    (void)unused;
    return fstat(mounted.file, &status);
}

static int open_step(void *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -1 : close(fd);
}

enum how { DEVICE, RING, RING_EACH };

static unsigned start_servers(enum how how, int cpu, pid_t servers[])
{
    unsigned number = 0;
    long queues = sysconf(_SC_NPROCESSORS_CONF);
    must(queues <= MOST_QUEUES, "few processors");
    struct ring_server all = {cpu, 0, queues};
    if (how == DEVICE)
        servers[number++] = spawn(serve_device, &cpu);
    else if (how == RING)
        servers[number++] = spawn(serve_ring, &all);
    for (int queue = 0; how == RING_EACH && queue < queues; queue++) {
        struct ring_server one = {queue, queue, 1};
        servers[number++] = spawn(serve_ring, &one);
    }
    return number;
}

static void measure_steps(enum how how, int cpu, char *path, double base_us[])
{
    static const struct {
        int (*step)(void *);
        const char *name;
    } steps[] = {{read_step, "blocked read of 4 KiB"},
                 {stat_step, "fstat"},
                 {open_step, "open + close"}};
    static const char *const names[] = {"/dev/fuse", "ring", "ring for each core"};
    char name[80];
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct series series = measure(CALLS, steps[i].step, path, steps[i].name);
        snprintf(name, sizeof name, "%s, %s, %s core", steps[i].name, names[how],
                 cpu < 0 ? "any" : "same");
        row(name, series, how == DEVICE ? 0 : base_us[i], names[DEVICE]);
        if (how == DEVICE)
            base_us[i] = series.p50_us;
    }
}

/* One mount; `base_us`: medians over /dev/fuse, set by that one. */
static void trips_of(const char *directory, enum how how, int cpu, double base_us[])
{
    char path[PATH_MAX];
    pid_t servers[MOST_QUEUES];
    size_t bytes = SERVER_SLOTS * sizeof *mounted.slots;
    mounted.slots = uring_share(bytes);
    mounted.channel = uring_mount(directory, how == DEVICE ? 0 : URING_INIT_FLAG);
    unsigned number = start_servers(how, cpu, servers);
    snprintf(path, sizeof path, "%s/%s", directory, SERVER_FILE);
    mounted.file = open(path, O_RDONLY | O_CLOEXEC);
    must(mounted.file >= 0, path);
    pin(cpu);
    measure_steps(how, cpu, path, base_us);
    pin(-1);
    close(mounted.file);
    guard_abort(directory);
    for (unsigned i = 0; i < number; i++)
        reap(servers[i]);
    close(mounted.channel);
    must(umount2(directory, 0) == 0, directory);
    munmap(mounted.slots, bytes);
}

void round_trips(const char *directory)
{
    double base_us[3];
    for (int cpu = 0; cpu >= -1; cpu--)
        for (enum how how = DEVICE; how <= (cpu < 0 ? RING_EACH : RING); how++)
            trips_of(directory, how, cpu, base_us);
}
