/* What happens when the program starts: almost nothing.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The constructor installs one signal handler and maps one page: a handful of
 * system calls. All else waits for a checkpoint.
 */
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "common/raw.h"
#include "runtime/environment.h"
#include "runtime/interpose.h"
#include "runtime/state.h"

struct runtime stint_runtime;

/* Programs that are clients of something outside the job: they are started again
 * after a restart, not restored, and nothing of ours belongs in them. */
static const char *const inert_programs[] = {
    "srun",    "salloc", "sbatch", "scontrol", "squeue", "scancel",
    "sinfo",   "sacct",  "sattach", "sbcast",  "sstat",  "stint",
    "stint-restorer", "stint-slurm", "dmtcp_command",
};

/* Only glibc has it. musl loads libraries that were made for glibc, too: it has to find every
 * function that this one needs, or the program does not start. */
extern const char *gnu_get_libc_version(void) __attribute__((weak));

static bool is_inert(void)
{
    const char *path = (const char *)getauxval(AT_EXECFN), *name = path;

    if (!gnu_get_libc_version)
        return true;
    if (!path)
        return false;
    for (; *path; path++) {
        if (*path == '/')
            name = path + 1;
    }
    for (size_t i = 0; i < sizeof(inert_programs) / sizeof(inert_programs[0]); i++)
        if (strcmp(name, inert_programs[i]) == 0)
            return true;
    return false;
}

__attribute__((constructor)) static void start(int argc, char **argv, char **envp)
{
    long page;

    if (!gnu_get_libc_version)
        envp = environ; /* musl gives constructors no arguments */
    environment_init(envp);
    /* DMTCP itself stops and writes this program: it and we would each disturb the other.
     * The agent says so when it is asked for a checkpoint. */
    if (is_inert() || environment_preloads(envp, "/libdmtcp.so"))
        return;
    page = raw_syscall(SYS_mmap, NULL, STINT_PAGE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw_is_error(page))
        return; /* no memory for a page: the program has other worries */
    if (raw_syscall(SYS_madvise, page, STINT_PAGE_SIZE, MADV_WIPEONFORK) != 0) {
        (void)raw_syscall(SYS_munmap, page, STINT_PAGE_SIZE);
        return; /* before Linux 4.14 */
    }
    stint_runtime.state = (struct runtime_state *)page;
    atomic_store(&stint_runtime.state->pid, (int32_t)raw_syscall(SYS_getpid));
    stint_runtime.no_pagemap_scan = environment_has(envp, "STINT_NO_PAGEMAP_SCAN");
    interpose_init();
    if (stint_signal_install() != 0) {
        stint_runtime.state = NULL;
        return;
    }
    interpose_unblock();
    sigterm_init();
}
