/* SPDX-License-Identifier: Apache-2.0 */
#include "api_oauth_error.h"

struct refusal {
    int status;
    struct base_span headers;
    struct base_span body;
};

#define ERROR(code, description)                                                                   \
    BASE_SPAN_INIT("{\"error\":\"" code "\",\"error_description\":\"" description "\"}")

/* Retry-After of one second: by then a restarted database is back, or the next 503 costs nothing.
 */
static const struct refusal refusals[] = {
    [API_REFUSED_INVALID_REQUEST] = {400, BASE_SPAN_INIT(API_NO_STORE_HEADERS),
                                     ERROR("invalid_request", "The request is malformed.")},
    [API_REFUSED_INVALID_CLIENT] =
        {401,
         BASE_SPAN_INIT(API_NO_STORE_HEADERS
                        "WWW-Authenticate: Basic realm=\"cardea\", charset=\"UTF-8\"\r\n"),
         ERROR("invalid_client", "Client authentication failed.")},
    [API_REFUSED_UNSUPPORTED_GRANT_TYPE] = {400, BASE_SPAN_INIT(API_NO_STORE_HEADERS),
                                            ERROR("unsupported_grant_type",
                                                  "Only client_credentials is supported.")},
    [API_REFUSED_INVALID_SCOPE] =
        {400, BASE_SPAN_INIT(API_NO_STORE_HEADERS),
         ERROR("invalid_scope", "A requested scope is malformed or not granted to this key.")},
    [API_REFUSED_INVALID_TARGET] =
        {400, BASE_SPAN_INIT(API_NO_STORE_HEADERS),
         ERROR("invalid_target",
               "The requested resource or audience is not allowed for this key.")},
    [API_REFUSED_UNAVAILABLE] = {503, BASE_SPAN_INIT(API_NO_STORE_HEADERS "Retry-After: 1\r\n"),
                                 ERROR("temporarily_unavailable",
                                       "The service cannot answer at the moment; try again.")},
};

void api_oauth_refuse(struct http_request *request, enum api_refusal refusal, const char *reason,
                      struct base_span subject)
{
    const struct refusal *row = &refusals[refusal];

    api_count(api_worker_of(request), API_METRIC_REFUSALS, refusal);
    http_reply_send(request, &(struct http_reply){.status = row->status,
                                                  .content_type = "application/json",
                                                  .headers = row->headers,
                                                  .body = row->body,
                                                  .reason = reason,
                                                  .subject = subject});
}

void api_oauth_bad_request(struct http_request *request, const char *description)
{
    struct api_worker *worker = api_worker_of(request);
    struct base_buf *body = &worker->scratch;

    base_buf_reset(body);
    BASE_BUF_LIT(body, "{\"error\":\"invalid_request\",\"error_description\":\"");
    base_buf_put_str(body, description);
    BASE_BUF_LIT(body, "\"}");
    api_count(worker, API_METRIC_REFUSALS, API_REFUSED_INVALID_REQUEST);
    http_reply_send(request, &(struct http_reply){.status = 400,
                                                  .content_type = "application/json",
                                                  .headers = BASE_SPAN(API_NO_STORE_HEADERS),
                                                  .body = base_buf_span(body),
                                                  .reason = description});
}

void api_oauth_limited(struct http_request *request, int64_t retry_after_s,
                       struct base_span subject)
{
    struct api_worker *worker = api_worker_of(request);
    struct base_buf *headers = &worker->scratch;

    base_buf_reset(headers);
    BASE_BUF_LIT(headers, API_NO_STORE_HEADERS "Retry-After: ");
    base_buf_put_i64(headers, retry_after_s);
    BASE_BUF_LIT(headers, "\r\n");
    api_count(worker, API_METRIC_REFUSALS, API_REFUSED_LIMITED);
    http_reply_send(request, &(struct http_reply){
                                 .status = 429,
                                 .content_type = "application/json",
                                 .headers = base_buf_span(headers),
                                 .body = BASE_SPAN(
                                     "{\"error\":\"temporarily_unavailable\",\"error_description\":"
                                     "\"Too many failed attempts; try again later.\"}"),
                                 .reason = "too_many_failures",
                                 .subject = subject});
}

struct base_span api_oauth_http_error(int status)
{
    static const struct {
        int status;
        struct base_span body;
    } bodies[] = {
        {400, ERROR("invalid_request", "The HTTP message is malformed.")},
        {404, ERROR("not_found", "There is nothing at this path.")},
        {405, ERROR("invalid_request", "This path does not take that method.")},
        {408, ERROR("invalid_request", "The request took too long to arrive.")},
        {413, ERROR("invalid_request", "The body is too large.")},
        {414, ERROR("invalid_request", "The request target is too long.")},
        {417, ERROR("invalid_request", "That expectation cannot be met.")},
        {421, ERROR("invalid_request", "This server does not answer for that authority.")},
        {431, ERROR("invalid_request", "The header is too large.")},
        {501, ERROR("invalid_request", "That method or transfer coding is not implemented.")},
        {505, ERROR("invalid_request", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")},
    };

    for (size_t i = 1; i < BASE_COUNT(bodies); i++) {
        if (bodies[i].status == status)
            return bodies[i].body;
    }
    return bodies[0].body;
}
