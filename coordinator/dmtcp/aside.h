/* Stepping aside for DMTCP itself, and for stint that runs already.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_DMTCP_ASIDE_H
#define STINT_DMTCP_ASIDE_H

#include <stdbool.h>

/* Is DMTCP itself loaded into what runs here (LD_PRELOAD)? */
bool aside_is_dmtcp_loaded(void);

/* Become DMTCP's command of that name, which is looked for on PATH behind ours. Says so in
 * one line. Returns the exit status when there is none. */
int aside_become_dmtcp(const char *name, char **argv);

/* Does this run below stint, so that what is started here is checkpointed anyway? */
bool aside_is_under_stint(void);

#endif
