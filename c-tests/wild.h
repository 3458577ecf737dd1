/* wild.h: calls whose pointers are made bad one after the other. */
#ifndef WILD_H
#define WILD_H

#include "harness.h"

enum { WILD_ARGUMENTS_MAX = 10 };

enum pointer_kind { NO_POINTER = 0, INPUT, OUTPUT, IN_AND_OUT, TEXT };

/* One argument of a call that would succeed. */
struct argument {
  long value;
  enum pointer_kind kind;
  size_t bytes; /* what the call reads or writes there */
  size_t align; /* what the call insists on; else 1 */
};

struct call {
  const char *name;
  struct argument arguments[WILD_ARGUMENTS_MAX];
};

#define VALUE(v) {(long)(v), NO_POINTER, 0, 1}
#define IN(p, size) {(long)(p), INPUT, size, 1}
#define OUT(p, size) {(long)(p), OUTPUT, size, 1}
#define OUT_ALIGNED(p, size, to) {(long)(p), OUTPUT, size, to}
#define INOUT(p, size) {(long)(p), IN_AND_OUT, size, 1}
#define STRING(p) {(long)(p), TEXT, 0, 1}

/* A function of the library, by its name. */
typedef long (*any_function)(long, long, long, long, long, long, long, long, long, long);
any_function function_of(const char *name);

/* Each pointer of the call in turn: NULL, wild, unmapped, partly mapped, not aligned, and outputs that cannot be written.
 * Each time the call must give -1 and EFAULT, and leave all outputs as they were. Then `unchanged` is asked whether
 * the call had an effect. Returns the number of calls made. */
int try_bad_pointers(const struct call *call, void (*unchanged)(void));

#endif
