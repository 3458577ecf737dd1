/* user.h: a user of a file: a process that does one thing, which may wait for an application's answer. */
#ifndef USER_H
#define USER_H

#include "harness.h"

struct user {
  pid_t pid;
  int pipe;
  int start; /* of user_will_touch */
  unsigned char data[256]; /* what it read, after await() */
};

/* What it does begins at once. One user at a time: the next one takes the place. */
struct user *user_reads(const char *name, long offset, size_t length);
/* With O_NONBLOCK. */
struct user *user_reads_without_waiting(const char *name, long offset, size_t length);
struct user *user_writes(const char *name, long offset, size_t length);
struct user *user_truncates(const char *name, long size);
/* mmap(2) and at once munmap(2). */
struct user *user_maps(const char *name, long offset, size_t length, int protection, int flags);

/* Stores the bytes that the pattern has `shift` further on through a shared mapping, and has them written back (msync). */
struct user *user_stores(const char *name, long offset, size_t length, long shift);

/* Maps the file, and says so by the return of this; then loads, or stores, the byte at `offset` when told to. A fault
 * that fails gives EFAULT. */
struct user *user_will_touch(const char *name, long offset, bool store);
void let_touch(struct user *user);

/* Operations on names; `second` is the other name, or what a symbolic link holds. */
enum deed_on_names { NAME_CREATE, NAME_MKDIR, NAME_MKFIFO, NAME_UNLINK, NAME_RMDIR, NAME_RENAME, NAME_LINK, NAME_SYMLINK };
struct user *user_names(enum deed_on_names what, const char *name, const char *second);

/* Interrupts what it does by a signal that has a handler: SIGUSR1, SIGINT, SIGTERM or SIGALRM. */
void signal_user(struct user *user, int number);

/* Is it through? */
bool has_done(struct user *user);
/* Waits for it; 0 or the errno of what it did. */
int await(struct user *user);
void kill_user(struct user *user);

#endif
