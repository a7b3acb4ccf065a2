/* Conformance: a program that the runtime is not loaded into.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

CASE(linked_statically)
{
    hold();
}
