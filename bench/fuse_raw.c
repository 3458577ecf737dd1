/* The FUSE protocol as bare as it is; see fuse_raw.h. */
#include "fuse_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include "measure.h"

struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

/* fuse_init_out with the fields that came after the installed header. */
struct init_out {
    uint32_t major, minor, max_readahead, flags;
    uint16_t max_background, congestion_threshold;
    uint32_t max_write, time_gran;
    uint16_t max_pages, map_alignment;
    uint32_t flags2, max_stack_depth, unused[6];
};
_Static_assert(sizeof(struct init_out) == sizeof(struct fuse_init_out), "fuse_init_out");

int fuse_raw_mount(const char *mountpoint)
{
    char options[160];
    int channel = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    must(channel >= 0, "/dev/fuse");
    snprintf(options, sizeof options,
             "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", channel);
    must(mount("bare", mountpoint, "fuse.bare", MS_NOSUID | MS_NODEV, options) == 0, mountpoint);
    return channel;
}

int fuse_raw_next(int channel, struct request *request)
{
    for (;;) {
        ssize_t bytes = read(channel, request, FUSE_RAW_BUFFER);
        if (bytes > 0)
            return 1;
        if (errno == ENODEV)
            return 0;
        must(errno == EINTR || errno == EAGAIN || errno == ENOENT, "reading a request");
    }
}

static void answer(int channel, const struct request *request, int error, const void *body,
                   size_t bytes)
{
    struct fuse_out_header header = {
        .len = (uint32_t)(sizeof header + bytes), .error = -error, .unique = request->header.unique};
    struct iovec parts[2] = {{&header, sizeof header}, {(void *)(uintptr_t)body, bytes}};
    /* ENOENT: the caller was killed. */
    must(writev(channel, parts, bytes > 0 ? 2 : 1) > 0 || errno == ENOENT || errno == ENODEV,
         "answering a request");
}

void fuse_raw_reply(int channel, const struct request *request, const void *body, size_t bytes)
{
    answer(channel, request, 0, body, bytes);
}

void fuse_raw_refuse(int channel, const struct request *request, int error)
{
    answer(channel, request, error, NULL, 0);
}

void fuse_raw_init(int channel, const struct request *request, uint64_t flags)
{
    const struct fuse_init_in *in = (const void *)request->body;
    struct init_out out = {.major = 7,
                           .minor = 45,
                           .max_readahead = in->max_readahead,
                           .max_background = 64,
                           .congestion_threshold = 48,
                           .max_write = FUSE_RAW_MAX_WRITE,
                           .time_gran = 1,
                           .max_pages = 256,
                           .max_stack_depth = 1};
    flags &= in->flags | (uint64_t)in->flags2 << 32;
    out.flags = (uint32_t)flags | FUSE_INIT_EXT;
    out.flags2 = (uint32_t)(flags >> 32);
    fuse_raw_reply(channel, request, &out, sizeof out);
}

int fuse_raw_backing_open(int channel, int fd)
{
    struct backing_map map = {.fd = fd};
    return ioctl(channel, BACKING_OPEN, &map);
}

void fuse_raw_backing_close(int channel, int id)
{
    uint32_t number = (uint32_t)id;
    must(ioctl(channel, BACKING_CLOSE, &number) == 0, "BACKING_CLOSE");
}
