/* POSIX message queues in the new IPC namespace.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "runtime/restorer/objects.h"

static const char *name_of(const struct stint_mqueue *queue)
{
    return (const char *)(queue + 1);
}

void stint_mqueues_mount(struct stint_restore *restore)
{
    STINT_AUTO_FCLOSE FILE *mounts = fopen("/proc/self/mounts", "re");
    STINT_AUTO_FREE char *line = NULL;
    size_t room = 0;

    while (mounts && getline(&line, &room, mounts) > 0) {
        char at[256], type[16];

        if (sscanf(line, "%*s %255s %15s", at, type) != 2 || strcmp(type, "mqueue") != 0)
            continue;
        if (mount("mqueue", at, "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
            stint_control_send(restore, "note cannot mount %s (%s): it shows the machine's "
                                        "message queues",
                               at, strerror(errno));
        return; /* the list has changed; a second one is nothing that is seen anywhere */
    }
}

static int fill(struct stint_restore *restore, const struct stint_mqueue *queue, mqd_t fd,
                struct stint_err *err)
{
    STINT_AUTO_FREE char *bytes = malloc(queue->data_len + 1);
    int r = bytes ? 0 : stint_err_set(err, -ENOMEM, "fill message queue %s", name_of(queue));

    if (r == 0 && queue->data_len)
        r = stint_image_read_data(restore->group_image, queue->data_offset, queue->data_len,
                                  queue->data_xxh3, bytes, err);
    for (uint64_t at = 0;
         r == 0 && at + sizeof(struct stint_ipc_message) <= queue->data_len;) {
        const struct stint_ipc_message *head = (const void *)(bytes + at);

        at += sizeof(*head);
        if (head->len > queue->data_len - at)
            return stint_err_set(err, -EBADMSG, "message queue %s is damaged.", name_of(queue));
        if (mq_send(fd, bytes + at, head->len, (unsigned)head->type) < 0)
            return stint_err_set(err, -errno, "fill message queue %s", name_of(queue));
        at += (head->len + 7) & ~UINT64_C(7);
    }
    return r;
}

/* What the machine allows is more than a new namespace does: root may raise that. */
static void allow(const char *limit, int64_t want)
{
    char path[64], text[24];
    STINT_AUTO_CLOSE int fd = -1;
    ssize_t n;
    int len;

    (void)snprintf(path, sizeof(path), "/proc/sys/fs/mqueue/%s", limit); /* fits */
    fd = open(path, O_RDWR | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return;
    text[n] = '\0';
    if (atoll(text) >= want)
        return;
    len = snprintf(text, sizeof(text), "%lld", (long long)want);
    (void)pwrite(fd, text, (size_t)len, 0); /* mq_open() tells */
}

static int make(struct stint_restore *restore, const struct stint_mqueue *queue,
                struct stint_err *err)
{
    struct mq_attr attr = {.mq_maxmsg = queue->maxmsg, .mq_msgsize = queue->msgsize};
    STINT_AUTO_CLOSE int fd = -1;
    int r;

    allow("msg_max", queue->maxmsg);
    allow("msgsize_max", queue->msgsize);
    fd = mq_open(name_of(queue), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
    if (fd < 0)
        return stint_err_set(err, -errno, "make message queue %s (%lld messages of %lld bytes)",
                             name_of(queue), (long long)queue->maxmsg,
                             (long long)queue->msgsize);
    r = fill(restore, queue, fd, err);
    if (r < 0)
        return r;
    if (fchown(fd, queue->uid, queue->gid) < 0 && queue->uid != geteuid())
        stint_restore_note(restore, "message queue %s belongs to user %u now", name_of(queue),
                           geteuid());
    if (fchmod(fd, queue->mode & 07777) < 0 ||
        (queue->flags & STINT_MQUEUE_UNLINKED && mq_unlink(name_of(queue)) < 0))
        return stint_err_set(err, -errno, "make message queue %s", name_of(queue));
    restore->mqueues[queue->id - 1] =
        stint_restore_keep_fd(restore, stint_steal_fd(&fd), err);
    return restore->mqueues[queue->id - 1] < 0 ? err->code : 0;
}

/* A name may be taken again by now: those without one come first. */
static int make_those(struct stint_restore *restore, bool unlinked, struct stint_err *err)
{
    struct stint_image_record rec;
    size_t cursor = 0;
    int r = 0;

    while (r == 0 &&
           stint_image_next_of(restore->group_image, STINT_REC_MQUEUE, &cursor, &rec)) {
        const struct stint_mqueue *queue = rec.payload;

        if (queue->id == 0 || queue->id > restore->nmqueues)
            return stint_err_set(err, -EBADMSG, "message queue %s has no number.",
                                 name_of(queue));
        if (unlinked == ((queue->flags & STINT_MQUEUE_UNLINKED) != 0))
            r = make(restore, queue, err);
    }
    return r;
}

int stint_mqueues_make(struct stint_restore *restore, struct stint_err *err)
{
    struct stint_image_record rec;
    struct rlimit limit;
    size_t cursor = 0;
    int r;

    while (stint_image_next_of(restore->group_image, STINT_REC_MQUEUE, &cursor, &rec))
        restore->nmqueues++;
    if (restore->nmqueues == 0)
        return 0;
    restore->mqueues = malloc(restore->nmqueues * sizeof(*restore->mqueues));
    if (!restore->mqueues)
        return stint_err_set(err, -ENOMEM, "make message queues");
    for (size_t i = 0; i < restore->nmqueues; i++)
        restore->mqueues[i] = -1;
    if (getrlimit(RLIMIT_MSGQUEUE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_MSGQUEUE, &limit); /* up to the hard limit: allowed */
    }
    r = make_those(restore, true, err);
    return r < 0 ? r : make_those(restore, false, err);
}

int stint_object_open_mqueue(struct stint_restore *restore,
                             struct stint_restored_object *o, struct stint_err *err)
{
    uint64_t id = o->object->a;
    int fd;

    if (id == 0 || id > restore->nmqueues || restore->mqueues[id - 1] < 0)
        return stint_err_set(err, -EBADMSG, "a descriptor's message queue is missing.");
    fd = stint_reopen(restore->mqueues[id - 1], stint_object_flags(o->object));
    return fd < 0 ? stint_err_set(err, fd, "open a message queue") : fd;
}

/* Any descriptor of that queue that the process has; -1: none. */
static int find_fd(const struct stint_restore *restore, int32_t pid, uint32_t id)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    while (stint_image_next_of(restore->group_image, STINT_REC_FDS, &cursor, &rec)) {
        const struct stint_fds *fds = rec.payload;
        const struct stint_fd *fd = (const void *)(fds + 1);

        for (uint32_t i = 0; fds->pid == pid && i < fds->count; i++) {
            const struct stint_restored_object *o =
                stint_restore_object(restore, fd[i].object_id);

            if (o && o->object->kind == STINT_OBJ_MQUEUE && o->object->a == id)
                return fd[i].fd;
        }
    }
    return -1;
}

static int notify(const struct stint_restore *restore, const struct stint_mqueue *queue,
                  struct stint_err *err)
{
    int fd = find_fd(restore, queue->notify_pid, queue->id);
    struct sigevent event = {.sigev_notify = queue->notify, .sigev_signo = queue->notify_signo};

    event.sigev_value.sival_ptr = queue->notify == SIGEV_THREAD
                                      ? (void *)queue->notify_cookie
                                      : (void *)queue->notify_value;
    if (fd < 0 || syscall(SYS_mq_notify, fd, &event) < 0)
        return stint_err_set(err, fd < 0 ? -EBADF : -errno,
                             "be told of messages in the queue %s (mq_notify)", name_of(queue));
    return 0;
}

int stint_mqueues_notify(struct stint_restore *restore, int32_t pid, struct stint_err *err)
{
    struct stint_image_record rec;
    size_t cursor = 0;
    int r = 0;

    while (r == 0 &&
           stint_image_next_of(restore->group_image, STINT_REC_MQUEUE, &cursor, &rec)) {
        const struct stint_mqueue *queue = rec.payload;

        if (queue->notify_pid == pid)
            r = notify(restore, queue, err);
    }
    return r;
}
