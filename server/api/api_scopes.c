/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/scopes: the catalog of API scopes. Every admin reads it; platform admins write it. */
#include "api_json.h"
#include "api_problem.h"
#include "policy_scope.h"
#include "store_scope.h"

#define MAX_TITLE       200
#define MAX_DESCRIPTION 1000

static struct base_span name_of(const struct api_call *call)
{
    return call->request->params[0];
}

static void put_scope(struct base_buf *out, const struct store_scope *scope)
{
    base_buf_put_char(out, '{');
    base_json_put_member_string(out, "name", scope->name);
    base_json_put_member_string(out, "title", scope->title);
    base_json_put_member_string(out, "description", scope->description);
    base_buf_put_char(out, '}');
}

static void on_list(void *ctx, enum base_err err, const struct store_scope *scopes, size_t n_scopes)
{
    struct api_call *call = ctx;
    struct base_buf *body = &call->worker->scratch;

    if (!api_json_have(call, err))
        return;
    base_buf_reset(body);
    BASE_BUF_LIT(body, "{\"items\":[");
    for (size_t i = 0; i < n_scopes; i++) {
        if (i > 0)
            base_buf_put_char(body, ',');
        put_scope(body, &scopes[i]);
    }
    BASE_BUF_LIT(body, "],\"next_cursor\":null}");
    api_json_send(call, 200, (struct base_span){0}, (struct base_span){0});
    api_call_end(&call);
}

static void list_scopes(struct api_call *call)
{
    store_scope_list(call->worker->admin, on_list, call);
}

void api_scopes_list(struct http_request *request)
{
    api_admit(request, list_scopes);
}

static void send_scope(struct api_call *call, int status, const struct store_scope *scope)
{
    base_buf_reset(&call->worker->scratch);
    put_scope(&call->worker->scratch, scope);
    api_json_send(call, status, (struct base_span){0}, scope->name);
    api_call_end(&call);
}

static void on_get(void *ctx, enum base_err err, const struct store_scope *scope)
{
    struct api_call *call = ctx;

    if (api_json_have(call, err))
        send_scope(call, 200, scope);
}

static void get_scope(struct api_call *call)
{
    store_scope_get(call->worker->admin, name_of(call), on_get, call);
}

void api_scopes_get(struct http_request *request)
{
    api_admit(request, get_scope);
}

/* --- put --- */

static void on_put(void *ctx, const struct store_outcome *outcome, bool created,
                   const struct store_scope *scope)
{
    struct api_call *call = ctx;

    if (outcome->err == BASE_OK) {
        send_scope(call, created ? 201 : 200, scope);
        return;
    }
    if (outcome->err == BASE_TOO_LARGE)
        api_problem(call->request, 409, "The catalog is full: it holds 1,000 scopes.",
                    "catalog_full");
    else
        api_json_outcome(call, outcome);
    api_call_end(&call);
}

/* The management scopes are no part of the catalog, and nobody may take their names. */
static void check_name(struct api_call *call)
{
    struct base_span name = name_of(call);

    if (!policy_scope_name_valid(name))
        base_json_error_add(&call->errors, "name",
                            "must be 1 to 128 visible ASCII characters without \" and \\");
    else if (policy_scope_is_management(name))
        base_json_error_add(&call->errors, "name",
                            "must not begin with \"cardea.\", which is for management");
}

static void check_same_name(struct api_call *call, struct base_json_reader *reader)
{
    struct base_span name;

    if (base_json_get_string(reader, "name", 1, POLICY_MAX_SCOPE_NAME, &name) == BASE_JSON_VALUE &&
        !base_span_eq(name, name_of(call)))
        base_json_error_add(&call->errors, "name", "differs from the path");
}

static struct base_span text_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return base_span_of(json_string_value(value), json_string_length(value));
}

static json_t *editable(struct base_span title, struct base_span description)
{
    return json_pack("{ss% ss%}", "title", title.ptr, title.len, "description",
                     description.ptr ? description.ptr : "", description.len);
}

/* The scope as it was, or BASE_NOT_FOUND: for the audit only, since PUT replaces whatever is there.
 */
static void put_row(void *ctx, enum base_err err, const struct store_scope *scope)
{
    struct api_call *call = ctx;
    struct base_span title, description;
    struct store_audit audit;

    if (err != BASE_OK && err != BASE_NOT_FOUND) {
        api_problem_failure(call->request, err);
        api_call_end(&call);
        return;
    }
    api_json_begin(call);
    call->before = scope ? editable(scope->title, scope->description) : NULL;
    api_json_diff(call->before, call->after, &call->text3);
    if (api_json_starved(call))
        return;
    title = text_of(call->after, "title");
    description = text_of(call->after, "description");
    audit = api_call_audit(call, scope ? "scope.update" : "scope.create", name_of(call),
                           base_buf_span(&call->text3));
    store_scope_put(call->worker->admin, name_of(call), title, description, &audit, on_put, call);
}

static void put_from_body(struct api_call *call)
{
    struct base_span title = {0}, description = {0};
    struct base_json_reader reader;
    enum base_json_got got;

    base_json_reader_init(&reader, call->body, &call->errors);
    check_name(call);
    check_same_name(call, &reader);
    got = base_json_get_string(&reader, "title", 1, MAX_TITLE, &title);
    if (got == BASE_JSON_ABSENT || got == BASE_JSON_NULL)
        base_json_error_add(&call->errors, "title", "is required");
    base_json_get_string(&reader, "description", 0, MAX_DESCRIPTION, &description);
    api_json_check_text(&call->errors, "title", title);
    api_json_check_text(&call->errors, "description", description);
    if (!api_json_done(call, &reader)) {
        api_call_end(&call);
        return;
    }
    call->after = editable(title, description);
    if (api_json_starved(call))
        return;
    store_scope_get(call->worker->admin, name_of(call), put_row, call);
}

static void put_scope_call(struct api_call *call)
{
    if (api_json_body(call, false))
        put_from_body(call);
    else
        api_call_end(&call);
}

void api_scopes_put(struct http_request *request)
{
    api_admit(request, put_scope_call);
}

/* --- delete --- */

static void on_deleted(void *ctx, const struct store_outcome *outcome)
{
    struct api_call *call = ctx;

    if (outcome->err == BASE_OK)
        api_json_no_content(call, name_of(call));
    else if (outcome->err == BASE_CONFLICT)
        api_problem(call->request, 409, "A key still holds this scope.", "scope_in_use");
    else
        api_json_outcome(call, outcome);
    api_call_end(&call);
}

static void delete_row(void *ctx, enum base_err err, const struct store_scope *scope)
{
    struct api_call *call = ctx;
    struct store_audit audit;

    if (!api_json_have(call, err))
        return;
    api_json_begin(call);
    call->before = editable(scope->title, scope->description);
    api_json_diff(call->before, NULL, &call->text3);
    if (api_json_starved(call))
        return;
    audit = api_call_audit(call, "scope.delete", scope->name, base_buf_span(&call->text3));
    store_scope_delete(call->worker->admin, scope->name, &audit, on_deleted, call);
}

static void delete_scope(struct api_call *call)
{
    store_scope_get(call->worker->admin, name_of(call), delete_row, call);
}

void api_scopes_delete(struct http_request *request)
{
    api_admit(request, delete_scope);
}
