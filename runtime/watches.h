/* Paths that were given to inotify_add_watch(2).
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_WATCHES_H
#define STINT_RUNTIME_WATCHES_H

#include "runtime/state.h"

/* Tell the agent all of them. Context: leader, siblings stopped. */
void watches_send(int channel) STINT_HIDDEN;

#endif
