/*
 * Purpose: libdmapi's FUSE source against the backing file system and against a FUSE server that does nothing
 *          else, in one run, as ratios.
 * Usage:   fuse PLAIN BARE MANAGED RESPONDER WORKER_PID BARE_PID
 *          a directory of the backing file system, one below fuse_bare, one below `dmctl mount --source fuse`, an
 *          empty directory, and the processes that serve
 * Prints:  rows as calls.c does
 *
 * Run by bench.sh. Operations on files are measured with user and servers on one core: where the scheduler
 * puts them makes more than any server does.
 */
#include <dmapi.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "answer.h"
#include "fuse_files.h"
#include "fuse_raw.h"
#include "fuse_respond.h"
#include "kernel.h"
#include "measure.h"

#define EVENTS 5000

static void operation_rows(const struct operation *operation, struct place places[3])
{
    char name[80];
    double medians[3];
    const char *bases[3] = {NULL, "backing", "bare server"};
    struct series series;
    for (int i = 0; i < 3; i++) {
        series = measure_operation(operation, &places[i]);
        medians[i] = series.p50_us;
        snprintf(name, sizeof name, "%s, %s", operation->what, places[i].name);
        row(name, series, i > 0 ? medians[i - 1] : 0, bases[i]);
    }
    row("  the same", series, medians[0], "backing");
}

/* Past the cache, so that each read is a request. */
static struct series blocked_reads(const char *path, int cpu)
{
    struct reader reader;
    reader.fd = open(path, O_RDONLY | O_DIRECT);
    must(reader.fd >= 0, path);
    pin(cpu);
    struct series series = measure(EVENTS, read_step, &reader, path);
    pin(-1);
    close(reader.fd);
    return series;
}

static double bare_responder(const char *directory, int cpu)
{
    char path[PATH_MAX];
    struct fuse_responder responder = {.channel = fuse_raw_mount(directory), .cpu = cpu};
    pid_t server = spawn(fuse_respond, &responder);
    close(responder.channel);
    snprintf(path, sizeof path, "%s/%s", directory, FUSE_RESPOND_FILE);
    struct series series = blocked_reads(path, cpu);
    must(umount2(directory, MNT_DETACH) == 0, directory);
    reap(server);
    row(cpu < 0 ? "blocked read, bare FUSE responder, any core"
                : "blocked read, bare FUSE responder, same core",
        series, 0, NULL);
    return series.p50_us;
}

static void managed_responder(const char *directory, int cpu, pid_t worker, dm_sessid_t sid,
                              double bare_us)
{
    char path[PATH_MAX], block[4096] = "";
    struct answerer answerer;
    snprintf(path, sizeof path, "%s/events", directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0 && write(fd, block, sizeof block) == sizeof block && close(fd) == 0, path);
    pin_process(worker, cpu);
    answer_reads(&answerer, sid, path, cpu);
    struct series series = blocked_reads(path, cpu);
    answer_no_more(&answerer);
    pin_process(worker, -1);
    must(unlink(path) == 0, path);
    row(cpu < 0 ? "blocked read over FUSE, two DMAPI calls, any core"
                : "blocked read over FUSE, two DMAPI calls, same core",
        series, bare_us, "bare responder");
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: fuse PLAIN BARE MANAGED RESPONDER WORKER_PID BARE_PID\n");
        return 2;
    }
    struct place places[3] = {{.name = "backing file system", .path = argv[1]},
                              {.name = "bare FUSE server", .path = argv[2]},
                              {.name = "libdmapi over FUSE", .path = argv[3]}};
    pid_t worker = (pid_t)atoi(argv[5]), bare = (pid_t)atoi(argv[6]);
    char *version, archive[PATH_MAX], name[] = "bench fuse";
    dm_sessid_t sid;
    must(dm_init_service(&version) == 0, "dm_init_service");
    must(dm_create_session(DM_NO_SESSION, name, &sid) == 0, "dm_create_session");
    make_archive(argv[1], archive);

    printf("%-58s %9s %9s %10s   %s\n", "what", "p50 us", "p99 us", "per s", "ratio of p50");
    pin(0);
    pin_process(worker, 0);
    pin_process(bare, 0);
    for (unsigned i = 0; i < file_operation_count; i++)
        operation_rows(&file_operations[i], places);
    pin(-1);
    pin_process(worker, -1);
    for (int cpu = 0; cpu >= -1; cpu--)
        managed_responder(argv[3], cpu, worker, sid, bare_responder(argv[4], cpu));
    must(unlink(archive) == 0, archive);
    must(dm_destroy_session(sid) == 0, "dm_destroy_session");
    return 0;
}
