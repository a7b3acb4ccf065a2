/* One checkpoint, as the coordinator orders it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_checkpoint.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/wire.h"
#include "coordinator/agent_backlog.h"
#include "coordinator/agent_describe.h"
#include "coordinator/agent_group.h"
#include "coordinator/agent_inotify.h"
#include "coordinator/agent_leaving.h"
#include "coordinator/agent_list.h"
#include "coordinator/agent_mqueue.h"
#include "coordinator/agent_quiesce.h"
#include "coordinator/agent_seek.h"
#include "coordinator/agent_state.h"
#include "coordinator/agent_writer.h"

#define QUIESCE_TIMEOUT_MS 10000
#define TICK_S             1 /* progress to the coordinator */
#define KEEPALIVE_TICKS    5
#define REASON_MAX         700

enum phase {
    PHASE_QUIESCING,
    PHASE_LISTING,
    PHASE_DESCRIBING,
    PHASE_QUIESCED,
    PHASE_CAPTURING,
    PHASE_SYNCING,
    PHASE_HELD,
};

struct agent_checkpoint {
    struct agent *agent;
    json_t *order; /* waits for the program to be restored; NULL: it was begun */
    enum phase phase;
    uint64_t generation;
    uint8_t gen_id[16];
    bool hold, ignore;
    char *sockets; /* rules: agent_policy.h */
    char *save_files; /* patterns: agent_saved.h */
    char *dir;
    int dir_fd;
    rlim_t original_nofile; /* soft limit, put back at the end */
    struct agent_quiesce *quiesce;
    struct agent_peer *listing; /* whose descriptors are being listed */
    struct agent_describe *describe; /* NULL: not begun */
    struct agent_group group;
    char *group_name;
    int group_fd;
    int *image_fds; /* borrowed from peers and segments, then dup'ed for the helper */
    size_t nimages;
    struct agent_writer *writer;
    bool copied, durable;
    json_t *files; /* for the report */
    uint64_t bytes;
    int64_t stall_ms;
    struct event *ticker;
    unsigned ticks;
    int64_t phase_ms; /* when the phase began */
};

static void enter(struct agent_checkpoint *checkpoint, enum phase phase)
{
    static const char *const names[] = {"quiescing", "listing", "describing", "quiesced",
                                        "capturing", "syncing", "held"};
    int64_t now = agent_now_ms();

    stint_debug("generation %" PRIu64 ": %s took %" PRId64 " ms", checkpoint->generation,
                names[checkpoint->phase], now - checkpoint->phase_ms);
    checkpoint->phase = phase;
    checkpoint->phase_ms = now;
}

/* --- end --------------------------------------------------------------------- */

static void raise_nofile(struct agent_checkpoint *checkpoint)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    checkpoint->original_nofile = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* then fewer descriptors can be taken */
}

static void restore_nofile(const struct agent_checkpoint *checkpoint)
{
    struct rlimit limit;

    if (checkpoint->original_nofile == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = checkpoint->original_nofile;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* a larger one does no harm */
}

/* Let the programs go on. Nothing of theirs may be held by the agent any more. */
static void let_go(struct agent_checkpoint *checkpoint)
{
    int64_t since;

    agent_objects_release(&checkpoint->group.objects);
    if (!checkpoint->quiesce)
        return;
    since = agent_quiesce_since(checkpoint->quiesce);
    agent_quiesce_free(checkpoint->quiesce);
    checkpoint->quiesce = NULL;
    if (since)
        checkpoint->stall_ms = agent_now_ms() - since;
}

static void checkpoint_free(struct agent_checkpoint *checkpoint)
{
    /* The helper first: it may have copies of the program's descriptors. */
    agent_writer_free(checkpoint->writer);
    checkpoint->writer = NULL;
    agent_describe_free(checkpoint->describe);
    let_go(checkpoint);
    if (checkpoint->ticker)
        event_free(checkpoint->ticker);
    for (size_t i = 0; i < checkpoint->nimages; i++)
        stint_cleanup_close(&checkpoint->image_fds[i]);
    free(checkpoint->image_fds);
    agent_group_deinit(&checkpoint->group);
    json_decref(checkpoint->files);
    json_decref(checkpoint->order);
    stint_cleanup_close(&checkpoint->group_fd);
    stint_cleanup_close(&checkpoint->dir_fd);
    free(checkpoint->group_name);
    free(checkpoint->dir);
    free(checkpoint->sockets);
    free(checkpoint->save_files);
    restore_nofile(checkpoint);
    checkpoint->agent->checkpoint = NULL;
    free(checkpoint);
}

/* What was written of a generation that will not be. The coordinator removes the
 * directory; with it gone already there is nothing to do. */
static void remove_images(const struct agent_checkpoint *checkpoint)
{
    const char *name;
    size_t i;
    json_t *file;

    /* Once reported, the coordinator may have committed it. */
    if (checkpoint->dir_fd < 0 || checkpoint->durable)
        return;
    if (checkpoint->group_name)
        (void)unlinkat(checkpoint->dir_fd, checkpoint->group_name, 0);
    json_array_foreach(checkpoint->files, i, file) {
        name = json_string_value(json_object_get(file, "name"));
        if (name)
            (void)unlinkat(checkpoint->dir_fd, name, 0);
    }
}

static const char *const failure_codes[] = {
    [AGENT_REFUSED] = "refused", [AGENT_RETRY] = "retry", [AGENT_ERROR] = "error"};

/* The checkpoint fails: the program goes on, then the coordinator is told. */
static void fail(struct agent_checkpoint *checkpoint, enum agent_failure failure,
                 const char *fmt, ...) STINT_PRINTF(3, 4);

static void fail(struct agent_checkpoint *checkpoint, enum agent_failure failure,
                 const char *fmt, ...)
{
    struct agent *agent = checkpoint->agent;
    uint64_t generation = checkpoint->generation;
    char reason[REASON_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(reason, sizeof(reason), fmt, args);
    va_end(args);
    remove_images(checkpoint);
    checkpoint_free(checkpoint);
    /* A command name may be no UTF-8. */
    for (char *c = reason; *c; c++) {
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
    }
    agent_link_send(agent, "captured", "s:I, s:b, s:s, s:s", "generation",
                    (json_int_t)generation, "ok", 0, "code", failure_codes[failure],
                    "reason", reason);
}

/* ret: as describe() of a kind of descriptor says it. */
static void fail_as(struct agent_checkpoint *checkpoint, int ret, const struct stint_err *err)
{
    fail(checkpoint,
         ret > 0          ? AGENT_REFUSED
         : ret == -EAGAIN ? AGENT_RETRY
                          : AGENT_ERROR,
         "%s", err->text);
}

void agent_checkpoint_abort(struct agent *agent, const char *reason)
{
    if (!agent->checkpoint)
        return;
    stint_debug("generation %" PRIu64 " is dropped: %s", agent->checkpoint->generation,
                reason);
    remove_images(agent->checkpoint);
    checkpoint_free(agent->checkpoint);
}

/* --- captured ------------------------------------------------------------------ */

static void report(struct agent_checkpoint *checkpoint)
{
    struct agent *agent = checkpoint->agent;

    agent->generation = checkpoint->generation;
    agent_link_send(agent, "captured", "s:I, s:b, s:s, s:O, s:I, s:I, s:I", "generation",
                    (json_int_t)checkpoint->generation, "ok", 1, "group_image",
                    checkpoint->group_name, "files", checkpoint->files, "processes",
                    (json_int_t)checkpoint->group.nmembers, "bytes",
                    (json_int_t)checkpoint->bytes, "stall_ms",
                    (json_int_t)checkpoint->stall_ms);
}

static json_t *clean_text(const char *text)
{
    char clean[NAME_MAX + 1];
    size_t i;

    for (i = 0; i < sizeof(clean) - 1 && text[i]; i++)
        clean[i] = text[i] < ' ' || text[i] > '~' ? '?' : text[i];
    clean[i] = '\0';
    return json_string(clean);
}

static int add_file(struct agent_checkpoint *checkpoint, int fd, const char *name,
                    const char *kind, pid_t pid, const char *comm, const char *program)
{
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0)
        checkpoint->bytes += (uint64_t)st.st_size;
    else
        st.st_size = 0;
    return json_array_append_new(
        checkpoint->files,
        json_pack("{s:s, s:I, s:s, s:i, s:o, s:o}", "name", name, "bytes",
                  (json_int_t)st.st_size, "kind", kind, "pid", (int)pid, "comm",
                  clean_text(comm), "program", clean_text(program)));
}

/* Everything is on disk. */
static void on_durable(void *arg)
{
    struct agent_checkpoint *checkpoint = arg;

    checkpoint->durable = true;
    if (checkpoint->hold) {
        checkpoint->stall_ms = agent_now_ms() - agent_quiesce_since(checkpoint->quiesce);
        enter(checkpoint, PHASE_HELD);
        report(checkpoint);
        return;
    }
    stint_debug("generation %" PRIu64 ": syncing took %" PRId64 " ms",
                checkpoint->generation, agent_now_ms() - checkpoint->phase_ms);
    report(checkpoint);
    checkpoint_free(checkpoint);
}

/* List the files with their sizes. Returns 0 or -ENOMEM. */
static int list_files(struct agent_checkpoint *checkpoint)
{
    const struct agent_group *group = &checkpoint->group;
    size_t n = 0;
    int ret;

    json_array_clear(checkpoint->files);
    checkpoint->bytes = 0;
    ret = add_file(checkpoint, checkpoint->group_fd, checkpoint->group_name, "group", 0, "",
                   "");
    for (size_t i = 0; i < group->segments.count && ret == 0; i++)
        ret = add_file(checkpoint, checkpoint->image_fds[n++],
                       group->segments.list[i].image_name, "shared", 0, "", "");
    for (size_t i = 0; i < group->nmembers && ret == 0; i++) {
        const struct agent_member *member = &group->members[i];
        char program[NAME_MAX + 1];

        if (!member->image_name)
            continue;
        agent_list_program(member->pid, member->record.comm, program, sizeof(program));
        ret = add_file(checkpoint, checkpoint->image_fds[n++], member->image_name, "process",
                       member->record.pid, member->record.comm, program);
    }
    return ret == 0 ? 0 : -ENOMEM;
}

/* When all processes are captured and the helper has copied what it needs, the program
 * goes on; making it all durable comes after that. */
static void continue_capture(struct agent_checkpoint *checkpoint)
{
    if (checkpoint->phase != PHASE_CAPTURING || !checkpoint->copied)
        return;
    for (struct agent_peer *peer = agent_quiesce_peers(checkpoint->quiesce); peer;
         peer = peer->next) {
        if (peer->state != PEER_CAPTURED)
            return;
    }
    enter(checkpoint, PHASE_SYNCING);
    if (!checkpoint->hold)
        let_go(checkpoint);
    agent_writer_sync(checkpoint->writer);
}

static void on_copied(void *arg)
{
    struct agent_checkpoint *checkpoint = arg;

    checkpoint->copied = true;
    continue_capture(checkpoint);
}

static void on_durable_listed(void *arg)
{
    struct agent_checkpoint *checkpoint = arg;

    /* Only now has the group image its size. */
    if (list_files(checkpoint) < 0)
        fail(checkpoint, AGENT_ERROR, "out of memory");
    else
        on_durable(checkpoint);
}

static void on_writer_failed(const char *reason, void *arg)
{
    fail(arg, AGENT_ERROR, "%s", reason);
}

/* --- capture -------------------------------------------------------------------- */

static int open_image(struct agent_checkpoint *checkpoint, const char *name,
                      struct stint_err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int fd = openat(checkpoint->dir_fd, name, flags | O_DIRECT, 0600);

    /* The file is made before the file system says that it has no O_DIRECT. */
    if (fd < 0 && errno == EINVAL) {
        (void)unlinkat(checkpoint->dir_fd, name, 0);
        fd = openat(checkpoint->dir_fd, name, flags, 0600);
    }
    if (fd < 0)
        return stint_err_set(err, -errno, "create %s/%s", checkpoint->dir, name);
    return fd;
}

/* Open every image file; image_fds is in the order segments, members. */
static int open_images(struct agent_checkpoint *checkpoint, struct stint_err *err)
{
    struct agent_group *group = &checkpoint->group;
    int fd;

    checkpoint->image_fds
        = calloc(group->segments.count + group->nmembers + 1, sizeof(int));
    if (!checkpoint->image_fds)
        return stint_err_set(err, -ENOMEM, "open the images");
    for (size_t i = 0; i < group->segments.count; i++) {
        struct agent_segment *segment = &group->segments.list[i];

        if (asprintf(&segment->image_name, "%s-shared-%zu.img", group->record.name, i + 1)
            < 0) {
            segment->image_name = NULL;
            return stint_err_set(err, -ENOMEM, "open the images");
        }
        fd = open_image(checkpoint, segment->image_name, err);
        if (fd < 0)
            return fd;
        checkpoint->image_fds[checkpoint->nimages++] = fd;
    }
    for (size_t i = 0; i < group->nmembers; i++) {
        if (!group->members[i].image_name)
            continue;
        fd = open_image(checkpoint, group->members[i].image_name, err);
        if (fd < 0)
            return fd;
        checkpoint->image_fds[checkpoint->nimages++] = fd;
    }
    fd = open_image(checkpoint, checkpoint->group_name, err);
    if (fd < 0)
        return fd;
    checkpoint->group_fd = fd;
    return 0;
}

/* Tell one process which segments it maps, and which of them it has to store. */
static int send_segments(struct agent_checkpoint *checkpoint, struct agent_peer *peer,
                         uint32_t *count)
{
    const struct agent_segments *segments = &checkpoint->group.segments;

    *count = 0;
    for (size_t i = 0; i < segments->count; i++) {
        const struct agent_segment *segment = &segments->list[i];
        struct stint_ckpt_segment packet = {
            .id = segment->record.id,
            .kind = segment->record.kind,
            .write = segment->writer == peer->pid,
            .huge = segment->record.huge_page != 0,
            .dev = segment->record.dev,
            .ino = segment->record.ino,
            .size = segment->record.size,
            .generation = checkpoint->generation,
        };
        int ret;

        if (!agent_segment_maps(segment, peer->pid))
            continue;
        memcpy(packet.gen_id, checkpoint->gen_id, sizeof(packet.gen_id));
        ret = agent_peer_send(peer, STINT_CKPT_SEGMENT, &packet, sizeof(packet),
                              packet.write ? checkpoint->image_fds[i] : -1);
        if (ret < 0)
            return ret;
        ++*count;
    }
    return 0;
}

static int send_capture(struct agent_checkpoint *checkpoint, struct agent_peer *peer,
                        int image_fd)
{
    struct stint_ckpt_capture packet = {.generation = checkpoint->generation};
    int ret = send_segments(checkpoint, peer, &packet.nsegments);

    if (ret < 0)
        return ret;
    memcpy(packet.gen_id, checkpoint->gen_id, sizeof(packet.gen_id));
    peer->state = PEER_CAPTURING;
    return agent_peer_send(peer, STINT_CKPT_CAPTURE, &packet, sizeof(packet), image_fd);
}

static int capture_all(struct agent_checkpoint *checkpoint, struct stint_err *err)
{
    const struct agent_group *group = &checkpoint->group;
    size_t n = group->segments.count;

    for (size_t i = 0; i < group->nmembers; i++) {
        const struct agent_member *member = &group->members[i];
        struct agent_peer *peer = agent_quiesce_peer(checkpoint->quiesce, member->pid);
        int ret;

        if (!member->image_name)
            continue;
        if (!peer)
            return stint_err_set(err, -EAGAIN, "process %d (%s) was killed meanwhile.",
                                 (int)member->record.pid, member->record.comm);
        ret = send_capture(checkpoint, peer, checkpoint->image_fds[n++]);
        if (ret < 0)
            return stint_err_set(err, ret, "talk to process %d (%s)",
                                 (int)member->record.pid, member->record.comm);
    }
    return 0;
}

static int start_writer(struct agent_checkpoint *checkpoint, struct stint_err *err)
{
    static const struct agent_writer_callbacks callbacks
        = {on_copied, on_durable_listed, on_writer_failed};
    const struct agent_writer_order order = {
        .group = &checkpoint->group,
        .save_files = checkpoint->save_files,
        .group_name = checkpoint->group_name,
        .group_fd = checkpoint->group_fd,
        .dir_fd = checkpoint->dir_fd,
        .image_fds = checkpoint->image_fds,
        .nimages = checkpoint->nimages,
        .generation = checkpoint->generation,
        .gen_id = checkpoint->gen_id,
    };

    return agent_writer_start(checkpoint->agent->base, &order, &callbacks, checkpoint,
                              &checkpoint->writer, err);
}

/* Is the message about the checkpoint that waits for it? */
static bool is_awaited(const struct agent_checkpoint *checkpoint, const json_t *message)
{
    return checkpoint && checkpoint->phase == PHASE_QUIESCED
           && stint_json_int(message, "generation", 0, INT64_MAX, -1)
                  == (int64_t)checkpoint->generation;
}

void agent_checkpoint_drain(struct agent *agent, const json_t *message)
{
    struct agent_checkpoint *checkpoint = agent->checkpoint;
    struct stint_err err;
    int ret;

    if (!is_awaited(checkpoint, message))
        return;
    ret = agent_leaving_drain(&checkpoint->group.objects, json_object_get(message, "remote"),
                              &err);
    if (ret != 0)
        fail_as(checkpoint, ret, &err);
    else
        agent_link_send(agent, "drained", "s:I", "generation",
                        (json_int_t)checkpoint->generation);
}

/* What only the coordinator can tell, when all groups stand still. */
static int describe_remote(struct agent_objects *objects, const json_t *message,
                           struct stint_err *err)
{
    const json_t *found = json_object_get(message, "found");
    const json_t *sought = json_object_get(message, "sought");
    int ret = agent_leaving_describe(objects, json_object_get(message, "remote"), found, err);

    if (ret == 0)
        ret = agent_seek_describe(objects, found, sought, err);
    return ret == 0 ? agent_backlog_describe(objects, sought, err) : ret;
}

void agent_checkpoint_capture(struct agent *agent, const json_t *message)
{
    struct agent_checkpoint *checkpoint = agent->checkpoint;
    struct stint_err err;
    int ret;

    if (!is_awaited(checkpoint, message))
        return;
    ret = describe_remote(&checkpoint->group.objects, message, &err);
    if (ret != 0) {
        fail_as(checkpoint, ret, &err);
        return;
    }
    enter(checkpoint, PHASE_CAPTURING);
    if (open_images(checkpoint, &err) < 0 || list_files(checkpoint) < 0
        || capture_all(checkpoint, &err) < 0 || start_writer(checkpoint, &err) < 0)
        fail(checkpoint, AGENT_ERROR, "%s", err.text);
}

/* --- descriptors ----------------------------------------------------------------- */

static void send_quiesced(struct agent_checkpoint *checkpoint)
{
    const struct agent_objects *objects = &checkpoint->group.objects;
    json_t *leaving = agent_leaving_list(objects), *bound = agent_seek_bound(objects);
    json_t *seeks = agent_seek_list(objects);

    if (!leaving || !bound || !seeks) {
        json_decref(leaving);
        json_decref(bound);
        json_decref(seeks);
        fail(checkpoint, AGENT_ERROR, "out of memory");
        return;
    }
    enter(checkpoint, PHASE_QUIESCED);
    agent_link_send(checkpoint->agent, "quiesced", "s:I, s:I, s:o, s:o, s:o", "generation",
                    (json_int_t)checkpoint->generation, "processes",
                    (json_int_t)checkpoint->group.nmembers, "connections", leaving, "bound",
                    bound, "seeks", seeks);
}

static void on_described(int ret, const struct stint_err *err, void *arg)
{
    struct agent_checkpoint *checkpoint = arg;

    if (ret != 0) {
        fail_as(checkpoint, ret, err);
        return;
    }
    send_quiesced(checkpoint);
}

/* All descriptors are here. */
static void describe(struct agent_checkpoint *checkpoint)
{
    struct stint_err err;

    enter(checkpoint, PHASE_DESCRIBING);
    if (agent_describe_start(checkpoint->agent, checkpoint->quiesce, &checkpoint->group,
                             checkpoint->ignore, on_described, checkpoint,
                             &checkpoint->describe, &err)
        < 0)
        fail(checkpoint, AGENT_ERROR, "%s", err.text);
}

/* Ask the next process for its descriptors. One after the other: the kernel limits how
 * many descriptors of a user may be under way. */
static void list_next(struct agent_checkpoint *checkpoint)
{
    struct stint_ckpt_header packet;
    struct agent_peer *peer = checkpoint->listing;
    int ret;

    if (!peer) {
        describe(checkpoint);
        return;
    }
    peer->state = PEER_LISTING;
    ret = agent_peer_send(peer, STINT_CKPT_SEND_FDS, &packet, sizeof(packet), -1);
    if (ret < 0)
        fail(checkpoint, AGENT_RETRY, "talk to process %d (%s): %s", (int)peer->inner,
             peer->comm, strerror(-ret));
}

static void note_peer(struct agent_objects *objects, int32_t peer_pid)
{
    if (peer_pid > 0)
        objects->fds[objects->nfds - 1].object->peer_pid = peer_pid;
}

static void on_descriptors(struct agent_peer *peer, const struct stint_ckpt_fds *list,
                           const int *fds)
{
    struct agent_quiesce *quiesce = peer->owner;
    struct agent_checkpoint *checkpoint = agent_quiesce_arg(quiesce);
    struct stint_err err;
    int ret = 0;

    for (uint32_t i = 0; i < list->count; i++) {
        if (ret != 0 && fds[i] >= 0)
            (void)close(fds[i]); /* a copy that nobody looks at any more */
        else if (ret == 0 && fds[i] < 0)
            ret = agent_objects_unpassable(peer->pid, peer->inner, peer->comm, list->fds[i],
                                           &err);
        else if (ret == 0)
            ret = agent_objects_add(&checkpoint->group.objects, peer->inner, peer->comm,
                                    list->fds[i], list->cloexec[i] != 0, fds[i], &err);
        if (ret == 0 && fds[i] >= 0)
            note_peer(&checkpoint->group.objects, list->peer_pid[i]);
    }
    if (ret != 0) {
        fail(checkpoint, ret > 0 ? AGENT_REFUSED : AGENT_ERROR, "%s", err.text);
        return;
    }
    if (peer->state == PEER_LISTED) {
        checkpoint->listing = peer->next;
        list_next(checkpoint);
    }
}

static void on_watch(struct agent_peer *peer, const struct stint_ckpt_watch *watch)
{
    struct agent_checkpoint *checkpoint = agent_quiesce_arg(peer->owner);

    /* Without it the watch is refused, if it still exists. */
    (void)agent_inotify_note(&checkpoint->group.objects, watch);
}

static void on_mq_notify(struct agent_peer *peer, const struct stint_ckpt_mq_notify *notify)
{
    struct agent_checkpoint *checkpoint = agent_quiesce_arg(peer->owner);

    /* Without it the queue is refused. */
    (void)agent_mqueue_note(&checkpoint->group.objects, peer->inner, notify);
}

static void on_sem_undo(struct agent_peer *peer, const struct stint_ckpt_sem_undo *undo)
{
    struct agent_checkpoint *checkpoint = agent_quiesce_arg(peer->owner);

    if (agent_group_add_undo(&checkpoint->group, peer->inner, undo) < 0)
        fail(checkpoint, AGENT_ERROR, "out of memory");
}

/* --- start ------------------------------------------------------------------------ */

static struct agent_checkpoint *checkpoint_of(struct agent_peer *peer)
{
    return agent_quiesce_arg(peer->owner);
}

static void on_captured(struct agent_peer *peer)
{
    continue_capture(checkpoint_of(peer));
}

static void on_peer_failed(struct agent_peer *peer, int error, const char *reason)
{
    fail(checkpoint_of(peer),
         error == ENOTSUP  ? AGENT_REFUSED
         : error == EAGAIN ? AGENT_RETRY
                           : AGENT_ERROR,
         "process %d (%s): %s%s%s", (int)peer->inner, peer->comm, reason, error ? ": " : "",
         error ? strerror(error) : "");
}

static void on_peer_gone(struct agent_peer *peer)
{
    fail(checkpoint_of(peer), AGENT_RETRY, "process %d (%s) was killed meanwhile",
         (int)peer->inner, peer->comm);
}

static void on_quiesced(void *arg)
{
    struct agent_checkpoint *checkpoint = arg;

    enter(checkpoint, PHASE_LISTING);
    checkpoint->listing = agent_quiesce_peers(checkpoint->quiesce);
    list_next(checkpoint);
}

static void on_quiesce_failed(enum agent_failure failure, const char *reason, void *arg)
{
    fail(arg, failure, "%s", reason);
}

static void send_keepalives(const struct agent_checkpoint *checkpoint)
{
    struct stint_ckpt_header packet;

    if (!checkpoint->quiesce)
        return;
    for (struct agent_peer *peer = agent_quiesce_peers(checkpoint->quiesce); peer;
         peer = peer->next)
        (void)agent_peer_send(peer, STINT_CKPT_KEEPALIVE, &packet, sizeof(packet), -1);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct agent_checkpoint *checkpoint = arg;
    uint64_t bytes = 0, described = 0;
    struct stat st;

    for (size_t i = 0; i < checkpoint->nimages; i++) {
        if (fstat(checkpoint->image_fds[i], &st) == 0)
            bytes += (uint64_t)st.st_size;
    }
    if (checkpoint->describe)
        described = agent_describe_pieces(checkpoint->describe);
    agent_link_send(checkpoint->agent, "progress", "s:I, s:I, s:I", "generation",
                    (json_int_t)checkpoint->generation, "bytes", (json_int_t)bytes,
                    "described", (json_int_t)described);
    if (++checkpoint->ticks % KEEPALIVE_TICKS == 0)
        send_keepalives(checkpoint);
}

static int read_order(struct agent_checkpoint *checkpoint, const json_t *message,
                      struct stint_err *err)
{
    const char *dir = stint_json_string(message, "dir", "");
    const char *id = stint_json_string(message, "gen_id", "");
    size_t len;
    struct stat st;

    checkpoint->generation
        = (uint64_t)stint_json_int(message, "generation", 1, INT64_MAX, 0);
    checkpoint->hold = stint_json_bool(message, "hold", 0);
    checkpoint->ignore
        = strcmp(stint_json_string(message, "on_unsupported", "refuse"), "ignore") == 0;
    if (checkpoint->generation == 0 || dir[0] != '/'
        || sodium_hex2bin(checkpoint->gen_id, sizeof(checkpoint->gen_id), id, strlen(id),
                          NULL, &len, NULL)
               < 0
        || len != sizeof(checkpoint->gen_id))
        return stint_err_set(err, -EINVAL, "the coordinator's order is not understood.");
    checkpoint->dir = strdup(dir);
    checkpoint->sockets = strdup(stint_json_string(message, "sockets", ""));
    checkpoint->save_files = strdup(stint_json_string(message, "save_files", ""));
    if (!checkpoint->dir || !checkpoint->sockets || !checkpoint->save_files
        || asprintf(&checkpoint->group_name, "%s.grp", checkpoint->agent->config->group) < 0) {
        checkpoint->group_name = NULL;
        return stint_err_set(err, -ENOMEM, "start a checkpoint");
    }
    checkpoint->dir_fd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (checkpoint->dir_fd < 0)
        return stint_err_set(err, -errno, "open %s", dir);
    if (fstat(checkpoint->dir_fd, &st) < 0 || st.st_uid != geteuid())
        return stint_err_set(err, -EPERM, "%s belongs to somebody else.", dir);
    return 0;
}

static int start(struct agent_checkpoint *checkpoint, const json_t *message,
                 struct stint_err *err)
{
    static const struct agent_quiesce_callbacks callbacks = {on_quiesced, on_quiesce_failed};
    static const struct agent_peer_callbacks peer_callbacks = {
        .descriptors = on_descriptors,
        .watch = on_watch,
        .mq_notify = on_mq_notify,
        .sem_undo = on_sem_undo,
        .captured = on_captured,
        .failed = on_peer_failed,
        .gone = on_peer_gone,
    };
    struct agent *agent = checkpoint->agent;
    int timeout, ret = read_order(checkpoint, message, err);

    if (ret < 0)
        return ret;
    checkpoint->group.objects.ending = checkpoint->hold;
    checkpoint->group.objects.sockets = checkpoint->sockets;
    timeout = (int)stint_json_int(message, "timeout_ms", 1, QUIESCE_TIMEOUT_MS,
                                  QUIESCE_TIMEOUT_MS);
    checkpoint->files = json_array();
    if (!checkpoint->files)
        return stint_err_set(err, -ENOMEM, "start a checkpoint");
    raise_nofile(checkpoint);
    return agent_quiesce_start(agent, timeout, checkpoint->ignore, &callbacks,
                               &peer_callbacks, checkpoint, &checkpoint->quiesce, err);
}

/* As soon as there is a program; the coordinator's patience is the limit. */
static void begin(struct agent_checkpoint *checkpoint)
{
    json_t *order = checkpoint->order;
    struct stint_err err;

    if (checkpoint->agent->root <= 0)
        return;
    checkpoint->order = NULL;
    checkpoint->phase_ms = agent_now_ms();
    if (start(checkpoint, order, &err) < 0)
        fail(checkpoint, AGENT_ERROR, "%s", err.text);
    json_decref(order);
}

void agent_checkpoint_ready(struct agent *agent)
{
    if (agent->checkpoint && agent->checkpoint->order)
        begin(agent->checkpoint);
}

void agent_checkpoint_start(struct agent *agent, json_t *message)
{
    const struct timeval period = {TICK_S, 0};
    struct agent_checkpoint *checkpoint;

    if (agent->checkpoint || agent->root_ended)
        return; /* the coordinator does not, or learns of the end next */
    checkpoint = calloc(1, sizeof(*checkpoint));
    if (!checkpoint)
        return; /* the coordinator's time limit tells */
    checkpoint->agent = agent;
    checkpoint->phase_ms = agent_now_ms();
    checkpoint->dir_fd = checkpoint->group_fd = -1;
    checkpoint->group.objects.agent = agent;
    checkpoint->group.objects.group = &checkpoint->group;
    agent->checkpoint = checkpoint;
    checkpoint->generation
        = (uint64_t)stint_json_int(message, "generation", 1, INT64_MAX, 0);
    checkpoint->order = json_incref(message);
    checkpoint->ticker = event_new(agent->base, -1, EV_PERSIST, on_tick, checkpoint);
    if (!checkpoint->ticker || event_add(checkpoint->ticker, &period) < 0) {
        fail(checkpoint, AGENT_ERROR, "out of memory");
        return;
    }
    if (agent->root <= 0)
        stint_debug("generation %" PRIu64 " waits for the program to be restored",
                    checkpoint->generation);
    begin(checkpoint);
}

/* --- held ------------------------------------------------------------------------- */

void agent_checkpoint_committed(struct agent *agent, const json_t *message)
{
    stint_debug("generation %" PRId64 " is committed",
                stint_json_int(message, "generation", 0, INT64_MAX, 0));
}

void agent_checkpoint_resume(struct agent *agent)
{
    if (agent->checkpoint && agent->checkpoint->phase == PHASE_HELD)
        checkpoint_free(agent->checkpoint);
}

void agent_checkpoint_end(struct agent *agent, const json_t *message)
{
    bool held = agent->checkpoint && agent->checkpoint->phase == PHASE_HELD;
    uint64_t generation
        = (uint64_t)stint_json_int(message, "generation", 0, INT64_MAX, 0);

    if (agent->root_ended)
        return;
    if (!held)
        stint_info("the program is ended: %s",
                   stint_json_string(message, "reason", "the coordinator asks for it"));
    /* Killed while they stand still: nothing runs after the checkpoint. */
    if (agent_program_kill(agent) < 0)
        stint_error("some processes of the program do not die");
    agent_checkpoint_abort(agent, "the program is ended");
    agent_root_ended(agent, SIGKILL);
    agent->ended_after = held ? generation : 0;
    agent->requeued = stint_json_bool(message, "requeued", 0);
}

bool agent_checkpoint_reaped(struct agent *agent, pid_t pid)
{
    if (!agent->checkpoint || !agent->checkpoint->writer
        || agent_writer_pid(agent->checkpoint->writer) != pid)
        return false;
    agent_writer_reaped(agent->checkpoint->writer);
    return true;
}
