/* Small text and file helpers on raw system calls.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_TEXT_H
#define STINT_RUNTIME_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/state.h"

/* What getdents64(2) gives; no header has it. */
struct linux_dirent64 {
    uint64_t d_ino;
    int64_t d_off;
    uint16_t d_reclen;
    uint8_t d_type;
    char d_name[];
};

/* Open for reading, CLOEXEC. Returns the fd or -errno. */
int stint_text_open(const char *path) STINT_HIDDEN;
void stint_text_close(int fd) STINT_HIDDEN;

/* Read a file from its start into buf, at most size - 1 bytes, NUL-terminated.
 * Returns bytes or -errno. */
/* Files of /proc/self end with the main thread, those of /proc/thread-self do not. */
long stint_text_read(const char *path, char *buf, size_t size) STINT_HIDDEN;

/* Decimal or hexadecimal number at *p, which moves past it; 0 where there is none. */
uint64_t stint_text_decimal(const char **p) STINT_HIDDEN;
uint64_t stint_text_hex(const char **p) STINT_HIDDEN;

/* Start of the value of a "Key:\tvalue" line of a status file, or NULL. */
const char *stint_text_field(const char *text, const char *key) STINT_HIDDEN;

/* Append to a buffer of `size` bytes, always NUL-terminated; *used moves on. */
void stint_text_append(char *buf, size_t size, size_t *used, const char *s) STINT_HIDDEN;
void stint_text_append_number(char *buf,
                              size_t size,
                              size_t *used,
                              uint64_t value,
                              unsigned base) STINT_HIDDEN;

/* "/proc/self/task/<tid>/<leaf>" into buf. */
void stint_text_task_path(char *buf,
                          size_t size,
                          int32_t tid,
                          const char *leaf) STINT_HIDDEN;

#endif
