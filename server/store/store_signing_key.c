/* SPDX-License-Identifier: Apache-2.0 */
/* The table signing_key. Whatever changes it holds the rotation's advisory lock first, so that of
 * several instances with the same idea one is first and the others see what it did. Times are the
 * database's, taken when the lock is held: now() would be the start of the transaction, before the
 * wait. */
#include "store_internal.h"

#include "base_clock.h"
#include "base_mem.h"

/* ---- Statements ---- */

/* SQL keeps its own lines. */
/* clang-format off */
#define CLOCK        " clock AS MATERIALIZED (SELECT clock_timestamp() AS now)"
/* Parameters $1 to $5: see put_key(). */
#define NEW_KEY      "$1, $2, $3::json, $4::bytea, $5::bytea"
#define INSERT_SIGNS                                                                               \
    "INSERT INTO signing_key (kid, alg, public_jwk, sealed, seal_id, state, created_at, signs_from," \
    " activated_at) SELECT " NEW_KEY ", 'signing', c.now, c.now, c.now FROM clock c"

static const struct db_statement list = {
    "signing_key_list",
    "SELECT clock_timestamp(), r.generation, k.kid, k.alg, k.public_jwk, k.sealed, k.seal_id, k.state,"
    " k.created_at, k.signs_from, k.activated_at, k.retired_at, k.publish_until"
    " FROM signing_ring r LEFT JOIN signing_key k ON true ORDER BY k.created_at, k.kid",
    DB_READ};

static const struct db_statement first = {
    "signing_key_first",
    "WITH" CLOCK ","
    " changed AS (" INSERT_SIGNS " WHERE NOT EXISTS (SELECT FROM signing_key WHERE state <> 'retired')"
             " RETURNING kid),"
    STORE_LOGGED("$6")
    " SELECT" STORE_OUTCOME("true"),
    DB_WRITE};

static const struct db_statement announce = {
    "signing_key_announce",
    "WITH" CLOCK "," STORE_USED("$7", "$8") ","
    " changed AS (INSERT INTO signing_key (kid, alg, public_jwk, sealed, seal_id, state, created_at,"
             " signs_from) SELECT $1, $2, $3::json, $4::bytea, $5::bytea, 'announced', c.now, c.now + $10::bigint * interval '1 microsecond'"
             " FROM clock c WHERE NOT EXISTS (SELECT FROM signing_key WHERE state = 'announced')"
             " AND EXISTS (SELECT FROM signing_key WHERE state = 'signing')"
             " AND NOT EXISTS (SELECT FROM used) RETURNING kid),"
    STORE_LOGGED("$6") ","
    STORE_KEPT("$7", "$8", "$9", "kid")
    " SELECT" STORE_OUTCOME_IDEMPOTENT("$9", "true"),
    DB_WRITE};

/* `changed` reads `retired`, so that the old key has left the unique index before the new one enters it.
 * The ring's longest_ttl knows of every API key that ever was, and of every server's default. */
static const struct db_statement activate = {
    "signing_key_activate",
    "WITH" CLOCK ","
    " due AS (SELECT k.kid FROM signing_key k, clock c"
             " WHERE k.kid = $1 AND k.state = 'announced' AND k.signs_from <= c.now),"
    " retired AS (UPDATE signing_key k SET state = 'retired', retired_at = c.now, publish_until = c.now"
             " + greatest($2::bigint, r.longest_ttl * bigint '1000000') * interval '1 microsecond'"
             " + $3::bigint * interval '1 microsecond'"
             " FROM clock c, signing_ring r, due WHERE k.state = 'signing' RETURNING k.kid),"
    " changed AS (UPDATE signing_key k SET state = 'signing', activated_at = c.now FROM clock c, due"
             " WHERE k.kid = due.kid AND (SELECT count(*) FROM retired) >= 0 RETURNING k.kid),"
    STORE_LOGGED("$4")
    " SELECT" STORE_OUTCOME("true"),
    DB_WRITE};

/* `changed` reads `removed` for the same reason. */
static const struct db_statement replace_all = {
    "signing_key_replace_all",
    "WITH" CLOCK "," STORE_USED("$7", "$8") ","
    " removed AS (DELETE FROM signing_key WHERE kid <> $1 AND NOT EXISTS (SELECT FROM used) RETURNING kid),"
    " changed AS (" INSERT_SIGNS " WHERE (SELECT count(*) FROM removed) >= 0 AND NOT EXISTS (SELECT FROM used)"
             " RETURNING kid),"
    STORE_LOGGED("$6") ","
    STORE_KEPT("$7", "$8", "$9", "kid")
    " SELECT" STORE_OUTCOME_IDEMPOTENT("$9", "true"),
    DB_WRITE};

/* Nothing to delete is as good as done. */
static const struct db_statement expire = {
    "signing_key_expire",
    "WITH changed AS (DELETE FROM signing_key"
             " WHERE state = 'retired' AND publish_until < clock_timestamp() RETURNING kid)"
    " SELECT NULL::text, NULL::boolean, true, (SELECT count(*) FROM changed) >= 0",
    DB_WRITE};

static const struct db_statement reseal = {
    "signing_key_reseal",
    "WITH changed AS (UPDATE signing_key SET sealed = $3::bytea, seal_id = $4::bytea"
             " WHERE kid = $1 AND seal_id = $2::bytea RETURNING kid),"
    STORE_LOGGED("$5")
    " SELECT" STORE_OUTCOME("EXISTS (SELECT FROM signing_key WHERE kid = $1)"),
    DB_WRITE};

static const struct db_statement seal_uses = {
    "seal_uses",
    "SELECT seal, sum(signing)::bigint, sum(secrets)::bigint FROM ("
    " SELECT seal_id AS seal, count(*) AS signing, 0 AS secrets FROM signing_key GROUP BY 1"
    " UNION ALL SELECT secret_seal, 0, count(*) FROM api_key"
             " WHERE secret_seal IS NOT NULL AND expires_at > now() AND seq > 0 GROUP BY 1"
    " UNION ALL SELECT previous_seal, 0, count(*) FROM api_key"
             " WHERE previous_expires_at > now() AND expires_at > now() AND seq > 0 GROUP BY 1"
    ") AS uses GROUP BY seal ORDER BY seal",
    DB_READ};

/* Each step looks for the next master key in the index (sql/002_seal_indexes.sql), so the answer takes as many
 * look-ups as there are master keys, not keys: min() and DISTINCT would read them all. */
#define SEALS_OF(column)                                                                           \
    "(SELECT " column " FROM api_key WHERE " column " IS NOT NULL AND seq > 0"                     \
    " ORDER BY " column " LIMIT 1)"                                                                \
    " UNION ALL SELECT (SELECT k." column " FROM api_key k WHERE k." column " > s.seal AND k.seq > 0" \
    " ORDER BY k." column " LIMIT 1) FROM "

static const struct db_statement seals_needed = {
    "seals_needed",
    "WITH RECURSIVE"
    " current (seal) AS (" SEALS_OF("secret_seal") "current s WHERE s.seal IS NOT NULL),"
    " previous (seal) AS (" SEALS_OF("previous_seal") "previous s WHERE s.seal IS NOT NULL)"
    " SELECT seal, bool_or(signing), bool_or(NOT signing) FROM ("
    " SELECT seal_id AS seal, true AS signing FROM signing_key"
    " UNION ALL SELECT seal, false FROM current WHERE EXISTS (SELECT FROM api_key k"
             " WHERE k.secret_seal = seal AND k.seq > 0 AND k.expires_at > now())"
    " UNION ALL SELECT seal, false FROM previous WHERE EXISTS (SELECT FROM api_key k"
             " WHERE k.previous_seal = seal AND k.seq > 0"
             " AND least(k.previous_expires_at, k.expires_at) > now())"
    ") AS needs GROUP BY seal ORDER BY seal",
    DB_READ};

static const struct db_statement note_ttl = {
    "signing_ring_note_ttl",
    "UPDATE signing_ring SET longest_ttl = $1::int WHERE longest_ttl < $1",
    DB_WRITE};
/* clang-format on */

/* ---- Reading ---- */

enum column {
    NOW,
    GENERATION,
    KID,
    ALG,
    PUBLIC_JWK,
    SEALED,
    SEAL_ID,
    STATE,
    CREATED,
    SIGNS_FROM,
    ACTIVATED,
    RETIRED,
    PUBLISH_UNTIL,
};

static enum store_signing_state read_state(struct base_span text)
{
    if (base_span_eq(text, BASE_SPAN("announced")))
        return STORE_SIGNING_ANNOUNCED;
    return base_span_eq(text, BASE_SPAN("signing")) ? STORE_SIGNING_ACTIVE : STORE_SIGNING_RETIRED;
}

static void read_key(const struct db_result *result, int row, struct store_signing_key *out)
{
    out->kid = db_row_text(result, row, KID);
    out->alg = db_row_text(result, row, ALG);
    out->public_jwk = db_row_text(result, row, PUBLIC_JWK);
    out->sealed = db_row_text(result, row, SEALED);
    out->seal_id = store_row_seal_id(result, row, SEAL_ID);
    out->state = read_state(db_row_text(result, row, STATE));
    out->created_us = db_row_time(result, row, CREATED);
    out->signs_from_us = db_row_time(result, row, SIGNS_FROM);
    out->activated_us = db_row_time(result, row, ACTIVATED);
    out->retired_us = db_row_time(result, row, RETIRED);
    out->publish_until_us = db_row_time(result, row, PUBLISH_UNTIL);
}

static void answer_list(struct store_call *call, const struct db_result *result)
{
    size_t n_rows = (size_t)db_result_rows(result);
    BASE_AUTO(base_free) struct store_signing_key *keys = base_calloc(n_rows, sizeof *keys);

    if (db_row_is_null(result, 0, KID))
        n_rows = 0; /* the ring is there, but empty */
    for (size_t i = 0; i < n_rows; i++)
        read_key(result, (int)i, &keys[i]);
    call->fn.signing_list(call->ctx, BASE_OK, keys, n_rows, db_row_time(result, 0, NOW),
                          db_row_int8(result, 0, GENERATION));
}

static void listed(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;

    if (answer->err != BASE_OK)
        call->fn.signing_list(call->ctx, answer->err, NULL, 0, 0, 0);
    else if (db_result_rows(answer->result) == 0) /* somebody has deleted the ring's one row */
        call->fn.signing_list(call->ctx, BASE_INTERNAL, NULL, 0, 0, 0);
    else
        answer_list(call, answer->result);
    base_free(&call);
}

void store_signing_key_list(struct db_conn *db, store_signing_list_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);

    call->fn.signing_list = done;
    db_query(db, &list, NULL, 0, listed, call);
}

/* ---- Changes ---- */

static void put_key(struct store_params *params, const struct store_signing_key *key)
{
    store_put_text(params, key->kid);
    store_put_text(params, key->alg);
    store_put_text(params, key->public_jwk);
    store_put(params, db_bytes(key->sealed.ptr, key->sealed.len));
    store_put(params, db_bytes(key->seal_id.bytes, sizeof key->seal_id.bytes));
}

static void change(struct db_conn *db, const struct db_statement *statement,
                   const struct store_params *params, store_done_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);

    call->fn.done = done;
    store_query_locked(db, &store_lock_rotation, statement, params, store_answer_done, call);
}

void store_signing_key_first(struct db_conn *db, const struct store_signing_key *key,
                             const struct store_audit *audit, store_done_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};

    put_key(&params, key);
    store_put_audit(&params, audit);
    change(db, &first, &params, done, ctx);
}

void store_signing_key_announce(struct db_conn *db, const struct store_signing_key *key,
                                int64_t wait_us, const struct store_idempotency *idempotency,
                                const struct store_audit *audit, store_done_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};

    put_key(&params, key);
    store_put_audit(&params, audit);
    store_put_idempotency(&params, idempotency);
    store_put(&params, db_int8(wait_us));
    change(db, &announce, &params, done, ctx);
}

void store_signing_key_activate(struct db_conn *db, struct base_span kid, int64_t default_ttl_us,
                                int64_t publish_us, const struct store_audit *audit,
                                store_done_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};

    store_put_text(&params, kid);
    store_put(&params, db_int8(default_ttl_us));
    store_put(&params, db_int8(publish_us));
    store_put_audit(&params, audit);
    change(db, &activate, &params, done, ctx);
}

static void ttl_noted(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_outcome outcome = store_read_error(answer, NULL);

    call->fn.done(call->ctx, &outcome);
    base_free(&call);
}

void store_signing_ring_note_ttl(struct db_conn *db, int64_t ttl_us, store_done_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    call->fn.done = done;
    store_put(&params, db_int4((int32_t)((ttl_us + BASE_US_PER_S - 1) / BASE_US_PER_S)));
    store_query(db, &note_ttl, &params, ttl_noted, call);
}

void store_signing_key_replace_all(struct db_conn *db, const struct store_signing_key *key,
                                   const struct store_idempotency *idempotency,
                                   const struct store_audit *audit, store_done_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};

    put_key(&params, key);
    store_put_audit(&params, audit);
    store_put_idempotency(&params, idempotency);
    change(db, &replace_all, &params, done, ctx);
}

void store_signing_key_expire(struct db_conn *db, store_done_fn *done, void *ctx)
{
    const struct store_params none = {0};

    change(db, &expire, &none, done, ctx);
}

void store_signing_key_reseal(struct db_conn *db, struct base_span kid,
                              const struct base_seal_id *old_seal, struct base_span sealed,
                              const struct base_seal_id *seal_id, const struct store_audit *audit,
                              store_done_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};

    store_put_text(&params, kid);
    store_put(&params, db_bytes(old_seal->bytes, sizeof old_seal->bytes));
    store_put(&params, db_bytes(sealed.ptr, sealed.len));
    store_put(&params, db_bytes(seal_id->bytes, sizeof seal_id->bytes));
    store_put_audit(&params, audit);
    change(db, &reseal, &params, done, ctx);
}

/* ---- Which master key is needed by how many ---- */

static void counted(void *data, const struct db_answer *answer)
{
    BASE_AUTO(base_free) struct store_seal_use *uses = NULL;
    struct store_call *call = data;
    size_t n_uses = 0;

    if (answer->err == BASE_OK) {
        n_uses = (size_t)db_result_rows(answer->result);
        uses = base_calloc(n_uses + 1, sizeof *uses);
    }
    for (size_t i = 0; i < n_uses; i++) {
        uses[i].seal_id = store_row_seal_id(answer->result, (int)i, 0);
        uses[i].signing_keys = db_row_int8(answer->result, (int)i, 1);
        uses[i].secrets = db_row_int8(answer->result, (int)i, 2);
    }
    call->fn.seal_use(call->ctx, answer->err, uses, n_uses);
    base_free(&call);
}

void store_seal_uses(struct db_conn *db, store_seal_use_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);

    call->fn.seal_use = done;
    db_query(db, &seal_uses, NULL, 0, counted, call);
}

static void needed(void *data, const struct db_answer *answer)
{
    BASE_AUTO(base_free) struct store_seal_need *needs = NULL;
    struct store_call *call = data;
    size_t n_needs = 0;

    if (answer->err == BASE_OK) {
        n_needs = (size_t)db_result_rows(answer->result);
        needs = base_calloc(n_needs + 1, sizeof *needs);
    }
    for (size_t i = 0; i < n_needs; i++) {
        needs[i].seal_id = store_row_seal_id(answer->result, (int)i, 0);
        needs[i].signing_keys = db_row_bool(answer->result, (int)i, 1);
        needs[i].secrets = db_row_bool(answer->result, (int)i, 2);
    }
    call->fn.seal_need(call->ctx, answer->err, needs, n_needs);
    base_free(&call);
}

void store_seals_needed(struct db_conn *db, store_seal_need_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);

    call->fn.seal_need = done;
    db_query(db, &seals_needed, NULL, 0, needed, call);
}
