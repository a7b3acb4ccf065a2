/* The helper process of one checkpoint: it writes the group image and makes everything
 * durable, so that the agent's loop never waits for a disk.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   forked (everything stopped) -> `copied`: nothing more is read from the program's
 *   descriptors -> (agent_writer_sync) -> `durable`: all files and the directory are
 * It ends by itself when the agent does.
 */
#ifndef STINT_COORDINATOR_AGENT_WRITER_H
#define STINT_COORDINATOR_AGENT_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

struct agent_group;
struct agent_writer;
struct event_base;

struct agent_writer_order {
    struct agent_group *group;
    const char *save_files; /* patterns: agent_saved.h */
    const char *group_name; /* file name of the group image */
    int group_fd, dir_fd;
    const int *image_fds; /* to be made durable: process and shared images */
    size_t nimages;
    uint64_t generation;
    const uint8_t *gen_id;
};

/* Called from the loop, failed at most once and last. */
struct agent_writer_callbacks {
    void (*copied)(void *arg);
    void (*durable)(void *arg);
    void (*failed)(const char *reason, void *arg);
};

/* Returns 0 with *writer set, or -errno with *err. */
int agent_writer_start(struct event_base *base, const struct agent_writer_order *order,
                       const struct agent_writer_callbacks *callbacks, void *arg,
                       struct agent_writer **writer, struct stint_err *err);

/* All images are written: make them durable. */
void agent_writer_sync(struct agent_writer *writer);

pid_t agent_writer_pid(const struct agent_writer *writer);

/* Kill the helper if it still runs, reap it, and free. Takes NULL. */
void agent_writer_free(struct agent_writer *writer);

/* It was reaped elsewhere. */
void agent_writer_reaped(struct agent_writer *writer);

#endif
