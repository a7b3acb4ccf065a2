/* UNIX sockets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two unnamed ends are a socketpair(2). Where an end has a name, a temporary listener of
 * that name makes the connection, as accept(2) gave the name in the first life. A path is
 * bound under its own name, for the name to be right, and moved aside at once; only what
 * was there for others to connect to stays.
 *
 * The kernel notes who has made a pair, listened or connected (SO_PEERCRED): a short-lived
 * process with that number does it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "runtime/restorer/sockets.h"

#define NAME_AT  offsetof(struct sockaddr_un, sun_path)
#define ROOM     (PATH_MAX + 256)
#define RIGHTS   253 /* SCM_MAX_FD of the kernel */

/* --- as another process -------------------------------------------------------------- */

enum act {
    ACT_PAIR,
    ACT_LISTEN,
    ACT_CONNECT,
};

struct deed {
    enum act act;
    int type;    /* PAIR */
    int fd;      /* LISTEN, CONNECT */
    int backlog; /* LISTEN */
    struct sockaddr_un name; /* CONNECT */
    socklen_t len;
    int fds[2]; /* result */
    int error;  /* result: 0 or -errno */
};

static void act(struct deed *deed)
{
    int r = -1;

    switch (deed->act) {
    case ACT_PAIR:
        r = socketpair(AF_UNIX, deed->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, deed->fds);
        break;
    case ACT_LISTEN:
        r = listen(deed->fd, deed->backlog);
        break;
    case ACT_CONNECT:
        r = connect(deed->fd, (const struct sockaddr *)&deed->name, deed->len);
        break;
    }
    deed->error = r < 0 ? -errno : 0;
}

/* A process of that number, with our descriptors; -errno when there cannot be one. */
static pid_t fork_as(int32_t pid)
{
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
        uint64_t set_tid, set_tid_size;
    } args = {.flags = 0x400 /* CLONE_FILES */, .exit_signal = SIGCHLD,
              .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1};
    long child = syscall(SYS_clone3, &args, sizeof(args));

    return child < 0 ? -errno : (pid_t)child;
}

/* Do it as process pid, if there can be one: else nobody can tell who has done it. */
static int act_as(struct stint_sockets *sockets, int32_t pid, struct deed *deed)
{
    struct deed *shared;
    pid_t child;

    if (pid <= 1 || !sockets->restore->set_tid) {
        act(deed);
        return deed->error;
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                  -1, 0);
    if (shared == MAP_FAILED)
        return -errno;
    *shared = *deed;
    shared->error = -ECHILD;
    child = fork_as(pid);
    if (child == 0) {
        act(shared);
        _exit(0);
    }
    if (child < 0)
        act(shared);
    else
        while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
            ;
    *deed = *shared;
    (void)munmap(shared, sizeof(*shared)); /* valid */
    return deed->error;
}

/* --- paths ----------------------------------------------------------------------------- */

static bool has_name(socklen_t len)
{
    return len > NAME_AT;
}

static bool has_path(const struct sockaddr *name, socklen_t len)
{
    return has_name(len) && ((const struct sockaddr_un *)(const void *)name)->sun_path[0];
}

static void copy_path(const struct sockaddr *name, socklen_t len, char path[ROOM])
{
    (void)snprintf(path, ROOM, "%.*s", (int)(len - NAME_AT),
                   ((const struct sockaddr_un *)(const void *)name)->sun_path); /* fits */
}

/* Directories that are missing on this machine (below /tmp, say) are made. */
static void make_parents(const char *path)
{
    char dir[ROOM];

    (void)snprintf(dir, sizeof(dir), "%s", path); /* fits */
    for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(dir, 0700); /* most are there; if not, bind(2) tells */
        *slash = '/';
    }
}

/* Bind to the name while in dir: a relative name starts there. */
static int bind_in(struct stint_sockets *sockets, int fd, const char *dir,
                   const struct sockaddr *name, socklen_t len)
{
    int r;

    if (dir[0] && chdir(dir) < 0)
        return -errno;
    r = bind(fd, name, len) < 0 ? -errno : 0;
    if (dir[0] && fchdir(sockets->cwd) < 0)
        return -errno;
    return r;
}

/* A file system of our own that is mounted nowhere: it goes with us, however we end.
 * Returns a descriptor of it, or -1 (before Linux 5.2). */
static int make_scratch(void)
{
    STINT_AUTO_CLOSE int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);

    if (context < 0
        || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    return (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
}

/* Make an empty directory that nobody else looks at. Returns 0 or -errno. */
static int make_scratch_dir(struct stint_sockets *sockets, char path[64])
{
    if (sockets->scratch < 0)
        sockets->scratch = make_scratch();
    if (sockets->scratch < 0) {
        (void)snprintf(path, 64, "/tmp/stint-sockets-XXXXXX"); /* fits */
        return mkdtemp(path) ? 0 : -errno;
    }
    (void)snprintf(path, 64, "/proc/self/fd/%d/%u", sockets->scratch, /* fits */
                   ++sockets->nscratch);
    return mkdir(path, 0700) < 0 ? -errno : 0;
}

/* The absolute path of a name. A relative one whose directory is not known gets one of
 * its own (*scratch, else ""). */
static int locate(struct stint_sockets *sockets, const struct sockaddr *name, socklen_t len,
                  const char *dir, char path[ROOM], char scratch[64])
{
    int r;

    char own[ROOM];

    scratch[0] = '\0';
    copy_path(name, len, own);
    if (own[0] == '/') {
        (void)snprintf(path, ROOM, "%s", own); /* fits */
    } else if (dir[0]) {
        (void)snprintf(path, ROOM, "%.4000s/%.110s", dir, own); /* fits */
    } else {
        r = make_scratch_dir(sockets, scratch);
        if (r < 0)
            return r;
        (void)snprintf(path, ROOM, "%s/%.110s", scratch, own); /* fits */
    }
    return 0;
}

/* What was bound under `reach`, and the directory made for it, are not needed any more. */
static void unlink_reach(char *reach)
{
    char *slash;

    (void)unlink(reach); /* ours; gone is as well */
    if (strncmp(reach, "/tmp/stint-sockets-", 19) != 0)
        return;
    while ((slash = strrchr(reach, '/')) && slash > reach + 5) {
        *slash = '\0';
        (void)rmdir(reach); /* not empty: another socket is in it */
    }
}

/* Bind to a name without leaving anything at its path. *reach: where it can be connected
 * to for now (NULL: by its name). */
static int bind_hidden(struct stint_sockets *sockets, int fd, const struct sockaddr *name,
                       socklen_t len, const char *dir, char **reach, struct stint_err *err)
{
    static unsigned count;
    char path[ROOM], aside[ROOM + 32], scratch[64];
    bool has_old;
    int r;

    *reach = NULL;
    if (!has_path(name, len)) {
        if (bind(fd, name, len) < 0)
            return stint_err_set(err, -errno, "bind a UNIX socket to an abstract name again");
        return 0;
    }
    r = locate(sockets, name, len, dir, path, scratch);
    if (r < 0)
        return stint_err_set(err, r, "make a directory for a moment");
    make_parents(path);
    (void)snprintf(aside, sizeof(aside), "%s.stint-old", path); /* fits */
    has_old = rename(path, aside) == 0;
    r = bind_in(sockets, fd, scratch[0] ? scratch : dir, name, len);
    if (r == 0) {
        if (asprintf(reach, "%s.stint-%d-%u", path, (int)getpid(), ++count) < 0) {
            *reach = NULL;
            r = -ENOMEM;
        } else if (rename(path, *reach) < 0) {
            r = -errno;
        }
    }
    if (has_old && rename(aside, path) < 0 && r == 0)
        r = -errno;
    return r < 0 ? stint_err_set(err, r, "bind a UNIX socket to %s again", path) : 0;
}

/* Does a living socket of this machine take what is sent to that path? Accepted ones, also
 * those that were made just now, have the path as well, but take nothing. */
static bool is_in_use(const char *path)
{
    STINT_AUTO_FCLOSE FILE *file = fopen("/proc/net/unix", "re");
    char line[512];
    unsigned flags, type;
    int at;

    while (file && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        at = 0;
        if (sscanf(line, "%*s %*s %*s %x %x %*s %*s %n", &flags, &type, &at) == 2 && at > 0
            && strcmp(line + at, path) == 0
            && (flags & 0x10000 /* listens */ || type == SOCK_DGRAM))
            return true;
    }
    return false;
}

/* Bind to a path that others connect to. What the first life left there is removed. */
static int bind_linked(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                       int fd, struct stint_err *err)
{
    const struct stint_socket *record = sock->record;
    char path[ROOM], scratch[64];
    struct stat st;
    int r = locate(sockets, sock->name, record->name_len, sock->dir, path, scratch);

    if (r < 0)
        return stint_err_set(err, r, "make a directory for a moment");
    make_parents(path);
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return stint_err_set(err, -EEXIST, "the program's socket %s is another file now",
                                 path);
        if (is_in_use(path))
            return stint_err_set(err, -EADDRINUSE,
                                 "the program's socket %s belongs to a running program", path);
        (void)unlink(path); /* if it fails, bind(2) does */
    }
    r = bind_in(sockets, fd, sock->dir, sock->name, record->name_len);
    if (r < 0)
        return stint_err_set(err, r, "bind a UNIX socket to %s again", path);
    (void)chmod(path, record->file_mode); /* ours: cannot fail */
    if (stat(path, &st) == 0
        && (st.st_uid != record->file_uid || st.st_gid != record->file_gid))
        (void)lchown(path, record->file_uid, record->file_gid); /* root only: else as it is */
    return 0;
}

/* Connect to a path that may be longer than an address can be. */
static int connect_path(struct stint_sockets *sockets, int32_t pid, int fd, const char *path)
{
    struct deed deed = {.act = ACT_CONNECT, .fd = fd, .name = {.sun_family = AF_UNIX}};
    const char *slash = strrchr(path, '/');
    char dir[ROOM];
    int r;

    if (!slash || strlen(slash + 1) >= sizeof(deed.name.sun_path))
        return -ENAMETOOLONG;
    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path) + 1, path); /* fits */
    memcpy(deed.name.sun_path, slash + 1, strlen(slash + 1) + 1);
    deed.len = sizeof(deed.name);
    if (chdir(dir) < 0)
        return -errno;
    r = act_as(sockets, pid, &deed);
    if (fchdir(sockets->cwd) < 0)
        return -errno;
    return r;
}

static int connect_name(struct stint_sockets *sockets, int32_t pid, int fd,
                        const struct sockaddr *name, socklen_t len, const char *dir)
{
    struct deed deed = {.act = ACT_CONNECT, .fd = fd, .len = len};
    char path[ROOM], scratch[64];

    if (len > sizeof(deed.name))
        return -EINVAL;
    if (has_path(name, len)) {
        int r = locate(sockets, name, len, dir[0] ? dir : ".", path, scratch);

        return r < 0 ? r : connect_path(sockets, pid, fd, path);
    }
    memcpy(&deed.name, name, len);
    return act_as(sockets, pid, &deed);
}

/* Connect to a socket of the job where it is bound at the moment. */
static int connect_to(struct stint_sockets *sockets, int32_t pid, int fd,
                      const struct stint_restored_socket *target)
{
    if (target->reach)
        return connect_path(sockets, pid, fd, target->reach);
    return connect_name(sockets, pid, fd, target->name, target->record->name_len, target->dir);
}

/* --- connections ------------------------------------------------------------------------- */

/* One end of a connection to be: what the other end sees of it. */
struct side {
    const struct sockaddr *name;
    socklen_t len;
    const char *dir;
    int32_t peer_pid; /* what it sees of the other one */
    int fd;
};

static int connect_named(struct stint_sockets *sockets, int type, struct side *client,
                         struct side *server, struct stint_err *err)
{
    STINT_AUTO_CLOSE int listener = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    STINT_AUTO_CLOSE int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    STINT_AUTO_FREE char *reach = NULL;
    STINT_AUTO_FREE char *own = NULL;
    struct deed listening = {.act = ACT_LISTEN, .fd = listener, .backlog = 1};
    int r;

    if (listener < 0 || fd < 0)
        return stint_err_set(err, -errno, "make a UNIX socket");
    r = bind_hidden(sockets, listener, server->name, server->len, server->dir, &reach, err);
    if (r == 0)
        r = act_as(sockets, client->peer_pid, &listening);
    if (r == 0 && has_name(client->len))
        r = bind_hidden(sockets, fd, client->name, client->len, client->dir, &own, err);
    if (r == 0) {
        r = reach ? connect_path(sockets, server->peer_pid, fd, reach)
                  : connect_name(sockets, server->peer_pid, fd, server->name, server->len, "");
        if (r < 0)
            (void)stint_err_set(err, r, "connect UNIX sockets");
    }
    if (reach)
        unlink_reach(reach);
    if (own)
        unlink_reach(own);
    if (r < 0)
        return r;
    server->fd = stint_socket_accept(listener);
    if (server->fd < 0)
        return stint_err_set(err, server->fd, "accept a UNIX connection");
    client->fd = stint_steal_fd(&fd);
    return 0;
}

static int connect_sides(struct stint_sockets *sockets, int type, struct side *a,
                         struct side *b, struct stint_err *err)
{
    struct deed pair = {.act = ACT_PAIR, .type = type};
    int r;

    if (has_name(b->len))
        return connect_named(sockets, type, a, b, err);
    if (has_name(a->len))
        return connect_named(sockets, type, b, a, err);
    r = act_as(sockets, a->peer_pid, &pair);
    if (r < 0)
        return stint_err_set(err, r, "make a socket pair");
    a->fd = pair.fds[0];
    b->fd = pair.fds[1];
    return 0;
}

static struct side side_of(const struct stint_restored_socket *sock)
{
    return (struct side){sock->name, sock->record->name_len, sock->dir,
                         sock->record->peer_pid, -1};
}

static int keep_ends(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                     struct stint_restored_socket *peer, const struct side *a,
                     const struct side *b, struct stint_err *err)
{
    int r = stint_socket_keep(sockets, sock, a->fd, err);

    sock->paired = true;
    if (!peer) {
        sock->temp = b->fd;
        return r;
    }
    peer->paired = true;
    if (r < 0) {
        (void)close(b->fd); /* of no use */
        return r;
    }
    return stint_socket_keep(sockets, peer, b->fd, err);
}

/* Connect two of the job's sockets, or one with a temporary end. */
static int make_connection(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                           struct stint_restored_socket *peer, struct stint_err *err)
{
    struct side a = side_of(sock);
    struct side b = peer ? side_of(peer)
                         : (struct side){sock->peer_name, sock->record->peer_name_len,
                                         sock->dir, a.peer_pid, -1};
    int r;

    if (sock->record->flags & STINT_SOCKET_OUTSIDE)
        b.len = 0; /* the name is one of a daemon that may run here */
    r = connect_sides(sockets, sock->record->type, &a, &b, err);
    return r < 0 ? r : keep_ends(sockets, sock, peer, &a, &b, err);
}

static void print_peer(const struct stint_restored_socket *sock, char text[ROOM])
{
    const struct sockaddr_un *un = (const void *)sock->peer_name;
    int len = (int)sock->record->peer_name_len - (int)NAME_AT;

    if (len <= 0)
        (void)snprintf(text, ROOM, "an unnamed socket"); /* fits */
    else if (un->sun_path[0])
        copy_path(sock->peer_name, sock->record->peer_name_len, text);
    else
        (void)snprintf(text, ROOM, "@%.*s", len - 1, un->sun_path + 1); /* fits */
}

/* To a service outside of the job. Returns 1 when that cannot be. */
static int connect_again(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                         struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = -1;
    char peer[ROOM];
    int r;

    if (!(sock->record->flags & STINT_SOCKET_AGAIN) || has_name(sock->record->name_len))
        return 1;
    fd = stint_socket_make(sock, err);
    if (fd < 0)
        return fd;
    print_peer(sock, peer);
    r = connect_name(sockets, 0, fd, sock->peer_name, sock->record->peer_name_len, "");
    stint_restore_note(sockets->restore, "a UNIX socket %s connected to %.200s again%s%s",
                       r < 0 ? "cannot be" : "is", peer, r < 0 ? ": " : "",
                       r < 0 ? strerror(-r) : "");
    if (r < 0)
        return 1;
    sock->paired = true;
    return stint_socket_keep(sockets, sock, stint_steal_fd(&fd), err);
}

/* Returns 0 or -errno with *err. */
static int open_outside(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                        struct stint_err *err)
{
    char peer[ROOM];
    int r = connect_again(sockets, sock, err);

    if (r <= 0)
        return r;
    print_peer(sock, peer);
    stint_restore_note(sockets->restore, "the connection of a UNIX socket to %.200s, which is "
                                         "not part of the program, %s",
                       peer,
                       sock->record->state == STINT_SOCKET_RESET ? "is reset" : "has ended");
    return make_connection(sockets, sock, NULL, err);
}

/* Datagram sockets that are each other's destination. One without a name can have got
 * there only as a pair. */
static bool is_datagram_pair(const struct stint_restored_socket *sock,
                             const struct stint_restored_socket *peer)
{
    return peer && peer->record->peer == sock->object->object->id
           && (!has_name(sock->record->name_len) || !has_name(peer->record->name_len));
}

static int bind_socket(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                       struct stint_err *err)
{
    if (sock->record->flags & STINT_SOCKET_LINKED)
        return bind_linked(sockets, sock, sock->object->fd, err);
    return bind_hidden(sockets, sock->object->fd, sock->name, sock->record->name_len,
                       sock->dir, &sock->reach, err);
}

/* Does it stand connected when it is made? */
static bool is_connection(const struct stint_restored_socket *sock)
{
    uint32_t state = sock->record->state;

    return sock->record->type != SOCK_DGRAM
           && (state == STINT_SOCKET_CONNECTED || state == STINT_SOCKET_ENDED
               || state == STINT_SOCKET_RESET);
}

static int open_connection(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                           struct stint_err *err)
{
    struct stint_restored_socket *peer = NULL;

    if (sock->record->flags & STINT_SOCKET_OUTSIDE)
        return open_outside(sockets, sock, err);
    if (sock->record->state == STINT_SOCKET_CONNECTED) {
        peer = stint_socket_by_id(sockets, sock->record->peer);
        if (!peer || peer == sock || peer->object->fd >= 0
            || peer->record->family != AF_UNIX
            || peer->record->type != sock->record->type)
            return stint_err_set(err, -EBADMSG, "the image names no other end of UNIX socket "
                                                "%u.",
                                 sock->object->object->id);
    }
    return make_connection(sockets, sock, peer, err);
}

static int open_single(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                       struct stint_err *err)
{
    struct stint_restored_socket *peer = stint_socket_by_id(sockets, sock->record->peer);
    struct deed pair = {.act = ACT_PAIR, .type = SOCK_DGRAM};
    bool both = is_datagram_pair(sock, peer) && peer->object->fd < 0;
    bool left = sock->record->state == STINT_SOCKET_ENDED && !has_name(sock->record->name_len);
    int r;

    if (sock->record->type != SOCK_DGRAM || !(both || left)) {
        r = stint_socket_make(sock, err);
        return r < 0 ? r : stint_socket_keep(sockets, sock, r, err);
    }
    r = act_as(sockets, sock->record->peer_pid, &pair);
    if (r < 0)
        return stint_err_set(err, r, "make a socket pair");
    sock->paired = true;
    if (left)
        sock->temp = pair.fds[1];
    r = stint_socket_keep(sockets, sock, pair.fds[0], err);
    if (r < 0 || left)
        return r;
    peer->paired = true;
    return stint_socket_keep(sockets, peer, pair.fds[1], err);
}

static int start_listening(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                           struct stint_err *err)
{
    struct deed deed = {.act = ACT_LISTEN, .fd = sock->object->fd,
                        .backlog = (int)sock->record->backlog};
    int r = act_as(sockets, sock->record->peer_pid, &deed);

    return r < 0 ? stint_err_set(err, r, "listen on a UNIX socket") : 0;
}

int stint_unix_open(struct stint_sockets *sockets, struct stint_err *err)
{
    int r = 0;

    /* connections first: their temporary listeners use the names of the real ones */
    for (int singles = 0; singles < 2; singles++) {
        for (size_t i = 0; r == 0 && i < sockets->count; i++) {
            struct stint_restored_socket *sock = &sockets->list[i];

            if (sock->record->family != AF_UNIX || sock->object->fd >= 0
                || is_connection(sock) == (singles == 1))
                continue;
            r = singles ? open_single(sockets, sock, err) : open_connection(sockets, sock, err);
        }
    }
    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        struct stint_restored_socket *sock = &sockets->list[i];

        if (sock->record->family != AF_UNIX || is_connection(sock))
            continue;
        if (has_name(sock->record->name_len))
            r = bind_socket(sockets, sock, err);
        if (r == 0 && sock->record->state == STINT_SOCKET_LISTENING)
            r = start_listening(sockets, sock, err);
    }
    return r;
}

/* --- messages ------------------------------------------------------------------------------ */

union control {
    char bytes[CMSG_SPACE(RIGHTS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    struct cmsghdr align;
};

/* Descriptors and credentials of a message. */
static void put_control(struct stint_sockets *sockets, const struct stint_restored_socket *to,
                        const struct stint_socket_piece *piece, struct msghdr *head,
                        union control *control)
{
    struct cmsghdr *c = &control->align;
    int *fds = (int *)(void *)CMSG_DATA(c);
    size_t n = 0, used = 0;

    memset(control, 0, sizeof(*control));
    for (uint32_t i = 0; i < piece->record->nfds && n < RIGHTS; i++) {
        const struct stint_restored_object *passed
            = stint_restore_object(sockets->restore, piece->passed[i]);

        if (passed && passed->fd >= 0)
            fds[n++] = passed->fd;
    }
    if (n > 0) {
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        used = CMSG_SPACE(n * sizeof(int));
    }
    if (piece->record->pid && (to->record->flags & STINT_SOCKET_PASSCRED)) {
        const struct ucred credentials = {piece->record->pid, piece->record->uid,
                                          piece->record->gid};

        c = (struct cmsghdr *)(void *)(control->bytes + used);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_CREDENTIALS;
        c->cmsg_len = CMSG_LEN(sizeof(credentials));
        memcpy(CMSG_DATA(c), &credentials, sizeof(credentials));
        used += CMSG_SPACE(sizeof(credentials));
    }
    head->msg_control = used ? control->bytes : NULL;
    head->msg_controllen = used;
}

/* The sender has ended since, or its ids are not ours to name: then as ourselves. */
static void drop_credentials(struct msghdr *head)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(head);

    if (c && c->cmsg_type == SCM_RIGHTS) {
        head->msg_controllen = CMSG_SPACE(c->cmsg_len - CMSG_LEN(0));
        return;
    }
    head->msg_control = NULL;
    head->msg_controllen = 0;
}

struct route {
    int fd;                               /* the sending socket */
    struct stint_restored_socket *sender; /* whose it is, NULL: a temporary one */
    const struct sockaddr_un *to;         /* NULL: where it is connected */
    socklen_t to_len;
};

static int send_piece(struct stint_sockets *sockets, struct stint_restored_socket *to,
                      const struct route *route, const struct stint_socket_piece *piece,
                      struct stint_err *err)
{
    union control control;
    struct iovec iov = {(void *)(uintptr_t)piece->bytes, piece->record->len};
    struct msghdr head = {.msg_name = (void *)(uintptr_t)route->to,
                          .msg_namelen = route->to ? route->to_len : 0,
                          .msg_iov = &iov, .msg_iovlen = 1};
    bool widened = false;

    put_control(sockets, to, piece, &head, &control);
    for (;;) {
        ssize_t n = sendmsg(route->fd, &head, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && (errno == ESRCH || errno == EPERM) && head.msg_control) {
            drop_credentials(&head);
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EMSGSIZE || errno == ENOBUFS) && !widened) {
            struct stint_restored_socket *sender
                = route->sender ? route->sender : &(struct stint_restored_socket){.object = to->object};

            stint_socket_widen(sender, route->fd);
            widened = true;
            continue;
        }
        if (n < 0)
            return stint_err_set(err, -errno, "put %u bytes back into a UNIX socket",
                                 piece->record->len);
        iov.iov_base = (char *)iov.iov_base + n;
        iov.iov_len -= (size_t)n;
        if (iov.iov_len == 0 || to->record->type != SOCK_STREAM)
            return 0;
        head.msg_control = NULL; /* they went with the first bytes */
        head.msg_controllen = 0;
    }
}

static int fill_stream(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                       struct stint_err *err)
{
    struct stint_restored_socket *peer = stint_socket_by_id(sockets, sock->record->peer);
    struct route route = {.fd = peer ? peer->object->fd : sock->temp, .sender = peer};
    struct stint_socket_piece piece;
    size_t cursor = 0;
    int r = 0;

    while (r == 0 && stint_socket_next(sock, &cursor, &piece))
        r = send_piece(sockets, sock, &route, &piece, err);
    if (r < 0 || sock->temp < 0)
        return r;
    /* one byte that nobody has read makes the end a reset */
    if (sock->record->state == STINT_SOCKET_RESET
        && send(sock->object->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return stint_err_set(err, -errno, "reset a UNIX connection");
    stint_cleanup_close(&sock->temp);
    sock->temp = -1;
    return 0;
}

/* The address under which a datagram socket can be sent to now, or NULL with -errno in
 * *error. dir: to be current meanwhile. */
static int address_of(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                      struct sockaddr_un *to, socklen_t *len, char dir[ROOM])
{
    char path[ROOM], scratch[64];
    const char *slash;

    dir[0] = '\0';
    if (!has_path(sock->name, sock->record->name_len)) {
        memcpy(to, sock->name, sock->record->name_len);
        *len = sock->record->name_len;
        return 0;
    }
    if (sock->reach)
        (void)snprintf(path, sizeof(path), "%s", sock->reach); /* fits */
    else if (locate(sockets, sock->name, sock->record->name_len,
                    sock->dir[0] ? sock->dir : ".", path, scratch)
             < 0)
        return -ENOENT;
    slash = strrchr(path, '/');
    if (!slash || strlen(slash + 1) >= sizeof(to->sun_path))
        return -ENAMETOOLONG;
    (void)snprintf(dir, ROOM, "%.*s", (int)(slash - path) + 1, path); /* fits */
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(to->sun_path, slash + 1, strlen(slash + 1) + 1);
    *len = sizeof(*to);
    return 0;
}

/* A sender that is not there any more: a socket with its name, for as long as it takes. */
static int make_sender(struct stint_sockets *sockets, const struct stint_socket_piece *piece,
                       char **reach, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int r;

    *reach = NULL;
    if (fd < 0)
        return stint_err_set(err, -errno, "make a UNIX socket");
    if (has_name(piece->record->name_len)) {
        r = bind_hidden(sockets, fd, piece->name, piece->record->name_len, "", reach, err);
        if (r < 0)
            return r;
    }
    return stint_steal_fd(&fd);
}

static int send_datagram(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                         const struct stint_socket_piece *piece, struct stint_err *err)
{
    struct stint_restored_socket *sender
        = stint_socket_by_id(sockets, piece->record->sender);
    STINT_AUTO_CLOSE int temp = -1;
    STINT_AUTO_FREE char *reach = NULL;
    struct route route = {.sender = sender};
    struct sockaddr_un to;
    char dir[ROOM] = "";
    int r;

    if (sock->temp >= 0) {
        route.fd = sock->temp;
        return send_piece(sockets, sock, &route, piece, err);
    }
    if (sock->paired) {
        route.sender = sender = stint_socket_by_id(sockets, sock->record->peer);
    } else if (!has_name(sock->record->name_len)) {
        stint_restore_note(sockets->restore, "a message to a UNIX socket without a name is "
                                             "lost");
        return 0;
    } else {
        r = address_of(sockets, sock, &to, &route.to_len, dir);
        if (r < 0)
            return stint_err_set(err, r, "address a datagram");
        route.to = &to;
    }
    if (!sender) {
        temp = make_sender(sockets, piece, &reach, err);
        if (temp < 0)
            return temp;
    }
    route.fd = sender ? sender->object->fd : temp;
    if (dir[0] && chdir(dir) < 0)
        return stint_err_set(err, -errno, "enter %s", dir);
    r = send_piece(sockets, sock, &route, piece, err);
    if (dir[0] && fchdir(sockets->cwd) < 0 && r == 0)
        r = stint_err_set(err, -errno, "return to the working directory");
    if (reach)
        unlink_reach(reach);
    return r;
}

int stint_unix_fill(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                    struct stint_err *err)
{
    struct stint_socket_piece piece;
    size_t cursor = 0;
    int r = 0;

    if (is_connection(sock))
        return fill_stream(sockets, sock, err);
    if (sock->record->type != SOCK_DGRAM)
        return 0;
    while (r == 0 && stint_socket_next(sock, &cursor, &piece))
        r = send_datagram(sockets, sock, &piece, err);
    stint_cleanup_close(&sock->temp);
    sock->temp = -1;
    return r;
}

/* --- what comes after ------------------------------------------------------------------------ */

/* Where a datagram socket sends to. */
static int connect_datagram(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                            struct stint_err *err)
{
    struct stint_restored_socket *peer = stint_socket_by_id(sockets, sock->record->peer);
    STINT_AUTO_CLOSE int gone = -1;
    STINT_AUTO_FREE char *reach = NULL;
    int r;

    if (sock->paired)
        return 0;
    if (sock->record->state == STINT_SOCKET_ENDED) {
        /* its destination was closed: that is made, and closed again */
        const struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
        bool named = has_name(sock->record->peer_name_len);

        gone = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (gone < 0)
            return stint_err_set(err, -errno, "make a UNIX socket");
        r = bind_hidden(sockets, gone, named ? sock->peer_name : (const void *)&unnamed,
                        named ? sock->record->peer_name_len : NAME_AT, sock->dir, &reach, err);
        if (r == 0) {
            struct sockaddr_un own;
            socklen_t len = sizeof(own);

            (void)getsockname(gone, (struct sockaddr *)&own, &len); /* it has one */
            r = reach ? connect_path(sockets, 0, sock->object->fd, reach)
                      : connect_name(sockets, 0, sock->object->fd, (const void *)&own, len, "");
        }
        if (reach)
            unlink_reach(reach);
        return r < 0 ? stint_err_set(err, r, "connect a UNIX datagram socket") : 0;
    }
    if (peer) {
        r = connect_to(sockets, 0, sock->object->fd, peer);
        return r < 0 ? stint_err_set(err, r, "connect a UNIX datagram socket") : 0;
    }
    r = connect_name(sockets, 0, sock->object->fd, sock->peer_name,
                     sock->record->peer_name_len, "");
    if (r < 0)
        stint_restore_note(sockets->restore, "a UNIX socket cannot be connected to a service "
                                             "of this machine again: %s",
                           strerror(-r));
    return 0;
}

static int connect_pending(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                           struct stint_err *err)
{
    const struct stint_restored_socket *listener
        = stint_socket_by_id(sockets, sock->record->peer);
    int r;

    if (!listener || listener->record->state != STINT_SOCKET_LISTENING)
        return stint_err_set(err, -EBADMSG, "the image names no listener of UNIX socket %u.",
                             sock->object->object->id);
    r = connect_to(sockets, 0, sock->object->fd, listener);
    return r < 0 ? stint_err_set(err, r, "connect a UNIX socket that was not accepted") : 0;
}

static int by_order(const void *a, const void *b)
{
    const struct stint_restored_socket *x = *(struct stint_restored_socket *const *)a;
    const struct stint_restored_socket *y = *(struct stint_restored_socket *const *)b;

    return x->record->order < y->record->order ? -1 : x->record->order > y->record->order;
}

static struct stint_restored_socket **pending_of(struct stint_sockets *sockets, size_t *n)
{
    struct stint_restored_socket **list = calloc(sockets->count, sizeof(*list));

    *n = 0;
    for (size_t i = 0; list && i < sockets->count; i++) {
        if (sockets->list[i].record->family == AF_UNIX
            && sockets->list[i].record->state == STINT_SOCKET_PENDING)
            list[(*n)++] = &sockets->list[i];
    }
    if (list)
        qsort(list, *n, sizeof(*list), by_order);
    return list;
}

int stint_unix_connect(struct stint_sockets *sockets, bool late, struct stint_err *err)
{
    STINT_AUTO_FREE struct stint_restored_socket **pending = NULL;
    size_t n;
    int r = 0;

    for (size_t i = 0; r == 0 && i < sockets->count; i++) {
        struct stint_restored_socket *sock = &sockets->list[i];

        if (sock->record->family == AF_UNIX && sock->record->type == SOCK_DGRAM
            && (sock->record->state == STINT_SOCKET_CONNECTED
                || sock->record->state == STINT_SOCKET_ENDED)
            && sock->late == late)
            r = connect_datagram(sockets, sock, err);
    }
    if (late || r < 0)
        return r;
    pending = pending_of(sockets, &n);
    if (!pending)
        return stint_err_set(err, -ENOMEM, "restore sockets");
    for (size_t i = 0; r == 0 && i < n; i++)
        r = connect_pending(sockets, pending[i], err);
    return r;
}

void stint_unix_clean(struct stint_sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++) {
        if (sockets->list[i].reach)
            unlink_reach(sockets->list[i].reach);
    }
}
