/* Where a coordinator is found by host and port.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every coordinator has a directory ~/.stint/dmtcp/HOST-PORT that only the user can
 * read. It is the DIR of doc/protocol.md with key, address, lock and log, but without
 * generations: those may be removed at any time. Hosts that share the home directory
 * find it; other users cannot, and without the key no coordinator talks to them.
 * Without a home directory that can be written it is /tmp/.stint-UID.
 */
#ifndef STINT_DMTCP_PLACE_H
#define STINT_DMTCP_PLACE_H

#include <stdint.h>

#include "common/err.h"

/* Open (and make) the base directory. Returns its descriptor, or -errno with *err set.
 * path: without symlinks, freed by the caller. */
int dmtcp_place_base(int create, char **path, struct stint_err *err);

/* Make the directory of a coordinator of this host; sweeps those that are long gone.
 *
 * guard: a descriptor that keeps others from starting and sweeping; to be closed when
 *     the coordinator takes connections
 *
 * Returns 0 with *dir and *guard set, or -errno with *err set.
 */
int dmtcp_place_make(unsigned port, char **dir, int *guard, struct stint_err *err);

/* The coordinator of `dir` has ended: remove it, unless somebody has it already. */
void dmtcp_place_remove(const char *dir);

/* The directory of the coordinator at host (NULL: this one) and port. It may be one that
 * is not there any more. Freed by the caller; NULL when there is none. */
char *dmtcp_place_find(const char *host, unsigned port);

/* A coordinator that start_coordinator registered for this Slurm job. Returns the port
 * and writes the host, or returns 0. */
unsigned dmtcp_place_job(char *host, unsigned size);
void dmtcp_place_register_job(const char *job, const char *host, unsigned port);

/* Does anything listen there? Says nothing about who that is. */
int dmtcp_place_is_taken(const char *host, unsigned port);

/* This host's name, never empty. */
void dmtcp_place_host(char *host, unsigned size);

#endif
