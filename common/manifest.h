/* gen-NNNNNN/manifest.yaml: what a generation consists of.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COMMON_MANIFEST_H
#define STINT_COMMON_MANIFEST_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define STINT_MANIFEST_VERSION   1
#define STINT_MANIFEST_NAME      "manifest.yaml"
#define STINT_MANIFEST_MAX_BYTES (64u << 20)

/* One file of a group. `xxh3` is header_xxh3 of its image header, which covers,
 * through meta_xxh3 and the checksums of records and extents, every byte. */
struct stint_manifest_file {
    char *name;  /* plain file name: no '/', not "." or ".." */
    char *kind;  /* "process", "group", "shared" */
    char *comm;  /* may be "" */
    int64_t pid; /* as the program sees it; 0 for group and shared */
    uint64_t bytes;
    uint64_t xxh3;
};

/* What one agent's program was: one root process and all below it. */
struct stint_manifest_group {
    char *name; /* "main", "batch", ... unique in a generation */
    char *host;
    char *kernel;  /* release of the host's kernel, or "" */
    char *command; /* for people */
    char *image;   /* file name of the group image, one of files */
    int64_t root_pid;
    uint64_t processes;
    uint64_t bytes;
    uint64_t stall_ms;
    struct stint_manifest_file *files;
    size_t nfiles;
};

struct stint_manifest {
    uint64_t generation;
    char gen_id[33];        /* 32 lower-case hex digits */
    uint64_t parent;        /* generation it builds on; 0 = stands alone */
    uint64_t restored_from; /* generation this run started from; 0 = from the start */
    char *stint_version;
    char *slurm_job; /* "" when it is none */
    uint64_t run;    /* 1 for the first run of the job, then one more each restart */
    int64_t started; /* seconds since 1970 */
    int64_t committed;
    uint64_t duration_ms; /* from the start to everything written */
    uint64_t stall_ms;    /* the longest of the groups */
    uint64_t bytes;       /* of all files */
    uint64_t processes;
    int held; /* the programs did not run after it (final checkpoint) */
    struct stint_manifest_group *groups;
    size_t ngroups;
};

/* Release what m points to (not m); m is empty afterwards. Takes half-built ones. */
void stint_manifest_deinit(struct stint_manifest *m);

/* Write manifest.yaml into the generation's directory (0600) and fsync it.
 * Returns 0, or -errno with *err set; then no manifest.yaml is there. */
int stint_manifest_write(const struct stint_manifest *m,
                         int gen_fd,
                         struct stint_err *err);

/* Read gen-NNNNNN/manifest.yaml below DIR; generation 0 means the newest committed.
 * The file is not trusted: names that lead elsewhere, wrong types, missing members,
 * duplicates, a number that is not the directory's are refused.
 * m: written on success only; stint_manifest_deinit() by the caller
 *
 * Returns 0; -ENOENT when there is no such generation; -EBADMSG when the manifest is
 * damaged; another -errno; *err is set.
 */
int stint_manifest_read(int dir_fd,
                        uint64_t generation,
                        struct stint_manifest *m,
                        struct stint_err *err);

/* The same from text in memory; `generation` is the number it must have, 0 = any. */
int stint_manifest_parse(const char *text,
                         size_t len,
                         uint64_t generation,
                         struct stint_manifest *m,
                         struct stint_err *err);

/* As JSON, for programs that read what a command prints. Returns a new reference, or
 * NULL when a text in it is no UTF-8 or memory is short. */
json_t *stint_manifest_json(const struct stint_manifest *m);

/* Find a group by name, or NULL. */
const struct stint_manifest_group *stint_manifest_group(const struct stint_manifest *m,
                                                        const char *name);

#endif
