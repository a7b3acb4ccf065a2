/* In sbatch, salloc and srun.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A job under stint is requeued, and its output must not be truncated then. Both are
 * settings of the submission, so sbatch gets SBATCH_REQUEUE and SBATCH_OPEN_MODE as
 * defaults in its environment, which the command line beats as ever. The environment
 * also beats #SBATCH lines; what the user's script says is therefore looked up first.
 */
#include "plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmdline.h"

static struct {
    struct cmdline cmdline;
    bool sbatch;
    bool in_batch_script; /* and not sbatch: an srun step of the script's */
    bool given[OPTION_COUNT];      /* by script or command line, not by environment */
    bool from_env[OPTION_COUNT];   /* variable of Slurm's own set by submit_init() */
    bool set_requeue, set_append;  /* likewise */
    bool asks;                     /* for stint, as far as it is known */
    bool checked;
} submit;

static const char *env_prefix(void)
{
    if (strcmp(program_invocation_short_name, "sbatch") == 0)
        return "SBATCH_";
    if (strcmp(program_invocation_short_name, "salloc") == 0)
        return "SALLOC_";
    return "SLURM_";
}

/* SBATCH_CHECKPOINT_INTERVAL=... becomes the variable that Slurm reads for the option:
 * so script, environment and command line keep their order. */
static void take_environment(void)
{
    char name[OPTION_ENV_MAX], slurm[OPTION_ENV_MAX];

    for (int id = 0; id < OPTION_COUNT; id++) {
        const char *value;

        snprintf(name, sizeof(name), "%s%s", env_prefix(), option_suffix(id));
        value = getenv(name);
        if (!value || !*value || getenv(option_slurm_env(id, slurm)))
            continue;
        submit.from_env[id] = setenv(slurm, value, 1) == 0;
    }
}

static bool said_by_user(const char *option)
{
    return cmdline_has(&submit.cmdline, option, NULL) ||
           cmdline_script_has(&submit.cmdline, option, NULL);
}

static void set_defaults(void)
{
    submit.asks = true;
    if (!submit.sbatch)
        return;
    if (!submit.set_requeue && !getenv("SBATCH_REQUEUE") &&
        !getenv("SBATCH_NO_REQUEUE") && !said_by_user("requeue") &&
        !said_by_user("no-requeue"))
        submit.set_requeue = setenv("SBATCH_REQUEUE", "1", 1) == 0;
    if (!submit.set_append && !getenv("SBATCH_OPEN_MODE") && !said_by_user("open-mode"))
        submit.set_append = setenv("SBATCH_OPEN_MODE", "append", 1) == 0;
}

void submit_init(void)
{
    char name[OPTION_ENV_MAX];
    bool used = false;

    submit.sbatch = strcmp(program_invocation_short_name, "sbatch") == 0;
    submit.in_batch_script = !submit.sbatch && getenv("ENVIRONMENT") &&
                             strcmp(getenv("ENVIRONMENT"), "BATCH") == 0;
    /* steps of a batch script belong to the script: its own agent sees to them */
    if (!submit.in_batch_script)
        take_environment();
    if (!submit.sbatch || cmdline_read(&submit.cmdline))
        return;
    for (int id = 0; id < OPTION_COUNT; id++)
        if (option_starts_stint(id))
            used = used || getenv(option_slurm_env(id, name)) ||
                   cmdline_has(&submit.cmdline, option_name(id), NULL);
    if (used)
        set_defaults();
}

int submit_option(int id, const char *value)
{
    struct stint_err err;

    if (option_check(id, value, &err)) {
        slurm_error("stint: %s", err.text);
        return -1;
    }
    submit.given[id] = !submit.from_env[id];
    /* effective for #SBATCH lines, which are read before the environment */
    if (option_starts_stint(id))
        set_defaults();
    return 0;
}

static void say_what_has_no_effect(void)
{
    if (submit.in_batch_script && submit.given[OPTION_INTERVAL])
        slurm_info("stint: --%s belongs to the batch job: this step runs without",
                   option_name(OPTION_INTERVAL));
    if (submit.given[OPTION_INTERVAL] || submit.from_env[OPTION_INTERVAL] ||
        submit.given[OPTION_RESTART_FROM] || submit.from_env[OPTION_RESTART_FROM])
        return;
    for (int id = 0; id < OPTION_COUNT; id++)
        if (submit.given[id])
            slurm_info("stint: --%s has no effect without --%s", option_name(id),
                       option_name(OPTION_INTERVAL));
}

/* --open-mode by the user, in the order in which sbatch takes it. Slurm then empties the
 * output files at each requeue, before any hook of ours: the agent has to know. */
static void pass_open_mode(spank_t sp)
{
    const char *mode = submit.set_append ? NULL : getenv("SBATCH_OPEN_MODE");
    char value[CMDLINE_VALUE_MAX];

    if (cmdline_has(&submit.cmdline, "open-mode", value) ||
        (!mode && cmdline_script_has(&submit.cmdline, "open-mode", value)))
        mode = value;
    if (submit.sbatch && submit.asks && mode && mode[0] != 'a' && mode[0] != 'A')
        (void)spank_job_control_setenv(sp, STINT_TRUNCATE, "1", 1); /* or it is not put back */
}

void submit_options_done(spank_t sp)
{
    char name[OPTION_ENV_MAX];

    if (submit.checked)
        return;
    submit.checked = true; /* sbatch runs the hooks once more for each job of a pack */
    for (int id = 0; id < OPTION_COUNT; id++)
        if (submit.from_env[id])
            unsetenv(option_slurm_env(id, name));
    pass_open_mode(sp);
    if (submit.set_requeue)
        unsetenv("SBATCH_REQUEUE");
    if (submit.set_append)
        unsetenv("SBATCH_OPEN_MODE");
    say_what_has_no_effect();
    cmdline_deinit(&submit.cmdline);
}
