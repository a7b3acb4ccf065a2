/* `stint verify`: read every byte of the checkpoints.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/image_read.h"
#include "common/log.h"
#include "common/manifest.h"
#include "common/timefmt.h"
#include "common/wire.h"
#include "coordinator/commands.h"

static const char help_text[] =
    "usage: stint verify [--generation N] [--json] DIR\n"
    "\n"
    "Reads all files of the checkpoints in DIR and compares every part with its "
    "checksum.\n"
    "\n"
    "options:\n"
    "  -g, --generation N   only this one\n"
    "      --json           an array with one object per checkpoint: generation, ok, "
    "bytes,\n"
    "                       files, error\n"
    "  -h, --help\n"
    "\n"
    "exit status: 0 all are good; 1 one is damaged (which, and where, is said), or "
    "there is\n"
    "             none; 2 usage\n"
    "\n"
    "example: stint verify --generation 12 /scratch/me/job7\n";

static const struct option options[] = {
    {"generation", required_argument, NULL, 'g'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static enum stint_image_kind kind_of(const char *kind)
{
    if (strcmp(kind, "group") == 0)
        return STINT_IMAGE_GROUP;
    return strcmp(kind, "shared") == 0 ? STINT_IMAGE_SHARED : STINT_IMAGE_PROCESS;
}

static int check_identity(const struct stint_manifest *m,
                          const struct stint_manifest_file *f,
                          const struct stint_image *image,
                          struct stint_err *err)
{
    char id[33];

    for (int i = 0; i < 16; i++)
        snprintf(id + 2 * i, 3, "%02x", image->header.gen_id[i]);
    if (strcmp(id, m->gen_id) != 0 || image->header.generation != m->generation)
        return stint_err_set(err, -EBADMSG, "%s belongs to another generation.",
                             f->name);
    if (image->header.header_xxh3 != f->xxh3 || image->header.file_len != f->bytes)
        return stint_err_set(err, -EBADMSG, "%s is not the file that was committed.",
                             f->name);
    return 0;
}

static int verify_file(int gen_fd,
                       const struct stint_manifest *m,
                       const struct stint_manifest_file *f,
                       struct stint_err *err)
{
    struct stint_image *image = NULL;
    int ret = stint_image_open(&image, gen_fd, f->name, kind_of(f->kind), err);

    if (ret == 0)
        ret = check_identity(m, f, image, err);
    if (ret == 0)
        ret = stint_image_verify(image, err);
    stint_image_close(image);
    return ret;
}

static int verify_files(int dir_fd,
                        const struct stint_manifest *m,
                        size_t *files,
                        struct stint_err *err)
{
    char name[STINT_GENERATION_NAME_MAX];
    STINT_AUTO_CLOSE int gen_fd = -1;

    stint_generation_name(m->generation, 0, name);
    gen_fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (gen_fd < 0)
        return stint_err_set(err, -errno, "open it");
    for (size_t i = 0; i < m->ngroups; i++)
        for (size_t k = 0; k < m->groups[i].nfiles; k++) {
            int ret = verify_file(gen_fd, m, &m->groups[i].files[k], err);

            if (ret < 0)
                return ret;
            (*files)++;
        }
    return 0;
}

/* is_listed: it was there a moment ago */
static int verify_one(int dir_fd, uint64_t generation, int is_listed, json_t *out)
{
    char name[STINT_GENERATION_NAME_MAX], size[STINT_SIZE_TEXT_MAX];
    struct stint_manifest m = {0};
    struct stint_err err = {0};
    size_t files = 0;
    int ret;

    ret = stint_manifest_read(dir_fd, generation, &m, &err);
    if (ret == 0) {
        ret = verify_files(dir_fd, &m, &files, &err);
        if (ret < 0)
            (void)stint_err_prefix(&err, "%s",
                                   stint_generation_name(generation, 0, name));
    }
    if (ret < 0 && is_listed && command_generation_is_gone(dir_fd, generation)) {
        stint_manifest_deinit(&m);
        return 0;
    }
    if (ret < 0)
        stint_error("%s", err.text);
    if (out)
        (void)json_array_append_new(
            out,
            json_pack("{s:I, s:b, s:I, s:I, s:o}", "generation", (json_int_t)generation,
                      "ok", ret == 0, "bytes", (json_int_t)m.bytes, "files",
                      (json_int_t)files, "error", stint_json_text(err.text)));
    else if (ret == 0)
        printf("%s: good (%zu files, %s)\n", stint_generation_name(generation, 0, name),
               files, stint_size_format(m.bytes, size));
    stint_manifest_deinit(&m);
    return ret;
}

static int verify(const char *argument, uint64_t only, json_t *out)
{
    STINT_AUTO_FREE uint64_t *numbers = NULL;
    STINT_AUTO_CLOSE int fd = -1;
    int status = STINT_EXIT_OK;
    struct stint_err err;
    size_t count = 0;
    int ret;

    ret = command_open(argument, &fd, NULL, &err);
    if (ret == 0 && !only)
        ret = stint_dir_list(fd, &numbers, &count, &err);
    if (ret == 0 && !only && count == 0)
        ret = stint_err_set(&err, -ENOENT, "there is no checkpoint in %s.", argument);
    if (ret < 0) {
        stint_error("%s", err.text);
        return STINT_EXIT_FAILED;
    }
    if (only)
        return verify_one(fd, only, 0, out) < 0 ? STINT_EXIT_FAILED : STINT_EXIT_OK;
    for (size_t i = 0; i < count; i++)
        if (verify_one(fd, numbers[i], 1, out) < 0)
            status = STINT_EXIT_FAILED;
    return status;
}

struct request {
    uint64_t only; /* 0: all */
    bool json;
};

static int take(int option, const char *value, void *arg, struct stint_err *err)
{
    struct request *request = arg;

    if (option == 'g')
        return command_generation(value, &request->only, err);
    request->json = true;
    return 0;
}

int cmd_verify(int argc, char **argv)
{
    static const struct command_line line
        = {"verify", help_text, ":g:h", options, take};
    struct request request = {0};
    json_t *out = NULL;
    struct stint_err err;
    int status = command_options(&line, argc, argv, &request, &err);

    if (status >= 0)
        return status;
    if (optind + 1 != argc)
        return command_usage("verify", "%s",
                             optind < argc ? "only one DIR at a time" : "which DIR?");
    if (request.json)
        out = json_array();
    status = verify(argv[optind], request.only, out);
    if (request.json) {
        (void)json_dumpf(out, stdout,
                         JSON_INDENT(2)); /* main() looks at stdout's state */
        putchar('\n');
        json_decref(out);
    }
    return status;
}
