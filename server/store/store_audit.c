/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the table audit. Its rows are written by the changes themselves: STORE_LOGGED. */
#include "store_internal.h"

#include "base_mem.h"

#include <assert.h>

#define COLUMNS                                                                                    \
    " a.id, a.at, a.actor, a.action, a.tenant_id, a.object, a.changes::text, a.address, "          \
    "a.request_id"

enum column { ID, AT, ACTOR, ACTION, TENANT, OBJECT, CHANGES, ADDRESS, REQUEST_ID };

/* ---- Statements ---- */

/* SQL keeps its own lines. */
/* clang-format off */
static const struct db_statement list = {
    "audit_list",
    "SELECT" COLUMNS " FROM ("
    STORE_PAGE("SELECT * FROM audit WHERE tenant_id = $3 AND -id > -$1::bigint ORDER BY -id", "$2")
    /* Only now: as a bound of the page it would make the planner read and sort all of the tenant's. */
    ") AS a WHERE $4::boolean OR a.id >= coalesce((SELECT id FROM audit WHERE tenant_id = $3"
    " AND action = 'tenant.create' ORDER BY -id LIMIT 1), 0) ORDER BY a.id DESC",
    DB_READ};

static const struct db_statement list_all = {
    "audit_list_all",
    "SELECT" COLUMNS " FROM ("
    STORE_PAGE("SELECT * FROM audit WHERE id < $1::bigint ORDER BY id DESC", "$2")
    ") AS a ORDER BY a.id DESC",
    DB_READ};
/* clang-format on */

static void read_entry(const struct db_result *result, int row, struct store_audit_row *out)
{
    out->id = db_row_int8(result, row, ID);
    out->at_us = db_row_time(result, row, AT);
    out->entry.actor = db_row_text(result, row, ACTOR);
    out->entry.action = db_row_text(result, row, ACTION);
    out->entry.tenant = db_row_text(result, row, TENANT);
    out->entry.object = db_row_text(result, row, OBJECT);
    out->entry.changes = db_row_text(result, row, CHANGES);
    out->entry.address = db_row_text(result, row, ADDRESS);
    out->entry.request_id = db_row_text(result, row, REQUEST_ID);
}

static void listed(void *data, const struct db_answer *answer)
{
    BASE_AUTO(base_free) struct store_audit_row *rows = NULL;
    struct store_call *call = data;
    size_t n_rows, n;

    if (answer->err != BASE_OK) {
        call->fn.audit_list(call->ctx, answer->err, NULL, 0, false);
        base_free(&call);
        return;
    }
    n_rows = (size_t)db_result_rows(answer->result);
    n = n_rows > (size_t)call->limit ? (size_t)call->limit : n_rows;
    rows = base_calloc(n + 1, sizeof *rows);
    for (size_t i = 0; i < n; i++)
        read_entry(answer->result, (int)i, &rows[i]);
    call->fn.audit_list(call->ctx, BASE_OK, rows, n, n < n_rows);
    base_free(&call);
}

void store_audit_list(struct db_conn *db, struct base_span tenant, bool with_former,
                      int64_t before_id, int limit, store_audit_list_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    assert(limit >= 1 && limit <= STORE_LIST_MAX);
    call->fn.audit_list = done;
    call->limit = limit;
    store_put(&params, db_int8(before_id > 0 ? before_id : INT64_MAX));
    store_put(&params, db_int4(limit));
    if (tenant.len > 0) {
        store_put_text(&params, tenant);
        store_put(&params, db_bool(with_former));
    }
    store_query(db, tenant.len > 0 ? &list : &list_all, &params, listed, call);
}
