/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping: see the header. */
#include "store_internal.h"

#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"

/* ---- Statements ---- */

/* SQL keeps its own lines. */
/* clang-format off */
/* A thousand at a time, so that no lock is held for long; SKIP LOCKED, so that instances which do this at
 * the same moment do not wait for each other. That a previous secret is over is no change by an admin: no
 * version grows. */
static const struct db_statement expire = {
    "expire",
    "WITH old_requests AS (DELETE FROM idempotency WHERE (actor, key) IN ("
             "SELECT actor, key FROM idempotency WHERE created_at < now() - interval '24 hours'"
             " ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED) RETURNING 1),"
    " old_assertions AS (DELETE FROM assertion_jti WHERE digest IN ("
             "SELECT digest FROM assertion_jti WHERE expires_at < now()"
             " ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED) RETURNING 1),"
    " old_secrets AS (UPDATE api_key SET previous_mac = NULL, previous_seal = NULL, previous_expires_at = NULL"
    " WHERE key_id IN (SELECT key_id FROM api_key WHERE previous_expires_at < now()"
             " ORDER BY previous_expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED) RETURNING 1)"
    " SELECT 1000 <= greatest((SELECT count(*) FROM old_requests), (SELECT count(*) FROM old_assertions),"
             " (SELECT count(*) FROM old_secrets))",
    DB_WRITE};

/* Each group also sweeps twice as many as it may hold that are over: the table cannot grow beyond what is
 * valid at one time, however rarely store_expire() runs. One whose time is over may be used again. Written in
 * the order of the digests, so that two instances with the same ones do not wait for each other crosswise. */
static const struct db_statement use_assertions = {
    "assertions_use",
    "WITH given AS MATERIALIZED (SELECT decode(hex, 'hex') AS digest, at::timestamptz AS expires_at, place"
             " FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS list (hex, at, place)),"
    " swept AS (DELETE FROM assertion_jti WHERE digest IN ("
             "SELECT digest FROM assertion_jti WHERE expires_at < now() AND digest NOT IN (SELECT digest FROM given)"
             " ORDER BY expires_at LIMIT 128 FOR UPDATE SKIP LOCKED)),"
    " changed AS (INSERT INTO assertion_jti AS seen (digest, expires_at)"
             " SELECT digest, expires_at FROM given ORDER BY digest"
             " ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at"
             " WHERE seen.expires_at < now() RETURNING digest)"
    " SELECT EXISTS (SELECT FROM changed WHERE changed.digest = given.digest) FROM given ORDER BY place",
    DB_WRITE};
/* clang-format on */

bool store_idle(const struct db_conn *db)
{
    return db_conn_pending(db) == 0;
}

static void expired(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;

    call->fn.expire(call->ctx, answer->err,
                    answer->err == BASE_OK && db_row_bool(answer->result, 0, 0));
    base_free(&call);
}

void store_expire(struct db_conn *db, store_expire_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);

    call->fn.expire = done;
    db_query(db, &expire, NULL, 0, expired, call);
}

static void assertions_answered(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    bool fresh[STORE_MAX_ASSERTIONS] = {false};
    bool good = answer->err == BASE_OK;

    for (int i = 0; good && i < STORE_MAX_ASSERTIONS && i < db_result_rows(answer->result); i++)
        fresh[i] = db_row_bool(answer->result, i, 0);
    call->fn.assertions(call->ctx, answer->err, good ? fresh : NULL);
    base_free(&call);
}

void store_assertions_use(struct db_conn *db, const struct store_assertion *assertions, size_t n,
                          store_assertions_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct base_span digests[STORE_MAX_ASSERTIONS], times[STORE_MAX_ASSERTIONS];
    char formatted[STORE_MAX_ASSERTIONS][BASE_TIME_TEXT_MAX];
    struct base_buf hex;

    base_buf_init(&hex, 2 * BASE_SHA256_LEN * STORE_MAX_ASSERTIONS);
    for (size_t i = 0; i < n; i++)
        base_encode_hex(&hex, assertions[i].digest, BASE_SHA256_LEN);
    for (size_t i = 0; i < n; i++) {
        base_time_format(assertions[i].expires_us, formatted[i]);
        digests[i] = base_span_of(hex.ptr + 2 * BASE_SHA256_LEN * i, 2 * BASE_SHA256_LEN);
        times[i] = base_span_str(formatted[i]);
    }
    call->fn.assertions = done;
    store_put_array(&params, digests, n);
    store_put_array(&params, times, n);
    store_query(db, &use_assertions, &params, assertions_answered, call);
    base_buf_clear(&hex);
}
