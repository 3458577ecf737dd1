/* What users do with files, measured in one directory. */
#ifndef BENCH_FUSE_FILES_H
#define BENCH_FUSE_FILES_H

#include <limits.h>

#include "measure.h"

/* A directory that is measured, and what the present operation needs in it. */
struct place {
    const char *name, *path;
    char file[PATH_MAX];
    int fd;
    unsigned step;
};

struct operation {
    const char *what;
    unsigned count, batch;
    void (*prepare)(struct place *place);
    int (*step)(void *place);
    void (*finish)(struct place *place);
};

extern const struct operation file_operations[];
extern const unsigned file_operation_count;

/* Makes the archive that the untar operation unpacks; `archive` must stay. */
void make_archive(const char *directory, char *archive);

struct series measure_operation(const struct operation *operation, struct place *place);

#endif
