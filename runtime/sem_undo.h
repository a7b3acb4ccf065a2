/* SEM_UNDO adjustments of System V semaphores.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_SEM_UNDO_H
#define STINT_RUNTIME_SEM_UNDO_H

#include "runtime/state.h"

/* Tell the agent what the end of this process would undo.
 * Returns 0; -EAGAIN when the semaphores do not stand still; -errno.
 * Context: leader, all processes of the program stopped. */
int sem_undo_send(int channel) STINT_HIDDEN;

#endif
