/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/tenants: for platform admins. A disabled tenant's keys are all dead at once; one that has
 * keys cannot be deleted. */
#include "api_json.h"
#include "api_problem.h"
#include "base_clock.h"
#include "store_tenant.h"

#define MAX_NAME 200

static struct base_span id_of(const struct api_call *call)
{
    return call->request->params[0];
}

static void put_tenant(struct base_buf *out, const struct store_tenant *tenant)
{
    base_buf_put_char(out, '{');
    base_json_put_member_string(out, "id", tenant->id);
    base_json_put_member_string(out, "name", tenant->name);
    base_json_put_member_bool(out, "enabled", tenant->enabled);
    base_json_put_member_time(out, "created_at", tenant->created_us);
    base_json_put_member_time(out, "updated_at", tenant->updated_us);
    base_buf_put_char(out, '}');
}

static void send_tenant(struct api_call *call, int status, const struct store_tenant *tenant)
{
    struct base_buf headers;

    base_buf_init(&headers, 2048);
    if (status == 201)
        base_buf_putf(&headers, "Location: %.*s/v1/tenants/%.*s\r\n",
                      BASE_SPAN_ARGS(call->request->prefix), BASE_SPAN_ARGS(tenant->id));
    api_json_put_etag(&headers, tenant->version);
    base_buf_reset(&call->worker->scratch);
    put_tenant(&call->worker->scratch, tenant);
    api_json_send(call, status, base_buf_span(&headers), tenant->id);
    base_buf_clear(&headers);
    api_call_end(&call);
}

/* --- list and show --- */

static void on_list(void *ctx, enum base_err err, const struct store_tenant *tenants,
                    size_t n_tenants, bool more)
{
    struct api_call *call = ctx;
    struct base_buf *body = &call->worker->scratch;

    if (!api_json_have(call, err))
        return;
    base_buf_reset(body);
    BASE_BUF_LIT(body, "{\"items\":[");
    for (size_t i = 0; i < n_tenants; i++) {
        if (i > 0)
            base_buf_put_char(body, ',');
        put_tenant(body, &tenants[i]);
    }
    base_buf_put_char(body, ']');
    api_json_put_cursor(body, n_tenants ? tenants[n_tenants - 1].seq : 0, more);
    api_json_send(call, 200, (struct base_span){0}, (struct base_span){0});
    api_call_end(&call);
}

static void list_tenants(struct api_call *call)
{
    struct api_page page;

    if (api_json_page(call, &page))
        store_tenant_list(call->worker->admin, base_span_str(page.text), page.before, page.limit,
                          on_list, call);
    else
        api_call_end(&call);
}

void api_tenants_list(struct http_request *request)
{
    api_admit(request, list_tenants);
}

static void on_get(void *ctx, enum base_err err, const struct store_tenant *tenant)
{
    struct api_call *call = ctx;

    if (api_json_have(call, err))
        send_tenant(call, 200, tenant);
}

static void get_tenant(struct api_call *call)
{
    store_tenant_get(call->worker->admin, id_of(call), on_get, call);
}

void api_tenants_get(struct http_request *request)
{
    api_admit(request, get_tenant);
}

/* --- create --- */

static bool id_valid(struct base_span id)
{
    if (id.len == 0 || id.len > 63 || id.ptr[0] == '-')
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

/* What the first of two like requests made, as it is now. */
static void on_repeated(void *ctx, enum base_err err, const struct store_tenant *tenant)
{
    struct api_call *call = ctx;

    if (err == BASE_NOT_FOUND) {
        api_problem(call->request, 409,
                    "The tenant that this Idempotency-Key made has been deleted.",
                    "idempotent_object_gone");
        api_call_end(&call);
    } else if (api_json_have(call, err)) {
        send_tenant(call, 201, tenant);
    }
}

static void on_created(void *ctx, const struct store_outcome *outcome,
                       const struct store_tenant *tenant)
{
    struct api_call *call = ctx;

    if (outcome->err == BASE_OK) {
        send_tenant(call, 201, tenant);
    } else if (outcome->repeated && outcome->same_request) {
        store_tenant_get(call->worker->admin, outcome->object, on_repeated, call);
    } else {
        if (outcome->err == BASE_CONFLICT && !outcome->repeated)
            api_problem(call->request, 409, "A tenant with this ID exists already.",
                        "tenant_exists");
        else
            api_json_outcome(call, outcome);
        api_call_end(&call);
    }
}

static json_t *editable(struct base_span name, bool enabled)
{
    return json_pack("{ss% sb}", "name", name.ptr, name.len, "enabled", (int)enabled);
}

/* What create and change share. */
static void read_fields(struct api_call *call, struct base_json_reader *reader,
                        struct base_span *name, bool *enabled)
{
    enum base_json_got got = base_json_get_string(reader, "name", 1, MAX_NAME, name);

    if (got == BASE_JSON_VALUE)
        api_json_check_text(&call->errors, "name", *name);
    else if (got != BASE_JSON_WRONG)
        base_json_error_add(&call->errors, "name", "is required");
    got = base_json_get_bool(reader, "enabled", enabled);
    if (got == BASE_JSON_ABSENT)
        *enabled = true;
    else if (got == BASE_JSON_NULL)
        base_json_error_add(&call->errors, "enabled", "must be true or false");
}

static void store_new_tenant(struct api_call *call, struct base_span id, struct base_span name,
                             bool enabled)
{
    json_auto_t *decided = editable(name, enabled);
    struct store_audit audit;

    api_json_diff(NULL, decided, &call->text3);
    if (api_json_starved(call))
        return;
    call->tenant = id;
    audit = api_call_audit(call, "tenant.create", id, base_buf_span(&call->text3));
    store_tenant_create(call->worker->admin, id, name, enabled, &call->idempotency, &audit,
                        on_created, call);
}

static void create_from_body(struct api_call *call)
{
    struct base_span id = {0}, name = {0};
    struct base_json_reader reader;
    enum base_json_got got;
    bool enabled;

    base_json_reader_init(&reader, call->body, &call->errors);
    got = base_json_get_string(&reader, "id", 0, 1000, &id);
    if (got == BASE_JSON_ABSENT || got == BASE_JSON_NULL)
        base_json_error_add(&call->errors, "id", "is required");
    else if (got == BASE_JSON_VALUE && !id_valid(id))
        base_json_error_add(
            &call->errors, "id",
            "must be 1 to 63 lower-case letters, digits and hyphens, not beginning with a hyphen");
    read_fields(call, &reader, &name, &enabled);
    if (api_json_done(call, &reader))
        store_new_tenant(call, id, name, enabled);
    else
        api_call_end(&call);
}

static void create_tenant(struct api_call *call)
{
    if (api_json_body(call, false) && api_json_idempotency(call))
        create_from_body(call);
    else
        api_call_end(&call);
}

void api_tenants_create(struct http_request *request)
{
    api_admit(request, create_tenant);
}

/* --- change and delete --- */

static bool may_change(struct api_call *call, enum base_err err, const struct store_tenant *tenant)
{
    if (!api_json_have(call, err))
        return false;
    if (api_json_matches(call, tenant->version))
        return true;
    api_problem(call->request, 412, NULL, "etag");
    api_call_end(&call);
    return false;
}

/* As for keys: what another change has overtaken starts over, and If-Match is judged again. */
static void not_written(struct api_call *call, const struct store_outcome *outcome,
                        store_tenant_fn *with_row)
{
    bool overtaken = outcome->err == BASE_CONFLICT && !outcome->field;

    if (overtaken && ++call->attempts < API_MAX_ATTEMPTS) {
        store_tenant_get(call->worker->admin, id_of(call), with_row, call);
        return;
    }
    if (overtaken)
        api_problem(call->request, 409, "Other changes came first, again and again: try again.",
                    "overtaken");
    else if (outcome->err == BASE_CONFLICT)
        api_problem(call->request, 409, "This tenant still has keys: delete them first.",
                    "tenant_has_keys");
    else
        api_json_outcome(call, outcome);
    api_call_end(&call);
}

static void patch_row(void *ctx, enum base_err err, const struct store_tenant *tenant);

static void on_patched(void *ctx, const struct store_outcome *outcome,
                       const struct store_tenant *tenant)
{
    struct api_call *call = ctx;

    if (outcome->err == BASE_OK)
        send_tenant(call, 200, tenant);
    else
        not_written(call, outcome, patch_row);
}

static void write_patch(struct api_call *call, const struct store_tenant *tenant,
                        struct base_span name, bool enabled)
{
    struct store_audit audit;

    api_json_diff(call->before, call->after, &call->text3);
    if (api_json_starved(call))
        return;
    call->tenant = id_of(call);
    audit = api_call_audit(call, "tenant.update", tenant->id, base_buf_span(&call->text3));
    store_tenant_update(call->worker->admin, tenant->id, tenant->version, name, enabled, &audit,
                        on_patched, call);
}

static void patch_row(void *ctx, enum base_err err, const struct store_tenant *tenant)
{
    struct api_call *call = ctx;
    struct base_json_reader reader;
    struct base_span name;
    bool enabled;

    if (!may_change(call, err, tenant))
        return;
    api_json_begin(call);
    json_decref(call->before);
    json_decref(call->after);
    call->before = editable(tenant->name, tenant->enabled);
    call->after = json_deep_copy(call->before);
    api_json_merge(call->after, call->body);
    if (api_json_starved(call))
        return;
    base_json_reader_init(&reader, call->after, &call->errors);
    read_fields(call, &reader, &name, &enabled);
    if (json_is_null(json_object_get(call->body, "enabled")))
        base_json_error_add(&call->errors, "enabled", "must be true or false");
    if (api_json_done(call, &reader))
        write_patch(call, tenant, name, enabled);
    else
        api_call_end(&call);
}

static void patch_tenant(struct api_call *call)
{
    static const char *const decided[] = {"name", "enabled", NULL};
    static const char *const read_only[] = {"id", "created_at", "updated_at", NULL};

    if (api_json_body(call, false) && api_json_patch_names(call, decided, read_only) &&
        api_json_if_match(call))
        store_tenant_get(call->worker->admin, id_of(call), patch_row, call);
    else
        api_call_end(&call);
}

void api_tenants_patch(struct http_request *request)
{
    api_admit(request, patch_tenant);
}

static void delete_row(void *ctx, enum base_err err, const struct store_tenant *tenant);

static void on_deleted(void *ctx, const struct store_outcome *outcome)
{
    struct api_call *call = ctx;

    if (outcome->err != BASE_OK) {
        not_written(call, outcome, delete_row);
        return;
    }
    api_json_no_content(call, id_of(call));
    api_call_end(&call);
}

static void delete_row(void *ctx, enum base_err err, const struct store_tenant *tenant)
{
    struct api_call *call = ctx;
    struct store_audit audit;

    if (!may_change(call, err, tenant))
        return;
    api_json_begin(call);
    json_decref(call->before);
    call->before = editable(tenant->name, tenant->enabled);
    api_json_diff(call->before, NULL, &call->text3);
    if (api_json_starved(call))
        return;
    call->tenant = id_of(call);
    audit = api_call_audit(call, "tenant.delete", tenant->id, base_buf_span(&call->text3));
    store_tenant_delete(call->worker->admin, tenant->id, tenant->version, &audit, on_deleted, call);
}

static void delete_tenant(struct api_call *call)
{
    if (api_json_if_match(call))
        store_tenant_get(call->worker->admin, id_of(call), delete_row, call);
    else
        api_call_end(&call);
}

void api_tenants_delete(struct http_request *request)
{
    api_admit(request, delete_tenant);
}
