/* The process in the place of the old agent; and what it shares with pid 1.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Parent of the root process and of all orphans. All signals stay blocked: what
 * the program sends to its parent does not hurt.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/restorer/restore.h"

void stint_standin_reaped(struct stint_restore *restore, int pid, int status)
{
    if (pid != restore->group->root_pid ||
        !shared_load(&restore->shared->open[STINT_PHASE_GO]))
        return; /* before `go`, init finds out and reports it */
    if (__atomic_exchange_n(&restore->shared->root_ended, 1, __ATOMIC_ACQ_REL) == 0)
        stint_control_send(restore, "exit %d", status);
}

void stint_standin_close_all(struct stint_restore *restore)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        (void)dup2(null, fd); /* both are good */
    if ((restore->control > 3 &&
         close_range(3, (unsigned)restore->control - 1, 0) < 0) ||
        close_range((unsigned)restore->control + 1, ~0u, 0) < 0) {
        for (int fd = 3; fd < (int)restore->fds.limit; fd++)
            if (fd != restore->control)
                (void)close(fd); /* most are not open */
    }
}

void stint_standin_run(struct stint_restore *restore)
{
    int status;
    pid_t pid;

    stint_standin_close_all(restore);
    while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
        if (pid > 0)
            stint_standin_reaped(restore, pid, status);
    }
    _exit(0);
}
