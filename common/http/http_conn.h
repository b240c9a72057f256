/* SPDX-License-Identifier: Apache-2.0 */
/* One connection: reads requests, hands them over one at a time, writes the replies in order, and
 * ends. Inside common/http only; one loop's thread. */
#ifndef HTTP_CONN_H
#define HTTP_CONN_H

#include "http_loop.h"

struct ssl_ctx_st;

struct http_conn_options {
    int fd; /* taken over, also on failure */
    struct http_address peer;
    unsigned mask;          /* which routes answer */
    struct ssl_ctx_st *tls; /* NULL: plain */
};

/* From here on it belongs to the loop, which ends it. */
enum base_err http_conn_open(struct http_loop *loop,
                             const struct http_conn_options *options) BASE_MUST_USE;

/* The loop's callbacks. */
void http_conn_on_deadline(struct http_link *link);
void http_conn_on_end(struct http_link *link);
void http_conn_on_send(struct http_link *link);

/* Connections that wait for a request get the shorter time that draining allows. */
void http_conn_drain_all(struct http_loop *loop);
/* Ends all of them. */
void http_conn_end_all(struct http_loop *loop);

#endif
