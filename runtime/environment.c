/* The environment that keeps the runtime loaded in what the program executes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/environment.h"

#include <string.h>

#include "runtime/state.h"

#define OURS "libstint.so"

static struct given *const ours = &stint_runtime.given;

static const char *find(char *const *envp, const char *name)
{
    size_t len = strlen(name);

    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return *envp + len + 1;
    return NULL;
}

/* The entry of LD_PRELOAD (separated by blanks or colons, ld.so(8)) that ends in name.
 * strcspn(3) and the like would touch further pages of libc, at every exec. */
static const char *find_library(const char *preload, const char *name, size_t *len)
{
    size_t name_len = strlen(name);

    for (; preload && *preload; preload += *len + (preload[*len] != '\0')) {
        for (*len = 0; preload[*len] && preload[*len] != ' ' && preload[*len] != ':';)
            ++*len;
        if (*len >= name_len && strncmp(preload + *len - name_len, name, name_len) == 0)
            return preload;
    }
    return NULL;
}

static char *keep(const char *text, size_t len)
{
    char *kept = ours->text + ours->used;

    if (len >= sizeof(ours->text) - ours->used)
        return NULL;
    memcpy(kept, text, len);
    kept[len] = '\0';
    ours->used += len + 1;
    return kept;
}

static char *keep_variable(char *const *envp, const char *name)
{
    const char *value = find(envp, name);
    size_t len = strlen(name) + 1;

    return value ? keep(value - len, len + strlen(value)) : NULL;
}

void environment_init(char *const *envp)
{
    size_t len;
    const char *library = find_library(find(envp, "LD_PRELOAD"), OURS, &len);

    if (!library)
        return;
    ours->preload = keep(library, len);
    ours->job = keep_variable(envp, "STINT_JOB");
    ours->dir = keep_variable(envp, "STINT_DIR");
}

const char *environment_job(void)
{
    return ours->job ? ours->job + strlen("STINT_JOB=") : NULL;
}

bool environment_preloads(char *const *envp, const char *library)
{
    size_t len;

    return find_library(find(envp, "LD_PRELOAD"), library, &len) != NULL;
}

bool environment_has(char *const *envp, const char *name)
{
    return find(envp, name) != NULL;
}

bool environment_lacks(char *const *envp)
{
    size_t len;

    if (!ours->preload)
        return false;
    return !find_library(find(envp, "LD_PRELOAD"), OURS, &len)
           || (ours->job && !find(envp, "STINT_JOB"))
           || (ours->dir && !find(envp, "STINT_DIR"));
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

    return sizeof("LD_PRELOAD=") + strlen(ours->preload) + 1
           + (theirs ? strlen(theirs) : 0);
}

void environment_complete(char *const *envp, char **to, char *preload)
{
    const char *theirs = find(envp, "LD_PRELOAD");
    size_t n = 0, len;

    strcpy(preload, "LD_PRELOAD=");
    if (find_library(theirs, OURS, &len)) {
        strcat(preload, theirs);
    } else {
        strcat(preload, ours->preload);
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
    if (ours->job && !find(to, "STINT_JOB"))
        to[n++] = ours->job;
    to[n] = NULL;
    if (ours->dir && !find(to, "STINT_DIR"))
        to[n++] = ours->dir;
    to[n] = NULL;
}
