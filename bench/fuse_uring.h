/* FUSE over io_uring as bare as it is: a ring, its entries, fetching and answering. */
#ifndef BENCH_FUSE_URING_H
#define BENCH_FUSE_URING_H

#include <linux/fuse.h>
#include <stddef.h>
#include <stdint.h>

#include "fuse_raw.h"

/* Newer than the installed header. */
#define URING_INIT_FLAG (1ULL << 41)
#define RESEND_INIT_FLAG (1ULL << 39)

struct uring_header {
    struct fuse_in_header in;
    char in_rest[128 - sizeof(struct fuse_in_header)];
    char op_in[128];
    struct {
        uint64_t flags, commit_id;
        uint32_t payload_bytes, padding;
        uint64_t reserved;
    } entry;
};
_Static_assert(sizeof(struct uring_header) == 288, "fuse_uring_req_header");

/* An entry of a queue and its memory; the kernel keeps these addresses for the entry's life. */
struct uring_slot {
    struct uring_header header;
    uint16_t queue;
    _Alignas(4096) char payload[FUSE_RAW_MAX_WRITE];
};

struct uring {
    int fd, channel;
    unsigned waiting; /* Prepared, not yet submitted. */
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    void *sqes, *cqes;
    struct {
        void *at;
        size_t bytes;
    } maps[3];
};

/* IORING_SETUP_SQE128 and these flags. */
void uring_open(struct uring *ring, int channel, unsigned flags);
/* Also unmaps: a mapping keeps a ring alive. A ring of zeros is none. */
void uring_close(struct uring *ring);
/* Prepares the registration of a new entry. */
void uring_register(struct uring *ring, struct uring_slot *slot, uint16_t queue);
/* Prepares the answer from the slot (its payload is in place) and the entry's next request. */
void uring_commit(struct uring *ring, struct uring_slot *slot, uint64_t unique, int error,
                  size_t bytes);
/* Submits what is prepared and waits for completions. */
void uring_enter(struct uring *ring, unsigned completions);
/* The next slot that completed, or NULL; `result` is 0 for a request. */
struct uring_slot *uring_next(struct uring *ring, int *result);

/* Memory that processes share, at the same address in children. */
void *uring_share(size_t bytes);
/* Mounts, answers INIT with flags that the kernel must offer; the connection's descriptor. */
int uring_mount(const char *directory, uint64_t flags);

#endif
