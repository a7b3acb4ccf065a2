/* Counts up in FILE until FILE.stop is there: dmtcp-count FILE [END [CHILDREN]].
 * SPDX-License-Identifier: Apache-2.0
 *
 * Exit status 7, or 0 at END. CHILDREN processes sleep meanwhile.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const struct timespec pause = {0, 20000000};
    long end = argc > 2 ? atol(argv[2]) : 0;
    char stop[4096];
    int fd;

    if (argc < 2)
        return 2;
    fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0)
        return 2;
    for (long i = 0; argc > 3 && i < atol(argv[3]); i++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                nanosleep(&pause, NULL);
        }
    snprintf(stop, sizeof(stop), "%s.stop", argv[1]);
    for (long n = 1; access(stop, F_OK) != 0; n++) {
        dprintf(fd, "%ld\n", n);
        if (n == end)
            return 0;
        nanosleep(&pause, NULL);
    }
    return 7;
}
