/*
 * What the programs of the HSM share: sessions, the state of a file, moving its data.
 *
 * States of a file, and what says so:
 *   resident     no valid catalogue entry
 *   premigrated  a valid entry (DM attribute "hsm"), no READ region: data here and in the archive
 *   migrated     a READ region: the archive has the data, the file may be a stub
 * The READ region is the commit point. It is set before the first byte is freed and cleared after the
 * last byte is back and synced, so a crash at any instant leaves a file that is either whole or recalled
 * by its next access. While a file is copied it has a WRITE|TRUNCATE region: a writer makes an event,
 * hsm_recalld clears the region, and hsm_migrate sees at the end that the copy is stale.
 */
#ifndef HSM_COMMON_H
#define HSM_COMMON_H

#include <dmapi.h>
#include <stdbool.h>
#include <stdint.h>

#include "store.h"

#define HSM_ATTRIBUTE "hsm"
#define HSM_DAEMON "hsm_recalld"
#define HSM_SUM_BYTES 32
#define HSM_CHUNK_BYTES (1U << 20)

struct hsm_handle {
    void *hanp;
    size_t hlen;
};

/* The catalogue entry. It names the handle, since root's `cp -a` copies the attribute to other files. */
struct hsm_entry {
    char magic[4];
    uint32_t handle_bytes;
    unsigned char handle[32];
    uint64_t size;
    int64_t mtime_s;
    unsigned char sum[HSM_SUM_BYTES]; /* SHA-256 of the data */
};
_Static_assert(sizeof(struct hsm_entry) == 88, "the entry is kept on disk");

enum hsm_state { HSM_RESIDENT, HSM_PREMIGRATED, HSM_MIGRATED };

struct hsm_file {
    struct hsm_handle handle;
    dm_stat_t stat;
    enum hsm_state state;
    bool has_entry; /* a valid one; in state HSM_RESIDENT it is stale */
    struct hsm_entry entry;
};

struct hsm_context {
    dm_sessid_t sid;
    dm_token_t looking; /* of hsm_file_open() */
    struct store store;
    uint64_t rate; /* bytes a second of one recall; 0: no limit */
};

/* --- output ----------------------------------------------------------------------------------- */

/* One line with the time of day on stderr; hsm_die() ends the program with status 1. */
void hsm_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
void hsm_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* "8M" -> 8388608. Dies on nonsense. */
uint64_t hsm_parse_size(const char *text, const char *option);
/* 8388608 -> "8.0 MiB", in one of a few static buffers. */
const char *hsm_human(uint64_t bytes);
double hsm_seconds_now(void);

/* Progress on stderr: a rewritten line with rate and time left on a terminal, now and then a plain one else. */
struct hsm_progress {
    const char *verb;
    uint64_t bytes_total, bytes_done;
    unsigned long files_total, files_done;
    double started_s, printed_s;
    bool terminal;
};
void hsm_progress_start(struct hsm_progress *progress, const char *verb);
void hsm_progress_add(struct hsm_progress *progress, uint64_t bytes);
/* Takes the rewritten line away, so that something else can be printed. */
void hsm_progress_clear(const struct hsm_progress *progress);

/* --- sessions --------------------------------------------------------------------------------- */

/* Waits for the service at most `wait_s` seconds. Dies when there is none. */
void hsm_init_service(unsigned wait_s);
/* Makes a session called "NAME PID:START", which tells others whether its process lives. */
dm_sessid_t hsm_create_session(const char *name);
/* A session of a command, with a token for looking at files. */
void hsm_begin(struct hsm_context *hsm, const char *name);
/* Answers what is left of a session and destroys it. */
void hsm_end_session(dm_sessid_t sid);
/* The session of a dead process called "NAME ...", assumed; or a new one. Dies if its process lives. */
dm_sessid_t hsm_assume_session(const char *name, bool *assumed);
/* Ends the sessions of dead hsm_* programs, whose tokens may hold rights that others wait for. */
void hsm_reap_sessions(dm_sessid_t own);

/* --- files ------------------------------------------------------------------------------------ */

/*
 * Handle, attributes and state of a file. 0, or -1 with errno. EAGAIN: a recall or a migration works on it; waiting
 * for it could take hours. Free it with hsm_file_free() in both cases; else there is nothing to free.
 */
int hsm_file_open(const struct hsm_context *hsm, const char *path, struct hsm_file *file);
/* The same by handle, under a token or DM_NO_TOKEN; the handle is not taken over. */
int hsm_file_read(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
                  struct hsm_file *file);
void hsm_file_free(struct hsm_file *file);
const char *hsm_state_name(enum hsm_state state);
/* The file's number, for messages about a file whose name is not known. */
unsigned long long hsm_inode(struct hsm_handle handle);

/*
 * One region with `flags` over the whole file, or none. Durable at once, or (`_later`) with the next sync or punch of
 * the file: where a power loss in between leaves a file that is safe as well.
 */
int hsm_set_region(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
                   unsigned flags);
int hsm_set_region_later(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
                         unsigned flags);
/* Durable with the next sync or punch of the file. */
int hsm_set_entry(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
                  const struct hsm_entry *entry);
int hsm_remove_entry(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token);

/* Calls `visit` for each regular file of the paths, directories recursively on their own file system. */
typedef void hsm_visit(const char *path, void *argument);
/* Returns the number of paths that could not be read (each was logged). */
int hsm_walk(char **paths, hsm_visit *visit, void *argument);

/* --- data ------------------------------------------------------------------------------------- */

/*
 * Reads the whole file invisibly and computes its checksum; copies it into the archive unless `writer` is
 * NULL. 0, or -1 with errno.
 */
int hsm_copy_out(const struct hsm_context *hsm, const struct hsm_file *file,
                 struct store_writer *writer, unsigned char sum[HSM_SUM_BYTES],
                 struct hsm_progress *progress);

/*
 * Brings a migrated file back under a token that holds the exclusive right, and clears its region. Nothing
 * happens to a file that is not migrated. Every step may be repeated after a crash. 0, or an errno after a
 * log line.
 */
int hsm_recall(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token,
               struct hsm_progress *progress);

/*
 * The file was or will be changed: its copy is worth nothing. Clears region and entry and removes the object.
 * The data must be resident. 0, or an errno after a log line.
 */
int hsm_forget_copy(const struct hsm_context *hsm, struct hsm_handle handle, dm_token_t token);

#endif
