/* stint-slurm: the calls to Slurm's API, for the coordinator and the task's agent.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program of its own, so that nothing else of stint depends on libslurm, and so that
 * every call is bounded from outside, too: a slurmctld that does not answer must not
 * stop a checkpoint. It acts as the job's owner and needs no privilege.
 *
 * Exit status: 0; 1 it failed and says why on stderr; 2 usage; 75 slurmctld did not
 * answer in time.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

#include "common/jobdir.h"
#include "common/log.h"

#define EXIT_AGAIN      75
#define TIMEOUT_S       30  /* for one command; scontrol's own calls give up after 10 s */
#define COMMENT_MAX     1000
#define START_DELAY_S   8   /* see set_start_time() */
#define EPILOG_DELAY_S  12

static const char usage_text[] =
    "usage: stint-slurm info ID          what Slurm knows of a job, as JSON\n"
    "       stint-slurm requeue ID       end the job now and queue it again\n"
    "       stint-slurm hold ID TEXT     the same, held, with the reason as comment\n"
    "       stint-slurm comment ID TEXT  set the job's comment\n"
    "       stint-slurm dir ID           its checkpoint directory\n";

static int failed(const char *what, uint32_t id)
{
    int error = slurm_get_errno();

    stint_error("%s job %u: %s", what, id, slurm_strerror(error));
    return error == SLURM_PROTOCOL_SOCKET_IMPL_TIMEOUT ||
                   error == SLURM_COMMUNICATIONS_CONNECTION_ERROR ||
                   error == ETIMEDOUT
               ? EXIT_AGAIN
               : EXIT_FAILURE;
}

/* What is needed of a job, copied, so that nothing has to be freed. */
struct job {
    uint32_t id, state, restart_count, time_limit_min;
    time_t start, end, preempt, begin;
    bool batch, requeue;
    char *work_dir;
};

/* kind: how a part of the job is named: '_' a task of an array, '+' a component of a
 * heterogeneous job; 0: the job whose own id it is. */
static bool is_meant(const job_info_t *info, uint32_t id, char kind, uint32_t part)
{
    if (kind == '_')
        return info->array_job_id == id && info->array_task_id == part;
    if (kind == '+')
        return info->het_job_id == id && info->het_job_offset == part;
    return info->job_id == id;
}

static int load_part(uint32_t id, char kind, uint32_t part, struct job *job)
{
    job_info_msg_t *msg = NULL;
    int rc = ENOENT;

    if (slurm_load_job(&msg, id, SHOW_ALL))
        return -1;
    /* a job id that is an array's brings the whole array */
    for (uint32_t i = 0; i < msg->record_count && rc; i++) {
        const job_info_t *info = &msg->job_array[i];

        if (!is_meant(info, id, kind, part))
            continue;
        *job = (struct job){
            .id = info->job_id,
            .state = info->job_state,
            .restart_count = info->restart_cnt,
            .time_limit_min = info->time_limit,
            .start = info->start_time,
            .end = info->end_time,
            .preempt = info->preempt_time,
            .begin = info->eligible_time,
            .batch = info->batch_flag != 0,
            .requeue = info->requeue != 0,
            .work_dir = strdup(info->work_dir ? info->work_dir : ""),
        };
        rc = 0;
    }
    slurm_free_job_info_msg(msg);
    if (rc) {
        slurm_seterrno(ESLURM_INVALID_JOB_ID);
        return -1;
    }
    return 0;
}

static int load_job(uint32_t id, struct job *job)
{
    return load_part(id, 0, 0, job);
}

static const char *state_name(uint32_t state)
{
    static const char *const names[] = {
        [JOB_PENDING] = "PENDING",     [JOB_RUNNING] = "RUNNING",
        [JOB_SUSPENDED] = "SUSPENDED", [JOB_COMPLETE] = "COMPLETED",
        [JOB_CANCELLED] = "CANCELLED", [JOB_FAILED] = "FAILED",
        [JOB_TIMEOUT] = "TIMEOUT",     [JOB_NODE_FAIL] = "NODE_FAIL",
        [JOB_PREEMPTED] = "PREEMPTED", [JOB_BOOT_FAIL] = "BOOT_FAIL",
        [JOB_DEADLINE] = "DEADLINE",   [JOB_OOM] = "OUT_OF_MEMORY",
    };
    uint32_t base = state & JOB_STATE_BASE;

    return base < JOB_END ? names[base] : "UNKNOWN";
}

static int command_info(uint32_t id)
{
    struct job job;
    json_t *object;
    int rc;

    if (load_job(id, &job))
        return failed("look up", id);
    object = json_pack(
        "{s:I, s:s, s:b, s:i, s:b, s:b, s:I, s:I, s:s, s:I}", "end_time",
        (json_int_t)job.end, "state", state_name(job.state), "completing",
        (job.state & JOB_COMPLETING) != 0, "restart_count", (int)job.restart_count,
        "requeue", job.requeue, "batch", job.batch, "preempt_time",
        (json_int_t)job.preempt, "time_limit_s",
        job.time_limit_min == INFINITE || job.time_limit_min == NO_VAL
            ? (json_int_t)-1
            : (json_int_t)job.time_limit_min * 60,
        "work_dir", job.work_dir, "start_time", (json_int_t)job.start);
    rc = object ? json_dumpf(object, stdout, JSON_COMPACT) : -1;
    json_decref(object);
    free(job.work_dir);
    if (rc || puts("") < 0 || fflush(stdout)) {
        stint_error("write: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int update_comment(uint32_t id, const char *text)
{
    char line[COMMENT_MAX];
    job_desc_msg_t desc;

    snprintf(line, sizeof(line), "%s", text);
    slurm_init_job_desc_msg(&desc);
    desc.job_id = id;
    desc.comment = line;
    return slurm_update_job(&desc);
}

static int command_comment(uint32_t id, const char *text)
{
    return update_comment(id, text) ? failed("comment", id) : EXIT_SUCCESS;
}

/* Ask for the job to be queued again. Slurm begins to kill the job before it answers
 * the one who asked, who may be part of it; what counts is the state afterwards. */
static int ask_requeue(uint32_t id, uint32_t flags)
{
    struct job job;
    int error;

    if (slurm_requeue(id, flags) == 0)
        return 0;
    error = slurm_get_errno();
    if (load_job(id, &job) == 0) {
        free(job.work_dir);
        if ((job.state & JOB_STATE_BASE) == JOB_PENDING)
            return 0;
    }
    slurm_seterrno(error);
    return -1;
}

static int allow_requeue(uint32_t id)
{
    job_desc_msg_t desc;

    slurm_init_job_desc_msg(&desc);
    desc.job_id = id;
    desc.requeue = 1;
    if (slurm_update_job(&desc))
        return -1;
    stint_info("job %u was submitted with --no-requeue: set Requeue=1, so that it can "
               "go on",
               id);
    return 0;
}

/* A requeued job would wait for its old credential to expire, two minutes by default.
 * A start time that is still ahead when the old run has been cleaned up replaces that
 * wait; one that is past by then does not. Hence a few seconds, and more where an
 * epilog is part of the cleaning up. */
static void set_start_time(uint32_t id)
{
    slurm_conf_t *conf = NULL;
    job_desc_msg_t desc;
    int delay = START_DELAY_S;

    if (slurm_load_ctl_conf(0, &conf) == 0) {
        if (conf->epilog && conf->epilog[0])
            delay += EPILOG_DELAY_S;
        slurm_free_ctl_conf(conf);
    }
    slurm_init_job_desc_msg(&desc);
    desc.job_id = id;
    desc.begin_time = time(NULL) + delay;
    if (slurm_update_job(&desc))
        stint_debug("start time of job %u: %s", id, slurm_strerror(slurm_get_errno()));
}

static int command_requeue(uint32_t id)
{
    struct job job;
    uint32_t base;

    if (load_job(id, &job))
        return failed("look up", id);
    free(job.work_dir);
    base = job.state & JOB_STATE_BASE;
    if (!job.batch) {
        stint_error("job %u is no batch job: Slurm cannot queue it again", id);
        return EXIT_FAILURE;
    }
    if (base == JOB_CANCELLED) {
        stint_error("job %u was cancelled: it is not queued again", id);
        return EXIT_FAILURE;
    }
    if (base != JOB_PENDING) {
        if (!job.requeue && allow_requeue(id))
            return failed("allow the requeue of", id);
        if (ask_requeue(id, 0))
            return failed("requeue", id);
    }
    set_start_time(id);
    return EXIT_SUCCESS;
}

static int command_hold(uint32_t id, const char *text)
{
    job_desc_msg_t desc;
    struct job job;

    if (load_job(id, &job))
        return failed("look up", id);
    free(job.work_dir);
    if (update_comment(id, text))
        (void)failed("comment", id); /* the hold matters more */
    if ((job.state & JOB_STATE_BASE) == JOB_PENDING) {
        slurm_init_job_desc_msg(&desc);
        desc.job_id = id;
        desc.priority = 0;
        desc.alloc_sid = ALLOC_SID_USER_HOLD; /* one that the owner can release */
        return slurm_update_job(&desc) ? failed("hold", id) : EXIT_SUCCESS;
    }
    if (!job.requeue && allow_requeue(id))
        return failed("allow the requeue of", id);
    return ask_requeue(id, JOB_REQUEUE_HOLD) ? failed("hold", id) : EXIT_SUCCESS;
}

/* Slurm knows which job "123_4" or "123+1" is, and where a job was submitted. */
static char *dir_of_known_job(const char *cluster, const char *text)
{
    char id[24], kind, *end;
    uint32_t number = (uint32_t)strtoul(text, &end, 10);
    struct job job;
    char *path = NULL;

    kind = *end == '_' || *end == '+' ? *end : 0;
    if (load_part(number, kind, kind ? (uint32_t)strtoul(end + 1, NULL, 10) : 0, &job))
        return NULL;
    if (kind) {
        snprintf(id, sizeof(id), "%u", job.id);
        text = id;
        path = stint_jobdir_find(cluster, text);
    }
    if (!path)
        path = stint_jobdir_default(job.work_dir, text);
    free(job.work_dir);
    return path;
}

static int command_dir(const char *id)
{
    slurm_conf_t *conf = NULL;
    const char *cluster = NULL;
    char *path;

    if (slurm_load_ctl_conf(0, &conf) == 0)
        cluster = conf->cluster_name;
    path = stint_jobdir_find(cluster, id);
    if (!path)
        path = dir_of_known_job(cluster, id);
    if (conf)
        slurm_free_ctl_conf(conf);
    if (!path) {
        stint_error("no checkpoint directory of job %s is known", id);
        return EXIT_FAILURE;
    }
    puts(path);
    free(path);
    return EXIT_SUCCESS;
}

static void too_late(int signal)
{
    static const char text[] = "stint: slurm: slurmctld did not answer in time\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)ignored; /* the exit status says it, too */
    _exit(EXIT_AGAIN);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    bool text = strcmp(command, "comment") == 0 || strcmp(command, "hold") == 0;
    uint32_t id;

    stint_log_init("slurm", 0);
    if (argc == 2 && strcmp(command, "--help") == 0) {
        fputs(usage_text, stdout);
        return EXIT_SUCCESS;
    }
    if (argc != (text ? 4 : 3) || !stint_jobdir_is_id(argv[2]) ||
        (strcmp(command, "dir") != 0 && strspn(argv[2], "0123456789") != strlen(argv[2]))) {
        fputs(usage_text, stderr);
        return 2;
    }
    id = (uint32_t)strtoul(argv[2], NULL, 10);
    /* a requeue ends the job that this is part of: see it through */
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, too_late);
    alarm(TIMEOUT_S);
    slurm_init(NULL);
    if (strcmp(command, "info") == 0)
        return command_info(id);
    if (strcmp(command, "requeue") == 0)
        return command_requeue(id);
    if (strcmp(command, "hold") == 0)
        return command_hold(id, argv[3]);
    if (strcmp(command, "comment") == 0)
        return command_comment(id, argv[3]);
    if (strcmp(command, "dir") == 0)
        return command_dir(argv[2]);
    fputs(usage_text, stderr);
    return 2;
}
