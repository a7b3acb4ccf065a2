/* Packets between the restorer and its agent; small helpers that need both.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/restorer/restore.h"

#define PACKET_MAX 4096

/* Packets are lines: whatever a file name holds, it stays one. */
static void flatten(char *text)
{
    for (; *text; text++) {
        if (*text == '\n' || *text == '\r')
            *text = ' ';
    }
}

void stint_control_send(const struct stint_restore *restore, const char *fmt, ...)
{
    char text[PACKET_MAX];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut when too long */
    va_end(args);
    flatten(text);
    while (send(restore->control, text, strlen(text), MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

int stint_control_receive(const struct stint_restore *restore, char *text, size_t size,
                          int timeout_ms)
{
    struct pollfd pfd = {.fd = restore->control, .events = POLLIN};
    ssize_t n;

    if (poll(&pfd, 1, timeout_ms) <= 0)
        return 0;
    n = recv(restore->control, text, size - 1, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        return -1;
    if (n < 0)
        return 0;
    text[n] = '\0';
    return (int)n;
}

int stint_control_poll(const struct stint_restore *restore, int timeout_ms)
{
    char text[64];
    int n = stint_control_receive(restore, text, sizeof(text), timeout_ms);

    return n > 0 ? strcmp(text, "go") == 0 : n;
}

void stint_restore_die(struct stint_restore *restore, int pid, const struct stint_err *err)
{
    shared_fail(restore->shared, pid, 0, err->text);
    _exit(1);
}

void stint_restore_note(struct stint_restore *restore, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut when too long */
    va_end(args);
    shared_note(restore->shared, text);
}

int stint_restore_keep_fd(struct stint_restore *restore, int fd, struct stint_err *err)
{
    int number, r;

    if (fd < 0)
        return stint_err_set(err, -errno, "open a descriptor");
    do
        number = stint_numbers_take(&restore->fds, 3);
    while (number >= 0 && number != fd && fcntl(number, F_GETFD) >= 0);
    if (number < 0) {
        (void)close(fd); /* the failure that counts is the other one */
        return stint_err_set(err, -EMFILE, "the processes use all descriptor numbers");
    }
    if (number == fd) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* cannot fail on an open descriptor */
        return fd;
    }
    r = dup3(fd, number, O_CLOEXEC);
    if (r < 0)
        r = stint_err_set(err, -errno, "hold a descriptor as number %d", number);
    (void)close(fd);
    return r;
}

const struct stint_restored_object *stint_restore_object(const struct stint_restore *restore,
                                                         uint32_t id)
{
    for (size_t i = 0; i < restore->nobjects; i++) {
        if (restore->objects[i].object->id == id)
            return &restore->objects[i];
    }
    return NULL;
}

struct stint_restored_segment *stint_restore_segment(struct stint_restore *restore,
                                                     uint32_t id)
{
    for (size_t i = 0; i < restore->nsegments; i++) {
        if (restore->segments[i].segment->id == id)
            return &restore->segments[i];
    }
    return NULL;
}
