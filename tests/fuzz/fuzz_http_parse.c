/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and chunked bodies. Whatever the bytes: nothing is read outside them, all spans lie inside
 * them, the verdict does not depend on how they were cut into packets, and what was accepted is
 * framed as a second, naive look at the bytes finds it framed. */
#include "http_parse.h"

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

static struct http_head head;

/* Parses a copy without a byte behind it. */
static struct http_parse_result parse_copy(struct base_span bytes, size_t *scanned)
{
    char *copy = malloc(bytes.len ? bytes.len : 1);
    struct http_parse_result result;

    REQUIRE(copy);
    if (bytes.len)
        memcpy(copy, bytes.ptr, bytes.len);
    result = http_parse_head(base_span_of(copy, bytes.len), scanned, &head);
    free(copy);
    return result;
}

static void require_same(const struct http_parse_result *a, const struct http_parse_result *b)
{
    REQUIRE(a->state == b->state);
    REQUIRE(a->status == b->status);
    REQUIRE(a->used == b->used);
    REQUIRE(a->reason == b->reason);
}

/* The verdict when `step` bytes arrive at a time. */
static struct http_parse_result parse_in_steps(struct base_span bytes, size_t step)
{
    struct http_parse_result result;
    size_t scanned = 0, len = 0;

    for (;;) {
        result = parse_copy(base_span_of(bytes.ptr, len), &scanned);
        if (result.state != HTTP_PARSE_MORE || len == bytes.len)
            return result;
        len = bytes.len - len < step ? bytes.len : len + step;
    }
}

static bool is_inside(struct base_span part, struct base_span all)
{
    return part.len == 0 || (part.ptr >= all.ptr && part.len <= all.len &&
                             (size_t)(part.ptr - all.ptr) <= all.len - part.len);
}

static size_t count_byte(struct base_span text, char c)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == c;
    return count;
}

static void check_spans(struct base_span used)
{
    REQUIRE(is_inside(head.method_text, used));
    REQUIRE(is_inside(head.target, used));
    REQUIRE(is_inside(head.authority, head.target));
    REQUIRE(is_inside(head.query, head.target));
    REQUIRE(is_inside(head.path, head.target) ||
            (head.authority.len && base_span_eq(head.path, BASE_SPAN("/"))));
    REQUIRE(head.path.len > 0 && head.path.ptr[0] == '/');
    REQUIRE(head.n_headers <= HTTP_MAX_FIELDS);
    for (size_t i = 0; i < head.n_headers; i++) {
        REQUIRE(head.headers[i].name.len > 0);
        REQUIRE(is_inside(head.headers[i].name, used));
        REQUIRE(is_inside(head.headers[i].value, used));
    }
}

static void check_fields(void)
{
    for (int field = 0; field < HTTP_FIELD_OTHER; field++) {
        const struct http_header *first = http_head_get(&head, (enum http_field)field);

        REQUIRE((first != NULL) == (http_head_count(&head, (enum http_field)field) > 0));
        REQUIRE(!first || (int)first->field == field);
    }
    REQUIRE(http_head_count(&head, HTTP_FIELD_HOST) <= 1);
    REQUIRE(head.minor == 0 || http_head_count(&head, HTTP_FIELD_HOST) == 1);
    REQUIRE(http_head_count(&head, HTTP_FIELD_CONTENT_LENGTH) == head.has_length);
    REQUIRE(http_head_count(&head, HTTP_FIELD_TRANSFER_ENCODING) == head.chunked);
    REQUIRE(!(head.chunked && head.has_length));
    REQUIRE(!(head.chunked && head.minor == 0));
    REQUIRE(head.has_length || head.content_length == 0);
}

/* A naive reader of lines sees as many as we did: none is hidden by a bare CR or LF. */
static void check_lines(struct base_span used)
{
    size_t lines = count_byte(used, '\n');
    size_t empty = lines - head.n_headers - 2; /* before the request */

    REQUIRE(empty <= 2);
    REQUIRE(count_byte(used, '\r') == lines);
    for (size_t i = 0; i < used.len; i++)
        REQUIRE(used.ptr[i] != '\n' || (i > 0 && used.ptr[i - 1] == '\r'));
    REQUIRE(count_byte(used, '\0') == 0);
    REQUIRE(used.len >= 4 && memcmp(used.ptr + used.len - 4, "\r\n\r\n", 4) == 0);
}

static void check_done(struct base_span used)
{
    size_t scanned = 0;
    struct http_parse_result again;

    check_spans(used);
    check_fields();
    check_lines(used);
    /* What comes behind the head had no part in it, and all of the head was needed. */
    again = parse_copy(used, &scanned);
    REQUIRE(again.state == HTTP_PARSE_DONE && again.used == used.len);
    scanned = 0;
    again = parse_copy(base_span_of(used.ptr, used.len - 1), &scanned);
    REQUIRE(again.state == HTTP_PARSE_MORE);
}

struct body {
    struct http_chunked_result last;
    size_t used;
    size_t len;
    uint64_t sum; /* of the data, in place of keeping it */
};

static void add_data(struct body *body, struct base_span data)
{
    for (size_t i = 0; i < data.len; i++)
        body->sum = body->sum * 31 + (unsigned char)data.ptr[i];
    body->len += data.len;
}

static struct body decode_in_steps(struct base_span bytes, size_t step)
{
    struct http_chunked chunked = {0};
    struct body body = {0};

    do {
        size_t left = bytes.len - body.used;
        struct base_span piece = {bytes.ptr + body.used, left < step ? left : step};

        body.last = http_chunked_step(&chunked, piece);
        REQUIRE(body.last.used <= piece.len);
        REQUIRE(is_inside(body.last.data, piece));
        REQUIRE(body.last.data.len <= body.last.used);
        REQUIRE(chunked.overhead <= HTTP_MAX_TRAILER || body.last.state == HTTP_PARSE_BAD);
        add_data(&body, body.last.data);
        body.used += body.last.used;
    } while (body.last.state == HTTP_PARSE_MORE && body.last.used > 0);
    return body;
}

static void check_chunked(struct base_span bytes)
{
    struct body whole = decode_in_steps(bytes, bytes.len + 1);

    for (size_t step = 1; step <= 3; step++) {
        struct body slow = decode_in_steps(bytes, step);

        REQUIRE(whole.last.state == slow.last.state);
        REQUIRE(whole.last.status == slow.last.status);
        REQUIRE(whole.len == slow.len && whole.sum == slow.sum);
        REQUIRE(whole.last.state == HTTP_PARSE_BAD || whole.used == slow.used);
    }
    REQUIRE(whole.last.state != HTTP_PARSE_MORE || whole.used == bytes.len);
}

static void check_head(struct base_span bytes)
{
    size_t scanned = 0;
    struct http_parse_result whole = http_parse_head(bytes, &scanned, &head);
    const size_t steps[] = {bytes.len > 2048 ? bytes.len / 64 : 1, 7, bytes.len / 2 + 1};

    REQUIRE(whole.used <= bytes.len);
    REQUIRE((whole.state == HTTP_PARSE_BAD) == (whole.status >= 400 && whole.reason));
    if (whole.state == HTTP_PARSE_DONE) {
        check_done(base_span_of(bytes.ptr, whole.used)); /* parses copies: `head` is gone */
        check_chunked(base_span_of(bytes.ptr + whole.used, bytes.len - whole.used));
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct http_parse_result slow = parse_in_steps(bytes, steps[i]);

        require_same(&whole, &slow);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_span bytes = {(const char *)data, size};

    check_head(bytes);
    check_chunked(bytes);
    return 0;
}
