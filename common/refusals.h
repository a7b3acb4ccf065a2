/* Why memory cannot be in an image: what the runtime says when it comes across it, and
 * `stint doctor` before. Each is followed by an address.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COMMON_REFUSALS_H
#define STINT_COMMON_REFUSALS_H

#define STINT_REFUSAL_AIO         "asynchronous I/O (io_setup) is in use at"
#define STINT_REFUSAL_HUGE_FILE   "cannot save the file on hugetlbfs that is mapped at"
#define STINT_REFUSAL_HUGE_LOOSE \
    "cannot save huge pages that were mapped with MAP_NORESERVE, shared or from a file, at"
#define STINT_REFUSAL_KEY         "cannot save memory with a protection key (pkey_mprotect) at"
#define STINT_REFUSAL_USERFAULTFD "cannot save memory under userfaultfd at"
#define STINT_REFUSAL_DEVICE      "cannot save device memory at"

#endif
