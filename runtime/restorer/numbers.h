/* A set of small numbers (descriptors, process ids) that are taken.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RESTORER_NUMBERS_H
#define STINT_RESTORER_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

struct stint_numbers {
    uint64_t *bits;
    uint32_t limit; /* numbers below it can be held */
};

/* Returns 0 or -ENOMEM. */
int stint_numbers_init(struct stint_numbers *numbers, uint32_t limit);
void stint_numbers_deinit(struct stint_numbers *numbers);

/* Returns false when the number is out of range. */
bool stint_numbers_add(struct stint_numbers *numbers, int64_t number);
bool stint_numbers_has(const struct stint_numbers *numbers, int64_t number);

/* Take the lowest free number that is at least `from`; -1 when there is none. */
int stint_numbers_take(struct stint_numbers *numbers, int from);

#endif
