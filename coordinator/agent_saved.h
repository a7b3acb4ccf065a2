/* Files that no process has open and that go into a checkpoint all the same: those that the
 * user names (--save-files), and those in a temporary directory of the job's own that only
 * this node has.
 * SPDX-License-Identifier: Apache-2.0
 *
 * They are looked for, and read, by the helper process while everything stands still.
 */
#ifndef STINT_COORDINATOR_AGENT_SAVED_H
#define STINT_COORDINATOR_AGENT_SAVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/image_objects.h"

struct agent_group;
struct stint_image_writer;

#define AGENT_SAVED_MAX 4095 /* bytes of all patterns, with a colon between any two */

struct agent_saved_file {
    struct stint_saved_file record;
    char *path, *target; /* target: of a symbolic link, else NULL */
    struct stint_saved_piece *pieces;
    bool has_twins; /* several names lead to it */
};

struct agent_saved {
    struct agent_saved_file *list; /* parents first */
    size_t count, room;
    struct stint_saved record;
};

/* Find them. patterns: absolute, as agent_settings_save_files() makes them; may be "".
 * group: described; objects on such files are told to keep the contents where that is
 * theirs. Returns 0 with *saved (to be freed), or -errno with *err. */
int agent_saved_find(struct agent_group *group, const char *patterns,
                     struct agent_saved **saved, struct stint_err *err);

/* Append their contents to the group image, then their records.
 * Return 0 or -errno with *err. */
int agent_saved_store(struct agent_saved *saved, struct stint_image_writer *writer,
                      struct stint_err *err);
int agent_saved_write(const struct agent_saved *saved, struct stint_image_writer *writer,
                      struct stint_err *err);

/* Takes NULL. */
void agent_saved_free(struct agent_saved *saved);

#endif
