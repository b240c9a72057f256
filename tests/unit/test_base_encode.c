/* SPDX-License-Identifier: Apache-2.0 */
#include "base_encode.h"

#include "base_attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef void encoder(struct base_buf *out, const void *bytes, size_t len);
typedef enum base_err decoder(struct base_buf *out, struct base_span text);

static void expect_encoded(encoder *encode, const char *bytes, const char *text)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;

    base_buf_init(&out, 1000);
    base_buf_put_char(&out, '>'); /* encoders append */
    encode(&out, bytes, strlen(bytes));
    assert_string_equal(base_buf_cstr(&out) + 1, text);
}

static void expect_decoded(decoder *decode, const char *text, const char *bytes)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;

    base_buf_init(&out, 1000);
    base_buf_put_char(&out, '>');
    assert_int_equal(decode(&out, base_span_str(text)), BASE_OK);
    assert_string_equal(base_buf_cstr(&out) + 1, bytes);
}

static void expect_refused(decoder *decode, struct base_span text)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;

    base_buf_init(&out, 1000);
    base_buf_put_char(&out, '>');
    if (decode(&out, text) != BASE_INVALID)
        fail_msg("\"%.*s\" was taken", BASE_SPAN_ARGS(text));
    assert_string_equal(base_buf_cstr(&out), ">");
}

/* RFC 4648 §10 */
static const struct {
    const char *bytes, *base64, *base64url, *base32;
} vectors[] = {
    {"", "", "", ""},
    {"f", "Zg==", "Zg", "my"},
    {"fo", "Zm8=", "Zm8", "mzxq"},
    {"foo", "Zm9v", "Zm9v", "mzxw6"},
    {"foob", "Zm9vYg==", "Zm9vYg", "mzxw6yq"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE", "mzxw6ytb"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy", "mzxw6ytboi"},
    {"\xfb\xff\xfe", "+//+", "-__-", "7p774"},
};

static void the_vectors_of_the_rfc(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_COUNT(vectors); i++) {
        expect_encoded(base_encode_base64, vectors[i].bytes, vectors[i].base64);
        expect_encoded(base_encode_base64url, vectors[i].bytes, vectors[i].base64url);
        expect_encoded(base_encode_base32, vectors[i].bytes, vectors[i].base32);
        expect_decoded(base_decode_base64, vectors[i].base64, vectors[i].bytes);
        expect_decoded(base_decode_base64url, vectors[i].base64url, vectors[i].bytes);
    }
}

static void bad_base64url(void **state)
{
    static const char *const bad[] = {
        "Z",     "Zm9vY", "Zg==",      "Zm8=",     "=",
        "====",  "Zm 9",  "Zm9v\n",    " Zm9v",    "Zm9+",
        "Zm9/",  "Zh",    "Zv",        "Zm9",      "Zm-",
        "Zm9v.", "Zm9v,", "Z\xc3\xa9", "Zm9vYmE=", "\x80\x80\x80\x80",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++)
        expect_refused(base_decode_base64url, base_span_str(bad[i]));
    expect_refused(base_decode_base64url, BASE_SPAN("Zm\0v"));
    expect_refused(base_decode_base64url, BASE_SPAN("Zm9v\0"));
}

static void bad_base64(void **state)
{
    static const char *const bad[] = {
        "Zg",   "Zg=",  "Zm8",   "Z===",     "====",   "=",     "Zg==Zg==",
        "Zm=v", "Z=9v", "Zm9v=", "Zm9v====", "Zm9v ",  " Zm9v", "Zm9\n",
        "Zm9-", "Zm9_", "Zh==",  "Zm9=",     "Zg==\n", "Zg=\n",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++)
        expect_refused(base_decode_base64, base_span_str(bad[i]));
    expect_refused(base_decode_base64, BASE_SPAN("Zm9\0"));
}

static void any_bytes_survive(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf text, back;
    uint8_t bytes[256];

    (void)state;
    base_buf_init(&text, 1000);
    base_buf_init(&back, 1000);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 167 + 13);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        base_buf_reset(&text);
        base_buf_reset(&back);
        base_encode_base64url(&text, bytes, len);
        assert_int_equal(base_decode_base64url(&back, base_buf_span(&text)), BASE_OK);
        assert_int_equal(back.len, len);
        if (len)
            assert_memory_equal(back.ptr, bytes, len);
    }
}

static void what_does_not_fit_is_an_error(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;

    (void)state;
    base_buf_init(&out, 2);
    assert_int_equal(base_decode_base64url(&out, BASE_SPAN("Zm9v")), BASE_TOO_LARGE);
    assert_int_equal(out.len, 0);
    assert_true(out.overflow);
    base_buf_reset(&out);
    assert_int_equal(base_decode_percent(&out, BASE_SPAN("abc"), false), BASE_TOO_LARGE);
    base_buf_reset(&out);
    base_encode_hex(&out, "ab", 2);
    assert_true(out.overflow);
    base_buf_reset(&out);
    base_encode_base64(&out, "a", 1);
    assert_true(out.overflow);
    base_buf_reset(&out);
    base_encode_base32(&out, "ab", 2);
    assert_true(out.overflow);
    base_buf_reset(&out);
    base_encode_base62(&out, "ab", 2, 3);
    assert_true(out.overflow);
    assert_int_equal(out.len, 0);
}

static void hex_and_base32_of_keys(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;
    uint8_t bytes[15];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    base_buf_init(&out, 1000);
    base_encode_base32(&out, bytes, sizeof bytes);
    assert_string_equal(base_buf_cstr(&out), "aaaqeayeaudaocajbifqydio");
    base_buf_reset(&out);
    base_encode_hex(&out, "\x00\x7f\x80\xff", 4);
    assert_string_equal(base_buf_cstr(&out), "007f80ff");
}

static void base62_is_a_number(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;
    uint8_t bytes[64];

    (void)state;
    base_buf_init(&out, 1000);
    for (size_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    base_encode_base62(&out, bytes, 32, 43);
    assert_string_equal(base_buf_cstr(&out), "003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf");
    memset(bytes, 0xff, sizeof bytes);
    base_buf_reset(&out);
    base_encode_base62(&out, bytes, 32, 43);
    assert_string_equal(base_buf_cstr(&out), "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
    base_buf_reset(&out);
    base_encode_base62(&out, bytes, 64, 86);
    assert_string_equal(base_buf_cstr(&out),
                        "xR9fAlrdKvCIINsqEkJZSfvkAt8lzmSSSSwEFE05v06EBY3r5dlozu"
                        "RxnvOf5LFQW8jES7aPVEzqA5lO3MW8I3");
    base_buf_reset(&out);
    base_encode_base62(&out, bytes, 4, 6);
    assert_string_equal(base_buf_cstr(&out), "4gfFC3");
    base_buf_reset(&out);
    base_encode_base62(&out, "\x01\x00", 2, 1); /* 256 = 4·62 + 8 */
    base_encode_base62(&out, "\x00", 1, 3);
    base_encode_base62(&out, "", 0, 2);
    base_encode_base62(&out, "\xff", 1, 0);
    assert_string_equal(base_buf_cstr(&out), "800000");
}

static void good_percent_encoding(void **state)
{
    static const struct {
        const char *text, *form, *path;
    } good[] = {
        {"", "", ""},
        {"abc", "abc", "abc"},
        {"a+b", "a b", "a+b"},
        {"a%2Bb%2b", "a+b+", "a+b+"},
        {"%20%41%7e", " A~", " A~"},
        {"%25%32%30", "%20", "%20"}, /* once */
        {"%252B", "%2B", "%2B"},
        {"key%5Fabc", "key_abc", "key_abc"},
        {"%c3%A9", "\xc3\xa9", "\xc3\xa9"},
        {"\xff%FF", "\xff\xff", "\xff\xff"}, /* UTF-8 is for the caller to check */
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(good); i++) {
        BASE_AUTO(base_buf_clear) struct base_buf out;

        base_buf_init(&out, 100);
        assert_int_equal(base_decode_percent(&out, base_span_str(good[i].text), true), BASE_OK);
        assert_string_equal(base_buf_cstr(&out), good[i].form);
        base_buf_reset(&out);
        assert_int_equal(base_decode_percent(&out, base_span_str(good[i].text), false), BASE_OK);
        assert_string_equal(base_buf_cstr(&out), good[i].path);
    }
}

static void bad_percent_encoding(void **state)
{
    static const struct base_span bad[] = {
        BASE_SPAN_INIT("%"),     BASE_SPAN_INIT("%4"),     BASE_SPAN_INIT("a%"),
        BASE_SPAN_INIT("a%4"),   BASE_SPAN_INIT("%zz"),    BASE_SPAN_INIT("%4z"),
        BASE_SPAN_INIT("%z4"),   BASE_SPAN_INIT("%%41"),   BASE_SPAN_INIT("%+1"),
        BASE_SPAN_INIT("%-1"),   BASE_SPAN_INIT("% 41"),   BASE_SPAN_INIT("%00"),
        BASE_SPAN_INIT("a%00b"), BASE_SPAN_INIT("%u0041"), BASE_SPAN_INIT("%0"),
        BASE_SPAN_INIT("%0x41"), BASE_SPAN_INIT("a\0b"),   BASE_SPAN_INIT("%4\0"),
    };

    (void)state;
    for (size_t i = 0; i < 2 * BASE_COUNT(bad); i++) {
        BASE_AUTO(base_buf_clear) struct base_buf out;

        base_buf_init(&out, 100);
        base_buf_put_char(&out, '>');
        assert_int_equal(base_decode_percent(&out, bad[i / 2], i % 2), BASE_INVALID);
        assert_string_equal(base_buf_cstr(&out), ">");
    }
}

static void good_utf8(void **state)
{
    static const char text[] = "a\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"
                               "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
    static const uint32_t points[] = {'a',    0x80,   0x7ff,   0x800,   0xd7ff,
                                      0xe000, 0xffff, 0x10000, 0x10ffff};
    struct base_span span = base_span_str(text);
    size_t at = 0;

    (void)state;
    assert_true(base_utf8_valid(span));
    for (size_t i = 0; i < BASE_COUNT(points); i++)
        assert_int_equal(base_utf8_next(span, &at), points[i]);
    assert_int_equal(at, span.len);
    assert_int_equal(base_utf8_length(span), BASE_COUNT(points));
    assert_int_equal(base_utf8_length((struct base_span){0}), 0);
    assert_true(base_utf8_valid((struct base_span){0}));
}

static void bad_utf8(void **state)
{
    static const struct base_span bad[] = {
        BASE_SPAN_INIT("\0"),
        BASE_SPAN_INIT("a\0b"),
        BASE_SPAN_INIT("\x80"), /* nothing to continue */
        BASE_SPAN_INIT("a\xbf"),
        BASE_SPAN_INIT("\xc0\x80"), /* overlong NUL */
        BASE_SPAN_INIT("\xc1\xbf"),
        BASE_SPAN_INIT("\xe0\x9f\xbf"),
        BASE_SPAN_INIT("\xf0\x8f\xbf\xbf"),
        BASE_SPAN_INIT("\xed\xa0\x80"), /* surrogates */
        BASE_SPAN_INIT("\xed\xbf\xbf"),
        BASE_SPAN_INIT("\xf4\x90\x80\x80"), /* over U+10FFFF */
        BASE_SPAN_INIT("\xf5\x80\x80\x80"),
        BASE_SPAN_INIT("\xf8\x88\x80\x80\x80"),
        BASE_SPAN_INIT("\xfe"),
        BASE_SPAN_INIT("\xff"),
        BASE_SPAN_INIT("\xc3"), /* cut short */
        BASE_SPAN_INIT("\xe2\x82"),
        BASE_SPAN_INIT("\xf0\x9f\x92"),
        BASE_SPAN_INIT("\xc3("), /* interrupted */
        BASE_SPAN_INIT("\xe2\x82("),
        BASE_SPAN_INIT("\xe2(\xac"),
        BASE_SPAN_INIT("caf\xe9"), /* Latin-1 */
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        size_t at = 0;

        assert_false(base_utf8_valid(bad[i]));
        for (size_t steps = 0; at < bad[i].len; steps++) { /* ends anyway, and within the text */
            (void)base_utf8_next(bad[i], &at);
            assert_true(steps < bad[i].len && at <= bad[i].len);
        }
        assert_int_equal(base_utf8_next(bad[i], &at), 0xfffd);
        assert_int_equal(at, bad[i].len);
    }
}

static void crc_is_zlibs(void **state)
{
    (void)state;
    assert_int_equal(base_crc32("123456789", 9), 0xcbf43926);
    assert_int_equal(base_crc32("cardea_", 7), 0x1ae2994a);
    assert_int_equal(base_crc32("", 0), 0);
    assert_int_equal(base_crc32(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc),
        cmocka_unit_test(bad_base64url),
        cmocka_unit_test(bad_base64),
        cmocka_unit_test(any_bytes_survive),
        cmocka_unit_test(what_does_not_fit_is_an_error),
        cmocka_unit_test(hex_and_base32_of_keys),
        cmocka_unit_test(base62_is_a_number),
        cmocka_unit_test(good_percent_encoding),
        cmocka_unit_test(bad_percent_encoding),
        cmocka_unit_test(good_utf8),
        cmocka_unit_test(bad_utf8),
        cmocka_unit_test(crc_is_zlibs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
