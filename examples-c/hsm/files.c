/* The state of a file, and the walk over many; see common.h. */
#include "common.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char magic[4] = {'H', 'S', 'M', '1'};

static dm_attrname_t attribute_name(void)
{
    dm_attrname_t name;
    memset(&name, 0, sizeof name);
    memcpy(name.an_chars, HSM_ATTRIBUTE, strlen(HSM_ATTRIBUTE));
    return name;
}

/* 1 a READ region, 0 none, -1 errno. */
static int has_read_region(const struct hsm_context *hsm, struct hsm_handle handle,
                           dm_token_t token)
{
    u_int count = 0, room = 16;
    for (;;) {
        dm_region_t *regions = calloc(room, sizeof *regions);
        if (regions == NULL)
            return -1;
        int rc = dm_get_region(hsm->sid, handle.hanp, handle.hlen, token, room, regions, &count);
        int found = 0;
        for (u_int i = 0; rc == 0 && i < count; i++)
            found |= (regions[i].rg_flags & DM_REGION_READ) != 0;
        int error = errno;
        free(regions);
        errno = error;
        if (rc == 0)
            return found;
        if (errno != E2BIG || count <= room)
            return -1;
        room = count;
    }
}

/* Reads the entry; `has_entry` false where there is none, or one of another file. 0, or -1 with errno. */
static int read_entry(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
                      struct hsm_file *file)
{
    dm_attrname_t name = attribute_name();
    size_t length = 0;
    file->has_entry = false;
    if (dm_get_dmattr(hsm->sid, handle.hanp, handle.hlen, token, &name, sizeof file->entry,
                      &file->entry, &length) != 0)
        return errno == ENOENT || errno == E2BIG ? 0 : -1;
    file->has_entry = length == sizeof file->entry &&
                      memcmp(file->entry.magic, magic, sizeof magic) == 0 &&
                      file->entry.handle_bytes == handle.hlen &&
                      memcmp(file->entry.handle, handle.hanp, handle.hlen) == 0;
    return 0;
}

int hsm_file_read(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
                  struct hsm_file *file)
{
    memset(&file->stat, 0, sizeof file->stat);
    file->state = HSM_RESIDENT;
    if (dm_get_fileattr(hsm->sid, handle.hanp, handle.hlen, token,
                        DM_AT_STAT | DM_AT_CFLAG | DM_AT_PMANR | DM_AT_PATTR, &file->stat) != 0)
        return -1;
    if (!S_ISREG(file->stat.dt_mode))
        return 0;
    if (read_entry(hsm, handle, token, file) != 0)
        return -1;
    int read_region = has_read_region(hsm, handle, token);
    if (read_region < 0)
        return -1;
    if (read_region)
        file->state = HSM_MIGRATED;
    else if (file->has_entry && (uint64_t)file->stat.dt_size == file->entry.size &&
             (int64_t)file->stat.dt_mtime == file->entry.mtime_s)
        /* A hint, as anybody may set a time: the checksum decides before data is freed. */
        file->state = HSM_PREMIGRATED;
    return 0;
}

int hsm_file_open(const struct hsm_context *hsm, const char *path, struct hsm_file *file)
{
    memset(file, 0, sizeof *file);
    if (dm_path_to_handle((char *)path, &file->handle.hanp, &file->handle.hlen) != 0) {
        file->handle.hanp = NULL;
        return -1;
    }
    struct hsm_handle handle = file->handle;
    int rc = dm_request_right(hsm->sid, handle.hanp, handle.hlen, hsm->looking, 0, DM_RIGHT_SHARED);
    if (rc != 0 && errno == EAGAIN)
        return -1;
    if (rc == 0) {
        rc = hsm_file_read(hsm, handle, hsm->looking, file);
        int error = errno;
        dm_release_right(hsm->sid, handle.hanp, handle.hlen, hsm->looking);
        errno = error;
    }
    if (rc != 0) {
        int error = errno;
        hsm_file_free(file);
        errno = error;
    }
    return rc;
}

void hsm_file_free(struct hsm_file *file)
{
    if (file->handle.hanp != NULL)
        dm_handle_free(file->handle.hanp, file->handle.hlen);
    file->handle.hanp = NULL;
}

const char *hsm_state_name(enum hsm_state state)
{
    switch (state) {
    case HSM_PREMIGRATED:
        return "premigrated";
    case HSM_MIGRATED:
        return "migrated";
    default:
        return "resident";
    }
}

unsigned long long hsm_inode(struct hsm_handle handle)
{
    dm_ino_t inode = 0;
    if (dm_handle_to_ino(handle.hanp, handle.hlen, &inode) != 0)
        return 0;
    return inode;
}

int hsm_set_region(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
                   unsigned flags)
{
    /* From 0 to infinity. */
    dm_region_t region = {.rg_flags = flags};
    dm_boolean_t exact;
    return dm_set_region(hsm->sid, handle.hanp, handle.hlen, token, flags == 0 ? 0 : 1, &region,
                         &exact);
}

int hsm_set_region_later(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
                         unsigned flags)
{
    dm_region_t region = {.rg_flags = flags};
    dm_boolean_t exact;
    return dm_set_region_nosync(hsm->sid, handle.hanp, handle.hlen, token, flags == 0 ? 0 : 1,
                                &region, &exact);
}

int hsm_set_entry(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
                  const struct hsm_entry *entry)
{
    dm_attrname_t name = attribute_name();
    struct hsm_entry full = *entry;
    memcpy(full.magic, magic, sizeof magic);
    if (handle.hlen > sizeof full.handle) {
        errno = E2BIG;
        return -1;
    }
    full.handle_bytes = (uint32_t)handle.hlen;
    memcpy(full.handle, handle.hanp, handle.hlen);
    return dm_set_dmattr_nosync(hsm->sid, handle.hanp, handle.hlen, token, &name, 0, sizeof full,
                                &full);
}

int hsm_remove_entry(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token)
{
    dm_attrname_t name = attribute_name();
    if (dm_remove_dmattr_nosync(hsm->sid, handle.hanp, handle.hlen, token, 0, &name) != 0 &&
        errno != ENOENT)
        return -1;
    return 0;
}

/* nftw() passes nothing through to its callback. */
static hsm_visit *walk_visit;
static void *walk_argument;
static int walk_failures;

static int walk_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type == FTW_F && S_ISREG(status->st_mode)) {
        walk_visit(path, walk_argument);
    } else if (type == FTW_DNR || type == FTW_NS) {
        hsm_log("%s: cannot be read", path);
        walk_failures++;
    }
    return 0;
}

int hsm_walk(char **paths, hsm_visit *visit, void *argument)
{
    walk_visit = visit;
    walk_argument = argument;
    walk_failures = 0;
    for (; *paths != NULL; paths++) {
        if (nftw(*paths, walk_one, 32, FTW_PHYS | FTW_MOUNT) != 0) {
            hsm_log("%s: %s", *paths, strerror(errno));
            walk_failures++;
        }
    }
    return walk_failures;
}
