/* What the kernel alone can do: the floors that the product is measured against. */
#ifndef BENCH_KERNEL_H
#define BENCH_KERNEL_H

/* A reader's view of a file: each step reads 4 KiB of it, cached. */
struct reader {
    int fd;
    char bytes[4096];
};
int read_step(void *reader);

/* A responder for pre-content events of a file, as tight as it can be; argument: struct raw_group. */
struct raw_group {
    int group, cpu;
    /* The relay: events go to another process and back, which is what a library in a process costs at least. */
    int to_application[2];
};
void raw_open(struct raw_group *raw, const char *path, int cpu);
void raw_respond(void *raw_group);
void raw_relay(void *raw_group);
void raw_relay_application(void *raw_group);
/* Marks a whole file system, and one file of it as not interesting. */
void raw_mark_and_ignore(struct raw_group *raw, const char *mount, const char *file);

/* A seqpacket echo: the floor of a call to another process. */
struct echo {
    int pair[2], cpu;
};
void echo_serve(void *echo);
int echo_step(void *echo);

/* An append of 64 bytes, made durable. */
int fdatasync_step(void *fd);

#endif
