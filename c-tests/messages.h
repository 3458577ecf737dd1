/* messages.h: what the tests of sessions, messages and tokens share. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "harness.h"

/* What one dm_get_events gave. */
struct messages {
  size_t length;
  _Alignas(8) char bytes[65536];
};

/* NULL, and addresses that are not mapped: each must give EFAULT. */
enum { BAD_POINTERS = 4 };
void *bad_pointer(int which);

/* Gets messages, counts them, checks links and numbers. -1 with errno where the call fails. */
int get_messages(dm_sessid_t sid, u_int count_max, u_int flags, struct messages *got);
/* The message with that index. */
dm_eventmsg_t *message_at(struct messages *got, int index);
/* Its data; "" where there is none. */
const char *data_of(dm_eventmsg_t *message);
/* Is the message a USER event with this text (without its NUL)? */
bool says(dm_eventmsg_t *message, const char *text);

void send_async(dm_sessid_t sid, const char *text);
/* CONTINUE. */
void answer(dm_sessid_t sid, dm_token_t token);
/* A USER event of one's own. */
dm_token_t new_token(dm_sessid_t sid);
/* Tokens of the session. */
u_int count_tokens(dm_sessid_t sid);

/* A dm_send_msg(DM_MSGTYPE_SYNC) in a thread of its own. */
struct sender {
  dm_sessid_t sid;
  const char *text;
  int result; /* of the call */
  int error;  /* its errno */
  bool ended;
  unsigned long thread;
};
void start_sender(struct sender *sender, dm_sessid_t sid, const char *text);
/* Has the call returned? */
bool has_ended(struct sender *sender);
/* Waits for its end; the result is in `result` and `error`. */
void join_sender(struct sender *sender);
/* Waits for its message and returns the token. */
dm_token_t receive_sync(dm_sessid_t sid, const char *text);

#endif
