/* Huge pages (hugetlbfs): are there enough of them?
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "common/cleanup.h"
#include "common/image_objects.h"
#include "runtime/restorer/objects.h"

#define SIZES_MAX 8

/* What shared memory takes of one size. */
struct need {
    uint64_t page, count;
};

unsigned stint_memfd_huge(uint64_t page)
{
    return page ? MFD_HUGETLB | (unsigned)__builtin_ctzll(page) << MFD_HUGE_SHIFT : 0;
}

bool stint_is_huge(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

static int add(struct need *needs, uint64_t page, uint64_t size, struct stint_err *err)
{
    size_t i = 0;

    if (!page)
        return 0;
    if (page & (page - 1) || page < STINT_PAGE_SIZE)
        return stint_err_set(err, -EBADMSG, "there are no pages of %llu bytes.",
                             (unsigned long long)page);
    while (i < SIZES_MAX && needs[i].page && needs[i].page != page)
        i++;
    if (i == SIZES_MAX)
        return stint_err_set(err, -EBADMSG, "there are too many sizes of huge pages.");
    needs[i].page = page;
    needs[i].count += (size + page - 1) / page;
    return 0;
}

/* Returns false when this machine has no pages of that size. */
static bool read_number(uint64_t page, const char *name, uint64_t *value)
{
    STINT_AUTO_FCLOSE FILE *file = NULL;
    unsigned long long number;
    char path[128];

    (void)snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
                   (unsigned long long)page >> 10, name); /* fits */
    file = fopen(path, "re");
    if (!file || fscanf(file, "%llu", &number) != 1)
        return false;
    *value = number;
    return true;
}

/* Pages that nobody has or has reserved, and those that the kernel may make. */
static bool count_free(uint64_t page, uint64_t *count)
{
    uint64_t unused, reserved, more, surplus;

    if (!read_number(page, "free_hugepages", &unused) ||
        !read_number(page, "resv_hugepages", &reserved) ||
        !read_number(page, "nr_overcommit_hugepages", &more) ||
        !read_number(page, "surplus_hugepages", &surplus))
        return false;
    *count = (unused > reserved ? unused - reserved : 0) + (more > surplus ? more - surplus : 0);
    return true;
}

static int check(const struct need *need, struct stint_err *err)
{
    unsigned long long wanted = need->count, kb = need->page >> 10;
    uint64_t count;

    if (!count_free(need->page, &count))
        return stint_err_set(err, -ENOMEM,
                             "the program's shared memory needs %llu huge pages of %llu kB; "
                             "this machine has none of that size.",
                             wanted, kb);
    if (count >= need->count)
        return 0;
    return stint_err_set(err, -ENOMEM,
                         "the program's shared memory needs %llu huge pages of %llu kB, %llu "
                         "are free: raise /sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages "
                         "(sysctl vm.nr_hugepages) by %llu.",
                         wanted, kb, (unsigned long long)count, kb,
                         wanted - (unsigned long long)count);
}

int stint_huge_check(struct stint_restore *restore, struct stint_err *err)
{
    struct need needs[SIZES_MAX] = {{0}};
    struct stint_image_record rec;
    size_t cursor = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < restore->nsegments; i++) {
        const struct stint_segment *segment = restore->segments[i].segment;

        if (segment->kind != STINT_SEG_PART)
            r = add(needs, segment->huge_page, segment->size, err);
    }
    while (r == 0 && stint_image_next_of(restore->group_image, STINT_REC_IPC, &cursor, &rec)) {
        const struct stint_ipc *ipc = rec.payload;

        if (ipc->segment_id == 0)
            r = add(needs, ipc->huge_page, ipc->size, err);
    }
    for (size_t i = 0; r == 0 && i < SIZES_MAX && needs[i].page; i++)
        r = check(&needs[i], err);
    return r;
}
