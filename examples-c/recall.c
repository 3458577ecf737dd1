/*
 * Purpose: the whole life of a migrated file in one page: free the data of a file, let somebody read it,
 *          answer the READ event after the data is back. A real HSM is in hsm/.
 * Compile: cc -std=c11 -D_GNU_SOURCE -o recall recall.c -ldmapi
 * Run:     ./recall /mnt/file          (a small file on a managed file system; see `dmctl manage`)
 * Prints:  migrated: 4 KiB of /mnt/file are in memory only
 *          event: READ of bytes 0..4096, token 1
 *          reader got the right 4096 bytes
 */
#include <dmapi.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) < 0) {                                                                          \
            fprintf(stderr, "%s: %s\n", #call, strerror(errno));                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The user: an ordinary program, which knows nothing of all this. */
static int read_as_user(const char *path, const char *expected, size_t size)
{
    char *data = malloc(size);
    int fd = open(path, O_RDONLY);
    if (data == NULL || fd < 0 || pread(fd, data, size, 0) != (ssize_t)size)
        return 1;
    return memcmp(data, expected, size) == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: recall FILE\n");
        return 2;
    }
    char *version, *path = argv[1];
    dm_sessid_t sid;
    void *hanp, *fshanp;
    size_t hlen, fshlen;
    CHECK(dm_init_service(&version));
    CHECK(dm_create_session(DM_NO_SESSION, "recall tutorial", &sid));
    CHECK(dm_path_to_handle(path, &hanp, &hlen));
    CHECK(dm_handle_to_fshandle(hanp, hlen, &fshanp, &fshlen));

    /* Events of this kind on this file system come to this session. */
    dm_eventset_t events;
    DMEV_ZERO(events);
    DMEV_SET(DM_EVENT_READ, events);
    CHECK(dm_set_disp(sid, fshanp, fshlen, DM_NO_TOKEN, &events, DM_EVENT_MAX));

    /* Migrate: keep the data elsewhere, ask for READ events, free the blocks. In this order. */
    dm_stat_t status;
    CHECK(dm_get_fileattr(sid, hanp, hlen, DM_NO_TOKEN, DM_AT_STAT, &status));
    size_t size = (size_t)status.dt_size;
    char *store = malloc(size + 1);
    CHECK(store == NULL ? -1 : 0);
    CHECK(dm_read_invis(sid, hanp, hlen, DM_NO_TOKEN, 0, size, store));
    dm_region_t region = {.rg_flags = DM_REGION_READ}; /* all of the file */
    dm_boolean_t exact;
    CHECK(dm_set_region(sid, hanp, hlen, DM_NO_TOKEN, 1, &region, &exact));
    CHECK(dm_punch_hole(sid, hanp, hlen, DM_NO_TOKEN, 0, 0));
    printf("migrated: %zu KiB of %s are in memory only\n", size / 1024, path);
    fflush(stdout);

    pid_t user = fork();
    if (user == 0)
        _exit(read_as_user(path, store, size));

    /* The user is held in the kernel until this event is answered. */
    _Alignas(8) char buffer[4096];
    size_t length;
    while (dm_get_events(sid, 1, DM_EV_WAIT, sizeof buffer, buffer, &length) != 0)
        CHECK(errno == EINTR ? 0 : -1);
    dm_eventmsg_t *message = (dm_eventmsg_t *)(void *)buffer;
    dm_data_event_t *data = DM_GET_VALUE(message, ev_data, dm_data_event_t *);
    dm_token_t token = message->ev_token;
    printf("event: READ of bytes %lld..%lld, token %d\n", (long long)data->de_offset,
           (long long)data->de_offset + (long long)data->de_length, (int)token);

    /* Recall: the right, the data, the region off, the answer (which gives the right back). */
    CHECK(dm_request_right(sid, hanp, hlen, token, DM_RR_WAIT, DM_RIGHT_EXCL));
    CHECK(dm_write_invis(sid, hanp, hlen, token, DM_WRITE_SYNC, 0, size, store));
    CHECK(dm_set_region(sid, hanp, hlen, token, 0, NULL, &exact));
    CHECK(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL));

    int outcome = -1;
    waitpid(user, &outcome, 0);
    CHECK(dm_destroy_session(sid));
    if (outcome != 0) {
        printf("reader failed\n");
        return 1;
    }
    printf("reader got the right %zu bytes\n", size);
    return 0;
}
