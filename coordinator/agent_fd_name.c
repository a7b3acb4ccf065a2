/* What a descriptor is, in words, for people.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_object.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static void name_address(const struct sockaddr_storage *address, socklen_t len, char *text,
                         size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";

    text[0] = '\0';
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, size, " %s:%u", host, ntohs(in->sin_port));
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)address;

        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
        snprintf(text, size, " [%s]:%u", host, ntohs(in->sin6_port));
    } else if (address->ss_family == AF_UNIX && len > sizeof(sa_family_t)) {
        const struct sockaddr_un *un = (const void *)address;

        if (un->sun_path[0])
            snprintf(text, size, " %.108s", un->sun_path);
        else if (len > sizeof(sa_family_t) + 1)
            snprintf(text, size, " @%.*s", (int)(len - sizeof(sa_family_t) - 1),
                     un->sun_path + 1);
    }
}

static const char *name_family(int family, int type)
{
    switch (family) {
    case AF_UNIX:
        return "UNIX socket";
    case AF_INET:
    case AF_INET6:
        return type == SOCK_STREAM ? "TCP socket" : type == SOCK_DGRAM ? "UDP socket"
                                                                       : "IP socket";
    case AF_NETLINK:
        return "netlink socket";
    case AF_PACKET:
        return "packet socket";
    case AF_VSOCK:
        return "vsock socket";
    default:
        return "socket";
    }
}

static void name_socket(const struct agent_object *object, char *text, size_t size)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(int);
    int family = 0, type = 0;
    char own[160] = "", peer[160] = "";

    (void)getsockopt(object->fd, SOL_SOCKET, SO_DOMAIN, &family, &len); /* 0: "socket" */
    len = sizeof(int);
    (void)getsockopt(object->fd, SOL_SOCKET, SO_TYPE, &type, &len); /* likewise */
    len = sizeof(address);
    if (getsockname(object->fd, (struct sockaddr *)&address, &len) == 0)
        name_address(&address, len, own, sizeof(own));
    len = sizeof(address);
    if (getpeername(object->fd, (struct sockaddr *)&address, &len) == 0)
        name_address(&address, len, peer, sizeof(peer));
    snprintf(text, size, "%s%s%s%s", name_family(family, type), own, peer[0] ? " to" : "",
             peer);
}

static const struct {
    const char *link, *name;
} anonymous[] = {
    {"anon_inode:[eventpoll]", "an epoll instance"},
    {"anon_inode:[eventfd]", "an eventfd"},
    {"anon_inode:[signalfd]", "a signalfd"},
    {"anon_inode:[timerfd]", "a timerfd"},
    {"anon_inode:[pidfd]", "a pidfd"},
    {"anon_inode:inotify", "an inotify instance"},
    {"anon_inode:[userfaultfd]", "a userfaultfd"},
    {"anon_inode:[io_uring]", "an io_uring instance"},
    {"anon_inode:[perf_event]", "a performance counter"},
    {"anon_inode:[fanotify]", "a fanotify group"},
    {"anon_inode:bpf-map", "a BPF map"},
    {"anon_inode:bpf-prog", "a BPF program"},
    {"anon_inode:bpf_link", "a BPF link"},
};

/* What to do about what is not supported, by the beginning of its link. */
static const struct {
    const char *link, *advice;
} advices[] = {
    {"anon_inode:[io_uring]", "let the program use epoll or threads (libuv: UV_USE_IO_URING=0)"},
    {"anon_inode:[perf_event]", "measure from outside of the job"},
    {"anon_inode:[fanotify]", "use inotify"},
    {"anon_inode:[userfaultfd]", "switch off what pages or snapshots in user space"},
    {"anon_inode:bpf", "load it outside of the job"},
    {"/dev/nvidia", "a GPU's state cannot be read: run it on CPUs"},
    {"/dev/dri/", "a GPU's state cannot be read: run it on CPUs"},
    {"/dev/kfd", "a GPU's state cannot be read: run it on CPUs"},
    {"/dev/infiniband/", "let it use TCP or shared memory (UCX_TLS=tcp,self,sm)"},
};

const char *agent_object_advice(const char *link)
{
    for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
        if (strncmp(link, advices[i].link, strlen(advices[i].link)) == 0)
            return advices[i].advice;
    }
    return NULL;
}

void agent_object_name(const struct agent_object *object, char *text, size_t size)
{
    if (S_ISSOCK(object->st.st_mode)) {
        name_socket(object, text, size);
        return;
    }
    for (size_t i = 0; i < sizeof(anonymous) / sizeof(anonymous[0]); i++) {
        if (strcmp(object->link, anonymous[i].link) == 0) {
            snprintf(text, size, "%s", anonymous[i].name);
            return;
        }
    }
    if (strncmp(object->link, "/memfd:", 7) == 0)
        snprintf(text, size, "a memfd (%.*s)", (int)strcspn(object->link + 7, " "),
                 object->link + 7);
    else if (S_ISCHR(object->st.st_mode))
        snprintf(text, size, "the device %.200s", object->link);
    else if (S_ISBLK(object->st.st_mode))
        snprintf(text, size, "the block device %.200s", object->link);
    else
        snprintf(text, size, "%.200s", object->link);
}
