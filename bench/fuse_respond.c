/* A FUSE server of one file that answers each read at once; see fuse_respond.h. */
#include "fuse_respond.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse_raw.h"
#include "measure.h"

#define FILE_NODE 2
#define FILE_BYTES 4096
#define VALID_S 3600

static struct fuse_attr attr_of(uint64_t node)
{
    int is_file = node == FILE_NODE;
    return (struct fuse_attr){.ino = node,
                              .size = is_file ? FILE_BYTES : 0,
                              .mode = is_file ? S_IFREG | 0600 : S_IFDIR | 0700,
                              .nlink = 1};
}

static void look_up(int channel, const struct request *request)
{
    struct fuse_entry_out out = {.nodeid = FILE_NODE,
                                 .entry_valid = VALID_S,
                                 .attr_valid = VALID_S,
                                 .attr = attr_of(FILE_NODE)};
    if (strcmp(request->body, FUSE_RESPOND_FILE) == 0)
        fuse_raw_reply(channel, request, &out, sizeof out);
    else
        fuse_raw_refuse(channel, request, ENOENT);
}

static void serve(int channel, const struct request *request)
{
    static const char block[FILE_BYTES];
    struct fuse_attr_out attr = {.attr_valid = VALID_S, .attr = attr_of(request->header.nodeid)};
    struct fuse_open_out opened = {.open_flags = FOPEN_KEEP_CACHE};
    switch (request->header.opcode) {
    case FUSE_INIT: fuse_raw_init(channel, request, FUSE_ASYNC_READ | FUSE_MAX_PAGES); break;
    case FUSE_LOOKUP: look_up(channel, request); break;
    case FUSE_GETATTR: fuse_raw_reply(channel, request, &attr, sizeof attr); break;
    case FUSE_OPEN: fuse_raw_reply(channel, request, &opened, sizeof opened); break;
    case FUSE_READ: fuse_raw_reply(channel, request, block, sizeof block); break;
    case FUSE_RELEASE: fuse_raw_refuse(channel, request, 0); break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: break;
    default: fuse_raw_refuse(channel, request, ENOSYS);
    }
}

void fuse_respond(void *argument)
{
    struct fuse_responder *responder = argument;
    struct request *request = malloc(FUSE_RAW_BUFFER);
    must(request != NULL, "memory");
    pin(responder->cpu);
    while (fuse_raw_next(responder->channel, request))
        serve(responder->channel, request);
    free(request);
}
