/* Huge pages (hugetlbfs) behind shared memory.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_AGENT_HUGE_H
#define STINT_COORDINATOR_AGENT_HUGE_H

#include <stdint.h>

/* The size of the pages of what has no name on that device: MAP_HUGETLB, MFD_HUGETLB and
 * SHM_HUGETLB use a mount of the kernel's for each size. Returns bytes, or 0: it is none
 * of these. */
uint64_t agent_huge_page_of(uint64_t dev);

/* That of a mapping of this process at `at`. */
uint64_t agent_huge_page_at(const void *at);

#endif
