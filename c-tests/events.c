/* events.c: see events.h. */
#include "events.h"

/* The longest message, aligned to 8. */
static dm_size_t room[8192];

dm_eventmsg_t *next_event(dm_sessid_t sid, int type) {
  size_t length = 0;
  CHECK_EQ(dm_get_events(sid, 1, DM_EV_WAIT, sizeof room, room, &length), 0);
  dm_eventmsg_t *message = (dm_eventmsg_t *)room;
  CHECK_EQ(message->ev_type, type);
  return message;
}

dm_eventmsg_t *waiting_event(dm_sessid_t sid) {
  size_t length = 0;
  if (dm_get_events(sid, 1, 0, sizeof room, room, &length) == 0)
    return (dm_eventmsg_t *)room;
  CHECK_EQ(errno, EAGAIN);
  return NULL;
}

void no_event(dm_sessid_t sid) {
  size_t length = 0;
  CHECK_ERRNO(dm_get_events(sid, 1, 0, sizeof room, room, &length), EAGAIN);
}

void respond(dm_sessid_t sid, dm_token_t token, dm_response_t response, int error) {
  CHECK_EQ(dm_respond_event(sid, token, response, error, 0, NULL), 0);
}
