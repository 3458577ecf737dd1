/*
 * Purpose: users of a migrated tree. READERS processes read every file of a POOL, each in its own order, over and
 *          over, and compare each byte with the same name in REFERENCE, until SIGTERM or ROUNDS rounds are done.
 * Usage:   storm_reader POOL[:POOL] REFERENCE READERS ROUNDS    (several: in turn; ROUNDS 0: until SIGTERM)
 * Prints:  reads 48000 bytes 786432000 wrong 0 errors 0 longest_ms 812        status 1 if anything was wrong
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 100000
#define FILE_BYTES_MAX (1 << 20)
#define POOLS_MAX 4

struct totals {
    atomic_ulong reads, bytes, wrong_bytes, zero_bytes, errors, longest_ms;
    atomic_int stop;
};

static struct totals *totals;
static char *names[FILES_MAX];
static unsigned names_found;
static int pools[POOLS_MAX];
static unsigned pools_found;
static int pool, reference;

static unsigned long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long)now.tv_sec * 1000 + (unsigned long)now.tv_nsec / 1000000;
}

static void list_names(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    if (directory == NULL)
        exit(2);
    while ((entry = readdir(directory)) != NULL && names_found < FILES_MAX)
        if (entry->d_name[0] != '.' && (names[names_found] = strdup(entry->d_name)) != NULL)
            names_found++;
    closedir(directory);
}

static void open_pools(char *paths)
{
    for (char *path = strtok(paths, ":"); path != NULL; path = strtok(NULL, ":")) {
        int found = open(path, O_RDONLY | O_DIRECTORY);
        if (found < 0 || pools_found == POOLS_MAX)
            exit(2);
        pools[pools_found++] = found;
    }
}

/* The whole file into `bytes`; its length, or -1. */
static ssize_t read_file(int directory, const char *name, unsigned char *bytes)
{
    int fd = openat(directory, name, O_RDONLY);
    if (fd < 0)
        return -1;
    ssize_t length = 0, got;
    while ((got = read(fd, bytes + length, FILE_BYTES_MAX - (size_t)length)) > 0)
        length += got;
    int error = errno;
    close(fd);
    errno = error;
    return got < 0 ? -1 : length;
}

static void compare(const char *name, unsigned char *got, unsigned char *expected)
{
    ssize_t expected_bytes = read_file(reference, name, expected);
    unsigned long began_ms = now_ms();
    ssize_t got_bytes = read_file(pool, name, got);
    unsigned long took_ms = now_ms() - began_ms, longest_ms = atomic_load(&totals->longest_ms);
    while (took_ms > longest_ms &&
           !atomic_compare_exchange_weak(&totals->longest_ms, &longest_ms, took_ms))
        ;
    atomic_fetch_add(&totals->reads, 1);
    if (got_bytes != expected_bytes) {
        fprintf(stderr, "%s: read gave %zd of %zd bytes: %s\n", name, got_bytes, expected_bytes,
                got_bytes < 0 ? strerror(errno) : "short");
        atomic_fetch_add(&totals->errors, 1);
        return;
    }
    atomic_fetch_add(&totals->bytes, (unsigned long)got_bytes);
    if (memcmp(got, expected, (size_t)got_bytes) == 0)
        return;
    unsigned long wrong = 0, zero = 0;
    for (ssize_t i = 0; i < got_bytes; i++)
        if (got[i] != expected[i]) {
            wrong++;
            zero += got[i] == 0;
        }
    fprintf(stderr, "%s: %lu wrong bytes of %zd, %lu of them zero\n", name, wrong, got_bytes, zero);
    atomic_fetch_add(&totals->wrong_bytes, wrong);
    atomic_fetch_add(&totals->zero_bytes, zero);
}

static void reader(unsigned seed, unsigned long rounds)
{
    /* No reader outlives a killed parent. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    unsigned char *got = malloc(FILE_BYTES_MAX), *expected = malloc(FILE_BYTES_MAX);
    if (got == NULL || expected == NULL)
        _exit(2);
    for (unsigned long round = 0; rounds == 0 || round < rounds; round++) {
        for (unsigned i = names_found - 1; i > 0; i--) {
            unsigned j = (unsigned)rand_r(&seed) % (i + 1);
            char *other = names[i];
            names[i] = names[j];
            names[j] = other;
        }
        for (unsigned i = 0; i < names_found; i++) {
            if (atomic_load(&totals->stop))
                _exit(0);
            compare(names[i], got, expected);
        }
    }
    _exit(0);
}

static void on_stop(int number)
{
    (void)number;
    atomic_store(&totals->stop, 1);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    totals = mmap(NULL, sizeof *totals, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    open_pools(argv[1]);
    reference = open(argv[2], O_RDONLY | O_DIRECTORY);
    unsigned readers = (unsigned)atoi(argv[3]);
    if (totals == MAP_FAILED || pools_found == 0 || reference < 0)
        return 2;
    list_names(argv[2]);
    if (names_found == 0)
        return 2;
    for (unsigned i = 0; i < readers; i++) {
        pid_t pid = fork();
        if (pid < 0)
            return 2;
        pool = pools[i % pools_found];
        if (pid == 0)
            reader(i + 1, strtoul(argv[4], NULL, 10));
    }
    struct sigaction action = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &action, NULL);
    int status, failed = 0;
    for (unsigned i = 0; i < readers; i++)
        if (wait(&status) < 0 || status != 0)
            failed = 1;
    printf("reads %lu bytes %lu wrong %lu zero %lu errors %lu longest_ms %lu\n",
           atomic_load(&totals->reads), atomic_load(&totals->bytes),
           atomic_load(&totals->wrong_bytes), atomic_load(&totals->zero_bytes),
           atomic_load(&totals->errors), atomic_load(&totals->longest_ms));
    return failed || atomic_load(&totals->wrong_bytes) != 0 || atomic_load(&totals->errors) != 0;
}
