/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of signing keys, as the runtime role: its states, its lock, its notices. */
#include "store_fixture.h"

#include "base_clock.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JWK "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}"
#define TTL (10 * BASE_US_PER_MIN)

static int each(void **state)
{
    (void)state;
    fix_reset();
    fix_exec("DELETE FROM signing_key");
    fix_exec("UPDATE signing_ring SET longest_ttl = 0");
    return 0;
}

/* A key whose kid is 43 times one character. */
static struct store_signing_key key_of(char c)
{
    static char kids[128][44];
    static uint8_t sealed[96];
    struct store_signing_key key = {.alg = BASE_SPAN("ES256"),
                                    .public_jwk = BASE_SPAN(JWK),
                                    .sealed = {(const char *)sealed, sizeof sealed}};

    memset(kids[(int)c], c, 43);
    memset(sealed, 0xee, sizeof sealed);
    memset(key.seal_id.bytes, 0x51, sizeof key.seal_id.bytes);
    key.kid = base_span_of(kids[(int)c], 43);
    return key;
}

static struct store_audit audit_of(const struct store_signing_key *key)
{
    return fix_audit("signing_key.x", "", key->kid);
}

static void first(char c, enum base_err wanted)
{
    struct store_signing_key key = key_of(c);
    struct store_audit audit = audit_of(&key);

    store_signing_key_first(fix_db, &key, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(wanted);
}

static void announce(char c, int64_t wait_us, enum base_err wanted)
{
    struct store_signing_key key = key_of(c);
    struct store_audit audit = audit_of(&key);

    store_signing_key_announce(fix_db, &key, wait_us, NULL, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(wanted);
}

static void activate(char c, enum base_err wanted)
{
    struct store_signing_key key = key_of(c);
    struct store_audit audit = audit_of(&key);

    store_signing_key_activate(fix_db, key.kid, TTL, BASE_US_PER_MIN, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(wanted);
}

static void replace_all(char c, enum base_err wanted)
{
    struct store_signing_key key = key_of(c);
    struct store_audit audit = audit_of(&key);

    store_signing_key_replace_all(fix_db, &key, NULL, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(wanted);
}

static void list(size_t n)
{
    store_signing_key_list(fix_db, on_signing_list, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_OK);
    assert_int_equal(fix_answer.n, n);
}

static const struct store_signing_key *listed(char c)
{
    struct store_signing_key key = key_of(c);

    for (size_t i = 0; i < fix_answer.n; i++) {
        if (base_span_eq(fix_answer.signing[i].kid, key.kid))
            return &fix_answer.signing[i];
    }
    fail_msg("key %c is not there", c);
    return NULL;
}

static void test_empty(void **state)
{
    (void)state;
    list(0);
    assert_true(llabs(fix_answer.now_us - base_clock_wall_us()) < BASE_US_PER_MIN);
}

static void test_first(void **state)
{
    struct store_signing_key wanted = key_of('a');
    const struct store_signing_key *key;
    int64_t generation;

    (void)state;
    list(0);
    generation = fix_answer.generation;
    first('a', BASE_OK);
    list(1);
    key = listed('a');
    assert_true(fix_answer.generation > generation);
    assert_int_equal(key->state, STORE_SIGNING_ACTIVE);
    assert_span(key->alg, "ES256");
    assert_span(key->public_jwk, JWK);
    assert_int_equal(key->sealed.len, wanted.sealed.len);
    assert_memory_equal(key->sealed.ptr, wanted.sealed.ptr, wanted.sealed.len);
    assert_memory_equal(&key->seal_id, &wanted.seal_id, sizeof wanted.seal_id);
    assert_int_equal(key->signs_from_us, key->created_us);
    assert_int_equal(key->activated_us, key->created_us);
    assert_int_equal(key->retired_us, 0);
    assert_int_equal(key->publish_until_us, 0);
    first('b', BASE_CONFLICT);
    list(1);
    assert_int_equal(fix_number("SELECT count(*) FROM audit WHERE object = repeat('a', 43)"), 1);
    assert_int_equal(fix_number("SELECT count(*) FROM audit WHERE object = repeat('b', 43)"), 0);
}

static void test_first_at_once(void **state)
{
    enum { INSTANCES = 8 };
    struct answer answers[INSTANCES] = {0};
    struct db_conn *db[INSTANCES];
    int won = 0;

    (void)state;
    for (int i = 0; i < INSTANCES; i++)
        db[i] = fix_open(fix_runtime);
    for (int i = 0; i < INSTANCES; i++) {
        struct store_signing_key key = key_of((char)('a' + i));
        struct store_audit audit = audit_of(&key);

        store_signing_key_first(db[i], &key, &audit, on_done, &answers[i]);
    }
    for (int i = 0; i < INSTANCES; i++) {
        fix_wait(&answers[i], 1);
        assert_true(answers[i].outcome.err == BASE_OK || answers[i].outcome.err == BASE_CONFLICT);
        won += answers[i].outcome.err == BASE_OK;
        db_conn_close(&db[i]);
    }
    assert_int_equal(won, 1);
    list(1);
}

static void test_announce(void **state)
{
    const struct store_signing_key *key;

    (void)state;
    first('a', BASE_OK);
    announce('b', 5 * BASE_US_PER_MIN, BASE_OK);
    announce('c', 0, BASE_CONFLICT); /* one at a time */
    list(2);
    key = listed('b');
    assert_int_equal(key->state, STORE_SIGNING_ANNOUNCED);
    assert_int_equal(key->signs_from_us - key->created_us, 5 * BASE_US_PER_MIN);
    assert_int_equal(key->activated_us, 0);
    announce('a', 0, BASE_CONFLICT);
}

static void test_activate(void **state)
{
    const struct store_signing_key *old, *new;

    (void)state;
    first('a', BASE_OK);
    announce('b', BASE_US_PER_H, BASE_OK);
    activate('b', BASE_CONFLICT); /* not yet time */
    activate('a', BASE_CONFLICT); /* signs already */
    activate('z', BASE_CONFLICT); /* no such key */
    fix_exec(
        "UPDATE signing_key SET signs_from = now() - interval '1 s' WHERE state = 'announced'");
    activate('b', BASE_OK);
    list(2);
    old = listed('a');
    new = listed('b');
    assert_int_equal(old->state, STORE_SIGNING_RETIRED);
    assert_int_equal(new->state, STORE_SIGNING_ACTIVE);
    assert_int_equal(old->retired_us, new->activated_us);
    assert_int_equal(old->publish_until_us - old->retired_us, TTL + BASE_US_PER_MIN);
    activate('b', BASE_CONFLICT);
    activate('a', BASE_CONFLICT); /* what has retired never signs again */
    announce('c', 0, BASE_OK);
    activate('c', BASE_OK);
    list(3);
}

/* The longest token there can be decides, also when its API key has changed or gone since. */
static void test_longest_ttl(void **state)
{
    struct store_key_fields fields = fix_fields("Long");
    struct store_secret secret = fix_secret(1);
    struct base_span key_id = fix_key_id(1);
    struct store_audit audit = fix_audit("x", "acme", key_id);

    (void)state;
    fix_scope("data:read");
    fix_tenant("acme");
    fields.token_ttl_s = 7200;
    store_key_create(fix_db, BASE_SPAN("acme"), key_id, &fields, &secret, BASE_SPAN("x"), NULL,
                     &audit, on_key_change, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    fields.token_ttl_s = 60;
    store_key_update(fix_db, BASE_SPAN("acme"), key_id, 1, &fields, &audit, on_key_change,
                     &fix_answer);
    fix_done();
    store_key_delete(fix_db, BASE_SPAN("acme"), key_id, 2, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    first('a', BASE_OK);
    announce('b', 0, BASE_OK);
    activate('b', BASE_OK);
    list(2);
    assert_int_equal(listed('a')->publish_until_us - listed('a')->retired_us,
                     2 * BASE_US_PER_H + BASE_US_PER_MIN);
}

/* Rotations fired from everywhere at once: one key signs at any time, and no answer is an error. */
static void test_rotations_at_once(void **state)
{
    enum { INSTANCES = 4, ROUNDS = 20 };
    struct db_conn *db[INSTANCES];

    (void)state;
    first('a', BASE_OK);
    for (int i = 0; i < INSTANCES; i++)
        db[i] = fix_open(fix_runtime);
    for (int round = 0; round < ROUNDS; round++) {
        struct answer announced[INSTANCES] = {0}, activated[INSTANCES] = {0};
        int n_announced = 0, n_activated = 0;

        for (int i = 0; i < INSTANCES; i++) {
            struct store_signing_key key = key_of((char)('b' + i));
            struct store_audit audit = audit_of(&key);

            store_signing_key_announce(db[i], &key, 0, NULL, &audit, on_done, &announced[i]);
            store_signing_key_activate(db[i], key.kid, TTL, 0, &audit, on_done, &activated[i]);
        }
        for (int i = 0; i < INSTANCES; i++) {
            fix_wait(&announced[i], 1);
            fix_wait(&activated[i], 1);
            assert_true(announced[i].outcome.err == BASE_OK ||
                        announced[i].outcome.err == BASE_CONFLICT);
            assert_true(activated[i].outcome.err == BASE_OK ||
                        activated[i].outcome.err == BASE_CONFLICT);
            n_announced += announced[i].outcome.err == BASE_OK;
            n_activated += activated[i].outcome.err == BASE_OK;
        }
        assert_true(n_announced >= 1);
        assert_int_equal(n_announced, n_activated);
        assert_int_equal(fix_number("SELECT count(*) FROM signing_key WHERE state = 'signing'"), 1);
        assert_int_equal(fix_number("SELECT count(*) FROM signing_key WHERE state = 'announced'"),
                         0);
        fix_exec("DELETE FROM signing_key WHERE state = 'retired'");
        fix_exec("UPDATE signing_key SET kid = repeat('a', 43)");
    }
    for (int i = 0; i < INSTANCES; i++)
        db_conn_close(&db[i]);
}

static void test_replace_all(void **state)
{
    (void)state;
    first('a', BASE_OK);
    announce('b', 0, BASE_OK);
    activate('b', BASE_OK);
    announce('c', BASE_US_PER_H, BASE_OK);
    replace_all('d', BASE_OK);
    list(1);
    assert_int_equal(listed('d')->state, STORE_SIGNING_ACTIVE);
    assert_int_equal(listed('d')->signs_from_us, listed('d')->created_us);
    replace_all('d', BASE_CONFLICT); /* there already: nothing is lost */
    list(1);
    fix_exec("DELETE FROM signing_key");
    replace_all('e', BASE_OK);
    list(1);
}

static void test_idempotent(void **state)
{
    struct store_idempotency idempotency = {.actor = BASE_SPAN("a"), .key = BASE_SPAN("rotate")};
    struct store_signing_key b = key_of('b'), c = key_of('c');
    struct store_audit audit = audit_of(&b);

    (void)state;
    first('a', BASE_OK);
    store_signing_key_announce(fix_db, &b, 0, &idempotency, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    store_signing_key_announce(fix_db, &c, 0, &idempotency, &audit, on_done, &fix_answer);
    fix_done();
    assert_true(fix_answer.outcome.repeated && fix_answer.outcome.same_request);
    assert_true(base_span_eq(fix_answer.outcome.object, b.kid));
    idempotency.digest[0] = 1;
    store_signing_key_replace_all(fix_db, &c, &idempotency, &audit, on_done, &fix_answer);
    fix_done();
    assert_true(fix_answer.outcome.repeated);
    assert_false(fix_answer.outcome.same_request);
    list(2);
    idempotency.key = BASE_SPAN("emergency");
    store_signing_key_replace_all(fix_db, &c, &idempotency, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    store_signing_key_replace_all(fix_db, &b, &idempotency, &audit, on_done, &fix_answer);
    fix_done();
    assert_true(fix_answer.outcome.repeated);
    list(1);
    (void)listed('c');
}

static void test_expire(void **state)
{
    (void)state;
    first('a', BASE_OK);
    announce('b', 0, BASE_OK);
    activate('b', BASE_OK);
    store_signing_key_expire(fix_db, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    list(2); /* still published */
    fix_exec("UPDATE signing_key SET publish_until = retired_at WHERE state = 'retired'");
    store_signing_key_expire(fix_db, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    list(1);
    assert_int_equal(listed('b')->state, STORE_SIGNING_ACTIVE);
}

static void test_reseal(void **state)
{
    struct store_signing_key key = key_of('a');
    struct store_audit audit = audit_of(&key);
    struct base_seal_id fresh = {{1, 2, 3, 4, 5, 6, 7, 8}};
    struct base_span sealed = BASE_SPAN("sealed under another master key!");

    (void)state;
    first('a', BASE_OK);
    store_signing_key_reseal(fix_db, key.kid, &fresh, sealed, &fresh, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_CONFLICT); /* its old seal is another */
    store_signing_key_reseal(fix_db, key_of('z').kid, &fresh, sealed, &fresh, &audit, on_done,
                             &fix_answer);
    fix_done();
    assert_outcome(BASE_NOT_FOUND);
    store_signing_key_reseal(fix_db, key.kid, &key.seal_id, sealed, &fresh, &audit, on_done,
                             &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    list(1);
    assert_true(base_span_eq(listed('a')->sealed, sealed));
    assert_memory_equal(&listed('a')->seal_id, &fresh, sizeof fresh);
    assert_int_equal(listed('a')->state, STORE_SIGNING_ACTIVE);
}

static void test_refused(void **state)
{
    struct store_signing_key key = key_of('a');
    struct store_audit audit = audit_of(&key);

    (void)state;
    key.alg = BASE_SPAN("HS256");
    store_signing_key_first(fix_db, &key, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_INVALID);
    key = key_of('a');
    key.public_jwk = BASE_SPAN("{\"kty\":\"EC\",\"d\":\"secret\"}");
    store_signing_key_first(fix_db, &key, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_INVALID);
    list(0);
}

/* ---- Notices ---- */

static int n_notices;

static void on_notify(void *data, const char *channel, const char *payload)
{
    (void)data;
    (void)payload;
    assert_string_equal(channel, STORE_RING_CHANNEL);
    n_notices++;
}

static void wait_notices(int n)
{
    int64_t deadline_us = base_clock_mono_us() + 30 * BASE_US_PER_S;

    while (n_notices < n && base_clock_mono_us() < deadline_us)
        event_base_loop(fix_base, EVLOOP_ONCE);
    assert_int_equal(n_notices, n);
}

static void test_notices(void **state)
{
    const struct db_options options = {.conninfo = fix_runtime,
                                       .application_name = "listener",
                                       .query_timeout_us = 10 * BASE_US_PER_S,
                                       .connect_timeout_us = 10 * BASE_US_PER_S,
                                       .max_pending = 16,
                                       .on_notify = on_notify};
    struct db_conn *listener = NULL;
    struct answer ready = {0};
    struct base_buf why;

    (void)state;
    base_buf_init(&why, 256);
    assert_int_equal(db_conn_open(fix_base, &options, &listener, &why), BASE_OK);
    db_conn_listen(listener, STORE_RING_CHANNEL);
    for (int i = 1; i <= 2; i++) { /* the second answer comes after LISTEN has */
        store_schema_check(listener, on_schema, &ready);
        fix_wait(&ready, i);
    }
    first('a', BASE_OK);
    wait_notices(1);
    announce('b', 0, BASE_OK);
    wait_notices(2);
    activate('b', BASE_OK); /* two rows, one notice */
    wait_notices(3);
    store_signing_key_expire(fix_db, on_done, &fix_answer); /* nothing to delete, nothing to say */
    fix_done();
    announce('b', 0, BASE_CONFLICT);
    replace_all('c', BASE_OK);
    wait_notices(4);
    db_conn_close(&listener);
    base_buf_clear(&why);
}

/* ---- Master keys in use ---- */

static void test_seal_uses(void **state)
{
    struct base_seal_id other = {{9, 9, 9, 9, 9, 9, 9, 9}};
    struct base_span key_id;

    (void)state;
    fix_exec("DELETE FROM api_key WHERE seq > 0");
    store_seal_uses(fix_db, on_seal_use, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_OK);
    assert_int_equal(fix_answer.n, 0); /* the decoy needs none */
    first('a', BASE_OK);
    key_id = fix_key("acme", 1);
    fix_key("acme", 2);
    fix_key("acme", 3);
    fix_exec("UPDATE api_key SET expires_at = now() WHERE key_id LIKE '%d'"); /* 3 */
    fix_exec(
        fix_text("UPDATE api_key SET previous_mac = secret_mac, previous_seal ="
                 " decode(repeat('09', 8), 'hex'), previous_expires_at = now() + interval '1 h'"
                 " WHERE key_id = '%.*s'",
                 BASE_SPAN_ARGS(key_id))
            .ptr);
    store_seal_uses(fix_db, on_seal_use, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.n, 2);
    assert_memory_equal(&fix_answer.uses[0].seal_id, &other, sizeof other);
    assert_int_equal(fix_answer.uses[0].signing_keys, 0);
    assert_int_equal(fix_answer.uses[0].secrets, 1);
    assert_int_equal(fix_answer.uses[1].signing_keys, 1);
    assert_int_equal(fix_answer.uses[1].secrets, 2);
    fix_exec("UPDATE api_key SET previous_expires_at = now() WHERE previous_mac IS NOT NULL");
    store_seal_uses(fix_db, on_seal_use, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.n, 1);
}

static void need(struct base_seal_id *id, bool signing_keys, bool secrets)
{
    size_t n = 0;

    store_seals_needed(fix_db, on_seal_need, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_OK);
    for (size_t i = 0; i < fix_answer.n; i++) {
        const struct store_seal_need *found = &fix_answer.needs[i];

        if (memcmp(&found->seal_id, id, sizeof *id) != 0)
            continue;
        n++;
        assert_int_equal(found->signing_keys, signing_keys);
        assert_int_equal(found->secrets, secrets);
    }
    assert_int_equal(n, signing_keys || secrets);
}

/* The same as the exact counts tell, and neither the decoy nor what is over needs any. */
static void test_seals_needed(void **state)
{
    struct base_seal_id own = {{1, 1, 1, 1, 1, 1, 1, 1}}, other = {{9, 9, 9, 9, 9, 9, 9, 9}};

    (void)state;
    fix_exec("DELETE FROM api_key WHERE seq > 0");
    need(&own, false, false);
    assert_int_equal(fix_answer.n, 0);
    fix_key("acme", 1);
    fix_key("acme", 2);
    fix_exec("UPDATE api_key SET secret_seal = decode(repeat('01', 8), 'hex') WHERE seq > 0");
    need(&own, false, true);
    fix_exec("UPDATE api_key SET previous_mac = secret_mac, previous_seal = decode(repeat('09', 8),"
             " 'hex'), previous_expires_at = now() + interval '1 h' WHERE seq > 0");
    need(&other, false, true);
    fix_exec("UPDATE api_key SET previous_expires_at = now() WHERE seq > 0");
    need(&other, false, false);
    fix_exec("UPDATE api_key SET previous_expires_at = now() + interval '1 h', expires_at = now()"
             " WHERE seq > 0");
    need(&other, false, false);
    need(&own, false, false);
    first('a', BASE_OK);
    fix_exec("UPDATE signing_key SET seal_id = decode(repeat('09', 8), 'hex')");
    need(&other, true, false);
    fix_exec("UPDATE api_key SET secret_seal = decode(repeat('09', 8), 'hex'),"
             " expires_at = now() + interval '1 h' WHERE seq > 0");
    need(&other, true, true);
    assert_int_equal(fix_answer.n, 1);
}

/* Thirty thousand keys of three master keys are not read one by one: the statement behind it reads
 * by the indexes alone. Statistics are written when a session ends. */
static void test_seals_needed_of_many(void **state)
{
    static const char sequential[] =
        "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'api_key'";
    static const char by_index[] =
        "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname = 'api_key_secret_seal'";
    struct db_conn *own = fix_open(fix_runtime);
    long long scans, read;

    (void)state;
    fix_exec("DELETE FROM api_key WHERE seq > 0");
    fix_exec("INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, secret_mac,"
             " secret_seal, created_by) SELECT 'key_' || translate(lpad(i::text, 24, '0'),"
             " '0123456789', 'abcdefghij'), 'acme', 'x', '{data:read}', now() + interval '1 day',"
             " decode(repeat('00', 32), 'hex'), decode(repeat('0' || i % 3 + 1, 8), 'hex'), 'test'"
             " FROM generate_series(1, 30000) AS i");
    fix_exec("ANALYZE api_key");
    read = fix_number(sequential);
    scans = fix_number(by_index);
    store_seals_needed(own, on_seal_need, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.n, 3);
    db_conn_close(&own);
    for (int i = 0; fix_number(by_index) <= scans && i < 1000; i++)
        usleep(10000);
    assert_true(fix_number(by_index) > scans);
    assert_true(fix_number(sequential) - read < 1000);
    fix_exec("DELETE FROM api_key WHERE seq > 0");
}

/* A default that was longer once keeps retired keys published, whatever it is now. */
static void test_a_servers_lifetime_is_remembered(void **state)
{
    (void)state;
    fix_exec("UPDATE signing_ring SET longest_ttl = 60");
    store_signing_ring_note_ttl(fix_db, 10 * BASE_US_PER_S, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    assert_int_equal(fix_number("SELECT longest_ttl FROM signing_ring"), 60);
    store_signing_ring_note_ttl(fix_db, BASE_US_PER_DAY - 1, on_done, &fix_answer);
    fix_done();
    assert_int_equal(fix_number("SELECT longest_ttl FROM signing_ring"), 86400);
    first('a', BASE_OK);
    announce('b', 0, BASE_OK);
    activate('b', BASE_OK);
    assert_true(fix_number("SELECT extract(epoch FROM publish_until - retired_at) FROM signing_key"
                           " WHERE state = 'retired'") >= 86400);
    fix_exec("UPDATE signing_ring SET longest_ttl = 0");
}

/* Retired keys alone, by somebody's hand: the fleet begins anew. */
static void test_first_beside_retired_ones(void **state)
{
    (void)state;
    first('a', BASE_OK);
    first('b', BASE_CONFLICT);
    fix_exec("UPDATE signing_key SET state = 'retired', retired_at = now(),"
             " publish_until = now() + interval '1 h'");
    announce('b', 0, BASE_CONFLICT);
    first('b', BASE_OK);
    assert_int_equal(fix_number("SELECT count(*) FROM signing_key"), 2);
    first('c', BASE_CONFLICT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_empty, each),
        cmocka_unit_test_setup(test_first, each),
        cmocka_unit_test_setup(test_first_at_once, each),
        cmocka_unit_test_setup(test_announce, each),
        cmocka_unit_test_setup(test_activate, each),
        cmocka_unit_test_setup(test_longest_ttl, each),
        cmocka_unit_test_setup(test_rotations_at_once, each),
        cmocka_unit_test_setup(test_replace_all, each),
        cmocka_unit_test_setup(test_idempotent, each),
        cmocka_unit_test_setup(test_expire, each),
        cmocka_unit_test_setup(test_reseal, each),
        cmocka_unit_test_setup(test_refused, each),
        cmocka_unit_test_setup(test_notices, each),
        cmocka_unit_test_setup(test_seal_uses, each),
        cmocka_unit_test_setup(test_seals_needed, each),
        cmocka_unit_test_setup(test_seals_needed_of_many, each),
        cmocka_unit_test_setup(test_a_servers_lifetime_is_remembered, each),
        cmocka_unit_test_setup(test_first_beside_retired_ones, each),
    };

    return cmocka_run_group_tests(tests, fix_setup, fix_teardown);
}
