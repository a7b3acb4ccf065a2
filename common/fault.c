/* Named points at which a test lets things go wrong.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int stint_fault(const char *name)
{
    static int hits; /* of the one point that is chosen */
    const char *chosen = getenv("STINT_FAULT"), *once = getenv("STINT_FAULT_ONCE");
    size_t len = strlen(name);

    if (!chosen || strncmp(chosen, name, len) != 0
        || (chosen[len] && chosen[len] != ':'))
        return 0;
    if (++hits != (chosen[len] ? atoi(chosen + len + 1) : 1))
        return 0;
    return !once || unlink(once) == 0;
}

void stint_fault_kill(const char *name)
{
    if (stint_fault(name))
        (void)raise(SIGKILL); /* does not return */
}
