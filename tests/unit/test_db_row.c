/* SPDX-License-Identifier: Apache-2.0 */
/* db_row.c, over results made by hand: no server. The bytes are those of PostgreSQL's *send
 * functions. */
#include "base_attr.h"
#include "db_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* A result of one row and one column; NULL bytes: SQL NULL. */
static struct db_result one(const char *bytes, size_t len)
{
    PGresAttDesc column = {.name = (char[]){"c"}, .format = 1};
    struct db_result result = {.pg = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK)};

    assert_true(PQsetResultAttrs(result.pg, 1, &column));
    /* PQsetvalue() only reads. */
    assert_true(PQsetvalue(result.pg, 0, 0, (char *)bytes, bytes ? (int)len : -1));
    return result;
}
#define ONE(literal) one("" literal, sizeof(literal) - 1)

static void numbers(void **state BASE_UNUSED)
{
    struct db_result yes = ONE("\x01"), no = ONE("\0"), four = ONE("\xff\xff\xff\xfe"),
                     eight = ONE("\x80\0\0\0\0\0\0\x01");

    assert_true(db_row_bool(&yes, 0, 0));
    assert_false(db_row_bool(&no, 0, 0));
    assert_int_equal(db_row_int4(&four, 0, 0), -2);
    assert_true(db_row_int8(&eight, 0, 0) == INT64_MIN + 1);
    PQclear(yes.pg);
    PQclear(no.pg);
    PQclear(four.pg);
    PQclear(eight.pg);
}

static void nulls(void **state BASE_UNUSED)
{
    struct db_result null = one(NULL, 0);
    struct base_span out[2];

    assert_int_equal(db_result_rows(&null), 1);
    assert_true(db_row_is_null(&null, 0, 0));
    assert_null(db_row_text(&null, 0, 0).ptr);
    assert_int_equal(db_row_text(&null, 0, 0).len, 0);
    assert_false(db_row_bool(&null, 0, 0));
    assert_int_equal(db_row_int4(&null, 0, 0), 0);
    assert_int_equal(db_row_int8(&null, 0, 0), 0);
    assert_int_equal(db_row_time(&null, 0, 0), 0);
    assert_int_equal(db_row_text_array(&null, 0, 0, out, 2), 0);
    PQclear(null.pg);
}

static void texts(void **state BASE_UNUSED)
{
    struct db_result text = ONE("a\0b"), empty = ONE("");

    assert_int_equal(db_row_text(&text, 0, 0).len, 3);
    assert_memory_equal(db_row_text(&text, 0, 0).ptr, "a\0b", 3);
    assert_non_null(db_row_text(&empty, 0, 0).ptr); /* not SQL NULL */
    assert_int_equal(db_row_text(&empty, 0, 0).len, 0);
    PQclear(text.pg);
    PQclear(empty.pg);
}

static void time_is(const char *bytes, int64_t expected)
{
    struct db_result result = one(bytes, 8);

    assert_true(db_row_time(&result, 0, 0) == expected);
    PQclear(result.pg);
}

static void times(void **state BASE_UNUSED)
{
    time_is("\0\0\0\0\0\0\0\0", DB_EPOCH_US);
    time_is("\xff\xff\xff\xff\xff\xff\xff\xff", DB_EPOCH_US - 1);
    time_is("\x7f\xff\xff\xff\xff\xff\xff\xff", INT64_MAX);
    time_is("\x80\0\0\0\0\0\0\0", INT64_MIN);
    /* The year 294276, PostgreSQL's last, is past what we can count from 1970. */
    time_is("\x7f\xff\xfd\0\0\0\0\0", INT64_MAX);
}

#define HEAD    "\0\0\0\x01\0\0\0\0\0\0\0\x19" /* one dimension, no nulls, text */
#define SIZE(n) "\0\0\0" n "\0\0\0\x01"
#define ITEM_ABC                                                                                   \
    "\0\0\0\x03"                                                                                   \
    "abc"

static void arrays(void **state BASE_UNUSED)
{
    struct db_result two = ONE(HEAD SIZE("\x02") ITEM_ABC "\0\0\0\0"),
                     null = ONE(HEAD SIZE("\x02") "\xff\xff\xff\xff" ITEM_ABC),
                     none = ONE("\0\0\0\0\0\0\0\0\0\0\0\x19");
    struct base_span out[2] = {{NULL, 9}, {NULL, 9}};

    assert_int_equal(db_row_text_array(&two, 0, 0, out, 2), 2);
    assert_true(base_span_eq(out[0], BASE_SPAN("abc")));
    assert_true(out[1].ptr && out[1].len == 0);
    assert_int_equal(db_row_text_array(&null, 0, 0, out, 2), 2);
    assert_true(!out[0].ptr && out[0].len == 0);
    assert_true(base_span_eq(out[1], BASE_SPAN("abc")));
    assert_int_equal(db_row_text_array(&none, 0, 0, out, 2), 0);
    PQclear(two.pg);
    PQclear(null.pg);
    PQclear(none.pg);
}

/* More than there is room for are counted, not written. */
static void arrays_that_are_too_long(void **state BASE_UNUSED)
{
    struct db_result three = ONE(HEAD SIZE("\x03") ITEM_ABC ITEM_ABC ITEM_ABC);
    struct base_span out[3] = {{NULL, 0}, {NULL, 7}, {NULL, 7}};

    assert_int_equal(db_row_text_array(&three, 0, 0, out, 1), 3);
    assert_true(base_span_eq(out[0], BASE_SPAN("abc")));
    assert_int_equal(out[1].len, 7);
    assert_int_equal(db_row_text_array(&three, 0, 0, NULL, 0), 3);
    PQclear(three.pg);
}

/* A result that others have a row of, too. */
static void one_row_of_several(void **state BASE_UNUSED)
{
    struct db_result all = ONE("first"), second;

    assert_true(PQsetvalue(all.pg, 1, 0, (char[]){"second"}, 6));
    assert_int_equal(db_result_rows(&all), 2);
    second = (struct db_result){all.pg, 2};
    assert_int_equal(db_result_rows(&second), 1);
    assert_true(base_span_eq(db_row_text(&second, 0, 0), BASE_SPAN("second")));
    assert_false(db_row_is_null(&second, 0, 0));
#ifdef NDEBUG
    assert_true(db_row_is_null(&second, 1, 0));
    assert_true(db_row_is_null(&second, -1, 0));
#endif
    PQclear(all.pg);
}

/* Mistakes of ours are caught in debug builds, and harmless in others. */
static void wrong_columns(void **state BASE_UNUSED)
{
#ifdef NDEBUG
    struct db_result text = ONE("abc"), cut = ONE(HEAD SIZE("\x02") ITEM_ABC "\0\0\0\x04x"),
                     deep = ONE("\0\0\0\x02\0\0\0\0\0\0\0\x19" SIZE("\x01") SIZE("\x01") ITEM_ABC);
    struct base_span out[2];

    assert_int_equal(db_row_int8(&text, 0, 0), 0);
    assert_int_equal(db_row_int4(&text, 0, 0), 0);
    assert_false(db_row_bool(&text, 0, 0));
    assert_int_equal(db_row_time(&text, 0, 0), 0);
    assert_int_equal(db_row_text_array(&text, 0, 0, out, 2), 0);
    assert_int_equal(db_row_text_array(&cut, 0, 0, out, 2), 0);
    assert_int_equal(db_row_text_array(&deep, 0, 0, out, 2), 0);
    assert_true(db_row_is_null(&text, 0, 1));
    assert_true(db_row_is_null(&text, 1, 0));
    assert_true(db_row_is_null(&text, -1, -1));
    PQclear(text.pg);
    PQclear(cut.pg);
    PQclear(deep.pg);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(nulls),
        cmocka_unit_test(texts),
        cmocka_unit_test(times),
        cmocka_unit_test(arrays),
        cmocka_unit_test(arrays_that_are_too_long),
        cmocka_unit_test(one_row_of_several),
        cmocka_unit_test(wrong_columns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
