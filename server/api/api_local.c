/* SPDX-License-Identifier: Apache-2.0 */
#include "api_local.h"

#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"

#define MAX_PATH 2048

struct local_call {
    struct http_request request; /* first: the handler's pointer leads back here */
    char path[MAX_PATH];
    api_local_fn *done;
    void *ctx;
};

static void on_send(struct http_request *request, const struct http_reply *reply)
{
    struct local_call *call = (struct local_call *)request;

    call->done(call->ctx, &(struct api_local_reply){reply->status, reply->headers, reply->body});
    base_free(&call);
}

static enum http_field field_of(const char *name)
{
    static const struct {
        const char *name;
        enum http_field field;
    } fields[] = {{"Content-Type", HTTP_FIELD_CONTENT_TYPE},
                  {"If-Match", HTTP_FIELD_IF_MATCH},
                  {"Idempotency-Key", HTTP_FIELD_IDEMPOTENCY_KEY}};

    for (size_t i = 0; i < BASE_COUNT(fields); i++) {
        if (strcmp(fields[i].name, name) == 0)
            return fields[i].field;
    }
    return HTTP_FIELD_OTHER;
}

static void add_header(struct http_head *head, const char *name, const char *value)
{
    enum http_field field = field_of(name);
    struct http_header *header = &head->headers[head->n_headers];

    *header = (struct http_header){field, base_span_str(name), base_span_str(value)};
    if (field != HTTP_FIELD_OTHER)
        head->first[field] = (int16_t)head->n_headers;
    head->n_headers++;
}

static void fill_head(struct http_head *head, const struct api_local_request *local)
{
    const char *const *headers = local->headers;

    head->method = local->method;
    head->method_text = base_span_str(http_method_name(local->method));
    head->minor = 1;
    head->has_length = true;
    head->content_length = local->body.len;
    for (size_t i = 0; i < BASE_COUNT(head->first); i++)
        head->first[i] = -1;
    if (local->body.len > 0)
        add_header(head, "Content-Type",
                   local->method == HTTP_PATCH ? "application/merge-patch+json"
                                               : "application/json");
    for (; headers && headers[0]; headers += 2)
        add_header(head, headers[0], headers[1]);
}

void api_local_call(struct api_worker *worker, const struct api_local_request *local,
                    api_local_fn *done, void *ctx)
{
    struct local_call *call = base_calloc(1, sizeof *call);
    struct http_request *request = &call->request;
    char allow[128];

    call->done = done;
    call->ctx = ctx;
    fill_head(&request->head, local);
    snprintf(call->path, sizeof call->path, "%s", local->path);
    request->path = request->head.path = base_span_str(call->path);
    if (local->query)
        request->head.query = base_span_str(local->query);
    request->body = local->body;
    request->send = on_send;
    request->server_data = worker;
    request->started_us = base_clock_mono_us();
    if (http_router_match(api_routes, api_n_routes, API_LISTENERS, local->method, request->path,
                          &request->route, request->params, allow,
                          sizeof allow) == HTTP_MATCH_FOUND)
        request->route->handler(request);
    else
        http_reply_send(request, &(struct http_reply){.status = 404});
}
