/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: what is written, and how it is read. */
#include "store_fixture.h"

#include "base_clock.h"

#include <stdlib.h>
#include <string.h>

static int each(void **state)
{
    (void)state;
    fix_reset();
    return 0;
}

static void list(const char *tenant, int64_t before_id, int limit)
{
    store_audit_list(fix_db, base_span_str(tenant), true, before_id, limit, on_audit_list,
                     &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_OK);
}

static void test_entry(void **state)
{
    struct store_audit_row *row;

    (void)state;
    fix_scope("data:read");
    fix_tenant("acme");
    fix_key("acme", 1);
    list("acme", 0, 10);
    assert_int_equal(fix_answer.n, 2);
    row = &fix_answer.audit[0]; /* newest first */
    assert_span(row->entry.action, "key.create");
    assert_span(row->entry.actor, "cli:tester");
    assert_span(row->entry.tenant, "acme");
    assert_true(base_span_eq(row->entry.object, fix_key_id(1)));
    assert_span(row->entry.changes, "{\"name\": [null, \"x\"]}");
    assert_span(row->entry.address, "192.0.2.7");
    assert_span(row->entry.request_id, "req-1");
    assert_true(llabs(row->at_us - base_clock_wall_us()) < BASE_US_PER_MIN);
    assert_true(row->id > fix_answer.audit[1].id);
    assert_false(fix_answer.more);
}

static void test_least(void **state)
{
    struct store_audit audit = {.actor = BASE_SPAN("server"), .action = BASE_SPAN("scope.put")};
    struct store_audit_row *row;

    (void)state;
    store_scope_put(fix_db, BASE_SPAN("x"), BASE_SPAN("x"), BASE_SPAN(""), &audit, on_scope_put,
                    &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    list("", 0, 1);
    row = &fix_answer.audit[0];
    assert_int_equal(row->entry.tenant.len, 0);
    assert_int_equal(row->entry.object.len, 0);
    assert_int_equal(row->entry.address.len, 0);
    assert_span(row->entry.changes, "{}");
}

static void test_walls(void **state)
{
    (void)state;
    fix_tenant("other");
    list("other", 0, 10);
    assert_int_equal(fix_answer.n, 1);
    list("nobody", 0, 10);
    assert_int_equal(fix_answer.n, 0);
    list("", 0, 200);
    assert_true(fix_answer.n >= 4);
}

static void test_pages(void **state)
{
    int64_t before_id = 0;
    int n_seen = 0;

    (void)state;
    fix_exec("INSERT INTO audit (tenant_id, actor, action, object)"
             " SELECT CASE WHEN i % 2 = 0 THEN 'paged' ELSE 'acme' END, 'a', 'b', i::text"
             " FROM generate_series(1, 500) i");
    do {
        list("paged", before_id, 60);
        for (size_t i = 0; i < fix_answer.n; i++) {
            assert_true(before_id == 0 || fix_answer.audit[i].id < before_id);
            before_id = fix_answer.audit[i].id;
            n_seen++;
        }
        fix_exec("INSERT INTO audit (tenant_id, actor, action, object) VALUES ('paged', 'a', 'b', "
                 "'new')");
    } while (fix_answer.more);
    assert_int_equal(n_seen, 250);
}

/* A page reads its rows and no others, in a log of 50,000. */
static void test_plan(void **state)
{
    static const char rows_read[] =
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'audit'";
    struct db_conn *db;
    long long rows;

    (void)state;
    fix_exec("INSERT INTO audit (tenant_id, actor, action, object)"
             " SELECT 'tenant-' || i % 100, 'a', 'b', i::text FROM generate_series(1, 50000) i");
    fix_exec("VACUUM ANALYZE");
    rows = fix_number(rows_read);
    db = fix_open(fix_runtime);
    for (int i = 0; i < 20; i++) {
        struct answer answer = {0};

        store_audit_list(db, i % 2 ? BASE_SPAN("tenant-7") : BASE_SPAN(""), i % 4 == 1, 0, 50,
                         on_audit_list, &answer);
        fix_wait(&answer, 1);
        assert_int_equal(answer.n, 50);
        assert_true(answer.more);
    }
    db_conn_close(&db);
    assert_true(fix_number(rows_read) - rows <= 20 * 51);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_entry, each), cmocka_unit_test_setup(test_least, each),
        cmocka_unit_test_setup(test_walls, each), cmocka_unit_test_setup(test_pages, each),
        cmocka_unit_test_setup(test_plan, each),
    };

    return cmocka_run_group_tests(tests, fix_setup, fix_teardown);
}
