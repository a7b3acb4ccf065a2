/* Reading sbatch's command line and script before sbatch does.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmdline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"

#define SCRIPT_LINE_MAX  4096
#define SCRIPT_LINES_MAX 10000
#define NAME_MIN         12 /* strlen("--checkpoint") is ours alone in no abbreviation */

/* Options of sbatch 20.11 to 26.05 that take no value in the next word. An option that
 * is missing here makes its next word look like a value: then options of the script
 * itself may be taken for sbatch's. */
static const char *const flags[] = {
    "-H",            "-I",          "-k",          "-O",
    "-s",            "-Q",          "-v",          "-V",
    "-W",            "-h",          "-K",          "--contiguous",
    "--exclusive",   "--help",      "--hold",      "--ignore-pbs",
    "--no-requeue",  "--requeue",   "--overcommit", "--oversubscribe",
    "--parsable",    "--quiet",     "--reboot",    "--spread-job",
    "--test-only",   "--usage",     "--verbose",   "--version",
    "--wait",        "--no-kill",   "--nice",      "--get-user-env",
    "--propagate",   "--share",     "--stepmgr",   "--use-min-nodes",
    "--immediate",   "--no-allocate",
};

static bool takes_next_word(const char *word)
{
    if (strchr(word, '='))
        return false;
    if (word[1] != '-' && strlen(word) > 2)
        return strspn(word + 1, "HIkOsQvVW") == strlen(word + 1) ? false : word[2] == '\0';
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (strcmp(word, flags[i]) == 0)
            return false;
    return true;
}

static int find_script(const struct cmdline *c)
{
    int i = 1;

    while (i < c->argc) {
        const char *word = c->argv[i];

        if (strcmp(word, "--") == 0)
            return i + 1;
        if (word[0] != '-' || word[1] == '\0')
            return i;
        i += takes_next_word(word) ? 2 : 1;
    }
    return c->argc;
}

static char *read_whole(const char *path, size_t *len)
{
    STINT_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 65536, used = 0;
    char *text = NULL;
    ssize_t n = 1;

    if (fd < 0)
        return NULL;
    while (n > 0) {
        char *more = used + 1 < size && text ? text : realloc(text, size *= 2);

        if (!more) {
            free(text);
            return NULL;
        }
        text = more;
        n = read(fd, text + used, size - used - 1);
        if (n > 0)
            used += (size_t)n;
    }
    text[used] = '\0';
    *len = used;
    return text;
}

int cmdline_take(struct cmdline *c, char *text, size_t len)
{
    int words = 0;

    memset(c, 0, sizeof(*c));
    c->text = text;
    for (size_t i = 0; i < len; i++)
        words += c->text[i] == '\0';
    c->argv = calloc((size_t)words + 2, sizeof(*c->argv));
    if (!c->argv) {
        cmdline_deinit(c);
        return -ENOMEM;
    }
    for (char *p = c->text; p < c->text + len; p += strlen(p) + 1)
        c->argv[c->argc++] = p;
    c->script = find_script(c);
    return 0;
}

int cmdline_read(struct cmdline *c)
{
    size_t len = 0;
    char *text = read_whole("/proc/self/cmdline", &len);

    memset(c, 0, sizeof(*c));
    return text ? cmdline_take(c, text, len) : -ENOMEM;
}

void cmdline_deinit(struct cmdline *c)
{
    free(c->argv);
    free(c->text);
    memset(c, 0, sizeof(*c));
}

/* getopt_long(3) takes any abbreviation that is not ambiguous. */
static bool means(const char *word, const char *name)
{
    size_t len = strcspn(word, "= \t\n");

    return len > 2 && strncmp(word, "--", 2) == 0 && len - 2 <= strlen(name) &&
           strncmp(word + 2, name, len - 2) == 0 &&
           (len - 2 == strlen(name) || len > NAME_MIN);
}

/* Of "--name=value", or "--name value", which may be two words. */
static void take_value(const char *word, const char *next, char value[CMDLINE_VALUE_MAX])
{
    const char *from = word + strcspn(word, "= \t\n");

    if (!value)
        return;
    from = *from == '=' ? from + 1 : next ?: "";
    from += strspn(from, " \t");
    snprintf(value, CMDLINE_VALUE_MAX, "%.*s", (int)strcspn(from, " \t\n"), from);
}

bool cmdline_has(const struct cmdline *c, const char *name, char value[CMDLINE_VALUE_MAX])
{
    bool has = false;

    for (int i = 1; i < c->script && i < c->argc && strcmp(c->argv[i], "--") != 0;
         i += c->argv[i][0] == '-' && takes_next_word(c->argv[i]) ? 2 : 1) {
        if (!means(c->argv[i], name))
            continue;
        take_value(c->argv[i], c->argv[i + 1], value);
        has = true;
    }
    return has;
}

static bool line_has(const char *line, const char *name, char value[CMDLINE_VALUE_MAX])
{
    bool has = false;

    if (strncmp(line, "#SBATCH", 7) != 0)
        return false;
    for (const char *p = line + 7; *p; p += strcspn(p, " \t\n")) {
        p += strspn(p, " \t\n");
        if (*p == '#')
            break; /* the rest is a comment */
        if (!*p || !means(p, name))
            continue;
        take_value(p, p + strcspn(p, " \t\n"), value);
        has = true;
    }
    return has;
}

bool cmdline_script_has(const struct cmdline *c,
                        const char *name,
                        char value[CMDLINE_VALUE_MAX])
{
    STINT_AUTO_FCLOSE FILE *file = NULL;
    STINT_AUTO_CLOSE int fd = -1;
    char line[SCRIPT_LINE_MAX];
    struct stat st;
    bool has = false;

    if (c->script >= c->argc)
        return false;
    fd = open(c->argv[c->script], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || !(file = fdopen(fd, "r")))
        return false;
    (void)stint_steal_fd(&fd); /* file's now */
    for (int n = 0; n < SCRIPT_LINES_MAX && fgets(line, sizeof(line), file); n++) {
        /* as sbatch: nothing counts after the first command */
        if (line[0] != '#' && line[strspn(line, " \t\r\n")] != '\0')
            break;
        has = line_has(line, name, value) || has;
    }
    return has;
}
