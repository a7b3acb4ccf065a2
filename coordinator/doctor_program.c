/* `stint doctor`: what a program, or a tree of processes that runs, has that a checkpoint
 * refuses.
 * SPDX-License-Identifier: Apache-2.0
 *
 * It asks what a checkpoint asks (agent_diagnosis.h, agent_object.h, agent_segment.h), of
 * processes that run on meanwhile: nothing is stopped and nothing is changed.
 */
#include "coordinator/doctor.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/refusals.h"
#include "coordinator/agent_diagnosis.h"
#include "coordinator/agent_group.h"
#include "coordinator/agent_state.h"

#define DYNAMIC_LINKER   "/lib64/ld-linux-x86-64.so.2"
#define INTERPRETERS_MAX 5
#define TRIES            4

static enum doctor_level level_of(enum agent_failure failure)
{
    return failure == AGENT_RETRY ? DOCTOR_LATER : DOCTOR_REFUSED;
}

/* --- commands --------------------------------------------------------------------- */

/* As execvp(3) finds it. Returns an open descriptor, or -1 with errno. */
static int open_command(const char *name, char *path, size_t size)
{
    const char *at = getenv("PATH");

    if (strchr(name, '/')) {
        snprintf(path, size, "%s", name);
        return access(path, X_OK) == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    }
    for (at = at ? at : "/bin:/usr/bin"; *at; at += *at == ':') {
        size_t len = strcspn(at, ":");
        struct stat st;

        if (snprintf(path, size, "%.*s/%s", len ? (int)len : 1, len ? at : ".", name)
                < (int)size
            && stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
            return open(path, O_RDONLY | O_CLOEXEC);
        at += len;
    }
    errno = ENOENT;
    return -1;
}

/* "#! /usr/bin/env -S python3 -u": the interpreter, or what env(1) is to find. Returns
 * whether it is a script. */
static bool read_interpreter(int fd, char *name, size_t size)
{
    char line[512];
    ssize_t n = pread(fd, line, sizeof(line) - 1, 0);
    char *word, *rest = line + 2;

    if (n < 2 || line[0] != '#' || line[1] != '!')
        return false;
    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    word = strtok_r(rest, " \t", &rest);
    if (!word)
        return false;
    if (strcmp(word, "/usr/bin/env") == 0 || strcmp(word, "/bin/env") == 0) {
        do
            word = strtok_r(NULL, " \t", &rest);
        while (word && (word[0] == '-' || strchr(word, '=')));
    }
    if (!word)
        return false;
    snprintf(name, size, "%s", word);
    return true;
}

/* Libraries that are there to open what a checkpoint refuses. Programs are linked with some
 * of them without ever using them. */
static const struct {
    const char *name, *what;
} telling[] = {
    {"libcuda.so", "a GPU"},          {"libcudart.so", "a GPU"},
    {"libamdhip64.so", "a GPU"},      {"libhsa-runtime64.so", "a GPU"},
    {"libze_loader.so", "a GPU"},     {"libOpenCL.so", "a GPU"},
    {"libibverbs.so", "RDMA devices"}, {"librdmacm.so", "RDMA devices"},
    {"liburing.so", "an io_uring"},   {"libaio.so", "an AIO context"},
    {"libbpf.so", "BPF programs"},
};

/* A line of the dynamic linker's: "liburing.so.2 => /lib/... (0x...)". */
static void judge_library(struct doctor *doctor, const char *path, const char *line)
{
    const char *name = line + strspn(line, " \t"), *end = name + strcspn(name, " \t\n");

    for (const char *at = name; at < end; at++) /* it may be needed by its path */
        name = *at == '/' ? at + 1 : name;
    for (size_t i = 0; i < sizeof(telling) / sizeof(telling[0]); i++)
        if (strncmp(name, telling[i].name, strlen(telling[i].name)) == 0)
            doctor_say(doctor, "command", DOCTOR_NOTE,
                       "%s is linked with %.*s: a checkpoint is refused while it has %s open", path,
                       (int)(end - name), name, telling[i].what);
}

/* The dynamic linker tells what it would load, ld.so(8), and starts nothing. */
static void look_at_libraries(struct doctor *doctor, const char *path)
{
    const char *const argv[] = {DYNAMIC_LINKER, "--list", path, NULL};
    STINT_AUTO_FCLOSE FILE *list = tmpfile();
    STINT_AUTO_FREE char *line = NULL;
    posix_spawn_file_actions_t actions;
    size_t room = 0;
    pid_t pid;

    if (!list || posix_spawn_file_actions_init(&actions) != 0)
        return; /* only a note is missing */
    if (posix_spawn_file_actions_adddup2(&actions, fileno(list), STDOUT_FILENO) == 0
        && posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
               == 0
        && posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ) == 0)
        (void)waitpid(pid, NULL, 0); /* what it has said tells enough */
    (void)posix_spawn_file_actions_destroy(&actions); /* cannot fail */
    rewind(list);
    while (getline(&line, &room, list) > 0)
        judge_library(doctor, path, line);
}

void doctor_look_at_command(struct doctor *doctor, const char *name)
{
    char current[PATH_MAX], path[PATH_MAX], next[PATH_MAX];
    struct agent_diagnosis why;
    const char *base;

    snprintf(current, sizeof(current), "%s", name);
    for (int i = 0; i < INTERPRETERS_MAX; i++) {
        STINT_AUTO_CLOSE int fd = open_command(current, path, sizeof(path));

        if (fd < 0 && errno == EACCES && access(path, X_OK) == 0) {
            doctor_say(doctor, "command", DOCTOR_NOTE, "%s may not be read: only its start "
                                                       "will tell",
                       path);
            return;
        }
        if (fd < 0) {
            doctor_say(doctor, "command", DOCTOR_REFUSED, "%s cannot be executed: %s", current,
                       strerror(errno));
            return;
        }
        base = strrchr(path, '/');
        if (agent_diagnosis_is_outsider(base ? base + 1 : path)) {
            doctor_say(doctor, "command", DOCTOR_LATER,
                       "%s talks to daemons outside of the job: a checkpoint is possible when "
                       "it has ended",
                       path);
            return;
        }
        if (agent_diagnose_file(fd, &why)) {
            doctor_say(doctor, "command", level_of(why.failure), "%s %s", path, why.text);
            return;
        }
        if (!read_interpreter(fd, next, sizeof(next))) {
            doctor_say(doctor, "command", DOCTOR_OK,
                       "libstint.so can be loaded into %s; what it does and starts is seen "
                       "while it runs (stint doctor PID)",
                       path);
            look_at_libraries(doctor, path);
            return;
        }
        doctor_say(doctor, "command", DOCTOR_OK, "%s is a script for %s", path, next);
        snprintf(current, sizeof(current), "%s", next);
    }
    doctor_say(doctor, "command", DOCTOR_REFUSED, "%s: too many interpreters", name);
}

/* --- processes --------------------------------------------------------------------- */

struct visit {
    struct doctor *doctor;
    struct agent agent; /* as if it had started the process */
    struct stint_agent_config config;
    struct agent_procs procs;
    struct agent_group group;
    pid_t base;
};

static bool is_stint(pid_t pid)
{
    char path[64], target[PATH_MAX], *name;
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    len = readlink(path, target, sizeof(target) - 1);
    if (len <= 0)
        return false;
    target[len] = '\0';
    name = strrchr(target, '/');
    return name && (strcmp(name, "/stint") == 0 || strcmp(name, "/stint-task") == 0);
}

/* The process and its descendants. Those of `stint launch` are its program's. */
static int list_processes(struct visit *visit, pid_t pid, struct stint_err *err)
{
    struct agent_scan scan = {.agent = pid, .restored = true};
    struct agent_procs *procs = &visit->procs;
    struct agent_proc first;
    size_t kept = 0;
    int ret = agent_proc_read(pid, &first);

    if (ret < 0)
        return stint_err_set(err, -ESRCH, "there is no process %d.", (int)pid);
    ret = agent_proc_scan(&scan, procs, err);
    if (ret < 0)
        return ret;
    for (size_t i = 0; i < procs->count; i++) {
        if (!is_stint(procs->list[i].pid))
            procs->list[kept++] = procs->list[i];
    }
    procs->count = kept;
    if (is_stint(pid))
        return kept ? 0 : stint_err_set(err, -ESRCH, "process %d has no program.", (int)pid);
    /* there is room: the scan saw the process itself, and left it out */
    memmove(procs->list + 1, procs->list, procs->count * sizeof(*procs->list));
    procs->list[0] = first;
    procs->count++;
    return 0;
}

static pid_t inner_of(const struct agent_proc *proc)
{
    struct agent_inner inner = {.pid = proc->pid};

    (void)agent_proc_inner(proc->pid, &inner); /* for the message only */
    return inner.pid;
}

static bool is_gone(const struct agent_proc *proc)
{
    int error = errno;
    struct agent_proc now;
    bool gone = agent_proc_read(proc->pid, &now) < 0 || now.start != proc->start
                || agent_proc_is_zombie(&now);

    errno = error;
    return gone;
}

static uid_t user_of(pid_t pid)
{
    STINT_AUTO_FCLOSE FILE *status = NULL;
    char path[64], line[256];
    unsigned uid = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    status = fopen(path, "re");
    while (status && fgets(line, sizeof(line), status)) {
        if (sscanf(line, "Uid: %u", &uid) == 1)
            return uid;
    }
    return geteuid(); /* it is gone, which shows */
}

/* What the runtime would come across when it saves the memory. */
static void look_at_memory(struct visit *visit, const struct agent_proc *proc)
{
    static const struct {
        const char *flag, *text;
    } flags[] = {
        {" um", STINT_REFUSAL_USERFAULTFD},
        {" uw", STINT_REFUSAL_USERFAULTFD},
        {" io", STINT_REFUSAL_DEVICE},
    };
    STINT_AUTO_FCLOSE FILE *smaps = NULL;
    STINT_AUTO_FREE char *line = NULL;
    unsigned long start = 0, from, end;
    bool is_kernels = false; /* [vdso], [vvar] */
    bool is_shared = false, is_file = false, is_named = false, is_code = false;
    int key;
    size_t room = 0;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/smaps", (int)proc->pid);
    smaps = fopen(path, "re");
    while (smaps && getline(&line, &room, smaps) > 0) {
        const char *why = NULL;

        if (sscanf(line, "%lx-%lx ", &from, &end) == 2) {
            start = from;
            is_kernels = strstr(line, " [v") != NULL;
            is_file = strchr(line, '/') && !strstr(line, " /anon_hugepage (deleted)");
            is_named = is_file && !strstr(line, " (deleted)") && !strstr(line, " /memfd:");
            is_shared = line[strcspn(line, " ") + 4] == 's';
            is_code = strncmp(line + strcspn(line, " "), " --x", 4) == 0;
            why = strstr(line, " /[aio]") ? STINT_REFUSAL_AIO : NULL;
        } else if (!is_kernels && strncmp(line, "VmFlags:", 8) == 0)
            for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && !why; i++)
                why = strstr(line, flags[i].flag) ? flags[i].text : NULL;
        if (sscanf(line, "ProtectionKey: %d", &key) == 1 && key > 0 && !is_code)
            why = STINT_REFUSAL_KEY;
        if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " ht") && !why) {
            if (is_shared && is_named)
                why = STINT_REFUSAL_HUGE_FILE;
            else if ((is_shared || is_file) && strstr(line, " nr"))
                why = STINT_REFUSAL_HUGE_LOOSE;
        }
        if (why)
            doctor_say(visit->doctor, "process", DOCTOR_REFUSED, "process %d (%s): %s %lx",
                       (int)inner_of(proc), proc->comm, why, start);
    }
}

/* The kernel allows it to whom it allows to trace. */
static bool look_at_descriptor(struct visit *visit, const struct agent_proc *proc, int pidfd,
                               int number, bool root)
{
    struct agent_objects *objects = &visit->group.objects;
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    struct stint_err err;

    if (fd < 0)
        return errno == EBADF; /* closed meanwhile */
    if (agent_objects_add(objects, inner_of(proc), proc->comm, number, false, fd, &err) < 0)
        return true; /* likewise */
    /* those would be the agent's own */
    if (root && number <= STDERR_FILENO)
        objects->fds[objects->nfds - 1].object->stdio = number;
    return true;
}

static void look_at_descriptors(struct visit *visit, const struct agent_proc *proc, bool root)
{
    STINT_AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, proc->pid, 0);
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    struct dirent *entry;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)proc->pid);
    dir = opendir(path);
    errno = dir ? 0 : errno;
    while (dir && pidfd >= 0 && (entry = readdir(dir))) {
        if (isdigit((unsigned char)entry->d_name[0])
            && !look_at_descriptor(visit, proc, pidfd, atoi(entry->d_name), root))
            break;
        errno = 0;
    }
    if ((errno || pidfd < 0) && !is_gone(proc))
        doctor_say(visit->doctor, "process", DOCTOR_NOTE,
                   "process %d (%s): its descriptors cannot be looked at from here (%s; "
                   "kernel.yama.ptrace_scope)",
                   (int)inner_of(proc), proc->comm, strerror(errno ? errno : ENOSYS));
}

/* What whoever started it has open, an agent would have been started with as well: see
 * agent_object_sever(). Under an agent, which has closed it since, a pipe that leads out
 * of the program can have come from nowhere else. */
static void note_inherited(struct visit *visit, const struct agent_proc *first)
{
    struct agent *agent = &visit->agent;
    STINT_AUTO_CLOSEDIR DIR *dir = NULL;
    bool under_agent = is_stint(first->ppid);
    struct dirent *entry;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)(under_agent ? first->pid : first->ppid));
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        struct agent_inherited *list;
        struct stat st;

        if (fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 || S_ISREG(st.st_mode)
            || S_ISDIR(st.st_mode) || (under_agent && !S_ISFIFO(st.st_mode)))
            continue;
        list = reallocarray(agent->inherited, agent->ninherited + 1, sizeof(*list));
        if (!list)
            return;
        agent->inherited = list;
        list[agent->ninherited++] = (struct agent_inherited){st.st_dev, st.st_ino};
    }
}

static void look_at_one(struct visit *visit, const struct agent_proc *proc, bool root)
{
    struct agent_segments *segments = &visit->group.segments;
    struct agent_diagnosis why;
    struct stint_err err;

    if (agent_proc_is_zombie(proc))
        return;
    if (geteuid() != 0 && user_of(proc->pid) != geteuid()) {
        doctor_say(visit->doctor, "process", DOCTOR_REFUSED,
                   "process %d (%s) belongs to another user: only that one can look at it, "
                   "and checkpoint it",
                   (int)proc->pid, proc->comm);
        return;
    }
    if (agent_diagnose_nature(visit->base, proc, &visit->procs, &why)
        || agent_diagnose_program(proc->pid, &why)) {
        doctor_say(visit->doctor, "process", level_of(why.failure), "process %d (%s) %s",
                   (int)inner_of(proc), proc->comm, why.text);
        return;
    }
    if (agent_segments_read(segments, proc, inner_of(proc), &err) != 0) {
        if (is_gone(proc))
            return;
        doctor_say(visit->doctor, "process", DOCTOR_REFUSED, "%s", err.text);
        return;
    }
    look_at_memory(visit, proc);
    look_at_descriptors(visit, proc, root);
}

static void on_object(int how, const char *text, void *arg)
{
    struct visit *visit = arg;

    doctor_say(visit->doctor, "process",
               how == AGENT_OBJECT_E_REFUSED ? DOCTOR_REFUSED
               : how == -EAGAIN              ? DOCTOR_LATER
                                             : DOCTOR_NOTE,
               "%s", text);
}

static void look_at_all(struct visit *visit)
{
    struct agent_group *group = &visit->group;
    struct stint_err err;

    for (size_t i = 0; i < visit->procs.count; i++)
        look_at_one(visit, &visit->procs.list[i], i == 0);
    agent_segments_size(&group->segments, &group->objects);
    if (agent_segments_choose(&group->segments, &err) != 0)
        doctor_say(visit->doctor, "process", DOCTOR_REFUSED, "%s", err.text);
    if (agent_objects_examine(&group->objects, &group->segments, on_object, visit, &err) < 0)
        doctor_say(visit->doctor, "process", DOCTOR_NOTE, "%s", err.text);
}

static int look_once(struct doctor *doctor, pid_t pid, struct stint_err *err)
{
    struct visit visit = {.doctor = doctor, .config = {.group = "doctor"}};
    int ret = list_processes(&visit, pid, err);

    if (ret == 0) {
        const struct agent_proc *first = &visit.procs.list[0];

        visit.agent.config = &visit.config;
        visit.agent.root = first->pid;
        visit.base = first->ppid;
        note_inherited(&visit, first);
        visit.group.objects.agent = &visit.agent;
        visit.group.objects.group = &visit.group;
        visit.group.objects.glance = true;
        visit.group.objects.sockets = "";
        ret = agent_group_describe(&visit.group, &visit.agent, &visit.procs, err);
    }
    if (ret == 0)
        look_at_all(&visit);
    if (ret == 0 && doctor->bad == 0)
        doctor_say(doctor, "process", DOCTOR_OK,
                   "process %d (%s) and what it has started (%zu): nothing would be refused",
                   (int)inner_of(&visit.procs.list[0]), visit.procs.list[0].comm,
                   visit.procs.count - 1);
    free(visit.agent.inherited);
    agent_group_deinit(&visit.group);
    agent_procs_deinit(&visit.procs);
    return ret;
}

/* Processes come and go meanwhile, and leave the end of a pipe to somebody unseen: what is
 * found more than once counts. */
void doctor_look_at_process(struct doctor *doctor, pid_t pid)
{
    struct doctor now = {.findings = json_array()};
    struct stint_err err;
    int ret = -EAGAIN;

    for (int i = 0; i < TRIES && (ret == -EAGAIN || now.bad > 0); i++) {
        (void)json_array_clear(now.findings); /* fails for want of an array only */
        now.bad = 0;
        ret = look_once(&now, pid, &err);
    }
    if (ret < 0)
        doctor_say(&now, "process", DOCTOR_REFUSED, "%s", err.text);
    doctor->bad += now.bad;
    (void)json_array_extend(doctor->findings, now.findings); /* or they are missing */
    json_decref(now.findings);
}
