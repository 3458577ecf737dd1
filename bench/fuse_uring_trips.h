/* Round trips over a ring and over /dev/fuse, with servers that answer at once. */
#ifndef BENCH_FUSE_URING_TRIPS_H
#define BENCH_FUSE_URING_TRIPS_H

/* Mounts on the directory, again and again; prints rows. */
void round_trips(const char *directory);

#endif
