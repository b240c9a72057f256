/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its reply: all that a handler ever sees of HTTP. A handler gets a request, and
 * answers it exactly once with http_reply_send(), at once or later on the same loop. The request
 * and its spans live until then; when the client has gone meanwhile the answer is dropped, and the
 * handler need not know. One loop's thread. */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "base_buf.h"
#include "base_err.h"
#include "http_address.h"
#include "http_parse.h"

#define HTTP_REQUEST_ID_MAX 128

struct http_request;

struct http_reply {
    int status;
    const char *content_type; /* NULL: no body, no Content-Type */
    struct base_span headers; /* more header lines, each ended by CR LF; must be free of input */
    struct base_span body;    /* copied before http_reply_send() returns */
    bool close;               /* end the connection after this reply */
    /* For the log line only: why it was refused, which key it was about; static or living as long
     * as the call. NULL: nothing. */
    const char *reason;
    struct base_span subject;
};

struct http_route; /* http_router.h */

#define HTTP_MAX_PARAMS 4
struct http_request {
    struct http_head head; /* head.method is GET for a HEAD request: `is_head` tells */
    bool is_head;
    bool is_tls;
    struct base_span path;   /* percent-decoded once */
    struct base_span prefix; /* http_server_options.prefix, if it was cut off the path */
    struct base_span
        params[HTTP_MAX_PARAMS];    /* what `{}` in the route's pattern matched, decoded */
    const struct http_route *route; /* NULL before routing */
    struct base_span body;          /* whole, at most the route's maximum */
    struct http_address peer;       /* of the connection */
    struct http_address client;     /* after X-Forwarded-For of trusted proxies */
    char request_id[HTTP_REQUEST_ID_MAX + 1];
    struct base_span trace_id; /* of a valid traceparent (W3C), 32 hex digits, or empty */
    int64_t started_us;        /* monotonic, when its first byte was read */
    void *server_data;         /* what http_server_options.data was: the worker */
    void *user;                /* the handler's own, NULL at first */
    /* How the reply travels; set by the connection, or by the loopback of tests and the command
     * line. */
    void (*send)(struct http_request *request, const struct http_reply *reply);
};

/* Answers; the request may be gone when this returns. */
void http_reply_send(struct http_request *request, const struct http_reply *reply);

/* The value of a header that may occur once: NULL ptr when absent; *repeated: it occurs again. */
struct base_span http_request_header(const struct http_request *request, enum http_field field,
                                     bool *repeated);

/* Does its If-None-Match name this entity tag (with its quotes, RFC 9110 §13.1.2)? Then 304. */
bool http_request_knows(const struct http_request *request, struct base_span etag);

/* The reason phrase; "" for a status that this program does not use. */
const char *http_status_text(int status);

/* Writes status line and headers (Date, Content-Length, X-Request-Id, Connection, …) of a reply,
 * and its body unless `is_head`: pure, for the connection and for tests. `date` is an IMF-fixdate.
 * 1xx, 204 and 304 carry neither body nor Content-Length. */
void http_reply_format(struct base_buf *out, const struct http_reply *reply, int minor,
                       bool is_head, bool keep_alive, const char *date, const char *request_id);

#endif
