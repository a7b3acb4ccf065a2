/* Reading sbatch's command line and script before sbatch does.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Slurm tells a plugin of its options only after it has read the environment, where
 * the defaults that depend on them have to be. So they are looked for beforehand.
 */
#ifndef STINT_SPANK_CMDLINE_H
#define STINT_SPANK_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>

struct cmdline {
    char *text;  /* NUL-separated words */
    char **argv; /* into text, NULL-terminated */
    int argc;
    int script; /* index of the first word that is no option of Slurm's; argc if none */
};

/* Read this process's command line. Returns 0, or -errno and *c is empty. */
int cmdline_read(struct cmdline *c);

/* The same from text: words, each with its NUL. It is taken over, also on failure. */
int cmdline_take(struct cmdline *c, char *text, size_t len);
void cmdline_deinit(struct cmdline *c);

/* True when --name (or an abbreviation that means it) is among Slurm's own options.
 * value (NULL: not wanted): its first characters, of the last one; empty when it has none. */
#define CMDLINE_VALUE_MAX 32
bool cmdline_has(const struct cmdline *c, const char *name, char value[CMDLINE_VALUE_MAX]);

/* The same for the script's #SBATCH lines. Only for a script that is a regular file named
 * on the command line; false when it is not, or cannot be read. */
bool cmdline_script_has(const struct cmdline *c,
                        const char *name,
                        char value[CMDLINE_VALUE_MAX]);

#endif
