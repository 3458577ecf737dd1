/*
 * Purpose: the least that a FUSE server of a directory costs: what libdmapi's FUSE source is measured against.
 * Usage:   fuse_bare [-c] BACKING MOUNTPOINT
 *          serves BACKING until MOUNTPOINT is unmounted; data are passed through, with -c they go through
 *          the FUSE page cache
 * Prints:  nothing; an error ends it
 *
 * One thread, no DMAPI, no event, no state. Everything is done as root: for benchmarks only.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fuse_raw.h"
#include "measure.h"

#define BUCKETS 65536
#define VALID_S 3600
#define DIRECTORY_BYTES 65536

/* An object that the kernel knows; its address is its number, but the root's is 1. */
struct node {
    struct node *next;
    ino_t inode;
    uint64_t lookups;
    int path;         /* O_PATH */
    int file;         /* while it is open: one descriptor for all opens */
    int opens, backing;
};

static struct node root = {.file = -1};
static struct node *nodes[BUCKETS];
static int channel, cached;
static struct request *request;
static char data[FUSE_RAW_MAX_WRITE];

static struct node *node_of(uint64_t id)
{
    return id == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)id;
}

static struct node **bucket(ino_t inode)
{
    return &nodes[inode * 0x9e3779b97f4a7c15ULL >> 48];
}

static const char *proc_path(int fd)
{
    static char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

static void done(int result)
{
    fuse_raw_refuse(channel, request, result == 0 ? 0 : errno);
}

static void reply(const void *body, size_t bytes)
{
    fuse_raw_reply(channel, request, body, bytes);
}

static void fill_attr(struct fuse_attr *out, const struct stat *found)
{
    out->ino = found->st_ino;
    out->size = (uint64_t)found->st_size;
    out->blocks = (uint64_t)found->st_blocks;
    out->atime = (uint64_t)found->st_atim.tv_sec;
    out->mtime = (uint64_t)found->st_mtim.tv_sec;
    out->ctime = (uint64_t)found->st_ctim.tv_sec;
    out->atimensec = (uint32_t)found->st_atim.tv_nsec;
    out->mtimensec = (uint32_t)found->st_mtim.tv_nsec;
    out->ctimensec = (uint32_t)found->st_ctim.tv_nsec;
    out->mode = found->st_mode;
    out->nlink = (uint32_t)found->st_nlink;
    out->uid = found->st_uid;
    out->gid = found->st_gid;
    out->blksize = (uint32_t)found->st_blksize;
}

/* Finds or makes the node of a name and counts a lookup; 0 or -1 with errno. */
static int look_up(struct node *parent, const char *name, struct fuse_entry_out *out)
{
    struct stat found;
    int path = openat(parent->path, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (path < 0)
        return -1;
    must(fstat(path, &found) == 0, "fstat");
    struct node **head = bucket(found.st_ino), *node = *head;
    while (node != NULL && node->inode != found.st_ino)
        node = node->next;
    if (node != NULL) {
        close(path);
    } else {
        node = calloc(1, sizeof *node);
        must(node != NULL, "memory");
        *node = (struct node){.next = *head, .inode = found.st_ino, .path = path, .file = -1};
        *head = node;
    }
    node->lookups++;
    memset(out, 0, sizeof *out);
    out->nodeid = (uintptr_t)node;
    out->entry_valid = out->attr_valid = VALID_S;
    fill_attr(&out->attr, &found);
    return 0;
}

static void forget(uint64_t id, uint64_t count)
{
    struct node *node = node_of(id), **link;
    if (node == &root || (node->lookups -= count) > 0)
        return;
    for (link = bucket(node->inode); *link != node; link = &(*link)->next)
        ;
    *link = node->next;
    close(node->path);
    free(node);
}

static void entry(struct node *parent, const char *name, int made)
{
    struct fuse_entry_out out;
    if (made != 0 || look_up(parent, name, &out) != 0)
        done(-1);
    else
        reply(&out, sizeof out);
}

static void attributes(struct node *node)
{
    struct stat found;
    struct fuse_attr_out out = {.attr_valid = VALID_S};
    if (fstat(node->path, &found) != 0) {
        done(-1);
        return;
    }
    fill_attr(&out.attr, &found);
    reply(&out, sizeof out);
}

static struct timespec time_of(uint32_t valid, uint32_t set, uint32_t now, uint64_t s, uint32_t ns)
{
    if (!(valid & set))
        return (struct timespec){0, UTIME_OMIT};
    if (valid & now)
        return (struct timespec){0, UTIME_NOW};
    return (struct timespec){(time_t)s, ns};
}

static void set_attributes(struct node *node, const struct fuse_setattr_in *in)
{
    uint32_t valid = in->valid;
    int failed = 0;
    if (valid & FATTR_MODE)
        failed |= chmod(proc_path(node->path), in->mode & 07777);
    if (valid & (FATTR_UID | FATTR_GID))
        failed |= fchownat(node->path, "", valid & FATTR_UID ? in->uid : (uid_t)-1,
                           valid & FATTR_GID ? in->gid : (gid_t)-1, AT_EMPTY_PATH);
    if (valid & FATTR_SIZE)
        failed |= truncate(proc_path(node->path), (off_t)in->size);
    if (valid & (FATTR_ATIME | FATTR_MTIME)) {
        struct timespec times[2] = {
            time_of(valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
            time_of(valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec)};
        failed |= utimensat(AT_FDCWD, proc_path(node->path), times, 0);
    }
    if (failed)
        done(-1);
    else
        attributes(node);
}

/* Counts an open; the first one opens the file. 0 or -1 with errno. */
static int count_open(struct node *node, uint32_t flags, struct fuse_open_out *out)
{
    *out = (struct fuse_open_out){.open_flags = FOPEN_KEEP_CACHE};
    if (node->opens == 0) {
        node->file = open(proc_path(node->path), O_RDWR | O_CLOEXEC);
        if (node->file < 0)
            return -1;
        if (!cached) {
            node->backing = fuse_raw_backing_open(channel, node->file);
            must(node->backing > 0, "BACKING_OPEN");
        }
    }
    if (flags & O_TRUNC && ftruncate(node->file, 0) != 0)
        return -1;
    node->opens++;
    if (!cached) {
        out->open_flags = FOPEN_PASSTHROUGH;
        /* The number lies where the installed header has padding. */
        memcpy((char *)out + 12, &node->backing, 4);
    }
    return 0;
}

static void release(struct node *node)
{
    if (--node->opens == 0) {
        if (!cached)
            fuse_raw_backing_close(channel, node->backing);
        close(node->file);
        node->file = -1;
    }
    done(0);
}

static void open_file(struct node *node, const struct fuse_open_in *in)
{
    struct fuse_open_out out;
    if (count_open(node, in->flags, &out) != 0)
        done(-1);
    else
        reply(&out, sizeof out);
}

static void create(struct node *parent, const struct fuse_create_in *in)
{
    const char *name = (const char *)(in + 1);
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out;
    int fd = openat(parent->path, name, O_CREAT | O_RDWR | O_CLOEXEC | (int)(in->flags & O_EXCL),
                    in->mode & ~in->umask & 07777);
    if (fd < 0 || look_up(parent, name, &out.entry) != 0 ||
        count_open(node_of(out.entry.nodeid), in->flags, &out.open) != 0)
        done(-1);
    else
        reply(&out, sizeof out);
    close(fd);
}

static void read_file(struct node *node, const struct fuse_read_in *in)
{
    ssize_t bytes = pread(node->file, data, in->size, (off_t)in->offset);
    if (bytes < 0)
        done(-1);
    else
        reply(data, (size_t)bytes);
}

static void write_file(struct node *node, const struct fuse_write_in *in)
{
    ssize_t bytes = pwrite(node->file, in + 1, in->size, (off_t)in->offset);
    struct fuse_write_out out = {.size = (uint32_t)bytes};
    if (bytes < 0)
        done(-1);
    else
        reply(&out, sizeof out);
}

static void open_directory(struct node *node)
{
    int fd = openat(node->path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct fuse_open_out out = {.fh = (uint64_t)fd,
                                .open_flags = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR};
    if (fd < 0)
        done(-1);
    else
        reply(&out, sizeof out);
}

struct linux_dirent64 {
    uint64_t inode;
    int64_t next;
    uint16_t bytes;
    uint8_t kind;
    char name[];
};

/* Appends an entry at `out`, whose rest is `room`; the bytes it took, 0 if it does not fit. */
static size_t add_entry(struct node *parent, const struct linux_dirent64 *from, char *out,
                        size_t room, int plus)
{
    size_t name_bytes = strlen(from->name), head = plus ? sizeof(struct fuse_entry_out) : 0;
    size_t bytes = FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + name_bytes);
    int is_dot = strcmp(from->name, ".") == 0 || strcmp(from->name, "..") == 0;
    struct fuse_dirent dirent = {.ino = from->inode,
                                 .off = (uint64_t)from->next,
                                 .namelen = (uint32_t)name_bytes,
                                 .type = from->kind};
    if (bytes > room)
        return 0;
    memset(out, 0, bytes);
    if (plus && !is_dot) {
        struct fuse_entry_out found;
        if (look_up(parent, from->name, &found) == 0)
            memcpy(out, &found, sizeof found);
    }
    memcpy(out + head, &dirent, FUSE_NAME_OFFSET);
    memcpy(out + head + FUSE_NAME_OFFSET, from->name, name_bytes);
    return bytes;
}

static void read_directory(struct node *node, const struct fuse_read_in *in, int plus)
{
    _Alignas(8) static char entries[DIRECTORY_BYTES];
    int fd = (int)in->fh;
    size_t used = 0, size = in->size < sizeof data ? in->size : sizeof data;
    size_t wanted = size < sizeof entries ? size : sizeof entries;
    /* Entries for which there is no room come again. */
    if (lseek(fd, (off_t)in->offset, SEEK_SET) < 0) {
        done(-1);
        return;
    }
    long bytes = syscall(SYS_getdents64, fd, entries, wanted);
    if (bytes < 0) {
        done(-1);
        return;
    }
    for (long at = 0; at < bytes;) {
        const struct linux_dirent64 *from = (const void *)(entries + at);
        size_t took = add_entry(node, from, data + used, size - used, plus);
        if (took == 0)
            break;
        used += took;
        at += from->bytes;
    }
    reply(data, used);
}

static void file_system(void)
{
    struct statvfs found;
    struct fuse_statfs_out out = {0};
    must(fstatvfs(root.path, &found) == 0, "fstatvfs");
    out.st.blocks = found.f_blocks;
    out.st.bfree = found.f_bfree;
    out.st.bavail = found.f_bavail;
    out.st.files = found.f_files;
    out.st.ffree = found.f_ffree;
    out.st.bsize = (uint32_t)found.f_bsize;
    out.st.frsize = (uint32_t)found.f_frsize;
    out.st.namelen = (uint32_t)found.f_namemax;
    reply(&out, sizeof out);
}

static void get_xattr(struct node *node, const struct fuse_getxattr_in *in)
{
    size_t size = in->size < sizeof data ? in->size : sizeof data;
    ssize_t bytes = getxattr(proc_path(node->path), (const char *)(in + 1), data, size);
    struct fuse_getxattr_out out = {.size = (uint32_t)bytes};
    if (bytes < 0)
        done(-1);
    else if (in->size == 0)
        reply(&out, sizeof out);
    else
        reply(data, (size_t)bytes);
}

static void read_link(struct node *node)
{
    ssize_t bytes = readlinkat(node->path, "", data, PATH_MAX);
    if (bytes < 0)
        done(-1);
    else
        reply(data, (size_t)bytes);
}

static void rename_entry(struct node *parent, uint64_t new_parent, uint32_t flags, const char *name)
{
    const char *new_name = name + strlen(name) + 1;
    done(renameat2(parent->path, name, node_of(new_parent)->path, new_name, flags));
}

/* What makes, moves and removes names. 0: it is something else. */
static int serve_names(struct node *node, const char *body)
{
    const char *name;
    switch (request->header.opcode) {
    case FUSE_LOOKUP:
        entry(node, body, 0);
        return 1;
    case FUSE_MKDIR: {
        const struct fuse_mkdir_in *in = (const void *)body;
        name = (const char *)(in + 1);
        entry(node, name, mkdirat(node->path, name, in->mode & ~in->umask));
        return 1;
    }
    case FUSE_MKNOD: {
        const struct fuse_mknod_in *in = (const void *)body;
        name = (const char *)(in + 1);
        entry(node, name, mknodat(node->path, name, in->mode & ~in->umask, in->rdev));
        return 1;
    }
    case FUSE_SYMLINK:
        entry(node, body, symlinkat(body + strlen(body) + 1, node->path, body));
        return 1;
    case FUSE_LINK: {
        const struct fuse_link_in *in = (const void *)body;
        name = (const char *)(in + 1);
        entry(node, name,
              linkat(AT_FDCWD, proc_path(node_of(in->oldnodeid)->path), node->path, name,
                     AT_SYMLINK_FOLLOW));
        return 1;
    }
    case FUSE_UNLINK:
        done(unlinkat(node->path, body, 0));
        return 1;
    case FUSE_RMDIR:
        done(unlinkat(node->path, body, AT_REMOVEDIR));
        return 1;
    case FUSE_RENAME: {
        const struct fuse_rename_in *in = (const void *)body;
        rename_entry(node, in->newdir, 0, (const char *)(in + 1));
        return 1;
    }
    case FUSE_RENAME2: {
        const struct fuse_rename2_in *in = (const void *)body;
        rename_entry(node, in->newdir, in->flags, (const char *)(in + 1));
        return 1;
    }
    case FUSE_CREATE:
        create(node, (const void *)body);
        return 1;
    default:
        return 0;
    }
}

static void forget_many(const struct fuse_batch_forget_in *in)
{
    const struct fuse_forget_one *all = (const void *)(in + 1);
    for (uint32_t i = 0; i < in->count; i++)
        forget(all[i].nodeid, all[i].nlookup);
}

static void allocate(struct node *node, const struct fuse_fallocate_in *in)
{
    done(fallocate(node->file, (int)in->mode, (off_t)in->offset, (off_t)in->length));
}

static void seek(struct node *node, const struct fuse_lseek_in *in)
{
    off_t at = lseek(node->file, (off_t)in->offset, (int)in->whence);
    struct fuse_lseek_out out = {.offset = (uint64_t)at};
    if (at < 0)
        done(-1);
    else
        reply(&out, sizeof out);
}

static void serve(uint64_t init_flags)
{
    struct node *node = node_of(request->header.nodeid);
    const void *body = request->body;
    if (serve_names(node, body))
        return;
    switch (request->header.opcode) {
    case FUSE_INIT: fuse_raw_init(channel, request, init_flags); break;
    case FUSE_FORGET: forget(request->header.nodeid, *(const uint64_t *)body); break;
    case FUSE_BATCH_FORGET: forget_many(body); break;
    case FUSE_GETATTR: attributes(node); break;
    case FUSE_SETATTR: set_attributes(node, body); break;
    case FUSE_READLINK: read_link(node); break;
    case FUSE_OPEN: open_file(node, body); break;
    case FUSE_RELEASE: release(node); break;
    case FUSE_READ: read_file(node, body); break;
    case FUSE_WRITE: write_file(node, body); break;
    case FUSE_FSYNC: done(fsync(node->file)); break;
    case FUSE_FALLOCATE: allocate(node, body); break;
    case FUSE_LSEEK: seek(node, body); break;
    case FUSE_OPENDIR: open_directory(node); break;
    case FUSE_READDIR: read_directory(node, body, 0); break;
    case FUSE_READDIRPLUS: read_directory(node, body, 1); break;
    case FUSE_RELEASEDIR: done(close((int)((const struct fuse_release_in *)body)->fh)); break;
    case FUSE_STATFS: file_system(); break;
    case FUSE_GETXATTR: get_xattr(node, body); break;
    case FUSE_INTERRUPT: break;
    default: fuse_raw_refuse(channel, request, ENOSYS);
    }
}

int main(int argc, char **argv)
{
    uint64_t flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |
                     FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |
                     FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_POSIX_ACL |
                     FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA |
                     FUSE_PASSTHROUGH;
    /* Each object that the kernel knows keeps a descriptor. */
    struct rlimit files;
    cached = argc > 1 && strcmp(argv[1], "-c") == 0;
    if (argc != 3 + cached) {
        fprintf(stderr, "usage: fuse_bare [-c] BACKING MOUNTPOINT\n");
        return 2;
    }
    must(getrlimit(RLIMIT_NOFILE, &files) == 0, "RLIMIT_NOFILE");
    files.rlim_cur = files.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &files) == 0, "RLIMIT_NOFILE");
    umask(0);
    root.path = open(argv[1 + cached], O_PATH | O_DIRECTORY | O_CLOEXEC);
    must(root.path >= 0, argv[1 + cached]);
    request = malloc(FUSE_RAW_BUFFER);
    must(request != NULL, "memory");
    channel = fuse_raw_mount(argv[2 + cached]);
    while (fuse_raw_next(channel, request))
        serve(flags);
    return 0;
}
