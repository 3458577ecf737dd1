/* Moving the data of a file between its file system and the archive; see common.h. */
#include "common.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool all_zero(const unsigned char *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static int write_fully(int fd, const unsigned char *bytes, size_t length, off_t offset)
{
    while (length > 0) {
        ssize_t done = pwrite(fd, bytes, length, offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        bytes += done;
        offset += done;
        length -= (size_t)done;
    }
    return 0;
}

/* A short count is an error here: the sizes are known. */
static int read_fully(int fd, unsigned char *bytes, size_t length, off_t offset)
{
    while (length > 0) {
        ssize_t done = pread(fd, bytes, length, offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            if (done == 0)
                errno = EIO;
            return -1;
        }
        bytes += done;
        offset += done;
        length -= (size_t)done;
    }
    return 0;
}

static int read_invisibly(const struct hsm_context *hsm, struct hsm_handle handle,
                          dm_token_t token, uint64_t offset, unsigned char *bytes, size_t length)
{
    size_t done = 0;
    while (done < length) {
        dm_ssize_t count = dm_read_invis(hsm->sid, handle.hanp, handle.hlen, token,
                                         (dm_off_t)(offset + done), length - done, bytes + done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            if (count == 0)
                errno = EBUSY; /* shorter than its size: somebody truncates it */
            return -1;
        }
        done += (size_t)count;
    }
    return 0;
}

static int write_invisibly(const struct hsm_context *hsm, struct hsm_handle handle,
                           dm_token_t token, uint64_t offset, unsigned char *bytes, size_t length)
{
    size_t done = 0;
    while (done < length) {
        dm_ssize_t count = dm_write_invis(hsm->sid, handle.hanp, handle.hlen, token, 0,
                                          (dm_off_t)(offset + done), length - done, bytes + done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            if (count == 0)
                errno = EIO;
            return -1;
        }
        done += (size_t)count;
    }
    return 0;
}

/* A SHA-256 in the making, and a buffer of one chunk. */
struct mover {
    EVP_MD_CTX *digest;
    unsigned char *chunk, *local;
    size_t chunk_bytes;
};

static int mover_open(struct mover *mover, uint64_t rate)
{
    mover->chunk_bytes = HSM_CHUNK_BYTES;
    /* Eight steps a second keep a slow transfer smooth. */
    while (rate != 0 && mover->chunk_bytes > 65536 && mover->chunk_bytes > rate / 8)
        mover->chunk_bytes /= 2;
    mover->chunk = malloc(mover->chunk_bytes);
    mover->local = malloc(mover->chunk_bytes);
    mover->digest = EVP_MD_CTX_new();
    if (mover->chunk == NULL || mover->local == NULL || mover->digest == NULL ||
        EVP_DigestInit_ex(mover->digest, EVP_sha256(), NULL) != 1) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

static void mover_close(struct mover *mover)
{
    int error = errno;
    free(mover->chunk);
    free(mover->local);
    EVP_MD_CTX_free(mover->digest);
    errno = error;
}

static size_t chunk_at(const struct mover *mover, uint64_t offset, uint64_t size)
{
    uint64_t left = size - offset;
    return left < mover->chunk_bytes ? (size_t)left : mover->chunk_bytes;
}

int hsm_copy_out(const struct hsm_context *hsm, const struct hsm_file *file,
                 struct store_writer *writer, unsigned char sum[HSM_SUM_BYTES],
                 struct hsm_progress *progress)
{
    struct mover mover;
    uint64_t size = (uint64_t)file->stat.dt_size;
    int rc = mover_open(&mover, 0);
    /* The object has its full size at once, and holes where the file has zeros. */
    if (rc == 0 && writer != NULL)
        rc = ftruncate(writer->fd, (off_t)size);
    for (uint64_t offset = 0; rc == 0 && offset < size; offset += mover.chunk_bytes) {
        size_t length = chunk_at(&mover, offset, size);
        rc = read_invisibly(hsm, file->handle, DM_NO_TOKEN, offset, mover.chunk, length);
        if (rc == 0)
            EVP_DigestUpdate(mover.digest, mover.chunk, length);
        if (rc == 0 && writer != NULL && !all_zero(mover.chunk, length))
            rc = write_fully(writer->fd, mover.chunk, length, (off_t)offset);
        hsm_progress_add(progress, length);
    }
    if (rc == 0)
        EVP_DigestFinal_ex(mover.digest, sum, NULL);
    mover_close(&mover);
    return rc;
}

/* Sleeps until `done` bytes are allowed by the rate. */
static void keep_rate(uint64_t rate, uint64_t done, double started_s)
{
    if (rate == 0)
        return;
    double ahead_s = (double)done / (double)rate - (hsm_seconds_now() - started_s);
    if (ahead_s > 0) {
        struct timespec pause = {(time_t)ahead_s, (long)((ahead_s - (double)(time_t)ahead_s) * 1e9)};
        nanosleep(&pause, NULL);
    }
}

/* Fills the file from the object and checks the sum. 0, or an errno after a log line. */
static int fill(const struct hsm_context *hsm, const struct hsm_file *file, int object,
                dm_token_t token, struct hsm_progress *progress)
{
    struct mover mover;
    struct hsm_handle handle = file->handle;
    uint64_t size = file->entry.size;
    double started_s = hsm_seconds_now();
    const char *failed = "out of memory";
    int rc = mover_open(&mover, hsm->rate);
    for (uint64_t offset = 0; rc == 0 && offset < size; offset += mover.chunk_bytes) {
        size_t length = chunk_at(&mover, offset, size);
        failed = "reading the object in the archive";
        rc = read_fully(object, mover.chunk, length, (off_t)offset);
        if (rc != 0)
            break;
        EVP_DigestUpdate(mover.digest, mover.chunk, length);
        /* Zeros are written only where the file has something else, so that holes stay holes. */
        bool zero = all_zero(mover.chunk, length);
        if (zero) {
            failed = "reading the file";
            rc = read_invisibly(hsm, handle, token, offset, mover.local, length);
            zero = rc == 0 && all_zero(mover.local, length);
        }
        if (rc == 0 && !zero) {
            failed = "writing the file";
            rc = write_invisibly(hsm, handle, token, offset, mover.chunk, length);
        }
        hsm_progress_add(progress, length);
        keep_rate(hsm->rate, offset + length, started_s);
    }
    unsigned char sum[HSM_SUM_BYTES];
    if (rc == 0) {
        failed = "the checksum is not that of the migrated data";
        EVP_DigestFinal_ex(mover.digest, sum, NULL);
        if (memcmp(sum, file->entry.sum, sizeof sum) != 0) {
            errno = EIO;
            rc = -1;
        }
    }
    mover_close(&mover);
    if (rc == 0)
        return 0;
    int error = errno;
    hsm_log("recall of inode %llu failed: %s: %s; the file stays migrated", hsm_inode(handle),
            failed, strerror(error));
    return error;
}

/* 1 every byte has a block here, 0 there is a hole, -1 errno. */
static int fully_allocated(const struct hsm_context *hsm, const struct hsm_file *file,
                           dm_token_t token)
{
    dm_off_t offset = 0;
    uint64_t resident = 0;
    int more;
    do {
        dm_extent_t extents[64];
        u_int count = 0;
        more = dm_get_allocinfo(hsm->sid, file->handle.hanp, file->handle.hlen, token, &offset, 64,
                                extents, &count);
        if (more < 0)
            return -1;
        for (u_int i = 0; i < count; i++)
            if (extents[i].ex_type == DM_EXTENT_RES)
                resident += extents[i].ex_length;
    } while (more == 1);
    return resident >= (uint64_t)file->stat.dt_size;
}

/*
 * A crash between "READ region set" and "data freed" leaves a whole file that looks migrated, and a mapping
 * made earlier may have changed it since. Its data is then newer than the archive's and must win.
 */
static bool local_data_is_newer(const struct hsm_context *hsm, const struct hsm_file *file,
                                dm_token_t token)
{
    bool touched = (uint64_t)file->stat.dt_size != file->entry.size ||
                   (int64_t)file->stat.dt_mtime != file->entry.mtime_s;
    return touched && fully_allocated(hsm, file, token) == 1;
}

/* The region is gone for good before the object is: a stub without an object would be lost. */
int hsm_forget_copy(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token)
{
    if (hsm_set_region(hsm, handle, token, DM_REGION_NOEVENT) != 0 ||
        hsm_remove_entry(hsm, handle, token) != 0 ||
        store_remove(&hsm->store, handle.hanp, handle.hlen) < 0) {
        int error = errno;
        hsm_log("inode %llu: cannot mark as changed: %s", hsm_inode(handle), strerror(error));
        return error;
    }
    return 0;
}

int hsm_recall(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
               struct hsm_progress *progress)
{
    struct hsm_file file;
    memset(&file, 0, sizeof file);
    file.handle = handle;
    if (hsm_file_read(hsm, handle, token, &file) != 0) {
        int error = errno;
        hsm_log("recall of inode %llu failed: its state cannot be read: %s", hsm_inode(handle),
                strerror(error));
        return error;
    }
    if (file.state != HSM_MIGRATED)
        return 0;
    if (!file.has_entry) {
        hsm_log("recall of inode %llu failed: it has no catalogue entry; was it migrated by another HSM?",
                hsm_inode(handle));
        return EIO;
    }
    if (local_data_is_newer(hsm, &file, token)) {
        hsm_log("inode %llu is whole and newer than its copy", hsm_inode(handle));
        return hsm_forget_copy(hsm, handle, token);
    }
    int object = store_get(&hsm->store, handle.hanp, handle.hlen);
    struct stat status;
    if (object < 0 || fstat(object, &status) != 0 || (uint64_t)status.st_size != file.entry.size) {
        hsm_log("recall of inode %llu failed: its object in %s is %s; restore the archive and read again",
                hsm_inode(handle), hsm->store.path,
                object < 0 ? strerror(errno) : "of another size");
        if (object >= 0)
            close(object);
        return EIO;
    }
    int error = fill(hsm, &file, object, token, progress);
    close(object);
    if (error != 0) {
        /* Nothing half recalled stays: the space is given back, and the region still guards the file. */
        dm_punch_hole(hsm->sid, handle.hanp, handle.hlen, token, 0, 0);
        return error;
    }
    /*
     * The data is on disk before the region goes: nobody asks for it again afterwards. A region that comes back by
     * a power loss costs one more recall.
     */
    if (dm_sync_by_handle(hsm->sid, handle.hanp, handle.hlen, token) != 0 ||
        hsm_set_region_later(hsm, handle, token, DM_REGION_NOEVENT) != 0) {
        error = errno;
        hsm_log("recall of inode %llu failed: the end of it: %s", hsm_inode(handle),
                strerror(error));
        return error;
    }
    return 0;
}
