/* POSIX message queues of the program.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program that was never restored shares the machine's queues: its own are those that it
 * has open, and those of its user that were used since it began and that nobody else has
 * open. A restored program has an IPC namespace of its own. What mq_notify(3) was given is
 * noted by libstint.so (runtime/mqueues.c); the kernel tells only who has called it.
 */
#include "coordinator/agent_mqueue.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "coordinator/agent_proc.h"
#include "common/image_write.h"
#include "coordinator/agent_fdinfo.h"
#include "coordinator/agent_group.h"
#include "coordinator/agent_ipc.h"
#include "coordinator/agent_namespace.h"
#include "coordinator/agent_object.h"
#include "coordinator/agent_state.h"

/* What a fresh IPC namespace allows a user: DFLT_MSGMAX, DFLT_MSGSIZEMAX of the kernel. */
#define USER_MAXMSG  10
#define USER_MSGSIZE 8192
#define DELETED      " (deleted)"

struct agent_mqueue {
    struct stint_mqueue record;
    dev_t dev;
    ino_t ino;
    char *name; /* "/name" */
    char *bytes;
    size_t len;
};

struct note {
    pid_t pid; /* as the program sees it */
    struct stint_ckpt_mq_notify packet;
};

struct agent_mqueues {
    struct agent_mqueue *list; /* id = index + 1 */
    size_t count;
    struct note *notes;
    size_t nnotes;
    struct held {
        dev_t dev;
        ino_t ino;
    } *held; /* files without a path that processes outside of the program have open */
    size_t nheld;
    bool looked_outside;
};

static struct agent_mqueues *queues_of(struct agent_objects *all)
{
    if (!all->mqueues)
        all->mqueues = calloc(1, sizeof(*all->mqueues));
    return all->mqueues;
}

int agent_mqueue_note(struct agent_objects *all, pid_t pid,
                      const struct stint_ckpt_mq_notify *note)
{
    struct agent_mqueues *queues = queues_of(all);
    struct note *notes;

    if (!queues)
        return -ENOMEM;
    notes = reallocarray(queues->notes, queues->nnotes + 1, sizeof(*notes));
    if (!notes)
        return -ENOMEM;
    queues->notes = notes;
    notes[queues->nnotes++] = (struct note){pid, *note};
    return 0;
}

/* --- who else has it open ----------------------------------------------------------- */

static int hold(struct agent_mqueues *queues, const struct stat *st)
{
    struct held *held = reallocarray(queues->held, queues->nheld + 1, sizeof(*held));

    if (!held)
        return -ENOMEM;
    queues->held = held;
    held[queues->nheld++] = (struct held){st->st_dev, st->st_ino};
    return 0;
}

/* Note what one process has open on that file system. */
static int look_at_process(struct agent_mqueues *queues, pid_t pid, dev_t dev)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    const struct dirent *entry;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)agent_proc_task(pid));
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        struct stat st;

        if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode)
            && st.st_dev == dev && hold(queues, &st) < 0)
            return -ENOMEM;
    }
    return 0; /* gone, or another user's: nothing to see */
}

/* This agent, its children, and those of other jobs: they have queues open for a moment only,
 * to look at them. */
static bool is_agent(pid_t pid)
{
    struct stat own, theirs;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    return stat(path, &theirs) == 0 && stat("/proc/self/exe", &own) == 0
           && theirs.st_dev == own.st_dev && theirs.st_ino == own.st_ino;
}

static int look_outside(struct agent_objects *all, dev_t dev)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    const struct dirent *entry;
    int ret = 0;

    if (all->mqueues->looked_outside || all->agent->restore)
        return 0;
    all->mqueues->looked_outside = true;
    dir = opendir("/proc");
    while (ret == 0 && dir && (entry = readdir(dir))) {
        pid_t pid = atoi(entry->d_name);

        if (pid > 0 && !agent_group_member(all->group, pid) && !is_agent(pid))
            ret = look_at_process(all->mqueues, pid, dev);
    }
    return ret;
}

static bool is_held(const struct agent_mqueues *queues, const struct stat *st)
{
    for (size_t i = 0; i < queues->nheld; i++) {
        if (queues->held[i].ino == st->st_ino && queues->held[i].dev == st->st_dev)
            return true;
    }
    return false;
}

/* --- one queue ------------------------------------------------------------------------ */

static const struct note *find_note(const struct agent_mqueues *queues, pid_t pid,
                                    const struct stat *st)
{
    for (size_t i = 0; i < queues->nnotes; i++) {
        const struct note *note = &queues->notes[i];

        if (note->pid == pid && note->packet.dev == st->st_dev
            && note->packet.ino == st->st_ino)
            return note;
    }
    return NULL;
}

/* The descriptor itself reads as "QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260"; see
 * mq_overview(7). Returns 0 or -errno. */
static int read_told(int fd, int *notify, int *signo, int *pid)
{
    char text[160];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n < 0)
        return -errno;
    text[n] = '\0';
    return sscanf(text, "QSIZE:%*u NOTIFY:%d SIGNO:%d NOTIFY_PID:%d", notify, signo, pid) == 3
               ? 0
               : -EPROTO;
}

/* Who is to be told. Returns NULL, or in words what cannot be restored about it. */
static const char *describe_told(const struct agent_objects *all, struct agent_mqueue *queue,
                                 const struct stat *st, int notify, int signo, pid_t pid)
{
    const struct agent_member *member = agent_group_member(all->group, pid);
    const struct note *note;

    if (!member)
        return "tells a process that is not part of the program of messages (mq_notify)";
    note = find_note(all->mqueues, member->record.pid, st);
    if (!note || note->packet.notify != notify
        || (notify == SIGEV_SIGNAL && note->packet.signo != signo))
        return "tells of messages (mq_notify) in a way that is not known: by a raw system call, "
               "or before an exec";
    if (notify == SIGEV_THREAD && note->packet.signo < 0)
        return "tells of messages by a thread with attributes (mq_notify, SIGEV_THREAD), which "
               "is not supported";
    queue->record.notify_pid = member->record.pid;
    queue->record.notify = notify;
    queue->record.notify_signo = note->packet.signo;
    queue->record.notify_value = note->packet.value;
    memcpy(queue->record.notify_cookie, note->packet.cookie,
           sizeof(queue->record.notify_cookie));
    return NULL;
}

static int refuse(const struct agent_object *object, const char *name, struct stint_err *err,
                  const char *what)
{
    if (object)
        return agent_object_refuse(object, err, "the message queue %s %s", name, what);
    stint_err_set(err, -ENOTSUP, "the message queue %s, which no process has open, %s.", name,
                  what);
    return AGENT_OBJECT_E_REFUSED;
}

/* fd: readable, writable, not blocking. object: NULL when nobody has it open. */
static int describe(const struct agent_objects *all, const struct agent_object *object, int fd,
                    struct agent_mqueue *queue, struct stint_err *err)
{
    int notify, signo, pid, ret;
    const char *what = NULL;
    struct mq_attr attr;
    struct stat st;

    ret = read_told(fd, &notify, &signo, &pid);
    if (ret < 0 || fstat(fd, &st) < 0 || mq_getattr(fd, &attr) < 0)
        return stint_err_set(err, ret < 0 ? ret : -errno, "look at the message queue %s",
                             queue->name);
    queue->record.mode = st.st_mode & 07777;
    queue->record.uid = st.st_uid;
    queue->record.gid = st.st_gid;
    queue->record.flags = st.st_nlink == 0 ? STINT_MQUEUE_UNLINKED : 0;
    queue->record.maxmsg = attr.mq_maxmsg;
    queue->record.msgsize = attr.mq_msgsize;
    if (geteuid() != 0 && (attr.mq_maxmsg > USER_MAXMSG || attr.mq_msgsize > USER_MSGSIZE))
        what = "is larger than an ordinary user can make it again (10 messages of 8192 bytes)";
    else if (is_held(all->mqueues, &st))
        what = "is open in a process that is not part of the program: start that with it";
    else if (pid)
        what = describe_told(all, queue, &st, notify, signo, pid);
    if (what)
        return refuse(object, queue->name, err, what);
    ret = agent_mqueue_copy(fd, pid != 0, &queue->bytes, &queue->len, err);
    return ret < 0 ? stint_err_prefix(err, "the message queue %s", queue->name) : 0;
}

static void deinit(struct agent_mqueue *queue)
{
    free(queue->name);
    free(queue->bytes);
}

/* Takes what queue owns over. */
static int add(struct agent_mqueues *queues, struct agent_mqueue *queue, struct stint_err *err)
{
    struct agent_mqueue *list
        = reallocarray(queues->list, queues->count + 1, sizeof(*list));

    if (!list) {
        deinit(queue);
        return stint_err_set(err, -ENOMEM, "list message queues");
    }
    queues->list = list;
    queue->record.id = (uint32_t)queues->count + 1;
    list[queues->count++] = *queue;
    return 0;
}

static const struct agent_mqueue *find(const struct agent_mqueues *queues,
                                       const struct stat *st)
{
    for (size_t i = 0; i < queues->count; i++) {
        if (queues->list[i].ino == st->st_ino && queues->list[i].dev == st->st_dev)
            return &queues->list[i];
    }
    return NULL;
}

/* name: taken over. */
static int take(struct agent_objects *all, const struct agent_object *object, int fd,
                const struct stat *st, char *name, struct stint_err *err)
{
    struct agent_mqueue queue = {.name = name, .dev = st->st_dev, .ino = st->st_ino};
    int ret = name ? 0 : -ENOMEM;

    if (ret == 0)
        ret = look_outside(all, st->st_dev);
    if (ret < 0)
        (void)stint_err_set(err, ret, "look at a message queue");
    else
        ret = describe(all, object, fd, &queue, err);
    if (ret != 0) {
        deinit(&queue);
        return ret;
    }
    return add(all->mqueues, &queue, err);
}

/* "/name", or where it was opened below a mounted mqueue file system; " (deleted)". */
static char *name_of(const struct agent_object *object)
{
    const char *last = strrchr(object->link, '/');
    size_t len = last ? strlen(last) : 0;

    if (object->st.st_nlink == 0 && len > strlen(DELETED)
        && strcmp(last + len - strlen(DELETED), DELETED) == 0)
        len -= strlen(DELETED);
    return len > 1 ? strndup(last, len) : NULL;
}

int agent_mqueue_take(struct agent_objects *all, struct agent_object *object, uint32_t *id,
                      struct stint_err *err)
{
    struct agent_mqueues *queues = queues_of(all);
    const struct agent_mqueue *known = queues ? find(queues, &object->st) : NULL;
    STINT_AUTO_CLOSE int fd = -1;
    char path[64];
    int ret;

    if (!queues)
        return stint_err_set(err, -ENOMEM, "list message queues");
    if (known) {
        *id = known->record.id;
        return 0;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", object->fd);
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return agent_object_refuse(object, err, "the message queue %s cannot be opened for "
                                                "reading and writing: %s",
                                   object->link, strerror(errno));
    ret = take(all, object, fd, &object->st, name_of(object), err);
    if (ret != 0)
        return ret;
    *id = (uint32_t)queues->count;
    return 0;
}

/* --- queues that nobody has open --------------------------------------------------- */

/* The mqueue file system of the namespace: a mount of our own, else one that is there. */
static int open_file_system(void)
{
    STINT_AUTO_CLOSE int context = -1;
    STINT_AUTO_CLOSE int mounted = -1;
    STINT_AUTO_FCLOSE FILE *mounts = NULL;
    STINT_AUTO_FREE char *line = NULL;
    size_t room = 0;
    int fd = -1;

    if (unshare(CLONE_NEWNS) == 0)
        context = (int)syscall(SYS_fsopen, "mqueue", 1 /* FSOPEN_CLOEXEC */);
    if (context >= 0 && syscall(SYS_fsconfig, context, 6 /* CMD_CREATE */, NULL, NULL, 0) == 0)
        mounted = (int)syscall(SYS_fsmount, context, 1 /* FSMOUNT_CLOEXEC */, 0);
    if (mounted >= 0)
        fd = openat(mounted, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    mounts = fopen("/proc/self/mounts", "re");
    while (mounts && fd < 0 && getline(&line, &room, mounts) > 0) {
        char at[256], type[16];

        if (sscanf(line, "%*s %255s %15s", at, type) == 2 && strcmp(type, "mqueue") == 0)
            fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return fd;
}

static void pass(int channel, const char *name, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {{0}};
    struct iovec iov = {(void *)name, strlen(name) + 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};

    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    if (sendmsg(channel, &message, MSG_NOSIGNAL) < 0)
        _exit(1); /* the agent sees the end */
}

/* May it be the program's, although no process of it has it open? */
static bool may_be_of_program(const struct agent *agent, const struct stat *st)
{
    return agent->restore
           || (st->st_uid == geteuid() && st->st_ctime >= agent_ipc_program_began(agent));
}

/* In a child: pass every queue of the namespace that may be the program's. */
static void list_all(const struct agent *agent, int channel) __attribute__((noreturn));

static void list_all(const struct agent *agent, int channel)
{
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    const struct dirent *entry;
    struct stint_err err;
    int fd;

    if (agent_namespace_enter_ipc(agent->root, &err) < 0)
        _exit(1);
    fd = open_file_system();
    dir = fd < 0 ? NULL : fdopendir(fd);
    while (dir && (entry = readdir(dir))) {
        STINT_AUTO_CLOSE int queue = -1;
        struct stat st;

        if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)
            || !may_be_of_program(agent, &st))
            continue;
        queue = openat(fd, entry->d_name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (queue >= 0)
            pass(channel, entry->d_name, queue);
    }
    _exit(0);
}

/* Returns the length of the name with *fd, 0 at the end. */
static ssize_t receive(int channel, char *name, size_t size, int *fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control;
    struct iovec iov = {name, size};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t n;

    *fd = -1;
    do
        n = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n > 0 && message.msg_controllen >= sizeof(control.header)
        && control.header.cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(&control.header), sizeof(*fd));
    return n;
}

static int take_listed(struct agent_objects *all, int channel, struct stint_err *err)
{
    char name[NAME_MAX + 2] = "/";
    int fd, ret = 0;

    while (ret == 0 && receive(channel, name + 1, sizeof(name) - 1, &fd) > 0) {
        STINT_AUTO_CLOSE int queue = fd;
        struct stat st;

        if (queue >= 0 && fstat(queue, &st) == 0 && !find(all->mqueues, &st)
            && look_outside(all, st.st_dev) == 0 && !is_held(all->mqueues, &st))
            ret = take(all, NULL, queue, &st, strdup(name), err);
    }
    return ret;
}

int agent_mqueue_take_closed(struct agent_objects *all, struct stint_err *err)
{
    STINT_AUTO_CLOSE int ours = -1;
    STINT_AUTO_CLOSE int theirs = -1;
    int fds[2], ret;
    pid_t pid;

    if (!queues_of(all))
        return stint_err_set(err, -ENOMEM, "list message queues");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return stint_err_set(err, -errno, "make a socket pair");
    ours = fds[0];
    theirs = fds[1];
    pid = fork();
    if (pid == 0)
        list_all(all->agent, theirs);
    if (pid < 0)
        return stint_err_set(err, -errno, "fork");
    (void)close(stint_steal_fd(&theirs));
    ret = take_listed(all, ours, err);
    (void)close(stint_steal_fd(&ours)); /* or it would wait for room */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return ret;
}

/* --- the image ------------------------------------------------------------------------- */

int agent_mqueue_store(struct agent_mqueues *queues, struct stint_image_writer *writer,
                       struct stint_err *err)
{
    for (size_t i = 0; queues && i < queues->count; i++) {
        struct agent_mqueue *queue = &queues->list[i];
        int ret = stint_image_writer_contents(writer, queue->bytes, queue->len,
                                              &queue->record.data_offset,
                                              &queue->record.data_len,
                                              &queue->record.data_xxh3, err);

        if (ret < 0)
            return ret;
    }
    return 0;
}

int agent_mqueue_write(struct agent_mqueues *queues, struct stint_image_writer *writer,
                       struct stint_err *err)
{
    for (size_t i = 0; queues && i < queues->count; i++) {
        struct agent_mqueue *queue = &queues->list[i];
        struct iovec parts[2] = {{&queue->record, sizeof(queue->record)},
                                 {queue->name, strlen(queue->name) + 1}};
        int ret;

        queue->record.name_len = (uint32_t)parts[1].iov_len;
        ret = stint_image_writer_record(writer, STINT_REC_MQUEUE, STINT_RECORD_REQUIRED, parts,
                                        2, err);
        if (ret < 0)
            return ret;
    }
    return 0;
}

void agent_mqueue_free(struct agent_mqueues *queues)
{
    if (!queues)
        return;
    for (size_t i = 0; i < queues->count; i++)
        deinit(&queues->list[i]);
    free(queues->list);
    free(queues->notes);
    free(queues->held);
    free(queues);
}
