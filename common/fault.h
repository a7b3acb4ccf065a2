/* Named points at which a test lets things go wrong; only with -Dfault_injection=true.
 * SPDX-License-Identifier: Apache-2.0
 *
 * STINT_FAULT=NAME[:N] in the environment: the N-th time (default: the first) that the
 * point NAME is reached, the fault happens.
 */
#ifndef STINT_COMMON_FAULT_H
#define STINT_COMMON_FAULT_H

#ifdef STINT_FAULT_INJECTION

/* True when the fault has to happen now. */
int stint_fault(const char *name);

/* kill -9 of this process at this point, if it is the one. */
void stint_fault_kill(const char *name);

#else

static inline int stint_fault(const char *name)
{
    (void)name;
    return 0;
}

static inline void stint_fault_kill(const char *name)
{
    (void)name;
}

#endif

#endif
