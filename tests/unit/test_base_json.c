/* SPDX-License-Identifier: Apache-2.0 */
#include "base_json.h"

#include "base_attr.h"
#include "base_encode.h"
#include "base_mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
    const char *why;
    json_t *value;

    if (base_json_parse(base_span_str(text), 10000, 20, &value, &why) != BASE_OK)
        fail_msg("%s: %s", text, why);
    return value;
}

static void good_texts(void **state)
{
    static const char *const good[] = {
        "{}",
        "[]",
        " {\"a\" : [1, 2.5, -3, true, false, null, \"x\"]}\r\n",
        "\"text\"",
        "0",
        "null",
        "{\"a\":{\"b\":{}}}",
        "\"\\u0041\\ud83d\\ude00\"",
        "\"\xf0\x9f\x98\x80\"",
        "\"[[[[[[[[[[[[[[[[[[[[[[[[[[\"",
        "\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"",
        "[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]",
        "9223372036854775807",
        "-9223372036854775808",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(good); i++) {
        json_auto_t *value = parse(good[i]);

        assert_non_null(value);
    }
}

static void bad_texts(void **state)
{
    static const struct {
        struct base_span text;
        const char *why;
    } bad[] = {
        {BASE_SPAN_INIT(""), "too early"},
        {BASE_SPAN_INIT(" "), "too early"},
        {BASE_SPAN_INIT("{"), "too early"},
        {BASE_SPAN_INIT("{\"a\":"), "too early"},
        {BASE_SPAN_INIT("\"abc"), "too early"},
        {BASE_SPAN_INIT("nul"), "not JSON"},
        {BASE_SPAN_INIT("{a:1}"), "not JSON"},
        {BASE_SPAN_INIT("{'a':1}"), "not JSON"},
        {BASE_SPAN_INIT("[1,]"), "not JSON"},
        {BASE_SPAN_INIT("{\"a\":1,}"), "not JSON"},
        {BASE_SPAN_INIT("[1 2]"), "not JSON"},
        {BASE_SPAN_INIT("[01]"), "not JSON"},
        {BASE_SPAN_INIT("[+1]"), "not JSON"},
        {BASE_SPAN_INIT("[.5]"), "not JSON"},
        {BASE_SPAN_INIT("[NaN]"), "not JSON"},
        {BASE_SPAN_INIT("[0x10]"), "not JSON"},
        {BASE_SPAN_INIT("]"), "not JSON"},
        {BASE_SPAN_INIT("// x\n{}"), "not JSON"},
        {BASE_SPAN_INIT("\xef\xbb\xbf{}"), "not JSON"},
        {BASE_SPAN_INIT("\"a\nb\""), "not JSON"},
        {BASE_SPAN_INIT("\"\\x41\""), "not JSON"},
        {BASE_SPAN_INIT("\"\\ud800\""), "not JSON"},
        {BASE_SPAN_INIT("\"\\udc00\""), "not JSON"},
        {BASE_SPAN_INIT("{} {}"), "after the JSON value"},
        {BASE_SPAN_INIT("{}x"), "after the JSON value"},
        {BASE_SPAN_INIT("1 2"), "after the JSON value"},
        {BASE_SPAN_INIT("{\"a\":1,\"a\":1}"), "twice"},
        {BASE_SPAN_INIT("{\"a\":1,\"\\u0061\":2}"), "twice"},
        {BASE_SPAN_INIT("[{\"x\":{\"a\":1,\"b\":2,\"a\":3}}]"), "twice"},
        {BASE_SPAN_INIT("[9223372036854775808]"), "too large"},
        {BASE_SPAN_INIT("[1e999]"), "too large"},
        {BASE_SPAN_INIT("\"\\u0000\""), "NUL"},
        {BASE_SPAN_INIT("{\"a\\u0000b\":1}"), "NUL"},
        {BASE_SPAN_INIT("\"a\0b\""), "NUL"},
        {BASE_SPAN_INIT("{}\0"), "NUL"},
        {BASE_SPAN_INIT("\"\xff\""), "UTF-8"},
        {BASE_SPAN_INIT("\"\xc0\x80\""), "UTF-8"},
        {BASE_SPAN_INIT("\"\xed\xa0\x80\""), "UTF-8"},
        {BASE_SPAN_INIT("{\"\xe9\":1}"), "UTF-8"},
        {BASE_SPAN_INIT("[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]"), "deeply"},
        {BASE_SPAN_INIT("[[[[[[[[[[[[[[[[[[[[{"), "deeply"},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        json_t *value = json_null();
        const char *why = NULL;

        if (base_json_parse(bad[i].text, 10000, 20, &value, &why) != BASE_INVALID)
            fail_msg("%.*s was taken", BASE_SPAN_ARGS(bad[i].text));
        assert_null(value);
        if (!strstr(why, bad[i].why))
            fail_msg("%.*s: %s", BASE_SPAN_ARGS(bad[i].text), why);
    }
}

static void long_texts(void **state)
{
    const char *why;
    json_t *value;

    (void)state;
    assert_int_equal(base_json_parse(BASE_SPAN("[]"), 1, 20, &value, &why), BASE_TOO_LARGE);
    assert_null(value);
    assert_int_equal(base_json_parse(BASE_SPAN("[]"), 2, 20, &value, &why), BASE_OK);
    json_decref(value);
    assert_int_equal(base_json_parse(BASE_SPAN("[]"), 2, 0, &value, &why), BASE_INVALID);
    assert_int_equal(base_json_parse(BASE_SPAN("1"), 2, 0, &value, &why), BASE_OK);
    json_decref(value);
}

static void getters_tell_apart(void **state)
{
    json_auto_t *object = parse("{\"s\":\"text\",\"e\":\"\",\"n\":null,\"b\":true,\"i\":-5,"
                                "\"t\":\"2027-01-01T00:00:00Z\",\"a\":[1,2],\"o\":{\"x\":1}}");
    struct base_json_errors errors = {0};
    struct base_json_reader reader;
    struct base_span span;
    json_t *value;
    int64_t number;
    bool truth;

    (void)state;
    base_json_reader_init(&reader, object, &errors);
    assert_int_equal(base_json_get_string(&reader, "s", 1, 4, &span), BASE_JSON_VALUE);
    assert_true(base_span_eq(span, BASE_SPAN("text")));
    assert_int_equal(base_json_get_string(&reader, "e", 0, 4, &span), BASE_JSON_VALUE);
    assert_int_equal(span.len, 0);
    assert_int_equal(base_json_get_string(&reader, "n", 1, 4, &span), BASE_JSON_NULL);
    assert_null(span.ptr);
    assert_int_equal(base_json_get_string(&reader, "absent", 1, 4, &span), BASE_JSON_ABSENT);
    assert_int_equal(base_json_get_bool(&reader, "b", &truth), BASE_JSON_VALUE);
    assert_true(truth);
    assert_int_equal(base_json_get_int(&reader, "i", -5, -5, &number), BASE_JSON_VALUE);
    assert_int_equal(number, -5);
    assert_int_equal(base_json_get_time(&reader, "t", &number), BASE_JSON_VALUE);
    assert_int_equal(number, INT64_C(1798761600000000));
    assert_string_equal(base_json_reader_unknown(&reader), "a");
    assert_int_equal(base_json_get_array(&reader, "a", 2, &value), BASE_JSON_VALUE);
    assert_int_equal(json_array_size(value), 2);
    assert_int_equal(base_json_get_object(&reader, "o", &value), BASE_JSON_VALUE);
    assert_int_equal(json_object_size(value), 1);
    assert_int_equal(base_json_get_bool(&reader, "n", &truth), BASE_JSON_NULL);
    assert_int_equal(base_json_get_int(&reader, "n", 0, 1, &number), BASE_JSON_NULL);
    assert_int_equal(base_json_get_time(&reader, "n", &number), BASE_JSON_NULL);
    assert_int_equal(base_json_get_array(&reader, "n", 1, &value), BASE_JSON_NULL);
    assert_int_equal(base_json_get_object(&reader, "n", &value), BASE_JSON_NULL);
    assert_null(base_json_reader_unknown(&reader));
    assert_int_equal(errors.count, 0);
}

static void a_member_too_many_is_unknown(void **state)
{
    json_auto_t *object = parse("{\"last\":true}");
    struct base_json_errors errors = {0};
    struct base_json_reader reader;
    bool truth;

    (void)state;
    base_json_reader_init(&reader, object, &errors);
    for (size_t i = 0; i < BASE_COUNT(reader.asked); i++)
        assert_int_equal(base_json_get_bool(&reader, "other", &truth), BASE_JSON_ABSENT);
    assert_int_equal(base_json_get_bool(&reader, "last", &truth), BASE_JSON_VALUE);
    assert_int_equal(reader.n_asked, BASE_COUNT(reader.asked));
    assert_string_equal(base_json_reader_unknown(&reader), "last");
}

static void every_wrong_field_is_told(void **state)
{
    json_auto_t *object =
        parse("{\"number\":5,\"text\":\"text\",\"empty\":\"\",\"real\":1.0,\"array\":[1,2,3],"
              "\"object\":{},\"bool\":true,\"date\":\"2027-01-01\"}");
    struct base_json_errors errors = {0};
    struct base_json_reader reader;
    struct base_span span = BASE_SPAN_INIT("old");
    json_t *value = object;
    int64_t number = 7;
    bool truth = true;

    (void)state;
    base_json_reader_init(&reader, object, &errors);
    assert_int_equal(base_json_get_string(&reader, "number", 0, 9, &span), BASE_JSON_WRONG);
    assert_null(span.ptr);
    assert_int_equal(base_json_get_string(&reader, "text", 0, 3, &span), BASE_JSON_WRONG);
    assert_int_equal(base_json_get_string(&reader, "text", 5, 9, &span), BASE_JSON_WRONG);
    assert_int_equal(base_json_get_string(&reader, "empty", 1, 9, &span), BASE_JSON_WRONG);
    assert_int_equal(base_json_get_bool(&reader, "number", &truth), BASE_JSON_WRONG);
    assert_false(truth);
    assert_int_equal(base_json_get_int(&reader, "real", 0, 9, &number), BASE_JSON_WRONG);
    assert_int_equal(number, 0);
    assert_int_equal(base_json_get_int(&reader, "number", 6, 9, &number), BASE_JSON_WRONG);
    assert_int_equal(base_json_get_int(&reader, "number", 0, 4, &number), BASE_JSON_WRONG);
    assert_int_equal(base_json_get_int(&reader, "text", 0, 9, &number), BASE_JSON_WRONG);
    assert_int_equal(base_json_get_int(&reader, "bool", 0, 9, &number), BASE_JSON_WRONG);
    assert_int_equal(base_json_get_time(&reader, "number", &number), BASE_JSON_WRONG);
    assert_int_equal(base_json_get_time(&reader, "date", &number), BASE_JSON_WRONG);
    assert_int_equal(base_json_get_array(&reader, "object", 9, &value), BASE_JSON_WRONG);
    assert_null(value);
    assert_int_equal(base_json_get_array(&reader, "array", 2, &value), BASE_JSON_WRONG);
    assert_null(value);
    assert_int_equal(base_json_get_object(&reader, "array", &value), BASE_JSON_WRONG);
    assert_null(value);
    assert_int_equal(errors.count, 15);
    assert_string_equal(errors.items[0].field, "number");
    assert_string_equal(errors.items[0].message, "must be a string");
    assert_string_equal(errors.items[1].message, "must be 0 to 3 characters long");
    assert_string_equal(errors.items[3].message, "must not be empty");
    assert_string_equal(errors.items[6].message, "must be from 6 to 9");
    assert_string_equal(errors.items[11].field, "date");
    assert_string_equal(errors.items[13].message, "must have at most 2 items");
    assert_null(base_json_reader_unknown(&reader));
}

static void errors_are_bounded(void **state)
{
    struct base_json_errors errors = {0};
    char field[200];

    (void)state;
    memset(field, 'f', sizeof field);
    field[199] = '\0';
    for (int i = 0; i < 40; i++)
        base_json_error_add(&errors, field, "%s %s", field, field);
    assert_int_equal(errors.count, 40);
    assert_int_equal(strlen(errors.items[31].field), 95);
    assert_int_equal(strlen(errors.items[31].message), 191);
}

static void names_are_cut_between_characters(void **state)
{
    static const char *const kept[] = {"", "a", "\x80", "\x80\x80\x80", "\xc3\xa9"};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(kept); i++) { /* nothing was cut, whatever it is */
        struct base_json_errors errors = {0};

        base_json_error_add(&errors, kept[i], "%s", kept[i]);
        assert_string_equal(errors.items[0].field, kept[i]);
        assert_string_equal(errors.items[0].message, kept[i]);
    }
    for (int shift = 0; shift < 4; shift++) { /* a member's name is a stranger's text */
        struct base_json_errors errors = {0};
        char field[300] = "xxx";

        for (int i = 0; i < 60; i++)
            memcpy(field + shift + 4 * i, "\xf0\x9f\x98\x80", 5);
        base_json_error_add(&errors, field, "%s", field);
        assert_true(base_utf8_valid(base_span_str(errors.items[0].field)));
        assert_true(base_utf8_valid(base_span_str(errors.items[0].message)));
        assert_true(strlen(errors.items[0].field) >= 92);
    }
}

static void expect_written(struct base_span text, const char *json)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;

    base_buf_init(&buf, 1000);
    base_json_put_string(&buf, text);
    assert_string_equal(base_buf_cstr(&buf), json);
}

static void strings_are_escaped(void **state)
{
    (void)state;
    expect_written((struct base_span){0}, "\"\"");
    expect_written(BASE_SPAN("plain"), "\"plain\"");
    expect_written(BASE_SPAN("\"\\/"), "\"\\\"\\\\/\"");
    expect_written(BASE_SPAN("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
    expect_written(BASE_SPAN("\x01\x1f\x7f"), "\"\\u0001\\u001f\\u007f\"");
    expect_written(BASE_SPAN("\xc2\x80\xc2\x85\xc2\x9b\xc2\xa0"),
                   "\"\\u0080\\u0085\\u009b\xc2\xa0\"");
    expect_written(BASE_SPAN("a\0b"), "\"a\\u0000b\"");
    expect_written(BASE_SPAN("</script>&"), "\"\\u003c/script\\u003e\\u0026\"");
    expect_written(BASE_SPAN("\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa"),
                   "\"\\u2028\\u2029\xe2\x80\xaa\"");
    expect_written(BASE_SPAN("caf\xc3\xa9 \xf0\x9f\x98\x80"), "\"caf\xc3\xa9 \xf0\x9f\x98\x80\"");
    expect_written(BASE_SPAN("\xef\xbf\xbd"), "\"\xef\xbf\xbd\"");
}

static void bad_utf8_leaves_good_json(void **state)
{
    (void)state;
    expect_written(BASE_SPAN("\xff"), "\"\\ufffd\"");
    expect_written(BASE_SPAN("a\xc3"), "\"a\\ufffd\"");
    expect_written(BASE_SPAN("\xc3\"x"), "\"\\ufffd\\\"x\"");
    expect_written(BASE_SPAN("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");
}

static void members_and_commas(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;

    (void)state;
    base_buf_init(&buf, 1000);
    base_buf_put_char(&buf, '{');
    base_json_put_member_string(&buf, "a{", BASE_SPAN("x["));
    base_json_put_member_int(&buf, "b", INT64_MIN);
    base_json_put_member_bool(&buf, "c", true);
    base_json_put_member_bool(&buf, "d", false);
    base_json_put_member_null(&buf, "e\"");
    base_json_put_member_time(&buf, "f", INT64_C(1798761600999999));
    base_json_put_name(&buf, "g");
    BASE_BUF_LIT(&buf, "[{");
    base_json_put_member_int(&buf, "h", 0);
    BASE_BUF_LIT(&buf, "}]}");
    assert_string_equal(base_buf_cstr(&buf),
                        "{\"a{\":\"x[\",\"b\":-9223372036854775808,\"c\":true,\"d\":false,"
                        "\"e\\\"\":null,\"f\":\"2027-01-01T00:00:00Z\",\"g\":[{\"h\":0}]}");
}

static void a_comma_only_between_members(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;

    (void)state;
    base_buf_init(&buf, 100);
    base_json_put_name(&buf, "start");
    base_buf_put_char(&buf, '[');
    base_json_put_name(&buf, "a");
    base_json_put_name(&buf, "b");
    assert_string_equal(base_buf_cstr(&buf), "\"start\":[\"a\":,\"b\":");
}

static void values_come_back_as_they_were(void **state)
{
    static const char *const texts[] = {
        "{\"z\":1,\"a\":[true,false,null,-5,\"x\\n\"],\"m\":{\"b\":{},\"a\":[]}}",
        "[1.5,-0.25,1e+300,0.1,1.1,0.30000000000000004]",
        "\"\\u003c\"",
        "9223372036854775807",
        "null",
    };
    BASE_AUTO(base_buf_clear) struct base_buf buf;

    (void)state;
    base_buf_init(&buf, 1000);
    for (size_t i = 0; i < BASE_COUNT(texts); i++) {
        json_auto_t *value = parse(texts[i]);
        json_auto_t *again = NULL;

        base_buf_reset(&buf);
        assert_int_equal(base_json_put_value(&buf, value), BASE_OK);
        again = parse(base_buf_cstr(&buf));
        assert_true(json_equal(value, again));
        if (i != 1) /* reals may be spelled otherwise */
            assert_string_equal(base_buf_cstr(&buf), texts[i]);
    }
}

static void values_that_cannot_be_written(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf, small;
    json_auto_t *text = json_string("too long for it");
    json_auto_t *deep = json_array();
    json_auto_t *object = json_object();
    json_t *inner = deep;

    (void)state;
    base_buf_init(&buf, 1000);
    base_buf_init(&small, 5);
    assert_int_equal(base_json_put_value(&buf, NULL), BASE_INTERNAL);
    assert_int_equal(base_json_put_value(&small, text), BASE_TOO_LARGE);
    for (int i = 0; i < 100; i++) {
        json_array_append_new(inner, json_array());
        inner = json_array_get(inner, 0);
    }
    json_array_append_new(deep, json_null());
    assert_int_equal(base_json_put_value(&buf, deep), BASE_INTERNAL);
    json_object_set(object, "a", deep);
    json_object_set_new(object, "b", json_null());
    assert_int_equal(base_json_put_value(&buf, object), BASE_INTERNAL);
}

static void *no_memory(size_t size BASE_UNUSED)
{
    return NULL;
}

static void memory_runs_out_inside_jansson(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;
    json_auto_t *real = json_real(0.5);
    json_malloc_t allocate;
    json_free_t release;
    enum base_err err;

    (void)state;
    base_buf_init(&buf, 1000);
    json_get_alloc_funcs(&allocate, &release);
    json_set_alloc_funcs(no_memory, release);
    err = base_json_put_value(&buf, real);
    json_set_alloc_funcs(allocate, release);
    assert_int_equal(err, BASE_INTERNAL);
    assert_int_equal(buf.len, 0);
}

/* Each allocation of jansson's fails in turn: the text gets no verdict, whatever it is. */
static void no_verdict_without_memory(const char *text, enum base_err verdict)
{
    const char *why;
    long n = 0, left;

    do {
        json_t *value;
        enum base_err err;

        base_mem_fail_nth(++n);
        err = base_json_parse(base_span_str(text), 1000, 20, &value, &why);
        left = base_mem_fail_nth(0);
        assert_int_equal(err, left > 0 ? verdict : BASE_NO_MEMORY);
        assert_int_equal(value != NULL, err == BASE_OK);
        json_decref(value);
    } while (left == 0);
    assert_true(n > 10);
}

static void want_of_memory_is_no_verdict(void **state)
{
    (void)state;
    no_verdict_without_memory(
        "{\"a name\":[1,2.5,{\"b\":null}],\"a longer name\":\"and its text\"}", BASE_OK);
    no_verdict_without_memory("{\"a name\":[1,2.5,{\"b\":null}],\"a name\":1}", BASE_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_texts),
        cmocka_unit_test(bad_texts),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(getters_tell_apart),
        cmocka_unit_test(a_member_too_many_is_unknown),
        cmocka_unit_test(every_wrong_field_is_told),
        cmocka_unit_test(errors_are_bounded),
        cmocka_unit_test(names_are_cut_between_characters),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(bad_utf8_leaves_good_json),
        cmocka_unit_test(members_and_commas),
        cmocka_unit_test(a_comma_only_between_members),
        cmocka_unit_test(values_come_back_as_they_were),
        cmocka_unit_test(values_that_cannot_be_written),
        cmocka_unit_test(memory_runs_out_inside_jansson),
        cmocka_unit_test(want_of_memory_is_no_verdict),
    };

    base_mem_watch_libraries();
    base_mem_survive_libraries();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
