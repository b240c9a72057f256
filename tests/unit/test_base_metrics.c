/* SPDX-License-Identifier: Apache-2.0 */
#include "base_metrics.h"

#include "base_attr.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TOKENS, REFUSED, CONNECTIONS, LATENCY, SIZE, BUSY, N_DEFS };

static const char *const reasons[] = {"secret", "expired", "a\"b\\c\nd", NULL};
static const char *const routes[] = {"token", "jwks", NULL};
static const double latency_bounds[] = {500, 1000, 2500000, 0};
static const double size_bounds[] = {1, 10, 0};

static const struct base_metrics_def defs[N_DEFS] = {
    [TOKENS] = {.name = "t_tokens_total", .help = "Tokens issued.", .type = BASE_METRICS_COUNTER},
    [REFUSED] = {.name = "t_refused_total",
                 .help = "Back\\slash and\nnew line \"quoted\".",
                 .type = BASE_METRICS_COUNTER,
                 .label = "reason",
                 .values = reasons},
    [CONNECTIONS] = {.name = "t_connections", .help = "Open.", .type = BASE_METRICS_GAUGE},
    [LATENCY] = {.name = "t_latency_seconds",
                 .help = "From request to answer.",
                 .type = BASE_METRICS_HISTOGRAM,
                 .label = "route",
                 .values = routes,
                 .bounds = latency_bounds,
                 .scale = 1e-6},
    [SIZE] = {.name = "t_batch",
              .help = "h",
              .type = BASE_METRICS_HISTOGRAM,
              .bounds = size_bounds},
    [BUSY] = {.name = "t_busy_seconds_total",
              .help = "h",
              .type = BASE_METRICS_COUNTER,
              .scale = 1e-6},
};

static int make(void **state)
{
    *state = base_metrics_new(defs, N_DEFS, 2);
    return *state == NULL;
}

static int drop(void **state)
{
    struct base_metrics *metrics = *state;

    base_metrics_free(&metrics);
    base_metrics_free(&metrics);
    return metrics != NULL;
}

static void shards_are_added_up(void **state)
{
    struct base_metrics *metrics = *state;

    base_metrics_add(metrics, 0, TOKENS, 0, 1);
    base_metrics_add(metrics, 1, TOKENS, 0, 41);
    base_metrics_add(metrics, 0, REFUSED, 2, 3);
    base_metrics_set(metrics, 0, CONNECTIONS, 0, 5);
    base_metrics_set(metrics, 1, CONNECTIONS, 0, 6);
    base_metrics_add(metrics, 1, CONNECTIONS, 0, -2);
    assert_int_equal(base_metrics_get(metrics, TOKENS, 0), 42);
    assert_int_equal(base_metrics_get(metrics, REFUSED, 0), 0);
    assert_int_equal(base_metrics_get(metrics, REFUSED, 2), 3);
    assert_int_equal(base_metrics_get(metrics, CONNECTIONS, 0), 9);
}

static void neighbours_are_not_touched(void **state)
{
    struct base_metrics *metrics = *state;

    base_metrics_observe(metrics, 1, LATENCY, 1, INT64_MAX / 2);
    base_metrics_observe(metrics, 0, LATENCY, 0, 0);
    for (unsigned def = 0; def < N_DEFS; def++)
        assert_int_equal(base_metrics_get(metrics, def, 0), def == LATENCY);
    assert_int_equal(base_metrics_get(metrics, LATENCY, 1), 1);
}

static void a_bound_belongs_to_its_bucket(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;
    struct base_metrics *metrics = *state;

    base_buf_init(&out, 100000);
    base_metrics_observe(metrics, 0, SIZE, 0, 1);
    base_metrics_observe(metrics, 0, SIZE, 0, 2);
    base_metrics_observe(metrics, 1, SIZE, 0, 10);
    base_metrics_observe(metrics, 1, SIZE, 0, 11);
    base_metrics_observe(metrics, 1, SIZE, 0, -5);
    base_metrics_print(metrics, &out);
    assert_non_null(strstr(base_buf_cstr(&out), "t_batch_bucket{le=\"1\"} 2\n"
                                                "t_batch_bucket{le=\"10\"} 4\n"
                                                "t_batch_bucket{le=\"+Inf\"} 5\n"
                                                "t_batch_sum 19\n"
                                                "t_batch_count 5\n"));
}

static void the_text_is_prometheus(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;
    struct base_metrics *metrics = *state;

    base_buf_init(&out, 100000);
    base_metrics_add(metrics, 0, TOKENS, 0, 7);
    base_metrics_add(metrics, 0, REFUSED, 2, 1);
    base_metrics_observe(metrics, 0, LATENCY, 1, 750);
    base_metrics_observe(metrics, 1, LATENCY, 1, 3000000);
    base_metrics_add(metrics, 1, BUSY, 0, 1500000);
    base_metrics_print(metrics, &out);
    assert_string_equal(base_buf_cstr(&out),
                        "# HELP t_tokens_total Tokens issued.\n"
                        "# TYPE t_tokens_total counter\n"
                        "t_tokens_total 7\n"
                        "# HELP t_refused_total Back\\\\slash and\\nnew line \"quoted\".\n"
                        "# TYPE t_refused_total counter\n"
                        "t_refused_total{reason=\"secret\"} 0\n"
                        "t_refused_total{reason=\"expired\"} 0\n"
                        "t_refused_total{reason=\"a\\\"b\\\\c\\nd\"} 1\n"
                        "# HELP t_connections Open.\n"
                        "# TYPE t_connections gauge\n"
                        "t_connections 0\n"
                        "# HELP t_latency_seconds From request to answer.\n"
                        "# TYPE t_latency_seconds histogram\n"
                        "t_latency_seconds_bucket{route=\"token\",le=\"0.0005\"} 0\n"
                        "t_latency_seconds_bucket{route=\"token\",le=\"0.001\"} 0\n"
                        "t_latency_seconds_bucket{route=\"token\",le=\"2.5\"} 0\n"
                        "t_latency_seconds_bucket{route=\"token\",le=\"+Inf\"} 0\n"
                        "t_latency_seconds_sum{route=\"token\"} 0\n"
                        "t_latency_seconds_count{route=\"token\"} 0\n"
                        "t_latency_seconds_bucket{route=\"jwks\",le=\"0.0005\"} 0\n"
                        "t_latency_seconds_bucket{route=\"jwks\",le=\"0.001\"} 1\n"
                        "t_latency_seconds_bucket{route=\"jwks\",le=\"2.5\"} 1\n"
                        "t_latency_seconds_bucket{route=\"jwks\",le=\"+Inf\"} 2\n"
                        "t_latency_seconds_sum{route=\"jwks\"} 3.00075\n"
                        "t_latency_seconds_count{route=\"jwks\"} 2\n"
                        "# HELP t_batch h\n"
                        "# TYPE t_batch histogram\n"
                        "t_batch_bucket{le=\"1\"} 0\n"
                        "t_batch_bucket{le=\"10\"} 0\n"
                        "t_batch_bucket{le=\"+Inf\"} 0\n"
                        "t_batch_sum 0\n"
                        "t_batch_count 0\n"
                        "# HELP t_busy_seconds_total h\n"
                        "# TYPE t_busy_seconds_total counter\n"
                        "t_busy_seconds_total 1.5\n");
}

static void a_buffer_too_small_says_so(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;

    base_buf_init(&out, 50);
    base_metrics_print(*state, &out);
    assert_true(out.overflow);
    assert_int_equal(out.len, 50);
}

static void *count(void *argument)
{
    for (int i = 0; i < 10000; i++) {
        base_metrics_add(argument, 0, TOKENS, 0, 1);
        base_metrics_observe(argument, 1, LATENCY, 0, i);
    }
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;
    pthread_t threads[3];

    base_buf_init(&out, 100000);
    for (size_t i = 0; i < BASE_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, *state), 0);
    for (int i = 0; i < 20; i++) { /* readers may come at any time */
        base_buf_reset(&out);
        base_metrics_print(*state, &out);
    }
    for (size_t i = 0; i < BASE_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(base_metrics_get(*state, TOKENS, 0), 30000);
    assert_int_equal(base_metrics_get(*state, LATENCY, 0), 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shards_are_added_up, make, drop),
        cmocka_unit_test_setup_teardown(neighbours_are_not_touched, make, drop),
        cmocka_unit_test_setup_teardown(a_bound_belongs_to_its_bucket, make, drop),
        cmocka_unit_test_setup_teardown(the_text_is_prometheus, make, drop),
        cmocka_unit_test_setup_teardown(a_buffer_too_small_says_so, make, drop),
        cmocka_unit_test_setup_teardown(threads_lose_no_count, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
