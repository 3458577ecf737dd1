#include "wild.h"

#include <dlfcn.h>

enum { OUTPUT_BYTES_MAX = 8192 };

any_function function_of(const char *name) {
  void *address = dlsym(RTLD_DEFAULT, name);
  if (address == NULL)
    fail_at(__FILE__, __LINE__, "%s is not exported", name);
  any_function function;
  memcpy(&function, &address, sizeof function);
  return function;
}

static bool is_output(const struct argument *argument) {
  return argument->kind == OUTPUT || argument->kind == IN_AND_OUT;
}

/* All outputs of the call, one after the other. */
static size_t snapshot(const struct call *call, unsigned char *room) {
  size_t used = 0;
  for (int at = 0; at < WILD_ARGUMENTS_MAX; at++) {
    const struct argument *argument = &call->arguments[at];
    if (!is_output(argument))
      continue;
    CHECK(used + argument->bytes <= OUTPUT_BYTES_MAX);
    memcpy(room + used, (const void *)argument->value, argument->bytes);
    used += argument->bytes;
  }
  return used;
}

static void call_with(const struct call *call, int bad, void *wild, const char *how) {
  static unsigned char before[OUTPUT_BYTES_MAX], after[OUTPUT_BYTES_MAX];
  size_t bytes = snapshot(call, before);
  long a[WILD_ARGUMENTS_MAX];
  for (int at = 0; at < WILD_ARGUMENTS_MAX; at++)
    a[at] = at == bad ? (long)wild : call->arguments[at].value;
  errno = 0;
  long result = function_of(call->name)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]);
  int error = errno;
  /* Functions that return int leave the upper half undefined. */
  if ((int)result != -1 || error != EFAULT)
    fail_at(__FILE__, __LINE__, "%s, argument %d %s: gave %d, errno %d (%s), not EFAULT", call->name, bad + 1, how,
            (int)result, error, strerror(error));
  snapshot(call, after);
  if (memcmp(before, after, bytes) != 0)
    fail_at(__FILE__, __LINE__, "%s, argument %d %s: failed but changed an output", call->name, bad + 1, how);
}

/* The first half of what the call needs is there. */
static int try_partly_mapped(const struct call *call, int at) {
  const struct argument *argument = &call->arguments[at];
  size_t bytes = argument->kind == TEXT ? 8 : argument->bytes;
  if (bytes < 2 || bytes <= argument->align)
    return 0;
  unsigned char *edge = partly_mapped(bytes, argument->align);
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t inside = page - (size_t)edge % page;
  unsigned char before[OUTPUT_BYTES_MAX];
  if (argument->kind == TEXT)
    memset(edge, 'x', inside);
  else
    memcpy(edge, (const void *)argument->value, inside);
  memcpy(before, edge, inside);
  call_with(call, at, edge, "partly mapped");
  if (memcmp(before, edge, inside) != 0)
    fail_at(__FILE__, __LINE__, "%s, argument %d partly mapped: half written", call->name, at + 1);
  return 1;
}

static int try_read_only(const struct call *call, int at) {
  const struct argument *argument = &call->arguments[at];
  if (!is_output(argument))
    return 0;
  call_with(call, at, read_only_copy((const void *)argument->value, argument->bytes), "read-only");
  return 1;
}

static int try_argument(const struct call *call, int at) {
  const struct argument *argument = &call->arguments[at];
  call_with(call, at, NULL, "NULL");
  call_with(call, at, (void *)-8, "-8");
  call_with(call, at, (void *)0xDEADBEE8, "0xDEADBEE8");
  call_with(call, at, unmapped_address(), "unmapped");
  int tried = 4 + try_partly_mapped(call, at) + try_read_only(call, at);
  if (argument->align > 1) {
    call_with(call, at, (char *)argument->value + 1, "not aligned");
    tried++;
  }
  return tried;
}

int try_bad_pointers(const struct call *call, void (*unchanged)(void)) {
  int tried = 0;
  for (int at = 0; at < WILD_ARGUMENTS_MAX; at++) {
    if (call->arguments[at].kind == NO_POINTER)
      continue;
    tried += try_argument(call, at);
    unchanged();
  }
  CHECK(tried > 0);
  return tried;
}
