/* Files that are elsewhere now than the images say.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RESTORER_PATHMAP_H
#define STINT_RESTORER_PATHMAP_H

/* Where to open what the program had open at path: what STINT_PATH_MAP (doc/protocol.md,
 * "Plugin and task") says, else path itself. The string lives as long as the process. */
const char *stint_path_now(const char *path);

#endif
