/* The kernel as it was before: the parameter of FUSE over io_uring, a mount that may be stuck. */
#ifndef BENCH_FUSE_URING_GUARD_H
#define BENCH_FUSE_URING_GUARD_H

/* Runs `body` in a child with FUSE over io_uring enabled, for GUARD_S seconds at most; then puts
 * everything back, also after a failure or a signal. An exit status. `mountpoint`: a real path. */
int guard(void (*body)(void), const char *mountpoint);
/* Ends the connection of a FUSE mount, if it is one: all that wait for it get an error. */
void guard_abort(const char *mountpoint);

#define GUARD_S 400

#endif
