/* Ranges of addresses, and what is free between them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RESTORER_LAYOUT_H
#define STINT_RESTORER_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct stint_range {
    uint64_t start, end;
    char name[32]; /* "[vdso]" and the like, "" for the rest */
};

struct stint_layout {
    struct stint_range *ranges;
    size_t count, max;
};

/* Returns 0 or -ENOMEM. Order does not matter, ranges may overlap. */
int stint_layout_add(struct stint_layout *layout, uint64_t start, uint64_t end,
                     const char *name);
void stint_layout_deinit(struct stint_layout *layout);

/* The mappings of this process. Returns 0 or -errno with *err. */
int stint_layout_read_self(struct stint_layout *layout, struct stint_err *err);

/* A place of len bytes (pages) that touches none of the ranges, in the middle of
 * the largest gap, so that stacks and heaps have their distance; 0 = none. */
uint64_t stint_layout_find_free(const struct stint_layout *layout, uint64_t len);

#endif
