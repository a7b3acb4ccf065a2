/* The `stint` command: finds the command that is asked for and runs it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "coordinator/commands.h"
#include "coordinator/dmtcp/dmtcp.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *synopsis; /* NULL: not for people */
    const char *what;
} commands[] = {
    {"launch", cmd_launch, "launch [-d DIR] [-i INTERVAL] [--] COMMAND...",
     "run a program that can be checkpointed"},
    {"checkpoint", cmd_checkpoint, "checkpoint [--kill] DIR",
     "write a checkpoint; returns when it is committed"},
    {"restart", cmd_restart, "restart [-d NEWDIR] [--generation N] DIR",
     "go on from the newest checkpoint"},
    {"status", cmd_status, "status DIR", "what runs, what was written, when"},
    {"list", cmd_list, "list DIR", "the checkpoints that can be restarted from"},
    {"verify", cmd_verify, "verify [--generation N] DIR", "check every byte of them"},
    {"prune", cmd_prune, "prune DIR --keep N", "remove the oldest of them"},
    {"doctor", cmd_doctor, "doctor [-d DIR] [PID...|COMMAND...]",
     "what a checkpoint would refuse, beforehand"},
    {"coordinator", cmd_coordinator, "coordinator -d DIR [-i INTERVAL]",
     "the process that `launch` and `restart` start by themselves"},
    {"task", cmd_task, NULL, NULL},
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *out)
{
    fputs("stint - checkpoint and restart programs, and Slurm jobs, without changing "
          "them\n"
          "\nusage:\n",
          out);
    for (size_t i = 0; i < NCOMMANDS; i++)
        if (commands[i].synopsis)
            fprintf(out, "  stint %-46s %s\n", commands[i].synopsis, commands[i].what);
    fputs("  stint version\n"
          "  stint help [COMMAND]\n"
          "\n"
          "DIR is a checkpoint directory, or the id of a Slurm job that has one.\n"
          "`stint COMMAND --help` explains a command; stint(1) explains all of them.\n"
          "\n"
          "exit status: the program's own where there is one; else\n"
          "  0 done   1 failed, and said why   2 wrong usage   75 try again later\n",
          out);
}

int command_usage(const char *command, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    stint_error("%s: %s (stint %s --help)", command, text, command);
    return STINT_EXIT_USAGE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < NCOMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    stint_error("there is no command '%s' (stint help)", name);
    return STINT_EXIT_USAGE;
}

static int help(int argc, char **argv)
{
    char *with_help[] = {NULL, (char *)"--help", NULL};
    const struct command *command;

    if (argc < 2 || argv[1][0] == '-' || strcmp(argv[1], "help") == 0
        || strcmp(argv[1], "version") == 0) {
        print_help(stdout);
        return STINT_EXIT_OK;
    }
    command = find_command(argv[1]);
    if (!command)
        return unknown_command(argv[1]);
    with_help[0] = argv[1];
    return command->run(2, with_help);
}

/* What was printed counts only when it has arrived. */
static int flush_output(int status)
{
    if (fflush(stdout) == 0)
        return status;
    stint_error("cannot write to standard output");
    return status == STINT_EXIT_OK ? STINT_EXIT_FAILED : status;
}

int main(int argc, char **argv)
{
    const struct command *command;
    const char *name = argc > 1 ? argv[1] : NULL;

    stint_log_init(NULL, 0);
    if (strncmp(program_invocation_short_name, "dmtcp_", 6) == 0) {
        int status = dmtcp_main(program_invocation_short_name, argc, argv);

        if (status >= 0)
            return flush_output(status);
    }
    /* the name under which Slurm's plugin starts it: every argument is the program's */
    if (strcmp(program_invocation_short_name, "stint-task") == 0)
        return cmd_task(argc, argv);
    if (!name) {
        print_help(stderr);
        return STINT_EXIT_USAGE;
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0
        || strcmp(name, "-h") == 0)
        return flush_output(help(argc - 1, argv + 1));
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        puts("stint " STINT_VERSION);
        return flush_output(STINT_EXIT_OK);
    }
    command = find_command(name);
    if (!command)
        return unknown_command(name);
    return flush_output(command->run(argc - 1, argv + 1));
}
