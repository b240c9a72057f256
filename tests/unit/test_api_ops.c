/* SPDX-License-Identifier: Apache-2.0 */
/* What /readyz says, condition by condition. */
#include "api_signing_keys.h"
#include "base_clock.h"
#include "loopback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MASTER_KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=\n"

static struct loopback loopback;

/* A ring whose one key is in this state, confirmed by the database `age_us` ago. */
static void adopt(enum store_signing_state state, int64_t age_us)
{
    BASE_AUTO(base_buf_clear) struct base_buf sealed = {.max = 16u << 10};
    BASE_AUTO(base_buf_clear) struct base_buf why = {.max = 256};
    struct store_signing_key row;
    struct jose_key *key = NULL;
    struct policy_ring *ring = NULL;
    struct base_seal *seal;
    struct api_snapshot *snapshot;

    assert_int_equal(base_seal_parse(BASE_SPAN(MASTER_KEY), &seal, &why), BASE_OK);
    assert_int_equal(api_signing_key_make(JOSE_ES256, seal, &key, &sealed, &row), BASE_OK);
    row.state = state;
    assert_int_equal(policy_ring_new(&row, 1, seal, &ring, &why), BASE_OK);
    jose_key_unref(&key);
    snapshot = api_snapshot_new(&loopback.shared.config, seal, ring, NULL, 0);
    snapshot->confirmed_mono_us = base_clock_mono_us() - age_us;
    snapshot->confirmed_wall_us = base_clock_wall_us() - age_us;
    api_worker_adopt(&loopback.worker, snapshot);
}

static int setup(void **state)
{
    (void)state;
    loopback_init(&loopback);
    loopback.shared.database_seen_us = base_clock_mono_us();
    loopback.shared.lookup_ready[0] = true;
    adopt(STORE_SIGNING_ACTIVE, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_clear(&loopback);
    return 0;
}

static void expect(int status, const char *body)
{
    struct loopback_reply reply;

    loopback_send(&loopback, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n", &reply);
    assert_int_equal(reply.status, status);
    assert_string_equal(reply.body, body);
}

static void test_ready(void **state)
{
    (void)state;
    expect(200, "ok\n");
}

static void test_not_ready(void **state)
{
    (void)state;
    loopback.shared.lookup_ready[0] = false;
    expect(503, "database connections not open\n");
    loopback.shared.database_seen_us = base_clock_mono_us() - 4 * BASE_US_PER_S;
    expect(503, "database away\n");
    loopback.shared.database_seen_us = 0;
    expect(503, "database away\n");
    loopback.shared.draining = true;
    expect(503, "draining\n");
}

/* The database answers, but what it says of the keys has not been understood for longer than the
 * lease: every token would be refused, and so are requests for them to be sent here. */
static void test_ready_is_who_can_sign(void **state)
{
    (void)state;
    adopt(STORE_SIGNING_ACTIVE, POLICY_RING_LEASE_US + BASE_US_PER_S);
    expect(503, "no signing key\n");
    adopt(STORE_SIGNING_ACTIVE, 0);
    expect(200, "ok\n");
    adopt(STORE_SIGNING_RETIRED, 0);
    expect(503, "no signing key\n");
    api_worker_adopt(&loopback.worker,
                     api_snapshot_new(&loopback.shared.config, NULL, NULL, NULL, 0));
    expect(503, "no signing key\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ready_is_who_can_sign, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
