/* Contents of files that go into a checkpoint with the descriptors on them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A file without a name is stored. So is one that the program changes in place: what
 * it holds after the checkpoint must not be what the restored program finds. One that
 * is only appended to is cut back at a restart instead. Small ones are stored in any
 * case, for a restart that finds nothing under their names.
 */
#ifndef STINT_COORDINATOR_AGENT_CONTENTS_H
#define STINT_COORDINATOR_AGENT_CONTENTS_H

#include "common/err.h"
#include "coordinator/agent_object.h"

struct agent_member;
struct agent_segment;

/* Let this object keep the contents, unless another one does or the segment (NULL: none)
 * holds all of them. */
void agent_contents_want(struct agent_objects *all, struct agent_object *object,
                         const struct agent_segment *segment);

/* Likewise for a file with a name that may be written: when it is changed in place, and
 * within the limit of what is stored ($STINT_SAVE_OPEN_FILES bytes or "all"; 1 GiB). */
void agent_contents_want_file(struct agent_objects *all, struct agent_object *object,
                              const struct agent_segment *segment);

/* Likewise for any other file of the user's: it may be gone at the restart (temporary files
 * are). Up to 16 MiB each, 64 MiB in all; used only then. */
void agent_contents_want_spare(struct agent_objects *all, struct agent_object *object,
                               const struct agent_segment *segment);

/* Likewise for the standard output or error of a job whose files Slurm empties when it starts
 * the job again; within the limit of what is stored. */
void agent_contents_want_output(struct agent_objects *all, struct agent_object *object);

/* Take so many bytes of what is left of these limits. Returns false when there is less. */
bool agent_contents_take_room(struct agent_objects *all, uint64_t size);
bool agent_contents_take_spare_room(struct agent_objects *all, uint64_t size);

/* The file is to be saved (agent_saved.h), whatever its size. Returns true when that is left
 * to this object: it writes to it. Else the object does not keep the contents any more,
 * where it was to do so and has it under the same name. */
bool agent_contents_claim(struct agent_object *object, bool same_name);

/* agent_fdkind.store: the contents, if this object keeps them. */
int agent_contents_store(struct agent_object *object, struct stint_image_writer *writer,
                         struct stint_err *err);

/* Add files that a process writes to by a shared mapping and that no process has open.
 * Returns 0 or -errno with *err. */
int agent_contents_add_mapped(struct agent_objects *all, const struct agent_member *member,
                              struct stint_err *err);

#endif
