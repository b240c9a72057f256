/* SPDX-License-Identifier: Apache-2.0 */
/* The table tenant through its functions, as the runtime role. */
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

static void create(const char *id, const char *name, const struct store_idempotency *idempotency)
{
    struct store_audit audit = fix_audit("tenant.create", id, base_span_str(id));

    store_tenant_create(fix_db, base_span_str(id), base_span_str(name), true, idempotency, &audit,
                        on_tenant_change, &fix_answer);
    fix_done();
}

static void update(const char *id, int64_t version, const char *name, bool enabled)
{
    struct store_audit audit = fix_audit("tenant.update", id, base_span_str(id));

    store_tenant_update(fix_db, base_span_str(id), version, base_span_str(name), enabled, &audit,
                        on_tenant_change, &fix_answer);
    fix_done();
}

static void delete (const char *id, int64_t version, enum base_err wanted)
{
    struct store_audit audit = fix_audit("tenant.delete", id, base_span_str(id));

    store_tenant_delete(fix_db, base_span_str(id), version, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(wanted);
}

static void get(const char *id, enum base_err wanted)
{
    store_tenant_get(fix_db, base_span_str(id), on_tenant, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, wanted);
}

static void test_create_and_get(void **state)
{
    (void)state;
    create("first", "The <first>", NULL);
    assert_outcome(BASE_OK);
    get("first", BASE_OK);
    assert_span(fix_answer.tenant.id, "first");
    assert_span(fix_answer.tenant.name, "The <first>");
    assert_true(fix_answer.tenant.enabled);
    assert_int_equal(fix_answer.tenant.version, 1);
    assert_true(fix_answer.tenant.seq > 0);
    assert_true(llabs(fix_answer.tenant.created_us - base_clock_wall_us()) < BASE_US_PER_MIN);
    assert_int_equal(fix_answer.tenant.updated_us, fix_answer.tenant.created_us);
    assert_int_equal(fix_number("SELECT count(*) FROM audit WHERE tenant_id = 'first'"), 1);
}

static void test_create_refused(void **state)
{
    (void)state;
    create("twice", "A", NULL);
    create("twice", "B", NULL);
    assert_outcome(BASE_CONFLICT);
    assert_string_equal(fix_answer.outcome.field, "id");
    assert_false(fix_answer.outcome.repeated);
    create("Bad", "A", NULL);
    assert_outcome(BASE_INVALID);
    assert_string_equal(fix_answer.outcome.field, "id");
    create("-", "A", NULL);
    assert_outcome(BASE_INVALID); /* the decoy's */
    create("good", "", NULL);
    assert_outcome(BASE_INVALID);
    assert_string_equal(fix_answer.outcome.field, "name");
    assert_int_equal(
        fix_number("SELECT count(*) FROM audit WHERE tenant_id IN ('Bad', '-', 'good')"), 0);
}

static void test_create_idempotent(void **state)
{
    struct store_idempotency idempotency = {.actor = BASE_SPAN("a"), .key = BASE_SPAN("k")};

    (void)state;
    create("once", "A", &idempotency);
    assert_outcome(BASE_OK);
    create("once", "A", &idempotency);
    assert_outcome(BASE_CONFLICT);
    assert_true(fix_answer.outcome.repeated && fix_answer.outcome.same_request);
    assert_span(fix_answer.outcome.object, "once");
    idempotency.digest[0] = 1;
    create("another", "A", &idempotency);
    assert_true(fix_answer.outcome.repeated);
    assert_false(fix_answer.outcome.same_request);
    get("another", BASE_NOT_FOUND);
}

static void test_get_refused(void **state)
{
    (void)state;
    get("nobody", BASE_NOT_FOUND);
    get("", BASE_NOT_FOUND);
    get("-", BASE_NOT_FOUND);
}

static void test_update(void **state)
{
    (void)state;
    create("changing", "Before", NULL);
    update("changing", 1, "After", false);
    assert_outcome(BASE_OK);
    assert_span(fix_answer.tenant.name, "After");
    assert_false(fix_answer.tenant.enabled);
    assert_int_equal(fix_answer.tenant.version, 2);
    update("changing", 1, "Late", true);
    assert_outcome(BASE_CONFLICT);
    assert_null(fix_answer.outcome.field);
    update("nobody", 1, "A", true);
    assert_outcome(BASE_NOT_FOUND);
    update("-", 1, "A", true);
    assert_outcome(BASE_NOT_FOUND);
    update("changing", 2, "\n", true);
    assert_outcome(BASE_INVALID);
    get("changing", BASE_OK);
    assert_span(fix_answer.tenant.name, "After");
}

static void test_delete(void **state)
{
    (void)state;
    fix_scope("data:read");
    create("going", "A", NULL);
    delete ("going", 2, BASE_CONFLICT);
    assert_null(fix_answer.outcome.field);
    fix_key("going", 1);
    delete ("going", 1, BASE_CONFLICT);
    assert_string_equal(fix_answer.outcome.field, "keys");
    fix_exec("DELETE FROM api_key WHERE tenant_id = 'going'");
    delete ("going", 1, BASE_OK);
    delete ("going", 1, BASE_NOT_FOUND);
    delete ("-", 1, BASE_NOT_FOUND);
    assert_int_equal(
        fix_number(
            "SELECT count(*) FROM audit WHERE tenant_id = 'going' AND action LIKE 'tenant.%'"),
        2);
}

/* A key and the end of its tenant at the same moment: either, never both. */
static void test_delete_and_create(void **state)
{
    struct store_secret secret = fix_secret(1);
    struct db_conn *other = fix_open(fix_runtime);

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        struct base_span tenant = fix_text("race-%u", i), key_id = fix_key_id(100 + i);
        struct store_audit audit = fix_audit("x", tenant.ptr, tenant);
        struct store_key_fields fields = fix_fields("Racer");
        struct answer created = {0}, deleted = {0};

        create(tenant.ptr, "Race", NULL);
        store_key_create(fix_db, tenant, key_id, &fields, &secret, BASE_SPAN("x"), NULL, &audit,
                         on_key_change, &created);
        store_tenant_delete(other, tenant, 1, &audit, on_done, &deleted);
        fix_wait(&created, 1);
        fix_wait(&deleted, 1);
        if (created.outcome.err == BASE_OK) {
            assert_int_equal(deleted.outcome.err, BASE_CONFLICT);
            assert_string_equal(deleted.outcome.field, "keys");
        } else {
            assert_int_equal(created.outcome.err, BASE_NOT_FOUND);
            assert_int_equal(deleted.outcome.err, BASE_OK);
        }
    }
    db_conn_close(&other);
}

static void list(const char *text, int64_t before_seq, int limit)
{
    store_tenant_list(fix_db, base_span_str(text), before_seq, limit, on_tenant_list, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_OK);
}

static void test_list(void **state)
{
    int64_t before_seq = 0;
    int n_seen = 0;

    (void)state;
    for (int i = 0; i < 25; i++)
        create(fix_text("page-%02d", i).ptr, i == 7 ? "Seven 7%" : "Paged", NULL);
    do {
        list("PAGE-", before_seq, 10);
        for (size_t i = 0; i < fix_answer.n; i++) {
            assert_true(before_seq == 0 || fix_answer.tenants[i].seq < before_seq);
            before_seq = fix_answer.tenants[i].seq;
            n_seen++;
        }
    } while (fix_answer.more);
    assert_int_equal(n_seen, 25);
    list("seven", 0, 10);
    assert_int_equal(fix_answer.n, 1);
    assert_span(fix_answer.tenants[0].id, "page-07");
    list("%", 0, 10);
    assert_int_equal(fix_answer.n, 1);
    list("nobody", 0, 10);
    assert_int_equal(fix_answer.n, 0);
    assert_false(fix_answer.more);
    list("decoy", 0, 200);
    assert_int_equal(fix_answer.n, 0);
    list("", 0, 1);
    assert_int_equal(fix_answer.n, 1);
    assert_true(fix_answer.more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_create_and_get, each),
        cmocka_unit_test_setup(test_create_refused, each),
        cmocka_unit_test_setup(test_create_idempotent, each),
        cmocka_unit_test_setup(test_get_refused, each),
        cmocka_unit_test_setup(test_update, each),
        cmocka_unit_test_setup(test_delete, each),
        cmocka_unit_test_setup(test_delete_and_create, each),
        cmocka_unit_test_setup(test_list, each),
    };

    return cmocka_run_group_tests(tests, fix_setup, fix_teardown);
}
