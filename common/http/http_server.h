/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP on one event loop: listeners (SO_REUSEPORT), connection cap, descriptor shortage, TLS,
 * absolute deadlines and draining. Each worker has a server of its own; nothing is shared between
 * them but the SSL_CTX and the counters of the cap. Everything is called on the loop's thread. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base_buf.h"
#include "http_address.h"
#include "http_router.h"

#include <stdatomic.h>

struct event_base;
struct ssl_ctx_st; /* OpenSSL's SSL_CTX */
struct http_server;

/* What a server reports; every function may be NULL. Each message is reported once. */
struct http_server_events {
    /* Every reply to a request, that is, after a well-formed head: refusals of its body (400, 408,
     * 413) and answers whose client has gone are among them. request->route NULL: there is none. */
    void (*on_reply)(void *data, const struct http_request *request, const struct http_reply *reply,
                     int64_t duration_us);
    /* A head that is no request (framing, limits, deadlines), and whatever was closed without an
     * answer, then with status 0. */
    void (*on_refused)(void *data, const struct http_address *peer, int status, const char *reason);
    /* At most once a second each, with how many were swallowed: accept failures, cap reached. */
    void (*on_warning)(void *data, const char *what, uint64_t suppressed);
};

/* Shared by all workers' servers of one process: the cap holds for them together. */
struct http_server_shared {
    _Atomic long connections;
    long max_connections;
};

struct http_server_options {
    const struct http_route *routes; /* must outlive the server */
    size_t n_routes;
    int64_t header_timeout_us; /* from the first byte (or the accept) to the end of the head */
    int64_t body_timeout_us;   /* from the end of the head to the end of the body; also for a client
                                  that   does not read its reply */
    int64_t idle_timeout_us;
    int64_t tls_timeout_us;
    int64_t drain_idle_us; /* how long idle connections are kept when draining */
    const struct http_cidr *trusted_proxies;
    size_t n_trusted_proxies;
    /* Authorities that absolute-form targets may name besides Host (the issuer's): others are 421.
     */
    struct base_span authority;
    /* Under which path we are reached ("/t1"), without a slash at its end; empty: at the root. A
     * path that no route has is looked up without it too, for a proxy in front may cut it off or
     * not; and well-known locations have it at their end (RFC 8414 §3.1). */
    struct base_span prefix;
    struct http_server_shared *shared;
    struct http_server_events events;
    void *data; /* to events, and request->server_data */
    /* Answers 404, 405 (allow != NULL), 421, 408, 413 (too large for its route) and errors of
     * framing in the application's own format: fills reply's content_type, headers and body;
     * buffers must live until the next call. `request` is NULL when the head was not well-formed;
     * then `target` is how its target began, unread: good for the choice of a format, and no more.
     */
    void (*error_reply)(void *data, const struct http_request *request, struct base_span target,
                        int status, const char *allow, struct http_reply *reply);
};

struct http_server *http_server_new(struct event_base *base,
                                    const struct http_server_options *options);

/* One more listener. `mask`: which routes answer there. `tls` NULL: plain HTTP. The address with
 * the port that was really bound goes to *bound. On failure `why` says what is taken or refused. */
enum base_err http_server_listen(struct http_server *server, const struct http_address *address,
                                 unsigned mask, struct ssl_ctx_st *tls, struct http_address *bound,
                                 struct base_buf *why) BASE_MUST_USE;
/* Would an ordinary listener get that address? Listeners here share theirs (SO_REUSEPORT), so
 * another process of the same user would silently get half of the connections: ask before the first
 * listens. False: taken, and `why` says so. */
bool http_server_address_free(const struct http_address *address, struct base_buf *why);
/* New connections get this context from now on; old ones keep theirs. */
void http_server_set_tls(struct http_server *server, struct ssl_ctx_st *tls);

/* Stops accepting; replies carry Connection: close; idle connections end after drain_idle_us; calls
 * `drained` once, later, when the last connection has gone. */
void http_server_drain(struct http_server *server, void (*drained)(void *data), void *data);
size_t http_server_connections(const struct http_server *server);
/* Ends everything at once. Requests still with their handlers stay valid until they are answered,
 * and http_server_free() may only be called when none is left (after the database has been closed).
 */
void http_server_free(struct http_server **server);

/* TLS 1.2 and 1.3, AEAD suites with forward secrecy, session tickets. `why` names file and reason
 * (unreadable, no match between key and certificate, encrypted key, expired certificate is
 * accepted). *not_after_us: when the certificate ends. The caller frees with http_tls_free(). */
enum base_err http_tls_load(const char *cert_file, const char *key_file, struct ssl_ctx_st **out,
                            int64_t *not_after_us, struct base_buf *why) BASE_MUST_USE;
/* One more reference, for another owner: each ends with http_tls_free(). NULL stays NULL. Any
 * thread.
 */
struct ssl_ctx_st *http_tls_ref(struct ssl_ctx_st *tls);
void http_tls_free(struct ssl_ctx_st **tls);

#endif
