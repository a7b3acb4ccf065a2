/* A storm of short-lived children: forks, execs, vforks, threads that fork.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   storm [WORKERS]   each worker starts children one after the other until $GATE.go
 *
 * Every child's exit status must be the one it was told to end with, and no child may be
 * lost or appear twice. Says how many there were on standard error.
 */
#include "gate.h"

#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

static void expect(pid_t pid, int code)
{
    int status = -1;

    if (pid <= 0)
        fail("no child");
    if (waitpid(pid, &status, 0) != pid)
        fail("waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code) {
        (void)printf("status %x instead of %d\n", status, code);
        fail("a child's status is wrong");
    }
}

static pid_t forked(int code)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(code);
    return pid;
}

static pid_t executed(int code)
{
    char text[32];
    pid_t pid;

    (void)snprintf(text, sizeof text, "exit %d", code);
    pid = fork();
    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", text, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static pid_t vforked(int code)
{
    static char text[32];
    pid_t pid;

    (void)snprintf(text, sizeof text, "exit %d", code);
    pid = vfork();
    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", text, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static pid_t spawned(int code)
{
    char text[32], *argv[] = {"sh", "-c", text, NULL};
    pid_t pid = 0;

    (void)snprintf(text, sizeof text, "exit %d", code);
    if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) != 0)
        fail("posix_spawn");
    return pid;
}

static pid_t with_grandchildren(int code)
{
    pid_t pid = fork();

    if (pid == 0) {
        expect(forked(code ^ 1), code ^ 1);
        expect(executed(code ^ 2), code ^ 2);
        _exit(code);
    }
    return pid;
}

static void worker(int seed)
{
    static pid_t (*const ways[])(int) = {forked, executed, vforked, spawned,
                                         with_grandchildren};
    unsigned long children = 0;
    unsigned random = (unsigned)seed;

    while (!gate_open() || children < 50) {
        int code;

        random = random * 1103515245 + 12345;
        code = (int)(random >> 16 & 63);
        expect(ways[(random >> 24) % 5](code), code);
        children++;
    }
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
        fail("there are more children than were started");
    (void)fprintf(stderr, "storm: %lu children\n", children);
    _exit(children < 50 ? 1 : 0);
}

int main(int argc, char **argv)
{
    int workers = argc > 1 ? atoi(argv[1]) : 2;
    pid_t pids[64];

    if (workers < 1 || workers > 64)
        return 2;
    for (int i = 0; i < workers; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            worker(i * 977 + 1);
    }
    gate_wait();
    for (int i = 0; i < workers; i++)
        expect(pids[i], 0);
    (void)printf("every child ended as it should\n");
    return 0;
}
