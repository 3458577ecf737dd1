/* Purpose: the smallest program, for installed.sh. Expected output: the version, "one session". */
#include <dmapi.h>
#include <stdio.h>
#include <stdlib.h>

/* A daemon that was just started is waited for. */
static int connect_within(int seconds, char **version) {
  struct timespec pause = {0, 20000000};
  time_t end = time(NULL) + seconds;
  while (dm_init_service(version) != 0) {
    if (time(NULL) > end)
      return -1;
    nanosleep(&pause, NULL);
  }
  return 0;
}

int main(void) {
  char *version = NULL;
  dm_sessid_t sid;
  unsigned int count = 0;
  char text[] = "installed";
  if (connect_within(40, &version) != 0 || dm_create_session(DM_NO_SESSION, text, &sid) != 0) {
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
