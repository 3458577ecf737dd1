// Purpose: <dmapi.h> is clean C++, its functions have C linkage, and its macros work there.
#include <dmapi.h>
#include <xfs/dmapi.h>

#include <cerrno>

int main() {
  dm_eventset_t set;
  DMEV_ZERO(set);
  DMEV_SET(DM_EVENT_READ, set);
  dm_xstat_t stat = dm_xstat_t();
  dm_xstat_t *next = DM_STEP_TO_NEXT(&stat, dm_xstat_t *);
  void *handle = DM_GET_VALUE(&stat.dx_statinfo, dt_handle, void *);
  dm_right_t right = DM_RIGHT_EXCL;
  bool good = DMEV_ISSET(DM_EVENT_READ, set) && next == NULL && handle == NULL && right > DM_RIGHT_SHARED;
  dm_fsid_t fsid = 0;
  return good && dm_handle_to_fsid(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, &fsid) == -1 && errno == EBADF ? 0 : 1;
}
