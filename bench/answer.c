/* A DM application that answers each READ event of one file without moving data; see answer.h. */
#include "answer.h"

#include <errno.h>
#include <stddef.h>

#include "measure.h"

static void answer_events(void *argument)
{
    struct answerer *answerer = argument;
    char *version;
    _Alignas(8) char buffer[4096];
    size_t length;
    pin(answerer->cpu);
    must(dm_init_service(&version) == 0, "dm_init_service");
    for (;;) {
        if (dm_get_events(answerer->sid, 1, DM_EV_WAIT, sizeof buffer, buffer, &length) != 0) {
            must(errno == EINTR, "dm_get_events");
            continue;
        }
        dm_eventmsg_t *message = (dm_eventmsg_t *)(void *)buffer;
        must(dm_respond_event(answerer->sid, message->ev_token, DM_RESP_CONTINUE, 0, 0, NULL) == 0,
             "dm_respond_event");
    }
}

void answer_reads(struct answerer *answerer, dm_sessid_t sid, const char *path, int cpu)
{
    void *fshanp;
    size_t fshlen;
    dm_eventset_t events;
    dm_boolean_t exact;
    dm_region_t region = {.rg_flags = DM_REGION_READ};
    *answerer = (struct answerer){.sid = sid, .cpu = cpu};
    must(dm_path_to_handle((char *)(uintptr_t)path, &answerer->hanp, &answerer->hlen) == 0, path);
    must(dm_handle_to_fshandle(answerer->hanp, answerer->hlen, &fshanp, &fshlen) == 0, path);
    DMEV_ZERO(events);
    DMEV_SET(DM_EVENT_READ, events);
    must(dm_set_disp(sid, fshanp, fshlen, DM_NO_TOKEN, &events, DM_EVENT_MAX) == 0, "dm_set_disp");
    must(dm_set_region(sid, answerer->hanp, answerer->hlen, DM_NO_TOKEN, 1, &region, &exact) == 0,
         "dm_set_region");
    dm_handle_free(fshanp, fshlen);
    answerer->application = spawn(answer_events, answerer);
}

void answer_no_more(struct answerer *answerer)
{
    dm_boolean_t exact;
    must(dm_set_region(answerer->sid, answerer->hanp, answerer->hlen, DM_NO_TOKEN, 0, NULL,
                       &exact) == 0,
         "dm_set_region");
    reap(answerer->application);
    dm_handle_free(answerer->hanp, answerer->hlen);
}
