/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/tenants/{tenant}/keys: list, create, show, change, delete, and new secrets. A change reads
 * the row, judges it, and writes it back only if nobody else was faster; the secret is in the
 * answers to create and rotate only. */
#include "api_key_json.h"
#include "api_problem.h"
#include "base_clock.h"
#include "base_mem.h"
#include "policy_client.h"
#include "policy_scope.h"
#include "store_scope.h"

#define MAX_OVERLAP_US (30 * BASE_US_PER_DAY)

static struct base_span key_id_of(const struct api_call *call)
{
    return call->key_id[0] ? base_span_str(call->key_id) : call->request->params[1];
}

/* Sends a key and ends the call. A secret leaves the reply's buffer with it. */
static void send_key(struct api_call *call, int status, const struct store_key *key)
{
    const char *secret = call->secret[0] ? call->secret : NULL;
    struct base_buf headers, *body = &call->worker->scratch;

    base_buf_init(&headers, 2048);
    if (status == 201)
        base_buf_putf(&headers, "Location: %.*s/v1/tenants/%.*s/keys/%.*s\r\n",
                      BASE_SPAN_ARGS(call->request->prefix), BASE_SPAN_ARGS(key->tenant),
                      BASE_SPAN_ARGS(key->key_id));
    api_json_put_etag(&headers, key->version);
    base_buf_reset(body);
    api_key_put(body, key, secret, base_clock_wall_us());
    api_json_send(call, status, base_buf_span(&headers), key->key_id);
    if (secret)
        base_wipe(body->ptr, body->len);
    base_buf_clear(&headers);
    api_call_end(&call);
}

/* --- list and show --- */

static void on_list(void *ctx, enum base_err err, const struct store_key_list *list)
{
    struct api_call *call = ctx;
    struct base_buf *body = &call->worker->scratch;
    int64_t now_us = base_clock_wall_us();
    struct store_key key = {0};
    size_t i;

    if (!api_json_have(call, err))
        return;
    base_buf_reset(body);
    BASE_BUF_LIT(body, "{\"items\":[");
    for (i = 0; i < store_key_list_count(list) && body->len < API_PAGE_BYTES; i++) {
        if (i > 0)
            base_buf_put_char(body, ',');
        store_key_list_at(list, i, &key);
        api_key_put(body, &key, NULL, now_us);
    }
    base_buf_put_char(body, ']');
    api_json_put_cursor(body, key.seq, i < store_key_list_count(list) || store_key_list_more(list));
    api_json_send(call, 200, (struct base_span){0}, call->tenant);
    api_call_end(&call);
}

static bool read_status(const char *text, enum store_key_status *out)
{
    static const char *const names[] = {"", "active", "disabled", "expired"};

    for (unsigned i = 0; i < BASE_COUNT(names); i++) {
        if (strcmp(names[i], text) == 0) {
            *out = (enum store_key_status)i;
            return true;
        }
    }
    return false;
}

static void list_keys(struct api_call *call)
{
    struct api_page page;
    struct store_key_filter filter = {.now_us = base_clock_wall_us()};

    if (!api_json_page(call, &page)) {
        api_call_end(&call);
    } else if (!read_status(page.status, &filter.status)) {
        api_problem(call->request, 400, "status takes active, disabled or expired.", "bad_query");
        api_call_end(&call);
    } else {
        filter.text = base_span_str(page.text);
        filter.before_seq = page.before;
        filter.limit = page.limit;
        store_key_list(call->worker->admin, call->tenant, &filter, on_list, call);
    }
}

void api_keys_list(struct http_request *request)
{
    api_admit(request, list_keys);
}

static void on_get(void *ctx, enum base_err err, const struct store_key *key)
{
    struct api_call *call = ctx;

    if (api_json_have(call, err))
        send_key(call, 200, key);
}

static void get_key(struct api_call *call)
{
    store_key_get(call->worker->admin, call->tenant, key_id_of(call), on_get, call);
}

void api_keys_get(struct http_request *request)
{
    api_admit(request, get_key);
}

/* --- secrets --- */

/* A new secret for the key, kept in the call for the reply, and its MAC for the row. */
static void make_secret(struct api_call *call, struct base_span key_id, struct store_secret *out)
{
    policy_client_new_secret(call->secret);
    policy_client_mac(call->worker->snapshot->seal, NULL, key_id, base_span_str(call->secret), out);
}

/* --- what a change begins with: the row, rights over it, and If-Match --- */

static bool have_right(struct api_call *call, const struct store_key *key)
{
    if (policy_admin_may_change(&call->principal, key))
        return true;
    api_problem_forbidden(call->request,
                          "This key holds cardea.platform: only a platform admin may change it.");
    api_call_end(&call);
    return false;
}

static bool may_change(struct api_call *call, enum base_err err, const struct store_key *key)
{
    if (!api_json_have(call, err) || !have_right(call, key))
        return false;
    if (api_json_matches(call, key->version))
        return true;
    api_problem(call->request, 412, NULL, "etag");
    api_call_end(&call);
    return false;
}

static bool overtaken(const struct store_outcome *outcome)
{
    return outcome->err == BASE_CONFLICT && !outcome->field && !outcome->repeated;
}

/* Somebody changed the row between our reading and our writing: the change starts over from the new
 * row, where If-Match is judged again. True: it did. */
static bool start_over(struct api_call *call, const struct store_outcome *outcome,
                       store_key_fn *with_row)
{
    if (!overtaken(outcome) || ++call->attempts >= API_MAX_ATTEMPTS)
        return false;
    store_key_get(call->worker->admin, call->tenant, key_id_of(call), with_row, call);
    return true;
}

static void refuse_change(struct api_call *call, const struct store_outcome *outcome)
{
    if (!overtaken(outcome))
        api_json_outcome(call, outcome);
    else if (call->if_match.ptr)
        api_problem(call->request, 412, NULL, "etag");
    else
        api_problem(call->request, 409, "Other changes came first, again and again: try again.",
                    "overtaken");
    api_call_end(&call);
}

/* --- wrong fields --- */

static bool in_catalog(const struct store_scope *scopes, size_t n_scopes, struct base_span name)
{
    /* Not listed, but always there. */
    if (base_span_eq(name, BASE_SPAN("cardea.admin")) ||
        base_span_eq(name, BASE_SPAN("cardea.read")) ||
        base_span_eq(name, BASE_SPAN("cardea.platform")))
        return true;
    for (size_t i = 0; i < n_scopes; i++) {
        if (base_span_eq(scopes[i].name, name))
            return true;
    }
    return false;
}

/* Names each scope that is not there; those that are no names at all have been reported. */
static void check_catalog(struct api_call *call, const struct store_scope *scopes, size_t n_scopes)
{
    const json_t *array = json_object_get(call->after ? call->after : call->body, "scopes"), *item;
    size_t i;

    json_array_foreach (array, i, item) {
        struct base_span name = base_span_of(json_string_value(item), json_string_length(item));
        char field[32];

        if (!policy_scope_name_valid(name) || in_catalog(scopes, n_scopes, name))
            continue;
        snprintf(field, sizeof field, "scopes[%zu]", i);
        base_json_error_add(&call->errors, field, "is not in the catalog");
    }
}

static void on_catalog(void *ctx, enum base_err err, const struct store_scope *scopes,
                       size_t n_scopes)
{
    struct api_call *call = ctx;

    if (err == BASE_OK) {
        check_catalog(call, scopes, n_scopes);
        if (call->errors.count == 0) /* the scope has come back in the meantime */
            base_json_error_add(&call->errors, "scopes",
                                "names a scope that is not in the catalog");
        api_problem_fields(call->request, &call->errors);
    } else {
        api_problem_failure(call->request, err);
    }
    api_call_end(&call);
}

/* Every wrong field at once: which scopes there are is known to the database only, and asked when
 * there is something to report. */
static void report_fields(struct api_call *call)
{
    store_scope_list(call->worker->admin, on_catalog, call);
}

/* After api_key_read(): true when the fields can be written. Otherwise answered later. */
static bool fields_fit(struct api_call *call)
{
    if (api_json_starved(call))
        return false;
    if (call->errors.count > 0)
        report_fields(call);
    return call->errors.count == 0;
}

static bool is_unknown_scope(const struct store_outcome *outcome)
{
    return outcome->err == BASE_CONFLICT && outcome->field && strcmp(outcome->field, "scopes") == 0;
}

/* --- create --- */

static void repeat_create(void *ctx, enum base_err err, const struct store_key *key);

static void on_fresh_secret(void *ctx, const struct store_outcome *outcome,
                            const struct store_key *key)
{
    struct api_call *call = ctx;

    if (outcome->err == BASE_OK)
        send_key(call, 201, key);
    else if (!start_over(call, outcome, repeat_create))
        refuse_change(call, outcome);
}

/* The object that the first of two like requests made: with a fresh secret in place of the first,
 * which may never have arrived and is not stored anywhere. The key may have been changed since, so
 * the right to it is judged anew. */
static void repeat_create(void *ctx, enum base_err err, const struct store_key *key)
{
    struct api_call *call = ctx;
    struct store_secret secret;
    struct store_audit audit;

    if (err == BASE_NOT_FOUND) {
        api_problem(call->request, 409, "The key that this Idempotency-Key made has been deleted.",
                    "idempotent_object_gone");
        api_call_end(&call);
        return;
    }
    if (!may_change(call, err, key))
        return;
    if (key->fields.jwks.len) {
        send_key(call, 201, key);
        return;
    }
    make_secret(call, key->key_id, &secret);
    audit = api_call_audit(call, "key.rotate", key->key_id,
                           BASE_SPAN("{\"repeated_request\":[null,true]}"));
    store_key_set_secret(call->worker->admin, call->tenant, key->key_id, key->version, &secret,
                         STORE_KEEP_PREVIOUS, NULL, &audit, on_fresh_secret, call);
}

static void on_created(void *ctx, const struct store_outcome *outcome, const struct store_key *key)
{
    struct api_call *call = ctx;

    if (outcome->err == BASE_OK) {
        send_key(call, 201, key);
    } else if (outcome->repeated && outcome->same_request) {
        base_wipe(call->secret, sizeof call->secret);
        snprintf(call->key_id, sizeof call->key_id, "%.*s", BASE_SPAN_ARGS(outcome->object));
        store_key_get(call->worker->admin, call->tenant, key_id_of(call), repeat_create, call);
    } else if (is_unknown_scope(outcome)) {
        report_fields(call);
    } else {
        api_json_outcome(call, outcome);
        api_call_end(&call);
    }
}

static void store_new_key(struct api_call *call, const struct store_key_fields *fields)
{
    json_auto_t *decided = api_key_editable(fields);
    struct store_secret secret = {0};
    struct base_span key_id;
    struct store_audit audit;

    policy_client_new_id(call->key_id);
    key_id = base_span_str(call->key_id);
    if (fields->jwks.len == 0)
        make_secret(call, key_id, &secret);
    api_json_diff(NULL, decided, &call->text3);
    if (api_json_starved(call))
        return;
    audit = api_call_audit(call, "key.create", key_id, base_buf_span(&call->text3));
    store_key_create(call->worker->admin, call->tenant, key_id, fields, &secret,
                     base_span_str(call->principal.actor), &call->idempotency, &audit, on_created,
                     call);
}

static void create_key(struct api_call *call)
{
    struct store_key_fields fields;
    struct base_json_reader reader;

    if (!api_json_body(call, false) || !api_json_idempotency(call)) {
        api_call_end(&call);
        return;
    }
    base_json_reader_init(&reader, call->body, &call->errors);
    api_key_read(call, &reader, NULL, &fields);
    if (!api_json_known(call, &reader))
        api_call_end(&call);
    else if (fields_fit(call))
        store_new_key(call, &fields);
}

void api_keys_create(struct http_request *request)
{
    api_admit(request, create_key);
}

/* --- change --- */

static void patch_row(void *ctx, enum base_err err, const struct store_key *key);

static void on_patched(void *ctx, const struct store_outcome *outcome, const struct store_key *key)
{
    struct api_call *call = ctx;

    if (outcome->err == BASE_OK)
        send_key(call, 200, key);
    else if (is_unknown_scope(outcome))
        report_fields(call);
    else if (!start_over(call, outcome, patch_row))
        refuse_change(call, outcome);
}

/* A key authenticates with a secret, or with its own keys: which of the two is settled when it is
 * created. */
static void check_method(struct api_call *call, const struct store_key *key)
{
    bool has_jwks = json_object_get(call->after, "jwks") != NULL;

    if (key->fields.jwks.len && !has_jwks)
        base_json_error_add(&call->errors, "jwks", "is required: this key has no secret");
    else if (!key->fields.jwks.len && has_jwks)
        base_json_error_add(&call->errors, "jwks",
                            "cannot be given to a key that has a secret: create another key");
}

static void write_patch(struct api_call *call, const struct store_key *key,
                        const struct store_key_fields *fields)
{
    json_auto_t *decided = api_key_editable(fields);
    struct store_audit audit;

    api_json_diff(call->before, decided, &call->text3);
    if (api_json_starved(call))
        return;
    audit = api_call_audit(call, "key.update", key->key_id, base_buf_span(&call->text3));
    store_key_update(call->worker->admin, call->tenant, key->key_id, key->version, fields, &audit,
                     on_patched, call);
}

static void patch_row(void *ctx, enum base_err err, const struct store_key *key)
{
    struct api_call *call = ctx;
    struct store_key_fields fields;
    struct base_json_reader reader;

    if (!may_change(call, err, key))
        return;
    api_json_begin(call);
    json_decref(call->before);
    json_decref(call->after);
    call->before = api_key_editable(&key->fields);
    call->after = json_deep_copy(call->before);
    api_json_merge(call->after, call->body);
    if (api_json_starved(call))
        return;
    base_json_reader_init(&reader, call->after, &call->errors);
    api_key_read(call, &reader, &key->fields, &fields);
    check_method(call, key);
    if (fields_fit(call))
        write_patch(call, key, &fields);
}

static void patch_key(struct api_call *call)
{
    static const char *const read_only[] = {
        "key_id",     "secret",     "tenant",       "status",      "created_at",
        "created_by", "updated_at", "last_used_at", "auth_method", "previous_secret_expires_at",
        NULL};

    if (api_json_body(call, false) && api_json_patch_names(call, api_key_decided, read_only) &&
        api_json_if_match(call))
        store_key_get(call->worker->admin, call->tenant, key_id_of(call), patch_row, call);
    else
        api_call_end(&call);
}

void api_keys_patch(struct http_request *request)
{
    api_admit(request, patch_key);
}

/* --- delete --- */

static void delete_row(void *ctx, enum base_err err, const struct store_key *key);

static void on_deleted(void *ctx, const struct store_outcome *outcome)
{
    struct api_call *call = ctx;

    if (outcome->err == BASE_OK) {
        api_json_no_content(call, key_id_of(call));
        api_call_end(&call);
    } else if (!start_over(call, outcome, delete_row)) {
        refuse_change(call, outcome);
    }
}

static void delete_row(void *ctx, enum base_err err, const struct store_key *key)
{
    struct api_call *call = ctx;
    struct store_audit audit;

    if (!may_change(call, err, key))
        return;
    api_json_begin(call);
    json_decref(call->before);
    call->before = api_key_editable(&key->fields);
    api_json_diff(call->before, NULL, &call->text3);
    if (api_json_starved(call))
        return;
    audit = api_call_audit(call, "key.delete", key->key_id, base_buf_span(&call->text3));
    store_key_delete(call->worker->admin, call->tenant, key->key_id, key->version, &audit,
                     on_deleted, call);
}

static void delete_key(struct api_call *call)
{
    if (api_json_if_match(call))
        store_key_get(call->worker->admin, call->tenant, key_id_of(call), delete_row, call);
    else
        api_call_end(&call);
}

void api_keys_delete(struct http_request *request)
{
    api_admit(request, delete_key);
}

/* --- rotate --- */

static void rotate_row(void *ctx, enum base_err err, const struct store_key *key);

static void on_rotated(void *ctx, const struct store_outcome *outcome, const struct store_key *key)
{
    struct api_call *call = ctx;

    if (outcome->err == BASE_OK) {
        send_key(call, 200, key);
    } else if (outcome->repeated && outcome->same_request) {
        /* The first answer may be lost, with the secret in it: the same object gets another one. */
        call->repeated = true;
        call->attempts = 0;
        store_key_get(call->worker->admin, call->tenant, key_id_of(call), rotate_row, call);
    } else if (!start_over(call, outcome, rotate_row)) {
        refuse_change(call, outcome);
    }
}

/* How long the old secret stays valid, into *out_us; 0 when it does not. */
static void read_overlap(struct api_call *call, struct base_json_reader *reader, int64_t *out_us)
{
    struct base_span text;

    *out_us = 0;
    if (base_json_get_string(reader, "overlap", 1, 32, &text) != BASE_JSON_VALUE)
        return;
    if (base_duration_parse(text, out_us) != BASE_OK || *out_us > MAX_OVERLAP_US)
        base_json_error_add(&call->errors, "overlap",
                            "must be a duration such as \"24h\", at most 30d");
}

#define NO_VERSION 0 /* which no row has: such a write is refused */

/* Lets the next refusal stand: start_over() would answer it by trying again. */
static void give_up_trying(struct api_call *call)
{
    call->attempts = API_MAX_ATTEMPTS;
}

/* The version that the row must have. One that If-Match does not name may still be a repetition,
 * and what its Idempotency-Key has led to only the store knows. So it is asked, with a write that
 * does nothing unless it is one. */
static int64_t version_to_rotate(struct api_call *call, const struct store_key *key)
{
    if (call->repeated || api_json_matches(call, key->version))
        return key->version;
    give_up_trying(call);
    return NO_VERSION;
}

static void set_secret(struct api_call *call, const struct store_key *key, int64_t overlap_us)
{
    int64_t until_us = overlap_us ? base_clock_wall_us() + overlap_us : 0;
    struct store_secret secret;
    struct store_audit audit;

    make_secret(call, key->key_id, &secret);
    base_buf_reset(&call->text3);
    base_buf_putf(&call->text3, "{\"overlap_seconds\":[null,%lld]%s}",
                  (long long)(overlap_us / BASE_US_PER_S),
                  call->repeated ? ",\"repeated_request\":[null,true]" : "");
    audit = api_call_audit(call, "key.rotate", key->key_id, base_buf_span(&call->text3));
    /* A repetition takes the place of the secret that was lost; the one before it, which is in use,
     * keeps its time. */
    store_key_set_secret(call->worker->admin, call->tenant, key->key_id,
                         version_to_rotate(call, key), &secret,
                         call->repeated ? STORE_KEEP_PREVIOUS : until_us,
                         call->repeated ? NULL : &call->idempotency, &audit, on_rotated, call);
}

/* A row that may be changed; whether it is the version that was meant is judged when there is no
 * Idempotency-Key, and otherwise with it. */
static bool may_rotate(struct api_call *call, enum base_err err, const struct store_key *key)
{
    if (call->idempotency.key.len)
        return api_json_have(call, err) && have_right(call, key);
    return may_change(call, err, key);
}

static void rotate_row(void *ctx, enum base_err err, const struct store_key *key)
{
    struct api_call *call = ctx;
    struct base_json_reader reader;
    int64_t overlap_us;

    if (!may_rotate(call, err, key))
        return;
    base_json_reader_init(&reader, call->body, &call->errors);
    read_overlap(call, &reader, &overlap_us);
    if (!api_json_done(call, &reader)) {
        api_call_end(&call);
    } else if (key->fields.jwks.len) {
        api_problem(call->request, 409, "This key has no secret: PATCH its jwks instead.",
                    "no_secret");
        api_call_end(&call);
    } else {
        set_secret(call, key, overlap_us);
    }
}

static void rotate_key(struct api_call *call)
{
    if (api_json_body(call, true) && api_json_idempotency(call) && api_json_if_match(call))
        store_key_get(call->worker->admin, call->tenant, key_id_of(call), rotate_row, call);
    else
        api_call_end(&call);
}

void api_keys_secret(struct http_request *request)
{
    api_admit(request, rotate_key);
}
