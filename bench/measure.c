/* Times, percentiles and processes of the benchmarks; see measure.h. */
#include "measure.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

void must(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

struct series measure_batch(unsigned count, unsigned batch, int (*step)(void *), void *argument,
                            const char *what)
{
    double *times = calloc(count, sizeof *times);
    must(times != NULL, "memory");
    for (unsigned i = 0; i < count / 10 * batch; i++)
        must(step(argument) == 0, what);
    double began = now_us();
    for (unsigned i = 0; i < count; i++) {
        double start = now_us();
        for (unsigned j = 0; j < batch; j++)
            must(step(argument) == 0, what);
        times[i] = (now_us() - start) / batch;
    }
    double all_us = now_us() - began;
    qsort(times, count, sizeof *times, by_value);
    struct series series = {times[count / 2], times[(unsigned)((double)count * 0.99)],
                            (double)count * batch / (all_us / 1e6)};
    free(times);
    return series;
}

struct series measure(unsigned count, int (*step)(void *), void *argument, const char *what)
{
    return measure_batch(count, 1, step, argument, what);
}

static void pin_thread(pid_t tid, int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < 0)
        for (int i = 0; i < CPU_SETSIZE; i++)
            CPU_SET(i, &set);
    else
        CPU_SET(cpu, &set);
    sched_setaffinity(tid, sizeof set, &set);
}

void pin(int cpu)
{
    pin_thread(0, cpu);
}

void pin_process(pid_t pid, int cpu)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    DIR *tasks = opendir(path);
    struct dirent *task;
    if (tasks == NULL)
        return;
    while ((task = readdir(tasks)) != NULL)
        if (task->d_name[0] != '.')
            pin_thread((pid_t)atoi(task->d_name), cpu);
    closedir(tasks);
}

pid_t spawn(void (*body)(void *), void *argument)
{
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        body(argument);
        _exit(0);
    }
    return pid;
}

void reap(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

void row(const char *name, struct series series, double base_us, const char *base_name)
{
    printf("%-58s %9.2f %9.1f %10.0f", name, series.p50_us, series.p99_us, series.per_s);
    if (base_us > 0)
        printf("   %.2f x %s", series.p50_us / base_us, base_name);
    printf("\n");
    fflush(stdout);
}
