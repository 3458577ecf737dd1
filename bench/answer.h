/* A DM application that answers each READ event of one file without moving data. */
#ifndef BENCH_ANSWER_H
#define BENCH_ANSWER_H

#include <dmapi.h>
#include <sys/types.h>

struct answerer {
    dm_sessid_t sid;
    int cpu;
    pid_t application;
    void *hanp;
    size_t hlen;
};

/* The file gets a READ region; the application starts, on one processor or (-1) on any. */
void answer_reads(struct answerer *answerer, dm_sessid_t sid, const char *path, int cpu);
/* Both are gone afterwards. */
void answer_no_more(struct answerer *answerer);

#endif
