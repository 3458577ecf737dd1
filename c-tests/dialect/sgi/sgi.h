/* What the SGI programs share. Old sources bring an enumeration of their own and say so to the header. */
#ifndef SGI_H
#define SGI_H

#define HAVE_DM_RIGHT_T
typedef enum { DM_RIGHT_NULL = 0, DM_RIGHT_SHARED = 1, DM_RIGHT_EXCL = 2 } dm_right_t;

#include <xfs/dmapi.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Declared again, as in the manual pages. */
extern int dm_init_service(char **versionstrpp);
extern int dm_create_session(dm_sessid_t oldsid, char *sessinfop, dm_sessid_t *newsidp);
extern int dm_destroy_session(dm_sessid_t sid);
extern int dm_getall_sessions(u_int nelem, dm_sessid_t *sidbufp, u_int *nelemp);
extern int dm_query_session(dm_sessid_t sid, size_t buflen, void *bufp, size_t *rlenp);
extern int dm_path_to_handle(char *path, void **hanpp, size_t *hlenp);
extern int dm_path_to_fshandle(char *path, void **hanpp, size_t *hlenp);
extern int dm_handle_cmp(void *hanp1, size_t hlen1, void *hanp2, size_t hlen2);
extern u_int dm_handle_hash(void *hanp, size_t hlen);
extern dm_boolean_t dm_handle_is_valid(void *hanp, size_t hlen);
extern void dm_handle_free(void *hanp, size_t hlen);
extern int dm_get_events(dm_sessid_t sid, u_int maxmsgs, u_int flags, size_t buflen, void *bufp, size_t *rlenp);
extern int dm_respond_event(dm_sessid_t sid, dm_token_t token, dm_response_t response, int reterror, size_t buflen,
                            void *respbufp);
extern int dm_set_disp(dm_sessid_t sid, void *hanp, size_t hlen, dm_token_t token, dm_eventset_t *eventsetp,
                       u_int maxevent);
extern dm_ssize_t dm_read_invis(dm_sessid_t sid, void *hanp, size_t hlen, dm_token_t token, dm_off_t off,
                                dm_size_t len, void *bufp);
extern dm_ssize_t dm_write_invis(dm_sessid_t sid, void *hanp, size_t hlen, dm_token_t token, int flags, dm_off_t off,
                                 dm_size_t len, void *bufp);
extern int dm_set_region(dm_sessid_t sid, void *hanp, size_t hlen, dm_token_t token, u_int nelem, dm_region_t *regbufp,
                         dm_boolean_t *exactflagp);
extern int dm_punch_hole(dm_sessid_t sid, void *hanp, size_t hlen, dm_token_t token, dm_off_t off, dm_size_t len);
extern int dm_set_dmattr(dm_sessid_t sid, void *hanp, size_t hlen, dm_token_t token, dm_attrname_t *attrnamep,
                         int setdtime, size_t buflen, void *bufp);
extern int dm_request_right(dm_sessid_t sid, void *hanp, size_t hlen, dm_token_t token, u_int flags, dm_right_t right);

#define SESSION "sgi-hsm"
#define BLOCK 65536

/* The session with our text, numerically the lowest; else a new one. */
static int
open_session(void)
{
	dm_sessid_t	sids[64], sid = DM_NO_SESSION;
	char		*version, text[DM_SESSION_INFO_LEN];
	u_int		count = 0, i;
	size_t		rlen;

	if (dm_init_service(&version) == -1) {
		perror("dm_init_service");
		exit(1);
	}
	if (dm_getall_sessions(64, sids, &count) != 0) {
		perror("dm_getall_sessions");
		exit(1);
	}
	for (i = 0; i < count; i++) {
		if (dm_query_session(sids[i], sizeof(text), text, &rlen) == 0 && strcmp(text, SESSION) == 0)
			if (sid == DM_NO_SESSION || (int)sids[i] - (int)sid < 0)
				sid = sids[i];
	}
	if (sid == DM_NO_SESSION && dm_create_session(DM_NO_SESSION, SESSION, &sid) != 0) {
		perror("dm_create_session");
		exit(1);
	}
	return (int)sid;
}

/* Where the data of a file is kept: STORE/INODE. */
static int
open_copy(const char *store, dm_ino_t ino, int flags)
{
	char	path[4096];
	int	fd;

	sprintf(path, "%s/%llu", store, (unsigned long long)ino);
	if ((fd = open(path, flags, 0600)) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

#endif
