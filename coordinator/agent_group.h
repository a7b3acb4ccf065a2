/* The group image: tree, descriptors, objects, segments of one agent's program.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_GROUP_H
#define STINT_COORDINATOR_AGENT_GROUP_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/image.h"
#include "coordinator/agent_object.h"
#include "coordinator/agent_proc.h"
#include "coordinator/agent_segment.h"

struct agent;
struct agent_ipc;
struct agent_saved;
struct stint_ckpt_sem_undo;
struct stint_lock;
struct stint_sem_undo;

struct agent_member {
    struct stint_member record;
    pid_t pid; /* as the agent sees it */
    char *image_name; /* NULL: a zombie */
};

struct agent_group {
    struct stint_group record;
    struct agent_member *members; /* parents first */
    size_t nmembers;
    struct agent_objects objects;
    struct agent_segments segments;
    struct agent_ipc *ipc; /* NULL: none */
    struct agent_saved *saved; /* files that no process has open; NULL: none */
    struct stint_lock *locks;
    size_t nlocks;
    struct stint_sem_undo *undo; /* image_objects.h */
    size_t nundo;
};

/* Describe group and members: everything stands still.
 * procs: parents first. Returns 0 or -errno with *err. */
int agent_group_describe(struct agent_group *group, struct agent *agent,
                         const struct agent_procs *procs, struct stint_err *err);

const struct agent_member *agent_group_member(const struct agent_group *group, pid_t pid);

/* What SEM_UNDO would do at the end of a process (pid as it sees itself).
 * Returns 0 or -ENOMEM. */
int agent_group_add_undo(struct agent_group *group, pid_t pid,
                         const struct stint_ckpt_sem_undo *undo);

/* Write the image. copied: called when nothing more is read from the program's
 * descriptors. Returns 0 when it is durable, or -errno with *err.
 * Context: the helper process. */
int agent_group_write(struct agent_group *group, int fd, const char *name,
                      uint64_t generation, const uint8_t *gen_id,
                      void (*copied)(void *arg), void *arg, struct stint_err *err);

/* Release everything; not the struct. */
void agent_group_deinit(struct agent_group *group);

#endif
