/* Ownership by scope: see systemd's and bubblewrap's cleanup attributes.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COMMON_CLEANUP_H
#define STINT_COMMON_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void stint_cleanup_free(void *p)
{
    int saved = errno;

    free(*(void **)p);
    errno = saved;
}

static inline void stint_cleanup_close(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        (void)close(*fd); /* nothing left to do for a descriptor that fails to close */
    errno = saved;
}

static inline void stint_cleanup_fclose(FILE **file)
{
    int saved = errno;

    if (*file)
        (void)fclose(*file); /* only for files that were read */
    errno = saved;
}

static inline void stint_cleanup_closedir(DIR **dir)
{
    int saved = errno;

    if (*dir)
        (void)closedir(*dir); /* read only: nothing to lose */
    errno = saved;
}

#define STINT_AUTO_FREE     __attribute__((cleanup(stint_cleanup_free)))
#define STINT_AUTO_CLOSE    __attribute__((cleanup(stint_cleanup_close)))
#define STINT_AUTO_FCLOSE   __attribute__((cleanup(stint_cleanup_fclose)))
#define STINT_AUTO_CLOSEDIR __attribute__((cleanup(stint_cleanup_closedir)))

/* Hand the value to the caller and forget it here. */
static inline int stint_steal_fd(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

#define stint_steal_pointer(p)                                                               \
    ({                                                                                       \
        __typeof__(*(p)) stolen_ = *(p);                                                     \
        *(p) = NULL;                                                                         \
        stolen_;                                                                             \
    })

#endif
