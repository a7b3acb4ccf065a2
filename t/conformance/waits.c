/* Says whether the dynamic linker trusted its environment, and waits for the end of its input.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <sys/auxv.h>
#include <unistd.h>

int main(void)
{
    char byte = getauxval(AT_SECURE) ? 's' : 'n';

    return write(1, &byte, 1) == 1 && read(0, &byte, 1) == 0 ? 0 : 1;
}
