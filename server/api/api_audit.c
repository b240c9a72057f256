/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: of one tenant, or of the whole installation. */
#include "api_json.h"
#include "store_tenant.h"

static void put_entry(struct base_buf *out, const struct store_audit_row *row)
{
    base_buf_put_char(out, '{');
    base_json_put_member_int(out, "id", row->id);
    base_json_put_member_time(out, "at", row->at_us);
    base_json_put_member_string(out, "actor", row->entry.actor);
    base_json_put_member_string(out, "action", row->entry.action);
    api_json_put_text_or_null(out, "tenant", row->entry.tenant);
    base_json_put_member_string(out, "object", row->entry.object);
    base_json_put_name(out, "changes");
    base_buf_put_span(out, row->entry.changes);
    api_json_put_text_or_null(out, "address", row->entry.address);
    api_json_put_text_or_null(out, "request_id", row->entry.request_id);
    base_buf_put_char(out, '}');
}

static void send_page(struct api_call *call, const struct store_audit_row *rows, size_t n_rows,
                      bool more)
{
    struct base_buf *body = &call->worker->scratch;
    size_t i;

    base_buf_reset(body);
    BASE_BUF_LIT(body, "{\"items\":[");
    for (i = 0; i < n_rows && body->len < API_PAGE_BYTES; i++) {
        if (i > 0)
            base_buf_put_char(body, ',');
        put_entry(body, &rows[i]);
    }
    base_buf_put_char(body, ']');
    api_json_put_cursor(body, i ? rows[i - 1].id : 0, i < n_rows || more);
    api_json_send(call, 200, (struct base_span){0}, call->tenant);
    api_call_end(&call);
}

static void on_tenant(void *ctx, enum base_err err, const struct store_tenant *tenant BASE_UNUSED)
{
    struct api_call *call = ctx;

    if (api_json_have(call, err))
        send_page(call, NULL, 0, false);
}

static void on_list(void *ctx, enum base_err err, const struct store_audit_row *rows, size_t n_rows,
                    bool more)
{
    struct api_call *call = ctx;

    if (!api_json_have(call, err))
        return;
    /* A deleted tenant's log stays; without entries it must be known whether there is a tenant. */
    if (n_rows == 0 && call->tenant.len > 0)
        store_tenant_get(call->worker->admin, call->tenant, on_tenant, call);
    else
        send_page(call, rows, n_rows, more);
}

static void list_audit(struct api_call *call)
{
    struct api_page page;

    if (api_json_page(call, &page))
        store_audit_list(call->worker->admin, call->tenant, call->principal.is_platform,
                         page.before, page.limit, on_list, call);
    else
        api_call_end(&call);
}

void api_audit_tenant(struct http_request *request)
{
    api_admit(request, list_audit);
}

void api_audit_all(struct http_request *request)
{
    api_admit(request, list_audit);
}
