/* SPDX-License-Identifier: Apache-2.0 */
/* The table tenant. seq 0 is the decoy (sql/001_init.sql), which nobody here may meet. */
#include "store_internal.h"

#include "base_mem.h"

#include <assert.h>

#define COLUMNS " t.id, t.name, t.enabled, t.seq, t.version, t.created_at, t.updated_at"

enum column { ID, NAME, ENABLED, SEQ, VERSION, CREATED, UPDATED };

static void read_tenant(const struct db_result *result, int row, int at, struct store_tenant *out)
{
    out->id = db_row_text(result, row, at + ID);
    out->name = db_row_text(result, row, at + NAME);
    out->enabled = db_row_bool(result, row, at + ENABLED);
    out->seq = db_row_int8(result, row, at + SEQ);
    out->version = db_row_int8(result, row, at + VERSION);
    out->created_us = db_row_time(result, row, at + CREATED);
    out->updated_us = db_row_time(result, row, at + UPDATED);
}

/* ---- Statements ---- */

/* SQL keeps its own lines. */
/* clang-format off */
#define FROM_CHANGED " FROM (SELECT) AS one LEFT JOIN changed t ON true"
#define THIS_TENANT  "id = $1 AND seq > 0"

static const struct db_statement get = {
    "tenant_get",
    "SELECT" COLUMNS " FROM tenant t WHERE t.id = $1 AND t.seq > 0",
    DB_READ};

/* The filter keeps the planner on the index, as in store_key.c. */
static const struct db_statement list = {
    "tenant_list",
    "SELECT" COLUMNS " FROM ("
    STORE_PAGE("SELECT * FROM tenant WHERE seq > 0 AND seq < $1::bigint"
               " AND CASE WHEN $2::text = '' THEN true"
                        " ELSE strpos(lower(name), (SELECT lower($2))) > 0"
                          " OR strpos(id, (SELECT lower($2))) > 0 END"
               " ORDER BY seq DESC", "$3")
    ") AS t ORDER BY t.seq DESC",
    DB_READ};

static const struct db_statement create = {
    "tenant_create",
    "WITH" STORE_USED("$5", "$6") ","
    " changed AS (INSERT INTO tenant (id, name, enabled) SELECT $1, $2, $3::boolean"
             " WHERE NOT EXISTS (SELECT FROM used) RETURNING *),"
    STORE_LOGGED("$4") ","
    STORE_KEPT("$5", "$6", "$7", "id")
    " SELECT" STORE_OUTCOME_IDEMPOTENT("$7", "false") "," COLUMNS FROM_CHANGED,
    DB_WRITE};

static const struct db_statement update = {
    "tenant_update",
    "WITH changed AS (UPDATE tenant SET name = $3, enabled = $4::boolean, version = version + 1,"
             " updated_at = now() WHERE " THIS_TENANT " AND version = $2::bigint RETURNING *),"
    STORE_LOGGED("$5")
    " SELECT" STORE_OUTCOME("EXISTS (SELECT FROM tenant WHERE " THIS_TENANT ")") "," COLUMNS FROM_CHANGED,
    DB_WRITE};

static const struct db_statement delete = {
    "tenant_delete",
    "WITH changed AS (DELETE FROM tenant WHERE " THIS_TENANT " AND version = $2::bigint RETURNING id),"
    STORE_LOGGED("$3")
    " SELECT" STORE_OUTCOME("EXISTS (SELECT FROM tenant WHERE " THIS_TENANT ")"),
    DB_WRITE};
/* clang-format on */

/* ---- Reading ---- */

static void got(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_tenant tenant;

    if (answer->err != BASE_OK) {
        call->fn.tenant(call->ctx, answer->err, NULL);
    } else if (db_result_rows(answer->result) == 0) {
        call->fn.tenant(call->ctx, BASE_NOT_FOUND, NULL);
    } else {
        read_tenant(answer->result, 0, 0, &tenant);
        call->fn.tenant(call->ctx, BASE_OK, &tenant);
    }
    base_free(&call);
}

void store_tenant_get(struct db_conn *db, struct base_span id, store_tenant_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    call->fn.tenant = done;
    store_put_text(&params, id);
    store_query(db, &get, &params, got, call);
}

static void listed(void *data, const struct db_answer *answer)
{
    BASE_AUTO(base_free) struct store_tenant *tenants = NULL;
    struct store_call *call = data;
    size_t n_rows, n;

    if (answer->err != BASE_OK) {
        call->fn.tenant_list(call->ctx, answer->err, NULL, 0, false);
        base_free(&call);
        return;
    }
    n_rows = (size_t)db_result_rows(answer->result);
    n = n_rows > (size_t)call->limit ? (size_t)call->limit : n_rows;
    tenants = base_calloc(n + 1, sizeof *tenants);
    for (size_t i = 0; i < n; i++)
        read_tenant(answer->result, (int)i, 0, &tenants[i]);
    call->fn.tenant_list(call->ctx, BASE_OK, tenants, n, n < n_rows);
    base_free(&call);
}

void store_tenant_list(struct db_conn *db, struct base_span text, int64_t before_seq, int limit,
                       store_tenant_list_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    assert(limit >= 1 && limit <= STORE_LIST_MAX);
    call->fn.tenant_list = done;
    call->limit = limit;
    store_put(&params, db_int8(before_seq > 0 ? before_seq : INT64_MAX));
    store_put_text(&params, text);
    store_put(&params, db_int4(limit));
    store_query(db, &list, &params, listed, call);
}

/* ---- Changes ---- */

static void changed(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_outcome outcome = store_read_outcome(answer, NULL);
    struct store_tenant tenant;

    if (outcome.err == BASE_OK)
        read_tenant(answer->result, 0, STORE_OUTCOME_COLUMNS, &tenant);
    call->fn.tenant_change(call->ctx, &outcome, outcome.err == BASE_OK ? &tenant : NULL);
    base_free(&call);
}

void store_tenant_create(struct db_conn *db, struct base_span id, struct base_span name,
                         bool enabled, const struct store_idempotency *idempotency,
                         const struct store_audit *audit, store_tenant_change_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct store_call *call = store_call_new(ctx);

    call->fn.tenant_change = done;
    store_put_text(&params, id);
    store_put_text(&params, name);
    store_put(&params, db_bool(enabled));
    store_put_audit(&params, audit);
    store_put_idempotency(&params, idempotency);
    store_query_idempotent(db, idempotency, &create, &params, changed, call);
}

void store_tenant_update(struct db_conn *db, struct base_span id, int64_t expected_version,
                         struct base_span name, bool enabled, const struct store_audit *audit,
                         store_tenant_change_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct store_call *call = store_call_new(ctx);

    call->fn.tenant_change = done;
    store_put_text(&params, id);
    store_put(&params, db_int8(expected_version));
    store_put_text(&params, name);
    store_put(&params, db_bool(enabled));
    store_put_audit(&params, audit);
    store_query(db, &update, &params, changed, call);
}

static void deleted(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_outcome outcome = store_read_outcome(answer, "keys");

    call->fn.done(call->ctx, &outcome);
    base_free(&call);
}

void store_tenant_delete(struct db_conn *db, struct base_span id, int64_t expected_version,
                         const struct store_audit *audit, store_done_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct store_call *call = store_call_new(ctx);

    call->fn.done = done;
    store_put_text(&params, id);
    store_put(&params, db_int8(expected_version));
    store_put_audit(&params, audit);
    store_query(db, &delete, &params, deleted, call);
}
