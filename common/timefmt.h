/* Durations as people write them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COMMON_TIMEFMT_H
#define STINT_COMMON_TIMEFMT_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define STINT_DURATION_MAX 315360000u /* seconds, ten years */

/* Read a duration: a plain number is seconds; 90s, 30m, 2h, 1d; mm:ss, hh:mm:ss,
 * d-hh, d-hh:mm, d-hh:mm:ss. In the forms with colons every field but the first is
 * at most 59 (hours after days at most 23). No sign, no fraction, no blanks.
 *
 * Returns 0 with *seconds set (0 is a valid duration: the caller says what it
 * means), or -EINVAL or -ERANGE with one line in *err that quotes the text.
 */
int stint_duration_parse(const char *text, uint32_t *seconds, struct stint_err *err);

#define STINT_DURATION_TEXT_MAX 32

/* Write a duration for people: "2.1 s", "45 s", "12 min 5 s", "3 h 20 min",
 * "2 d 4 h". Returns buf. */
const char *stint_duration_format(double seconds, char buf[STINT_DURATION_TEXT_MAX]);

#define STINT_SIZE_TEXT_MAX 32

/* Write a size for people: "812 B", "4.2 MiB", "1.30 GiB". Returns buf. */
const char *stint_size_format(uint64_t bytes, char buf[STINT_SIZE_TEXT_MAX]);

#endif
