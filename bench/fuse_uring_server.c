/* A FUSE server of one file whose READs can be held; see fuse_uring_server.h. */
#include "fuse_uring_server.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "measure.h"

#define FILE_NODE 2
#define FILE_BLOCKS 64
#define VALID_S 3600
#define NOTIFY_RESEND 7
#define LOOK_MS 10

char server_pattern(uint64_t block)
{
    return (char)('A' + block);
}

static struct fuse_attr attr_of(uint64_t node)
{
    return (struct fuse_attr){.ino = node,
                              .size = node == FUSE_ROOT_ID ? 0 : FILE_BLOCKS * SERVER_BLOCK,
                              .mode = node == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600,
                              .nlink = 1};
}

static int look_up(const char *name, struct fuse_entry_out *out)
{
    static uint64_t odd = FILE_NODE;
    int is_file = strcmp(name, SERVER_FILE) == 0;
    if (!is_file && strcmp(name, SERVER_ODD) != 0)
        return ENOENT;
    memset(out, 0, sizeof *out);
    out->nodeid = is_file ? FILE_NODE : ++odd;
    out->entry_valid = is_file ? VALID_S : 0;
    out->attr = attr_of(out->nodeid);
    return 0;
}

int server_reply(const struct fuse_in_header *header, const void *op_in, const char *name,
                 void *body, size_t *bytes)
{
    const struct fuse_read_in *read_in = op_in;
    /* Attributes are never valid, so each fstat(2) is a request. */
    struct fuse_attr_out attr = {.attr = attr_of(header->nodeid)};
    struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO};
    *bytes = 0;
    switch (header->opcode) {
    case FUSE_LOOKUP: *bytes = sizeof(struct fuse_entry_out); return look_up(name, body);
    case FUSE_GETATTR: memcpy(body, &attr, *bytes = sizeof attr); return 0;
    case FUSE_OPEN: memcpy(body, &opened, *bytes = sizeof opened); return 0;
    case FUSE_READ:
        memset(body, server_pattern(read_in->offset / SERVER_BLOCK), *bytes = SERVER_BLOCK);
        return 0;
    case FUSE_RELEASE: return 0;
    default: return ENOSYS;
    }
}

/* Whether it is kept. `slot` is NULL for what came by /dev/fuse. */
static int note(struct server *server, struct uring_slot *slot, const struct fuse_in_header *header,
                const void *op_in)
{
    struct shared *shared = server->shared;
    unsigned number = shared->number_seen++;
    const struct fuse_read_in *read_in = op_in;
    struct seen *seen = &shared->seen[number % SERVER_SEEN];
    seen->worker = server->worker;
    seen->by_ring = slot != NULL;
    seen->slot = slot;
    seen->unique = header->unique;
    seen->block = header->opcode == FUSE_READ ? read_in->offset / SERVER_BLOCK : 0;
    int kept = slot != NULL && header->opcode == FUSE_READ && shared->hold;
    /* Last: who finds the operation finds the rest. */
    seen->opcode = header->opcode;
    return kept;
}

static void commit_reply(struct server *server, struct uring_slot *slot,
                         const struct fuse_in_header *header, const void *op_in)
{
    char body[SERVER_BLOCK];
    size_t bytes;
    int error = server_reply(header, op_in, slot->payload, body, &bytes);
    bytes = error == 0 ? bytes : 0;
    memcpy(slot->payload, body, bytes);
    uring_commit(server->ring, slot, slot->header.entry.commit_id, error, bytes);
}

void server_drain(struct server *server)
{
    struct shared *shared = server->shared;
    struct uring_slot *slot;
    int result;
    while ((slot = uring_next(server->ring, &result)) != NULL) {
        if (result != 0) {
            shared->failed_entries++;
            continue;
        }
        struct fuse_in_header header = slot->header.in;
        if (!note(server, slot, &header, slot->header.op_in))
            commit_reply(server, slot, &header, slot->header.op_in);
    }
    uring_enter(server->ring, 0);
}

/* Forgets, interrupts, what is resent. */
static void serve_channel(struct server *server, struct request *request)
{
    char body[SERVER_BLOCK];
    size_t bytes;
    struct fuse_out_header again = {.len = sizeof again, .error = -EAGAIN};
    if (read(server->channel, request, FUSE_RAW_BUFFER) <= 0)
        return;
    const struct fuse_in_header *header = &request->header;
    note(server, NULL, header, request->body);
    if (header->opcode == FUSE_FORGET || header->opcode == FUSE_BATCH_FORGET)
        return;
    if (header->opcode == FUSE_INTERRUPT) {
        again.unique = header->unique;
        server->shared->again_errno =
            write(server->channel, &again, sizeof again) < 0 ? errno : 0;
        return;
    }
    int error = server_reply(header, request->body, request->body, body, &bytes);
    if (error == 0)
        fuse_raw_reply(server->channel, request, body, bytes);
    else
        fuse_raw_refuse(server->channel, request, error);
}

static int notify(int channel, int code, const void *body, size_t bytes)
{
    char message[128];
    struct fuse_out_header header = {.len = (uint32_t)(sizeof header + bytes), .error = code};
    memcpy(message, &header, sizeof header);
    memcpy(message + sizeof header, body, bytes);
    return write(channel, message, sizeof header + bytes) < 0 ? errno : 0;
}

static void answer(struct server *server, struct seen *seen, int error)
{
    size_t bytes = error == 0 ? SERVER_BLOCK : 0;
    memset(seen->slot->payload, server_pattern(seen->block), bytes);
    uring_commit(server->ring, seen->slot, seen->unique, error, bytes);
}

static void register_entry(struct server *server, uint16_t queue)
{
    must(server->shared->slots_used < SERVER_SLOTS, "slots");
    uring_register(server->ring, &server->shared->slots[server->shared->slots_used++], queue);
}

static void obey(struct server *server)
{
    struct shared *shared = server->shared;
    struct fuse_notify_inval_inode_out inode = {.ino = FILE_NODE, .off = -1};
    int error = shared->order_error;
    shared->order_error = 0;
    switch (shared->order) {
    case ORDER_NONE: return;
    case ORDER_ANSWER: answer(server, &shared->seen[shared->order_argument], error); break;
    case ORDER_REGISTER: register_entry(server, (uint16_t)shared->order_argument); break;
    case ORDER_RESEND: shared->order_error = notify(server->channel, NOTIFY_RESEND, "", 0); break;
    case ORDER_INVALIDATE:
        shared->order_error =
            notify(server->channel, FUSE_NOTIFY_INVAL_INODE, &inode, sizeof inode);
        break;
    }
    if (server->ring != NULL)
        uring_enter(server->ring, 0);
    shared->order = ORDER_NONE;
}

static void register_all(struct server *server)
{
    for (int queue = 0; queue < server->queues; queue++)
        for (unsigned i = 0; i < SERVER_ENTRIES; i++)
            register_entry(server, (uint16_t)queue);
    uring_enter(server->ring, 0);
}

void server_run(struct server *server)
{
    struct request *request = malloc(FUSE_RAW_BUFFER);
    must(request != NULL, "memory");
    int ring_fd = server->ring != NULL ? server->ring->fd : -1;
    struct pollfd ready[2] = {{.fd = server->channel, .events = POLLIN},
                              {.fd = ring_fd, .events = POLLIN}};
    if (server->ring != NULL)
        register_all(server);
    server->shared->worker_ready = server->worker;
    while (poll(ready, 2, LOOK_MS) >= 0 || errno == EINTR) {
        if (server->ring != NULL)
            server_drain(server);
        if (ready[0].revents & POLLERR)
            break;
        if (ready[0].revents & POLLIN)
            serve_channel(server, request);
        obey(server);
    }
    free(request);
}
