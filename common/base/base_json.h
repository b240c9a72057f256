/* SPDX-License-Identifier: Apache-2.0 */
/* JSON from strangers, strictly: parsing with bounds, then typed getters that collect every wrong
 * field instead of stopping at the first; and writing of JSON text straight into a buffer. Reads
 * through jansson. One thread per object. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base_buf.h"
#include "base_err.h"

#include <jansson.h>

/* Parses one JSON text of at most `max_len` bytes: duplicate names, trailing text, NUL, bad UTF-8
 * and nesting deeper than `max_depth` (checked before jansson sees it) are BASE_INVALID; longer is
 * BASE_TOO_LARGE; BASE_NO_MEMORY says nothing about the text. The caller owns *out (json_decref),
 * which may be any value: ask json_is_object() first. *why is a static sentence. */
enum base_err base_json_parse(struct base_span text, size_t max_len, unsigned max_depth,
                              json_t **out, const char **why) BASE_MUST_USE;

/* A field that is wrong, and what it should be. */
struct base_json_error {
    char field[96]; /* "expires_at", "scopes[2]" */
    char message[192];
};

#define BASE_JSON_MAX_ERRORS 32
struct base_json_errors {
    size_t count;
    struct base_json_error items[BASE_JSON_MAX_ERRORS]; /* more are counted, not kept */
};
void base_json_error_add(struct base_json_errors *errors, const char *field, const char *fmt, ...)
    BASE_PRINTF(3, 4);

/* Getters over an object. Each says what was there: absent, JSON null, or a value of the right type
 * and size in *out. A wrong type or size adds an error and answers BASE_JSON_WRONG. Members never
 * asked for are unknown: base_json_reader_unknown() names the first of them. So is every one after
 * the thirty-second that is asked for. */
struct base_json_reader {
    json_t *object;
    struct base_json_errors *errors;
    const char *asked[32];
    size_t n_asked;
};
enum base_json_got { BASE_JSON_ABSENT, BASE_JSON_NULL, BASE_JSON_VALUE, BASE_JSON_WRONG };

/* `object` must be a JSON object and outlive the reader. */
void base_json_reader_init(struct base_json_reader *reader, json_t *object,
                           struct base_json_errors *errors);
/* Spans point into the object. Lengths in characters (code points), as JSON Schema counts them. */
enum base_json_got base_json_get_string(struct base_json_reader *reader, const char *name,
                                        size_t min_len, size_t max_len, struct base_span *out);
enum base_json_got base_json_get_bool(struct base_json_reader *reader, const char *name, bool *out);
enum base_json_got base_json_get_int(struct base_json_reader *reader, const char *name, int64_t min,
                                     int64_t max, int64_t *out);
enum base_json_got base_json_get_time(struct base_json_reader *reader, const char *name,
                                      int64_t *out_us);
enum base_json_got base_json_get_array(struct base_json_reader *reader, const char *name,
                                       size_t max_items, json_t **out); /* borrowed */
enum base_json_got base_json_get_object(struct base_json_reader *reader, const char *name,
                                        json_t **out); /* borrowed */
const char *base_json_reader_unknown(struct base_json_reader *reader);

/* Writing. Strings are escaped as RFC 8259 §7 asks, and `<`, `>`, `&`, C1 controls, U+2028
 * and U+2029 too, so that the text is safe wherever it is pasted; they must be valid UTF-8. */
void base_json_put_string(struct base_buf *buf, struct base_span text); /* with its quotes */
/* ,"name": with the comma left out after `{`, `[` or at the start. */
void base_json_put_name(struct base_buf *buf, const char *name);
void base_json_put_member_string(struct base_buf *buf, const char *name, struct base_span text);
void base_json_put_member_int(struct base_buf *buf, const char *name, int64_t value);
void base_json_put_member_bool(struct base_buf *buf, const char *name, bool value);
void base_json_put_member_null(struct base_buf *buf, const char *name);
/* RFC 3339 in UTC, whole seconds. */
void base_json_put_member_time(struct base_buf *buf, const char *name, int64_t wall_us);
/* The text of a jansson value, compact, member order kept. */
enum base_err base_json_put_value(struct base_buf *buf, const json_t *value) BASE_MUST_USE;

#endif
