/* SPDX-License-Identifier: Apache-2.0 */
/* Forms, Basic and Bearer headers, media types and entity tags, each over the same bytes. What was
 * accepted must survive being written again and read again. */
#include "http_form.h"

#include "base_encode.h"

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

static bool is_inside(struct base_span part, struct base_span all)
{
    return part.len == 0 || (part.ptr >= all.ptr && part.len <= all.len &&
                             (size_t)(part.ptr - all.ptr) <= all.len - part.len);
}

static void put_escaped(struct base_buf *out, struct base_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        BASE_BUF_LIT(out, "%");
        base_encode_hex(out, text.ptr + i, 1);
    }
}

static void check_pairs_again(const struct http_form *form)
{
    BASE_AUTO(base_buf_clear) struct base_buf text = {0}, storage = {0};
    struct http_form again;

    base_buf_init(&text, 1 << 20);
    for (size_t i = 0; i < form->n_pairs; i++) {
        put_escaped(&text, form->pairs[i].name);
        BASE_BUF_LIT(&text, "=");
        put_escaped(&text, form->pairs[i].value);
        BASE_BUF_LIT(&text, "&");
    }
    base_buf_init(&storage, text.len);
    REQUIRE(http_form_parse(base_buf_span(&text), &storage, &again) == BASE_OK);
    REQUIRE(again.n_pairs == form->n_pairs);
    for (size_t i = 0; i < form->n_pairs; i++) {
        REQUIRE(base_span_eq(again.pairs[i].name, form->pairs[i].name));
        REQUIRE(base_span_eq(again.pairs[i].value, form->pairs[i].value));
    }
}

static void check_form(struct base_span text)
{
    BASE_AUTO(base_buf_clear) struct base_buf storage = {0};
    struct http_form form;

    base_buf_init(&storage, text.len);
    if (http_form_parse(text, &storage, &form) != BASE_OK) {
        REQUIRE(form.n_pairs == 0);
        return;
    }
    for (size_t i = 0; i < form.n_pairs; i++) {
        REQUIRE(is_inside(form.pairs[i].name, base_buf_span(&storage)));
        REQUIRE(is_inside(form.pairs[i].value, base_buf_span(&storage)));
        REQUIRE(base_utf8_valid(form.pairs[i].name) && base_utf8_valid(form.pairs[i].value));
        REQUIRE(http_form_get(&form, form.pairs[i].name));
    }
    (void)http_form_has_duplicate(&form, BASE_SPAN("resource"));
    check_pairs_again(&form);
}

static void check_basic_again(const struct http_basic *basic)
{
    BASE_AUTO(base_buf_clear) struct base_buf pair = {0}, header = {0}, storage = {0};
    struct http_basic again;

    base_buf_init(&pair, 1 << 20);
    put_escaped(&pair, basic->id);
    BASE_BUF_LIT(&pair, ":");
    put_escaped(&pair, basic->secret);
    base_buf_init(&header, 1 << 20);
    BASE_BUF_LIT(&header, "bAsIc  ");
    base_encode_base64(&header, pair.ptr, pair.len);
    base_buf_init(&storage, header.len);
    REQUIRE(http_basic_parse(base_buf_span(&header), &storage, &again) == BASE_OK);
    REQUIRE(base_span_eq(again.id, basic->id) && base_span_eq(again.secret, basic->secret));
}

static void check_basic(struct base_span text)
{
    BASE_AUTO(base_buf_clear) struct base_buf storage = {0};
    struct http_basic basic;

    base_buf_init(&storage, text.len);
    if (http_basic_parse(text, &storage, &basic) != BASE_OK) {
        REQUIRE(!basic.id.ptr && !basic.secret.ptr);
        return;
    }
    REQUIRE(is_inside(basic.id, base_buf_span(&storage)));
    REQUIRE(is_inside(basic.secret, base_buf_span(&storage)));
    REQUIRE(base_utf8_valid(basic.id) && base_utf8_valid(basic.secret));
    check_basic_again(&basic);
}

/* The same bytes as the pair inside the base64, which random bytes rarely reach. */
static void check_basic_inside(struct base_span pair)
{
    BASE_AUTO(base_buf_clear) struct base_buf header = {0};

    base_buf_init(&header, 1 << 20);
    BASE_BUF_LIT(&header, "Basic ");
    base_encode_base64(&header, pair.ptr, pair.len);
    check_basic(base_buf_span(&header));
}

static void check_bearer(struct base_span text)
{
    struct base_span token;

    if (http_bearer_parse(text, &token) == BASE_OK) {
        REQUIRE(token.len > 0 && is_inside(token, text));
        REQUIRE(token.ptr + token.len == text.ptr + text.len);
    } else {
        REQUIRE(!token.ptr);
    }
}

static void check_etag(struct base_span list)
{
    static const struct base_span etag = BASE_SPAN_INIT("\"a\"");
    bool valid, valid_strong;
    bool weak = http_etag_matches(list, etag, true, &valid);
    bool strong = http_etag_matches(list, etag, false, &valid_strong);

    REQUIRE(valid == valid_strong);
    REQUIRE(valid || !weak);
    REQUIRE(weak || !strong);
    REQUIRE(!weak || base_span_eq(list, BASE_SPAN("*")) ||
            memmem(list.ptr, list.len, etag.ptr, etag.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_span text = {(const char *)data, size};

    check_form(text);
    check_basic(text);
    check_basic_inside(text);
    check_bearer(text);
    REQUIRE(!http_media_type_is(text, BASE_SPAN("application/json")) || size >= 16);
    check_etag(text);
    return 0;
}
