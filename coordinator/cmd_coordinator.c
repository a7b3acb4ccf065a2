/* `stint coordinator`
 * SPDX-License-Identifier: Apache-2.0
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/dir.h"
#include "common/log.h"
#include "common/timefmt.h"
#include "coordinator/agent_policy.h"
#include "coordinator/agent_settings.h"
#include "coordinator/commands.h"
#include "coordinator/coordinator.h"
#include "coordinator/slurm_plan.h"

static const char help_text[] =
    "usage: stint coordinator -d DIR [options]\n"
    "\n"
    "Serves a checkpoint directory: starts checkpoints, commits them, and removes old\n"
    "ones. `stint launch` and `stint restart` start one by themselves. It ends when "
    "the\n"
    "last program has ended, or after 30 s in which none has come.\n"
    "\n"
    "options:\n"
    "  -d DIR                 the checkpoint directory; made if it is not there "
    "(0700)\n"
    "  -i, --interval TIME    a checkpoint every TIME: 90 or 90s, 30m, 2h, mm:ss, "
    "hh:mm:ss,\n"
    "                         d-hh:mm; 0 (the default) = only on request\n"
    "      --keep N           keep the newest N checkpoints (default 2)\n"
    "      --on-unsupported=refuse|ignore\n"
    "                         what a process has that cannot be restored makes a "
    "checkpoint\n"
    "                         fail (default), or is left out\n"
    "      --sockets=RULES    as in `stint launch`; default: $STINT_SOCKETS\n"
    "      --save-files=GLOB[:GLOB...]\n"
    "                         as in `stint launch`\n"
    "      --slurm-job ID     belongs to this Slurm job: make a last checkpoint before "
    "its\n"
    "                         time is over, and queue it again\n"
    "      --margin TIME      begin with that at least TIME before the end (default "
    "15)\n"
    "      --ready-fd N       write `ready` or `error TEXT` to descriptor N when it "
    "is\n"
    "                         decided, and log to DIR/log only\n"
    "  -h, --help\n"
    "\n"
    "exit status: 0 ended; 1 failed; 2 usage; 75 another coordinator has the "
    "directory\n"
    "\n"
    "files: DIR/key             the job's key; who can read it can control the job\n"
    "       DIR/coordinator.yaml where the coordinator listens\n"
    "       DIR/lock            held while it lives\n"
    "       DIR/log             what happened\n"
    "\n"
    "example: stint coordinator -d /scratch/me/job7 -i 30m\n";

enum {
    OPT_KEEP = 256,
    OPT_UNSUPPORTED,
    OPT_SOCKETS,
    OPT_SAVE,
    OPT_SLURM,
    OPT_MARGIN,
    OPT_READY,
};

static const struct option options[] = {
    {"interval", required_argument, NULL, 'i'},
    {"keep", required_argument, NULL, OPT_KEEP},
    {"on-unsupported", required_argument, NULL, OPT_UNSUPPORTED},
    {"sockets", required_argument, NULL, OPT_SOCKETS},
    {"save-files", required_argument, NULL, OPT_SAVE},
    {"slurm-job", required_argument, NULL, OPT_SLURM},
    {"margin", required_argument, NULL, OPT_MARGIN},
    {"ready-fd", required_argument, NULL, OPT_READY},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int
parse_number(const char *text, unsigned long min, unsigned long max, unsigned long *out)
{
    size_t len = strlen(text);
    unsigned long value;

    if (len == 0 || len > 9 || strspn(text, "0123456789") != len)
        return -1;
    value = strtoul(text, NULL, 10);
    if (value < min || value > max)
        return -1;
    *out = value;
    return 0;
}

static char save_files[AGENT_SAVED_MAX + 1]; /* every --save-files of the command line */

static int take_option(int option,
                       const char *value,
                       struct coordinator_config *config,
                       int *ready_fd,
                       struct stint_err *err)
{
    unsigned long number = 0;

    switch (option) {
    case 'd':
        config->dir = value;
        return 0;
    case 'i':
        return stint_duration_parse(value, &config->interval_s, err);
    case OPT_MARGIN:
        return stint_duration_parse(value, &config->margin_s, err);
    case OPT_KEEP:
        if (parse_number(value, 1, 1000000, &number) < 0)
            return stint_err_set(err, -1, "--keep wants a number from 1 on.");
        config->keep = (unsigned)number;
        return 0;
    case OPT_UNSUPPORTED:
        config->ignore_unsupported = strcmp(value, "ignore") == 0;
        if (!config->ignore_unsupported && strcmp(value, "refuse") != 0)
            return stint_err_set(err, -1, "--on-unsupported is refuse or ignore.");
        return 0;
    case OPT_SOCKETS:
        config->sockets = value;
        return agent_policy_check(value, err);
    case OPT_SAVE:
        return agent_settings_add_patterns(save_files, sizeof(save_files), value, err);
    case OPT_SLURM:
        config->slurm_job = value;
        return 0;
    case OPT_READY:
        if (parse_number(value, 0, 1000000, &number) < 0
            || fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
            return stint_err_set(err, -1, "--ready-fd is no open descriptor.");
        *ready_fd = (int)number;
        return 0;
    default:
        return stint_err_set(err, -1, "there is no such option.");
    }
}

static void tell(int fd, const char *text)
{
    if (dprintf(fd, "%s\n", text) < 0)
        stint_debug("who started the coordinator does not listen");
    close(fd);
}

static void on_ready(void *arg)
{
    int *fd = arg;

    if (*fd >= 0)
        tell(*fd, "ready");
    *fd = -1;
}

/* Rules of the environment, which nobody has checked yet. */
static const char *environment_sockets(void)
{
    const char *rules = getenv(AGENT_POLICY_VARIABLE);
    struct stint_err err;

    if (!rules || agent_policy_check(rules, &err) == 0)
        return rules;
    stint_warn("$" AGENT_POLICY_VARIABLE " is ignored: %s", err.text);
    return NULL;
}

static int run(struct coordinator_config *config, int ready_fd)
{
    char line[sizeof(((struct stint_err *)0)->text) + 8];
    struct stint_err err;
    int ret;

    stint_log_init("coordinator", ready_fd >= 0);
    if (!config->sockets)
        config->sockets = environment_sockets();
    config->save_files = save_files;
    config->ready = on_ready;
    config->arg = &ready_fd;
    ret = coordinator_run(config, &err);
    if (ret == 0)
        return STINT_EXIT_OK;
    if (ready_fd >= 0) {
        snprintf(line, sizeof(line), "error %s", err.text);
        tell(ready_fd, line);
    } else {
        stint_error("%s", err.text);
    }
    return ret == COORDINATOR_E_BUSY ? STINT_EXIT_AGAIN : STINT_EXIT_FAILED;
}

int cmd_coordinator(int argc, char **argv)
{
    struct coordinator_config config = {.keep = STINT_KEEP_DEFAULT,
                                        .margin_s = SLURM_MARGIN_DEFAULT};
    struct stint_err err;
    int option, ready_fd = -1;

    while ((option = getopt_long(argc, argv, ":d:i:h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help_text, stdout);
            return STINT_EXIT_OK;
        }
        if (option == ':')
            return command_usage("coordinator", "%s wants a value", argv[optind - 1]);
        if (option == '?')
            return command_usage("coordinator", "there is no option %s",
                                 argv[optind - 1]);
        if (take_option(option, optarg, &config, &ready_fd, &err) < 0)
            return command_usage("coordinator", "%s", err.text);
    }
    if (optind < argc)
        return command_usage("coordinator", "what is '%s'?", argv[optind]);
    if (!config.dir)
        return command_usage("coordinator", "-d DIR is missing");
    return run(&config, ready_fd);
}
