/* Describe one thread, by the thread itself.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/rseq.h>
#include <linux/sched/types.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "common/raw.h"
#include "runtime/arch/x86_64/arch.h"
#include "runtime/state.h"
#include "runtime/text.h"

#ifndef IOPRIO_WHO_PROCESS
#define IOPRIO_WHO_PROCESS 1
#endif
#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif
#define RSEQ_REGISTERED_LEN 32 /* glibc registers the original 32 bytes, rseq(2) */
#define RSEQ_SIGNATURE      0x53053053u /* RSEQ_SIG of glibc on x86_64 */

/* Set by glibc 2.35 and newer; absent before. See "rseq" in the glibc manual. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

static void describe_rseq(struct stint_thread *thread)
{
    const struct rseq *area;

    if (!&__rseq_size || !&__rseq_offset || __rseq_size == 0 || thread->fs_base == 0)
        return;
    area = (const struct rseq *)(thread->fs_base + (uint64_t)__rseq_offset);
    if ((int32_t)area->cpu_id < 0) /* uninitialised, or registration failed */
        return;
    thread->rseq_addr = (uint64_t)area;
    thread->rseq_len = RSEQ_REGISTERED_LEN;
    thread->rseq_sig = RSEQ_SIGNATURE;
}

static void describe_scheduling(struct stint_thread *thread)
{
    struct sched_attr attr = {.size = sizeof(attr)};
    uint64_t nodes[16] = {0}; /* as many as any kernel is made for */
    int policy = 0;
    long n;

    if (raw_syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) == 0) {
        thread->sched_policy = attr.sched_policy;
        thread->sched_priority = attr.sched_priority;
        thread->sched_nice = attr.sched_nice;
        thread->sched_reset_on_fork = (uint32_t)(attr.sched_flags & 1);
        thread->sched_runtime = attr.sched_runtime;
        thread->sched_deadline = attr.sched_deadline;
        thread->sched_period = attr.sched_period;
    }
    n = raw_syscall(SYS_sched_getaffinity, 0, sizeof(thread->affinity), thread->affinity);
    thread->affinity_len = n > 0 ? (uint32_t)n : 0;
    if (raw_syscall(SYS_get_mempolicy, &policy, nodes, sizeof(nodes) * 8, 0, 0) == 0) {
        thread->mempolicy = (uint32_t)policy;
        thread->mempolicy_nodes = nodes[0];
    }
    n = raw_syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
    thread->ioprio = n >= 0 ? (int32_t)n : 0;
    n = raw_syscall(SYS_prctl, PR_GET_TIMERSLACK);
    thread->timerslack_ns = n > 0 ? (uint64_t)n : 0;
}

static void describe_capabilities(struct stint_thread *thread)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    if (raw_syscall(SYS_capget, &header, data) != 0)
        return;
    for (int i = 0; i < 2; i++) {
        thread->cap_effective[i] = data[i].effective;
        thread->cap_permitted[i] = data[i].permitted;
        thread->cap_inheritable[i] = data[i].inheritable;
    }
}

bool stint_thread_has_keyring(void)
{
    return raw_syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID, without making one */,
                       KEY_SPEC_THREAD_KEYRING, 0)
           > 0;
}

void stint_thread_describe(struct stint_thread *thread, const ucontext_t *uc)
{
    int pdeathsig = 0;

    memset(thread, 0, sizeof(*thread));
    thread->tid = (int32_t)raw_syscall(SYS_gettid);
    if (thread->tid == (int32_t)raw_syscall(SYS_getpid))
        thread->flags |= STINT_THREAD_LEADER;
    thread->ucontext = (uint64_t)uc;
    memcpy(&thread->sigmask, &uc->uc_sigmask, sizeof(thread->sigmask));
    stint_arch_get_bases(&thread->fs_base, &thread->gs_base);
    (void)raw_syscall(SYS_get_robust_list, 0, &thread->robust_list, &thread->robust_len);
    (void)raw_syscall(SYS_prctl, PR_GET_TID_ADDRESS, &thread->clear_child_tid);
    (void)raw_syscall(SYS_prctl, PR_GET_NAME, thread->comm);
    if (raw_syscall(SYS_prctl, PR_GET_PDEATHSIG, &pdeathsig) == 0)
        thread->pdeathsig = pdeathsig;
    describe_rseq(thread);
    describe_scheduling(thread);
    describe_capabilities(thread);
}

uint64_t stint_thread_pending_mask(int32_t tid, bool shared, char *text, size_t size)
{
    char path[64];
    const char *value;

    stint_text_task_path(path, sizeof(path), tid, "status");
    if (stint_text_read(path, text, size) <= 0)
        return 0;
    value = stint_text_field(text, shared ? "ShdPnd" : "SigPnd");
    return value ? stint_text_hex(&value) : 0;
}

/* Slurm's SIGTERM is for this run, not for the next one. */
static void forget_slurms(struct pending_list *list)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < list->count; i++) {
        if (sigterm_is_slurms((const siginfo_t *)list->infos[i]))
            continue;
        if (kept != i)
            memcpy(list->infos[kept], list->infos[i], sizeof(list->infos[0]));
        kept++;
    }
    list->count = kept;
}

static bool is_ours(const uint8_t *raw)
{
    const siginfo_t *info = (const siginfo_t *)raw;

    return info->si_signo == SIGURG
           && (info->si_code == STINT_SI_CHECKPOINT || info->si_code == STINT_SI_PARK);
}

/* The kernel shows pending signals' siginfo only by taking them: so take and
 * requeue them. Signals from the kernel (si_code >= 0) can only be requeued by a
 * thread to itself, hence the calling thread's own, and for those of the process
 * the calling thread has to be the one whose tid is the pid. */
void stint_thread_take_pending(struct pending_list *list, bool shared)
{
    int32_t pid = (int32_t)raw_syscall(SYS_getpid);
    int32_t tid = (int32_t)raw_syscall(SYS_gettid);
    const struct timespec now = {0, 0};
    uint64_t mask;

    list->count = 0;
    while (list->count < list->max
           && (mask = stint_thread_pending_mask(tid, shared, list->text,
                                              list->text_size))
                  != 0) {
        uint8_t *info = list->infos[list->count];

        memset(info, 0, sizeof(list->infos[0]));
        if (raw_syscall(SYS_rt_sigtimedwait, &mask, info, &now, sizeof(mask)) <= 0)
            break;
        if (!is_ours(info))
            list->count++;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        const siginfo_t *info = (const siginfo_t *)list->infos[i];

        if (shared)
            (void)raw_syscall(SYS_rt_sigqueueinfo, pid, info->si_signo, info);
        else
            (void)raw_syscall(SYS_rt_tgsigqueueinfo, pid, tid, info->si_signo, info);
    }
    forget_slurms(list);
}
