/* The options that sbatch, salloc and srun get from the plugin.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/timefmt.h"

#define KEEP_MAX 10000

static const struct {
    const char *name;
    const char *suffix;
    const char *slurm; /* as Slurm spells the name in its variables */
    const char *arginfo;
    const char *usage;
} options[OPTION_COUNT] = {
    [OPTION_INTERVAL] = {"checkpoint-interval", "CHECKPOINT_INTERVAL",
                         "checkpoint_interval", "time",
                         "checkpoint the job this often, and once more before its time "
                         "limit; then requeue it, and carry on from there (seconds, or "
                         "30m, 2h, hh:mm:ss, d-hh:mm; 0: only before the limit)"},
    [OPTION_DIR] = {"checkpoint-dir", "CHECKPOINT_DIR", "checkpoint_dir", "path",
                    "keep checkpoints in path/JOBID (default: stint-checkpoints in the "
                    "directory of submission)"},
    [OPTION_KEEP] = {"checkpoint-keep", "CHECKPOINT_KEEP", "checkpoint_keep", "n",
                     "number of checkpoints to keep (default: 2)"},
    [OPTION_MARGIN] = {"checkpoint-margin", "CHECKPOINT_MARGIN", "checkpoint_margin",
                       "time",
                       "begin the last checkpoint this long before the time limit "
                       "(default: by what checkpoints have taken)"},
    [OPTION_UNSUPPORTED] = {"checkpoint-on-unsupported", "CHECKPOINT_ON_UNSUPPORTED",
                            "checkpoint_on_unsupported", "refuse|ignore",
                            "what cannot be restored makes a checkpoint fail by its name "
                            "(refuse, the default), or is left out (ignore)"},
    [OPTION_SAVE_FILES] = {"checkpoint-save-files", "CHECKPOINT_SAVE_FILES",
                           "checkpoint_save_files", "glob[:glob...]",
                           "also keep closed files that match, or are in directories that "
                           "do, and put them back (those in a TMPDIR of the job's own, on "
                           "the node, are anyway)"},
    [OPTION_RESTART_FROM] = {"restart-from", "RESTART_FROM", "restart_from", "dir|jobid",
                             "instead of starting the job's program, go on from the "
                             "newest checkpoint in dir, or of that job"},
};

void options_register(spank_t sp, spank_opt_cb_f cb)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        struct spank_option option = {
            .name = (char *)options[i].name,
            .arginfo = (char *)options[i].arginfo,
            .usage = (char *)options[i].usage,
            .has_arg = 1,
            .val = i,
            .cb = cb,
        };

        if (spank_option_register(sp, &option) != ESPANK_SUCCESS)
            slurm_error("stint: cannot register --%s", options[i].name);
    }
}

const char *option_name(enum option_id id)
{
    return options[id].name;
}

const char *option_suffix(enum option_id id)
{
    return options[id].suffix;
}

const char *option_slurm_env(enum option_id id, char buf[OPTION_ENV_MAX])
{
    snprintf(buf, OPTION_ENV_MAX, "SLURM_SPANK__SLURM_SPANK_OPTION_stint_%s",
             options[id].slurm);
    return buf;
}

bool option_starts_stint(enum option_id id)
{
    return id == OPTION_INTERVAL || id == OPTION_RESTART_FROM;
}

static int check_number(const char *value, struct stint_err *err)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno || n < 1 || n > KEEP_MAX)
        return stint_err_set(err, -EINVAL, "\"%.64s\" is no number from 1 to %d.", value,
                             KEEP_MAX);
    return 0;
}

/* It ends up in environment variables and in lines of text. */
static int check_path(const char *value, struct stint_err *err)
{
    if (strlen(value) >= OPTION_VALUE_MAX)
        return stint_err_set(err, -ENAMETOOLONG, "the path is too long.");
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < ' ')
            return stint_err_set(err, -EINVAL, "the path has a control character in it.");
    return 0;
}

int option_check(enum option_id id, const char *value, struct stint_err *err)
{
    uint32_t seconds;
    int rc = 0;

    if (!value || !*value)
        return stint_err_set(err, -EINVAL, "--%s needs a value.", options[id].name);
    switch (id) {
    case OPTION_INTERVAL:
    case OPTION_MARGIN:
        rc = stint_duration_parse(value, &seconds, err);
        break;
    case OPTION_KEEP:
        rc = check_number(value, err);
        break;
    case OPTION_UNSUPPORTED:
        if (strcmp(value, "refuse") != 0 && strcmp(value, "ignore") != 0)
            rc = stint_err_set(err, -EINVAL, "it is refuse or ignore, not \"%.64s\".", value);
        break;
    case OPTION_DIR:
    case OPTION_SAVE_FILES:
    case OPTION_RESTART_FROM:
        rc = check_path(value, err);
        break;
    case OPTION_COUNT:
        break;
    }
    if (rc)
        stint_err_prefix(err, "--%s", options[id].name);
    return rc;
}

bool option_remote_value(spank_t sp, enum option_id id, char value[OPTION_VALUE_MAX])
{
    struct spank_option option = {.name = (char *)options[id].name, .has_arg = 1};
    char name[OPTION_ENV_MAX], *arg = NULL;

    if (spank_option_getopt(sp, &option, &arg) == ESPANK_SUCCESS && arg) {
        if (strlen(arg) >= OPTION_VALUE_MAX)
            return false;
        strcpy(value, arg);
        return true;
    }
    return spank_getenv(sp, option_slurm_env(id, name), value, OPTION_VALUE_MAX) ==
           ESPANK_SUCCESS;
}
