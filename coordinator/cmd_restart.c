/* `stint restart`
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/log.h"
#include "common/manifest.h"
#include "coordinator/agent.h"
#include "coordinator/agent_settings.h"
#include "coordinator/commands.h"
#include "coordinator/task_record.h"

#define LOCK_WAIT_MS 5000 /* for a coordinator whose programs have just ended */
#define LOCK_POLL_MS 20

static const char help_text[] =
    "usage: stint restart [options] DIR\n"
    "\n"
    "Goes on from a checkpoint: every process, thread, open file and pipe of the program\n"
    "is there again, with the same numbers, at the instruction where it was. Output files\n"
    "are cut back to where they were, so that nothing stands in them twice. Standard\n"
    "input, output and error are those of `stint restart`. It stays in front as `stint\n"
    "launch` does, and checkpoints go on.\n"
    "\n"
    "DIR is a checkpoint directory, or the id of a Slurm job that has one.\n"
    "\n"
    "options:\n"
    "  -d, --dir NEWDIR     later checkpoints go to NEWDIR; DIR is only read\n"
    "      --generation N   take this one (stint list DIR). Default: the newest; when that\n"
    "                       cannot be restored, the one before, and so on, which is said\n"
    "      --group NAME     which program, when the checkpoint holds several (launch\n"
    "                       --join); each of them has its own `stint restart`\n"
    "      --join           for the second and later of these: become part of what the\n"
    "                       first has started\n"
    "      --full           read all of its memory before it goes on (default)\n"
    "      --lazy           map it from the checkpoint: it goes on at once and reads what\n"
    "                       it touches; the checkpoint has to stay as long as it runs\n"
    "      --output=cut|keep\n"
    "                       cut output files back to where they were (default), or leave\n"
    "                       what was written since the checkpoint in them and go on\n"
    "                       behind it. Default: $STINT_OUTPUT, also in a Slurm job\n"
    "  -i, --interval TIME, --keep N, --on-unsupported=refuse|ignore, --sockets=RULES,\n"
    "      --save-files=GLOB[:GLOB...]\n"
    "                       as in `stint launch`; default: what was given there\n"
    "  -h, --help\n"
    "\n"
    "exit status: that of the program (killed by a signal: restart dies by the same); else\n"
    "               1 nothing was restored: the reason is said\n"
    "               2 usage\n"
    "              75 ended after a checkpoint (`stint checkpoint --kill`): restart goes on;\n"
    "                 or its programs still run under DIR\n"
    "\n"
    "examples: stint restart /scratch/me/run7\n"
    "          stint restart --generation 12 -d /scratch/me/run7b /scratch/me/run7\n";

enum {
    OPT_KEEP = 256,
    OPT_UNSUPPORTED,
    OPT_SOCKETS,
    OPT_SAVE,
    OPT_GENERATION,
    OPT_GROUP,
    OPT_JOIN,
    OPT_FULL,
    OPT_LAZY,
    OPT_OUTPUT,
};

static const struct option options[] = {
    {"dir", required_argument, NULL, 'd'},
    {"interval", required_argument, NULL, 'i'},
    {"keep", required_argument, NULL, OPT_KEEP},
    {"on-unsupported", required_argument, NULL, OPT_UNSUPPORTED},
    {"sockets", required_argument, NULL, OPT_SOCKETS},
    {"save-files", required_argument, NULL, OPT_SAVE},
    {"generation", required_argument, NULL, OPT_GENERATION},
    {"group", required_argument, NULL, OPT_GROUP},
    {"join", no_argument, NULL, OPT_JOIN},
    {"full", no_argument, NULL, OPT_FULL},
    {"lazy", no_argument, NULL, OPT_LAZY},
    {"output", required_argument, NULL, OPT_OUTPUT},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct restart {
    const char *from, *to; /* to: NEWDIR or NULL */
    const char *interval, *keep, *unsupported, *sockets;
    struct agent_settings given; /* save_files of the command line */
    const char *group;
    uint64_t generation; /* 0: the newest that works */
    bool lazy, join, keep_output;
    struct agent_settings settings;
};

static int take_option(int option, const char *value, void *arg, struct stint_err *err)
{
    struct restart *restart = arg;
    struct agent_settings scratch;

    switch (option) {
    case 'd':
        restart->to = value;
        return *value ? 0 : stint_err_set(err, -EINVAL, "-d wants a directory.");
    case 'i':
        restart->interval = value;
        return agent_settings_interval(&scratch, value, err);
    case OPT_KEEP:
        restart->keep = value;
        return agent_settings_keep(&scratch, value, err);
    case OPT_UNSUPPORTED:
        restart->unsupported = value;
        return agent_settings_unsupported(&scratch, value, err);
    case OPT_SOCKETS:
        restart->sockets = value;
        return agent_settings_sockets(&scratch, value, err);
    case OPT_SAVE:
        return agent_settings_save_files(&restart->given, value, err);
    case OPT_GENERATION:
        return command_generation(value, &restart->generation, err);
    case OPT_GROUP:
        restart->group = value;
        return 0;
    case OPT_JOIN:
        restart->join = true;
        return 0;
    case OPT_FULL:
    case OPT_LAZY:
        restart->lazy = option == OPT_LAZY;
        return 0;
    case OPT_OUTPUT:
        return agent_settings_output(value, &restart->keep_output, err);
    default:
        return stint_err_set(err, -EINVAL, "there is no such option.");
    }
}

/* Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct restart *restart)
{
    static const struct command_line line
        = {"restart", help_text, ":d:i:h", options, take_option};
    struct stint_err err;
    int ret;

    ret = command_options(&line, argc, argv, restart, &err);
    if (ret >= 0)
        return ret;
    if (argc - optind != 1)
        return command_usage("restart",
                             optind == argc ? "DIR is missing" : "one DIR is enough");
    restart->from = argv[optind];
    return -1;
}

/* Does a coordinator hold the directory? One that is just ending is waited for.
 * Returns 0; -EBUSY when its programs still run; another -errno; *err is set. */
static int check_free(int dir_fd, struct stint_err *err)
{
    const struct timespec pause = {0, LOCK_POLL_MS * 1000000};
    int lock_fd, ret = STINT_DIR_E_BUSY;

    for (int waited = 0; ret == STINT_DIR_E_BUSY && waited < LOCK_WAIT_MS;
         waited += LOCK_POLL_MS) {
        ret = stint_dir_lock(dir_fd, &lock_fd, err);
        if (ret == 0)
            (void)close(lock_fd); /* our coordinator takes it */
        if (ret == STINT_DIR_E_BUSY)
            nanosleep(&pause, NULL); /* flock(2) has no time limit */
    }
    if (ret != STINT_DIR_E_BUSY)
        return ret;
    return stint_err_set(err, -EBUSY,
                         "its programs still run (stint status), or another restart is "
                         "under way.");
}

static int read_settings(struct restart *restart, int dir_fd, struct stint_err *err)
{
    int ret = agent_settings_read(dir_fd, &restart->settings, err);

    if (ret == 0 && restart->interval)
        ret = agent_settings_interval(&restart->settings, restart->interval, err);
    if (ret == 0 && restart->keep)
        ret = agent_settings_keep(&restart->settings, restart->keep, err);
    if (ret == 0 && restart->unsupported)
        ret = agent_settings_unsupported(&restart->settings, restart->unsupported, err);
    if (ret == 0 && restart->given.save_files[0])
        memcpy(restart->settings.save_files, restart->given.save_files,
               sizeof(restart->settings.save_files));
    if (ret == 0 && restart->sockets)
        ret = agent_settings_sockets(&restart->settings, restart->sockets, err);
    return ret;
}

/* Which program of the generation. *name is freed by the caller.
 * Returns 0; STINT_AGENT_E_RESTORE when the manifest is no good; -errno; *err is set. */
static int choose_group(const struct restart *restart, int dir_fd, uint64_t generation,
                        char **name, struct stint_err *err)
{
    struct stint_manifest manifest = {0};
    const struct stint_manifest_group *group = NULL;
    int ret = 0;

    if (stint_manifest_read(dir_fd, generation, &manifest, err) < 0)
        return STINT_AGENT_E_RESTORE;
    if (restart->group)
        group = stint_manifest_group(&manifest, restart->group);
    else if (manifest.ngroups == 1)
        group = &manifest.groups[0];
    if (group) {
        *name = strdup(group->name);
        if (!*name)
            ret = stint_err_set(err, -ENOMEM, "restart");
    } else if (restart->group) {
        ret = stint_err_set(err, -ENOENT, "there is no group %s in generation %" PRIu64 ".",
                            restart->group, generation);
    } else {
        ret = stint_err_set(err, -EINVAL,
                            "generation %" PRIu64 " holds %zu programs (%s, %s...): choose "
                            "with --group.",
                            generation, manifest.ngroups, manifest.groups[0].name,
                            manifest.groups[1].name);
    }
    stint_manifest_deinit(&manifest);
    return ret;
}

struct place {
    int from_fd;
    const char *from, *to; /* absolute; to may be the same */
};

/* A batch job's shell has its script open where Slurm had put it, which is gone: the copy
 * in the checkpoint directory takes its place, and goes along into a new one (to_fd). */
static int place_script(const struct place *place, int to_fd, struct stint_err *err)
{
    STINT_AUTO_FREE char *from = NULL, *to = NULL, *map = NULL;
    struct task_record record;
    int ret = task_record_read(place->from_fd, &record, err);

    if (ret == 0
        && (asprintf(&from, "%s/" TASK_RECORD_SCRIPT, place->from) < 0
            || asprintf(&to, "%s/" TASK_RECORD_SCRIPT, place->to) < 0))
        ret = stint_err_set(err, -ENOMEM, "restart");
    if (ret == 0 && access(from, R_OK) == 0) {
        task_record_add_script(&record, from);
        task_record_add_script(&record, to);
        if (to_fd >= 0) {
            ret = task_record_copy_script(to_fd, from, err);
            ret = ret ?: task_record_write(to_fd, &record, err);
        }
        map = task_record_path_map(&record, to);
        if (ret == 0 && map && setenv("STINT_PATH_MAP", map, 0) < 0)
            ret = stint_err_set(err, -errno, "restart");
    }
    task_record_deinit(&record);
    return ret;
}

static int restart_one(const struct restart *restart, const struct place *place,
                       uint64_t generation, struct stint_err *err)
{
    STINT_AUTO_FREE char *group = NULL;
    struct agent_settings_args args;
    struct stint_agent_config config = {
        .dir = place->to,
        .restore = generation,
        .restore_dir = place->from,
        .lazy = restart->lazy,
        .keep_output = restart->keep_output,
        .join = restart->join,
        .coordinator_args = agent_settings_args(&restart->settings, &args),
    };
    int ret = choose_group(restart, place->from_fd, generation, &group, err);

    if (ret != 0)
        return ret;
    config.group = group;
    return stint_agent_run(&config, err);
}

/* The newest that can be restored, from `newest` downwards. */
static int restart_any(const struct restart *restart, const struct place *place,
                       struct stint_err *err)
{
    STINT_AUTO_FREE uint64_t *numbers = NULL;
    uint64_t newest = 0;
    size_t count = 0;
    int ret = stint_dir_newest(place->from_fd, &newest, err);

    if (ret == 0)
        ret = stint_dir_list(place->from_fd, &numbers, &count, err);
    if (ret < 0)
        return ret;
    for (; count > 0 && numbers[count - 1] > newest; count--)
        stint_warn("generation %" PRIu64 " in %s is not complete: passed over",
                   numbers[count - 1], place->from);
    if (count == 0)
        return stint_err_set(err, -ENOENT, "there is no checkpoint yet in %s.", place->from);
    if (restart->join) /* the others have this one */
        return restart_one(restart, place, numbers[count - 1], err);
    while (count-- > 0) {
        ret = restart_one(restart, place, numbers[count], err);
        if (ret != STINT_AGENT_E_RESTORE)
            return ret;
        stint_error("generation %" PRIu64 " cannot be restored: %s", numbers[count],
                    err->text);
        if (count > 0)
            stint_error("taking the one before, generation %" PRIu64, numbers[count - 1]);
    }
    return stint_err_set(err, -EIO, "no checkpoint in %s could be restored.", place->from);
}

static int run(struct restart *restart, struct stint_err *err)
{
    STINT_AUTO_FREE char *from = NULL, *to = NULL;
    STINT_AUTO_CLOSE int from_fd = -1, to_fd = -1;
    struct place place = {0};
    int ret = command_open(restart->from, &from_fd, &from, err);

    if (ret == 0 && !restart->join)
        ret = check_free(from_fd, err);
    if (ret == 0)
        ret = read_settings(restart, from_fd, err);
    if (ret == 0 && restart->to)
        ret = stint_dir_create(restart->to, &to_fd, &to, err);
    if (ret == 0 && !restart->join)
        ret = agent_settings_write(to ? to_fd : from_fd, &restart->settings, err);
    if (ret != 0)
        return ret;
    place.from_fd = from_fd;
    place.from = from;
    place.to = to ? to : from;
    ret = place_script(&place, to_fd, err);
    if (ret != 0)
        return ret;
    ret = restart->generation
              ? restart_one(restart, &place, restart->generation, err)
              : restart_any(restart, &place, err);
    if (ret != STINT_AGENT_E_RESTORE)
        return ret;
    stint_err_prefix(err, "the checkpoint cannot be restored");
    return -EIO;
}

int cmd_restart(int argc, char **argv)
{
    struct restart restart = {.keep_output = agent_settings_output_default()};
    struct stint_err err = {0};
    int ret = parse(argc, argv, &restart);

    if (ret >= 0)
        return ret;
    ret = run(&restart, &err);
    if (ret < 0) {
        stint_error("%s", err.text);
        return ret == -EBUSY ? STINT_EXIT_AGAIN : STINT_EXIT_FAILED;
    }
    return ret;
}
