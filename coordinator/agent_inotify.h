/* inotify instances of the program.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_INOTIFY_H
#define STINT_COORDINATOR_AGENT_INOTIFY_H

#include "common/ckpt.h"
#include "coordinator/agent_object.h"

/* A process has watched that path. Returns 0 or -ENOMEM. */
int agent_inotify_note(struct agent_objects *all, const struct stint_ckpt_watch *watch);

/* Release what was noted. */
void agent_inotify_forget(struct agent_objects *all);

#endif
