/* The end of a stint, decided from what Slurm says of the job.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/slurm_plan.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/wire.h"

#define POLL_S      10
#define POLL_NEAR_S 2
#define NEAR_S      30
#define EARLY_S     60 /* --signal=TERM@N comes up to this much earlier than N says */

int slurm_info_parse(const char *text, struct slurm_info *info, struct stint_err *err)
{
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const char *state = stint_json_string(object, "state", NULL);

    if (!state || !json_is_integer(json_object_get(object, "end_time"))) {
        json_decref(object);
        return stint_err_set(err, -EBADMSG, "stint-slurm said something unexpected.");
    }
    memset(info, 0, sizeof(*info));
    snprintf(info->state, sizeof(info->state), "%s", state);
    info->start_time = stint_json_int(object, "start_time", 0, INT64_MAX, 0);
    info->end_time = stint_json_int(object, "end_time", 0, INT64_MAX, 0);
    info->preempt_time = stint_json_int(object, "preempt_time", 0, INT64_MAX, 0);
    info->restart_count =
        (int)stint_json_int(object, "restart_count", 0, INT_MAX - 1, 0);
    info->can_requeue = stint_json_bool(object, "requeue", 1);
    info->is_batch = stint_json_bool(object, "batch", 1);
    if (stint_json_int(object, "time_limit_s", INT64_MIN, INT64_MAX, 0) < 0)
        info->end_time = 0;
    json_decref(object);
    return 0;
}

int64_t
slurm_lead(const struct slurm_info *info, uint32_t margin_s, uint64_t longest_ms)
{
    int64_t lead = (int64_t)(2 * longest_ms + 999) / 1000 + 5;
    int64_t length = info->end_time - info->start_time;

    if (longest_ms == 0 || lead < (int64_t)margin_s)
        lead = margin_s;
    if (info->end_time && info->start_time && length >= 0 && lead > length / 3)
        lead = length / 3;
    return lead;
}

int slurm_is_final_due(const struct slurm_info *info, int64_t lead_s, int64_t now)
{
    if (info->preempt_time)
        return 1;
    return info->end_time && now >= info->end_time - lead_s;
}

int slurm_poll_after(const struct slurm_info *info, int64_t lead_s, int64_t now)
{
    if (!info->end_time || now < info->end_time - lead_s - NEAR_S)
        return POLL_S;
    return POLL_NEAR_S;
}

static int is_one_of(const char *state, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(state, *list) == 0)
            return 1;
    return 0;
}

static int is_near_end(const struct slurm_info *info, int64_t lead_s, int64_t now)
{
    int64_t near = 2 * lead_s + EARLY_S;
    int64_t length = info->end_time - info->start_time;

    if (info->preempt_time)
        return 1;
    /* the second half of a short run is near enough */
    if (info->start_time && near > length / 2)
        near = length / 2;
    return info->end_time && now >= info->end_time - near;
}

enum slurm_verdict slurm_judge_sigterm(const struct slurm_info *info,
                                       const struct slurm_info *last,
                                       int64_t lead_s,
                                       int64_t now)
{
    static const char *const given_up[] = {"CANCELLED", "COMPLETED",     "FAILED",
                                           "DEADLINE",  "OUT_OF_MEMORY", "BOOT_FAIL",
                                           NULL};
    static const char *const as_usual[] = {"RUNNING", "SUSPENDED", NULL};

    if (!info)
        return last && is_near_end(last, lead_s, now) ? SLURM_FINAL : SLURM_DELIVER;
    if (is_one_of(info->state, given_up))
        return SLURM_CANCELLED;
    if (!is_one_of(info->state, as_usual))
        return SLURM_FINAL; /* TIMEOUT, PREEMPTED, PENDING (requeued by an admin), ...
                             */
    return is_near_end(info, lead_s, now) ? SLURM_FINAL : SLURM_DELIVER;
}
