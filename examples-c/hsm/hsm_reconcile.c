/*
 * Purpose: compares the archive with file systems: objects that no file needs, stubs whose object is gone.
 * Build:   cc -std=c11 -D_GNU_SOURCE -o hsm_reconcile hsm_reconcile.c output.c sessions.c files.c data.c store.c \
 *              -ldmapi -lcrypto
 * Run:     hsm_reconcile --store /archive /data
 * Prints:  stale     inode 1234, 64.0 MiB
 *          missing   inode 99, 1.5 MiB: migrated, and the archive has no object
 *          601 files with a copy, 601 objects: 1 stale (64.0 MiB), 1 missing, 0 busy
 *
 * The file system tells by one bulk scan which files have something in the archive. An object of none of them is
 * asked for once more by its handle, with the file's exclusive right where the file lives, before it is called stale or
 * removed: a migration may have made it since the scan, and a deleted file that is still open may need it.
 * Objects of other file systems than those named are left alone.
 */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SCAN_BYTES (256 * 1024)

/* A file that has something in the archive, as the scan saw it. */
struct known {
    unsigned char handle[32];
    size_t hlen;
};

static struct hsm_context hsm;
static const char *path; /* of the present file system */
static struct hsm_handle fs;
static struct known *known;
static size_t known_count, known_room;
static bool delete_stale;
static unsigned long objects, stale, missing, busy, failed;
static unsigned long long stale_bytes;

static void usage(FILE *out)
{
    fputs("Usage: hsm_reconcile --store DIR [--delete] PATH...\n"
          "Compares the archive DIR with the managed file systems that hold the paths. Tells objects that no file\n"
          "needs (stale) and migrated files whose object is gone (missing).\n"
          "  --delete  removes stale objects, after asking for each file once more\n"
          "Exit status: 0 nothing is missing, 1 something is, or could not be looked at.\n",
          out);
}

static void fail(struct hsm_handle handle, const char *doing)
{
    hsm_log("inode %llu: %s: %s", hsm_inode(handle), doing, strerror(errno));
    failed++;
}

static int by_handle(const void *left, const void *right)
{
    const struct known *a = left, *b = right;
    if (a->hlen != b->hlen)
        return a->hlen < b->hlen ? -1 : 1;
    return memcmp(a->handle, b->handle, a->hlen);
}

static struct known key_of(struct hsm_handle handle)
{
    struct known key;
    memset(&key, 0, sizeof key);
    key.hlen = handle.hlen < sizeof key.handle ? handle.hlen : sizeof key.handle;
    memcpy(key.handle, handle.hanp, key.hlen);
    return key;
}

static void remember(struct hsm_handle handle)
{
    if (known_count == known_room) {
        known_room = known_room == 0 ? 1024 : 2 * known_room;
        known = realloc(known, known_room * sizeof *known);
        if (known == NULL)
            hsm_die("no memory");
    }
    known[known_count++] = key_of(handle);
}

/* The state of a file under a right of ours, which is kept. 0, or -1 with errno; EAGAIN: somebody works on it. */
static int take(struct hsm_handle handle, dm_right_t right, struct hsm_file *file)
{
    if (dm_request_right(hsm.sid, handle.hanp, handle.hlen, hsm.looking, 0, right) != 0)
        return -1;
    if (hsm_file_read(&hsm, handle, hsm.looking, file) == 0)
        return 0;
    int error = errno;
    dm_release_right(hsm.sid, handle.hanp, handle.hlen, hsm.looking);
    errno = error;
    return -1;
}

static void give_back(struct hsm_handle handle)
{
    dm_release_right(hsm.sid, handle.hanp, handle.hlen, hsm.looking);
}

/* A file with regions or an entry: is what it needs in the archive? */
static void check_file(struct hsm_handle handle)
{
    struct hsm_file file;
    if (take(handle, DM_RIGHT_SHARED, &file) != 0) {
        if (errno == EAGAIN) {
            busy++;
            remember(handle);
        } else if (errno != EBADF) { /* gone since the scan */
            fail(handle, "reading its state");
            remember(handle);
        }
        return;
    }
    if (file.state == HSM_MIGRATED || file.has_entry)
        remember(handle);
    int has = file.state == HSM_MIGRATED ? store_has(&hsm.store, handle.hanp, handle.hlen) : 1;
    if (has < 0)
        fail(handle, "looking for its object");
    if (has == 0) {
        printf("missing   inode %llu, %s: migrated, and the archive has no object\n", hsm_inode(handle),
               hsm_human((uint64_t)file.stat.dt_size));
        missing++;
    }
    give_back(handle);
}

static void scan(void)
{
    dm_attrname_t name;
    dm_attrloc_t location;
    void *buffer = aligned_alloc(8, SCAN_BYTES);
    size_t length;
    int more;
    if (buffer == NULL)
        hsm_die("no memory");
    memset(&name, 0, sizeof name);
    memcpy(name.an_chars, HSM_ATTRIBUTE, strlen(HSM_ATTRIBUTE));
    if (dm_init_attrloc(hsm.sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &location) != 0)
        hsm_die("%s: beginning the scan: %s", path, strerror(errno));
    do {
        more = dm_get_bulkall(hsm.sid, fs.hanp, fs.hlen, DM_NO_TOKEN, DM_AT_HANDLE | DM_AT_STAT | DM_AT_PMANR,
                              &name, &location, SCAN_BYTES, buffer, &length);
        if (more < 0)
            hsm_die("%s: scanning it: %s", path, strerror(errno));
        dm_xstat_t *record = length > 0 ? buffer : NULL;
        for (; record != NULL; record = DM_STEP_TO_NEXT(record, dm_xstat_t *)) {
            dm_stat_t *stat = &record->dx_statinfo;
            struct hsm_handle handle = {DM_GET_VALUE(stat, dt_handle, void *), DM_GET_LEN(stat, dt_handle)};
            if (S_ISREG(stat->dt_mode) && (stat->dt_pmanreg || DM_GET_LEN(record, dx_attrdata) > 0))
                check_file(handle);
        }
    } while (more == 1);
    free(buffer);
    if (known_count > 0)
        qsort(known, known_count, sizeof *known, by_handle);
}

/* A handle is dead also where nobody serves its file system any more. */
static bool fs_is_served(void)
{
    struct hsm_handle now;
    if (dm_path_to_fshandle((char *)path, &now.hanp, &now.hlen) != 0)
        return false;
    bool same = dm_handle_cmp(now.hanp, now.hlen, fs.hanp, fs.hlen) == 0;
    dm_handle_free(now.hanp, now.hlen);
    return same;
}

static bool is_of_fs(struct hsm_handle handle)
{
    struct hsm_handle own;
    if (dm_handle_to_fshandle(handle.hanp, handle.hlen, &own.hanp, &own.hlen) != 0)
        return false;
    bool same = dm_handle_cmp(own.hanp, own.hlen, fs.hanp, fs.hlen) == 0;
    dm_handle_free(own.hanp, own.hlen);
    return same;
}

static void is_stale(struct hsm_handle handle, unsigned long long bytes)
{
    if (delete_stale && store_remove(&hsm.store, handle.hanp, handle.hlen) < 0) {
        fail(handle, "removing its object");
        return;
    }
    printf("%-9s inode %llu, %s\n", delete_stale ? "removed" : "stale", hsm_inode(handle), hsm_human(bytes));
    stale++;
    stale_bytes += bytes;
}

static void check_object(const unsigned char *hanp, size_t hlen, unsigned long long bytes, void *argument)
{
    struct hsm_handle handle = {(void *)hanp, hlen};
    struct hsm_file file;
    (void)argument;
    if (!is_of_fs(handle))
        return;
    objects++;
    struct known key = key_of(handle);
    if (known_count > 0 && bsearch(&key, known, known_count, sizeof *known, by_handle) != NULL)
        return;
    if (take(handle, DM_RIGHT_EXCL, &file) == 0) {
        /* Nobody else can make it of use while we hold the right. */
        if (file.state == HSM_RESIDENT && !file.has_entry)
            is_stale(handle, bytes);
        give_back(handle);
    } else if (errno == EAGAIN) {
        busy++;
    } else if (errno == EBADF && fs_is_served()) {
        is_stale(handle, bytes); /* a handle never comes back */
    } else {
        fail(handle, "asking for its file");
    }
}

static void reconcile(void)
{
    known_count = 0;
    objects = stale = missing = busy = 0;
    stale_bytes = 0;
    if (dm_path_to_fshandle((char *)path, &fs.hanp, &fs.hlen) != 0) {
        hsm_log("%s: %s%s", path, strerror(errno), errno == ENXIO ? " (not on a managed file system)" : "");
        failed++;
        return;
    }
    scan();
    if (store_walk(&hsm.store, check_object, NULL) != 0) {
        hsm_log("archive %s: %s", hsm.store.path, strerror(errno));
        failed++;
    }
    printf("%s: %zu files with a copy, %lu objects: %lu %s (%s), %lu missing, %lu busy\n", path, known_count,
           objects, stale, delete_stale ? "removed" : "stale", hsm_human(stale_bytes), missing, busy);
    dm_handle_free(fs.hanp, fs.hlen);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"store", required_argument, NULL, 's'},
                                            {"delete", no_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *store = NULL;
    unsigned long all_missing = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 's') {
            store = optarg;
        } else if (option == 'd') {
            delete_stale = true;
        } else {
            usage(option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    if (store == NULL || optind == argc) {
        usage(stderr);
        return 2;
    }
    hsm_init_service(0);
    if (store_open(&hsm.store, store) != 0)
        hsm_die("archive %s: %s", store, strerror(errno));
    hsm_begin(&hsm, "hsm_reconcile");
    for (int i = optind; i < argc; i++) {
        path = argv[i];
        reconcile();
        all_missing += missing;
    }
    free(known);
    hsm_end_session(hsm.sid);
    return failed != 0 || all_missing != 0 ? 1 : 0;
}
