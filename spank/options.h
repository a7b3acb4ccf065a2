/* The options that sbatch, salloc and srun get from the plugin.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_SPANK_OPTIONS_H
#define STINT_SPANK_OPTIONS_H

#include <stdbool.h>

#include <stdint.h>

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <slurm/spank.h>

#include "common/err.h"

enum option_id {
    OPTION_INTERVAL,
    OPTION_DIR,
    OPTION_KEEP,
    OPTION_MARGIN,
    OPTION_UNSUPPORTED,
    OPTION_SAVE_FILES,
    OPTION_RESTART_FROM,
    OPTION_COUNT,
};

#define OPTION_ENV_MAX   128
#define OPTION_VALUE_MAX 4096 /* bytes with the NUL: a path fits */

/* Register all options; for slurm_spank_init(). `cb` is called with the option's id
 * as its first argument. Failures are reported and swallowed. */
void options_register(spank_t sp, spank_opt_cb_f cb);

/* "checkpoint-interval" */
const char *option_name(enum option_id id);

/* "CHECKPOINT_INTERVAL": what follows SBATCH_, SALLOC_, SLURM_, STINT_TASK_. */
const char *option_suffix(enum option_id id);

/* The variable in which Slurm itself carries the option to job and steps. Returns buf. */
const char *option_slurm_env(enum option_id id, char buf[OPTION_ENV_MAX]);

/* Look at a value as the user gave it. Returns 0, or -errno with one line in *err that
 * names the option. */
int option_check(enum option_id id, const char *value, struct stint_err *err);

/* True when this option alone makes stint look after the job. */
bool option_starts_stint(enum option_id id);

/* In slurmstepd, from user_init on: the value of an option, from Slurm's own table or,
 * where Slurm lost it (--export=NONE before 23.11), from the job's environment.
 *
 * Returns true with value filled; false when the option was not given.
 */
bool option_remote_value(spank_t sp, enum option_id id, char value[OPTION_VALUE_MAX]);

#endif
