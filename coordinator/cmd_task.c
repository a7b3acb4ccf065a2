/* `stint task`: what a task of Slurm's becomes when it is to be checkpointed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The plugin lets slurmstepd execute this in place of the batch script (or of the
 * only task of a step), under the name stint-task, with the task's own arguments; what
 * else is known comes in the variables STINT_TASK_* (doc/protocol.md, "Plugin and
 * task"). It runs as the user, with limits, cgroup and standard files of the task.
 *
 * First run of the job: the program is started. Later runs: the newest generation is
 * restored, or the one before if that one cannot be, and so on; when none can be, the
 * job is held with the reason as its comment. Each attempt is an execution of its own
 * of this file, since an agent runs once in a process.
 *
 * Before there is a checkpoint nothing is lost by running without: so whatever goes
 * wrong then is said and the program runs all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/jobdir.h"
#include "common/log.h"
#include "common/manifest.h"
#include "common/paths.h"
#include "common/timefmt.h"
#include "coordinator/agent.h"
#include "coordinator/agent_settings.h"
#include "coordinator/commands.h"
#include "coordinator/task_record.h"

#define PREFIX "STINT_TASK_"

static const char help_text[] =
    "usage: stint task\n"
    "\n"
    "Started by Slurm's plugin in place of a task that is to be checkpointed;\n"
    "not for people. See: sbatch --help, and stint launch --help.\n";

enum task_variable {
    TASK_KIND,
    TASK_PROGRAM,
    TASK_INTERVAL,
    TASK_CHECKPOINT_DIR,
    TASK_KEEP,
    TASK_MARGIN,
    TASK_UNSUPPORTED,
    TASK_SAVE_FILES,
    TASK_RESTART_FROM,
    TASK_TRUNCATE,
    TASK_BEFORE, /* set by a failed attempt: only generations below this one */
    TASK_VARIABLES,
};

static const char *const variable_names[TASK_VARIABLES] = {
    [TASK_KIND] = PREFIX "KIND",
    [TASK_PROGRAM] = PREFIX "PROGRAM",
    [TASK_INTERVAL] = PREFIX "CHECKPOINT_INTERVAL",
    [TASK_CHECKPOINT_DIR] = PREFIX "CHECKPOINT_DIR",
    [TASK_KEEP] = PREFIX "CHECKPOINT_KEEP",
    [TASK_MARGIN] = PREFIX "CHECKPOINT_MARGIN",
    [TASK_UNSUPPORTED] = PREFIX "CHECKPOINT_ON_UNSUPPORTED",
    [TASK_SAVE_FILES] = PREFIX "CHECKPOINT_SAVE_FILES",
    [TASK_RESTART_FROM] = PREFIX "RESTART_FROM",
    [TASK_TRUNCATE] = PREFIX "TRUNCATE",
    [TASK_BEFORE] = PREFIX "BEFORE",
};

#define COORDINATOR_ARGS_MAX 14
#define LOCK_WAIT_MS         60000
#define LOCK_POLL_MS         100

struct task {
    char *value[TASK_VARIABLES]; /* NULL: not given */
    char **argv;                 /* of the program; argv[0] is its own */
    char **self_argv;            /* as this process was started */
    bool batch;
    const char *job; /* SLURM_JOB_ID */
    char id[32];     /* of the checkpoint directory: "123", or "123.0" for a step */
    unsigned run;    /* 1 for the first */
    char *dir;
    int dir_fd;
    char *script; /* DIR/script */
    char *coordinator_args[COORDINATOR_ARGS_MAX];
    char interval[16], margin[16];
    char save_files[AGENT_SAVED_MAX + 1];
};

/* --- what the plugin says ------------------------------------------------- */

/* Variables are taken out of the environment: the program never sees them. */
static int read_request(struct task *task, char **argv, struct stint_err *err)
{
    const char *count = getenv("SLURM_RESTART_COUNT");
    const char *step = getenv("SLURM_STEP_ID");

    for (int i = 0; i < TASK_VARIABLES; i++) {
        const char *value = getenv(variable_names[i]);

        if (value && *value && !(task->value[i] = strdup(value)))
            return stint_err_set(err, -ENOMEM, "environment");
        unsetenv(variable_names[i]);
    }
    task->self_argv = argv;
    task->dir_fd = -1;
    task->job = getenv("SLURM_JOB_ID");
    if (!task->value[TASK_KIND] || !task->value[TASK_PROGRAM] || !task->job ||
        !stint_jobdir_is_id(task->job))
        return stint_err_set(err, -EINVAL, "not started by Slurm's plugin.");
    task->batch = strcmp(task->value[TASK_KIND], "batch") == 0;
    snprintf(task->id, sizeof(task->id), task->batch || !step ? "%.10s" : "%.10s.%.10s",
             task->job, step);
    task->run = task->batch && count ? (unsigned)strtoul(count, NULL, 10) + 1 : 1;
    return 0;
}

/* The program's own command line: as ours, but for the first word. */
static int program_argv(struct task *task, int argc, char **argv, struct stint_err *err)
{
    task->argv = calloc((size_t)argc + 1, sizeof(*task->argv));
    if (!task->argv)
        return stint_err_set(err, -ENOMEM, "arguments");
    task->argv[0] = task->value[TASK_PROGRAM];
    for (int i = 1; i < argc; i++)
        task->argv[i] = argv[i];
    return 0;
}

static int duration_argument(const char *text, char out[16], struct stint_err *err)
{
    uint32_t seconds;
    int rc = stint_duration_parse(text, &seconds, err);

    if (rc == 0)
        snprintf(out, 16, "%u", seconds);
    return rc;
}

/* The plugin has checked these values where the job was submitted; but the environment
 * is the user's. */
static int coordinator_args(struct task *task, struct stint_err *err)
{
    char **arg = task->coordinator_args;
    int rc;

    *arg++ = (char *)"--slurm-job";
    *arg++ = (char *)task->job;
    if (task->value[TASK_INTERVAL]) {
        rc = duration_argument(task->value[TASK_INTERVAL], task->interval, err);
        if (rc)
            return rc;
        *arg++ = (char *)"--interval";
        *arg++ = task->interval;
    }
    if (task->value[TASK_MARGIN]) {
        rc = duration_argument(task->value[TASK_MARGIN], task->margin, err);
        if (rc)
            return rc;
        *arg++ = (char *)"--margin";
        *arg++ = task->margin;
    }
    if (task->value[TASK_KEEP]) {
        *arg++ = (char *)"--keep";
        *arg++ = task->value[TASK_KEEP];
    }
    if (task->value[TASK_UNSUPPORTED]) {
        *arg++ = (char *)"--on-unsupported";
        *arg++ = task->value[TASK_UNSUPPORTED];
    }
    if (task->value[TASK_SAVE_FILES]) {
        rc = agent_settings_add_patterns(task->save_files, sizeof(task->save_files),
                                         task->value[TASK_SAVE_FILES], err);
        if (rc)
            return rc;
        *arg++ = (char *)"--save-files";
        *arg++ = task->save_files;
    }
    *arg = NULL;
    return 0;
}

/* --- the checkpoint directory ---------------------------------------------- */

static char *dir_path(const struct task *task)
{
    const char *base = task->value[TASK_CHECKPOINT_DIR];
    const char *submit = getenv("SLURM_SUBMIT_DIR");
    STINT_AUTO_FREE char *cwd = NULL;
    char *path = NULL;
    int rc;

    if (!submit || submit[0] != '/')
        submit = cwd = getcwd(NULL, 0);
    if (base && base[0] == '/')
        rc = asprintf(&path, "%s/%s", base, task->id);
    else
        rc = asprintf(&path, "%s/%s/%s", submit ?: "", base ?: STINT_JOBDIR_DEFAULT,
                      task->id);
    return rc < 0 ? NULL : path;
}

/* A first run that finds generations has the id of an old job, of before Slurm was set
 * up anew: they are that one's, and stay. */
static int set_aside(const char *path, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    STINT_AUTO_FREE char *aside = NULL;
    char stamp[32];
    time_t now = time(NULL);
    struct tm tm;
    uint64_t newest;
    int rc = stint_dir_open(path, &fd, NULL, err);

    if (rc == -ENOENT)
        return 0;
    if (rc == 0)
        rc = stint_dir_newest(fd, &newest, err);
    if (rc || newest == 0)
        return rc;
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", localtime_r(&now, &tm));
    if (asprintf(&aside, "%s.old-%s", path, stamp) < 0)
        return stint_err_set(err, -ENOMEM, "%s", path);
    if (rename(path, aside) != 0)
        return stint_err_set(err, -errno, "rename %s", path);
    stint_warn("%s held checkpoints of an older job: moved to %s", path, aside);
    return 0;
}

/* So that the job's id finds the directory; a task of an array under both of its names.
 * Where there is no home directory, the default place is found without. */
static void register_dir(const struct task *task)
{
    const char *cluster = getenv("SLURM_CLUSTER_NAME");
    const char *array = getenv("SLURM_ARRAY_JOB_ID");
    const char *element = getenv("SLURM_ARRAY_TASK_ID");
    struct stint_err err;
    char id[32];

    if (stint_jobdir_register(cluster, task->id, task->dir, &err))
        stint_debug("%s", err.text);
    if (!task->batch || !array || !element)
        return;
    snprintf(id, sizeof(id), "%.10s_%.10s", array, element);
    if (stint_jobdir_is_id(id) && stint_jobdir_register(cluster, id, task->dir, &err))
        stint_debug("%s", err.text);
}

static int open_dir(struct task *task, struct stint_err *err)
{
    STINT_AUTO_FREE char *path = dir_path(task);
    int rc = 0;

    if (!path)
        return stint_err_set(err, -ENOMEM, "checkpoint directory");
    if (task->run == 1 && !task->value[TASK_BEFORE])
        rc = set_aside(path, err);
    if (rc == 0)
        rc = stint_dir_create(path, &task->dir_fd, &task->dir, err);
    if (rc)
        return rc;
    register_dir(task);
    if (asprintf(&task->script, "%s/" TASK_RECORD_SCRIPT, task->dir) < 0)
        return stint_err_set(err, -ENOMEM, "%s", path);
    return 0;
}

/* --- the environment of this run ---------------------------------------------- */

/* A restored program goes on with the variables of its first run; these are the ones
 * of now, for scripts that want them: `. DIR/slurm_env`. */
static void write_slurm_env(const struct task *task)
{
    STINT_AUTO_CLOSE int fd =
        openat(task->dir_fd, "slurm_env",
               O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");

    if (!out)
        return; /* a convenience: nothing depends on it */
    (void)stint_steal_fd(&fd);
    for (char **env = environ; *env; env++) {
        const char *value = strchr(*env, '=');

        if (strncmp(*env, "SLURM", 5) != 0 || !value)
            continue;
        fprintf(out, "export %.*s='", (int)(value - *env), *env);
        for (const char *p = value + 1; *p; p++)
            fputs(*p == '\'' ? "'\\''" : (char[]){*p, '\0'}, out);
        fputs("'\n", out);
    }
    (void)fclose(out); /* likewise */
}

/* --- running -------------------------------------------------------------------- */

static int run_plainly(const struct task *task, const struct stint_err *err)
{
    stint_warn("%s: this job runs without checkpoints", err->text);
    execvp(task->argv[0], task->argv);
    stint_error("%s: %s", task->argv[0], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}

/* The job cannot go on, and must not start from the beginning either. */
static int hold(const struct task *task, const char *reason)
{
    STINT_AUTO_FREE char *program = NULL, *comment = NULL;
    struct stint_err err;
    pid_t pid;
    int status;

    stint_error("%s: the job is held", reason);
    if (!task->batch)
        return STINT_EXIT_FAILED;
    if (stint_path_find("stint-slurm", &program, &err)) {
        stint_error("%s", err.text);
        return STINT_EXIT_FAILED;
    }
    if (asprintf(&comment, "stint: held: %s", reason) < 0)
        return STINT_EXIT_FAILED;
    /* holding a job ends it, and us */
    signal(SIGTERM, SIG_IGN);
    char *argv[] = {program, (char *)"hold", (char *)task->job, comment, NULL};

    if (posix_spawn(&pid, program, NULL, NULL, argv, environ) == 0)
        (void)waitpid(pid, &status, 0); /* it limits itself, and has said what failed */
    return STINT_EXIT_FAILED;
}

/* This generation is no good: start over with those below it. */
static int try_older(struct task *task, uint64_t generation)
{
    char number[24];

    snprintf(number, sizeof(number), "%llu", (unsigned long long)generation);
    free(task->value[TASK_BEFORE]);
    task->value[TASK_BEFORE] = strdup(number);
    for (int i = 0; i < TASK_VARIABLES; i++)
        if (task->value[i] && setenv(variable_names[i], task->value[i], 1) != 0)
            return hold(task, "out of memory");
    execv("/proc/self/exe", task->self_argv);
    return hold(task, strerror(errno));
}

static uint64_t before(const struct task *task)
{
    return task->value[TASK_BEFORE] ? strtoull(task->value[TASK_BEFORE], NULL, 10) : 0;
}

/* The newest generation in a directory, below `limit` when that is not 0. */
static int find_generation(int dir_fd, uint64_t limit, uint64_t *generation,
                           struct stint_err *err)
{
    STINT_AUTO_FREE uint64_t *numbers = NULL;
    size_t count;
    int rc;

    if (limit == 0)
        return stint_dir_newest(dir_fd, generation, err);
    rc = stint_dir_list(dir_fd, &numbers, &count, err);
    if (rc)
        return rc;
    *generation = 0;
    for (size_t i = 0; i < count; i++)
        if (numbers[i] < limit)
            *generation = numbers[i];
    return 0;
}

/* "restored from generation 5 (committed 14:03:12 on n1)" */
static void describe(const struct task *task, int dir_fd, uint64_t generation,
                     const struct task_record *origin, char *text, size_t size)
{
    struct stint_manifest manifest;
    const char *node;
    char when[32];
    struct tm tm;
    time_t committed;

    snprintf(text, size, "run %u: restored from generation %llu", task->run,
             (unsigned long long)generation);
    if (stint_manifest_read(dir_fd, generation, &manifest, NULL))
        return;
    committed = (time_t)manifest.committed;
    strftime(when, sizeof(when), "%H:%M:%S", localtime_r(&committed, &tm));
    node = task_record_node(origin, manifest.run);
    snprintf(text, size, "run %u: restored from generation %llu (committed %s%s%s)",
             task->run, (unsigned long long)generation, when, node ? " on " : "",
             node ?: "");
    stint_manifest_deinit(&manifest);
}

/* The program of a generation, which another kind of task may have written: a step's is
 * called "step". Freed by the caller. */
static char *group_of(const struct task *task, int dir_fd, uint64_t generation)
{
    struct stint_manifest manifest;
    char *name;

    if (stint_manifest_read(dir_fd, generation, &manifest, NULL))
        return strdup(task->value[TASK_KIND]); /* the restore says what is wrong with it */
    name = strdup(manifest.ngroups == 1 ? manifest.groups[0].name : task->value[TASK_KIND]);
    stint_manifest_deinit(&manifest);
    return name;
}

/* record: of this job, for the paths; origin: of the job that wrote the generation. */
static int restore(struct task *task, int from_fd, const char *from_dir,
                   uint64_t generation, const struct task_record *record,
                   const struct task_record *origin)
{
    char text[256], reason[1200];
    STINT_AUTO_FREE char *map = task_record_path_map(record, task->script);
    STINT_AUTO_FREE char *group = group_of(task, from_fd, generation);
    struct stint_agent_config config = {
        .dir = task->dir,
        .group = group,
        .argv = task->argv,
        .restore = generation,
        .keep_output = agent_settings_output_default(),
        .restore_dir = from_dir,
        /* in full: pruning may take the image away, which a network file system shows */
        .lazy = false,
        .coordinator_args = task->coordinator_args,
        .save_output = task->value[TASK_TRUNCATE] != NULL,
        .hold_sigterm = true,
        .restored_text = text,
    };
    struct stint_err err;
    int rc;

    if (!group || (map && setenv("STINT_PATH_MAP", map, 1) != 0))
        return hold(task, "out of memory");
    describe(task, from_fd, generation, origin, text, sizeof(text));
    rc = stint_agent_run(&config, &err);
    if (rc >= 0 && rc != STINT_AGENT_E_RESTORE)
        return rc;
    if (rc == -EINTR) /* ended by a signal meanwhile: whoever sent it knows what is next */
        return STINT_EXIT_FAILED;
    if (rc == STINT_AGENT_E_RESTORE) {
        stint_error("run %u: generation %llu cannot be restored: %s", task->run,
                    (unsigned long long)generation, err.text);
        return try_older(task, generation);
    }
    snprintf(reason, sizeof(reason), "restart from generation %llu: %s",
             (unsigned long long)generation, err.text);
    return hold(task, reason);
}

static int start(struct task *task)
{
    struct stint_agent_config config = {
        .dir = task->dir,
        .group = task->value[TASK_KIND],
        .argv = task->argv,
        .coordinator_args = task->coordinator_args,
        .save_output = task->value[TASK_TRUNCATE] != NULL,
        .hold_sigterm = true,
    };
    struct stint_err err;
    int rc = stint_agent_run(&config, &err);

    if (rc < 0)
        return run_plainly(task, &err);
    if (rc == 126 || rc == 127)
        stint_error("%s", err.text);
    return rc;
}

/* The job starts from another job's checkpoint, or from a directory. */
static int restart_from(struct task *task, struct task_record *record)
{
    const char *from = task->value[TASK_RESTART_FROM];
    STINT_AUTO_FREE char *path = NULL, *script = NULL;
    STINT_AUTO_CLOSE int fd = -1;
    struct task_record theirs = {NULL};
    uint64_t generation = 0;
    struct stint_err err;
    int rc = command_open(from, &fd, &path, &err);

    if (rc == 0)
        rc = find_generation(fd, before(task), &generation, &err);
    if (rc == 0 && generation == 0)
        rc = stint_err_set(&err, -ENOENT, "no checkpoint to restart from in %s.", path);
    if (rc == 0)
        rc = task_record_read(fd, &theirs, &err);
    if (rc == 0 && asprintf(&script, "%s/" TASK_RECORD_SCRIPT, path) > 0 &&
        access(script, R_OK) == 0)
        rc = task_record_copy_script(task->dir_fd, script, &err);
    if (rc == 0) {
        task_record_merge_scripts(record, &theirs);
        task_record_add_script(record, task->script);
        if (script)
            task_record_add_script(record, script);
        rc = task_record_write(task->dir_fd, record, &err);
    }
    if (rc)
        stint_error("--restart-from=%s: %s", from, err.text);
    else
        rc = restore(task, fd, path, generation, record, &theirs);
    task_record_deinit(&theirs);
    return rc < 0 ? STINT_EXIT_FAILED : rc;
}

static int first_start(struct task *task, struct task_record *record)
{
    struct stint_err err = {0};
    int rc = 0;

    task_record_outputs(record);
    if (task->batch) {
        rc = task_record_copy_script(task->dir_fd, task->argv[0], &err);
        task_record_add_script(record, task->argv[0]);
        task_record_add_script(record, task->script);
    }
    if (rc == 0)
        rc = task_record_write(task->dir_fd, record, &err);
    return rc ? run_plainly(task, &err) : start(task);
}

/* The coordinator of the run before may take a moment to leave; and a node that Slurm has
 * given up may still be working. */
static int wait_for_lock(const struct task *task, struct stint_err *err)
{
    const struct timespec pause = {0, LOCK_POLL_MS * 1000000L};
    int lock_fd, rc = STINT_DIR_E_BUSY;

    for (int waited = 0; rc == STINT_DIR_E_BUSY && waited < LOCK_WAIT_MS;
         waited += LOCK_POLL_MS) {
        rc = stint_dir_lock(task->dir_fd, &lock_fd, err);
        if (rc == 0)
            (void)close(lock_fd); /* our own coordinator takes it next */
        else if (rc == STINT_DIR_E_BUSY)
            nanosleep(&pause, NULL);
    }
    if (rc == STINT_DIR_E_BUSY)
        return stint_err_set(err, -EBUSY, "%s is still in use by an earlier run of the job.",
                             task->dir);
    return rc;
}

/* The directory has generations of this job's earlier runs. */
static int go_on(struct task *task, struct task_record *record)
{
    uint64_t generation;
    struct stint_err err;
    int rc = wait_for_lock(task, &err);

    if (rc == 0)
        rc = find_generation(task->dir_fd, before(task), &generation, &err);
    if (rc == 0)
        rc = task_record_write(task->dir_fd, record, &err);
    if (rc)
        return hold(task, err.text);
    if (generation == 0)
        return hold(task, "no checkpoint can be restored (see the job's output)");
    return restore(task, task->dir_fd, NULL, generation, record, record);
}

static int run(struct task *task)
{
    struct task_record record = {NULL};
    uint64_t newest = 0;
    struct stint_err err;
    int rc = coordinator_args(task, &err);

    if (rc == 0)
        rc = open_dir(task, &err);
    if (rc == 0)
        rc = task_record_read(task->dir_fd, &record, &err);
    if (rc == 0 && task->run > 1)
        rc = stint_dir_newest(task->dir_fd, &newest, &err);
    if (rc)
        /* in a later run the checkpoints may be there, only out of reach */
        return task->run > 1 ? hold(task, err.text) : run_plainly(task, &err);
    write_slurm_env(task);
    if (getenv("SLURMD_NODENAME"))
        task_record_set_node(&record, task->run, getenv("SLURMD_NODENAME"));
    if (newest) {
        rc = go_on(task, &record);
    } else if (task->value[TASK_RESTART_FROM]) {
        rc = restart_from(task, &record);
    } else {
        if (task->run > 1) {
            task_record_cut_outputs(&record);
            stint_info("run %u: no checkpoint was committed before: from the beginning",
                       task->run);
        }
        rc = first_start(task, &record);
    }
    task_record_deinit(&record);
    return rc;
}

int cmd_task(int argc, char **argv)
{
    struct task task = {0};
    struct stint_err err;
    int rc;

    if (argc > 1 && !getenv(PREFIX "KIND") && strcmp(argv[1], "--help") == 0) {
        fputs(help_text, stdout);
        return STINT_EXIT_OK;
    }
    if (read_request(&task, argv, &err) || program_argv(&task, argc, argv, &err))
        return command_usage("task", "%s", err.text);
    rc = run(&task);
    stint_cleanup_close(&task.dir_fd);
    free(task.script);
    free(task.dir);
    free(task.argv);
    for (int i = 0; i < TASK_VARIABLES; i++)
        free(task.value[i]);
    return rc;
}
