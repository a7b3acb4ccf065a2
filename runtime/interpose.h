/* The libc functions that the runtime stands in front of, and why.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only what the kernel cannot make right: the checkpoint signal has to get through
 * (masks), the program has to keep its own use of that signal, calls that fail with
 * EINTR because of us have to go on (signal(7) lists them), and programs that the
 * program executes have to load the runtime again.
 */
#ifndef STINT_RUNTIME_INTERPOSE_H
#define STINT_RUNTIME_INTERPOSE_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "runtime/state.h"

#define STINT_EXPORT __attribute__((visibility("default")))

/* The next definition of a function, looked up once. */
#define INTERPOSE_REAL(name)                                                                 \
    ({                                                                                       \
        static __typeof__(&name) real_;                                                      \
        __typeof__(&name) found_ = __atomic_load_n(&real_, __ATOMIC_RELAXED);                \
        if (__builtin_expect(!found_, 0)) {                                                  \
            found_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                             \
            __atomic_store_n(&real_, found_, __ATOMIC_RELAXED);                              \
        }                                                                                    \
        found_;                                                                              \
    })

/* program_signal.c */
void interpose_init(void) STINT_HIDDEN;
void interpose_unblock(void) STINT_HIDDEN;

/* held_sigterm.c */
void sigterm_init(void) STINT_HIDDEN;
bool sigterm_is_held(void) STINT_HIDDEN;
/* sigaction(2) for SIGTERM while it is held. real: libc's; *action is changed. */
int sigterm_action(__typeof__(&sigaction) real,
                   struct sigaction *action,
                   struct sigaction *old) STINT_HIDDEN;
/* A signal has come. Returns whether the program is to have it (as *info then is). */
bool sigterm_take(siginfo_t *info) STINT_HIDDEN;
/* The same for one that was waited for since the process had been restored so often: the
 * restart may have come between the signal and this. */
bool sigterm_take_waited(siginfo_t *info, uint32_t restarts) STINT_HIDDEN;

/* eintr.c: was the EINTR that a call just gave caused by a checkpoint alone?
 * Around each attempt:  interpose_arm(); ret = real(...); if (interpose_ours(ret)) again
 */
void interpose_arm(void) STINT_HIDDEN;
bool interpose_ours(long ret) STINT_HIDDEN;

/* Did a checkpoint happen since interpose_arm()? */
bool interpose_stopped(void) STINT_HIDDEN;

/* syscall(2) with the number of futex(2), and what the kernel returned for any: sets errno
 * where it says so. Called from arch.c. */
long stint_eintr_futex(long number, uint32_t *word, int op, uint32_t value,
                       const struct timespec *timeout, uint32_t *word2,
                       uint32_t value3) STINT_HIDDEN;
long stint_eintr_result(long ret) STINT_HIDDEN;

/* Deadlines on CLOCK_MONOTONIC. */
uint64_t interpose_now_ns(void) STINT_HIDDEN;
/* What is left until then, 0 when past. */
uint64_t interpose_left_ns(uint64_t deadline_ns) STINT_HIDDEN;
uint64_t interpose_deadline(const struct timespec *timeout) STINT_HIDDEN;
struct timespec interpose_left(uint64_t deadline_ns) STINT_HIDDEN;

#endif
