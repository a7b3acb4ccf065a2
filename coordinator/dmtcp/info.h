/* What a program and its coordinator are told about its place in a computation.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_DMTCP_INFO_H
#define STINT_DMTCP_INFO_H

#include <stddef.h>

struct dmtcp_contact;

/* The line of struct stint_agent_config: a JSON object with computation, group, ckptdir,
 * host and port. Freed by the caller; NULL for want of memory. */
char *dmtcp_info_text(const struct dmtcp_contact *contact, const char *group,
                      const char *computation, const char *ckptdir);

/* What to type to go on after a program was ended by a checkpoint. Freed by the caller. */
char *dmtcp_info_hint(const char *ckptdir);

/* DMTCP_COORD_HOST=... and DMTCP_COORD_PORT=..., so that commands in the program find its
 * coordinator. */
void dmtcp_info_env(const struct dmtcp_contact *contact, char *host, size_t host_size,
                    char *port, size_t port_size);

#endif
