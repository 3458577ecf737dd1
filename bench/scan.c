/*
 * Purpose: dm_get_bulkattr over a whole file system against what reads the same without libdmapi, in one run.
 * Usage:   scan MANAGED COUNT
 *          MANAGED is a managed file system; COUNT empty files are made there, below a directory of this name
 * Prints:  for each way: microseconds for an inode, inodes per second, microseconds of processor time for an inode, peak
 *          memory, and the ratios of the processor times to those of readdir + stat and of look-ups by handle
 *
 * Run by bench.sh. Everything is warm: each way runs once before it is measured, then three times, the best counts. Each
 * measured way is a process of its own, for its peak memory.
 */
#include <dirent.h>
#include <dmapi.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"

#define PER_DIRECTORY 1000
#define ROUNDS 3
#define HANDLE_BYTES 32
#define BUFFER_BYTES (1024 * 1024)
#define XFS_MAGIC 0x58465342

static char base[PATH_MAX / 2];
static unsigned count;
static dm_sessid_t sid;
static void *fs;
static size_t fs_bytes;

/* A kernel's handle, and nothing else: what a look-up by handle needs. */
struct known {
    struct file_handle head;
    unsigned char bytes[HANDLE_BYTES];
};
static struct known *known;
static int mount_fd;

/* mknod(2) makes files without opening them. */
static void make_files(void)
{
    char path[PATH_MAX];
    must(mkdir(base, 0700) == 0, base);
    for (unsigned i = 0; i < count; i++) {
        if (i % PER_DIRECTORY == 0) {
            snprintf(path, sizeof path, "%s/%u", base, i / PER_DIRECTORY);
            must(mkdir(path, 0700) == 0, path);
        }
        snprintf(path, sizeof path, "%s/%u/file-%u", base, i / PER_DIRECTORY, i);
        must(mknod(path, S_IFREG | 0600, 0) == 0, path);
    }
    int fd = open(base, O_RDONLY | O_DIRECTORY);
    must(fd >= 0 && syncfs(fd) == 0, base);
    close(fd);
}

/* Runs the directories; each entry is given to `entry`. */
static unsigned walk(void (*entry)(int directory, const char *name, unsigned index))
{
    char path[PATH_MAX];
    unsigned seen = 0;
    for (unsigned i = 0; i < count; i += PER_DIRECTORY) {
        snprintf(path, sizeof path, "%s/%u", base, i / PER_DIRECTORY);
        DIR *directory = opendir(path);
        struct dirent *found;
        must(directory != NULL, path);
        while ((found = readdir(directory)) != NULL)
            if (found->d_name[0] != '.')
                entry(dirfd(directory), found->d_name, seen++);
        closedir(directory);
    }
    return seen;
}

static void stat_entry(int directory, const char *name, unsigned index)
{
    struct stat stat;
    (void)index;
    must(fstatat(directory, name, &stat, AT_SYMLINK_NOFOLLOW) == 0, name);
}

static unsigned by_names(void)
{
    return walk(stat_entry);
}

static void keep_handle(int directory, const char *name, unsigned index)
{
    int mount;
    must(index < count, "no more entries than files");
    known[index].head.handle_bytes = HANDLE_BYTES;
    must(name_to_handle_at(directory, name, &known[index].head, &mount, 0) == 0, name);
}

static unsigned by_handles(void)
{
    struct statx stat;
    for (unsigned i = 0; i < count; i++) {
        int fd = open_by_handle_at(mount_fd, &known[i].head, O_PATH);
        must(fd >= 0, "open_by_handle_at");
        must(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stat) == 0, "statx");
        close(fd);
    }
    return count;
}

/* The structures of version 5, which installed headers may lack. */
struct bulk_stat {
    __u64 inode, rest[23];
};
struct bulk_request {
    __u64 inode;
    __u32 flags, room, filled, group;
    __u64 reserved[5];
    struct bulk_stat found[1024];
};
#define XFS_IOC_BULKSTAT_5 _IOC(_IOC_READ, 'X', 127, 64)

static unsigned by_bulkstat(void)
{
    static struct bulk_request request;
    unsigned seen = 0;
    request.inode = 0;
    do {
        request.room = 1024;
        must(ioctl(mount_fd, XFS_IOC_BULKSTAT_5, &request) == 0, "XFS_IOC_BULKSTAT");
        seen += request.filled;
    } while (request.filled != 0);
    return seen;
}

static u_int wanted;

static unsigned by_dmapi(void)
{
    static _Alignas(8) char buffer[BUFFER_BYTES];
    dm_attrloc_t location;
    unsigned seen = 0;
    int more;
    must(dm_init_attrloc(sid, fs, fs_bytes, DM_NO_TOKEN, &location) == 0, "dm_init_attrloc");
    do {
        size_t length;
        more = dm_get_bulkattr(sid, fs, fs_bytes, DM_NO_TOKEN, wanted, &location, sizeof buffer, buffer,
                               &length);
        must(more >= 0, "dm_get_bulkattr");
        dm_stat_t *stat = length > 0 ? (dm_stat_t *)(void *)buffer : NULL;
        for (; stat != NULL; stat = DM_STEP_TO_NEXT(stat, dm_stat_t *))
            seen++;
    } while (more == 1);
    return seen;
}

struct outcome {
    double us, cpu_us; /* for an inode */
    long peak_kib;
};

static double cpu_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static struct outcome run(unsigned (*way)(void))
{
    struct outcome *outcome = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(outcome != MAP_FAILED, "memory");
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        for (int round = 0; round <= ROUNDS; round++) {
            double start = now_us(), cpu_start = cpu_now_us();
            unsigned seen = way();
            double us = (now_us() - start) / seen, cpu_us = (cpu_now_us() - cpu_start) / seen;
            must(seen >= count, "every file is found");
            if (round > 0 && (outcome->us == 0 || us < outcome->us))
                outcome->us = us;
            if (round > 0 && (outcome->cpu_us == 0 || cpu_us < outcome->cpu_us))
                outcome->cpu_us = cpu_us;
        }
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        outcome->peak_kib = usage.ru_maxrss;
        _exit(0);
    }
    int status = 1;
    must(waitpid(pid, &status, 0) == pid && status == 0, "a way to scan");
    struct outcome copy = *outcome;
    munmap(outcome, sizeof *outcome);
    return copy;
}

static struct outcome names, handles;

static void print(const char *what, struct outcome outcome)
{
    char name[80];
    snprintf(name, sizeof name, "%u objects: %s", count, what);
    printf("%-64s %8.2f %10.0f %8.2f %6.1f", name, outcome.us, 1e6 / outcome.us, outcome.cpu_us,
           (double)outcome.peak_kib / 1024);
    printf("   %.2f x readdir, %.2f x handles", outcome.cpu_us / names.cpu_us,
           outcome.cpu_us / handles.cpu_us);
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: scan MANAGED COUNT\n");
        return 2;
    }
    char *version, text[] = "bench scan";
    struct statfs facts;
    count = (unsigned)strtoul(argv[2], NULL, 10);
    snprintf(base, sizeof base, "%s/scan-%u", argv[1], count);
    must(dm_init_service(&version) == 0, "dm_init_service");
    must(dm_create_session(DM_NO_SESSION, text, &sid) == 0, "dm_create_session");
    must(dm_path_to_fshandle(argv[1], &fs, &fs_bytes) == 0, argv[1]);
    mount_fd = open(argv[1], O_RDONLY | O_DIRECTORY);
    must(mount_fd >= 0 && fstatfs(mount_fd, &facts) == 0, argv[1]);
    make_files();
    /* Mapped, so that its pages are not those of a child that does not touch them. */
    known = mmap(NULL, (size_t)count * sizeof *known, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(known != MAP_FAILED, "memory");
    must(walk(keep_handle) == count, "every file is there");

    struct outcome outcome = run(by_names);
    handles = run(by_handles);
    names = outcome;
    print("readdir + stat", names);
    print("open_by_handle_at + statx", handles);
    if (facts.f_type == XFS_MAGIC)
        print("bare XFS bulkstat", run(by_bulkstat));
    wanted = DM_AT_HANDLE | DM_AT_STAT;
    print("dm_get_bulkattr, stat", run(by_dmapi));
    wanted |= DM_AT_EMASK | DM_AT_PMANR | DM_AT_PATTR | DM_AT_DTIME;
    print("dm_get_bulkattr, lists, regions and attributes", run(by_dmapi));
    wanted |= DM_AT_CFLAG;
    print("dm_get_bulkattr, all and the change id", run(by_dmapi));
    must(dm_destroy_session(sid) == 0, "dm_destroy_session");
    return 0;
}
