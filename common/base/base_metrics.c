/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics as plain arrays of 64-bit cells, one array a shard. A counter or gauge takes one cell for
 * each label value; a histogram takes one for each bucket, one for +Inf and one for the sum.
 * Buckets are kept apart and added up only when printed, so that an observation is two additions.
 */
#include "base_metrics.h"

#include "base_mem.h"

#include <assert.h>
#include <stdatomic.h>

#define CACHE_LINE 64

typedef _Atomic int64_t cell;

struct layout {
    size_t first;    /* cell of value 0 */
    unsigned values; /* at least 1 */
    unsigned bounds; /* histogram: without +Inf */
    unsigned stride; /* cells a value */
};

struct base_metrics {
    const struct base_metrics_def *defs;
    struct layout *layout;
    size_t n_defs;
    unsigned n_shards;
    size_t shard_cells; /* whole cache lines, so that shards share none */
    void *memory;
    cell *cells; /* the first cache line that begins in memory */
};

static struct layout measure(const struct base_metrics_def *def, size_t first)
{
    struct layout out = {.first = first, .values = 1, .stride = 1};

    if (def->label)
        for (out.values = 0; def->values[out.values];)
            out.values++;
    if (def->type != BASE_METRICS_HISTOGRAM)
        return out;
    for (; def->bounds[out.bounds] > 0; out.bounds++)
        /* Amounts are whole numbers: a bound below 1 was meant in another unit. */
        assert(def->bounds[out.bounds] >= 1 &&
               (!out.bounds || def->bounds[out.bounds] > def->bounds[out.bounds - 1]));
    out.stride = out.bounds + 2;
    return out;
}

struct base_metrics *base_metrics_new(const struct base_metrics_def *defs, size_t n_defs,
                                      unsigned n_shards)
{
    const size_t line_cells = CACHE_LINE / sizeof(cell);
    struct base_metrics *metrics = base_calloc(1, sizeof *metrics);
    size_t total = 0;

    assert(n_shards > 0);
    metrics->defs = defs;
    metrics->n_defs = n_defs;
    metrics->n_shards = n_shards;
    metrics->layout = base_calloc(n_defs, sizeof *metrics->layout);
    for (size_t i = 0; i < n_defs; i++) {
        metrics->layout[i] = measure(&defs[i], total);
        total += (size_t)metrics->layout[i].values * metrics->layout[i].stride;
    }
    metrics->shard_cells = (total + line_cells - 1) / line_cells * line_cells;
    metrics->memory = base_calloc(metrics->shard_cells * n_shards + line_cells, sizeof(cell));
    metrics->cells =
        (cell *)(((uintptr_t)metrics->memory + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    return metrics;
}

void base_metrics_free(struct base_metrics **metrics)
{
    if (!*metrics)
        return;
    base_free(&(*metrics)->layout);
    base_free(&(*metrics)->memory);
    base_free(metrics);
}

/* NULL when an index is out of range: a wrong figure is better than a stray write. */
static cell *find(const struct base_metrics *metrics, unsigned shard, unsigned def, unsigned value)
{
    bool known =
        shard < metrics->n_shards && def < metrics->n_defs && value < metrics->layout[def].values;

    assert(known);
    if (!known)
        return NULL;
    return metrics->cells + shard * metrics->shard_cells + metrics->layout[def].first +
           (size_t)value * metrics->layout[def].stride;
}

void base_metrics_add(struct base_metrics *metrics, unsigned shard, unsigned def, unsigned value,
                      int64_t amount)
{
    cell *at = find(metrics, shard, def, value);

    if (at)
        atomic_fetch_add_explicit(at, amount, memory_order_relaxed);
}

void base_metrics_set(struct base_metrics *metrics, unsigned shard, unsigned def, unsigned value,
                      int64_t amount)
{
    cell *at = find(metrics, shard, def, value);

    if (at)
        atomic_store_explicit(at, amount, memory_order_relaxed);
}

void base_metrics_observe(struct base_metrics *metrics, unsigned shard, unsigned def,
                          unsigned value, int64_t amount)
{
    cell *at = find(metrics, shard, def, value);
    unsigned bucket = 0, bounds;

    assert(metrics->defs[def].type == BASE_METRICS_HISTOGRAM);
    if (!at)
        return;
    bounds = metrics->layout[def].bounds;
    while (bucket < bounds && (double)amount > metrics->defs[def].bounds[bucket])
        bucket++;
    atomic_fetch_add_explicit(at + bucket, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(at + bounds + 1, amount, memory_order_relaxed);
}

static int64_t sum_cell(const struct base_metrics *metrics, unsigned def, unsigned value,
                        unsigned offset)
{
    int64_t sum = 0;

    for (unsigned shard = 0; shard < metrics->n_shards; shard++) {
        cell *at = find(metrics, shard, def, value);

        if (at)
            sum += atomic_load_explicit(at + offset, memory_order_relaxed);
    }
    return sum;
}

int64_t base_metrics_get(const struct base_metrics *metrics, unsigned def, unsigned value)
{
    int64_t sum = 0;

    assert(def < metrics->n_defs);
    if (def >= metrics->n_defs)
        return 0;
    if (metrics->defs[def].type != BASE_METRICS_HISTOGRAM)
        return sum_cell(metrics, def, value, 0);
    for (unsigned bucket = 0; bucket <= metrics->layout[def].bounds; bucket++)
        sum += sum_cell(metrics, def, value, bucket);
    return sum;
}

static void put_escaped(struct base_buf *out, const char *text, bool quotes)
{
    for (; *text; text++) {
        if (*text == '\\' || (*text == '"' && quotes))
            base_buf_put_char(out, '\\');
        if (*text == '\n')
            BASE_BUF_LIT(out, "\\n");
        else
            base_buf_put_char(out, *text);
    }
}

/* name_suffix{label="value",le="…"}, then a space. */
static void put_sample_name(struct base_buf *out, const struct base_metrics_def *def,
                            unsigned value, const char *suffix, const char *le)
{
    base_buf_put_str(out, def->name);
    base_buf_put_str(out, suffix);
    if (def->label || le)
        base_buf_put_char(out, '{');
    if (def->label) {
        base_buf_put_str(out, def->label);
        BASE_BUF_LIT(out, "=\"");
        put_escaped(out, def->values[value], true);
        base_buf_put_str(out, le ? "\"," : "\"");
    }
    if (le)
        base_buf_putf(out, "le=\"%s\"", le);
    if (def->label || le)
        base_buf_put_char(out, '}');
    base_buf_put_char(out, ' ');
}

static void put_number(struct base_buf *out, const struct base_metrics_def *def, int64_t number)
{
    if (def->scale == 0 || def->scale == 1)
        base_buf_put_i64(out, number);
    else
        base_buf_putf(out, "%.15g", (double)number * def->scale);
    base_buf_put_char(out, '\n');
}

static void put_count(struct base_buf *out, int64_t count)
{
    base_buf_put_i64(out, count);
    base_buf_put_char(out, '\n');
}

static void print_histogram(const struct base_metrics *metrics, unsigned def_at, unsigned value,
                            struct base_buf *out)
{
    const struct base_metrics_def *def = &metrics->defs[def_at];
    unsigned bounds = metrics->layout[def_at].bounds;
    int64_t count = 0;
    char le[32];
    struct base_buf le_text;

    for (unsigned bucket = 0; bucket < bounds; bucket++) {
        base_buf_init_fixed(&le_text, le, sizeof le);
        base_buf_putf(&le_text, "%.9g", def->bounds[bucket] * (def->scale == 0 ? 1 : def->scale));
        count += sum_cell(metrics, def_at, value, bucket);
        put_sample_name(out, def, value, "_bucket", base_buf_cstr(&le_text));
        put_count(out, count);
    }
    count += sum_cell(metrics, def_at, value, bounds);
    put_sample_name(out, def, value, "_bucket", "+Inf");
    put_count(out, count);
    put_sample_name(out, def, value, "_sum", NULL);
    put_number(out, def, sum_cell(metrics, def_at, value, bounds + 1));
    /* The same number as +Inf even while others count on. */
    put_sample_name(out, def, value, "_count", NULL);
    put_count(out, count);
}

static void print_def(const struct base_metrics *metrics, unsigned def_at, struct base_buf *out)
{
    static const char *const types[] = {
        [BASE_METRICS_COUNTER] = "counter",
        [BASE_METRICS_GAUGE] = "gauge",
        [BASE_METRICS_HISTOGRAM] = "histogram",
    };
    const struct base_metrics_def *def = &metrics->defs[def_at];

    base_buf_putf(out, "# HELP %s ", def->name);
    put_escaped(out, def->help, false);
    base_buf_putf(out, "\n# TYPE %s %s\n", def->name, types[def->type]);
    for (unsigned value = 0; value < metrics->layout[def_at].values; value++) {
        if (def->type == BASE_METRICS_HISTOGRAM) {
            print_histogram(metrics, def_at, value, out);
            continue;
        }
        put_sample_name(out, def, value, "", NULL);
        put_number(out, def, sum_cell(metrics, def_at, value, 0));
    }
}

void base_metrics_print(const struct base_metrics *metrics, struct base_buf *out)
{
    for (unsigned def = 0; def < metrics->n_defs; def++)
        print_def(metrics, def, out);
}
