/* Stepping aside for DMTCP itself, and for stint that runs already.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/dmtcp/aside.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "coordinator/commands.h"

/* Is an entry of LD_PRELOAD (separated by blanks or colons) a library of that name? */
static bool is_preloaded(const char *name)
{
    const char *list = getenv("LD_PRELOAD");
    size_t name_len = strlen(name);

    while (list && *list) {
        size_t len = strcspn(list, " :");
        const char *file = memrchr(list, '/', len);

        file = file ? file + 1 : list;
        if ((size_t)(list + len - file) >= name_len && strncmp(file, name, name_len) == 0)
            return true;
        list += len;
        list += strspn(list, " :");
    }
    return false;
}

bool aside_is_dmtcp_loaded(void)
{
    return is_preloaded("libdmtcp.so") || is_preloaded("libdmtcp_");
}

bool aside_is_under_stint(void)
{
    return is_preloaded("libstint.so") && getenv("STINT_JOB");
}

/* The first on PATH that is not this program. */
static bool find_other(const char *name, char path[PATH_MAX])
{
    const char *list = getenv("PATH");
    struct stat own, st;

    if (!list || stat("/proc/self/exe", &own) < 0)
        return false;
    while (*list) {
        size_t len = strcspn(list, ":");

        if (len > 0 && len + strlen(name) + 2 <= PATH_MAX) {
            snprintf(path, PATH_MAX, "%.*s/%s", (int)len, list, name);
            if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0
                && (st.st_ino != own.st_ino || st.st_dev != own.st_dev))
                return true;
        }
        list += len + (list[len] == ':');
    }
    return false;
}

int aside_become_dmtcp(const char *name, char **argv)
{
    char path[PATH_MAX];

    if (!find_other(name, path)) {
        stint_error("DMTCP itself is loaded here (LD_PRELOAD), and its %s is not on PATH: "
                    "unload it to use stint's",
                    name);
        return STINT_EXIT_FAILED;
    }
    stint_info("DMTCP itself is loaded here: stint steps aside for %s", path);
    execv(path, argv);
    stint_error("%s: %m", path);
    return STINT_EXIT_FAILED;
}
