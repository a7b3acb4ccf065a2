/* The namespaces that the program lives in.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "coordinator/agent_proc.h"

/* The user namespace first: it gives the right to the other. */
int agent_namespace_enter_ipc(pid_t pid, struct stint_err *err)
{
    static const char *const names[] = {"user", "ipc"};
    char path[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        STINT_AUTO_CLOSE int fd = -1;
        struct stat own, theirs;

        snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
        if (stat(path, &own) < 0)
            own.st_ino = 0;
        snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)agent_proc_task(pid), names[i]);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &theirs) < 0)
            return stint_err_set(err, -errno, "open %s", path);
        if (own.st_ino != theirs.st_ino && setns(fd, 0) < 0)
            return stint_err_set(err, -errno, "enter the program's %s namespace", names[i]);
    }
    return 0;
}
