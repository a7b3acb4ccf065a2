/* Conformance: a program of another C library, whose dynamic linker does not load libstint.so.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "harness.h"

CASE(another_c_library)
{
#ifdef __GLIBC__
    skip("musl-gcc is not installed");
#endif
    hold();
}
