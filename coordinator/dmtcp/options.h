/* Flags and environment variables of the four commands: one table.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_DMTCP_OPTIONS_H
#define STINT_DMTCP_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The commands that take a flag, as bits. */
enum dmtcp_command {
    DMTCP_LAUNCH = 1,
    DMTCP_COORDINATOR = 2,
    DMTCP_COMMAND = 4,
    DMTCP_RESTART = 8,
};

struct dmtcp_options {
    const char *host;      /* as given; NULL = this host */
    unsigned port;         /* 0 = any free one */
    bool has_port;         /* given by flag or environment */
    const char *port_file, *status_file;
    bool join, start_new, any;
    unsigned interval_s;
    bool has_interval;
    const char *ckptdir;   /* NULL = the working directory */
    const char *restartdir;
    bool gzip, no_gzip;
    bool open_files;       /* contents of all open files are part of the checkpoint */
    bool unique_names;     /* a generation's number in the names of its files */
    const char *plugins;   /* --with-plugin: libraries, separated by ':' */
    unsigned quiet;        /* 1: no remarks, 2: no warnings */
    const char *logfile;
    bool exit_on_last, kill_after_ckpt, daemon;
    unsigned timeout_s, stale_timeout_s; /* 0 = none given */
    unsigned pause_s;      /* before restored programs go on */
    bool json;
    const char *job;       /* Slurm job that it is registered for */
    unsigned ready_fd;     /* for our own use: 0 = none */
};

/* Read environment and flags.
 *
 * argv: without the command's own name. Flags end at "--"; for launch also at the first
 *     word that is none. What is left over is moved to the front of argv.
 * *rest: how many words that are
 *
 * Returns -1 to go on, or the exit status: help or version was printed, or the usage was
 * wrong and said so. Remarks about flags without effect have been made then.
 */
int dmtcp_options_read(enum dmtcp_command command, int argc, char **argv,
                       struct dmtcp_options *options, int *rest);

/* One flag at argv[0], for dmtcp_command with its mixture of flags and commands.
 * Returns how many words it took, 0 when it is no flag of that command, -1 when it is
 * used wrongly (and that was said). */
int dmtcp_options_flag(enum dmtcp_command command, int argc, char **argv,
                       struct dmtcp_options *options);

/* Defaults and environment. Returns 0, or -1 when a variable is wrong (and it was said). */
int dmtcp_options_init(enum dmtcp_command command, struct dmtcp_options *options);

void dmtcp_options_help(enum dmtcp_command command, FILE *out);

const char *dmtcp_command_name(enum dmtcp_command command);

/* "stint: NAME: text (NAME --help)". Returns the exit status of wrong usage. */
int dmtcp_usage(enum dmtcp_command command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
