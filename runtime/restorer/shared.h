/* The page that all processes of a restore share until the program runs.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Used by ordinary code and by the blob, so everything here is inline and raw.
 * A phase is a barrier: the last of `expected` arrivals opens it. Whoever fails
 * writes the error, once, and raises `abort`; everybody who waits then ends.
 */
#ifndef STINT_RESTORER_SHARED_H
#define STINT_RESTORER_SHARED_H

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "common/raw.h"

enum stint_phase {
    STINT_PHASE_EXIST,   /* every process of the tree has been created */
    STINT_PHASE_LEADERS, /* leaders of process groups have made them */
    STINT_PHASE_GROUPS,  /* all are in their process groups */
    STINT_PHASE_SETTLED, /* temporary processes are gone, zombies are dead */
    STINT_PHASE_LATE,    /* opened by init: objects that need the processes are there */
    STINT_PHASE_READY,   /* counts processes that wait for `go` */
    STINT_PHASE_GO,      /* opened by init when the agent says so */
    STINT_PHASE_RUNNING, /* counts processes that were let go */
    STINT_PHASE_STOPPED, /* opened by init: those that are to be stopped are; all others
                          * go on */
    STINT_PHASE_COUNT,
};

#define STINT_SHARED_LEN 16384u

struct stint_shared {
    uint32_t abort;
    uint32_t error_taken;
    uint32_t error_ready;
    int32_t error_pid;
    int32_t error_code; /* positive errno, 0 = the text says it all */
    char error_text[1024];
    uint32_t pid_lock; /* held from the write of ns_last_pid to the clone after it */
    uint32_t notes_lock;
    uint32_t notes_len;
    uint32_t root_ended;
    uint32_t expected[STINT_PHASE_COUNT];
    uint32_t arrived[STINT_PHASE_COUNT]; /* futex */
    uint32_t open[STINT_PHASE_COUNT];    /* futex */
    char notes[8192]; /* lines, each ends with a NUL */
};

static inline void shared_wake(uint32_t *word)
{
    (void)raw_syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX);
}

static inline void shared_sleep(uint32_t *word, uint32_t value, long timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};

    (void)raw_syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout);
}

static inline uint32_t shared_load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Report why the restore fails; only the first report counts. The caller ends. */
static inline void shared_fail(struct stint_shared *shared, int32_t pid, int32_t code,
                               const char *text)
{
    size_t i = 0;

    if (__atomic_exchange_n(&shared->error_taken, 1, __ATOMIC_ACQ_REL) == 0) {
        shared->error_pid = pid;
        shared->error_code = code;
        for (; text[i] && i < sizeof(shared->error_text) - 1; i++)
            shared->error_text[i] = text[i];
        shared->error_text[i] = '\0';
        __atomic_store_n(&shared->error_ready, 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&shared->abort, 1, __ATOMIC_RELEASE);
    for (int phase = 0; phase < STINT_PHASE_COUNT; phase++) {
        shared_wake(&shared->open[phase]);
        shared_wake(&shared->arrived[phase]);
    }
}

static inline void shared_arrive(struct stint_shared *shared, enum stint_phase phase)
{
    uint32_t arrived = __atomic_add_fetch(&shared->arrived[phase], 1, __ATOMIC_ACQ_REL);

    shared_wake(&shared->arrived[phase]);
    if (arrived == shared->expected[phase] && phase != STINT_PHASE_GO) {
        __atomic_store_n(&shared->open[phase], 1, __ATOMIC_RELEASE);
        shared_wake(&shared->open[phase]);
    }
}

/* Returns 0 when the phase is open, -1 when the restore has failed. */
static inline int shared_wait(struct stint_shared *shared, enum stint_phase phase)
{
    while (!shared_load(&shared->open[phase])) {
        if (shared_load(&shared->abort))
            return -1;
        shared_sleep(&shared->open[phase], 0, 1000);
    }
    return shared_load(&shared->abort) ? -1 : 0;
}

static inline int shared_meet(struct stint_shared *shared, enum stint_phase phase)
{
    shared_arrive(shared, phase);
    return shared_wait(shared, phase);
}

/* Between processes; the holder never sleeps for long. */
static inline void shared_lock(uint32_t *lock)
{
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
        shared_sleep(lock, 1, 10);
}

static inline void shared_unlock(uint32_t *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
    (void)raw_syscall(SYS_futex, lock, FUTEX_WAKE, 1);
}

/* A line for the agent's log; dropped when there are too many. */
static inline void shared_note(struct stint_shared *shared, const char *text)
{
    shared_lock(&shared->notes_lock);
    for (uint32_t at = shared->notes_len; at < sizeof(shared->notes); at++) {
        if (at == sizeof(shared->notes) - 1)
            break;
        shared->notes[at] = *text;
        if (!*text++) {
            shared->notes_len = at + 1;
            break;
        }
    }
    shared_unlock(&shared->notes_lock);
}

_Static_assert(sizeof(struct stint_shared) <= STINT_SHARED_LEN, "it fits");

#endif
