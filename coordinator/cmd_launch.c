/* `stint launch`
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/log.h"
#include "coordinator/agent.h"
#include "coordinator/agent_settings.h"
#include "coordinator/commands.h"

#define DEFAULT_DIR "stint-checkpoint"

static const char help_text[] =
    "usage: stint launch [options] [--] COMMAND [ARGUMENT...]\n"
    "\n"
    "Runs COMMAND so that it, and everything that it starts, can be checkpointed and\n"
    "restarted. COMMAND is not changed and does not notice. `stint launch` stays in front\n"
    "of it: it passes signals on and ends as COMMAND ends. It says nothing unless\n"
    "something goes wrong.\n"
    "\n"
    "Then, from anywhere:  stint checkpoint DIR     write a checkpoint now\n"
    "                      stint status DIR         what runs, what was written\n"
    "                      stint restart DIR        go on from the newest checkpoint\n"
    "\n"
    "options:\n"
    "  -d, --dir DIR        where checkpoints go; made if it is not there (0700).\n"
    "                       Default: $STINT_DIR, else ./" DEFAULT_DIR "\n"
    "  -i, --interval TIME  a checkpoint every TIME: 90 or 90s, 30m, 2h, mm:ss, hh:mm:ss,\n"
    "                       d-hh:mm; 0 (the default) = only on request\n"
    "      --keep N         keep the newest N checkpoints (default 2)\n"
    "      --on-unsupported=refuse|ignore\n"
    "                       what a process has that cannot be restored makes a checkpoint\n"
    "                       fail by its name (default; COMMAND goes on), or is left out\n"
    "      --sockets=RULE[,RULE...]\n"
    "                       connections whose other end is not part of COMMAND, after a\n"
    "                       restart: reset (TCP's default) or no checkpoint: refuse (that\n"
    "                       of UNIX sockets). RULE is one of these, or with a pattern for\n"
    "                       the other end: reset:PATTERN, refuse:PATTERN, end:PATTERN,\n"
    "                       reconnect:PATTERN. Also in ~/.config/stint/sockets; stint(1)\n"
    "      --save-files=GLOB[:GLOB...]\n"
    "                       also keep closed files that match (a directory: all below it),\n"
    "                       and put them back at a restart; may be given several times.\n"
    "                       Those in a TMPDIR of the job's own, on the node, are anyway\n"
    "      --join DIR       become part of what runs under DIR already: one checkpoint\n"
    "                       holds both. Not with the options above\n"
    "  -h, --help\n"
    "\n"
    "COMMAND gets three variables more: LD_PRELOAD (libstint.so in front of what was\n"
    "there), STINT_DIR (the directory), and STINT_JOB.\n"
    "\n"
    "exit status: that of COMMAND (killed by a signal: launch dies by the same); else\n"
    "               1 nothing was started: the reason is said\n"
    "               2 usage\n"
    "              75 ended after a checkpoint (`stint checkpoint --kill`): restart goes on\n"
    "             126 COMMAND cannot be executed\n"
    "             127 COMMAND is not there\n"
    "\n"
    "files: DIR/gen-NNNNNN/     the checkpoints; DIR/manifest.yaml names the newest\n"
    "       DIR/config.yaml     -i, --keep, --on-unsupported, --sockets, --save-files, for\n"
    "                           `stint restart`\n"
    "       DIR/log             what happened\n"
    "\n"
    "examples: stint launch ./simulate input.dat\n"
    "          stint launch -d /scratch/me/run7 -i 30m -- python3 fit.py --steps 100000\n";

enum {
    OPT_KEEP = 256,
    OPT_UNSUPPORTED,
    OPT_SOCKETS,
    OPT_SAVE,
    OPT_JOIN,
};

static const struct option options[] = {
    {"dir", required_argument, NULL, 'd'},
    {"interval", required_argument, NULL, 'i'},
    {"keep", required_argument, NULL, OPT_KEEP},
    {"on-unsupported", required_argument, NULL, OPT_UNSUPPORTED},
    {"sockets", required_argument, NULL, OPT_SOCKETS},
    {"save-files", required_argument, NULL, OPT_SAVE},
    {"join", required_argument, NULL, OPT_JOIN},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct launch {
    const char *dir, *join;
    bool has_settings;
    struct agent_settings settings;
};

static int take_option(int option, const char *value, void *arg, struct stint_err *err)
{
    struct launch *launch = arg;
    launch->has_settings |= option == 'i' || option == OPT_KEEP || option == OPT_UNSUPPORTED
                            || option == OPT_SOCKETS || option == OPT_SAVE;
    switch (option) {
    case 'd':
        launch->dir = value;
        return *value ? 0 : stint_err_set(err, -EINVAL, "-d wants a directory.");
    case OPT_JOIN:
        launch->join = value;
        return 0;
    case 'i':
        return agent_settings_interval(&launch->settings, value, err);
    case OPT_KEEP:
        return agent_settings_keep(&launch->settings, value, err);
    case OPT_UNSUPPORTED:
        return agent_settings_unsupported(&launch->settings, value, err);
    case OPT_SOCKETS:
        return agent_settings_sockets(&launch->settings, value, err);
    case OPT_SAVE:
        return agent_settings_save_files(&launch->settings, value, err);
    default:
        return stint_err_set(err, -EINVAL, "there is no such option.");
    }
}

/* Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct launch *launch)
{
    static const struct command_line line
        = {"launch", help_text, "+:d:i:h", options, take_option};
    struct stint_err err;
    int ret;

    agent_settings_init(&launch->settings);
    ret = command_options(&line, argc, argv, launch, &err);
    if (ret >= 0)
        return ret;
    if (agent_policy_check(launch->settings.sockets, &err) < 0)
        return command_usage("launch", "in $" AGENT_POLICY_VARIABLE ": %s", err.text);
    if (agent_policy_check_file(&err) < 0)
        return command_usage("launch", "%s", err.text);
    if (optind == argc)
        return command_usage("launch", "COMMAND is missing");
    if (launch->join && (launch->dir || launch->has_settings))
        return command_usage("launch", "--join takes the other's directory and settings");
    return -1;
}

/* Make or take the directory. *path is freed by the caller. Returns 0 or -errno. */
static int open_directory(const struct launch *launch, char **path, struct stint_err *err)
{
    const char *dir = launch->dir ? launch->dir : getenv("STINT_DIR");
    STINT_AUTO_CLOSE int fd = -1;
    int ret;

    if (launch->join)
        return command_open(launch->join, &fd, path, err);
    if (!dir || !dir[0])
        dir = DEFAULT_DIR;
    ret = stint_dir_create(dir, &fd, path, err);
    return ret < 0 ? ret : agent_settings_write(fd, &launch->settings, err);
}

static int run(const struct launch *launch, char **argv, struct stint_err *err)
{
    STINT_AUTO_FREE char *path = NULL;
    struct agent_settings_args args;
    char group[64] = "main";
    struct stint_agent_config config = {
        .group = group,
        .argv = argv,
        .join = launch->join != NULL,
        .coordinator_args = agent_settings_args(&launch->settings, &args),
    };
    int ret = open_directory(launch, &path, err);

    if (ret < 0)
        return ret;
    config.dir = path;
    if (launch->join) {
        char host[32] = "host";

        (void)gethostname(host, sizeof(host) - 1); /* the pid mostly does */
        host[strcspn(host, ".")] = '\0';
        snprintf(group, sizeof(group), "%s.%d", host, (int)getpid());
    }
    return stint_agent_run(&config, err);
}

int cmd_launch(int argc, char **argv)
{
    struct launch launch = {0};
    struct stint_err err = {0};
    int ret = parse(argc, argv, &launch);

    if (ret >= 0)
        return ret;
    ret = run(&launch, argv + optind, &err);
    if (ret == 126 || ret == 127 || ret < 0) {
        if (err.text[0])
            stint_error("%s", err.text);
        return ret < 0 ? STINT_EXIT_FAILED : ret;
    }
    return ret;
}
