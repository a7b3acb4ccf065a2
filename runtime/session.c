/* The leader's conversation with the agent: common/ckpt.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whatever goes wrong here ends the same way: the agent is told if it still
 * listens, and the process goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "common/ckpt.h"
#include "common/raw.h"
#include "runtime/capture.h"
#include "runtime/mqueues.h"
#include "runtime/sem_undo.h"
#include "runtime/state.h"
#include "runtime/text.h"
#include "runtime/watches.h"

union packet {
    struct stint_ckpt_header header;
    struct stint_ckpt_segment segment;
    struct stint_ckpt_capture capture;
    char bytes[STINT_CKPT_PACKET_MAX];
};

struct conversation {
    const struct session *session;
    struct capture capture;
    bool ready;  /* capture is initialised */
    bool failed; /* the agent was told so: only RESUME matters */
    bool captured;
};

static struct stint_ckpt_header header_of(uint16_t type)
{
    return (struct stint_ckpt_header){STINT_CKPT_MAGIC, STINT_CKPT_VERSION, type};
}

static int send_packet(int channel, const void *packet, size_t len)
{
    long n;

    do
        n = raw_syscall(SYS_sendto, channel, packet, len, MSG_NOSIGNAL, NULL, 0);
    while (n == -EINTR);
    return n < 0 ? (int)n : 0;
}

static void send_failed(struct conversation *talk, int error, const char *reason)
{
    struct stint_ckpt_failed failed = {.header = header_of(STINT_CKPT_FAILED),
                                       .error = -error};
    size_t used = 0;

    stint_text_append(failed.reason, sizeof(failed.reason), &used, reason);
    talk->failed = true;
    (void)send_packet(talk->session->channel, &failed, sizeof(failed)); /* or it sees EOF */
}

/* Receive one packet and at most one descriptor. Returns bytes, 0 at the end or
 * after silence, -errno. */
static long receive_packet(int channel, union packet *packet, int *fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {packet, sizeof(*packet)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct pollfd poll = {.fd = channel, .events = POLLIN};
    struct timespec silence = {STINT_CKPT_SILENCE_MS / 1000, 0};
    long n;

    *fd = -1;
    n = raw_syscall(SYS_ppoll, &poll, 1, &silence, NULL, 0);
    if (n <= 0)
        return n;
    n = raw_syscall(SYS_recvmsg, channel, &message, MSG_CMSG_CLOEXEC);
    if (n > 0 && message.msg_controllen >= sizeof(struct cmsghdr)
        && control.header.cmsg_level == SOL_SOCKET
        && control.header.cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(&control.header), sizeof(*fd));
    return n;
}

/* --- descriptors -------------------------------------------------------- */

static bool pass_fds(int channel, struct stint_ckpt_fds *packet, const int *fds, size_t nfds)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(STINT_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {packet, sizeof(*packet)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    long n;

    if (nfds > 0) {
        memset(&control, 0, sizeof(control.header));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, nfds * sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
    }
    do
        n = raw_syscall(SYS_sendmsg, channel, &message, MSG_NOSIGNAL);
    while (n == -EINTR);
    return n >= 0;
}

/* Send a packet of descriptors; those that the kernel does not pass (io_uring) are
 * found one by one, so that the agent can refuse them by name. */
static void send_fds(int channel, struct stint_ckpt_fds *packet)
{
    struct stint_ckpt_fds single;
    uint32_t last = packet->flags;

    memset(packet->passed, 1, sizeof(packet->passed));
    if (pass_fds(channel, packet, packet->fds, packet->count))
        return;
    for (uint32_t i = 0; i < packet->count; i++) {
        single = (struct stint_ckpt_fds){.header = packet->header, .count = 1};
        single.fds[0] = packet->fds[i];
        single.cloexec[0] = packet->cloexec[i];
        single.peer_pid[0] = packet->peer_pid[i];
        single.passed[0] = 1;
        if (!pass_fds(channel, &single, single.fds, 1)) {
            single.passed[0] = 0;
            (void)pass_fds(channel, &single, NULL, 0); /* the agent sees EOF instead */
        }
    }
    single = (struct stint_ckpt_fds){.header = packet->header, .flags = last};
    (void)pass_fds(channel, &single, NULL, 0); /* likewise */
}

/* Who made the other end. Only asked here is the number right: it may have ended long ago,
 * in this PID namespace. */
static int32_t peer_pid(int fd)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    long ret = raw_syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);

    return ret < 0 ? 0 : (int32_t)peer.pid;
}

static void add_fd(struct stint_ckpt_fds *packet, int fd)
{
    packet->fds[packet->count] = fd;
    packet->cloexec[packet->count]
        = (uint8_t)(raw_syscall(SYS_fcntl, fd, F_GETFD) & FD_CLOEXEC);
    packet->peer_pid[packet->count] = peer_pid(fd);
    packet->count++;
}

static void answer_send_fds(struct conversation *talk)
{
    struct stint_ckpt_fds packet = {.header = header_of(STINT_CKPT_FDS)};
    char buf[4096] __attribute__((aligned(8)));
    int channel = talk->session->channel;
    int dir = (int)raw_syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/fd",
                               O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long n;
    int ret;

    if (dir < 0) {
        send_failed(talk, dir, "cannot read /proc/self/fd");
        return;
    }
    watches_send(channel);
    mqueues_send(channel);
    ret = sem_undo_send(channel);
    if (ret < 0) {
        stint_text_close(dir);
        send_failed(talk, ret, "cannot ask for its SEM_UNDO adjustments");
        return;
    }
    while ((n = raw_syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n;) {
            const struct linux_dirent64 *entry = (const void *)(buf + at);
            const char *p = entry->d_name;
            int fd = (int)stint_text_decimal(&p);

            at += entry->d_reclen;
            if (p == entry->d_name || fd == dir || fd == channel)
                continue;
            if (packet.count == STINT_FDS_MAX) {
                send_fds(channel, &packet);
                packet.count = 0;
            }
            add_fd(&packet, fd);
        }
    }
    stint_text_close(dir);
    packet.flags = STINT_FDS_LAST;
    send_fds(channel, &packet);
}

/* --- capture ------------------------------------------------------------ */

static bool prepare(struct conversation *talk)
{
    struct stint_rlimit nofile = talk->capture.nofile, fsize = talk->capture.fsize;
    int ret;

    if (talk->ready)
        return true;
    ret = capture_init(&talk->capture, talk->session);
    talk->capture.nofile = nofile;
    talk->capture.fsize = fsize;
    if (ret < 0) {
        send_failed(talk, ret, "cannot reserve memory for writing the image");
        return false;
    }
    talk->ready = true;
    return true;
}

/* A segment that this process stores is written at once: the agent sends SEGMENT
 * only when every process is stopped. */
static void take_segment(struct conversation *talk,
                         const struct stint_ckpt_segment *segment,
                         int fd)
{
    struct capture *capture = &talk->capture;
    struct stint_ckpt_capture order = {0};
    int ret;

    if (!prepare(talk))
        return;
    if (capture->nsegments == CAPTURE_SEGMENTS_MAX) {
        send_failed(talk, -E2BIG, "more shared segments than can be saved");
        return;
    }
    capture->segments[capture->nsegments++] = *segment;
    if (!segment->write)
        return;
    order.generation = segment->generation;
    memcpy(order.gen_id, segment->gen_id, sizeof(order.gen_id));
    ret = fd < 0 ? -EBADF : capture_segment(capture, fd, segment, &order);
    if (ret < 0)
        send_failed(talk, ret,
                    capture->reason[0] ? capture->reason : "cannot save shared memory");
}

static void take_capture(struct conversation *talk,
                         const struct stint_ckpt_capture *order,
                         int fd)
{
    struct stint_ckpt_captured captured = {.header = header_of(STINT_CKPT_CAPTURED)};
    struct timespec start, end;
    int ret;

    if (!prepare(talk))
        return;
    (void)raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &start);
    ret = fd < 0 ? -EBADF : capture_process(&talk->capture, fd, order, &captured);
    if (ret < 0) {
        send_failed(talk, ret,
                    talk->capture.reason[0] ? talk->capture.reason
                                            : "no descriptor for the image arrived");
        return;
    }
    (void)raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &end);
    captured.duration_ns = (uint64_t)(end.tv_sec - start.tv_sec) * 1000000000u
                           + (uint64_t)end.tv_nsec - (uint64_t)start.tv_nsec;
    stint_runtime.state->generation = order->generation;
    talk->captured = true;
    (void)send_packet(talk->session->channel, &captured, sizeof(captured)); /* or EOF */
}

/* Returns false when the conversation is over. */
static bool take_packet(struct conversation *talk, const union packet *packet, long len, int fd)
{
    if (len < (long)sizeof(packet->header) || packet->header.magic != STINT_CKPT_MAGIC
        || packet->header.version != STINT_CKPT_VERSION)
        return false;
    if (packet->header.type == STINT_CKPT_RESUME)
        return false;
    if (talk->failed)
        return true;
    if (packet->header.type == STINT_CKPT_SEND_FDS)
        answer_send_fds(talk);
    else if (packet->header.type == STINT_CKPT_SEGMENT
             && len >= (long)sizeof(packet->segment))
        take_segment(talk, &packet->segment, fd);
    else if (packet->header.type == STINT_CKPT_CAPTURE
             && len >= (long)sizeof(packet->capture))
        take_capture(talk, &packet->capture, fd);
    return true; /* KEEPALIVE, or something newer than this */
}

/* Only the process itself is told. */
static void describe_keyrings(struct stint_ckpt_hello *hello, const struct slot *slots)
{
    const int get_id = 0; /* KEYCTL_GET_KEYRING_ID, without making one */
    long session = raw_syscall(SYS_keyctl, get_id, KEY_SPEC_SESSION_KEYRING, 0);

    hello->session_keyring = session > 0 ? (int32_t)session : 0;
    if (raw_syscall(SYS_keyctl, get_id, KEY_SPEC_PROCESS_KEYRING, 0) > 0)
        hello->keyrings |= STINT_KEYRING_PROCESS;
    for (; slots; slots = slots->next) {
        if (slots->has_keyring)
            hello->keyrings |= STINT_KEYRING_THREAD;
    }
}

static void send_hello(struct conversation *talk)
{
    const struct session *session = talk->session;
    struct stint_ckpt_hello hello = {.header = header_of(STINT_CKPT_HELLO),
                                     .nthreads = (int32_t)session->nthreads};
    char reason[128];
    size_t used = 0;

    hello.pid = (int32_t)raw_syscall(SYS_getpid);
    describe_keyrings(&hello, session->slots);
    memcpy(hello.comm, session->self->thread.comm, sizeof(hello.comm));
    (void)send_packet(session->channel, &hello, sizeof(hello)); /* or it sees EOF */
    if (session->nthreads > 0)
        return;
    stint_text_append(reason, sizeof(reason), &used, "thread ");
    stint_text_append_number(reason, sizeof(reason), &used, (uint64_t)session->straggler,
                             10);
    stint_text_append(reason, sizeof(reason), &used, " does not stop");
    send_failed(talk, -EAGAIN, reason);
}

/* Raise the soft limit to the hard one; *old is what it was. */
static void open_limit(int resource, struct stint_rlimit *old)
{
    struct stint_rlimit raised;

    (void)raw_syscall(SYS_prlimit64, 0, resource, NULL, old); /* own, valid */
    raised = (struct stint_rlimit){old->max, old->max};
    (void)raw_syscall(SYS_prlimit64, 0, resource, &raised, NULL); /* always allowed */
}

void stint_session_run(struct session *session)
{
    struct conversation talk = {.session = session};
    union packet packet;
    long len;
    int fd;

    /* Descriptors arrive and files are written, whatever the program may do itself. */
    open_limit(RLIMIT_NOFILE, &talk.capture.nofile);
    open_limit(RLIMIT_FSIZE, &talk.capture.fsize);
    send_hello(&talk);
    while ((len = receive_packet(session->channel, &packet, &fd)) > 0) {
        bool more = take_packet(&talk, &packet, len, fd);

        if (fd >= 0)
            (void)raw_syscall(SYS_close, fd); /* the agent fsyncs its own copy */
        if (!more)
            break;
    }
    (void)raw_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &talk.capture.nofile, NULL);
    (void)raw_syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, &talk.capture.fsize, NULL);
    session->captured = talk.captured;
    if (talk.ready)
        capture_deinit(&talk.capture);
}
