/* Pseudo-terminals, both sides of which are in the job.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They keep their numbers, in a devpts of the program's own: the machine's gives others.
 */
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "runtime/restorer/objects.h"

#define NUMBERS_MAX 4096
#define SETTLE_MS   2000

struct pair {
    const struct stint_pty *pty;
    const char *input, *output;
    unsigned number;
    int master, slave;
};

/* --- one pair ----------------------------------------------------------------------- */

static int open_slave(unsigned number, int flags)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof(path), "/dev/pts/%u", number); /* fits */
    fd = open(path, flags | O_NOCTTY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int put(int fd, const char *bytes, uint32_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0)
            return -errno;
        bytes += n;
        len -= (uint32_t)n;
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
    memset(plain.c_cc, 0, sizeof(plain.c_cc)); /* _POSIX_VDISABLE */
    return plain;
}

/* The kernel delivers later, and changing the settings before that would change what the
 * bytes mean. A line that is being edited cannot be seen: poll(2) hurries it along. */
static void await_input(const struct pair *pair, uint32_t want)
{
    struct pollfd poll_fd = {.fd = pair->slave, .events = POLLIN};
    struct timespec pause = {.tv_nsec = 1000000};
    int have = 0;

    for (int i = 0; i < SETTLE_MS; i++) {
        (void)poll(&poll_fd, 1, 0); /* delivers */
        if (ioctl(pair->slave, FIONREAD, &have) < 0 || (uint32_t)have >= want)
            return;
        (void)nanosleep(&pause, NULL); /* paces the loop */
    }
}

static int fill_pair(const struct pair *pair, const struct termios2 *settings)
{
    struct termios2 plain = verbatim(settings);
    uint32_t readable = pair->pty->input_len;
    int r;

    while (plain.c_lflag & ICANON && readable > 0 && pair->input[readable - 1] != '\n')
        readable--;
    if (ioctl(pair->slave, TCSETS2, &plain) < 0)
        return -errno;
    r = put(pair->slave, pair->output, pair->pty->output_len);
    if (r == 0)
        r = put(pair->master, pair->input, pair->pty->input_len);
    if (r == 0)
        await_input(pair, readable);
    return r;
}

static int configure(const struct pair *pair)
{
    const struct stint_pty *pty = pair->pty;
    struct winsize size = {.ws_row = pty->rows, .ws_col = pty->cols,
                           .ws_xpixel = pty->xpixel, .ws_ypixel = pty->ypixel};
    struct termios2 settings;
    int on = 1, r = 0;

    memcpy(&settings, pty->termios, sizeof(settings));
    if (ioctl(pair->master, TIOCSWINSZ, &size) < 0)
        return -errno;
    if (pair->slave >= 0)
        r = fill_pair(pair, &settings);
    if (r < 0 || ioctl(pair->master, TCSETS2, &settings) < 0)
        return r < 0 ? r : -errno;
    if (pty->packet && ioctl(pair->master, TIOCPKT, &on) < 0)
        return -errno;
    if (pty->exclusive)
        (void)ioctl(pair->master, TIOCEXCL, 0); /* cannot fail for a terminal */
    return 0;
}

/* --- all of them -------------------------------------------------------------------- */

static struct stint_restored_object *find(struct stint_restore *restore, uint64_t number,
                                          bool master)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_object *object = restore->objects[i].object;

        if (object->kind == STINT_OBJ_PTY && object->a == number && (object->b != 0) == master)
            return &restore->objects[i];
    }
    return NULL;
}

static int mount_own(struct stint_err *err)
{
    if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
              "newinstance,ptmxmode=0666,mode=0620")
        < 0)
        return stint_err_set(err, -errno, "mount /dev/pts for the program's terminals");
    return 0;
}

/* Numbers are given out from 0: those in between are taken for a moment. */
static int open_masters(struct stint_restore *restore, unsigned last, struct stint_err *err)
{
    STINT_AUTO_FREE int *spare = calloc(last + 1, sizeof(*spare));
    unsigned nspare = 0, number = 0;
    int r = spare ? 0 : stint_err_set(err, -ENOMEM, "make terminals");

    while (r == 0 && number <= last) {
        int fd = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlocked = 0;
        struct stint_restored_object *o = find(restore, number, true);

        if (fd < 0 || ioctl(fd, TIOCSPTLCK, &unlocked) < 0) {
            r = stint_err_set(err, -errno, "make the terminal /dev/pts/%u", number);
        } else if (o) {
            o->fd = stint_restore_keep_fd(restore, fd, err);
            r = o->fd < 0 ? o->fd : 0;
        } else {
            spare[nspare++] = fd;
        }
        number++;
    }
    for (unsigned i = 0; i < nspare; i++)
        (void)close(spare[i]); /* nothing is in them */
    return r;
}

static int finish_master(struct stint_restore *restore, struct stint_restored_object *o,
                         struct stint_err *err)
{
    const struct stint_object *object = o->object;
    struct pair pair = {.pty = stint_object_extra(object), .number = (unsigned)object->a,
                        .master = o->fd, .slave = -1};
    STINT_AUTO_CLOSE int slave = -1;
    int r;

    if (object->extra_len < sizeof(*pair.pty)
        || object->extra_len - sizeof(*pair.pty)
               < (uint64_t)pair.pty->input_len + pair.pty->output_len)
        return stint_err_set(err, -EBADMSG, "the terminal /dev/pts/%u is not described.",
                             pair.number);
    pair.input = (const char *)(pair.pty + 1);
    pair.output = pair.input + pair.pty->input_len;
    if (find(restore, object->a, false) || pair.pty->hung_up || pair.pty->sid) {
        slave = open_slave(pair.number, O_RDWR);
        if (slave < 0)
            return stint_err_set(err, slave, "open /dev/pts/%u", pair.number);
        pair.slave = slave;
    }
    r = configure(&pair);
    if (r < 0)
        return stint_err_set(err, r, "set the terminal /dev/pts/%u", pair.number);
    /* it stays open until its users have opened it: the last close hangs it up */
    if (slave >= 0 && !pair.pty->hung_up) {
        o->offer = stint_restore_keep_fd(restore, stint_steal_fd(&slave), err);
        return o->offer < 0 ? o->offer : 0;
    }
    return 0;
}

int stint_ptys_make(struct stint_restore *restore, struct stint_err *err)
{
    unsigned last = 0;
    bool any = false;
    int r;

    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_object *object = restore->objects[i].object;

        if (object->kind != STINT_OBJ_PTY)
            continue;
        if (object->a > NUMBERS_MAX)
            return stint_err_set(err, -EBADMSG, "a terminal has the number %llu.",
                                 (unsigned long long)object->a);
        any = true;
        if (object->a > last)
            last = (unsigned)object->a;
    }
    if (!any)
        return 0;
    r = mount_own(err);
    if (r == 0)
        r = open_masters(restore, last, err);
    for (size_t i = 0; r == 0 && i < restore->nobjects; i++) {
        if (restore->objects[i].object->kind == STINT_OBJ_PTY && restore->objects[i].object->b)
            r = finish_master(restore, &restore->objects[i], err);
    }
    return r;
}

int stint_object_open_pty(struct stint_restore *restore, struct stint_restored_object *o,
                          struct stint_err *err)
{
    int flags = (int)o->object->open_flags & (O_ACCMODE | O_NONBLOCK);
    int fd = open_slave((unsigned)o->object->a, flags);

    return fd < 0 ? stint_err_set(err, fd, "open /dev/pts/%llu",
                                  (unsigned long long)o->object->a)
                  : fd;
}

void stint_ptys_lock(struct stint_restore *restore)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        struct stint_restored_object *o = &restore->objects[i];
        const struct stint_pty *pty = stint_object_extra(o->object);
        int locked = 1;

        if (o->object->kind != STINT_OBJ_PTY || !o->object->b || o->fd < 0)
            continue;
        if (pty->locked)
            (void)ioctl(o->fd, TIOCSPTLCK, &locked); /* it is a master */
        if (o->object->open_flags & O_NONBLOCK)
            (void)fcntl(o->fd, F_SETFL, O_NONBLOCK); /* a flag that terminals know */
    }
}

/* --- controlling terminals ------------------------------------------------------------ */

static const struct stint_restored_object *terminal_of(struct stint_restore *restore,
                                                       int32_t sid)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        const struct stint_object *object = restore->objects[i].object;
        const struct stint_pty *pty = stint_object_extra(object);

        if (object->kind == STINT_OBJ_PTY && object->b && object->extra_len >= sizeof(*pty)
            && sid > 0 && pty->sid == sid && restore->objects[i].offer > 0)
            return &restore->objects[i];
    }
    return NULL;
}

int stint_pty_adopt(struct stint_restore *restore, int32_t sid, struct stint_err *err)
{
    const struct stint_restored_object *o = terminal_of(restore, sid);

    if (o && ioctl(o->offer, TIOCSCTTY, 0) < 0)
        return stint_err_set(err, -errno, "take /dev/pts/%llu as the controlling terminal",
                             (unsigned long long)o->object->a);
    return 0;
}

void stint_pty_put_foreground(struct stint_restore *restore, int32_t sid)
{
    const struct stint_restored_object *o = terminal_of(restore, sid);
    const struct stint_pty *pty = o ? stint_object_extra(o->object) : NULL;
    pid_t pgid = pty ? pty->pgid : 0;

    if (pgid > 0 && ioctl(o->offer, TIOCSPGRP, &pgid) < 0) /* SIGTTOU is blocked */
        stint_restore_note(restore, "cannot put process group %d in front on /dev/pts/%llu: %s",
                           pgid, (unsigned long long)o->object->a, strerror(errno));
}
