/* What /proc/PID/fdinfo/N says about a descriptor.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_FDINFO_H
#define STINT_COORDINATOR_AGENT_FDINFO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

/* Read it whole. pid: 0 for the agent itself. Returns 0 with *text (free it), or -errno
 * with *err. */
int agent_fdinfo_read(pid_t pid, int fd, char **text, struct stint_err *err);

/* Where the value of the next line "key:" begins, after `at` (NULL: from the start);
 * NULL when there is none. */
const char *agent_fdinfo_find(const char *text, const char *key, const char *at);

/* The number in the first line "key:". Returns false when there is no such line. */
bool agent_fdinfo_number(const char *text, const char *key, int base, uint64_t *value);

#endif
