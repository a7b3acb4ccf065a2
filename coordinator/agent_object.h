/* Open file descriptions of the program, and how each kind is described.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The agent holds one copy of a descriptor per open file description (open(2)) while
 * everything stands still, and asks the kernel with kcmp(2) which are the same. To
 * teach it a kind: one struct agent_fdkind in an agent_fd_*.c, one line in the table of
 * agent_object.c.
 */
#ifndef STINT_COORDINATOR_AGENT_OBJECT_H
#define STINT_COORDINATOR_AGENT_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/image.h"

struct agent;
struct agent_fdkind;
struct agent_group;
struct agent_mqueues;
struct agent_segments;
struct agent_socket;
struct agent_watched;
struct stint_image_writer;

#define AGENT_OBJECT_E_REFUSED 1 /* outcome: not supported; *err says why in words */

struct agent_object {
    int fd; /* the agent's copy, -1 once released */
    struct stat st;
    int open_flags; /* F_GETFL */
    char *link;     /* what /proc/self/fd/N says */
    int stdio;      /* the agent's own descriptor of the same description, or -1 */
    const struct agent_fdkind *kind;
    bool severed;  /* see agent_object_sever() */
    bool left_out; /* not supported, and that is to be ignored */
    bool contents; /* agent_contents.h: it is this one that keeps the file's contents */
    struct agent_socket *socket; /* agent_socket.h; NULL: it is none */
    /* who named it first, for messages */
    pid_t pid; /* as the program sees it */
    int number;
    char comm[16];
    pid_t peer_pid; /* SO_PEERCRED as the program sees it, 0: unknown */
    /* filled by describe() and store() */
    struct stint_object record;
    char *path; /* what follows the record; NULL = none */
    void *extra;
    size_t extra_len;
};

/* One descriptor of one process. */
struct agent_fd {
    pid_t pid; /* as the program sees it */
    int number;
    bool cloexec;
    struct agent_object *object;
};

struct agent_objects {
    struct agent *agent;
    const struct agent_group *group; /* that they belong to */
    const char *sockets; /* rules for connections that leave it: agent_policy.h */
    bool ending; /* the program will not go on after this checkpoint */
    bool glance; /* it runs (stint doctor): nothing may be done that it could notice */
    struct agent_object **list; /* in the order in which they were found */
    size_t count;
    struct agent_object **sorted; /* by kcmp */
    struct agent_fd *fds;         /* grouped by process */
    size_t nfds;
    size_t room, fds_room;
    uint32_t last_pipe_id;
    struct agent_watched *watched; /* agent_inotify.h */
    struct agent_mqueues *mqueues; /* agent_mqueue.h; NULL: none */
    uint64_t contents_len; /* of files with a name, so far */
    uint64_t spare_len;    /* of those that are stored in case they vanish */
};

struct agent_fdkind {
    enum stint_object_kind kind;
    /* Is it this kind? Asked in the table's order, with st, link, stdio filled. */
    bool (*match)(const struct agent_object *object);
    /* Fill object->record (id, kind, open_flags, mode, dev, ino, size, mtime, pos and
     * owner are there), path and extra. All objects and segments are known.
     * Returns 0, AGENT_OBJECT_E_REFUSED or -errno, with *err. */
    int (*describe)(struct agent_objects *all, struct agent_object *object,
                    const struct agent_segments *segments, struct stint_err *err);
    /* Append the contents to the group image and fill data_*. NULL: it has none.
     * Context: in the helper process, everything stopped. Returns 0 or -errno. */
    int (*store)(struct agent_object *object, struct stint_image_writer *writer,
                 struct stint_err *err);
};

/* agent_fd_file.c, agent_fd_pipe.c, agent_fd_dev.c */
extern const struct agent_fdkind agent_fd_stdio, agent_fd_path, agent_fd_regular,
    agent_fd_directory, agent_fd_pipe, agent_fd_fifo, agent_fd_terminal, agent_fd_device;
/* agent_fd_memfd.c, agent_fd_pty.c, agent_inotify.c, agent_fd_event.c, agent_fd_epoll.c, agent_fd_proc.c,
 * agent_fd_mqueue.c */
extern const struct agent_fdkind agent_fd_eventfd, agent_fd_signalfd, agent_fd_timerfd,
    agent_fd_pidfd, agent_fd_epoll, agent_fd_proc, agent_fd_memfd,
    agent_fd_pty, agent_fd_inotify, agent_fd_mqueue;
/* agent_fd_unix.c, agent_fd_inet.c, agent_fd_netlink.c */
extern const struct agent_fdkind agent_fd_unix, agent_fd_inet, agent_fd_netlink;

/* Add one descriptor. fd: the agent's copy, taken over (closed when it is a copy of a
 * description that is known). Returns 0 or -errno with *err set. */
int agent_objects_add(struct agent_objects *objects, pid_t pid, const char *comm, int number,
                      bool cloexec, int fd, struct stint_err *err);

/* Add a description that is under way in a socket of the program (SCM_RIGHTS), where no
 * process has a number for it. via: that socket. fd is taken over as above.
 * Returns 0 with *object, or -errno with *err set. */
int agent_objects_add_passed(struct agent_objects *objects, const struct agent_object *via,
                             int fd, struct agent_object **object, struct stint_err *err);

/* Note a descriptor that the kernel does not pass on. outer, pid: the process as the agent
 * sees it, and as it sees itself. Returns as describe(). */
int agent_objects_unpassable(pid_t outer, pid_t pid, const char *comm, int number,
                             struct stint_err *err);

/* Tell what one is; the sockets have been looked at (agent_sockets_look()).
 * Returns 0, AGENT_OBJECT_E_REFUSED or -errno, with *err set. */
int agent_object_describe(struct agent_objects *objects, struct agent_object *object,
                          const struct agent_segments *segments, struct stint_err *err);

/* Tell of every one that would be refused, or for now: how is as describe() returns it.
 * For all->glance. Returns 0 or -errno with *err set. */
int agent_objects_examine(struct agent_objects *objects,
                          const struct agent_segments *segments,
                          void (*found)(int how, const char *text, void *arg), void *arg,
                          struct stint_err *err);

/* Refuse an object: "process 12 (name), descriptor 5: TEXT". A full stop at the end of
 * the format is needed as in stint_err_set(). Returns AGENT_OBJECT_E_REFUSED. */
int agent_object_refuse(const struct agent_object *object, struct stint_err *err,
                        const char *fmt, ...) STINT_PRINTF(3, 4);

/* Is it a pipe, socket or device that `stint launch` was started with (a shell's, a daemon's that
 * forgot to close it)? Its other end is outside and stays there: then make it /dev/null
 * for the restart, say so in the log, and return true. */
bool agent_object_sever(const struct agent_objects *all, struct agent_object *object);

/* What an object is, in words, for messages: "TCP socket 127.0.0.1:80". */
void agent_object_name(const struct agent_object *object, char *text, size_t size);

/* What to do instead of having that open (link: as above), or NULL. */
const char *agent_object_advice(const char *link);

/* Close all copies: before the program goes on. */
void agent_objects_release(struct agent_objects *objects);

/* Release everything; not the struct. Takes half-built ones. */
void agent_objects_deinit(struct agent_objects *objects);

#endif
