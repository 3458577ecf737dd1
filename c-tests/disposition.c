/* Purpose: which events go to which session (dispositions), and which an object produces (event lists). */
#include "harness.h"

#include <sys/stat.h>

static struct handle file, dir, sym, fs;
static const struct handle global = {DM_GLOBAL_HANP, DM_GLOBAL_HLEN};
static dm_sessid_t sid;

static int set_disp(dm_sessid_t session, struct handle handle, dm_eventset_t set, u_int maxevent) {
  return dm_set_disp(session, handle.hanp, handle.hlen, DM_NO_TOKEN, &set, maxevent);
}

static int set_list(struct handle handle, dm_eventset_t set, u_int maxevent) {
  return dm_set_eventlist(sid, handle.hanp, handle.hlen, DM_NO_TOKEN, &set, maxevent);
}

static dm_eventset_t only(int event) {
  return (dm_eventset_t)1 << event;
}

/* What the session has on the file system; 0: it is not listed. */
static dm_eventset_t disposition(dm_sessid_t session) {
  struct {
    dm_dispinfo_t info;
    char more[40];
  } buffer;
  size_t length = 4711;
  CHECK_EQ(dm_getall_disp(session, sizeof buffer, &buffer, &length), 0);
  if (length == 0)
    return 0;
  CHECK_EQ(length, sizeof(dm_dispinfo_t) + 8);
  CHECK_EQ(buffer.info._link, 0);
  CHECK_EQ(dm_handle_cmp(DM_GET_VALUE(&buffer.info, di_fshandle, void *), DM_GET_LEN(&buffer.info, di_fshandle),
                         fs.hanp, fs.hlen),
           0);
  return buffer.info.di_eventset;
}

static dm_eventset_t event_list(struct handle handle) {
  dm_eventset_t set = 0;
  u_int count = 4711;
  CHECK_EQ(dm_get_eventlist(sid, handle.hanp, handle.hlen, DM_NO_TOKEN, 64, &set, &count), 0);
  CHECK(set >> count == 0);
  CHECK(count == 0 || (set >> (count - 1)) == 1);
  return set;
}

static void dispositions_of_a_file_system(void) {
  for (int event = DM_EVENT_LOWEST; event <= DM_EVENT_HIGHEST; event++) {
    bool is_wrong = event == DM_EVENT_MOUNT || event == DM_EVENT_USER || event == DM_EVENT_CANCEL;
    if (is_wrong) {
      CHECK_ERRNO(set_disp(sid, fs, only(event), DM_EVENT_MAX), EINVAL);
      continue;
    }
    CHECK_EQ(set_disp(sid, fs, only(event), DM_EVENT_MAX), 0);
    CHECK_EQ(disposition(sid), only(event));
  }
  dm_eventset_t both = only(DM_EVENT_READ) | only(DM_EVENT_DESTROY);
  CHECK_EQ(set_disp(sid, fs, both, DM_EVENT_MAX), 0);
  CHECK_EQ(disposition(sid), both);
  /* Bits from maxevent on do not count, and the call replaces the set. */
  CHECK_EQ(set_disp(sid, fs, both, DM_EVENT_READ + 1), 0);
  CHECK(DMEV_ISSET(DM_EVENT_READ, disposition(sid)));
  CHECK_EQ(set_disp(sid, fs, only(DM_EVENT_READ), DM_EVENT_READ), 0);
  CHECK(!DMEV_ISSET(DM_EVENT_READ, disposition(sid)));
  CHECK_ERRNO(set_disp(sid, fs, both, 0), EINVAL);
  CHECK_ERRNO(set_disp(sid, fs, both, DM_EVENT_MAX + 1), EINVAL);
  CHECK_ERRNO(set_disp(sid, file, both, DM_EVENT_MAX), EINVAL);
  CHECK_ERRNO(set_disp(sid, dir, both, DM_EVENT_MAX), EINVAL);
  CHECK_ERRNO(set_disp(sid, sym, both, DM_EVENT_MAX), EINVAL);
  CHECK_ERRNO(dm_set_disp(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, NULL, DM_EVENT_MAX), EFAULT);
  CHECK_EQ(set_disp(sid, fs, 0, DM_EVENT_MAX), 0);
  CHECK_EQ(disposition(sid), 0);
}

static void dispositions_of_everything(void) {
  CHECK_EQ(set_disp(sid, global, only(DM_EVENT_MOUNT), DM_EVENT_MAX), 0);
  CHECK_EQ(disposition(sid), 0);
  CHECK_ERRNO(set_disp(sid, global, only(DM_EVENT_READ), DM_EVENT_MAX), EINVAL);
  CHECK_ERRNO(set_disp(sid, global, only(DM_EVENT_MOUNT) | only(DM_EVENT_UNMOUNT), DM_EVENT_MAX), EINVAL);
  dm_token_t token;
  dm_eventset_t mount = only(DM_EVENT_MOUNT);
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &token), 0);
  CHECK_ERRNO(dm_set_disp(sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, token, &mount, DM_EVENT_MAX), EINVAL);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK_EQ(set_disp(sid, global, 0, DM_EVENT_MAX), 0);
}

static void the_newest_session_has_it(void) {
  dm_sessid_t other = new_session("other");
  CHECK_EQ(set_disp(sid, fs, only(DM_EVENT_READ) | only(DM_EVENT_WRITE), DM_EVENT_MAX), 0);
  CHECK_EQ(set_disp(other, fs, only(DM_EVENT_WRITE) | only(DM_EVENT_TRUNCATE), DM_EVENT_MAX), 0);
  CHECK_EQ(disposition(sid), only(DM_EVENT_READ));
  CHECK_EQ(disposition(other), only(DM_EVENT_WRITE) | only(DM_EVENT_TRUNCATE));
  size_t length = 4711;
  dm_dispinfo_t room[2];
  CHECK_ERRNO_KEEPS(dm_getall_disp(other, 8, room, &length), E2BIG, room);
  CHECK_EQ(length, sizeof(dm_dispinfo_t) + 8);
  CHECK_EQ(dm_getall_disp(other, length, room, &length), 0);
  CHECK_EQ(dm_destroy_session(other), 0);
  CHECK_ERRNO(dm_getall_disp(other, sizeof room, room, &length), EINVAL);
  CHECK_EQ(set_disp(sid, fs, 0, DM_EVENT_MAX), 0);
}

static bool is_namespace(int event) {
  return (event >= DM_EVENT_CREATE && event <= DM_EVENT_POSTSYMLINK) && event != DM_EVENT_CLOSE;
}

static bool is_valid_on(struct handle handle, int event) {
  bool is_common = event == DM_EVENT_ATTRIBUTE || event == DM_EVENT_DESTROY || event == DM_EVENT_CLOSE;
  if (handle.hanp == fs.hanp)
    return is_common || is_namespace(event) || event == DM_EVENT_PREUNMOUNT || event == DM_EVENT_UNMOUNT ||
           event == DM_EVENT_NOSPACE;
  if (handle.hanp == dir.hanp)
    return is_common || is_namespace(event);
  return is_common;
}

static void lists_by_kind(void) {
  const struct handle handles[] = {file, dir, sym, fs};
  for (size_t at = 0; at < 4; at++) {
    CHECK_EQ(event_list(handles[at]), 0);
    for (int event = DM_EVENT_LOWEST; event <= DM_EVENT_HIGHEST; event++) {
      bool is_data = event == DM_EVENT_READ || event == DM_EVENT_WRITE || event == DM_EVENT_TRUNCATE;
      if (is_valid_on(handles[at], event)) {
        CHECK_EQ(set_list(handles[at], only(event), DM_EVENT_MAX), 0);
        CHECK_EQ(event_list(handles[at]), only(event));
      } else if (!is_data) {
        dm_eventset_t before = event_list(handles[at]);
        CHECK_ERRNO(set_list(handles[at], only(event), DM_EVENT_MAX), EINVAL);
        CHECK_EQ(event_list(handles[at]), before);
      }
    }
    CHECK_EQ(set_list(handles[at], 0, DM_EVENT_MAX), 0);
    CHECK_EQ(event_list(handles[at]), 0);
  }
  CHECK_ERRNO(set_list(global, only(DM_EVENT_ATTRIBUTE), DM_EVENT_MAX), EINVAL);
  dm_eventset_t set = 0;
  u_int count = 0;
  CHECK_ERRNO(dm_get_eventlist(sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_NO_TOKEN, 64, &set, &count), EINVAL);
}

static void lists_and_their_length(void) {
  dm_eventset_t both = only(DM_EVENT_ATTRIBUTE) | only(DM_EVENT_DESTROY), set = 1;
  u_int count = 0;
  CHECK_EQ(set_list(file, both, DM_EVENT_MAX), 0);
  CHECK_ERRNO_KEEPS(dm_get_eventlist(sid, file.hanp, file.hlen, DM_NO_TOKEN, DM_EVENT_DESTROY, &set, &count), E2BIG, set);
  CHECK_EQ(count, DM_EVENT_DESTROY + 1);
  CHECK_EQ(dm_get_eventlist(sid, file.hanp, file.hlen, DM_NO_TOKEN, count, &set, &count), 0);
  CHECK_EQ(set, both);
  /* Only bits below maxevent are replaced. */
  CHECK_EQ(set_list(file, 0, DM_EVENT_DESTROY), 0);
  CHECK_EQ(event_list(file), only(DM_EVENT_DESTROY));
  CHECK_ERRNO(set_list(file, both, 0), EINVAL);
  CHECK_ERRNO(set_list(file, both, 65), EINVAL);
  CHECK_EQ(set_list(file, 0, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_get_eventlist(sid, file.hanp, file.hlen, DM_NO_TOKEN, 0, &set, &count), 0);
  CHECK_EQ(count, 0);
}

static void lists_show_regions(void) {
  dm_region_t region = {0, 0, DM_REGION_READ | DM_REGION_TRUNCATE, 0};
  dm_boolean_t exact = 7;
  CHECK_EQ(set_list(file, only(DM_EVENT_DESTROY), DM_EVENT_MAX), 0);
  CHECK_EQ(dm_set_region(sid, file.hanp, file.hlen, DM_NO_TOKEN, 1, &region, &exact), 0);
  CHECK_EQ(event_list(file), only(DM_EVENT_READ) | only(DM_EVENT_TRUNCATE) | only(DM_EVENT_DESTROY));
  CHECK_EQ(dm_set_region(sid, file.hanp, file.hlen, DM_NO_TOKEN, 0, NULL, &exact), 0);
  CHECK_EQ(event_list(file), only(DM_EVENT_DESTROY));
  CHECK_EQ(set_list(file, 0, DM_EVENT_MAX), 0);
}

static void rights(void) {
  dm_token_t token;
  dm_eventset_t set = only(DM_EVENT_ATTRIBUTE), got = 0;
  u_int count = 0;
  CHECK_EQ(dm_create_userevent(sid, 0, NULL, &token), 0);
  const struct handle handles[] = {file, fs};
  for (size_t at = 0; at < 2; at++) {
    struct handle h = handles[at];
    CHECK_ERRNO(dm_set_eventlist(sid, h.hanp, h.hlen, token, &set, DM_EVENT_MAX), EACCES);
    CHECK_ERRNO(dm_get_eventlist(sid, h.hanp, h.hlen, token, 64, &got, &count), EACCES);
    CHECK_EQ(dm_request_right(sid, h.hanp, h.hlen, token, 0, DM_RIGHT_SHARED), 0);
    CHECK_ERRNO(dm_set_eventlist(sid, h.hanp, h.hlen, token, &set, DM_EVENT_MAX), EACCES);
    CHECK_EQ(dm_get_eventlist(sid, h.hanp, h.hlen, token, 64, &got, &count), 0);
    CHECK_EQ(dm_upgrade_right(sid, h.hanp, h.hlen, token), 0);
    CHECK_EQ(dm_set_eventlist(sid, h.hanp, h.hlen, token, &set, DM_EVENT_MAX), 0);
  }
  CHECK_EQ(dm_downgrade_right(sid, fs.hanp, fs.hlen, token), 0);
  CHECK_ERRNO(dm_set_disp(sid, fs.hanp, fs.hlen, token, &set, DM_EVENT_MAX), EACCES);
  CHECK_EQ(dm_upgrade_right(sid, fs.hanp, fs.hlen, token), 0);
  CHECK_EQ(dm_set_disp(sid, fs.hanp, fs.hlen, token, &set, DM_EVENT_MAX), 0);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK_ERRNO(dm_set_disp(sid, fs.hanp, fs.hlen, token, &set, DM_EVENT_MAX), ESRCH);
  CHECK_ERRNO(dm_set_disp(sid, fs.hanp, fs.hlen, DM_INVALID_TOKEN, &set, DM_EVENT_MAX), EINVAL);
  CHECK_EQ(set_list(file, 0, DM_EVENT_MAX), 0);
  CHECK_EQ(set_list(fs, 0, DM_EVENT_MAX), 0);
  CHECK_EQ(set_disp(sid, fs, 0, DM_EVENT_MAX), 0);
}

static void return_on_destroy(void) {
  dm_attrname_t name = {"copy"}, empty = {{0}};
  dm_sessid_t other = new_session("other");
  CHECK_EQ(dm_set_return_on_destroy(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &name, DM_TRUE), 0);
  CHECK(DMEV_ISSET(DM_EVENT_DESTROY, disposition(sid)));
  CHECK_ERRNO(dm_set_return_on_destroy(other, fs.hanp, fs.hlen, DM_NO_TOKEN, &name, DM_FALSE), EINVAL);
  CHECK_EQ(dm_set_return_on_destroy(other, fs.hanp, fs.hlen, DM_NO_TOKEN, &name, DM_TRUE), 0);
  CHECK(!DMEV_ISSET(DM_EVENT_DESTROY, disposition(sid)));
  CHECK_EQ(dm_set_return_on_destroy(other, fs.hanp, fs.hlen, DM_NO_TOKEN, NULL, DM_FALSE), 0);
  CHECK_ERRNO(dm_set_return_on_destroy(sid, fs.hanp, fs.hlen, DM_NO_TOKEN, &empty, DM_TRUE), EINVAL);
  CHECK_ERRNO(dm_set_return_on_destroy(sid, file.hanp, file.hlen, DM_NO_TOKEN, &name, DM_TRUE), EINVAL);
  CHECK_ERRNO(dm_set_return_on_destroy(sid, DM_GLOBAL_HANP, DM_GLOBAL_HLEN, DM_NO_TOKEN, &name, DM_TRUE), EBADF);
  CHECK_EQ(dm_destroy_session(other), 0);
}

static void lists_survive_the_worker(void) {
  dm_eventset_t both = only(DM_EVENT_ATTRIBUTE) | only(DM_EVENT_DESTROY);
  CHECK_EQ(set_list(file, both, DM_EVENT_MAX), 0);
  CHECK_EQ(set_list(fs, both, DM_EVENT_MAX), 0);
  CHECK_EQ(set_disp(sid, fs, both, DM_EVENT_MAX), 0);
  kill_worker();
  CHECK_EQ(event_list(file), both);
  CHECK_EQ(event_list(fs), both);
  CHECK_EQ(disposition(sid), both);
  CHECK_EQ(set_list(file, 0, DM_EVENT_MAX), 0);
  CHECK_EQ(set_list(fs, 0, DM_EVENT_MAX), 0);
  CHECK_EQ(set_disp(sid, fs, 0, DM_EVENT_MAX), 0);
}

static void body(void) {
  make_file(in_fs("file"), 10000);
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  CHECK_EQ(symlink("file", in_fs("link")), 0);
  file = handle_of(in_fs("file"));
  dir = handle_of(in_fs("dir"));
  sym = handle_of(in_fs("link"));
  fs = fs_handle_of(bed.fs);
  sid = new_session("dispositions");
  dispositions_of_a_file_system();
  dispositions_of_everything();
  the_newest_session_has_it();
  lists_by_kind();
  lists_and_their_length();
  lists_show_regions();
  rights();
  return_on_destroy();
  lists_survive_the_worker();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
