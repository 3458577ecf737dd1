/* Purpose: dm_get_config, dm_get_config_events and dm_get_dioinfo on file, directory and file system. */
#include "harness.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct handle file, dir, fs;

static dm_size_t config(struct handle handle, dm_config_t flag) {
  dm_size_t value = 4711;
  CHECK_EQ(dm_get_config(handle.hanp, handle.hlen, flag, &value), 0);
  CHECK(value != 4711);
  return value;
}

static void every_flag_has_a_value(void) {
  const struct handle handles[] = {file, dir, fs};
  for (size_t at = 0; at < 3; at++) {
    for (int flag = DM_CONFIG_LOWEST; flag <= DM_CONFIG_HIGHEST; flag++)
      config(handles[at], (dm_config_t)flag);
    CHECK_EQ(config(handles[at], DM_CONFIG_CREATE_BY_HANDLE), DM_FALSE);
    CHECK_EQ(config(handles[at], DM_CONFIG_LOCK_UPGRADE), DM_TRUE);
    CHECK_EQ(config(handles[at], DM_CONFIG_PERS_ATTRIBUTES), DM_TRUE);
    CHECK_EQ(config(handles[at], DM_CONFIG_PERS_MANAGED_REGIONS), DM_TRUE);
    CHECK_EQ(config(handles[at], DM_CONFIG_PUNCH_HOLE), DM_TRUE);
    CHECK_EQ(config(handles[at], DM_CONFIG_OBJ_REF), DM_TRUE);
    CHECK_EQ(config(handles[at], DM_CONFIG_MAX_MESSAGE_DATA), 3960);
    CHECK(config(handles[at], DM_CONFIG_MAX_MANAGED_REGIONS) >= 1);
    CHECK(config(handles[at], DM_CONFIG_MAX_ATTRIBUTE_SIZE) >= 512);
    CHECK(config(handles[at], DM_CONFIG_MAX_ATTR_ON_DESTROY) >= 256);
    dm_size_t handle_size = config(handles[at], DM_CONFIG_MAX_HANDLE_SIZE);
    CHECK(handle_size >= file.hlen && handle_size <= DM_MAX_HANDLE_SIZE);
  }
}

static void flags_and_handles_are_checked(void) {
  dm_size_t value = 1;
  const int flags[] = {DM_CONFIG_INVALID, DM_CONFIG_MAX, -1, 1000};
  for (size_t at = 0; at < 4; at++)
    CHECK_ERRNO_KEEPS(dm_get_config(fs.hanp, fs.hlen, (dm_config_t)flags[at], &value), EINVAL, value);
  dm_config_t flag = DM_CONFIG_MAX_ATTRIBUTE_SIZE;
  CHECK_ERRNO_KEEPS(dm_get_config(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, flag, &value), EBADF, value);
  CHECK_ERRNO_KEEPS(dm_get_config(file.hanp, file.hlen - 1, flag, &value), EBADF, value);
  CHECK_ERRNO_KEEPS(dm_get_config(file.hanp, file.hlen + 1, flag, &value), EBADF, value);
  CHECK_ERRNO_KEEPS(dm_get_config(NULL, 24, flag, &value), EFAULT, value);
  CHECK_ERRNO(dm_get_config(fs.hanp, fs.hlen, flag, NULL), EFAULT);
  ((unsigned char *)file.hanp)[12] ^= 0x55; /* the generation */
  CHECK_ERRNO_KEEPS(dm_get_config(file.hanp, file.hlen, flag, &value), EBADF, value);
  ((unsigned char *)file.hanp)[12] ^= 0x55;
  ((unsigned char *)fs.hanp)[3] ^= 0x55; /* no such file system */
  CHECK_ERRNO_KEEPS(dm_get_config(fs.hanp, fs.hlen, flag, &value), EBADF, value);
  ((unsigned char *)fs.hanp)[3] ^= 0x55;
}

static void events(void) {
  dm_eventset_t set = 0;
  u_int count = 4711;
  const struct handle handles[] = {file, dir, fs};
  for (size_t at = 0; at < 3; at++) {
    CHECK_EQ(dm_get_config_events(handles[at].hanp, handles[at].hlen, DM_EVENT_MAX, &set, &count), 0);
    CHECK_EQ(count, DM_EVENT_MAX);
    CHECK(DMEV_ISSET(DM_EVENT_READ, set) && DMEV_ISSET(DM_EVENT_WRITE, set) && DMEV_ISSET(DM_EVENT_TRUNCATE, set));
    CHECK(DMEV_ISSET(DM_EVENT_USER, set));
    CHECK(!DMEV_ISSET(DM_EVENT_CANCEL, set));
    CHECK_EQ(set >> DM_EVENT_MAX, 0);
  }
  count = 4711;
  set = 1;
  CHECK_ERRNO_KEEPS(dm_get_config_events(fs.hanp, fs.hlen, 0, &set, &count), E2BIG, set);
  CHECK_EQ(count, DM_EVENT_MAX);
  CHECK_ERRNO_KEEPS(dm_get_config_events(fs.hanp, fs.hlen, DM_EVENT_MAX - 1, &set, &count), E2BIG, set);
  CHECK_ERRNO_KEEPS(dm_get_config_events(DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_EVENT_MAX, &set, &count), EBADF, set);
  CHECK_ERRNO(dm_get_config_events(fs.hanp, fs.hlen, DM_EVENT_MAX, NULL, &count), EFAULT);
  CHECK_ERRNO_KEEPS(dm_get_config_events(fs.hanp, fs.hlen, DM_EVENT_MAX, &set, NULL), EFAULT, set);
}

static void direct_io(void) {
  dm_sessid_t sid = new_session("config");
  dm_dioinfo_t info = {0, 0, 0, 0};
  CHECK_EQ(dm_get_dioinfo(sid, file.hanp, file.hlen, DM_NO_TOKEN, &info), 0);
  CHECK(info.d_miniosz > 0 && info.d_maxiosz >= info.d_miniosz && info.d_mem > 0);
  CHECK_ERRNO_KEEPS(dm_get_dioinfo(sid, dir.hanp, dir.hlen, DM_NO_TOKEN, &info), EINVAL, info);
  CHECK_ERRNO_KEEPS(dm_get_dioinfo(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &info), EINVAL, info);
  CHECK_ERRNO_KEEPS(dm_get_dioinfo(0, file.hanp, file.hlen, DM_NO_TOKEN, &info), EINVAL, info);
  CHECK_EQ(dm_destroy_session(sid), 0);
}

static void a_removed_file_has_none(void) {
  dm_size_t value = 1;
  dm_eventset_t set = 1;
  u_int count = 1;
  CHECK_EQ(unlink(in_fs("file")), 0);
  CHECK_ERRNO_KEEPS(dm_get_config(file.hanp, file.hlen, DM_CONFIG_MAX_ATTRIBUTE_SIZE, &value), EBADF, value);
  CHECK_ERRNO_KEEPS(dm_get_config_events(file.hanp, file.hlen, DM_EVENT_MAX, &set, &count), EBADF, set);
}

static void body(void) {
  make_file(in_fs("file"), 10000);
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  file = handle_of(in_fs("file"));
  dir = handle_of(in_fs("dir"));
  fs = fs_handle_of(in_fs("file"));
  every_flag_has_a_value();
  flags_and_handles_are_checked();
  events();
  direct_io();
  a_removed_file_has_none();
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
