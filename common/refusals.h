/* Why memory cannot be in an image: what the runtime says when it comes across it, and
 * `stint doctor` before. Each is followed by an address.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COMMON_REFUSALS_H
#define STINT_COMMON_REFUSALS_H

#define STINT_REFUSAL_AIO         "asynchronous I/O (io_setup) is in use at"
#define STINT_REFUSAL_HUGE        "cannot save huge pages at"
#define STINT_REFUSAL_USERFAULTFD "cannot save memory under userfaultfd at"
#define STINT_REFUSAL_DEVICE      "cannot save device memory at"

#endif
