/* The coordinator that a command works with: found, or started.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_DMTCP_CONTACT_H
#define STINT_DMTCP_CONTACT_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

#include "common/err.h"
#include "coordinator/dmtcp/options.h"

struct dmtcp_contact {
    char host[HOST_NAME_MAX + 1]; /* as the user names it */
    unsigned port;
    char *dir;     /* place.h; NULL = there is none */
    bool started;  /* by this command */
    const char *logfile; /* what it says goes there; only where it is started */
};

/* Host and port as flags, environment and the Slurm job say. */
void dmtcp_contact_init(struct dmtcp_contact *contact, const struct dmtcp_options *options);
void dmtcp_contact_deinit(struct dmtcp_contact *contact);

#define DMTCP_CONTACT_E_NONE 1 /* no coordinator of this user is there */

/* Ask it one thing. Returns 0 with *reply set; DMTCP_CONTACT_E_NONE with *err set to why
 * (nobody, or a stranger); or -errno with *err set. */
int dmtcp_contact_ask(struct dmtcp_contact *contact, json_t *request, int timeout_ms,
                      json_t **reply, struct stint_err *err);

/* As dmtcp_contact_ask(), and a reply that says no is an error: -ECANCELED. reply may be
 * NULL. */
int dmtcp_contact_tell(struct dmtcp_contact *contact, json_t *request, json_t **reply,
                       struct stint_err *err);

/* Join or start one, as the options say. Returns 0 or -errno with *err set. */
int dmtcp_contact_open(struct dmtcp_contact *contact, const struct dmtcp_options *options,
                       struct stint_err *err);

/* Write the port where --port-file asks for it. Returns 0 or -errno with *err set. */
int dmtcp_contact_port_file(const char *path, unsigned port, struct stint_err *err);

/* Say that programs that were announced will not come. groups: stolen. all: nor will
 * others of the same restart. */
void dmtcp_contact_leave(struct dmtcp_contact *contact, json_t *groups, bool all);

#endif
