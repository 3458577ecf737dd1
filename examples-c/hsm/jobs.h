/*
 * The recalls of the daemon: one job for each file that has events, however many they are.
 */
#ifndef HSM_JOBS_H
#define HSM_JOBS_H

#include "common.h"

/* Starts the threads that do the jobs. */
void jobs_start(const struct hsm_context *hsm, unsigned threads);

/* Adds a READ, WRITE or TRUNCATE event to the job of its file. The message is copied. */
void jobs_add(dm_eventmsg_t *message);

#endif
