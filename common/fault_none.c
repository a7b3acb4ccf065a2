/* No faults.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/fault.h"

int stint_fault(const char *name)
{
    return 0;
}

void stint_fault_kill(const char *name)
{
}
