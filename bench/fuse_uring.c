/* FUSE over io_uring as bare as it is; see fuse_uring.h. */
#include "fuse_uring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "measure.h"

#define ENTRIES 64
#define SQE_BYTES 128
#define CMD_REGISTER 1
#define CMD_COMMIT_AND_FETCH 2
#define NO_ERRNO(error) ((error) > 0 ? -(error) : (error))

/* fuse_uring_cmd_req: the command's part of the submission. */
struct command {
    uint64_t flags, commit_id;
    uint16_t queue;
    uint8_t padding[6];
};

static char *map(struct uring *ring, int number, size_t bytes, off_t what)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, what);
    must(at != MAP_FAILED, "mapping a ring");
    ring->maps[number].at = at;
    ring->maps[number].bytes = bytes;
    return at;
}

void uring_open(struct uring *ring, int channel, unsigned flags)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SQE128 | flags};
    memset(ring, 0, sizeof *ring);
    ring->channel = channel;
    ring->fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &params);
    must(ring->fd >= 0, "io_uring_setup");
    char *sq = map(ring, 0, params.sq_off.array + params.sq_entries * sizeof(unsigned),
                   IORING_OFF_SQ_RING);
    char *cq = map(ring, 1, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
                   IORING_OFF_CQ_RING);
    ring->sqes = map(ring, 2, (size_t)params.sq_entries * SQE_BYTES, (off_t)IORING_OFF_SQES);
    ring->sq_tail = (void *)(sq + params.sq_off.tail);
    ring->sq_mask = (void *)(sq + params.sq_off.ring_mask);
    ring->sq_array = (void *)(sq + params.sq_off.array);
    ring->cq_head = (void *)(cq + params.cq_off.head);
    ring->cq_tail = (void *)(cq + params.cq_off.tail);
    ring->cq_mask = (void *)(cq + params.cq_off.ring_mask);
    ring->cqes = cq + params.cq_off.cqes;
}

void uring_close(struct uring *ring)
{
    if (ring->fd <= 0)
        return;
    close(ring->fd);
    for (int i = 0; i < 3; i++)
        munmap(ring->maps[i].at, ring->maps[i].bytes);
    memset(ring, 0, sizeof *ring);
}

static struct io_uring_sqe *prepare(struct uring *ring, struct uring_slot *slot, uint32_t operation,
                                    uint64_t commit_id)
{
    unsigned tail = *ring->sq_tail, index = tail & *ring->sq_mask;
    struct io_uring_sqe *sqe = (void *)((char *)ring->sqes + (size_t)index * SQE_BYTES);
    struct command command = {.commit_id = commit_id, .queue = slot->queue};
    memset(sqe, 0, SQE_BYTES);
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = ring->channel;
    sqe->cmd_op = operation;
    sqe->user_data = (uintptr_t)slot;
    memcpy((char *)sqe + offsetof(struct io_uring_sqe, addr3), &command, sizeof command);
    ring->sq_array[index] = index;
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    ring->waiting++;
    return sqe;
}

void uring_register(struct uring *ring, struct uring_slot *slot, uint16_t queue)
{
    /* Read at submission: the caller enters before it prepares another on this thread's slot. */
    static _Thread_local struct {
        void *at;
        size_t bytes;
    } parts[ENTRIES][2];
    unsigned index = *ring->sq_tail & *ring->sq_mask;
    slot->queue = queue;
    parts[index][0].at = &slot->header;
    parts[index][0].bytes = sizeof slot->header;
    parts[index][1].at = slot->payload;
    parts[index][1].bytes = sizeof slot->payload;
    struct io_uring_sqe *sqe = prepare(ring, slot, CMD_REGISTER, 0);
    sqe->addr = (uintptr_t)parts[index];
    sqe->len = 2;
}

void uring_commit(struct uring *ring, struct uring_slot *slot, uint64_t unique, int error,
                  size_t bytes)
{
    struct fuse_out_header *out = (void *)&slot->header.in;
    *out = (struct fuse_out_header){.len = (uint32_t)(sizeof *out + bytes),
                                    .error = NO_ERRNO(error),
                                    .unique = unique};
    slot->header.entry.payload_bytes = (uint32_t)bytes;
    prepare(ring, slot, CMD_COMMIT_AND_FETCH, unique);
}

void uring_enter(struct uring *ring, unsigned completions)
{
    long submitted;
    do
        submitted = syscall(SYS_io_uring_enter, ring->fd, ring->waiting, completions,
                            IORING_ENTER_GETEVENTS, NULL, 0);
    while (submitted < 0 && errno == EINTR);
    must(submitted >= 0, "io_uring_enter");
    ring->waiting -= (unsigned)submitted;
}

struct uring_slot *uring_next(struct uring *ring, int *result)
{
    unsigned head = *ring->cq_head;
    if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
        return NULL;
    struct io_uring_cqe *cqe = (struct io_uring_cqe *)ring->cqes + (head & *ring->cq_mask);
    struct uring_slot *slot = (void *)(uintptr_t)cqe->user_data;
    *result = cqe->res;
    __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
    return slot;
}

void *uring_share(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    must(at != MAP_FAILED, "shared memory");
    return at;
}

int uring_mount(const char *directory, uint64_t flags)
{
    struct request *request = malloc(FUSE_RAW_BUFFER);
    must(request != NULL, "memory");
    int channel = fuse_raw_mount(directory);
    must(fuse_raw_next(channel, request) && request->header.opcode == FUSE_INIT, "INIT");
    const struct fuse_init_in *in = (const void *)request->body;
    must((flags & (in->flags | (uint64_t)in->flags2 << 32)) == flags, "a kernel with the flags");
    fuse_raw_init(channel, request, flags | FUSE_ASYNC_READ | FUSE_MAX_PAGES);
    free(request);
    return channel;
}
