/* Entry of the blob, its errors, and the functions that the compiler expects.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Context of everything in blob/: all signals are blocked; there is no C library,
 * no thread-local storage and no memory but the hole and what is being restored.
 */
#define STINT_BLOB
#include "runtime/restorer/blob/blob.h"

#include <stddef.h>

void blob_entry(struct blob_args *args) __attribute__((noreturn, section(".text.blob_entry")));

/* On the leader's stack in the hole; process.c jumps here. */
void blob_entry(struct blob_args *args)
{
    struct blob_thread *leader = BLOB_AT(args, args->threads_offset, struct blob_thread);

    blob_restore_memory(args);
    blob_restore_early(args);
    blob_create_threads(args);
    blob_restore_late(args);
    blob_run_thread(args, leader);
}

static void append(char *buf, size_t size, size_t *used, const char *text)
{
    while (*text && *used < size - 1)
        buf[(*used)++] = *text++;
    buf[*used] = '\0';
}

static void compose(char *buf, size_t size, const char *what, const char *path)
{
    size_t used = 0;

    append(buf, size, &used, what);
    if (path) {
        append(buf, size, &used, " ");
        append(buf, size, &used, path);
    }
}

void blob_fail(struct blob_args *args, long error, const char *what, const char *path)
{
    char text[512];

    compose(text, sizeof(text), what, path);
    shared_fail((struct stint_shared *)args->shared, args->process.pid, (int32_t)-error, text);
    for (;;)
        (void)raw_syscall(SYS_exit_group, 1); /* does not return */
}

void blob_note(struct blob_args *args, const char *what, const char *path)
{
    char text[512];

    compose(text, sizeof(text), what, path);
    shared_note((struct stint_shared *)args->shared, text);
}

/* gcc calls these for what it does not inline. */
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int c, size_t n);
void *memmove(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    void *d = to;

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
    return to;
}

void *memset(void *to, int c, size_t n)
{
    void *d = to;

    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    char *d = to;
    const char *s = from;

    if (d <= s || d >= s + n)
        return memcpy(to, from, n);
    while (n-- > 0) {
        d[n] = s[n];
        __asm__ volatile("" : : : "memory"); /* or it becomes a call of itself */
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;

    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    }
    return 0;
}
