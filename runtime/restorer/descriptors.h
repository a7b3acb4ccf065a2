/* The descriptor table of one restored process.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RESTORER_DESCRIPTORS_H
#define STINT_RESTORER_DESCRIPTORS_H

#include "runtime/restorer/restore.h"

/* Give this process its descriptors and close everything else but own[0..nown).
 * Returns 0 or -errno with *err. */
int stint_descriptors_install(struct stint_restore *restore, int32_t pid,
                              const int32_t *own, size_t nown, struct stint_err *err);

#endif
