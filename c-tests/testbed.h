/* testbed.h: between harness.c and testbed.c. */
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

long long now_ms(void);
void pause_ms(int ms);
/* Waits for a child; false if it still runs after that long. */
bool ends_within(pid_t child, long long ms, int *status);

#endif
