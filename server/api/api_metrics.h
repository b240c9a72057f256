/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of /metrics: one table (api_metrics.c), one enum in its order. */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "base_metrics.h"

enum api_metric {
    API_METRIC_TOKENS,   /* tokens issued */
    API_METRIC_REFUSALS, /* by enum api_refusal */
    API_METRIC_REQUESTS, /* by status class */
    API_METRIC_REQUEST_SECONDS,
    API_METRIC_MESSAGES_REFUSED, /* framing, limits, deadlines */
    API_METRIC_CONNECTIONS,
    API_METRIC_DATABASE_UP,
    API_METRIC_DATABASE_PENDING,
    API_METRIC_DATABASE_FAILURES,
    API_METRIC_SIGNING_KEYS, /* by state */
    API_METRIC_SIGNING_KEY_AGE,
    API_METRIC_ROTATION_OVERDUE,
    API_METRIC_TLS_EXPIRY,
    API_METRIC_LOG_DROPPED,
    API_METRIC_COUNT
};

/* Label values of API_METRIC_REFUSALS, in the order of the table. */
enum api_refusal {
    API_REFUSED_INVALID_REQUEST,
    API_REFUSED_INVALID_CLIENT,
    API_REFUSED_UNSUPPORTED_GRANT_TYPE,
    API_REFUSED_INVALID_SCOPE,
    API_REFUSED_INVALID_TARGET,
    API_REFUSED_LIMITED,
    API_REFUSED_UNAVAILABLE,
};

extern const struct base_metrics_def api_metric_defs[API_METRIC_COUNT];

#endif
