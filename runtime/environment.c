/* The environment that keeps the runtime loaded in what the program executes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/environment.h"

#include <string.h>

/* Ours as given by the agent; strings that live as long as the program. */
static struct {
    char preload[4096]; /* path of this library; "" = we were not preloaded */
    char dir[4096 + 16], job[128];
} ours;

static const char *find(char *const *envp, const char *name)
{
    size_t len = strlen(name);

    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return *envp + len + 1;
    return NULL;
}

/* The entry of LD_PRELOAD (separated by blanks or colons, ld.so(8)) that is us. */
static const char *find_library(const char *preload, size_t *len)
{
    static const char name[] = "libstint.so";

    while (preload && *preload) {
        *len = strcspn(preload, " :");
        if (*len >= sizeof(name) - 1
            && strncmp(preload + *len - (sizeof(name) - 1), name, sizeof(name) - 1) == 0)
            return preload;
        preload += *len;
        preload += strspn(preload, " :");
    }
    return NULL;
}

static void remember(char *to, size_t size, char *const *envp, const char *name)
{
    const char *value = find(envp, name);
    size_t name_len = strlen(name);

    if (!value || name_len + strlen(value) + 2 > size)
        return;
    memcpy(to, name, name_len);
    to[name_len] = '=';
    strcpy(to + name_len + 1, value);
}

void environment_init(char *const *envp)
{
    size_t len;
    const char *library = find_library(find(envp, "LD_PRELOAD"), &len);

    if (!library || len >= sizeof(ours.preload))
        return;
    memcpy(ours.preload, library, len);
    remember(ours.dir, sizeof(ours.dir), envp, "STINT_DIR");
    remember(ours.job, sizeof(ours.job), envp, "STINT_JOB");
}

const char *environment_job(void)
{
    return ours.job[0] ? ours.job + strlen("STINT_JOB=") : NULL;
}

bool environment_preloads(char *const *envp, const char *library)
{
    const char *preload = find(envp, "LD_PRELOAD");

    return preload && strstr(preload, library);
}

bool environment_has(char *const *envp, const char *name)
{
    return find(envp, name) != NULL;
}

bool environment_lacks(char *const *envp)
{
    size_t len;

    if (!ours.preload[0])
        return false;
    return !find_library(find(envp, "LD_PRELOAD"), &len)
           || (ours.job[0] && !find(envp, "STINT_JOB"))
           || (ours.dir[0] && !find(envp, "STINT_DIR"));
}

size_t environment_size(char *const *envp)
{
    size_t n = 0;

    for (; envp && envp[n]; n++)
        ;
    return n + ENVIRONMENT_ADDED_MAX + 1;
}

size_t environment_preload_size(char *const *envp)
{
    const char *theirs = find(envp, "LD_PRELOAD");

    return sizeof("LD_PRELOAD=") + strlen(ours.preload) + 1
           + (theirs ? strlen(theirs) : 0);
}

void environment_complete(char *const *envp, char **to, char *preload)
{
    const char *theirs = find(envp, "LD_PRELOAD");
    size_t n = 0, len;

    strcpy(preload, "LD_PRELOAD=");
    if (find_library(theirs, &len)) {
        strcat(preload, theirs);
    } else {
        strcat(preload, ours.preload);
        if (theirs && *theirs) {
            strcat(preload, ":");
            strcat(preload, theirs);
        }
    }
    for (; envp && *envp; envp++)
        if (strncmp(*envp, "LD_PRELOAD=", 11) != 0)
            to[n++] = *envp;
    to[n++] = preload;
    to[n] = NULL;
    if (ours.job[0] && !find(to, "STINT_JOB"))
        to[n++] = ours.job;
    to[n] = NULL;
    if (ours.dir[0] && !find(to, "STINT_DIR"))
        to[n++] = ours.dir;
    to[n] = NULL;
}
