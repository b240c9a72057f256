/* SPDX-License-Identifier: Apache-2.0 */
/* Errors in both formats: RFC 9457 problems of the management API, and RFC 6749's. */
#include "api_oauth_error.h"
#include "api_problem.h"
#include "loopback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct loopback loopback;
static struct loopback_reply reply;

static int setup(void **state)
{
    (void)state;
    loopback_init(&loopback);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_clear(&loopback);
    return 0;
}

static struct http_request *begin(void)
{
    return loopback_request(&loopback, "GET /v1/tenants HTTP/1.1\r\nHost: h\r\n\r\n", &reply);
}

static void check_problem(int status)
{
    json_auto_t *body = json_loads(reply.body, JSON_REJECT_DUPLICATES, NULL);

    assert_int_equal(reply.count, 1);
    assert_int_equal(reply.status, status);
    assert_string_equal(reply.content_type, "application/problem+json");
    assert_string_equal(loopback_header(&reply, "Cache-Control"), "no-store");
    assert_string_equal(loopback_header(&reply, "Pragma"), "no-cache");
    assert_int_equal(json_integer_value(json_object_get(body, "status")), status);
    assert_string_equal(json_string_value(json_object_get(body, "type")), "about:blank");
    assert_non_null(json_string_value(json_object_get(body, "title")));
    assert_true(json_string_length(json_object_get(body, "detail")) > 0);
}

static void test_every_status(void **state)
{
    static const int statuses[] = {400, 401, 403, 404, 405, 408, 409, 412, 413, 414,
                                   415, 417, 421, 422, 429, 431, 500, 501, 503, 505};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(statuses); i++) {
        api_problem(begin(), statuses[i], NULL, "why");
        check_problem(statuses[i]);
        assert_string_equal(reply.reason, "why");
    }
}

static void test_detail_is_escaped(void **state)
{
    (void)state;
    api_problem(begin(), 400, "a \"<b>\" \xff", NULL);
    check_problem(400);
    assert_null(strstr(reply.body, "<b>"));
}

static void test_challenges(void **state)
{
    (void)state;
    api_problem_unauthenticated(begin(), false, "none");
    check_problem(401);
    assert_string_equal(loopback_header(&reply, "WWW-Authenticate"), "Bearer realm=\"cardea\"");
    api_problem_unauthenticated(begin(), true, "bad");
    check_problem(401);
    assert_string_equal(loopback_header(&reply, "WWW-Authenticate"),
                        "Bearer realm=\"cardea\", error=\"invalid_token\"");
    api_problem_forbidden(begin(), "No.");
    check_problem(403);
    assert_string_equal(loopback_header(&reply, "WWW-Authenticate"),
                        "Bearer realm=\"cardea\", error=\"insufficient_scope\"");
}

static void test_fields_over_the_maximum(void **state)
{
    struct base_json_errors errors = {0};
    json_auto_t *body = NULL;

    (void)state;
    for (int i = 0; i < BASE_JSON_MAX_ERRORS + 8; i++)
        base_json_error_add(&errors, "scopes", "is wrong: %d", i);
    api_problem_fields(begin(), &errors);
    check_problem(422);
    body = json_loads(reply.body, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(body, "errors")), BASE_JSON_MAX_ERRORS);
}

static void test_failures(void **state)
{
    static const struct {
        enum base_err err;
        int status;
    } cases[] = {{BASE_BUSY, 503},   {BASE_TIMEOUT, 503},  {BASE_UNAVAILABLE, 503},
                 {BASE_CRYPTO, 500}, {BASE_INTERNAL, 500}, {BASE_DENIED, 500}};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        api_problem_failure(begin(), cases[i].err);
        check_problem(cases[i].status);
        assert_int_equal(loopback_header(&reply, "Retry-After") != NULL, cases[i].status == 503);
        /* What failed is for the log. */
        assert_null(strstr(reply.body, base_err_text(cases[i].err)));
    }
}

/* --- errors of HTTP itself: the format is the route's --- */

static void ask(const char *line)
{
    char text[256];

    snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: h\r\n\r\n", line);
    loopback_send(&loopback, text, &reply);
}

static void test_http_errors(void **state)
{
    (void)state;
    ask("GET /v1/nothing");
    check_problem(404);
    ask("PUT /v1/tenants");
    check_problem(405);
    assert_non_null(loopback_header(&reply, "Allow"));
    ask("GET /nothing");
    assert_int_equal(reply.status, 404);
    assert_string_equal(reply.content_type, "application/json");
    assert_non_null(strstr(reply.body, "\"error\":"));
    ask("GET /oauth2/token");
    assert_int_equal(reply.status, 405);
    assert_string_equal(reply.content_type, "application/json");
    assert_string_equal(loopback_header(&reply, "Cache-Control"), "no-store");
    assert_non_null(strstr(reply.body, "\"invalid_request\""));
}

static void test_framing_errors(void **state)
{
    static const int statuses[] = {400, 404, 405, 408, 413, 414, 417, 421, 431, 501, 505, 599};
    struct http_reply out = {0};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(statuses); i++) {
        json_t *body;

        api_error_reply(&loopback.worker, NULL, (struct base_span){0}, statuses[i], NULL, &out);
        body = json_loadb(out.body.ptr, out.body.len, 0, NULL);
        assert_non_null(json_string_value(json_object_get(body, "error")));
        assert_non_null(json_string_value(json_object_get(body, "error_description")));
        json_decref(body);
    }
}

/* --- OAuth --- */

static void check_oauth(int status, const char *error)
{
    json_auto_t *body = json_loads(reply.body, JSON_REJECT_DUPLICATES, NULL);

    assert_int_equal(reply.status, status);
    assert_string_equal(reply.content_type, "application/json");
    assert_string_equal(loopback_header(&reply, "Cache-Control"), "no-store");
    assert_string_equal(loopback_header(&reply, "Pragma"), "no-cache");
    assert_string_equal(json_string_value(json_object_get(body, "error")), error);
    assert_non_null(json_string_value(json_object_get(body, "error_description")));
    assert_int_equal(json_object_size(body), 2);
}

static void test_refusals(void **state)
{
    static const struct {
        enum api_refusal refusal;
        int status;
        const char *error;
    } cases[] = {{API_REFUSED_INVALID_REQUEST, 400, "invalid_request"},
                 {API_REFUSED_INVALID_CLIENT, 401, "invalid_client"},
                 {API_REFUSED_UNSUPPORTED_GRANT_TYPE, 400, "unsupported_grant_type"},
                 {API_REFUSED_INVALID_SCOPE, 400, "invalid_scope"},
                 {API_REFUSED_INVALID_TARGET, 400, "invalid_target"},
                 {API_REFUSED_UNAVAILABLE, 503, "temporarily_unavailable"}};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        api_oauth_refuse(begin(), cases[i].refusal, "reason", (struct base_span){0});
        check_oauth(cases[i].status, cases[i].error);
        assert_int_equal(loopback_header(&reply, "WWW-Authenticate") != NULL,
                         cases[i].status == 401);
        assert_int_equal(loopback_header(&reply, "Retry-After") != NULL, cases[i].status == 503);
        assert_null(strstr(reply.body, "reason"));
    }
    api_oauth_limited(begin(), 7, (struct base_span){0});
    check_oauth(429, "temporarily_unavailable");
    assert_string_equal(loopback_header(&reply, "Retry-After"), "7");
    api_oauth_bad_request(begin(), "A parameter occurs twice.");
    check_oauth(400, "invalid_request");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_status),   cmocka_unit_test(test_detail_is_escaped),
        cmocka_unit_test(test_challenges),     cmocka_unit_test(test_fields_over_the_maximum),
        cmocka_unit_test(test_failures),       cmocka_unit_test(test_http_errors),
        cmocka_unit_test(test_framing_errors), cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
