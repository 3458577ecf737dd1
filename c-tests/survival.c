/* Purpose: sessions, messages and tokens outlive the worker, an orderly restart and the death of the whole daemon. */
#include "harness.h"

static dm_sessid_t sid;
static dm_token_t token;

static void check_all_there(void) {
  dm_sessid_t sids[4];
  u_int count = 0;
  CHECK_EQ(dm_getall_sessions(4, sids, &count), 0);
  CHECK_EQ(count, 1);
  CHECK_EQ(sids[0], sid);
  char text[DM_SESSION_INFO_LEN];
  size_t length = 0;
  CHECK_EQ(dm_query_session(sid, sizeof text, text, &length), 0);
  CHECK(strcmp(text, "survivor") == 0);
  CHECK_EQ(length, strlen("survivor") + 1);
  dm_token_t tokens[4];
  CHECK_EQ(dm_getall_tokens(sid, 4, tokens, &count), 0);
  CHECK_EQ(count, 1);
  CHECK_EQ(tokens[0], token);
  dm_eventmsg_t buffer[8];
  CHECK_EQ(dm_find_eventmsg(sid, token, sizeof buffer, buffer, &length), 0);
  CHECK_EQ(buffer[0].ev_type, DM_EVENT_USER);
  CHECK_EQ(buffer[0].ev_token, token);
  CHECK(strcmp(DM_GET_VALUE(buffer, ev_data, char *), "kept") == 0);
}

static void body(void) {
  sid = new_session("survivor");
  CHECK_EQ(dm_create_userevent(sid, 5, (char[]){"kept"}, &token), 0);
  CHECK_EQ(dm_send_msg(sid, DM_MSGTYPE_ASYNC, 6, (char[]){"later"}), 0);
  check_all_there();
  for (int round = 0; round < 3; round++) {
    kill_worker();
    check_all_there();
  }
  restart_daemon(false);
  check_all_there();
  restart_daemon(true);
  check_all_there();

  CHECK_ERRNO(dm_destroy_session(sid), EBUSY);
  dm_eventmsg_t buffer[8];
  size_t length = 0;
  CHECK_EQ(dm_get_events(sid, 0, 0, sizeof buffer, buffer, &length), 0);
  CHECK_EQ(buffer[0].ev_token, DM_INVALID_TOKEN);
  CHECK(strcmp(DM_GET_VALUE(buffer, ev_data, char *), "later") == 0);
  CHECK(DM_STEP_TO_NEXT(buffer, dm_eventmsg_t *) == NULL);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK_EQ(dm_destroy_session(sid), 0);
  CHECK_ERRNO(dm_destroy_session(sid), EINVAL);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON, body);
}
