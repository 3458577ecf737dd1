/* A FUSE server of one file whose READs can be held, over a ring and beside it; what it shares. */
#ifndef BENCH_FUSE_URING_SERVER_H
#define BENCH_FUSE_URING_SERVER_H

#include <stdatomic.h>

#include "fuse_uring.h"

#define SERVER_FILE "file"
#define SERVER_ODD "odd" /* Another object at each lookup: the kernel forgets the one before. */
#define SERVER_BLOCK 4096U
#define SERVER_ENTRIES 4U /* Of each queue, at the start. */
#define SERVER_SLOTS 40U
#define SERVER_SEEN 1024U

enum order { ORDER_NONE, ORDER_ANSWER, ORDER_REGISTER, ORDER_RESEND, ORDER_INVALIDATE };

struct seen {
    int worker, by_ring;
    _Atomic uint32_t opcode;
    uint64_t unique, block;
    struct uring_slot *slot;
};

struct shared {
    _Atomic int hold, worker_ready, stop_asking;
    _Atomic unsigned number_seen, failed_entries;
    _Atomic int again_errno; /* Of an INTERRUPT that is answered EAGAIN; -1: none yet. */
    struct seen seen[SERVER_SEEN]; /* The last ones, in a circle. */
    /* One order at a time: the tester sets it last, the server clears it last. */
    _Atomic int order;
    unsigned order_argument; /* ANSWER: a number in seen; REGISTER: a queue. */
    int order_error;         /* ANSWER: an errno; all: the errno that came of it. */
    unsigned slots_used;
    struct uring_slot slots[SERVER_SLOTS];
};

struct server {
    int channel, worker, queues;
    struct uring *ring; /* NULL: /dev/fuse alone. */
    struct shared *shared;
};

/* The reply of the server to a request: an errno, or bytes of `body` (one block of room). */
int server_reply(const struct fuse_in_header *header, const void *op_in, const char *name,
                 void *body, size_t *bytes);
/* Registers SERVER_ENTRIES with each queue; serves both until the mount is gone. */
void server_run(struct server *server);
/* Serves what has come on a ring. */
void server_drain(struct server *server);
/* What a block of the file consists of. */
char server_pattern(uint64_t block);

#endif
