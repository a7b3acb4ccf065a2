/* What the plugin does in each of the processes that load it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * spank_stint.c calls these by context. None of them makes Slurm fail anything, but
 * a bad option value in the process that submits.
 */
#ifndef STINT_SPANK_PLUGIN_H
#define STINT_SPANK_PLUGIN_H

#include "options.h"

/* --- submit.c: sbatch, salloc, srun; as the user ------------------------------ */

/* Before Slurm reads its options: take ours from SBATCH_CHECKPOINT_INTERVAL and the
 * like, and give sbatch the defaults that a job under stint needs. */
void submit_init(void);

/* One option, from a script, the environment or the command line. Returns 0, or -1
 * when the value is bad, having said so. */
int submit_option(int id, const char *value);

/* All options have been read: take back what submit_init() put into the environment,
 * so that the job does not inherit it. */
void submit_options_done(spank_t sp);

/* What submit.c tells task.c by a variable of the job (SPANK_...): --open-mode=truncate. */
#define STINT_TRUNCATE "STINT_TRUNCATE"

/* --- task.c: slurmstepd, just before it starts a task; as the user -------------- */

/* Make the task an agent, if the user asked for it. argc, argv: of plugstack.conf;
 * "task=/path/stint-task" names the agent's program. */
void task_init(spank_t sp, int argc, char **argv);

#endif
