/* SPDX-License-Identifier: Apache-2.0 */
#include "api_problem.h"

#include "api_oauth_error.h"

#define TYPE "application/problem+json"

static const struct {
    int status;
    const char *title;
    const char *detail; /* for errors of HTTP itself */
} kinds[] = {
    {400, "Bad Request", "The HTTP message is malformed."},
    {401, "Unauthorized",
     "A management token is required: get one at /oauth2/token with a management key."},
    {403, "Forbidden", "This management key may not do that."},
    {404, "Not Found", "There is no such object."},
    {405, "Method Not Allowed", "This path does not take that method."},
    {408, "Request Timeout", "The request took too long to arrive."},
    {409, "Conflict", "The object exists already, or is still in use."},
    {412, "Precondition Failed", "The object has changed since: read it again."},
    {413, "Content Too Large", "The body is larger than 64 KiB."},
    {414, "URI Too Long", "The request target is too long."},
    {415, "Unsupported Media Type", "The body must be JSON."},
    {417, "Expectation Failed", "That expectation cannot be met."},
    {421, "Misdirected Request", "This server does not answer for that authority."},
    {422, "Unprocessable Content", "Some fields are not acceptable."},
    {429, "Too Many Requests", "Too many requests."},
    {431, "Request Header Fields Too Large", "The header is too large."},
    {500, "Internal Server Error", "Something went wrong here; the server's log has the details."},
    {501, "Not Implemented", "That method or transfer coding is not implemented."},
    {503, "Service Unavailable", "The database cannot be reached at the moment; try again."},
    {505, "HTTP Version Not Supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here."},
};

static size_t kind_of(int status)
{
    for (size_t i = 0; i < BASE_COUNT(kinds); i++) {
        if (kinds[i].status == status)
            return i;
    }
    return 0;
}

/* The members that every problem has; the object is left open. */
static void put_problem(struct base_buf *out, int status, const char *detail)
{
    size_t kind = kind_of(status);

    base_buf_put_char(out, '{');
    base_json_put_member_string(out, "type", BASE_SPAN("about:blank"));
    base_json_put_member_string(out, "title", base_span_str(kinds[kind].title));
    base_json_put_member_int(out, "status", status);
    base_json_put_member_string(out, "detail", base_span_str(detail ? detail : kinds[kind].detail));
}

static void send_problem(struct http_request *request, int status, const char *more_headers,
                         const char *reason)
{
    struct api_worker *worker = api_worker_of(request);

    base_buf_reset(&worker->payload);
    BASE_BUF_LIT(&worker->payload, API_NO_STORE_HEADERS);
    base_buf_put_str(&worker->payload, more_headers);
    http_reply_send(request, &(struct http_reply){.status = status,
                                                  .content_type = TYPE,
                                                  .headers = base_buf_span(&worker->payload),
                                                  .body = base_buf_span(&worker->scratch),
                                                  .reason = reason});
}

static void problem(struct http_request *request, int status, const char *detail,
                    const char *headers, const char *reason)
{
    struct base_buf *body = &api_worker_of(request)->scratch;

    base_buf_reset(body);
    put_problem(body, status, detail);
    base_buf_put_char(body, '}');
    send_problem(request, status, headers, reason);
}

void api_problem(struct http_request *request, int status, const char *detail, const char *reason)
{
    problem(request, status, detail, "", reason);
}

void api_problem_fields(struct http_request *request, const struct base_json_errors *errors)
{
    struct base_buf *body = &api_worker_of(request)->scratch;
    size_t kept = errors->count < BASE_JSON_MAX_ERRORS ? errors->count : BASE_JSON_MAX_ERRORS;

    base_buf_reset(body);
    put_problem(body, 422, NULL);
    base_json_put_name(body, "errors");
    base_buf_put_char(body, '[');
    for (size_t i = 0; i < kept; i++) {
        if (i > 0)
            base_buf_put_char(body, ',');
        base_buf_put_char(body, '{');
        base_json_put_member_string(body, "field", base_span_str(errors->items[i].field));
        base_json_put_member_string(body, "message", base_span_str(errors->items[i].message));
        base_buf_put_char(body, '}');
    }
    base_buf_put_str(body, "]}");
    send_problem(request, 422, "", "invalid_fields");
}

void api_problem_unauthenticated(struct http_request *request, bool had_token, const char *reason)
{
    /* RFC 6750 §3.1: no error code for a request without any credentials. */
    problem(request, 401, NULL,
            had_token ? "WWW-Authenticate: Bearer realm=\"cardea\", error=\"invalid_token\"\r\n"
                      : "WWW-Authenticate: Bearer realm=\"cardea\"\r\n",
            reason);
}

void api_problem_forbidden(struct http_request *request, const char *detail)
{
    problem(request, 403, detail,
            "WWW-Authenticate: Bearer realm=\"cardea\", error=\"insufficient_scope\"\r\n",
            "forbidden");
}

void api_problem_not_found(struct http_request *request)
{
    problem(request, 404, NULL, "", "not_found");
}

void api_problem_failure(struct http_request *request, enum base_err err)
{
    bool away = err == BASE_BUSY || err == BASE_TIMEOUT || err == BASE_UNAVAILABLE;
    bool passes = away || err == BASE_NO_MEMORY;

    if (away)
        api_count(api_worker_of(request), API_METRIC_DATABASE_FAILURES, 0);
    problem(request, passes ? 503 : 500, NULL, passes ? "Retry-After: 1\r\n" : "",
            base_err_text(err));
}

void api_problem_http_error(int status, struct base_buf *out)
{
    put_problem(out, status, NULL);
    base_buf_put_char(out, '}');
}
