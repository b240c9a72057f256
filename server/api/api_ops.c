/* SPDX-License-Identifier: Apache-2.0 */
/* /livez, /readyz and /metrics, answered by the main thread's loop, so that busy workers do not
 * delay them. */
#include "api.h"
#include "base_clock.h"
#include "base_log.h"

#define DATABASE_FRESH_US (3 * BASE_US_PER_S)

static void reply_text(struct http_request *request, int status, struct base_span body,
                       const char *reason)
{
    http_reply_send(request,
                    &(struct http_reply){.status = status,
                                         .content_type = "text/plain; charset=utf-8",
                                         .headers = BASE_SPAN("Cache-Control: no-store\r\n"),
                                         .body = body,
                                         .reason = reason});
}

void api_livez(struct http_request *request)
{
    reply_text(request, 200, BASE_SPAN("ok\n"), NULL);
}

static bool lookups_ready(struct api_shared *shared)
{
    for (unsigned i = 0; i < shared->n_workers; i++) {
        if (!atomic_load(&shared->lookup_ready[i]))
            return false;
    }
    return true;
}

const char *api_not_ready(struct api_worker *worker)
{
    struct api_shared *shared = worker->shared;
    int64_t seen_us = atomic_load(&shared->database_seen_us);

    if (atomic_load(&shared->draining))
        return "draining";
    if (seen_us == 0 || base_clock_mono_us() - seen_us > DATABASE_FRESH_US)
        return "database away";
    if (!lookups_ready(shared))
        return "database connections not open";
    /* This thread has the newest snapshot: what its lease is over for, no worker signs with. */
    if (!api_worker_signer(worker))
        return "no signing key";
    return NULL;
}

void api_readyz(struct http_request *request)
{
    const char *reason = api_not_ready(api_worker_of(request));
    char text[64];

    if (!reason) {
        reply_text(request, 200, BASE_SPAN("ok\n"), NULL);
        return;
    }
    snprintf(text, sizeof text, "%s\n", reason);
    reply_text(request, 503, base_span_str(text), reason);
}

void api_metrics_page(struct http_request *request)
{
    struct api_worker *worker = api_worker_of(request);
    struct api_shared *shared = worker->shared;
    int64_t dropped = (int64_t)base_log_dropped();

    base_metrics_set(shared->metrics, worker->shard, API_METRIC_LOG_DROPPED, 0, dropped);
    base_metrics_set(shared->metrics, worker->shard, API_METRIC_DATABASE_UP, 0,
                     atomic_load(&shared->database_seen_us) != 0);
    if (shared->tls_not_after_us)
        base_metrics_set(shared->metrics, worker->shard, API_METRIC_TLS_EXPIRY, 0,
                         shared->tls_not_after_us(shared->app) / BASE_US_PER_S);
    base_buf_reset(&worker->scratch);
    base_metrics_print(shared->metrics, &worker->scratch);
    http_reply_send(request,
                    &(struct http_reply){.status = 200,
                                         .content_type = "text/plain; version=0.0.4; charset=utf-8",
                                         .headers = BASE_SPAN("Cache-Control: no-store\r\n"),
                                         .body = base_buf_span(&worker->scratch)});
}
