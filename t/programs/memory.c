/* Holds MEGABYTES of patterned memory, and reserves 4 GiB that cost nothing.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   memory [MEGABYTES]
 */
#include "gate.h"

#include <stdint.h>
#include <sys/mman.h>

static uint64_t word(uint64_t i)
{
    return (i + 1) * 0x9e3779b97f4a7c15u ^ i >> 3;
}

int main(int argc, char **argv)
{
    size_t megabytes = argc > 1 ? (size_t)atoi(argv[1]) : 64;
    size_t words = megabytes << 17;
    uint64_t *memory = malloc(words * 8), sum = 0;
    char *reserved = mmap(NULL, 4ul << 30, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (!memory || reserved == MAP_FAILED)
        fail("no memory");
    for (size_t i = 0; i < words; i++)
        memory[i] = word(i);
    for (size_t i = 0; i < 4; i++)
        reserved[(i << 30) + 12345] = (char)(i + 1);
    gate_wait();
    for (size_t i = 0; i < words; i++) {
        if (memory[i] != word(i))
            fail("a word of memory has changed");
        sum += memory[i];
    }
    for (size_t i = 0; i < 4; i++)
        if (reserved[(i << 30) + 12345] != (char)(i + 1) || reserved[(i << 30) + 123456] != 0)
            fail("reserved memory has changed");
    (void)printf("%zu MB, sum %016llx\n", megabytes, (unsigned long long)sum);
    return 0;
}
