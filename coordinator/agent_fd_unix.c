/* UNIX sockets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * sock_diag(7) names the other end of a connection by its inode, and a listener's clients
 * in their order. What is in a queue is copied by peeking: a message's descriptors come
 * along as duplicates, and the sender's credentials when asked for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "coordinator/agent_policy.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_socket.h"

#define PEEK_BYTES   (256u << 10)
#define PASSED_MAX   253 /* SCM_MAX_FD of the kernel */
#define NAME_AT      offsetof(struct sockaddr_un, sun_path)

#ifndef SCM_PIDFD
#define SCM_PIDFD 4 /* Linux 6.5 */
#endif

static bool is_stream(const struct agent_socket *sock)
{
    return sock->record.type != SOCK_DGRAM;
}

/* --- what waits in the queue --------------------------------------------------- */

struct peek {
    struct agent_objects *all;
    struct agent_object *object;
    char *bytes;
    size_t room;
    size_t offset; /* of what has been copied, in bytes of messages */
    union {
        char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))
                   + CMSG_SPACE(sizeof(int)) + 512];
        struct cmsghdr align;
    } control;
    struct msghdr head;
    struct sockaddr_storage name;
};

/* The header stays as it is, but for those. */
static void close_passed(struct msghdr *head)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(head); c; c = CMSG_NXTHDR(head, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET
            || (c->cmsg_type != SCM_RIGHTS && c->cmsg_type != SCM_PIDFD))
            continue;
        for (size_t i = 0; i < n; i++)
            (void)close(((const int *)(void *)CMSG_DATA(c))[i]); /* copies */
        c->cmsg_level = -1;
    }
}

/* Where the next look begins. */
static int set_offset(const struct peek *peek)
{
    int offset = (int)peek->offset;

    return setsockopt(peek->object->fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset));
}

/* Make the descriptors of a message objects. Takes all of them over. */
static int take_passed(struct peek *peek, struct agent_message *message,
                       const struct cmsghdr *c, struct stint_err *err)
{
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int ret = 0;

    message->passed = calloc(n, sizeof(*message->passed));
    if (!message->passed)
        ret = stint_err_set(err, -ENOMEM, "copy descriptors under way");
    for (size_t i = 0; i < n; i++) {
        int fd = ((const int *)(const void *)CMSG_DATA(c))[i];

        if (ret < 0) {
            (void)close(fd); /* a copy */
            continue;
        }
        ret = agent_objects_add_passed(peek->all, peek->object, fd, &message->passed[i], err);
        if (ret == 0)
            message->record.nfds = (uint32_t)i + 1;
    }
    return ret;
}

static void take_credentials(struct agent_message *message, const struct cmsghdr *c)
{
    struct ucred credentials;
    struct agent_inner inner;

    memcpy(&credentials, CMSG_DATA(c), sizeof(credentials));
    message->record.uid = credentials.uid;
    message->record.gid = credentials.gid;
    if (credentials.pid > 0 && agent_proc_inner(credentials.pid, &inner) == 0)
        message->record.pid = inner.pid;
}

static int keep_message(struct peek *peek, size_t len, struct stint_err *err)
{
    struct agent_message *message;
    char *bytes = malloc(len + 1);
    int ret = 0;

    if (bytes)
        memcpy(bytes, peek->bytes, len);
    message = bytes ? agent_socket_add_message(peek->object->socket, bytes, len) : NULL;
    if (!message) {
        close_passed(&peek->head);
        return stint_err_set(err, -ENOMEM, "copy what is under way");
    }
    message->name = peek->name;
    message->record.name_len
        = is_stream(peek->object->socket) ? 0 : (uint32_t)peek->head.msg_namelen;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&peek->head); c;
         c = CMSG_NXTHDR(&peek->head, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_RIGHTS && ret == 0)
            ret = take_passed(peek, message, c, err);
        else if (c->cmsg_type == SCM_CREDENTIALS)
            take_credentials(message, c);
        else if (c->cmsg_type == SCM_PIDFD && c->cmsg_len == CMSG_LEN(sizeof(int)))
            (void)close(*(const int *)(void *)CMSG_DATA(c)); /* made for this call */
    }
    return ret;
}

static ssize_t receive(struct peek *peek)
{
    struct iovec piece = {peek->bytes, peek->room};
    ssize_t n;

    do {
        peek->head = (struct msghdr){
            .msg_name = &peek->name,
            .msg_namelen = sizeof(peek->name),
            .msg_iov = &piece,
            .msg_iovlen = 1,
            .msg_control = peek->control.bytes,
            .msg_controllen = sizeof(peek->control.bytes),
        };
        n = recvmsg(peek->object->fd, &peek->head,
                    MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static bool has_passed(struct msghdr *head)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(head); c; c = CMSG_NXTHDR(head, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            return true;
    }
    return false;
}

/* Descriptors belong to the piece that they were sent with, and come with its first byte;
 * but peeking tells them along with all bytes before that piece. Where does it begin? The
 * kernel copies piece by piece, and stops before one that does not fit into readable
 * memory: so with one byte less than there is, it stops where the last piece begins.
 * Returns the bytes before it, or -errno. */
static ssize_t find_start(struct peek *peek, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (len - 1 + page - 1) / page * page;
    char *area = mmap(NULL, room + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct peek other = *peek;
    ssize_t n;

    if (area == MAP_FAILED)
        return -errno;
    if (room && mprotect(area, room, PROT_READ | PROT_WRITE) < 0) {
        n = -errno;
    } else {
        other.bytes = area + room - (len - 1);
        other.room = len;
        n = receive(&other);
        if (n > 0)
            close_passed(&other.head);
    }
    (void)munmap(area, room + page); /* ours */
    return n == -EFAULT ? 0 : n;
}

/* A stream's bytes came with descriptors: copy those before that place; or, where there
 * are none, what came with the descriptors. Returns 0 or -errno with *err. */
static int split_stream(struct peek *peek, size_t len, struct stint_err *err)
{
    ssize_t start;

    close_passed(&peek->head);
    if (set_offset(peek) < 0)
        return stint_err_set(err, -errno, "look into a socket's queue");
    start = find_start(peek, len);
    if (start < 0)
        return stint_err_set(err, (int)start, "look into a socket's queue");
    if (start == 0) {
        if (set_offset(peek) < 0)
            return stint_err_set(err, -errno, "look into a socket's queue");
        start = receive(peek);
        if (start != (ssize_t)len)
            return stint_err_set(err, start < 0 ? (int)start : -EIO,
                                 "look into a socket's queue");
    }
    peek->offset += (size_t)start;
    if (set_offset(peek) < 0) {
        close_passed(&peek->head);
        return stint_err_set(err, -errno, "look into a socket's queue");
    }
    return keep_message(peek, (size_t)start, err);
}

/* A datagram that was longer than the buffer is looked at again in a larger one. */
static int grow(struct peek *peek, size_t len, struct stint_err *err)
{
    char *bytes = realloc(peek->bytes, len);

    close_passed(&peek->head);
    if (!bytes)
        return stint_err_set(err, -ENOMEM, "copy what is under way");
    peek->bytes = bytes;
    peek->room = len;
    return set_offset(peek) < 0 ? stint_err_set(err, -errno, "look into a socket's queue") : 0;
}

/* Returns 1 with a message copied, 0 at the end, or -errno with *err. */
static int peek_next(struct peek *peek, struct stint_err *err)
{
    ssize_t n = receive(peek);
    int ret;

    if (n == -EAGAIN)
        return 0;
    if (n < 0)
        return stint_err_set(err, (int)n, "look into a socket's queue");
    if (n == 0 && peek->head.msg_controllen == 0)
        return 0; /* the end of the stream: a message would carry credentials */
    if (peek->head.msg_flags & MSG_CTRUNC) {
        close_passed(&peek->head);
        return stint_err_set(err, -EMFILE, "copy the descriptors under way in a socket");
    }
    if ((size_t)n > peek->room) {
        ret = grow(peek, (size_t)n, err);
        return ret < 0 ? ret : 1;
    }
    if (peek->object->socket->record.type == SOCK_STREAM && has_passed(&peek->head)) {
        ret = split_stream(peek, (size_t)n, err);
        return ret < 0 ? ret : 1;
    }
    peek->offset += (size_t)n;
    ret = keep_message(peek, (size_t)n, err);
    return ret < 0 ? ret : 1;
}

static int peek_all(struct peek *peek, struct stint_err *err)
{
    const struct agent_socket *sock = peek->object->socket;
    int pending = 0, ret = 1;

    if (ioctl(peek->object->fd, SIOCINQ, &pending) < 0)
        return stint_err_set(err, -errno, "look into a socket's queue");
    if (sock->record.type == SOCK_STREAM && (size_t)pending > peek->room)
        peek->room = (size_t)pending;
    peek->bytes = malloc(peek->room);
    if (!peek->bytes)
        return stint_err_set(err, -ENOMEM, "copy what is under way");
    while (ret > 0
           && (sock->record.type != SOCK_STREAM || peek->offset < (size_t)pending))
        ret = peek_next(peek, err);
    if (ret == 0 && sock->record.type == SOCK_STREAM && peek->offset != (size_t)pending)
        return stint_err_set(err, -EIO, "copied %zu bytes of the %d in a UNIX socket.",
                             peek->offset, pending);
    return ret;
}

/* Peek with an offset of our own and with credentials, and put the program's settings
 * back. */
static int look_into(struct agent_objects *all, struct agent_object *object,
                     struct stint_err *err)
{
    struct peek peek = {.all = all, .object = object, .room = PEEK_BYTES};
    int offset = agent_socket_int(object, SOL_SOCKET, SO_PEEK_OFF, -1);
    int credentials = agent_socket_int(object, SOL_SOCKET, SO_PASSCRED, 0);
    const int zero = 0, one = 1;
    int ret;

    if (credentials)
        object->socket->record.flags |= STINT_SOCKET_PASSCRED;
    if (setsockopt(object->fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0)
        return stint_err_set(err, -errno, "look into a socket's queue");
    (void)setsockopt(object->fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)); /* valid */
    ret = peek_all(&peek, err);
    (void)setsockopt(object->fd, SOL_SOCKET, SO_PASSCRED, &credentials,
                     sizeof(credentials)); /* what it was is valid */
    (void)setsockopt(object->fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)); /* too */
    free(peek.bytes);
    return ret;
}

static bool may_have_messages(const struct agent_socket *sock)
{
    if (sock->record.state == STINT_SOCKET_LISTENING || !(sock->revents & POLLIN))
        return false;
    return sock->record.type == SOCK_DGRAM || sock->unix_diag.has_peer;
}

int agent_unix_look(struct agent_objects *all, struct agent_object *object,
                    struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    int pending = 0;

    sock->unix_error = agent_sockdiag_unix((uint32_t)object->st.st_ino, &sock->unix_diag);
    if (agent_socket_int(object, SOL_SOCKET, SO_ACCEPTCONN, 0))
        sock->record.state = STINT_SOCKET_LISTENING;
    if ((sock->revents & POLLPRI) && sock->record.type == SOCK_STREAM) {
        agent_socket_note(sock, -EAGAIN, "a UNIX socket has out-of-band data under way");
        return 0;
    }
    if (!may_have_messages(sock) || all->glance)
        return 0;
    /* Looking would hand us the error that the program is to get. */
    if (sock->revents & POLLERR) {
        if (sock->record.type == SOCK_STREAM && ioctl(object->fd, SIOCINQ, &pending) == 0
            && pending > 0)
            return look_into(all, object, err);
        if (sock->record.type != SOCK_STREAM && ioctl(object->fd, SIOCINQ, &pending) == 0
            && pending > 0)
            agent_socket_note(sock, -EAGAIN,
                              "a UNIX socket has an error and messages that were not read");
        return 0;
    }
    return look_into(all, object, err);
}

/* --- names ------------------------------------------------------------------------ */

static bool has_path(const struct agent_socket *sock)
{
    const struct sockaddr_un *name = (const void *)&sock->name;

    return sock->record.name_len > NAME_AT && name->sun_path[0];
}

static void copy_path(const struct agent_socket *sock, char *path, size_t size)
{
    const struct sockaddr_un *name = (const void *)&sock->name;
    int len = (int)(sock->record.name_len - NAME_AT);

    snprintf(path, size, "%.*s", len, name->sun_path);
}

static bool is_bound_file(const struct agent_socket *sock, const char *path,
                          struct stat *st)
{
    return lstat(path, st) == 0 && S_ISSOCK(st->st_mode)
           && (uint32_t)st->st_ino == sock->unix_diag.file_ino;
}

static void note_file(struct agent_socket *sock, const struct stat *st)
{
    sock->record.flags |= STINT_SOCKET_LINKED;
    sock->record.file_mode = st->st_mode & 07777;
    sock->record.file_uid = st->st_uid;
    sock->record.file_gid = st->st_gid;
}

/* A relative name starts in the directory that was current then, most likely still that
 * of some process. Processes of other users do not let us look: they are not the job's. */
static int find_relative(struct agent_socket *sock, const char *name, struct stint_err *err)
{
    STINT_AUTO_CLOSEDIR DIR *proc = opendir("/proc");
    const struct dirent *entry;

    while (proc && (entry = readdir(proc))) {
        char link[64], dir[PATH_MAX], path[PATH_MAX + 120];
        struct stat st;
        ssize_t n;

        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        snprintf(link, sizeof(link), "/proc/%.20s/cwd", entry->d_name);
        n = readlink(link, dir, sizeof(dir) - 1);
        if (n <= 0)
            continue;
        dir[n] = '\0';
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        if (!is_bound_file(sock, path, &st))
            continue;
        sock->dir = strdup(dir);
        if (!sock->dir)
            return stint_err_set(err, -ENOMEM, "describe a socket");
        note_file(sock, &st);
        return 0;
    }
    return 0;
}

static int find_file(struct agent_socket *sock, struct stint_err *err)
{
    char path[sizeof(struct sockaddr_un)];
    struct stat st;

    if (!has_path(sock))
        return 0;
    copy_path(sock, path, sizeof(path));
    if (path[0] != '/')
        return find_relative(sock, path, err);
    if (is_bound_file(sock, path, &st))
        note_file(sock, &st);
    return 0;
}

static void name_peer(const struct agent_socket *sock, char *text, size_t size)
{
    const struct sockaddr_un *name = (const void *)&sock->peer_name;
    int len = (int)sock->record.peer_name_len - (int)NAME_AT;

    if (len <= 0)
        snprintf(text, size, "an unnamed socket");
    else if (name->sun_path[0])
        snprintf(text, size, "%.*s", len, name->sun_path);
    else
        snprintf(text, size, "@%.*s", len - 1, name->sun_path + 1);
}

/* --- who is at the other end -------------------------------------------------------- */

static void read_peer_credentials(struct agent_object *object)
{
    struct stint_socket *record = &object->socket->record;
    struct ucred credentials;
    struct agent_inner inner;
    socklen_t len = sizeof(credentials);

    if (getsockopt(object->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) < 0)
        return;
    record->peer_uid = credentials.uid;
    record->peer_gid = credentials.gid;
    record->peer_pid = object->peer_pid;
    if (!record->peer_pid && credentials.pid > 0
        && agent_proc_inner(credentials.pid, &inner) == 0)
        record->peer_pid = inner.pid;
}

/* Does it wait in the queue of one of the job's listeners? */
static struct agent_object *find_listener(const struct agent_objects *all,
                                          const struct agent_object *client, uint32_t *order)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct agent_socket *sock = all->list[i]->socket;

        for (size_t k = 0; sock && k < sock->unix_diag.nqueue; k++) {
            if (sock->unix_diag.queue[k] == (uint32_t)client->st.st_ino) {
                *order = (uint32_t)k;
                return all->list[i];
            }
        }
    }
    return NULL;
}

static int refuse_outside(const struct agent_object *object, const char *name,
                          struct stint_err *err)
{
    struct ucred credentials = {0};
    struct agent_proc proc;
    socklen_t len = sizeof(credentials);
    char comm[32] = "";

    (void)getsockopt(object->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len); /* 0: unknown */
    if (credentials.pid > 0 && agent_proc_read(credentials.pid, &proc) == 0)
        snprintf(comm, sizeof(comm), " (%.16s)", proc.comm);
    return agent_object_refuse(object, err,
                               "a UNIX socket is connected to %s of process %d%s, which is "
                               "not part of the program (see --sockets)",
                               name, (int)credentials.pid, comm);
}

static int join_outside(const struct agent_objects *all, struct agent_object *object,
                        struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    enum agent_policy policy;
    char name[160];

    if (agent_object_sever(all, object))
        return 0;
    name_peer(sock, name, sizeof(name));
    policy = agent_policy_find(all->sockets, name, AGENT_POLICY_REFUSE);
    if (policy == AGENT_POLICY_REFUSE)
        return refuse_outside(object, name, err);
    if (is_stream(sock)) {
        agent_socket_cut(object, policy, name);
        return 0;
    }
    sock->record.flags |= STINT_SOCKET_OUTSIDE;
    sock->record.state = policy == AGENT_POLICY_RESET ? STINT_SOCKET_ENDED
                                                      : STINT_SOCKET_CONNECTED;
    return 0;
}

/* Bytes of a client that was not accepted yet are out of reach. */
static int join_pending(struct agent_object *object, const struct agent_object *listener,
                        struct stint_err *err)
{
    struct agent_socket *sock = object->socket;

    if (sock->unix_diag.wqueue > 0)
        return stint_err_set(err, -EAGAIN,
                             "process %d (%s), descriptor %d: what was sent to a UNIX socket "
                             "cannot be read before process %d (%s) accepts the connection.",
                             (int)object->pid, object->comm, object->number,
                             (int)listener->pid, listener->comm);
    sock->record.state = STINT_SOCKET_PENDING;
    sock->record.peer = listener->record.id;
    return 0;
}

static int join(struct agent_objects *all, struct agent_object *object,
                struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    struct agent_object *other;

    if (sock->record.state == STINT_SOCKET_LISTENING) {
        sock->record.backlog = sock->unix_diag.wqueue;
        if (!sock->record.peer_pid)
            sock->record.peer_pid = object->pid; /* likewise under way */
        return 0;
    }
    sock->record.state = STINT_SOCKET_NEW;
    sock->record.shutdown = sock->unix_diag.shutdown;
    if (!sock->unix_diag.has_peer)
        return 0;
    if (sock->unix_diag.peer_ino == 0) {
        other = find_listener(all, object, &sock->record.order);
        if (other)
            return join_pending(object, other, err);
        if (is_stream(sock) && sock->unix_diag.shutdown != 3)
            return join_outside(all, object, err); /* in the queue of a stranger */
        sock->record.state = sock->revents & POLLERR ? STINT_SOCKET_RESET
                                                     : STINT_SOCKET_ENDED;
        return 0;
    }
    other = agent_socket_by_ino(all, sock->unix_diag.peer_ino);
    if (!other || other->left_out)
        return join_outside(all, object, err);
    sock->record.state = STINT_SOCKET_CONNECTED;
    sock->record.peer = other->record.id;
    /* Only of one that is under way in a message its holder did not tell: most likely it
     * was made by who holds the other end. */
    if (!sock->record.peer_pid)
        sock->record.peer_pid = other->pid;
    return 0;
}

/* Which of the job's sockets has sent a datagram: the one of that name, or the one that
 * it is connected with. */
static uint32_t find_sender(const struct agent_objects *all,
                            const struct agent_object *receiver,
                            const struct agent_message *message)
{
    const struct agent_socket *sock = receiver->socket;

    if (message->record.name_len <= NAME_AT) {
        const struct agent_object *other
            = agent_socket_by_ino(all, sock->unix_diag.peer_ino);

        return other && other->socket->record.name_len <= NAME_AT ? other->record.id : 0;
    }
    for (size_t i = 0; i < all->count; i++) {
        const struct agent_socket *other = all->list[i]->socket;

        if (other && other->record.family == AF_UNIX && other->record.type == SOCK_DGRAM
            && other->record.name_len == message->record.name_len
            && memcmp(&other->name, &message->name, message->record.name_len) == 0)
            return all->list[i]->record.id;
    }
    return 0;
}

static bool match(const struct agent_object *object)
{
    return object->socket && object->socket->record.family == AF_UNIX;
}

static int describe(struct agent_objects *all, struct agent_object *object,
                    const struct agent_segments *segments, struct stint_err *err)
{
    struct agent_socket *sock = object->socket;
    int ret = agent_socket_verdict(object, err);

    if (ret != 0)
        return ret;
    if (sock->unix_error)
        return agent_object_refuse(object, err,
                                   "a UNIX socket of another network namespace is not "
                                   "supported");
    read_peer_credentials(object);
    ret = find_file(sock, err);
    if (ret == 0)
        ret = join(all, object, err);
    if (ret != 0 || object->severed)
        return ret;
    for (size_t i = 0; i < sock->nmessages; i++)
        sock->messages[i].record.sender
            = is_stream(sock) ? 0 : find_sender(all, object, &sock->messages[i]);
    return agent_socket_pack(object, err);
}

const struct agent_fdkind agent_fd_unix = {
    .kind = STINT_OBJ_UNIX,
    .match = match,
    .describe = describe,
    .store = agent_socket_store,
};
