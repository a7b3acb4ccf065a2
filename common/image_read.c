/* Read a checkpoint image: nothing in the file is believed before it was checked.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The ladder: open, header, meta area, frame of each record, contents of each
 * record by type, records that belong together. The first step that fails names
 * the file and the reason.
 */
#include "common/image_objects.h"
#include "common/image_read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define META_MAX    (UINT64_C(1) << 32) /* far more than any process needs */
#define ADDRESS_MAX (UINT64_C(1) << 56) /* user space with five-level page tables */

static int bad(const struct stint_image *image, struct stint_err *err, const char *what)
{
    return stint_err_set(err, -EBADMSG, "image %s: %s.", image->path, what);
}

/* [offset, offset + len) lies within [0, limit) without wrapping. */
static bool range_is_within(uint64_t offset, uint64_t len, uint64_t limit)
{
    return offset <= limit && len <= limit - offset;
}

static bool data_is_within(const struct stint_image *image, uint64_t offset, uint64_t len)
{
    const struct stint_image_header *h = &image->header;

    return offset % STINT_PAGE_SIZE == 0 && offset >= h->data_offset &&
           range_is_within(offset - h->data_offset, len, h->data_len);
}

static int read_at(const struct stint_image *image, void *buf, size_t len, uint64_t offset,
                   struct stint_err *err)
{
    uint8_t *to = buf;

    while (len > 0) {
        ssize_t n = pread(image->fd, to, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return stint_err_set(err, -errno, "image %s: read", image->path);
        if (n == 0)
            return bad(image, err, "the file is cut off");
        to += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* --- contents of each record type --------------------------------------- */

static bool string_ends(const void *bytes, uint64_t len)
{
    return len == 0 || (((const char *)bytes)[len - 1] == '\0');
}

static bool name_is_plain(const char *name, uint64_t len)
{
    return len == 0 || (string_ends(name, len) && name[0] != '\0' && name[0] != '.' &&
                        !strchr(name, '/'));
}

static bool check_string(const struct stint_image *image, const struct stint_image_record *rec)
{
    return string_ends(rec->payload, rec->len);
}

static bool check_vma(const struct stint_image *image, const struct stint_image_record *rec)
{
    const struct stint_vma *vma = rec->payload;

    return vma->start < vma->end && vma->end <= ADDRESS_MAX &&
           vma->start % STINT_PAGE_SIZE == 0 && vma->end % STINT_PAGE_SIZE == 0 &&
           vma->offset % STINT_PAGE_SIZE == 0 && vma->prot <= 7 &&
           vma->path_len <= rec->len - sizeof(*vma) &&
           string_ends(stint_vma_path(vma), vma->path_len);
}

static bool check_pending(const struct stint_image *image,
                          const struct stint_image_record *rec)
{
    const struct stint_sigpending *pending = rec->payload;

    return (rec->len - sizeof(*pending)) / 128 >= pending->count;
}

static bool check_vdso(const struct stint_image *image, const struct stint_image_record *rec)
{
    const struct stint_vdso *vdso = rec->payload;

    return vdso->vdso_len <= rec->len - sizeof(*vdso) &&
           vdso->vdso_start < ADDRESS_MAX && vdso->vvar_start < ADDRESS_MAX &&
           vdso->vvar_len < ADDRESS_MAX;
}

static bool check_exe(const struct stint_image *image, const struct stint_image_record *rec)
{
    return string_ends((const uint8_t *)rec->payload + sizeof(struct stint_file_id),
                       rec->len - sizeof(struct stint_file_id));
}

static bool extent_is_sound(const struct stint_image *image, const struct stint_extent *e)
{
    return e->addr % STINT_PAGE_SIZE == 0 && e->len > 0 && e->len % STINT_PAGE_SIZE == 0 &&
           e->len <= STINT_EXTENT_MAX && e->addr <= ADDRESS_MAX &&
           (e->encoding != STINT_ENC_RAW || e->stored_len == e->len) &&
           (e->encoding == STINT_ENC_ZERO || e->encoding == STINT_ENC_PARENT ||
            data_is_within(image, e->offset, e->stored_len));
}

static bool check_extents(const struct stint_image *image,
                          const struct stint_image_record *rec)
{
    const struct stint_extent *extents = rec->payload;
    size_t count = rec->len / sizeof(*extents);

    for (size_t i = 0; i < count; i++) {
        if (!extent_is_sound(image, &extents[i]))
            return false;
        if (i > 0 && extents[i].addr < extents[i - 1].addr + extents[i - 1].len)
            return false;
    }
    return true;
}

static bool check_group(const struct stint_image *image, const struct stint_image_record *rec)
{
    const struct stint_group *group = rec->payload;

    return memchr(group->name, '\0', sizeof(group->name)) &&
           memchr(group->host, '\0', sizeof(group->host));
}

static bool check_member(const struct stint_image *image,
                         const struct stint_image_record *rec)
{
    const struct stint_member *member = rec->payload;

    return member->pid > 0 && member->name_len <= rec->len - sizeof(*member) &&
           name_is_plain(stint_member_name(member), member->name_len) &&
           memchr(member->comm, '\0', sizeof(member->comm)) &&
           (member->state == STINT_MEMBER_ZOMBIE) == (member->name_len == 0);
}

static bool check_object(const struct stint_image *image,
                         const struct stint_image_record *rec)
{
    const struct stint_object *object = rec->payload;
    uint64_t room = rec->len - sizeof(*object);

    return object->path_len <= room && object->extra_len <= room - object->path_len &&
           string_ends(stint_object_path(object), object->path_len) &&
           (object->data_len == 0 ||
            data_is_within(image, object->data_offset, object->data_len));
}

static bool check_fds(const struct stint_image *image, const struct stint_image_record *rec)
{
    const struct stint_fds *fds = rec->payload;
    const struct stint_fd *fd = (const void *)(fds + 1);

    if ((rec->len - sizeof(*fds)) / sizeof(*fd) != fds->count)
        return false;
    for (uint32_t i = 0; i < fds->count; i++) {
        if (fd[i].fd < 0 || (i > 0 && fd[i].fd <= fd[i - 1].fd))
            return false;
    }
    return true;
}

static bool check_segment(const struct stint_image *image,
                          const struct stint_image_record *rec)
{
    const struct stint_segment *segment = rec->payload;
    uint64_t room = rec->len - sizeof(*segment);

    return segment->name_len <= room && segment->path_len <= room - segment->name_len &&
           segment->size <= (uint64_t)INT64_MAX &&
           name_is_plain(stint_segment_name(segment), segment->name_len) &&
           string_ends(stint_segment_path(segment), segment->path_len);
}

static bool check_mqueue(const struct stint_image *image, const struct stint_image_record *rec)
{
    const struct stint_mqueue *queue = rec->payload;

    return queue->name_len > 1 && queue->name_len <= rec->len - sizeof(*queue) &&
           string_ends(queue + 1, queue->name_len) && queue->data_len <= META_MAX &&
           (queue->data_len == 0 ||
            data_is_within(image, queue->data_offset, queue->data_len));
}

static bool check_saved(const struct stint_image *image, const struct stint_image_record *rec)
{
    const struct stint_saved *saved = rec->payload;

    return saved->data_len == 0 || data_is_within(image, saved->data_offset, saved->data_len);
}

static bool pieces_ascend(const struct stint_saved_file *file)
{
    const struct stint_saved_piece *pieces = stint_saved_pieces(file);
    uint64_t at = 0;

    for (uint32_t i = 0; i < file->npieces; i++) {
        if (pieces[i].offset < at || !range_is_within(pieces[i].offset, pieces[i].len, file->size))
            return false;
        at = pieces[i].offset + pieces[i].len;
    }
    return true;
}

static bool check_saved_file(const struct stint_image *image,
                             const struct stint_image_record *rec)
{
    const struct stint_saved_file *file = rec->payload;
    uint64_t names = (uint64_t)file->path_len + file->target_len;

    return rec->len >= sizeof(*file) + (names + 7) / 8 * 8 && file->path_len > 1 &&
           (rec->len - sizeof(*file) - (names + 7) / 8 * 8) / sizeof(struct stint_saved_piece) >=
               file->npieces &&
           file->size <= (uint64_t)INT64_MAX && stint_saved_path(file)[0] == '/' &&
           string_ends(stint_saved_path(file), file->path_len) &&
           string_ends(stint_saved_target(file), file->target_len) && pieces_ascend(file);
}

#define IN_PROCESS (1u << STINT_IMAGE_PROCESS)
#define IN_GROUP   (1u << STINT_IMAGE_GROUP)
#define IN_SHARED  (1u << STINT_IMAGE_SHARED)

struct record_rule {
    uint32_t type;
    uint32_t kinds;     /* IN_*: images that may hold it */
    uint32_t min_len;   /* bytes of the fixed part */
    uint32_t unit;      /* length is a multiple of this; 0 = any */
    bool once;
    bool (*check)(const struct stint_image *, const struct stint_image_record *);
};

static const struct record_rule rules[] = {
    {STINT_REC_PROCESS, IN_PROCESS, sizeof(struct stint_process), 0, true, NULL},
    {STINT_REC_THREAD, IN_PROCESS, sizeof(struct stint_thread), 0, false, NULL},
    {STINT_REC_SIGACTIONS, IN_PROCESS, 64 * sizeof(struct stint_sigaction), 0, true, NULL},
    {STINT_REC_SIGPENDING, IN_PROCESS, sizeof(struct stint_sigpending), 0, false,
     check_pending},
    {STINT_REC_RLIMITS, IN_PROCESS, 16 * sizeof(struct stint_rlimit), 0, true, NULL},
    {STINT_REC_ITIMERS, IN_PROCESS, 3 * sizeof(struct stint_itimer), 0, true, NULL},
    {STINT_REC_TIMERS, IN_PROCESS, 0, sizeof(struct stint_timer), true, NULL},
    {STINT_REC_VMA, IN_PROCESS, sizeof(struct stint_vma), 0, false, check_vma},
    {STINT_REC_VDSO, IN_PROCESS, sizeof(struct stint_vdso), 0, true, check_vdso},
    {STINT_REC_AUXV, IN_PROCESS, 0, 16, true, NULL},
    {STINT_REC_CWD, IN_PROCESS, 1, 0, true, check_string},
    {STINT_REC_EXE, IN_PROCESS, sizeof(struct stint_file_id) + 1, 0, true, check_exe},
    {STINT_REC_CPU, IN_PROCESS, sizeof(struct stint_cpu), 0, true, NULL},
    {STINT_REC_ROOT, IN_PROCESS, 1, 0, true, check_string},
    {STINT_REC_EXTENTS, IN_PROCESS | IN_SHARED, 0, sizeof(struct stint_extent), false,
     check_extents},
    {STINT_REC_GROUP, IN_GROUP, sizeof(struct stint_group), 0, true, check_group},
    {STINT_REC_MEMBER, IN_GROUP, sizeof(struct stint_member), 0, false, check_member},
    {STINT_REC_OBJECT, IN_GROUP, sizeof(struct stint_object), 0, false, check_object},
    {STINT_REC_FDS, IN_GROUP, sizeof(struct stint_fds), 0, false, check_fds},
    {STINT_REC_SEGMENT, IN_GROUP, sizeof(struct stint_segment), 0, false, check_segment},
    {STINT_REC_LOCKS, IN_GROUP, 0, sizeof(struct stint_lock), true, NULL},
    {STINT_REC_IPC, IN_GROUP, sizeof(struct stint_ipc), 0, false, NULL},
    {STINT_REC_MQUEUE, IN_GROUP, sizeof(struct stint_mqueue) + 2, 0, false, check_mqueue},
    {STINT_REC_SEM_UNDO, IN_GROUP, 0, sizeof(struct stint_sem_undo), true, NULL},
    {STINT_REC_SAVED, IN_GROUP, sizeof(struct stint_saved), 0, true, check_saved},
    {STINT_REC_SAVED_FILE, IN_GROUP, sizeof(struct stint_saved_file) + 2, 0, false,
     check_saved_file},
    {STINT_REC_SHARED, IN_SHARED, sizeof(struct stint_segment), 0, true, check_segment},
};

static const struct record_rule *rule_of(uint32_t type)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].type == type)
            return &rules[i];
    }
    return NULL;
}

static int check_record(const struct stint_image *image, const struct stint_image_record *rec,
                        bool *seen, struct stint_err *err)
{
    const struct record_rule *rule = rule_of(rec->type);

    if (!rule) {
        if (rec->flags & STINT_RECORD_REQUIRED)
            return stint_err_set(err, -EPROTONOSUPPORT,
                                 "image %s: needs a newer stint (record type %u).",
                                 image->path, rec->type);
        return 0;
    }
    if (rec->version != 1)
        return stint_err_set(err, -EPROTONOSUPPORT,
                             "image %s: record type %u has version %u, known is 1.",
                             image->path, rec->type, rec->version);
    if (!(rule->kinds & (1u << image->header.kind)))
        return bad(image, err, "a record stands in the wrong kind of image");
    if (rec->len < rule->min_len || (rule->unit && rec->len % rule->unit) ||
        (rule->check && !rule->check(image, rec)))
        return stint_err_set(err, -EBADMSG,
                             "image %s: a record of type %u has impossible contents.",
                             image->path, rec->type);
    if (rule->once && seen[rec->type])
        return stint_err_set(err, -EBADMSG, "image %s: two records of type %u.",
                             image->path, rec->type);
    seen[rec->type] = true;
    return 0;
}

/* --- records that belong together ---------------------------------------- */

static int check_order_of_vmas(const struct stint_image *image, struct stint_err *err)
{
    struct stint_image_record rec;
    uint64_t last_end = 0;
    size_t cursor = 0;

    while (stint_image_next_of(image, STINT_REC_VMA, &cursor, &rec)) {
        const struct stint_vma *vma = rec.payload;

        if (vma->start < last_end)
            return bad(image, err, "mappings overlap");
        last_end = vma->end;
    }
    return 0;
}

static bool vma_holds_extents(const struct stint_vma *vma)
{
    return vma->kind == STINT_VMA_ANON || vma->kind == STINT_VMA_FILE ||
           vma->kind == STINT_VMA_STACK;
}

/* Extents of one record and mappings both ascend, so one walk over the mappings
 * is enough. An extent may span mappings that touch. */
static bool extents_are_mapped(const struct stint_image *image,
                               const struct stint_extent *extents, size_t count)
{
    struct stint_image_record rec;
    uint64_t covered = 0; /* end of the run of touching mappings */
    size_t cursor = 0, i = 0;
    uint64_t run = 0;

    while (i < count && stint_image_next_of(image, STINT_REC_VMA, &cursor, &rec)) {
        const struct stint_vma *vma = rec.payload;

        if (!vma_holds_extents(vma))
            continue;
        if (vma->start != covered)
            run = vma->start;
        covered = vma->end;
        while (i < count && extents[i].addr + extents[i].len <= covered) {
            if (extents[i].addr < run)
                return false;
            i++;
        }
    }
    return i == count;
}

static int check_extents_are_mapped(const struct stint_image *image, struct stint_err *err)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    while (stint_image_next_of(image, STINT_REC_EXTENTS, &cursor, &rec)) {
        if (!extents_are_mapped(image, rec.payload, rec.len / sizeof(struct stint_extent)))
            return bad(image, err, "it holds memory outside of its mappings");
    }
    return 0;
}

static int check_process_image(const struct stint_image *image, struct stint_err *err)
{
    const struct stint_process *process = stint_image_process(image);
    struct stint_image_record rec;
    uint32_t threads = 0, live = 0;
    size_t cursor = 0;
    int r;

    if (!process)
        return bad(image, err, "it has no process record");
    while (stint_image_next_of(image, STINT_REC_THREAD, &cursor, &rec)) {
        const struct stint_thread *thread = rec.payload;

        if ((threads == 0) != (thread->tid == process->pid) || thread->tid <= 0 ||
            thread->affinity_len > sizeof(thread->affinity))
            return bad(image, err, "its threads make no sense");
        live += !(thread->flags & STINT_THREAD_ENDED);
        threads++;
    }
    if (live == 0 || live + 1 < threads || threads != process->nthreads)
        return bad(image, err, "the number of its threads is wrong");
    if (!stint_image_find(image, STINT_REC_SIGACTIONS, NULL) ||
        !stint_image_find(image, STINT_REC_EXE, NULL) ||
        !stint_image_find(image, STINT_REC_CWD, NULL))
        return bad(image, err, "a record is missing");
    r = check_order_of_vmas(image, err);
    return r < 0 ? r : check_extents_are_mapped(image, err);
}

/* Contents of all saved files lie in what is stored of them. */
static int check_saved_files(const struct stint_image *image, struct stint_err *err)
{
    const struct stint_saved *saved = stint_image_find(image, STINT_REC_SAVED, NULL);
    struct stint_image_record rec;
    uint64_t count = 0;
    size_t cursor = 0;

    while (stint_image_next_of(image, STINT_REC_SAVED_FILE, &cursor, &rec)) {
        const struct stint_saved_file *file = rec.payload;
        const struct stint_saved_piece *pieces = stint_saved_pieces(file);
        uint64_t len = 0;

        for (uint32_t i = 0; i < file->npieces; i++)
            len += pieces[i].len; /* they ascend within its size: no overflow */
        if (!saved || !range_is_within(file->start, len, saved->data_len))
            return bad(image, err, "a saved file has no contents");
        count++;
    }
    return count == (saved ? saved->count : 0) ? 0 : bad(image, err, "saved files are missing");
}

static int check_group_image(const struct stint_image *image, struct stint_err *err)
{
    const struct stint_group *group = stint_image_group(image);
    struct stint_image_record rec;
    size_t cursor = 0;
    uint32_t members = 0, objects = 0, segments = 0;

    if (!group)
        return bad(image, err, "it has no group record");
    while (stint_image_next(image, &cursor, &rec)) {
        members += rec.type == STINT_REC_MEMBER;
        objects += rec.type == STINT_REC_OBJECT;
        segments += rec.type == STINT_REC_SEGMENT;
    }
    if (members != group->nmembers || objects != group->nobjects ||
        segments != group->nsegments)
        return bad(image, err, "processes, objects or segments are missing");
    return check_saved_files(image, err);
}

static int check_shared_image(const struct stint_image *image, struct stint_err *err)
{
    const struct stint_segment *segment = stint_image_find(image, STINT_REC_SHARED, NULL);
    struct stint_image_record rec;
    size_t cursor = 0;

    if (!segment)
        return bad(image, err, "it has no segment record");
    while (stint_image_next_of(image, STINT_REC_EXTENTS, &cursor, &rec)) {
        const struct stint_extent *extents = rec.payload;
        size_t count = rec.len / sizeof(*extents);
        /* a segment need not end on a page boundary; its last page is stored whole */
        uint64_t limit = (segment->size + STINT_PAGE_SIZE - 1) & ~(STINT_PAGE_SIZE - 1ull);

        if (count > 0 &&
            !range_is_within(extents[count - 1].addr, extents[count - 1].len, limit))
            return bad(image, err, "it holds memory behind the segment's end");
    }
    return 0;
}

/* --- opening ------------------------------------------------------------- */

static int check_meta(const struct stint_image *image, struct stint_err *err)
{
    bool seen[STINT_REC_SHARED + 1] = {false};
    uint64_t at = 0, limit = image->header.meta_len;

    while (at < limit) {
        const struct stint_record *head = (const void *)(image->meta + at);
        struct stint_image_record rec;
        int r;

        if (limit - at < sizeof(*head) || head->len > limit - at - sizeof(*head) ||
            (head->len + 7) / 8 * 8 > limit - at - sizeof(*head))
            return bad(image, err, "a record is longer than the file");
        rec = (struct stint_image_record){head->type, head->version, head->flags, head->len,
                                          head + 1};
        if (XXH3_64bits(rec.payload, rec.len) != head->xxh3)
            return bad(image, err, "a record's checksum is wrong");
        r = check_record(image, &rec, seen, err);
        if (r < 0)
            return r;
        at += sizeof(*head) + (head->len + 7) / 8 * 8;
    }
    switch ((enum stint_image_kind)image->header.kind) {
    case STINT_IMAGE_PROCESS:
        return check_process_image(image, err);
    case STINT_IMAGE_GROUP:
        return check_group_image(image, err);
    case STINT_IMAGE_SHARED:
        return check_shared_image(image, err);
    }
    return bad(image, err, "its kind is unknown");
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i])
            return false;
    }
    return true;
}

static int check_header(struct stint_image *image, uint64_t file_len, struct stint_err *err)
{
    struct stint_image_header *h = &image->header;
    uint8_t page[STINT_PAGE_SIZE];
    struct stint_image_header zeroed;
    int r;

    if (file_len < sizeof(page))
        return bad(image, err, "the file is cut off");
    r = read_at(image, page, sizeof(page), 0, err);
    if (r < 0)
        return r;
    memcpy(h, page, sizeof(*h));
    if (is_zero(page, sizeof(page)))
        return bad(image, err, "it was not written to its end");
    if (memcmp(h->magic, STINT_IMAGE_MAGIC, sizeof(h->magic)) != 0)
        return bad(image, err, "it is not a stint image");
    if (h->version != STINT_IMAGE_VERSION)
        return stint_err_set(err, -EPROTONOSUPPORT,
                             "image %s: has format %u, this stint reads format %u.",
                             image->path, h->version, STINT_IMAGE_VERSION);
    zeroed = *h;
    zeroed.header_xxh3 = 0;
    if (XXH3_64bits(&zeroed, sizeof(zeroed)) != h->header_xxh3 ||
        !is_zero(page + sizeof(*h), sizeof(page) - sizeof(*h)))
        return bad(image, err, "the header's checksum is wrong");
    if (h->arch != STINT_ARCH_X86_64)
        return stint_err_set(err, -ENOEXEC,
                             "image %s: is of architecture %u, this machine is x86_64 (%u).",
                             image->path, h->arch, STINT_ARCH_X86_64);
    if (h->file_len != file_len)
        return stint_err_set(err, -EBADMSG,
                             "image %s: has %" PRIu64 " bytes, %" PRIu64 " were written.",
                             image->path, file_len, h->file_len);
    if (h->header_len != STINT_PAGE_SIZE || h->data_offset != STINT_PAGE_SIZE ||
        h->data_len % STINT_PAGE_SIZE || h->meta_offset % STINT_PAGE_SIZE ||
        !range_is_within(h->data_offset, h->data_len, file_len) ||
        !range_is_within(h->meta_offset, h->meta_len, file_len) ||
        h->meta_offset < h->data_offset + h->data_len || h->meta_len > META_MAX ||
        h->meta_len % 8)
        return bad(image, err, "the header's lengths are impossible");
    return 0;
}

static int load(struct stint_image *image, enum stint_image_kind kind, struct stint_err *err)
{
    struct stat st;
    int r;

    if (fstat(image->fd, &st) < 0)
        return stint_err_set(err, -errno, "image %s", image->path);
    if (!S_ISREG(st.st_mode))
        return bad(image, err, "it is not a regular file");
    r = check_header(image, (uint64_t)st.st_size, err);
    if (r < 0)
        return r;
    if (kind && image->header.kind != kind)
        return bad(image, err, "it is another kind of image than is wanted here");
    image->meta = malloc(image->header.meta_len + 8);
    if (!image->meta)
        return stint_err_set(err, -ENOMEM, "image %s", image->path);
    r = read_at(image, image->meta, image->header.meta_len, image->header.meta_offset, err);
    if (r < 0)
        return r;
    if (XXH3_64bits(image->meta, image->header.meta_len) != image->header.meta_xxh3)
        return bad(image, err, "the checksum of its records is wrong");
    return check_meta(image, err);
}

int stint_image_open(struct stint_image **image, int dirfd, const char *name,
                     enum stint_image_kind kind, struct stint_err *err)
{
    struct stint_image *fresh = calloc(1, sizeof(*fresh));
    int r;

    if (!fresh)
        return stint_err_set(err, -ENOMEM, "image %s", name);
    fresh->path = strdup(name);
    /* O_NONBLOCK: a FIFO in the place of an image must not block */
    fresh->fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (!fresh->path || fresh->fd < 0)
        r = stint_err_set(err, fresh->path ? -errno : -ENOMEM, "image %s", name);
    else
        r = load(fresh, kind, err);
    if (r < 0) {
        stint_image_close(fresh);
        return r;
    }
    *image = fresh;
    return 0;
}

void stint_image_close(struct stint_image *image)
{
    int saved = errno;

    if (!image)
        return;
    if (image->fd >= 0)
        (void)close(image->fd); /* read only: nothing to lose */
    free(image->meta);
    free(image->path);
    free(image);
    errno = saved;
}

/* --- access -------------------------------------------------------------- */

int stint_image_next(const struct stint_image *image, size_t *cursor,
                     struct stint_image_record *record)
{
    const struct stint_record *head;

    if (*cursor >= image->header.meta_len)
        return 0;
    head = (const void *)(image->meta + *cursor);
    *record = (struct stint_image_record){head->type, head->version, head->flags, head->len,
                                          head + 1};
    *cursor += sizeof(*head) + (head->len + 7) / 8 * 8;
    return 1;
}

int stint_image_next_of(const struct stint_image *image, enum stint_record_type type,
                        size_t *cursor, struct stint_image_record *record)
{
    while (stint_image_next(image, cursor, record)) {
        if (record->type == type)
            return 1;
    }
    return 0;
}

const void *stint_image_find(const struct stint_image *image, enum stint_record_type type,
                             uint64_t *len)
{
    struct stint_image_record rec;
    size_t cursor = 0;

    if (!stint_image_next_of(image, type, &cursor, &rec))
        return NULL;
    if (len)
        *len = rec.len;
    return rec.payload;
}

const struct stint_process *stint_image_process(const struct stint_image *image)
{
    return stint_image_find(image, STINT_REC_PROCESS, NULL);
}

const struct stint_group *stint_image_group(const struct stint_image *image)
{
    return stint_image_find(image, STINT_REC_GROUP, NULL);
}

const char *stint_vma_path(const struct stint_vma *vma)
{
    return vma->path_len ? (const char *)(vma + 1) : "";
}

const char *stint_member_name(const struct stint_member *member)
{
    return member->name_len ? (const char *)(member + 1) : "";
}

const char *stint_object_path(const struct stint_object *object)
{
    return object->path_len ? (const char *)(object + 1) : "";
}

const void *stint_object_extra(const struct stint_object *object)
{
    return (const char *)(object + 1) + object->path_len;
}

const char *stint_segment_name(const struct stint_segment *segment)
{
    return segment->name_len ? (const char *)(segment + 1) : "";
}

const char *stint_segment_path(const struct stint_segment *segment)
{
    return segment->path_len ? (const char *)(segment + 1) + segment->name_len : "";
}

const char *stint_file_id_path(const struct stint_file_id *id)
{
    return (const char *)(id + 1);
}

const char *stint_saved_path(const struct stint_saved_file *file)
{
    return (const char *)(file + 1);
}

const char *stint_saved_target(const struct stint_saved_file *file)
{
    return file->target_len ? (const char *)(file + 1) + file->path_len : "";
}

const struct stint_saved_piece *stint_saved_pieces(const struct stint_saved_file *file)
{
    size_t names = (size_t)file->path_len + file->target_len;

    return (const void *)((const char *)(file + 1) + (names + 7) / 8 * 8);
}

/* --- the data area -------------------------------------------------------- */

int stint_image_read_data(const struct stint_image *image, uint64_t offset, uint64_t len,
                          uint64_t xxh3, void *buf, struct stint_err *err)
{
    int r = read_at(image, buf, len, offset, err);

    if (r < 0)
        return r;
    if (XXH3_64bits(buf, len) != xxh3)
        return stint_err_set(err, -EBADMSG,
                             "image %s: the checksum of its data at %" PRIu64 " is wrong.",
                             image->path, offset);
    return 0;
}

/* Like stint_image_read_data(), in pieces: contents may be larger than memory. */
static int verify_data(const struct stint_image *image, uint64_t offset, uint64_t len,
                       uint64_t xxh3, void *buf, struct stint_err *err)
{
    XXH3_state_t state __attribute__((aligned(64)));

    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    for (uint64_t done = 0; done < len;) {
        size_t part = len - done < STINT_EXTENT_MAX ? len - done : STINT_EXTENT_MAX;
        int r = read_at(image, buf, part, offset + done, err);

        if (r < 0)
            return r;
        XXH3_64bits_update(&state, buf, part);
        done += part;
    }
    if (XXH3_64bits_digest(&state) != xxh3)
        return stint_err_set(err, -EBADMSG,
                             "image %s: the checksum of its data at %" PRIu64 " is wrong.",
                             image->path, offset);
    return 0;
}

static int verify_extents(const struct stint_image *image,
                          const struct stint_image_record *rec, void *buf,
                          struct stint_err *err)
{
    const struct stint_extent *e = rec->payload;

    for (size_t i = 0; i < rec->len / sizeof(*e); i++) {
        int r;

        if (e[i].encoding == STINT_ENC_ZERO || e[i].encoding == STINT_ENC_PARENT)
            continue;
        if (e[i].encoding > STINT_ENC_PARENT || e[i].encoding == 0)
            return stint_err_set(err, -EPROTONOSUPPORT,
                                 "image %s: needs a newer stint (encoding %u).", image->path,
                                 e[i].encoding);
        r = verify_data(image, e[i].offset, e[i].stored_len, e[i].xxh3, buf, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int stint_image_verify(const struct stint_image *image, struct stint_err *err)
{
    STINT_AUTO_FREE void *buf = malloc(STINT_EXTENT_MAX);
    struct stint_image_record rec;
    size_t cursor = 0;
    int r = 0;

    if (!buf)
        return stint_err_set(err, -ENOMEM, "image %s", image->path);
    while (r == 0 && stint_image_next(image, &cursor, &rec)) {
        const struct stint_object *object = rec.payload;
        const struct stint_mqueue *queue = rec.payload;
        const struct stint_saved *saved = rec.payload;

        if (rec.type == STINT_REC_EXTENTS)
            r = verify_extents(image, &rec, buf, err);
        else if (rec.type == STINT_REC_OBJECT && object->data_len > 0)
            r = verify_data(image, object->data_offset, object->data_len, object->data_xxh3,
                            buf, err);
        else if (rec.type == STINT_REC_MQUEUE && queue->data_len > 0)
            r = verify_data(image, queue->data_offset, queue->data_len, queue->data_xxh3, buf,
                            err);
        else if (rec.type == STINT_REC_SAVED && saved->data_len > 0)
            r = verify_data(image, saved->data_offset, saved->data_len, saved->data_xxh3, buf,
                            err);
    }
    return r;
}
