/* What the program itself may ask for (include/stint.h, include/dmtcp.h).
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_API_H
#define STINT_RUNTIME_API_H

#include <stdbool.h>

#include "runtime/state.h"

/* The program is where it must not be checkpointed. Context: any. */
bool api_is_held(void) STINT_HIDDEN;

/* Say one word to the agent, which does not answer. Returns 0, or -errno when no agent is
 * there. Context: any. */
int api_tell(const char *word) STINT_HIDDEN;

/* A checkpoint of this process was written, or it was restored. Wakes whoever waits.
 * Context: the leader, before the other threads go on. */
void api_note_checkpoint(void) STINT_HIDDEN;
void api_note_restart(void) STINT_HIDDEN;

/* How often this process was restored. */
uint32_t api_restarts(void) STINT_HIDDEN;

#endif
