/* Records of an image that describe the process, not its memory.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#include "common/raw.h"
#include "runtime/arch/x86_64/arch.h"
#include "runtime/capture.h"
#include "runtime/text.h"
#include "runtime/writer.h"

#ifndef PR_GET_MDWE /* Linux 6.3 */
#define PR_GET_MDWE 66
#endif

#define PENDING_MAX (WRITER_STAGING_BYTES / 128)

static uint64_t clock_ns(int clock)
{
    struct timespec now = {0, 0};

    (void)raw_syscall(SYS_clock_gettime, clock, &now); /* clocks that always exist */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The fields of /proc/self/stat from the 26th on; proc(5). */
static void read_layout(struct stint_process *process)
{
    static const int first = 3; /* number of the field after the name */
    char text[2048];
    const char *p;

    if (stint_text_read("/proc/thread-self/stat", text, sizeof(text)) <= 0
        || !(p = strrchr(text, ')')))
        return;
    p += 2;
    for (int field = first; *p; field++) {
        const char *start = p;
        uint64_t value = stint_text_decimal(&p);

        if (p == start)
            p += strcspn(p, " "); /* state, or a negative number */
        switch (field) {
        case 26:
            process->start_code = value;
            break;
        case 27:
            process->end_code = value;
            break;
        case 28:
            process->start_stack = value;
            break;
        case 45:
            process->start_data = value;
            break;
        case 46:
            process->end_data = value;
            break;
        case 47:
            process->start_brk = value;
            break;
        case 48:
            process->arg_start = value;
            break;
        case 49:
            process->arg_end = value;
            break;
        case 50:
            process->env_start = value;
            break;
        case 51:
            process->env_end = value;
            break;
        default:
            break;
        }
        p += *p == ' ';
    }
    process->brk = (uint64_t)raw_syscall(SYS_brk, 0);
}

static uint32_t flag_if(long value, uint32_t flag)
{
    return value > 0 ? flag : 0;
}

static bool has_main_thread(const struct capture *capture)
{
    const struct slot *slot = capture->session->slots;

    while (slot && !(slot->thread.flags & STINT_THREAD_LEADER))
        slot = slot->next;
    return slot != NULL;
}

/* Only a new mapping tells: a locked one does not forget its pages, and unless they are
 * locked when they come, it has them at once. */
uint32_t attributes_lock_future(void)
{
    long page = raw_syscall(SYS_mmap, NULL, STINT_PAGE_SIZE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t flags = 0;
    uint8_t there = 0;

    if (page == -EAGAIN)
        return STINT_PROC_LOCK_FUTURE; /* there may be no more: RLIMIT_MEMLOCK */
    if (raw_is_error(page))
        return 0;
    (void)raw_syscall(SYS_mincore, page, STINT_PAGE_SIZE, &there); /* stays 0 */
    if (raw_syscall(SYS_madvise, page, STINT_PAGE_SIZE, MADV_DONTNEED) == -EINVAL)
        flags = STINT_PROC_LOCK_FUTURE | (there & 1 ? 0 : STINT_PROC_LOCK_ONFAULT);
    (void)raw_syscall(SYS_munmap, page, STINT_PAGE_SIZE); /* just mapped */
    return flags;
}

static void write_process(struct capture *capture, struct writer *writer)
{
    struct stint_process process = {0};
    char text[32];
    int subreaper = 0;
    long mdwe;

    process.pid = (int32_t)raw_syscall(SYS_getpid);
    process.ppid = (int32_t)raw_syscall(SYS_getppid);
    process.pgid = (int32_t)raw_syscall(SYS_getpgid, 0);
    process.sid = (int32_t)raw_syscall(SYS_getsid, 0);
    process.umask = (uint32_t)raw_syscall(SYS_umask, 077);
    (void)raw_syscall(SYS_umask, process.umask); /* nobody ran in between */
    process.personality = (uint32_t)raw_syscall(SYS_personality, 0xffffffff);
    process.dumpable = (int32_t)raw_syscall(SYS_prctl, PR_GET_DUMPABLE);
    process.securebits = (uint32_t)raw_syscall(SYS_prctl, PR_GET_SECUREBITS);
    process.flags |= flag_if(raw_syscall(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
                             STINT_PROC_NO_NEW_PRIVS);
    process.flags |= flag_if(raw_syscall(SYS_prctl, PR_GET_KEEPCAPS), STINT_PROC_KEEPCAPS);
    process.flags |= flag_if(raw_syscall(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0),
                             STINT_PROC_THP_DISABLE);
    process.flags |= attributes_lock_future();
    mdwe = raw_syscall(SYS_prctl, PR_GET_MDWE, 0, 0, 0, 0);
    if (mdwe > 0)
        process.flags |= ((uint32_t)mdwe & STINT_PROC_MDWE_MASK) << STINT_PROC_MDWE_SHIFT;
    if (raw_syscall(SYS_prctl, PR_GET_CHILD_SUBREAPER, &subreaper) == 0 && subreaper)
        process.flags |= STINT_PROC_SUBREAPER;
    if (stint_text_read("/proc/self/oom_score_adj", text, sizeof(text)) > 0) {
        const char *p = text + (text[0] == '-');

        process.oom_score_adj = (int32_t)stint_text_decimal(&p);
        if (text[0] == '-')
            process.oom_score_adj = -process.oom_score_adj;
    }
    process.nthreads = capture->session->nthreads + !has_main_thread(capture);
    read_layout(&process);
    process.resume_fn = stint_signal_resume_address();
    process.realtime_ns = clock_ns(CLOCK_REALTIME);
    process.monotonic_ns = clock_ns(CLOCK_MONOTONIC);
    process.boottime_ns = clock_ns(CLOCK_BOOTTIME);
    process.uid = (uint32_t)raw_syscall(SYS_getuid);
    process.gid = (uint32_t)raw_syscall(SYS_getgid);
    writer_record(writer, STINT_REC_PROCESS, &process, sizeof(process), NULL, 0);
}

/* It has ended: what is left of it is a name and an exit code, the last field of stat. */
static void write_ended_thread(struct capture *capture, struct writer *writer)
{
    struct stint_thread thread = {.flags = STINT_THREAD_LEADER | STINT_THREAD_ENDED};
    const char *open, *close, *last;
    char path[64];

    thread.tid = (int32_t)raw_syscall(SYS_getpid);
    stint_text_task_path(path, sizeof(path), thread.tid, "stat");
    if (stint_text_read(path, capture->text, CAPTURE_TEXT_BYTES) > 0
        && (open = strchr(capture->text, '(')) && (close = strrchr(capture->text, ')'))
        && (last = strrchr(close, ' '))) {
        size_t len = (size_t)(close - open - 1);

        memcpy(thread.comm, open + 1, len < sizeof(thread.comm) ? len : sizeof(thread.comm) - 1);
        last++;
        thread.exit_code = stint_text_decimal(&last) >> 8;
    }
    writer_record(writer, STINT_REC_THREAD, &thread, sizeof(thread), NULL, 0);
}

static void write_threads(struct capture *capture, struct writer *writer)
{
    struct slot *slot;

    if (!has_main_thread(capture))
        write_ended_thread(capture, writer);

    for (slot = capture->session->slots; slot; slot = slot->next)
        if (slot->thread.flags & STINT_THREAD_LEADER)
            writer_record(writer, STINT_REC_THREAD, &slot->thread, sizeof(slot->thread),
                          NULL, 0);
    for (slot = capture->session->slots; slot; slot = slot->next)
        if (!(slot->thread.flags & STINT_THREAD_LEADER))
            writer_record(writer, STINT_REC_THREAD, &slot->thread, sizeof(slot->thread),
                          NULL, 0);
}

static void take_pending(struct capture *capture, struct slot *slot, struct pending_list *list)
{
    if (slot == capture->session->self) {
        stint_thread_take_pending(list, list->tid == 0);
        return;
    }
    slot->pending = list;
    if (stint_signal_command(slot, SLOT_TAKE_PENDING) < 0)
        list->count = 0; /* it answers as long as it lives */
}

/* The kernel gives signals of the process back to its main thread only. */
bool attributes_are_out_of_reach(struct capture *capture)
{
    const uint64_t urg = 1ull << (SIGURG - 1);
    int32_t self = capture->session->self->thread.tid;

    return !has_main_thread(capture)
           && stint_thread_pending_mask(self, true, capture->text, CAPTURE_TEXT_BYTES) & ~urg;
}

/* Signals that are pending now, process-wide ones by way of the main thread. */
static void write_pending(struct capture *capture, struct writer *writer)
{
    struct pending_list list = {.max = PENDING_MAX,
                                .infos = (void *)capture->staging,
                                .text = capture->text,
                                .text_size = CAPTURE_TEXT_BYTES};
    const uint64_t urg = 1ull << (SIGURG - 1);

    for (struct slot *slot = capture->session->slots; slot; slot = slot->next) {
        struct stint_sigpending record;
        int32_t tid = slot->thread.tid;

        for (int shared = 0; shared < 2; shared++) {
            if (shared && !(slot->thread.flags & STINT_THREAD_LEADER))
                continue;
            if (!(stint_thread_pending_mask(tid, shared, capture->text, CAPTURE_TEXT_BYTES)
                  & ~urg))
                continue;
            list.tid = shared ? 0 : tid;
            take_pending(capture, slot, &list);
            record = (struct stint_sigpending){.tid = list.tid, .count = list.count};
            if (list.count)
                writer_record(writer, STINT_REC_SIGPENDING, &record, sizeof(record),
                              list.infos, list.count * sizeof(list.infos[0]));
        }
    }
}

static void write_sigactions(struct writer *writer)
{
    struct stint_sigaction actions[64];

    memset(actions, 0, sizeof(actions));
    for (int signo = 1; signo <= 64; signo++)
        (void)raw_syscall(SYS_rt_sigaction, signo, NULL, &actions[signo - 1],
                          sizeof(actions[0].mask)); /* every number is valid */
    writer_record(writer, STINT_REC_SIGACTIONS, actions, sizeof(actions), NULL, 0);
}

static void write_limits(struct capture *capture, struct writer *writer)
{
    struct stint_rlimit limits[RLIM_NLIMITS];

    memset(limits, 0, sizeof(limits));
    for (int i = 0; i < RLIM_NLIMITS; i++)
        (void)raw_syscall(SYS_prlimit64, 0, i, NULL, &limits[i]); /* own, valid */
    limits[RLIMIT_NOFILE] = capture->nofile;
    limits[RLIMIT_FSIZE] = capture->fsize;
    writer_record(writer, STINT_REC_RLIMITS, limits, sizeof(limits), NULL, 0);
}

static void write_itimers(struct writer *writer)
{
    struct stint_itimer timers[3];

    for (int which = 0; which < 3; which++) {
        struct itimerval value;

        memset(&value, 0, sizeof(value));
        (void)raw_syscall(SYS_getitimer, which, &value); /* valid numbers */
        timers[which].interval_us = (uint64_t)value.it_interval.tv_sec * 1000000
                                    + (uint64_t)value.it_interval.tv_usec;
        timers[which].value_us = (uint64_t)value.it_value.tv_sec * 1000000
                                 + (uint64_t)value.it_value.tv_usec;
    }
    writer_record(writer, STINT_REC_ITIMERS, timers, sizeof(timers), NULL, 0);
}

/* One block of /proc/self/timers: "ID: n", "signal: s/sigval", "notify: how/pid.p",
 * "ClockID: c"; Documentation/filesystems/proc.rst. */
static void parse_timer(const char *block, struct stint_timer *timer)
{
    const char *p;

    memset(timer, 0, sizeof(*timer));
    if ((p = stint_text_field(block, "ID")))
        timer->id = (int32_t)stint_text_decimal(&p);
    if ((p = stint_text_field(block, "signal"))) {
        timer->signo = (int32_t)stint_text_decimal(&p);
        p += *p == '/';
        if (p[0] == '0' && p[1] == 'x')
            p += 2;
        timer->sigval = stint_text_hex(&p);
    }
    if ((p = stint_text_field(block, "notify"))) {
        if (strncmp(p, "none", 4) == 0)
            timer->notify = SIGEV_NONE;
        else if (strncmp(p, "thread", 6) == 0)
            timer->notify = SIGEV_THREAD;
        else
            timer->notify = SIGEV_SIGNAL;
        p += strcspn(p, "/\n");
        if (strncmp(p, "/tid.", 5) == 0) {
            timer->notify |= 4; /* SIGEV_THREAD_ID */
            p += 5;
            timer->notify_tid = (int32_t)stint_text_decimal(&p);
        }
    }
    if ((p = stint_text_field(block, "ClockID"))) {
        bool negative = *p == '-'; /* a CPU clock of a process or thread */

        p += negative;
        timer->clockid = (int32_t)stint_text_decimal(&p);
        if (negative)
            timer->clockid = -timer->clockid;
    }
}

static void write_timers(struct capture *capture, struct writer *writer)
{
    struct stint_timer *timers = (void *)capture->pages;
    size_t max = CAPTURE_PAGES_BYTES / sizeof(*timers), count = 0;
    char *block = capture->text;

    if (stint_text_read("/proc/self/timers", capture->text, CAPTURE_TEXT_BYTES) <= 0)
        return;
    while (block && *block && count < max) {
        char *next = strstr(block + 1, "\nID:");
        struct itimerspec value;

        if (next)
            *next++ = '\0';
        parse_timer(block, &timers[count]);
        memset(&value, 0, sizeof(value));
        if (raw_syscall(SYS_timer_gettime, timers[count].id, &value) == 0) {
            long overrun = raw_syscall(SYS_timer_getoverrun, timers[count].id);

            timers[count].overrun = overrun > 0 ? (int32_t)overrun : 0;
            timers[count].value_ns = (uint64_t)value.it_value.tv_sec * 1000000000u
                                     + (uint64_t)value.it_value.tv_nsec;
            timers[count].interval_ns = (uint64_t)value.it_interval.tv_sec * 1000000000u
                                        + (uint64_t)value.it_interval.tv_nsec;
            count++;
        }
        block = next;
    }
    if (count)
        writer_record(writer, STINT_REC_TIMERS, timers, count * sizeof(*timers), NULL, 0);
}

/* Where a link of /proc/self leads; 0 when it cannot be told. */
static size_t read_link(const char *link, char *path, size_t size)
{
    long n = raw_syscall(SYS_readlinkat, AT_FDCWD, link, path, size - 1);

    if (n <= 0)
        return 0;
    path[n] = '\0';
    return (size_t)n + 1;
}

static void write_paths(struct capture *capture, struct writer *writer)
{
    char *path = capture->text;
    struct stint_file_id id = {0};
    struct stat st;
    size_t len;

    len = read_link("/proc/thread-self/cwd", path, CAPTURE_TEXT_BYTES);
    if (len)
        writer_record(writer, STINT_REC_CWD, NULL, 0, path, len);
    len = read_link("/proc/thread-self/root", path, CAPTURE_TEXT_BYTES);
    if (len > 2)
        writer_record(writer, STINT_REC_ROOT, NULL, 0, path, len);
    len = read_link("/proc/thread-self/exe", path, CAPTURE_TEXT_BYTES);
    if (len && raw_syscall(SYS_newfstatat, AT_FDCWD, "/proc/thread-self/exe", &st, 0) == 0) {
        id = (struct stint_file_id){
            .dev = st.st_dev, .ino = st.st_ino, .size = (uint64_t)st.st_size,
            .mtime_ns = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec};
        writer_record(writer, STINT_REC_EXE, &id, sizeof(id), path, len);
    }
}

void attributes_write(struct capture *capture, struct writer *writer)
{
    struct stint_cpu cpu;
    long n;

    write_process(capture, writer);
    write_threads(capture, writer);
    write_pending(capture, writer);
    write_sigactions(writer);
    write_limits(capture, writer);
    write_itimers(writer);
    write_timers(capture, writer);
    write_paths(capture, writer);
    n = stint_text_read("/proc/thread-self/auxv", capture->text, CAPTURE_TEXT_BYTES);
    if (n > 0)
        writer_record(writer, STINT_REC_AUXV, NULL, 0, capture->text, (size_t)n);
    stint_arch_get_cpu(&cpu);
    writer_record(writer, STINT_REC_CPU, &cpu, sizeof(cpu), NULL, 0);
}
