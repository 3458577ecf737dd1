/*
 * What a stock fanotify handler does: a responder for pre-content events as the manual suggests it. It holds the
 * reader of a freed file, fetches the data, answers. When it is killed, its group is closed, and the kernel
 * answers "allow" in its place: the reader gets what is on the disk, zeros. See contrast.sh.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <unistd.h>

#ifndef FAN_PRE_ACCESS
#define FAN_PRE_ACCESS 0x00100000
#endif

/* Stands for the archive's answer, which takes its time. */
static void fetch_data(void)
{
    poll(NULL, 0, 60000);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int group = fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC, O_RDWR | O_LARGEFILE);
    if (group < 0 || fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_PRE_ACCESS,
                                   AT_FDCWD, argv[1]) != 0) {
        printf("unavailable: %s\n", strerror(errno));
        return 77;
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        _Alignas(8) char buffer[4096];
        ssize_t length = read(group, buffer, sizeof buffer);
        if (length <= 0)
            return 1;
        struct fanotify_event_metadata *event = (void *)buffer;
        for (; FAN_EVENT_OK(event, length); event = FAN_EVENT_NEXT(event, length)) {
            printf("event: a process %d reads, its data is being fetched\n", event->pid);
            fflush(stdout);
            fetch_data();
            struct fanotify_response answer = {.fd = event->fd, .response = FAN_ALLOW};
            if (write(group, &answer, sizeof answer) != sizeof answer)
                return 1;
            close(event->fd);
        }
    }
}
