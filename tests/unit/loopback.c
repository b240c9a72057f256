/* SPDX-License-Identifier: Apache-2.0 */
#include "loopback.h"

#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct exchange {
    struct http_request request; /* first: the handler's pointer leads back here */
    struct loopback_reply *reply;
    struct base_buf path;
    char *text;
};

void loopback_init(struct loopback *loopback)
{
    struct api_config *config = &loopback->shared.config;

    memset(loopback, 0, sizeof *loopback);
    config->issuer = BASE_SPAN(LOOPBACK_ISSUER);
    config->token_endpoint = BASE_SPAN(LOOPBACK_ISSUER "/oauth2/token");
    config->default_audience = BASE_SPAN(LOOPBACK_ISSUER "/api");
    config->token_typ = "at+jwt";
    config->token_ttl_us = 10 * BASE_US_PER_MIN;
    config->rotation =
        (struct policy_rotation){.max_age_us = 5 * BASE_US_PER_MIN, .alg = JOSE_ES256};
    loopback->shared.metrics = base_metrics_new(api_metric_defs, API_METRIC_COUNT, 1);
    loopback->shared.n_workers = 1;
    api_worker_init(&loopback->worker, &loopback->shared, 0);
    api_worker_adopt(&loopback->worker, api_snapshot_new(config, NULL, NULL, NULL, 0));
}

void loopback_clear(struct loopback *loopback)
{
    api_worker_clear(&loopback->worker);
    base_metrics_free(&loopback->shared.metrics);
}

void loopback_drop(struct http_request **request)
{
    struct exchange *exchange = (struct exchange *)*request;

    *request = NULL;
    base_buf_clear(&exchange->path);
    free(exchange->text);
    base_free(&exchange);
}

static void copy_text(char *to, size_t size, struct base_span text)
{
    assert(text.len < size);
    if (text.len)
        memcpy(to, text.ptr, text.len);
    to[text.len] = '\0';
}

static void on_send(struct http_request *request, const struct http_reply *reply)
{
    struct loopback_reply *out = ((struct exchange *)request)->reply;

    out->count++;
    out->status = reply->status;
    out->body_len = reply->body.len;
    copy_text(out->content_type, sizeof out->content_type, base_span_str(reply->content_type));
    copy_text(out->headers, sizeof out->headers, reply->headers);
    copy_text(out->body, sizeof out->body, request->is_head ? base_span_of(NULL, 0) : reply->body);
    copy_text(out->reason, sizeof out->reason, base_span_str(reply->reason));
    loopback_drop(&request);
}

static void decode_path(struct exchange *exchange)
{
    struct http_request *request = &exchange->request;
    enum base_err err;

    base_buf_init(&exchange->path, HTTP_MAX_TARGET);
    err = base_decode_percent(&exchange->path, request->head.path, false);
    assert(err == BASE_OK);
    (void)err;
    request->path = base_buf_span(&exchange->path);
}

struct http_request *loopback_request(struct loopback *loopback, const char *text,
                                      struct loopback_reply *reply)
{
    struct exchange *exchange = base_calloc(1, sizeof *exchange);
    struct http_request *request = &exchange->request;
    struct http_parse_result result;
    size_t scanned = 0;
    char allow[128];

    memset(reply, 0, sizeof *reply);
    exchange->reply = reply;
    exchange->text = strdup(text);
    result = http_parse_head(base_span_str(exchange->text), &scanned, &request->head);
    assert(result.state == HTTP_PARSE_DONE);
    request->body = base_span_str(exchange->text + result.used);
    decode_path(exchange);
    request->is_head = request->head.method == HTTP_HEAD;
    if (request->is_head)
        request->head.method = HTTP_GET;
    request->client = request->peer =
        (struct http_address){.family = AF_INET, .bytes = {192, 0, 2, 1}};
    snprintf(request->request_id, sizeof request->request_id, "test-request");
    request->server_data = &loopback->worker;
    request->send = on_send;
    (void)http_router_match(api_routes, api_n_routes, API_LISTENERS, request->head.method,
                            request->path, &request->route, request->params, allow, sizeof allow);
    return request;
}

void loopback_send(struct loopback *loopback, const char *text, struct loopback_reply *reply)
{
    struct http_request *request = loopback_request(loopback, text, reply);
    struct http_reply error = {.status = request->route ? 405 : 404};

    if (request->route && request->route->method == request->head.method) {
        request->route->handler(request);
        return;
    }
    api_error_reply(&loopback->worker, request, request->path, error.status,
                    request->route ? "GET" : NULL, &error);
    http_reply_send(request, &error);
}

const char *loopback_header(const struct loopback_reply *reply, const char *name)
{
    static char value[512];
    size_t len = strlen(name);

    for (const char *line = reply->headers; *line; line = strchr(line, '\n') + 1) {
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            const char *start = line + len + 2, *end = strchr(start, '\r');

            snprintf(value, sizeof value, "%.*s", (int)(end - start), start);
            return value;
        }
    }
    return NULL;
}
