/* SPDX-License-Identifier: Apache-2.0 */
/* What gateways read to check tokens: the key set and the server's metadata (RFC 8414), answered
 * from memory, so that they stay available while the database is away. */
#include "api.h"
#include "base_clock.h"

static void reply_unavailable(struct http_request *request)
{
    http_reply_send(
        request,
        &(struct http_reply){.status = 503,
                             .content_type = "application/json",
                             .headers = BASE_SPAN("Cache-Control: no-store\r\nRetry-After: 1\r\n"),
                             .body = BASE_SPAN("{\"error\":\"temporarily_unavailable\","
                                               "\"error_description\":\"The signing keys have not "
                                               "been read yet; try again.\"}"),
                             .reason = "key ring not loaded yet"});
}

/* Counted from when the database confirmed this very set: a worker that has not read a newer one
 * yet hands out the old one for so much less. */
static int64_t cache_s(const struct api_worker *worker)
{
    int64_t age_us = base_clock_mono_us() - atomic_load(&worker->snapshot->confirmed_mono_us);

    return policy_ring_cache_s(&worker->shared->config.rotation, age_us);
}

static struct base_span jwks_headers(struct api_worker *worker)
{
    struct base_buf *headers = &worker->payload;

    base_buf_reset(headers);
    BASE_BUF_LIT(headers, "Cache-Control: public, max-age=");
    base_buf_put_i64(headers, cache_s(worker));
    BASE_BUF_LIT(headers, "\r\nETag: ");
    base_buf_put_span(headers, policy_ring_etag(worker->snapshot->ring));
    BASE_BUF_LIT(headers, "\r\n");
    return base_buf_span(headers);
}

void api_jwks(struct http_request *request)
{
    struct api_worker *worker = api_worker_of(request);
    const struct api_snapshot *snapshot = worker->snapshot;
    struct http_reply reply = {.status = 200};

    /* An empty set would be cached, and the first tokens refused. */
    if (!snapshot->ring || policy_ring_count(snapshot->ring) == 0) {
        reply_unavailable(request);
        return;
    }
    reply.headers = jwks_headers(worker);
    if (http_request_knows(request, policy_ring_etag(snapshot->ring))) {
        reply.status = 304;
    } else {
        reply.content_type = "application/json";
        reply.body = policy_ring_jwks(snapshot->ring);
    }
    http_reply_send(request, &reply);
}

static void reply_metadata(struct http_request *request, const struct base_buf *document)
{
    http_reply_send(request, &(struct http_reply){
                                 .status = 200,
                                 .content_type = "application/json",
                                 .headers = BASE_SPAN("Cache-Control: public, max-age=300\r\n"),
                                 .body = base_buf_span(document)});
}

void api_metadata(struct http_request *request)
{
    reply_metadata(request, &api_worker_of(request)->snapshot->metadata);
}

void api_metadata_openid(struct http_request *request)
{
    reply_metadata(request, &api_worker_of(request)->snapshot->metadata_openid);
}
