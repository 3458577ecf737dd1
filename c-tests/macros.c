/* Purpose: the macros of the standard, of the SGI and of the IBM family do what their users expect. */
#include "harness.h"

static void event_sets(void) {
  dm_eventset_t set, other;
  DMEV_ZERO(set);
  CHECK(DMEV_ISZERO(set));
  for (u_int event = 0; event < DM_EVENT_MAX; event++) {
    CHECK(!DMEV_ISSET(event, set));
    DMEV_SET(event, set);
    CHECK_EQ(DMEV_ISSET(event, set), 1);
  }
  CHECK(DMEV_ISALL(set));
  DMEV_CLR(DM_EVENT_RENAME, set);
  CHECK(!DMEV_ISALL(set));
  CHECK(!DMEV_ISSET(DM_EVENT_RENAME, set));
  DMEV_ZERO(set);
  DMEV_SET(DM_EVENT_RENAME, set);
  CHECK_EQ(set, 0x400);
  DMEV_SET(40, set);
  CHECK_EQ(set, 0x10000000400);
  DMEV_NORM(set);
  CHECK_EQ(set, 0x400);
  /* What is no event changes nothing. */
  DMEV_SET(DM_EVENT_INVALID, set);
  DMEV_CLR(64, set);
  CHECK_EQ(set, 0x400);
  CHECK(!DMEV_ISSET(DM_EVENT_INVALID, set));
  DMEV_ALL(other);
  CHECK(DMEV_ISSUB(set, other));
  CHECK(!DMEV_ISSUB(other, set));
  DMEV_REM(set, other);
  CHECK(DMEV_ISDISJ(set, other));
  DMEV_ADD(set, other);
  CHECK(DMEV_ISALL(other));
  DMEV_RES(set, other);
  CHECK(DMEV_ISEQ(set, other));
}

static void variable_parts(void) {
  struct {
    dm_eventmsg_t head;
    char data[8];
  } two[2];
  memset(two, 0, sizeof two);
  two[0].head._link = sizeof two[0];
  two[0].head.ev_data.vd_offset = sizeof two[0].head;
  two[0].head.ev_data.vd_length = 4;
  memcpy(two[0].data, "abc", 4);
  dm_eventmsg_t *message = &two[0].head;
  CHECK(strcmp(DM_GET_VALUE(message, ev_data, char *), "abc") == 0);
  CHECK_EQ(DM_GET_LEN(message, ev_data), 4);
  message = DM_STEP_TO_NEXT(message, dm_eventmsg_t *);
  CHECK(message == &two[1].head);
  CHECK(DM_GET_VALUE(message, ev_data, char *) == NULL);
  CHECK(DM_GET_VALUE(message, ev_data, char *) == DM_GET_VALUE(message, ev_data, void *));
  CHECK(DM_STEP_TO_NEXT(message, dm_eventmsg_t *) == NULL);
}

static void tokens(void) {
  dm_token_t token = 7;
  CHECK(DM_TOKEN_EQ(token, 7) && DM_TOKEN_NE(token, DM_NO_TOKEN) && DM_TOKEN_GT(token, DM_INVALID_TOKEN));
  CHECK(DM_TOKEN_LT(token, 8) && DM_TOKEN_LE(token, 7) && DM_TOKEN_GE(token, 7));
  dm_sequence_t sequence = 1;
  CHECK(DM_SEQUENCE_LT(sequence, 2u) && DM_SEQUENCE_EQ(sequence, 1u));
  dm_scalar128 low = {1, 9}, high = {2, 0};
  CHECK(DM_SCALAR128_LT(low, high) && DM_SCALAR128_GE(high, low) && DM_SCALAR128_NE(low, high));
}

static void body(void) {
  event_sets();
  variable_parts();
  tokens();
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_NOTHING, body);
}
