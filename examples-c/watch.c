/*
 * Purpose: prints what happens in a file system, holding nobody: asynchronous events only.
 * Compile: cc -std=c11 -D_GNU_SOURCE -o watch watch.c -ldmapi
 * Run:     ./watch /mnt 3              (a managed file system; ends after 3 events)
 * Prints:  watching /mnt
 *          POSTCREATE "a" mode 100644
 *          POSTREMOVE "a" mode 100644
 *          DESTROY inode 133
 * Note:    an event has one receiver in a file system, the newest. Where an HSM runs, DESTROY is its own;
 *          try this on a file system without one.
 */
#include <dmapi.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) < 0) {                                                                          \
            fprintf(stderr, "%s: %s\n", #call, strerror(errno));                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static const struct {
    dm_eventtype_t event;
    const char *name;
} watched[] = {
    {DM_EVENT_POSTCREATE, "POSTCREATE"}, {DM_EVENT_POSTREMOVE, "POSTREMOVE"},
    {DM_EVENT_POSTRENAME, "POSTRENAME"}, {DM_EVENT_POSTSYMLINK, "POSTSYMLINK"},
    {DM_EVENT_POSTLINK, "POSTLINK"},     {DM_EVENT_ATTRIBUTE, "ATTRIBUTE"},
    {DM_EVENT_DESTROY, "DESTROY"},
};
#define WATCHED (sizeof watched / sizeof watched[0])

static unsigned long long inode_of(void *hanp, size_t hlen)
{
    dm_ino_t inode = 0;
    return hanp != NULL && dm_handle_to_ino(hanp, hlen, &inode) == 0 ? inode : 0;
}

static void print_message(dm_eventmsg_t *message)
{
    const char *name = "?";
    for (size_t i = 0; i < WATCHED; i++)
        if (watched[i].event == message->ev_type)
            name = watched[i].name;
    if (message->ev_type == DM_EVENT_DESTROY) {
        dm_destroy_event_t *destroy = DM_GET_VALUE(message, ev_data, dm_destroy_event_t *);
        printf("%s inode %llu\n", name,
               inode_of(DM_GET_VALUE(destroy, ds_handle, void *), DM_GET_LEN(destroy, ds_handle)));
        return;
    }
    dm_namesp_event_t *body = DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
    printf("%s", name);
    if (message->ev_type == DM_EVENT_ATTRIBUTE)
        printf(" inode %llu",
               inode_of(DM_GET_VALUE(body, ne_handle1, void *), DM_GET_LEN(body, ne_handle1)));
    /* An absent part has length 0. */
    if (DM_GET_LEN(body, ne_name1) != 0)
        printf(" \"%s\"", DM_GET_VALUE(body, ne_name1, char *));
    if (DM_GET_LEN(body, ne_name2) != 0)
        printf(" -> \"%s\"", DM_GET_VALUE(body, ne_name2, char *));
    if (body->ne_mode != 0)
        printf(" mode %o", (unsigned)body->ne_mode);
    printf("\n");
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: watch PATH [COUNT]\n");
        return 2;
    }
    unsigned long left = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    char *version;
    dm_sessid_t sid;
    void *fshanp;
    size_t fshlen;
    CHECK(dm_init_service(&version));
    CHECK(dm_create_session(DM_NO_SESSION, "watch tutorial", &sid));
    CHECK(dm_path_to_fshandle(argv[1], &fshanp, &fshlen));

    /* The list makes the file system produce the events, the disposition sends them here. */
    dm_eventset_t events;
    DMEV_ZERO(events);
    for (size_t i = 0; i < WATCHED; i++)
        DMEV_SET(watched[i].event, events);
    CHECK(dm_set_disp(sid, fshanp, fshlen, DM_NO_TOKEN, &events, DM_EVENT_MAX));
    CHECK(dm_set_eventlist(sid, fshanp, fshlen, DM_NO_TOKEN, &events, DM_EVENT_MAX));
    printf("watching %s\n", argv[1]);
    fflush(stdout);

    _Alignas(8) char buffer[16384];
    size_t length;
    for (int more = 1; more;) {
        if (dm_get_events(sid, 0, DM_EV_WAIT, sizeof buffer, buffer, &length) != 0) {
            CHECK(errno == EINTR ? 0 : -1);
            continue;
        }
        dm_eventmsg_t *message = (dm_eventmsg_t *)(void *)buffer;
        for (; message != NULL; message = DM_STEP_TO_NEXT(message, dm_eventmsg_t *)) {
            print_message(message);
            if (left != 0 && --left == 0) {
                more = 0;
                break;
            }
        }
        fflush(stdout);
    }

    DMEV_ZERO(events);
    CHECK(dm_set_eventlist(sid, fshanp, fshlen, DM_NO_TOKEN, &events, DM_EVENT_MAX));
    CHECK(dm_set_disp(sid, fshanp, fshlen, DM_NO_TOKEN, &events, DM_EVENT_MAX));
    /* What is still queued must be taken before the session can end. */
    while (dm_get_events(sid, 0, 0, sizeof buffer, buffer, &length) == 0)
        ;
    CHECK(dm_destroy_session(sid));
    return 0;
}
