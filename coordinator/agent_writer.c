/* The helper process of one checkpoint.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_writer.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "coordinator/agent_group.h"
#include "coordinator/agent_saved.h"

/* One packet each; FAILED is followed by the reason. */
#define SAY_COPIED  'c'
#define SAY_DURABLE 'd'
#define SAY_FAILED  'f'
#define SAY_SYNC    's' /* from the agent */

struct agent_writer {
    const struct agent_writer_callbacks *callbacks;
    void *arg;
    pid_t pid;
    int channel;
    struct event *event;
    bool durable;
};

/* --- in the helper ------------------------------------------------------------ */

struct helper {
    const struct agent_writer_order *order;
    int channel;
};

static void say(int channel, char what, const char *text)
{
    char packet[1200] = {what};
    size_t len = 1 + (text ? strlen(text) : 0);

    if (len > sizeof(packet))
        len = sizeof(packet);
    if (text)
        memcpy(packet + 1, text, len - 1);
    (void)send(channel, packet, len, MSG_NOSIGNAL); /* no agent: nobody to tell */
}

/* Held longer, a pipe's end would hide from a reader that its writers are gone. */
static void on_copied(void *arg)
{
    struct helper *helper = arg;

    agent_objects_release(&helper->order->group->objects);
    say(helper->channel, SAY_COPIED, NULL);
}

static int sync_all(const struct agent_writer_order *order, struct stint_err *err)
{
    for (size_t i = 0; i < order->nimages; i++) {
        if (fsync(order->image_fds[i]) < 0)
            return stint_err_set(err, -errno, "make an image durable (fsync)");
    }
    if (fsync(order->dir_fd) < 0)
        return stint_err_set(err, -errno, "make the generation's directory durable (fsync)");
    return 0;
}

static int compare_fd(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Close what this process does not need: with the agent's connections open here, their
 * other ends would not notice that the agent has died. */
static int close_others(const struct helper *helper, struct stint_err *err)
{
    const struct agent_writer_order *order = helper->order;
    const struct agent_objects *objects = &order->group->objects;
    STINT_AUTO_FREE int *keep
        = calloc(order->nimages + objects->count + 3, sizeof(*keep));
    size_t n = 0;
    int next = STDERR_FILENO + 1;

    if (!keep)
        return stint_err_set(err, -ENOMEM, "list descriptors");
    keep[n++] = helper->channel;
    keep[n++] = order->group_fd;
    keep[n++] = order->dir_fd;
    for (size_t i = 0; i < order->nimages; i++)
        keep[n++] = order->image_fds[i];
    for (size_t i = 0; i < objects->count; i++)
        keep[n++] = objects->list[i]->fd;
    qsort(keep, n, sizeof(*keep), compare_fd);
    for (size_t i = 0; i < n; i++) {
        if (keep[i] > next)
            (void)syscall(SYS_close_range, next, keep[i] - 1, 0); /* or they stay open */
        if (keep[i] >= next)
            next = keep[i] + 1;
    }
    (void)syscall(SYS_close_range, next, UINT_MAX, 0); /* likewise */
    return 0;
}

static int help(struct helper *helper, struct stint_err *err)
{
    const struct agent_writer_order *order = helper->order;
    char packet;
    int ret;

    /* before its log is closed, too */
    ret = agent_saved_find(order->group, order->save_files, &order->group->saved, err);
    if (ret == 0)
        ret = close_others(helper, err);
    if (ret < 0)
        return ret;
    ret = agent_group_write(order->group, order->group_fd, order->group_name,
                            order->generation, order->gen_id, on_copied, helper, err);
    if (ret < 0)
        return ret;
    if (recv(helper->channel, &packet, 1, 0) != 1)
        _exit(1); /* the agent has gone */
    return sync_all(order, err);
}

static void __attribute__((noreturn))
run_helper(const struct agent_writer_order *order, int channel)
{
    struct helper helper = {order, channel};
    struct stint_err err;

    if (help(&helper, &err) < 0)
        say(channel, SAY_FAILED, err.text);
    else
        say(channel, SAY_DURABLE, NULL);
    _exit(0);
}

/* --- in the agent --------------------------------------------------------------- */

static void on_packet(evutil_socket_t fd, short what, void *arg)
{
    struct agent_writer *writer = arg;
    char packet[1201];
    ssize_t n = recv(fd, packet, sizeof(packet) - 1, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        event_del(writer->event);
        if (!writer->durable)
            writer->callbacks->failed("the process that writes the group image was killed",
                                      writer->arg);
        return;
    }
    packet[n] = '\0';
    if (packet[0] == SAY_COPIED) {
        writer->callbacks->copied(writer->arg);
    } else if (packet[0] == SAY_DURABLE) {
        writer->durable = true;
        writer->callbacks->durable(writer->arg);
    } else {
        event_del(writer->event);
        writer->callbacks->failed(packet + 1, writer->arg);
    }
}

int agent_writer_start(struct event_base *base, const struct agent_writer_order *order,
                       const struct agent_writer_callbacks *callbacks, void *arg,
                       struct agent_writer **writer, struct stint_err *err)
{
    struct agent_writer *fresh = calloc(1, sizeof(*fresh));
    STINT_AUTO_CLOSE int theirs = -1;
    int fds[2];

    if (!fresh)
        return stint_err_set(err, -ENOMEM, "start a helper process");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
        free(fresh);
        return stint_err_set(err, -errno, "make a socket pair");
    }
    fresh->channel = fds[0];
    theirs = fds[1];
    fresh->callbacks = callbacks;
    fresh->arg = arg;
    fresh->event = event_new(base, fds[0], EV_READ | EV_PERSIST, on_packet, fresh);
    if (!fresh->event || event_add(fresh->event, NULL) < 0) {
        agent_writer_free(fresh);
        return stint_err_set(err, -ENOMEM, "watch a helper process");
    }
    fresh->pid = fork();
    if (fresh->pid == 0) {
        (void)close(fds[0]);
        run_helper(order, theirs);
    }
    if (fresh->pid < 0) {
        int ret = -errno;

        fresh->pid = 0;
        agent_writer_free(fresh);
        return stint_err_set(err, ret, "fork a helper process");
    }
    *writer = fresh;
    return 0;
}

void agent_writer_sync(struct agent_writer *writer)
{
    const char packet = SAY_SYNC;

    (void)send(writer->channel, &packet, 1, MSG_NOSIGNAL); /* its end is noticed anyway */
}

pid_t agent_writer_pid(const struct agent_writer *writer)
{
    return writer ? writer->pid : 0;
}

void agent_writer_reaped(struct agent_writer *writer)
{
    writer->pid = 0;
}

void agent_writer_free(struct agent_writer *writer)
{
    if (!writer)
        return;
    if (writer->event)
        event_free(writer->event);
    stint_cleanup_close(&writer->channel);
    if (writer->pid > 0) {
        (void)kill(writer->pid, SIGKILL);
        (void)waitpid(writer->pid, NULL, 0);
    }
    free(writer);
}
