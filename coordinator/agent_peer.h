/* One process of the program during a checkpoint: the agent's end of common/ckpt.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   NEW -> STOPPED -> LISTING (SEND_FDS sent) -> LISTED -> CAPTURING -> CAPTURED
 *     any of them -> FAILED (it said so; it waits for RESUME all the same)
 *     any of them -> gone: the connection has ended
 */
#ifndef STINT_COORDINATOR_AGENT_PEER_H
#define STINT_COORDINATOR_AGENT_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/ckpt.h"

struct event;
struct event_base;

enum agent_peer_state {
    PEER_NEW,
    PEER_STOPPED,
    PEER_LISTING,
    PEER_LISTED,
    PEER_CAPTURING,
    PEER_CAPTURED,
    PEER_FAILED,
};

struct agent_peer;

/* What a peer tells its owner; `arg` is agent_peer.owner. A callback may free the peer. */
struct agent_peer_callbacks {
    void (*stopped)(struct agent_peer *peer);
    /* One packet of descriptors: fds[i] is the agent's copy of number list->fds[i], -1
     * where it was not passed; all of them are the callee's from now on. */
    void (*descriptors)(struct agent_peer *peer, const struct stint_ckpt_fds *list,
                        const int *fds);
    void (*watch)(struct agent_peer *peer, const struct stint_ckpt_watch *watch);
    void (*mq_notify)(struct agent_peer *peer, const struct stint_ckpt_mq_notify *notify);
    void (*sem_undo)(struct agent_peer *peer, const struct stint_ckpt_sem_undo *undo);
    void (*captured)(struct agent_peer *peer);
    void (*failed)(struct agent_peer *peer, int error, const char *reason);
    void (*gone)(struct agent_peer *peer);
};

struct agent_peer {
    struct agent_peer *next;
    const struct agent_peer_callbacks *callbacks;
    void *owner;
    enum agent_peer_state state;
    pid_t pid;      /* as the agent sees it */
    uint64_t start; /* start time: with pid, which process it is */
    pid_t inner;    /* as the program sees it */
    int fd;
    struct event *event;
    char comm[16];
    bool seen; /* by the scan under way */
    struct stint_ckpt_hello hello; /* as far as it was sent */
    struct stint_ckpt_captured captured;
    /* set while it is being captured */
    char *image_name;
    int image_fd;
};

/* Take over an accepted connection, made non-blocking. pid: by SO_PEERCRED.
 * Returns NULL when it is no process of the program or memory is short; fd is closed. */
struct agent_peer *agent_peer_new(struct event_base *base, int fd, pid_t pid,
                                  const struct agent_peer_callbacks *callbacks,
                                  void *owner);

/* Close the connection (the process goes on) and free. Takes NULL. */
void agent_peer_free(struct agent_peer *peer);

/* Send a packet that has a stint_ckpt_header; type is filled in. pass: a descriptor to
 * go along, not consumed, or -1. Returns 0 or -errno. */
int agent_peer_send(struct agent_peer *peer, enum stint_ckpt_type type, void *packet,
                    size_t len, int pass);

#endif
