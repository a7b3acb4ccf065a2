/* In slurmstepd: the task becomes an agent.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first word of the task's command line is replaced by the agent's program,
 * "stint-task", which is `stint` under a name that makes it run `stint task`; the
 * other words stay. What the agent has to know (doc/protocol.md, "Plugin and task")
 * goes into variables STINT_TASK_*, which it removes before it starts the program.
 * Limits, TaskProlog, TMPDIR, cgroups and stdio are then Slurm's business as ever.
 */
#include "plugin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASK_ARGUMENT "task="

enum task_kind { TASK_NONE, TASK_BATCH, TASK_STEP };

static const char *agent_path(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], TASK_ARGUMENT, strlen(TASK_ARGUMENT)) == 0)
            return argv[i] + strlen(TASK_ARGUMENT);
    return STINT_TASK_PATH;
}

static bool asked_for(spank_t sp)
{
    char value[OPTION_VALUE_MAX];

    for (int id = 0; id < OPTION_COUNT; id++)
        if (option_starts_stint(id) && option_remote_value(sp, id, value))
            return true;
    return false;
}

/* Steps of a batch script belong to the script: its own agent sees to them. */
static bool within_batch_script(spank_t sp)
{
    char value[16];

    return spank_getenv(sp, "ENVIRONMENT", value, sizeof(value)) == ESPANK_SUCCESS &&
           strcmp(value, "BATCH") == 0;
}

static enum task_kind task_kind(spank_t sp)
{
    uint32_t step = 0, tasks = 0, rank = 0;

    if (spank_get_item(sp, S_JOB_STEPID, &step) != ESPANK_SUCCESS)
        return TASK_NONE;
    if (step == SLURM_BATCH_SCRIPT)
        return TASK_BATCH;
    if (step > SLURM_MAX_NORMAL_STEP_ID || within_batch_script(sp))
        return TASK_NONE;
    if (spank_get_item(sp, S_JOB_TOTAL_TASK_COUNT, &tasks) != ESPANK_SUCCESS)
        return TASK_NONE;
    if (tasks == 1)
        return TASK_STEP;
    if (spank_get_item(sp, S_TASK_GLOBAL_ID, &rank) == ESPANK_SUCCESS && rank == 0)
        slurm_spank_log("stint: steps of several tasks are not checkpointed yet: this "
                        "one runs without");
    return TASK_NONE;
}

/* Hand the options over, and keep them from the commands of the script: an sbatch in
 * there would take them for its own. */
static int pass_options(spank_t sp)
{
    char name[OPTION_ENV_MAX], value[OPTION_VALUE_MAX];

    if (spank_getenv(sp, "SLURM_SPANK_" STINT_TRUNCATE, value, sizeof(value)) ==
            ESPANK_SUCCESS &&
        spank_setenv(sp, "STINT_TASK_TRUNCATE", value, 1) != ESPANK_SUCCESS)
        return -1;
    (void)spank_unsetenv(sp, "SLURM_SPANK_" STINT_TRUNCATE); /* may not be there */
    for (int id = 0; id < OPTION_COUNT; id++) {
        if (option_remote_value(sp, id, value)) {
            snprintf(name, sizeof(name), "STINT_TASK_%s", option_suffix(id));
            if (spank_setenv(sp, name, value, 1) != ESPANK_SUCCESS)
                return -1;
        }
        (void)spank_unsetenv(sp, option_slurm_env(id, name)); /* may not be there */
    }
    return 0;
}

/* srun hands its environment to the tasks of a step: with it comes what the agent of the
 * batch script has put there for the script's own processes. */
static void leave_alone(spank_t sp)
{
    static const char runtime[] = "/libstint.so";
    char list[OPTION_VALUE_MAX], rest[OPTION_VALUE_MAX] = "", *entry, *saved = NULL;

    if (spank_getenv(sp, "STINT_JOB", list, sizeof(list)) != ESPANK_SUCCESS)
        return;
    (void)spank_unsetenv(sp, "STINT_JOB"); /* it is there */
    (void)spank_unsetenv(sp, "STINT_DIR"); /* may not be */
    if (spank_getenv(sp, "LD_PRELOAD", list, sizeof(list)) != ESPANK_SUCCESS)
        return;
    for (entry = strtok_r(list, ": ", &saved); entry; entry = strtok_r(NULL, ": ", &saved)) {
        size_t len = strlen(entry);

        if (len >= strlen(runtime) &&
            strcmp(entry + len - strlen(runtime), runtime) == 0)
            continue;
        if (rest[0])
            strcat(rest, ":"); /* never longer than the list it comes from */
        strcat(rest, entry);
    }
    if (rest[0])
        (void)spank_setenv(sp, "LD_PRELOAD", rest, 1); /* at worst it stays as it was */
    else
        (void)spank_unsetenv(sp, "LD_PRELOAD"); /* likewise */
}

void task_init(spank_t sp, int argc, char **argv)
{
    const char *agent = agent_path(argc, argv);
    enum task_kind kind;
    char **task_argv = NULL, *copy;
    int task_argc = 0;

    kind = asked_for(sp) ? task_kind(sp) : TASK_NONE;
    if (kind != TASK_BATCH)
        leave_alone(sp);
    if (kind == TASK_NONE)
        return;
    if (access(agent, X_OK) != 0) {
        slurm_spank_log("stint: %s: %s: the job runs without checkpoints", agent,
                        strerror(errno));
        return;
    }
    if (spank_get_item(sp, S_JOB_ARGV, &task_argc, &task_argv) != ESPANK_SUCCESS ||
        task_argc < 1 || !(copy = strdup(agent)) ||
        spank_setenv(sp, "STINT_TASK_PROGRAM", task_argv[0], 1) != ESPANK_SUCCESS ||
        spank_setenv(sp, "STINT_TASK_KIND", kind == TASK_BATCH ? "batch" : "step", 1) !=
            ESPANK_SUCCESS ||
        pass_options(sp)) {
        slurm_spank_log("stint: cannot pass the options on: the job runs without "
                        "checkpoints");
        return;
    }
    /* slurmstepd's own array, in the child that only executes it: nothing frees it */
    task_argv[0] = copy;
}
