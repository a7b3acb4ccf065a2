/* What the coordinator says, as people and programs know it from DMTCP.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_DMTCP_REPORT_H
#define STINT_DMTCP_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* All take the coordinator's reply to `list`. */

unsigned report_peers(const json_t *reply);

/* Every announced program is there, and no checkpoint is under way. */
bool report_is_running(const json_t *reply);

/* The block with NUM_PEERS= and RUNNING=. host: as the user names it. */
void report_status(const json_t *reply, const char *host, unsigned port, FILE *out);

/* One line for each process, with a heading. */
void report_list(const json_t *reply, FILE *out);

#endif
