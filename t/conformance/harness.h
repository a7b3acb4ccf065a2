/* What the conformance cases share: hold still for the checkpoint, then check.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   CASE(pipe_bytes)
 *   {
 *       ... build some state ...
 *       hold();            here it is checkpointed, ended, restored, any number of times
 *       CHECK(... it is all as it was ...);
 *   }
 *
 * Each case runs in a process and in a directory of its own, with nothing on standard
 * input, and prints one verdict: PASS, "FAIL where: what" or "SKIP why". hold() waits by
 * polling for a file: no descriptor, no signal and no memory takes part in it.
 */
#ifndef STINT_T_CONFORMANCE_HARNESS_H
#define STINT_T_CONFORMANCE_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct conf_case {
    const char *name;
    void (*run)(void);
};

#define CASE(name)                                                                    \
    static void run_##name(void);                                                     \
    static const struct conf_case case_##name = {#name, run_##name};                  \
    __attribute__((used, section("conf_cases"))) static const struct conf_case *const \
        pointer_##name = &case_##name;                                                \
    static void run_##name(void)

#define CHECK(cond) ((cond) ? (void)0 : conf_fail(__FILE__, __LINE__, #cond))
#define CHECK_EQ(got, want) \
    conf_equal(__FILE__, __LINE__, #got, (long long)(got), (long long)(want))
#define CHECK_STR(got, want) conf_same_text(__FILE__, __LINE__, #got, got, want)
#define CHECK_MEM(got, want, len) \
    (memcmp(got, want, len) == 0 ? (void)0 : conf_fail(__FILE__, __LINE__, "bytes of " #got))
/* The call must not return -1; the value is what it returns. */
#define SYS(call) conf_sys(__FILE__, __LINE__, #call, (long)(call))
/* A function of pthreads must return 0. */
#define PTH(call) conf_equal(__FILE__, __LINE__, #call, (long long)(call), 0)

void conf_fail(const char *file, int line, const char *what) __attribute__((noreturn));
void conf_equal(const char *file, int line, const char *what, long long got, long long want);
void conf_same_text(const char *file, int line, const char *what, const char *got,
                    const char *want);
long conf_sys(const char *file, int line, const char *what, long value);

/* Stand still until the test says go. */
void hold(void);

/* Has the test said so? For what polls by itself. */
bool held_no_more(void);

/* This machine cannot show it. */
void skip(const char *why) __attribute__((noreturn));

/* Between processes and threads of one case: mark() makes a file, await() waits for it. */
void mark(const char *name);
void await(const char *name);

/* Wait (with a deadline) until this thread sits in that system call. */
void await_syscall(pid_t pid, pid_t tid, long number);

/* The case makes something that outlives it when it is killed: the runner removes it then
 * (leftovers.c has the kinds). leaves_id() returns id. */
void leaves(const char *kind, const char *name);
int leaves_id(const char *kind, int id);

/* A few milliseconds, for loops that poll. */
void nap(void);

/* Poll until the condition holds, or fail. */
#define UNTIL(cond)                                                             \
    do {                                                                        \
        double until_ = monotonic_s() + 60;                                     \
        while (!(cond)) {                                                       \
            if (monotonic_s() > until_)                                         \
                conf_fail(__FILE__, __LINE__, "never came true: " #cond);       \
            nap();                                                              \
        }                                                                       \
    } while (0)

double monotonic_s(void);
pid_t gettid_raw(void);

/* Fork; the child runs fn(arg) and exits with 0. reap() wants exactly that status. */
pid_t child(void (*fn)(void *), void *arg);
void reap(pid_t pid);
void reap_status(pid_t pid, int status);

pthread_t thread(void *(*fn)(void *), void *arg);

/* Fill with, and check for, bytes that depend on the place and on seed. */
void fill(void *at, size_t len, unsigned seed);
bool filled(const void *at, size_t len, unsigned seed);

/* Make a file of that many patterned bytes, unless text is given. */
void make_file(const char *path, size_t len, unsigned seed);
void make_text(const char *path, const char *text);

/* Value of "Key: 123 ..." of /proc/self/status; -1 when there is none. base 10 or 16. */
long long status_value(const char *key, int base);

/* Does the mapping at this address carry this two-letter flag of VmFlags (proc(5))? */
bool vm_flag(const void *at, const char *flag);

#endif
