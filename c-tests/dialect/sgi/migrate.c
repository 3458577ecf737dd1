/* SGI style: copies a file to the store by invisible reads, marks it, and frees its blocks.
 * cc -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE migrate.c -ldm; migrate STORE FILE */
#include "sgi.h"

int
main(int argc, char **argv)
{
	dm_sessid_t	sid;
	dm_token_t	token = DM_NO_TOKEN;
	dm_region_t	region = { 0, 0, DM_REGION_READ | DM_REGION_WRITE | DM_REGION_TRUNCATE };
	dm_attrname_t	name;
	dm_stat_t	dmstat;
	dm_off_t	off = 0, roff;
	dm_size_t	rlen;
	dm_ssize_t	got;
	static char	buf[BLOCK];
	void		*hanp;
	size_t		hlen;
	u_int		exact;			/* not a dm_boolean_t */
	__s64		size;
	int		fd;

	if (argc != 3) {
		fprintf(stderr, "usage: %s store file\n", argv[0]);
		exit(2);
	}
	sid = open_session();
	if (dm_path_to_handle(argv[2], &hanp, &hlen) != 0) {
		perror(argv[2]);
		exit(1);
	}
	if (dm_get_fileattr(sid, hanp, hlen, token, DM_AT_STAT, &dmstat) != 0) {
		perror("dm_get_fileattr");
		exit(1);
	}
	size = dmstat.dt_size;
	fd = open_copy(argv[1], dmstat.dt_ino, O_WRONLY | O_CREAT | O_TRUNC);
	while ((got = dm_read_invis(sid, hanp, hlen, token, off, BLOCK, buf)) > 0) {
		if (write(fd, buf, (size_t)got) != got) {
			perror("write");
			exit(1);
		}
		off += got;
	}
	if (got < 0 || off != size || fsync(fd) != 0 || close(fd) != 0) {
		perror("copy");
		exit(1);
	}
	memset(&name, 0, sizeof(name));
	memcpy(&name.an_chars[0], "SGIHSM", 6);
	if (dm_set_region(sid, hanp, hlen, token, 1, &region, &exact) != 0 || !exact) {
		perror("dm_set_region");
		exit(1);
	}
	if (dm_set_dmattr(sid, hanp, hlen, token, &name, 1, sizeof(size), &size) != 0) {
		perror("dm_set_dmattr");
		exit(1);
	}
	if (dm_probe_hole(sid, hanp, hlen, token, (dm_off_t)0, (dm_size_t)0, &roff, &rlen) != 0 ||
	    dm_punch_hole(sid, hanp, hlen, token, roff, rlen) != 0) {
		perror("dm_punch_hole");
		exit(1);
	}
	printf("%s: migrated in session %d with token %d, %lld bytes\n", argv[2], (int)sid, (int)token, (long long)size);
	dm_handle_free(hanp, hlen);
	return 0;
}
