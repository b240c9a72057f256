/* SPDX-License-Identifier: Apache-2.0 */
/* Migrations, and what the schema itself refuses: constraint by constraint, as the owner, past all
 * code. */
#include "store_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each test has a database of its own. */
static struct db_conn *fresh(char **conninfo)
{
    fix_reset();
    *conninfo = fix_database();
    return fix_open(*conninfo);
}

static void check(struct db_conn *db, enum base_err wanted, const char *why)
{
    fix_answer.count = 0;
    store_schema_check(db, on_schema, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, wanted);
    assert_non_null(strstr(fix_answer.why, why));
}

static void migrate(struct db_conn *db, enum base_err wanted, int applied)
{
    store_schema_migrate(db, on_migrate, &fix_answer);
    fix_done();
    assert_int_equal(fix_answer.err, wanted);
    assert_int_equal(fix_answer.applied, applied);
}

static void exec(const char *conninfo, const char *sql)
{
    free(pg_cluster_query(conninfo, sql));
}

static void test_migrate_and_check(void **state)
{
    char *conninfo;
    struct db_conn *db = fresh(&conninfo);

    (void)state;
    check(db, BASE_NOT_FOUND, "cardea migrate");
    migrate(db, BASE_OK, store_schema_wanted());
    assert_int_equal(fix_answer.version, store_schema_wanted());
    check(db, BASE_OK, "");
    migrate(db, BASE_OK, 0); /* safe twice */
    assert_int_equal(fix_answer.version, store_schema_wanted());
    db_conn_close(&db);
    free(conninfo);
}

/* What has been released is in databases out there, which refuse another text under the same
 * number: a change is a migration of its own. A new file adds a line here. */
static void test_released_migrations_stay(void **state)
{
    char *conninfo, *same;
    struct db_conn *db = fresh(&conninfo);

    (void)state;
    migrate(db, BASE_OK, store_schema_wanted());
    same = pg_cluster_query(
        conninfo, "SELECT count(*) FROM schema_migration WHERE (version, checksum) IN ("
                  "(1, '85d38b5d1790dceb09eeb67a9ae9425279213cc32d93d171d7d1b43f3e54728c'),"
                  "(2, 'e4b8931bfd9ee0c19a612e53e8fb7a66a88a49998312658586345041d27dcd29'),"
                  "(3, 'fc90bd4b17c9348a6f8a58309879e07ab603ca8fd0f9824c0f7b7693b3d79b5d'))");
    assert_int_equal(atoi(same), store_schema_wanted());
    db_conn_close(&db);
    free(same);
    free(conninfo);
}

static void test_migrate_at_once(void **state)
{
    enum { HOSTS = 4 };
    struct answer answers[HOSTS] = {0};
    struct db_conn *db[HOSTS];
    char *conninfo;
    int applied = 0;

    (void)state;
    db[0] = fresh(&conninfo);
    for (int i = 1; i < HOSTS; i++)
        db[i] = fix_open(conninfo);
    for (int i = 0; i < HOSTS; i++)
        store_schema_migrate(db[i], on_migrate, &answers[i]);
    for (int i = 0; i < HOSTS; i++) {
        fix_wait(&answers[i], 1);
        assert_int_equal(answers[i].err, BASE_OK);
        assert_int_equal(answers[i].version, store_schema_wanted());
        applied += answers[i].applied;
        db_conn_close(&db[i]);
    }
    assert_int_equal(applied, store_schema_wanted());
    free(conninfo);
}

static void test_changed_checksum(void **state)
{
    char *conninfo;
    struct db_conn *db = fresh(&conninfo);

    (void)state;
    migrate(db, BASE_OK, store_schema_wanted());
    exec(conninfo, "UPDATE schema_migration SET checksum = repeat('0', 64) WHERE version = 1");
    check(db, BASE_CONFLICT, "migration 1");
    migrate(db, BASE_CONFLICT, 0);
    assert_non_null(strstr(fix_answer.why, "001_init"));
    db_conn_close(&db);
    free(conninfo);
}

static void test_newer_schema(void **state)
{
    char *conninfo;
    struct db_conn *db = fresh(&conninfo);

    (void)state;
    migrate(db, BASE_OK, store_schema_wanted());
    exec(conninfo, "INSERT INTO schema_migration (version, name, checksum)"
                   " VALUES (9999, '9999_future', repeat('a', 64))");
    check(db, BASE_CONFLICT, "upgrade this cardea");
    assert_non_null(strstr(fix_answer.why, "9999"));
    migrate(db, BASE_CONFLICT, 0);
    db_conn_close(&db);
    free(conninfo);
}

static void test_older_schema(void **state)
{
    char *conninfo;
    struct db_conn *db = fresh(&conninfo);

    (void)state;
    migrate(db, BASE_OK, store_schema_wanted());
    exec(
        conninfo,
        "DELETE FROM schema_migration WHERE version = (SELECT max(version) FROM schema_migration)");
    check(db, BASE_CONFLICT, "cardea migrate");
    /* What the newest has made is taken away, too: the upgrade of a database that has been at work.
     */
    exec(conninfo, "DROP INDEX audit_tenant_create");
    migrate(db, BASE_OK, 1);
    check(db, BASE_OK, "");
    db_conn_close(&db);
    free(conninfo);
}

/* What a migration did before it failed is undone, the lock is given back, and another may try. */
static void test_failed_migration(void **state)
{
    char *conninfo;
    struct db_conn *db = fresh(&conninfo), *other;

    (void)state;
    exec(conninfo, "CREATE TABLE signing_key (x integer)");
    migrate(db, BASE_INTERNAL, 0);
    assert_non_null(strstr(fix_answer.why, "001_init"));
    assert_non_null(strstr(fix_answer.why, "signing_key"));
    check(db, BASE_NOT_FOUND, "cardea migrate");
    exec(conninfo, "DROP TABLE signing_key");
    other = fix_open(conninfo);
    migrate(other, BASE_OK, store_schema_wanted());
    check(db, BASE_OK, "");
    db_conn_close(&other);
    db_conn_close(&db);
    free(conninfo);
}

static void test_no_rights(void **state)
{
    char *conninfo, *stranger;
    struct db_conn *db = fresh(&conninfo);

    (void)state;
    migrate(db, BASE_OK, store_schema_wanted());
    db_conn_close(&db);
    exec(conninfo, "DROP ROLE IF EXISTS cardea_stranger");
    exec(conninfo, "CREATE ROLE cardea_stranger LOGIN");
    stranger = pg_cluster_as(conninfo, "cardea_stranger");
    db = fix_open(stranger);
    check(db, BASE_DENIED, "runtime-role.sql");
    migrate(db, BASE_DENIED, 0);
    db_conn_close(&db);
    exec(conninfo, "DROP ROLE cardea_stranger");
    free(stranger);
    free(conninfo);
}

/* ---- Constraints ---- */

#define KEY(n)  "'key_" n "aaaaaaaaaaaaaaaaaaaaaa'"
#define MAC     "decode(repeat('11', 32), 'hex')"
#define SEAL    "decode(repeat('22', 8), 'hex')"
#define EXPIRES "now() + interval '1 day'"
#define NEW_KEY(columns, values)                                                                   \
    "INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, created_by, " columns       \
    ") VALUES (" KEY("zz") ", 't1', 'n', '{data:read}', " EXPIRES ", 'x', " values ")"
#define CHANGE_KEY(set) "UPDATE api_key SET " set " WHERE key_id = " KEY("22")
#define KID(c)          "repeat('" c "', 43)"
#define NEW_SIGNING(kid, state, rest)                                                              \
    "INSERT INTO signing_key (kid, alg, public_jwk, sealed, seal_id, created_at, signs_from, "     \
    "state,"                                                                                       \
    " activated_at, retired_at, publish_until) VALUES (" KID(                                      \
        kid) ", 'ES256', '{\"kty\":\"EC\"}',"                                                      \
             " decode(repeat('33', 64), 'hex'), " SEAL ", '2026-01-01', '2026-01-01', '" state     \
             "', " rest ")"

static const char *const good[] = {
    "INSERT INTO tenant (id, name) VALUES ('t1', 'T'), ('0', 'one digit'), ('a-b-9', 'É <b>…')",
    "INSERT INTO scope (name, title) VALUES ('data:read', 'R'), ('data:write', 'W'), ('!#[]~', "
    "'odd')",
    "INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, created_by, secret_mac, "
    "secret_seal)"
    " VALUES (" KEY("22") ", 't1', 'n', '{data:read,data:write}', " EXPIRES ", 'x', " MAC ", " SEAL
                          ")",
    "INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, created_by, jwks)"
    " VALUES (" KEY("33") ", 't1', 'n', '{cardea.admin,cardea.read}', " EXPIRES
                          ", 'x', '{\"keys\":[{}]}')",
    CHANGE_KEY("token_ttl = 10, audience = '{a,b}', allowed_cidrs = '{10.0.0.0/8,2001:db8::/32}',"
               " claims = '{\"team\":\"x\"}'"),
    CHANGE_KEY("previous_mac = " MAC ", previous_seal = " SEAL ", previous_expires_at = now()"),
    CHANGE_KEY("scopes = '{data:read}'"),
    NEW_SIGNING("a", "signing", "'2026-01-01', NULL, NULL"),
    NEW_SIGNING("b", "announced", "NULL, NULL, NULL"),
    NEW_SIGNING("c", "retired", "'2026-01-01', '2026-01-02', '2026-01-03'"),
    "INSERT INTO audit (actor, action, object) VALUES ('a', 'b', 'c')",
};

/* What is refused, and by which constraint. */
static const struct {
    const char *sql;
    const char *refusal;
} bad[] = {
    {"INSERT INTO tenant (id, name) VALUES ('', 'x')", "23514 tenant_id_valid"},
    {"INSERT INTO tenant (id, name) VALUES ('-x', 'x')", "23514 tenant_id_valid"},
    {"INSERT INTO tenant (id, name) VALUES ('A', 'x')", "23514 tenant_id_valid"},
    {"INSERT INTO tenant (id, name) VALUES ('a_b', 'x')", "23514 tenant_id_valid"},
    {"INSERT INTO tenant (id, name) VALUES (E'a\\n', 'x')", "23514 tenant_id_valid"},
    {"INSERT INTO tenant (id, name) VALUES (repeat('a', 64), 'x')", "23514 tenant_id_valid"},
    {"INSERT INTO tenant (id, name) VALUES ('t1', 'x')", "23505 tenant_pkey"},
    {"INSERT INTO tenant (id, name) VALUES ('t2', '')", "23514 tenant_name_valid"},
    {"INSERT INTO tenant (id, name) VALUES ('t2', repeat('x', 256))", "23514 tenant_name_valid"},
    {"INSERT INTO tenant (id, name) VALUES ('t2', E'a\\nb')", "23514 tenant_name_valid"},
    {"INSERT INTO tenant (id, name) VALUES ('t2', E'a\\u0085b')", "23514 tenant_name_valid"},
    {"INSERT INTO tenant (id, name) VALUES ('t2', E'\\x7f')", "23514 tenant_name_valid"},
    {"INSERT INTO tenant (id, name, seq) VALUES ('t2', 'x', 7)", "428C9 "},
    {"DELETE FROM tenant WHERE id = 't1'", "23503 api_key_tenant_id_fkey"},
    {"UPDATE tenant SET id = 't9' WHERE id = 't1'", "23503 api_key_tenant_id_fkey"},
    {"DELETE FROM tenant WHERE id = '-'", "23514 decoy_stays"},
    {"UPDATE tenant SET enabled = false WHERE id = '-'", "23514 decoy_stays"},

    {"INSERT INTO scope (name, title) VALUES ('', 'x')", "23514 scope_name_valid"},
    {"INSERT INTO scope (name, title) VALUES ('a b', 'x')", "23514 scope_name_valid"},
    {"INSERT INTO scope (name, title) VALUES ('a\"b', 'x')", "23514 scope_name_valid"},
    {"INSERT INTO scope (name, title) VALUES ('a\\b', 'x')", "23514 scope_name_valid"},
    {"INSERT INTO scope (name, title) VALUES ('é', 'x')", "23514 scope_name_valid"},
    {"INSERT INTO scope (name, title) VALUES (E'a\\n', 'x')", "23514 scope_name_valid"},
    {"INSERT INTO scope (name, title) VALUES (repeat('a', 256), 'x')", "23514 scope_name_valid"},
    {"INSERT INTO scope (name, title) VALUES ('cardea.new', 'x')", "23514 scope_name_reserved"},
    {"INSERT INTO scope (name, title, builtin) VALUES ('mine', 'x', true)",
     "23514 scope_name_reserved"},
    {"INSERT INTO scope (name, title) VALUES ('s', '')", "23514 scope_title_valid"},
    {"INSERT INTO scope (name, title, description) VALUES ('s', 'x', repeat('x', 4097))",
     "23514 scope_description_valid"},
    {"DELETE FROM scope WHERE name = 'cardea.read'", "23514 scope_name_reserved"},
    {"UPDATE scope SET title = 'x' WHERE name = 'cardea.platform'", "23514 scope_name_reserved"},
    {"UPDATE scope SET builtin = false WHERE name = 'cardea.admin'", "23514 scope_name_reserved"},
    {"DELETE FROM scope WHERE name = 'data:read'", "23503 api_key_scope_scope_fkey"},

    {NEW_KEY("secret_mac, secret_seal, jwks", MAC ", " SEAL ", '{\"keys\":[{}]}'"),
     "23514 api_key_secret_or_jwks"},
    {NEW_KEY("description", "''"), "23514 api_key_secret_or_jwks"},
    {"UPDATE api_key SET key_id = 'key_short'", "23514 decoy_stays"},
    {CHANGE_KEY("key_id = 'key_short'"), "23514 api_key_key_id_valid"},
    {CHANGE_KEY("key_id = 'KEY_22aaaaaaaaaaaaaaaaaaaaaa'"), "23514 api_key_key_id_valid"},
    {CHANGE_KEY("key_id = 'key_01aaaaaaaaaaaaaaaaaaaaaa'"), "23514 api_key_key_id_valid"},
    {CHANGE_KEY("key_id = " KEY("33")), "23505 api_key_pkey"},
    {CHANGE_KEY("tenant_id = 'nobody'"), "23503 api_key_tenant_id_fkey"},
    {CHANGE_KEY("name = ''"), "23514 api_key_name_valid"},
    {CHANGE_KEY("name = E'a\\tb'"), "23514 api_key_name_valid"},
    {CHANGE_KEY("name = NULL"), "23502 "},
    {CHANGE_KEY("description = repeat('x', 4097)"), "23514 api_key_description_valid"},
    {CHANGE_KEY("scopes = '{}'"), "23514 api_key_scopes_count"},
    {CHANGE_KEY("scopes = NULL"), "23502 "},
    {CHANGE_KEY("scopes = '{{a,b},{c,d}}'"), "23514 api_key_scopes_count"},
    {CHANGE_KEY(
         "scopes = ARRAY(SELECT 's' || lpad(i::text, 3, '0') FROM generate_series(1, 65) i)"),
     "23514 api_key_scopes_count"},
    {CHANGE_KEY("scopes = '{unknown}'"), "23503 api_key_scope_scope_fkey"},
    {CHANGE_KEY("scopes = '{data:read,unknown}'"), "23503 api_key_scope_scope_fkey"},
    {CHANGE_KEY("scopes = '{data:write,data:read}'"), "23514 api_key_scopes_sorted"},
    {CHANGE_KEY("scopes = '{data:read,data:read}'"), "23514 api_key_scopes_sorted"},
    {CHANGE_KEY("scopes = '{data:read,NULL}'"), "23502 "},
    {CHANGE_KEY("scopes = '{cardea.admin,data:read}'"), "23514 api_key_scopes_one_kind"},
    {CHANGE_KEY("scopes = '{\"!#[]~\",cardea.read}'"), "23514 api_key_scopes_one_kind"},
    {CHANGE_KEY("scope = 'data:write'"), "428C9 "},
    {CHANGE_KEY("expires_at = 'infinity'"), "23514 api_key_expires_at_valid"},
    {CHANGE_KEY("expires_at = NULL"), "23502 "},
    {CHANGE_KEY("token_ttl = 9"), "23514 api_key_token_ttl_valid"},
    {CHANGE_KEY("token_ttl = 86401"), "23514 api_key_token_ttl_valid"},
    {CHANGE_KEY("audience = '{}'"), "23514 api_key_audience_valid"},
    {CHANGE_KEY("audience = '{1,2,3,4,5,6,7,8,9}'"), "23514 api_key_audience_valid"},
    {CHANGE_KEY("audience = '{a,NULL}'"), "23514 api_key_audience_valid"},
    {CHANGE_KEY("allowed_cidrs = '{}'"), "23514 api_key_allowed_cidrs_valid"},
    {CHANGE_KEY("allowed_cidrs = '{NULL}'"), "23514 api_key_allowed_cidrs_valid"},
    {CHANGE_KEY("allowed_cidrs = '{300.0.0.0/8}'"), "22P02 "},
    {CHANGE_KEY("allowed_cidrs = '{10.0.0.0/33}'"), "22P02 "},
    {CHANGE_KEY("claims = '[1]'"), "23514 api_key_claims_valid"},
    {CHANGE_KEY("claims = 'null'"), "23514 api_key_claims_valid"},
    {CHANGE_KEY("claims = '{'"), "22P02 "},
    {CHANGE_KEY("claims = ('{\"a\":\"' || repeat('x', 2048) || '\"}')::json"),
     "23514 api_key_claims_valid"},
    {CHANGE_KEY("jwks = '{\"keys\":[{}]}'"), "23514 api_key_secret_or_jwks"},
    {CHANGE_KEY("secret_mac = NULL, secret_seal = NULL, previous_mac = NULL, previous_seal = NULL,"
                " previous_expires_at = NULL"),
     "23514 api_key_secret_or_jwks"},
    {CHANGE_KEY("secret_seal = NULL"), "23514 api_key_secret_whole"},
    {CHANGE_KEY("secret_mac = '\\x00'"), "23514 api_key_secret_whole"},
    {CHANGE_KEY("secret_seal = '\\x00'"), "23514 api_key_secret_whole"},
    {CHANGE_KEY("previous_expires_at = NULL"), "23514 api_key_previous_whole"},
    {CHANGE_KEY("previous_mac = '\\x00'"), "23514 api_key_previous_whole"},
    {"UPDATE api_key SET jwks = '{\"keys\":[]}' WHERE key_id = " KEY("33"),
     "23514 api_key_jwks_valid"},
    {"UPDATE api_key SET jwks = '{\"keys\":[1,2,3,4,5,6]}' WHERE key_id = " KEY("33"),
     "23514 api_key_jwks_valid"},
    {"UPDATE api_key SET jwks = '{}' WHERE key_id = " KEY("33"), "23514 api_key_jwks_valid"},
    {"UPDATE api_key SET jwks = '[]' WHERE key_id = " KEY("33"), "23514 api_key_jwks_valid"},
    {"UPDATE api_key SET jwks = ('{\"keys\":[\"' || repeat('x', 16384) || '\"]}')::json WHERE "
     "key_id = " KEY("33"),
     "23514 api_key_jwks_valid"},
    {"DELETE FROM api_key WHERE key_id = '-'", "23514 decoy_stays"},
    {"INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, created_by, secret_mac, "
     "secret_seal,"
     " seq) OVERRIDING SYSTEM VALUE SELECT '-', tenant_id, name, scopes, expires_at, created_by, "
     "secret_mac,"
     " secret_seal, 0 FROM api_key WHERE seq = 0",
     "23505 api_key_pkey"},
    {"INSERT INTO api_key_scope VALUES (" KEY("22") ", 'unknown')",
     "23503 api_key_scope_scope_fkey"},

    {NEW_SIGNING("d", "signing", "'2026-01-01', NULL, NULL"), "23505 signing_key_one_signing"},
    {NEW_SIGNING("d", "announced", "NULL, NULL, NULL"), "23505 signing_key_one_announced"},
    {NEW_SIGNING("a", "retired", "'2026-01-01', '2026-01-02', '2026-01-03'"),
     "23505 signing_key_pkey"},
    {NEW_SIGNING("d", "retired", "'2026-01-01', '2026-01-02', NULL"),
     "23514 signing_key_state_valid"},
    {NEW_SIGNING("d", "retired", "NULL, '2026-01-02', '2026-01-03'"),
     "23514 signing_key_state_valid"},
    {NEW_SIGNING("d", "signing", "NULL, NULL, '2026-01-03'"), "23514 signing_key_state_valid"},
    {NEW_SIGNING("d", "gone", "NULL, NULL, NULL"), "23514 signing_key_state_valid"},
    {NEW_SIGNING("d", "announced", "'2026-01-01', NULL, NULL"), "23514 signing_key_state_valid"},
    {NEW_SIGNING("d", "retired", "'2026-01-01', NULL, NULL"), "23514 signing_key_state_valid"},
    {NEW_SIGNING("d", "retired", "'2026-01-01', '2026-01-02', '2026-01-01'"),
     "23514 signing_key_state_valid"},
    {NEW_SIGNING("=", "retired", "'2026-01-01', '2026-01-02', '2026-01-03'"),
     "23514 signing_key_kid_valid"},
    {"UPDATE signing_key SET activated_at = '2025-01-01' WHERE state = 'signing'",
     "23514 signing_key_state_valid"},
    {"UPDATE signing_key SET activated_at = NULL WHERE state = 'signing'",
     "23514 signing_key_state_valid"},
    {"UPDATE signing_key SET alg = 'HS256'", "23514 signing_key_alg_valid"},
    {"UPDATE signing_key SET alg = 'none'", "23514 signing_key_alg_valid"},
    {"UPDATE signing_key SET public_jwk = '{\"kty\":\"EC\",\"d\":\"x\"}'",
     "23514 signing_key_public_jwk_valid"},
    {"UPDATE signing_key SET public_jwk = '[]'", "23514 signing_key_public_jwk_valid"},
    {"UPDATE signing_key SET sealed = ''", "23514 signing_key_sealed_valid"},
    {"UPDATE signing_key SET seal_id = ''", "23514 signing_key_seal_id_valid"},
    {"UPDATE signing_key SET state = 'announced', activated_at = NULL WHERE state = 'signing'",
     "23514 signing_key_state_forward"},
    {"UPDATE signing_key SET state = 'signing', retired_at = NULL, publish_until = NULL WHERE "
     "state = 'retired'",
     "23514 signing_key_state_forward"},
    {"UPDATE signing_key SET state = 'retired', activated_at = now(), retired_at = now(),"
     " publish_until = now() WHERE state = 'announced'",
     "23514 signing_key_state_forward"},
    {"INSERT INTO signing_ring DEFAULT VALUES", "23505 signing_ring_pkey"},
    {"INSERT INTO signing_ring (one) VALUES (false)", "23514 signing_ring_one_check"},

    {"UPDATE audit SET actor = 'x'", "42501 "},
    {"DELETE FROM audit", "42501 "},
    {"TRUNCATE audit", "42501 "},
    {"INSERT INTO audit (actor, action, object) VALUES ('', 'b', 'c')", "23514 audit_actor_check"},
    {"INSERT INTO audit (actor, action, object, changes) VALUES ('a', 'b', 'c', '[]')",
     "23514 audit_changes_check"},
    {"INSERT INTO idempotency (actor, key, digest, object) VALUES ('a', '', " MAC ", 'o')",
     "23514 idempotency_key_check"},
    {"INSERT INTO idempotency (actor, key, digest, object) VALUES ('a', 'k', '\\x00', 'o')",
     "23514 idempotency_digest_check"},
    {"INSERT INTO assertion_jti VALUES ('\\x00', now())", "23514 assertion_jti_digest_check"},
    {"INSERT INTO schema_migration (version, name, checksum) VALUES (0, 'x', repeat('a', 64))",
     "23514 schema_migration_version_check"},
};

static void test_constraints(void **state)
{
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(good); i++)
        fix_exec(good[i]);
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        char *refusal = pg_cluster_refusal(fix_owner, bad[i].sql);

        if (strcmp(refusal, bad[i].refusal) != 0) {
            print_error("%s: %s, not %s\n", bad[i].sql, refusal, bad[i].refusal);
            wrong++;
        }
        free(refusal);
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(fix_number("SELECT count(*) FROM api_key_scope WHERE key_id = " KEY("22")), 1);
}

/* What the runtime role may not do, whatever the program above it is led to send. */
static void test_runtime_rights(void **state)
{
    static const char *const denied[] = {
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "TRUNCATE api_key CASCADE",
        "DROP TABLE audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "ALTER TABLE api_key DROP CONSTRAINT api_key_scopes_one_kind",
        "DROP TRIGGER audit_is_final ON audit",
        "CREATE TABLE mine (x integer)",
        "CREATE OR REPLACE FUNCTION audit_is_final() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
        "END'",
        "INSERT INTO schema_migration (version, name, checksum) VALUES (2, 'x', repeat('a', 64))",
        "UPDATE schema_migration SET checksum = repeat('a', 64)",
        "DELETE FROM signing_ring",
        "SELECT setval(pg_get_serial_sequence('audit', 'id'), 1)",
        "SET session_replication_role = replica",
        "CREATE ROLE another",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(denied); i++) {
        char *code = pg_cluster_sqlstate(fix_runtime, denied[i]);

        if (strcmp(code, "42501") != 0)
            print_error("%s\n", denied[i]);
        assert_string_equal(code, "42501");
        free(code);
    }
}

int main(void)
{
    const struct CMUnitTest bare[] = {
        cmocka_unit_test(test_migrate_and_check), cmocka_unit_test(test_released_migrations_stay),
        cmocka_unit_test(test_migrate_at_once),   cmocka_unit_test(test_changed_checksum),
        cmocka_unit_test(test_newer_schema),      cmocka_unit_test(test_older_schema),
        cmocka_unit_test(test_failed_migration),  cmocka_unit_test(test_no_rights),
    };
    const struct CMUnitTest migrated[] = {
        cmocka_unit_test(test_constraints),
        cmocka_unit_test(test_runtime_rights),
    };

    return cmocka_run_group_tests(bare, fix_setup_bare, fix_teardown) +
           cmocka_run_group_tests(migrated, fix_setup, fix_teardown);
}
