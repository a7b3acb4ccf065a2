/* Conformance: programs that a preloaded library does not get into, started by one that it does.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <libgen.h>
#include <limits.h>

struct waiting {
    pid_t pid;
    int input; /* its end makes the program end */
};

/* Run a program that says a letter and waits; the letter is 0 when it cannot be run. */
static char start(struct waiting *waiting, const char *path)
{
    int input[2], output[2];
    char letter = 0;

    SYS(pipe2(input, O_CLOEXEC));
    SYS(pipe2(output, O_CLOEXEC));
    waiting->pid = (pid_t)SYS(fork());
    if (waiting->pid == 0) {
        SYS(dup2(input[0], 0));
        SYS(dup2(output[1], 1));
        (void)execl(path, path, (char *)NULL);
        _exit(127);
    }
    SYS(close(input[0]));
    SYS(close(output[1]));
    SYS(read(output[0], &letter, 1));
    SYS(close(output[0]));
    waiting->input = input[1];
    return letter;
}

static void finish(struct waiting *waiting)
{
    SYS(close(waiting->input));
    reap(waiting->pid);
}

CASE(another_architecture)
{
    char self[PATH_MAX] = "", path[PATH_MAX + 16];
    struct waiting waiting;

    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    (void)snprintf(path, sizeof path, "%s/waits_i386", dirname(self));
    if (access(path, X_OK) != 0)
        skip("32-bit programs cannot be made here");
    if (start(&waiting, path) == 0)
        skip("32-bit programs do not run here");
    hold();
    finish(&waiting);
}

CASE(privileged_program)
{
    struct waiting waiting;

    if (access("../../privileged", X_OK) != 0)
        skip("only root can make a setuid program");
    if (start(&waiting, "../../privileged") != 's')
        skip("setuid programs are ordinary ones here");
    hold();
    finish(&waiting);
}
