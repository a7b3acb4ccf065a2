/* Named points at which a test lets things go wrong.
 * SPDX-License-Identifier: Apache-2.0
 *
 * fault_none.c is what is linked: nothing ever happens. Tests link fault.c before it
 * (and -Dfault_injection=true puts it into everything): STINT_FAULT=NAME[:N] in the
 * environment makes the fault happen the N-th time (default: the first) that the point
 * NAME is reached in a process; with STINT_FAULT_ONCE=FILE only if FILE is there, which
 * is then removed.
 */
#ifndef STINT_COMMON_FAULT_H
#define STINT_COMMON_FAULT_H

/* True when the fault has to happen now. */
int stint_fault(const char *name);

/* kill -9 of this process at this point, if it is the one. */
void stint_fault_kill(const char *name);

#endif
