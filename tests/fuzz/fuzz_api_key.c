/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of the management API: an access key for creation and for a merge patch, the way the
 * handlers read them. The first byte chooses. What is accepted must be well-formed when written
 * again, and a patch of itself must change nothing. */
#include "api_key_json.h"

#include "base_clock.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(what)                                                                              \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define NOW_US   (INT64_C(1800000000) * BASE_US_PER_S)
#define MAX_BODY (64u << 10)

static struct api_shared shared = {
    .config.issuer = BASE_SPAN_INIT("https://id.example.com"),
    .config.default_audience = BASE_SPAN_INIT("https://id.example.com/api"),
};
static struct api_worker worker = {.shared = &shared};

static json_t *parse(struct base_span text)
{
    const char *why = "";
    json_t *json = NULL;

    return base_json_parse(text, MAX_BODY, 10, &json, &why) == BASE_OK ? json : NULL;
}

/* What was accepted, written as an answer and read again. */
static void write_again(const struct store_key_fields *fields)
{
    struct store_key key = {
        .key_id = BASE_SPAN_INIT("key_aaaaaaaaaaaaaaaaaaaaaaaa"),
        .tenant = BASE_SPAN_INIT("acme"),
        .fields = *fields,
    };
    json_auto_t *editable = api_key_editable(fields);
    json_auto_t *again = NULL;
    struct base_buf out, diff;

    base_buf_init(&out, 1 << 20);
    base_buf_init(&diff, 1 << 20);
    api_key_put(&out, &key, NULL, NOW_US);
    REQUIRE(!out.overflow);
    again = json_loadb(out.ptr, out.len, JSON_REJECT_DUPLICATES, NULL);
    REQUIRE(json_is_object(again) && editable);
    api_json_diff(editable, editable, &diff);
    REQUIRE(base_span_eq(base_buf_span(&diff), BASE_SPAN("{}")));
    base_buf_clear(&diff);
    base_buf_clear(&out);
}

/* `body`: what was sent; `object`: what it makes of the key that is stored, if there is one. */
static void read_key(json_t *object, json_t *body, const struct store_key_fields *stored)
{
    struct api_call call = {.worker = &worker, .body = body};
    struct base_json_reader reader;
    struct store_key_fields fields;

    base_buf_init(&call.text, MAX_BODY);
    base_buf_init(&call.text2, MAX_BODY);
    base_json_reader_init(&reader, object, &call.errors);
    api_key_read(&call, &reader, stored, &fields);
    if (call.errors.count == 0) {
        REQUIRE(stored || fields.expires_us > NOW_US);
        if (stored || !base_json_reader_unknown(&reader))
            write_again(&fields);
    }
    base_buf_clear(&call.text);
    base_buf_clear(&call.text2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct store_key_fields stored = {
        .name = BASE_SPAN_INIT("n"),
        .scopes = {BASE_SPAN_INIT("a"), BASE_SPAN_INIT("b")},
        .n_scopes = 2,
        .enabled = true,
        .expires_us = INT64_C(1801440000) * BASE_US_PER_S,
        .claims = BASE_SPAN_INIT("{\"a\":{\"b\":[1,null]}}"),
    };
    json_auto_t *body = NULL, *target = NULL;

    if (size == 0)
        return 0;
    base_clock_freeze(NOW_US, 1);
    body = parse(base_span_of((const char *)data + 1, size - 1));
    if (!json_is_object(body))
        return 0;
    read_key(body, body, data[0] & 1 ? NULL : &stored);
    target = api_key_editable(&stored);
    REQUIRE(target);
    api_json_merge(target, body);
    read_key(target, body, &stored);
    return 0;
}
