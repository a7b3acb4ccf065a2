/* Why a process cannot be checkpointed, or does not answer.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint that comes to nothing, and `stint doctor` before there is one, say the same.
 */
#ifndef STINT_COORDINATOR_AGENT_DIAGNOSIS_H
#define STINT_COORDINATOR_AGENT_DIAGNOSIS_H

#include <stdbool.h>

#include "coordinator/agent_proc.h"
#include "coordinator/agent_quiesce.h"

struct agent_diagnosis {
    enum agent_failure failure;
    bool hopeless; /* it will not answer as long as it is what it is */
    char text[256]; /* "is ...", "has ...": what comes after the process's name */
};

/* Does it keep a live connection to daemons outside of the job (srun, ssh)? By name. */
bool agent_diagnosis_is_outsider(const char *comm);

/* What the process is, apart from whether libstint.so is loaded: returns true with *why
 * when a checkpoint is impossible for that. base, procs: as agent_confined_why(). */
bool agent_diagnose_nature(pid_t base, const struct agent_proc *proc,
                           const struct agent_procs *procs, struct agent_diagnosis *why);

/* Why libstint.so cannot be loaded into this program (an executable file, open for
 * reading): true with *why, or false when nothing speaks against it. A script is no
 * program: that is asked of its interpreter. */
bool agent_diagnose_file(int fd, struct agent_diagnosis *why);

/* The same of what a process runs. */
bool agent_diagnose_program(pid_t pid, struct agent_diagnosis *why);

/* Why a process of the program has not answered the checkpoint signal. */
void agent_diagnose(pid_t base, const struct agent_proc *proc,
                    const struct agent_procs *procs, struct agent_diagnosis *why);

#endif
