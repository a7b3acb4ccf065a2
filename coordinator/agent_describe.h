/* Find out what a program that stands still consists of.
 * SPDX-License-Identifier: Apache-2.0
 *
 * With many processes, or on a busy machine, it takes a while. It is done piece by piece
 * from the agent's loop, which goes on meanwhile: the coordinator and the processes hear
 * that the agent lives, and a process that is killed, or a coordinator that has given up,
 * is noticed.
 */
#ifndef STINT_COORDINATOR_AGENT_DESCRIBE_H
#define STINT_COORDINATOR_AGENT_DESCRIBE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct agent;
struct agent_describe;
struct agent_group;
struct agent_quiesce;

/* All is described (ret 0), or why it cannot be: AGENT_OBJECT_E_REFUSED or -errno, with
 * err. Called once; may free the agent_describe. */
typedef void (*agent_describe_f)(int ret, const struct stint_err *err, void *arg);

/* Describe what quiesce has stopped into group, whose objects have been added. The pointers
 * are borrowed until agent_describe_free().
 * ignore: leave out what is not supported, with a warning
 *
 * Returns 0 with *describe set (freed by the caller), or -ENOMEM with *err set. done is
 * called from the loop, never from here. */
int agent_describe_start(struct agent *agent, struct agent_quiesce *quiesce,
                         struct agent_group *group, bool ignore, agent_describe_f done,
                         void *arg, struct agent_describe **describe, struct stint_err *err);

/* Pieces described so far: grows as long as it goes on. */
uint64_t agent_describe_pieces(const struct agent_describe *describe);

/* Stop. Takes NULL. */
void agent_describe_free(struct agent_describe *describe);

#endif
