/* The archive directory; see store.h. */
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "7f/0a1b...": 256 directories keep each one small; the handle in hexadecimal is the name. */
static int object_name(const void *hanp, size_t hlen, char *name, size_t room)
{
    const unsigned char *bytes = hanp;
    unsigned sum = 0;
    for (size_t i = 0; i < hlen; i++)
        sum = sum * 31 + bytes[i];
    int used = snprintf(name, room, "%02x/", sum & 0xff);
    if (used < 0 || (size_t)used + 2 * hlen + 1 > room) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (size_t i = 0; i < hlen; i++)
        snprintf(name + used + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* Makes a rename or an unlink in the object's directory survive a power loss. */
static int sync_directory_of(const struct store *store, const char *name)
{
    char directory[3] = {name[0], name[1], 0};
    int fd = openat(store->dirfd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    int error = errno;
    close(fd);
    errno = error;
    return rc;
}

int store_open(struct store *store, const char *path)
{
    if (strlen(path) >= sizeof store->path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(store->path, path);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return -1;
    store->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return store->dirfd < 0 ? -1 : 0;
}

int store_get(const struct store *store, const void *hanp, size_t hlen)
{
    char name[160];
    if (object_name(hanp, hlen, name, sizeof name) != 0)
        return -1;
    return openat(store->dirfd, name, O_RDONLY | O_CLOEXEC);
}

int store_begin(const struct store *store, const void *hanp, size_t hlen,
                struct store_writer *writer)
{
    if (object_name(hanp, hlen, writer->name, sizeof writer->name) != 0)
        return -1;
    char directory[3] = {writer->name[0], writer->name[1], 0};
    if (mkdirat(store->dirfd, directory, 0700) == 0) {
        if (fsync(store->dirfd) != 0)
            return -1;
    } else if (errno != EEXIST) {
        return -1;
    }
    snprintf(writer->temporary, sizeof writer->temporary, "%s.%ld.tmp", writer->name,
             (long)getpid());
    writer->synced = 0;
    writer->fd = openat(store->dirfd, writer->temporary,
                        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return writer->fd < 0 ? -1 : 0;
}

int store_sync(struct store_writer *writer)
{
    int rc = fsync(writer->fd);
    writer->synced = rc == 0;
    return rc;
}

int store_commit(const struct store *store, struct store_writer *writer)
{
    if ((!writer->synced && fsync(writer->fd) != 0) ||
        renameat(store->dirfd, writer->temporary, store->dirfd, writer->name) != 0) {
        int error = errno;
        store_abandon(store, writer);
        errno = error;
        return -1;
    }
    close(writer->fd);
    writer->fd = -1;
    return sync_directory_of(store, writer->name);
}

void store_abandon(const struct store *store, struct store_writer *writer)
{
    if (writer->fd >= 0) {
        close(writer->fd);
        unlinkat(store->dirfd, writer->temporary, 0);
        writer->fd = -1;
    }
}

int store_remove(const struct store *store, const void *hanp, size_t hlen)
{
    char name[160];
    if (object_name(hanp, hlen, name, sizeof name) != 0)
        return -1;
    if (unlinkat(store->dirfd, name, 0) != 0)
        return errno == ENOENT ? 0 : -1;
    return sync_directory_of(store, name) == 0 ? 1 : -1;
}

int store_has(const struct store *store, const void *hanp, size_t hlen)
{
    char name[160];
    if (object_name(hanp, hlen, name, sizeof name) != 0)
        return -1;
    if (faccessat(store->dirfd, name, F_OK, 0) == 0)
        return 1;
    return errno == ENOENT ? 0 : -1;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The handle that a name stands for; 0: it is no object's. */
static size_t handle_of_name(const char *name, unsigned char *handle, size_t room)
{
    size_t length = strlen(name);
    if (length == 0 || length % 2 != 0 || length / 2 > room)
        return 0;
    for (size_t i = 0; i < length / 2; i++) {
        int high = digit(name[2 * i]), low = digit(name[2 * i + 1]);
        if (high < 0 || low < 0)
            return 0;
        handle[i] = (unsigned char)(high << 4 | low);
    }
    return length / 2;
}

static int walk_directory(const struct store *store, const char *name, store_visit *visit,
                          void *argument)
{
    int fd = openat(store->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    struct dirent *found;
    errno = 0;
    while ((found = readdir(directory)) != NULL) {
        unsigned char handle[64];
        struct stat stat;
        size_t hlen = handle_of_name(found->d_name, handle, sizeof handle);
        if (hlen != 0 && fstatat(fd, found->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(stat.st_mode))
            visit(handle, hlen, (unsigned long long)stat.st_size, argument);
        errno = 0;
    }
    int error = errno;
    closedir(directory);
    errno = error;
    return error == 0 ? 0 : -1;
}

int store_walk(const struct store *store, store_visit *visit, void *argument)
{
    char name[3];
    for (unsigned i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "%02x", i);
        if (walk_directory(store, name, visit, argument) != 0 && errno != ENOENT)
            return -1;
    }
    return 0;
}
