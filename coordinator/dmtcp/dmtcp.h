/* The commands that DMTCP's users know: dmtcp_launch, dmtcp_coordinator, dmtcp_command,
 * dmtcp_restart. doc/from-dmtcp.md is their manual.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Four names of the program `stint` (see dmtcp_find()), each a thin layer: programs run
 * under stint_agent_run(), the coordinator is coordinator_run() with the hooks of
 * front.h, and everything else is a client of it.
 *
 * A computation is what runs under one coordinator. Its coordinator is found by host and
 * port (place.h), its generations lie in CKPTDIR/ckpt_ID_files, and CKPTDIR/ckpt_*.dmtcp
 * name the processes of the newest one (names.h).
 */
#ifndef STINT_DMTCP_DMTCP_H
#define STINT_DMTCP_DMTCP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define DMTCP_PORT_DEFAULT 7779

/* Run as the command of that name, or return -1 when it is none of ours. */
int dmtcp_main(const char *name, int argc, char **argv);

int dmtcp_cmd_launch(int argc, char **argv);
int dmtcp_cmd_coordinator(int argc, char **argv);
int dmtcp_cmd_command(int argc, char **argv);
int dmtcp_cmd_restart(int argc, char **argv);

/* The other name of a computation's parts: lower-case hex digits. */
#define DMTCP_COMPUTATION_DIGITS 16
#define DMTCP_GROUP_DIGITS       8

/* Write `digits` random hex digits and a NUL. */
void dmtcp_random_hex(char *out, unsigned digits);

#endif
