/* What users do with files, measured in one directory; see fuse_files.h. */
#include "fuse_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1U << 20)
#define LARGE_MIB 64
#define ENTRIES 10000
#define TREE_DIRECTORIES 50
#define TREE_FILES 40

static char bytes[MIB];
static const char *archive_path;

static void path_in(char *path, const struct place *place, const char *name)
{
    must(snprintf(path, PATH_MAX, "%s/%s", place->path, name) < PATH_MAX, "path");
}

/* Makes `file` of so many bytes and opens it; all of it is in the page cache then. */
static void make_file(struct place *place, size_t size)
{
    path_in(place->file, place, "file");
    int fd = open(place->file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0, place->file);
    for (size_t at = 0; at < size; at += MIB) {
        size_t left = size - at < MIB ? size - at : MIB;
        must(pwrite(fd, bytes, left, (off_t)at) == (ssize_t)left, place->file);
    }
    /* Else its writing back would be measured somewhere. */
    must(fsync(fd) == 0 && close(fd) == 0, place->file);
    place->fd = open(place->file, O_RDWR);
    must(place->fd >= 0, place->file);
    for (size_t at = 0; at < size; at += MIB)
        must(pread(place->fd, bytes, MIB, (off_t)at) > 0, place->file);
}

static void make_small(struct place *place) { make_file(place, 4096); }
static void make_large(struct place *place) { make_file(place, (size_t)LARGE_MIB * MIB); }

static void drop_file(struct place *place)
{
    close(place->fd);
    must(unlink(place->file) == 0, place->file);
}

static int read_small(void *argument)
{
    struct place *place = argument;
    return pread(place->fd, bytes, 4096, 0) == 4096 ? 0 : -1;
}

static int write_small(void *argument)
{
    struct place *place = argument;
    return pwrite(place->fd, bytes, 4096, 0) == 4096 ? 0 : -1;
}

static int read_large(void *argument)
{
    struct place *place = argument;
    off_t at = (off_t)(place->step++ % LARGE_MIB) * MIB;
    return pread(place->fd, bytes, MIB, at) == MIB ? 0 : -1;
}

static int write_large(void *argument)
{
    struct place *place = argument;
    off_t at = (off_t)(place->step++ % LARGE_MIB) * MIB;
    return pwrite(place->fd, bytes, MIB, at) == MIB ? 0 : -1;
}

/* The file is not open meanwhile. */
static void make_closed(struct place *place)
{
    make_small(place);
    close(place->fd);
    place->fd = -1;
}

static void unlink_file(struct place *place)
{
    must(unlink(place->file) == 0, place->file);
}

static int open_and_close(void *argument)
{
    struct place *place = argument;
    int fd = open(place->file, O_RDONLY);
    return fd >= 0 ? close(fd) : -1;
}

static int stat_file(void *argument)
{
    struct place *place = argument;
    struct stat found;
    return stat(place->file, &found);
}

static void name_new(struct place *place)
{
    path_in(place->file, place, "new");
}

static int create_and_unlink(void *argument)
{
    struct place *place = argument;
    int fd = open(place->file, O_WRONLY | O_CREAT | O_EXCL, 0600);
    return fd >= 0 && close(fd) == 0 ? unlink(place->file) : -1;
}

static void remove_tree(struct place *place)
{
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", place->file);
    must(system(command) == 0, command);
}

static void make_entries(struct place *place)
{
    path_in(place->file, place, "directory");
    must(mkdir(place->file, 0700) == 0, place->file);
    int dir = open(place->file, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < ENTRIES; i++) {
        char name[32];
        snprintf(name, sizeof name, "entry%d", i);
        int fd = openat(dir, name, O_WRONLY | O_CREAT, 0600);
        must(fd >= 0 && close(fd) == 0, name);
    }
    close(dir);
}

static int list(const char *path, int with_stat)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    struct stat found;
    int count = 0;
    if (dir == NULL)
        return -1;
    while ((entry = readdir(dir)) != NULL) {
        count++;
        if (with_stat && fstatat(dirfd(dir), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0)
            return -1;
    }
    closedir(dir);
    return count == ENTRIES + 2 ? 0 : -1;
}

static int list_names(void *argument) { return list(((struct place *)argument)->file, 0); }
static int list_and_stat(void *argument) { return list(((struct place *)argument)->file, 1); }

void make_archive(const char *directory, char *archive)
{
    char command[2 * PATH_MAX + 512];
    snprintf(archive, PATH_MAX, "%s/tree.tar", directory);
    /* 2000 files of 0 to 20 KiB, as in a source tree, in 50 directories. */
    snprintf(command, sizeof command,
             "cd '%s' && mkdir tree && for d in $(seq %d); do mkdir tree/d$d; "
             "for f in $(seq %d); do head -c $((d * f * 10)) /dev/zero >tree/d$d/f$f; done; done && "
             "tar cf tree.tar tree && rm -r tree",
             directory, TREE_DIRECTORIES, TREE_FILES);
    must(system(command) == 0, "making an archive");
    archive_path = archive;
}

static void name_tree(struct place *place)
{
    path_in(place->file, place, "unpacked");
    must(mkdir(place->file, 0700) == 0, place->file);
}

/* Each time into a directory of its own. */
static int unpack(void *argument)
{
    struct place *place = argument;
    char command[2 * PATH_MAX + 64];
    unsigned number = place->step++;
    snprintf(command, sizeof command, "mkdir '%s/%u' && tar xf '%s' -C '%s/%u'", place->file,
             number, archive_path, place->file, number);
    return system(command);
}

const struct operation file_operations[] = {
    {"read of 4 KiB, cached", 1000, 100, make_small, read_small, drop_file},
    {"write of 4 KiB", 1000, 20, make_small, write_small, drop_file},
    {"read of 1 MiB, cached", 500, 1, make_large, read_large, drop_file},
    {"write of 1 MiB", 500, 1, make_large, write_large, drop_file},
    {"open + close", 5000, 1, make_closed, open_and_close, unlink_file},
    {"create + close + unlink", 3000, 1, name_new, create_and_unlink, NULL},
    {"stat", 1000, 100, make_closed, stat_file, unlink_file},
    {"readdir of 10,000", 10, 1, make_entries, list_names, remove_tree},
    {"readdir of 10,000 + stat of each", 10, 1, make_entries, list_and_stat, remove_tree},
    {"untar of 2000 files", 4, 1, name_tree, unpack, remove_tree},
};
const unsigned file_operation_count = sizeof file_operations / sizeof file_operations[0];

struct series measure_operation(const struct operation *operation, struct place *place)
{
    place->step = 0;
    operation->prepare(place);
    struct series series = measure_batch(operation->count, operation->batch, operation->step, place,
                                         operation->what);
    if (operation->finish != NULL)
        operation->finish(place);
    return series;
}
