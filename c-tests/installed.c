/* Purpose: the smallest program, for installed.sh. Expected output: the version, "one session". */
#include <dmapi.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  char *version = NULL;
  dm_sessid_t sid;
  unsigned int count = 0;
  char text[] = "installed";
  /* The call waits for a daemon that is about to serve. */
  if (dm_init_service(&version) != 0 || dm_create_session(DM_NO_SESSION, text, &sid) != 0) {
    perror("dm_init_service, dm_create_session");
    return 1;
  }
  puts(version);
  if (dm_getall_sessions(1, &sid, &count) != 0 || count != 1 || dm_destroy_session(sid) != 0) {
    perror("dm_getall_sessions, dm_destroy_session");
    return 1;
  }
  puts("one session");
  return 0;
}
