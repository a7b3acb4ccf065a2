/* Build what the blob works from: one block of bytes, addressed by offsets.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RESTORER_ARGUMENTS_H
#define STINT_RESTORER_ARGUMENTS_H

#include "runtime/restorer/blob/blob.h"
#include "runtime/restorer/restore.h"
#include "runtime/restorer/vdso.h"

struct stint_arguments {
    uint8_t *bytes; /* begins with struct blob_args */
    size_t len, size;
};

/* Descriptors that the blob needs; it closes them. -1: none. */
struct stint_blob_fds {
    int image, image_buffered, exe, last_pid;
};

int stint_arguments_build(struct stint_arguments *arguments, struct stint_restore *restore,
                          const struct stint_restored_process *p,
                          const struct stint_blob_fds *fds,
                          const struct stint_vdso_plan *vdso, struct stint_err *err);

/* Fill in the addresses, now that they are known. */
void stint_arguments_place(struct stint_arguments *arguments, uint64_t hole, uint64_t hole_len,
                           uint64_t args, uint64_t stacks,
                           const struct stint_vdso_plan *vdso, uint64_t parking);

static inline struct blob_args *stint_arguments_head(const struct stint_arguments *arguments)
{
    return (struct blob_args *)(void *)arguments->bytes;
}

/* The descriptors that the blob closes: head->nclose of them. */
const int32_t *stint_arguments_fds(const struct stint_arguments *arguments);

#endif
