/* SPDX-License-Identifier: Apache-2.0 */
/* The table scope: a small catalog, always read whole. */
#include "store_internal.h"

#include "base_mem.h"

#define COLUMNS " s.name, s.title, s.description, s.created_at, s.updated_at"

enum column { NAME, TITLE, DESCRIPTION, CREATED, UPDATED };

static void read_scope(const struct db_result *result, int row, int at, struct store_scope *out)
{
    out->name = db_row_text(result, row, at + NAME);
    out->title = db_row_text(result, row, at + TITLE);
    out->description = db_row_text(result, row, at + DESCRIPTION);
    out->created_us = db_row_time(result, row, at + CREATED);
    out->updated_us = db_row_time(result, row, at + UPDATED);
}

/* ---- Statements ---- */

/* SQL keeps its own lines. */
/* clang-format off */
static const struct db_statement list = {
    "scope_list",
    "SELECT" COLUMNS " FROM scope s WHERE NOT s.builtin ORDER BY s.name LIMIT 1000",
    DB_READ};

static const struct db_statement get = {
    "scope_get",
    "SELECT" COLUMNS " FROM scope s WHERE s.name = $1 AND NOT s.builtin",
    DB_READ};

/* The catalog's lock comes first, so that the count holds and two who create the same scope do not both
 * report it as created. Columns after the outcome: was it there before, then the scope. */
static const struct db_statement put = {
    "scope_put",
    "WITH before AS (SELECT name FROM scope WHERE name = $1),"
    " changed AS (INSERT INTO scope AS s (name, title, description) SELECT $1, $2, $3"
             " WHERE EXISTS (SELECT FROM before) OR (SELECT count(*) FROM scope WHERE NOT builtin) < 1000"
             " ON CONFLICT (name) DO UPDATE SET title = excluded.title,"
             " description = excluded.description, updated_at = now() RETURNING *),"
    STORE_LOGGED("$4")
    " SELECT" STORE_OUTCOME("true") ", EXISTS (SELECT FROM before)," COLUMNS
    " FROM (SELECT) AS one LEFT JOIN changed s ON true",
    DB_WRITE};

static const struct db_statement delete = {
    "scope_delete",
    "WITH changed AS (DELETE FROM scope WHERE name = $1 AND NOT builtin RETURNING name),"
    STORE_LOGGED("$2")
    " SELECT" STORE_OUTCOME("false"),
    DB_WRITE};
/* clang-format on */

/* ---- Reading ---- */

static void listed(void *data, const struct db_answer *answer)
{
    BASE_AUTO(base_free) struct store_scope *scopes = NULL;
    struct store_call *call = data;
    size_t n_scopes = 0;

    if (answer->err == BASE_OK) {
        n_scopes = (size_t)db_result_rows(answer->result);
        scopes = base_calloc(n_scopes + 1, sizeof *scopes);
    }
    for (size_t i = 0; i < n_scopes; i++)
        read_scope(answer->result, (int)i, 0, &scopes[i]);
    call->fn.scope_list(call->ctx, answer->err, scopes, n_scopes);
    base_free(&call);
}

void store_scope_list(struct db_conn *db, store_scope_list_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);

    call->fn.scope_list = done;
    db_query(db, &list, NULL, 0, listed, call);
}

static void got(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_scope scope;

    if (answer->err != BASE_OK) {
        call->fn.scope(call->ctx, answer->err, NULL);
    } else if (db_result_rows(answer->result) == 0) {
        call->fn.scope(call->ctx, BASE_NOT_FOUND, NULL);
    } else {
        read_scope(answer->result, 0, 0, &scope);
        call->fn.scope(call->ctx, BASE_OK, &scope);
    }
    base_free(&call);
}

void store_scope_get(struct db_conn *db, struct base_span name, store_scope_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    call->fn.scope = done;
    store_put_text(&params, name);
    store_query(db, &get, &params, got, call);
}

/* ---- Changes ---- */

/* Nothing changed means that the catalog was full. */
static void was_put(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_outcome outcome = store_read_outcome(answer, NULL);
    struct store_scope scope;
    bool created = false;

    if (answer->err == BASE_OK && outcome.err == BASE_CONFLICT)
        outcome.err = BASE_TOO_LARGE;
    if (outcome.err == BASE_OK) {
        created = !db_row_bool(answer->result, 0, STORE_OUTCOME_COLUMNS);
        read_scope(answer->result, 0, STORE_OUTCOME_COLUMNS + 1, &scope);
    }
    call->fn.scope_put(call->ctx, &outcome, created, outcome.err == BASE_OK ? &scope : NULL);
    base_free(&call);
}

void store_scope_put(struct db_conn *db, struct base_span name, struct base_span title,
                     struct base_span description, const struct store_audit *audit,
                     store_scope_put_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct store_call *call = store_call_new(ctx);

    call->fn.scope_put = done;
    store_put_text(&params, name);
    store_put_text(&params, title);
    store_put_text(&params, description);
    store_put_audit(&params, audit);
    store_query_locked(db, &store_lock_scopes, &put, &params, was_put, call);
}

static void deleted(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_outcome outcome = store_read_outcome(answer, "keys");

    call->fn.done(call->ctx, &outcome);
    base_free(&call);
}

void store_scope_delete(struct db_conn *db, struct base_span name, const struct store_audit *audit,
                        store_done_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct store_call *call = store_call_new(ctx);

    call->fn.done = done;
    store_put_text(&params, name);
    store_put_audit(&params, audit);
    store_query(db, &delete, &params, deleted, call);
}
