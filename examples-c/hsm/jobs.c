/*
 * The recalls of the daemon; see jobs.h.
 *
 * A job is a file with its events. Its first token takes the exclusive right on the file and keeps it until
 * the job has no events left, so the others need none, and one fetch serves all readers. Another process
 * that works on the file (hsm_migrate, hsm_recall) is waited for by that right.
 */
#include "jobs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct event {
    struct event *next;
    dm_token_t token;
    dm_eventtype_t type;
    uint64_t offset; /* of TRUNCATE: the new size */
};

struct job {
    struct job *next;
    struct hsm_handle handle;
    struct event *first, **last;
    bool running;
};

static const struct hsm_context *hsm;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
/* Waiting and running jobs, oldest first. The service bounds the number of blocked users. */
static struct job *jobs, **jobs_last = &jobs;

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);
    /* The session keeps everything; a successor takes it up. */
    if (memory == NULL)
        hsm_die("out of memory; start hsm_recalld again");
    return memory;
}

static struct job *job_of(void *hanp, size_t hlen)
{
    for (struct job *job = jobs; job != NULL; job = job->next)
        if (dm_handle_cmp(job->handle.hanp, job->handle.hlen, hanp, hlen) == 0)
            return job;
    struct job *job = allocate(sizeof *job);
    job->handle.hanp = allocate(hlen);
    job->handle.hlen = hlen;
    memcpy(job->handle.hanp, hanp, hlen);
    job->last = &job->first;
    *jobs_last = job;
    jobs_last = &job->next;
    return job;
}

void jobs_add(dm_eventmsg_t *message)
{
    dm_data_event_t *data = DM_GET_VALUE(message, ev_data, dm_data_event_t *);
    struct event *event = allocate(sizeof *event);
    event->token = message->ev_token;
    event->type = message->ev_type;
    event->offset = (uint64_t)data->de_offset;

    pthread_mutex_lock(&lock);
    struct job *job =
        job_of(DM_GET_VALUE(data, de_handle, void *), DM_GET_LEN(data, de_handle));
    *job->last = event;
    job->last = &event->next;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&lock);
}

/* Takes the next event of a job; NULL ends the job, which is removed in the same instant. */
static struct event *next_event(struct job *job)
{
    pthread_mutex_lock(&lock);
    struct event *event = job->first;
    if (event != NULL) {
        job->first = event->next;
        if (job->first == NULL)
            job->last = &job->first;
    } else {
        struct job **link = &jobs;
        while (*link != job)
            link = &(*link)->next;
        *link = job->next;
        if (jobs_last == &job->next)
            jobs_last = link;
    }
    pthread_mutex_unlock(&lock);
    return event;
}

/*
 * truncate to 0: nothing to fetch. The size goes first, while the region still guards the file: were the
 * region cleared first and the user's truncation failed, zeros could be read.
 */
static int drop_data(struct hsm_handle handle, dm_token_t token)
{
    dm_fileattr_t change;
    memset(&change, 0, sizeof change);
    if (dm_set_fileattr(hsm->sid, handle.hanp, handle.hlen, token, DM_AT_SIZE, &change) != 0) {
        int error = errno;
        hsm_log("inode %llu: cannot be truncated: %s", hsm_inode(handle), strerror(error));
        return error;
    }
    return hsm_forget_copy(hsm, handle, token);
}

/* Makes the file ready for the operation of the event. 0, or an errno. `token` holds the right. */
static int prepare(struct hsm_handle handle, const struct event *event, dm_token_t token)
{
    if (event->type == DM_EVENT_TRUNCATE && event->offset == 0)
        return drop_data(handle, token);
    int error = hsm_recall(hsm, handle, token, NULL);
    if (error == 0 && event->type != DM_EVENT_READ)
        error = hsm_forget_copy(hsm, handle, token);
    return error;
}

static void answer(const struct event *event, int error)
{
    /* The cause is in the log; the user gets the errno that every application knows. */
    if (dm_respond_event(hsm->sid, event->token, error == 0 ? DM_RESP_CONTINUE : DM_RESP_ABORT,
                         error == 0 ? 0 : EIO, 0, NULL) != 0)
        hsm_log("token %d: the answer was refused: %s", (int)event->token, strerror(errno));
}

static void run(struct job *job)
{
    struct hsm_handle handle = job->handle;
    struct event *holder = next_event(job);
    double started_s = hsm_seconds_now();
    unsigned answered = 1;
    int error = 0;
    while (dm_request_right(hsm->sid, handle.hanp, handle.hlen, holder->token, DM_RR_WAIT,
                            DM_RIGHT_EXCL) != 0) {
        if (errno == EINTR)
            continue;
        error = errno;
        hsm_log("inode %llu: no right on it: %s", hsm_inode(handle), strerror(error));
        break;
    }
    if (error == 0)
        error = prepare(handle, holder, holder->token);
    /* An error is everybody's: the next access tries again. */
    for (struct event *event; (event = next_event(job)) != NULL; answered++) {
        int other_error = error != 0 ? error : prepare(handle, event, holder->token);
        answer(event, other_error);
        free(event);
    }
    hsm_log("inode %llu: %s token %d, %u events answered in %.0f ms%s", hsm_inode(handle),
            holder->type == DM_EVENT_READ    ? "READ"
            : holder->type == DM_EVENT_WRITE ? "WRITE"
                                             : "TRUNCATE",
            (int)holder->token, answered, (hsm_seconds_now() - started_s) * 1e3,
            error == 0 ? "" : " with EIO");
    answer(holder, error); /* gives the right back */
    free(holder);
    free(job->handle.hanp);
    free(job);
}

static void *worker(void *argument)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        struct job *job;
        for (;;) {
            for (job = jobs; job != NULL && job->running; job = job->next)
                ;
            if (job != NULL)
                break;
            pthread_cond_wait(&work, &lock);
        }
        job->running = true;
        pthread_mutex_unlock(&lock);
        run(job);
    }
    return argument;
}

void jobs_start(const struct hsm_context *context, unsigned threads)
{
    hsm = context;
    for (unsigned i = 0; i < threads; i++) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, worker, NULL);
        if (error != 0)
            hsm_die("cannot start a thread: %s", strerror(error));
        pthread_detach(thread);
    }
}
