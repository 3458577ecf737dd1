/* Times, percentiles and processes of the benchmarks. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdint.h>
#include <sys/types.h>

struct series {
    double p50_us, p99_us, per_s;
};

double now_us(void);
/* Ends the program with a message of `errno`. */
void must(int good, const char *what) __attribute__((nonnull));

/* Runs `step` count times and measures each; the first tenth warms up. */
struct series measure(unsigned count, int (*step)(void *), void *argument, const char *what);
/* Runs `step` in `batch`es, for steps too short for the clock. */
struct series measure_batch(unsigned count, unsigned batch, int (*step)(void *), void *argument,
                            const char *what);

/* Puts the calling thread on one processor; -1: on any. */
void pin(int cpu);
/* The same for all threads of a process. */
void pin_process(pid_t pid, int cpu);
/* Forks a child that runs `body` and ends; it dies with its parent. */
pid_t spawn(void (*body)(void *), void *argument);
/* Ends a child that spawn() made. */
void reap(pid_t pid);

/* A line of the table; `base` > 0 adds the ratio of the medians. */
void row(const char *name, struct series series, double base_us, const char *base_name);

#endif
