/* IBM style: answers the data events of a file system, and what an earlier run left unanswered.
 * cc -D_GNU_SOURCE recall.c -ldmapi; recall STORE FILESYSTEM COUNT */
#include "ibm.h"

static dm_sessid_t sid;
static const char *store;

static int recall(dm_token_t token, dm_data_event_t *event) {
  void *hanp = DM_GET_VALUE(event, de_handle, void *);
  size_t hlen = DM_GET_LEN(event, de_handle);
  static char buffer[BUFFER_SIZE];
  dm_region_t regions[4];
  dm_right_t right = DM_RIGHT_NULL;
  dm_boolean_t exact;
  dm_off_t offset = 0;
  dm_ino_t ino;
  u_int nRegions = 0;
  ssize_t got;
  int fd;

  if (dm_query_right(sid, hanp, hlen, token, &right) < 0 && errno != ENOENT)
    return errno;
  if (right != DM_RIGHT_EXCL && dm_request_right(sid, hanp, hlen, token, DM_RR_WAIT, DM_RIGHT_EXCL) < 0)
    return errno;
  /* Somebody may have been faster. */
  if (dm_get_region(sid, hanp, hlen, token, 4, regions, &nRegions) < 0)
    return errno;
  if (nRegions == 0)
    return 0;
  if (nRegions != 2 || regions[0].rg_opaque != 4711)
    return EIO;
  if (dm_handle_to_ino(hanp, hlen, &ino) < 0)
    return errno;
  fd = openCopy(store, ino, O_RDONLY);
  while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
    if (dm_write_invis(sid, hanp, hlen, token, DM_WRITE_SYNC, offset, got, buffer) != got)
      return errno;
    offset += got;
  }
  close(fd);
  if (dm_set_region_nosync(sid, hanp, hlen, token, 0, NULL, &exact) < 0)
    return errno;
  return 0;
}

/* 1: it was an event that needs an answer. */
static int handleMessage(dm_eventmsg_t *msg) {
  int error;
  if (DM_TOKEN_EQ(msg->ev_token, DM_INVALID_TOKEN))
    return 0;
  switch (msg->ev_type) {
  case DM_EVENT_READ:
  case DM_EVENT_WRITE:
  case DM_EVENT_TRUNCATE:
    error = recall(msg->ev_token, DM_GET_VALUE(msg, ev_data, dm_data_event_t *));
    break;
  default:
    error = 0;
  }
  printf("event %d of node %u: %s\n", (int)msg->ev_type, (unsigned)msg->ev_nodeid, error ? strerror(error) : "done");
  if (dm_respond_event(sid, msg->ev_token, error ? DM_RESP_ABORT : DM_RESP_CONTINUE, error, 0, NULL) < 0)
    die("dm_respond_event");
  return 1;
}

static int leftovers(void) {
  dm_token_t tokens[100];
  static long long buffer[512];
  u_int nTokens = 0, i;
  size_t rlen;
  int handled = 0;
  if (dm_getall_tokens(sid, 100, tokens, &nTokens) < 0)
    die("dm_getall_tokens");
  for (i = 0; i < nTokens; i++) {
    if (dm_find_eventmsg(sid, tokens[i], sizeof(buffer), buffer, &rlen) < 0)
      die("dm_find_eventmsg");
    handled += handleMessage((dm_eventmsg_t *)buffer);
  }
  return handled;
}

int main(int argc, char **argv) {
  dm_eventset_t data, all, offered;
  static long long buffer[2048];
  dm_eventmsg_t *msg;
  void *fsHanp = NULL;
  size_t fsHlen = 0, rlen = 0;
  u_int maxEvent = 0;
  int left;

  if (argc != 4)
    exit(2);
  store = argv[1];
  left = atoi(argv[3]);
  sid = takeSession();
  if (dm_path_to_fshandle(argv[2], &fsHanp, &fsHlen) < 0)
    die(argv[2]);
  DMEV_ZERO(data);
  DMEV_SET(DM_EVENT_READ, data);
  DMEV_SET(DM_EVENT_WRITE, data);
  DMEV_ZERO(all);
  DMEV_SET(DM_EVENT_TRUNCATE, all);
  DMEV_ADD(data, all); /* all |= data */
  if (dm_get_config_events(fsHanp, fsHlen, DM_EVENT_MAX, &offered, &maxEvent) < 0)
    die("dm_get_config_events");
  if (!DMEV_ISSUB(all, offered) || DMEV_ISZERO(all))
    die("data events are not offered");
  if (dm_set_disp(sid, fsHanp, fsHlen, DM_NO_TOKEN, &all, DM_EVENT_MAX) < 0)
    die("dm_set_disp");
  left -= leftovers();
  while (left > 0) {
    if (dm_get_events(sid, 1, DM_EV_WAIT, sizeof(buffer), buffer, &rlen) < 0)
      die("dm_get_events");
    msg = (dm_eventmsg_t *)buffer;
    for (;;) {
      left -= handleMessage(msg);
      if (msg->_link == 0)
        break;
      msg = (dm_eventmsg_t *)((char *)msg + msg->_link);
    }
  }
  DMEV_ZERO(all);
  if (dm_set_disp(sid, fsHanp, fsHlen, DM_NO_TOKEN, &all, DM_EVENT_MAX) < 0)
    die("dm_set_disp");
  if (dm_destroy_session(sid) < 0)
    die("dm_destroy_session");
  return 0;
}
