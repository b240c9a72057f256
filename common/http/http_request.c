/* SPDX-License-Identifier: Apache-2.0 */
/* What requests and replies can do without a connection. */
#include "http_request.h"

#include "http_form.h"

static const char *const status_texts[] = {
    [100] = "Continue",
    [101] = "Switching Protocols",
    [200] = "OK",
    [201] = "Created",
    [202] = "Accepted",
    [204] = "No Content",
    [301] = "Moved Permanently",
    [302] = "Found",
    [303] = "See Other",
    [304] = "Not Modified",
    [307] = "Temporary Redirect",
    [308] = "Permanent Redirect",
    [400] = "Bad Request",
    [401] = "Unauthorized",
    [403] = "Forbidden",
    [404] = "Not Found",
    [405] = "Method Not Allowed",
    [406] = "Not Acceptable",
    [408] = "Request Timeout",
    [409] = "Conflict",
    [410] = "Gone",
    [411] = "Length Required",
    [412] = "Precondition Failed",
    [413] = "Content Too Large",
    [414] = "URI Too Long",
    [415] = "Unsupported Media Type",
    [417] = "Expectation Failed",
    [421] = "Misdirected Request",
    [422] = "Unprocessable Content",
    [428] = "Precondition Required",
    [429] = "Too Many Requests",
    [431] = "Request Header Fields Too Large",
    [500] = "Internal Server Error",
    [501] = "Not Implemented",
    [502] = "Bad Gateway",
    [503] = "Service Unavailable",
    [504] = "Gateway Timeout",
    [505] = "HTTP Version Not Supported",
};

const char *http_status_text(int status)
{
    if (status < 0 || (size_t)status >= BASE_COUNT(status_texts) || !status_texts[status])
        return "";
    return status_texts[status];
}

void http_reply_send(struct http_request *request, const struct http_reply *reply)
{
    request->send(request, reply);
}

struct base_span http_request_header(const struct http_request *request, enum http_field field,
                                     bool *repeated)
{
    const struct http_header *header = http_head_get(&request->head, field);

    *repeated = header && http_head_count(&request->head, field) > 1;
    return header ? header->value : (struct base_span){0};
}

bool http_request_knows(const struct http_request *request, struct base_span etag)
{
    bool repeated, valid;
    struct base_span list = http_request_header(request, HTTP_FIELD_IF_NONE_MATCH, &repeated);

    /* Sent twice it is one list in two parts; the whole answer is right then, too. */
    return list.ptr && !repeated && http_etag_matches(list, etag, true, &valid) && valid;
}

/* Every status line is HTTP/1.1, to 1.0 clients too: it tells what we can (RFC 9110 §2.5). */
static void put_status_line(struct base_buf *out, int status)
{
    BASE_BUF_LIT(out, "HTTP/1.1 ");
    base_buf_put_u64(out, (uint64_t)status);
    BASE_BUF_LIT(out, " ");
    base_buf_put_str(out, http_status_text(status));
    BASE_BUF_LIT(out, "\r\n");
}

static void put_line(struct base_buf *out, struct base_span name, const char *value)
{
    base_buf_put_span(out, name);
    base_buf_put_str(out, value);
    BASE_BUF_LIT(out, "\r\n");
}

static void put_content_headers(struct base_buf *out, const char *content_type, size_t len)
{
    if (content_type)
        put_line(out, BASE_SPAN("Content-Type: "), content_type);
    BASE_BUF_LIT(out, "Content-Length: ");
    base_buf_put_u64(out, len);
    BASE_BUF_LIT(out, "\r\n");
}

/* Only what differs from the version's default is said, RFC 9112 §9.3. */
static void put_connection(struct base_buf *out, int minor, bool keep_alive)
{
    if (!keep_alive)
        BASE_BUF_LIT(out, "Connection: close\r\n");
    else if (minor == 0)
        BASE_BUF_LIT(out, "Connection: keep-alive\r\n");
}

void http_reply_format(struct base_buf *out, const struct http_reply *reply, int minor,
                       bool is_head, bool keep_alive, const char *date, const char *request_id)
{
    bool is_final = reply->status >= 200; /* 1xx: another reply follows, which says all that */
    bool may_have_body = is_final && reply->status != 204 && reply->status != 304;
    size_t body_len = reply->content_type ? reply->body.len : 0;

    put_status_line(out, reply->status);
    if (is_final)
        put_line(out, BASE_SPAN("Date: "), date);
    if (may_have_body)
        put_content_headers(out, reply->content_type, body_len);
    if (is_final && request_id && request_id[0])
        put_line(out, BASE_SPAN("X-Request-Id: "), request_id);
    if (is_final)
        put_connection(out, minor, keep_alive && !reply->close);
    base_buf_put_span(out, reply->headers);
    BASE_BUF_LIT(out, "\r\n");
    if (may_have_body && !is_head)
        base_buf_put(out, reply->body.ptr, body_len);
}
