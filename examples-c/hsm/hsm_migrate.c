/*
 * Purpose: copies files into the archive and frees their space; the next access brings the data back.
 * Build:   cc -std=c11 -D_GNU_SOURCE -o hsm_migrate hsm_migrate.c output.c sessions.c files.c data.c store.c \
 *              -ldmapi -lcrypto
 * Run:     hsm_migrate --store /archive /data/projects
 * Prints:  601/601 files migrated, 466.1 MiB copied, 464.0 MiB freed in 3.4 s
 */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct hsm_context hsm;
static bool premigrate, dry_run, verbose;
static uint64_t size_min = 1;
static volatile sig_atomic_t interrupted;

static struct {
    unsigned long files, done, skipped, failed;
    uint64_t copied_bytes, freed_bytes;
} count;
static struct hsm_progress progress;

static void usage(FILE *out)
{
    fputs("Usage: hsm_migrate --store DIR [option]... PATH...\n"
          "Copies files (directories recursively) into the archive DIR and frees their space.\n\n"
          "  --store DIR      the archive\n"
          "  --premigrate     copy only; the data stays here, too\n"
          "  --min-size SIZE  leave smaller files alone (K, M, G, T)\n"
          "  --dry-run        only say what would be done\n"
          "  --verbose        one line for each file\n"
          "  --help\n\n"
          "A file that is open, mapped or changing is skipped and named. Status 1 if a file failed.\n",
          out);
}

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void skip(const char *path, const char *why)
{
    hsm_progress_clear(&progress);
    hsm_log("%s: skipped: %s", path, why);
    count.skipped++;
}

static void fail(const char *path, const char *doing, int error)
{
    hsm_progress_clear(&progress);
    hsm_log("%s: failed: %s: %s", path, doing, strerror(error));
    count.failed++;
}

/* Is it a file to take? Says why not, except for what is not worth a line. */
static bool wanted(const char *path, const struct hsm_file *file)
{
    if (!S_ISREG(file->stat.dt_mode) || (uint64_t)file->stat.dt_size < size_min)
        return false;
    if (file->state == HSM_MIGRATED || (premigrate && file->state == HSM_PREMIGRATED)) {
        if (verbose)
            printf("%s: %s already\n", path, hsm_state_name(file->state));
        return false;
    }
    return true;
}

/* The first walk: how much there is to do. */
static void measure(const char *path, void *argument)
{
    struct hsm_file file;
    (void)argument;
    if (interrupted)
        return;
    if (hsm_file_open(&hsm, path, &file) != 0) {
        if (errno == EAGAIN)
            hsm_file_free(&file); /* perhaps it is free when its turn comes */
        else if (errno == ENXIO)
            fail(path, "not on a managed file system (dmctl manage PATH)", errno);
        else
            fail(path, "reading its state", errno);
        return;
    }
    if (wanted(path, &file)) {
        progress.files_total++;
        progress.bytes_total += (uint64_t)file.stat.dt_size;
        if (dry_run)
            printf("would %s %s (%s)\n", premigrate ? "premigrate" : "migrate", path,
                   hsm_human((uint64_t)file.stat.dt_size));
    }
    hsm_file_free(&file);
}

/* Is the object in the archive a copy of what the entry of a premigrated file says? */
static bool has_object(const struct hsm_file *file)
{
    if (!file->has_entry || file->state != HSM_PREMIGRATED)
        return false;
    int object = store_get(&hsm.store, file->handle.hanp, file->handle.hlen);
    struct stat status;
    bool complete =
        object >= 0 && fstat(object, &status) == 0 && (uint64_t)status.st_size == file->entry.size;
    if (object >= 0)
        close(object);
    return complete;
}

/*
 * Writes a new object, unless the one that is there is a copy of this very data: a premigrated file is only
 * read. `writer` then stays closed. 0, or an errno after a message.
 */
static int archive(const char *path, const struct hsm_file *file, struct hsm_entry *entry,
                   struct store_writer *writer)
{
    int error;
    if (has_object(file)) {
        if (hsm_copy_out(&hsm, file, NULL, entry->sum, &progress) != 0) {
            error = errno;
            fail(path, "reading it", error);
            return error;
        }
        if (memcmp(entry->sum, file->entry.sum, sizeof entry->sum) == 0)
            return 0;
        /* Size and time were the same, the data is not. */
    }
    if (store_begin(&hsm.store, file->handle.hanp, file->handle.hlen, writer) != 0) {
        error = errno;
        fail(path, "creating its object in the archive", error);
        return error;
    }
    if (hsm_copy_out(&hsm, file, writer, entry->sum, &progress) == 0 && store_sync(writer) == 0)
        return 0;
    error = errno;
    if (error == EBUSY)
        skip(path, "it changed while it was copied");
    else
        fail(path, "copying it into the archive", error);
    return error;
}

/*
 * Was the file left alone since `before`? The region is gone if it was written, and the change counter moves
 * for what makes no event as well (stores into mappings, new times).
 */
static bool unchanged(const struct hsm_file *before, const struct hsm_file *now, dm_token_t token)
{
    dm_region_t regions[4];
    u_int found = 0;
    return dm_get_region(hsm.sid, before->handle.hanp, before->handle.hlen, token, 4, regions,
                         &found) == 0 &&
           found == 1 && now->stat.dt_change == before->stat.dt_change &&
           now->stat.dt_size == before->stat.dt_size &&
           now->stat.dt_mtime == before->stat.dt_mtime;
}

/* Frees the space of an archived, unchanged file. */
static void make_stub(const char *path, const struct hsm_file *file, dm_token_t token)
{
    struct hsm_handle handle = file->handle;
    if (hsm_set_region_later(&hsm, handle, token,
                             DM_REGION_READ | DM_REGION_WRITE | DM_REGION_TRUNCATE) != 0) {
        fail(path, "setting its managed region", errno);
        return;
    }
    /* Makes entry and region durable before it frees the first byte. */
    if (dm_punch_hole(hsm.sid, handle.hanp, handle.hlen, token, 0, 0) != 0) {
        int error = errno;
        if (error == EBUSY || error == EAGAIN) {
            /* Still whole, so reading needs no event. After any other error it may not be. */
            hsm_set_region_later(&hsm, handle, token, DM_REGION_NOEVENT);
            skip(path, "open or mapped by a process (EBUSY); it is premigrated now");
        } else {
            fail(path, "freeing its space", error);
        }
        return;
    }
    dm_stat_t after;
    memset(&after, 0, sizeof after);
    uint64_t blocks = (uint64_t)file->stat.dt_blocks;
    if (dm_get_fileattr(hsm.sid, handle.hanp, handle.hlen, token, DM_AT_STAT, &after) == 0 &&
        (uint64_t)after.dt_blocks < blocks)
        count.freed_bytes += 512 * (blocks - (uint64_t)after.dt_blocks);
    count.done++;
    if (verbose)
        printf("%s: migrated\n", path);
}

/* Takes the exclusive right, waiting for others if `wait`. 0, or an errno after a message. */
static int take_right(const char *path, struct hsm_handle handle, dm_token_t token, bool wait)
{
    while (dm_request_right(hsm.sid, handle.hanp, handle.hlen, token, wait ? DM_RR_WAIT : 0,
                            DM_RIGHT_EXCL) != 0) {
        int error = errno;
        if (error == EINTR)
            continue;
        if (error == EAGAIN)
            skip(path, "a recall or another migration works on it");
        else
            fail(path, "taking the right on it", error);
        return error;
    }
    return 0;
}

/*
 * Under the right: from here on a writer makes an event. The right is given back, as users must not wait for
 * the copy.
 */
static bool begin(const char *path, struct hsm_file *file, dm_token_t token)
{
    struct hsm_handle handle = file->handle;
    if (take_right(path, handle, token, false) != 0)
        return false;
    /* Read again under the right: dropping the READ region of a stub would show zeros to users. */
    if (hsm_file_read(&hsm, handle, token, file) != 0) {
        fail(path, "reading its state", errno);
        return false;
    }
    if (!wanted(path, file))
        return false;
    if (hsm_set_region_later(&hsm, handle, token, DM_REGION_WRITE | DM_REGION_TRUNCATE) != 0) {
        fail(path, "setting its managed region", errno);
        return false;
    }
    dm_release_right(hsm.sid, handle.hanp, handle.hlen, token);
    /*
     * First the change counter, then the sync: synced pages are write protected, so that each later store through
     * an old mapping moves the counter. The other way round a store in between could be missed.
     */
    if (hsm_file_read(&hsm, handle, DM_NO_TOKEN, file) != 0 ||
        dm_sync_by_handle(hsm.sid, handle.hanp, handle.hlen, DM_NO_TOKEN) != 0) {
        fail(path, "syncing it", errno);
        return false;
    }
    return true;
}

/* Under the right again, the copy made or failed: makes it count, or takes back what begin() did. */
static void finish(const char *path, const struct hsm_file *file, dm_token_t token, int error,
                   const struct hsm_entry *entry, struct store_writer *writer)
{
    struct hsm_handle handle = file->handle;
    struct hsm_file now;
    memset(&now, 0, sizeof now);
    now.handle = handle;
    if (hsm_file_read(&hsm, handle, token, &now) != 0) {
        fail(path, "reading its state", errno);
        return;
    }
    if (now.state == HSM_MIGRATED) {
        skip(path, "another migration was faster");
        return;
    }
    if (error != 0) {
        hsm_set_region_later(&hsm, handle, token, DM_REGION_NOEVENT);
        return;
    }
    if (!unchanged(file, &now, token)) {
        skip(path, "it changed while it was copied");
        hsm_forget_copy(&hsm, handle, token);
        return;
    }
    if (writer->fd >= 0) {
        if (store_commit(&hsm.store, writer) != 0) {
            fail(path, "completing its object in the archive", errno);
            hsm_forget_copy(&hsm, handle, token);
            return;
        }
        count.copied_bytes += entry->size;
    }
    if (hsm_set_entry(&hsm, handle, token, entry) != 0) {
        fail(path, "setting its catalogue entry", errno);
        hsm_forget_copy(&hsm, handle, token);
        return;
    }
    if (!premigrate) {
        make_stub(path, file, token);
        return;
    }
    hsm_set_region_later(&hsm, handle, token, DM_REGION_NOEVENT);
    count.done++;
    if (verbose)
        printf("%s: premigrated\n", path);
}

/* One file, under one token; the caller ends the token and with it the right. */
static void migrate_with_token(const char *path, struct hsm_file *file, dm_token_t token)
{
    struct hsm_entry entry;
    struct store_writer writer = {.fd = -1};
    if (!begin(path, file, token))
        return;
    memset(&entry, 0, sizeof entry);
    entry.size = (uint64_t)file->stat.dt_size;
    entry.mtime_s = (int64_t)file->stat.dt_mtime;
    int error = archive(path, file, &entry, &writer);
    if (take_right(path, file->handle, token, true) == 0)
        finish(path, file, token, error, &entry, &writer);
    store_abandon(&hsm.store, &writer);
}

static void migrate(const char *path, void *argument)
{
    struct hsm_file file;
    dm_token_t token;
    (void)argument;
    if (interrupted)
        return;
    if (hsm_file_open(&hsm, path, &file) != 0) {
        if (errno == EAGAIN) {
            skip(path, "a recall or another migration works on it");
            hsm_file_free(&file);
        }
        return; /* the first walk named what else is wrong */
    }
    if (wanted(path, &file)) {
        progress.files_done++;
        if (dm_create_userevent(hsm.sid, 0, NULL, &token) != 0) {
            fail(path, "creating a token", errno);
        } else {
            migrate_with_token(path, &file, token);
            /* Ends the token and its right. */
            dm_respond_event(hsm.sid, token, DM_RESP_CONTINUE, 0, 0, NULL);
        }
    }
    hsm_file_free(&file);
}

static void parse(int argc, char **argv, const char **store)
{
    static const struct option options[] = {
        {"store", required_argument, NULL, 's'}, {"premigrate", no_argument, NULL, 'p'},
        {"min-size", required_argument, NULL, 'm'}, {"dry-run", no_argument, NULL, 'n'},
        {"verbose", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's':
            *store = optarg;
            break;
        case 'p':
            premigrate = true;
            break;
        case 'm':
            size_min = hsm_parse_size(optarg, "--min-size");
            if (size_min == 0)
                size_min = 1; /* an empty file has nothing to migrate */
            break;
        case 'n':
            dry_run = true;
            break;
        case 'v':
            verbose = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (*store == NULL || optind == argc) {
        usage(stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    const char *store = NULL;
    parse(argc, argv, &store);
    hsm_init_service(0);
    if (store_open(&hsm.store, store) != 0)
        hsm_die("archive %s: %s", store, strerror(errno));
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    hsm_begin(&hsm, "hsm_migrate");

    int unreadable = hsm_walk(argv + optind, measure, NULL);
    if (!dry_run) {
        hsm_progress_start(&progress, premigrate ? "premigrate" : "migrate");
        hsm_walk(argv + optind, migrate, NULL);
        hsm_progress_clear(&progress);
        if (progress.files_done > progress.files_total)
            progress.files_total = progress.files_done; /* recalled or made meanwhile */
        printf("%lu/%lu files %s, %s copied, %s freed in %.1f s%s\n", count.done,
               progress.files_total, premigrate ? "premigrated" : "migrated",
               hsm_human(count.copied_bytes), hsm_human(count.freed_bytes),
               hsm_seconds_now() - progress.started_s, interrupted ? "; interrupted" : "");
    } else {
        printf("%lu files, %s\n", progress.files_total, hsm_human(progress.bytes_total));
    }
    if (count.skipped + count.failed != 0)
        printf("%lu skipped, %lu failed\n", count.skipped, count.failed);
    hsm_end_session(hsm.sid);
    if (interrupted)
        return 130;
    return unreadable != 0 || count.failed != 0 ? 1 : 0;
}
