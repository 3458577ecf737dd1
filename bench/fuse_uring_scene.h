/* A mount served over a ring, its worker, and callers whose ends are looked at. */
#ifndef BENCH_FUSE_URING_SCENE_H
#define BENCH_FUSE_URING_SCENE_H

#include <stdint.h>
#include <sys/types.h>

#include "fuse_uring_server.h"

#define WAIT_MS 20000  /* For what must come. */
#define ABSENT_MS 2000 /* After which what has not come is told as missing. */
#define LOOK_US 5000

/* A process that makes one call on the file, or many. */
struct caller {
    pid_t pid;
    _Atomic int done;
    int error; /* 0: right data. */
};

/* Calls that are no read of a block. */
enum { GET_ATTRIBUTES = -1, LOOK_UP = -2, ASK_ON = -3 /* GET_ATTRIBUTES until stop_asking. */ };

/* What a worker takes requests from: a ring that this process has, too (no exec, one table of
 * descriptors); a ring and a table of its own; /dev/fuse alone. */
enum from { FROM_SHARED_RING, FROM_PRIVATE_RING, FROM_DEVICE };

extern struct scene {
    enum from from;
    const char *directory;
    int channel, file;
    struct uring ring, own; /* `own`: of this process; fd 0 is none. */
    struct shared *shared;
    struct caller *callers;
    unsigned callers_used;
    pid_t worker;
} scene;

/* Prints a line. */
void fact(const char *what, const char *found);

/* Mounts, starts worker 1; READs are held. */
void begin(enum from from);
/* Ends the connection, tells what became of those who waited, and unmounts. */
void finish(void);
/* The same without a word. */
void end_quietly(void);
/* The next worker. */
void start_worker(int number);
/* Has the worker do it; the errno that came of it. */
int order(enum order what, unsigned argument, int error);

/* A read of a block or one of the other calls, on a processor. */
struct caller *call(int block, int cpu);
/* A read that has come to the server. */
struct caller *held_read(int block, int cpu);
/* What became of a call. */
const char *end_of(const struct caller *caller, unsigned limit_ms);
/* What became of calls, as "3 right, 1 Operation canceled". */
const char *ends_of(struct caller *const callers[], unsigned number);

/* The number in seen of the last request of a kind after `from`; -1: none. */
int find(uint32_t opcode, int block, unsigned from);
/* Where such a request came. */
const char *came(uint32_t opcode, int block, unsigned from);

/* Looks until `is` or the time is over; serves this process's own ring meanwhile. */
int wait_until(int (*is)(const void *), const void *argument, unsigned limit_ms);
int is_gone(const void *caller);
int is_done(const void *caller);
/* Sleeps in the read, or has it behind it. */
int reads_or_ended(const void *caller);

#endif
