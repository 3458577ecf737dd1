/* The FUSE protocol as bare as it is: mounting, reading requests, answering. */
#ifndef BENCH_FUSE_RAW_H
#define BENCH_FUSE_RAW_H

#include <linux/fuse.h>
#include <stddef.h>
#include <stdint.h>

/* Newer than the installed header. */
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH (1ULL << 37)
#define FOPEN_PASSTHROUGH (1 << 7)
#endif

#define FUSE_RAW_MAX_WRITE (1U << 20)
#define FUSE_RAW_BUFFER (FUSE_RAW_MAX_WRITE + 4096)

/* A request in a buffer of FUSE_RAW_BUFFER bytes. */
struct request {
    struct fuse_in_header header;
    char body[];
};

/* Mounts on a directory; the descriptor of the connection. */
int fuse_raw_mount(const char *mountpoint);
/* The next request; 0 when the mount is gone. */
int fuse_raw_next(int channel, struct request *request);
void fuse_raw_reply(int channel, const struct request *request, const void *body, size_t bytes);
/* A positive errno. */
void fuse_raw_refuse(int channel, const struct request *request, int error);
/* Answers INIT: of these flags what the kernel offers. */
void fuse_raw_init(int channel, const struct request *request, uint64_t flags);
/* A number of the backing file for FOPEN_PASSTHROUGH, or -1. */
int fuse_raw_backing_open(int channel, int fd);
void fuse_raw_backing_close(int channel, int id);

#endif
