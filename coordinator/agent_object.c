/* Open file descriptions of the program.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_object.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/agent_inet.h"
#include "coordinator/agent_inotify.h"
#include "coordinator/agent_mqueue.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_socket.h"
#include "coordinator/agent_state.h"

/* The first that matches takes it. */
static const struct agent_fdkind *const kinds[] = {
    &agent_fd_stdio,    &agent_fd_proc,   &agent_fd_path,     &agent_fd_memfd,
    &agent_fd_mqueue,   &agent_fd_regular,
    &agent_fd_directory, &agent_fd_pipe,  &agent_fd_fifo,     &agent_fd_pty,      &agent_fd_inotify,  &agent_fd_terminal,
    &agent_fd_device,   &agent_fd_epoll,  &agent_fd_eventfd,  &agent_fd_timerfd,
    &agent_fd_signalfd, &agent_fd_pidfd,  &agent_fd_unix,     &agent_fd_inet,
    &agent_fd_netlink,
};

int agent_object_refuse(const struct agent_object *object, struct stint_err *err,
                        const char *fmt, ...)
{
    va_list args;
    char text[512];

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (text[0] && text[strlen(text) - 1] == '.')
        text[strlen(text) - 1] = '\0';
    stint_err_set(err, -ENOTSUP, "process %d (%s), descriptor %d: %s.", (int)object->pid,
                  object->comm, object->number, text);
    return AGENT_OBJECT_E_REFUSED;
}

/* --- which are the same ----------------------------------------------------- */

/* 0 equal, 1 less, 2 greater (kcmp(2)), or -errno. */
static int compare(int a, int b)
{
    pid_t self = getpid();
    long ret = syscall(SYS_kcmp, self, self, KCMP_FILE, (unsigned long)a, (unsigned long)b);

    return ret < 0 ? -errno : (int)ret;
}

/* Find the description of fd. Returns 1 with *at its place, 0 with *at where it belongs,
 * or -errno. */
static int find(const struct agent_objects *objects, int fd, size_t *at)
{
    size_t low = 0, high = objects->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(fd, objects->sorted[middle]->fd);

        if (order < 0)
            return order;
        if (order == 0) {
            *at = middle;
            return 1;
        }
        if (order == 1)
            high = middle;
        else
            low = middle + 1;
    }
    *at = low;
    return 0;
}

static int reserve(struct agent_objects *objects)
{
    if (objects->count == objects->room) {
        size_t room = objects->room ? objects->room * 2 : 64;
        struct agent_object **list = reallocarray(objects->list, room, sizeof(*list));
        struct agent_object **sorted;

        if (!list)
            return -ENOMEM;
        objects->list = list;
        sorted = reallocarray(objects->sorted, room, sizeof(*sorted));
        if (!sorted)
            return -ENOMEM;
        objects->sorted = sorted;
        objects->room = room;
    }
    if (objects->nfds == objects->fds_room) {
        size_t room = objects->fds_room ? objects->fds_room * 2 : 64;
        struct agent_fd *fds = reallocarray(objects->fds, room, sizeof(*fds));

        if (!fds)
            return -ENOMEM;
        objects->fds = fds;
        objects->fds_room = room;
    }
    return 0;
}

/* --- what each is ------------------------------------------------------------ */

/* Which of the agent's own three is the same description? When several are (all of them
 * a terminal), the one of the same number: a restart may give each another file. */
static int find_stdio(int fd, int number)
{
    if (number <= STDERR_FILENO && compare(fd, number) == 0)
        return number;
    for (int own = STDIN_FILENO; own <= STDERR_FILENO; own++) {
        if (compare(fd, own) == 0)
            return own;
    }
    return -1;
}

static char *read_link(int fd)
{
    char path[64], target[PATH_MAX + 16];
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    len = readlink(path, target, sizeof(target) - 1);
    if (len < 0)
        return NULL;
    target[len] = '\0';
    return strdup(target);
}

static struct agent_object *object_new(int fd, pid_t pid, const char *comm, int number)
{
    struct agent_object *object = calloc(1, sizeof(*object));

    if (!object)
        return NULL;
    object->fd = fd;
    object->stdio = -1;
    object->pid = pid;
    object->number = number;
    snprintf(object->comm, sizeof(object->comm), "%s", comm);
    object->open_flags = fcntl(fd, F_GETFL);
    object->link = read_link(fd);
    if (object->open_flags < 0 || !object->link || fstat(fd, &object->st) < 0) {
        free(object->link);
        free(object);
        return NULL;
    }
    return object;
}

static void object_free(struct agent_object *object)
{
    if (!object)
        return;
    stint_cleanup_close(&object->fd);
    free(object->link);
    free(object->path);
    free(object->extra);
    agent_socket_free(object->socket);
    free(object);
}

/* The same description under another of the agent's numbers is another object. */
static struct agent_object *stdio_variant(struct agent_objects *objects,
                                          struct agent_object *object, int number)
{
    if (object->stdio < 0 || number > STDERR_FILENO || object->stdio == number
        || compare(object->fd, number) != 0)
        return object;
    for (size_t i = 0; i < objects->count; i++) {
        if (objects->list[i]->stdio == number)
            return objects->list[i];
    }
    return NULL;
}

static int append(struct agent_objects *objects, struct agent_object *object, size_t at)
{
    memmove(objects->sorted + at + 1, objects->sorted + at,
            (objects->count - at) * sizeof(*objects->sorted));
    objects->sorted[at] = object;
    objects->list[objects->count++] = object;
    object->record.id = (uint32_t)objects->count;
    return 0;
}

/* The object of a description, made if there is none yet. Takes fd over. */
static int take(struct agent_objects *objects, const struct agent_object *origin, int fd,
                struct agent_object **taken, struct stint_err *err)
{
    STINT_AUTO_CLOSE int copy = fd;
    struct agent_object *object = NULL;
    size_t at;
    int found = find(objects, fd, &at);

    if (found < 0)
        return stint_err_set(err, found, "compare descriptors (kcmp)");
    if (reserve(objects) < 0)
        return stint_err_set(err, -ENOMEM, "list descriptors");
    if (found)
        object = stdio_variant(objects, objects->sorted[at], origin->number);
    if (!object) {
        object = object_new(fd, origin->pid, origin->comm, origin->number);
        if (!object)
            return stint_err_set(err, -errno, "look at descriptor %d of process %d (%s)",
                                 origin->number, (int)origin->pid, origin->comm);
        stint_steal_fd(&copy);
        object->stdio = find_stdio(object->fd, origin->number);
        append(objects, object, at);
    }
    *taken = object;
    return 0;
}

int agent_objects_add(struct agent_objects *objects, pid_t pid, const char *comm, int number,
                      bool cloexec, int fd, struct stint_err *err)
{
    struct agent_object origin = {.pid = pid, .number = number};
    struct agent_object *object;
    int ret;

    snprintf(origin.comm, sizeof(origin.comm), "%s", comm);
    ret = take(objects, &origin, fd, &object, err);
    if (ret == 0)
        objects->fds[objects->nfds++] = (struct agent_fd){
            .pid = pid, .number = number, .cloexec = cloexec, .object = object};
    return ret;
}

int agent_objects_add_passed(struct agent_objects *objects, const struct agent_object *via,
                             int fd, struct agent_object **object, struct stint_err *err)
{
    return take(objects, via, fd, object, err);
}

static int refuse_by_link(const struct agent_object *object, const char *name,
                          struct stint_err *err)
{
    const char *advice = agent_object_advice(object->link);

    return agent_object_refuse(object, err, "%s is not supported%s%s", name,
                               advice ? ": " : " yet", advice ? advice : "");
}

int agent_objects_unpassable(pid_t outer, pid_t pid, const char *comm, int number,
                             struct stint_err *err)
{
    char path[64], link[256], name[256];
    struct agent_object object = {.pid = pid, .number = number, .link = link};
    ssize_t n;

    snprintf(object.comm, sizeof(object.comm), "%s", comm);
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)agent_proc_task(outer), number);
    n = readlink(path, link, sizeof(link) - 1);
    link[n < 0 ? 0 : n] = '\0';
    if (agent_object_advice(link)) {
        agent_object_name(&object, name, sizeof(name));
        return refuse_by_link(&object, name, err);
    }
    return agent_object_refuse(&object, err, "the kernel does not hand it to another process "
                                             "(too many are under way)");
}

bool agent_object_sever(const struct agent_objects *all, struct agent_object *object)
{
    static const char path[] = "/dev/null";
    char name[256];

    if (!agent_program_has_inherited(all->agent, object->st.st_dev, object->st.st_ino))
        return false;
    object->path = strdup(path);
    if (!object->path)
        return false;
    agent_object_name(object, name, sizeof(name));
    stint_debug("process %d (%s), descriptor %d: %s came from outside: %s after a restart",
                (int)object->pid, object->comm, object->number, name, path);
    object->record.kind = STINT_OBJ_CHARDEV;
    object->record.mode = S_IFCHR | 0666;
    object->record.open_flags &= O_ACCMODE | O_NONBLOCK | O_CLOEXEC;
    object->record.pos = 0;
    object->severed = true;
    return true;
}

/* F_GETOWN in the program's own numbers; negative for a process group. */
static int32_t translate_owner(int fd, uint64_t *type)
{
    struct f_owner_ex owner;
    struct agent_inner inner;

    *type = 0;
    if (fcntl(fd, F_GETOWN_EX, &owner) < 0 || owner.pid == 0
        || agent_proc_inner(owner.pid, &inner) < 0)
        return 0;
    *type = (uint64_t)owner.type;
    return owner.type == F_OWNER_PGRP ? -inner.pgid : inner.pid;
}

static void fill_record(struct agent_object *object)
{
    struct stint_object *record = &object->record;
    off_t pos = lseek(object->fd, 0, SEEK_CUR);

    record->kind = object->kind->kind;
    record->open_flags = (uint32_t)object->open_flags;
    record->pos = pos < 0 ? 0 : pos;
    record->dev = object->st.st_dev;
    record->ino = object->st.st_ino;
    record->size = (uint64_t)object->st.st_size;
    record->mtime_ns
        = object->st.st_mtim.tv_sec * 1000000000ll + object->st.st_mtim.tv_nsec;
    record->mode = object->st.st_mode;
    if (!(object->open_flags & O_PATH)) {
        record->owner = translate_owner(object->fd, &record->owner_type);
        record->owner_signal = fcntl(object->fd, F_GETSIG);
    }
}

int agent_object_describe(struct agent_objects *objects, struct agent_object *object,
                          const struct agent_segments *segments, struct stint_err *err)
{
    char name[256];

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!kinds[i]->match(object))
            continue;
        object->kind = kinds[i];
        fill_record(object);
        return object->kind->describe(objects, object, segments, err);
    }
    object->kind = &agent_fd_device;
    fill_record(object);
    if (agent_object_sever(objects, object))
        return 0;
    agent_object_name(object, name, sizeof(name));
    return refuse_by_link(object, name, err);
}

int agent_objects_examine(struct agent_objects *objects,
                          const struct agent_segments *segments,
                          void (*found)(int how, const char *text, void *arg), void *arg,
                          struct stint_err *err)
{
    int looked = agent_sockets_look(objects, err);

    for (size_t i = 0; i < objects->count && looked == 0; i++) {
        struct stint_err reason;
        int ret = agent_object_describe(objects, objects->list[i], segments, &reason);

        if (ret != 0)
            found(ret, reason.text, arg);
    }
    return looked;
}

void agent_objects_release(struct agent_objects *objects)
{
    for (size_t i = 0; i < objects->count; i++) {
        agent_inet_end_room(objects->list[i]);
        stint_cleanup_close(&objects->list[i]->fd);
        objects->list[i]->fd = -1;
    }
}

void agent_objects_deinit(struct agent_objects *objects)
{
    for (size_t i = 0; i < objects->count; i++)
        object_free(objects->list[i]);
    agent_inotify_forget(objects);
    agent_mqueue_free(objects->mqueues);
    free(objects->list);
    free(objects->sorted);
    free(objects->fds);
    memset(objects, 0, sizeof(*objects));
}
