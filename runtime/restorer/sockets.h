/* Sockets: made together, as most of them belong to another one.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   open   every socket exists, is bound and listens; connections between two of them
 *          stand. One whose other end is not in the job has a temporary other end.
 *   fill   what was in the queues is sent again; queues of listeners; who is connected to
 *          nobody any more is left by its temporary end; options.
 *   late   likewise for those whose messages need the processes to exist.
 */
#ifndef STINT_RESTORER_SOCKETS_H
#define STINT_RESTORER_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"
#include "common/image_socket.h"
#include "runtime/restorer/objects.h"

struct stint_restored_socket {
    struct stint_restored_object *object; /* object->fd is the socket, -1: not yet */
    const struct stint_socket *record;
    const struct sockaddr *name, *peer_name; /* record->name_len, record->peer_name_len */
    const char *dir;                         /* "" = none */
    const uint8_t *options, *options_end;
    uint8_t *data; /* the messages */
    int temp;      /* temporary other end, -1 = none */
    char *reach;   /* UNIX: path under which it is bound for the moment, NULL: its name */
    bool paired;   /* connected when it was made */
    bool late;
    bool done; /* filled */
    int sndbuf; /* what it was before it was made larger for filling, 0: it was not */
};

struct stint_sockets {
    struct stint_restore *restore;
    struct stint_restored_socket *list;
    size_t count;
    int cwd; /* of the restorer, meanwhile */
    int scratch; /* file system for relative names of unknown directories, -1 = none yet */
    unsigned nscratch; /* directories made there */
};

/* Context: init. Each returns 0 or -errno with *err. */
int stint_sockets_open(struct stint_restore *restore, struct stint_err *err);
int stint_sockets_fill(struct stint_restore *restore, bool late, struct stint_err *err);
void stint_sockets_free(struct stint_sockets *sockets);

/* --- for the families ------------------------------------------------------------ */

struct stint_restored_socket *stint_socket_by_id(struct stint_sockets *sockets, uint32_t id);

/* Take fd for the object: to a number that nobody needs. */
int stint_socket_keep(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                      int fd, struct stint_err *err);

/* socket(2), not blocking. Returns fd or -errno with *err. */
int stint_socket_make(const struct stint_restored_socket *sock, struct stint_err *err);

/* Options that have to be set before bind(2) and connect(2). */
void stint_socket_early_options(const struct stint_restored_socket *sock, int fd);

/* Wait until poll(2) says one of events. Returns 0, -ETIMEDOUT or -errno. */
int stint_socket_wait(int fd, short events, int timeout_ms);

/* Accept the one connection that is on its way. Returns fd or -errno. */
int stint_socket_accept(int listener);

/* One message of the contents; *cursor starts at 0. Returns 1, or 0 at the end. */
struct stint_socket_piece {
    const struct stint_socket_message *record;
    const uint32_t *passed;
    const struct sockaddr *name;
    const uint8_t *bytes;
};
int stint_socket_next(const struct stint_restored_socket *sock, size_t *cursor,
                      struct stint_socket_piece *piece);

/* Read the image's record of an object of kind UNIX, INET or NETLINK: sock->object->object
 * is set. Returns whether it is one. */
bool stint_socket_parse(struct stint_restored_socket *sock);

/* Read its messages from the group image that it is in. Returns 0 or -errno with *err. */
int stint_socket_load_data(const struct stint_image *image,
                           struct stint_restored_socket *sock, struct stint_err *err);

/* Give fd the largest send buffer that is allowed, until stint_socket_set_options(). */
void stint_socket_widen(struct stint_restored_socket *sock, int fd);

/* objects_unix.c */
int stint_unix_open(struct stint_sockets *sockets, struct stint_err *err);
int stint_unix_fill(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                    struct stint_err *err);
int stint_unix_connect(struct stint_sockets *sockets, bool late, struct stint_err *err);
void stint_unix_clean(struct stint_sockets *sockets);

/* objects_inet.c */
int stint_inet_open(struct stint_sockets *sockets, struct stint_err *err);
int stint_inet_fill(struct stint_sockets *sockets, struct stint_restored_socket *sock,
                    struct stint_err *err);
int stint_inet_connect(struct stint_sockets *sockets, bool late, struct stint_err *err);
/* A TCP socket bound to the old address, or to one like it; its port may be shared until its
 * options are set. Returns fd or -errno with *err. */
int stint_inet_bound(struct stint_sockets *sockets, const struct stint_restored_socket *sock,
                     struct stint_err *err);
/* Connect a client that its listener, of this group, has not accepted yet. Returns 0 or
 * -errno with *err. */
int stint_inet_connect_pending(struct stint_sockets *sockets,
                               struct stint_restored_socket *sock, struct stint_err *err);
/* Connect, bounded. Returns 0 or -errno. */
int stint_inet_connect_soon(int fd, const struct sockaddr *to, socklen_t len);
/* Make room for what is sent again: more than a fresh connection has, or one whose size the
 * program has set. */
void stint_inet_make_room(const struct stint_restored_socket *sock, int fd);
/* What stint_inet_bound() does to options, for a socket that was accepted. */
void stint_inet_accepted(const struct stint_restored_socket *sock, int fd);

#endif
