/* SGI style: the entries of a directory with their state.
 * cc -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE list.c -ldm; list DIRECTORY */
#include "sgi.h"

/* In the order of the numbers. */
static char	*event_names[DM_EVENT_MAX] = {
	"CANCEL", "MOUNT", "PREUNMOUNT", "UNMOUNT", "DEBUT", "CREATE", "CLOSE", "POSTCREATE", "REMOVE", "POSTREMOVE",
	"RENAME", "POSTRENAME", "LINK", "POSTLINK", "SYMLINK", "POSTSYMLINK", "READ", "WRITE", "TRUNCATE", "ATTRIBUTE",
	"DESTROY", "NOSPACE", "USER"
};

static void
print_events(dm_eventset_t set)
{
	int	i;

	for (i = 0; i < DM_EVENT_MAX; i++) {
		if (DMEV_ISSET(i, set))
			printf(" %s", event_names[i]);
	}
}

int
main(int argc, char **argv)
{
	dm_sessid_t	sid;
	dm_attrloc_t	loc;
	dm_stat_t	*sp;
	static char	buf[4096] __attribute__((aligned(8)));
	void		*hanp;
	size_t		hlen, rlen;
	int		more;

	if (argc != 2 || dm_path_to_handle(argv[1], &hanp, &hlen) != 0) {
		perror("dm_path_to_handle");
		exit(1);
	}
	sid = open_session();
	if (dm_init_attrloc(sid, hanp, hlen, DM_NO_TOKEN, &loc) != 0) {
		perror("dm_init_attrloc");
		exit(1);
	}
	do {
		more = dm_get_dirattrs(sid, hanp, hlen, DM_NO_TOKEN,
			DM_AT_HANDLE | DM_AT_EMASK | DM_AT_PMANR | DM_AT_PATTR | DM_AT_STAT, &loc, sizeof(buf), buf, &rlen);
		if (more == -1) {
			perror("dm_get_dirattrs");
			exit(1);
		}
		for (sp = rlen > 0 ? (dm_stat_t *)buf : NULL; sp != NULL; sp = DM_STEP_TO_NEXT(sp, dm_stat_t *)) {
			printf("%s %lld %s", DM_GET_VALUE(sp, dt_compname, char *), (long long)sp->dt_size,
				sp->dt_pmanreg ? "offline" : "online");
			print_events(sp->dt_emask);
			printf("\n");
			if (DM_GET_LEN(sp, dt_handle) > 0 &&
			    !dm_handle_is_valid(DM_GET_VALUE(sp, dt_handle, void *), DM_GET_LEN(sp, dt_handle)))
				exit(3);
		}
	} while (more == 1);
	return 0;
}
