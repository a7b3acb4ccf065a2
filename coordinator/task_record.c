/* DIR/task.json: what one run of a Slurm task leaves to the next.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/task_record.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"

#define RECORD_NAME      "task.json"
#define RECORD_TEMPORARY "task.json.tmp"

int task_record_read(int dir_fd, struct task_record *record, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = openat(dir_fd, RECORD_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    json_error_t error;

    record->root = NULL;
    if (fd < 0 && errno != ENOENT)
        return stint_err_set(err, -errno, "open " RECORD_NAME);
    if (fd < 0) {
        record->root = json_pack("{s:i, s:[]}", "version", 1, "scripts");
        return record->root ? 0 : stint_err_set(err, -ENOMEM, RECORD_NAME);
    }
    record->root = json_loadfd(fd, 0, &error);
    if (!json_is_object(record->root) ||
        !json_is_array(json_object_get(record->root, "scripts"))) {
        task_record_deinit(record);
        return stint_err_set(err, -EBADMSG, RECORD_NAME " is damaged: %s.", error.text);
    }
    return 0;
}

int task_record_write(int dir_fd, const struct task_record *record, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd =
        openat(dir_fd, RECORD_TEMPORARY,
               O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0 || json_dumpfd(record->root, fd, JSON_INDENT(1)) != 0 || fsync(fd) != 0 ||
        renameat(dir_fd, RECORD_TEMPORARY, dir_fd, RECORD_NAME) != 0)
        return stint_err_set(err, errno ? -errno : -EIO, "write " RECORD_NAME);
    return 0;
}

void task_record_deinit(struct task_record *record)
{
    json_decref(record->root);
    record->root = NULL;
}

void task_record_outputs(struct task_record *record)
{
    json_t *list = json_array();
    struct stat st;

    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
            json_array_append_new(list, json_pack("{s:i, s:I, s:I}", "fd", fd, "inode",
                                                  (json_int_t)st.st_ino, "size",
                                                  (json_int_t)st.st_size));
    json_object_set_new(record->root, "outputs", list);
}

void task_record_cut_outputs(const struct task_record *record)
{
    size_t i;
    json_t *output;

    json_array_foreach(json_object_get(record->root, "outputs"), i, output)
    {
        int fd = (int)json_integer_value(json_object_get(output, "fd"));
        json_int_t size = json_integer_value(json_object_get(output, "size"));
        struct stat st;

        if (fd < STDOUT_FILENO || fd > STDERR_FILENO || fstat(fd, &st) != 0 ||
            !S_ISREG(st.st_mode) || st.st_size <= size ||
            (json_int_t)st.st_ino != json_integer_value(json_object_get(output, "inode")))
            continue;
        if (ftruncate(fd, size) != 0)
            continue; /* then something appears twice, which is no reason to stop */
        (void)lseek(fd, size, SEEK_SET);
    }
}

void task_record_set_node(struct task_record *record, uint64_t run, const char *node)
{
    json_t *nodes = json_object_get(record->root, "nodes");
    char key[24];

    if (!json_is_object(nodes)) {
        nodes = json_object();
        json_object_set_new(record->root, "nodes", nodes);
    }
    snprintf(key, sizeof(key), "%llu", (unsigned long long)run);
    json_object_set_new(nodes, key, json_string(node));
}

const char *task_record_node(const struct task_record *record, uint64_t run)
{
    char key[24];

    snprintf(key, sizeof(key), "%llu", (unsigned long long)run);
    return json_string_value(json_object_get(json_object_get(record->root, "nodes"), key));
}

void task_record_add_script(struct task_record *record, const char *path)
{
    json_t *scripts = json_object_get(record->root, "scripts"), *script;
    size_t i;

    json_array_foreach(scripts, i, script)
    {
        if (strcmp(path, json_string_value(script) ?: "") == 0)
            return;
    }
    json_array_append_new(scripts, json_string(path));
}

void task_record_merge_scripts(struct task_record *record,
                               const struct task_record *other)
{
    json_t *script;
    size_t i;

    json_array_foreach(json_object_get(other->root, "scripts"), i, script)
    {
        if (json_is_string(script))
            task_record_add_script(record, json_string_value(script));
    }
}

char *task_record_path_map(const struct task_record *record, const char *path)
{
    char *map = NULL;
    size_t i, len;
    FILE *out = open_memstream(&map, &len);
    json_t *script;

    if (!out)
        return NULL;
    json_array_foreach(json_object_get(record->root, "scripts"), i, script)
    {
        const char *old = json_string_value(script);

        if (old && strcmp(old, path) != 0)
            fprintf(out, "%s=%s\n", old, path);
    }
    if (fclose(out) != 0 || len == 0) {
        free(map);
        return NULL;
    }
    return map;
}

int task_record_copy_script(int dir_fd, const char *from, struct stint_err *err)
{
    STINT_AUTO_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
    STINT_AUTO_CLOSE int out = -1;
    char buf[65536];
    ssize_t n;

    if (in < 0)
        return stint_err_set(err, -errno, "open %s", from);
    out = openat(dir_fd, TASK_RECORD_SCRIPT,
                 O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0700);
    if (out < 0)
        return stint_err_set(err, -errno, "create " TASK_RECORD_SCRIPT);
    while ((n = read(in, buf, sizeof(buf))) > 0)
        for (ssize_t done = 0, w; done < n; done += w)
            if ((w = write(out, buf + done, (size_t)(n - done))) < 0)
                return stint_err_set(err, -errno, "write " TASK_RECORD_SCRIPT);
    if (n < 0 || fsync(out) != 0)
        return stint_err_set(err, -errno, "copy %s", from);
    return 0;
}
