/* SPDX-License-Identifier: Apache-2.0 */
/* The catalog of scopes, as the runtime role. */
#include "store_fixture.h"

#include <string.h>

static int each(void **state)
{
    (void)state;
    fix_reset();
    return 0;
}

static void put(const char *name, const char *title, const char *description, enum base_err wanted)
{
    struct store_audit audit = fix_audit("scope.put", "", base_span_str(name));

    store_scope_put(fix_db, base_span_str(name), base_span_str(title), base_span_str(description),
                    &audit, on_scope_put, &fix_answer);
    fix_done();
    assert_outcome(wanted);
}

static void delete (const char *name, enum base_err wanted)
{
    struct store_audit audit = fix_audit("scope.delete", "", base_span_str(name));

    store_scope_delete(fix_db, base_span_str(name), &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(wanted);
}

static void get(const char *name, enum base_err wanted)
{
    store_scope_get(fix_db, base_span_str(name), on_scope, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, wanted);
}

static void test_list_empty(void **state)
{
    (void)state;
    store_scope_list(fix_db, on_scope_list, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_OK);
    assert_int_equal(fix_answer.n, 0); /* management scopes are not listed */
    assert_int_equal(fix_number("SELECT count(*) FROM scope WHERE builtin"), 3);
}

static void test_put(void **state)
{
    (void)state;
    put("data:read", "Read", "", BASE_OK);
    assert_true(fix_answer.created);
    assert_span(fix_answer.scope.name, "data:read");
    put("data:read", "Read data", "All \"of\" it", BASE_OK);
    assert_false(fix_answer.created);
    get("data:read", BASE_OK);
    assert_span(fix_answer.scope.title, "Read data");
    assert_span(fix_answer.scope.description, "All \"of\" it");
    assert_true(fix_answer.scope.updated_us > fix_answer.scope.created_us);
    assert_int_equal(
        fix_number("SELECT count(*) FROM audit WHERE object = 'data:read' AND tenant_id IS NULL"),
        2);
}

static void test_put_refused(void **state)
{
    static const struct {
        const char *name, *title, *field;
    } cases[] = {
        {"", "x", "name"},           {"a b", "x", "name"},          {"a\"", "x", "name"},
        {"cardea.new", "x", "name"}, {"cardea.admin", "x", "name"}, {"fine", "", "title"},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        put(cases[i].name, cases[i].title, "", BASE_INVALID);
        assert_string_equal(fix_answer.outcome.field, cases[i].field);
    }
    assert_int_equal(fix_number("SELECT count(*) FROM audit WHERE object LIKE 'cardea.%'"), 0);
}

static void test_get_refused(void **state)
{
    (void)state;
    get("no:such", BASE_NOT_FOUND);
    get("cardea.admin", BASE_NOT_FOUND);
    get("", BASE_NOT_FOUND);
}

static void test_delete(void **state)
{
    (void)state;
    put("data:read", "Read", "", BASE_OK);
    fix_tenant("acme");
    fix_key("acme", 1);
    delete ("data:read", BASE_CONFLICT);
    assert_string_equal(fix_answer.outcome.field, "keys");
    fix_exec("DELETE FROM api_key WHERE seq > 0");
    delete ("data:read", BASE_OK);
    delete ("data:read", BASE_NOT_FOUND);
    delete ("cardea.read", BASE_NOT_FOUND);
    assert_int_equal(fix_number("SELECT count(*) FROM scope WHERE builtin"), 3);
}

/* Two who create the same scope: one has created it, the other has changed it. */
static void test_put_at_once(void **state)
{
    struct db_conn *other = fix_open(fix_runtime);

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct base_span name = fix_text("race:%d", i);
        struct store_audit audit = fix_audit("scope.put", "", name);
        struct answer answers[2] = {0};

        store_scope_put(fix_db, name, BASE_SPAN("A"), BASE_SPAN(""), &audit, on_scope_put,
                        &answers[0]);
        store_scope_put(other, name, BASE_SPAN("B"), BASE_SPAN(""), &audit, on_scope_put,
                        &answers[1]);
        fix_wait(&answers[0], 1);
        fix_wait(&answers[1], 1);
        assert_int_equal(answers[0].outcome.err, BASE_OK);
        assert_int_equal(answers[1].outcome.err, BASE_OK);
        assert_int_equal(answers[0].created + answers[1].created, 1);
    }
    db_conn_close(&other);
}

static void test_full(void **state)
{
    (void)state;
    fix_exec(
        "INSERT INTO scope (name, title) SELECT 'full:' || i, 'x' FROM generate_series(1, 1000) i"
        " LIMIT 1000 - (SELECT count(*) FROM scope WHERE NOT builtin)");
    store_scope_list(fix_db, on_scope_list, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.n, 1000);
    for (size_t i = 1; i < fix_answer.n; i++) {
        assert_true(strcmp(fix_answer.scopes[i - 1].name.ptr, fix_answer.scopes[i].name.ptr) < 0);
    }
    put("one:more", "x", "", BASE_TOO_LARGE);
    get("one:more", BASE_NOT_FOUND);
    put("full:1", "Changed", "", BASE_OK); /* no new one */
    assert_false(fix_answer.created);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_list_empty, each),
        cmocka_unit_test_setup(test_put, each),
        cmocka_unit_test_setup(test_put_refused, each),
        cmocka_unit_test_setup(test_get_refused, each),
        cmocka_unit_test_setup(test_delete, each),
        cmocka_unit_test_setup(test_put_at_once, each),
        cmocka_unit_test_setup(test_full, each),
    };

    return cmocka_run_group_tests(tests, fix_setup, fix_teardown);
}
