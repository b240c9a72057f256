/* SPDX-License-Identifier: Apache-2.0 */
/* A request while it is being received and answered: bytes go in, a routed request with an identity
 * comes out. No I/O. They are large, so that an idle connection has none: they come from a pool.
 * Inside common/http only. */
#ifndef HTTP_INCOMING_H
#define HTTP_INCOMING_H

#include "http_request.h"
#include "http_router.h"
#include "http_server.h"

struct http_conn;
struct http_loop;

struct http_incoming {
    struct http_request request; /* first, so that a handler's pointer leads back here */
    struct http_loop *loop;
    struct http_conn *conn; /* NULL: the client has gone, the answer will be dropped */
    struct http_incoming *next;
    struct base_buf head, path, body; /* what the request's spans point into */
    size_t scanned;
    uint64_t received; /* bytes of the body so far, kept or not */
    size_t body_limit;
    bool keep_body;
    struct http_chunked chunked;
    int verdict;        /* 404, 405, 421: to be answered when the body has been read and dropped */
    const char *reason; /* of the verdict */
    char allow[64];     /* with 405 */
};

struct http_incoming_pool {
    struct http_incoming *free;
    size_t n_free;
    size_t n_taken;
};

struct http_incoming *http_incoming_take(struct http_incoming_pool *pool);
/* Wipes what the client sent. */
void http_incoming_give(struct http_incoming_pool *pool, struct http_incoming *incoming);
void http_incoming_pool_clear(struct http_incoming_pool *pool);

/* Takes bytes of the head. `used` counts of `bytes`, also with HTTP_PARSE_MORE. */
struct http_parse_result http_incoming_head(struct http_incoming *incoming, struct base_span bytes);
/* Of a head that was refused: how its target began, unread but for the prefix, and what came behind
 * it. Empty when it had not come. */
struct base_span http_incoming_target(const struct http_incoming *incoming,
                                      struct base_span prefix);
/* After the head: path, identity and client of the request (whose peer is set already), its route
 * or the verdict, and what body may follow. HTTP_PARSE_BAD when it must be refused instead. */
struct http_parse_result http_incoming_route(struct http_incoming *incoming,
                                             const struct http_server_options *options,
                                             unsigned mask);
/* Takes bytes of the body, dropping them unless keep_body. */
struct http_parse_result http_incoming_body(struct http_incoming *incoming, struct base_span bytes);

#endif
