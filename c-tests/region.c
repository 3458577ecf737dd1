/* Purpose: managed regions: what is set comes back, limits, busy files; and what they do: the exact edges of READ,
 * WRITE and TRUNCATE events, answers, dm_pending, mappings. */
#include "user.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { PAGE = 4096, FILE_BYTES = 8 * PAGE + 123, REGIONS_MAX = 64 };

static struct handle file, other, dir, fs;
static dm_sessid_t sid;
static u_int regions_max;

#define ON(h) sid, (h).hanp, (h).hlen, DM_NO_TOKEN

static void set(struct handle on, u_int count, dm_region_t *regions) {
  dm_boolean_t exact = DM_FALSE;
  CHECK_EQ(dm_set_region(ON(on), count, regions, &exact), 0);
  CHECK_EQ(exact, DM_TRUE);
}

static void set_one(struct handle on, dm_off_t offset, dm_size_t size, u_int flags) {
  dm_region_t region = {offset, size, flags, 0};
  set(on, 1, &region);
}

static void clear(struct handle on) {
  set(on, 0, NULL);
}

static void round_trips(void) {
  dm_region_t got[REGIONS_MAX];
  u_int count = 4711;
  CHECK_EQ(dm_get_region(ON(file), 0, NULL, &count), 0);
  CHECK_EQ(count, 0);
  for (u_int flags = 0; flags < 8; flags++) {
    set_one(file, 0, 0, flags);
    CHECK_EQ(dm_get_region(ON(file), 1, got, &count), 0);
    CHECK_EQ(count, 1);
    CHECK(got[0].rg_offset == 0 && got[0].rg_size == 0 && got[0].rg_flags == flags);
    /* The event list shows them. */
    dm_eventset_t events = 0;
    CHECK_EQ(dm_get_eventlist(ON(file), 64, &events, &count), 0);
    CHECK_EQ(DMEV_ISSET(DM_EVENT_READ, events) != 0, (flags & DM_REGION_READ) != 0);
    CHECK_EQ(DMEV_ISSET(DM_EVENT_WRITE, events) != 0, (flags & DM_REGION_WRITE) != 0);
    CHECK_EQ(DMEV_ISSET(DM_EVENT_TRUNCATE, events) != 0, (flags & DM_REGION_TRUNCATE) != 0);
  }
  /* Odd bounds, overlapping, out of order, with the application's own word. */
  dm_region_t odd[3] = {{7, 13, DM_REGION_WRITE, 0xFEEDBEEF},
                        {3, 0, DM_REGION_READ, 1},
                        {5, 10, DM_REGION_READ | DM_REGION_TRUNCATE, 2}};
  set(file, 3, odd);
  CHECK_ERRNO(dm_get_region(ON(file), 2, got, &count), E2BIG);
  CHECK_EQ(count, 3);
  CHECK_ERRNO(dm_get_region(ON(file), 0, NULL, &count), E2BIG);
  CHECK_EQ(dm_get_region(ON(file), REGIONS_MAX, got, &count), 0);
  CHECK_EQ(count, 3);
  CHECK(memcmp(got, odd, sizeof odd) == 0);
  kill_worker();
  CHECK_EQ(dm_get_region(ON(file), REGIONS_MAX, got, &count), 0);
  CHECK(count == 3 && memcmp(got, odd, sizeof odd) == 0);
  dm_boolean_t exact = DM_FALSE;
  CHECK_EQ(dm_set_region_nosync(ON(file), 1, odd, &exact), 0);
  CHECK_EQ(exact, DM_TRUE);
  CHECK_EQ(dm_sync_dmattr_by_handle(ON(file)), 0);
  CHECK_EQ(dm_get_region(ON(file), REGIONS_MAX, got, &count), 0);
  CHECK_EQ(count, 1);
  clear(file);
  CHECK_EQ(dm_get_region(ON(file), 0, NULL, &count), 0);
  CHECK_EQ(count, 0);
}

static void limits(void) {
  static dm_region_t many[REGIONS_MAX];
  dm_boolean_t exact;
  for (u_int at = 0; at < regions_max; at++)
    many[at] = (dm_region_t){at * 10, 5, DM_REGION_NOEVENT, at};
  set(file, regions_max, many);
  u_int count = 0;
  static dm_region_t got[REGIONS_MAX];
  CHECK_EQ(dm_get_region(ON(file), REGIONS_MAX, got, &count), 0);
  CHECK_EQ(count, regions_max);
  CHECK(memcmp(got, many, regions_max * sizeof many[0]) == 0);
  /* Too many is told before the buffer is looked at. */
  CHECK_ERRNO(dm_set_region(ON(file), regions_max + 1, NULL, &exact), E2BIG);
  CHECK_ERRNO(dm_set_region(ON(file), 0xFFFFFFFFu, unmapped_address(), &exact), E2BIG);
  CHECK_ERRNO(dm_set_region_nosync(ON(file), regions_max + 2, NULL, &exact), E2BIG);
  CHECK_ERRNO(dm_set_region(ON(file), 1, NULL, &exact), EFAULT);
  CHECK_ERRNO(dm_set_region(ON(file), 1, many, NULL), EFAULT);
  CHECK_ERRNO(dm_get_region(ON(file), 1, many, NULL), EFAULT);
  dm_region_t bad = {0, 0, 0x10, 0};
  CHECK_ERRNO(dm_set_region(ON(file), 1, &bad, &exact), EINVAL);
  CHECK_ERRNO(dm_set_region_nosync(ON(file), 1, &bad, &exact), EINVAL);
  CHECK_EQ(dm_get_region(ON(file), REGIONS_MAX, got, &count), 0);
  CHECK_EQ(count, regions_max);
  clear(file);
}

/* Behind FUSE the last close comes to the daemon a moment later. */
static bool takes_region(void *region) {
  dm_boolean_t exact;
  int result = dm_set_region(ON(other), 1, region, &exact);
  CHECK(result == 0 || errno == EBUSY);
  return result == 0;
}

static void mapped_files(void) {
  if (bed.ordinary) /* whose mappings fault through the daemon: fault.c */
    return;
  dm_boolean_t exact;
  dm_region_t first = {0, PAGE, DM_REGION_READ, 0}, later = {4 * PAGE, 0, DM_REGION_READ, 0};
  int fd = open(in_fs("other"), O_RDWR | O_CLOEXEC);
  CHECK(fd >= 0);
  void *map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
  CHECK(map != MAP_FAILED);
  CHECK_ERRNO(dm_set_region(ON(other), 1, &first, &exact), EBUSY);
  CHECK_ERRNO(dm_set_region_nosync(ON(other), 1, &first, &exact), EBUSY);
  if (bed.fuse) /* what is open past the daemon has no pages of its own that are watched */
    CHECK_ERRNO(dm_set_region(ON(other), 1, &later, &exact), EBUSY);
  else
    CHECK_EQ(dm_set_region(ON(other), 1, &later, &exact), 0);
  clear(other);
  CHECK_EQ(munmap(map, PAGE), 0);
  map = mmap(NULL, PAGE, PROT_NONE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
  CHECK_ERRNO(dm_set_region(ON(other), 1, &first, &exact), EBUSY);
  CHECK_EQ(munmap(map, PAGE), 0);
  CHECK_EQ(close(fd), 0);
  wait_until(takes_region, &first, "a closed file takes no region");
  clear(other);
}

/* -- events. A user of `file` does one thing; the answer lets it go on. */

static void expect_event(struct user *user, int type, dm_off_t offset, dm_size_t length) {
  dm_size_t room[64];
  size_t got = 0;
  CHECK_EQ(dm_get_events(sid, 1, DM_EV_WAIT, sizeof room, room, &got), 0);
  dm_eventmsg_t *message = (dm_eventmsg_t *)room;
  CHECK_EQ(message->ev_type, type);
  dm_data_event_t *data = DM_GET_VALUE(message, ev_data, dm_data_event_t *);
  CHECK_EQ(dm_handle_cmp(DM_GET_VALUE(data, de_handle, void *), DM_GET_LEN(data, de_handle), file.hanp, file.hlen), 0);
  CHECK_EQ(data->de_offset, offset);
  CHECK_EQ(data->de_length, length);
  CHECK(!has_done(user));
  CHECK_EQ(dm_respond_event(sid, message->ev_token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
}

/* The retry after the answer finds the region again, as nobody cleared it: the answer stands for this access. */
static void fires(struct user *user, int type, dm_off_t offset, dm_size_t length) {
  expect_event(user, type, offset, length);
  CHECK_EQ(await(user), 0);
  dm_size_t room[64];
  size_t got = 0;
  CHECK_ERRNO(dm_get_events(sid, 1, 0, sizeof room, room, &got), EAGAIN);
}

static void silent(struct user *user) {
  CHECK_EQ(await(user), 0);
  dm_size_t room[64];
  size_t got = 0;
  CHECK_ERRNO(dm_get_events(sid, 1, 0, sizeof room, room, &got), EAGAIN);
}

/* Behind FUSE reads are guarded by whole pages, each as long as the cache does not have it. */
static void edges(void) {
  const dm_off_t FROM = bed.fuse ? 2 * PAGE : PAGE + 100, SIZE = bed.fuse ? 2 * PAGE : 1000, END = FROM + SIZE;
  set_one(file, FROM, SIZE, DM_REGION_READ);
  silent(user_reads("file", FROM - 50, 50));
  fires(user_reads("file", FROM - 50, 51), DM_EVENT_READ, FROM - 50, 51);
  fires(user_reads("file", END - 1, 10), DM_EVENT_READ, END - 1, 10);
  silent(user_reads("file", END, 10));
  silent(user_reads("file", FROM, 0));
  silent(user_writes("file", FROM, 10));
  set_one(file, FROM, SIZE, DM_REGION_WRITE);
  silent(user_writes("file", FROM - 50, 50));
  fires(user_writes("file", FROM - 50, 51), DM_EVENT_WRITE, FROM - 50, 51);
  fires(user_writes("file", END - 1, 10), DM_EVENT_WRITE, END - 1, 10);
  silent(user_writes("file", END, 10));
  silent(user_reads("file", FROM, 10));
  /* Beyond the end of the file: a region without end is there, too. */
  set_one(file, 0, FILE_BYTES, DM_REGION_WRITE);
  silent(user_writes("file", FILE_BYTES, 10));
  CHECK_EQ(truncate(in_fs("file"), FILE_BYTES), 0);
  set_one(file, FROM, 0, DM_REGION_WRITE);
  fires(user_writes("file", FILE_BYTES, 10), DM_EVENT_WRITE, FILE_BYTES, 10);
  clear(file);
  CHECK_EQ(truncate(in_fs("file"), FILE_BYTES), 0);
  set_one(file, FROM, SIZE, DM_REGION_TRUNCATE);
  silent(user_truncates("file", FILE_BYTES));
  silent(user_truncates("file", END));
  fires(user_truncates("file", END - 1), DM_EVENT_TRUNCATE, END - 1, 0);
  fires(user_truncates("file", 10), DM_EVENT_TRUNCATE, 10, 0);
  clear(file);
  make_file(in_fs("file"), FILE_BYTES);
  /* Three at one place: one event. NOEVENT: none. */
  dm_region_t three[3] = {{0, 0, DM_REGION_READ, 0}, {10, 100, DM_REGION_READ, 0}, {20, 0, DM_REGION_READ, 0}};
  set(file, 3, three);
  fires(user_reads("file", 0, 200), DM_EVENT_READ, 0, 200);
  set_one(file, 0, 0, DM_REGION_NOEVENT);
  silent(user_reads("file", 0, 200));
  clear(file);
}

static dm_token_t next_token(int type) {
  dm_size_t room[64];
  size_t got = 0;
  CHECK_EQ(dm_get_events(sid, 1, DM_EV_WAIT, sizeof room, room, &got), 0);
  dm_eventmsg_t *message = (dm_eventmsg_t *)room;
  CHECK_EQ(message->ev_type, type);
  return message->ev_token;
}

static void answers(void) {
  struct stat before, after;
  set_one(file, 0, 0, DM_REGION_READ | DM_REGION_WRITE | DM_REGION_TRUNCATE);
  CHECK_EQ(stat(in_fs("file"), &before), 0);
  /* EACCES and EPERM pass the kernel's list of errnos; what does not becomes EIO. */
  struct user *user = user_reads("file", 0, 10);
  CHECK_EQ(dm_respond_event(sid, next_token(DM_EVENT_READ), DM_RESP_ABORT, EIO, 0, NULL), 0);
  CHECK_EQ(await(user), EIO);
  user = user_writes("file", 0, 10);
  CHECK_EQ(dm_respond_event(sid, next_token(DM_EVENT_WRITE), DM_RESP_ABORT, EBUSY, 0, NULL), 0);
  CHECK_EQ(await(user), EBUSY);
  user = user_truncates("file", 0);
  CHECK_EQ(dm_respond_event(sid, next_token(DM_EVENT_TRUNCATE), DM_RESP_ABORT, EPERM, 0, NULL), 0);
  CHECK_EQ(await(user), EPERM);
  CHECK_EQ(stat(in_fs("file"), &after), 0);
  CHECK_EQ(after.st_size, before.st_size);
  unsigned char byte = 0;
  CHECK_EQ(dm_read_invis(ON(file), 5, 1, &byte), 1);
  CHECK_EQ(byte, pattern_at(5));

  /* The application changes the data under the event: no events, no deadlock. */
  user = user_reads("file", 0, 10);
  dm_token_t token = next_token(DM_EVENT_READ);
  CHECK_EQ(dm_request_right(sid, file.hanp, file.hlen, token, DM_RR_WAIT, DM_RIGHT_EXCL), 0);
  CHECK_EQ(dm_write_invis(sid, file.hanp, file.hlen, token, DM_WRITE_SYNC, 0, 4, (char[]){"abcd"}), 4);
  dm_boolean_t exact;
  CHECK_EQ(dm_set_region(sid, file.hanp, file.hlen, token, 0, NULL, &exact), 0);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK_EQ(await(user), 0);
  CHECK(memcmp(user->data, "abcd", 4) == 0);
  CHECK_EQ(user->data[5], pattern_at(5));
}

static void pending(void) {
  set_one(file, 0, 0, DM_REGION_READ);
  dm_timestruct_t delay = {3, 0}, bad = {-1, 0};
  struct user *user = user_reads("file", 0, 10);
  dm_token_t token = next_token(DM_EVENT_READ);
  CHECK_ERRNO(dm_pending(sid, token, &bad), EINVAL);
  CHECK_ERRNO(dm_pending(sid, token, NULL), EFAULT);
  CHECK_EQ(dm_pending(sid, token, &delay), 0);
  CHECK(!has_done(user)); /* it blocks */
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  CHECK_EQ(await(user), 0);
  CHECK_ERRNO(dm_pending(sid, token, &delay), ESRCH);

  /* What was read stays in the cache behind FUSE; a new region drops it. */
  clear(file);
  set_one(file, 0, 0, DM_REGION_READ);
  user = user_reads_without_waiting("file", 0, 10);
  token = next_token(DM_EVENT_READ);
  CHECK(!has_done(user)); /* also O_NONBLOCK waits, until somebody says so */
  CHECK_EQ(dm_pending(sid, token, &delay), 0);
  CHECK_EQ(await(user), EAGAIN);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  clear(file);
}

/* Behind FUSE the faults make events, not the mapping: fault.c. */
static void mappings(void) {
  if (bed.fuse)
    return;
  set_one(file, 2 * PAGE, 0, DM_REGION_READ);
  silent(user_maps("file", 0, 2 * PAGE, PROT_READ, MAP_SHARED));
  fires(user_maps("file", PAGE, 3 * PAGE, PROT_READ, MAP_PRIVATE), DM_EVENT_READ, PAGE, 3 * PAGE);
  fires(user_maps("file", PAGE, 3 * PAGE, PROT_READ, MAP_SHARED), DM_EVENT_READ, PAGE, 3 * PAGE);
  struct user *user = user_maps("file", PAGE, 3 * PAGE, PROT_READ, MAP_SHARED);
  CHECK_EQ(dm_respond_event(sid, next_token(DM_EVENT_READ), DM_RESP_ABORT, EPERM, 0, NULL), 0);
  CHECK_EQ(await(user), EPERM);
  set_one(file, 0, 0, DM_REGION_TRUNCATE);
  silent(user_maps("file", 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED));
  clear(file);
}

static void killed_user(void) {
  set_one(file, 0, 0, DM_REGION_READ);
  struct user *user = user_reads("file", 0, 10);
  dm_token_t token = next_token(DM_EVENT_READ);
  kill_user(user);
  u_int count = 0;
  dm_token_t tokens[2];
  CHECK_EQ(dm_getall_tokens(sid, 2, tokens, &count), 0);
  CHECK(count == 1 && tokens[0] == token);
  CHECK_EQ(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL), 0);
  clear(file);
}

static void body(void) {
  make_file(in_fs("file"), FILE_BYTES);
  make_file(in_fs("other"), FILE_BYTES);
  CHECK_EQ(mkdir(in_fs("dir"), 0755), 0);
  file = handle_of(in_fs("file"));
  other = handle_of(in_fs("other"));
  dir = handle_of(in_fs("dir"));
  fs = fs_handle_of(bed.fs);
  sid = new_session("regions");
  dm_size_t most = 0;
  CHECK_EQ(dm_get_config(fs.hanp, fs.hlen, DM_CONFIG_MAX_MANAGED_REGIONS, &most), 0);
  CHECK(most > 3 && most <= REGIONS_MAX);
  regions_max = (u_int)most;
  dm_eventset_t events;
  DMEV_ZERO(events);
  DMEV_SET(DM_EVENT_READ, events);
  DMEV_SET(DM_EVENT_WRITE, events);
  DMEV_SET(DM_EVENT_TRUNCATE, events);
  CHECK_EQ(dm_set_disp(ON(fs), &events, DM_EVENT_MAX), 0);
  round_trips();
  limits();
  mapped_files();
  edges();
  answers();
  pending();
  mappings();
  killed_user();
  CHECK_EQ(dm_destroy_session(sid), 0);
}

int main(int argc, char **argv) {
  return run_test(argc, argv, WITH_DAEMON | WITH_FS, body);
}
