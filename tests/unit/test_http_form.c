/* SPDX-License-Identifier: Apache-2.0 */
#include "http_form.h"

#include "base_encode.h"
#include "base_mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct http_form form;
static struct base_buf storage;

/* The least storage that the contract promises to suffice. */
static enum base_err parse(struct base_span text)
{
    base_buf_clear(&storage);
    base_buf_init(&storage, text.len);
    return http_form_parse(text, &storage, &form);
}

static int clear_storage(void **state BASE_UNUSED)
{
    base_buf_clear(&storage);
    return 0;
}

static void assert_span(struct base_span span, const char *text)
{
    if (!base_span_eq(span, base_span_str(text)))
        fail_msg("\"%.*s\" instead of \"%s\"", BASE_SPAN_ARGS(span), text);
}

static void test_form(void **state BASE_UNUSED)
{
    static const struct {
        const char *text;
        const char *pairs[8]; /* name, value, name, value… */
    } cases[] = {
        {"", {NULL}},
        {"&&&", {NULL}},
        {"a=1", {"a", "1"}},
        {"a=1&b=2", {"a", "1", "b", "2"}},
        {"&a=1&&b=2&", {"a", "1", "b", "2"}},
        {"a", {"a", ""}},
        {"a=", {"a", ""}},
        {"=a", {"", "a"}},
        {"=", {"", ""}},
        {"a=b=c", {"a", "b=c"}},
        {"a+b=c+d", {"a b", "c d"}},
        {"a%2Bb=c%2bd", {"a+b", "c+d"}},
        {"a%3Db%26=c%3dd%26e", {"a=b&", "c=d&e"}},
        {"grant%5ftype=client%5Fcredentials", {"grant_type", "client_credentials"}},
        {"a=%2541", {"a", "%41"}}, /* once only */
        {"a=%c3%A9\xc3\xa9", {"a", "\xc3\xa9\xc3\xa9"}},
        {"a=1&a=2&A=3", {"a", "1", "a", "2", "A", "3"}},
        {"a;b=c?d/e", {"a;b", "c?d/e"}},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        size_t n = 0;

        assert_int_equal(parse(base_span_str(cases[i].text)), BASE_OK);
        while (cases[i].pairs[n * 2])
            n++;
        assert_int_equal(form.n_pairs, n);
        for (size_t j = 0; j < n; j++) {
            assert_span(form.pairs[j].name, cases[i].pairs[j * 2]);
            assert_span(form.pairs[j].value, cases[i].pairs[j * 2 + 1]);
        }
    }
}

static void test_bad_form(void **state BASE_UNUSED)
{
    static const struct base_span cases[] = {
        BASE_SPAN_INIT("a=%"),         BASE_SPAN_INIT("a=%4"),
        BASE_SPAN_INIT("a=%zz"),       BASE_SPAN_INIT("a=%4g"),
        BASE_SPAN_INIT("a=%g4"),       BASE_SPAN_INIT("a=%%41"),
        BASE_SPAN_INIT("%=a"),         BASE_SPAN_INIT("%zz=a"),
        BASE_SPAN_INIT("%zz"),         BASE_SPAN_INIT("a=%00"),
        BASE_SPAN_INIT("%00=a"),       BASE_SPAN_INIT("a=\0"),
        BASE_SPAN_INIT("a\0=b"),       BASE_SPAN_INIT("a=%ff"),
        BASE_SPAN_INIT("a=\xff"),      BASE_SPAN_INIT("%c3=a"),
        BASE_SPAN_INIT("a=%c3&b=%a9"), BASE_SPAN_INIT("a=%c0%80"),
        BASE_SPAN_INIT("a=%ed%a0%80"), BASE_SPAN_INIT("a=1&b=%"),
        BASE_SPAN_INIT("a=%2&b=1"),    BASE_SPAN_INIT("a=%f5%80%80%80"),
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        assert_int_equal(parse(cases[i]), BASE_INVALID);
        assert_int_equal(form.n_pairs, 0);
    }
}

static void test_form_limits(void **state BASE_UNUSED)
{
    char text[512] = "", *end = text;

    for (int i = 0; i < HTTP_FORM_MAX_PAIRS; i++)
        end = stpcpy(end, "a=&");
    assert_int_equal(parse(base_span_str(text)), BASE_OK);
    assert_int_equal(form.n_pairs, HTTP_FORM_MAX_PAIRS);
    stpcpy(end, "b");
    assert_int_equal(parse(base_span_str(text)), BASE_TOO_LARGE);
    assert_int_equal(form.n_pairs, 0);
    base_buf_clear(&storage);
    base_buf_init(&storage, 2);
    assert_int_equal(http_form_parse(BASE_SPAN("a=1"), &storage, &form), BASE_TOO_LARGE);
}

/* What storage held already stays where it is, and a fixed buffer does as well. */
static void test_form_appends(void **state BASE_UNUSED)
{
    struct base_buf fixed;
    char memory[16];

    base_buf_init_fixed(&fixed, memory, sizeof memory);
    base_buf_put_str(&fixed, "before");
    assert_int_equal(http_form_parse(BASE_SPAN("a=1&bc=2"), &fixed, &form), BASE_OK);
    assert_span(base_buf_span(&fixed), "beforea1bc2");
    assert_span(form.pairs[1].name, "bc");
}

static void test_form_get(void **state BASE_UNUSED)
{
    assert_int_equal(parse(BASE_SPAN("a=1&b=2&a=3&c")), BASE_OK);
    assert_span(*http_form_get(&form, BASE_SPAN("a")), "1");
    assert_span(*http_form_get(&form, BASE_SPAN("b")), "2");
    assert_span(*http_form_get(&form, BASE_SPAN("c")), "");
    assert_null(http_form_get(&form, BASE_SPAN("A")));
    assert_null(http_form_get(&form, BASE_SPAN("")));
}

static void test_form_duplicates(void **state BASE_UNUSED)
{
    static const struct {
        const char *text, *except;
        bool has;
    } cases[] = {
        {"", "", false},
        {"a=1", "", false},
        {"a=1&b=1&A=1", "", false},
        {"a=1&a=1", "", true},
        {"a=1&b=2&a", "", true},
        {"a=1&%61=1", "", true},
        {"resource=a&resource=b", "resource", false},
        {"resource=a&resource=b&resource=c", "resource", false},
        {"resource=a&resource=b", "", true},
        {"resource=a&x=1&resource=b&x=2", "resource", true},
        {"=a&=b", "", true},
        {"=a&=b", "resource", true},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        assert_int_equal(parse(base_span_str(cases[i].text)), BASE_OK);
        assert_int_equal(http_form_has_duplicate(&form, base_span_str(cases[i].except)),
                         cases[i].has);
    }
}

static struct http_basic basic;

/* `pair` in base64 behind "Basic ". */
static enum base_err parse_pair(struct base_span pair, bool padded)
{
    BASE_AUTO(base_buf_clear) struct base_buf header;

    base_buf_init(&header, 1000);
    BASE_BUF_LIT(&header, "Basic ");
    base_encode_base64(&header, pair.ptr, pair.len);
    while (!padded && header.ptr[header.len - 1] == '=')
        header.len--;
    base_buf_clear(&storage);
    base_buf_init(&storage, header.len);
    return http_basic_parse(base_buf_span(&header), &storage, &basic);
}

static void test_basic_pairs(void **state BASE_UNUSED)
{
    static const struct {
        const char *pair, *id, *secret;
    } cases[] = {
        {"a:b", "a", "b"},
        {"aa:b", "aa", "b"},
        {"aa:bb", "aa", "bb"},
        {":", "", ""},
        {"a:", "a", ""},
        {":b", "", "b"},
        {"a:b:c", "a", "b:c"},
        {"a%3Ab:c%3ad", "a:b", "c:d"},
        {"key%5Fabc:sk%5F1", "key_abc", "sk_1"},
        {"key_abc:sk_1", "key_abc", "sk_1"},
        {"a:b+c%2B%2F", "a", "b c+/"},
        {"a:%25%34%31", "a", "%41"},
        {"\xc3\xa9:%c3%a9", "\xc3\xa9", "\xc3\xa9"},
    };

    for (size_t i = 0; i < BASE_COUNT(cases) * 2; i++) {
        assert_int_equal(parse_pair(base_span_str(cases[i / 2].pair), i % 2), BASE_OK);
        assert_span(basic.id, cases[i / 2].id);
        assert_span(basic.secret, cases[i / 2].secret);
    }
}

static void test_bad_basic_pairs(void **state BASE_UNUSED)
{
    static const struct base_span cases[] = {
        BASE_SPAN_INIT("a"),        BASE_SPAN_INIT("a%3Ab"),  BASE_SPAN_INIT("a%:b"),
        BASE_SPAN_INIT("a:%"),      BASE_SPAN_INIT("a:%4"),   BASE_SPAN_INIT("a:%zz"),
        BASE_SPAN_INIT("%zz:b"),    BASE_SPAN_INIT("a:b%00"), BASE_SPAN_INIT("a%00:b"),
        BASE_SPAN_INIT("a:b\0"),    BASE_SPAN_INIT("a\0:b"),  BASE_SPAN_INIT("a:\xff"),
        BASE_SPAN_INIT("\xff:b"),   BASE_SPAN_INIT("a:%ff"),  BASE_SPAN_INIT("a:%c0%80"),
        BASE_SPAN_INIT("a%c3:%a9"),
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        assert_int_equal(parse_pair(cases[i], true), BASE_INVALID);
        assert_null(basic.id.ptr);
        assert_null(basic.secret.ptr);
    }
}

static enum base_err parse_basic(struct base_span header)
{
    base_buf_clear(&storage);
    base_buf_init(&storage, header.len);
    return http_basic_parse(header, &storage, &basic);
}

static void test_basic_headers(void **state BASE_UNUSED)
{
    static const struct {
        struct base_span header;
        enum base_err err;
    } cases[] = {
        {BASE_SPAN_INIT("Basic YTpi"), BASE_OK},
        {BASE_SPAN_INIT("bASIC YTpi"), BASE_OK},
        {BASE_SPAN_INIT("Basic    YTpi"), BASE_OK},
        {BASE_SPAN_INIT("Basic YTpiYg=="), BASE_OK},
        {BASE_SPAN_INIT("Basic YTpiYg"), BASE_OK},
        {BASE_SPAN_INIT(""), BASE_NOT_FOUND},
        {BASE_SPAN_INIT(" Basic YTpi"), BASE_NOT_FOUND},
        {BASE_SPAN_INIT("Bearer YTpi"), BASE_NOT_FOUND},
        {BASE_SPAN_INIT("Basi YTpi"), BASE_NOT_FOUND},
        {BASE_SPAN_INIT("BasicYTpi"), BASE_NOT_FOUND},
        {BASE_SPAN_INIT("Digest a=b"), BASE_NOT_FOUND},
        {BASE_SPAN_INIT("Basic"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic "), BASE_INVALID},
        {BASE_SPAN_INIT("Basic ="), BASE_INVALID},
        {BASE_SPAN_INIT("Basic ===="), BASE_INVALID},
        {BASE_SPAN_INIT("Basic\tYTpi"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic \tYTpi"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic,YTpi"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpi YTpi"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpi "), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpi,"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YT pi"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpi\0"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpi="), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpi===="), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpiYg="), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpiYg==="), BASE_INVALID},
        {BASE_SPAN_INIT("Basic Y"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpiY"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpiY==="), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YTpiYh=="), BASE_INVALID}, /* stray bits */
        {BASE_SPAN_INIT("Basic YTpiYh"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic YT-_"), BASE_INVALID}, /* base64url */
        {BASE_SPAN_INIT("Basic Y.p."), BASE_INVALID},
        {BASE_SPAN_INIT("Basic Y.piYg"), BASE_INVALID},
        {BASE_SPAN_INIT("Basic id:secret"), BASE_INVALID},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        if (parse_basic(cases[i].header) != cases[i].err)
            fail_msg("%.*s: not %d", BASE_SPAN_ARGS(cases[i].header), cases[i].err);
}

static void test_basic_storage(void **state BASE_UNUSED)
{
    struct base_buf fixed;
    char memory[16];

    base_buf_clear(&storage);
    base_buf_init(&storage, 3);
    assert_int_equal(http_basic_parse(BASE_SPAN("Basic YTpi"), &storage, &basic), BASE_TOO_LARGE);
    base_buf_init_fixed(&fixed, memory, sizeof memory);
    base_buf_put_str(&fixed, "before");
    assert_int_equal(http_basic_parse(BASE_SPAN("Basic YTpi"), &fixed, &basic), BASE_OK);
    assert_span(base_buf_span(&fixed), "beforeab");
}

static void test_bearer(void **state BASE_UNUSED)
{
    static const struct {
        struct base_span header;
        enum base_err err;
        const char *token;
    } cases[] = {
        {BASE_SPAN_INIT("Bearer a"), BASE_OK, "a"},
        {BASE_SPAN_INIT("bearer  eyJ.a-b_c.~+/"), BASE_OK, "eyJ.a-b_c.~+/"},
        {BASE_SPAN_INIT("BEARER ab=="), BASE_OK, "ab=="},
        {BASE_SPAN_INIT(""), BASE_NOT_FOUND, ""},
        {BASE_SPAN_INIT("Basic YTpi"), BASE_NOT_FOUND, ""},
        {BASE_SPAN_INIT("Bearera"), BASE_NOT_FOUND, ""},
        {BASE_SPAN_INIT("Bearer"), BASE_INVALID, ""},
        {BASE_SPAN_INIT("Bearer "), BASE_INVALID, ""},
        {BASE_SPAN_INIT("Bearer =="), BASE_INVALID, ""},
        {BASE_SPAN_INIT("Bearer a b"), BASE_INVALID, ""},
        {BASE_SPAN_INIT("Bearer a=b"), BASE_INVALID, ""},
        {BASE_SPAN_INIT("Bearer a, Basic b"), BASE_INVALID, ""},
        {BASE_SPAN_INIT("Bearer \"a\""), BASE_INVALID, ""},
        {BASE_SPAN_INIT("Bearer a\0"), BASE_INVALID, ""},
        {BASE_SPAN_INIT("Bearer \xc3\xa9"), BASE_INVALID, ""},
        {BASE_SPAN_INIT("Bearer\ta"), BASE_INVALID, ""},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct base_span token;

        assert_int_equal(http_bearer_parse(cases[i].header, &token), cases[i].err);
        assert_span(token, cases[i].token);
    }
}

static void test_media_type(void **state BASE_UNUSED)
{
    static const struct {
        const char *value;
        bool is;
    } cases[] = {
        {"application/json", true},
        {"APPLICATION/Json", true},
        {"application/json ", true},
        {"application/json;", true},
        {"application/json;;", true},
        {"application/json; ;\t; ", true},
        {"application/json;charset=utf-8", true},
        {"application/json; charset=UTF-8", true},
        {"application/json\t;\tCharset=\"utf-8\" ", true},
        {"application/json; a=b; c=\"d;e\\\"f\"; charset=utf-8", true},
        {"application/json; a=\"\"", true},
        {"application/json; a=\"\xc3\xa9\t\\\\\"", true},
        {"", false},
        {"application", false},
        {"application/jso", false},
        {"application/jsonx", false},
        {"application/json-patch+json", false},
        {"text/plain", false},
        {" application/json", false},
        {"application /json", false},
        {"application/json,text/plain", false},
        {"application/json, application/json", false},
        {"application/json charset=utf-8", false},
        {"application/json; charset", false},
        {"application/json; charset=", false},
        {"application/json; charset =utf-8", false},
        {"application/json; charset= utf-8", false},
        {"application/json; =utf-8", false},
        {"application/json; charset=utf-8 x", false},
        {"application/json; charset=utf-16", false},
        {"application/json; charset=iso-8859-1", false},
        {"application/json; charset=\"iso-8859-1\"", false},
        {"application/json; charset=\"\"", false},
        {"application/json; charset=utf-8; charset=utf-7", false},
        {"application/json; charset=utf-8;charset=\"utf-7\"", false},
        {"application/json; a=\"b", false},
        {"application/json; a=\"", false},
        {"application/json; a=\"b\\", false},
        {"application/json; a=\"b\\\"", false},
        {"application/json; a=\"b\"c", false},
        {"application/json; a=\"\x01\"", false},
        {"application/json; a=\"\\\x01\"", false},
        {"application/json; a=b@c", false},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        if (http_media_type_is(base_span_str(cases[i].value), BASE_SPAN("application/json")) !=
            cases[i].is)
            fail_msg("%s", cases[i].value);
}

static void test_etag(void **state BASE_UNUSED)
{
    static const struct {
        const char *list, *etag;
        bool weak, matches;
    } cases[] = {
        {"*", "\"a\"", true, true},
        {"*", "\"a\"", false, true},
        {"\"a\"", "\"a\"", true, true},
        {"\"a\"", "\"a\"", false, true},
        {"\"a\"", "\"b\"", true, false},
        {"\"a\"", "\"A\"", true, false},
        {"\"ab\"", "\"a\"", true, false},
        {"\"\"", "\"\"", false, true},
        {"W/\"a\"", "\"a\"", true, true},
        {"W/\"a\"", "\"a\"", false, false},
        {"\"a\"", "W/\"a\"", true, true},
        {"\"a\"", "W/\"a\"", false, false},
        {"W/\"a\"", "W/\"a\"", false, false},
        {"\"x\", \"a\"", "\"a\"", false, true},
        {"\"x\",\"a\",\"y\"", "\"a\"", false, true},
        {"\"x\"\t,  W/\"a\"", "\"a\"", true, true},
        {",, \"x\",, \"a\" ,", "\"a\"", false, true},
        {"\"a,b\"", "\"a,b\"", false, true},
        {"\"x\", \"a\\\"", "\"a\\\"", false, true}, /* no escapes in entity tags */
        {"\"\xc3\xa9\"", "\"\xc3\xa9\"", false, true},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        bool valid = false;
        bool matches = http_etag_matches(base_span_str(cases[i].list), base_span_str(cases[i].etag),
                                         cases[i].weak, &valid);

        if (!valid || matches != cases[i].matches)
            fail_msg("%s against %s", cases[i].list, cases[i].etag);
    }
}

static void test_bad_etag(void **state BASE_UNUSED)
{
    static const struct base_span cases[] = {
        BASE_SPAN_INIT(""),           BASE_SPAN_INIT(","),
        BASE_SPAN_INIT("a"),          BASE_SPAN_INIT("\""),
        BASE_SPAN_INIT("\"a"),        BASE_SPAN_INIT("a\""),
        BASE_SPAN_INIT("w/\"a\""),    BASE_SPAN_INIT("W/a"),
        BASE_SPAN_INIT("W/"),         BASE_SPAN_INIT("W \"a\""),
        BASE_SPAN_INIT("\"a\"b"),     BASE_SPAN_INIT("\"a\" \"b\""),
        BASE_SPAN_INIT("\"a\"\"b\""), BASE_SPAN_INIT("\"a\", *"),
        BASE_SPAN_INIT("*, \"a\""),   BASE_SPAN_INIT("**"),
        BASE_SPAN_INIT("\"a b\""),    BASE_SPAN_INIT("\"a\tb\""),
        BASE_SPAN_INIT("\"a\0\""),    BASE_SPAN_INIT("\"a\x7f\""),
        BASE_SPAN_INIT("\"a\", b"),   BASE_SPAN_INIT("\"a\"; \"b\""),
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        bool valid = true;

        assert_false(http_etag_matches(cases[i], BASE_SPAN("\"a\""), true, &valid));
        assert_false(valid);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_form, clear_storage),
        cmocka_unit_test_teardown(test_bad_form, clear_storage),
        cmocka_unit_test_teardown(test_form_limits, clear_storage),
        cmocka_unit_test(test_form_appends),
        cmocka_unit_test_teardown(test_form_get, clear_storage),
        cmocka_unit_test_teardown(test_form_duplicates, clear_storage),
        cmocka_unit_test_teardown(test_basic_pairs, clear_storage),
        cmocka_unit_test_teardown(test_bad_basic_pairs, clear_storage),
        cmocka_unit_test_teardown(test_basic_headers, clear_storage),
        cmocka_unit_test_teardown(test_basic_storage, clear_storage),
        cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_media_type),
        cmocka_unit_test(test_etag),
        cmocka_unit_test(test_bad_etag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
