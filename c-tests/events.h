/* events.h: one message at a time, and its answer. */
#ifndef EVENTS_H
#define EVENTS_H

#include "harness.h"

/* Waits for the next message, which must be of that type. It is there until the next call. */
dm_eventmsg_t *next_event(dm_sessid_t sid, int type);
/* The next message, if there is one: else NULL. */
dm_eventmsg_t *waiting_event(dm_sessid_t sid);
/* There is none. */
void no_event(dm_sessid_t sid);
void respond(dm_sessid_t sid, dm_token_t token, dm_response_t response, int error);

/* Is that field of an event's body the handle? */
#define CHECK_HANDLE(body, field, h) \
  CHECK_EQ(dm_handle_cmp(DM_GET_VALUE(body, field, void *), DM_GET_LEN(body, field), (h).hanp, (h).hlen), 0)

#endif
