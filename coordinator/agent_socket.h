/* Sockets of the program: what all families have in common.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Before the objects are described every socket is looked at (agent_sockets_look): names,
 * options, and copies of what waits in its queue. Descriptors under way in messages are
 * further objects, looked at in turn. When all are known, the families' describe() joins
 * the two ends of connections. Nothing is taken out of a queue for good: the program goes
 * on with every byte in its place.
 */
#ifndef STINT_COORDINATOR_AGENT_SOCKET_H
#define STINT_COORDINATOR_AGENT_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"
#include "common/image_socket.h"
#include "coordinator/agent_object.h"
#include "coordinator/agent_policy.h"
#include "coordinator/agent_sockdiag.h"

struct agent_message {
    struct stint_socket_message record;
    struct agent_object **passed; /* record.nfds descriptors under way */
    struct sockaddr_storage name;
    char *bytes;
};

struct agent_socket {
    struct stint_socket record;
    struct sockaddr_storage name, peer_name; /* record.name_len, record.peer_name_len */
    char *dir;     /* UNIX: where a relative name starts */
    char *options; /* as in the image */
    size_t options_len, options_room;
    struct agent_message *messages;
    size_t nmessages;
    short revents; /* of poll(2): POLLIN, POLLPRI, POLLERR, POLLHUP */
    struct agent_unix_diag unix_diag;
    int unix_error; /* of that question, or 0 */
    uint8_t tcp_state;
    bool leaves; /* TCP: no object of this group is the other end */
    uint32_t queue_len; /* TCP: connections that wait to be accepted */
    int rcvbuf; /* TCP: size that the program has set, to be set again; 0: it is */
    int refused;        /* what look() says of it: AGENT_OBJECT_E_REFUSED, -EAGAIN, 0 */
    char reason[256];
};

struct agent_socket_option {
    int level, name;
    socklen_t len; /* at most AGENT_OPTION_MAX */
};

#define AGENT_OPTION_MAX 64

/* Look at every socket among the objects, and at what is under way in them.
 * Returns 0 or -errno with *err. */
int agent_sockets_look(struct agent_objects *all, struct stint_err *err);

void agent_socket_free(struct agent_socket *sock);

/* Note the reason why a socket cannot be in the checkpoint now or at all, for describe().
 * how: AGENT_OBJECT_E_REFUSED or -EAGAIN. The first reason counts. */
void agent_socket_note(struct agent_socket *sock, int how, const char *fmt, ...)
    STINT_PRINTF(3, 4);

/* Turn what look() noted into describe()'s outcome. 0: nothing was. */
int agent_socket_verdict(const struct agent_object *object, struct stint_err *err);

/* Read options and keep those that the kernel knows. Returns 0 or -ENOMEM with *err. */
int agent_socket_read_options(struct agent_object *object,
                              const struct agent_socket_option *table, size_t n,
                              struct stint_err *err);
int agent_socket_keep_option(struct agent_socket *sock, int level, int name,
                             const void *value, size_t len, struct stint_err *err);

/* Value of an int option, or fallback. */
int agent_socket_int(const struct agent_object *object, int level, int name, int fallback);

/* Append one message; bytes is taken over, also on failure. Returns it, or NULL. */
struct agent_message *agent_socket_add_message(struct agent_socket *sock, char *bytes,
                                               size_t len);

/* The object's socket has this inode; NULL: none in the job has. */
struct agent_object *agent_socket_by_ino(const struct agent_objects *all, uint64_t ino);

/* The other end of a connection is not part of the program: note what it becomes at a
 * restart, and tell the log. peer: its name. */
void agent_socket_cut(struct agent_object *object, enum agent_policy policy,
                      const char *peer);

/* Lay everything out in object->extra, once more when something has changed. Returns 0 or
 * -errno with *err. */
int agent_socket_pack(struct agent_object *object, struct stint_err *err);

/* store() of all families: the messages. */
int agent_socket_store(struct agent_object *object, struct stint_image_writer *writer,
                       struct stint_err *err);

/* Families: called by agent_sockets_look() with object->socket filled as far as it is the
 * same for all. Return 0 or -errno with *err. */
int agent_unix_look(struct agent_objects *all, struct agent_object *object,
                    struct stint_err *err);
int agent_inet_look(struct agent_objects *all, struct agent_object *object,
                    struct stint_err *err);
int agent_netlink_look(struct agent_objects *all, struct agent_object *object,
                       struct stint_err *err);

#endif
