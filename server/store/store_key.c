/* SPDX-License-Identifier: Apache-2.0 */
/* The table api_key. The token path has one statement of its own, made to cost little; everything
 * else reads the whole row, and every change writes its audit entry in the same statement. */
#include "store_internal.h"

#include "base_mem.h"

#include <assert.h>
#include <stdio.h>

/* ---- Columns ---- */

/* What the token path needs, in the order of `enum column`. */
#define TOKEN_COLUMNS(tenant_enabled)                                                              \
    " k.tenant_id, " tenant_enabled ", k.scope, k.enabled, k.expires_at, k.token_ttl, k.audience," \
    " k.allowed_cidrs, k.claims, k.jwks, k.secret_mac, k.secret_seal,"                             \
    " k.previous_mac, k.previous_seal, k.previous_expires_at, k.last_used_at"

/* The whole row, of api_key as k joined to tenant as t. */
#define KEY_COLUMNS                                                                                \
    TOKEN_COLUMNS("t.enabled")                                                                     \
    ", k.key_id, k.name, k.description, k.seq, k.version, k.created_at, k.created_by,"             \
    " k.updated_at"

enum column {
    TENANT,
    TENANT_ENABLED,
    SCOPE,
    ENABLED,
    EXPIRES,
    TOKEN_TTL,
    AUDIENCE,
    CIDRS,
    CLAIMS,
    JWKS,
    SECRET_MAC,
    SECRET_SEAL,
    PREVIOUS_MAC,
    PREVIOUS_SEAL,
    PREVIOUS_EXPIRES,
    LAST_USED,
    KEY_ID,
    NAME,
    DESCRIPTION,
    SEQ,
    VERSION,
    CREATED,
    CREATED_BY,
    UPDATED,
};

/* The decoy has the length of a real ID, so that its MAC takes as long. */
#define DECOY_KEY_ID BASE_SPAN("key_aaaaaaaaaaaaaaaaaaaaaaaa")
#define DECOY_TENANT BASE_SPAN("-")

static void read_secret(const struct db_result *result, int row, int mac, struct store_secret *out)
{
    struct base_span bytes = db_row_text(result, row, mac);

    out->present = bytes.len == sizeof out->mac;
    if (!out->present)
        return;
    memcpy(out->mac, bytes.ptr, sizeof out->mac);
    out->seal_id = store_row_seal_id(result, row, mac + 1);
}

/* The column is one text, cheaper to send than an array. */
static size_t split_scope(struct base_span scope, struct base_span out[STORE_KEY_MAX_SCOPES])
{
    size_t n = 0;

    while (scope.len > 0 && n < STORE_KEY_MAX_SCOPES) {
        const char *space = memchr(scope.ptr, ' ', scope.len);
        size_t len = space ? (size_t)(space - scope.ptr) : scope.len;

        out[n++] = base_span_of(scope.ptr, len);
        len += space != NULL;
        scope = base_span_of(scope.ptr + len, scope.len - len);
    }
    return n;
}

/* The columns from `at` on are TOKEN_COLUMNS. `out` is zeroed. */
static void read_token_columns(const struct db_result *result, int row, int at,
                               struct store_key *out)
{
    struct store_key_fields *fields = &out->fields;

    out->tenant = db_row_text(result, row, at + TENANT);
    out->tenant_enabled = db_row_bool(result, row, at + TENANT_ENABLED);
    out->scope = db_row_text(result, row, at + SCOPE);
    fields->n_scopes = split_scope(out->scope, fields->scopes);
    fields->enabled = db_row_bool(result, row, at + ENABLED);
    fields->expires_us = db_row_time(result, row, at + EXPIRES);
    fields->token_ttl_s = db_row_int4(result, row, at + TOKEN_TTL);
    fields->n_audience =
        db_row_text_array(result, row, at + AUDIENCE, fields->audience, STORE_KEY_MAX_AUDIENCE);
    fields->n_cidrs =
        db_row_text_array(result, row, at + CIDRS, fields->cidrs, STORE_KEY_MAX_CIDRS);
    fields->claims = store_row_text_or(result, row, at + CLAIMS, BASE_SPAN("{}"));
    fields->jwks = db_row_text(result, row, at + JWKS);
    read_secret(result, row, at + SECRET_MAC, &out->secret);
    read_secret(result, row, at + PREVIOUS_MAC, &out->previous);
    out->previous_expires_us = db_row_time(result, row, at + PREVIOUS_EXPIRES);
    out->last_used_us = db_row_time(result, row, at + LAST_USED);
}

/* The columns from `at` on are KEY_COLUMNS. */
static void read_key(const struct db_result *result, int row, int at, struct store_key *out)
{
    memset(out, 0, sizeof *out);
    read_token_columns(result, row, at, out);
    out->key_id = db_row_text(result, row, at + KEY_ID);
    out->fields.name = db_row_text(result, row, at + NAME);
    out->fields.description = db_row_text(result, row, at + DESCRIPTION);
    out->seq = db_row_int8(result, row, at + SEQ);
    out->version = db_row_int8(result, row, at + VERSION);
    out->created_us = db_row_time(result, row, at + CREATED);
    out->created_by = db_row_text(result, row, at + CREATED_BY);
    out->updated_us = db_row_time(result, row, at + UPDATED);
}

/* ---- Statements ---- */

/* SQL keeps its own lines. */
/* clang-format off */
#define FROM_KEYS    " FROM api_key k JOIN tenant t ON t.id = k.tenant_id"
#define FROM_CHANGED                                                                               \
    " FROM (SELECT) AS one LEFT JOIN changed k ON true LEFT JOIN tenant t ON t.id = k.tenant_id"
#define THIS_KEY     "key_id = $1 AND tenant_id = $2 AND seq > 0"

/* For each ID backwards through the index: first the ID, then '-', the decoy's, which sorts before every ID;
 * LIMIT stops at the first that is there. So an unknown ID costs what a known one does, but for one more
 * descent of the index. The scalar subquery is cheaper than a join. ORDER BY is not: unnest() gives its
 * elements in order, and the planner knows. */
static const struct db_statement lookup = {
    "key_lookup",
    "SELECT" TOKEN_COLUMNS("(SELECT t.enabled FROM tenant t WHERE t.id = k.tenant_id)")
    " FROM unnest($1::text[]) WITH ORDINALITY AS asked (key_id, n) CROSS JOIN LATERAL ("
    "SELECT * FROM api_key WHERE key_id = ANY (ARRAY['-', asked.key_id])"
    " ORDER BY key_id DESC LIMIT 1) AS k ORDER BY asked.n",
    DB_GATHERED_READ};

static const struct db_statement find = {
    "key_find",
    "SELECT" KEY_COLUMNS FROM_KEYS " WHERE k.key_id = $1 AND k.seq > 0",
    DB_READ};

static const struct db_statement get = {
    "key_get",
    "SELECT" KEY_COLUMNS FROM_KEYS " WHERE k.key_id = $1 AND k.tenant_id = $2 AND k.seq > 0",
    DB_READ};

/* Filters are written so that the planner cannot believe them to be selective and leave the index in the
 * order of the list, which would read and sort all keys of a tenant for each page. $3 is an `enum
 * store_key_status`. A tenant without keys gives one row, whose key is NULL. */
static const struct db_statement list = {
    "key_list",
    "SELECT" KEY_COLUMNS
    " FROM tenant t LEFT JOIN LATERAL ("
    STORE_PAGE("SELECT * FROM api_key WHERE tenant_id = t.id AND seq > 0 AND seq < $2::bigint"
               " AND CASE $3::int WHEN 1 THEN enabled AND expires_at > $4::timestamptz"
                                " WHEN 2 THEN NOT enabled"
                                " WHEN 3 THEN enabled AND expires_at <= $4 ELSE true END"
               " AND CASE WHEN $5::text = '' THEN true"
                        " ELSE strpos(lower(name), (SELECT lower($5))) > 0"
                          " OR strpos(key_id, (SELECT lower($5))) > 0 END"
               " ORDER BY seq DESC", "$6")
    ") k ON true WHERE t.id = $1 AND t.seq > 0 ORDER BY k.seq DESC",
    DB_READ};

/* FOR KEY SHARE waits for a deletion of the tenant that is under way, and then finds none. */
static const struct db_statement create = {
    "key_create",
    "WITH" STORE_USED("$17", "$18") ","
    " home AS (SELECT id FROM tenant WHERE id = $2 AND seq > 0 AND NOT EXISTS (SELECT FROM used)"
             " FOR KEY SHARE),"
    " changed AS (INSERT INTO api_key (key_id, tenant_id, name, description, scopes, enabled, expires_at,"
             " token_ttl, audience, allowed_cidrs, claims, jwks, secret_mac, secret_seal, created_by)"
             " SELECT $1, home.id, $3, $4, $5::text[], $6::boolean, $7::timestamptz, $8::int, $9::text[],"
             " $10::text[], $11::json, $12::json, $13::bytea, $14::bytea, $15 FROM home RETURNING *),"
    STORE_LOGGED("$16") ","
    STORE_KEPT("$17", "$18", "$19", "key_id")
    " SELECT" STORE_OUTCOME_IDEMPOTENT("$19", "false") "," KEY_COLUMNS FROM_CHANGED,
    DB_WRITE};

/* A key that gets a JWK Set loses its secrets: it accepts one kind of proof only. */
static const struct db_statement update = {
    "key_update",
    "WITH changed AS (UPDATE api_key SET name = $4, description = $5, scopes = $6::text[],"
             " enabled = $7::boolean, expires_at = $8::timestamptz, token_ttl = $9::int,"
             " audience = $10::text[], allowed_cidrs = $11::text[], claims = $12::json, jwks = $13::json,"
             " secret_mac = CASE WHEN $13 IS NULL THEN secret_mac END,"
             " secret_seal = CASE WHEN $13 IS NULL THEN secret_seal END,"
             " previous_mac = CASE WHEN $13 IS NULL THEN previous_mac END,"
             " previous_seal = CASE WHEN $13 IS NULL THEN previous_seal END,"
             " previous_expires_at = CASE WHEN $13 IS NULL THEN previous_expires_at END,"
             " version = version + 1, updated_at = now()"
             " WHERE " THIS_KEY " AND version = $3::bigint RETURNING *),"
    STORE_LOGGED("$14")
    " SELECT" STORE_OUTCOME("EXISTS (SELECT FROM api_key WHERE " THIS_KEY ")") ","
    KEY_COLUMNS FROM_CHANGED,
    DB_WRITE};

/* On the right of SET a column is its old value. */
static const struct db_statement set_secret = {
    "key_set_secret",
    "WITH" STORE_USED("$8", "$9") ","
    " changed AS (UPDATE api_key SET secret_mac = $4::bytea, secret_seal = $5::bytea,"
             " previous_mac = CASE WHEN $11::boolean THEN previous_mac"
             " WHEN $6::timestamptz IS NOT NULL THEN secret_mac END,"
             " previous_seal = CASE WHEN $11 THEN previous_seal WHEN $6 IS NOT NULL THEN secret_seal END,"
             " previous_expires_at = CASE WHEN $11 THEN previous_expires_at ELSE $6 END,"
             " version = version + 1, updated_at = now()"
             " WHERE " THIS_KEY " AND version = $3::bigint AND jwks IS NULL"
             " AND NOT EXISTS (SELECT FROM used) RETURNING *),"
    STORE_LOGGED("$7") ","
    STORE_KEPT("$8", "$9", "$10", "key_id")
    " SELECT" STORE_OUTCOME_IDEMPOTENT("$10", "EXISTS (SELECT FROM api_key WHERE " THIS_KEY ")") ","
    KEY_COLUMNS FROM_CHANGED,
    DB_WRITE};

static const struct db_statement delete = {
    "key_delete",
    "WITH changed AS (DELETE FROM api_key WHERE " THIS_KEY " AND version = $3::bigint RETURNING key_id),"
    STORE_LOGGED("$4")
    " SELECT" STORE_OUTCOME("EXISTS (SELECT FROM api_key WHERE " THIS_KEY ")"),
    DB_WRITE};

/* Times travel as text[] beside the IDs. A row that has been written within the minute is left alone, and not
 * even locked: other workers noted the same use, or tokens of this one were on their way while it was written.
 * One that somebody else has locked is left out: the key's next use is noted again, and one row must not hold
 * up a thousand, nor the poll of the database that comes after them. So nobody waits for anybody here, and two
 * instances with the same keys cannot do so in a circle. */
static const struct db_statement touch = {
    "key_touch",
    "WITH used AS (SELECT id, 'epoch'::timestamptz + max(at::bigint) * interval '1 microsecond' AS at"
             " FROM unnest($1::text[], $2::text[]) AS u (id, at) GROUP BY id),"
    " due AS (SELECT k.key_id, used.at FROM used JOIN api_key k ON k.key_id = used.id AND k.seq > 0"
             " WHERE k.last_used_at IS NULL OR k.last_used_at <= used.at - interval '1 minute'"
             " FOR NO KEY UPDATE OF k SKIP LOCKED)"
    " UPDATE api_key k SET last_used_at = due.at FROM due WHERE k.key_id = due.key_id",
    DB_WRITE};

static const struct db_statement remac = {
    "key_remac",
    "WITH changed AS (UPDATE api_key SET secret_mac = $3::bytea, secret_seal = $4::bytea"
             " WHERE key_id = $1 AND secret_mac = $2::bytea AND seq > 0 RETURNING key_id)"
    " SELECT" STORE_OUTCOME("EXISTS (SELECT FROM api_key WHERE key_id = $1 AND seq > 0)"),
    DB_WRITE};
/* clang-format on */

/* ---- The token path ---- */

static void looked_up(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_key key;
    bool found;

    if (answer->err != BASE_OK || db_result_rows(answer->result) != 1) {
        call->fn.lookup(call->ctx, answer->err != BASE_OK ? answer->err : BASE_INTERNAL, false,
                        NULL);
        base_free(&call);
        return;
    }
    memset(&key, 0, sizeof key);
    read_token_columns(answer->result, 0, 0, &key);
    found = !base_span_eq(key.tenant, DECOY_TENANT);
    key.key_id = found ? base_span_of(call->requested, call->requested_len) : DECOY_KEY_ID;
    call->fn.lookup(call->ctx, BASE_OK, found, &key);
    base_free(&call);
}

/* An ID that does not fit `requested` is not one of ours: cut, it still takes the same path and
 * still has one character more than any that exists. */
void store_key_lookup(struct db_conn *db, struct base_span key_id, store_key_lookup_fn *done,
                      void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct db_param param;

    call->fn.lookup = done;
    call->requested_len = key_id.len < sizeof call->requested ? key_id.len : sizeof call->requested;
    if (call->requested_len > 0)
        memcpy(call->requested, key_id.ptr, call->requested_len);
    param = db_text(base_span_of(call->requested, call->requested_len));
    db_query(db, &lookup, &param, 1, looked_up, call);
}

bool store_key_lookup_busy(const struct db_conn *db)
{
    return db_conn_full(db);
}

/* ---- Reading ---- */

static void got(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_key key;

    if (answer->err != BASE_OK) {
        call->fn.key(call->ctx, answer->err, NULL);
    } else if (db_result_rows(answer->result) == 0) {
        call->fn.key(call->ctx, BASE_NOT_FOUND, NULL);
    } else {
        read_key(answer->result, 0, 0, &key);
        call->fn.key(call->ctx, BASE_OK, &key);
    }
    base_free(&call);
}

void store_key_find(struct db_conn *db, struct base_span key_id, store_key_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    call->fn.key = done;
    store_put_text(&params, key_id);
    store_query(db, &find, &params, got, call);
}

void store_key_get(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                   store_key_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    call->fn.key = done;
    store_put_text(&params, key_id);
    store_put_text(&params, tenant);
    store_query(db, &get, &params, got, call);
}

/* ---- Lists ---- */

struct store_key_list {
    const struct db_result *result;
    size_t count;
    bool more;
};

static void listed(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_key_list found = {.result = answer->result};
    enum base_err err = answer->err;

    if (err == BASE_OK) {
        found.count = (size_t)db_result_rows(answer->result);
        if (found.count == 0)
            err = BASE_NOT_FOUND;
        else if (db_row_is_null(answer->result, 0, KEY_ID))
            found.count = 0;
        found.more = found.count > (size_t)call->limit;
        found.count -= found.more;
    }
    call->fn.key_list(call->ctx, err, err == BASE_OK ? &found : NULL);
    base_free(&call);
}

void store_key_list(struct db_conn *db, struct base_span tenant,
                    const struct store_key_filter *filter, store_key_list_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    assert(filter->limit >= 1 && filter->limit <= STORE_LIST_MAX);
    call->fn.key_list = done;
    call->limit = filter->limit;
    store_put_text(&params, tenant);
    store_put(&params, db_int8(filter->before_seq > 0 ? filter->before_seq : INT64_MAX));
    store_put(&params, db_int4((int32_t)filter->status));
    store_put(&params, db_time(filter->now_us));
    store_put_text(&params, filter->text);
    store_put(&params, db_int4(filter->limit));
    store_query(db, &list, &params, listed, call);
}

size_t store_key_list_count(const struct store_key_list *found)
{
    return found->count;
}

bool store_key_list_more(const struct store_key_list *found)
{
    return found->more;
}

void store_key_list_at(const struct store_key_list *found, size_t index, struct store_key *out)
{
    assert(index < found->count);
    read_key(found->result, (int)index, 0, out);
}

/* ---- Changes ---- */

/* Ten parameters, in the order of the columns in the statements below. */
static void put_fields(struct store_params *params, const struct store_key_fields *fields)
{
    bool no_claims = base_span_eq(fields->claims, BASE_SPAN("{}"));

    store_put_text(params, fields->name);
    store_put_text(params, fields->description);
    store_put_array(params, fields->scopes, fields->n_scopes);
    store_put(params, db_bool(fields->enabled));
    store_put(params, db_time(fields->expires_us));
    store_put(params, fields->token_ttl_s != 0 ? db_int4(fields->token_ttl_s) : db_null());
    store_put_array_or_null(params, fields->audience, fields->n_audience);
    store_put_array_or_null(params, fields->cidrs, fields->n_cidrs);
    store_put_text_or_null(params, no_claims ? BASE_SPAN("") : fields->claims);
    store_put_text_or_null(params, fields->jwks);
}

static void put_secret(struct store_params *params, const struct store_secret *secret)
{
    bool present = secret && secret->present;

    store_put(params, present ? db_bytes(secret->mac, sizeof secret->mac) : db_null());
    store_put(params,
              present ? db_bytes(secret->seal_id.bytes, sizeof secret->seal_id.bytes) : db_null());
}

static void changed(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_outcome outcome = store_read_outcome(answer, NULL);
    struct store_key key;

    if (outcome.err == BASE_OK)
        read_key(answer->result, 0, STORE_OUTCOME_COLUMNS, &key);
    call->fn.key_change(call->ctx, &outcome, outcome.err == BASE_OK ? &key : NULL);
    base_free(&call);
}

void store_key_create(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                      const struct store_key_fields *fields, const struct store_secret *secret,
                      struct base_span created_by, const struct store_idempotency *idempotency,
                      const struct store_audit *audit, store_key_change_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct store_call *call = store_call_new(ctx);

    call->fn.key_change = done;
    store_put_text(&params, key_id);
    store_put_text(&params, tenant);
    put_fields(&params, fields);
    put_secret(&params, secret);
    store_put_text(&params, created_by);
    store_put_audit(&params, audit);
    store_put_idempotency(&params, idempotency);
    store_query_idempotent(db, idempotency, &create, &params, changed, call);
}

void store_key_update(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                      int64_t expected_version, const struct store_key_fields *fields,
                      const struct store_audit *audit, store_key_change_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct store_call *call = store_call_new(ctx);

    call->fn.key_change = done;
    store_put_text(&params, key_id);
    store_put_text(&params, tenant);
    store_put(&params, db_int8(expected_version));
    put_fields(&params, fields);
    store_put_audit(&params, audit);
    store_query(db, &update, &params, changed, call);
}

void store_key_set_secret(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                          int64_t expected_version, const struct store_secret *secret,
                          int64_t overlap_until_us, const struct store_idempotency *idempotency,
                          const struct store_audit *audit, store_key_change_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct store_call *call = store_call_new(ctx);

    assert(secret->present);
    call->fn.key_change = done;
    store_put_text(&params, key_id);
    store_put_text(&params, tenant);
    store_put(&params, db_int8(expected_version));
    put_secret(&params, secret);
    store_put(&params, overlap_until_us > 0 ? db_time(overlap_until_us) : db_null());
    store_put_audit(&params, audit);
    store_put_idempotency(&params, idempotency);
    store_put(&params, db_bool(overlap_until_us == STORE_KEEP_PREVIOUS));
    store_query_idempotent(db, idempotency, &set_secret, &params, changed, call);
}

void store_key_delete(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                      int64_t expected_version, const struct store_audit *audit,
                      store_done_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    struct store_call *call = store_call_new(ctx);

    call->fn.done = done;
    store_put_text(&params, key_id);
    store_put_text(&params, tenant);
    store_put(&params, db_int8(expected_version));
    store_put_audit(&params, audit);
    store_query(db, &delete, &params, store_answer_done, call);
}

/* ---- Last used, other master key ---- */

static void done_quietly(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    struct store_outcome outcome = store_read_error(answer, NULL);

    call->fn.done(call->ctx, &outcome);
    base_free(&call);
}

void store_key_touch(struct db_conn *db, const struct store_key_use *uses, size_t n_uses,
                     store_done_fn *done, void *ctx)
{
    BASE_AUTO(store_params_clear) struct store_params params = {0};
    BASE_AUTO(base_free) struct base_span *ids = base_calloc(n_uses + 1, sizeof *ids);
    BASE_AUTO(base_free) struct base_span *times = base_calloc(n_uses + 1, sizeof *times);
    BASE_AUTO(base_free) char(*texts)[24] = base_calloc(n_uses + 1, sizeof *texts);
    struct store_call *call = store_call_new(ctx);

    assert(n_uses <= 1000);
    for (size_t i = 0; i < n_uses; i++) {
        snprintf(texts[i], sizeof texts[i], "%lld", (long long)uses[i].at_us);
        times[i] = base_span_str(texts[i]);
        ids[i] = base_span_str(uses[i].key_id);
    }
    call->fn.done = done;
    store_put_array(&params, ids, n_uses);
    store_put_array(&params, times, n_uses);
    store_query(db, &touch, &params, done_quietly, call);
}

void store_key_remac(struct db_conn *db, struct base_span key_id,
                     const uint8_t old_mac[BASE_SHA256_LEN], const struct store_secret *secret,
                     store_done_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);
    struct store_params params = {0};

    assert(secret->present);
    call->fn.done = done;
    store_put_text(&params, key_id);
    store_put(&params, db_bytes(old_mac, BASE_SHA256_LEN));
    put_secret(&params, secret);
    store_query(db, &remac, &params, store_answer_done, call);
}
