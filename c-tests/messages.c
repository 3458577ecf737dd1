/* messages.c: see messages.h. */
#include "messages.h"

#include <pthread.h>

_Static_assert(sizeof(pthread_t) == sizeof(unsigned long), "a thread's name fits");

void *bad_pointer(int which) {
  switch (which) {
  case 0:
    return NULL;
  case 1:
    return (void *)(intptr_t)-8;
  case 2:
    return (void *)0xDEADBEE8;
  default:
    return unmapped_address();
  }
}

int get_messages(dm_sessid_t sid, u_int count_max, u_int flags, struct messages *got) {
  got->length = 0;
  if (dm_get_events(sid, count_max, flags, sizeof got->bytes, got->bytes, &got->length) != 0)
    return -1;
  int count = 0;
  size_t offset = 0;
  dm_sequence_t last = 0;
  for (;;) {
    CHECK(offset + sizeof(dm_eventmsg_t) <= got->length);
    dm_eventmsg_t *message = (dm_eventmsg_t *)(void *)(got->bytes + offset);
    CHECK(message->ev_sequence > last);
    last = message->ev_sequence;
    count++;
    if (DM_STEP_TO_NEXT(message, dm_eventmsg_t *) == NULL)
      break;
    CHECK(message->_link > 0 && message->_link % 8 == 0);
    offset += (size_t)message->_link;
  }
  CHECK(got->length % 8 == 0);
  return count;
}

dm_eventmsg_t *message_at(struct messages *got, int index) {
  dm_eventmsg_t *message = (dm_eventmsg_t *)(void *)got->bytes;
  while (index-- > 0) {
    message = DM_STEP_TO_NEXT(message, dm_eventmsg_t *);
    CHECK(message != NULL);
  }
  return message;
}

const char *data_of(dm_eventmsg_t *message) {
  const char *data = DM_GET_VALUE(message, ev_data, const char *);
  return data != NULL ? data : "";
}

bool says(dm_eventmsg_t *message, const char *text) {
  size_t length = strlen(text);
  return message->ev_type == DM_EVENT_USER && DM_GET_LEN(message, ev_data) == length &&
         memcmp(data_of(message), text, length) == 0;
}

void send_async(dm_sessid_t sid, const char *text) {
  CHECK_EQ(dm_send_msg(sid, DM_MSGTYPE_ASYNC, strlen(text), (void *)text), 0);
}

void answer(dm_sessid_t sid, dm_token_t token) {
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
}

dm_token_t new_token(dm_sessid_t sid) {
  dm_token_t token = DM_INVALID_TOKEN;
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &token), 0);
  CHECK(token > 0);
  return token;
}

u_int count_tokens(dm_sessid_t sid) {
  u_int count = 0;
  if (dm_getall_tokens(sid, 0, NULL, &count) != 0)
    CHECK_EQ(errno, E2BIG);
  return count;
}

static void *send_and_wait(void *argument) {
  struct sender *sender = argument;
  sender->result = dm_send_msg(sender->sid, DM_MSGTYPE_SYNC, strlen(sender->text), (void *)sender->text);
  sender->error = errno;
  __atomic_store_n(&sender->ended, true, __ATOMIC_RELEASE);
  return NULL;
}

bool has_ended(struct sender *sender) {
  return __atomic_load_n(&sender->ended, __ATOMIC_ACQUIRE);
}

void start_sender(struct sender *sender, dm_sessid_t sid, const char *text) {
  pthread_t thread;
  *sender = (struct sender){.sid = sid, .text = text};
  CHECK_EQ(pthread_create(&thread, NULL, send_and_wait, sender), 0);
  sender->thread = (unsigned long)thread;
}

void join_sender(struct sender *sender) {
  CHECK_EQ(pthread_join((pthread_t)sender->thread, NULL), 0);
}

dm_token_t receive_sync(dm_sessid_t sid, const char *text) {
  struct messages got;
  CHECK_EQ(get_messages(sid, 1, DM_EV_WAIT, &got), 1);
  dm_eventmsg_t *message = message_at(&got, 0);
  CHECK(says(message, text));
  CHECK(message->ev_token > 0);
  return message->ev_token;
}
