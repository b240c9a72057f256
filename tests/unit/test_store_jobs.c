/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping, as the runtime role. */
#include "store_fixture.h"

#include "base_clock.h"

#include <event2/event.h>
#include <string.h>

static int each(void **state)
{
    (void)state;
    fix_reset();
    return 0;
}

static void expire(bool more)
{
    store_expire(fix_db, on_expire, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_OK);
    assert_int_equal(fix_answer.more, more);
}

static void test_expire(void **state)
{
    (void)state;
    fix_exec("INSERT INTO idempotency (actor, key, digest, object, created_at)"
             " SELECT 'a', i::text, decode(repeat('00', 32), 'hex'), 'o', now() - interval '25 h'"
             " FROM generate_series(1, 1500) i");
    fix_exec(
        "INSERT INTO idempotency (actor, key, digest, object, created_at)"
        " VALUES ('a', 'young', decode(repeat('00', 32), 'hex'), 'o', now() - interval '23 h')");
    fix_exec("INSERT INTO assertion_jti SELECT sha256(i::text::bytea), now() - interval '1 s'"
             " FROM generate_series(1, 1500) i");
    fix_exec("INSERT INTO assertion_jti VALUES (sha256('valid'), now() + interval '1 h')");
    expire(true);
    assert_int_equal(fix_number("SELECT count(*) FROM idempotency"), 501); /* a thousand a time */
    assert_int_equal(fix_number("SELECT count(*) FROM assertion_jti"), 501);
    expire(false);
    expire(false);
    assert_int_equal(fix_number("SELECT count(*) FROM idempotency WHERE key = 'young'"), 1);
    assert_int_equal(fix_number("SELECT count(*) FROM idempotency"), 1);
    assert_int_equal(fix_number("SELECT count(*) FROM assertion_jti"), 1);
}

static void test_expire_previous(void **state)
{
    struct base_span over, valid;

    (void)state;
    fix_scope("data:read");
    fix_tenant("acme");
    over = fix_key("acme", 1);
    valid = fix_key("acme", 2);
    fix_exec("UPDATE api_key SET previous_mac = secret_mac, previous_seal = secret_seal,"
             " previous_expires_at = now() + interval '1 minute' * (CASE seq WHEN"
             " (SELECT max(seq) FROM api_key) THEN 1 ELSE -1 END) WHERE seq > 0");
    expire(false);
    store_key_find(fix_db, over, on_key, &fix_answer);
    fix_done();
    assert_false(fix_answer.key.previous.present);
    assert_int_equal(fix_answer.key.previous_expires_us, 0);
    assert_int_equal(fix_answer.key.version, 1);
    store_key_find(fix_db, valid, on_key, &fix_answer);
    fix_done();
    assert_true(fix_answer.key.previous.present);
}

struct used {
    int count;
    enum base_err err;
    size_t n;
    bool fresh[STORE_MAX_ASSERTIONS];
};

static void on_used(void *ctx, enum base_err err, const bool *fresh)
{
    struct used *used = ctx;

    assert_true((err == BASE_OK) == (fresh != NULL));
    used->count++;
    used->err = err;
    if (fresh)
        memcpy(used->fresh, fresh, used->n * sizeof *fresh);
}

static void wait_used(const struct used *used)
{
    while (used->count == 0)
        event_base_loop(fix_base, EVLOOP_ONCE);
    assert_int_equal(used->err, BASE_OK);
}

static struct store_assertion assertion_of(const char *jti, int64_t expires_us)
{
    struct store_assertion assertion = {.expires_us = expires_us};

    base_sha256(base_span_str(jti), assertion.digest);
    return assertion;
}

static bool use(const char *jti, int64_t expires_us)
{
    struct store_assertion assertion = assertion_of(jti, expires_us);
    struct used used = {.n = 1};

    store_assertions_use(fix_db, &assertion, 1, on_used, &used);
    wait_used(&used);
    return used.fresh[0];
}

static void test_assertion(void **state)
{
    int64_t now_us = base_clock_wall_us();

    (void)state;
    assert_true(use("one", now_us + BASE_US_PER_H));
    assert_false(use("one", now_us + BASE_US_PER_H));
    assert_false(use("one", now_us + 2 * BASE_US_PER_H));
    assert_true(use("two", now_us + BASE_US_PER_H));
    fix_exec("UPDATE assertion_jti SET expires_at = now() - interval '1 s'");
    assert_true(use("one", now_us + BASE_US_PER_H));
    assert_false(use("one", now_us + BASE_US_PER_H));
}

/* Each of a group has its own verdict, in the order given. */
static void test_assertions_together(void **state)
{
    int64_t expires_us = base_clock_wall_us() + BASE_US_PER_H;
    struct store_assertion group[STORE_MAX_ASSERTIONS];
    struct used used = {.n = STORE_MAX_ASSERTIONS};

    (void)state;
    for (size_t i = 0; i < STORE_MAX_ASSERTIONS; i++) {
        group[i] = assertion_of(fix_text("group %zu", i).ptr, expires_us);
        if (i % 3 == 0)
            assert_true(use(fix_text("group %zu", i).ptr, expires_us));
    }
    store_assertions_use(fix_db, group, STORE_MAX_ASSERTIONS, on_used, &used);
    wait_used(&used);
    for (size_t i = 0; i < STORE_MAX_ASSERTIONS; i++)
        assert_int_equal(used.fresh[i], i % 3 != 0);
}

/* Copies of the same assertions, in opposite order, to several instances: each is good once, and
 * nobody waits in a circle. */
static void test_assertions_at_once(void **state)
{
    enum { CONNECTIONS = 4, ROUNDS = 20, GROUP = 16 };
    int64_t expires_us = base_clock_wall_us() + BASE_US_PER_H;
    struct db_conn *db[CONNECTIONS];

    (void)state;
    for (int i = 0; i < CONNECTIONS; i++)
        db[i] = fix_open(fix_runtime);
    for (int round = 0; round < ROUNDS; round++) {
        struct used used[CONNECTIONS] = {0};

        for (int i = 0; i < CONNECTIONS; i++) {
            struct store_assertion group[GROUP];

            for (int k = 0; k < GROUP; k++)
                group[i % 2 ? GROUP - 1 - k : k] =
                    assertion_of(fix_text("race %d %d", round, k).ptr, expires_us);
            used[i].n = GROUP;
            store_assertions_use(db[i], group, GROUP, on_used, &used[i]);
        }
        for (int i = 0; i < CONNECTIONS; i++)
            wait_used(&used[i]);
        for (int k = 0; k < GROUP; k++) {
            int won = 0;

            for (int i = 0; i < CONNECTIONS; i++)
                won += used[i].fresh[i % 2 ? GROUP - 1 - k : k];
            assert_int_equal(won, 1);
        }
    }
    for (int i = 0; i < CONNECTIONS; i++)
        db_conn_close(&db[i]);
}

/* Without any job the table stays as large as what is valid at one time. */
static void test_assertions_sweep(void **state)
{
    int64_t expires_us = base_clock_wall_us() + BASE_US_PER_H;

    (void)state;
    fix_exec("TRUNCATE assertion_jti");
    fix_exec("INSERT INTO assertion_jti SELECT sha256(i::text::bytea), now() - interval '1 s'"
             " FROM generate_series(1, 100) i");
    for (int i = 0; i < 60; i++)
        assert_true(use(fix_text("sweep %d", i).ptr, expires_us));
    assert_int_equal(fix_number("SELECT count(*) FROM assertion_jti"), 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_expire, each),
        cmocka_unit_test_setup(test_expire_previous, each),
        cmocka_unit_test_setup(test_assertion, each),
        cmocka_unit_test_setup(test_assertions_together, each),
        cmocka_unit_test_setup(test_assertions_at_once, each),
        cmocka_unit_test_setup(test_assertions_sweep, each),
    };

    return cmocka_run_group_tests(tests, fix_setup, fix_teardown);
}
