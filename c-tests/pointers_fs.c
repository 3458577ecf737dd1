/* Purpose: a bad pointer in any place of the calls on objects gives EFAULT, and the call has no effect. The tables
 * here and in pointers.c must name every exported function that takes a pointer. */
#include "wild.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { FILE_BYTES = 12288 };

static struct handle file, dir, fs;
static dm_sessid_t sid;
static dm_token_t token;
static int fd;

/* What a call would change: data, size, mode, attribute, regions, event list, dispositions, rights. */
static void unchanged(void) {
  unsigned char data[64];
  struct stat stat;
  CHECK_EQ(fstat(fd, &stat), 0);
  CHECK_EQ(stat.st_size, FILE_BYTES);
  CHECK_EQ(stat.st_mode & 07777, 0644);
  CHECK_EQ(dm_read_invis(sid, file.hanp, file.hlen, DM_NO_TOKEN, 4096, sizeof data, data), sizeof data);
  for (size_t at = 0; at < sizeof data; at++)
    CHECK_EQ(data[at], pattern_at(4096 + at));
  dm_attrname_t name = {"kept"};
  char value[16];
  size_t length = 0;
  CHECK_EQ(dm_get_dmattr(sid, file.hanp, file.hlen, DM_NO_TOKEN, &name, sizeof value, value, &length), 0);
  CHECK_EQ(length, 9);
  CHECK(memcmp(value, "the value", 9) == 0);
  dm_region_t regions[4];
  u_int count = 0;
  CHECK_EQ(dm_get_region(sid, file.hanp, file.hlen, DM_NO_TOKEN, 4, regions, &count), 0);
  CHECK_EQ(count, 2);
  dm_eventset_t set = 0;
  CHECK_EQ(dm_get_eventlist(sid, dir.hanp, dir.hlen, DM_NO_TOKEN, 64, &set, &count), 0);
  CHECK_EQ(set, (dm_eventset_t)1 << DM_EVENT_ATTRIBUTE);
  dm_inherit_t inherits[2];
  CHECK_EQ(dm_getall_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, 2, inherits, &count), 0);
  CHECK_EQ(count, 1);
  dm_right_t right = DM_RIGHT_EXCL;
  CHECK_EQ(dm_query_right(sid, dir.hanp, dir.hlen, token, &right), 0);
  CHECK_EQ(right, DM_RIGHT_SHARED);
  CHECK_EQ(dm_obj_ref_query(sid, token, dir.hanp, dir.hlen), 0);
  CHECK_EQ(dm_getall_disp(sid, 0, NULL, &length), 0);
}

/* Functions that take no pointer, or do not fail. */
static const char *const no_pointers[] = {"dm_destroy_session", "dm_respond_event",  "dm_handle_cmp",
                                          "dm_handle_free",     "dm_handle_hash",    "dm_handle_is_valid", "dmx_set_cancel"};
/* The table of pointers.c. */
static const char *const elsewhere[] = {"dm_init_service",  "dm_create_session", "dm_getall_sessions", "dm_query_session",
                                        "dm_get_events",    "dm_find_eventmsg",  "dm_send_msg",        "dm_create_userevent",
                                        "dm_getall_tokens", "dm_move_event",     "dm_pending",         "dm_getall_disp"};

static const char *const exported[] = {
#define SYMBOL(name) #name,
#include "symbols.inc"
};

static bool has(const char *const *names, size_t count, const char *name) {
  for (size_t at = 0; at < count; at++) {
    if (strcmp(names[at], name) == 0)
      return true;
  }
  return false;
}

static void check_all_named(const struct call *calls, size_t count) {
  for (size_t at = 0; at < sizeof exported / sizeof exported[0]; at++) {
    bool is_named = has(no_pointers, sizeof no_pointers / sizeof no_pointers[0], exported[at]) ||
                    has(elsewhere, sizeof elsewhere / sizeof elsewhere[0], exported[at]);
    for (size_t call = 0; call < count && !is_named; call++)
      is_named = strcmp(calls[call].name, exported[at]) == 0;
    if (!is_named)
      fail_at(__FILE__, __LINE__, "%s is in no table", exported[at]);
  }
}

static void set_up(void) {
  make_file(in_fs("file"), FILE_BYTES);
  CHECK_EQ(chmod(in_fs("file"), 0644), 0);
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  make_file(in_fs("dir/entry"), 10);
  fd = open(in_fs("file"), O_PATH | O_CLOEXEC);
  file = handle_of(in_fs("file"));
  dir = handle_of(in_fs("dir"));
  fs = fs_handle_of(bed.fs);
  sid = new_session("pointers");
  dm_attrname_t name = {"kept"};
  CHECK_EQ(dm_set_dmattr(sid, file.hanp, file.hlen, DM_NO_TOKEN, &name, 0, 9, (char[]){"the value"}), 0);
  /* No flags: they make no events. */
  dm_region_t regions[2] = {{0, 10, DM_REGION_NOEVENT, 1}, {20, 10, DM_REGION_NOEVENT, 2}};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(sid, file.hanp, file.hlen, DM_NO_TOKEN, 2, regions, &exact), 0);
  dm_eventset_t set = (dm_eventset_t)1 << DM_EVENT_ATTRIBUTE;
  CHECK_EQ(dm_set_eventlist(sid, dir.hanp, dir.hlen, DM_NO_TOKEN, &set, DM_EVENT_MAX), 0);
  dm_attrname_t inherited = {"inherit"};
  CHECK_EQ(dm_set_inherit(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &inherited, S_IFREG), 0);
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &token), 0);
  CHECK_EQ(dm_request_right(sid, dir.hanp, dir.hlen, token, 0, DM_RIGHT_SHARED), 0);
}

static void body(void) {
  set_up();
  unchanged();

  char path[256], text[256] = {0}, name[] = "x";
  snprintf(path, sizeof path, "%s", in_fs("file"));
  void *hanp = NULL;
  size_t hlen = 0, length = 0;
  dm_fsid_t fsid = 0;
  dm_ino_t inode = 1;
  dm_igen_t generation = 1;
  dm_snap_t snap = DM_SNAP_ROOT;
  dm_size_t value = 0, hole_length = 0;
  dm_eventset_t set = (dm_eventset_t)1 << DM_EVENT_DESTROY;
  u_int count = 0;
  dm_dioinfo_t dio = {0, 0, 0, 0};
  dm_right_t right = DM_RIGHT_NULL;
  dm_attrname_t kept = {"kept"}, fresh = {"fresh"}, inherited = {"inherit"};
  dm_inherit_t inherits[2];
  memset(inherits, 0, sizeof inherits);
  dm_region_t regions[2] = {{0, 0, DM_REGION_READ, 0}, {0, 0, 0, 0}};
  dm_boolean_t exact = 7;
  dm_off_t offset = 0;
  dm_extent_t extents[4];
  memset(extents, 0, sizeof extents);
  static unsigned char data[4096];
  static dm_size_t room[512]; /* aligned to 8 */
  dm_stat_t stat;
  memset(&stat, 0, sizeof stat);
  dm_fileattr_t attr;
  memset(&attr, 0, sizeof attr);
  attr.fa_mode = 0600;
  dm_attrloc_t location = 0;
  CHECK_EQ(dm_init_attrloc(sid, dir.hanp, dir.hlen, DM_NO_TOKEN, &location), 0);
  dm_attrloc_t fs_location = 0;
  CHECK_EQ(dm_init_attrloc(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &fs_location), 0);
  struct handle entry = handle_of(in_fs("dir/entry"));

#define OF(h) IN((h).hanp, (h).hlen), VALUE((h).hlen)
#define TARGET(h) VALUE(sid), OF(h), VALUE(DM_NO_TOKEN)
  const struct call calls[] = {
      {"dm_path_to_handle", {STRING(path), OUT(&hanp, 8), OUT(&hlen, 8)}},
      {"dm_path_to_fshandle", {STRING(path), OUT(&hanp, 8), OUT(&hlen, 8)}},
      {"dm_fd_to_handle", {VALUE(fd), OUT(&hanp, 8), OUT(&hlen, 8)}},
      {"dm_handle_to_fshandle", {OF(file), OUT(&hanp, 8), OUT(&hlen, 8)}},
      {"dm_handle_to_path", {OF(dir), OF(entry), VALUE(sizeof text), OUT(text, 10), OUT(&length, 8)}},
      {"dm_handle_to_fsid", {OF(file), OUT(&fsid, 8)}},
      {"dm_handle_to_ino", {OF(file), OUT(&inode, 8)}},
      {"dm_handle_to_igen", {OF(file), OUT(&generation, 4)}},
      {"dm_handle_to_snap", {OF(file), OUT(&snap, 8)}},
      {"dm_make_handle", {IN(&fsid, 8), IN(&inode, 8), IN(&generation, 4), OUT(&hanp, 8), OUT(&hlen, 8)}},
      {"dm_make_fshandle", {IN(&fsid, 8), OUT(&hanp, 8), OUT(&hlen, 8)}},
      {"dm_make_xhandle",
       {IN(&fsid, 8), IN(&inode, 8), IN(&generation, 4), IN(&snap, 8), OUT(&hanp, 8), OUT(&hlen, 8)}},
      {"dm_create_by_handle", {TARGET(dir), OF(file), STRING(name)}},
      {"dm_mkdir_by_handle", {TARGET(dir), OF(file), STRING(name)}},
      {"dm_symlink_by_handle", {TARGET(dir), OF(file), STRING(name), STRING(name)}},
      {"dm_sync_by_handle", {TARGET(file)}},
      {"dm_sync_dmattr_by_handle", {TARGET(file)}},
      {"dm_open_by_handle", {OF(file), VALUE(O_RDONLY)}},
      {"dm_get_config", {OF(file), VALUE(DM_CONFIG_MAX_ATTRIBUTE_SIZE), OUT(&value, 8)}},
      {"dm_get_config_events", {OF(file), VALUE(DM_EVENT_MAX), OUT(&set, 8), OUT(&count, 4)}},
      {"dm_get_dioinfo", {TARGET(file), OUT(&dio, sizeof dio)}},
      {"dm_request_right", {VALUE(sid), OF(file), VALUE(token), VALUE(0), VALUE(DM_RIGHT_EXCL)}},
      {"dm_release_right", {VALUE(sid), OF(dir), VALUE(token)}},
      {"dm_query_right", {VALUE(sid), OF(dir), VALUE(token), OUT(&right, 4)}},
      {"dm_upgrade_right", {VALUE(sid), OF(dir), VALUE(token)}},
      {"dm_downgrade_right", {VALUE(sid), OF(dir), VALUE(token)}},
      {"dm_obj_ref_hold", {VALUE(sid), VALUE(token), OF(dir)}},
      {"dm_obj_ref_rele", {VALUE(sid), VALUE(token), OF(dir)}},
      {"dm_obj_ref_query", {VALUE(sid), VALUE(token), OF(dir)}},
      {"dm_set_disp", {TARGET(fs), IN(&set, 8), VALUE(DM_EVENT_MAX)}},
      {"dm_set_eventlist", {VALUE(sid), OF(file), VALUE(DM_NO_TOKEN), IN(&set, 8), VALUE(DM_EVENT_MAX)}},
      {"dm_set_eventlist_nosync", {VALUE(sid), OF(file), VALUE(DM_NO_TOKEN), IN(&set, 8), VALUE(DM_EVENT_MAX)}},
      {"dm_get_eventlist", {TARGET(dir), VALUE(64), OUT(&set, 8), OUT(&count, 4)}},
      {"dm_set_return_on_destroy", {TARGET(fs), IN(&kept, 8), VALUE(DM_TRUE)}},
      {"dm_get_region", {TARGET(file), VALUE(2), OUT(regions, sizeof regions), OUT(&count, 4)}},
      {"dm_set_region", {TARGET(file), VALUE(2), IN(regions, sizeof regions), OUT(&exact, 4)}},
      {"dm_set_region_nosync", {TARGET(file), VALUE(2), IN(regions, sizeof regions), OUT(&exact, 4)}},
      {"dm_get_allocinfo",
       {TARGET(file), INOUT(&offset, 8), VALUE(4), OUT(extents, sizeof extents[0]), OUT(&count, 4)}},
      {"dm_probe_hole", {TARGET(file), VALUE(0), VALUE(0), OUT(&offset, 8), OUT(&hole_length, 8)}},
      {"dm_punch_hole", {TARGET(file), VALUE(0), VALUE(0)}},
      {"dm_read_invis", {TARGET(file), VALUE(0), VALUE(sizeof data), OUT(data, sizeof data)}},
      {"dm_write_invis", {TARGET(file), VALUE(0), VALUE(4096), VALUE(sizeof data), IN(data, sizeof data)}},
      {"dm_set_dmattr", {TARGET(file), IN(&fresh, 8), VALUE(0), VALUE(16), IN(data, 16)}},
      {"dm_set_dmattr_nosync", {TARGET(file), IN(&fresh, 8), VALUE(0), VALUE(16), IN(data, 16)}},
      {"dm_get_dmattr", {TARGET(file), IN(&kept, 8), VALUE(16), OUT(text, 9), OUT(&length, 8)}},
      {"dm_remove_dmattr", {TARGET(file), VALUE(0), IN(&kept, 8)}},
      {"dm_remove_dmattr_nosync", {TARGET(file), VALUE(0), IN(&kept, 8)}},
      {"dm_getall_dmattr", {TARGET(file), VALUE(sizeof room), OUT_ALIGNED(room, 32, 4), OUT(&length, 8)}},
      {"dm_set_inherit", {TARGET(fs), IN(&fresh, 8), VALUE(S_IFREG)}},
      {"dm_clear_inherit", {TARGET(fs), IN(&inherited, 8)}},
      {"dm_getall_inherit", {TARGET(fs), VALUE(2), OUT(inherits, sizeof inherits[0]), OUT(&count, 4)}},
      {"dm_get_fileattr", {TARGET(file), VALUE(DM_AT_STAT), OUT(&stat, sizeof stat)}},
      {"dm_set_fileattr", {TARGET(file), VALUE(DM_AT_MODE), IN(&attr, sizeof attr)}},
      {"dm_init_attrloc", {TARGET(dir), OUT(&location, 8)}},
      {"dm_get_dirattrs",
       {TARGET(dir), VALUE(DM_AT_STAT), INOUT(&location, 8), VALUE(sizeof room), OUT_ALIGNED(room, 192, 8),
        OUT(&length, 8)}},
      {"dm_get_bulkattr",
       {TARGET(fs), VALUE(DM_AT_STAT), INOUT(&fs_location, 8), VALUE(sizeof room), OUT_ALIGNED(room, 184, 8),
        OUT(&length, 8)}},
      {"dm_get_bulkall",
       {TARGET(fs), VALUE(DM_AT_STAT), IN(&kept, 8), INOUT(&fs_location, 8), VALUE(sizeof room),
        OUT_ALIGNED(room, 192, 8), OUT(&length, 8)}},
      {"dm_get_mountinfo", {TARGET(fs), VALUE(sizeof room), OUT_ALIGNED(room, 100, 8), OUT(&length, 8)}},
  };
  size_t count_of_calls = sizeof calls / sizeof calls[0];
  check_all_named(calls, count_of_calls);
  int tried = 0;
  for (size_t at = 0; at < count_of_calls; at++)
    tried += try_bad_pointers(&calls[at], unchanged);
  printf("%d calls with a bad pointer\n", tried);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
