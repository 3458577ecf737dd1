/*
 * Purpose: brings migrated files back before they are needed.
 * Build:   cc -std=c11 -D_GNU_SOURCE -o hsm_recall hsm_recall.c output.c sessions.c files.c data.c store.c \
 *              -ldmapi -lcrypto
 * Run:     hsm_recall --store /archive /data/projects
 * Prints:  601/601 files recalled, 466.1 MiB in 2.9 s
 */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct hsm_context hsm;
static struct hsm_progress progress;
static unsigned long done, failed;
static volatile sig_atomic_t interrupted;

static void usage(FILE *out)
{
    fputs("Usage: hsm_recall --store DIR [--recall-rate BYTES] PATH...\n"
          "Brings migrated files (directories recursively) back from the archive DIR.\n",
          out);
}

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void fail(const char *path, const char *doing, int error)
{
    hsm_progress_clear(&progress);
    hsm_log("%s: failed: %s: %s", path, doing, strerror(error));
    failed++;
}

static void measure(const char *path, void *argument)
{
    struct hsm_file file;
    (void)argument;
    if (hsm_file_open(&hsm, path, &file) != 0) {
        if (errno == EAGAIN)
            hsm_file_free(&file); /* its turn comes below */
        else
            fail(path, "reading its state", errno);
        return;
    }
    if (file.state == HSM_MIGRATED) {
        progress.files_total++;
        progress.bytes_total += (uint64_t)file.stat.dt_size;
    }
    hsm_file_free(&file);
}

static void recall_with_token(const char *path, struct hsm_handle handle, dm_token_t token)
{
    while (dm_request_right(hsm.sid, handle.hanp, handle.hlen, token, DM_RR_WAIT,
                            DM_RIGHT_EXCL) != 0) {
        if (errno == EINTR && !interrupted)
            continue;
        fail(path, "taking the right on it", errno);
        return;
    }
    int error = hsm_recall(&hsm, handle, token, &progress);
    if (error != 0)
        fail(path, "recalling it", error);
    else
        done++;
}

static void recall(const char *path, void *argument)
{
    struct hsm_file file;
    dm_token_t token;
    (void)argument;
    if (interrupted)
        return;
    bool busy = hsm_file_open(&hsm, path, &file) != 0 && errno == EAGAIN;
    if (file.handle.hanp == NULL)
        return; /* the first walk named it */
    /* A busy file is waited for: it is here when we say so. */
    if (busy || file.state == HSM_MIGRATED) {
        progress.files_done++;
        if (dm_create_userevent(hsm.sid, 0, NULL, &token) != 0) {
            fail(path, "creating a token", errno);
        } else {
            recall_with_token(path, file.handle, token);
            dm_respond_event(hsm.sid, token, DM_RESP_CONTINUE, 0, 0, NULL);
        }
    }
    hsm_file_free(&file);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"store", required_argument, NULL, 's'},
                                            {"recall-rate", required_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *store = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 's') {
            store = optarg;
        } else if (option == 'r') {
            hsm.rate = hsm_parse_size(optarg, "--recall-rate");
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
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    hsm_begin(&hsm, "hsm_recall");

    int unreadable = hsm_walk(argv + optind, measure, NULL);
    hsm_progress_start(&progress, "recall");
    hsm_walk(argv + optind, recall, NULL);
    hsm_progress_clear(&progress);
    printf("%lu/%lu files recalled, %s in %.1f s%s\n", done, progress.files_done,
           hsm_human(progress.bytes_done), hsm_seconds_now() - progress.started_s,
           interrupted ? "; interrupted" : "");
    hsm_end_session(hsm.sid);
    if (interrupted)
        return 130;
    return unreadable != 0 || failed != 0 ? 1 : 0;
}
