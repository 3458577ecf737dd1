/*
 * Purpose: state for the recovery figures, and how long the next answer takes after a kill.
 * Usage:   recovery fill SESSIONS EVENTS    makes so many sessions with so many outstanding events in all
 *          recovery kill WORKER_PID         kills the worker; prints the milliseconds to the next answer
 *          recovery wait                    prints the milliseconds to the first answer of a service that starts
 *          recovery check SESSIONS EVENTS   status 1 unless exactly these are there
 *          recovery end                     answers and destroys them
 */
#include <dmapi.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"

#define SESSIONS_MAX 100000
#define NAME "bench recovery"

static dm_sessid_t sids[SESSIONS_MAX];
static dm_token_t tokens[SESSIONS_MAX];

/* Calls `visit` for each of our sessions; their number. */
static unsigned each_session(void (*visit)(dm_sessid_t, void *), void *argument)
{
    u_int found, ours = 0;
    must(dm_getall_sessions(SESSIONS_MAX, sids, &found) == 0, "dm_getall_sessions");
    for (u_int i = 0; i < found; i++) {
        char text[DM_SESSION_INFO_LEN];
        size_t length;
        if (dm_query_session(sids[i], sizeof text, text, &length) != 0 || strcmp(text, NAME) != 0)
            continue;
        ours++;
        visit(sids[i], argument);
    }
    return ours;
}

static void count_tokens(dm_sessid_t sid, void *sum)
{
    u_int found;
    must(dm_getall_tokens(sid, SESSIONS_MAX, tokens, &found) == 0, "dm_getall_tokens");
    *(unsigned long *)sum += found;
}

static void end_session(dm_sessid_t sid, void *unused)
{
    u_int found;
    (void)unused;
    must(dm_getall_tokens(sid, SESSIONS_MAX, tokens, &found) == 0, "dm_getall_tokens");
    for (u_int i = 0; i < found; i++)
        must(dm_respond_event(sid, tokens[i], DM_RESP_CONTINUE, 0, 0, NULL) == 0,
             "dm_respond_event");
    must(dm_destroy_session(sid) == 0, "dm_destroy_session");
}

static void fill(unsigned sessions, unsigned events)
{
    for (unsigned i = 0; i < sessions; i++) {
        char name[] = NAME, data[] = "0123456789abcdef";
        dm_sessid_t sid;
        dm_token_t token;
        must(dm_create_session(DM_NO_SESSION, name, &sid) == 0, "dm_create_session");
        for (unsigned j = i; j < events; j += sessions)
            must(dm_create_userevent(sid, sizeof data, data, &token) == 0, "dm_create_userevent");
    }
}

int main(int argc, char **argv)
{
    char *version;
    const char *what = argc > 1 ? argv[1] : "";
    double start = now_us();
    if (strcmp(what, "wait") == 0) {
        while (dm_init_service(&version) != 0)
            must(now_us() - start < 60e6, "dm_init_service");
        u_int found;
        while (dm_getall_sessions(SESSIONS_MAX, sids, &found) != 0)
            must(now_us() - start < 60e6, "dm_getall_sessions");
        printf("%.1f\n", (now_us() - start) / 1e3);
        return 0;
    }
    must(dm_init_service(&version) == 0, "dm_init_service");
    if (strcmp(what, "fill") == 0 && argc == 4) {
        fill((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
    } else if (strcmp(what, "kill") == 0 && argc == 3) {
        u_int found;
        must(kill((pid_t)atoi(argv[2]), SIGKILL) == 0, "kill");
        start = now_us();
        must(dm_getall_sessions(SESSIONS_MAX, sids, &found) == 0, "dm_getall_sessions");
        printf("%.1f\n", (now_us() - start) / 1e3);
    } else if (strcmp(what, "check") == 0 && argc == 4) {
        unsigned long sum = 0;
        unsigned ours = each_session(count_tokens, &sum);
        printf("%u sessions, %lu events\n", ours, sum);
        return ours == (unsigned)atoi(argv[2]) && sum == (unsigned long)atoi(argv[3]) ? 0 : 1;
    } else if (strcmp(what, "end") == 0) {
        each_session(end_session, NULL);
    } else {
        fprintf(stderr, "usage: recovery fill|check SESSIONS EVENTS, kill PID, wait, end\n");
        return 2;
    }
    return 0;
}
