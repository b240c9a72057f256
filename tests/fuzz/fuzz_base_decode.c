/* SPDX-License-Identifier: Apache-2.0 */
/* Decoders: base64 and base64url, percent, UTF-8, and the file of master keys. A text that decodes
 * is the only one for its bytes. */
#include "base_attr.h"
#include "base_encode.h"
#include "base_seal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void try_base64(struct base_span text,
                       enum base_err (*decode)(struct base_buf *, struct base_span),
                       void (*encode)(struct base_buf *, const void *, size_t))
{
    BASE_AUTO(base_buf_clear) struct base_buf bytes, again;
    enum base_err err;

    base_buf_init(&bytes, text.len);
    base_buf_init(&again, text.len);
    err = decode(&bytes, text);
    require(err == BASE_OK || (err == BASE_INVALID && bytes.len == 0));
    if (err == BASE_OK) {
        encode(&again, bytes.ptr, bytes.len);
        require(base_span_eq(base_buf_span(&again), text));
    }
}

static void try_percent(struct base_span text, bool plus_is_space)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;
    enum base_err err;

    base_buf_init(&out, text.len);
    err = base_decode_percent(&out, text, plus_is_space);
    require(err == BASE_OK || (err == BASE_INVALID && out.len == 0));
    if (err == BASE_OK) {
        require(!out.len || !memchr(out.ptr, '\0', out.len));
        require(memchr(text.len ? text.ptr : "", '%', text.len) || out.len == text.len);
    }
}

static void try_utf8(struct base_span text)
{
    bool valid = base_utf8_valid(text);
    size_t at = 0, before;

    while (at < text.len) {
        uint32_t point;

        before = at;
        point = base_utf8_next(text, &at);
        require(at > before && at - before <= 4 && at <= text.len);
        require(point > 0 && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff));
        require(!valid || at - before > 1 || point < 0x80);
    }
}

static void try_master_keys(struct base_span text)
{
    BASE_AUTO(base_buf_clear) struct base_buf why, sealed, plain;
    BASE_AUTO(base_seal_unref) struct base_seal *seal = NULL;
    enum base_err err;

    base_buf_init(&why, 1000);
    base_buf_init(&sealed, 1000);
    base_buf_init(&plain, 1000);
    err = base_seal_parse(text, &seal, &why);
    require((err == BASE_OK) == (seal != NULL) && (err == BASE_OK) == (why.len == 0));
    if (!seal)
        return;
    require(base_seal_count(seal) >= 1 && base_seal_count(seal) <= 16);
    require(base_seal_close(seal, text, BASE_SPAN("x"), &sealed) == BASE_OK);
    require(base_seal_open(seal, text, base_buf_span(&sealed), &plain) == BASE_OK);
    require(base_span_eq(base_buf_span(&plain), BASE_SPAN("x")));
    require(base_seal_open(seal, text, text, &plain) != BASE_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_span text = base_span_of((const char *)data, size);

    try_base64(text, base_decode_base64url, base_encode_base64url);
    try_base64(text, base_decode_base64, base_encode_base64);
    try_percent(text, false);
    try_percent(text, true);
    try_utf8(text);
    try_master_keys(text);
    return 0;
}
