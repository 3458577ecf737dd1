/* Purpose: dm_get_mountinfo gives what the MOUNT event said, whole and exact. */
#include "harness.h"

#include <sys/stat.h>

static struct handle file, fs, root;
static dm_sessid_t sid;

static bool is_handle(const dm_mount_event_t *body, dm_vardata_t part, struct handle handle) {
  return part.vd_length == handle.hlen && memcmp((const char *)body + part.vd_offset, handle.hanp, handle.hlen) == 0;
}

static void check_body(const dm_mount_event_t *body, size_t length) {
  CHECK_EQ(body->me_mode, 0);
  CHECK(is_handle(body, body->me_handle1, fs));
  CHECK(is_handle(body, body->me_roothandle, root));
  CHECK_EQ(body->me_handle2.vd_length, 0);
  CHECK(strcmp(DM_GET_VALUE(body, me_name1, char *), bed.fs) == 0);
  CHECK_EQ(DM_GET_LEN(body, me_name1), strlen(bed.fs) + 1);
  const char *source = bed.fuse ? bed.back : "/dev/loop";
  CHECK(strncmp(DM_GET_VALUE(body, me_name2, char *), source, strlen(source)) == 0);
  CHECK_EQ(DM_GET_LEN(body, me_name2), strlen(DM_GET_VALUE(body, me_name2, char *)) + 1);
  CHECK_EQ(length, body->me_roothandle.vd_offset + (long long)body->me_roothandle.vd_length);
}

static void good(void) {
  union {
    dm_mount_event_t body;
    char room[1024];
    dm_size_t align;
  } buffer;
  memset(&buffer, 7, sizeof buffer);
  size_t length = 0, need = 0;
  CHECK_ERRNO_KEEPS(dm_get_mountinfo(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, 16, &buffer, &need), E2BIG, buffer);
  CHECK_ERRNO(dm_get_mountinfo(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, 0, NULL, &need), E2BIG);
  CHECK_ERRNO_KEEPS(dm_get_mountinfo(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, need - 1, &buffer, &length), E2BIG, buffer);
  CHECK_EQ(length, need);
  length = 0;
  CHECK_EQ(dm_get_mountinfo(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, need, &buffer, &length), 0);
  CHECK_EQ(length, need);
  check_body(&buffer.body, length);
  CHECK_ERRNO(dm_get_mountinfo(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, need, buffer.room + 4, &length), EFAULT);
}

static void refusals(void) {
  dm_size_t room[128] = {0};
  size_t length = 4711;
  CHECK_ERRNO(dm_get_mountinfo(sid, file.hanp, file.hlen, DM_NO_TOKEN, sizeof room, room, &length), EINVAL);
  CHECK_ERRNO(dm_get_mountinfo(sid, root.hanp, root.hlen, DM_NO_TOKEN, sizeof room, room, &length), EINVAL);
  CHECK_ERRNO(dm_get_mountinfo(sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_NO_TOKEN, sizeof room, room, &length), EBADF);
  CHECK_ERRNO(dm_get_mountinfo(sid + 100, fs.hanp, fs.hlen, DM_NO_TOKEN, sizeof room, room, &length), EINVAL);
  CHECK_ERRNO(dm_get_mountinfo(DM_NO_SESSION, fs.hanp, fs.hlen, DM_NO_TOKEN, sizeof room, room, &length), EINVAL);
  CHECK_ERRNO(dm_get_mountinfo(sid, fs.hanp, fs.hlen, DM_INVALID_TOKEN, sizeof room, room, &length), EINVAL);
  dm_token_t token;
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &token), 0);
  CHECK_ERRNO(dm_get_mountinfo(sid, fs.hanp, fs.hlen, token, sizeof room, room, &length), EACCES);
  CHECK_EQ(length, 4711);
  CHECK_EQ(dm_request_right(sid, fs.hanp, fs.hlen, token, 0, DM_RIGHT_SHARED), 0);
  CHECK_EQ(dm_get_mountinfo(sid, fs.hanp, fs.hlen, token, sizeof room, room, &length), 0);
  check_body((const dm_mount_event_t *)room, length);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
}

static void body(void) {
  make_file(in_fs("file"), 100);
  file = handle_of(in_fs("file"));
  root = handle_of(bed.fs);
  fs = fs_handle_of(bed.fs);
  sid = new_session("mountinfo");
  good();
  refusals();
  kill_worker();
  good();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
