/* Counts on standard output and in a file, a line each few milliseconds.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   counter FILE [LAST]   LAST lines (or until $GATE.go), numbered from 0, no gap, no double
 */
#include "gate.h"

int main(int argc, char **argv)
{
    long last = argc > 2 ? atol(argv[2]) : 0;
    FILE *file = argc > 1 ? fopen(argv[1], "a") : NULL;

    if (!file)
        return 2;
    for (long i = 0; last ? i < last : !gate_open(); i++) {
        if (fprintf(file, "%ld\n", i) < 0 || fflush(file) != 0)
            fail("write");
        if (printf("%ld\n", i) < 0 || fflush(stdout) != 0)
            fail("write");
        if (i == 5)
            gate_touch("ready");
        gate_touch("alive");
        gate_nap();
    }
    return fclose(file) == 0 ? 0 : 1;
}
