/*
 * Purpose: what becomes of held requests, of a killed server's requests and of FORGET, INTERRUPT
 *          and notifications with FUSE over io_uring; its round trips beside those over /dev/fuse.
 * Usage:   fuse_uring_probe DIRECTORY
 *          an empty directory, as root; sets the parameter enable_uring of the module fuse for the
 *          time of the run (two minutes)
 * Prints:  a fact a line; docs/kernel-features.md says what follows from them
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fuse_uring_guard.h"
#include "fuse_uring_scene.h"
#include "fuse_uring_trips.h"
#include "measure.h"

#define CLOSE_MS 200
#define MANY 6
#define KILLS 10

static const char *yes_no(int yes)
{
    return yes ? "yes" : "NO";
}

static int has_seen(const void *number)
{
    return scene.shared->number_seen >= *(const unsigned *)number;
}

static void hold_in_any_order(void)
{
    struct caller *readers[3];
    for (int i = 0; i < 3; i++)
        readers[i] = held_read(i, 0);
    fact("held READs came by", came(FUSE_READ, 2, 0));
    fact("GETATTR of the same processor while 3 of 4 entries hold READs",
         end_of(call(GET_ATTRIBUTES, 0), ABSENT_MS));
    order(ORDER_ANSWER, (unsigned)find(FUSE_READ, 2, 0), 0);
    fact("last READ answered first", end_of(readers[2], ABSENT_MS));
    order(ORDER_ANSWER, (unsigned)find(FUSE_READ, 1, 0), EIO);
    fact("READ answered with EIO", end_of(readers[1], ABSENT_MS));
    order(ORDER_ANSWER, (unsigned)find(FUSE_READ, 0, 0), 0);
    fact("first READ answered last", end_of(readers[0], ABSENT_MS));
}

static void beside_the_ring(void)
{
    unsigned from = scene.shared->number_seen;
    for (int i = 0; i < 2; i++)
        must(strcmp(end_of(call(LOOK_UP, 1), WAIT_MS), "right") == 0, SERVER_ODD);
    fact("LOOKUP came by", came(FUSE_LOOKUP, -1, from));
    const char *forget = came(FUSE_FORGET, -1, from);
    if (strcmp(forget, "nowhere") == 0)
        forget = came(FUSE_BATCH_FORGET, -1, from);
    fact("FORGET came by", forget);
    fact("NOTIFY_INVAL_INODE by /dev/fuse", strerror(order(ORDER_INVALIDATE, 0, 0)));
    struct caller *reader = held_read(20, 1);
    kill(reader->pid, SIGKILL);
    fact("INTERRUPT of a held READ came by", came(FUSE_INTERRUPT, -1, from));
    usleep(LOOK_US * 10);
    if (scene.shared->again_errno >= 0)
        fact("INTERRUPT answered EAGAIN (the kernel is to ask again)",
             strerror(scene.shared->again_errno));
    fact("the killed reader died by then", yes_no(is_gone(reader)));
    order(ORDER_ANSWER, (unsigned)find(FUSE_READ, 20, 0), EINTR);
    fact("and once the READ was answered EINTR", yes_no(wait_until(is_gone, reader, ABSENT_MS)));
    reader->done = 1;
}

/* Until all entries of the queue of processor 0 hold READs. */
static void use_up(void)
{
    for (unsigned i = 0; i < SERVER_ENTRIES; i++)
        held_read((int)(10 + i), 0);
    struct caller *queued = call(GET_ATTRIBUTES, 0);
    fact("GETATTR when all entries of its processor hold READs", end_of(queued, ABSENT_MS));
    fact("GETATTR of another processor meanwhile", end_of(call(GET_ATTRIBUTES, 1), ABSENT_MS));
    order(ORDER_REGISTER, 0, 0);
    fact("the same GETATTR after one more entry was registered", end_of(queued, ABSENT_MS));
    fact("a later GETATTR after it", end_of(call(GET_ATTRIBUTES, 0), ABSENT_MS));
    fact("the first one then", end_of(queued, ABSENT_MS));
    order(ORDER_ANSWER, (unsigned)find(FUSE_READ, 10, 0), 0);
    fact("the first one once a READ was answered", end_of(queued, ABSENT_MS));
}

/* The tester answers what the worker holds. */
static void answer_elsewhere(void)
{
    unsigned from, at_tester = 0;
    struct caller *reader = held_read(15, 0);
    struct seen *seen = &scene.shared->seen[find(FUSE_READ, 15, 0)];
    uring_open(&scene.own, scene.channel, 0);
    memset(seen->slot->payload, server_pattern(15), SERVER_BLOCK);
    uring_commit(&scene.own, seen->slot, seen->unique, 0, SERVER_BLOCK);
    uring_enter(&scene.own, 0);
    fact("READ answered by another task with a ring of its own", end_of(reader, ABSENT_MS));
    from = scene.shared->number_seen;
    end_of(call(GET_ATTRIBUTES, 0), ABSENT_MS);
    for (unsigned i = from; i < scene.shared->number_seen; i++)
        at_tester += scene.shared->seen[i].worker == 0;
    fact("its entry's next request came to that other ring", yes_no(at_tester > 0));
}

static void holding(void)
{
    printf("holding\n");
    begin(FROM_SHARED_RING);
    hold_in_any_order();
    beside_the_ring();
    use_up();
    answer_elsewhere();
    finish();
}

static void read_between(struct caller *callers[], int first, unsigned number)
{
    for (unsigned i = 0; i < number; i++) {
        callers[i] = call(first + (int)i, 0);
        must(wait_until(reads_or_ended, callers[i], WAIT_MS), "a reader that waits");
    }
}

/* The tester is the supervisor. */
static void killing(int close_ring)
{
    struct caller *between[MANY], *later[MANY];
    printf("killing the worker, its ring is %s\n",
           close_ring ? "closed by the supervisor at once" : "kept and used by the next worker");
    begin(FROM_SHARED_RING);
    struct caller *held = held_read(0, 0);
    reap(scene.worker);
    if (close_ring) {
        uring_close(&scene.ring);
        /* The kernel takes its entries away in the background. */
        usleep(1000 * CLOSE_MS);
    }
    read_between(between, 1, MANY);
    fact("6 READs made while there is no worker", ends_of(between, MANY));
    if (close_ring)
        uring_open(&scene.ring, scene.channel, 0);
    unsigned from = scene.shared->number_seen;
    scene.shared->hold = 0;
    start_worker(2);
    int error = order(ORDER_RESEND, 0, 0);
    fact("NOTIFY_RESEND", error == 0 ? "taken" : strerror(error));
    fact("the held READ came again by", came(FUSE_READ, 0, from));
    fact("the last READ made between the workers came by", came(FUSE_READ, MANY, from));
    fact("a GETATTR", end_of(call(GET_ATTRIBUTES, 0), ABSENT_MS));
    fact("the 6 READs made between the workers then", ends_of(between, MANY));
    order(ORDER_ANSWER, (unsigned)find(FUSE_READ, 0, 0), 0);
    fact("the held READ, answered by its number from memory that both workers share",
         end_of(held, ABSENT_MS));
    scene.shared->hold = 1;
    read_between(later, 30, MANY);
    fact("6 READs that the next worker (4 entries of its own) holds", ends_of(later, MANY));
    printf("  entries that came back with an error: %u\n", scene.shared->failed_entries);
    finish();
}

/* A worker dies that holds nothing; nothing is asked before the next has registered. */
static void dying_idle(void)
{
    struct caller *later[MANY];
    printf("killing an idle worker, its ring is kept, nobody asks until the next has registered\n");
    begin(FROM_SHARED_RING);
    reap(scene.worker);
    start_worker(2);
    read_between(later, 30, MANY);
    fact("6 READs that the next worker (4 entries of its own) holds", ends_of(later, MANY));
    finish();
}

/* Workers die while two processors ask without a pause. */
static void dying_busy(enum from from)
{
    struct caller *askers[2];
    unsigned cancelled = 0, waiting = 0, right = 0;
    char found[96];
    static const char *const how[] = {"a ring that is closed at once", "a ring that ends with it",
                                      "/dev/fuse"};
    printf("killing the worker %d times while two callers ask on, it serves %s\n", KILLS,
           how[from]);
    for (unsigned i = 0; i < KILLS; i++) {
        begin(from);
        for (unsigned j = 0; j < 2; j++)
            askers[j] = call(ASK_ON, (int)j);
        unsigned enough = scene.shared->number_seen + 100;
        must(wait_until(has_seen, &enough, WAIT_MS), "requests");
        reap(scene.worker);
        uring_close(&scene.ring);
        usleep(1000 * CLOSE_MS);
        if (from == FROM_SHARED_RING)
            uring_open(&scene.ring, scene.channel, 0);
        start_worker(2);
        order(ORDER_RESEND, 0, 0);
        scene.shared->stop_asking = 1;
        for (unsigned j = 0; j < 2; j++) {
            /* A later request on the same processor brings out what is queued. */
            end_of(call(GET_ATTRIBUTES, (int)j), ABSENT_MS);
            int done = wait_until(is_done, askers[j], ABSENT_MS);
            waiting += !done;
            cancelled += done && askers[j]->error == ECANCELED;
            right += done && askers[j]->error == 0;
        }
        end_quietly();
    }
    snprintf(found, sizeof found, "%u of %d ECANCELED, %u never answered, %u right", cancelled,
             2 * KILLS, waiting, right);
    fact("callers", found);
}

static void probe(void)
{
    holding();
    dying_idle();
    killing(0);
    killing(1);
    for (enum from from = FROM_SHARED_RING; from <= FROM_DEVICE; from++)
        dying_busy(from);
    printf("%-58s %9s %9s %10s   ratio of p50\n", "round trips", "p50 us", "p99 us", "per s");
    for (int run = 0; run < 2; run++)
        round_trips(scene.directory);
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: fuse_uring_probe DIRECTORY\n");
        return 2;
    }
    scene.directory = arguments[1];
    return guard(probe, scene.directory);
}
