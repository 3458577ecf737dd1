/* IBM style: copies a file to the store under a right, marks it, and frees its blocks.
 * cc -D_GNU_SOURCE migrate.c -ldmapi; migrate STORE FILE */
#include "ibm.h"

int main(int argc, char **argv) {
  dm_sessid_t sid;
  dm_token_t token;
  dm_region_t regions[2];
  dm_boolean_t exact = DM_FALSE;
  dm_attrname_t name;
  struct hsmState state;
  dm_stat_t stat;
  dm_off_t offset = 0;
  dm_ssize_t got;
  static char buffer[BUFFER_SIZE];
  void *hanp = NULL;
  size_t hlen = 0;
  int fd;

  if (argc != 3)
    exit(2);
  sid = takeSession();
  if (dm_create_userevent(sid, 0, NULL, &token) < 0)
    die("dm_create_userevent");
  if (DM_TOKEN_EQ(token, invalidToken) || DM_TOKEN_EQ(token, noToken))
    die("no token");
  if (dm_path_to_handle(argv[2], &hanp, &hlen) < 0)
    die(argv[2]);
  if (dm_request_right(sid, hanp, hlen, token, DM_RR_WAIT, DM_RIGHT_EXCL) < 0)
    die("dm_request_right");
  if (dm_get_fileattr(sid, hanp, hlen, token, DM_AT_STAT | DM_AT_PMANR | DM_AT_FOPEN, &stat) < 0)
    die("dm_get_fileattr");
  if (stat.dt_fopen || stat.dt_pmanreg == DM_TRUE)
    die("in use, or migrated already");
  fd = openCopy(argv[1], stat.dt_ino, O_WRONLY | O_CREAT | O_TRUNC);
  while ((got = dm_read_invis(sid, hanp, hlen, token, offset, BUFFER_SIZE, buffer)) > 0) {
    if (write(fd, buffer, got) != got)
      die("write");
    offset += got;
  }
  if (got < 0 || fsync(fd) < 0)
    die("copy");
  close(fd);

  memset(regions, 0, sizeof(regions));
  regions[0].rg_offset = 0;
  regions[0].rg_size = 4096;
  regions[0].rg_flags = DM_REGION_READ | DM_REGION_WRITE | DM_REGION_TRUNCATE;
  regions[0].rg_opaque = 4711;
  regions[1].rg_offset = 4096;
  regions[1].rg_size = 0;
  regions[1].rg_flags = DM_REGION_READ | DM_REGION_WRITE | DM_REGION_TRUNCATE;
  if (dm_set_region(sid, hanp, hlen, token, 2, regions, &exact) < 0 || exact != DM_TRUE)
    die("dm_set_region");
  memset(&state, 0, sizeof(state));
  state.size = stat.dt_size;
  state.migrated = 1;
  setName(&name, OUR_ATTR);
  if (dm_set_dmattr_nosync(sid, hanp, hlen, token, &name, 0, sizeof(state), &state) < 0)
    die("dm_set_dmattr_nosync");
  if (dm_sync_dmattr_by_handle(sid, hanp, hlen, token) < 0)
    die("dm_sync_dmattr_by_handle");
  if (dm_punch_hole(sid, hanp, hlen, token, 0, 0) < 0)
    die("dm_punch_hole");
  if (dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL) < 0)
    die("dm_respond_event");
  printf("%s: migrated\n", argv[2]);
  dm_handle_free(hanp, hlen);
  return 0;
}
