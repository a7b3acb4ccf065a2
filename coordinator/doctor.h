/* `stint doctor`: what it looks at, and how that is said.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COORDINATOR_DOCTOR_H
#define STINT_COORDINATOR_DOCTOR_H

#include <jansson.h>
#include <sys/types.h>

#include "common/err.h"

enum doctor_level {
    DOCTOR_OK,
    DOCTOR_NOTE,    /* works, with a difference; or could not be looked at */
    DOCTOR_LATER,   /* a checkpoint is not possible for now */
    DOCTOR_REFUSED, /* a checkpoint, or a restart here, is not possible */
};

/* All findings, for people and for --json. */
struct doctor {
    json_t *findings; /* of {about, level, text}, in the order they were made */
    unsigned bad;     /* how many are LATER or REFUSED */
};

/* about: "host", "directory", "command" or "process". */
void doctor_say(struct doctor *doctor, const char *about, enum doctor_level level,
                const char *fmt, ...) STINT_PRINTF(4, 5);

/* What a restart needs of this machine, tried out; and what makes it better. */
void doctor_look_at_host(struct doctor *doctor);

/* A checkpoint directory, or the place where one is to be made. */
void doctor_look_at_directory(struct doctor *doctor, const char *path);

/* A command that is to be started: its program, and the interpreters of a script. */
void doctor_look_at_command(struct doctor *doctor, const char *name);

/* A process and all that it has started, while they run. */
void doctor_look_at_process(struct doctor *doctor, pid_t pid);

#endif
