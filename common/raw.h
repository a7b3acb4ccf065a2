/* Raw x86_64 system calls, for code that must not touch libc.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Used by runtime/ from the signal handler on, and by the restorer once the
 * program's own memory is being put back: there neither errno nor locks of a C
 * library exist. Every function returns what the kernel returns: a value, or
 * -errno. Context: any; async-signal-safe.
 */
#ifndef STINT_COMMON_RAW_H
#define STINT_COMMON_RAW_H

#include <stdint.h>
#include <sys/syscall.h>

#if !defined(__x86_64__)
#error "stint supports x86_64 only so far"
#endif

static inline long raw_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

/* raw_syscall(number, up to six arguments...): integers or pointers. */
#define raw_syscall(...) raw_pad_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define raw_pad_(nr, a, b, c, d, e, f, ...)                                                \
    raw_syscall6((long)(nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* True for the range in which the kernel returns -errno. */
static inline int raw_is_error(long ret)
{
    return ret < 0 && ret >= -4095;
}

#endif
