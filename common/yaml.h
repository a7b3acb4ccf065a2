/* YAML files as JSON values: the small part of YAML that stint writes.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef STINT_COMMON_YAML_H
#define STINT_COMMON_YAML_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Read one document. Every scalar becomes a string: the reader's schema says what is a
 * number. Anchors, aliases, tags, duplicate keys, more than one document and deep
 * nesting are refused: the text is not trusted.
 *
 * value: json_decref() by the caller
 *
 * Returns 0, or -EBADMSG or -ENOMEM with *err set (with the line number).
 */
int stint_yaml_load(const char *text,
                    size_t len,
                    json_t **value,
                    struct stint_err *err);

/* Write a value; strings are quoted, the order of members is kept.
 *
 * text: NUL-terminated, freed by the caller
 *
 * Returns 0, or -EINVAL or -ENOMEM with *err set.
 */
int stint_yaml_dump(const json_t *value,
                    char **text,
                    size_t *len,
                    struct stint_err *err);

/* Unsigned number in a string member. Returns 0, or -EINVAL when the member is missing
 * or no decimal number within [0, max]. */
int stint_yaml_uint(const json_t *object,
                    const char *name,
                    uint64_t max,
                    uint64_t *value);

#endif
