/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, gauges and histograms from one table, and their Prometheus text (exposition format
 * 0.0.4). Each worker counts in a shard of its own (no shared cache lines); the reader adds them
 * up. Values are relaxed atomics: any thread may read at any time. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base_buf.h"

#include <stdint.h>

enum base_metrics_type { BASE_METRICS_COUNTER, BASE_METRICS_GAUGE, BASE_METRICS_HISTOGRAM };

struct base_metrics_def {
    const char *name; /* cardea_tokens_issued_total */
    const char *help;
    enum base_metrics_type type;
    const char *label;         /* NULL: none */
    const char *const *values; /* the label's values, NULL-terminated */
    const double *bounds;      /* histogram: upper bounds in counted units (with scale 1e-6: 1000
                                  for a millisecond), rising, from 1, 0-terminated */
    double scale;              /* what one counted unit is in the exported unit: 1e-6 for µs shown
                                  as seconds; 0 means 1 */
};

struct base_metrics;

/* `defs` must outlive it. */
struct base_metrics *base_metrics_new(const struct base_metrics_def *defs, size_t n_defs,
                                      unsigned n_shards);
void base_metrics_free(struct base_metrics **metrics);

/* `def` and `value` are indexes into the table and into the def's label values (0 without a label).
 */
void base_metrics_add(struct base_metrics *metrics, unsigned shard, unsigned def, unsigned value,
                      int64_t amount);
void base_metrics_set(struct base_metrics *metrics, unsigned shard, unsigned def, unsigned value,
                      int64_t amount);
void base_metrics_observe(struct base_metrics *metrics, unsigned shard, unsigned def,
                          unsigned value, int64_t amount);
/* Sum over the shards (histogram: the number of observations). */
int64_t base_metrics_get(const struct base_metrics *metrics, unsigned def, unsigned value);
void base_metrics_print(const struct base_metrics *metrics, struct base_buf *out);

#endif
