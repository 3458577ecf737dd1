/* Purpose: sizes, offsets and numbers of <dmapi.h> are those of abi/layouts.txt, as this compiler sees them. */
#include <dmapi.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type##_t) == (bytes), #type);
#define OFFSET(type, field, bytes) _Static_assert(offsetof(type##_t, field) == (bytes), #type "." #field);
#define VALUE(name, value) _Static_assert((long long)(name) == (value), #name);
#include "layouts.inc"

_Static_assert(offsetof(dm_xstat_t, _link) == offsetof(dm_xstat_t, dx_statinfo) + offsetof(dm_stat_t, _link),
               "both links of dm_xstat_t are one");

int main(void) {
  return 0;
}
