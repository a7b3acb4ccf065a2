/* Netlink sockets: made anew, with the same address, groups and options.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Answers that wait in the queue cannot be put back, as only the kernel sends them. A
 * program that is about to read one has it in a moment: the checkpoint is tried again.
 * Announcements to a group are dropped, as they are when a queue overflows.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>

#include "common/log.h"
#include "coordinator/agent_socket.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

static const struct agent_socket_option options[] = {
    {SOL_NETLINK, NETLINK_PKTINFO, sizeof(int)},
    {SOL_NETLINK, NETLINK_BROADCAST_ERROR, sizeof(int)},
    {SOL_NETLINK, NETLINK_NO_ENOBUFS, sizeof(int)},
    {SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, sizeof(int)},
    {SOL_NETLINK, NETLINK_CAP_ACK, sizeof(int)},
    {SOL_NETLINK, NETLINK_EXT_ACK, sizeof(int)},
    {SOL_NETLINK, NETLINK_GET_STRICT_CHK, sizeof(int)},
};

/* Groups above the 32 of an address: one option each, as it is joined again. */
static int read_groups(struct agent_object *object, struct stint_err *err)
{
    uint32_t groups[64] = {0};
    socklen_t len = sizeof(groups);

    if (getsockopt(object->fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &len) < 0)
        return 0;
    if (len > sizeof(groups))
        len = sizeof(groups);
    for (int group = 33; group <= (int)len * 8; group++) {
        int ret = 0;

        if (groups[(group - 1) / 32] >> ((group - 1) % 32) & 1)
            ret = agent_socket_keep_option(object->socket, SOL_NETLINK,
                                           NETLINK_ADD_MEMBERSHIP, &group, sizeof(group),
                                           err);
        if (ret < 0)
            return ret;
    }
    return 0;
}

/* Is the first message in the queue an answer, and no announcement? */
static bool has_answer(const struct agent_object *object)
{
    struct sockaddr_nl from = {0};
    socklen_t len = sizeof(from);
    char byte;

    return recvfrom(object->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, (struct sockaddr *)&from,
                    &len)
               >= 0
           && from.nl_groups == 0;
}

int agent_netlink_look(struct agent_objects *all, struct agent_object *object,
                       struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    int ret = agent_socket_read_options(object, options,
                                        sizeof(options) / sizeof(options[0]), err);

    if (ret == 0)
        ret = read_groups(object, err);
    if (ret < 0)
        return ret;
    sock->record.state = STINT_SOCKET_NEW;
    sock->record.groups = ((const struct sockaddr_nl *)(const void *)&sock->name)->nl_groups;
    if (((const struct sockaddr_nl *)(const void *)&sock->peer_name)->nl_pid)
        agent_socket_note(sock, AGENT_OBJECT_E_REFUSED,
                          "a netlink socket that is connected to another process is not "
                          "supported");
    if (!all->glance && (sock->revents & POLLIN) && !(sock->revents & POLLERR)
        && has_answer(object))
        agent_socket_note(sock, -EAGAIN, "an answer of the kernel waits in a netlink socket");
    return 0;
}

static bool match(const struct agent_object *object)
{
    return object->socket && object->socket->record.family == AF_NETLINK;
}

static int describe(struct agent_objects *all, struct agent_object *object,
                    const struct agent_segments *segments, struct stint_err *err)
{
    int ret = agent_socket_verdict(object, err);

    if (ret != 0)
        return ret;
    if (object->socket->revents & POLLIN)
        stint_info("process %d (%s), descriptor %d: announcements that wait in a netlink "
                   "socket are lost at a restart",
                   (int)object->pid, object->comm, object->number);
    return agent_socket_pack(object, err);
}

const struct agent_fdkind agent_fd_netlink = {
    .kind = STINT_OBJ_NETLINK,
    .match = match,
    .describe = describe,
    .store = agent_socket_store,
};
