/* What /proc/PID/fdinfo/N says about a descriptor.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "coordinator/agent_proc.h"

int agent_fdinfo_read(pid_t pid, int fd, char **text, struct stint_err *err)
{
    STINT_AUTO_CLOSE int file = -1;
    STINT_AUTO_FREE char *all = NULL;
    size_t len = 0, room = 0;
    char path[64];
    ssize_t n = 1;

    if (pid)
        snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)agent_proc_task(pid), fd);
    else
        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return stint_err_set(err, -errno, "open %s", path);
    while (n > 0) {
        if (room - len < 4096) {
            char *grown = realloc(all, room + 65536);

            if (!grown)
                return stint_err_set(err, -ENOMEM, "read %s", path);
            all = grown;
            room += 65536;
        }
        n = read(file, all + len, room - len - 1);
        if (n < 0)
            return stint_err_set(err, -errno, "read %s", path);
        len += (size_t)n;
    }
    all[len] = '\0';
    *text = stint_steal_pointer(&all);
    return 0;
}

const char *agent_fdinfo_find(const char *text, const char *key, const char *at)
{
    size_t len = strlen(key);

    if (at) {
        at = strchr(at, '\n');
        text = at ? at + 1 : "";
    }
    while (*text) {
        if (strncmp(text, key, len) == 0 && text[len] == ':') {
            text += len + 1;
            return text + strspn(text, " \t");
        }
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    return NULL;
}

bool agent_fdinfo_number(const char *text, const char *key, int base, uint64_t *value)
{
    const char *at = agent_fdinfo_find(text, key, NULL);

    if (!at)
        return false;
    *value = strtoull(at, NULL, base);
    return true;
}
