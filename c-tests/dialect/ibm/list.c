/* IBM style: all objects of a file system that have our attribute, by dm_get_bulkall.
 * cc -D_GNU_SOURCE list.c -ldmapi; list FILESYSTEM */
#include "ibm.h"

int main(int argc, char **argv) {
  dm_sessid_t sid;
  dm_attrname_t name;
  dm_attrloc_t loc;
  dm_xstat_t *xstat;
  struct hsmState state;
  static long long buffer[BUFFER_SIZE / sizeof(long long)];
  void *fsHanp = NULL;
  size_t fsHlen = 0, rlen = 0;
  dm_size_t canBulkall = 0;
  int more, total = 0;

  if (argc != 2)
    exit(2);
  sid = takeSession();
  if (dm_path_to_fshandle(argv[1], &fsHanp, &fsHlen) < 0)
    die(argv[1]);
  if (dm_get_config(fsHanp, fsHlen, DM_CONFIG_BULKALL, &canBulkall) < 0 || !canBulkall)
    die("no bulkall");
  if (dm_init_attrloc(sid, fsHanp, fsHlen, noToken, &loc) < 0)
    die("dm_init_attrloc");
  setName(&name, OUR_ATTR);
  do {
    more = dm_get_bulkall(sid, fsHanp, fsHlen, noToken, DM_AT_STAT | DM_AT_HANDLE | DM_AT_PMANR, &name, &loc,
                          sizeof(buffer), buffer, &rlen);
    if (more < 0)
      die("dm_get_bulkall");
    if (rlen == 0)
      break;
    for (xstat = (dm_xstat_t *)buffer; xstat != NULL; xstat = DM_STEP_TO_NEXT(xstat, dm_xstat_t *)) {
      total++;
      if (DM_GET_LEN(xstat, dx_attrdata) != sizeof(state))
        continue;
      memcpy(&state, DM_GET_VALUE(xstat, dx_attrdata, void *), sizeof(state));
      printf("%llu %lld %s hash %u\n", (unsigned long long)xstat->dx_statinfo.dt_ino,
             (long long)xstat->dx_statinfo.dt_size,
             xstat->dx_statinfo.dt_pmanreg == DM_TRUE ? "migrated" : "resident",
             dm_handle_hash(DM_GET_VALUE(&xstat->dx_statinfo, dt_handle, void *),
                            DM_GET_LEN(&xstat->dx_statinfo, dt_handle)));
    }
  } while (more == 1);
  fprintf(stderr, "%d objects\n", total);
  return 0;
}
