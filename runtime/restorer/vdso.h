/* The vdso of this kernel and the one that the program knows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The program holds addresses of functions in the vdso it was started with. When
 * this kernel's is the same, ours is moved to the old address. Otherwise ours
 * stands elsewhere, and the old one's place gets its old contents with a jump to
 * ours (or a system call) at each function.
 */
#ifndef STINT_RESTORER_VDSO_H
#define STINT_RESTORER_VDSO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/image.h"
#include "runtime/restorer/layout.h"

#define STINT_VDSO_PIECES_MAX 8

struct stint_vdso_piece {
    uint64_t start, len; /* where it is now */
    uint64_t to;         /* where it goes */
};

struct stint_vdso_plan {
    struct stint_vdso_piece pieces[STINT_VDSO_PIECES_MAX];
    size_t npieces;
    uint64_t len;   /* of all pieces */
    uint8_t *image; /* what goes to old->vdso_start; NULL when ours does. malloc'ed */
};

/* old: from the image, or NULL: then ours goes to any place.
 * maps: this process's; taken: every address that must stay free of it.
 * Returns 0 with *plan (free plan->image), or -errno with *err. */
int stint_vdso_plan_init(struct stint_vdso_plan *plan, const struct stint_vdso *old,
                         const struct stint_layout *maps, const struct stint_layout *taken,
                         struct stint_err *err);

/* Patch old (len bytes, which will stand at old_start) so that each of its functions
 * leads to the one of the same name in ours, which will stand at our_start.
 * Returns how many were found, or -EBADMSG when old is no ELF file. */
int stint_vdso_patch(uint8_t *old, size_t len, const uint8_t *ours, size_t our_len,
                     uint64_t our_start);

#endif
