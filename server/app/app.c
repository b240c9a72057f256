/* SPDX-License-Identifier: Apache-2.0 */
/* The main thread: it opens everything, starts the workers, and then serves the operations
 * listener, runs the jobs and waits for signals. */
#include "app.h"

#include "base_clock.h"
#include "base_log.h"
#include "base_mem.h"
#include "jobs.h"
#include "notify.h"
#include "worker.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define OPS_MAX_CONNECTIONS 64
#define MAX_LISTENERS       (2 * SETTINGS_MAX_LISTENERS)
#define WATCH_US            (50 * BASE_US_PER_MS)
#define LIMIT_ENTRIES       (64u << 10)
/* Besides clients: three database connections a worker (each may be doubled while it reconnects),
 * the jobs', logs, event loops, files that are being read. */
#define DESCRIPTORS_A_WORKER 12
#define DESCRIPTORS_OTHERS   64
#define CERTIFICATE_SOON_US  (14 * BASE_US_PER_DAY)

struct app {
    const struct app_options *options;
    const struct settings *settings;
    struct event_base *base;
    struct api_shared shared;
    struct http_server_shared connections, ops_connections;
    struct http_server *ops;
    struct api_worker ops_worker; /* the main thread's own shard, without a database */
    struct ssl_ctx_st *tls;       /* for new connections; NULL: plain HTTP */
    _Atomic int64_t tls_not_after_us;
    struct jobs *jobs;
    struct worker *workers[API_MAX_WORKERS];
    unsigned n_workers;
    unsigned next_taken; /* whose uses are taken first, the next time */
    struct http_cidr proxies[SETTINGS_MAX_PROXIES];
    struct base_log_gate database_gate;
    struct base_buf why;
    struct notify notify;
    char *token_endpoint;
    struct event *signals[4];
    struct event *watch; /* looks after a drain, and after the start */
    bool serving;        /* every worker runs */
    bool draining;
    bool reload_failed; /* something of the reload under way was refused */
    int64_t drain_end_us;
    int64_t warned_certificate_us;
    int status;
};

static bool fail(struct app *app, const char *event)
{
    BASE_LOG(BASE_LOG_ERROR, event, base_log_str("reason", base_buf_cstr(&app->why)));
    app->status = 1;
    return false;
}

/* --- what the process may do --- */

/* Secrets pass through this memory: no core file, and no debugger of another user's (prctl(2)). */
static void seal_process(void)
{
    const struct rlimit none = {0, 0};

    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

/* Descriptors for PostgreSQL are reserved before any client gets one: a server that can accept but
 * not ask its database is worth nothing. */
static void size_connections(struct app *app)
{
    struct rlimit files;
    long reserved =
        DESCRIPTORS_OTHERS + OPS_MAX_CONNECTIONS + DESCRIPTORS_A_WORKER * (long)app->n_workers;
    long wanted = (long)app->settings->max_connections;

    app->connections.max_connections = wanted;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    if (files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        getrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_cur != RLIM_INFINITY && (long)files.rlim_cur - reserved < wanted) {
        long possible = (long)files.rlim_cur - reserved;

        app->connections.max_connections = possible > 1 ? possible : 1;
        BASE_LOG(BASE_LOG_WARNING, "max_connections",
                 base_log_str("reason",
                              "the limit of open files (ulimit -n) allows fewer connections than "
                              "CARDEA_MAX_CONNECTIONS"),
                 base_log_int("connections", app->connections.max_connections));
    }
}

static unsigned count_workers(const struct settings *settings)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t wanted = settings->workers > 0 ? settings->workers : cores;

    if (wanted < 1)
        wanted = 1;
    return wanted > API_MAX_WORKERS - 1 ? API_MAX_WORKERS - 1 : (unsigned)wanted;
}

/* --- files --- */

static bool load_seal(struct app *app, struct base_seal **out)
{
    base_buf_reset(&app->why);
    return base_seal_load(app->settings->master_key_file, out, &app->why) == BASE_OK ||
           fail(app, "master_key");
}

static bool load_tls(struct app *app, const struct settings *settings)
{
    struct ssl_ctx_st *fresh;
    int64_t not_after_us;

    if (!settings->tls_cert_file)
        return true;
    base_buf_reset(&app->why);
    if (http_tls_load(settings->tls_cert_file, settings->tls_key_file, &fresh, &not_after_us,
                      &app->why) != BASE_OK)
        return false;
    http_tls_free(&app->tls);
    app->tls = fresh;
    atomic_store(&app->tls_not_after_us, not_after_us);
    app->warned_certificate_us = 0;
    return true;
}

static int64_t tls_not_after(void *data)
{
    struct app *app = data;

    return atomic_load(&app->tls_not_after_us);
}

static void watch_certificate(struct app *app)
{
    int64_t left_us = atomic_load(&app->tls_not_after_us) - base_clock_wall_us();

    if (!app->tls || left_us > CERTIFICATE_SOON_US ||
        (app->warned_certificate_us &&
         base_clock_mono_us() - app->warned_certificate_us < BASE_US_PER_H))
        return;
    app->warned_certificate_us = base_clock_mono_us();
    BASE_LOG(
        BASE_LOG_WARNING, "tls_certificate",
        base_log_str("reason", left_us > 0
                                   ? "the TLS certificate ends soon: renew it and send SIGHUP"
                                   : "the TLS certificate has expired: renew it and send SIGHUP"),
        base_log_int("seconds_left", left_us / BASE_US_PER_S));
}

/* --- jobs and workers --- */

static void wake_jobs_main(evutil_socket_t fd BASE_UNUSED, short events BASE_UNUSED, void *data)
{
    struct app *app = data;

    jobs_poke(app->jobs);
}

static void publish(void *data, struct api_snapshot *snapshot)
{
    struct app *app = data;

    api_worker_adopt(&app->ops_worker, api_snapshot_ref(snapshot));
    for (unsigned i = 0; i < app->n_workers; i++) {
        if (app->workers[i])
            worker_post_snapshot(app->workers[i], api_snapshot_ref(snapshot));
    }
}

/* Each time another worker is the first: one that has many must not fill every batch. */
static size_t take_uses(void *data, struct store_key_use *out, size_t max)
{
    struct app *app = data;
    unsigned first = app->next_taken++ % app->n_workers;
    size_t count = 0;

    for (unsigned i = 0; i < app->n_workers && count < max; i++) {
        struct worker *worker = app->workers[(first + i) % app->n_workers];

        if (worker)
            count += api_used_take(worker_api(worker), out + count, max - count);
    }
    return count;
}

static void seal_decided(void *data, const char *why);

static bool start_jobs(struct app *app, struct base_seal *seal)
{
    base_buf_reset(&app->why);
    base_buf_put_str(&app->why,
                     "CARDEA_DATABASE_URL: "); /* the only thing that can be wrong with them */
    if (jobs_new(&(struct jobs_options){.base = app->base,
                                        .settings = app->settings,
                                        .shared = &app->shared,
                                        .shard = app->n_workers,
                                        .seal = seal,
                                        .database_gate = &app->database_gate,
                                        .publish = publish,
                                        .take_uses = take_uses,
                                        .seal_decided = seal_decided,
                                        .data = app},
                 &app->jobs, &app->why) != BASE_OK)
        return fail(app, "database");
    api_worker_adopt(&app->ops_worker, jobs_snapshot(app->jobs));
    return true;
}

/* A wrong schema or master key is better noticed now than at the first token; a database that is
 * away is waited for, live but not ready. False with status 0: told to stop meanwhile. */
static bool await_database(struct app *app)
{
    while (jobs_first_verdict(app->jobs) == JOBS_PENDING && !app->draining)
        event_base_loop(app->base, EVLOOP_ONCE);
    if (app->draining)
        return false;
    if (jobs_first_verdict(app->jobs) != JOBS_REFUSED)
        return true;
    app->status = 1; /* the jobs have logged the reason */
    return false;
}

static bool address_free(struct app *app, const struct http_address *address)
{
    base_buf_reset(&app->why);
    if (http_server_address_free(address, &app->why))
        return true;
    base_buf_put_str(&app->why,
                     ": stop the other program, or choose another address (CARDEA_LISTEN, "
                     "CARDEA_MANAGEMENT_LISTEN, CARDEA_OPS_LISTEN)");
    return false;
}

static size_t add_listeners(const char *text, unsigned mask, struct worker_listener *out)
{
    struct settings_addresses addresses;

    settings_parse_listen(text, &addresses);
    for (size_t i = 0; i < addresses.count; i++)
        out[i] = (struct worker_listener){addresses.items[i], mask};
    return addresses.count;
}

static void log_listening(const struct http_address *address, const char *what)
{
    char text[HTTP_ADDRESS_TEXT_MAX];

    http_address_format(address, text);
    BASE_LOG(BASE_LOG_INFO, "listening", base_log_str("for", what), base_log_str("address", text),
             base_log_int("port", address->port));
}

static struct base_span authority_of(const char *issuer)
{
    const char *start = strstr(issuer, "://") + 3;

    return base_span_of(start, strcspn(start, "/"));
}

static struct base_span prefix_of(const char *issuer)
{
    struct base_span authority = authority_of(issuer);

    return base_span_str(authority.ptr + authority.len);
}

static bool open_workers(struct app *app, struct worker_listener *listeners, size_t n_listeners)
{
    size_t n_proxies =
        settings_parse_proxies(app->settings->trusted_proxies, app->proxies, SETTINGS_MAX_PROXIES);

    for (unsigned i = 0; i < app->n_workers; i++) {
        base_buf_reset(&app->why);
        if (worker_new(&(struct worker_options){.settings = app->settings,
                                                .shared = &app->shared,
                                                .index = i,
                                                .connections = &app->connections,
                                                .listeners = listeners,
                                                .n_listeners = n_listeners,
                                                .tls = app->tls,
                                                .proxies = app->proxies,
                                                .n_proxies = n_proxies,
                                                .authority = authority_of(app->settings->issuer),
                                                .prefix = prefix_of(app->settings->issuer),
                                                .database_gate = &app->database_gate,
                                                .snapshot = jobs_snapshot(app->jobs)},
                       &app->workers[i], &app->why) != BASE_OK)
            return fail(app, "listen");
    }
    return true;
}

static bool start_workers(struct app *app)
{
    struct worker_listener listeners[MAX_LISTENERS];
    const char *management = app->settings->management_listen;
    bool separate = management && *management;
    size_t n = add_listeners(app->settings->listen,
                             separate ? API_PUBLIC : API_PUBLIC | API_MANAGEMENT, listeners);

    if (separate)
        n += add_listeners(management, API_MANAGEMENT, listeners + n);
    for (size_t i = 0; i < n; i++) {
        if (!address_free(app, &listeners[i].address))
            return fail(app, "listen");
    }
    if (!open_workers(app, listeners, n))
        return false;
    for (unsigned i = 0; i < app->n_workers; i++) {
        if (worker_start(app->workers[i]) != BASE_OK) {
            base_buf_put_str(&app->why, "cannot start a thread");
            return fail(app, "worker");
        }
    }
    for (size_t i = 0; i < n; i++)
        log_listening(&listeners[i].address,
                      listeners[i].mask & API_PUBLIC ? "clients" : "management");
    return true;
}

/* --- the operations listener, on this thread --- */

static bool start_ops(struct app *app)
{
    const struct settings *settings = app->settings;
    struct settings_addresses addresses;

    app->ops_connections.max_connections = OPS_MAX_CONNECTIONS;
    app->ops =
        http_server_new(app->base, &(struct http_server_options){
                                       .routes = api_routes,
                                       .n_routes = api_n_routes,
                                       .header_timeout_us = settings->header_timeout,
                                       .body_timeout_us = settings->body_timeout,
                                       .idle_timeout_us = settings->idle_timeout,
                                       .tls_timeout_us = settings->tls_timeout,
                                       .drain_idle_us = settings->drain_idle,
                                       .shared = &app->ops_connections,
                                       .events = {NULL, worker_on_refused, worker_on_warning},
                                       .data = &app->ops_worker,
                                       .error_reply = api_error_reply,
                                   });
    settings_parse_listen(settings->ops_listen, &addresses);
    for (size_t i = 0; i < addresses.count; i++) {
        base_buf_reset(&app->why);
        if (!address_free(app, &addresses.items[i]) ||
            http_server_listen(app->ops, &addresses.items[i], API_OPS, NULL, &addresses.items[i],
                               &app->why) != BASE_OK)
            return fail(app, "listen");
        log_listening(&addresses.items[i], "operations");
    }
    return true;
}

/* --- signals --- */

static bool all_drained(const struct app *app)
{
    for (unsigned i = 0; i < app->n_workers; i++) {
        if (app->workers[i] && !worker_drained(app->workers[i]))
            return false;
    }
    return true;
}

/* The watchdog is fed only while every worker's loop turns, too. */
static void watch_workers(struct app *app)
{
    if (!notify_watchdog_due(&app->notify))
        return;
    for (unsigned i = 0; i < app->n_workers; i++) {
        if (!worker_answered(app->workers[i]))
            return;
    }
    notify_watchdog(&app->notify);
    for (unsigned i = 0; i < app->n_workers; i++)
        worker_post_ping(app->workers[i]);
}

static void on_watch(evutil_socket_t fd BASE_UNUSED, short events BASE_UNUSED, void *data)
{
    struct app *app = data;
    bool late;

    base_metrics_set(app->shared.metrics, app->n_workers, API_METRIC_CONNECTIONS, 0,
                     atomic_load(&app->connections.connections));
    watch_certificate(app);
    if (app->serving) {
        const char *not_ready = api_not_ready(&app->ops_worker);

        watch_workers(app);
        notify_status(&app->notify, not_ready ? not_ready : "ready");
    }
    if (!app->draining)
        return;
    late = base_clock_mono_us() >= app->drain_end_us;
    if (late)
        BASE_LOG(
            BASE_LOG_WARNING, "drain_timeout",
            base_log_str("reason",
                         "some clients were still connected at the end of CARDEA_DRAIN_TIMEOUT"));
    if (late || all_drained(app))
        event_base_loopbreak(app->base);
}

static void on_stop(evutil_socket_t signal_number, short events BASE_UNUSED, void *data)
{
    struct app *app = data;

    if (app->draining) {
        BASE_LOG(BASE_LOG_WARNING, "stopped_at_once", base_log_str("reason", "a second signal"));
        base_log_close();
        _exit(128 + (int)signal_number);
    }
    BASE_LOG(BASE_LOG_INFO, "draining");
    notify_stopping(&app->notify);
    app->draining = true;
    app->drain_end_us = base_clock_mono_us() + app->settings->drain_timeout;
    atomic_store(&app->shared.draining, true);
    for (unsigned i = 0; i < app->n_workers; i++) {
        if (app->workers[i]) /* none yet, when it comes during the start */
            worker_post_drain(app->workers[i]);
    }
}

/* What could not be taken over stays as it was. */
static void reload_refused(struct app *app, const char *why)
{
    app->reload_failed = true;
    BASE_LOG(BASE_LOG_ERROR, "reload_refused", base_log_str("reason", why));
}

static void reload_done(struct app *app)
{
    if (!app->reload_failed)
        BASE_LOG(BASE_LOG_INFO, "reloaded");
    notify_ready(&app->notify); /* also after an error: the old files stay in use */
}

static void reload_tls(struct app *app, const struct settings *fresh)
{
    if (!load_tls(app, fresh)) {
        reload_refused(app, base_buf_cstr(&app->why));
        return;
    }
    for (unsigned i = 0; i < app->n_workers && app->tls; i++) {
        if (app->workers[i])
            worker_post_tls(app->workers[i], http_tls_ref(app->tls));
    }
}

/* The last step: whether the new keys open all that is stored is the database's to say. */
static void reload_seal(struct app *app, const struct settings *fresh)
{
    struct base_seal *seal;

    base_buf_reset(&app->why);
    if (base_seal_load(fresh->master_key_file, &seal, &app->why) == BASE_OK)
        jobs_offer_seal(app->jobs, seal);
    else
        seal_decided(app, base_buf_cstr(&app->why));
}

static void seal_decided(void *data, const char *why)
{
    struct app *app = data;

    if (why)
        reload_refused(app, why);
    reload_done(app);
}

/* Each file stands for itself: one that is broken does not keep the other from being read. */
static void on_reload(evutil_socket_t fd BASE_UNUSED, short events BASE_UNUSED, void *data)
{
    struct app *app = data;
    struct settings fresh;

    notify_reloading(&app->notify);
    app->reload_failed = false;
    base_buf_reset(&app->why);
    if (!app->options->reload(app->options->data, &fresh, &app->why)) {
        seal_decided(app, base_buf_cstr(&app->why));
        return;
    }
    base_log_set_level((enum base_log_level)fresh.log_level);
    reload_tls(app, &fresh);
    reload_seal(app, &fresh);
    settings_clear(&fresh);
}

static bool watch_signals(struct app *app)
{
    const struct timeval period = {0, WATCH_US};

    app->signals[0] = evsignal_new(app->base, SIGTERM, on_stop, app);
    app->signals[1] = evsignal_new(app->base, SIGINT, on_stop, app);
    app->signals[2] = evsignal_new(app->base, SIGHUP, on_reload, app);
    /* The API's wish that the jobs look at the ring arrives as a signal event, from any thread. */
    app->signals[3] = evsignal_new(app->base, SIGUSR1, wake_jobs_main, app);
    app->watch = event_new(app->base, -1, EV_PERSIST, on_watch, app);
    for (size_t i = 0; i < BASE_COUNT(app->signals); i++) {
        if (!app->signals[i] || event_add(app->signals[i], NULL) != 0)
            return false;
    }
    return app->watch && event_add(app->watch, &period) == 0;
}

static void wake_jobs(void *data BASE_UNUSED)
{
    kill(getpid(), SIGUSR1);
}

/* --- start and end --- */

static void fill_shared(struct app *app)
{
    const struct settings *settings = app->settings;
    struct api_config *config = &app->shared.config;
    size_t size = strlen(settings->issuer) + sizeof "/oauth2/token";

    app->token_endpoint = base_malloc(size);
    snprintf(app->token_endpoint, size, "%s/oauth2/token", settings->issuer);
    config->issuer = base_span_str(settings->issuer);
    config->token_endpoint = base_span_str(app->token_endpoint);
    config->default_audience = base_span_str(settings->audience);
    config->token_typ = settings_token_typs[settings->token_typ];
    config->token_ttl_us = settings->token_ttl;
    config->rotation =
        (struct policy_rotation){settings->signing_key_rotation, settings->jwks_max_age,
                                 settings->jwks_margin, (enum jose_alg)settings->signing_alg};
    app->shared.limit = policy_limit_new(settings->failed_auth_limit, LIMIT_ENTRIES);
    app->shared.metrics = base_metrics_new(api_metric_defs, API_METRIC_COUNT, app->n_workers + 1);
    app->shared.n_workers = app->n_workers;
    app->shared.wake_jobs = wake_jobs;
    app->shared.app = app;
    app->shared.tls_not_after_us = tls_not_after;
}

static bool start(struct app *app)
{
    struct base_seal *seal;

    app->base = event_base_new();
    if (!app->base || !watch_signals(app)) {
        base_buf_put_str(&app->why, "cannot open an event loop");
        return fail(app, "start");
    }
    size_connections(app);
    if (!load_tls(app, app->settings))
        return fail(app, "tls");
    if (!load_seal(app, &seal))
        return false;
    return start_jobs(app, seal) && await_database(app) && start_ops(app) && start_workers(app);
}

/* After the drain, or after a start that failed half-way. Uses that were noted are stored first. */
static void stop(struct app *app)
{
    int64_t end_us = base_clock_mono_us() + 2 * BASE_US_PER_S;

    for (unsigned i = 0; i < app->n_workers; i++) {
        if (app->workers[i])
            worker_stop(app->workers[i]);
    }
    if (app->jobs && jobs_first_verdict(app->jobs) == JOBS_READY) {
        jobs_flush(app->jobs);
        while (!jobs_flushed(app->jobs) && base_clock_mono_us() < end_us)
            event_base_loop(app->base, EVLOOP_ONCE);
    }
    for (unsigned i = 0; i < app->n_workers; i++)
        worker_free(&app->workers[i]);
    jobs_free(&app->jobs);
    http_server_free(&app->ops);
}

static void clear(struct app *app)
{
    api_worker_clear(&app->ops_worker);
    for (size_t i = 0; i < BASE_COUNT(app->signals); i++) {
        if (app->signals[i])
            event_free(app->signals[i]);
    }
    if (app->watch)
        event_free(app->watch);
    if (app->base)
        event_base_free(app->base);
    http_tls_free(&app->tls);
    policy_limit_free(&app->shared.limit);
    base_metrics_free(&app->shared.metrics);
    base_buf_clear(&app->why);
    base_free(&app->token_endpoint);
    notify_clear(&app->notify);
}

int app_run(const struct app_options *options)
{
    struct app *app = base_calloc(1, sizeof *app);
    int status;

    app->options = options;
    app->settings = options->settings;
    app->n_workers = count_workers(app->settings);
    base_buf_init(&app->why, 2048);
    notify_init(&app->notify);
    seal_process();
    fill_shared(app);
    api_worker_init(&app->ops_worker, &app->shared, app->n_workers);
    if (start(app)) {
        BASE_LOG(BASE_LOG_INFO, "started", base_log_str("version", CARDEA_VERSION),
                 base_log_str("issuer", app->settings->issuer),
                 base_log_int("workers", app->n_workers));
        app->serving = true;
        base_mem_survive_libraries();
        /* Ready for the service manager means listening, with or without a database: a start that
         * waited for that would be killed when it takes long. STATUS says which. */
        notify_ready(&app->notify);
        event_base_dispatch(app->base);
        BASE_LOG(BASE_LOG_INFO, "stopped");
    }
    stop(app);
    status = app->status;
    clear(app);
    base_free(&app);
    return status;
}
