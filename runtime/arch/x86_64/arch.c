/* Registers of x86_64.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/arch/x86_64/arch.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>

#include "common/raw.h"

__asm__(".text\n"
        ".globl stint_arch_call_on_stack\n"
        ".hidden stint_arch_call_on_stack\n"
        ".type stint_arch_call_on_stack, @function\n"
        "stint_arch_call_on_stack:\n"
        "  push %rbp\n"
        "  mov %rsp, %rbp\n"
        "  mov %rdi, %rsp\n"
        "  mov %rdx, %rdi\n"
        "  call *%rsi\n"
        "  mov %rbp, %rsp\n"
        "  pop %rbp\n"
        "  ret\n"
        ".size stint_arch_call_on_stack, . - stint_arch_call_on_stack\n"
        ".globl stint_arch_sigreturn\n"
        ".hidden stint_arch_sigreturn\n"
        ".type stint_arch_sigreturn, @function\n"
        "stint_arch_sigreturn:\n"
        "  mov %rdi, %rsp\n"
        "  mov $15, %eax\n" /* __NR_rt_sigreturn */
        "  syscall\n"
        "  hlt\n"
        ".size stint_arch_sigreturn, . - stint_arch_sigreturn\n"
        /* As glibc's, without a frame: a number like vfork's returns twice. */
        ".globl syscall\n"
        ".type syscall, @function\n"
        "syscall:\n"
        "  cmp $202, %rdi\n" /* __NR_futex */
        "  je stint_eintr_futex\n"
        "  mov %rdi, %rax\n"
        "  mov %rsi, %rdi\n"
        "  mov %rdx, %rsi\n"
        "  mov %rcx, %rdx\n"
        "  mov %r8, %r10\n"
        "  mov %r9, %r8\n"
        "  mov 8(%rsp), %r9\n"
        "  syscall\n"
        "  cmp $-4095, %rax\n"
        "  jae 1f\n"
        "  ret\n"
        "1:\n"
        "  mov %rax, %rdi\n"
        "  jmp stint_eintr_result\n"
        ".size syscall, . - syscall\n");

/* Those that may wait for ever and that the kernel restarts, signal(7). open(2) and ioctl(2)
 * are left out: before they have begun programs do not reckon with EINTR. */
static bool may_wait(uint64_t call, uint64_t command)
{
    static const uint16_t calls[] = {
        SYS_read,     SYS_readv,    SYS_write,    SYS_writev,   SYS_connect,  SYS_accept,
        SYS_accept4,  SYS_sendto,   SYS_sendmsg,  SYS_sendmmsg, SYS_recvfrom, SYS_recvmsg,
        SYS_recvmmsg, SYS_wait4,    SYS_waitid,   SYS_flock,    SYS_futex,    SYS_getrandom,
        SYS_mq_timedsend, SYS_mq_timedreceive,
    };

    if (call == SYS_fcntl)
        return command == F_SETLKW || command == F_OFD_SETLKW;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (call == calls[i])
            return true;
    return false;
}

void stint_arch_interrupt(ucontext_t *uc)
{
    greg_t *regs = uc->uc_mcontext.gregs;
    const uint8_t *rip = (const uint8_t *)regs[REG_RIP];

    if (rip[0] != 0x0f || rip[1] != 0x05
        || !may_wait((uint64_t)regs[REG_RAX], (uint64_t)regs[REG_RSI]))
        return;
    regs[REG_RAX] = -EINTR;
    regs[REG_RIP] += 2;
}

void stint_arch_get_bases(uint64_t *fs, uint64_t *gs)
{
    *fs = 0;
    *gs = 0;
    (void)raw_syscall(SYS_arch_prctl, ARCH_GET_FS, fs); /* cannot fail */
    (void)raw_syscall(SYS_arch_prctl, ARCH_GET_GS, gs); /* cannot fail */
}

static uint64_t read_xcr0(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

void stint_arch_get_cpu(struct stint_cpu *cpu)
{
    uint32_t a, b, c, d, max;

    __builtin_memset(cpu, 0, sizeof(*cpu));
    __cpuid(0, max, b, c, d);
    __cpuid(1, a, b, c, d);
    cpu->leaf1_ecx = c;
    cpu->leaf1_edx = d;
    if (c & bit_OSXSAVE)
        cpu->xcr0 = read_xcr0();
    if (max >= 7) {
        __cpuid_count(7, 0, a, b, c, d);
        cpu->leaf7_ebx = b;
        cpu->leaf7_ecx = c;
        cpu->leaf7_edx = d;
        if (a >= 1) {
            __cpuid_count(7, 1, a, b, c, d);
            cpu->leaf7_1_eax = a;
        }
    }
    __cpuid(0x80000000, max, b, c, d);
    if (max >= 0x80000001) {
        __cpuid(0x80000001, a, b, c, d);
        cpu->ext1_ecx = c;
        cpu->ext1_edx = d;
    }
    for (uint32_t i = 0; max >= 0x80000004 && i < 3; i++) {
        uint32_t part[4];

        __cpuid(0x80000002 + i, part[0], part[1], part[2], part[3]);
        __builtin_memcpy(cpu->model + 16 * i, part, 16);
    }
    cpu->model[sizeof(cpu->model) - 1] = '\0';
}
