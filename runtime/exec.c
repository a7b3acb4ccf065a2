/* Programs that the program executes load the runtime too, also when it builds their
 * environment itself.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Context: after fork and vfork, in signal handlers: memory comes from the stack.
 */
#include <alloca.h>
#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/raw.h"
#include "runtime/environment.h"
#include "runtime/interpose.h"

/* envp, completed on the caller's stack if it has to be. */
#define COMPLETED(envp)                                                                      \
    ({                                                                                       \
        char *const *env_ = (envp);                                                          \
        if (environment_lacks(env_)) {                                                       \
            char **to_ = alloca(environment_size(env_) * sizeof(*to_));                      \
            environment_complete(env_, to_, alloca(environment_preload_size(env_)));         \
            env_ = to_;                                                                      \
        }                                                                                    \
        (char **)env_;                                                                       \
    })

static int failed(long ret)
{
    errno = (int)-ret;
    return -1;
}

STINT_EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
    return failed(raw_syscall(SYS_execve, path, argv, COMPLETED(envp)));
}

STINT_EXPORT int execv(const char *path, char *const argv[])
{
    return failed(raw_syscall(SYS_execve, path, argv, COMPLETED(environ)));
}

STINT_EXPORT int execveat(
    int dir, const char *path, char *const argv[], char *const envp[], int flags)
{
    return failed(raw_syscall(SYS_execveat, dir, path, argv, COMPLETED(envp), flags));
}

STINT_EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
    return INTERPOSE_REAL(fexecve)(fd, argv, COMPLETED(envp));
}

STINT_EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
    return INTERPOSE_REAL(execvpe)(file, argv, COMPLETED(envp));
}

STINT_EXPORT int execvp(const char *file, char *const argv[])
{
    return INTERPOSE_REAL(execvpe)(file, argv, COMPLETED(environ));
}

/* The arguments of execl and its kin as an array on the stack; `args` has to stand
 * behind `first`. With `last`, the environment that follows the NULL. */
#define COLLECT(first, args, argv)                                                           \
    do {                                                                                     \
        size_t n_ = 1, i_ = 0;                                                               \
        va_start(args, first);                                                               \
        while (va_arg(args, char *))                                                         \
            n_++;                                                                            \
        va_end(args);                                                                        \
        (argv) = alloca((n_ + 1) * sizeof(char *));                                          \
        va_start(args, first);                                                               \
        (argv)[i_++] = (char *)(first);                                                      \
        while (((argv)[i_++] = va_arg(args, char *)))                                        \
            ;                                                                                \
    } while (0)

STINT_EXPORT int execl(const char *path, const char *arg, ...)
{
    va_list args;
    char **argv;

    COLLECT(arg, args, argv);
    va_end(args);
    return execv(path, argv);
}

STINT_EXPORT int execlp(const char *file, const char *arg, ...)
{
    va_list args;
    char **argv;

    COLLECT(arg, args, argv);
    va_end(args);
    return execvp(file, argv);
}

STINT_EXPORT int execle(const char *path, const char *arg, ...)
{
    va_list args;
    char **argv, *const *envp;

    COLLECT(arg, args, argv);
    envp = va_arg(args, char *const *);
    va_end(args);
    return execve(path, argv, envp);
}

STINT_EXPORT int posix_spawn(pid_t *pid,
                             const char *path,
                             const posix_spawn_file_actions_t *actions,
                             const posix_spawnattr_t *attr,
                             char *const argv[],
                             char *const envp[])
{
    return INTERPOSE_REAL(posix_spawn)(pid, path, actions, attr, argv, COMPLETED(envp));
}

STINT_EXPORT int posix_spawnp(pid_t *pid,
                              const char *file,
                              const posix_spawn_file_actions_t *actions,
                              const posix_spawnattr_t *attr,
                              char *const argv[],
                              char *const envp[])
{
    return INTERPOSE_REAL(posix_spawnp)(pid, file, actions, attr, argv, COMPLETED(envp));
}

/* system(3) and popen(3) take the process's environment from inside libc. */
STINT_EXPORT int system(const char *command)
{
    char **saved = environ;
    int ret;

    environ = COMPLETED(environ);
    ret = INTERPOSE_REAL(system)(command);
    environ = saved;
    return ret;
}

STINT_EXPORT FILE *popen(const char *command, const char *type)
{
    char **saved = environ;
    FILE *file;

    environ = COMPLETED(environ);
    file = INTERPOSE_REAL(popen)(command, type);
    environ = saved;
    return file;
}
