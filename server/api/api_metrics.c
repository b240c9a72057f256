/* SPDX-License-Identifier: Apache-2.0 */
#include "api_metrics.h"

#include <stddef.h>

static const char *const refusals[] = {"invalid_request",
                                       "invalid_client",
                                       "unsupported_grant_type",
                                       "invalid_scope",
                                       "invalid_target",
                                       "rate_limited",
                                       "unavailable",
                                       NULL};
static const char *const classes[] = {"1xx", "2xx", "3xx", "4xx", "5xx", NULL};
static const char *const states[] = {"announced", "signing", "retired", NULL};
static const double seconds[] = {100,   250,   500,    1000,    2500,    5000,
                                 10000, 50000, 250000, 1000000, 5000000, 0};

const struct base_metrics_def api_metric_defs[API_METRIC_COUNT] = {
    [API_METRIC_TOKENS] = {"cardea_tokens_issued_total", "Access tokens issued.",
                           BASE_METRICS_COUNTER, NULL, NULL, NULL, 0},
    [API_METRIC_REFUSALS] = {"cardea_token_refusals_total", "Token requests refused, by error.",
                             BASE_METRICS_COUNTER, "error", refusals, NULL, 0},
    [API_METRIC_REQUESTS] = {"cardea_http_requests_total",
                             "HTTP requests answered, by status class.", BASE_METRICS_COUNTER,
                             "status", classes, NULL, 0},
    [API_METRIC_REQUEST_SECONDS] = {"cardea_http_request_duration_seconds",
                                    "From a request's first byte to its reply.",
                                    BASE_METRICS_HISTOGRAM, NULL, NULL, seconds, 1e-6},
    [API_METRIC_MESSAGES_REFUSED] = {"cardea_http_messages_refused_total",
                                     "Messages refused for their framing, size or slowness.",
                                     BASE_METRICS_COUNTER, NULL, NULL, NULL, 0},
    [API_METRIC_CONNECTIONS] = {"cardea_http_connections", "Open client connections.",
                                BASE_METRICS_GAUGE, NULL, NULL, NULL, 0},
    [API_METRIC_DATABASE_UP] = {"cardea_database_up",
                                "Whether the last poll of PostgreSQL was answered.",
                                BASE_METRICS_GAUGE, NULL, NULL, NULL, 0},
    [API_METRIC_DATABASE_PENDING] = {"cardea_database_pending", "Queries waiting or in flight.",
                                     BASE_METRICS_GAUGE, NULL, NULL, NULL, 0},
    [API_METRIC_DATABASE_FAILURES] =
        {"cardea_database_failures_total",
         "Queries that were not answered: away, late or too many waiting.", BASE_METRICS_COUNTER,
         NULL, NULL, NULL, 0},
    [API_METRIC_SIGNING_KEYS] = {"cardea_signing_keys", "Signing keys of the ring, by state.",
                                 BASE_METRICS_GAUGE, "state", states, NULL, 0},
    [API_METRIC_SIGNING_KEY_AGE] = {"cardea_signing_key_age_seconds",
                                    "How long the signing key has signed.", BASE_METRICS_GAUGE,
                                    NULL, NULL, NULL, 0},
    [API_METRIC_ROTATION_OVERDUE] = {"cardea_signing_key_rotation_overdue",
                                     "1 when no successor signs an hour after it should.",
                                     BASE_METRICS_GAUGE, NULL, NULL, NULL, 0},
    [API_METRIC_TLS_EXPIRY] = {"cardea_tls_certificate_expiry_timestamp_seconds",
                               "When the TLS certificate ends; 0 without TLS.", BASE_METRICS_GAUGE,
                               NULL, NULL, NULL, 0},
    [API_METRIC_LOG_DROPPED] = {"cardea_log_lines_dropped_total",
                                "Log lines that could not be written in time.",
                                BASE_METRICS_COUNTER, NULL, NULL, NULL, 0},
};
