/* The commands of `stint`. Each takes argv with its own name first, prints its own help
 * and errors, and returns the exit status.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_COMMANDS_H
#define STINT_COORDINATOR_COMMANDS_H

#include <stdint.h>

#include "common/err.h"

enum stint_exit {
    STINT_EXIT_OK = 0,
    STINT_EXIT_FAILED = 1, /* and said why */
    STINT_EXIT_USAGE = 2,
    STINT_EXIT_AGAIN = 75, /* EX_TEMPFAIL: try again later */
};

int cmd_launch(int argc, char **argv);
int cmd_restart(int argc, char **argv);
int cmd_task(int argc, char **argv); /* what a Slurm task runs; not for people */
int cmd_checkpoint(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_prune(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_coordinator(int argc, char **argv);

/* One line "stint: COMMAND: text" and where the help is. Returns STINT_EXIT_USAGE. */
int command_usage(const char *command, const char *fmt, ...) STINT_PRINTF(2, 3);

/* How a command reads its options. */
struct command_line {
    const char *name, *help;
    const char *shorts; /* getopt(3), with ':' first, or "+:" */
    const struct option *options;
    /* Takes one. Returns 0, or a negative errno with *err. */
    int (*take)(int option, const char *value, void *arg, struct stint_err *err);
};

/* Read the options; -h prints the help. Returns -1 to go on with argv[optind], else the
 * exit status. */
int command_options(const struct command_line *line, int argc, char **argv, void *arg,
                    struct stint_err *err);

/* DIR as the user gave it: a directory, or the id of a Slurm job (digits, and no such
 * directory), whose directory `stint-slurm dir ID` names. *path is freed by the caller.
 * Returns 0, or -errno with *err set. */
int command_dir(const char *argument, char **path, struct stint_err *err);

/* Open DIR as a checkpoint directory; command_dir() and stint_dir_open() in one.
 * Returns 0, or -errno with *err set. */
int command_open(const char *argument, int *fd, char **path, struct stint_err *err);

/* True when it is not there any more: a running job prunes while its directory is read.
 */
int command_generation_is_gone(int dir_fd, uint64_t generation);

/* A generation's number: "12" or "gen-000012". Returns 0, or -EINVAL with *err set. */
int command_generation(const char *text, uint64_t *generation, struct stint_err *err);

#endif
