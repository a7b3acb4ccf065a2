/* What makes a coordinator one for DMTCP's users: hooks of coordinator_run().
 * SPDX-License-Identifier: Apache-2.0
 *
 * It stays when programs end (unless told otherwise), keeps its generations in the
 * directories of the programs, and knows for whom it waits: a program that was announced
 * by `dmtcp-launch` or `dmtcp-restart` and has not connected yet. Requests besides those
 * of doc/protocol.md:
 *
 *   dmtcp-launch   group, ckptdir, interval (-1: leave it), unique, open_files
 *   dmtcp-restart  computation, generation, interval, unique, open_files, files: the directory
 *                  of the generations if they stay there, groups: those that come now,
 *                  list of {group, ckptdir}, all: names of all groups of the generation
 *   dmtcp-left     groups: list of names that will not come
 */
#ifndef STINT_DMTCP_FRONT_H
#define STINT_DMTCP_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/coordinator.h"
#include "coordinator/dmtcp/dmtcp.h"

#define FRONT_STALE_S (8 * 3600)

struct front_settings {
    const char *dir;       /* its own, place.h */
    int listen_fd;         /* taken over */
    unsigned port;
    const char *ckptdir;   /* absolute: of all programs that name none; NULL = none */
    const char *workdir;   /* absolute: gets a restart script too; NULL = none */
    unsigned interval_s;
    bool exit_on_last, kill_after_ckpt, unique;
    unsigned timeout_s, stale_timeout_s;
    bool console;          /* commands are read from standard input */
    void (*ready)(void *arg);
    void *arg;
};

/* Run the coordinator to its end. Returns as coordinator_run(). */
int front_run(const struct front_settings *settings, struct stint_err *err);

#endif
