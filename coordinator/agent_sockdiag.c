/* Questions to sock_diag(7), one answer each.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_sockdiag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"

#define ANSWER_BYTES 65536 /* a listener's queue of 16000 */

/* Send one request and read its answer. Returns its length or -errno. */
static ssize_t ask(const void *request, size_t len, void *answer)
{
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    STINT_AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    const struct nlmsghdr *head = answer;
    ssize_t n;

    if (fd < 0
        || sendto(fd, request, len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
        return -errno;
    do
        n = recv(fd, answer, ANSWER_BYTES, 0); /* the kernel answers before send returns */
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (!NLMSG_OK(head, (size_t)n))
        return -EBADMSG;
    if (head->nlmsg_type == NLMSG_ERROR) {
        const struct nlmsgerr *error = NLMSG_DATA(head);

        return error->error ? error->error : -EBADMSG;
    }
    return head->nlmsg_type == SOCK_DIAG_BY_FAMILY ? n : -EBADMSG;
}

static uint32_t word_of(const struct rtattr *attr, size_t at)
{
    uint32_t word = 0;

    if (RTA_PAYLOAD(attr) >= (at + 1) * sizeof(word))
        memcpy(&word, (const char *)RTA_DATA(attr) + at * sizeof(word), sizeof(word));
    return word;
}

static int take_queue(struct agent_unix_diag *diag, const struct rtattr *attr)
{
    size_t n = RTA_PAYLOAD(attr) / sizeof(uint32_t);

    diag->queue = calloc(n + 1, sizeof(*diag->queue));
    if (!diag->queue)
        return -ENOMEM;
    memcpy(diag->queue, RTA_DATA(attr), n * sizeof(uint32_t));
    diag->nqueue = n;
    return 0;
}

static int take_unix(struct agent_unix_diag *diag, const struct rtattr *attr)
{
    switch (attr->rta_type) {
    case UNIX_DIAG_PEER:
        diag->has_peer = true;
        diag->peer_ino = word_of(attr, 0);
        return 0;
    case UNIX_DIAG_RQLEN:
        diag->rqueue = word_of(attr, 0);
        diag->wqueue = word_of(attr, 1);
        return 0;
    case UNIX_DIAG_VFS:
        diag->file_ino = word_of(attr, 0);
        return 0;
    case UNIX_DIAG_SHUTDOWN:
        diag->shutdown = *(const uint8_t *)RTA_DATA(attr);
        return 0;
    case UNIX_DIAG_ICONS:
        return take_queue(diag, attr);
    default:
        return 0;
    }
}

void agent_unix_diag_deinit(struct agent_unix_diag *diag)
{
    free(diag->queue);
    *diag = (struct agent_unix_diag){0};
}

int agent_sockdiag_unix(uint32_t ino, struct agent_unix_diag *diag)
{
    struct {
        struct nlmsghdr head;
        struct unix_diag_req unix_req;
    } request = {
        .head = {sizeof(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0},
        .unix_req = {.sdiag_family = AF_UNIX,
                     .udiag_states = ~0u,
                     .udiag_ino = ino,
                     .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_VFS
                                   | UDIAG_SHOW_ICONS,
                     .udiag_cookie = {~0u, ~0u}},
    };
    STINT_AUTO_FREE char *answer = malloc(ANSWER_BYTES);
    struct agent_unix_diag found = {0};
    const struct rtattr *attr;
    ssize_t n;
    int left;

    if (!answer)
        return -ENOMEM;
    n = ask(&request, sizeof(request), answer);
    if (n < 0)
        return (int)n;
    left = (int)(((const struct nlmsghdr *)(void *)answer)->nlmsg_len
                 - NLMSG_LENGTH(sizeof(struct unix_diag_msg)));
    attr = (const void *)(answer + NLMSG_LENGTH(sizeof(struct unix_diag_msg)));
    for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
        int ret = take_unix(&found, attr);

        if (ret < 0) {
            agent_unix_diag_deinit(&found);
            return ret;
        }
    }
    *diag = found;
    return 0;
}

static void put_end(const struct sockaddr_storage *end, uint32_t *address, uint16_t *port)
{
    if (end->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)end;

        memcpy(address, &in->sin_addr, sizeof(in->sin_addr));
        *port = in->sin_port;
    } else {
        const struct sockaddr_in6 *in6 = (const void *)end;

        memcpy(address, &in6->sin6_addr, sizeof(in6->sin6_addr));
        *port = in6->sin6_port;
    }
}

static uint32_t sent_ms(const struct rtattr *attr)
{
    struct tcp_info info = {0};
    size_t len = RTA_PAYLOAD(attr);

    memcpy(&info, RTA_DATA(attr), len < sizeof(info) ? len : sizeof(info));
    return info.tcpi_last_data_sent;
}

int agent_sockdiag_tcp(const struct sockaddr_storage *local,
                       const struct sockaddr_storage *peer, struct agent_tcp_diag *diag)
{
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 inet;
    } request = {
        .head = {sizeof(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0},
        .inet = {.sdiag_family = (uint8_t)local->ss_family,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_ext = 1 << (INET_DIAG_SHUTDOWN - 1) | 1 << (INET_DIAG_INFO - 1),
                 .idiag_states = ~0u,
                 .id = {.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
    };
    STINT_AUTO_FREE char *answer = malloc(ANSWER_BYTES);
    const struct inet_diag_msg *message;
    const struct rtattr *attr;
    ssize_t n;
    int left;

    if (!answer)
        return -ENOMEM;
    put_end(local, request.inet.id.idiag_src, &request.inet.id.idiag_sport);
    put_end(peer, request.inet.id.idiag_dst, &request.inet.id.idiag_dport);
    n = ask(&request, sizeof(request), answer);
    if (n < 0)
        return (int)n;
    message = (const void *)(answer + NLMSG_LENGTH(0));
    *diag = (struct agent_tcp_diag){
        .state = message->idiag_state,
        .ino = message->idiag_inode,
        .rqueue = message->idiag_rqueue,
        .wqueue = message->idiag_wqueue,
    };
    left = (int)(((const struct nlmsghdr *)(void *)answer)->nlmsg_len
                 - NLMSG_LENGTH(sizeof(*message)));
    for (attr = (const void *)(message + 1); RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
        if (attr->rta_type == INET_DIAG_SHUTDOWN)
            diag->shutdown = *(const uint8_t *)RTA_DATA(attr);
        if (attr->rta_type == INET_DIAG_INFO)
            diag->sent_ms = sent_ms(attr);
    }
    return 0;
}

/* One end as a name; its length. */
static socklen_t take_end(const struct inet_diag_msg *message, const uint32_t *address,
                          uint16_t port, struct sockaddr_storage *end)
{
    struct sockaddr_in *in = (void *)end;
    struct sockaddr_in6 *in6 = (void *)end;

    *end = (struct sockaddr_storage){.ss_family = message->idiag_family};
    if (message->idiag_family == AF_INET) {
        memcpy(&in->sin_addr, address, sizeof(in->sin_addr));
        in->sin_port = port;
        return sizeof(*in);
    }
    memcpy(&in6->sin6_addr, address, sizeof(in6->sin6_addr));
    in6->sin6_port = port;
    in6->sin6_scope_id = message->id.idiag_if;
    return sizeof(*in6);
}

/* Ask for many sockets. each() is called for every one until it returns something else than
 * 0. Returns that, or 0 at the end, or -errno. */
static int dump(const void *request, size_t size,
                int (*each)(const struct nlmsghdr *head, void *arg), void *arg)
{
    STINT_AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    STINT_AUTO_FREE char *packet = malloc(ANSWER_BYTES);

    if (!packet)
        return -ENOMEM;
    if (fd < 0 || send(fd, request, size, 0) < 0)
        return -errno;
    for (;;) {
        ssize_t n = recv(fd, packet, ANSWER_BYTES, 0); /* the kernel never lets it wait */
        const struct nlmsghdr *head = (const void *)packet;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -EIO;
        for (; NLMSG_OK(head, (size_t)n); head = NLMSG_NEXT(head, n)) {
            int ret = head->nlmsg_type == SOCK_DIAG_BY_FAMILY ? each(head, arg) : 0;

            if (ret != 0 || head->nlmsg_type == NLMSG_DONE)
                return ret;
            if (head->nlmsg_type == NLMSG_ERROR)
                return -EIO;
        }
    }
}

struct search {
    uint32_t ino;
    struct sockaddr_storage *peer;
    socklen_t *len;
};

static int compare_ino(const struct nlmsghdr *head, void *arg)
{
    const struct inet_diag_msg *message = NLMSG_DATA(head);
    const struct search *search = arg;

    if (message->idiag_inode != search->ino)
        return 0;
    *search->len = take_end(message, message->id.idiag_dst, message->id.idiag_dport,
                            search->peer);
    return 1;
}

int agent_sockdiag_connecting(int family, uint32_t ino, struct sockaddr_storage *peer,
                              socklen_t *len)
{
    const struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 inet;
    } request = {
        .head = {sizeof(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0},
        .inet = {.sdiag_family = (uint8_t)family,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_states = 1 << TCP_SYN_SENT},
    };
    struct search found = {ino, peer, len};
    int ret = dump(&request, sizeof(request), compare_ino, &found);

    return ret < 0 ? ret : ret == 0 ? -ENOENT : 0;
}

/* --- who waits to be accepted -------------------------------------------------------- */

struct waiting {
    struct agent_tcp_waiting *list;
    size_t count, room;
};

/* What has no inode is nobody's: not accepted yet, or closed; but then its state says so. */
static int add_waiting(const struct nlmsghdr *head, void *arg)
{
    const struct inet_diag_msg *message = NLMSG_DATA(head);
    struct waiting *waiting = arg;
    struct agent_tcp_waiting *one;

    if (message->idiag_inode != 0)
        return 0;
    if (waiting->count == waiting->room) {
        size_t room = waiting->room * 2 + 16;
        struct agent_tcp_waiting *list = reallocarray(waiting->list, room, sizeof(*list));

        if (!list)
            return -ENOMEM;
        waiting->list = list;
        waiting->room = room;
    }
    one = &waiting->list[waiting->count++];
    (void)take_end(message, message->id.idiag_src, message->id.idiag_sport, &one->name);
    (void)take_end(message, message->id.idiag_dst, message->id.idiag_dport, &one->peer);
    one->established = 0;
    /* an end of file counts as one byte */
    one->has_data = message->idiag_rqueue > (message->idiag_state == TCP_CLOSE_WAIT);
    return 0;
}

static int64_t coarse_ns(clockid_t clock, int (*read)(clockid_t clock, struct timespec *now))
{
    struct timespec now = {0, 0};

    (void)read(clock, &now); /* exists */
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* When it was established: the end that nobody has accepted yet never sent anything. The
 * kernel tells how long ago that was, counted in ticks; the coarse clock tells when, if none
 * passed meanwhile. since: of that clock. */
static int64_t when_established(const struct agent_tcp_waiting *waiting, int64_t since)
{
    int64_t tick = coarse_ns(CLOCK_MONOTONIC_COARSE, clock_getres), before;
    struct agent_tcp_diag diag = {0};
    int tries = 0;

    do {
        before = coarse_ns(CLOCK_MONOTONIC_COARSE, clock_gettime);
        if (agent_sockdiag_tcp(&waiting->name, &waiting->peer, &diag) < 0)
            return INT64_MAX; /* gone */
    } while (before != coarse_ns(CLOCK_MONOTONIC_COARSE, clock_gettime) && ++tries < 100);
    if (tick <= 0)
        tick = 1000000;
    return (before - since + tick / 2) / tick
           - (diag.sent_ms * INT64_C(1000000) + tick / 2) / tick;
}

static int by_time(const void *a, const void *b)
{
    const struct agent_tcp_waiting *x = a, *y = b;

    return x->established < y->established ? -1 : x->established > y->established;
}

ssize_t agent_sockdiag_waiting(int family, uint16_t port, struct agent_tcp_waiting **list)
{
    const struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 inet;
    } request = {
        .head = {sizeof(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0},
        .inet = {.sdiag_family = (uint8_t)family,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_states = 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT,
                 .id = {.idiag_sport = port}},
    };
    struct waiting waiting = {0};
    int ret = dump(&request, sizeof(request), add_waiting, &waiting);
    int64_t since = coarse_ns(CLOCK_MONOTONIC_COARSE, clock_gettime);

    if (ret < 0) {
        free(waiting.list);
        return ret;
    }
    for (size_t i = 0; i < waiting.count; i++)
        waiting.list[i].established = when_established(&waiting.list[i], since);
    if (waiting.count)
        qsort(waiting.list, waiting.count, sizeof(*waiting.list), by_time);
    *list = waiting.list;
    return (ssize_t)waiting.count;
}
