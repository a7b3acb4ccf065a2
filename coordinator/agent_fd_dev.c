/* What the agent passes down itself (standard input, output, error), terminals, and
 * devices without a state.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_contents.h"
#include "coordinator/agent_object.h"
#include "coordinator/agent_state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TTY_AUX_MAJOR 5 /* /dev/tty, /dev/console, /dev/ptmx */
#define MEM_MAJOR     1

static bool match_stdio(const struct agent_object *object)
{
    return object->stdio >= 0;
}

static int describe_stdio(struct agent_objects *all, struct agent_object *object,
                          const struct agent_segments *segments, struct stint_err *err)
{
    bool writes = (object->open_flags & O_ACCMODE) != O_RDONLY;

    object->record.a = (uint64_t)object->stdio;
    /* A file is cut back at the restart to where it was, if the new run has the same. */
    if (!S_ISREG(object->st.st_mode) || !writes)
        object->record.flags |= STINT_OBJFLAG_KEEP_SIZE;
    else if (!all->glance && all->agent->config->save_output)
        agent_contents_want_output(all, object);
    if (object->link[0] != '/')
        return 0;
    object->path = strdup(object->link);
    if (!object->path)
        return stint_err_set(err, -ENOMEM, "describe %s", object->link);
    return 0;
}

const struct agent_fdkind agent_fd_stdio = {
    .kind = STINT_OBJ_STDIO,
    .match = match_stdio,
    .describe = describe_stdio,
    .store = agent_contents_store,
};

/* --- terminals ------------------------------------------------------------------ */

static bool match_terminal(const struct agent_object *object)
{
    return S_ISCHR(object->st.st_mode)
           && (isatty(object->fd) || object->st.st_rdev == makedev(TTY_AUX_MAJOR, 0));
}

/* Is it the terminal that one of the agent's own descriptors is on, or /dev/tty? */
static bool is_own_terminal(const struct agent_objects *all, const struct agent_object *object)
{
    struct stat st;

    for (size_t i = 0; i < all->count && all->glance; i++) {
        if (all->list[i]->stdio >= 0 && all->list[i]->st.st_rdev == object->st.st_rdev)
            return true;
    }
    if (object->st.st_rdev == makedev(TTY_AUX_MAJOR, 0))
        return true;
    for (int own = STDIN_FILENO; own <= STDERR_FILENO; own++) {
        if (fstat(own, &st) == 0 && S_ISCHR(st.st_mode)
            && st.st_rdev == object->st.st_rdev)
            return true;
    }
    return false;
}

static int describe_terminal(struct agent_objects *all, struct agent_object *object,
                             const struct agent_segments *segments, struct stint_err *err)
{
    if (!is_own_terminal(all, object) && agent_object_sever(all, object))
        return 0;
    if (!is_own_terminal(all, object))
        return agent_object_refuse(object, err,
                                   "the terminal %s, which is not the job's own, is not "
                                   "supported yet",
                                   object->link);
    object->path = strdup(object->link);
    if (!object->path)
        return stint_err_set(err, -ENOMEM, "describe %s", object->link);
    return 0;
}

const struct agent_fdkind agent_fd_terminal = {
    .kind = STINT_OBJ_TTY,
    .match = match_terminal,
    .describe = describe_terminal,
};

/* --- devices ---------------------------------------------------------------------- */

/* null, zero, full, random, urandom: no state but the path. */
static bool match_device(const struct agent_object *object)
{
    static const unsigned minors[] = {3, 5, 7, 8, 9};

    if (!S_ISCHR(object->st.st_mode) || major(object->st.st_rdev) != MEM_MAJOR)
        return false;
    for (size_t i = 0; i < sizeof(minors) / sizeof(minors[0]); i++) {
        if (minor(object->st.st_rdev) == minors[i])
            return true;
    }
    return false;
}

static int describe_device(struct agent_objects *all, struct agent_object *object,
                           const struct agent_segments *segments, struct stint_err *err)
{
    object->record.pos = 0;
    object->path = strdup(object->link);
    if (!object->path)
        return stint_err_set(err, -ENOMEM, "describe %s", object->link);
    return 0;
}

const struct agent_fdkind agent_fd_device = {
    .kind = STINT_OBJ_CHARDEV,
    .match = match_device,
    .describe = describe_device,
};
