/*
 * Purpose: what outlives a process. A child makes a session and a token and dies; its parent finds the
 *          session by its string, assumes it, and answers the token. Needs a DMAPI service, but no file system.
 * Compile: cc -std=c11 -D_GNU_SOURCE -o tokens tokens.c -ldmapi
 * Run:     ./tokens
 * Prints:  child: session 1, token 1 with the message "page 7", and gone
 *          parent: session 1 is called "tokens tutorial 4711", assumed as 2
 *          parent: token 1 carries "page 7"
 *          parent: answered; a second answer fails with No such process
 */
#include <dmapi.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) < 0) {                                                                          \
            fprintf(stderr, "%s: %s\n", #call, strerror(errno));                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void child(char *name)
{
    char *version, message[] = "page 7";
    dm_sessid_t sid;
    dm_token_t token;
    CHECK(dm_init_service(&version));
    CHECK(dm_create_session(DM_NO_SESSION, name, &sid));
    /* A user event is outstanding from its birth: its token can hold rights, and must be answered. */
    CHECK(dm_create_userevent(sid, sizeof message, message, &token));
    printf("child: session %d, token %d with the message \"%s\", and gone\n", (int)sid, (int)token,
           message);
    fflush(stdout);
    _exit(0);
}

/* The session called `name`; sessions have no other address than their string. */
static dm_sessid_t find_session(const char *name)
{
    dm_sessid_t sids[256];
    u_int count;
    CHECK(dm_getall_sessions(256, sids, &count));
    for (u_int i = 0; i < count; i++) {
        char text[DM_SESSION_INFO_LEN];
        size_t length;
        if (dm_query_session(sids[i], sizeof text, text, &length) == 0 && strcmp(text, name) == 0)
            return sids[i];
    }
    fprintf(stderr, "no session is called \"%s\"\n", name);
    exit(1);
}

int main(void)
{
    char name[64], *version;
    snprintf(name, sizeof name, "tokens tutorial %ld", (long)getpid());
    pid_t pid = fork();
    if (pid == 0)
        child(name);
    int outcome = 1;
    waitpid(pid, &outcome, 0);
    if (outcome != 0)
        return 1;

    CHECK(dm_init_service(&version));
    dm_sessid_t old = find_session(name), sid;
    CHECK(dm_create_session(old, name, &sid));
    printf("parent: session %d is called \"%s\", assumed as %d\n", (int)old, name, (int)sid);

    dm_token_t token;
    u_int count;
    CHECK(dm_getall_tokens(sid, 1, &token, &count));
    _Alignas(8) char buffer[4096];
    size_t length;
    CHECK(dm_find_eventmsg(sid, token, sizeof buffer, buffer, &length));
    dm_eventmsg_t *message = (dm_eventmsg_t *)(void *)buffer;
    printf("parent: token %d carries \"%s\"\n", (int)token, DM_GET_VALUE(message, ev_data, char *));

    CHECK(dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL));
    if (dm_respond_event(sid, token, DM_RESP_CONTINUE, 0, 0, NULL) == 0) {
        printf("parent: a token was answered twice\n");
        return 1;
    }
    printf("parent: answered; a second answer fails with %s\n", strerror(errno));
    CHECK(dm_destroy_session(sid));
    return 0;
}
