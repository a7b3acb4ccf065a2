/* Huge pages (hugetlbfs) behind shared memory.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_huge.h"

#include <dirent.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"

/* An empty memfd takes no pages. */
static bool is_device_of(uint64_t page, uint64_t dev)
{
    unsigned shift = (unsigned)__builtin_ctzll(page);
    STINT_AUTO_CLOSE int fd
        = memfd_create("stint", MFD_CLOEXEC | MFD_HUGETLB | shift << MFD_HUGE_SHIFT);
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == dev;
}

uint64_t agent_huge_page_of(uint64_t dev)
{
    STINT_AUTO_CLOSEDIR DIR *dir = opendir("/sys/kernel/mm/hugepages");
    struct dirent *entry;
    uint64_t kb;

    while (dir && (entry = readdir(dir))) {
        if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kb) == 1 && kb > 0
            && is_device_of(kb << 10, dev))
            return kb << 10;
    }
    return 0;
}

uint64_t agent_huge_page_at(const void *at)
{
    STINT_AUTO_FCLOSE FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    uint64_t start;
    unsigned major, minor;

    while (maps && fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%" SCNx64 "-%*x %*4s %*x %x:%x", &start, &major, &minor) == 3
            && start == (uintptr_t)at)
            return agent_huge_page_of(makedev(major, minor));
    }
    return 0;
}
