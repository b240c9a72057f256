/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets past the door, as far as no database is asked. */
#include "api_auth.h"

#include "base_clock.h"
#include "loopback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct loopback loopback;
static struct loopback_reply reply;
static int admitted;

static int setup(void **state)
{
    (void)state;
    loopback_init(&loopback);
    admitted = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_clear(&loopback);
    return 0;
}

static void admit(struct api_call *call)
{
    admitted++;
    http_reply_send(call->request, &(struct http_reply){.status = 204});
    api_call_end(&call);
}

static void knock(const char *line, const char *headers)
{
    char text[1024];

    snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: h\r\n%s\r\n", line, headers);
    api_admit(loopback_request(&loopback, text, &reply), admit);
    assert_int_equal(reply.count, 1);
}

/* As the database confirmed it `age_us` ago. */
static void adopt_ring(int64_t age_us)
{
    struct api_snapshot *snapshot;
    struct api_config *config = &loopback.shared.config;
    struct policy_ring *ring = NULL;
    struct base_buf why;

    base_buf_init(&why, 256);
    assert_int_equal(policy_ring_new(NULL, 0, NULL, &ring, &why), BASE_OK);
    base_buf_clear(&why);
    snapshot = api_snapshot_new(config, NULL, ring, NULL, 0);
    snapshot->confirmed_mono_us = base_clock_mono_us() - age_us;
    snapshot->confirmed_wall_us = base_clock_wall_us() - age_us;
    api_worker_adopt(&loopback.worker, snapshot);
}

#define LIST "GET /v1/tenants/acme/keys"

static void test_no_token(void **state)
{
    static const char *const none[] = {"", "Authorization: Basic a2V5OnNlY3JldA==\r\n",
                                       "Authorization: Bearer2 x\r\n"};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(none); i++) {
        knock(LIST, none[i]);
        assert_int_equal(reply.status, 401);
        assert_string_equal(loopback_header(&reply, "WWW-Authenticate"), "Bearer realm=\"cardea\"");
    }
    assert_int_equal(admitted, 0);
}

static void test_malformed_token(void **state)
{
    static const char *const bad[] = {
        "Authorization: Bearer\r\n",
        "Authorization: Bearer a b\r\n",
        "Authorization: Bearer \"x\"\r\n",
        "Authorization: Bearer x,y\r\n",
        "Authorization: Bearer \xc3\xa4\r\n",
        "Authorization: Bearer x\r\nAuthorization: Bearer x\r\n",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        knock(LIST, bad[i]);
        if (reply.status != 401)
            fail_msg("%s: %d", bad[i], reply.status);
        assert_string_equal(loopback_header(&reply, "WWW-Authenticate"),
                            "Bearer realm=\"cardea\", error=\"invalid_token\"");
    }
    assert_int_equal(admitted, 0);
}

static void test_no_verdict_without_a_key_ring(void **state)
{
    (void)state;
    knock(LIST, "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n");
    assert_int_equal(reply.status, 503);
    assert_non_null(loopback_header(&reply, "Retry-After"));
}

/* The key that signed may have been withdrawn since: neither yes nor no. */
static void test_no_verdict_after_the_lease(void **state)
{
    (void)state;
    adopt_ring(POLICY_RING_LEASE_US + BASE_US_PER_S);
    knock(LIST, "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n");
    assert_int_equal(reply.status, 503);
    assert_non_null(loopback_header(&reply, "Retry-After"));
    knock(LIST, "");
    assert_int_equal(reply.status, 401); /* without a token there is nothing to believe */
    assert_int_equal(admitted, 0);
}

static void test_tokens_of_strangers(void **state)
{
    static const char *const bad[] = {
        "Authorization: Bearer x\r\n",
        "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n",
        "Authorization: Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IngifQ.e30.AAAA\r\n",
        "Authorization: Bearer ...\r\n",
    };

    (void)state;
    adopt_ring(0);
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        knock(LIST, bad[i]);
        assert_int_equal(reply.status, 401);
        assert_non_null(strstr(loopback_header(&reply, "WWW-Authenticate"), "invalid_token"));
    }
    assert_int_equal(admitted, 0);
}

static void test_command_line(void **state)
{
    struct policy_principal principal = {.is_local = true, .actor = "cli:root"};

    (void)state;
    loopback.worker.local = &principal;
    knock(LIST, "");
    assert_int_equal(reply.status, 204);
    knock("POST /v1/signing-keys", "");
    assert_int_equal(admitted, 2);
}

static struct policy_principal seen;
static char seen_tenant[64];

static void look(struct api_call *call)
{
    struct store_audit audit =
        api_call_audit(call, "key.create", BASE_SPAN("key_x"), (struct base_span){0});

    assert_int_equal(audit.tenant.len, strlen("acme"));
    assert_memory_equal(audit.changes.ptr, "{}", 2);
    assert_memory_equal(audit.address.ptr, "192.0.2.1", audit.address.len);
    assert_memory_equal(audit.request_id.ptr, "test-request", audit.request_id.len);
    assert_memory_equal(audit.actor.ptr, "cli:root", audit.actor.len);
    snprintf(seen_tenant, sizeof seen_tenant, "%.*s", BASE_SPAN_ARGS(call->tenant));
    seen = call->principal;
    admit(call);
}

static void test_audit(void **state)
{
    struct policy_principal principal = {.is_local = true, .actor = "cli:root"};

    (void)state;
    loopback.worker.local = &principal;
    api_admit(loopback_request(&loopback, LIST " HTTP/1.1\r\nHost: h\r\n\r\n", &reply), look);
    assert_string_equal(seen_tenant, "acme");
    assert_string_equal(seen.actor, "cli:root");
}

static void test_walls(void **state)
{
    static const struct {
        const char *line;
        bool read, write, platform;
        int status;
    } cases[] = {
        {"GET /v1/tenants/acme/keys", true, false, false, 204},
        {"GET /v1/tenants/acme/keys", false, false, false, 403},
        {"GET /v1/tenants/acme/keys", false, false, true, 204},
        {"POST /v1/tenants/acme/keys", true, false, false, 403},
        {"POST /v1/tenants/acme/keys", true, true, false, 204},
        {"POST /v1/tenants/other/keys", true, true, false, 404},
        {"POST /v1/tenants/other/keys", true, false, false, 404},
        {"GET /v1/tenants/other/keys/key_a", true, true, false, 404},
        {"GET /v1/tenants/other/keys/key_a", false, false, true, 204},
        {"GET /v1/tenants/ACME/keys", true, true, false, 404},
        {"GET /v1/tenants/other/audit", true, true, false, 404},
        {"GET /v1/tenants", true, true, false, 403},
        {"GET /v1/tenants/acme", true, true, false, 403},
        {"GET /v1/tenants", false, false, true, 204},
        {"GET /v1/scopes", true, false, false, 204},
        {"GET /v1/scopes", false, false, false, 403},
        {"PUT /v1/scopes/x", true, true, false, 403},
        {"POST /v1/signing-keys", true, true, false, 403},
        {"GET /v1/audit", true, true, false, 403},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct policy_principal principal = {.can_read = cases[i].read,
                                             .can_write = cases[i].write,
                                             .is_platform = cases[i].platform,
                                             .tenant = "acme",
                                             .actor = "key_a"};

        loopback.worker.local = &principal;
        knock(cases[i].line, "");
        if (reply.status != cases[i].status)
            fail_msg("%s: %d", cases[i].line, reply.status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_token, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed_token, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_verdict_without_a_key_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_verdict_after_the_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens_of_strangers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_command_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_audit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_walls, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
