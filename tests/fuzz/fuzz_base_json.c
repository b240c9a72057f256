/* SPDX-License-Identifier: Apache-2.0 */
/* JSON from strangers: what is accepted can be asked anything, and is the same after being written.
 */
#include "base_attr.h"
#include "base_encode.h"
#include "base_json.h"

#include <stdlib.h>

#define MAX_LEN   4096
#define MAX_DEPTH 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void ask_everything(json_t *object)
{
    struct base_json_errors errors = {0};
    struct base_json_reader reader;
    struct base_span text;
    const char *name;
    json_t *value;
    int64_t number;
    bool truth;

    base_json_reader_init(&reader, object, &errors);
    for (int i = 0; i < 5 && (name = base_json_reader_unknown(&reader)); i++) {
        (void)base_json_get_string(&reader, name, 1, 100, &text);
        (void)base_json_get_bool(&reader, name, &truth);
        (void)base_json_get_int(&reader, name, -100, 100, &number);
        (void)base_json_get_time(&reader, name, &number);
        (void)base_json_get_array(&reader, name, 3, &value);
        (void)base_json_get_object(&reader, name, &value);
    }
    for (size_t i = 0; i < errors.count && i < BASE_JSON_MAX_ERRORS; i++) {
        require(base_utf8_valid(base_span_str(errors.items[i].field)));
        require(base_utf8_valid(base_span_str(errors.items[i].message)));
    }
}

/* Reals may round, so what has been written once is compared. */
static void write_and_read(json_t *value)
{
    BASE_AUTO(base_buf_clear) struct base_buf first, second;
    json_auto_t *again = NULL;
    const char *why;

    base_buf_init(&first, 16 * MAX_LEN);
    base_buf_init(&second, 16 * MAX_LEN);
    require(base_json_put_value(&first, value) == BASE_OK);
    require(!first.len || !memchr(first.ptr, '<', first.len));
    require(base_json_parse(base_buf_span(&first), 16 * MAX_LEN, MAX_DEPTH, &again, &why) ==
            BASE_OK);
    require(base_json_put_value(&second, again) == BASE_OK);
    require(base_span_eq(base_buf_span(&first), base_buf_span(&second)));
}

/* Any bytes at all become a string that is JSON. */
static void write_as_string(struct base_span text)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;
    json_auto_t *value = NULL;

    base_buf_init(&buf, 16 * MAX_LEN);
    base_json_put_string(&buf, text);
    value = json_loadb(buf.ptr, buf.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    require(json_is_string(value));
    require(!base_utf8_valid(text) ||
            base_span_eq(base_span_of(json_string_value(value), json_string_length(value)), text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_span text = base_span_of((const char *)data, size);
    json_auto_t *value = NULL;
    const char *why = NULL;
    enum base_err err = base_json_parse(text, MAX_LEN, MAX_DEPTH, &value, &why);

    require(why != NULL && (err == BASE_OK) == (value != NULL));
    if (value)
        write_and_read(value);
    if (json_is_object(value))
        ask_everything(value);
    if (size <= MAX_LEN)
        write_as_string(text);
    return 0;
}
