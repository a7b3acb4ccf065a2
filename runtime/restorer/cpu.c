/* Does this CPU have what the program may be using?
 * SPDX-License-Identifier: Apache-2.0
 *
 * Programs pick code paths by cpuid once, at their start, so every feature of the
 * old CPU that a program can use must be here. Bits that describe the kernel's or
 * the hypervisor's business are left out.
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "runtime/restorer/restore.h"

struct feature {
    size_t word; /* offset in struct stint_cpu */
    int bit;
    const char *name;
};

#define F(word, bit, name) {offsetof(struct stint_cpu, word), bit, name}

static const struct feature features[] = {
    F(leaf1_edx, 15, "cmov"), F(leaf1_edx, 23, "mmx"), F(leaf1_edx, 24, "fxsr"),
    F(leaf1_edx, 25, "sse"), F(leaf1_edx, 26, "sse2"),
    F(leaf1_ecx, 0, "sse3"), F(leaf1_ecx, 1, "pclmulqdq"), F(leaf1_ecx, 9, "ssse3"),
    F(leaf1_ecx, 12, "fma"), F(leaf1_ecx, 13, "cx16"), F(leaf1_ecx, 19, "sse4_1"),
    F(leaf1_ecx, 20, "sse4_2"), F(leaf1_ecx, 22, "movbe"), F(leaf1_ecx, 23, "popcnt"),
    F(leaf1_ecx, 25, "aes"), F(leaf1_ecx, 27, "xsave"), F(leaf1_ecx, 28, "avx"),
    F(leaf1_ecx, 29, "f16c"), F(leaf1_ecx, 30, "rdrand"),
    F(leaf7_ebx, 0, "fsgsbase"), F(leaf7_ebx, 3, "bmi1"), F(leaf7_ebx, 4, "hle"),
    F(leaf7_ebx, 5, "avx2"), F(leaf7_ebx, 8, "bmi2"), F(leaf7_ebx, 11, "rtm"),
    F(leaf7_ebx, 16, "avx512f"), F(leaf7_ebx, 17, "avx512dq"), F(leaf7_ebx, 18, "rdseed"),
    F(leaf7_ebx, 19, "adx"), F(leaf7_ebx, 21, "avx512ifma"), F(leaf7_ebx, 23, "clflushopt"),
    F(leaf7_ebx, 24, "clwb"), F(leaf7_ebx, 26, "avx512pf"), F(leaf7_ebx, 27, "avx512er"),
    F(leaf7_ebx, 28, "avx512cd"), F(leaf7_ebx, 29, "sha_ni"), F(leaf7_ebx, 30, "avx512bw"),
    F(leaf7_ebx, 31, "avx512vl"),
    F(leaf7_ecx, 1, "avx512vbmi"), F(leaf7_ecx, 4, "ospke"), F(leaf7_ecx, 5, "waitpkg"),
    F(leaf7_ecx, 6, "avx512_vbmi2"), F(leaf7_ecx, 8, "gfni"), F(leaf7_ecx, 9, "vaes"),
    F(leaf7_ecx, 10, "vpclmulqdq"), F(leaf7_ecx, 11, "avx512_vnni"),
    F(leaf7_ecx, 12, "avx512_bitalg"), F(leaf7_ecx, 14, "avx512_vpopcntdq"),
    F(leaf7_ecx, 22, "rdpid"), F(leaf7_ecx, 25, "cldemote"), F(leaf7_ecx, 27, "movdiri"),
    F(leaf7_ecx, 28, "movdir64b"),
    F(leaf7_edx, 2, "avx512_4vnniw"), F(leaf7_edx, 3, "avx512_4fmaps"),
    F(leaf7_edx, 8, "avx512_vp2intersect"), F(leaf7_edx, 14, "serialize"),
    F(leaf7_edx, 22, "amx_bf16"), F(leaf7_edx, 23, "avx512_fp16"),
    F(leaf7_edx, 24, "amx_tile"), F(leaf7_edx, 25, "amx_int8"),
    F(leaf7_1_eax, 0, "sha512"), F(leaf7_1_eax, 1, "sm3"), F(leaf7_1_eax, 2, "sm4"),
    F(leaf7_1_eax, 4, "avx_vnni"), F(leaf7_1_eax, 5, "avx512_bf16"),
    F(leaf7_1_eax, 7, "cmpccxadd"), F(leaf7_1_eax, 21, "amx_fp16"),
    F(leaf7_1_eax, 23, "avx_ifma"),
    F(ext1_ecx, 0, "lahf_lm"), F(ext1_ecx, 5, "lzcnt"), F(ext1_ecx, 6, "sse4a"),
    F(ext1_ecx, 8, "3dnowprefetch"), F(ext1_ecx, 11, "xop"), F(ext1_ecx, 16, "fma4"),
    F(ext1_ecx, 21, "tbm"), F(ext1_edx, 27, "rdtscp"), F(ext1_edx, 31, "3dnow"),
};

static void read_cpu(struct stint_cpu *cpu)
{
    uint32_t a = 0, b = 0, c = 0, d = 0;

    memset(cpu, 0, sizeof(*cpu));
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        cpu->leaf1_ecx = c;
        cpu->leaf1_edx = d;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        cpu->leaf7_ebx = b;
        cpu->leaf7_ecx = c;
        cpu->leaf7_edx = d;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
            cpu->leaf7_1_eax = a;
    }
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
        cpu->ext1_ecx = c;
        cpu->ext1_edx = d;
    }
    if (cpu->leaf1_ecx & 1u << 27) { /* OSXSAVE: xgetbv exists */
        __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
        cpu->xcr0 = (uint64_t)d << 32 | a;
    }
}

static uint32_t word_of(const struct stint_cpu *cpu, size_t offset)
{
    uint32_t word;

    memcpy(&word, (const uint8_t *)cpu + offset, sizeof(word));
    return word;
}

int stint_cpu_check(const struct stint_cpu *wanted, struct stint_err *err)
{
    struct stint_cpu here;
    char missing[512] = "";
    size_t used = 0;

    read_cpu(&here);
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        const struct feature *f = &features[i];
        size_t len = strlen(f->name);

        if ((word_of(wanted, f->word) & ~word_of(&here, f->word)) >> f->bit & 1 &&
            used + len + 2 < sizeof(missing)) {
            missing[used++] = ' ';
            memcpy(missing + used, f->name, len + 1);
            used += len;
        }
    }
    if (used)
        return stint_err_set(err, -ENOEXEC, "this CPU lacks what the program may be using:%s "
                                            "(it ran on %.48s).",
                             missing, wanted->model);
    if (wanted->xcr0 & ~here.xcr0)
        return stint_err_set(err, -ENOEXEC,
                             "this kernel or CPU does not save register state %#llx that the "
                             "program has (it ran on %.48s).",
                             (unsigned long long)(wanted->xcr0 & ~here.xcr0), wanted->model);
    return 0;
}
