/*
 * Purpose: libdmapi against the kernel's own limit, in one run, as ratios.
 * Usage:   calls PLAIN RAW MANAGED WORKER_PID STATE
 *          three xfs file systems (unwatched, for raw fanotify, managed), and the directory of the journal
 * Prints:  one row for each figure: median, 99th percentile, rate, and the ratio to the floor
 *
 * Run by bench.sh. The machine must be quiet; a p99 of milliseconds is the scheduler.
 */
#include <dmapi.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "kernel.h"
#include "measure.h"

#define EVENTS 10000
#define READS 2000
#define READ_BATCH 100
#define CALLS 10000
#define SYNCS 500

static dm_sessid_t sid;

static void path_in(char *path, const char *directory, const char *name)
{
    must(snprintf(path, PATH_MAX, "%s/%s", directory, name) < PATH_MAX, "path");
}

/* A file of one block, read once, so that it is in the page cache. */
static void make_file(char *path, const char *directory, const char *name)
{
    char block[4096];
    path_in(path, directory, name);
    memset(block, 'x', sizeof block);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0 && write(fd, block, sizeof block) == sizeof block && fsync(fd) == 0, path);
    close(fd);
}

static struct series read_file(const char *path, int cpu, unsigned count, unsigned batch)
{
    struct reader reader;
    reader.fd = open(path, O_RDONLY);
    must(reader.fd >= 0, path);
    pin(cpu);
    struct series series = measure_batch(count, batch, read_step, &reader, path);
    pin(-1);
    close(reader.fd);
    return series;
}

static double raw_events(const char *directory, int cpu)
{
    char path[PATH_MAX];
    struct raw_group raw;
    make_file(path, directory, "events");
    raw_open(&raw, path, cpu);
    pid_t responder = spawn(raw_respond, &raw);
    struct series series = read_file(path, cpu, EVENTS, 1);
    close(raw.group);
    reap(responder);
    row(cpu < 0 ? "blocked read, raw fanotify responder, any core"
                : "blocked read, raw fanotify responder, same core",
        series, 0, NULL);
    return series.p50_us;
}

static double relay_events(const char *directory, int cpu, double raw_us)
{
    char path[PATH_MAX];
    struct raw_group raw;
    make_file(path, directory, "relay");
    raw_open(&raw, path, cpu);
    pid_t keeper = spawn(raw_relay, &raw);
    pid_t application = spawn(raw_relay_application, &raw);
    struct series series = read_file(path, cpu, EVENTS, 1);
    close(raw.group);
    reap(keeper);
    reap(application);
    row(cpu < 0 ? "blocked read, bare relay to another process, any core"
                : "blocked read, bare relay to another process, same core",
        series, raw_us, "raw");
    return series.p50_us;
}

static void managed_events(const char *directory, int cpu, pid_t worker, double raw_us,
                           double relay_us)
{
    char path[PATH_MAX];
    struct answerer answerer;
    make_file(path, directory, "events");
    pin_process(worker, cpu);
    answer_reads(&answerer, sid, path, cpu);
    struct series series = read_file(path, cpu, EVENTS, 1);
    answer_no_more(&answerer);
    pin_process(worker, -1);
    const char *name = cpu < 0 ? "blocked read, dm_get_events + dm_respond_event, any core"
                               : "blocked read, dm_get_events + dm_respond_event, same core";
    row(name, series, raw_us, "raw");
    row("  the same", series, relay_us, "relay");
}

static void resident_reads(const char *plain, const char *raw_directory, const char *managed)
{
    char path[PATH_MAX];
    struct raw_group raw;
    make_file(path, plain, "resident");
    struct series series = read_file(path, 0, READS, READ_BATCH);
    double plain_us = series.p50_us;
    row("cached read, file system nobody watches", series, 0, NULL);

    make_file(path, raw_directory, "resident");
    raw_mark_and_ignore(&raw, raw_directory, path);
    series = read_file(path, 0, READS, READ_BATCH);
    close(raw.group);
    double mark_us = series.p50_us;
    row("cached read, bare file system mark + ignore mark", series, plain_us, "unwatched");

    make_file(path, managed, "resident");
    series = read_file(path, 0, READS, READ_BATCH);
    row("cached read, resident file under libdmapi", series, plain_us, "unwatched");
    row("  the same", series, mark_us, "bare marks");
}

static int state_step(void *unused)
{
    (void)unused;
    char text[DM_SESSION_INFO_LEN];
    size_t length;
    return dm_query_session(sid, sizeof text, text, &length);
}

static int record_step(void *unused)
{
    (void)unused;
    dm_token_t token;
    return dm_create_userevent(sid, 0, NULL, &token) == 0 &&
                   dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL) == 0
               ? 0
               : -1;
}

static int durable_step(void *unused)
{
    (void)unused;
    dm_sessid_t other;
    char name[] = "bench durable";
    return dm_create_session(DM_NO_SESSION, name, &other) == 0 && dm_destroy_session(other) == 0
               ? 0
               : -1;
}

static void state_calls(const char *state, int cpu, pid_t worker)
{
    struct echo echo = {.cpu = cpu};
    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, echo.pair) == 0, "socketpair");
    pid_t server = spawn(echo_serve, &echo);
    pin(cpu);
    struct series series = measure(CALLS, echo_step, &echo, "echo");
    reap(server);
    double socket_us = series.p50_us;
    const char *where = cpu < 0 ? "any core" : "same core";
    char name[80];
    snprintf(name, sizeof name, "bare socket round trip, %s", where);
    row(name, series, 0, NULL);

    pin_process(worker, cpu);
    series = measure(CALLS, state_step, NULL, "dm_query_session");
    snprintf(name, sizeof name, "dm_query_session, %s", where);
    row(name, series, socket_us, "socket");
    series = measure(CALLS, record_step, NULL, "dm_create_userevent + dm_respond_event");
    snprintf(name, sizeof name, "dm_create_userevent + dm_respond_event, %s", where);
    row(name, series, 2 * socket_us, "two socket trips");
    if (cpu < 0) {
        char path[PATH_MAX];
        make_file(path, state, "durable");
        int fd = open(path, O_WRONLY);
        must(fd >= 0, path);
        series = measure(SYNCS, fdatasync_step, &fd, "fdatasync");
        close(fd);
        double sync_us = series.p50_us;
        must(unlink(path) == 0, path);
        row("write of 64 bytes + fdatasync beside the journal", series, 0, NULL);
        series = measure(SYNCS, durable_step, NULL, "dm_create_session + dm_destroy_session");
        row("dm_create_session + dm_destroy_session, both durable", series, 2 * sync_us,
            "two fdatasync");
    }
    pin_process(worker, -1);
    pin(-1);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: calls PLAIN RAW MANAGED WORKER_PID STATE\n");
        return 2;
    }
    const char *plain = argv[1], *raw = argv[2], *managed = argv[3], *state = argv[5];
    pid_t worker = (pid_t)atoi(argv[4]);
    char *version, name[] = "bench";
    must(dm_init_service(&version) == 0, "dm_init_service");
    must(dm_create_session(DM_NO_SESSION, name, &sid) == 0, "dm_create_session");

    printf("%-58s %9s %9s %10s   %s\n", "what", "p50 us", "p99 us", "per s", "ratio of p50");
    for (int cpu = 0; cpu >= -1; cpu--) {
        double raw_us = raw_events(raw, cpu);
        double relay_us = relay_events(raw, cpu, raw_us);
        managed_events(managed, cpu, worker, raw_us, relay_us);
    }
    resident_reads(plain, raw, managed);
    state_calls(state, 0, worker);
    state_calls(state, -1, worker);
    must(dm_destroy_session(sid) == 0, "dm_destroy_session");
    return 0;
}
