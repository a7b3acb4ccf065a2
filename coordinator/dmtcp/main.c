/* The names under which stint is one of DMTCP's commands.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "coordinator/commands.h"
#include "coordinator/dmtcp/dmtcp.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"dmtcp_launch", dmtcp_cmd_launch},
    {"dmtcp_coordinator", dmtcp_cmd_coordinator},
    {"dmtcp_command", dmtcp_cmd_command},
    {"dmtcp_restart", dmtcp_cmd_restart},
};

void dmtcp_random_hex(char *out, unsigned digits)
{
    static const char hex[] = "0123456789abcdef";

    for (unsigned i = 0; i < digits; i++)
        out[i] = hex[randombytes_uniform(16)];
    out[digits] = '\0';
}

int dmtcp_main(const char *name, int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        stint_log_init(name, 0);
        if (sodium_init() < 0) {
            stint_error("libsodium cannot be used");
            return STINT_EXIT_FAILED;
        }
        return commands[i].run(argc, argv);
    }
    return -1;
}
