/* Files that no process had open and that are in the checkpoint all the same.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RESTORER_SAVED_H
#define STINT_RESTORER_SAVED_H

#include "runtime/restorer/restore.h"

/* Make those that are missing: programs map and open files, which are looked for next.
 * Returns 0 or -errno with *err. Context: outside, before anything else is made. */
int stint_saved_make(struct stint_restore *restore, struct stint_err *err);

/* Say what that has done, and what it could not. */
void stint_saved_tell(struct stint_restore *restore);

/* Put back what has been changed since; the point of no return has come. Context: init. */
void stint_saved_put_back(struct stint_restore *restore);

#endif
