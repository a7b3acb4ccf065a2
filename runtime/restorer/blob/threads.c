/* Threads: create them with their old ids, give each its attributes, let them go.
 * SPDX-License-Identifier: Apache-2.0
 */
#define STINT_BLOB
#include "runtime/restorer/blob/blob.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "common/ckpt.h"

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002

#define IOPRIO_WHO_PROCESS 1

#define THREAD_FLAGS                                                                         \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    uint64_t set_tid, set_tid_size;
};

struct sched_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static void start_thread(struct blob_thread *thread) __attribute__((noreturn));

/* The new thread starts on an empty stack, with its argument in a register that the
 * system call leaves alone. nr, a, b: the call and its first two arguments; c, d, e
 * are zero. */
static long spawn(long nr, long a, long b, struct blob_thread *thread)
{
    long ret;
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;
    register struct blob_thread *r12 __asm__("r12") = thread;
    register void (*r13)(struct blob_thread *) __asm__("r13") = start_thread;

    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call *%%r13\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(0L), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
                     : "rcx", "r11", "memory");
    return ret;
}

static long spawn_with_tid(struct blob_thread *thread)
{
    int32_t tid = thread->thread.tid;
    struct clone3_args args = {
        .flags = THREAD_FLAGS,
        .stack = thread->stack_top - BLOB_THREAD_STACK,
        .stack_size = BLOB_THREAD_STACK,
        .set_tid = (uint64_t)&tid,
        .set_tid_size = 1,
    };

    return spawn(SYS_clone3, (long)&args, sizeof(args), thread);
}

static long spawn_after_last_pid(struct blob_args *args, struct blob_thread *thread)
{
    struct stint_shared *shared = (struct stint_shared *)args->shared;
    char digits[16];
    int at = sizeof(digits);
    long ret;

    for (int32_t n = thread->thread.tid - 1; n > 0 || at == sizeof(digits); n /= 10)
        digits[--at] = (char)('0' + n % 10);
    shared_lock(&shared->pid_lock);
    ret = raw_syscall(SYS_pwrite64, args->last_pid_fd, digits + at, sizeof(digits) - (size_t)at,
                      0);
    if (ret > 0)
        ret = spawn(SYS_clone, THREAD_FLAGS, (long)thread->stack_top, thread);
    shared_unlock(&shared->pid_lock);
    if (ret > 0 && ret != thread->thread.tid)
        ret = -EEXIST;
    return ret;
}

void blob_create_threads(struct blob_args *args)
{
    struct blob_thread *threads = BLOB_AT(args, args->threads_offset, struct blob_thread);
    uint32_t done;

    for (uint32_t i = 1; i < args->nthreads; i++) {
        long ret = args->set_tid ? spawn_with_tid(&threads[i])
                                 : spawn_after_last_pid(args, &threads[i]);

        if (ret < 0)
            blob_fail(args, ret, "create a thread with its old id", NULL);
    }
    while ((done = shared_load(&args->threads_done)) < args->nthreads - 1) {
        if (shared_load(&((struct stint_shared *)args->shared)->abort))
            (void)raw_syscall(SYS_exit_group, 1); /* somebody else has failed */
        shared_sleep(&args->threads_done, done, 1000);
    }
}

static uint32_t has_ended(const struct blob_thread *thread)
{
    return thread->thread.flags & STINT_THREAD_ENDED;
}

/* --- attributes ------------------------------------------------------------------ */

static void restore_scheduling(const struct stint_thread *t)
{
    struct sched_attributes attr = {
        .size = sizeof(attr),
        .policy = t->sched_policy,
        .flags = t->sched_reset_on_fork ? 1 : 0,
        .nice = t->sched_nice,
        .priority = t->sched_priority,
        .runtime = t->sched_runtime,
        .deadline = t->sched_deadline,
        .period = t->sched_period,
    };

    /* All of this is what the program would like; what it may have is the new run's
     * to say. */
    (void)raw_syscall(SYS_sched_setattr, 0, &attr, 0);
    (void)raw_syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, t->ioprio);
    if (t->affinity_len)
        (void)raw_syscall(SYS_sched_setaffinity, 0, t->affinity_len, t->affinity);
    if (t->mempolicy)
        (void)raw_syscall(SYS_set_mempolicy, t->mempolicy,
                          t->mempolicy_nodes ? &t->mempolicy_nodes : NULL, 65);
    if (t->timerslack_ns)
        (void)raw_syscall(SYS_prctl, PR_SET_TIMERSLACK, t->timerslack_ns);
}

static void restore_registers(struct blob_args *args, const struct stint_thread *t)
{
    long ret = raw_syscall(SYS_arch_prctl, ARCH_SET_FS, t->fs_base);

    if (ret == 0 && t->gs_base)
        ret = raw_syscall(SYS_arch_prctl, ARCH_SET_GS, t->gs_base);
    if (ret != 0)
        blob_fail(args, ret, "set a thread's segment bases", NULL);
    (void)raw_syscall(SYS_set_tid_address, t->clear_child_tid); /* cannot fail */
    ret = raw_syscall(SYS_set_robust_list, t->robust_list, 24); /* the only length there is */
    if (ret != 0)
        blob_fail(args, ret, "set a thread's robust list", NULL);
    if (t->rseq_addr) {
        ret = raw_syscall(SYS_rseq, t->rseq_addr, t->rseq_len, 0, t->rseq_sig);
        if (ret != 0 && ret != -ENOSYS)
            blob_fail(args, ret, "register a thread's rseq area", NULL);
    }
}

static void restore_capabilities(struct blob_args *args, const struct stint_thread *t)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct have[2], want[2];
    long ret = raw_syscall(SYS_capget, &head, have);

    if (args->process.securebits &&
        raw_syscall(SYS_prctl, PR_SET_SECUREBITS, args->process.securebits, 0, 0, 0) != 0)
        blob_note(args, "secure bits cannot be set again", NULL);
    for (int i = 0; ret == 0 && i < 2; i++) {
        want[i].permitted = args->drop_caps ? 0 : t->cap_permitted[i] & have[i].permitted;
        want[i].effective = args->drop_caps ? 0 : t->cap_effective[i] & want[i].permitted;
        want[i].inheritable = args->drop_caps ? 0
                                              : t->cap_inheritable[i] &
                                                    (have[i].inheritable | have[i].permitted);
    }
    if (ret == 0)
        ret = raw_syscall(SYS_capset, &head, want);
    if (ret != 0)
        blob_fail(args, ret, "set a thread's capabilities", NULL);
}

static void restore_ids(struct blob_args *args)
{
    uint32_t uid = args->process.uid, gid = args->process.gid;
    long ret;

    if (!args->change_ids)
        return;
    /* keep what restore_capabilities() is to choose from */
    ret = raw_syscall(SYS_prctl, PR_SET_KEEPCAPS, 1);
    if (ret == 0)
        ret = raw_syscall(SYS_setgroups, 0, NULL);
    if (ret == 0)
        ret = raw_syscall(SYS_setresgid, gid, gid, gid);
    if (ret == 0)
        ret = raw_syscall(SYS_setresuid, uid, uid, uid);
    if (ret == 0)
        ret = raw_syscall(SYS_prctl, PR_SET_KEEPCAPS, 0);
    if (ret != 0)
        blob_fail(args, ret, "take the user and group ids of the process", NULL);
}

void blob_restore_thread(struct blob_args *args, struct blob_thread *thread)
{
    const struct stint_thread *t = &thread->thread;
    char *info = BLOB_AT(args, thread->pending_offset, char);

    (void)raw_syscall(SYS_prctl, PR_SET_NAME, t->comm); /* cannot fail */
    if (!has_ended(thread)) {
        restore_registers(args, t);
        restore_scheduling(t);
    }
    for (uint32_t i = 0; i < thread->pending_count; i++, info += 128)
        (void)raw_syscall(SYS_rt_tgsigqueueinfo, args->process.pid, t->tid, *(int *)info,
                          info); /* only a limit (RLIMIT_SIGPENDING) can refuse it */
    restore_ids(args);
    restore_capabilities(args, t);
    if (args->process.flags & STINT_PROC_KEEPCAPS)
        (void)raw_syscall(SYS_prctl, PR_SET_KEEPCAPS, 1); /* unless locked: no use then */
    if (args->process.flags & STINT_PROC_NO_NEW_PRIVS)
        (void)raw_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* cannot fail */
    if (t->pdeathsig)
        (void)raw_syscall(SYS_prctl, PR_SET_PDEATHSIG, t->pdeathsig); /* a valid number */
}

static void start_thread(struct blob_thread *thread)
{
    struct blob_args *args = (struct blob_args *)thread->args;

    blob_restore_thread(args, thread);
    __atomic_add_fetch(&args->threads_done, 1, __ATOMIC_ACQ_REL);
    shared_wake(&args->threads_done);
    blob_run_thread(args, thread);
}

/* --- letting go -------------------------------------------------------------------- */

/* Call the runtime's function with the stack pointer below the thread's own signal
 * frame; nothing of the hole may be touched from there on. */
static void enter_program(uint64_t function, const struct stint_resume *resume)
    __attribute__((noreturn));

static void enter_program(uint64_t function, const struct stint_resume *resume)
{
    uint64_t top = (resume->ucontext - 1024 - sizeof(*resume)) & ~15ull;

    __builtin_memcpy((void *)top, resume, sizeof(*resume));
    __asm__ volatile("mov %0, %%rsp\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%rsp, %%rdi\n\t"
                     "call *%1\n\t"
                     "hlt"
                     :
                     : "r"(top), "r"(function)
                     : "memory", "rdi");
    __builtin_unreachable();
}

/* Nobody runs before those are stopped that are to be: a SIGCONT would come too early. */
static void let_process_go(struct blob_args *args, struct stint_shared *shared)
{
    blob_arm_timers(args);
    shared_arrive(shared, STINT_PHASE_RUNNING);
    if (args->stopped)
        blob_stop(args);
    else if (shared_wait(shared, STINT_PHASE_STOPPED) < 0)
        (void)raw_syscall(SYS_exit_group, 1); /* does not return */
    blob_settle_children(args);
}

/* The main thread had ended: it does so again. The kernel lets the others go when it is
 * out of this memory, which they give back. */
static void end_again(struct blob_args *args, const struct blob_thread *thread)
    __attribute__((noreturn));

static void end_again(struct blob_args *args, const struct blob_thread *thread)
{
    (void)raw_syscall(SYS_set_robust_list, NULL, 24); /* the process restorer's own */
    (void)raw_syscall(SYS_set_tid_address, &args->held); /* cannot fail */
    for (;;)
        (void)raw_syscall(SYS_exit, thread->thread.exit_code); /* does not return */
}

void blob_run_thread(struct blob_args *args, struct blob_thread *thread)
{
    struct stint_shared *shared = (struct stint_shared *)args->shared;
    struct blob_thread *all = BLOB_AT(args, args->threads_offset, struct blob_thread);
    uint32_t ended = has_ended(all), is_main = thread == all;
    uint32_t leads = thread == (ended ? all + 1 : all);
    struct stint_resume resume = {
        .ucontext = thread->thread.ucontext,
        .hole_start = leads ? args->hole_start : 0,
        .hole_len = leads ? args->hole_len : 0,
        .nthreads = args->nthreads - (ended ? 1 : 0),
        .leader = leads,
        .generation = args->generation,
    };

    if (is_main)
        shared_arrive(shared, STINT_PHASE_READY);
    if (shared_wait(shared, STINT_PHASE_GO) < 0) {
        for (;;)
            (void)raw_syscall(SYS_exit_group, 1); /* does not return */
    }
    if (is_main)
        let_process_go(args, shared);
    if (is_main && ended)
        end_again(args, thread);
    if (is_main)
        __atomic_store_n(&args->held, 0, __ATOMIC_RELEASE);
    while (shared_load(&args->held))
        shared_sleep(&args->held, 1, 1000);
    shared_wake(&args->held); /* the kernel wakes but one */
    enter_program(args->process.resume_fn, &resume);
}
