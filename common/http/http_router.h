/* SPDX-License-Identifier: Apache-2.0 */
/* A table of method, path and handler. Paths are matched segment by segment on the path decoded
 * once; a segment `{}` matches any one non-empty segment of valid UTF-8. GET also serves HEAD.
 * Immutable; any thread. */
#ifndef HTTP_ROUTER_H
#define HTTP_ROUTER_H

#include "http_request.h"

typedef void http_handler(struct http_request *request);

struct http_route {
    enum http_method method;
    const char *path; /* "/v1/tenants/{}/keys" */
    http_handler *handler;
    size_t max_body;  /* bytes; over it 413 before the handler. 0: no body is expected; one that is
                         framed well is read and dropped up to 16 KiB */
    unsigned flags;   /* the application's own: which listener, which kind of error body */
    const char *name; /* for logs and metrics: "token" */
};

enum http_match { HTTP_MATCH_FOUND, HTTP_MATCH_NO_PATH, HTTP_MATCH_NO_METHOD };

/* Finds the route. `path` is decoded. FOUND sets *out and the params; NO_METHOD fills `allow`
 * ("GET, HEAD, POST", table order, no duplicates) for the Allow header; *out is then a route of
 * that path, for its flags. Only routes with (flags & mask) != 0 take part. */
enum http_match http_router_match(const struct http_route *routes, size_t n_routes, unsigned mask,
                                  enum http_method method, struct base_span path,
                                  const struct http_route **out,
                                  struct base_span params[HTTP_MAX_PARAMS], char *allow,
                                  size_t allow_size);

#endif
