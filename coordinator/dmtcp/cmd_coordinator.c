/* dmtcp_coordinator
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "coordinator/commands.h"
#include "coordinator/dmtcp/aside.h"
#include "coordinator/dmtcp/contact.h"
#include "coordinator/dmtcp/dmtcp.h"
#include "coordinator/dmtcp/front.h"
#include "coordinator/dmtcp/names.h"
#include "coordinator/dmtcp/options.h"
#include "coordinator/dmtcp/place.h"

struct starting {
    const struct dmtcp_options *options;
    struct front_settings settings;
    char *dir;
    int guard;   /* place.h */
    int tell_fd; /* the daemon's parent, or who started us; -1 = nobody */
};

/* --- port ------------------------------------------------------------------------ */

static int try_port(int family, unsigned port, unsigned *taken)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t len = family == AF_INET6 ? sizeof(address.v6) : sizeof(address.v4);
    const int off = 0, on = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    address.any.sa_family = (sa_family_t)family;
    *(family == AF_INET6 ? &address.v6.sin6_port : &address.v4.sin_port) =
        htons((uint16_t)port);
    /* a coordinator before us may have left connections that linger */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if ((family == AF_INET6
         && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        || bind(fd, &address.any, len) < 0 || listen(fd, 1024) < 0
        || getsockname(fd, &address.any, &len) < 0) {
        int error = errno;

        close(fd);
        return -error;
    }
    *taken = ntohs(family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
    return fd;
}

static int open_port(unsigned port, unsigned *taken, struct stint_err *err)
{
    int fd = try_port(AF_INET6, port, taken);

    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
        fd = try_port(AF_INET, port, taken);
    if (fd == -EADDRINUSE)
        return stint_err_set(err, fd,
                             "port %u is taken, by another coordinator or program: choose "
                             "another (--coord-port N), or any free one (--coord-port 0).",
                             port);
    return fd < 0 ? stint_err_set(err, fd, "listen on port %u", port) : fd;
}

/* --- ready -------------------------------------------------------------------------- */

static void tell(const struct starting *start, const char *fmt, ...) STINT_PRINTF(2, 3);

static void tell(const struct starting *start, const char *fmt, ...)
{
    va_list args;

    if (start->tell_fd < 0)
        return;
    va_start(args, fmt);
    (void)vdprintf(start->tell_fd, fmt, args); /* who has gone is told nothing */
    va_end(args);
}

static int write_status_file(const char *path, unsigned port, struct stint_err *err)
{
    char host[HOST_NAME_MAX + 1];
    FILE *out = fopen(path, "we");

    if (!out)
        return stint_err_set(err, -errno, "write %s", path);
    dmtcp_place_host(host, sizeof(host));
    fprintf(out, "Host: %s\nPort: %u\nPID: %d\n", host, port, (int)getpid());
    return fclose(out) == 0 ? 0 : stint_err_set(err, -errno, "write %s", path);
}

static void print_banner(const struct starting *start)
{
    char host[HOST_NAME_MAX + 1];

    dmtcp_place_host(host, sizeof(host));
    printf("dmtcp_coordinator (stint " STINT_VERSION ")\n    Host: %s\n    Port: %u\n", host,
           start->settings.port);
    if (start->settings.interval_s)
        printf("    Checkpoint Interval: %u\n", start->settings.interval_s);
    else
        puts("    Checkpoint Interval: disabled (checkpoint manually instead)");
    printf("    Exit on last client: %d\nType '?' for help.\n\n",
           start->settings.exit_on_last);
    fflush(stdout);
}

/* A daemon keeps nothing of whom it was started by. */
static void leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return;
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    close(null);
}

static void on_ready(void *arg)
{
    struct starting *start = arg;
    struct stint_err err;

    if (start->options->port_file
        && dmtcp_contact_port_file(start->options->port_file, start->settings.port, &err) < 0)
        stint_warn("%s", err.text);
    if (start->options->status_file
        && write_status_file(start->options->status_file, start->settings.port, &err) < 0)
        stint_warn("%s", err.text);
    if (start->options->job) {
        char host[HOST_NAME_MAX + 1];

        dmtcp_place_host(host, sizeof(host));
        dmtcp_place_register_job(start->options->job, host, start->settings.port);
    }
    stint_cleanup_close(&start->guard);
    start->guard = -1;
    tell(start, "ready %u %s\n", start->settings.port, start->dir);
    stint_cleanup_close(&start->tell_fd);
    start->tell_fd = -1;
    if (start->options->daemon) {
        leave_terminal();
        if (!start->options->logfile)
            (void)dup2(STDOUT_FILENO, STDERR_FILENO); /* DIR/log has it */
    } else if (!start->options->quiet) {
        print_banner(start);
    }
}

/* --- run ------------------------------------------------------------------------------ */

static int open_logfile(const char *path, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        return stint_err_set(err, -errno, "write %s", path);
    return 0;
}

static int run(struct starting *start, struct stint_err *err)
{
    const struct dmtcp_options *options = start->options;
    int fd, ret;

    fd = open_port(options->has_port ? options->port : DMTCP_PORT_DEFAULT,
                   &start->settings.port, err);
    if (fd < 0)
        return fd;
    ret = dmtcp_place_make(start->settings.port, &start->dir, &start->guard, err);
    if (ret == 0 && options->logfile)
        ret = open_logfile(options->logfile, err);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    start->settings.dir = start->dir;
    start->settings.listen_fd = fd;
    start->settings.ready = on_ready;
    start->settings.arg = start;
    ret = front_run(&start->settings, err);
    stint_cleanup_close(&start->guard);
    if (ret == 0)
        dmtcp_place_remove(start->dir);
    return ret;
}

/* In the daemon's parent: repeat what the daemon says until it is ready. */
static int wait_for_daemon(int fd, int tell_fd)
{
    char answer[PATH_MAX + 64];
    size_t len = 0;
    ssize_t n;

    while (len < sizeof(answer) - 1 && !memchr(answer, '\n', len)) {
        n = read(fd, answer + len, sizeof(answer) - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    answer[len] = '\0';
    if (tell_fd >= 0)
        (void)!write(tell_fd, answer, len); /* who has gone is told nothing */
    answer[strcspn(answer, "\n")] = '\0';
    if (strncmp(answer, "ready ", 6) == 0)
        return STINT_EXIT_OK;
    if (tell_fd < 0)
        stint_error("%s", strncmp(answer, "error ", 6) == 0 ? answer + 6
                                                            : "the daemon did not start");
    return STINT_EXIT_FAILED;
}

/* Returns -1 in the daemon, or the exit status of its parent. */
static int become_daemon(struct starting *start)
{
    int fds[2], status;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        stint_error("start a daemon: %s", strerror(errno));
        return STINT_EXIT_FAILED;
    }
    if (pid > 0) {
        close(fds[1]);
        status = wait_for_daemon(fds[0], start->tell_fd);
        close(fds[0]);
        return status;
    }
    close(fds[0]);
    (void)setsid(); /* a fresh child leads no group: cannot fail */
    stint_cleanup_close(&start->tell_fd);
    start->tell_fd = fds[1];
    return -1;
}

static int run_and_report(struct starting *start)
{
    struct stint_err err;
    int ret = run(start, &err);

    if (ret == 0)
        return STINT_EXIT_OK;
    if (start->tell_fd >= 0)
        tell(start, "error %.*s\n", (int)strcspn(err.text, "\n"), err.text);
    else
        stint_error("%s", err.text);
    return STINT_EXIT_FAILED;
}

int dmtcp_cmd_coordinator(int argc, char **argv)
{
    struct dmtcp_options options;
    struct starting start = {.options = &options, .guard = -1, .tell_fd = -1};
    STINT_AUTO_FREE char *ckptdir = NULL, *workdir = NULL, *dir = NULL;
    struct stint_err err;
    int rest, status = dmtcp_options_read(DMTCP_COORDINATOR, argc - 1, argv + 1, &options,
                                          &rest);

    if (status >= 0)
        return status;
    if (rest > 1 || (rest == 1 && (strspn(argv[1], "0123456789") != strlen(argv[1])
                                   || atol(argv[1]) > 65535)))
        return dmtcp_usage(DMTCP_COORDINATOR, "'%s' is no port", argv[rest]);
    if (rest == 1) {
        options.port = (unsigned)atol(argv[1]);
        options.has_port = true;
    }
    if (options.ready_fd) {
        start.tell_fd = (int)options.ready_fd;
        (void)fcntl(start.tell_fd, F_SETFD, FD_CLOEXEC);
    }
    workdir = getcwd(NULL, 0);
    if (options.ckptdir) {
        ckptdir = realpath(options.ckptdir, NULL);
        if (!ckptdir && workdir
            && asprintf(&ckptdir, "%s%s%s", options.ckptdir[0] == '/' ? "" : workdir,
                        options.ckptdir[0] == '/' ? "" : "/", options.ckptdir)
                   < 0)
            ckptdir = NULL;
    }
    if (ckptdir && dmtcp_make_directory(ckptdir, &err) < 0) {
        stint_error("%s", err.text);
        return STINT_EXIT_FAILED;
    }
    if (aside_is_under_stint()) {
        stint_info("this runs under stint already, which makes the checkpoints: no "
                   "coordinator is started");
        if (options.port_file
            && dmtcp_contact_port_file(options.port_file, DMTCP_PORT_DEFAULT, &err) < 0)
            stint_warn("%s", err.text);
        return STINT_EXIT_OK;
    }
    if (options.daemon) {
        status = become_daemon(&start);
        if (status >= 0)
            return status;
    }
    start.settings = (struct front_settings){
        .ckptdir = ckptdir,
        .workdir = options.ready_fd ? NULL : workdir,
        .interval_s = options.interval_s,
        .exit_on_last = options.exit_on_last,
        .kill_after_ckpt = options.kill_after_ckpt,
        .unique = options.unique_names,
        .timeout_s = options.timeout_s,
        .stale_timeout_s = options.stale_timeout_s,
        .console = !options.daemon,
    };
    status = run_and_report(&start);
    dir = start.dir;
    return status;
}
