/* Pseudo-terminals, both sides of which are in the job.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is queued in them cannot be looked at: it is read and put in again, while
 * nobody else runs, with settings under which no byte has a meaning or an echo.
 */
#include "coordinator/agent_object.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "coordinator/agent_proc.h"

#define PTMX         makedev(5, 2)
#define DEV_TTY      makedev(5, 0)
#define SLAVE_MAJOR  136 /* up to 143 */
#define QUEUE_BYTES  65536
#define SETTLE_MS    2000

_Static_assert(sizeof(struct termios2) <= sizeof(((struct stint_pty *)0)->termios), "fits");

/* --- which -------------------------------------------------------------------------- */

static bool is_slave_dev(dev_t dev)
{
    return major(dev) >= SLAVE_MAJOR && major(dev) < SLAVE_MAJOR + 8;
}

static unsigned index_of(dev_t dev)
{
    return (major(dev) - SLAVE_MAJOR) * 256 + minor(dev);
}

/* The pair that a slave belongs to; /dev/tty stands for one. */
static bool slave_index(const struct agent_object *object, unsigned *index)
{
    dev_t dev = object->st.st_rdev;
    unsigned real;

    if (dev == DEV_TTY && ioctl(object->fd, TIOCGDEV, &real) == 0)
        dev = (dev_t)real;
    if (!is_slave_dev(dev))
        return false;
    *index = index_of(dev);
    return true;
}

static bool match_pty(const struct agent_object *object)
{
    unsigned index;

    return S_ISCHR(object->st.st_mode)
           && (object->st.st_rdev == PTMX || slave_index(object, &index));
}

static int open_peer(int master)
{
    return ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
}

/* Several devpts may be mounted, each with a pair of that number. */
static bool is_slave_of(const struct agent_object *slave, const struct agent_object *master,
                        unsigned index)
{
    STINT_AUTO_CLOSE int peer = -1;
    unsigned number;
    struct stat st;

    if (master->st.st_rdev != PTMX || ioctl(master->fd, TIOCGPTN, &number) < 0
        || number != index)
        return false;
    if (slave->st.st_rdev == DEV_TTY)
        return true;
    peer = open_peer(master->fd);
    return peer < 0 || fstat(peer, &st) < 0
           || (st.st_dev == slave->st.st_dev && st.st_ino == slave->st.st_ino);
}

static struct agent_object *find_slave(const struct agent_objects *all,
                                       const struct agent_object *master, unsigned number)
{
    unsigned index;

    for (size_t i = 0; i < all->count; i++) {
        struct agent_object *object = all->list[i];

        if (S_ISCHR(object->st.st_mode) && object->st.st_rdev != PTMX
            && slave_index(object, &index) && index == number
            && is_slave_of(object, master, index))
            return object;
    }
    return NULL;
}

static int describe_slave(struct agent_objects *all, struct agent_object *object,
                          const struct agent_segments *segments, struct stint_err *err)
{
    unsigned index = 0;

    (void)slave_index(object, &index); /* it matched */
    for (size_t i = 0; i < all->count; i++) {
        if (S_ISCHR(all->list[i]->st.st_mode) && is_slave_of(object, all->list[i], index)) {
            object->record.a = index;
            object->path = strdup(object->link);
            return object->path ? 0 : stint_err_set(err, -ENOMEM, "describe a terminal");
        }
    }
    /* The other side is not the program's: the job's own terminal, or somebody else's. */
    object->kind = &agent_fd_terminal;
    object->record.kind = STINT_OBJ_TTY;
    return agent_fd_terminal.describe(all, object, segments, err);
}

/* --- what is queued ------------------------------------------------------------------- */

struct queue {
    char bytes[QUEUE_BYTES];
    size_t len;
};

static void read_queue(int fd, struct queue *queue)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    ssize_t n = 1;

    /* poll(2) also makes the kernel deliver what is still on its way */
    while (n > 0 && queue->len < sizeof(queue->bytes) && poll(&poll_fd, 1, 0) > 0
           && poll_fd.revents & POLLIN) {
        n = read(fd, queue->bytes + queue->len, sizeof(queue->bytes) - queue->len);
        if (n > 0)
            queue->len += (size_t)n;
    }
}

static int write_queue(int fd, const struct queue *queue)
{
    for (size_t done = 0; done < queue->len;) {
        ssize_t n = write(fd, queue->bytes + done, queue->len - done);

        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

/* Settings under which bytes go in as they are; lines stay lines. */
static struct termios2 verbatim(const struct termios2 *settings)
{
    struct termios2 plain = *settings;

    plain.c_iflag = 0;
    plain.c_oflag &= ~(tcflag_t)OPOST;
    plain.c_lflag &= ICANON;
    for (int i = 0; i < NCCS; i++)
        plain.c_cc[i] = 0; /* _POSIX_VDISABLE; no VMIN, no VTIME */
    return plain;
}

/* Bytes written to one side show up at the other a moment later. lines: how many bytes
 * are complete lines. */
static void await_input(int slave, size_t want)
{
    struct pollfd poll_fd = {.fd = slave, .events = POLLIN};
    struct timespec pause = {.tv_nsec = 1000000};
    int have = 0;

    for (int i = 0; i < SETTLE_MS; i++) {
        (void)poll(&poll_fd, 1, 0); /* delivers */
        if (ioctl(slave, FIONREAD, &have) < 0 || (size_t)have >= want)
            return;
        (void)nanosleep(&pause, NULL); /* paces the loop */
    }
}

/* What was typed and not read: whole lines by the line, then the one being edited. */
static int take_input(int master, int slave, const struct termios2 *settings,
                      struct queue *queue)
{
    struct termios2 plain = verbatim(settings), raw = plain;
    size_t lines;
    int ret;

    raw.c_lflag = 0;
    read_queue(slave, queue);
    lines = queue->len;
    if (ioctl(slave, TCSETS2, &raw) < 0)
        return -errno;
    read_queue(slave, queue);
    if (ioctl(slave, TCSETS2, &plain) < 0)
        return -errno;
    ret = write_queue(master, queue);
    await_input(slave, plain.c_lflag & ICANON ? lines : queue->len);
    return ret;
}

static int take_output(int master, int slave, const struct termios2 *settings,
                       struct queue *queue)
{
    struct termios2 plain = verbatim(settings);
    int ret = 0;

    read_queue(master, queue);
    if (queue->len == 0)
        return 0;
    if (ioctl(slave, TCSETS2, &plain) < 0)
        return -errno;
    ret = write_queue(slave, queue);
    await_input(master, queue->len);
    return ret;
}

/* A reader that has been told of an end (Ctrl-D) is the only loss: 0 bytes are no bytes. */
static int take_queues(int master, int slave, struct queue *input, struct queue *output)
{
    struct termios2 settings;
    int packet = 0, off = 0, flags = fcntl(master, F_GETFL), ret;

    if (ioctl(slave, TCGETS2, &settings) < 0)
        return -errno;
    (void)ioctl(master, TIOCGPKT, &packet); /* it is a master */
    if (packet)
        (void)ioctl(master, TIOCPKT, &off); /* likewise */
    (void)fcntl(master, F_SETFL, flags | O_NONBLOCK); /* put back below */
    ret = take_output(master, slave, &settings, output);
    if (ret == 0)
        ret = take_input(master, slave, &settings, input);
    if (ioctl(slave, TCSETS2, &settings) < 0 && ret == 0)
        ret = -errno;
    (void)fcntl(master, F_SETFL, flags); /* as it was */
    if (packet)
        (void)ioctl(master, TIOCPKT, &packet); /* likewise */
    return ret;
}

/* --- the master --------------------------------------------------------------------- */

static void read_session(int master, struct stint_pty *pty)
{
    pid_t sid = 0, pgid = 0;
    struct agent_inner inner;

    if (ioctl(master, TIOCGSID, &sid) < 0 || sid <= 0 || agent_proc_inner(sid, &inner) < 0)
        return;
    pty->sid = inner.pid;
    if (ioctl(master, TIOCGPGRP, &pgid) == 0 && pgid > 0
        && agent_proc_inner(pgid, &inner) == 0)
        pty->pgid = inner.pgid;
}

static int read_settings(int master, struct stint_pty *pty)
{
    struct termios2 settings;
    struct winsize size;

    if (ioctl(master, TCGETS2, &settings) < 0 || ioctl(master, TIOCGWINSZ, &size) < 0)
        return -errno;
    memcpy(pty->termios, &settings, sizeof(settings));
    pty->rows = size.ws_row;
    pty->cols = size.ws_col;
    pty->xpixel = size.ws_xpixel;
    pty->ypixel = size.ws_ypixel;
    (void)ioctl(master, TIOCGPTLCK, &pty->locked); /* it is a master */
    (void)ioctl(master, TIOCGPKT, &pty->packet);
    (void)ioctl(master, TIOCGEXCL, &pty->exclusive);
    return 0;
}

static int describe_master(struct agent_objects *all, struct agent_object *object,
                           struct stint_err *err)
{
    STINT_AUTO_FREE struct queue *queues = calloc(2, sizeof(*queues));
    STINT_AUTO_CLOSE int peer = -1;
    struct pollfd poll_fd = {.fd = object->fd};
    struct stint_pty pty = {0};
    unsigned index;
    int ret = 0;

    if (!queues)
        return stint_err_set(err, -ENOMEM, "describe a terminal");
    if (ioctl(object->fd, TIOCGPTN, &index) < 0)
        return stint_err_set(err, -errno, "look at a terminal");
    object->record.a = index;
    object->record.b = 1;
    ret = read_settings(object->fd, &pty);
    read_session(object->fd, &pty);
    pty.hung_up = poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & POLLHUP;
    if (ret == 0 && find_slave(all, object, index)) {
        peer = open_peer(object->fd);
        ret = peer < 0 ? -errno : take_queues(object->fd, peer, &queues[0], &queues[1]);
    }
    if (ret < 0)
        return stint_err_set(err, ret, "look at the terminal /dev/pts/%u", index);
    pty.input_len = (uint32_t)queues[0].len;
    pty.output_len = (uint32_t)queues[1].len;
    object->extra_len = sizeof(pty) + queues[0].len + queues[1].len;
    object->extra = malloc(object->extra_len);
    object->path = strdup(object->link);
    if (!object->extra || !object->path)
        return stint_err_set(err, -ENOMEM, "describe a terminal");
    memcpy(object->extra, &pty, sizeof(pty));
    memcpy((char *)object->extra + sizeof(pty), queues[0].bytes, queues[0].len);
    memcpy((char *)object->extra + sizeof(pty) + queues[0].len, queues[1].bytes,
           queues[1].len);
    return 0;
}

static int describe_pty(struct agent_objects *all, struct agent_object *object,
                        const struct agent_segments *segments, struct stint_err *err)
{
    object->record.pos = 0;
    if (object->st.st_rdev == PTMX && all->glance)
        return 0;
    if (object->st.st_rdev == PTMX)
        return describe_master(all, object, err);
    return describe_slave(all, object, segments, err);
}

const struct agent_fdkind agent_fd_pty = {
    .kind = STINT_OBJ_PTY,
    .match = match_pty,
    .describe = describe_pty,
};
