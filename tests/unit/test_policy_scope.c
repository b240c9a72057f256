/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define NAME_128                                                                                   \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                             \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* "s0 s1 …": that many names. */
static void put_names(struct base_buf *out, int count)
{
    for (int i = 0; i < count; i++)
        base_buf_putf(out, "%ss%d", i ? " " : "", i);
}

static void reads_names(void **state)
{
    struct policy_scopes scopes;

    (void)state;
    assert_int_equal(policy_scope_parse(BASE_SPAN("data:read data:write"), &scopes), BASE_OK);
    assert_int_equal(scopes.count, 2);
    assert_true(base_span_eq(scopes.names[0], BASE_SPAN("data:read")));
    assert_true(base_span_eq(scopes.names[1], BASE_SPAN("data:write")));
    assert_int_equal(policy_scope_parse(BASE_SPAN("!#[]~ a a !#[]~ a"), &scopes), BASE_OK);
    assert_int_equal(scopes.count, 2);
    assert_int_equal(policy_scope_parse((struct base_span){0}, &scopes), BASE_OK);
    assert_int_equal(scopes.count, 0);
}

static void refuses_what_the_grammar_forbids(void **state)
{
    static const char *const cases[] = {
        " ",
        " a",
        "a ",
        "a  b",
        "a\tb",
        "a\nb",
        "a,b\x7f",
        "\"a\"",
        "a\\b",
        "a b\"",
        "\xc3\xa4",
        "a b \x80",
        "\x1f",
        "a b  ",
        "ok "
        "\"",
        NAME_128 "a",
        "x " NAME_128 "a",
    };
    struct policy_scopes scopes;

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        scopes.count = 7;
        if (policy_scope_parse(base_span_str(cases[i]), &scopes) != BASE_INVALID)
            fail_msg("accepted: %s", cases[i]);
        assert_int_equal(scopes.count, 0);
    }
    assert_int_equal(policy_scope_parse(base_span_of("a\0b", 3), &scopes), BASE_INVALID);
}

static void takes_as_many_as_there_is_room_for(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf text;
    struct policy_scopes scopes;

    (void)state;
    base_buf_init(&text, 100000);
    put_names(&text, POLICY_MAX_SCOPES);
    base_buf_put_str(&text, " s0 s1"); /* again, so no more than before */
    assert_int_equal(policy_scope_parse(base_buf_span(&text), &scopes), BASE_OK);
    assert_int_equal(scopes.count, POLICY_MAX_SCOPES);
    base_buf_put_str(&text, " one_more");
    assert_int_equal(policy_scope_parse(base_buf_span(&text), &scopes), BASE_TOO_LARGE);
    assert_int_equal(scopes.count, 0);
}

static void judges_one_name(void **state)
{
    (void)state;
    assert_true(policy_scope_name_valid(BASE_SPAN("a")));
    assert_true(policy_scope_name_valid(BASE_SPAN(NAME_128)));
    assert_false(policy_scope_name_valid(BASE_SPAN("")));
    assert_false(policy_scope_name_valid(BASE_SPAN(NAME_128 "b")));
    assert_false(policy_scope_name_valid(BASE_SPAN("a b")));
    assert_false(policy_scope_name_valid(base_span_of("\0", 1)));
}

static void names_are_cut_off_one_by_one(void **state)
{
    struct base_span scope = BASE_SPAN_INIT("a bc");

    (void)state;
    assert_true(base_span_eq(policy_scope_next(&scope), BASE_SPAN("a")));
    assert_true(base_span_eq(policy_scope_next(&scope), BASE_SPAN("bc")));
    assert_int_equal(policy_scope_next(&scope).len, 0);
    assert_int_equal(policy_scope_next(&scope).len, 0);
}

static void finds_whole_names_only(void **state)
{
    struct base_span scope = BASE_SPAN_INIT("data:read data:write x");

    (void)state;
    assert_true(policy_scope_holds(scope, BASE_SPAN("data:read")));
    assert_true(policy_scope_holds(scope, BASE_SPAN("data:write")));
    assert_true(policy_scope_holds(scope, BASE_SPAN("x")));
    assert_false(policy_scope_holds(scope, BASE_SPAN("data")));
    assert_false(policy_scope_holds(scope, BASE_SPAN("data:readx")));
    assert_false(policy_scope_holds(scope, BASE_SPAN("data:read data:write")));
    assert_false(policy_scope_holds(scope, BASE_SPAN("")));
    assert_false(policy_scope_holds(BASE_SPAN(""), BASE_SPAN("x")));
}

/* What `asked` gets of `held`; NULL: nothing is granted. */
static const char *granted(const char *held, const char *asked)
{
    static char memory[256];
    struct policy_scopes scopes;
    struct base_buf out;

    base_buf_init_fixed(&out, memory, sizeof memory);
    base_buf_put_str(&out, "<");
    assert_int_equal(policy_scope_parse(base_span_str(asked), &scopes), BASE_OK);
    if (!policy_scope_grant(base_span_str(held), &scopes, &out)) {
        assert_int_equal(out.len, 1);
        return NULL;
    }
    return base_buf_cstr(&out) + 1;
}

static void grants_what_is_held(void **state)
{
    (void)state;
    assert_string_equal(granted("a b c", ""), "a b c");
    assert_string_equal(granted("a b c", "c a"), "a c");
    assert_string_equal(granted("a b c", "b b"), "b");
    assert_string_equal(granted("a", "a"), "a");
    assert_string_equal(granted("", ""), "");
    assert_null(granted("a b c", "d"));
    assert_null(granted("a b c", "a d"));
    assert_null(granted("a b c", "A"));
    assert_null(granted("a:b", "a"));
    assert_null(granted("", "a"));
}

static void half_a_name_is_never_granted(void **state)
{
    struct policy_scopes none = {0};
    struct base_buf out;
    char memory[8];

    (void)state;
    base_buf_init_fixed(&out, memory, sizeof memory);
    assert_false(policy_scope_grant(BASE_SPAN("data:read"), &none, &out));
    assert_int_equal(out.len, 0);
}

static void tells_the_two_kinds_apart(void **state)
{
    (void)state;
    assert_true(policy_scope_is_management(BASE_SPAN("cardea.admin")));
    assert_true(policy_scope_is_management(BASE_SPAN("cardea.")));
    assert_false(policy_scope_is_management(BASE_SPAN("cardea")));
    assert_false(policy_scope_is_management(BASE_SPAN("cardea:admin")));
    assert_false(policy_scope_is_management(BASE_SPAN("Cardea.admin")));
    assert_false(policy_scope_is_management(BASE_SPAN("xcardea.admin")));
    assert_false(policy_scope_is_management((struct base_span){0}));
}

static void sorts_by_bytes(void **state)
{
    static const char *const sorted[] = {"", "A", "a", "aa", "ab", "b", "~"};
    struct policy_scopes scopes = {
        .count = 10,
        .names = {BASE_SPAN_INIT("b"),
                  BASE_SPAN_INIT("~"),
                  BASE_SPAN_INIT("a"),
                  BASE_SPAN_INIT("ab"),
                  BASE_SPAN_INIT("A"),
                  BASE_SPAN_INIT("aa"),
                  BASE_SPAN_INIT("b"),
                  {NULL, 0},
                  BASE_SPAN_INIT("a"),
                  BASE_SPAN_INIT("aa")},
    };

    (void)state;
    policy_scope_sort(&scopes);
    assert_int_equal(scopes.count, BASE_COUNT(sorted));
    for (size_t i = 0; i < scopes.count; i++)
        assert_true(base_span_eq(scopes.names[i], base_span_str(sorted[i])));
    scopes.count = 0;
    policy_scope_sort(&scopes);
    assert_int_equal(scopes.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_names),
        cmocka_unit_test(refuses_what_the_grammar_forbids),
        cmocka_unit_test(takes_as_many_as_there_is_room_for),
        cmocka_unit_test(judges_one_name),
        cmocka_unit_test(names_are_cut_off_one_by_one),
        cmocka_unit_test(finds_whole_names_only),
        cmocka_unit_test(grants_what_is_held),
        cmocka_unit_test(half_a_name_is_never_granted),
        cmocka_unit_test(tells_the_two_kinds_apart),
        cmocka_unit_test(sorts_by_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
