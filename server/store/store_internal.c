/* SPDX-License-Identifier: Apache-2.0 */
/* The store's common parts: see the header. */
#include "store_internal.h"

#include "base_mem.h"

#include <assert.h>

#define LOCK(name, lock)                                                                           \
    {                                                                                              \
        name, "SELECT pg_advisory_xact_lock(" lock ")", DB_WRITE                                   \
    }

const struct db_statement store_lock_rotation = LOCK("lock_rotation", STORE_LOCK_ROTATION);
const struct db_statement store_lock_scopes = LOCK("lock_scopes", STORE_LOCK_SCOPES);
static const struct db_statement lock_idempotency = {
    "lock_idempotency",
    "SELECT pg_advisory_xact_lock(1128354373, hashtext($1::text || ' ' || $2::text))", DB_WRITE};

struct store_call *store_call_new(void *ctx)
{
    struct store_call *call = base_calloc(1, sizeof *call);

    call->ctx = ctx;
    return call;
}

/* ---- Parameters ---- */

void store_params_clear(struct store_params *params)
{
    for (size_t i = 0; i < params->n_memory; i++)
        base_buf_clear(&params->memory[i]);
    params->n = params->n_memory = 0;
}

void store_put(struct store_params *params, struct db_param param)
{
    assert(params->n < DB_MAX_PARAMS);
    params->items[params->n++] = param;
}

static struct base_span or_empty(struct base_span span)
{
    return span.ptr ? span : BASE_SPAN("");
}

void store_put_text(struct store_params *params, struct base_span text)
{
    store_put(params, db_text(or_empty(text)));
}

void store_put_text_or_null(struct store_params *params, struct base_span text)
{
    store_put(params, db_text_or_null(text));
}

static bool has_null(const struct base_span *spans, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!spans[i].ptr)
            return true;
    }
    return false;
}

void store_put_array(struct store_params *params, const struct base_span *spans, size_t n)
{
    struct base_buf *buf = &params->memory[params->n_memory++];

    assert(params->n_memory <= BASE_COUNT(params->memory));
    base_buf_init(buf, 1 << 20);
    db_array_begin(buf, n, has_null(spans, n));
    for (size_t i = 0; i < n; i++)
        db_array_put(buf, spans[i]);
    store_put(params, db_bytes(buf->ptr, buf->len));
}

void store_put_array_or_null(struct store_params *params, const struct base_span *spans, size_t n)
{
    if (n > 0)
        store_put_array(params, spans, n);
    else
        store_put(params, db_null());
}

void store_put_audit(struct store_params *params, const struct store_audit *audit)
{
    const struct base_span entry[] = {
        audit->tenant.len > 0 ? audit->tenant : base_span_of(NULL, 0),
        or_empty(audit->actor),
        or_empty(audit->action),
        or_empty(audit->object),
        audit->changes.len > 0 ? audit->changes : BASE_SPAN("{}"),
        or_empty(audit->address),
        or_empty(audit->request_id),
    };

    store_put_array(params, entry, BASE_COUNT(entry));
}

void store_put_idempotency(struct store_params *params, const struct store_idempotency *idempotency)
{
    bool given = idempotency && idempotency->key.len > 0;

    store_put(params, given ? db_text(idempotency->actor) : db_null());
    store_put(params, given ? db_text(idempotency->key) : db_null());
    store_put(params,
              given ? db_bytes(idempotency->digest, sizeof idempotency->digest) : db_null());
}

/* ---- Queries ---- */

void store_query(struct db_conn *db, const struct db_statement *statement,
                 const struct store_params *params, db_answer_fn *answered, struct store_call *call)
{
    db_query(db, statement, params->items, params->n, answered, call);
}

void store_query_locked(struct db_conn *db, const struct db_statement *lock,
                        const struct db_statement *statement, const struct store_params *params,
                        db_answer_fn *answered, struct store_call *call)
{
    const struct db_call calls[] = {{lock, NULL, 0}, {statement, params->items, params->n}};

    db_query_all(db, calls, BASE_COUNT(calls), answered, call);
}

void store_query_idempotent(struct db_conn *db, const struct store_idempotency *idempotency,
                            const struct db_statement *statement, const struct store_params *params,
                            db_answer_fn *answered, struct store_call *call)
{
    struct db_param names[2];
    const struct db_call calls[] = {{&lock_idempotency, names, 2},
                                    {statement, params->items, params->n}};

    if (!idempotency || idempotency->key.len == 0) {
        store_query(db, statement, params, answered, call);
        return;
    }
    names[0] = db_text(idempotency->actor);
    names[1] = db_text(idempotency->key);
    db_query_all(db, calls, BASE_COUNT(calls), answered, call);
}

/* ---- Outcomes ---- */

/* Which field of a request a constraint is about. A policy has judged it before: what arrives here
 * has changed meanwhile (a scope was deleted), or is a mistake of ours. */
static const struct {
    const char *constraint;
    const char *field;
} fields[] = {
    {"api_key_scope_scope_fkey", "scopes"},
    {"api_key_scopes_count", "scopes"},
    {"api_key_scopes_one_kind", "scopes"},
    {"api_key_scopes_sorted", "scopes"},
    {"api_key_pkey", "key_id"},
    {"api_key_key_id_valid", "key_id"},
    {"api_key_name_valid", "name"},
    {"api_key_description_valid", "description"},
    {"api_key_expires_at_valid", "expires_at"},
    {"api_key_token_ttl_valid", "token_ttl"},
    {"api_key_audience_valid", "audience"},
    {"api_key_allowed_cidrs_valid", "allowed_cidrs"},
    {"api_key_claims_valid", "claims"},
    {"api_key_jwks_valid", "jwks"},
    {"api_key_secret_or_jwks", "jwks"},
    {"tenant_pkey", "id"},
    {"tenant_id_valid", "id"},
    {"tenant_name_valid", "name"},
    {"scope_name_valid", "name"},
    {"scope_name_reserved", "name"},
    {"scope_title_valid", "title"},
    {"scope_description_valid", "description"},
    {"signing_key_pkey", "kid"},
    {"signing_key_one_signing", "state"},
    {"signing_key_one_announced", "state"},
};

static const char *field_of(const char *constraint)
{
    for (size_t i = 0; i < BASE_COUNT(fields); i++) {
        if (strcmp(fields[i].constraint, constraint) == 0)
            return fields[i].field;
    }
    return NULL;
}

struct store_outcome store_read_error(const struct db_answer *answer, const char *in_use)
{
    struct store_outcome outcome = {.err = answer->err};

    if (answer->err == BASE_OK)
        return outcome;
    if (strncmp(answer->sqlstate, "23503", 5) == 0 && in_use)
        outcome.field = in_use;
    else
        outcome.field = field_of(answer->constraint);
    /* A check or NOT NULL is about the input, not about other rows. */
    if (strcmp(answer->sqlstate, "23514") == 0 || strcmp(answer->sqlstate, "23502") == 0)
        outcome.err = BASE_INVALID;
    return outcome;
}

struct store_outcome store_read_outcome(const struct db_answer *answer, const char *in_use)
{
    enum { OBJECT, SAME_REQUEST, EXISTS, CHANGED };
    const struct db_result *result = answer->result;
    struct store_outcome outcome = store_read_error(answer, in_use);

    if (answer->err != BASE_OK)
        return outcome;
    outcome.repeated = !db_row_is_null(result, 0, OBJECT);
    if (outcome.repeated) {
        outcome.err = BASE_CONFLICT;
        outcome.same_request = db_row_bool(result, 0, SAME_REQUEST);
        outcome.object = db_row_text(result, 0, OBJECT);
    } else if (!db_row_bool(result, 0, CHANGED)) {
        outcome.err = db_row_bool(result, 0, EXISTS) ? BASE_CONFLICT : BASE_NOT_FOUND;
    }
    return outcome;
}

void store_answer_done(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_outcome outcome = store_read_outcome(answer, NULL);

    call->fn.done(call->ctx, &outcome);
    base_free(&call);
}

/* ---- Columns ---- */

struct base_span store_row_text_or(const struct db_result *result, int row, int column,
                                   struct base_span otherwise)
{
    return db_row_is_null(result, row, column) ? otherwise : db_row_text(result, row, column);
}

struct base_seal_id store_row_seal_id(const struct db_result *result, int row, int column)
{
    struct base_span bytes = db_row_text(result, row, column);
    struct base_seal_id id = {{0}};

    if (bytes.len == sizeof id.bytes)
        memcpy(id.bytes, bytes.ptr, sizeof id.bytes);
    return id;
}
