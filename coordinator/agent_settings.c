/* DIR/config.yaml.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/agent_settings.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/dir.h"
#include "common/timefmt.h"
#include "common/wire.h"
#include "common/yaml.h"

#define FILE_NAME "config.yaml"
#define TEMP_NAME "config.yaml.tmp"
#define MAX_BYTES 16384
#define KEEP_MAX  1000000

void agent_settings_init(struct agent_settings *settings)
{
    const char *sockets = getenv(AGENT_POLICY_VARIABLE);

    *settings = (struct agent_settings){.keep = STINT_KEEP_DEFAULT};
    if (sockets)
        snprintf(settings->sockets, sizeof(settings->sockets), "%s", sockets);
}

static int parse(const char *text, size_t len, struct agent_settings *settings,
                 struct stint_err *err)
{
    uint64_t interval, keep;
    const char *sockets, *save;
    json_t *value = NULL;
    int ret = stint_yaml_load(text, len, &value, err);

    if (ret < 0)
        return ret;
    if (!json_is_object(value)
        || stint_yaml_uint(value, "interval", STINT_DURATION_MAX, &interval) < 0
        || stint_yaml_uint(value, "keep", KEEP_MAX, &keep) < 0 || keep == 0) {
        ret = stint_err_set(err, -EBADMSG, "not what stint writes there.");
    } else {
        settings->interval_s = (uint32_t)interval;
        settings->keep = (unsigned)keep;
        settings->ignore_unsupported
            = strcmp(stint_json_string(value, "on_unsupported", ""), "ignore") == 0;
        sockets = stint_json_string(value, "sockets", "");
        if (sockets[0])
            snprintf(settings->sockets, sizeof(settings->sockets), "%s", sockets);
        save = stint_json_string(value, "save_files", "");
        snprintf(settings->save_files, sizeof(settings->save_files), "%s", save);
    }
    json_decref(value);
    return ret;
}

int agent_settings_read(int dir_fd, struct agent_settings *settings, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = openat(dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char text[MAX_BYTES];
    ssize_t n;

    agent_settings_init(settings);
    if (fd < 0 && errno == ENOENT)
        return 0;
    n = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (n < 0)
        return stint_err_set(err, -errno, "read " FILE_NAME);
    if (parse(text, (size_t)n, settings, err) < 0)
        return stint_err_prefix(err, FILE_NAME);
    return 0;
}

static int write_text(int dir_fd, const char *text, size_t len, struct stint_err *err)
{
    STINT_AUTO_CLOSE int fd = openat(
        dir_fd, TEMP_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || write(fd, text, len) != (ssize_t)len || fsync(fd) < 0
        || renameat(dir_fd, TEMP_NAME, dir_fd, FILE_NAME) < 0)
        return stint_err_set(err, -errno, "write " FILE_NAME);
    return 0;
}

int agent_settings_write(int dir_fd, const struct agent_settings *settings,
                         struct stint_err *err)
{
    STINT_AUTO_FREE char *text = NULL;
    char interval[16], keep[16];
    json_t *value;
    size_t len;
    int ret;

    snprintf(interval, sizeof(interval), "%u", settings->interval_s);
    snprintf(keep, sizeof(keep), "%u", settings->keep);
    value = json_pack("{s:s, s:s, s:s, s:s, s:s}", "interval", interval, "keep", keep,
                      "on_unsupported", settings->ignore_unsupported ? "ignore" : "refuse",
                      "sockets", settings->sockets, "save_files", settings->save_files);
    if (!value)
        return stint_err_set(err, -ENOMEM, "write " FILE_NAME);
    ret = stint_yaml_dump(value, &text, &len, err);
    json_decref(value);
    return ret < 0 ? ret : write_text(dir_fd, text, len, err);
}

char *const *agent_settings_args(const struct agent_settings *settings,
                                 struct agent_settings_args *args)
{
    size_t n = 0;

    snprintf(args->interval, sizeof(args->interval), "%u", settings->interval_s);
    snprintf(args->keep, sizeof(args->keep), "%u", settings->keep);
    snprintf(args->unsupported, sizeof(args->unsupported), "--on-unsupported=%s",
             settings->ignore_unsupported ? "ignore" : "refuse");
    args->list[n++] = (char *)"--interval";
    args->list[n++] = args->interval;
    args->list[n++] = (char *)"--keep";
    args->list[n++] = args->keep;
    args->list[n++] = args->unsupported;
    snprintf(args->sockets, sizeof(args->sockets), "--sockets=%s", settings->sockets);
    args->list[n++] = args->sockets;
    if (settings->save_files[0]) {
        snprintf(args->save_files, sizeof(args->save_files), "--save-files=%s",
                 settings->save_files);
        args->list[n++] = args->save_files;
    }
    args->list[n] = NULL;
    return args->list;
}

int agent_settings_interval(struct agent_settings *settings, const char *text,
                            struct stint_err *err)
{
    return stint_duration_parse(text, &settings->interval_s, err);
}

int agent_settings_keep(struct agent_settings *settings, const char *text,
                        struct stint_err *err)
{
    size_t len = strlen(text);
    unsigned long value = strtoul(text, NULL, 10);

    if (len == 0 || len > 7 || strspn(text, "0123456789") != len || value == 0
        || value > KEEP_MAX)
        return stint_err_set(err, -EINVAL, "--keep wants a number from 1 on, not '%s'.",
                             text);
    settings->keep = (unsigned)value;
    return 0;
}

int agent_settings_unsupported(struct agent_settings *settings, const char *text,
                               struct stint_err *err)
{
    if (strcmp(text, "refuse") != 0 && strcmp(text, "ignore") != 0)
        return stint_err_set(err, -EINVAL, "--on-unsupported is refuse or ignore, not '%s'.",
                             text);
    settings->ignore_unsupported = strcmp(text, "ignore") == 0;
    return 0;
}

int agent_settings_sockets(struct agent_settings *settings, const char *text,
                           struct stint_err *err)
{
    int ret = agent_policy_check(text, err);

    if (ret == 0)
        snprintf(settings->sockets, sizeof(settings->sockets), "%s", text);
    return ret;
}

/* A directory's name as a pattern that matches it. */
static void put_literally(FILE *out, const char *dir)
{
    for (; *dir; dir++) {
        if (strchr("*?[\\", *dir))
            fputc('\\', out);
        fputc(*dir == ':' ? '?' : *dir, out);
    }
    fputc('/', out);
}

static int put_pattern(FILE *out, const char *pattern, size_t len, struct stint_err *err)
{
    const char *home = getenv("HOME");
    STINT_AUTO_FREE char *cwd = NULL;

    if (len > 1 && strncmp(pattern, "~/", 2) == 0 && home && home[0] == '/') {
        put_literally(out, home);
        pattern += 2;
        len -= 2;
    } else if (pattern[0] != '/') {
        cwd = getcwd(NULL, 0);
        if (!cwd)
            return stint_err_set(err, -errno, "find the working directory");
        put_literally(out, cwd);
    }
    fwrite(pattern, 1, len, out);
    return 0;
}

int agent_settings_add_patterns(char *list, size_t size, const char *text,
                                struct stint_err *err)
{
    STINT_AUTO_FREE char *all = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&all, &len);
    int ret = 0;

    if (!out)
        return stint_err_set(err, -ENOMEM, "--save-files");
    fputs(list, out);
    for (const char *at = text; ret == 0 && *at; at += *at == ':') {
        size_t part = strcspn(at, ":");

        if (part > 0 && ftell(out) > 0)
            fputc(':', out);
        if (part > 0)
            ret = put_pattern(out, at, part, err);
        at += part;
    }
    if (fclose(out) != 0)
        return stint_err_set(err, -ENOMEM, "--save-files");
    if (ret == 0 && len == 0)
        return stint_err_set(err, -EINVAL, "--save-files wants a pattern.");
    if (ret == 0 && len >= size)
        return stint_err_set(err, -EINVAL, "--save-files takes %zu bytes.", size - 1);
    if (ret == 0)
        memcpy(list, all, len + 1);
    return ret;
}

int agent_settings_save_files(struct agent_settings *settings, const char *text,
                              struct stint_err *err)
{
    return agent_settings_add_patterns(settings->save_files, sizeof(settings->save_files), text,
                                       err);
}

int agent_settings_output(const char *text, bool *keep, struct stint_err *err)
{
    if (strcmp(text, "cut") != 0 && strcmp(text, "keep") != 0)
        return stint_err_set(err, -EINVAL, "--output is cut or keep, not '%s'.", text);
    *keep = strcmp(text, "keep") == 0;
    return 0;
}

bool agent_settings_output_default(void)
{
    const char *text = getenv("STINT_OUTPUT");

    return text && strcmp(text, "keep") == 0;
}
