/* Purpose: without a dmapid calls wait as long as DMAPI_WAIT_MS says and then give ENOTCONN. */
#include "harness.h"

static void body(void) {
  setenv("DMAPI_SOCKET", "/nonexistent/dmapi/socket", 1);
  setenv("DMAPI_WAIT_MS", "50", 1);
  unsetenv("DMAPI_AUTOSTART");
  char *version = NULL;
  dm_sessid_t sid = 4711;
  CHECK_ERRNO_KEEPS(dm_init_service(&version), ENOTCONN, version);
  CHECK_ERRNO_KEEPS(dm_create_session(DM_NO_SESSION, (char[]){"text"}, &sid), ENOTCONN, sid);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_NOTHING, body);
}
