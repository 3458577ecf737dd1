/* What the IBM programs share. Tokens are compared by macros only, and may be structures. */
#include <dmapi.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SESSION "IBMHSM"
#define BUFFER_SIZE 65536
#define OUR_ATTR "IBMStat"

struct hsmState {
  dm_size_t size;
  int migrated;
};

static dm_token_t noToken = DM_NO_TOKEN;
static dm_token_t invalidToken = DM_INVALID_TOKEN;

static void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

/* Takes over the session of an earlier run, or makes one. */
static dm_sessid_t takeSession(void) {
  char *version = NULL, info[DM_SESSION_INFO_LEN];
  dm_sessid_t sids[100], sid = DM_NO_SESSION;
  u_int nSessions = 0, i;
  size_t len;
  if (dm_init_service(&version) < 0)
    die("dm_init_service");
  if (dm_getall_sessions(100, sids, &nSessions) < 0)
    die("dm_getall_sessions");
  for (i = 0; i < nSessions; i++) {
    if (dm_query_session(sids[i], sizeof(info), info, &len) < 0 || strncmp(info, SESSION, 8) != 0)
      continue;
    if (dm_create_session(sids[i], (char *)SESSION, &sid) < 0)
      die("dm_create_session (assume)");
    if (sid != sids[i])
      die("the session has another id now");
    return sid;
  }
  if (dm_create_session(DM_NO_SESSION, (char *)SESSION, &sid) < 0)
    die("dm_create_session");
  return sid;
}

static void setName(dm_attrname_t *name, const char *text) {
  memset(name, 0, sizeof(*name));
  memcpy(name->an_chars, text, strlen(text) < DM_ATTR_NAME_SIZE ? strlen(text) : DM_ATTR_NAME_SIZE);
}

static int openCopy(const char *store, dm_ino_t ino, int flags) {
  char path[4096];
  int fd;
  snprintf(path, sizeof(path), "%s/%lu", store, (unsigned long)ino);
  fd = open(path, flags, 0600);
  if (fd < 0)
    die(path);
  return fd;
}
