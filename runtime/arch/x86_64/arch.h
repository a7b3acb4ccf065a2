/* Everything of the runtime that names a register.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_ARCH_H
#define STINT_RUNTIME_ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#include "common/image.h"

/* Call fn(arg) on the stack that ends at `top` (16-byte aligned), and come back. */
void stint_arch_call_on_stack(void *top, void (*fn)(void *), void *arg);

/* syscall(2), exported: futex(2) goes by way of stint_eintr_futex(), what fails by
 * stint_eintr_result() (runtime/interpose.h). */

/* Return from the signal handler whose frame holds `ucontext`. */
void stint_arch_sigreturn(const void *ucontext) __attribute__((noreturn));

/* The thread's segment bases; 0 where the kernel does not tell. */
void stint_arch_get_bases(uint64_t *fs, uint64_t *gs);

/* What this CPU can do, as far as programs may rely on it. */
void stint_arch_get_cpu(struct stint_cpu *cpu);

/* True when the signal came in the middle of a system call that now fails with
 * EINTR: one of those that the kernel does not restart after a handler. */
static inline bool stint_arch_is_eintr(const ucontext_t *uc)
{
    const uint8_t *rip = (const uint8_t *)uc->uc_mcontext.gregs[REG_RIP];

    return uc->uc_mcontext.gregs[REG_RAX] == -4 && rip[-2] == 0x0f && rip[-1] == 0x05;
}

/* The context of a signal that came in a system call which is about to be restarted: let it
 * fail with EINTR instead. Does nothing elsewhere. (A call that has not begun yet looks the
 * same, and may fail so just as well.) */
void stint_arch_interrupt(ucontext_t *uc);

#endif
