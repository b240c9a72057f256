/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping: see the header. */
#include "store_internal.h"

#include "base_mem.h"

/* ---- Statements ---- */

/* SQL keeps its own lines. */
/* clang-format off */
static const struct db_statement ping = {"ping", "SELECT clock_timestamp()", false};

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
    true};

/* Each new one also sweeps up to two that are over: the table cannot grow beyond what is valid at one time,
 * however rarely store_expire() runs. One whose time is over may be used again. */
static const struct db_statement use_assertion = {
    "assertion_use",
    "WITH swept AS (DELETE FROM assertion_jti WHERE digest IN ("
             "SELECT digest FROM assertion_jti WHERE expires_at < now() AND digest <> $1"
             " ORDER BY expires_at LIMIT 2 FOR UPDATE SKIP LOCKED)),"
    " changed AS (INSERT INTO assertion_jti AS seen (digest, expires_at) VALUES ($1, $2::timestamptz)"
             " ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at"
             " WHERE seen.expires_at < now() RETURNING digest)"
    " SELECT" STORE_OUTCOME("true"),
    true};
/* clang-format on */

static void pinged(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;

    call->fn.ping(call->ctx, answer->err);
    base_free(&call);
}

void store_ping(struct db_conn *db, store_ping_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);

    call->fn.ping = done;
    db_query(db, &ping, NULL, 0, pinged, call);
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

/* A deadlock or a serialization failure, which a role may be set up for, is no verdict on the
 * client. */
static void assertion_answered(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_outcome outcome = store_read_outcome(answer, NULL);

    if (answer->err == BASE_CONFLICT)
        outcome.err = BASE_UNAVAILABLE;
    call->fn.done(call->ctx, &outcome);
    base_free(&call);
}

void store_assertion_use(struct db_conn *db, const uint8_t digest[BASE_SHA256_LEN],
                         int64_t expires_us, store_done_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    call->fn.done = done;
    store_put(&params, db_bytes(digest, BASE_SHA256_LEN));
    store_put(&params, db_time(expires_us));
    store_query(db, &use_assertion, &params, assertion_answered, call);
}
