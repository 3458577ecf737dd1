/*
 * The archive: a directory that holds one object per migrated file, named by the file's handle.
 *
 * A handle is never used again (it carries the inode's generation), so an object belongs to one file
 * for all time and can be found without a catalogue. An object is complete or absent: it is written
 * under a temporary name, synced, renamed, and its directory is synced.
 */
#ifndef HSM_STORE_H
#define HSM_STORE_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

struct store {
    int dirfd;
    char path[PATH_MAX];
};

/* An object that is being written. */
struct store_writer {
    int fd;
    int synced;
    char name[160];
    char temporary[192];
};

/* Opens (and makes, where missing) the archive directory. 0, or -1 with errno. */
int store_open(struct store *store, const char *path);

/* Opens the object of a handle for reading. A descriptor, or -1 with errno (ENOENT: no such object). */
int store_get(const struct store *store, const void *hanp, size_t hlen);

/*
 * Begins a new object; store_commit() makes it the object of the handle, store_abandon() drops it.
 * store_sync() before store_commit() is not needed, but does the slow part of it.
 */
int store_begin(const struct store *store, const void *hanp, size_t hlen,
                struct store_writer *writer);
int store_sync(struct store_writer *writer);
int store_commit(const struct store *store, struct store_writer *writer);
void store_abandon(const struct store *store, struct store_writer *writer);

/* Is there an object of the handle? 1, 0, or -1 with errno. */
int store_has(const struct store *store, const void *hanp, size_t hlen);

/* Calls `visit` for each object with its handle and size, in no order. 0, or -1 with errno. */
typedef void store_visit(const unsigned char *hanp, size_t hlen, unsigned long long bytes, void *argument);
int store_walk(const struct store *store, store_visit *visit, void *argument);

/* Removes the object of a handle. 1 removed, 0 there was none, -1 with errno. */
int store_remove(const struct store *store, const void *hanp, size_t hlen);

#endif
