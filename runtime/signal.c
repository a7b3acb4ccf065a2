/* The checkpoint signal: who leads, who parks, who goes on.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The agent queues SIGURG with a cookie. The thread that takes it becomes the
 * leader if nobody is; it connects to the agent, queues SIGURG to its siblings
 * until every one of them is parked, and hands over to session.c. A thread parks
 * in its handler, on its own stack, so that it resumes (here or after a restart)
 * by returning from the handler: the kernel's frame holds all registers.
 *
 * A signal can come late (of an epoch or checkpoint that is over) or twice; both
 * are harmless: a stale park is ignored, a stale cookie finds no listener.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "common/raw.h"
#include "runtime/api.h"
#include "runtime/arch/x86_64/arch.h"
#include "runtime/state.h"
#include "runtime/text.h"

#define ARENA_STACK_BYTES    (256u << 10)
#define QUIESCE_TIMEOUT_MS   8000
#define RESIGNAL_INTERVAL_MS 4
#define DEAF_AFTER_MS        12
#define HELD_DEAF_AFTER_MS   400
#define DEAF_SWITCHES        200 /* far more than the handler has locks to wait for */
#define DEAF_TICKS           5   /* 50 ms: far more than the handler needs */
#define DEAF_MAX             64

/* SA_RESTORER is hidden by glibc; rt_sigaction(2) needs it on x86_64. */
#define KERNEL_SA_RESTORER 0x04000000ul

static void futex_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, (timeout_ms % 1000) * 1000000L};

    (void)raw_syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value,
                      timeout_ms < 0 ? NULL : &timeout);
}

static void futex_wake(_Atomic uint32_t *word)
{
    (void)raw_syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- the parked thread ------------------------------------------------ */

static void park_thread(struct runtime_state *state, const ucontext_t *uc)
{
    struct slot slot = {.ucontext = uc};

    stint_thread_describe(&slot.thread, uc);
    slot.has_keyring = stint_thread_has_keyring();
    slot.next = atomic_load(&state->slots);
    do {
        if (!slot.next)
            return; /* the list always holds the leader's while it is open */
    } while (!atomic_compare_exchange_weak(&state->slots, &slot.next, &slot));
    atomic_fetch_add(&state->parked, 1);
    futex_wake(&state->parked);
    for (;;) {
        uint32_t command = atomic_load(&slot.command);

        if (command == SLOT_RELEASE)
            return;
        if (command == SLOT_TAKE_PENDING) {
            stint_thread_take_pending(slot.pending, slot.pending->tid == 0);
            atomic_store(&slot.command, SLOT_WAIT);
            atomic_fetch_add(&slot.done, 1);
            futex_wake(&slot.done);
            continue;
        }
        futex_wait(&slot.command, SLOT_WAIT, -1);
    }
}

/* --- the leader -------------------------------------------------------- */

int stint_signal_socket(void)
{
    const int type = SOCK_SEQPACKET | SOCK_CLOEXEC;
    int fd = (int)raw_syscall(SYS_socket, AF_UNIX, type, 0);
    struct stint_rlimit limit, raised;

    if (fd != -EMFILE)
        return fd;
    /* All numbers are in use: go above the soft limit for a moment. */
    if (raw_syscall(SYS_prlimit64, 0, 7 /* RLIMIT_NOFILE */, NULL, &limit) != 0)
        return fd;
    raised = limit;
    raised.cur = limit.max;
    (void)raw_syscall(SYS_prlimit64, 0, 7, &raised, NULL);
    fd = (int)raw_syscall(SYS_socket, AF_UNIX, type, 0);
    (void)raw_syscall(SYS_prlimit64, 0, 7, &limit, NULL);
    return fd;
}

static int connect_agent(uint64_t cookie)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char digits[17] = {0};
    size_t used = 1;
    int fd, saved;
    long ret;

    for (int i = 0; i < 16; i++)
        digits[i] = "0123456789abcdef"[cookie >> (60 - 4 * i) & 15];
    stint_text_append(address.sun_path, sizeof(address.sun_path), &used, "stint.");
    stint_text_append(address.sun_path, sizeof(address.sun_path), &used, digits);
    fd = stint_signal_socket();
    if (fd < 0)
        return fd;
    saved = fd;
    ret = raw_syscall(SYS_connect, fd, &address,
                      offsetof(struct sockaddr_un, sun_path) + used);
    if (ret != 0) {
        (void)raw_syscall(SYS_close, saved);
        return (int)ret;
    }
    return fd;
}

static bool is_parked(const struct runtime_state *state, int32_t tid)
{
    for (const struct slot *slot = atomic_load(&state->slots); slot; slot = slot->next)
        if (slot->thread.tid == tid)
            return true;
    return false;
}

static void signal_sibling(int32_t pid, int32_t tid, uint32_t epoch)
{
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_signo = SIGURG;
    info.si_code = STINT_SI_PARK;
    info.si_value.sival_int = (int)epoch;
    (void)raw_syscall(SYS_rt_tgsigqueueinfo, pid, tid, SIGURG, &info);
}

/* The main thread of a process stays in the list when it has ended before the others. */
static bool has_ended(int32_t tid)
{
    char path[64], text[1024];
    const char *p;

    stint_text_task_path(path, sizeof(path), tid, "stat");
    return stint_text_read(path, text, sizeof(text)) > 0 && (p = strrchr(text, ')'))
           && (p[2] == 'Z' || p[2] == 'X');
}

/* One pass over /proc/self/task. Returns how many siblings are not parked yet,
 * *total counts all threads, *straggler is one that is not parked. */
static int scan_threads(struct runtime_state *state,
                        int tasks,
                        int32_t self,
                        bool signal,
                        int *total,
                        int32_t *straggler)
{
    char buf[2048] __attribute__((aligned(8)));
    int unparked = 0;
    long n;

    *total = 0;
    (void)raw_syscall(SYS_lseek, tasks, 0, 0);
    while ((n = raw_syscall(SYS_getdents64, tasks, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n;) {
            const struct linux_dirent64 *entry = (const void *)(buf + at);
            const char *name = entry->d_name;
            int32_t tid = (int32_t)stint_text_decimal(&name);

            at += entry->d_reclen;
            if (tid == 0)
                continue; /* "." and ".." */
            (*total)++;
            if (tid == self || is_parked(state, tid))
                continue;
            if (tid == atomic_load(&state->pid) && has_ended(tid)) {
                (*total)--;
                continue;
            }
            unparked++;
            *straggler = tid;
            if (signal)
                signal_sibling(atomic_load(&state->pid), tid, atomic_load(&state->epoch));
        }
    }
    return n < 0 ? -1 : unparked;
}

/* A thread that blocks every signal. In our handler it does as well, and on a busy machine it
 * may be long until it is parked: what it does meanwhile tells the two apart. */
struct suspect {
    int32_t tid;
    bool asleep;             /* when it was looked at last */
    uint64_t switches;       /* voluntary ones, then */
    uint64_t first_switches; /* when it was looked at first */
    uint64_t first_ticks;
};

/* User and system time of a thread, in clock ticks. */
static uint64_t cpu_ticks(int32_t tid)
{
    char path[64], text[1024];
    const char *p;
    uint64_t user;

    stint_text_task_path(path, sizeof(path), tid, "stat");
    if (stint_text_read(path, text, sizeof(text)) <= 0 || !(p = strrchr(text, ')')))
        return 0;
    for (int field = 2; field < 14; field++) { /* utime is the 14th, proc(5) */
        p = strchr(p, ' ');
        if (!p)
            return 0;
        p++;
    }
    user = stint_text_decimal(&p);
    if (*p++ != ' ')
        return 0;
    return user + stint_text_decimal(&p);
}

/* Has it blocked them by itself? Our handler neither sleeps interruptibly before the thread
 * is parked, nor runs for long; one that waits for the CPU, or for a page, may be in it. */
static bool is_deaf_by_itself(struct suspect *suspect, int32_t tid, const char *status,
                              uint64_t waited_ms)
{
    const char *state = stint_text_field(status, "State");
    const char *value = stint_text_field(status, "voluntary_ctxt_switches");
    uint64_t switches = value ? stint_text_decimal(&value) : 0;
    bool slept = suspect->asleep && suspect->switches == switches;

    if (suspect->tid != tid) {
        *suspect = (struct suspect){.tid = tid, .first_switches = switches,
                                    .first_ticks = cpu_ticks(tid)};
        slept = false;
    }
    suspect->asleep = state && *state == 'S';
    suspect->switches = switches;
    if (suspect->asleep && slept)
        return true;
    if (state && (*state == 't' || *state == 'T')) /* held by the agent on its way */
        return waited_ms >= HELD_DEAF_AFTER_MS;
    return switches - suspect->first_switches >= DEAF_SWITCHES
           || cpu_ticks(tid) - suspect->first_ticks >= DEAF_TICKS;
}

/* Does it block SIGURG, and not in our handler? */
static bool is_deaf(struct suspect *suspect, int32_t tid, uint64_t waited_ms)
{
    const uint64_t all = ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1));
    char path[64], text[4096];
    const char *value;
    uint64_t blocked;

    stint_text_task_path(path, sizeof(path), tid, "status");
    if (stint_text_read(path, text, sizeof(text)) <= 0)
        return false;
    value = stint_text_field(text, "SigBlk");
    blocked = value ? stint_text_hex(&value) : 0;
    if (blocked == all)
        return is_deaf_by_itself(suspect, tid, text, waited_ms);
    return blocked & 1ull << (SIGURG - 1);
}

static bool is_listed(const int32_t *deaf, uint32_t count, int32_t tid)
{
    for (uint32_t i = 0; i < count; i++)
        if (deaf[i] == tid)
            return true;
    return false;
}

/* A thread that blocks SIGURG behind libc's back (the helper threads of glibc do)
 * cannot hear us: the agent can change its mask by ptrace(2). */
static void ask_to_unblock(int channel, int32_t tid)
{
    struct stint_ckpt_unblock ask = {
        .header = {STINT_CKPT_MAGIC, STINT_CKPT_VERSION, STINT_CKPT_UNBLOCK},
        .tid = tid,
    };

    (void)raw_syscall(SYS_sendto, channel, &ask, sizeof(ask), MSG_NOSIGNAL, NULL, 0);
}

/* The unblocked threads get their mask back when they return from the handler. */
static void restore_deaf(struct runtime_state *state, const int32_t *deaf, uint32_t count)
{
    for (struct slot *slot = atomic_load(&state->slots); slot; slot = slot->next)
        for (uint32_t i = 0; i < count; i++)
            if (slot->thread.tid == deaf[i]) {
                ucontext_t *uc = (ucontext_t *)slot->thread.ucontext;

                slot->thread.sigmask |= 1ull << (SIGURG - 1);
                slot->thread.flags |= STINT_THREAD_URG_BLK;
                memcpy(&uc->uc_sigmask, &slot->thread.sigmask, 8);
            }
}

/* Stop every other thread: /proc/self/task has to show nothing but parked threads
 * twice in a row, since a thread can be born behind the back of one pass.
 * Returns the number of threads, or 0 with *straggler when one does not stop. */
static int quiesce_threads(struct runtime_state *state,
                           const struct session *session,
                           int32_t *straggler)
{
    uint64_t start = now_ms(), deadline = start + QUIESCE_TIMEOUT_MS, signalled = 0;
    int32_t self = session->self->thread.tid, deaf[DEAF_MAX];
    struct suspect suspect = {0};
    uint32_t ndeaf = 0;
    int tasks, total = 0, last_total = 0, calm = 0;

    *straggler = 0;
    tasks = (int)raw_syscall(SYS_openat, AT_FDCWD, "/proc/self/task",
                             O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tasks < 0)
        return 0;
    while (calm < 2) {
        uint32_t parked = atomic_load(&state->parked);
        bool due = now_ms() - signalled >= RESIGNAL_INTERVAL_MS;
        int unparked = scan_threads(state, tasks, self, due, &total, straggler);

        if (due)
            signalled = now_ms();
        if (unparked < 0)
            break;
        if (unparked == 0 && (calm == 0 || total == last_total)) {
            calm++;
            last_total = total;
            continue;
        }
        calm = 0;
        if (now_ms() > deadline)
            break;
        /* once: by then it may be in the handler, where SIGURG has to stay blocked */
        if (due && signalled - start >= DEAF_AFTER_MS && ndeaf < DEAF_MAX
            && !is_listed(deaf, ndeaf, *straggler)
            && is_deaf(&suspect, *straggler, signalled - start)) {
            deaf[ndeaf++] = *straggler;
            ask_to_unblock(session->channel, *straggler);
        }
        futex_wait(&state->parked, parked, RESIGNAL_INTERVAL_MS);
    }
    stint_text_close(tasks);
    restore_deaf(state, deaf, ndeaf);
    return calm == 2 ? total : 0;
}

static void release_threads(struct runtime_state *state, const struct slot *self)
{
    struct slot *slot, *next;

    atomic_fetch_add(&state->epoch, 1); /* even: late signals are stale */
    slot = atomic_exchange(&state->slots, NULL); /* closed: nobody parks any more */
    for (; slot; slot = next) {
        next = slot->next; /* the slot goes with its thread's stack */
        if (slot == self)
            continue;
        atomic_store(&slot->command, SLOT_RELEASE);
        futex_wake(&slot->command); /* on memory that may be gone: EFAULT, harmless */
    }
}

int stint_signal_command(struct slot *slot, uint32_t command)
{
    uint32_t done = atomic_load(&slot->done);

    atomic_store(&slot->command, command);
    futex_wake(&slot->command);
    for (uint64_t deadline = now_ms() + 5000; atomic_load(&slot->done) == done;) {
        if (now_ms() > deadline)
            return -ETIMEDOUT;
        futex_wait(&slot->done, done, 100);
    }
    return 0;
}

struct leadership {
    struct runtime_state *state;
    struct session session;
    bool held; /* the program is in a critical section: nothing was done */
};

static void lead_on_own_stack(void *arg)
{
    struct leadership *lead = arg;
    struct session *session = &lead->session;

    session->nthreads =
        (uint32_t)quiesce_threads(lead->state, session, &session->straggler);
    session->slots = atomic_load(&lead->state->slots);
    /* A sibling may have entered its critical section just before it was stopped. */
    lead->held = api_is_held();
    if (lead->held)
        return;
    stint_session_run(session);
    if (session->captured)
        api_note_checkpoint();
}

/* The program's stack, or its alternate one, may be small: everything but the first
 * steps happens on a stack of our own. */
static void lead(struct runtime_state *state, uint64_t cookie, const ucontext_t *uc)
{
    struct slot self = {.ucontext = uc};
    struct leadership lead = {.state = state, .session = {.self = &self}};
    struct session *session = &lead.session;
    long stack;

    session->channel = connect_agent(cookie);
    if (session->channel < 0)
        return;
    stack = raw_syscall(SYS_mmap, NULL, ARENA_STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!raw_is_error(stack)) {
        session->stack.start = (uint64_t)stack;
        session->stack.end = (uint64_t)stack + ARENA_STACK_BYTES;
        stint_thread_describe(&self.thread, uc);
        self.has_keyring = stint_thread_has_keyring();
        atomic_store(&state->slots, &self);
        atomic_store(&state->parked, 0);
        atomic_fetch_add(&state->epoch, 1);
        stint_arch_call_on_stack((void *)session->stack.end, lead_on_own_stack, &lead);
        (void)raw_syscall(SYS_munmap, stack, ARENA_STACK_BYTES);
        release_threads(state, &self);
    }
    (void)raw_syscall(SYS_close, session->channel);
    if (!lead.held) /* else it is asked again */
        state->last_cookie = cookie;
}

/* A process that fork made finds no pid in its state yet and claims it. A vfork child
 * before its exec runs in its parent's memory and must not: it shares it, which
 * kcmp(2) tells. */
bool stint_signal_is_own_state(void)
{
    struct runtime_state *state = stint_runtime.state;
    int32_t pid = (int32_t)raw_syscall(SYS_getpid), owner = atomic_load(&state->pid);

    if (owner == 0) {
        if (raw_syscall(SYS_kcmp, pid, raw_syscall(SYS_getppid), KCMP_VM, 0, 0) == 0)
            return false;
        atomic_compare_exchange_strong(&state->pid, &owner, pid);
        owner = atomic_load(&state->pid);
    }
    return owner == pid;
}

static void take_checkpoint_signal(struct runtime_state *state,
                                   uint64_t cookie,
                                   const ucontext_t *uc)
{
    uint32_t unlocked = 0;

    if (!stint_signal_is_own_state())
        return; /* asked again after its exec */
    if (cookie == state->last_cookie)
        return;
    if (api_is_held())
        return; /* asked again, until it is not */
    if (!atomic_compare_exchange_strong(&state->lock, &unlocked, 1))
        return; /* there is a leader; it will park this thread */
    lead(state, cookie, uc);
    atomic_store(&state->lock, 0);
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
    struct runtime_state *state = stint_runtime.state;
    ucontext_t *uc = context;

    if (info->si_code == STINT_SI_CHECKPOINT) {
        take_checkpoint_signal(state, (uint64_t)info->si_value.sival_ptr, uc);
    } else if (info->si_code == STINT_SI_PARK) {
        uint32_t epoch = (uint32_t)info->si_value.sival_int;

        if (atomic_load(&state->epoch) != epoch
            || atomic_load(&state->pid) != (int32_t)raw_syscall(SYS_getpid))
            return;
        park_thread(state, uc);
    } else {
        stint_program_signal(signo, info, context);
        return;
    }
    stint_note_interrupted(uc);
}

/* --- after a restart --------------------------------------------------- */

/* Entered from the restorer in every thread: see struct stint_resume. */
static void __attribute__((noreturn)) resume_thread(const struct stint_resume *from)
{
    struct runtime_state *state = stint_runtime.state;
    struct stint_resume resume = *from; /* `from` is in memory that is about to go */

    if (resume.leader) {
        atomic_store(&state->pid, (int32_t)raw_syscall(SYS_getpid));
        state->generation = resume.generation;
        state->restarts++;
        api_note_checkpoint(); /* the one that it was restored from */
        api_note_restart();
        stint_runtime.maybe_lazy = true;
    }
    atomic_fetch_add(&state->arrived, 1);
    futex_wake(&state->arrived);
    if (resume.leader) {
        uint32_t arrived;

        while ((arrived = atomic_load(&state->arrived)) < resume.nthreads)
            futex_wait(&state->arrived, arrived, -1);
        atomic_store(&state->arrived, 0);
        (void)raw_syscall(SYS_munmap, resume.hole_start, resume.hole_len);
    }
    stint_note_interrupted((const ucontext_t *)resume.ucontext);
    stint_arch_sigreturn((const void *)resume.ucontext);
}

uint64_t stint_signal_resume_address(void)
{
    return (uint64_t)&resume_thread;
}

__asm__(".text\n"
        ".type signal_restorer, @function\n"
        "signal_restorer:\n"
        "  mov $15, %eax\n"
        "  syscall\n"
        ".size signal_restorer, . - signal_restorer\n");
extern void signal_restorer(void) STINT_HIDDEN;

int stint_signal_install(void)
{
    struct stint_sigaction action = {
        .handler = (uint64_t)&on_signal,
        .flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK | KERNEL_SA_RESTORER,
        .restorer = (uint64_t)&signal_restorer,
        .mask = ~0ull,
    };

    return (int)raw_syscall(SYS_rt_sigaction, SIGURG, &action, NULL, sizeof(action.mask));
}
