/* Small text and file helpers on raw system calls.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/text.h"

#include <fcntl.h>
#include <string.h>

#include "common/raw.h"

int stint_text_open(const char *path)
{
    return (int)raw_syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

void stint_text_close(int fd)
{
    (void)raw_syscall(SYS_close, fd); /* only for files that were read */
}

long stint_text_read(const char *path, char *buf, size_t size)
{
    int fd = stint_text_open(path);
    size_t used = 0;
    long n = 0;

    if (fd < 0)
        return fd;
    while (used < size - 1) {
        n = raw_syscall(SYS_read, fd, buf + used, size - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    stint_text_close(fd);
    buf[used] = '\0';
    return n < 0 ? n : (long)used;
}

uint64_t stint_text_decimal(const char **p)
{
    uint64_t value = 0;

    while (**p >= '0' && **p <= '9')
        value = value * 10 + (uint64_t)(*(*p)++ - '0');
    return value;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

uint64_t stint_text_hex(const char **p)
{
    uint64_t value = 0;

    for (int digit; (digit = hex_digit(**p)) >= 0; (*p)++)
        value = value << 4 | (uint64_t)digit;
    return value;
}

const char *stint_text_field(const char *text, const char *key)
{
    size_t len = strlen(key);

    while (text) {
        if (strncmp(text, key, len) == 0 && text[len] == ':') {
            text += len + 1;
            while (*text == ' ' || *text == '\t')
                text++;
            return text;
        }
        text = strchr(text, '\n');
        if (text)
            text++;
    }
    return NULL;
}

void stint_text_append(char *buf, size_t size, size_t *used, const char *s)
{
    while (*s && *used + 1 < size)
        buf[(*used)++] = *s++;
    buf[*used] = '\0';
}

void stint_text_append_number(char *buf,
                              size_t size,
                              size_t *used,
                              uint64_t value,
                              unsigned base)
{
    char digits[21];
    size_t i = sizeof(digits);

    digits[--i] = '\0';
    do {
        digits[--i] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    stint_text_append(buf, size, used, digits + i);
}

void stint_text_task_path(char *buf, size_t size, int32_t tid, const char *leaf)
{
    size_t used = 0;

    stint_text_append(buf, size, &used, "/proc/self/task/");
    stint_text_append_number(buf, size, &used, (uint64_t)tid, 10);
    stint_text_append(buf, size, &used, "/");
    stint_text_append(buf, size, &used, leaf);
}
