/* stint.h - what a program can ask of stint, when it runs under it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The functions are weak: no library is needed, and where the program does not run under
 * stint the STINT_ macros below answer for them. Compile as position-independent code, as
 * compilers do by default.
 */
#ifndef STINT_H
#define STINT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    STINT_FAILED = 0,
    STINT_CHECKPOINTED = 1,
    STINT_RESTARTED = 2,
    STINT_ABSENT = 3, /* the program does not run under stint */
};

/* Checkpoint all that runs with this process and wait until that is committed.
 * Returns STINT_CHECKPOINTED; STINT_RESTARTED in the program that goes on from it;
 * STINT_FAILED (stint_reason() says why). */
int stint_checkpoint(void) __attribute__((weak));

/* Why the last stint_checkpoint() of this process failed. Never NULL. */
const char *stint_reason(void) __attribute__((weak));

/* No checkpoint is made between these two; they nest. One that is asked for meanwhile
 * waits, and fails when that lasts for minutes. */
void stint_hold(void) __attribute__((weak));
void stint_release(void) __attribute__((weak));

/* How often this process has been checkpointed, and restarted. */
void stint_counts(uint64_t *checkpoints, uint64_t *restarts) __attribute__((weak));

/* The newest generation that this process is part of, or was restored from; 0 = none. */
uint64_t stint_generation(void) __attribute__((weak));

#define STINT_CHECKPOINT() (stint_checkpoint ? stint_checkpoint() : STINT_ABSENT)
#define STINT_HOLD()       ((void)(stint_hold ? stint_hold() : (void)0))
#define STINT_RELEASE()    ((void)(stint_release ? stint_release() : (void)0))

#ifdef __cplusplus
}
#endif

#endif
