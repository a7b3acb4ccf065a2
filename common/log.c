/* Messages to people.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *component;
    int quiet;
    int file_fd;
    int debug;
} log_state = {.file_fd = -1};

void stint_log_init(const char *component, int quiet)
{
    log_state.component = component;
    log_state.quiet = quiet;
    log_state.debug = getenv("STINT_DEBUG") != NULL;
}

int stint_log_file(int fd)
{
    int copy = -1;

    if (fd >= 0) {
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
            return -errno;
    }
    if (log_state.file_fd >= 0)
        (void)close(log_state.file_fd); /* append-only log: a lost line is no loss */
    log_state.file_fd = copy;
    return 0;
}

static void write_line(int fd, const char *line, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, line, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* a message that cannot be shown must not stop anything */
        line += n;
        len -= (size_t)n;
    }
}

void stint_log(enum stint_log_level level, const char *fmt, ...)
{
    char text[2048], line[2304];
    int saved = errno, to_stderr, len;
    va_list args;

    if (level == STINT_LOG_DEBUG && !log_state.debug)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    to_stderr = level == STINT_LOG_ERROR || (level == STINT_LOG_WARN && log_state.quiet < 2)
                || (level == STINT_LOG_INFO && !log_state.quiet);
    if (to_stderr) {
        len = snprintf(line, sizeof(line), "stint: %s%s%s%s\n",
                       log_state.component ? log_state.component : "",
                       log_state.component ? ": " : "",
                       level == STINT_LOG_WARN ? "warning: " : "", text);
        write_line(STDERR_FILENO, line, (size_t)len);
    }
    if (log_state.file_fd >= 0) {
        struct timespec now;
        struct tm tm;
        char stamp[32];

        clock_gettime(CLOCK_REALTIME, &now);
        localtime_r(&now.tv_sec, &tm);
        strftime(stamp, sizeof(stamp), "%F %T", &tm);
        len = snprintf(line, sizeof(line), "%s.%03ld %s[%d]: %s\n", stamp,
                       now.tv_nsec / 1000000,
                       log_state.component ? log_state.component : "stint", (int)getpid(),
                       text);
        write_line(log_state.file_fd, line, (size_t)len);
    }
    errno = saved;
}
