/* The environment that keeps the runtime loaded in what the program executes.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_RUNTIME_ENVIRONMENT_H
#define STINT_RUNTIME_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/state.h"

#define ENVIRONMENT_ADDED_MAX 3

/* Remember our part of the environment, from the one this program started with. */
void environment_init(char *const *envp) STINT_HIDDEN;

/* STINT_JOB as this program was started with; NULL when it does not run under an agent. */
const char *environment_job(void) STINT_HIDDEN;

/* Is a library of that name in LD_PRELOAD? */
bool environment_preloads(char *const *envp, const char *library) STINT_HIDDEN;

bool environment_has(char *const *envp, const char *name) STINT_HIDDEN;

/* True when envp has lost what keeps the runtime loaded. */
bool environment_lacks(char *const *envp) STINT_HIDDEN;

/* Entries that `to` of environment_complete() needs for envp, with the NULL. */
size_t environment_size(char *const *envp) STINT_HIDDEN;

/* envp with our part put back, into `to`. preload: buffer of
 * environment_preload_size(envp) bytes. Context: any, also after vfork. */
void environment_complete(char *const *envp, char **to, char *preload) STINT_HIDDEN;
size_t environment_preload_size(char *const *envp) STINT_HIDDEN;

#endif
