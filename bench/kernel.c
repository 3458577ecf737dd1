/* What the kernel alone can do; see kernel.h. */
#include "kernel.h"

#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

/* Newer than the installed headers. */
#ifndef FAN_PRE_ACCESS
#define FAN_PRE_ACCESS 0x00100000
#endif
#ifndef FAN_MARK_IGNORE_SURV
#define FAN_MARK_IGNORE_SURV (0x400 | FAN_MARK_IGNORED_SURV_MODIFY)
#endif

int read_step(void *argument)
{
    struct reader *reader = argument;
    return pread(reader->fd, reader->bytes, sizeof reader->bytes, 0) == sizeof reader->bytes ? 0
                                                                                              : -1;
}

void raw_open(struct raw_group *raw, const char *path, int cpu)
{
    raw->cpu = cpu;
    raw->group = fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC, O_RDONLY | O_LARGEFILE);
    must(raw->group >= 0, "fanotify_init");
    must(fanotify_mark(raw->group, FAN_MARK_ADD, FAN_PRE_ACCESS, AT_FDCWD, path) == 0,
         "fanotify_mark");
    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, raw->to_application) == 0, "socketpair");
}

static int next_event(const struct raw_group *raw)
{
    _Alignas(8) char buffer[256];
    must(read(raw->group, buffer, sizeof buffer) > 0, "reading an event");
    return ((struct fanotify_event_metadata *)(void *)buffer)->fd;
}

static void allow(const struct raw_group *raw, int fd)
{
    struct fanotify_response answer = {.fd = fd, .response = FAN_ALLOW};
    must(write(raw->group, &answer, sizeof answer) == sizeof answer, "answering an event");
    close(fd);
}

void raw_respond(void *argument)
{
    struct raw_group *raw = argument;
    pin(raw->cpu);
    for (;;)
        allow(raw, next_event(raw));
}

void raw_relay(void *argument)
{
    struct raw_group *raw = argument;
    char message[64] = "";
    pin(raw->cpu);
    for (;;) {
        int fd = next_event(raw);
        must(send(raw->to_application[0], message, sizeof message, 0) > 0, "send");
        must(recv(raw->to_application[0], message, sizeof message, 0) > 0, "recv");
        allow(raw, fd);
    }
}

void raw_relay_application(void *argument)
{
    struct raw_group *raw = argument;
    char message[64];
    pin(raw->cpu);
    for (;;) {
        must(recv(raw->to_application[1], message, sizeof message, 0) > 0, "recv");
        must(send(raw->to_application[1], message, sizeof message, 0) > 0, "send");
    }
}

void raw_mark_and_ignore(struct raw_group *raw, const char *mount, const char *file)
{
    memset(raw, 0, sizeof *raw);
    raw->group = fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC, O_RDONLY | O_LARGEFILE);
    must(raw->group >= 0, "fanotify_init");
    must(fanotify_mark(raw->group, FAN_MARK_ADD | FAN_MARK_IGNORE_SURV, FAN_PRE_ACCESS, AT_FDCWD,
                       file) == 0,
         "ignore mark");
    must(fanotify_mark(raw->group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_PRE_ACCESS, AT_FDCWD,
                       mount) == 0,
         "file system mark");
}

void echo_serve(void *argument)
{
    struct echo *echo = argument;
    char message[64];
    pin(echo->cpu);
    for (;;) {
        must(recv(echo->pair[1], message, sizeof message, 0) > 0, "recv");
        must(send(echo->pair[1], message, sizeof message, 0) > 0, "send");
    }
}

int echo_step(void *argument)
{
    struct echo *echo = argument;
    char message[64] = "";
    return send(echo->pair[0], message, sizeof message, 0) > 0 &&
                   recv(echo->pair[0], message, sizeof message, 0) > 0
               ? 0
               : -1;
}

int fdatasync_step(void *argument)
{
    int fd = *(int *)argument;
    char record[64] = "";
    /* Overwriting: a preallocated journal does not grow. */
    return pwrite(fd, record, sizeof record, 0) == sizeof record && fdatasync(fd) == 0 ? 0 : -1;
}
