/* The text of dmtcp_restart_script.sh.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_DMTCP_SCRIPT_H
#define STINT_DMTCP_SCRIPT_H

struct dmtcp_names_order;

/* paths: for each group of the manifest its .dmtcp files, one a line.
 * Returns the text, freed by the caller, or NULL for want of memory. */
char *dmtcp_script_text(const struct dmtcp_names_order *order, char *const *paths);

#endif
