/* Purpose: what all calls on objects have in common: session, token, handle, kind of object and right are checked, with
 * the same errno everywhere. A row of the table is a call that would succeed on an object of its first kind; each row
 * gives EACCES, EBADF, EFAULT, EINVAL and ESRCH. */
#include "wild.h"

#include <sys/stat.h>

enum { ARGUMENTS_MAX = 10, FILE_BYTES = 16384, NEVER_ISSUED = 2000000000 };

struct rule {
  const char *name;
  const char *kinds; /* R regular, D directory, L symbolic link, O other, F file system */
  char right;        /* S shared, X exclusive */
  int may_fail;      /* the errno that a good call may give all the same; 0: none */
  long more[6];      /* arguments after the token */
};

struct object {
  char kind;
  struct handle handle;
};

static struct object objects[5];
static dm_sessid_t sid, other_sid, dead_sid;
static dm_token_t token, other_token, answered_token;
static struct handle removed;

/* 0 or the errno. */
static int try(const struct rule *rule, dm_sessid_t session, const void *hanp, size_t hlen, dm_token_t with) {
  const long *m = rule->more;
  errno = 0;
  long result = function_of(rule->name)(session, (long)hanp, (long)hlen, with, m[0], m[1], m[2], m[3], m[4], m[5]);
  return (int)result == -1 ? errno : 0;
}

static void expect(const struct rule *rule, int got, int wanted, const char *what) {
  if (got != wanted)
    fail_at(__FILE__, __LINE__, "%s, %s: errno %d (%s), not %d (%s)", rule->name, what, got, strerror(got), wanted,
            strerror(wanted));
}

static void expect_good(const struct rule *rule, int got, const char *what) {
  if (got != 0 && got != rule->may_fail)
    fail_at(__FILE__, __LINE__, "%s, %s: errno %d (%s)", rule->name, what, got, strerror(got));
}

static struct handle of_kind(char kind) {
  for (size_t at = 0; at < sizeof objects / sizeof objects[0]; at++) {
    if (objects[at].kind == kind)
      return objects[at].handle;
  }
  fail_at(__FILE__, __LINE__, "there is no object of kind %c", kind);
}

static void sessions(const struct rule *rule, struct handle on) {
  const dm_sessid_t bad[] = {DM_NO_SESSION, -100, NEVER_ISSUED, dead_sid};
  for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++)
    expect(rule, try(rule, bad[at], on.hanp, on.hlen, DM_NO_TOKEN), EINVAL, "session");
}

static void tokens(const struct rule *rule, struct handle on) {
  const dm_token_t bad[] = {DM_INVALID_TOKEN, -100, NEVER_ISSUED, other_token};
  for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++)
    expect(rule, try(rule, sid, on.hanp, on.hlen, bad[at]), EINVAL, "token");
  expect(rule, try(rule, sid, on.hanp, on.hlen, answered_token), ESRCH, "answered token");
}

static void handles(const struct rule *rule, struct handle on) {
  unsigned char copy[64] = {0};
  memcpy(copy, on.hanp, on.hlen);
  expect(rule, try(rule, sid, copy, on.hlen - 1, DM_NO_TOKEN), EBADF, "handle too short");
  expect(rule, try(rule, sid, copy, on.hlen + 1, DM_NO_TOKEN), EBADF, "handle too long");
  expect(rule, try(rule, sid, copy, 0, DM_NO_TOKEN), EBADF, "no handle");
  expect(rule, try(rule, sid, copy, (size_t)1 << 63, DM_NO_TOKEN), EBADF, "huge handle");
  expect(rule, try(rule, sid, NULL, on.hlen, DM_NO_TOKEN), EFAULT, "NULL handle");
  expect(rule, try(rule, sid, unmapped_address(), on.hlen, DM_NO_TOKEN), EFAULT, "unmapped handle");
  copy[on.hlen / 2] ^= 0x40; /* the generation of an object */
  expect(rule, try(rule, sid, copy, on.hlen, DM_NO_TOKEN), EBADF, "unknown object");
  if (strchr(rule->kinds, 'R') != NULL)
    expect(rule, try(rule, sid, removed.hanp, removed.hlen, DM_NO_TOKEN), EBADF, "removed file");
  /* Lists and dispositions have a reading of their own for it. */
  if (strstr(rule->name, "_eventlist") == NULL && strcmp(rule->name, "dm_set_disp") != 0)
    expect(rule, try(rule, sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_NO_TOKEN), EBADF, "global handle");
}

static void kinds(const struct rule *rule) {
  for (size_t at = 0; at < sizeof objects / sizeof objects[0]; at++) {
    struct handle on = objects[at].handle;
    char what[16];
    snprintf(what, sizeof what, "kind %c", objects[at].kind);
    int got = try(rule, sid, on.hanp, on.hlen, DM_NO_TOKEN);
    if (strchr(rule->kinds, objects[at].kind) != NULL)
      expect_good(rule, got, what);
    else
      expect(rule, got, EINVAL, what);
  }
}

static void rights(const struct rule *rule, struct handle on) {
  expect(rule, try(rule, sid, on.hanp, on.hlen, token), EACCES, "no right");
  CHECK_EQ(dm_request_right(sid, on.hanp, on.hlen, token, 0, DM_RIGHT_SHARED), 0);
  int got = try(rule, sid, on.hanp, on.hlen, token);
  if (rule->right == 'X')
    expect(rule, got, EACCES, "shared right");
  else
    expect_good(rule, got, "shared right");
  CHECK_EQ(dm_upgrade_right(sid, on.hanp, on.hlen, token), 0);
  expect_good(rule, try(rule, sid, on.hanp, on.hlen, token), "exclusive right");
  CHECK_EQ(dm_release_right(sid, on.hanp, on.hlen, token), 0);
  expect(rule, try(rule, sid, on.hanp, on.hlen, token), EACCES, "released right");
}

static void set_up(void) {
  make_file(in_fs("file"), FILE_BYTES);
  make_file(in_fs("removed"), 1);
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  CHECK_EQ(symlink("file", in_fs("link")), 0);
  CHECK_EQ(mkfifo(in_fs("fifo"), 0600), 0);
  removed = handle_of(in_fs("removed"));
  CHECK_EQ(unlink(in_fs("removed")), 0);
  objects[0] = (struct object){'R', handle_of(in_fs("file"))};
  objects[1] = (struct object){'D', handle_of(in_fs("dir"))};
  objects[2] = (struct object){'L', handle_of(in_fs("link"))};
  objects[3] = (struct object){'O', handle_of(in_fs("fifo"))};
  objects[4] = (struct object){'F', fs_handle_of(bed.fs)};
  sid = new_session("rules");
  other_sid = new_session("another");
  dead_sid = new_session("dead");
  CHECK_EQ(dm_destroy_session(dead_sid), 0);
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &token), 0);
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &answered_token), 0);
  CHECK_EQ(dm_respond_event(sid, answered_token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK_EQ(dm_create_userevent(other_sid, 0, NULL, &other_token), 0);
}

static void body(void) {
  set_up();
  static dm_size_t room[1024]; /* aligned to 8 */
  static unsigned char data[4096];
  static dm_eventset_t set, got_set;
  static dm_region_t regions[2], got_regions[4];
  static dm_boolean_t exact;
  static dm_extent_t extents[8];
  static dm_off_t offset, got_offset;
  static dm_size_t got_length;
  static dm_attrname_t name = {"NAME"};
  static dm_fileattr_t attr;
  static dm_stat_t stat;
  static dm_attrloc_t location;
  static dm_inherit_t inherits[4];
  static dm_dioinfo_t dio;
  static size_t length;
  static u_int count;
  struct handle file = of_kind('R');
#define P(x) ((long)(void *)(x))
  const struct rule rules[] = {
      {"dm_sync_by_handle", "R", 'X', 0, {0}},
      {"dm_sync_dmattr_by_handle", "RDL", 'X', 0, {0}},
      {"dm_create_by_handle", "D", 'X', ENOSYS, {P(file.hanp), (long)file.hlen, P("new")}},
      {"dm_mkdir_by_handle", "D", 'X', ENOSYS, {P(file.hanp), (long)file.hlen, P("new")}},
      {"dm_symlink_by_handle", "D", 'X', ENOSYS, {P(file.hanp), (long)file.hlen, P("new"), P("to")}},
      {"dm_get_dioinfo", "R", 'S', 0, {P(&dio)}},
      {"dm_read_invis", "R", 'S', 0, {0, sizeof data, P(data)}},
      {"dm_write_invis", "R", 'X', 0, {0, 0, sizeof data, P(data)}},
      {"dm_get_allocinfo", "R", 'S', 0, {P(&offset), 8, P(extents), P(&count)}},
      {"dm_probe_hole", "R", 'S', 0, {0, 0, P(&got_offset), P(&got_length)}},
      {"dm_punch_hole", "R", 'X', 0, {0, 0}},
      {"dm_get_region", "R", 'S', 0, {4, P(got_regions), P(&count)}},
      {"dm_set_region", "R", 'X', 0, {1, P(regions), P(&exact)}},
      {"dm_set_region_nosync", "R", 'X', 0, {1, P(regions), P(&exact)}},
      {"dm_set_dmattr", "RDL", 'X', 0, {P(&name), 0, 16, P(data)}},
      {"dm_set_dmattr_nosync", "RDL", 'X', 0, {P(&name), 0, 16, P(data)}},
      {"dm_get_dmattr", "RDL", 'S', 0, {P(&name), sizeof room, P(room), P(&length)}},
      {"dm_getall_dmattr", "RDL", 'S', 0, {sizeof room, P(room), P(&length)}},
      {"dm_remove_dmattr", "RDL", 'X', ENOENT, {0, P(&name)}},
      {"dm_remove_dmattr_nosync", "RDL", 'X', ENOENT, {0, P(&name)}},
      {"dm_get_fileattr", "RDLO", 'S', 0, {DM_AT_STAT, P(&stat)}},
      {"dm_set_fileattr", "RDL", 'X', 0, {0, P(&attr)}},
      {"dm_get_eventlist", "RDLOF", 'S', 0, {64, P(&got_set), P(&count)}},
      {"dm_set_eventlist", "RDLOF", 'X', 0, {P(&set), DM_EVENT_MAX}},
      {"dm_set_eventlist_nosync", "RDLOF", 'X', 0, {P(&set), DM_EVENT_MAX}},
      {"dm_init_attrloc", "DF", 'S', 0, {P(&location)}},
      {"dm_get_dirattrs", "D", 'S', 0, {DM_AT_STAT, P(&location), sizeof room, P(room), P(&length)}},
      {"dm_get_bulkattr", "F", 'S', 0, {DM_AT_STAT, P(&location), sizeof room, P(room), P(&length)}},
      {"dm_get_bulkall", "F", 'S', 0, {DM_AT_STAT, P(&name), P(&location), sizeof room, P(room), P(&length)}},
      {"dm_get_mountinfo", "F", 'S', 0, {sizeof room, P(room), P(&length)}},
      {"dm_set_disp", "F", 'X', 0, {P(&set), DM_EVENT_MAX}},
      {"dm_set_return_on_destroy", "F", 'X', 0, {P(&name), DM_TRUE}},
      {"dm_set_inherit", "F", 'X', 0, {P(&name), S_IFREG}},
      {"dm_clear_inherit", "F", 'X', ENOENT, {P(&name)}},
      {"dm_getall_inherit", "F", 'S', 0, {4, P(inherits), P(&count)}},
  };
  for (size_t at = 0; at < sizeof rules / sizeof rules[0]; at++) {
    const struct rule *rule = &rules[at];
    struct handle on = of_kind(rule->kinds[0]);
    sessions(rule, on);
    tokens(rule, on);
    handles(rule, on);
    location = 0;
    rights(rule, on);
    location = 0;
    kinds(rule);
    location = 0;
  }
  printf("%zu calls\n", sizeof rules / sizeof rules[0]);
  struct handle in = of_kind('D');
  static char longest[8192];
  memset(longest, 'a', sizeof longest - 1);
#define BY_HANDLE sid, in.hanp, in.hlen, DM_NO_TOKEN, file.hanp, file.hlen, longest
  CHECK_ERRNO(dm_create_by_handle(BY_HANDLE), ENAMETOOLONG);
  CHECK_ERRNO(dm_mkdir_by_handle(BY_HANDLE), ENAMETOOLONG);
  CHECK_ERRNO(dm_symlink_by_handle(BY_HANDLE, longest), ENAMETOOLONG);
  /* The global handle where it is no bad one. */
  CHECK_ERRNO(dm_get_eventlist(sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_NO_TOKEN, 64, &got_set, &count), EINVAL);
  CHECK_ERRNO(dm_set_eventlist(sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_NO_TOKEN, &set, DM_EVENT_MAX), EINVAL);
  CHECK_ERRNO(dm_set_eventlist_nosync(sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_NO_TOKEN, &set, DM_EVENT_MAX), EINVAL);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
