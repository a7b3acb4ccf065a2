/* Locks that the program holds on files.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_LOCK_H
#define STINT_COORDINATOR_AGENT_LOCK_H

#include <stddef.h>

#include "common/err.h"

struct agent_group;

/* Add to group->locks those that belong to objects.list[at], and the process's own on the
 * file of objects.fds[at]: all objects are described. Return 0 or -errno with *err. */
int agent_locks_read_object(struct agent_group *group, size_t at, struct stint_err *err);
int agent_locks_read_fd(struct agent_group *group, size_t at, struct stint_err *err);

#endif
