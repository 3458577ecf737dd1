/* Purpose: DM attributes: names, sizes, lists, times; what others see and do not see of them. */
#include "harness.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { ROOM = 65536 };

static dm_sessid_t sid;
static struct handle file;
static dm_size_t value_max;
static char *value; /* value_max + 1 bytes */

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static dm_attrname_t named(const char *text) {
  dm_attrname_t name = {{0}};
  memcpy(name.an_chars, text, strnlen(text, DM_ATTR_NAME_SIZE));
  return name;
}

static int set(struct handle on, const char *name, const void *bytes, size_t length) {
  dm_attrname_t attr = named(name);
  return dm_set_dmattr(ON(on), &attr, 0, length, (void *)bytes);
}

static int drop(struct handle on, const char *name) {
  dm_attrname_t attr = named(name);
  return dm_remove_dmattr(ON(on), 0, &attr);
}

static void check_value(struct handle on, const char *name, const void *bytes, size_t length) {
  static char got[ROOM + 1];
  dm_attrname_t attr = named(name);
  size_t rlen = 4711;
  CHECK_EQ(dm_get_dmattr(ON(on), &attr, sizeof got, got, &rlen), 0);
  CHECK_EQ(rlen, length);
  CHECK(memcmp(got, bytes, length) == 0);
}

static void names_and_sizes(void) {
  dm_attrname_t empty = {""}, plain = named("plain"), missing = named("missing");
  char small[8];
  size_t rlen = 0;
  CHECK_ERRNO(dm_set_dmattr(ON(file), &empty, 0, 1, small), EINVAL);
  CHECK_ERRNO(dm_set_dmattr_nosync(ON(file), &empty, 0, 1, small), EINVAL);
  CHECK_ERRNO(dm_get_dmattr(ON(file), &empty, 8, small, &rlen), EINVAL);
  CHECK_ERRNO(dm_remove_dmattr(ON(file), 0, &empty), EINVAL);
  CHECK_ERRNO(dm_remove_dmattr_nosync(ON(file), 0, &empty), EINVAL);
  CHECK_EQ(set(file, "plain", "12345", 5), 0);
  CHECK_EQ(set(file, "8letters", "8", 1), 0);
  CHECK_EQ(set(file, "nothing", NULL, 0), 0);
  check_value(file, "plain", "12345", 5);
  check_value(file, "8letters", "8", 1);
  check_value(file, "nothing", "", 0);
  dm_attrname_t nothing = named("nothing");
  CHECK_EQ(dm_get_dmattr(ON(file), &nothing, 0, NULL, &rlen), 0);
  CHECK_EQ(rlen, 0);
  /* Shorter: no tail of the old value. */
  CHECK_EQ(set(file, "plain", "abc", 3), 0);
  check_value(file, "plain", "abc", 3);
  CHECK_ERRNO(dm_get_dmattr(ON(file), &plain, 2, small, &rlen), E2BIG);
  CHECK_EQ(rlen, 3);
  CHECK_EQ(dm_get_dmattr(ON(file), &plain, 3, small, &rlen), 0);
  CHECK_ERRNO(dm_get_dmattr(ON(file), &missing, 8, small, &rlen), ENOENT);
  CHECK_ERRNO(drop(file, "missing"), ENOENT);
  CHECK_ERRNO(dm_remove_dmattr_nosync(ON(file), 0, &missing), ENOENT);
  CHECK_ERRNO(dm_set_dmattr(ON(file), NULL, 0, 1, small), EFAULT);
  CHECK_ERRNO(dm_set_dmattr(ON(file), &plain, 0, 1, NULL), EFAULT);
  CHECK_ERRNO(dm_get_dmattr(ON(file), &plain, 8, NULL, &rlen), EFAULT);
  CHECK_ERRNO(dm_get_dmattr(ON(file), &plain, 8, small, NULL), EFAULT);
  CHECK_ERRNO(dm_remove_dmattr(ON(file), 0, NULL), EFAULT);
  CHECK_EQ(dm_remove_dmattr_nosync(ON(file), 0, &nothing), 0);
  CHECK_EQ(drop(file, "8letters"), 0);
  CHECK_EQ(drop(file, "plain"), 0);
}

/* Where attributes fill the inode there is no room for regions and lists either. */
static void full_of_attributes(void) {
  char *path = strdup(in_fs("stuffed")), name[32];
  make_file(path, 1);
  struct handle stuffed = handle_of(path);
  unsigned number = 0;
  for (size_t length = 256; length > 0; length = length > 1 ? length / 4 : 0) {
    do {
      snprintf(name, sizeof name, "trusted.full%u", number++);
    } while (setxattr(path, name, value, length, 0) == 0);
    CHECK_EQ(errno, ENOSPC);
  }
  free(path);
  static dm_region_t many[20];
  for (unsigned at = 0; at < 20; at++)
    many[at] = (dm_region_t){at * 1000 + 7, 500, DM_REGION_NOEVENT, at};
  dm_boolean_t exact;
  CHECK_ERRNO(dm_set_region(ON(stuffed), 20, many, &exact), ENOSPC);
  CHECK_ERRNO(dm_set_region_nosync(ON(stuffed), 20, many, &exact), ENOSPC);
  dm_eventset_t events = (dm_eventset_t)1 << DM_EVENT_ATTRIBUTE;
  CHECK_ERRNO(dm_set_eventlist(ON(stuffed), &events, DM_EVENT_MAX), ENOSPC);
  CHECK_ERRNO(dm_set_eventlist_nosync(ON(stuffed), &events, DM_EVENT_MAX), ENOSPC);
  u_int count = 4711;
  CHECK_EQ(dm_get_region(ON(stuffed), 0, NULL, &count), 0);
  CHECK_EQ(count, 0);
  CHECK_EQ(dm_get_eventlist(ON(stuffed), 64, &events, &count), 0);
  CHECK_EQ(events, 0);
}

static void limits(void) {
  if (bed.fuse) {
    /* The ctime that users see takes room, too: what is beside it in the inode must not spill into the block. */
    CHECK_EQ(drop(file, "DISK"), 0);
    CHECK_EQ(drop(file, "OLD"), 0);
  }
  CHECK_EQ(set(file, "large", value, value_max), 0);
  check_value(file, "large", value, value_max);
  CHECK_ERRNO(set(file, "large", value, value_max + 1), E2BIG);
  dm_attrname_t large = named("large");
  CHECK_ERRNO(dm_set_dmattr_nosync(ON(file), &large, 0, value_max + 1, value), E2BIG);
  CHECK_ERRNO(dm_set_dmattr(ON(file), &large, 0, (size_t)1 << 63, value), E2BIG);
  check_value(file, "large", value, value_max);
  /* An inode has so much room for all, but for xfs: the one that does not fit leaves the old value. */
  dm_size_t total = 0;
  CHECK_EQ(dm_get_config(file.hanp, file.hlen, DM_CONFIG_TOTAL_ATTRIBUTE_SPACE, &total), 0);
  if (total < 65536) {
    CHECK_EQ(drop(file, "large"), 0);
    int result = 0;
    char name[9];
    for (unsigned at = 0; at < 100 && result == 0; at++) {
      snprintf(name, sizeof name, "more%u", at);
      result = set(file, name, value, value_max / 4);
    }
    CHECK_EQ(result, -1);
    CHECK_EQ(errno, ENOSPC);
    dm_attrname_t more = named("more-nos");
    CHECK_ERRNO(dm_set_dmattr_nosync(ON(file), &more, 0, value_max / 4, value), ENOSPC);
    CHECK_ERRNO(set(file, "more0", value, value_max), ENOSPC);
    check_value(file, "more0", value, value_max / 4);
    full_of_attributes();
  }
}

static void lists(void) {
  make_file(in_fs("listed"), 1);
  struct handle listed = handle_of(in_fs("listed"));
  _Alignas(8) char room[4096];
  size_t rlen = 4711;
  CHECK_EQ(dm_getall_dmattr(ON(listed), 0, NULL, &rlen), 0);
  CHECK_EQ(rlen, 0);
  /* Neither other xattrs nor regions and lists are in it. */
  CHECK_EQ(setxattr(in_fs("listed"), "user.other", "x", 1, 0), 0);
  if (!bed.ordinary)
    CHECK_EQ(setxattr(in_fs("listed"), "trusted.other", "x", 1, 0), 0);
  dm_region_t region = {0, 0, DM_REGION_NOEVENT, 0};
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(ON(listed), 1, &region, &exact), 0);
  CHECK_EQ(dm_getall_dmattr(ON(listed), sizeof room, room, &rlen), 0);
  CHECK_EQ(rlen, 0);
  const struct {
    const char *name;
    size_t length;
  } attributes[] = {{"one", 1}, {"two", 0}, {"three333", 13}, {"four", 64}};
  size_t total = 0, count = sizeof attributes / sizeof attributes[0];
  for (size_t at = 0; at < count; at++) {
    CHECK_EQ(set(listed, attributes[at].name, value, attributes[at].length), 0);
    total += (sizeof(dm_attrlist_t) + attributes[at].length + 3) / 4 * 4;
  }
  CHECK_ERRNO(dm_getall_dmattr(ON(listed), total - 1, room, &rlen), E2BIG);
  CHECK_EQ(rlen, total);
  CHECK_ERRNO(dm_getall_dmattr(ON(listed), sizeof room, room + 2, &rlen), EFAULT);
  CHECK_ERRNO(dm_getall_dmattr(ON(listed), sizeof room, NULL, &rlen), EFAULT);
  CHECK_ERRNO(dm_getall_dmattr(ON(listed), sizeof room, room, NULL), EFAULT);
  CHECK_EQ(dm_getall_dmattr(ON(listed), total, room, &rlen), 0);
  CHECK_EQ(rlen, total);
  size_t found = 0;
  for (dm_attrlist_t *attr = (dm_attrlist_t *)(void *)room; attr != NULL; attr = DM_STEP_TO_NEXT(attr, dm_attrlist_t *)) {
    for (size_t at = 0; at < count; at++) {
      dm_attrname_t name = named(attributes[at].name);
      if (memcmp(&name, &attr->al_name, sizeof name) != 0)
        continue;
      found++;
      CHECK_EQ(DM_GET_LEN(attr, al_data), attributes[at].length);
      if (attributes[at].length > 0)
        CHECK(memcmp(DM_GET_VALUE(attr, al_data, char *), value, attributes[at].length) == 0);
    }
  }
  CHECK_EQ(found, count);
}

static void kinds(void) {
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  CHECK_EQ(symlink("nowhere", in_fs("link")), 0);
  struct handle on[] = {handle_of(in_fs("dir")), handle_of(in_fs("link"))};
  for (size_t at = 0; at < 2; at++) {
    CHECK_EQ(set(on[at], "kind", "value", 5), 0);
    check_value(on[at], "kind", "value", 5);
    CHECK_EQ(drop(on[at], "kind"), 0);
  }
}

static void times(void) {
  make_file(in_fs("timed"), 10);
  struct handle timed = handle_of(in_fs("timed"));
  dm_stat_t before, after;
  CHECK_EQ(set(timed, "first", "1", 1), 0);
  dm_fileattr_t attr;
  memset(&attr, 0, sizeof attr);
  attr.fa_dtime = 1000000;
  attr.fa_mtime = 2000000;
  u_int mask = DM_AT_STAT | DM_AT_DTIME | DM_AT_CFLAG | DM_AT_PATTR;
  CHECK_EQ(dm_set_fileattr(ON(timed), DM_AT_DTIME | DM_AT_MTIME, &attr), 0);
  CHECK_EQ(dm_get_fileattr(ON(timed), mask, &before), 0);
  CHECK(before.dt_pers);
  CHECK_EQ(before.dt_dtime, 1000000);
  CHECK_EQ(set(timed, "second", "2", 1), 0);
  CHECK_EQ(dm_get_fileattr(ON(timed), mask, &after), 0);
  CHECK_EQ(after.dt_dtime, 1000000);
  CHECK_EQ(after.dt_mtime, 2000000);
  CHECK(after.dt_change != before.dt_change);
  dm_attrname_t second = named("second");
  CHECK_EQ(dm_remove_dmattr(ON(timed), 1, &second), 0);
  CHECK_EQ(dm_get_fileattr(ON(timed), mask, &after), 0);
  CHECK(after.dt_dtime > 1000000);
  CHECK_EQ(after.dt_mtime, 2000000);
  attr.fa_dtime = 3000000;
  CHECK_EQ(dm_set_fileattr(ON(timed), DM_AT_DTIME, &attr), 0);
  dm_attrname_t third = named("third");
  CHECK_EQ(dm_set_dmattr(ON(timed), &third, 1, 1, (char[]){"3"}), 0);
  CHECK_EQ(dm_get_fileattr(ON(timed), mask, &after), 0);
  CHECK(after.dt_dtime > 3000000);
  CHECK_EQ(drop(timed, "third"), 0);
  CHECK_EQ(drop(timed, "first"), 0);
  CHECK_EQ(dm_get_fileattr(ON(timed), mask, &after), 0);
  CHECK(!after.dt_pers && after.dt_dtime == 0);
}

/* On the disk they are what older systems wrote: trusted.SGI_DMI_NAME. */
static void on_disk(void) {
  char got[16];
  CHECK_EQ(set(file, "DISK", "there", 5), 0);
  char path[128], disk[32], old[32];
  snprintf(path, sizeof path, "%s/file", bed.fuse ? bed.back : bed.fs);
  snprintf(disk, sizeof disk, "%s.SGI_DMI_DISK", bed.ordinary ? "user" : "trusted");
  snprintf(old, sizeof old, "%s.SGI_DMI_OLD", bed.ordinary ? "user" : "trusted");
  CHECK_EQ(getxattr(path, disk, got, sizeof got), 5);
  CHECK(memcmp(got, "there", 5) == 0);
  if (bed.fuse) {
    /* Through the mount they are nobody's: a copy that took them along would pass for a stub. */
    CHECK_ERRNO(getxattr(in_fs("file"), disk, got, sizeof got), ENODATA);
    CHECK_ERRNO(setxattr(in_fs("file"), old, "older", 5, 0), EPERM);
    char list[256];
    CHECK_EQ(listxattr(in_fs("file"), list, sizeof list), 0);
  }
  CHECK_EQ(setxattr(path, old, "older", 5, 0), 0);
  check_value(file, "OLD", "older", 5);
  kill_worker();
  check_value(file, "DISK", "there", 5);
}

static void body(void) {
  make_file(in_fs("file"), 100);
  file = handle_of(in_fs("file"));
  sid = new_session("dmattr");
  CHECK_EQ(dm_get_config(file.hanp, file.hlen, DM_CONFIG_MAX_ATTRIBUTE_SIZE, &value_max), 0);
  CHECK(value_max >= 500 && value_max <= ROOM);
  value = malloc(value_max + 1);
  for (size_t at = 0; at <= value_max; at++)
    value[at] = (char)pattern_at(at);
  names_and_sizes();
  kinds();
  lists();
  times();
  on_disk();
  limits();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
