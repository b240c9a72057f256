/* SPDX-License-Identifier: Apache-2.0 */
#include "http_router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PUBLIC = 1, OPS = 2 };

static void handle(struct http_request *request BASE_UNUSED)
{
}

static const struct http_route routes[] = {
    {HTTP_POST, "/oauth2/token", handle, 16384, PUBLIC, "token"},
    {HTTP_GET, "/.well-known/jwks.json", handle, 0, PUBLIC, "jwks"},
    {HTTP_GET, "/v1/tenants", handle, 0, PUBLIC, "tenant_list"},
    {HTTP_POST, "/v1/tenants", handle, 0, PUBLIC, "tenant_create"},
    {HTTP_GET, "/v1/tenants/{}", handle, 0, PUBLIC, "tenant_get"},
    {HTTP_DELETE, "/v1/tenants/{}", handle, 0, PUBLIC, "tenant_delete"},
    {HTTP_PATCH, "/v1/tenants/{}", handle, 0, PUBLIC, "tenant_change"},
    {HTTP_GET, "/v1/tenants/{}/keys", handle, 0, PUBLIC, "key_list"},
    {HTTP_GET, "/v1/tenants/{}/keys/{}", handle, 0, PUBLIC, "key_get"},
    {HTTP_POST, "/v1/tenants/{}/keys/{}/rotate", handle, 0, PUBLIC, "key_rotate"},
    {HTTP_GET, "/v1/keys/self", handle, 0, PUBLIC, "self"},
    {HTTP_DELETE, "/v1/keys/{}", handle, 0, PUBLIC, "any"},
    {HTTP_GET, "/a/{}/{}/{}/{}", handle, 0, PUBLIC, "four"},
    {HTTP_GET, "/both", handle, 0, PUBLIC | OPS, "both"},
    {HTTP_GET, "/livez", handle, 0, OPS, "livez"},
    {HTTP_OPTIONS, "/livez", handle, 0, PUBLIC, "other"},
    {HTTP_GET, "/{a", handle, 0, PUBLIC, "brace"},
};

static const struct http_route *found;
static struct base_span params[HTTP_MAX_PARAMS];
static char allow[64];

static enum http_match match(unsigned mask, enum http_method method, struct base_span path)
{
    found = routes;
    strcpy(allow, "left over");
    return http_router_match(routes, BASE_COUNT(routes), mask, method, path, &found, params, allow,
                             sizeof allow);
}

static void test_found(void **state BASE_UNUSED)
{
    static const struct {
        enum http_method method;
        const char *path, *name, *params[HTTP_MAX_PARAMS];
    } cases[] = {
        {HTTP_POST, "/oauth2/token", "token", {0}},
        {HTTP_GET, "/.well-known/jwks.json", "jwks", {0}},
        {HTTP_HEAD, "/.well-known/jwks.json", "jwks", {0}},
        {HTTP_GET, "/v1/tenants", "tenant_list", {0}},
        {HTTP_POST, "/v1/tenants", "tenant_create", {0}},
        {HTTP_GET, "/v1/tenants/acme", "tenant_get", {"acme"}},
        {HTTP_DELETE, "/v1/tenants/acme", "tenant_delete", {"acme"}},
        {HTTP_GET, "/v1/tenants/acme/keys", "key_list", {"acme"}},
        {HTTP_GET, "/v1/tenants/acme/keys/k", "key_get", {"acme", "k"}},
        {HTTP_POST, "/v1/tenants/acme/keys/k/rotate", "key_rotate", {"acme", "k"}},
        {HTTP_GET, "/v1/tenants/a b\xc3\xa9{}", "tenant_get", {"a b\xc3\xa9{}"}},
        {HTTP_GET, "/v1/keys/self", "self", {0}},
        {HTTP_DELETE, "/v1/keys/self", "any", {"self"}},
        {HTTP_GET, "/a/1/2/3/4", "four", {"1", "2", "3", "4"}},
        {HTTP_GET, "/{a", "brace", {0}},
        {HTTP_GET, "/both", "both", {0}},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        assert_int_equal(match(PUBLIC, cases[i].method, base_span_str(cases[i].path)),
                         HTTP_MATCH_FOUND);
        assert_string_equal(found->name, cases[i].name);
        assert_string_equal(allow, "");
        for (size_t j = 0; j < HTTP_MAX_PARAMS; j++)
            assert_true(base_span_eq(params[j], base_span_str(cases[i].params[j])));
    }
}

static void test_no_path(void **state BASE_UNUSED)
{
    static const struct base_span paths[] = {
        BASE_SPAN_INIT(""),
        BASE_SPAN_INIT("/"),
        BASE_SPAN_INIT("//"),
        BASE_SPAN_INIT("/oauth2/toke"),
        BASE_SPAN_INIT("/oauth2/token/"),
        BASE_SPAN_INIT("/oauth2/tokens"),
        BASE_SPAN_INIT("/oauth2//token"),
        BASE_SPAN_INIT("//oauth2/token"),
        BASE_SPAN_INIT("/OAuth2/token"),
        BASE_SPAN_INIT("/oauth2/token\0"),
        BASE_SPAN_INIT("/oauth2/token "),
        BASE_SPAN_INIT("oauth2/token"),
        BASE_SPAN_INIT("//evil.example/v1/tenants"),
        BASE_SPAN_INIT("/v1/tenants/"),
        BASE_SPAN_INIT("/v1/tenants//keys"),
        BASE_SPAN_INIT("/v1/tenants/acme/"),
        BASE_SPAN_INIT("/v1/tenants/acme/key"),
        BASE_SPAN_INIT("/v1/tenants/acme/keys/"),
        BASE_SPAN_INIT("/v1/tenants/acme/keys/k/rotat"),
        BASE_SPAN_INIT("/v1/tenants/acme/keys/k/rotate/x"),
        BASE_SPAN_INIT("/v1/tenants/\xff"),
        BASE_SPAN_INIT("/v1/tenants/a\0"),
        BASE_SPAN_INIT("/a/1/2/3"),
        BASE_SPAN_INIT("/a/1/2/3/4/5"),
        BASE_SPAN_INIT("/x"),
        BASE_SPAN_INIT("/both/"),
        BASE_SPAN_INIT("/{}"),
    };

    for (size_t i = 0; i < BASE_COUNT(paths); i++) {
        if (match(PUBLIC, HTTP_GET, paths[i]) != HTTP_MATCH_NO_PATH)
            fail_msg("%.*s", BASE_SPAN_ARGS(paths[i]));
        assert_null(found);
        assert_null(params[0].ptr);
        assert_string_equal(allow, "");
    }
}

static void test_no_method(void **state BASE_UNUSED)
{
    static const struct {
        enum http_method method;
        const char *path, *allow, *name;
    } cases[] = {
        {HTTP_GET, "/oauth2/token", "POST", "token"},
        {HTTP_HEAD, "/oauth2/token", "POST", "token"},
        {HTTP_OTHER, "/oauth2/token", "POST", "token"},
        {HTTP_POST, "/.well-known/jwks.json", "GET, HEAD", "jwks"},
        {HTTP_DELETE, "/v1/tenants", "GET, HEAD, POST", "tenant_list"},
        {HTTP_PUT, "/v1/tenants/a", "GET, HEAD, DELETE, PATCH", "tenant_get"},
        {HTTP_PUT, "/v1/keys/self", "GET, HEAD, DELETE", "self"},
        {HTTP_GET, "/v1/keys/k", "DELETE", "any"},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        assert_int_equal(match(PUBLIC, cases[i].method, base_span_str(cases[i].path)),
                         HTTP_MATCH_NO_METHOD);
        assert_string_equal(allow, cases[i].allow);
        assert_string_equal(found->name, cases[i].name);
        assert_null(params[0].ptr);
    }
}

/* Two routes of one path and method, as a table made of parts may have. */
static void test_allow_names_once(void **state BASE_UNUSED)
{
    static const struct http_route twice[] = {
        {HTTP_GET, "/a", handle, 0, PUBLIC, "1"},
        {HTTP_GET, "/{}", handle, 0, PUBLIC, "2"},
    };

    assert_int_equal(http_router_match(twice, 2, PUBLIC, HTTP_PUT, BASE_SPAN("/a"), &found, params,
                                       allow, sizeof allow),
                     HTTP_MATCH_NO_METHOD);
    assert_string_equal(allow, "GET, HEAD");
}

static void test_allow_is_bounded(void **state BASE_UNUSED)
{
    static const struct {
        size_t size;
        const char *allow;
    } cases[] = {{1, ""},    {3, ""},           {4, "GET"},
                 {9, "GET"}, {10, "GET, HEAD"}, {16, "GET, HEAD, POST"}};

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        assert_int_equal(http_router_match(routes, BASE_COUNT(routes), PUBLIC, HTTP_PUT,
                                           BASE_SPAN("/v1/tenants"), &found, params, allow,
                                           cases[i].size),
                         HTTP_MATCH_NO_METHOD);
        assert_string_equal(allow, cases[i].allow);
    }
}

static void test_mask(void **state BASE_UNUSED)
{
    assert_int_equal(match(OPS, HTTP_GET, BASE_SPAN("/livez")), HTTP_MATCH_FOUND);
    assert_int_equal(match(PUBLIC, HTTP_GET, BASE_SPAN("/livez")), HTTP_MATCH_NO_METHOD);
    assert_string_equal(allow, "OPTIONS"); /* what another listener serves is not told */
    assert_int_equal(match(OPS, HTTP_POST, BASE_SPAN("/oauth2/token")), HTTP_MATCH_NO_PATH);
    assert_int_equal(match(OPS, HTTP_GET, BASE_SPAN("/both")), HTTP_MATCH_FOUND);
    assert_int_equal(match(PUBLIC | OPS, HTTP_GET, BASE_SPAN("/livez")), HTTP_MATCH_FOUND);
    assert_int_equal(match(0, HTTP_GET, BASE_SPAN("/both")), HTTP_MATCH_NO_PATH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_no_path),
        cmocka_unit_test(test_no_method),
        cmocka_unit_test(test_allow_names_once),
        cmocka_unit_test(test_allow_is_bounded),
        cmocka_unit_test(test_mask),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
