/* A FUSE server of one file that answers each read at once: the floor of a blocked read over FUSE. */
#ifndef BENCH_FUSE_RESPOND_H
#define BENCH_FUSE_RESPOND_H

#define FUSE_RESPOND_FILE "events"

struct fuse_responder {
    int channel, cpu;
};

/* For spawn(); ends when the mount is gone. */
void fuse_respond(void *fuse_responder);

#endif
