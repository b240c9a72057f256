/* SPDX-License-Identifier: Apache-2.0 */
/* Who is asking, and under which name: X-Forwarded-For, X-Request-Id, traceparent. */
#include "http_incoming.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define TRACE  "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static struct http_incoming_pool pool;

/* A GET with these header lines, from that peer. Give it back. */
static struct http_incoming *receive(const char *headers, const char *peer,
                                     const struct http_server_options *options)
{
    struct http_incoming *incoming = http_incoming_take(&pool);
    struct http_parse_result result;
    char text[2048];
    int len = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\nrest", headers);

    assert_int_equal(http_address_parse(base_span_str(peer), &incoming->request.peer), BASE_OK);
    result = http_incoming_head(incoming, base_span_of(text, (size_t)len));
    assert_int_equal(result.state, HTTP_PARSE_DONE);
    assert_int_equal(result.used, (size_t)len - strlen("rest"));
    result = http_incoming_route(incoming, options, 1);
    assert_int_equal(result.state, HTTP_PARSE_DONE);
    return incoming;
}

static void test_client(void **state BASE_UNUSED)
{
    static const struct {
        const char *headers, *peer, *client;
    } cases[] = {
        {"", "10.0.0.1", "10.0.0.1"},
        {"X-Forwarded-For: 192.0.2.1\r\n", "10.0.0.1", "192.0.2.1"},
        {"X-Forwarded-For: 192.0.2.1\r\n", "10.1.0.1", "10.1.0.1"}, /* not trusted */
        {"X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\n", "10.0.0.1", "192.0.2.1"},
        {"X-Forwarded-For: 203.0.113.9 ,\t192.0.2.1 , 10.0.0.7\r\n", "10.0.0.1", "192.0.2.1"},
        {"X-Forwarded-For: 192.0.2.1\r\nX-Other: 1\r\nx-forwarded-for: 10.0.0.7\r\n", "10.0.0.1",
         "192.0.2.1"},
        {"X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.1", "10.0.0.3"}, /* all trusted */
        {"X-Forwarded-For: 192.0.2.1:99\r\n", "10.0.0.1", "192.0.2.1"},
        {"X-Forwarded-For: 192.0.2.1, 10.0.0.7:4711\r\n", "10.0.0.1", "192.0.2.1"},
        {"X-Forwarded-For: 192.0.2.1, [fd00::2]:4711\r\n", "10.0.0.1", "192.0.2.1"},
        {"X-Forwarded-For: [2001:db8::1]\r\n", "fd00::1", "2001:db8::1"},
        {"X-Forwarded-For: [2001:db8::1]:4711\r\n", "fd00::1", "2001:db8::1"},
        {"X-Forwarded-For: [::ffff:192.0.2.1]:4711\r\n", "fd00::1", "192.0.2.1"},
        /* Unreadable is unknown: neither the proxy nor what stands further left. */
        {"X-Forwarded-For: unknown\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: _hidden\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.2\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: 10.0.0.3, unknown\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: 192.0.2.1, , 10.0.0.2\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For:\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: ,\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: 192.0.2.1:\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: 192.0.2.1:_port\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: 192.0.2.1:65536\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: [192.0.2.1]:99\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: localhost:99\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: \"[2001:db8::1]:4711\"\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: [2001:db8::1\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: 192.0.2.1 10.0.0.2\r\n", "10.0.0.1", "unknown"},
        {"X-Forwarded-For: unknown\r\n", "10.1.0.1", "10.1.0.1"}, /* not trusted */
        {"X-Forwarded-For: 2001:db8::1\r\n", "fd00::1", "2001:db8::1"},
        {"X-Forwarded-For: ::ffff:192.0.2.1\r\n", "fd00::1", "192.0.2.1"},
    };
    struct http_cidr trusted[2];
    const struct http_server_options options = {.trusted_proxies = trusted, .n_trusted_proxies = 2};

    assert_int_equal(http_cidr_parse(BASE_SPAN("10.0.0.0/16"), &trusted[0]), BASE_OK);
    assert_int_equal(http_cidr_parse(BASE_SPAN("fd00::/8"), &trusted[1]), BASE_OK);
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_incoming *incoming = receive(cases[i].headers, cases[i].peer, &options);
        char client[HTTP_ADDRESS_TEXT_MAX];

        http_address_format(&incoming->request.client, client);
        assert_string_equal(client, cases[i].client);
        http_incoming_give(&pool, incoming);
    }
}

static void test_nobody_trusted(void **state BASE_UNUSED)
{
    const struct http_server_options options = {.n_routes = 0};
    struct http_incoming *incoming =
        receive("X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.1", &options);

    assert_int_equal(incoming->request.client.bytes[0], 127);
    http_incoming_give(&pool, incoming);
}

static void test_request_id_taken(void **state BASE_UNUSED)
{
    static const char longest[] =
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const char *const ids[] = {"a", "A-z_0.9", longest};
    const struct http_server_options options = {.n_routes = 0};

    for (size_t i = 0; i < BASE_COUNT(ids); i++) {
        struct http_incoming *incoming;
        char header[256];

        snprintf(header, sizeof header, "x-request-id:  %s \r\n", ids[i]);
        incoming = receive(header, "127.0.0.1", &options);
        assert_string_equal(incoming->request.request_id, ids[i]);
        http_incoming_give(&pool, incoming);
    }
}

static void test_request_id_made(void **state BASE_UNUSED)
{
    static const char *const headers[] = {
        "",
        "X-Request-Id:\r\n",
        "X-Request-Id: a b\r\n",
        "X-Request-Id: a~b\r\n",
        "X-Request-Id: a\"b\r\n",
        "X-Request-Id: \xc3\xa9\r\n",
        "X-Request-Id: a\r\nX-Request-Id: a\r\n",
        "X-Request-Id: "
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefg\r\n",
    };
    const struct http_server_options options = {.n_routes = 0};
    char last[HTTP_REQUEST_ID_MAX + 1] = "";

    for (size_t i = 0; i < BASE_COUNT(headers); i++) {
        struct http_incoming *incoming = receive(headers[i], "127.0.0.1", &options);
        const char *id = incoming->request.request_id;

        assert_int_equal(strlen(id), 22);
        assert_int_equal(strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                    "0123456789-_"),
                         22);
        assert_string_not_equal(id, last);
        strcpy(last, id);
        http_incoming_give(&pool, incoming);
    }
}

static void test_trace(void **state BASE_UNUSED)
{
    static const struct {
        const char *headers;
        bool is_valid;
    } cases[] = {
        {"traceparent: 00-" TRACE "-" PARENT "-01\r\n", true},
        {"Traceparent: 00-" TRACE "-" PARENT "-00\r\n", true},
        {"traceparent: cc-" TRACE "-" PARENT "-01\r\n", true},
        {"traceparent: cc-" TRACE "-" PARENT "-01-what.ever\r\n", true},
        {"", false},
        {"traceparent:\r\n", false},
        {"traceparent: 00-" TRACE "-" PARENT "-01-more\r\n", false},
        {"traceparent: cc-" TRACE "-" PARENT "-01more\r\n", false},
        {"traceparent: ff-" TRACE "-" PARENT "-01\r\n", false},
        {"traceparent: 0g-" TRACE "-" PARENT "-01\r\n", false},
        {"traceparent: 00-00000000000000000000000000000000-" PARENT "-01\r\n", false},
        {"traceparent: 00-" TRACE "-0000000000000000-01\r\n", false},
        {"traceparent: 00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01\r\n", false},
        {"traceparent: 00-" TRACE "-" PARENT "-0\r\n", false},
        {"traceparent: 00-" TRACE "-" PARENT "-0G\r\n", false},
        {"traceparent: f0-" TRACE "-" PARENT "-01\r\n", true},
        {"traceparent: 00_" TRACE "-" PARENT "-01\r\n", false},
        {"traceparent: 00-" TRACE "_" PARENT "-01\r\n", false},
        {"traceparent: 00-" TRACE "-" PARENT "_01\r\n", false},
        {"traceparent: 00-" TRACE "-" PARENT "-01\r\ntraceparent: 00-" TRACE "-" PARENT "-01\r\n",
         false},
    };
    const struct http_server_options options = {.n_routes = 0};

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_incoming *incoming = receive(cases[i].headers, "127.0.0.1", &options);

        if (base_span_eq(incoming->request.trace_id, BASE_SPAN(TRACE)) != cases[i].is_valid)
            fail_msg("case %zu", i);
        if (!cases[i].is_valid)
            assert_int_equal(incoming->request.trace_id.len, 0);
        http_incoming_give(&pool, incoming);
    }
}

/* A request from the pool remembers nothing of the one before. */
static void test_target_of_a_refused_head(void **state BASE_UNUSED)
{
    static const struct {
        const char *head, *target;
    } cases[] = {{"GET /v1/x?q=%zz HTTP/1.1\r\n", "/v1/x?q=%zz HTTP/1.1\r\n"},
                 {"GET /t1/v1/x?q=%zz HTTP/1.1\r\n", "/v1/x?q=%zz HTTP/1.1\r\n"},
                 {"GET /t1v1/", "/t1v1/"},
                 {"\r\nGET /v1/ HTTP/1.1\r\n", "/v1/ HTTP/1.1\r\n"},
                 {"GET /v1", "/v1"},
                 {"GET ", ""},
                 {"GE", ""}};

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_incoming *incoming = http_incoming_take(&pool);

        (void)http_incoming_head(incoming, base_span_str(cases[i].head));
        assert_true(base_span_eq(http_incoming_target(incoming, BASE_SPAN("/t1")),
                                 base_span_str(cases[i].target)));
        http_incoming_give(&pool, incoming);
    }
}

static void test_reuse(void **state BASE_UNUSED)
{
    const struct http_server_options options = {.n_routes = 0};
    struct http_incoming *incoming = receive("X-Request-Id: a\r\n", "10.0.0.1", &options);
    struct http_incoming *again;

    incoming->request.user = incoming;
    http_incoming_give(&pool, incoming);
    again = http_incoming_take(&pool);
    assert_ptr_equal(again, incoming);
    assert_int_equal(again->head.len, 0);
    assert_null(again->request.user);
    assert_int_equal(again->request.request_id[0], '\0');
    http_incoming_give(&pool, again);
}

static int clear_pool(void **state BASE_UNUSED)
{
    http_incoming_pool_clear(&pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_nobody_trusted),
        cmocka_unit_test(test_request_id_taken),
        cmocka_unit_test(test_request_id_made),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_target_of_a_refused_head),
        cmocka_unit_test(test_reuse),
    };

    return cmocka_run_group_tests(tests, NULL, clear_pool);
}
