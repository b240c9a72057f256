/* SPDX-License-Identifier: Apache-2.0 */
#include "base_buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <wchar.h>

#include <cmocka.h>

static void grows_and_keeps_what_it_had(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;

    (void)state;
    base_buf_init(&buf, 100000);
    for (int i = 0; i < 10000; i++)
        base_buf_putf(&buf, "%04d,", i);
    assert_false(buf.overflow);
    assert_int_equal(buf.len, 50000);
    assert_memory_equal(buf.ptr, "0000,0001,", 10);
    assert_memory_equal(buf.ptr + 49995, "9999,", 5);
}

static void all_the_ways_to_put(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;

    (void)state;
    base_buf_init(&buf, 1000);
    base_buf_put(&buf, "a\0b", 3);
    base_buf_put_span(&buf, BASE_SPAN("c"));
    base_buf_put_str(&buf, "d");
    base_buf_put_char(&buf, 'e');
    BASE_BUF_LIT(&buf, "f");
    base_buf_put_span(&buf, (struct base_span){0});
    base_buf_put(&buf, NULL, 0);
    base_buf_putf(&buf, "%s", "");
    assert_int_equal(buf.len, 7);
    assert_memory_equal(base_buf_cstr(&buf), "a\0bcdef", 8);
    assert_false(buf.overflow);
}

static void numbers_at_their_ends(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;

    (void)state;
    base_buf_init(&buf, 1000);
    base_buf_put_u64(&buf, 0);
    base_buf_put_char(&buf, ' ');
    base_buf_put_u64(&buf, UINT64_MAX);
    base_buf_put_char(&buf, ' ');
    base_buf_put_i64(&buf, INT64_MAX);
    base_buf_put_char(&buf, ' ');
    base_buf_put_i64(&buf, INT64_MIN);
    base_buf_put_char(&buf, ' ');
    base_buf_put_i64(&buf, -1);
    assert_string_equal(base_buf_cstr(&buf),
                        "0 18446744073709551615 9223372036854775807 -9223372036854775808 -1");
}

static void the_maximum_holds(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;

    (void)state;
    base_buf_init(&buf, 5);
    base_buf_put_str(&buf, "abcde");
    assert_false(buf.overflow); /* exactly full is not too full */
    base_buf_put_char(&buf, 'f');
    assert_true(buf.overflow);
    base_buf_put_str(&buf, "more");
    base_buf_putf(&buf, "%d", 42);
    base_buf_put_u64(&buf, 7);
    assert_string_equal(base_buf_cstr(&buf), "abcde");
    assert_int_equal(buf.len, 5);
}

static void what_fits_is_kept_for_messages(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf, other;

    (void)state;
    base_buf_init(&buf, 5);
    base_buf_put_str(&buf, "abcdefgh");
    assert_true(buf.overflow);
    assert_string_equal(base_buf_cstr(&buf), "abcde");

    base_buf_init(&other, 5);
    base_buf_putf(&other, "%s-%d", "abc", 12345);
    assert_true(other.overflow);
    assert_string_equal(base_buf_cstr(&other), "abc-1");
}

static void what_printf_refuses_is_no_text(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;

    (void)state;
    base_buf_init(&buf, 50);
    base_buf_putf(&buf, "a%lcb", (wint_t)0x110000); /* no character of any locale */
    assert_true(buf.overflow);
    assert_int_equal(buf.len, 0);
}

static void spans_of_nothing(void **state)
{
    struct base_span nothing = base_span_of(NULL, 0), text = BASE_SPAN("Text");

    (void)state;
    assert_true(base_span_eq(nothing, nothing));
    assert_true(base_span_eq_nocase(nothing, BASE_SPAN("")));
    assert_true(base_span_eq_nocase(text, BASE_SPAN("tEXT")));
    assert_false(base_span_eq_nocase(text, BASE_SPAN("tEXU")));
    assert_false(base_span_eq_nocase(text, nothing));
    assert_true(base_span_starts(text, nothing));
    assert_true(base_span_starts(nothing, nothing));
    assert_false(base_span_starts(nothing, text));
    assert_false(base_span_starts(text, BASE_SPAN("t")));
}

static void reserve_obeys_the_maximum(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;
    char *room;

    (void)state;
    base_buf_init(&buf, 10);
    assert_null(base_buf_reserve(&buf, 11));
    assert_true(buf.overflow);
    assert_null(base_buf_reserve(&buf, SIZE_MAX)); /* no sum that wraps */
    base_buf_reset(&buf);
    room = base_buf_reserve(&buf, 10);
    assert_non_null(room);
    assert_false(buf.overflow);
    assert_int_equal(buf.len, 0);
    memcpy(room, "0123456789", 10);
    buf.len += 10;
    assert_string_equal(base_buf_cstr(&buf), "0123456789");
    assert_non_null(base_buf_reserve(&buf, 0));
    assert_null(base_buf_reserve(&buf, 1));
}

static void reset_forgets_the_overflow_but_not_the_memory(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf buf;
    char *memory;

    (void)state;
    base_buf_init(&buf, 300);
    for (int i = 0; i < 400; i++)
        base_buf_put_char(&buf, 'x');
    assert_true(buf.overflow);
    memory = buf.ptr;
    base_buf_reset(&buf);
    assert_int_equal(buf.len, 0);
    assert_false(buf.overflow);
    assert_string_equal(base_buf_cstr(&buf), "");
    base_buf_put_str(&buf, "next");
    assert_ptr_equal(buf.ptr, memory);
}

static void empty_and_zeroed_buffers_work(void **state)
{
    struct base_buf zeroed = {0};
    struct base_buf buf;

    (void)state;
    assert_string_equal(base_buf_cstr(&zeroed), "");
    assert_int_equal(base_buf_span(&zeroed).len, 0);
    base_buf_put_char(&zeroed, 'x');
    assert_true(zeroed.overflow);
    assert_string_equal(base_buf_cstr(&zeroed), "");
    base_buf_clear(&zeroed);
    base_buf_clear(&zeroed);

    base_buf_init(&buf, 100);
    assert_string_equal(base_buf_cstr(&buf), "");
    base_buf_put_str(&buf, "x");
    base_buf_clear(&buf);
    assert_null(buf.ptr);
    assert_int_equal(buf.len, 0);
    base_buf_clear(&buf);
}

static void fixed_memory_is_never_exceeded(void **state)
{
    char memory[8];
    struct base_buf buf;

    (void)state;
    memset(memory, '#', sizeof memory);
    base_buf_init_fixed(&buf, memory, sizeof memory - 1);
    base_buf_put_str(&buf, "abcdefghij");
    assert_true(buf.overflow);
    assert_ptr_equal(buf.ptr, memory);
    assert_string_equal(base_buf_cstr(&buf), "abcdef");
    assert_int_equal(memory[7], '#');

    base_buf_init_fixed(&buf, memory, 1);
    base_buf_putf(&buf, "%d", 1);
    assert_true(buf.overflow);
    assert_string_equal(base_buf_cstr(&buf), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_keeps_what_it_had),
        cmocka_unit_test(all_the_ways_to_put),
        cmocka_unit_test(numbers_at_their_ends),
        cmocka_unit_test(the_maximum_holds),
        cmocka_unit_test(what_fits_is_kept_for_messages),
        cmocka_unit_test(what_printf_refuses_is_no_text),
        cmocka_unit_test(spans_of_nothing),
        cmocka_unit_test(reserve_obeys_the_maximum),
        cmocka_unit_test(reset_forgets_the_overflow_but_not_the_memory),
        cmocka_unit_test(empty_and_zeroed_buffers_work),
        cmocka_unit_test(fixed_memory_is_never_exceeded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
