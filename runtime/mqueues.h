/* What was given to mq_notify(3).
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_MQUEUES_H
#define STINT_RUNTIME_MQUEUES_H

#include "runtime/state.h"

/* Tell the agent. Context: leader, siblings stopped. */
void mqueues_send(int channel) STINT_HIDDEN;

#endif
