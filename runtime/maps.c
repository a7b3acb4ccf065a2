/* Walk the mappings of this process: /proc/self/smaps, see proc(5).
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/maps.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "common/raw.h"
#include "runtime/text.h"

struct reader {
    int fd;
    char *buf;
    size_t size, used, at;
    bool ended;
};

/* The next line, NUL-terminated in the buffer, valid until the next call; NULL at the
 * end. A line longer than the buffer is cut. */
static char *next_line(struct reader *reader)
{
    for (;;) {
        char *start = reader->buf + reader->at, *newline;
        size_t left = reader->used - reader->at;
        long n;

        newline = memchr(start, '\n', left);
        if (newline || (reader->ended && left > 0)) {
            if (!newline)
                newline = start + left;
            *newline = '\0';
            reader->at = (size_t)(newline - reader->buf) + 1;
            if (reader->at > reader->used)
                reader->at = reader->used;
            return start;
        }
        if (reader->ended)
            return NULL;
        memmove(reader->buf, start, left);
        reader->at = 0;
        reader->used = left;
        if (left >= reader->size - 1) {
            reader->used = 0; /* over-long: drop it */
            left = 0;
        }
        n = raw_syscall(SYS_read, reader->fd, reader->buf + left, reader->size - 1 - left);
        if (n <= 0) {
            reader->ended = true;
            n = 0;
        }
        reader->used = left + (size_t)n;
    }
}

/* The kernel writes a newline in a path as \012 (seq_path). */
static void copy_path(char *to, const char *from)
{
    size_t used = 0;

    while (*from && used < MAPS_PATH_MAX - 1) {
        if (strncmp(from, "\\012", 4) == 0) {
            to[used++] = '\n';
            from += 4;
        } else {
            to[used++] = *from++;
        }
    }
    to[used] = '\0';
}

/* "start-end perms offset major:minor inode   path" */
static bool parse_header(const char *line, struct map_entry *entry)
{
    const char *p = line;
    uint64_t start = stint_text_hex(&p), end, major, minor;

    if (p == line || *p != '-')
        return false;
    p++;
    end = stint_text_hex(&p);
    if (*p != ' ' || strlen(p) < 6)
        return false;
    memset(entry, 0, offsetof(struct map_entry, path));
    entry->start = start;
    entry->end = end;
    entry->prot = (p[1] == 'r' ? PROT_READ : 0u) | (p[2] == 'w' ? PROT_WRITE : 0u)
                  | (p[3] == 'x' ? PROT_EXEC : 0u);
    entry->shared = p[4] == 's';
    p += 6;
    entry->offset = stint_text_hex(&p);
    p += *p == ' ';
    major = stint_text_hex(&p);
    p += *p == ':';
    minor = stint_text_hex(&p);
    p += *p == ' ';
    entry->dev = (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffull) << 12
                 | (major & ~0xfffull) << 32; /* makedev(3) */
    entry->ino = stint_text_decimal(&p);
    while (*p == ' ')
        p++;
    copy_path(entry->path, p);
    return true;
}

static const struct {
    char name[3];
    uint32_t flag;
} vm_flags[] = {
    {"dc", STINT_ADV_DONTFORK},   {"dd", STINT_ADV_DONTDUMP},
    {"hg", STINT_ADV_HUGEPAGE},   {"nh", STINT_ADV_NOHUGEPAGE},
    {"mg", STINT_ADV_MERGEABLE},  {"wf", STINT_ADV_WIPEONFORK},
    {"lo", STINT_ADV_LOCKED},     {"nr", STINT_ADV_NORESERVE},
    {"gd", STINT_ADV_GROWSDOWN},  {"sr", STINT_ADV_SEQUENTIAL},
    {"rr", STINT_ADV_RANDOM},     {"lf", STINT_ADV_LOCKONFAULT},
    {"ht", MAPS_HUGETLB},         {"um", MAPS_USERFAULTFD},
    {"uw", MAPS_USERFAULTFD},     {"ui", MAPS_USERFAULTFD},
    {"io", MAPS_IO},              {"pf", MAPS_IO},
};

static void parse_flags(const char *p, struct map_entry *entry)
{
    for (;;) {
        while (*p == ' ')
            p++;
        if (!p[0] || !p[1])
            return;
        if (p[0] == 'm' && p[1] == 'w')
            entry->maywrite = true;
        for (size_t i = 0; i < sizeof(vm_flags) / sizeof(vm_flags[0]); i++)
            if (p[0] == vm_flags[i].name[0] && p[1] == vm_flags[i].name[1])
                entry->advice |= vm_flags[i].flag;
        p += 2;
    }
}

static void parse_detail(const char *line, struct map_entry *entry)
{
    const char *value;

    if ((value = stint_text_field(line, "Rss")) || (value = stint_text_field(line, "Swap"))
        || (value = stint_text_field(line, "Private_Hugetlb"))
        || (value = stint_text_field(line, "Shared_Hugetlb")))
        entry->resident_kb += stint_text_decimal(&value);
    else if ((value = stint_text_field(line, "KernelPageSize")))
        entry->page_kb = stint_text_decimal(&value);
    else if ((value = stint_text_field(line, "ProtectionKey")))
        entry->pkey = stint_text_decimal(&value);
    else if (strncmp(line, "VmFlags:", 8) == 0)
        parse_flags(line + 8, entry);
}

int stint_maps_walk(const char *path,
                    char *buf,
                    size_t size,
                    struct map_entry *entry,
                    maps_visit_f visit,
                    void *arg)
{
    struct reader reader = {.buf = buf, .size = size};
    bool pending = false;
    int ret = 0;
    char *line;

    reader.fd = stint_text_open(path);
    if (reader.fd < 0)
        return reader.fd;
    while (ret == 0 && (line = next_line(&reader))) {
        /* A header starts with a hexadecimal number in lower case, a detail with a
         * capital letter. */
        if (*line >= 'A' && *line <= 'Z') {
            parse_detail(line, entry);
            continue;
        }
        if (pending)
            ret = visit(entry, arg);
        pending = parse_header(line, entry);
    }
    if (ret == 0 && pending)
        ret = visit(entry, arg);
    stint_text_close(reader.fd);
    return ret;
}

static bool ends_with(const char *s, const char *tail)
{
    size_t len = strlen(s), tail_len = strlen(tail);

    return len >= tail_len && strcmp(s + len - tail_len, tail) == 0;
}

bool stint_maps_is_image(const struct map_entry *entry)
{
    char magic[9] = {0};

    if (entry->shared)
        return false;
    if (ends_with(entry->path, ".img (deleted)"))
        return true; /* pruned since; whatever it is, it is ours alone now */
    return ends_with(entry->path, ".img")
           && stint_text_read(entry->path, magic, sizeof(magic)) == 8
           && memcmp(magic, STINT_IMAGE_MAGIC, 8) == 0;
}
