/* SPDX-License-Identifier: Apache-2.0 */
/* Reading JSON that a stranger wrote, and writing JSON that anybody may read. */
#include "base_json.h"

#include "base_attr.h"
#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Values of our own making are never this deep; a loop in them would be. */
#define MAX_WRITE_DEPTH 64

/* jansson recurses up to 2,048 levels of a stranger's choosing, so the brackets are counted first.
 * Text that is no JSON is for jansson to refuse. */
static bool nests_deeper(struct base_span text, unsigned max_depth)
{
    unsigned depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > max_depth)
                return true;
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        }
    }
    return false;
}

static const char *why_refused(const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_duplicate_key:
        return "a member name occurs twice";
    case json_error_end_of_input_expected:
        return "there is text after the JSON value";
    case json_error_premature_end_of_input:
        return "the JSON text ends too early";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "a string contains NUL";
    case json_error_numeric_overflow:
        return "a number is too large";
    default:
        return "the text is not JSON";
    }
}

enum base_err base_json_parse(struct base_span text, size_t max_len, unsigned max_depth,
                              json_t **out, const char **why)
{
    uint64_t failures = base_mem_failures();
    json_error_t error;

    *out = NULL;
    *why = "";
    if (text.len > max_len) {
        *why = "the JSON text is too long";
        return BASE_TOO_LARGE;
    }
    if (!base_utf8_valid(text)) {
        *why = "the text is not UTF-8 or contains NUL";
        return BASE_INVALID;
    }
    if (nests_deeper(text, max_depth)) {
        *why = "the JSON text is nested too deeply";
        return BASE_INVALID;
    }
    *out = json_loadb(text.len ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
                      &error);
    if (base_mem_failures() != failures) {
        json_decref(*out); /* it may lack what there was no memory for */
        *out = NULL;
        *why = "there was no memory to read the JSON text";
        return BASE_NO_MEMORY;
    }
    if (*out)
        return BASE_OK;
    *why = why_refused(&error);
    return BASE_INVALID;
}

/* Ends `text` where a character ends, after snprintf() has cut it anywhere. */
static void trim_cut_character(char *text)
{
    size_t len = strlen(text);
    size_t start = len;

    while (start > 0 && len - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0 &&
        !base_utf8_valid(base_span_of(text + start - 1, len - start + 1)))
        text[start - 1] = '\0';
}

void base_json_error_add(struct base_json_errors *errors, const char *field, const char *fmt, ...)
{
    struct base_json_error *item;
    va_list args;

    if (errors->count++ >= BASE_JSON_MAX_ERRORS)
        return;
    item = &errors->items[errors->count - 1];
    (void)snprintf(item->field, sizeof item->field, "%s", field);
    trim_cut_character(item->field);
    va_start(args, fmt);
    (void)vsnprintf(item->message, sizeof item->message, fmt, args);
    va_end(args);
    trim_cut_character(item->message);
}

void base_json_reader_init(struct base_json_reader *reader, json_t *object,
                           struct base_json_errors *errors)
{
    assert(json_is_object(object));
    *reader = (struct base_json_reader){.object = object, .errors = errors};
}

static enum base_json_got look_up(struct base_json_reader *reader, const char *name, json_t **out)
{
    if (reader->n_asked < BASE_COUNT(reader->asked))
        reader->asked[reader->n_asked++] = name;
    *out = json_object_get(reader->object, name);
    if (!*out)
        return BASE_JSON_ABSENT;
    return json_typeof(*out) == JSON_NULL ? BASE_JSON_NULL : BASE_JSON_VALUE;
}

static enum base_json_got wrong(struct base_json_reader *reader, const char *name, const char *what)
{
    base_json_error_add(reader->errors, name, "%s", what);
    return BASE_JSON_WRONG;
}

enum base_json_got base_json_get_string(struct base_json_reader *reader, const char *name,
                                        size_t min_len, size_t max_len, struct base_span *out)
{
    json_t *value;
    enum base_json_got got = look_up(reader, name, &value);
    struct base_span text;
    size_t len;

    *out = (struct base_span){0};
    if (got != BASE_JSON_VALUE)
        return got;
    if (json_typeof(value) != JSON_STRING)
        return wrong(reader, name, "must be a string");
    text = base_span_of(json_string_value(value), json_string_length(value));
    len = base_utf8_length(text);
    if (len == 0 && min_len > 0)
        return wrong(reader, name, "must not be empty");
    if (len < min_len || len > max_len) {
        base_json_error_add(reader->errors, name, "must be %zu to %zu characters long", min_len,
                            max_len);
        return BASE_JSON_WRONG;
    }
    *out = text;
    return BASE_JSON_VALUE;
}

enum base_json_got base_json_get_bool(struct base_json_reader *reader, const char *name, bool *out)
{
    json_t *value;
    enum base_json_got got = look_up(reader, name, &value);

    *out = false;
    if (got != BASE_JSON_VALUE)
        return got;
    if (json_typeof(value) != JSON_TRUE && json_typeof(value) != JSON_FALSE)
        return wrong(reader, name, "must be true or false");
    *out = json_typeof(value) == JSON_TRUE;
    return BASE_JSON_VALUE;
}

enum base_json_got base_json_get_int(struct base_json_reader *reader, const char *name, int64_t min,
                                     int64_t max, int64_t *out)
{
    json_t *value;
    enum base_json_got got = look_up(reader, name, &value);
    int64_t number;

    *out = 0;
    if (got != BASE_JSON_VALUE)
        return got;
    if (json_typeof(value) != JSON_INTEGER)
        return wrong(reader, name, "must be an integer");
    number = json_integer_value(value);
    if (number < min || number > max) {
        base_json_error_add(reader->errors, name, "must be from %" PRId64 " to %" PRId64, min, max);
        return BASE_JSON_WRONG;
    }
    *out = number;
    return BASE_JSON_VALUE;
}

enum base_json_got base_json_get_time(struct base_json_reader *reader, const char *name,
                                      int64_t *out_us)
{
    json_t *value;
    enum base_json_got got = look_up(reader, name, &value);

    *out_us = 0;
    if (got != BASE_JSON_VALUE)
        return got;
    if (json_typeof(value) != JSON_STRING ||
        base_time_parse(base_span_of(json_string_value(value), json_string_length(value)),
                        out_us) != BASE_OK)
        return wrong(reader, name,
                     "must be an RFC 3339 date and time, such as \"2027-01-01T00:00:00Z\"");
    return BASE_JSON_VALUE;
}

enum base_json_got base_json_get_array(struct base_json_reader *reader, const char *name,
                                       size_t max_items, json_t **out)
{
    json_t *value;
    enum base_json_got got = look_up(reader, name, &value);

    *out = NULL;
    if (got != BASE_JSON_VALUE)
        return got;
    if (json_typeof(value) != JSON_ARRAY)
        return wrong(reader, name, "must be an array");
    if (json_array_size(value) > max_items) {
        base_json_error_add(reader->errors, name, "must have at most %zu items", max_items);
        return BASE_JSON_WRONG;
    }
    *out = value;
    return BASE_JSON_VALUE;
}

enum base_json_got base_json_get_object(struct base_json_reader *reader, const char *name,
                                        json_t **out)
{
    json_t *value;
    enum base_json_got got = look_up(reader, name, &value);

    *out = NULL;
    if (got != BASE_JSON_VALUE)
        return got;
    if (json_typeof(value) != JSON_OBJECT)
        return wrong(reader, name, "must be an object");
    *out = value;
    return BASE_JSON_VALUE;
}

static bool was_asked(const struct base_json_reader *reader, const char *name)
{
    for (size_t i = 0; i < reader->n_asked; i++)
        if (strcmp(reader->asked[i], name) == 0)
            return true;
    return false;
}

const char *base_json_reader_unknown(struct base_json_reader *reader)
{
    json_t *object = reader->object;

    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at))
        if (!was_asked(reader, json_object_iter_key(at)))
            return json_object_iter_key(at);
    return NULL;
}

static void put_escaped(struct base_buf *buf, unsigned point)
{
    static const char digits[] = "0123456789abcdef";
    const char text[] = {
        '\\',
        'u',
        digits[point >> 12 & 15],
        digits[point >> 8 & 15],
        digits[point >> 4 & 15],
        digits[point & 15],
    };

    base_buf_put(buf, text, sizeof text);
}

static void put_ascii(struct base_buf *buf, char c)
{
    static const char shorthand[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* RFC 8259 §7: pairs of what, how */

    for (size_t i = 0; i + 1 < sizeof shorthand; i += 2)
        if (shorthand[i] == c) {
            base_buf_put_char(buf, '\\');
            base_buf_put_char(buf, shorthand[i + 1]);
            return;
        }
    put_escaped(buf, (unsigned char)c);
}

static bool is_plain_ascii(char c)
{
    return c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' && c != 0x7f;
}

/* Writes the character at `at`, which is none of the plain ones; where the next one begins. */
static size_t put_special(struct base_buf *buf, struct base_span text, size_t at)
{
    size_t next = at;
    uint32_t point;

    if ((unsigned char)text.ptr[at] < 0x80) {
        put_ascii(buf, text.ptr[at]);
        return at + 1;
    }
    point = base_utf8_next(text, &next);
    /* The C1 controls move a terminal's cursor, and U+0085 ends a line for some; a single byte was
     * not UTF-8. */
    if (point < 0xa0 || point == 0x2028 || point == 0x2029 || next - at == 1)
        put_escaped(buf, point);
    else
        base_buf_put(buf, text.ptr + at, next - at);
    return next;
}

void base_json_put_string(struct base_buf *buf, struct base_span text)
{
    size_t at = 0;

    base_buf_put_char(buf, '"');
    while (at < text.len) {
        size_t start = at;

        while (at < text.len && is_plain_ascii(text.ptr[at]))
            at++;
        base_buf_put(buf, text.ptr + start, at - start);
        if (at < text.len)
            at = put_special(buf, text, at);
    }
    base_buf_put_char(buf, '"');
}

void base_json_put_name(struct base_buf *buf, const char *name)
{
    char last = buf->len ? buf->ptr[buf->len - 1] : '{';

    if (last != '{' && last != '[')
        base_buf_put_char(buf, ',');
    base_json_put_string(buf, base_span_str(name));
    base_buf_put_char(buf, ':');
}

void base_json_put_member_string(struct base_buf *buf, const char *name, struct base_span text)
{
    base_json_put_name(buf, name);
    base_json_put_string(buf, text);
}

void base_json_put_member_int(struct base_buf *buf, const char *name, int64_t value)
{
    base_json_put_name(buf, name);
    base_buf_put_i64(buf, value);
}

void base_json_put_member_bool(struct base_buf *buf, const char *name, bool value)
{
    base_json_put_name(buf, name);
    base_buf_put_str(buf, value ? "true" : "false");
}

void base_json_put_member_null(struct base_buf *buf, const char *name)
{
    base_json_put_name(buf, name);
    BASE_BUF_LIT(buf, "null");
}

void base_json_put_member_time(struct base_buf *buf, const char *name, int64_t wall_us)
{
    char text[BASE_TIME_TEXT_MAX];

    base_time_format(wall_us, text);
    base_json_put_member_string(buf, name, base_span_str(text));
}

static enum base_err put_value(struct base_buf *buf, const json_t *value, unsigned depth);

static enum base_err put_array(struct base_buf *buf, const json_t *array, unsigned depth)
{
    enum base_err err = BASE_OK;

    base_buf_put_char(buf, '[');
    for (size_t i = 0; i < json_array_size(array) && err == BASE_OK; i++) {
        if (i > 0)
            base_buf_put_char(buf, ',');
        err = put_value(buf, json_array_get(array, i), depth);
    }
    base_buf_put_char(buf, ']');
    return err;
}

static enum base_err put_object(struct base_buf *buf, const json_t *value, unsigned depth)
{
    json_t *object = (json_t *)(uintptr_t)value; /* iterators take no const, but change nothing */
    enum base_err err = BASE_OK;
    void *at = json_object_iter(object);

    base_buf_put_char(buf, '{');
    for (; at && err == BASE_OK; at = json_object_iter_next(object, at)) {
        base_json_put_name(buf, json_object_iter_key(at));
        err = put_value(buf, json_object_iter_value(at), depth);
    }
    base_buf_put_char(buf, '}');
    return err;
}

static enum base_err put_real(struct base_buf *buf, const json_t *value)
{
    char text[64];

    /* The fewest digits that mean the same double: 0.1 and not 0.10000000000000001. */
    for (size_t digits = 15;; digits++) {
        size_t len =
            json_dumpb(value, text, sizeof text - 1, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));

        if (len == 0)
            return BASE_INTERNAL;
        assert(len < sizeof text); /* sign, digits, point, exponent: 24 */
        text[len] = '\0';
        if (digits == 17 || strtod(text, NULL) == json_real_value(value))
            break;
    }
    base_buf_put_str(buf, text);
    return BASE_OK;
}

static enum base_err put_value(struct base_buf *buf, const json_t *value, unsigned depth)
{
    if (!value || depth == 0)
        return BASE_INTERNAL;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return put_object(buf, value, depth - 1);
    case JSON_ARRAY:
        return put_array(buf, value, depth - 1);
    case JSON_STRING:
        base_json_put_string(buf,
                             base_span_of(json_string_value(value), json_string_length(value)));
        return BASE_OK;
    case JSON_INTEGER:
        base_buf_put_i64(buf, json_integer_value(value));
        return BASE_OK;
    case JSON_REAL:
        return put_real(buf, value);
    case JSON_TRUE:
        BASE_BUF_LIT(buf, "true");
        return BASE_OK;
    case JSON_FALSE:
        BASE_BUF_LIT(buf, "false");
        return BASE_OK;
    default: /* JSON_NULL: there is no other */
        BASE_BUF_LIT(buf, "null");
        return BASE_OK;
    }
}

enum base_err base_json_put_value(struct base_buf *buf, const json_t *value)
{
    enum base_err err = put_value(buf, value, MAX_WRITE_DEPTH);

    return err == BASE_OK && buf->overflow ? BASE_TOO_LARGE : err;
}
