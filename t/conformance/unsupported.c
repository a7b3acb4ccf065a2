/* Conformance: descriptors that are refused by name, with the program going on.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <netinet/udp.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* Hold a descriptor that may not be had here. */
static void hold_fd(int fd, const char *why)
{
    if (fd < 0)
        skip(why);
    hold();
    SYS(close(fd));
}

CASE(device)
{
    hold_fd(open("/dev/fuse", O_RDWR | O_CLOEXEC), "no /dev/fuse here");
}

CASE(removed_named_pipe)
{
    int fd;

    SYS(mkfifo("fifo", 0600));
    fd = (int)SYS(open("fifo", O_RDWR | O_CLOEXEC));
    SYS(unlink("fifo"));
    hold();
    SYS(close(fd));
}

CASE(path_of_removed_file)
{
    int fd;

    make_text("file", "text");
    fd = (int)SYS(open("file", O_PATH | O_CLOEXEC));
    SYS(unlink("file"));
    hold();
    SYS(close(fd));
}

static int bpf(int command, union bpf_attr *attr)
{
    return (int)syscall(SYS_bpf, command, attr, sizeof *attr);
}

CASE(bpf_map)
{
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4,
                           .max_entries = 1};

    hold_fd(bpf(BPF_MAP_CREATE, &attr), "no BPF here");
}

/* Lets everything through. */
static int load_filter(void)
{
    struct bpf_insn code[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2,
                           .insns = (uintptr_t)code, .license = (uintptr_t) "GPL"};

    return bpf(BPF_PROG_LOAD, &attr);
}

CASE(bpf_program)
{
    hold_fd(load_filter(), "no BPF here");
}

CASE(bpf_filter_of_a_socket)
{
    int program = load_filter();
    int fd = (int)SYS(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));

    if (program < 0)
        skip("no BPF here");
    SYS(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program));
    SYS(close(program));
    hold();
    SYS(close(fd));
}

CASE(raw_socket)
{
    hold_fd(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP), "no raw sockets here");
}

CASE(packet_socket)
{
    hold_fd(socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "no packet sockets here");
}

CASE(vsock_socket)
{
    hold_fd(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), "no vsock here");
}

CASE(sctp_socket)
{
    hold_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP), "no SCTP here");
}

static int listen_on_loopback(int protocol, struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, protocol);

    *address = (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0)
        return -1;
    SYS(bind(fd, (struct sockaddr *)address, len));
    SYS(listen(fd, 4));
    SYS(getsockname(fd, (struct sockaddr *)address, &len));
    return fd;
}

/* A connection within this process, or -1. */
static int connected(int protocol, int ends[2])
{
    struct sockaddr_in address;
    int listener = listen_on_loopback(protocol, &address);

    if (listener < 0)
        return -1;
    ends[0] = (int)SYS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, protocol));
    SYS(connect(ends[0], (struct sockaddr *)&address, sizeof address));
    ends[1] = (int)SYS(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    SYS(close(listener));
    return 0;
}

CASE(multipath_connection)
{
    int ends[2];
    char byte;

    if (connected(IPPROTO_MPTCP, ends) < 0)
        skip("no multipath TCP here");
    hold();
    SYS(send(ends[0], "x", 1, 0));
    CHECK_EQ(recv(ends[1], &byte, 1, 0), 1);
}

CASE(tcp_urgent_data)
{
    int ends[2];
    char byte = 0;

    CHECK_EQ(connected(0, ends), 0);
    SYS(send(ends[0], "!", 1, MSG_OOB));
    UNTIL(recv(ends[1], &byte, 1, MSG_OOB | MSG_PEEK) == 1);
    hold();
    CHECK_EQ(recv(ends[1], &byte, 1, MSG_OOB), 1);
    CHECK_EQ(byte, '!');
}

CASE(unix_urgent_data)
{
    int ends[2];
    char byte = 0;

    SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    if (send(ends[0], "!", 1, MSG_OOB) != 1)
        skip("no urgent data in UNIX sockets here");
    hold();
    CHECK_EQ(recv(ends[1], &byte, 1, MSG_OOB), 1);
    CHECK_EQ(byte, '!');
}

CASE(corked_datagram)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int to = (int)SYS(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    int from = (int)SYS(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)), on = 1, off = 0;
    char bytes[8];

    SYS(bind(to, (struct sockaddr *)&address, len));
    SYS(getsockname(to, (struct sockaddr *)&address, &len));
    SYS(connect(from, (struct sockaddr *)&address, len));
    SYS(setsockopt(from, IPPROTO_UDP, UDP_CORK, &on, sizeof on));
    SYS(send(from, "half", 4, 0));
    hold();
    SYS(setsockopt(from, IPPROTO_UDP, UDP_CORK, &off, sizeof off));
    CHECK_EQ(recv(to, bytes, sizeof bytes, 0), 4);
}

CASE(udp_tunnel)
{
    int fd = (int)SYS(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)), type = 2; /* ESP in UDP */

    if (setsockopt(fd, IPPROTO_UDP, 100 /* UDP_ENCAP */, &type, sizeof type) != 0)
        skip("no tunnels here");
    hold();
    SYS(close(fd));
}

CASE(netlink_answer_waiting)
{
    struct {
        struct nlmsghdr header;
        struct rtgenmsg message;
    } ask = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
                        .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
             .message.rtgen_family = AF_UNSPEC};
    int fd = (int)SYS(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    char answer[16384];

    SYS(send(fd, &ask, sizeof ask, 0));
    hold();
    CHECK(recv(fd, answer, sizeof answer, 0) > 0);
}

CASE(netlink_to_another_socket)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    socklen_t len = sizeof address;
    int to = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);
    int from = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);

    if (to < 0 || from < 0)
        skip("no netlink sockets between processes here");
    SYS(bind(to, (struct sockaddr *)&address, len));
    SYS(getsockname(to, (struct sockaddr *)&address, &len));
    if (connect(from, (struct sockaddr *)&address, len) != 0)
        skip("no netlink sockets between processes here");
    hold();
    SYS(close(from));
}

CASE(pidfd_of_init)
{
    hold_fd((int)syscall(SYS_pidfd_open, 1, 0), "no pidfd here");
}

CASE(proc_of_init)
{
    hold_fd(open("/proc/1/stat", O_RDONLY | O_CLOEXEC), "the first process cannot be seen here");
}

static void *opens_own(void *fd)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", gettid_raw());
    *(int *)fd = (int)SYS(open(path, O_RDONLY | O_CLOEXEC));
    hold();
    return NULL;
}

CASE(proc_of_a_thread)
{
    int fd = -1;
    pthread_t other = thread(opens_own, &fd);
    char text[64];

    PTH(pthread_join(other, NULL));
    CHECK_EQ(read(fd, text, sizeof text), -1); /* the thread has ended */
}

CASE(watched_and_renamed)
{
    char event[4096];
    int fd = (int)SYS(inotify_init1(IN_CLOEXEC));

    make_text("before", "text");
    SYS(inotify_add_watch(fd, "before", IN_MODIFY));
    SYS(rename("before", "after"));
    hold();
    make_text("after", "more");
    CHECK(read(fd, event, sizeof event) > 0);
}
