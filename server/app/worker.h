/* SPDX-License-Identifier: Apache-2.0 */
/* A worker: one thread with its own event loop, listeners, HTTP server and three
 * database connections: one for the token path's reads, one for the jti of clients' assertions, one
 * for management. It shares nothing that changes; the main thread talks to it by messages. Every
 * function here is called on the main thread. */
#ifndef WORKER_H
#define WORKER_H

#include "api.h"
#include "base_log.h"
#include "http_server.h"
#include "settings.h"

struct worker;

/* One address to listen on; `bound` gets the port that was really taken, for the next worker. */
struct worker_listener {
    struct http_address address;
    unsigned mask; /* enum api_flag */
};

struct worker_options {
    const struct settings *settings;
    struct api_shared *shared;
    unsigned index;
    struct http_server_shared *connections;
    struct worker_listener *listeners; /* port 0 is replaced by the one that was bound */
    size_t n_listeners;
    struct ssl_ctx_st *tls; /* NULL: plain HTTP */
    const struct http_cidr *proxies;
    size_t n_proxies;
    struct base_span authority; /* the issuer's */
    struct base_span prefix;    /* the issuer's path */
    struct base_log_gate
        *database_gate;            /* shared by all connections of the process: one line a second */
    struct api_snapshot *snapshot; /* a reference of the worker's own */
};

/* Opens connections and listeners, but does not run yet. On failure `why` says which address and
 * why. */
enum base_err worker_new(const struct worker_options *options, struct worker **out,
                         struct base_buf *why) BASE_MUST_USE;
enum base_err worker_start(struct worker *worker) BASE_MUST_USE;

/* Messages; each returns at once. The references on snapshot and TLS context are taken over. */
void worker_post_snapshot(struct worker *worker, struct api_snapshot *snapshot);
void worker_post_tls(struct worker *worker, struct ssl_ctx_st *tls);
void worker_post_drain(struct worker *worker);
/* Have all its clients gone, after a drain? */
bool worker_drained(const struct worker *worker);

/* Asks whether its loop still turns; worker_answered() tells, some time later. */
void worker_post_ping(struct worker *worker);
bool worker_answered(const struct worker *worker);

/* Ends the loop at once and waits for the thread. The worker's noted uses can still be taken. */
void worker_stop(struct worker *worker);
void worker_free(struct worker **worker);

struct api_worker *worker_api(struct worker *worker);

/* Logs a change of a connection's state, at most one line a second for the whole process. */
void worker_log_database(struct base_log_gate *gate, bool connected, const char *why);
/* Logs one request; counts it. Serves the main thread's server too. */
void worker_on_reply(void *api_worker, const struct http_request *request,
                     const struct http_reply *reply, int64_t duration_us);
void worker_on_refused(void *api_worker, const struct http_address *peer, int status,
                       const char *reason);
void worker_on_warning(void *api_worker, const char *what, uint64_t suppressed);

#endif
