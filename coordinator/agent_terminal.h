/* Job control of a restored program on the terminal of `stint restart`.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program that was launched is in the agent's process group, and the shell's. A restored
 * one has the groups of its first life again, which the shell does not know: so the agent
 * stands in for it. When the shell puts the agent in front (fg), the agent puts the program
 * there and lets it go on; when the terminal has stopped the program (^Z, reading from
 * behind), the agent stops, too, and the shell sees a stopped job.
 */
#ifndef STINT_COORDINATOR_AGENT_TERMINAL_H
#define STINT_COORDINATOR_AGENT_TERMINAL_H

#include "common/err.h"

struct agent;
struct agent_terminal;

/* Begin, if the agent's standard input is its terminal and the program was restored into
 * groups of its own. Returns 0, also where there is nothing to do, or -ENOMEM with *err. */
int agent_terminal_start(struct agent *agent, struct stint_err *err);

/* Takes NULL. */
void agent_terminal_free(struct agent *agent);

#endif
