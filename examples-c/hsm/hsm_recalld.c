/*
 * Purpose: the recall daemon. Answers the events of migrated files: brings the data back, then lets the user on.
 * Build:   cc -std=c11 -D_GNU_SOURCE -pthread -o hsm_recalld hsm_recalld.c jobs.c output.c sessions.c files.c \
 *              data.c store.c -ldmapi -lcrypto
 * Run:     hsm_recalld --store /archive
 * Prints:  session 3 assumed, 1 events to finish     (one line for each recall, on stderr)
 *
 * It may be killed at any instant: session, queue and tokens belong to the DMAPI service. The next one
 * assumes the session, takes up the tokens that are outstanding, and does each recall again from its start.
 */
#include "jobs.h"

#include <errno.h>
#include <getopt.h>
#include <mntent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAP_INTERVAL_S 1
/* dm_find_eventmsg and dm_get_events need room for one message at least; this holds many. */
#define BUFFER_BYTES (64U * 1024)

static struct hsm_context hsm;
static unsigned threads = 4;

static void usage(FILE *out)
{
    fputs("Usage: hsm_recalld --store DIR [option]... [PATH]...\n"
          "Recalls migrated files when they are used, from the archive DIR. Serves the file systems of\n"
          "PATH..., or all managed ones, and those mounted later.\n\n"
          "  --store DIR          the archive\n"
          "  --threads N          recalls at once (4)\n"
          "  --recall-rate BYTES  limit of each recall, bytes a second (K, M, G)\n"
          "  --wait SECONDS       how long to wait for the DMAPI service at start (30)\n"
          "  --help\n",
          out);
}

/* READ, WRITE, TRUNCATE and DESTROY of one file system come to us. 0, or -1 with errno. */
static int serve(void *fshanp, size_t fshlen, dm_token_t token)
{
    dm_eventset_t events, list;
    DMEV_ZERO(events);
    DMEV_SET(DM_EVENT_READ, events);
    DMEV_SET(DM_EVENT_WRITE, events);
    DMEV_SET(DM_EVENT_TRUNCATE, events);
    DMEV_SET(DM_EVENT_DESTROY, events);
    if (dm_set_disp(hsm.sid, fshanp, fshlen, token, &events, DM_EVENT_MAX) != 0)
        return -1;
    /* Data events are enabled by the regions of the files, DESTROY for the whole file system. */
    DMEV_ZERO(list);
    DMEV_SET(DM_EVENT_DESTROY, list);
    return dm_set_eventlist(hsm.sid, fshanp, fshlen, token, &list, DM_EVENT_MAX);
}

static int serve_path(const char *path)
{
    void *fshanp;
    size_t fshlen;
    if (dm_path_to_fshandle((char *)path, &fshanp, &fshlen) != 0)
        return -1;
    int rc = serve(fshanp, fshlen, DM_NO_TOKEN);
    int error = errno;
    dm_handle_free(fshanp, fshlen);
    errno = error;
    if (rc == 0)
        hsm_log("serving %s", path);
    return rc;
}

static void serve_all_managed(void)
{
    FILE *mounts = setmntent("/proc/self/mounts", "r");
    struct mntent *mount;
    if (mounts == NULL)
        hsm_die("/proc/self/mounts: %s", strerror(errno));
    while ((mount = getmntent(mounts)) != NULL)
        if (serve_path(mount->mnt_dir) != 0 && errno == ENOTCONN)
            hsm_die("the DMAPI service went away");
    endmntent(mounts);
}

static void want_mount_events(void)
{
    dm_eventset_t events;
    DMEV_ZERO(events);
    DMEV_SET(DM_EVENT_MOUNT, events);
    if (dm_set_disp(hsm.sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_NO_TOKEN, &events,
                    DM_EVENT_MAX) != 0)
        hsm_die("cannot register for MOUNT events: %s", strerror(errno));
}

static void answer(dm_token_t token, int error)
{
    if (dm_respond_event(hsm.sid, token, error == 0 ? DM_RESP_CONTINUE : DM_RESP_ABORT, error, 0,
                         NULL) != 0)
        hsm_log("token %d: the answer was refused: %s", (int)token, strerror(errno));
}

static void on_mount(dm_eventmsg_t *message)
{
    dm_mount_event_t *mount = DM_GET_VALUE(message, ev_data, dm_mount_event_t *);
    const char *path = DM_GET_VALUE(mount, me_name1, char *);
    int rc = serve(DM_GET_VALUE(mount, me_handle1, void *), DM_GET_LEN(mount, me_handle1),
                   DM_NO_TOKEN);
    if (rc == 0)
        hsm_log("serving %s, which is being mounted", path);
    else
        hsm_log("%s is being mounted, but cannot be served: %s", path, strerror(errno));
    /* Unserved it must not be reachable: its stubs would wait for ever. */
    answer(message->ev_token, rc == 0 ? 0 : EIO);
}

static void on_destroy(dm_eventmsg_t *message)
{
    dm_destroy_event_t *destroy = DM_GET_VALUE(message, ev_data, dm_destroy_event_t *);
    struct hsm_handle handle = {DM_GET_VALUE(destroy, ds_handle, void *),
                                DM_GET_LEN(destroy, ds_handle)};
    int removed = store_remove(&hsm.store, handle.hanp, handle.hlen);
    if (removed < 0)
        hsm_log("inode %llu is gone, its object cannot be removed: %s", hsm_inode(handle),
                strerror(errno));
    else if (removed == 1)
        hsm_log("inode %llu is gone, and its object", hsm_inode(handle));
    /* Synchronous on some systems. */
    if (message->ev_token != DM_INVALID_TOKEN && message->ev_token != DM_NO_TOKEN)
        answer(message->ev_token, 0);
}

static void on_message(dm_eventmsg_t *message)
{
    switch (message->ev_type) {
    case DM_EVENT_READ:
    case DM_EVENT_WRITE:
    case DM_EVENT_TRUNCATE:
        jobs_add(message);
        break;
    case DM_EVENT_MOUNT:
        on_mount(message);
        break;
    case DM_EVENT_DESTROY:
        on_destroy(message);
        break;
    default:
        /* Nothing we asked for; let whoever waits go on. */
        if (message->ev_token != DM_INVALID_TOKEN && message->ev_token != DM_NO_TOKEN)
            answer(message->ev_token, 0);
    }
}

/* A message buffer; dm_get_events wants it aligned to 8 bytes, which malloc does. */
static void *new_buffer(size_t bytes)
{
    void *buffer = malloc(bytes);
    if (buffer == NULL)
        hsm_die("no memory for %zu bytes of messages", bytes);
    return buffer;
}

/* Takes up what the process before us had been given and did not answer. */
static void take_up_tokens(void)
{
    u_int room = 1024, found = 0;
    dm_token_t *tokens = new_buffer(room * sizeof *tokens);
    while (dm_getall_tokens(hsm.sid, room, tokens, &found) != 0) {
        if (errno != E2BIG)
            hsm_die("cannot list the outstanding tokens: %s", strerror(errno));
        room = found + 64;
        free(tokens);
        tokens = new_buffer(room * sizeof *tokens);
    }
    hsm_log("session %d assumed, %u events to finish", (int)hsm.sid, found);
    size_t bytes = BUFFER_BYTES, length;
    void *buffer = new_buffer(bytes);
    for (u_int i = 0; i < found; i++) {
        while (dm_find_eventmsg(hsm.sid, tokens[i], bytes, buffer, &length) != 0) {
            if (errno != E2BIG) {
                /* Answered meanwhile. */
                length = 0;
                break;
            }
            bytes = length;
            free(buffer);
            buffer = new_buffer(bytes);
        }
        if (length == 0)
            continue;
        dm_eventmsg_t *message = buffer;
        if (message->ev_type == DM_EVENT_READ || message->ev_type == DM_EVENT_WRITE ||
            message->ev_type == DM_EVENT_TRUNCATE) {
            dm_data_event_t *data = DM_GET_VALUE(message, ev_data, dm_data_event_t *);
            /* A right of the dead process would block the other events of the same file. */
            dm_release_right(hsm.sid, DM_GET_VALUE(data, de_handle, void *),
                             DM_GET_LEN(data, de_handle), tokens[i]);
        }
        on_message(message);
    }
    free(buffer);
    free(tokens);
}

static void *reap(void *argument)
{
    for (;;) {
        hsm_reap_sessions(hsm.sid);
        sleep(REAP_INTERVAL_S);
    }
    return argument;
}

/* An orderly end is the same as a sudden one: the successor finds everything in the session. */
static void *wait_for_signal(void *argument)
{
    sigset_t *signals = argument;
    int number = 0;
    sigwait(signals, &number);
    hsm_log("signal %d: leaving session %d to the next hsm_recalld", number, (int)hsm.sid);
    _exit(0);
    return NULL;
}

static void start_thread(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, function, argument);
    if (error != 0)
        hsm_die("cannot start a thread: %s", strerror(error));
    pthread_detach(thread);
}

static void event_loop(void)
{
    size_t bytes = BUFFER_BYTES, length;
    void *buffer = new_buffer(bytes);
    for (;;) {
        if (dm_get_events(hsm.sid, 0, DM_EV_WAIT, bytes, buffer, &length) == 0) {
            dm_eventmsg_t *message = buffer;
            for (; message != NULL; message = DM_STEP_TO_NEXT(message, dm_eventmsg_t *))
                on_message(message);
        } else if (errno == E2BIG) {
            bytes = length;
            free(buffer);
            buffer = new_buffer(bytes);
        } else if (errno != EINTR && errno != EAGAIN) {
            hsm_die("cannot get events: %s", strerror(errno));
        }
    }
}

static void parse(int argc, char **argv, const char **store, unsigned *wait_s)
{
    static const struct option options[] = {
        {"store", required_argument, NULL, 's'},       {"threads", required_argument, NULL, 't'},
        {"recall-rate", required_argument, NULL, 'r'}, {"wait", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},              {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's':
            *store = optarg;
            break;
        case 't':
            threads = (unsigned)hsm_parse_size(optarg, "--threads");
            break;
        case 'r':
            hsm.rate = hsm_parse_size(optarg, "--recall-rate");
            break;
        case 'w':
            *wait_s = (unsigned)hsm_parse_size(optarg, "--wait");
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (*store == NULL || threads == 0 || threads > 256) {
        usage(stderr);
        exit(2);
    }
}

/* The daemon would wait for itself on the first recall. */
static void refuse_managed_store(void)
{
    void *fshanp;
    size_t fshlen;
    if (dm_path_to_fshandle(hsm.store.path, &fshanp, &fshlen) == 0)
        hsm_die("the archive %s lies in a managed file system; choose another place",
                hsm.store.path);
}

int main(int argc, char **argv)
{
    const char *store = NULL;
    unsigned wait_s = 30;
    parse(argc, argv, &store, &wait_s);

    static sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    hsm_init_service(wait_s);
    if (store_open(&hsm.store, store) != 0)
        hsm_die("archive %s: %s", store, strerror(errno));
    refuse_managed_store();
    bool assumed;
    hsm.sid = hsm_assume_session(HSM_DAEMON, &assumed);
    start_thread(wait_for_signal, &signals);
    jobs_start(&hsm, threads);
    if (assumed)
        take_up_tokens();
    else
        hsm_log("session %d created", (int)hsm.sid);

    want_mount_events();
    if (optind == argc)
        serve_all_managed();
    for (int i = optind; i < argc; i++)
        if (serve_path(argv[i]) != 0)
            hsm_die("%s cannot be served: %s%s", argv[i], strerror(errno),
                    errno == ENXIO ? " (is it managed? dmctl manage PATH)" : "");
    start_thread(reap, NULL);
    event_loop();
    return 0;
}
