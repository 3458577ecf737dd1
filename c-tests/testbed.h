/* testbed.h: between harness.c, testbed.c and ordinary.c. */
#ifndef TESTBED_H
#define TESTBED_H

#include <stdbool.h>
#include <sys/types.h>

enum { PASS = 0, FAIL = 1, SKIPPED = 77 };

/* The exit code of a test that cannot do its work: SKIPPED, or FAIL where DMAPI_NO_SKIP=1. */
int result_of_skip(void);

/* 0, or the exit code of the test if the bed cannot be made. */
int testbed_set_up(int needs, const char *kind);
/* Ends the daemon and takes the file system away; the private directory stays if the test failed. */
void testbed_tear_down(bool passed);
/* Stops the daemon, in order or by SIGKILL, and starts it on the same state. */
bool testbed_restart(bool kill_it);

/* Of this build, or copies where the user of the test cannot reach that. */
struct programs {
  char dmapid[256], dmctl[256];
};
extern struct programs programs;

/* From here on the test is an ordinary user's. 0, or the exit code of the test if it cannot be. */
int become_ordinary(void);
/* The exit code of a test for which something is missing. */
int skip(const char *why, const char *what);
void path_in_dir(char *path, size_t room, const char *name);

long long now_ms(void);
void pause_ms(int ms);
/* Waits for a child; false if it still runs after that long. */
bool ends_within(pid_t child, long long ms, int *status);

#endif
