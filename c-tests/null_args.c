/* Purpose: every exported function, called with nothing but zeros, fails with an errno of the standard and does
 * not crash. The list is abi/dmapi.symbols, so a new function is in it. No daemon is asked. */
#include "harness.h"

#include <dlfcn.h>

typedef long (*any_function)(long, long, long, long, long, long, long, long, long, long);

static const char *const names[] = {
#define SYMBOL(name) #name,
#include "symbols.inc"
};

/* Functions that give no error. */
static bool has_no_errno(const char *name) {
  return strcmp(name, "dm_handle_cmp") == 0 || strcmp(name, "dm_handle_free") == 0 ||
         strcmp(name, "dm_handle_hash") == 0 || strcmp(name, "dm_handle_is_valid") == 0;
}

static void call(const char *name) {
  void *address = dlsym(RTLD_DEFAULT, name);
  if (address == NULL)
    fail_at(__FILE__, __LINE__, "%s is not exported", name);
  any_function function;
  memcpy(&function, &address, sizeof function);
  errno = 0;
  int result = (int)function(0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  bool is_listed = errno == EFAULT || errno == EINVAL || errno == EBADF;
  if (!has_no_errno(name) && (result != -1 || !is_listed))
    fail_at(__FILE__, __LINE__, "%s gave %d, errno %d (%s)", name, result, errno, strerror(errno));
}

static void body(void) {
  setenv("DMAPI_SOCKET", "/nonexistent/socket", 1);
  setenv("DMAPI_WAIT_MS", "1", 1);
  size_t count = sizeof names / sizeof names[0];
  CHECK(count > 70);
  for (size_t at = 0; at < count; at++)
    call(names[at]);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_NOTHING, body);
}
