/* Purpose: each header compiles alone, and all names of it together. */
#include <dmapi.h>

#include <sys/dmapi.h>
#include <sys/dmapi/dmapi.h>
#include <sys/dmi.h>
#include <sys/dmi_kern.h>
#include <sys/jfsdmapi.h>
#include <xfs/dmapi.h>

/* As programs of both families have them. */
static dm_token_t no_token = DM_NO_TOKEN;
static const dm_token_t invalid_token = DM_INVALID_TOKEN;
static dm_region_t region = {0, 0, DM_REGION_READ | DM_REGION_WRITE, 0};
static dm_sessid_t sid = DM_NO_SESSION;
static void *global = DM_GLOBAL_HANP;

int main(void) {
  region.rg_pad1 = 0;
  __s64 offset = region.rg_offset;
  return !(no_token == -1 && invalid_token == 0 && sid == 0 && global != DM_INVALID_HANP && offset == 0);
}
