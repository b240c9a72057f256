/* SPDX-License-Identifier: Apache-2.0 */
/* The table api_key through its functions, as the runtime role. */
#include "store_fixture.h"

#include "base_clock.h"
#include "db_query.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JWKS   "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}"
#define ACTOR  BASE_SPAN("cli:tester")
#define TENANT BASE_SPAN("acme")

static unsigned last_key = 1000; /* below: used by number */

static int setup(void **state)
{
    int err = fix_setup(state);

    fix_scope("data:read");
    fix_scope("data:write");
    fix_tenant("acme");
    fix_tenant("other");
    fix_tenant("empty");
    return err;
}

static int each(void **state)
{
    (void)state;
    fix_reset();
    return 0;
}

static void create(struct base_span tenant, struct base_span key_id,
                   const struct store_key_fields *fields, const struct store_secret *secret,
                   const struct store_idempotency *idempotency)
{
    struct store_audit audit = fix_audit("key.create", tenant.ptr, key_id);

    store_key_create(fix_db, tenant, key_id, fields, secret, ACTOR, idempotency, &audit,
                     on_key_change, &fix_answer);
    fix_done();
}

static void get(struct base_span tenant, struct base_span key_id, enum base_err wanted)
{
    store_key_get(fix_db, tenant, key_id, on_key, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, wanted);
}

static void lookup(struct base_span key_id, bool found)
{
    store_key_lookup(fix_db, key_id, on_lookup, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_OK);
    assert_int_equal(fix_answer.found, found);
}

static void update(struct base_span tenant, struct base_span key_id, int64_t version,
                   const struct store_key_fields *fields)
{
    struct store_audit audit = fix_audit("key.update", tenant.ptr, key_id);

    store_key_update(fix_db, tenant, key_id, version, fields, &audit, on_key_change, &fix_answer);
    fix_done();
}

static long long audit_count(struct base_span key_id)
{
    return fix_number(
        fix_text("SELECT count(*) FROM audit WHERE object = '%.*s'", BASE_SPAN_ARGS(key_id)).ptr);
}

static long long key_count(struct base_span key_id)
{
    return fix_number(
        fix_text("SELECT count(*) FROM api_key WHERE key_id = '%.*s'", BASE_SPAN_ARGS(key_id)).ptr);
}

/* ---- Create and read ---- */

static struct store_key_fields all_fields(void)
{
    struct store_key_fields fields = fix_fields("Billing <b>\xc3\xa9\xe2\x80\xae \"quoted\" \\ %s");

    fields.description = BASE_SPAN("line one\nline two");
    fields.n_scopes = 2;
    fields.scopes[1] = BASE_SPAN("data:write");
    fields.enabled = false;
    fields.expires_us = INT64_C(1893456000123456); /* microseconds survive */
    fields.token_ttl_s = 3600;
    fields.n_audience = 2;
    fields.audience[0] = BASE_SPAN("https://api.example/a,b");
    fields.audience[1] = BASE_SPAN("NULL");
    fields.n_cidrs = 2;
    fields.cidrs[0] = BASE_SPAN("192.0.2.0/24");
    fields.cidrs[1] = BASE_SPAN("2001:db8::/32");
    fields.claims = BASE_SPAN("{\"z\":1,\"a\":{\"b\":[true,null]}}");
    return fields;
}

static void assert_fields(const struct store_key_fields *got, const struct store_key_fields *wanted)
{
    assert_true(base_span_eq(got->name, wanted->name));
    assert_true(base_span_eq(got->description, wanted->description));
    assert_int_equal(got->n_scopes, wanted->n_scopes);
    for (size_t i = 0; i < got->n_scopes; i++)
        assert_true(base_span_eq(got->scopes[i], wanted->scopes[i]));
    assert_int_equal(got->enabled, wanted->enabled);
    assert_int_equal(got->expires_us, wanted->expires_us);
    assert_int_equal(got->token_ttl_s, wanted->token_ttl_s);
    assert_int_equal(got->n_audience, wanted->n_audience);
    for (size_t i = 0; i < got->n_audience; i++)
        assert_true(base_span_eq(got->audience[i], wanted->audience[i]));
    assert_int_equal(got->n_cidrs, wanted->n_cidrs);
    for (size_t i = 0; i < got->n_cidrs; i++)
        assert_true(base_span_eq(got->cidrs[i], wanted->cidrs[i]));
    assert_true(base_span_eq(got->claims, wanted->claims));
    assert_true(base_span_eq(got->jwks, wanted->jwks));
}

static void test_create_and_read(void **state)
{
    struct base_span key_id = fix_key_id(++last_key);
    struct store_key_fields fields = all_fields();
    struct store_secret secret = fix_secret(0xab);

    (void)state;
    create(TENANT, key_id, &fields, &secret, NULL);
    assert_outcome(BASE_OK);
    assert_fields(&fix_answer.key.fields, &fields);
    get(TENANT, key_id, BASE_OK);
    assert_fields(&fix_answer.key.fields, &fields);
    assert_true(base_span_eq(fix_answer.key.key_id, key_id));
    assert_span(fix_answer.key.tenant, "acme");
    assert_true(fix_answer.key.tenant_enabled);
    assert_span(fix_answer.key.scope, "data:read data:write");
    assert_span(fix_answer.key.created_by, "cli:tester");
    assert_int_equal(fix_answer.key.version, 1);
    assert_true(fix_answer.key.seq > 0);
    assert_true(llabs(fix_answer.key.created_us - base_clock_wall_us()) < BASE_US_PER_MIN);
    assert_int_equal(fix_answer.key.updated_us, fix_answer.key.created_us);
    assert_int_equal(fix_answer.key.last_used_us, 0);
    assert_true(fix_answer.key.secret.present);
    assert_memory_equal(&fix_answer.key.secret.mac, &secret.mac, sizeof secret.mac);
    assert_memory_equal(&fix_answer.key.secret.seal_id, &secret.seal_id, sizeof secret.seal_id);
    assert_false(fix_answer.key.previous.present);
    assert_int_equal(fix_answer.key.previous_expires_us, 0);
    store_key_find(fix_db, key_id, on_key, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_OK);
    assert_fields(&fix_answer.key.fields, &fields);
    assert_int_equal(audit_count(key_id), 1);
}

static void test_create_plain(void **state)
{
    struct base_span key_id = fix_key("acme", ++last_key);

    (void)state;
    get(TENANT, key_id, BASE_OK);
    assert_int_equal(fix_answer.key.fields.n_scopes, 1);
    assert_span(fix_answer.key.scope, "data:read");
    assert_span(fix_answer.key.fields.description, "");
    assert_int_equal(fix_answer.key.fields.token_ttl_s, 0);
    assert_int_equal(fix_answer.key.fields.n_audience, 0);
    assert_int_equal(fix_answer.key.fields.n_cidrs, 0);
    assert_span(fix_answer.key.fields.claims, "{}");
    assert_int_equal(fix_answer.key.fields.jwks.len, 0);
    assert_null(fix_answer.key.fields.jwks.ptr);
}

static void test_create_most_scopes(void **state)
{
    struct base_span key_id = fix_key_id(++last_key);
    struct store_key_fields fields = fix_fields("Many");
    struct store_secret secret = fix_secret(1);

    (void)state;
    fix_exec("INSERT INTO scope (name, title) SELECT 'many:' || lpad(i::text, 3, '0'), 'x'"
             " FROM generate_series(1, 65) i");
    fields.n_scopes = STORE_KEY_MAX_SCOPES;
    for (unsigned i = 0; i < STORE_KEY_MAX_SCOPES; i++)
        fields.scopes[i] = fix_text("many:%03u", i + 1);
    create(TENANT, key_id, &fields, &secret, NULL);
    assert_outcome(BASE_OK);
    lookup(key_id, true);
    assert_int_equal(fix_answer.key.fields.n_scopes, STORE_KEY_MAX_SCOPES);
    assert_span(fix_answer.key.fields.scopes[63], "many:064");
}

static void test_create_jwks(void **state)
{
    struct base_span key_id = fix_key_id(++last_key);
    struct store_key_fields fields = fix_fields("With keys");

    (void)state;
    fields.jwks = BASE_SPAN(JWKS);
    create(TENANT, key_id, &fields, NULL, NULL);
    assert_outcome(BASE_OK);
    lookup(key_id, true);
    assert_span(fix_answer.key.fields.jwks, JWKS);
    assert_false(fix_answer.key.secret.present);
}

static void refused(const struct store_key_fields *fields, const struct store_secret *secret,
                    enum base_err wanted, const char *field)
{
    struct base_span key_id = fix_key_id(++last_key);

    create(TENANT, key_id, fields, secret, NULL);
    assert_outcome(wanted);
    assert_false(fix_answer.outcome.repeated);
    assert_string_equal(fix_answer.outcome.field, field);
    assert_int_equal(key_count(key_id), 0);
    assert_int_equal(audit_count(key_id), 0);
}

static void test_create_refused(void **state)
{
    struct store_secret secret = fix_secret(2);
    struct store_key_fields fields = fix_fields("Bad");

    (void)state;
    fields.scopes[0] = BASE_SPAN("no:such");
    refused(&fields, &secret, BASE_CONFLICT, "scopes");
    fields.n_scopes = 0;
    refused(&fields, &secret, BASE_INVALID, "scopes");
    fields.n_scopes = 2;
    fields.scopes[0] = BASE_SPAN("cardea.admin");
    fields.scopes[1] = BASE_SPAN("data:read");
    refused(&fields, &secret, BASE_INVALID, "scopes");
    fields.scopes[0] = BASE_SPAN("data:write");
    refused(&fields, &secret, BASE_INVALID, "scopes");
    fields = fix_fields("");
    refused(&fields, &secret, BASE_INVALID, "name");
    fields = fix_fields("Bad");
    fields.token_ttl_s = 9;
    refused(&fields, &secret, BASE_INVALID, "token_ttl");
    fields = fix_fields("Bad");
    fields.claims = BASE_SPAN("[]");
    refused(&fields, &secret, BASE_INVALID, "claims");
    fields = fix_fields("Bad");
    fields.jwks = BASE_SPAN(JWKS);
    refused(&fields, &secret, BASE_INVALID, "jwks");
    fields = fix_fields("Bad");
    refused(&fields, NULL, BASE_INVALID, "jwks");
}

static void test_create_elsewhere(void **state)
{
    struct base_span key_id = fix_key_id(++last_key);
    struct store_key_fields fields = fix_fields("Nowhere");
    struct store_secret secret = fix_secret(3);

    (void)state;
    create(BASE_SPAN("nobody"), key_id, &fields, &secret, NULL);
    assert_outcome(BASE_NOT_FOUND);
    create(BASE_SPAN("-"), key_id, &fields, &secret, NULL);
    assert_outcome(BASE_NOT_FOUND);
    create(TENANT, key_id, &fields, &secret, NULL);
    assert_outcome(BASE_OK);
    create(BASE_SPAN("other"), key_id, &fields, &secret, NULL);
    assert_outcome(BASE_CONFLICT);
    assert_string_equal(fix_answer.outcome.field, "key_id");
    assert_int_equal(audit_count(key_id), 1);
}

/* If the entry cannot be written, the change does not happen. */
static void test_no_audit_no_change(void **state)
{
    struct base_span key_id = fix_key_id(++last_key);
    struct store_audit audit = fix_audit("key.create", "acme", key_id);
    struct store_key_fields fields = fix_fields("Unlogged");
    struct store_secret secret = fix_secret(4);

    (void)state;
    audit.changes = BASE_SPAN("{not json");
    store_key_create(fix_db, TENANT, key_id, &fields, &secret, ACTOR, NULL, &audit, on_key_change,
                     &fix_answer);
    fix_done();
    assert_outcome(BASE_INVALID);
    audit = fix_audit("key.create", "acme", key_id);
    audit.actor = BASE_SPAN("");
    store_key_create(fix_db, TENANT, key_id, &fields, &secret, ACTOR, NULL, &audit, on_key_change,
                     &fix_answer);
    fix_done();
    assert_outcome(BASE_INVALID);
    assert_int_equal(key_count(key_id), 0);
    key_id = fix_key("acme", last_key);
    audit = fix_audit("key.delete", "acme", key_id);
    audit.changes = BASE_SPAN("7");
    store_key_delete(fix_db, TENANT, key_id, 1, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_INVALID);
    assert_int_equal(key_count(key_id), 1);
}

static void test_other_tenants_key(void **state)
{
    struct base_span key_id = fix_key("acme", ++last_key);

    (void)state;
    get(BASE_SPAN("other"), key_id, BASE_NOT_FOUND);
    get(BASE_SPAN("nobody"), key_id, BASE_NOT_FOUND);
    get(BASE_SPAN(""), key_id, BASE_NOT_FOUND);
    get(TENANT, fix_key_id(4000000), BASE_NOT_FOUND);
}

/* ---- The token path ---- */

static void test_lookup(void **state)
{
    struct base_span key_id = fix_key_id(++last_key);
    struct store_key_fields fields = all_fields();
    struct store_secret secret = fix_secret(0xcd);

    (void)state;
    create(TENANT, key_id, &fields, &secret, NULL);
    lookup(key_id, true);
    assert_true(base_span_eq(fix_answer.key.key_id, key_id));
    assert_span(fix_answer.key.tenant, "acme");
    assert_true(fix_answer.key.tenant_enabled);
    assert_span(fix_answer.key.scope, "data:read data:write");
    fields.name = fields.description = base_span_of(NULL, 0); /* not needed for a token */
    assert_fields(&fix_answer.key.fields, &fields);
    assert_memory_equal(fix_answer.key.secret.mac, secret.mac, sizeof secret.mac);
}

static void test_lookup_decoy(void **state)
{
    static const uint8_t zeros[BASE_SHA256_LEN];
    struct base_span known = fix_key("acme", ++last_key);
    const struct base_span strangers[] = {
        fix_key_id(4000001),
        BASE_SPAN("key_zzzzzzzzzzzzzzzzzzzzzzzz"),
        BASE_SPAN("-"),
        BASE_SPAN(""),
        BASE_SPAN("key_"),
        BASE_SPAN("' OR key_id > '"),
        BASE_SPAN("\xff\xfe"), /* refused by PostgreSQL: see below */
        fix_text("%.*s ", BASE_SPAN_ARGS(known)),
        fix_text("%.*saaaaaaaaaaaaaaaaaaaaaaaa", BASE_SPAN_ARGS(known)),
        base_span_of(known.ptr, known.len - 1),
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(strangers); i++) {
        fix_answer.count = 0;
        store_key_lookup(fix_db, strangers[i], on_lookup, &fix_answer);
        fix_done();
        assert_false(fix_answer.found);
        if (strangers[i].ptr[0] == '\xff') {
            assert_int_equal(fix_answer.err, BASE_INVALID);
            continue;
        }
        assert_int_equal(fix_answer.err, BASE_OK);
        assert_true(fix_answer.key.secret.present);
        assert_memory_equal(fix_answer.key.secret.mac, zeros, sizeof zeros);
        assert_int_equal(fix_answer.key.key_id.len, known.len);
        assert_true(fix_answer.key.fields.enabled);
        assert_true(fix_answer.key.fields.expires_us > base_clock_wall_us());
    }
}

/* Asked in one turn of the loop, so that they share an execution: each gets its own row. */
static void test_lookup_together(void **state)
{
    struct base_span keys[2] = {fix_key("acme", ++last_key), fix_key("other", ++last_key)};
    struct answer answers[30] = {0};

    (void)state;
    for (unsigned i = 0; i < 30; i++)
        store_key_lookup(fix_db, i % 3 == 2 ? fix_key_id(4000000 + i) : keys[i % 3], on_lookup,
                         &answers[i]);
    for (unsigned i = 0; i < 30; i++) {
        fix_wait(&answers[i], 1);
        assert_int_equal(answers[i].err, BASE_OK);
        assert_int_equal(answers[i].found, i % 3 != 2);
        if (i % 3 == 2)
            continue;
        assert_true(base_span_eq(answers[i].key.key_id, keys[i % 3]));
        assert_span(answers[i].key.tenant, i % 3 ? "other" : "acme");
    }
}

static void test_lookup_sees_changes(void **state)
{
    struct base_span key_id = fix_key("other", ++last_key);
    struct store_key_fields fields = fix_fields("Off");
    struct store_audit audit = fix_audit("tenant.update", "other", BASE_SPAN("other"));

    (void)state;
    fields.enabled = false;
    update(BASE_SPAN("other"), key_id, 1, &fields);
    assert_outcome(BASE_OK);
    lookup(key_id, true);
    assert_false(fix_answer.key.fields.enabled);
    for (int64_t version = 1; version <= 2; version++) {
        store_tenant_update(fix_db, BASE_SPAN("other"), version, BASE_SPAN("O"), version == 2,
                            &audit, on_tenant_change, &fix_answer);
        fix_done();
        assert_outcome(BASE_OK);
        lookup(key_id, true);
        assert_int_equal(fix_answer.key.tenant_enabled, version == 2);
    }
}

/* Nobody meets the decoy on the management side. */
static void test_decoy_is_hidden(void **state)
{
    struct store_key_filter filter = {.limit = 10};
    struct store_key_fields fields = fix_fields("Decoy");
    struct store_audit audit = fix_audit("x", "-", BASE_SPAN("-"));
    struct store_key_use use = {.key_id = "-", .at_us = 1};
    struct store_secret secret = fix_secret(1);
    static const uint8_t zeros[BASE_SHA256_LEN];

    (void)state;
    get(BASE_SPAN("-"), BASE_SPAN("-"), BASE_NOT_FOUND);
    store_key_find(fix_db, BASE_SPAN("-"), on_key, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_NOT_FOUND);
    store_key_list(fix_db, BASE_SPAN("-"), &filter, on_key_list, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, BASE_NOT_FOUND);
    update(BASE_SPAN("-"), BASE_SPAN("-"), 1, &fields);
    assert_outcome(BASE_NOT_FOUND);
    store_key_delete(fix_db, BASE_SPAN("-"), BASE_SPAN("-"), 1, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_NOT_FOUND);
    store_key_set_secret(fix_db, BASE_SPAN("-"), BASE_SPAN("-"), 1, &secret, 0, NULL, &audit,
                         on_key_change, &fix_answer);
    fix_done();
    assert_outcome(BASE_NOT_FOUND);
    store_key_remac(fix_db, BASE_SPAN("-"), zeros, &secret, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_NOT_FOUND);
    store_key_touch(fix_db, &use, 1, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
}

/* ---- Changes ---- */

static void test_update(void **state)
{
    struct base_span key_id = fix_key("acme", ++last_key);
    struct store_key_fields fields = all_fields();

    (void)state;
    update(TENANT, key_id, 1, &fields);
    assert_outcome(BASE_OK);
    assert_fields(&fix_answer.key.fields, &fields);
    assert_int_equal(fix_answer.key.version, 2);
    assert_true(fix_answer.key.updated_us > fix_answer.key.created_us);
    assert_true(fix_answer.key.secret.present);
    fields = fix_fields("Plain again");
    update(TENANT, key_id, 2, &fields);
    assert_outcome(BASE_OK);
    assert_fields(&fix_answer.key.fields, &fields);
    assert_int_equal(audit_count(key_id), 3);
    assert_int_equal(fix_number(fix_text("SELECT count(*) FROM api_key_scope WHERE key_id = '%.*s'",
                                         BASE_SPAN_ARGS(key_id))
                                    .ptr),
                     1);
}

static void test_update_refused(void **state)
{
    struct base_span key_id = fix_key("acme", ++last_key);
    struct store_key_fields fields = fix_fields("New");

    (void)state;
    update(TENANT, key_id, 2, &fields);
    assert_outcome(BASE_CONFLICT);
    assert_null(fix_answer.outcome.field);
    assert_false(fix_answer.outcome.repeated);
    update(TENANT, key_id, 0, &fields);
    assert_outcome(BASE_CONFLICT);
    update(BASE_SPAN("other"), key_id, 1, &fields);
    assert_outcome(BASE_NOT_FOUND);
    update(TENANT, fix_key_id(4000002), 1, &fields);
    assert_outcome(BASE_NOT_FOUND);
    fields.scopes[0] = BASE_SPAN("no:such");
    update(TENANT, key_id, 1, &fields);
    assert_outcome(BASE_CONFLICT);
    assert_string_equal(fix_answer.outcome.field, "scopes");
    fields = fix_fields("");
    update(TENANT, key_id, 1, &fields);
    assert_outcome(BASE_INVALID);
    assert_string_equal(fix_answer.outcome.field, "name");
    get(TENANT, key_id, BASE_OK);
    assert_int_equal(fix_answer.key.version, 1);
    assert_int_equal(audit_count(key_id), 1);
}

static void test_update_to_jwks(void **state)
{
    struct base_span key_id = fix_key("acme", ++last_key);
    struct store_key_fields fields = fix_fields("Now with keys");

    (void)state;
    fields.jwks = BASE_SPAN(JWKS);
    update(TENANT, key_id, 1, &fields);
    assert_outcome(BASE_OK);
    assert_false(fix_answer.key.secret.present);
    assert_false(fix_answer.key.previous.present);
    fields.jwks = BASE_SPAN("");
    update(TENANT, key_id, 2, &fields);
    assert_outcome(BASE_INVALID);
    assert_string_equal(fix_answer.outcome.field, "jwks");
}

static void test_update_at_once(void **state)
{
    enum { WRITERS = 8 };
    struct base_span key_id = fix_key("acme", ++last_key);
    struct answer answers[WRITERS] = {0};
    struct db_conn *db[WRITERS];
    int won = 0;

    (void)state;
    for (int i = 0; i < WRITERS; i++) {
        struct store_key_fields fields = fix_fields(fix_text("Writer %d", i).ptr);
        struct store_audit audit = fix_audit("key.update", "acme", key_id);

        db[i] = fix_open(fix_runtime);
        store_key_update(db[i], TENANT, key_id, 1, &fields, &audit, on_key_change, &answers[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        fix_wait(&answers[i], 1);
        assert_true(answers[i].outcome.err == BASE_OK || answers[i].outcome.err == BASE_CONFLICT);
        won += answers[i].outcome.err == BASE_OK;
        db_conn_close(&db[i]);
    }
    assert_int_equal(won, 1);
    assert_int_equal(audit_count(key_id), 2);
}

static void set_secret(struct base_span key_id, int64_t version, uint8_t byte, int64_t overlap_us,
                       const struct store_idempotency *idempotency)
{
    struct store_secret secret = fix_secret(byte);
    struct store_audit audit = fix_audit("key.rotate", "acme", key_id);

    store_key_set_secret(fix_db, TENANT, key_id, version, &secret, overlap_us, idempotency, &audit,
                         on_key_change, &fix_answer);
    fix_done();
}

static void test_set_secret(void **state)
{
    struct base_span key_id = fix_key("acme", 0xe1);
    int64_t until_us = base_clock_wall_us() + BASE_US_PER_H;
    struct store_key_fields fields = fix_fields("Renamed");

    (void)state;
    set_secret(key_id, 1, 0xe2, until_us, NULL);
    assert_outcome(BASE_OK);
    assert_int_equal(fix_answer.key.version, 2);
    assert_int_equal(fix_answer.key.secret.mac[0], 0xe2);
    assert_true(fix_answer.key.previous.present);
    assert_int_equal(fix_answer.key.previous.mac[0], 0xe1);
    assert_int_equal(fix_answer.key.previous_expires_us, until_us);
    update(TENANT, key_id, 2, &fields); /* other changes leave both alone */
    assert_int_equal(fix_answer.key.previous.mac[31], 0xe1);
    set_secret(key_id, 3, 0xe3, 0, NULL);
    assert_outcome(BASE_OK);
    assert_int_equal(fix_answer.key.secret.mac[0], 0xe3);
    assert_false(fix_answer.key.previous.present);
    assert_int_equal(fix_answer.key.previous_expires_us, 0);
    assert_int_equal(audit_count(key_id), 4);
}

/* A secret that got lost on its way is replaced; the one before keeps its own end. */
static void test_set_secret_again(void **state)
{
    struct base_span key_id = fix_key("acme", 0xf1);
    int64_t until_us = base_clock_wall_us() + BASE_US_PER_H;

    (void)state;
    set_secret(key_id, 1, 0xf2, until_us, NULL);
    set_secret(key_id, 2, 0xf3, STORE_KEEP_PREVIOUS, NULL);
    assert_outcome(BASE_OK);
    assert_int_equal(fix_answer.key.secret.mac[0], 0xf3);
    assert_int_equal(fix_answer.key.previous.mac[0], 0xf1);
    assert_int_equal(fix_answer.key.previous_expires_us, until_us);
    key_id = fix_key("acme", 0xf4);
    set_secret(key_id, 1, 0xf5, STORE_KEEP_PREVIOUS, NULL);
    assert_outcome(BASE_OK);
    assert_false(fix_answer.key.previous.present);
}

static void test_set_secret_refused(void **state)
{
    struct base_span key_id = fix_key_id(++last_key);
    struct store_key_fields fields = fix_fields("With keys");
    struct store_secret secret = fix_secret(9);
    struct store_audit audit = fix_audit("key.rotate", "other", key_id);

    (void)state;
    fields.jwks = BASE_SPAN(JWKS);
    create(TENANT, key_id, &fields, NULL, NULL);
    set_secret(key_id, 1, 1, 0, NULL); /* accepts no secret */
    assert_outcome(BASE_CONFLICT);
    key_id = fix_key("acme", ++last_key);
    set_secret(key_id, 7, 1, 0, NULL);
    assert_outcome(BASE_CONFLICT);
    set_secret(fix_key_id(4000003), 1, 1, 0, NULL);
    assert_outcome(BASE_NOT_FOUND);
    store_key_set_secret(fix_db, BASE_SPAN("other"), key_id, 1, &secret, 0, NULL, &audit,
                         on_key_change, &fix_answer);
    fix_done();
    assert_outcome(BASE_NOT_FOUND);
    assert_int_equal(audit_count(key_id), 1);
}

static void delete (struct base_span tenant, struct base_span key_id, int64_t version,
                    enum base_err wanted)
{
    struct store_audit audit = fix_audit("key.delete", tenant.ptr, key_id);

    store_key_delete(fix_db, tenant, key_id, version, &audit, on_done, &fix_answer);
    fix_done();
    assert_outcome(wanted);
}

static void test_delete(void **state)
{
    struct base_span key_id = fix_key("acme", ++last_key);

    (void)state;
    delete (TENANT, key_id, 2, BASE_CONFLICT);
    delete (BASE_SPAN("other"), key_id, 1, BASE_NOT_FOUND);
    delete (TENANT, key_id, 1, BASE_OK);
    delete (TENANT, key_id, 1, BASE_NOT_FOUND);
    lookup(key_id, false);
    assert_int_equal(audit_count(key_id), 2);
    assert_int_equal(fix_number(fix_text("SELECT count(*) FROM api_key_scope WHERE key_id = '%.*s'",
                                         BASE_SPAN_ARGS(key_id))
                                    .ptr),
                     0);
}

/* ---- Idempotency ---- */

static struct store_idempotency idem(const char *key, uint8_t digest)
{
    struct store_idempotency idempotency = {.actor = ACTOR, .key = base_span_str(key)};

    memset(idempotency.digest, digest, sizeof idempotency.digest);
    return idempotency;
}

static void test_idempotent_create(void **state)
{
    struct base_span first = fix_key_id(++last_key), second = fix_key_id(++last_key);
    struct store_idempotency idempotency = idem("create-1", 1);
    struct store_key_fields fields = fix_fields("Once");
    struct store_secret secret = fix_secret(5);

    (void)state;
    create(TENANT, first, &fields, &secret, &idempotency);
    assert_outcome(BASE_OK);
    create(TENANT, second, &fields, &secret, &idempotency);
    assert_outcome(BASE_CONFLICT);
    assert_true(fix_answer.outcome.repeated);
    assert_true(fix_answer.outcome.same_request);
    assert_true(base_span_eq(fix_answer.outcome.object, first));
    idempotency = idem("create-1", 2);
    create(TENANT, second, &fields, &secret, &idempotency);
    assert_outcome(BASE_CONFLICT);
    assert_true(fix_answer.outcome.repeated);
    assert_false(fix_answer.outcome.same_request);
    assert_int_equal(key_count(second), 0);
    assert_int_equal(audit_count(second), 0);
    idempotency.actor = BASE_SPAN("somebody else");
    create(TENANT, second, &fields, &secret, &idempotency);
    assert_outcome(BASE_OK);
}

static void test_idempotency_ends(void **state)
{
    struct base_span first = fix_key_id(++last_key), second = fix_key_id(++last_key);
    struct store_idempotency idempotency = idem("create-2", 1);
    struct store_key_fields fields = fix_fields("Old");
    struct store_secret secret = fix_secret(5);

    (void)state;
    create(TENANT, first, &fields, &secret, &idempotency);
    fix_exec(
        "UPDATE idempotency SET created_at = now() - interval '25 hours' WHERE key = 'create-2'");
    create(TENANT, second, &fields, &secret, &idempotency);
    assert_outcome(BASE_OK);
    create(TENANT, first, &fields, &secret, &idempotency);
    assert_true(fix_answer.outcome.repeated);
    assert_true(base_span_eq(fix_answer.outcome.object, second));
}

/* A create that failed may be tried again with the same key. */
static void test_idempotency_of_failures(void **state)
{
    struct base_span key_id = fix_key_id(++last_key);
    struct store_idempotency idempotency = idem("create-3", 1);
    struct store_key_fields fields = fix_fields("Bad");
    struct store_secret secret = fix_secret(5);

    (void)state;
    create(BASE_SPAN("nobody"), key_id, &fields, &secret, &idempotency);
    assert_outcome(BASE_NOT_FOUND);
    fields.scopes[0] = BASE_SPAN("no:such");
    create(TENANT, key_id, &fields, &secret, &idempotency);
    assert_outcome(BASE_CONFLICT);
    assert_false(fix_answer.outcome.repeated);
    fields.scopes[0] = BASE_SPAN("data:read");
    create(TENANT, key_id, &fields, &secret, &idempotency);
    assert_outcome(BASE_OK);
}

static void test_idempotent_creates_at_once(void **state)
{
    enum { COPIES = 50, CONNECTIONS = 5 };
    struct store_idempotency idempotency = idem("create-50", 1);
    struct store_key_fields fields = fix_fields("One of fifty");
    struct store_secret secret = fix_secret(6);
    struct answer answers[COPIES] = {0};
    struct db_conn *db[CONNECTIONS];
    struct base_span winner = {0};

    (void)state;
    for (int i = 0; i < CONNECTIONS; i++)
        db[i] = fix_open(fix_runtime);
    for (int i = 0; i < COPIES; i++) {
        struct base_span key_id = fix_key_id(++last_key);
        struct store_audit audit = fix_audit("key.create", "acme", BASE_SPAN("fifty"));

        store_key_create(db[i % CONNECTIONS], TENANT, key_id, &fields, &secret, ACTOR, &idempotency,
                         &audit, on_key_change, &answers[i]);
    }
    for (int i = 0; i < COPIES; i++) {
        fix_wait(&answers[i], 1);
        if (answers[i].outcome.err != BASE_OK)
            continue;
        assert_null(winner.ptr);
        winner = answers[i].key.key_id;
    }
    assert_non_null(winner.ptr);
    for (int i = 0; i < COPIES; i++) {
        assert_true(answers[i].outcome.err == BASE_OK || answers[i].outcome.repeated);
        assert_true(answers[i].outcome.err == BASE_OK ||
                    base_span_eq(answers[i].outcome.object, winner));
    }
    for (int i = 0; i < CONNECTIONS; i++)
        db_conn_close(&db[i]);
    assert_int_equal(fix_number("SELECT count(*) FROM api_key WHERE name = 'One of fifty'"), 1);
    assert_int_equal(audit_count(BASE_SPAN("fifty")), 1);
}

static void test_idempotent_secret(void **state)
{
    struct base_span key_id = fix_key("acme", ++last_key);
    struct store_idempotency idempotency = idem("rotate-1", 1);

    (void)state;
    set_secret(key_id, 1, 0x11, 0, &idempotency);
    assert_outcome(BASE_OK);
    set_secret(key_id, 2, 0x22, 0, &idempotency);
    assert_outcome(BASE_CONFLICT);
    assert_true(fix_answer.outcome.repeated && fix_answer.outcome.same_request);
    assert_true(base_span_eq(fix_answer.outcome.object, key_id));
    set_secret(key_id, 1, 0x22, 0, &idempotency); /* not taken for a wrong version */
    assert_true(fix_answer.outcome.repeated);
    get(TENANT, key_id, BASE_OK);
    assert_int_equal(fix_answer.key.secret.mac[0], 0x11);
    assert_int_equal(fix_answer.key.version, 2);
    idempotency = idem("rotate-2", 1);
    set_secret(key_id, 7, 0x33, 0, &idempotency); /* nothing done, nothing remembered */
    assert_outcome(BASE_CONFLICT);
    assert_false(fix_answer.outcome.repeated);
    set_secret(key_id, 2, 0x33, 0, &idempotency);
    assert_outcome(BASE_OK);
}

/* ---- Last used, other master key ---- */

static void touch(const struct store_key_use *uses, size_t n)
{
    store_key_touch(fix_db, uses, n, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
}

static struct store_key_use use_of(struct base_span key_id, int64_t at_us)
{
    struct store_key_use use = {.at_us = at_us};

    memcpy(use.key_id, key_id.ptr, key_id.len);
    return use;
}

static void test_touch(void **state)
{
    struct base_span a = fix_key("acme", ++last_key), b = fix_key("acme", ++last_key);
    int64_t at_us = INT64_C(1790000000123456);
    const struct store_key_use uses[] = {use_of(a, at_us - 5), use_of(b, at_us + 7),
                                         use_of(a, at_us), use_of(fix_key_id(4000004), at_us)};
    struct store_key_use older = use_of(a, at_us - 1);

    (void)state;
    touch(NULL, 0);
    touch(uses, BASE_COUNT(uses));
    touch(&older, 1);
    get(TENANT, a, BASE_OK);
    assert_int_equal(fix_answer.key.last_used_us, at_us);
    assert_int_equal(fix_answer.key.version, 1);
    assert_int_equal(fix_answer.key.updated_us, fix_answer.key.created_us);
    get(TENANT, b, BASE_OK);
    assert_int_equal(fix_answer.key.last_used_us, at_us + 7);
    assert_int_equal(audit_count(a), 1);
}

/* Many keys at once: number i is disabled when it is a multiple of 100, and has expired when it is
 * that or one more. */
static void many_keys(const char *tenant, const char *prefix, int first, int last)
{
    fix_exec(fix_text("INSERT INTO tenant (id, name) VALUES ('%s', 'Many')", tenant).ptr);
    fix_exec(
        fix_text(
            "INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, enabled,"
            " created_by, secret_mac, secret_seal)"
            " SELECT 'key_%s' || translate(lpad(i::text, %d, '0'), '0123456789', 'abcdefghij'),"
            " '%s', 'Key ' || i, '{data:read}', now() + interval '1 hour' * (i %% 100 - 1),"
            " i %% 100 <> 0, 'x', decode(repeat('11', 32), 'hex'),"
            " decode(repeat('22', 8), 'hex') FROM generate_series(%d, %d) i",
            prefix, (int)(24 - strlen(prefix)), tenant, first, last)
            .ptr);
}

/* The ID of one of them. */
static struct base_span many_id(const char *prefix, int number)
{
    struct base_span id = fix_text("key_%s%0*d", prefix, (int)(24 - strlen(prefix)), number);

    for (char *c = (char *)id.ptr + 4 + strlen(prefix); *c; c++)
        *c = "abcdefghij"[*c - '0'];
    return id;
}

static void touch_some(struct db_conn *db, const struct store_key_use *uses, size_t n)
{
    struct answer answer = {0};

    store_key_touch(db, uses, n, on_done, &answer);
    fix_wait(&answer, 1);
    assert_int_equal(answer.outcome.err, BASE_OK);
}

/* A row a minute at most, however many tell of a use. */
static void test_touch_once_a_minute(void **state)
{
    struct base_span key_id = fix_key("acme", ++last_key);
    int64_t at_us = INT64_C(1790000000000000);
    const struct {
        int64_t at_us, stored_us;
    } steps[] = {
        {at_us, at_us},
        {at_us + 1, at_us},
        {at_us + BASE_US_PER_MIN - 1, at_us},
        {at_us + BASE_US_PER_MIN, at_us + BASE_US_PER_MIN},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(steps); i++) {
        struct store_key_use use = use_of(key_id, steps[i].at_us);

        touch(&use, 1);
        get(TENANT, key_id, BASE_OK);
        assert_int_equal(fix_answer.key.last_used_us, steps[i].stored_us);
    }
}

static void test_touch_thousand(void **state)
{
    static struct store_key_use uses[1000];

    (void)state;
    many_keys("touched", "touch", 1000, 1999);
    for (int i = 0; i < 1000; i++)
        uses[i] = use_of(many_id("touch", 1000 + i), INT64_C(1790000000000000));
    touch_some(fix_db, uses, 1000);
    assert_int_equal(fix_number("SELECT count(*) FROM api_key WHERE tenant_id = 'touched' AND"
                                " last_used_at = '2026-09-21T14:13:20Z'"),
                     1000);
}

/* Nearly all of these updates stay inside their page, and touch no index (HOT). */
static void test_touch_is_hot(void **state)
{
    enum { ROUNDS = 100, PART = 20 };
    struct db_conn *db = fix_open(fix_runtime);
    struct store_key_use uses[1000 / PART];
    long long hot = 0;

    (void)state;
    many_keys("hot", "hot", 0, 999);
    fix_exec("SELECT pg_stat_reset()");
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 1000 / PART; i++)
            uses[i] = use_of(many_id("hot", i * PART + round % PART),
                             INT64_C(1790000000000000) + round * BASE_US_PER_MIN);
        touch_some(db, uses, 1000 / PART);
    }
    db_conn_close(&db);                        /* which sends its statistics */
    for (int i = 0; i < 1000 && hot == 0; i++) /* they arrive when they do */
        hot = fix_number("SELECT n_tup_hot_upd * 100 / n_tup_upd FROM pg_stat_user_tables"
                         " WHERE relname = 'api_key' AND n_tup_upd >= 5000");
    assert_true(hot >= 80);
}

/* Two instances that write the same keys in opposite order: neither waits in a circle. */
static void test_touch_at_once(void **state)
{
    enum { KEYS = 40, ROUNDS = 20 };
    struct store_key_use up[KEYS], down[KEYS];
    struct db_conn *a = fix_open(fix_runtime), *b = fix_open(fix_runtime);

    (void)state;
    for (unsigned i = 0; i < KEYS; i++)
        up[i] = down[KEYS - 1 - i] = use_of(fix_key("acme", ++last_key), 1);
    for (int round = 0; round < ROUNDS; round++) {
        struct answer answers[2] = {0};

        for (unsigned i = 0; i < KEYS; i++)
            up[i].at_us = down[i].at_us = INT64_C(1790000000000000) + round * BASE_US_PER_MIN;
        store_key_touch(a, up, KEYS, on_done, &answers[0]);
        store_key_touch(b, down, KEYS, on_done, &answers[1]);
        fix_wait(&answers[0], 1);
        fix_wait(&answers[1], 1);
        assert_int_equal(answers[0].outcome.err, BASE_OK);
        assert_int_equal(answers[1].outcome.err, BASE_OK);
    }
    db_conn_close(&a);
    db_conn_close(&b);
}

static void ignore_script(void *ctx, const struct db_answer *answer)
{
    (void)ctx;
    (void)answer;
}

/* A row that somebody holds is left out: the others, and whoever waits behind them, are not held
 * up. */
static void test_touch_does_not_wait(void **state)
{
    struct base_span held = fix_key("acme", ++last_key), other = fix_key("acme", ++last_key);
    int64_t at_us = INT64_C(1790000000000000);
    const struct store_key_use uses[] = {use_of(held, at_us), use_of(other, at_us)};
    const char *sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    struct db_conn *holder = fix_open(fix_owner);

    (void)state;
    db_script(holder,
              fix_text("BEGIN; SELECT FROM api_key WHERE key_id = '%.*s' FOR UPDATE;"
                       " SELECT pg_sleep(20)",
                       BASE_SPAN_ARGS(held))
                  .ptr,
              BASE_US_PER_MIN, ignore_script, NULL);
    while (fix_number(sleeping) == 0)
        event_base_loop(fix_base, EVLOOP_NONBLOCK);
    touch(uses, BASE_COUNT(uses));
    get(TENANT, other, BASE_OK);
    assert_int_equal(fix_answer.key.last_used_us, at_us);
    get(TENANT, held, BASE_OK);
    assert_int_equal(fix_answer.key.last_used_us, 0);
    fix_exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    db_conn_close(&holder);
}

static void test_remac(void **state)
{
    struct base_span key_id = fix_key("acme", ++last_key);
    struct store_secret old = fix_secret((uint8_t)last_key), fresh = fix_secret(0x77);

    (void)state;
    memset(fresh.seal_id.bytes, 0x99, sizeof fresh.seal_id.bytes);
    store_key_remac(fix_db, key_id, old.mac, &fresh, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    get(TENANT, key_id, BASE_OK);
    assert_memory_equal(fix_answer.key.secret.mac, fresh.mac, sizeof fresh.mac);
    assert_memory_equal(&fix_answer.key.secret.seal_id, &fresh.seal_id, sizeof fresh.seal_id);
    assert_int_equal(fix_answer.key.version, 1);
    assert_int_equal(audit_count(key_id), 1);
    store_key_remac(fix_db, key_id, old.mac, &old, on_done, &fix_answer); /* somebody was faster */
    fix_done();
    assert_outcome(BASE_CONFLICT);
    store_key_remac(fix_db, fix_key_id(4000005), old.mac, &fresh, on_done, &fix_answer);
    fix_done();
    assert_outcome(BASE_NOT_FOUND);
}

/* ---- Lists ---- */

static void list(const char *tenant, struct store_key_filter filter)
{
    store_key_list(fix_db, base_span_str(tenant), &filter, on_key_list, &fix_answer);
    fix_done();
}

static void test_list_filters(void **state)
{
    static const struct {
        enum store_key_status status;
        const char *text;
        size_t n;
    } cases[] = {
        {STORE_KEY_ANY, "", 4},        {STORE_KEY_ACTIVE, "", 1},
        {STORE_KEY_DISABLED, "", 2},   {STORE_KEY_EXPIRED, "", 1},
        {STORE_KEY_ANY, "ALPHA", 1},   {STORE_KEY_ANY, "alpha", 1},
        {STORE_KEY_ANY, "key_", 4},    {STORE_KEY_ANY, "KEY_AAA", 4},
        {STORE_KEY_ANY, "%", 1},       {STORE_KEY_ANY, "_", 4},
        {STORE_KEY_ANY, "nothing", 0}, {STORE_KEY_DISABLED, "beta", 1},
        {STORE_KEY_ACTIVE, "beta", 0}, {STORE_KEY_ANY, "\xc3\xa9", 1},
        {STORE_KEY_ANY, "\\", 0},      {STORE_KEY_ANY, "' OR true --", 0},
    };
    static const char *const names[] = {"Alpha", "Beta 100%", "Gamma", "D\xc3\xa9lta"};
    int64_t now_us = base_clock_wall_us();
    struct store_secret secret = fix_secret(1);

    (void)state;
    list("empty", (struct store_key_filter){.limit = 10});
    assert_int_equal(fix_answer.err, BASE_OK);
    assert_int_equal(fix_answer.n, 0);
    assert_false(fix_answer.more);
    list("nobody", (struct store_key_filter){.limit = 10});
    assert_int_equal(fix_answer.err, BASE_NOT_FOUND);
    for (size_t i = 0; i < 4; i++) { /* active; disabled; expired; disabled and expired */
        struct store_key_fields fields = fix_fields(names[i]);

        fields.enabled = i % 2 == 0;
        fields.expires_us = now_us + (i < 2 ? 1 : -1) * BASE_US_PER_MIN;
        create(BASE_SPAN("empty"), fix_key_id(++last_key), &fields, &secret, NULL);
        assert_outcome(BASE_OK);
    }
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        list("empty", (struct store_key_filter){.status = cases[i].status,
                                                .text = base_span_str(cases[i].text),
                                                .now_us = now_us,
                                                .limit = 10});
        assert_int_equal(fix_answer.err, BASE_OK);
        assert_int_equal(fix_answer.n, cases[i].n);
    }
}

/* Keys come and go between the pages: those that were there all the time are seen once each, in
 * order. */
static void test_list_pages(void **state)
{
    enum { STAYING = 60, PAGE = 7 };
    struct base_span going[STAYING / PAGE + 2];
    struct base_span ids[STAYING];
    size_t n_seen = 0, n_going = 0;
    int64_t before_seq = 0;

    (void)state;
    fix_tenant("pages");
    for (size_t i = 0; i < STAYING; i++) {
        ids[i] = fix_key("pages", ++last_key);
        if (i % PAGE == 3)
            going[n_going++] = fix_key("pages", ++last_key);
    }
    do {
        list("pages", (struct store_key_filter){.before_seq = before_seq, .limit = PAGE});
        assert_int_equal(fix_answer.err, BASE_OK);
        for (size_t i = 0; i < fix_answer.n; i++) {
            assert_true(before_seq == 0 || fix_answer.keys[i].seq < before_seq);
            before_seq = fix_answer.keys[i].seq;
            if (n_seen < STAYING &&
                base_span_eq(fix_answer.keys[i].key_id, ids[STAYING - 1 - n_seen]))
                n_seen++;
        }
        if (fix_answer.more) {
            struct answer page = fix_answer;

            fix_key("pages", ++last_key);
            if (n_going > 0)
                delete (BASE_SPAN("pages"), going[--n_going], 1, BASE_OK);
            fix_answer = page;
        }
    } while (fix_answer.more);
    assert_int_equal(n_seen, STAYING);
}

static void test_list_limits(void **state)
{
    (void)state;
    many_keys("limits", "limit", 1000, 1200);
    list("limits", (struct store_key_filter){.limit = 200});
    assert_int_equal(fix_answer.n, 200);
    assert_true(fix_answer.more);
    list("limits", (struct store_key_filter){.limit = 1});
    assert_int_equal(fix_answer.n, 1);
    assert_true(fix_answer.more);
    fix_exec("DELETE FROM api_key WHERE key_id IN (SELECT key_id FROM api_key WHERE tenant_id = "
             "'limits' LIMIT 1)");
    list("limits", (struct store_key_filter){.limit = 200});
    assert_int_equal(fix_answer.n, 200);
    assert_false(fix_answer.more);
}

/* ---- Plans ---- */

static long long table_scans(void)
{
    return fix_number("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'api_key'");
}

static long long rows_read(void)
{
    return fix_number("SELECT coalesce(idx_tup_fetch, 0) + seq_tup_read FROM pg_stat_user_tables"
                      " WHERE relname = 'api_key'");
}

static void list_pages_of(struct db_conn *db, enum store_key_status status, const char *text,
                          int pages)
{
    int64_t before_seq = 0;

    for (int i = 0; i < pages; i++) {
        struct store_key_filter filter = {.status = status,
                                          .text = base_span_str(text),
                                          .now_us = base_clock_wall_us(),
                                          .before_seq = before_seq,
                                          .limit = 50};
        struct answer answer = {0};

        store_key_list(db, BASE_SPAN("big"), &filter, on_key_list, &answer);
        fix_wait(&answer, 1);
        assert_int_equal(answer.err, BASE_OK);
        if (!answer.more)
            break;
        before_seq = answer.keys[49].seq;
    }
}

/* 10,000 keys in a tenant: no page reads the table, whatever the filter, before and after the
 * planner prefers its general plan (the sixth execution); a page that needs no searching reads its
 * rows only. */
static void test_list_plan(void **state)
{
    struct db_conn *db;
    long long scans, rows;

    (void)state;
    many_keys("big", "big", 1, 10000);
    fix_exec("VACUUM ANALYZE");
    scans = table_scans();
    rows = rows_read();
    db = fix_open(fix_runtime);
    list_pages_of(db, STORE_KEY_ANY, "", 12);
    db_conn_close(&db);
    assert_true(rows_read() - rows <= 12 * 51);
    db = fix_open(fix_runtime);
    list_pages_of(db, STORE_KEY_ACTIVE, "", 12);
    list_pages_of(db, STORE_KEY_DISABLED, "", 12);
    list_pages_of(db, STORE_KEY_EXPIRED, "", 12);
    list_pages_of(db, STORE_KEY_ANY, "key 77", 12);
    list_pages_of(db, STORE_KEY_ANY, "no such", 12);
    list_pages_of(db, STORE_KEY_EXPIRED, "9", 12);
    db_conn_close(&db);
    assert_int_equal(table_scans(), scans);
}

static void test_lookup_plan(void **state)
{
    long long scans = table_scans(), rows = rows_read();
    struct db_conn *db = fix_open(fix_runtime);

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        struct answer answer = {0};

        store_key_lookup(db, fix_key_id(i), on_lookup, &answer);
        fix_wait(&answer, 1);
    }
    db_conn_close(&db);
    assert_int_equal(table_scans(), scans);
    assert_true(rows_read() - rows <= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_create_and_read, each),
        cmocka_unit_test_setup(test_create_plain, each),
        cmocka_unit_test_setup(test_create_most_scopes, each),
        cmocka_unit_test_setup(test_create_jwks, each),
        cmocka_unit_test_setup(test_create_refused, each),
        cmocka_unit_test_setup(test_create_elsewhere, each),
        cmocka_unit_test_setup(test_no_audit_no_change, each),
        cmocka_unit_test_setup(test_other_tenants_key, each),
        cmocka_unit_test_setup(test_lookup, each),
        cmocka_unit_test_setup(test_lookup_decoy, each),
        cmocka_unit_test_setup(test_lookup_together, each),
        cmocka_unit_test_setup(test_lookup_sees_changes, each),
        cmocka_unit_test_setup(test_decoy_is_hidden, each),
        cmocka_unit_test_setup(test_update, each),
        cmocka_unit_test_setup(test_update_refused, each),
        cmocka_unit_test_setup(test_update_to_jwks, each),
        cmocka_unit_test_setup(test_update_at_once, each),
        cmocka_unit_test_setup(test_set_secret, each),
        cmocka_unit_test_setup(test_set_secret_again, each),
        cmocka_unit_test_setup(test_set_secret_refused, each),
        cmocka_unit_test_setup(test_delete, each),
        cmocka_unit_test_setup(test_idempotent_create, each),
        cmocka_unit_test_setup(test_idempotency_ends, each),
        cmocka_unit_test_setup(test_idempotency_of_failures, each),
        cmocka_unit_test_setup(test_idempotent_creates_at_once, each),
        cmocka_unit_test_setup(test_idempotent_secret, each),
        cmocka_unit_test_setup(test_touch, each),
        cmocka_unit_test_setup(test_touch_once_a_minute, each),
        cmocka_unit_test_setup(test_touch_thousand, each),
        cmocka_unit_test_setup(test_touch_is_hot, each),
        cmocka_unit_test_setup(test_touch_at_once, each),
        cmocka_unit_test_setup(test_touch_does_not_wait, each),
        cmocka_unit_test_setup(test_remac, each),
        cmocka_unit_test_setup(test_list_filters, each),
        cmocka_unit_test_setup(test_list_pages, each),
        cmocka_unit_test_setup(test_list_limits, each),
        cmocka_unit_test_setup(test_list_plan, each),
        cmocka_unit_test_setup(test_lookup_plan, each),
    };

    return cmocka_run_group_tests(tests, setup, fix_teardown);
}
