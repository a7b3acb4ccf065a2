/* A set of small numbers that are taken.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/numbers.h"

#include <errno.h>
#include <stdlib.h>

int stint_numbers_init(struct stint_numbers *numbers, uint32_t limit)
{
    numbers->bits = calloc(limit / 64 + 1, sizeof(uint64_t));
    numbers->limit = numbers->bits ? limit : 0;
    return numbers->bits ? 0 : -ENOMEM;
}

void stint_numbers_deinit(struct stint_numbers *numbers)
{
    free(numbers->bits);
    numbers->bits = NULL;
    numbers->limit = 0;
}

bool stint_numbers_add(struct stint_numbers *numbers, int64_t number)
{
    if (number < 0 || number >= numbers->limit)
        return false;
    numbers->bits[number / 64] |= UINT64_C(1) << (number % 64);
    return true;
}

bool stint_numbers_has(const struct stint_numbers *numbers, int64_t number)
{
    return number >= 0 && number < numbers->limit &&
           (numbers->bits[number / 64] >> (number % 64) & 1);
}

int stint_numbers_take(struct stint_numbers *numbers, int from)
{
    for (int64_t n = from; n < numbers->limit; n++) {
        if (!stint_numbers_has(numbers, n)) {
            (void)stint_numbers_add(numbers, n); /* in range */
            return (int)n;
        }
    }
    return -1;
}
