/* SGI style: answers READ, WRITE and TRUNCATE events by writing the data back.
 * cc -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE recall.c -ldm; recall STORE FILESYSTEM COUNT */
#include "sgi.h"

static int
recall(dm_sessid_t sid, dm_token_t token, dm_data_event_t *ev, const char *store)
{
	void		*hanp = DM_GET_VALUE(ev, de_handle, void *);
	size_t		hlen = DM_GET_LEN(ev, de_handle);
	static char	buf[BLOCK];
	dm_ino_t	ino;
	dm_off_t	off = 0;
	u_int		exact;
	ssize_t		got;
	int		fd;

	if (dm_request_right(sid, hanp, hlen, token, DM_RR_WAIT, DM_RIGHT_EXCL) != 0 ||
	    dm_handle_to_ino(hanp, hlen, &ino) != 0)
		return errno;
	fd = open_copy(store, ino, O_RDONLY);
	while ((got = read(fd, buf, sizeof(buf))) > 0) {
		if (dm_write_invis(sid, hanp, hlen, token, 0, off, (dm_size_t)got, buf) != got)
			return errno;
		off += got;
	}
	close(fd);
	if (dm_sync_by_handle(sid, hanp, hlen, token) != 0)
		return errno;
	return dm_set_region(sid, hanp, hlen, token, 0, NULL, &exact) != 0 ? errno : 0;
}

int
main(int argc, char **argv)
{
	dm_sessid_t	sid;
	dm_eventset_t	set;
	dm_eventmsg_t	*msg;
	static char	buf[16384] __attribute__((aligned(8)));
	void		*fshanp;
	size_t		fshlen, rlen;
	int		left, error;

	if (argc != 4) {
		fprintf(stderr, "usage: %s store filesystem count\n", argv[0]);
		exit(2);
	}
	left = atoi(argv[3]);
	sid = open_session();
	if (dm_path_to_fshandle(argv[2], &fshanp, &fshlen) != 0) {
		perror(argv[2]);
		exit(1);
	}
	DMEV_ZERO(set);
	DMEV_SET(DM_EVENT_READ, set);
	DMEV_SET(DM_EVENT_WRITE, set);
	DMEV_SET(DM_EVENT_TRUNCATE, set);
	if (dm_set_disp(sid, fshanp, fshlen, DM_NO_TOKEN, &set, DM_EVENT_MAX) != 0) {
		perror("dm_set_disp");
		exit(1);
	}
	while (left > 0) {
		if (dm_get_events(sid, 0, DM_EV_WAIT, sizeof(buf), buf, &rlen) != 0) {
			if (errno == EINTR)
				continue;
			perror("dm_get_events");
			exit(1);
		}
		for (msg = (dm_eventmsg_t *)buf; msg != NULL; msg = DM_STEP_TO_NEXT(msg, dm_eventmsg_t *)) {
			if (msg->ev_token == DM_INVALID_TOKEN)
				continue;
			error = recall(sid, msg->ev_token, DM_GET_VALUE(msg, ev_data, dm_data_event_t *), argv[1]);
			printf("event %d, token %d, sequence %u: %d\n", (int)msg->ev_type, (int)msg->ev_token,
				(u_int)msg->ev_sequence, error);
			if (dm_respond_event(sid, msg->ev_token, error ? DM_RESP_ABORT : DM_RESP_CONTINUE, error, 0, NULL)) {
				perror("dm_respond_event");
				exit(1);
			}
			left--;
		}
	}
	if (dm_destroy_session(sid) != 0) {
		perror("dm_destroy_session");
		exit(1);
	}
	return 0;
}
