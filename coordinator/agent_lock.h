/* Locks that the program holds on files.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_LOCK_H
#define STINT_COORDINATOR_AGENT_LOCK_H

#include "common/err.h"

struct agent_group;

/* Fill group->locks: all objects are described. Returns 0 or -errno with *err. */
int agent_locks_read(struct agent_group *group, struct stint_err *err);

#endif
