/* Purpose: DEBUT: the first use of a file since the file system was mounted waits for the answer; ABORT gives the user the
 * errno and leaves the file new, CONTINUE lets it in. */
#include "events.h"
#include "user.h"

static dm_sessid_t sid;
static struct handle file, other, fs;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static void set_list(dm_eventset_t set) {
  CHECK_EQ(dm_set_eventlist(ON(fs), &set, DM_EVENT_MAX), 0);
}

/* The token of the next event, which must be the DEBUT of that object. */
static dm_token_t debut_of(struct handle object) {
  dm_eventmsg_t *message = next_event(sid, DM_EVENT_DEBUT);
  CHECK(message->ev_token != DM_INVALID_TOKEN);
  dm_namesp_event_t *body = DM_GET_VALUE(message, ev_data, dm_namesp_event_t *);
  CHECK_EQ(DM_GET_LEN(body, ne_handle1), object.hlen);
  CHECK(memcmp(DM_GET_VALUE(body, ne_handle1, void *), object.hanp, object.hlen) == 0);
  CHECK_EQ(DM_GET_LEN(body, ne_handle2), 0);
  CHECK_EQ(DM_GET_LEN(body, ne_name1), 0);
  CHECK_EQ(body->ne_retcode, 0);
  return message->ev_token;
}

static void body(void) {
  setenv("DMAPI_DIALECT", "sgi", 1); /* the only one whose lists take DEBUT */
  make_file(in_fs("file"), 100);
  make_file(in_fs("other"), 100);
  file = handle_of(in_fs("file"));
  other = handle_of(in_fs("other"));
  fs = fs_handle_of(bed.fs);
  sid = new_session("debut");
  /* Nobody has seen the files since then. This process looks none of them up: it would wait for itself. */
  CHECK_EQ(dmctl("umount", bed.fs, (char *)NULL), 0);
  mount_again();
  dm_eventset_t debut = 0;
  DMEV_SET(DM_EVENT_DEBUT, debut);
  CHECK_EQ(dm_set_disp(ON(fs), &debut, DM_EVENT_MAX), 0);
  set_list(debut);

  struct user *user = user_reads("other", 0, 10);
  dm_token_t token = debut_of(other);
  respond(sid, token, DM_RESP_ABORT, EBUSY);
  CHECK_EQ(await(user), EBUSY);
  user = user_reads("other", 0, 10);
  token = debut_of(other);
  respond(sid, token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(user), 0);
  CHECK_EQ(user->data[3], pattern_at(3));

  /* It waits also over the death of the worker. */
  user = user_reads("file", 5, 10);
  token = debut_of(file);
  kill_worker();
  CHECK(!has_done(user));
  respond(sid, token, DM_RESP_CONTINUE, 0);
  CHECK_EQ(await(user), 0);
  CHECK_EQ(user->data[0], pattern_at(5));
  CHECK_EQ(await(user_reads("file", 0, 10)), 0);
  CHECK_EQ(await(user_reads("other", 0, 10)), 0);
  no_event(sid);

  set_list(0);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
