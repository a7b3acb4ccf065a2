/* DIR/task.json: what one run of a Slurm task leaves to the next.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_TASK_RECORD_H
#define STINT_COORDINATOR_TASK_RECORD_H

#include <jansson.h>
#include <stdint.h>

#include "common/err.h"

#define TASK_RECORD_SCRIPT "script" /* copy of the batch script in DIR */

struct task_record {
    json_t *root;
};

/* Read DIR/task.json; a file that is not there makes an empty record.
 * Returns 0, or -errno with *err set. Always to be released by task_record_deinit(). */
int task_record_read(int dir_fd, struct task_record *record, struct stint_err *err);
int task_record_write(int dir_fd, const struct task_record *record,
                      struct stint_err *err);
void task_record_deinit(struct task_record *record);

/* Remember how long the output files on descriptors 1 and 2 are before the program
 * has written anything. */
void task_record_outputs(struct task_record *record);

/* The program starts from the beginning once more: cut them back to that length, when
 * they are still the same files. */
void task_record_cut_outputs(const struct task_record *record);

/* On which node a run of the job was. NULL when it is not known. */
void task_record_set_node(struct task_record *record, uint64_t run, const char *node);
const char *task_record_node(const struct task_record *record, uint64_t run);

/* Copy the batch script to DIR/script. A shell reads its script as it goes, from a file
 * that slurmstepd writes into the node's spool directory and removes at the end of the
 * run: the copy takes its place. Returns 0, or -errno with *err set. */
int task_record_copy_script(int dir_fd, const char *from, struct stint_err *err);

/* A path at which the program may have its script open. Paths are kept once. */
void task_record_add_script(struct task_record *record, const char *path);

/* All of them, as STINT_PATH_MAP says it: lines "old=new". NULL when there is none;
 * freed by the caller. */
char *task_record_path_map(const struct task_record *record, const char *path);

/* Take over the paths of another record. */
void task_record_merge_scripts(struct task_record *record,
                               const struct task_record *other);

#endif
