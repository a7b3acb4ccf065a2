/* The vdso of this kernel and the one that the program knows.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/vdso.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define JUMP_LEN 12u /* mov $imm64, %rax; jmp *%rax: rax is free where a function begins */

/* --- symbols ------------------------------------------------------------------ */

struct elf {
    const uint8_t *bytes;
    size_t len;
    const Elf64_Sym *symbols;
    size_t nsymbols;
    const char *strings;
    size_t strings_len;
};

/* A table at an address of the file, as long as it goes. */
static const void *at_address(const struct elf *elf, uint64_t addr, size_t *room)
{
    if (addr >= elf->len)
        return NULL;
    *room = elf->len - addr;
    return elf->bytes + addr;
}

/* A vdso is one segment at address 0; its dynamic section names the tables. */
static const Elf64_Dyn *find_dynamic(const struct elf *elf, size_t *count)
{
    const Elf64_Ehdr *header = (const void *)elf->bytes;
    size_t room = 0;
    const Elf64_Phdr *segments;

    if (elf->len < sizeof(*header) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phoff % 8)
        return NULL;
    segments = at_address(elf, header->e_phoff, &room);
    if (!segments || room / sizeof(*segments) < header->e_phnum)
        return NULL;
    for (int i = 0; i < header->e_phnum; i++) {
        const Elf64_Dyn *dynamic;

        if (segments[i].p_type != PT_DYNAMIC)
            continue;
        dynamic = at_address(elf, segments[i].p_vaddr, &room);
        if (!dynamic || segments[i].p_memsz > room || segments[i].p_vaddr % 8)
            return NULL;
        *count = segments[i].p_memsz / sizeof(*dynamic);
        return dynamic;
    }
    return NULL;
}

static int parse(struct elf *elf, const uint8_t *bytes, size_t len)
{
    size_t count = 0, room = 0;
    uint64_t symbols = 0, strings = 0, hash = 0;
    const Elf64_Dyn *dynamic;

    *elf = (struct elf){.bytes = bytes, .len = len};
    dynamic = find_dynamic(elf, &count);
    for (size_t i = 0; dynamic && i < count && dynamic[i].d_tag != DT_NULL; i++) {
        if (dynamic[i].d_tag == DT_SYMTAB)
            symbols = dynamic[i].d_un.d_ptr;
        else if (dynamic[i].d_tag == DT_STRTAB)
            strings = dynamic[i].d_un.d_ptr;
        else if (dynamic[i].d_tag == DT_HASH)
            hash = dynamic[i].d_un.d_ptr;
    }
    if (!symbols || symbols % 8 || !(elf->symbols = at_address(elf, symbols, &room)))
        return -EBADMSG;
    elf->nsymbols = room / sizeof(Elf64_Sym);
    elf->strings = strings ? at_address(elf, strings, &elf->strings_len) : NULL;
    if (!elf->strings || !memchr(elf->strings, '\0', elf->strings_len))
        return -EBADMSG;
    /* The number of symbols is in the hash table; without one, strings follow them. */
    if (hash && hash % 4 == 0 && at_address(elf, hash, &room) && room >= 8) {
        uint32_t nchain = ((const uint32_t *)(const void *)(bytes + hash))[1];

        elf->nsymbols = nchain < elf->nsymbols ? nchain : elf->nsymbols;
    } else if (strings > symbols &&
               (strings - symbols) / sizeof(Elf64_Sym) < elf->nsymbols) {
        elf->nsymbols = (strings - symbols) / sizeof(Elf64_Sym);
    }
    return 0;
}

/* "" for what is no function of the file. */
static const char *name_of(const struct elf *elf, const Elf64_Sym *symbol)
{
    const char *name;

    if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF ||
        symbol->st_name >= elf->strings_len)
        return "";
    name = elf->strings + symbol->st_name;
    return memchr(name, '\0', elf->strings_len - symbol->st_name) ? name : "";
}

static const Elf64_Sym *find_symbol(const struct elf *elf, const char *name)
{
    for (size_t i = 0; i < elf->nsymbols; i++) {
        if (strcmp(name_of(elf, &elf->symbols[i]), name) == 0)
            return &elf->symbols[i];
    }
    return NULL;
}

/* --- patching ------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t nr;
} calls[] = {
    {"__vdso_clock_gettime", SYS_clock_gettime}, {"clock_gettime", SYS_clock_gettime},
    {"__vdso_gettimeofday", SYS_gettimeofday},   {"gettimeofday", SYS_gettimeofday},
    {"__vdso_time", SYS_time},                   {"time", SYS_time},
    {"__vdso_getcpu", SYS_getcpu},               {"getcpu", SYS_getcpu},
    {"__vdso_clock_getres", SYS_clock_getres},   {"clock_getres", SYS_clock_getres},
};

static void put_jump(uint8_t *to, uint64_t target)
{
    static const uint8_t jump[JUMP_LEN] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};

    memcpy(to, jump, sizeof(jump));
    memcpy(to + 2, &target, sizeof(target));
}

/* mov $nr, %eax; syscall; ret. A function without a system call of its own fails
 * with -ENOSYS, which its users must expect. */
static void put_call(uint8_t *to, const char *name)
{
    static const uint8_t call[] = {0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3};
    static const uint8_t enosys[] = {0x48, 0xc7, 0xc0, 0xda, 0xff, 0xff, 0xff, 0xc3};

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (strcmp(calls[i].name, name) != 0)
            continue;
        memcpy(to, call, sizeof(call));
        memcpy(to + 1, &calls[i].nr, sizeof(calls[i].nr));
        return;
    }
    memcpy(to, enosys, sizeof(enosys));
}

int stint_vdso_patch(uint8_t *old, size_t len, const uint8_t *ours, size_t our_len,
                     uint64_t our_start)
{
    struct elf old_elf, our_elf;
    uint8_t *pristine = malloc(len);
    int found = 0;

    if (!pristine)
        return -ENOMEM;
    memcpy(pristine, old, len); /* symbols are read while code is written */
    if (parse(&old_elf, pristine, len) < 0 || parse(&our_elf, ours, our_len) < 0) {
        free(pristine);
        return -EBADMSG;
    }
    for (size_t i = 0; i < old_elf.nsymbols; i++) {
        const Elf64_Sym *symbol = &old_elf.symbols[i];
        const char *name = name_of(&old_elf, symbol);
        const Elf64_Sym *target;

        if (!*name || symbol->st_value > len - JUMP_LEN || len < JUMP_LEN)
            continue;
        target = find_symbol(&our_elf, name);
        if (target && target->st_value < our_len) {
            put_jump(old + symbol->st_value, our_start + target->st_value);
            found++;
        } else {
            put_call(old + symbol->st_value, name);
        }
    }
    free(pristine);
    return found;
}

/* --- planning ------------------------------------------------------------------- */

static int find_pieces(struct stint_vdso_plan *plan, const struct stint_layout *maps,
                       struct stint_vdso_piece *vdso, struct stint_err *err)
{
    for (size_t i = 0; i < maps->count; i++) {
        const struct stint_range *range = &maps->ranges[i];
        struct stint_vdso_piece piece = {.start = range->start,
                                         .len = range->end - range->start};

        if (strcmp(range->name, "[vdso]") == 0)
            *vdso = piece;
        else if (strncmp(range->name, "[vvar", 5) != 0)
            continue;
        if (plan->npieces == STINT_VDSO_PIECES_MAX)
            return stint_err_set(err, -E2BIG, "this kernel's vdso has too many parts.");
        plan->pieces[plan->npieces++] = piece;
        plan->len += piece.len;
    }
    return 0;
}

static void place_pieces(struct stint_vdso_plan *plan, uint64_t start)
{
    for (size_t i = 0; i < plan->npieces; i++)
        plan->pieces[i].to = start + (plan->pieces[i].start - plan->pieces[0].start);
}

static bool is_same(const struct stint_vdso_plan *plan, const struct stint_vdso_piece *vdso,
                    const struct stint_vdso *old)
{
    uint64_t old_first = old->vvar_len ? old->vvar_start : old->vdso_start;

    return !getenv("STINT_VDSO_PROXY") && old->vdso_len == vdso->len &&
           old->vdso_start - old_first == vdso->start - plan->pieces[0].start &&
           memcmp(old + 1, (const void *)vdso->start, vdso->len) == 0;
}

static int plan_proxy(struct stint_vdso_plan *plan, const struct stint_vdso_piece *vdso,
                      const struct stint_vdso *old, struct stint_err *err)
{
    uint64_t to = 0;
    int found;

    for (size_t i = 0; i < plan->npieces; i++) {
        if (plan->pieces[i].start == vdso->start)
            to = plan->pieces[i].to;
    }
    plan->image = calloc(1, old->vdso_len);
    if (!plan->image)
        return stint_err_set(err, -ENOMEM, "prepare the vdso");
    memcpy(plan->image, old + 1, old->vdso_len);
    found = stint_vdso_patch(plan->image, old->vdso_len, (const void *)vdso->start,
                             vdso->len, to);
    if (found <= 0)
        return stint_err_set(err, -EBADMSG, "the image's vdso makes no sense.");
    return 0;
}

int stint_vdso_plan_init(struct stint_vdso_plan *plan, const struct stint_vdso *old,
                         const struct stint_layout *maps, const struct stint_layout *taken,
                         struct stint_err *err)
{
    struct stint_vdso_piece vdso = {0};
    uint64_t span, place;
    int r;

    *plan = (struct stint_vdso_plan){0};
    r = find_pieces(plan, maps, &vdso, err);
    if (r < 0 || plan->npieces == 0)
        return r; /* a kernel that was booted with vdso=0 has none */
    if (old && vdso.len && is_same(plan, &vdso, old)) {
        place_pieces(plan, old->vvar_len ? old->vvar_start : old->vdso_start);
        return 0;
    }
    span = plan->pieces[plan->npieces - 1].start + plan->pieces[plan->npieces - 1].len -
           plan->pieces[0].start;
    place = stint_layout_find_free(taken, span);
    if (!place)
        return stint_err_set(err, -ENOMEM, "no addresses are free for the vdso.");
    place_pieces(plan, place);
    return old && old->vdso_len && vdso.len ? plan_proxy(plan, &vdso, old, err) : 0;
}
