/* SPDX-License-Identifier: Apache-2.0 */
/* The background jobs on a loop of their own, against a real PostgreSQL: no workers, no HTTP. */
#include "jobs.h"

#include "base_clock.h"
#include "base_mem.h"
#include "store_fixture.h"

#include <event2/event.h>
#include <string.h>
#include <unistd.h>

#define OLD_KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=\n"
#define NEW_KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=\n"
#define WAIT_US (60 * BASE_US_PER_S)

/* One server's jobs, and what the workers would have for them. */
static struct scene {
    struct settings settings;
    struct api_shared shared;
    struct base_log_gate gate;
    struct jobs *jobs;
    struct base_span used; /* key ID of the uses */
    size_t n_noted;        /* uses that are not taken yet */
    int n_decided;         /* offers of master keys */
    char why[512];         /* of the last one; empty: taken */
} scene;

static void on_publish(void *data, struct api_snapshot *snapshot)
{
    (void)data;
    (void)snapshot;
}

static size_t take_noted(void *data, struct store_key_use *out, size_t max)
{
    size_t n = scene.n_noted < max ? scene.n_noted : max;

    (void)data;
    for (size_t i = 0; i < n; i++) {
        out[i] = (struct store_key_use){.at_us = base_clock_wall_us()};
        memcpy(out[i].key_id, scene.used.ptr, scene.used.len);
    }
    scene.n_noted -= n;
    return n;
}

static void on_decided(void *data, const char *why)
{
    (void)data;
    scene.n_decided++;
    snprintf(scene.why, sizeof scene.why, "%s", why ? why : "");
}

static struct base_seal *master_keys(const char *lines)
{
    BASE_AUTO(base_buf_clear) struct base_buf why = {.max = 256};
    struct base_seal *seal;

    assert_int_equal(base_seal_parse(base_span_str(lines), &seal, &why), BASE_OK);
    return seal;
}

static void turn_until(bool (*condition)(void))
{
    int64_t end_us = base_clock_mono_us() + WAIT_US;

    while (!condition()) {
        assert_true(base_clock_mono_us() < end_us);
        event_base_loop(fix_base, EVLOOP_ONCE);
    }
}

static void turn_for(int64_t us)
{
    int64_t end_us = base_clock_mono_us() + us;

    while (base_clock_mono_us() < end_us) {
        event_base_loop(fix_base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
}

static bool is_decided(void)
{
    return jobs_first_verdict(scene.jobs) != JOBS_PENDING;
}

static void start(const char *lines)
{
    const struct jobs_options options = {.base = fix_base,
                                         .settings = &scene.settings,
                                         .shared = &scene.shared,
                                         .seal = master_keys(lines),
                                         .database_gate = &scene.gate,
                                         .publish = on_publish,
                                         .take_uses = take_noted,
                                         .seal_decided = on_decided};
    BASE_AUTO(base_buf_clear) struct base_buf why = {.max = 256};

    assert_int_equal(jobs_new(&options, &scene.jobs, &why), BASE_OK);
    turn_until(is_decided);
}

static void start_ready(void)
{
    start(OLD_KEY);
    assert_int_equal(jobs_first_verdict(scene.jobs), JOBS_READY);
}

static int setup(void **state)
{
    fix_setup(state);
    fix_tenant("acme");
    fix_scope("data:read");
    return 0;
}

static int each(void **state)
{
    struct api_config *config = &scene.shared.config;

    (void)state;
    fix_reset();
    fix_exec("DELETE FROM signing_key; DELETE FROM api_key WHERE seq > 0");
    scene = (struct scene){
        .settings = {.database_url = fix_runtime, .database_timeout = 10 * BASE_US_PER_S}};
    config->issuer = BASE_SPAN("https://issuer.example");
    config->token_endpoint = BASE_SPAN("https://issuer.example/oauth2/token");
    config->token_ttl_us = 10 * BASE_US_PER_MIN;
    config->rotation = (struct policy_rotation){.rotation_us = BASE_US_PER_DAY,
                                                .max_age_us = 5 * BASE_US_PER_MIN,
                                                .margin_us = BASE_US_PER_MIN,
                                                .alg = JOSE_ES256};
    scene.shared.metrics = base_metrics_new(api_metric_defs, API_METRIC_COUNT, 1);
    return 0;
}

static int after(void **state)
{
    (void)state;
    jobs_free(&scene.jobs);
    base_metrics_free(&scene.shared.metrics);
    return 0;
}

/* --- the machine --- */

static int64_t confirmed_us(void)
{
    struct api_snapshot *snapshot = jobs_snapshot(scene.jobs);
    int64_t at_us = atomic_load(&snapshot->confirmed_mono_us);

    api_snapshot_unref(&snapshot);
    return at_us;
}

/* Forty notices in a row, which any role of the database may send, must not keep the forty-first
 * poll waiting. */
static void test_pokes_do_not_put_off_the_next_tick(void **state)
{
    int64_t before_us;

    (void)state;
    start_ready();
    for (int i = 0; i < 40; i++) {
        jobs_poke(scene.jobs);
        event_base_loop(fix_base, EVLOOP_NONBLOCK);
    }
    turn_for(BASE_US_PER_S); /* what the pokes themselves have asked is answered */
    before_us = confirmed_us();
    turn_for(3 * BASE_US_PER_S);
    assert_true(confirmed_us() > before_us + BASE_US_PER_S);
}

/* --- the ring --- */

static char signing_kid[64];

static bool signs_with_another(void)
{
    struct api_snapshot *snapshot = jobs_snapshot(scene.jobs);
    const struct policy_ring_key *key = snapshot->ring ? policy_ring_signing(snapshot->ring) : NULL;
    bool another = key && strcmp(jose_key_thumbprint(key->key), signing_kid) != 0;

    if (another)
        snprintf(signing_kid, sizeof signing_kid, "%s", jose_key_thumbprint(key->key));
    api_snapshot_unref(&snapshot);
    return another;
}

/* After a failover that lost commits the same generation may stand for other keys. */
static void test_the_same_generation_with_other_keys(void **state)
{
    (void)state;
    start_ready();
    assert_true(signs_with_another());
    fix_exec("ALTER TABLE signing_key DISABLE TRIGGER signing_key_changed");
    fix_exec("DELETE FROM signing_key");
    turn_until(signs_with_another);
    fix_exec("ALTER TABLE signing_key ENABLE TRIGGER signing_key_changed");
}

static void test_retired_keys_alone_are_mended(void **state)
{
    (void)state;
    start_ready();
    assert_true(signs_with_another());
    fix_exec("UPDATE signing_key SET state = 'retired', retired_at = now(),"
             " publish_until = now() + interval '1 h'");
    turn_until(signs_with_another);
    assert_int_equal(fix_number("SELECT count(*) FROM signing_key"), 2);
}

static void test_the_lifetime_of_tokens_is_made_known(void **state)
{
    (void)state;
    fix_exec("UPDATE signing_ring SET longest_ttl = 0");
    scene.shared.config.token_ttl_us = BASE_US_PER_DAY;
    start_ready();
    assert_int_equal(fix_number("SELECT longest_ttl FROM signing_ring"), 86400);
    jobs_free(&scene.jobs);
    scene.shared.config.token_ttl_us = 10 * BASE_US_PER_MIN;
    start_ready();
    assert_int_equal(fix_number("SELECT longest_ttl FROM signing_ring"), 86400);
    fix_exec("UPDATE signing_ring SET longest_ttl = 0");
}

/* --- master keys --- */

static bool offer_decided(void)
{
    return scene.n_decided > 0;
}

static void offer(const char *lines)
{
    scene.n_decided = 0;
    jobs_offer_seal(scene.jobs, master_keys(lines));
    turn_until(offer_decided);
    assert_int_equal(scene.n_decided, 1);
}

/* How many master keys the snapshot has; the snapshot follows the decision. */
static size_t wanted_keys;

static bool has_wanted_keys(void)
{
    struct api_snapshot *snapshot = jobs_snapshot(scene.jobs);
    size_t count = base_seal_count(snapshot->seal);

    api_snapshot_unref(&snapshot);
    return count == wanted_keys;
}

static void test_master_keys_that_are_needed_stay(void **state)
{
    (void)state;
    start_ready();
    offer(NEW_KEY);
    assert_non_null(strstr(scene.why, "still needed"));
    assert_non_null(strstr(scene.why, "(signing keys)"));
    offer(NEW_KEY OLD_KEY);
    assert_string_equal(scene.why, "");
    wanted_keys = 2;
    turn_until(has_wanted_keys);
    offer(OLD_KEY); /* nothing is sealed under the other yet */
    assert_string_equal(scene.why, "");
    wanted_keys = 1;
    turn_until(has_wanted_keys);
}

/* The secret's master key is not there at all: the start says so, and the keys that a person then
 * gives are taken without a question. */
static void test_the_start_waits_for_the_right_master_keys(void **state)
{
    (void)state;
    fix_key("acme", 1);
    start(OLD_KEY);
    assert_int_equal(jobs_first_verdict(scene.jobs), JOBS_REFUSED);
    offer(NEW_KEY OLD_KEY);
    assert_string_equal(scene.why, "");
}

static void test_without_an_answer_the_old_master_keys_stay(void **state)
{
    (void)state;
    start_ready();
    fix_exec("REVOKE SELECT ON api_key FROM " RUNTIME_ROLE);
    offer(NEW_KEY OLD_KEY);
    fix_exec("GRANT SELECT ON api_key TO " RUNTIME_ROLE);
    assert_non_null(strstr(scene.why, "database"));
    wanted_keys = 1;
    assert_true(has_wanted_keys());
}

/* Of two offers in a row the second counts, and there is one answer. */
static void test_the_last_offer_counts(void **state)
{
    (void)state;
    start_ready();
    jobs_offer_seal(scene.jobs, master_keys(NEW_KEY));
    event_base_loop(fix_base, EVLOOP_NONBLOCK);
    offer(NEW_KEY OLD_KEY);
    assert_string_equal(scene.why, "");
    turn_for(BASE_US_PER_S / 2);
    assert_int_equal(scene.n_decided, 1);
    assert_true(jobs_first_verdict(scene.jobs) == JOBS_READY);
}

/* --- last-used times --- */

static bool all_taken(void)
{
    return scene.n_noted == 0;
}

/* A thousand every three seconds would take a minute and a half. */
static void test_full_batches_follow_each_other(void **state)
{
    int64_t begin_us;

    (void)state;
    scene.used = fix_key_id(7);
    scene.n_noted = 30500;
    start_ready();
    begin_us = base_clock_mono_us();
    turn_until(all_taken);
    assert_true(base_clock_mono_us() - begin_us < 45 * BASE_US_PER_S);
    assert_true(atomic_load(&scene.shared.database_seen_us) >= begin_us); /* it polled meanwhile */
}

static bool is_flushed(void)
{
    return jobs_flushed(scene.jobs);
}

static bool one_failed(void)
{
    return scene.n_noted == 0;
}

/* A failure long ago does not end the last flush before it has begun. */
static void test_the_last_flush_is_not_over_before_it_began(void **state)
{
    (void)state;
    scene.used = fix_key("acme", 1);
    fix_exec("UPDATE api_key SET secret_mac = NULL, secret_seal = NULL,"
             " jwks = '{\"keys\":[{}]}' WHERE seq > 0"); /* no master key is needed */
    start_ready();
    fix_exec("REVOKE UPDATE ON api_key FROM " RUNTIME_ROLE);
    scene.n_noted = 1;
    turn_until(one_failed);
    turn_for(BASE_US_PER_S / 2);
    fix_exec("GRANT UPDATE ON api_key TO " RUNTIME_ROLE);
    assert_int_equal(fix_number("SELECT count(*) FROM api_key WHERE last_used_at IS NOT NULL"), 0);
    jobs_flush(scene.jobs);
    turn_until(is_flushed);
    assert_int_equal(fix_number("SELECT count(*) FROM api_key WHERE last_used_at IS NOT NULL"), 1);
}

/* But one that fails then does end it: a stop does not wait for a database that is away. */
static void test_the_last_flush_ends_when_it_fails(void **state)
{
    (void)state;
    scene.used = fix_key_id(7);
    start_ready();
    fix_exec("REVOKE UPDATE ON api_key FROM " RUNTIME_ROLE);
    scene.n_noted = 1;
    jobs_flush(scene.jobs);
    turn_until(is_flushed);
    fix_exec("GRANT UPDATE ON api_key TO " RUNTIME_ROLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pokes_do_not_put_off_the_next_tick, each, after),
        cmocka_unit_test_setup_teardown(test_the_same_generation_with_other_keys, each, after),
        cmocka_unit_test_setup_teardown(test_retired_keys_alone_are_mended, each, after),
        cmocka_unit_test_setup_teardown(test_the_lifetime_of_tokens_is_made_known, each, after),
        cmocka_unit_test_setup_teardown(test_master_keys_that_are_needed_stay, each, after),
        cmocka_unit_test_setup_teardown(test_the_start_waits_for_the_right_master_keys, each,
                                        after),
        cmocka_unit_test_setup_teardown(test_without_an_answer_the_old_master_keys_stay, each,
                                        after),
        cmocka_unit_test_setup_teardown(test_the_last_offer_counts, each, after),
        cmocka_unit_test_setup_teardown(test_full_batches_follow_each_other, each, after),
        cmocka_unit_test_setup_teardown(test_the_last_flush_is_not_over_before_it_began, each,
                                        after),
        cmocka_unit_test_setup_teardown(test_the_last_flush_ends_when_it_fails, each, after),
    };

    return cmocka_run_group_tests(tests, setup, fix_teardown);
}
