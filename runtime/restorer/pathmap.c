/* Files that are elsewhere now than the images say.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/pathmap.h"

#include <stdlib.h>
#include <string.h>

#define PAIRS_MAX 64 /* more than a job has had nodes; what is over stays where it was */

static struct {
    int read;
    size_t count;
    struct {
        const char *old, *now;
    } pairs[PAIRS_MAX];
} map;

/* Lines "old=now"; old is absolute, so the pair is cut at the first "=/". */
static void read_map(void)
{
    const char *text = getenv("STINT_PATH_MAP");
    char *copy = text ? strdup(text) : NULL, *line, *saved = NULL;

    map.read = 1;
    for (line = copy ? strtok_r(copy, "\n", &saved) : NULL; line && map.count < PAIRS_MAX;
         line = strtok_r(NULL, "\n", &saved)) {
        char *cut = strstr(line, "=/");

        if (!cut)
            continue;
        *cut = '\0';
        map.pairs[map.count].old = line;
        map.pairs[map.count++].now = cut + 1;
    }
}

const char *stint_path_now(const char *path)
{
    if (!map.read)
        read_map();
    for (size_t i = 0; i < map.count; i++) {
        if (strcmp(map.pairs[i].old, path) == 0)
            return map.pairs[i].now;
    }
    return path;
}
