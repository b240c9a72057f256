/* SPDX-License-Identifier: Apache-2.0 */
#include "worker.h"

#include "api_signing_keys.h"
#include "base_clock.h"
#include "base_mem.h"
#include "db_conn.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Management answers a person: its queries are few, and wait in a queue of their own. */
#define ADMIN_MAX_PENDING 256

/* What the main thread has said and the worker has not yet read: only the newest of each counts. */
struct inbox {
    pthread_mutex_t lock;
    struct api_snapshot *snapshot;
    struct ssl_ctx_st *tls;
    bool drain;
    bool stop;
};

struct worker {
    struct api_worker api;
    struct event_base *base;
    struct http_server *server;
    struct base_log_gate *database_gate;
    struct inbox inbox;
    int wake_fd;
    struct event *wake;
    struct event *gauge;
    _Atomic bool drained;
    _Atomic bool pinged; /* and has not answered yet */
    bool started;
    pthread_t thread;
};

/* --- what it reports --- */

void worker_log_database(struct base_log_gate *gate, bool connected, const char *why)
{
    uint64_t suppressed = 0;

    if (!base_log_gate_open(gate, &suppressed))
        return;
    if (connected)
        BASE_LOG(BASE_LOG_INFO, "database_connected",
                 base_log_int("suppressed", (int64_t)suppressed));
    else
        BASE_LOG(BASE_LOG_WARNING, "database_away", base_log_str("reason", why),
                 base_log_int("suppressed", (int64_t)suppressed));
}

void worker_on_reply(void *data, const struct http_request *request, const struct http_reply *reply,
                     int64_t duration_us)
{
    struct api_worker *api = data;
    struct base_metrics *metrics = api->shared->metrics;
    char client[HTTP_ADDRESS_TEXT_MAX];

    base_metrics_add(metrics, api->shard, API_METRIC_REQUESTS, (unsigned)(reply->status / 100 - 1),
                     1);
    base_metrics_observe(metrics, api->shard, API_METRIC_REQUEST_SECONDS, 0, duration_us);
    if (!base_log_enabled(BASE_LOG_INFO))
        return;
    http_address_format(&request->client, client);
    BASE_LOG(BASE_LOG_INFO, "request", base_log_str("request_id", request->request_id),
             base_log_text("method", request->head.method_text),
             base_log_text("path", request->path), base_log_int("status", reply->status),
             base_log_int("duration_us", duration_us), base_log_str("client", client),
             base_log_text("subject", reply->subject), base_log_str("reason", reply->reason),
             base_log_text("trace_id", request->trace_id));
}

void worker_on_refused(void *data, const struct http_address *peer, int status, const char *reason)
{
    struct api_worker *api = data;
    char client[HTTP_ADDRESS_TEXT_MAX];

    api_count(api, API_METRIC_MESSAGES_REFUSED, 0);
    http_address_format(peer, client);
    BASE_LOG(BASE_LOG_INFO, "message_refused", base_log_int("status", status),
             base_log_str("client", client), base_log_str("reason", reason));
}

void worker_on_warning(void *data BASE_UNUSED, const char *what, uint64_t suppressed)
{
    BASE_LOG(BASE_LOG_WARNING, "connections", base_log_str("reason", what),
             base_log_int("suppressed", (int64_t)suppressed));
}

static void on_lookup_state(void *data, bool connected, const char *why)
{
    struct worker *worker = data;

    atomic_store(&worker->api.shared->lookup_ready[worker->api.shard], connected);
    worker_log_database(worker->database_gate, connected, why);
}

static void on_other_state(void *data, bool connected, const char *why)
{
    struct worker *worker = data;

    if (!connected)
        worker_log_database(worker->database_gate, connected, why);
}

/* --- its inbox --- */

static void on_drained(void *data)
{
    struct worker *worker = data;

    atomic_store(&worker->drained, true);
}

static void on_wake(evutil_socket_t fd, short events BASE_UNUSED, void *data)
{
    struct worker *worker = data;
    struct inbox got;
    uint64_t count;

    if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN)
        return;
    atomic_store(&worker->pinged, false);
    pthread_mutex_lock(&worker->inbox.lock);
    got = worker->inbox;
    worker->inbox.snapshot = NULL;
    worker->inbox.tls = NULL;
    worker->inbox.drain = false;
    pthread_mutex_unlock(&worker->inbox.lock);

    if (got.snapshot)
        api_worker_adopt(&worker->api, got.snapshot);
    if (got.tls)
        http_server_set_tls(worker->server, got.tls);
    http_tls_free(&got.tls); /* the listeners have references of their own */
    if (got.drain)
        http_server_drain(worker->server, on_drained, worker);
    if (got.stop)
        event_base_loopbreak(worker->base);
}

static void wake(struct worker *worker)
{
    uint64_t one = 1;
    ssize_t written = write(worker->wake_fd, &one, sizeof one);

    (void)written; /* it can only fail when a wake-up is pending already */
}

void worker_post_snapshot(struct worker *worker, struct api_snapshot *snapshot)
{
    struct api_snapshot *unread;

    pthread_mutex_lock(&worker->inbox.lock);
    unread = worker->inbox.snapshot;
    worker->inbox.snapshot = snapshot;
    pthread_mutex_unlock(&worker->inbox.lock);
    api_snapshot_unref(&unread);
    wake(worker);
}

void worker_post_tls(struct worker *worker, struct ssl_ctx_st *tls)
{
    struct ssl_ctx_st *unread;

    pthread_mutex_lock(&worker->inbox.lock);
    unread = worker->inbox.tls;
    worker->inbox.tls = tls;
    pthread_mutex_unlock(&worker->inbox.lock);
    http_tls_free(&unread);
    wake(worker);
}

void worker_post_drain(struct worker *worker)
{
    pthread_mutex_lock(&worker->inbox.lock);
    worker->inbox.drain = true;
    pthread_mutex_unlock(&worker->inbox.lock);
    wake(worker);
}

bool worker_drained(const struct worker *worker)
{
    return atomic_load(&worker->drained);
}

void worker_post_ping(struct worker *worker)
{
    atomic_store(&worker->pinged, true);
    wake(worker);
}

bool worker_answered(const struct worker *worker)
{
    return !atomic_load(&worker->pinged);
}

/* --- its gauge --- */

/* Only its own thread may look at the connections. By a timer, because it counts most while nothing
 * is answered. */
static void on_gauge(evutil_socket_t fd BASE_UNUSED, short events BASE_UNUSED, void *data)
{
    const struct api_worker *api = &((struct worker *)data)->api;
    size_t pending =
        db_conn_pending(api->lookup) + db_conn_pending(api->once) + db_conn_pending(api->admin);

    base_metrics_set(api->shared->metrics, api->shard, API_METRIC_DATABASE_PENDING, 0,
                     (int64_t)pending);
}

static enum base_err open_gauge(struct worker *worker)
{
    const struct timeval period = {.tv_sec = 1};

    worker->gauge = event_new(worker->base, -1, EV_PERSIST, on_gauge, worker);
    return worker->gauge && event_add(worker->gauge, &period) == 0 ? BASE_OK : BASE_INTERNAL;
}

/* --- its life --- */

static enum base_err open_database(struct worker *worker, const struct worker_options *options,
                                   struct base_buf *why)
{
    const struct settings *settings = options->settings;
    struct db_options db = {
        .conninfo = settings->database_url ? settings->database_url : "",
        .application_name = "cardea",
        /* A small table would be read whole for every token, at the price of all its rows; and a
         * plan made for one ID would be made again for every other number of them. */
        .session = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan",
        .query_timeout_us = settings->database_timeout,
        .connect_timeout_us = settings->database_timeout,
        .max_pending = (size_t)settings->max_pending,
        .on_state = on_lookup_state,
        .data = worker,
    };
    enum base_err err = db_conn_open(worker->base, &db, &worker->api.lookup, why);

    if (err != BASE_OK)
        return err;
    db.on_state = on_other_state;
    if ((err = db_conn_open(worker->base, &db, &worker->api.once, why)) != BASE_OK)
        return err;
    db.session = NULL;
    db.max_pending = ADMIN_MAX_PENDING;
    /* Everybody's management requests share this connection: a slow search must fail alone, before
     * its deadline drops the connection under all of them. */
    db.statement_timeout_us = settings->database_timeout * 7 / 8;
    return db_conn_open(worker->base, &db, &worker->api.admin, why);
}

static enum base_err open_server(struct worker *worker, const struct worker_options *options,
                                 struct base_buf *why)
{
    const struct settings *settings = options->settings;
    enum base_err err = BASE_OK;

    worker->server = http_server_new(
        worker->base, &(struct http_server_options){
                          .routes = api_routes,
                          .n_routes = api_n_routes,
                          .header_timeout_us = settings->header_timeout,
                          .body_timeout_us = settings->body_timeout,
                          .idle_timeout_us = settings->idle_timeout,
                          .tls_timeout_us = settings->tls_timeout,
                          .drain_idle_us = settings->drain_idle,
                          .trusted_proxies = options->proxies,
                          .n_trusted_proxies = options->n_proxies,
                          .authority = options->authority,
                          .prefix = options->prefix,
                          .shared = options->connections,
                          .events = {worker_on_reply, worker_on_refused, worker_on_warning},
                          .data = &worker->api,
                          .error_reply = api_error_reply,
                      });
    if (!worker->server)
        return BASE_INTERNAL;
    for (size_t i = 0; i < options->n_listeners && err == BASE_OK; i++) {
        struct worker_listener *listener = &options->listeners[i];

        err = http_server_listen(worker->server, &listener->address, listener->mask, options->tls,
                                 &listener->address, why);
    }
    return err;
}

static enum base_err open_inbox(struct worker *worker)
{
    worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (worker->wake_fd < 0)
        return BASE_IO;
    worker->wake = event_new(worker->base, worker->wake_fd, EV_READ | EV_PERSIST, on_wake, worker);
    return worker->wake && event_add(worker->wake, NULL) == 0 ? BASE_OK : BASE_INTERNAL;
}

enum base_err worker_new(const struct worker_options *options, struct worker **out,
                         struct base_buf *why)
{
    struct worker *worker = base_calloc(1, sizeof *worker);
    enum base_err err;

    *out = NULL;
    api_worker_init(&worker->api, options->shared, options->index);
    pthread_mutex_init(&worker->inbox.lock, NULL);
    worker->wake_fd = -1;
    worker->database_gate = options->database_gate;
    worker->base = event_base_new();
    worker->api.base = worker->base;
    api_worker_adopt(&worker->api, options->snapshot);
    if (!worker->base)
        err = BASE_INTERNAL;
    else if ((err = open_inbox(worker)) == BASE_OK &&
             (err = open_database(worker, options, why)) == BASE_OK &&
             (err = open_gauge(worker)) == BASE_OK)
        err = open_server(worker, options, why);
    if (err != BASE_OK) {
        if (why->len == 0)
            base_buf_put_str(why, base_err_text(err));
        worker_free(&worker);
        return err;
    }
    *out = worker;
    return BASE_OK;
}

static void *run(void *data)
{
    struct worker *worker = data;

    event_base_dispatch(worker->base);
    return NULL;
}

enum base_err worker_start(struct worker *worker)
{
    sigset_t all, before;
    int failed;

    /* Signals are the main thread's: a worker that took one would lose it. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return BASE_IO;
    worker->started = true;
    return BASE_OK;
}

void worker_stop(struct worker *worker)
{
    if (!worker->started)
        return;
    pthread_mutex_lock(&worker->inbox.lock);
    worker->inbox.stop = true;
    pthread_mutex_unlock(&worker->inbox.lock);
    wake(worker);
    pthread_join(worker->thread, NULL);
    worker->started = false;
}

void worker_free(struct worker **address)
{
    struct worker *worker = *address;

    *address = NULL;
    if (!worker)
        return;
    worker_stop(worker);
    /* First what still waits for the others, and for the database, is answered: then no request is
     * left. */
    api_signing_keys_stop(&worker->api);
    db_conn_close(&worker->api.lookup);
    db_conn_close(&worker->api.once);
    db_conn_close(&worker->api.admin);
    http_server_free(&worker->server);
    if (worker->wake)
        event_free(worker->wake);
    if (worker->gauge)
        event_free(worker->gauge);
    if (worker->wake_fd >= 0)
        close(worker->wake_fd);
    api_snapshot_unref(&worker->inbox.snapshot);
    http_tls_free(&worker->inbox.tls);
    pthread_mutex_destroy(&worker->inbox.lock);
    api_worker_clear(&worker->api);
    if (worker->base)
        event_base_free(worker->base);
    base_free(&worker);
}

struct api_worker *worker_api(struct worker *worker)
{
    return &worker->api;
}
