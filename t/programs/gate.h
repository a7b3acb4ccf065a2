/* How a test program and its test talk, by files that begin with $GATE.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program says .ready once it is in the middle of its work, shows .alive as long as it
 * runs, and may come to its end when .go exists. What it does meanwhile must not change its
 * result, so that the result is the same however often it was checkpointed.
 */
#ifndef STINT_T_PROGRAMS_GATE_H
#define STINT_T_PROGRAMS_GATE_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static inline void gate_path(char *path, size_t size, const char *what)
{
    const char *gate = getenv("GATE");

    (void)snprintf(path, size, "%s.%s", gate ? gate : "gate", what);
}

static inline void gate_touch(const char *what)
{
    char path[4200];

    gate_path(path, sizeof path, what);
    (void)mknod(path, S_IFREG | 0644, 0); /* there already is as good */
}

static inline void gate_nap(void)
{
    struct timespec ts = {.tv_nsec = 5 * 1000 * 1000};

    while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
        ;
}

static inline bool gate_open(void)
{
    char path[4200];

    gate_path(path, sizeof path, "go");
    return access(path, F_OK) == 0;
}

static inline void gate_wait(void)
{
    gate_touch("ready");
    while (!gate_open()) {
        gate_touch("alive");
        gate_nap();
    }
}

static inline void fail(const char *what)
{
    (void)printf("FAIL %s (errno %d)\n", what, errno);
    (void)fflush(stdout); /* nothing more can be done */
    _exit(1);
}

#endif
