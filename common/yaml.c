/* YAML files as JSON values.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/yaml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "common/cleanup.h"

#define DEPTH_MAX 12

struct loader {
    yaml_parser_t parser;
    struct stint_err *err;
};

static int refuse(struct loader *l, const yaml_mark_t *mark, const char *why)
{
    return stint_err_set(l->err, -EBADMSG, "line %zu: %s.", mark->line + 1, why);
}

static int next_event(struct loader *l, yaml_event_t *event)
{
    if (yaml_parser_parse(&l->parser, event))
        return 0;
    if (l->parser.error == YAML_MEMORY_ERROR)
        return stint_err_set(l->err, -ENOMEM, "read YAML");
    return refuse(l, &l->parser.problem_mark,
                  l->parser.problem ? l->parser.problem : "no YAML");
}

static int load_value(struct loader *l, yaml_event_t *event, int depth, json_t **value);

static int load_sequence(struct loader *l, int depth, json_t **value)
{
    json_t *list = json_array();
    int ret = list ? 0 : stint_err_set(l->err, -ENOMEM, "read YAML");

    while (ret == 0) {
        yaml_event_t event;
        json_t *item = NULL;

        ret = next_event(l, &event);
        if (ret < 0)
            break;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            *value = list;
            return 0;
        }
        ret = load_value(l, &event, depth, &item);
        yaml_event_delete(&event);
        if (ret == 0 && json_array_append_new(list, item) < 0)
            ret = stint_err_set(l->err, -ENOMEM, "read YAML");
    }
    json_decref(list);
    return ret;
}

/* One "key: value"; *end says that the mapping ended instead. */
static int load_member(struct loader *l, int depth, json_t *object, int *end)
{
    yaml_event_t key, event;
    json_t *value = NULL;
    int ret = next_event(l, &key);

    if (ret < 0)
        return ret;
    *end = key.type == YAML_MAPPING_END_EVENT;
    if (*end) {
        yaml_event_delete(&key);
        return 0;
    }
    if (key.type != YAML_SCALAR_EVENT || key.data.scalar.anchor || key.data.scalar.tag
        || strlen((char *)key.data.scalar.value) != key.data.scalar.length)
        ret = refuse(l, &key.start_mark, "a key that is no plain text");
    else if (json_object_get(object, (char *)key.data.scalar.value))
        ret = refuse(l, &key.start_mark, "a key that is there twice");
    if (ret == 0)
        ret = next_event(l, &event);
    if (ret == 0) {
        ret = load_value(l, &event, depth, &value);
        yaml_event_delete(&event);
    }
    if (ret == 0
        && json_object_set_new(object, (char *)key.data.scalar.value, value) < 0)
        ret = refuse(l, &key.start_mark, "a key that cannot be used");
    yaml_event_delete(&key);
    return ret;
}

static int load_mapping(struct loader *l, int depth, json_t **value)
{
    json_t *object = json_object();
    int ret = object ? 0 : stint_err_set(l->err, -ENOMEM, "read YAML");

    while (ret == 0) {
        int end = 0;

        ret = load_member(l, depth, object, &end);
        if (ret == 0 && end) {
            *value = object;
            return 0;
        }
    }
    json_decref(object);
    return ret;
}

static int load_scalar(struct loader *l, const yaml_event_t *event, json_t **value)
{
    const char *text = (const char *)event->data.scalar.value;

    if (event->data.scalar.anchor || event->data.scalar.tag)
        return refuse(l, &event->start_mark, "anchors and tags are not used here");
    if (strlen(text) != event->data.scalar.length)
        return refuse(l, &event->start_mark, "text with a NUL byte");
    *value = json_string(text);
    if (!*value)
        return refuse(l, &event->start_mark, "text that is no UTF-8");
    return 0;
}

static int load_value(struct loader *l, yaml_event_t *event, int depth, json_t **value)
{
    if (depth == 0)
        return refuse(l, &event->start_mark, "nested too deeply");
    if (event->type == YAML_SCALAR_EVENT)
        return load_scalar(l, event, value);
    if (event->type == YAML_SEQUENCE_START_EVENT && !event->data.sequence_start.anchor
        && !event->data.sequence_start.tag)
        return load_sequence(l, depth - 1, value);
    if (event->type == YAML_MAPPING_START_EVENT && !event->data.mapping_start.anchor
        && !event->data.mapping_start.tag)
        return load_mapping(l, depth - 1, value);
    return refuse(l, &event->start_mark, "aliases, anchors and tags are not used here");
}

static int expect(struct loader *l, yaml_event_type_t type, const char *why)
{
    yaml_event_t event;
    int ret = next_event(l, &event);

    if (ret < 0)
        return ret;
    if (event.type != type)
        ret = refuse(l, &event.start_mark, why);
    yaml_event_delete(&event);
    return ret;
}

static int load_document(struct loader *l, json_t **value)
{
    yaml_event_t event;
    json_t *loaded = NULL;
    int ret;

    ret = expect(l, YAML_STREAM_START_EVENT, "no YAML");
    if (ret == 0)
        ret = expect(l, YAML_DOCUMENT_START_EVENT, "empty");
    if (ret == 0)
        ret = next_event(l, &event);
    if (ret < 0)
        return ret;
    ret = load_value(l, &event, DEPTH_MAX, &loaded);
    yaml_event_delete(&event);
    if (ret == 0)
        ret = expect(l, YAML_DOCUMENT_END_EVENT, "no end");
    if (ret == 0)
        ret = expect(l, YAML_STREAM_END_EVENT, "more than one document");
    if (ret < 0) {
        json_decref(loaded);
        return ret;
    }
    *value = loaded;
    return 0;
}

int stint_yaml_load(const char *text, size_t len, json_t **value, struct stint_err *err)
{
    struct loader l = {.err = err};
    int ret;

    if (!yaml_parser_initialize(&l.parser))
        return stint_err_set(err, -ENOMEM, "read YAML");
    yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l.parser, (const unsigned char *)text, len);
    ret = load_document(&l, value);
    yaml_parser_delete(&l.parser);
    return ret;
}

static int emit_scalar(yaml_emitter_t *e, const char *text, yaml_scalar_style_t style)
{
    yaml_event_t event;

    return yaml_scalar_event_initialize(&event, NULL, NULL, (yaml_char_t *)text,
                                        (int)strlen(text), 1, 1, style)
           && yaml_emitter_emit(e, &event);
}

static int emit_value(yaml_emitter_t *e, const json_t *value);

static int emit_object(yaml_emitter_t *e, const json_t *value)
{
    yaml_event_t event;
    const char *key;
    json_t *member;

    if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                             YAML_BLOCK_MAPPING_STYLE)
        || !yaml_emitter_emit(e, &event))
        return 0;
    json_object_foreach((json_t *)value, key, member)
    {
        if (!emit_scalar(e, key, YAML_PLAIN_SCALAR_STYLE) || !emit_value(e, member))
            return 0;
    }
    return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(e, &event);
}

static int emit_array(yaml_emitter_t *e, const json_t *value)
{
    yaml_event_t event;
    size_t index;
    json_t *item;

    if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
                                              YAML_BLOCK_SEQUENCE_STYLE)
        || !yaml_emitter_emit(e, &event))
        return 0;
    json_array_foreach(value, index, item)
    {
        if (!emit_value(e, item))
            return 0;
    }
    return yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(e, &event);
}

static int emit_value(yaml_emitter_t *e, const json_t *value)
{
    char number[32];

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return emit_object(e, value);
    case JSON_ARRAY:
        return emit_array(e, value);
    case JSON_STRING:
        return emit_scalar(e, json_string_value(value),
                           YAML_DOUBLE_QUOTED_SCALAR_STYLE);
    case JSON_INTEGER:
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
                 json_integer_value(value));
        return emit_scalar(e, number, YAML_PLAIN_SCALAR_STYLE);
    case JSON_TRUE:
        return emit_scalar(e, "true", YAML_PLAIN_SCALAR_STYLE);
    case JSON_FALSE:
        return emit_scalar(e, "false", YAML_PLAIN_SCALAR_STYLE);
    case JSON_REAL:
    case JSON_NULL:
    default:
        return 0; /* not used in stint's files */
    }
}

static int append_text(void *data, unsigned char *buffer, size_t size)
{
    return fwrite(buffer, 1, size, data) == size;
}

static int emit_document(yaml_emitter_t *e, const json_t *value)
{
    yaml_event_t event;

    return yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)
           && yaml_emitter_emit(e, &event)
           && yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1)
           && yaml_emitter_emit(e, &event) && emit_value(e, value)
           && yaml_document_end_event_initialize(&event, 1)
           && yaml_emitter_emit(e, &event) && yaml_stream_end_event_initialize(&event)
           && yaml_emitter_emit(e, &event);
}

int stint_yaml_dump(const json_t *value,
                    char **text,
                    size_t *len,
                    struct stint_err *err)
{
    yaml_emitter_t emitter;
    char *buffer = NULL;
    size_t size = 0;
    FILE *out;
    int ok;

    out = open_memstream(&buffer, &size);
    if (!out || !yaml_emitter_initialize(&emitter)) {
        if (out)
            (void)fclose(out); /* in memory */
        free(buffer);
        return stint_err_set(err, -ENOMEM, "write YAML");
    }
    yaml_emitter_set_output(&emitter, append_text, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    ok = emit_document(&emitter, value);
    yaml_emitter_delete(&emitter);
    if (fclose(out) != 0 || !ok) {
        free(buffer);
        return stint_err_set(err, -EINVAL, "a value that cannot be written as YAML.");
    }
    *text = buffer;
    *len = size;
    return 0;
}

int stint_yaml_uint(const json_t *object,
                    const char *name,
                    uint64_t max,
                    uint64_t *value)
{
    const char *text = json_string_value(json_object_get(object, name));
    uint64_t sum = 0;

    if (!text || !*text)
        return -EINVAL;
    for (; *text; text++) {
        unsigned digit = (unsigned)(*text - '0');

        if (*text < '0' || *text > '9' || sum > (UINT64_MAX - digit) / 10)
            return -EINVAL;
        sum = sum * 10 + digit;
    }
    if (sum > max)
        return -EINVAL;
    *value = sum;
    return 0;
}
