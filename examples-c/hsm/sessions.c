/*
 * Sessions; see common.h. A session outlives its process by design. Its string "NAME PID:START" (START as
 * in /proc/PID/stat) tells whether the process that used it last still lives, so that a dead one's session
 * is taken up or ended, and a living one's is left alone.
 */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More sessions or tokens than this at once are handled in the next round. */
#define LIST_MAX 4096

/* Start time of a process in clock ticks since boot; 0 if there is none. */
static unsigned long long start_of(long pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    /* The name in parentheses may hold anything; the fields are counted from its end. */
    char *rest = strrchr(text, ')');
    unsigned long long start = 0;
    char state = 'X';
    if (rest == NULL ||
        sscanf(rest, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &state, &start) != 2)
        return 0;
    /* A zombie holds its pid, but will never answer a token. */
    return state == 'Z' || state == 'X' ? 0 : start;
}

void hsm_init_service(unsigned wait_s)
{
    char *version = NULL;
    double until_s = hsm_seconds_now() + wait_s;
    while (dm_init_service(&version) != 0) {
        if (errno == EPERM || hsm_seconds_now() >= until_s)
            hsm_die("the DMAPI service does not answer: %s; is dmapid running? (dmctl status)",
                    strerror(errno));
        usleep(50000);
    }
}

static void session_string(const char *name, char *text, size_t room)
{
    long pid = (long)getpid();
    snprintf(text, room, "%s %ld:%llu", name, pid, start_of(pid));
}

dm_sessid_t hsm_create_session(const char *name)
{
    char text[DM_SESSION_INFO_LEN];
    dm_sessid_t sid;
    session_string(name, text, sizeof text);
    if (dm_create_session(DM_NO_SESSION, text, &sid) != 0)
        hsm_die("cannot create a DMAPI session: %s", strerror(errno));
    return sid;
}

void hsm_begin(struct hsm_context *hsm, const char *name)
{
    hsm->sid = hsm_create_session(name);
    if (dm_create_userevent(hsm->sid, 0, NULL, &hsm->looking) != 0)
        hsm_die("cannot create a token: %s", strerror(errno));
}

/* All sessions, malloc'ed. */
static dm_sessid_t *all_sessions(u_int *count)
{
    dm_sessid_t *sids = calloc(LIST_MAX, sizeof *sids);
    if (sids == NULL)
        hsm_die("no memory");
    *count = 0;
    if (dm_getall_sessions(LIST_MAX, sids, count) != 0)
        *count = 0;
    return sids;
}

/* Is the session called "name PID:START", and is that process dead? -1 another name, 0 alive, 1 dead. */
static int owner_is_dead(dm_sessid_t sid, const char *name, long *pid)
{
    char text[DM_SESSION_INFO_LEN + 1] = "";
    size_t length = 0;
    unsigned long long start = 0;
    if (dm_query_session(sid, DM_SESSION_INFO_LEN, text, &length) != 0)
        return -1;
    size_t name_bytes = strlen(name);
    if (strncmp(text, name, name_bytes) != 0)
        return -1;
    const char *space = strchr(text + name_bytes, ' ');
    if (space == NULL || sscanf(space, " %ld:%llu", pid, &start) != 2)
        return -1;
    return start_of(*pid) == start ? 0 : 1;
}

static void answer_leftovers(dm_sessid_t sid)
{
    dm_token_t *tokens = calloc(LIST_MAX, sizeof *tokens);
    u_int count = 0;
    if (tokens != NULL && dm_getall_tokens(sid, LIST_MAX, tokens, &count) == 0)
        for (u_int i = 0; i < count; i++)
            dm_respond_event(sid, tokens[i], DM_RESP_CONTINUE, 0, 0, NULL);
    free(tokens);
}

void hsm_end_session(dm_sessid_t sid)
{
    answer_leftovers(sid);
    if (dm_destroy_session(sid) != 0)
        hsm_log("session %d stays: %s", (int)sid, strerror(errno));
}

/* Takes over what a second session of the same name still has, and ends it. */
static void adopt(dm_sessid_t from, dm_sessid_t own)
{
    _Alignas(8) static char messages[65536];
    size_t length;
    /* Only delivered events can be moved. */
    while (dm_get_events(from, 0, 0, sizeof messages, messages, &length) == 0)
        ;
    dm_token_t *tokens = calloc(LIST_MAX, sizeof *tokens), moved;
    u_int count = 0;
    if (tokens != NULL && dm_getall_tokens(from, LIST_MAX, tokens, &count) == 0)
        for (u_int i = 0; i < count; i++)
            dm_move_event(from, tokens[i], own, &moved);
    free(tokens);
    if (dm_destroy_session(from) == 0)
        hsm_log("session %d and its %u events are ours now", (int)from, count);
}

dm_sessid_t hsm_assume_session(const char *name, bool *assumed)
{
    char text[DM_SESSION_INFO_LEN];
    session_string(name, text, sizeof text);
    dm_sessid_t own = DM_NO_SESSION, sid;
    u_int count;
    dm_sessid_t *sids = all_sessions(&count);
    for (u_int i = 0; i < count; i++) {
        long pid = 0;
        int dead = owner_is_dead(sids[i], name, &pid);
        if (dead == 0)
            hsm_die("session %d belongs to process %ld, which is running; stop it first",
                    (int)sids[i], pid);
        if (dead == 1 && dm_create_session(sids[i], text, &sid) == 0) {
            if (own == DM_NO_SESSION)
                own = sid;
            else
                adopt(sid, own);
        }
    }
    free(sids);
    *assumed = own != DM_NO_SESSION;
    return *assumed ? own : hsm_create_session(name);
}

void hsm_reap_sessions(dm_sessid_t own)
{
    char text[DM_SESSION_INFO_LEN];
    session_string("hsm_reaper", text, sizeof text);
    u_int count;
    dm_sessid_t *sids = all_sessions(&count);
    for (u_int i = 0; i < count; i++) {
        long pid = 0;
        dm_sessid_t sid;
        /* Not the recall daemon's own: users wait for the events in it. */
        if (sids[i] != own && owner_is_dead(sids[i], HSM_DAEMON, &pid) == -1 &&
            owner_is_dead(sids[i], "hsm_", &pid) == 1 &&
            dm_create_session(sids[i], text, &sid) == 0) {
            hsm_log("process %ld died and left session %d; ending it", pid, (int)sids[i]);
            hsm_end_session(sid);
        }
    }
    free(sids);
}
