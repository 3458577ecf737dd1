/*
 * Purpose: calls that look at one object, against the system calls that they stand for, in one run.
 * Usage:   objects MANAGED WORKER_PID
 * Prints:  one row for each figure, as bench_calls
 *
 * Run by bench.sh, on one core and on any.
 */
#include <dmapi.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "kernel.h"
#include "measure.h"

#define CALLS 10000
#define VALUE_BYTES 64

static char path[PATH_MAX];
static int fd;
static dm_sessid_t sid;
static void *hanp;
static size_t hlen;
static dm_attrname_t name = {"BENCH"};

#define OBJECT sid, hanp, hlen, DM_NO_TOKEN

static int getxattr_step(void *unused)
{
    char value[VALUE_BYTES];
    (void)unused;
    return fgetxattr(fd, "trusted.SGI_DMI_BENCH", value, sizeof value) == VALUE_BYTES ? 0 : -1;
}

static int get_dmattr_step(void *unused)
{
    char value[VALUE_BYTES];
    size_t length;
    (void)unused;
    return dm_get_dmattr(OBJECT, &name, sizeof value, value, &length);
}

static int getall_dmattr_step(void *unused)
{
    _Alignas(8) char list[256];
    size_t length;
    (void)unused;
    return dm_getall_dmattr(OBJECT, sizeof list, list, &length);
}

static int stat_step(void *unused)
{
    struct stat stat;
    (void)unused;
    return fstat(fd, &stat);
}

static int get_fileattr_step(void *unused)
{
    dm_stat_t stat;
    (void)unused;
    return dm_get_fileattr(OBJECT, DM_AT_EMASK | DM_AT_PMANR | DM_AT_PATTR | DM_AT_DTIME | DM_AT_STAT, &stat);
}

static int get_region_step(void *unused)
{
    dm_region_t regions[4];
    u_int count;
    (void)unused;
    return dm_get_region(OBJECT, 4, regions, &count);
}

static int name_to_handle_step(void *unused)
{
    struct {
        struct file_handle head;
        unsigned char bytes[64];
    } handle = {.head.handle_bytes = 64};
    int mount;
    (void)unused;
    return name_to_handle_at(AT_FDCWD, path, &handle.head, &mount, 0);
}

static int path_to_handle_step(void *unused)
{
    void *found;
    size_t length;
    (void)unused;
    if (dm_path_to_handle(path, &found, &length) != 0)
        return -1;
    dm_handle_free(found, length);
    return 0;
}

static double socket_us(int cpu)
{
    struct echo echo = {.cpu = cpu};
    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, echo.pair) == 0, "socketpair");
    pid_t server = spawn(echo_serve, &echo);
    struct series series = measure(CALLS, echo_step, &echo, "echo");
    reap(server);
    close(echo.pair[0]);
    close(echo.pair[1]);
    row("bare socket round trip", series, 0, NULL);
    return series.p50_us;
}

static void against(const char *call, int (*step)(void *), double base_us, const char *base_name,
                    double trip_us)
{
    char text[80];
    struct series series = measure(CALLS, step, NULL, call);
    row(call, series, base_us, base_name);
    if (trip_us > 0) {
        snprintf(text, sizeof text, "  the same");
        row(text, series, trip_us, "socket");
    }
}

static void rows(int cpu, pid_t worker)
{
    pin(cpu);
    pin_process(worker, cpu);
    printf("-- objects, %s\n", cpu < 0 ? "any core" : "same core");
    double trip_us = socket_us(cpu);
    struct series series = measure(CALLS, getxattr_step, NULL, "fgetxattr");
    row("fgetxattr of 64 bytes", series, 0, NULL);
    against("dm_get_dmattr of 64 bytes", get_dmattr_step, series.p50_us, "fgetxattr", trip_us);
    against("dm_getall_dmattr, one attribute", getall_dmattr_step, series.p50_us, "fgetxattr", trip_us);
    against("dm_get_region", get_region_step, series.p50_us, "fgetxattr", trip_us);
    series = measure(CALLS, stat_step, NULL, "fstat");
    row("fstat", series, 0, NULL);
    against("dm_get_fileattr", get_fileattr_step, series.p50_us, "fstat", trip_us);
    series = measure(CALLS, name_to_handle_step, NULL, "name_to_handle_at");
    row("name_to_handle_at", series, 0, NULL);
    against("dm_path_to_handle", path_to_handle_step, series.p50_us, "name_to_handle_at", 0);
    pin_process(worker, -1);
    pin(-1);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: objects MANAGED WORKER_PID\n");
        return 2;
    }
    char *version, text[] = "bench objects", value[VALUE_BYTES];
    dm_region_t region = {.rg_flags = DM_REGION_NOEVENT};
    dm_boolean_t exact;
    pid_t worker = (pid_t)atoi(argv[2]);
    must(snprintf(path, sizeof path, "%s/object", argv[1]) < PATH_MAX, "path");
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0, path);
    must(dm_init_service(&version) == 0, "dm_init_service");
    must(dm_create_session(DM_NO_SESSION, text, &sid) == 0, "dm_create_session");
    must(dm_path_to_handle(path, &hanp, &hlen) == 0, path);
    memset(value, 'v', sizeof value);
    must(dm_set_dmattr(OBJECT, &name, 0, sizeof value, value) == 0, "dm_set_dmattr");
    must(dm_set_region(OBJECT, 1, &region, &exact) == 0, "dm_set_region");
    rows(0, worker);
    rows(-1, worker);
    must(dm_destroy_session(sid) == 0, "dm_destroy_session");
    dm_handle_free(hanp, hlen);
    return 0;
}
