/* When the end of a stint has come, and what a SIGTERM from outside means: decisions
 * from what Slurm says of the job, without side effects.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_SLURM_PLAN_H
#define STINT_COORDINATOR_SLURM_PLAN_H

#include <jansson.h>
#include <stdint.h>

#include "common/err.h"

#define SLURM_MARGIN_DEFAULT 15u /* seconds */

/* What `stint-slurm info` says. Times are seconds since 1970, 0 = none. */
struct slurm_info {
    int64_t start_time;
    int64_t end_time;     /* 0: without limit */
    int64_t preempt_time; /* 0: not preempted */
    int restart_count;
    int can_requeue; /* JobRequeue=1 */
    int is_batch;    /* others cannot be requeued at all */
    char state[32];
};

/* Returns 0, or -EBADMSG with *err set. */
int slurm_info_parse(const char *text, struct slurm_info *info, struct stint_err *err);

/* Seconds before the end at which the final checkpoint starts: what two checkpoints as
 * long as the longest so far take, and 5 more; at least the margin; but of a short run
 * no more than a third. */
int64_t
slurm_lead(const struct slurm_info *info, uint32_t margin_s, uint64_t longest_ms);

/* True when the final checkpoint has to start. */
int slurm_is_final_due(const struct slurm_info *info, int64_t lead_s, int64_t now);

/* Seconds until the next look at the job. */
int slurm_poll_after(const struct slurm_info *info, int64_t lead_s, int64_t now);

enum slurm_verdict {
    SLURM_DELIVER,   /* the signal is meant for the program */
    SLURM_FINAL,     /* the job is being stopped: checkpoint and requeue */
    SLURM_CANCELLED, /* the job is not to go on */
};

/* What a SIGTERM means. info: fresh; NULL when Slurm could not be asked, then `last` is
 * what it said before (NULL: nothing). */
enum slurm_verdict slurm_judge_sigterm(const struct slurm_info *info,
                                       const struct slurm_info *last,
                                       int64_t lead_s,
                                       int64_t now);

#endif
