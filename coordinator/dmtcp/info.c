/* What a program and its coordinator are told about its place in a computation.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/info.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/wire.h"
#include "coordinator/dmtcp/contact.h"
#include "coordinator/dmtcp/place.h"

/* "localhost" means something else on the next host. */
static void real_host(const struct dmtcp_contact *contact, char *host, size_t size)
{
    if (strcmp(contact->host, "localhost") == 0 || strncmp(contact->host, "127.", 4) == 0)
        dmtcp_place_host(host, (unsigned)size);
    else
        snprintf(host, size, "%s", contact->host);
}

char *dmtcp_info_text(const struct dmtcp_contact *contact, const char *group,
                      const char *computation, const char *ckptdir)
{
    char host[HOST_NAME_MAX + 1], *text;
    json_t *info;

    real_host(contact, host, sizeof(host));
    info = json_pack("{s:s, s:s, s:o, s:s, s:i}", "computation", computation, "group", group,
                     "ckptdir", stint_json_text(ckptdir), "host", host, "port",
                     (int)contact->port);
    text = info ? json_dumps(info, JSON_COMPACT) : NULL;
    json_decref(info);
    return text;
}

char *dmtcp_info_hint(const char *ckptdir)
{
    char *hint;

    return asprintf(&hint, "%s/dmtcp_restart_script.sh", ckptdir) < 0 ? NULL : hint;
}

void dmtcp_info_env(const struct dmtcp_contact *contact, char *host, size_t host_size,
                    char *port, size_t port_size)
{
    char name[HOST_NAME_MAX + 1];

    real_host(contact, name, sizeof(name));
    snprintf(host, host_size, "DMTCP_COORD_HOST=%s", name);
    snprintf(port, port_size, "DMTCP_COORD_PORT=%u", contact->port);
}
