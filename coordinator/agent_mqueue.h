/* POSIX message queues of the program.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A queue is a file of the IPC namespace's mqueue file system. What is in it can only be
 * taken out: it is put back at once, in its order, while everything stands still.
 */
#ifndef STINT_COORDINATOR_AGENT_MQUEUE_H
#define STINT_COORDINATOR_AGENT_MQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/ckpt.h"
#include "common/err.h"
#include "common/image_objects.h"

struct agent_mqueues;
struct agent_object;
struct agent_objects;
struct stint_image_writer;

/* One process (pid as the program sees it) has asked to be told of messages.
 * Returns 0 or -ENOMEM. */
int agent_mqueue_note(struct agent_objects *all, pid_t pid,
                      const struct stint_ckpt_mq_notify *note);

/* The queue behind a descriptor, read when it is the first of its descriptors: *id.
 * Returns 0, AGENT_OBJECT_E_REFUSED or -errno, with *err. */
int agent_mqueue_take(struct agent_objects *all, struct agent_object *object, uint32_t *id,
                      struct stint_err *err);

/* Queues of the program that nobody has open. All descriptors are described. Likewise. */
int agent_mqueue_take_closed(struct agent_objects *all, struct stint_err *err);

/* Contents, then records; queues: NULL is fine. Return 0 or -errno with *err. */
int agent_mqueue_store(struct agent_mqueues *queues, struct stint_image_writer *writer,
                       struct stint_err *err);
int agent_mqueue_write(struct agent_mqueues *queues, struct stint_image_writer *writer,
                       struct stint_err *err);

/* Takes NULL. */
void agent_mqueue_free(struct agent_mqueues *queues);

/* --- agent_mqueue_contents.c ------------------------------------------------------ */

/* Copy all messages as the image has them; the queue stays as it is, and never becomes
 * empty when `told` says that somebody waits for that to end (mq_notify(3)).
 *
 * fd: readable, writable, not blocking
 *
 * Returns 0 with *bytes (free it) and *len; -EAGAIN when it cannot be done just now. */
int agent_mqueue_copy(int fd, bool told, char **bytes, size_t *len, struct stint_err *err);

#endif
