/* A module that is preloaded behind another, whose constructor then runs next.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <time.h>

struct timespec bench_clock;

__attribute__((constructor)) static void start(void)
{
    (void)clock_gettime(CLOCK_MONOTONIC, &bench_clock);
}
