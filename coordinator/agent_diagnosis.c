/* Why a process cannot be checkpointed, or does not answer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_diagnosis.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "coordinator/agent_confined.h"

#define SETUID "runs a setuid program: libstint.so cannot be loaded into it"

/* Programs that keep a live connection to the world outside: the runtime keeps out. */
static const char *const outsiders[] = {
    "srun", "sbatch", "salloc", "scontrol", "squeue", "sattach", "scancel", "sacct",
    "sinfo", "sstat",  "sbcast", "ssh",      "scp",    "sftp",    "rsh",
};

bool agent_diagnosis_is_outsider(const char *comm)
{
    for (size_t i = 0; i < sizeof(outsiders) / sizeof(outsiders[0]); i++) {
        if (strcmp(comm, outsiders[i]) == 0)
            return true;
    }
    return false;
}

static bool say(struct agent_diagnosis *why, enum agent_failure failure, bool hopeless,
                const char *fmt, ...) STINT_PRINTF(4, 5);

static bool say(struct agent_diagnosis *why, enum agent_failure failure, bool hopeless,
                const char *fmt, ...)
{
    va_list args;

    why->failure = failure;
    why->hopeless = hopeless;
    va_start(args, fmt);
    vsnprintf(why->text, sizeof(why->text), fmt, args);
    va_end(args);
    return true;
}

/* --- programs ------------------------------------------------------------------------ */

static bool has_privileges(int fd)
{
    struct stat st;

    return (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)
            && (st.st_mode & (S_ISUID | S_ISGID)) != 0)
           || fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

/* The dynamic linker that a program asks for; "" when it asks for none. Returns false when
 * that cannot be told. */
static bool read_linker(int fd, const Elf64_Ehdr *header, char *path, size_t size)
{
    path[0] = '\0';
    if (header->e_phentsize != sizeof(Elf64_Phdr))
        return false;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        off_t at = (off_t)(header->e_phoff + i * sizeof(Elf64_Phdr));
        Elf64_Phdr segment;
        ssize_t n;

        if (pread(fd, &segment, sizeof(segment), at) != sizeof(segment))
            return false;
        if (segment.p_type != PT_INTERP)
            continue;
        n = pread(fd, path, size - 1, (off_t)segment.p_offset);
        if (n <= 0)
            return false;
        path[n] = '\0';
        return true;
    }
    return true;
}

bool agent_diagnose_file(int fd, struct agent_diagnosis *why)
{
    Elf64_Ehdr header;
    char linker[256];
    const char *name;

    if (has_privileges(fd))
        return say(why, AGENT_REFUSED, true, SETUID);
    if (pread(fd, &header, sizeof(header), 0) != sizeof(header)
        || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return false;
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
        return say(why, AGENT_REFUSED, true,
                   "runs a program of another architecture: only x86_64 is supported");
    if (!read_linker(fd, &header, linker, sizeof(linker)))
        return false;
    if (!linker[0])
        return say(why, AGENT_REFUSED, true,
                   "is statically linked: libstint.so cannot be loaded into it");
    name = strrchr(linker, '/');
    if (strncmp(name ? name + 1 : linker, "ld-linux", 8) != 0)
        return say(why, AGENT_REFUSED, true,
                   "runs without libstint.so: its C library is not glibc (%.80s)", linker);
    return false;
}

bool agent_diagnose_program(pid_t pid, struct agent_diagnosis *why)
{
    STINT_AUTO_CLOSE int fd = -1;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)agent_proc_task(pid));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && agent_diagnose_file(fd, why);
}

/* --- processes ----------------------------------------------------------------------- */

bool agent_diagnose_nature(pid_t base, const struct agent_proc *proc,
                           const struct agent_procs *procs, struct agent_diagnosis *why)
{
    pid_t tracer = agent_proc_tracer(proc->pid);
    uid_t user = geteuid();
    char what[256];

    if (tracer > 0 && tracer != getpid())
        return say(why, AGENT_RETRY, true,
                   "is traced by process %d (a debugger, strace): end that", (int)tracer);
    if (agent_proc_is_setuid(proc->pid))
        return say(why, AGENT_REFUSED, true, SETUID);
    if (agent_proc_user(proc->pid, &user) == 0 && user != geteuid())
        return say(why, AGENT_REFUSED, true,
                   "runs as another user (uid %u), which is not supported: start `stint "
                   "launch` as that user", (unsigned)user);
    if (agent_diagnosis_is_outsider(proc->comm))
        return say(why, AGENT_RETRY, false,
                   "is running: it talks to daemons outside of the job; a checkpoint is "
                   "possible when it has ended");
    if (agent_proc_has_dmtcp(proc->pid))
        return say(why, AGENT_REFUSED, true,
                   "runs under DMTCP itself, which checkpoints it: stint steps aside");
    if (base > 0 && agent_confined_why(base, proc, procs, what, sizeof(what)))
        return say(why, AGENT_REFUSED, true, "%s", what);
    return false;
}

void agent_diagnose(pid_t base, const struct agent_proc *proc,
                    const struct agent_procs *procs, struct agent_diagnosis *why)
{
    int has_runtime;

    if (proc->state == 'D') {
        (void)say(why, AGENT_RETRY, false,
                  "is in an uninterruptible sleep in the kernel (a slow file system, or "
                  "vfork)");
        return;
    }
    if (agent_diagnose_nature(base, proc, procs, why)
        || agent_diagnose_program(proc->pid, why)) /* musl loads libstint.so, to no effect */
        return;
    has_runtime = agent_proc_has_runtime(proc->pid);
    if (has_runtime == 1 && proc->state == 'T')
        (void)say(why, AGENT_RETRY, true,
                  "is stopped (SIGSTOP, or by job control) and may not be traced here: "
                  "continue it, then try again");
    else if (has_runtime == 1 || has_runtime == -ESRCH)
        (void)say(why, AGENT_RETRY, false, "does not answer (state %c)", proc->state);
    else if (has_runtime < 0)
        (void)say(why, AGENT_REFUSED, true,
                  "does not let others look at it (it is not dumpable), and does not answer");
    else
        (void)say(why, AGENT_REFUSED, true,
                  "runs without libstint.so: its environment was cleared of LD_PRELOAD, or "
                  "it was started otherwise");
}
