/* Purpose: a bad pointer in any place of the calls on sessions, events and tokens gives EFAULT, and the call has no
 * effect: no session or token is made, no message is taken or sent, no event moves. */
#include "wild.h"

static dm_sessid_t first, second;
static dm_token_t token;
static size_t message_bytes;

static void unchanged(void) {
  u_int count = 0;
  dm_sessid_t sids[4];
  CHECK_EQ(dm_getall_sessions(4, sids, &count), 0);
  CHECK_EQ(count, 2);
  dm_token_t tokens[4];
  CHECK_EQ(dm_getall_tokens(first, 4, tokens, &count), 0);
  CHECK_EQ(count, 2);
  CHECK_EQ(dm_getall_tokens(second, 4, tokens, &count), 0);
  CHECK_EQ(count, 0);
  /* One message waits, and it is the same one. */
  size_t need = 0;
  CHECK_ERRNO(dm_get_events(first, 0, 0, 8, (dm_eventmsg_t[1]){{0}}, &need), E2BIG);
  CHECK_EQ(need, message_bytes);
  CHECK_ERRNO(dm_get_events(second, 0, 0, 8, (dm_eventmsg_t[1]){{0}}, &need), EAGAIN);
}

static void body(void) {
  first = new_session("first");
  second = new_session("second");
  dm_token_t other;
  CHECK_EQ(dm_create_userevent(first, 5, (char[]){"mine"}, &token), 0);
  CHECK_EQ(dm_create_userevent(first, 0, NULL, &other), 0);
  char data[64] = "a message of 64 bytes";
  CHECK_EQ(dm_send_msg(first, DM_MSGTYPE_ASYNC, sizeof data, data), 0);
  CHECK_ERRNO(dm_get_events(first, 0, 0, 0, NULL, &message_bytes), E2BIG);
  CHECK_EQ(message_bytes, sizeof(dm_eventmsg_t) + sizeof data);
  unchanged();

  char *version = NULL, text[DM_SESSION_INFO_LEN] = "third";
  dm_sessid_t sid = 0, sids[4] = {0};
  dm_token_t got = 0, tokens[4] = {0};
  u_int count = 0;
  size_t length = 0;
  dm_eventmsg_t buffer[16] = {{0}};
  size_t found = 0;
  CHECK_EQ(dm_find_eventmsg(first, token, sizeof buffer, buffer, &found), 0);
  dm_timestruct_t delay = {1, 0};

  const struct call calls[] = {
      {"dm_init_service", {OUT(&version, 8)}},
      {"dm_create_session", {VALUE(DM_NO_SESSION), STRING(text), OUT(&sid, 4)}},
      {"dm_create_session", {VALUE(first), STRING(text), OUT(&sid, 4)}},
      {"dm_getall_sessions", {VALUE(4), OUT(sids, 8), OUT(&count, 4)}},
      {"dm_query_session", {VALUE(first), VALUE(sizeof text), OUT(text, 6), OUT(&length, 8)}},
      {"dm_get_events",
       {VALUE(first), VALUE(0), VALUE(0), VALUE(sizeof buffer), OUT_ALIGNED(buffer, message_bytes, 8),
        OUT(&length, 8)}},
      {"dm_find_eventmsg",
       {VALUE(first), VALUE(token), VALUE(sizeof buffer), OUT_ALIGNED(buffer, found, 8), OUT(&length, 8)}},
      {"dm_send_msg", {VALUE(first), VALUE(DM_MSGTYPE_ASYNC), VALUE(sizeof data), IN(data, sizeof data)}},
      {"dm_send_msg", {VALUE(first), VALUE(DM_MSGTYPE_SYNC), VALUE(sizeof data), IN(data, sizeof data)}},
      {"dm_create_userevent", {VALUE(first), VALUE(sizeof data), IN(data, sizeof data), OUT(&got, 4)}},
      {"dm_getall_tokens", {VALUE(first), VALUE(4), OUT(tokens, 8), OUT(&count, 4)}},
      {"dm_move_event", {VALUE(first), VALUE(token), VALUE(second), OUT(&got, 4)}},
      {"dm_pending", {VALUE(first), VALUE(token), IN(&delay, sizeof delay)}},
      {"dm_getall_disp", {VALUE(first), VALUE(sizeof buffer), OUT_ALIGNED(buffer, 8, 8), OUT(&length, 8)}},
  };
  int tried = 0;
  for (size_t at = 0; at < sizeof calls / sizeof calls[0]; at++)
    tried += try_bad_pointers(&calls[at], unchanged);
  printf("%d calls with a bad pointer\n", tried);

  /* The message is still there, whole. */
  CHECK_EQ(dm_get_events(first, 0, 0, sizeof buffer, buffer, &length), 0);
  CHECK_EQ(length, message_bytes);
  CHECK(memcmp(DM_GET_VALUE(buffer, ev_data, char *), data, sizeof data) == 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON, body);
}
