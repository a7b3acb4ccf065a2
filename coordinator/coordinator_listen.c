/* The port on which the coordinator is reached.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/endpoint.h"
#include "common/log.h"
#include "coordinator/coordinator_private.h"

static void on_connection(struct evconnlistener *listener,
                          evutil_socket_t fd,
                          struct sockaddr *address,
                          int len,
                          void *arg)
{
    peer_accept(arg, fd);
}

static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct coordinator *c = arg;

    stint_warn("accept: %s", strerror(errno));
    (void)evconnlistener_disable(listener); /* until the next tick: it would spin */
    c->is_listening_paused = 1;
}

/* Any port, on all addresses: IPv6 and IPv4 where there is both. Returns the
 * descriptor. */
static int open_port(uint16_t *port)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    const int off = 0, type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    int fd = socket(AF_INET6, type, 0);

    if (fd >= 0
        && (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0
            || bind(fd, (struct sockaddr *)&v6, sizeof(v6)) < 0)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        fd = socket(AF_INET, type, 0);
        if (fd < 0)
            return -errno;
        if (bind(fd, (struct sockaddr *)&v4, sizeof(v4)) < 0) {
            stint_cleanup_close(&fd);
            return -errno;
        }
    }
    if (listen(fd, 1024) < 0 || getsockname(fd, (struct sockaddr *)&bound, &len) < 0) {
        stint_cleanup_close(&fd);
        return -errno;
    }
    *port =
        ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                          : ((struct sockaddr_in *)&bound)->sin_port);
    return fd;
}

/* The port of a socket that the front end has opened. Returns the descriptor, or
 * -errno. */
static int given_port(int fd, uint16_t *port)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);

    if (getsockname(fd, (struct sockaddr *)&bound, &len) < 0)
        return -errno;
    *port =
        ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                          : ((struct sockaddr_in *)&bound)->sin_port);
    return fd;
}

int coordinator_listen(struct coordinator *c, struct stint_err *err)
{
    uint16_t port = 0;
    int fd = c->config->listen_fd > 0 ? given_port(c->config->listen_fd, &port)
                                      : open_port(&port);

    if (fd < 0)
        return stint_err_set(err, fd, "listen on a port");
    c->listener =
        evconnlistener_new(c->base, on_connection, c, LEV_OPT_CLOSE_ON_FREE, 0, fd);
    if (!c->listener) {
        close(fd);
        return stint_err_set(err, -ENOMEM, "listen on a port");
    }
    evconnlistener_set_error_cb(c->listener, on_accept_error);
    return stint_endpoint_write(c->dir_fd, port, err);
}
