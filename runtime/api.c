/* What the program itself may ask for: a checkpoint now, or none for a while.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A request goes to the agent's socket, the abstract SOCK_SEQPACKET UNIX socket
 * "stint-agent.JOB" (JOB: STINT_JOB in the environment), one question for each
 * connection, in text:
 *
 *   checkpoint        accepted N | failed REASON
 *   result N          pending | done | again REASON | failed REASON
 *   status            peers N running 0|1 | failed REASON
 *   info              the line that the agent was started with (may be empty)
 *   sigterm           none: Slurm's SIGTERM has come and was held back
 *   sigterm-child     none: a child that was waited for had ended by a SIGTERM
 *
 * A connection must not be part of an image: it is open only while checkpoints are
 * held off, and answers come at once. So a checkpoint is waited for without one: the
 * counters below change in the process that was checkpointed, and otherwise in the one
 * that was restored from it.
 */
#include "runtime/api.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "common/raw.h"
#include "runtime/include/dmtcp.h"
#include "runtime/include/stint.h"
#include "runtime/environment.h"
#include "runtime/interpose.h"
#include "runtime/text.h"

/* The macros of the same names are for programs. */
#undef dmtcp_is_enabled
#undef dmtcp_checkpoint
#undef dmtcp_disable_ckpt
#undef dmtcp_enable_ckpt
#undef dmtcp_get_coordinator_status
#undef dmtcp_get_local_status
#undef dmtcp_get_ckpt_filename
#undef dmtcp_get_ckpt_dir
#undef dmtcp_get_uniquepid_str
#undef dmtcp_get_computation_id_str
#undef dmtcp_get_generation
#undef dmtcp_is_running_state
#undef dmtcp_get_ckpt_signal
#undef dmtcp_real_to_virtual_pid
#undef dmtcp_virtual_to_real_pid

#define ANSWER_MAX     2048
#define ANSWER_MS      10000
#define TELL_TRIES     10 /* a signal may come in between */
#define CONNECT_S      1 /* while so many others wait for the agent, too */
#define PAUSE_MS       20   /* between questions to the agent */
#define AGAIN_LIMIT_MS 120000
#define LOST_MS        10000 /* an agent that does not answer is asked so long */

/* Ordinary variables: unlike runtime_state they are part of the image, and of a fork. */
static struct {
    _Atomic uint32_t held;
    _Atomic int32_t holder; /* pid: a child of fork has its own count */
    _Atomic uint32_t changes; /* futex */
    _Atomic uint32_t checkpoints, restarts;
    char reason[256];
    char names[4][4096]; /* what dmtcp_get_...() have returned */
} api;

bool api_is_held(void)
{
    return atomic_load(&api.held) > 0
           && atomic_load(&api.holder) == (int32_t)raw_syscall(SYS_getpid);
}

static void note(_Atomic uint32_t *counter)
{
    atomic_fetch_add(counter, 1);
    atomic_fetch_add(&api.changes, 1);
    (void)raw_syscall(SYS_futex, &api.changes, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

void api_note_checkpoint(void)
{
    note(&api.checkpoints);
}

void api_note_restart(void)
{
    note(&api.restarts);
}

uint32_t api_restarts(void)
{
    return atomic_load(&api.restarts);
}

static bool is_present(void)
{
    return stint_runtime.state && environment_job();
}

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Until something has changed since *seen, or PAUSE_MS have gone by. */
static void wait_for_change(uint32_t seen)
{
    struct timespec pause = {0, PAUSE_MS * 1000000L};

    (void)raw_syscall(SYS_futex, &api.changes, FUTEX_WAIT_PRIVATE, seen, &pause);
}

/* --- the agent -------------------------------------------------------------------- */

static int converse(int fd, const char *question, char answer[ANSWER_MAX])
{
    struct pollfd poll = {.fd = fd, .events = POLLIN};
    struct timespec limit = {ANSWER_MS / 1000, 0};
    long n;

    n = raw_syscall(SYS_sendto, fd, question, strlen(question), MSG_NOSIGNAL, NULL, 0);
    if (n < 0)
        return (int)n;
    do /* Linux leaves in `limit` what is left of it */
        n = raw_syscall(SYS_ppoll, &poll, 1, &limit, NULL, 0);
    while (n == -EINTR);
    if (n <= 0)
        return n < 0 ? (int)n : -ETIMEDOUT;
    n = raw_syscall(SYS_recvfrom, fd, answer, ANSWER_MAX - 1, 0, NULL, NULL);
    if (n < 0)
        return (int)n;
    answer[n] = '\0';
    return 0;
}

/* Returns the descriptor of a connection or -errno. */
static int connect_agent(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t used = 1;
    const struct timeval limit = {CONNECT_S, 0};
    int fd = stint_signal_socket(), ret;

    if (fd < 0)
        return fd;
    (void)raw_syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    stint_text_append(address.sun_path, sizeof(address.sun_path), &used, "stint-agent.");
    stint_text_append(address.sun_path, sizeof(address.sun_path), &used, environment_job());
    ret = (int)raw_syscall(SYS_connect, fd, &address,
                           offsetof(struct sockaddr_un, sun_path) + used);
    if (ret == 0)
        return fd;
    (void)raw_syscall(SYS_close, fd);
    return ret;
}

/* Put one question. Returns 0, or -errno when the agent is not there. */
static int ask(const char *question, char answer[ANSWER_MAX])
{
    int fd, ret;

    stint_hold();
    fd = ret = connect_agent();
    if (fd >= 0) {
        ret = converse(fd, question, answer);
        (void)raw_syscall(SYS_close, fd);
    }
    stint_release();
    return ret;
}

int api_tell(const char *word)
{
    long ret;
    int fd = -EINTR;

    stint_hold();
    for (int tries = 0; tries < TELL_TRIES; tries++)
        if ((fd = connect_agent()) != -EINTR)
            break;
    ret = fd;
    if (fd >= 0) {
        ret = raw_syscall(SYS_sendto, fd, word, strlen(word), MSG_NOSIGNAL, NULL, 0);
        (void)raw_syscall(SYS_close, fd);
    }
    stint_release();
    if (ret == -EAGAIN)
        return 0; /* it is there, and has no time for so many at once */
    return ret < 0 ? (int)ret : 0;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void set_reason(const char *text)
{
    size_t used = 0;

    api.reason[0] = '\0';
    stint_text_append(api.reason, sizeof(api.reason), &used, text);
}

/* --- a checkpoint ------------------------------------------------------------------- */

struct wish {
    uint32_t restarts; /* before it */
    uint64_t since_ms, heard_ms;
    char question[64]; /* what to ask next */
};

static void ask_for_result(struct wish *wish, const char *answer)
{
    const char *number = answer + strlen("accepted ");
    size_t used = 0;

    stint_text_append(wish->question, sizeof(wish->question), &used, "result ");
    stint_text_append_number(wish->question, sizeof(wish->question), &used,
                             stint_text_decimal(&number), 10);
}

/* Returns STINT_CHECKPOINTED, STINT_FAILED, or -1 to go on. */
static int take_answer(struct wish *wish, const char *answer)
{
    if (starts_with(answer, "accepted ")) {
        ask_for_result(wish, answer);
    } else if (starts_with(answer, "done")) {
        return STINT_CHECKPOINTED;
    } else if (starts_with(answer, "again ")) {
        /* it cannot be made at this moment */
        set_reason(answer + strlen("again "));
        if (now_ms() - wish->since_ms > AGAIN_LIMIT_MS)
            return STINT_FAILED;
        strcpy(wish->question, "checkpoint");
    } else if (!starts_with(answer, "pending")) {
        set_reason(starts_with(answer, "failed ") ? answer + strlen("failed ") : answer);
        return STINT_FAILED;
    }
    return -1;
}

STINT_EXPORT int stint_checkpoint(void)
{
    struct wish wish = {.question = "checkpoint"};
    char answer[ANSWER_MAX];

    if (!is_present())
        return STINT_ABSENT;
    if (api_is_held()) {
        set_reason("the program holds checkpoints off itself");
        return STINT_FAILED;
    }
    wish.restarts = atomic_load(&api.restarts);
    wish.since_ms = wish.heard_ms = now_ms();
    for (;;) {
        uint32_t seen = atomic_load(&api.changes);
        int ret = ask(wish.question, answer);

        /* Another agent than the one that was asked: it knows of nothing. */
        if (atomic_load(&api.restarts) != wish.restarts)
            return STINT_RESTARTED;
        if (ret == 0) {
            wish.heard_ms = now_ms();
            ret = take_answer(&wish, answer);
            if (ret >= 0)
                return ret;
        } else if (now_ms() - wish.heard_ms > LOST_MS) {
            set_reason("the agent does not answer");
            return STINT_FAILED;
        }
        wait_for_change(seen);
        if (atomic_load(&api.restarts) != wish.restarts)
            return STINT_RESTARTED;
    }
}

STINT_EXPORT const char *stint_reason(void)
{
    return api.reason;
}

STINT_EXPORT void stint_hold(void)
{
    int32_t pid = (int32_t)raw_syscall(SYS_getpid), holder = atomic_load(&api.holder);

    if (holder != pid && atomic_compare_exchange_strong(&api.holder, &holder, pid))
        atomic_store(&api.held, 0);
    atomic_fetch_add(&api.held, 1);
}

STINT_EXPORT void stint_release(void)
{
    uint32_t held = api_is_held() ? atomic_load(&api.held) : 0;

    while (held > 0 && !atomic_compare_exchange_weak(&api.held, &held, held - 1))
        ;
}

STINT_EXPORT void stint_counts(uint64_t *checkpoints, uint64_t *restarts)
{
    if (checkpoints)
        *checkpoints = atomic_load(&api.checkpoints);
    if (restarts)
        *restarts = atomic_load(&api.restarts);
}

STINT_EXPORT uint64_t stint_generation(void)
{
    return stint_runtime.state ? stint_runtime.state->generation : 0;
}

/* --- the same as DMTCP's users know it --------------------------------------------------- */

STINT_EXPORT int dmtcp_is_enabled(void)
{
    return is_present();
}

STINT_EXPORT int dmtcp_checkpoint(void)
{
    return stint_checkpoint(); /* the values are the same */
}

STINT_EXPORT int dmtcp_disable_ckpt(void)
{
    if (!is_present())
        return DMTCP_NOT_PRESENT;
    stint_hold();
    return 1;
}

STINT_EXPORT int dmtcp_enable_ckpt(void)
{
    if (!is_present())
        return DMTCP_NOT_PRESENT;
    if (!api_is_held())
        return 0;
    stint_release();
    return 1;
}

STINT_EXPORT int dmtcp_get_coordinator_status(int *num_peers, int *is_running)
{
    char answer[ANSWER_MAX];
    const char *at = answer + strlen("peers ");

    if (!is_present() || ask("status", answer) < 0 || !starts_with(answer, "peers "))
        return DMTCP_NOT_PRESENT;
    if (num_peers)
        *num_peers = (int)stint_text_decimal(&at);
    else
        (void)stint_text_decimal(&at);
    if (is_running)
        *is_running = starts_with(at, " running 1");
    return DMTCP_IS_PRESENT;
}

STINT_EXPORT int dmtcp_get_local_status(int *num_checkpoints, int *num_restarts)
{
    if (!is_present())
        return DMTCP_NOT_PRESENT;
    if (num_checkpoints)
        *num_checkpoints = (int)atomic_load(&api.checkpoints);
    if (num_restarts)
        *num_restarts = (int)atomic_load(&api.restarts);
    return DMTCP_IS_PRESENT;
}

/* The value of a string member of the agent's line, without escapes. Returns false when it
 * has none. */
static bool info_member(const char *info, const char *name, char *out, size_t size)
{
    char key[32];
    size_t used = 0;
    const char *at, *end;

    stint_text_append(key, sizeof(key), &used, "\"");
    stint_text_append(key, sizeof(key), &used, name);
    stint_text_append(key, sizeof(key), &used, "\":\"");
    at = strstr(info, key);
    if (!at)
        return false;
    at += strlen(key);
    end = strchr(at, '"');
    if (!end || (size_t)(end - at) >= size || memchr(at, '\\', (size_t)(end - at)))
        return false;
    memcpy(out, at, (size_t)(end - at));
    out[end - at] = '\0';
    return true;
}

enum name {
    NAME_FILE,
    NAME_DIR,
    NAME_PROCESS,
    NAME_COMPUTATION,
};

struct known {
    char dir[2048], computation[64], group[80], program[256];
};

static bool get_known(struct known *known)
{
    char info[ANSWER_MAX], path[2048];
    const char *slash;
    size_t used = 0;
    long n;

    if (!is_present() || ask("info", info) < 0
        || !info_member(info, "ckptdir", known->dir, sizeof(known->dir))
        || !info_member(info, "computation", known->computation, sizeof(known->computation))
        || !info_member(info, "group", known->group, sizeof(known->group)))
        return false;
    n = raw_syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof(path) - 1);
    if (n <= 0)
        return false;
    path[n] = '\0';
    slash = strrchr(path, '/');
    known->program[0] = '\0';
    stint_text_append(known->program, sizeof(known->program), &used,
                      slash ? slash + 1 : path);
    for (char *c = known->program; *c; c++) /* as coordinator/dmtcp/names.c writes it */
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-", *c))
            *c = '_';
    return true;
}

static const char *get_name(enum name which)
{
    struct known known;
    char *to = api.names[which];
    size_t used = 0, size = sizeof(api.names[0]);

    if (!get_known(&known))
        return NULL;
    to[0] = '\0';
    if (which == NAME_FILE || which == NAME_DIR)
        stint_text_append(to, size, &used, known.dir);
    if (which == NAME_FILE) {
        stint_text_append(to, size, &used, "/ckpt_");
        stint_text_append(to, size, &used, known.program);
        stint_text_append(to, size, &used, "_");
    }
    if (which != NAME_DIR)
        stint_text_append(to, size, &used, known.computation);
    if (which == NAME_FILE || which == NAME_PROCESS) {
        stint_text_append(to, size, &used, "-");
        stint_text_append_number(to, size, &used, (uint64_t)raw_syscall(SYS_getpid), 10);
        stint_text_append(to, size, &used, "-");
        stint_text_append(to, size, &used, known.group);
    }
    if (which == NAME_FILE)
        stint_text_append(to, size, &used, ".dmtcp");
    return to;
}

STINT_EXPORT const char *dmtcp_get_ckpt_filename(void)
{
    return get_name(NAME_FILE);
}

STINT_EXPORT const char *dmtcp_get_ckpt_dir(void)
{
    return get_name(NAME_DIR);
}

STINT_EXPORT const char *dmtcp_get_uniquepid_str(void)
{
    return get_name(NAME_PROCESS);
}

STINT_EXPORT const char *dmtcp_get_computation_id_str(void)
{
    return get_name(NAME_COMPUTATION);
}

STINT_EXPORT uint32_t dmtcp_get_generation(void)
{
    return (uint32_t)stint_generation();
}

STINT_EXPORT int dmtcp_is_running_state(void)
{
    return 1;
}

STINT_EXPORT int dmtcp_get_ckpt_signal(void)
{
    return SIGURG;
}

STINT_EXPORT pid_t dmtcp_real_to_virtual_pid(pid_t pid)
{
    return pid;
}

STINT_EXPORT pid_t dmtcp_virtual_to_real_pid(pid_t pid)
{
    return pid;
}
