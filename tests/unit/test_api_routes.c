/* SPDX-License-Identifier: Apache-2.0 */
/* The route table and openapi.json: each is held against the other, so that no route is
 * undocumented and none is documented that is not there. */
#include "api.h"
#include "base_embed.h"
#include "loopback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <jansson.h>

extern const struct base_embedded api_openapi_file[];

#define ALL_FLAGS (API_LISTENERS | API_PROBLEM | API_NO_STORE | 7u << API_NEED_SHIFT)

static unsigned need_of(const struct http_route *route)
{
    return route->flags >> API_NEED_SHIFT;
}

static bool is_management(const struct http_route *route)
{
    return strncmp(route->path, "/v1/", 4) == 0;
}

static bool changes(const struct http_route *route)
{
    return route->method != HTTP_GET;
}

/* --- the table --- */

static void check_route(const struct http_route *route)
{
    bool of_tenant = strncmp(route->path, "/v1/tenants/{}/", 15) == 0;

    if (!(route->flags & API_LISTENERS) || (route->flags & ~ALL_FLAGS) || !route->handler ||
        !*route->name)
        fail_msg("%s %s: incomplete", http_method_name(route->method), route->path);
    assert_int_equal(route->max_body > 0, route->method == HTTP_POST || route->method == HTTP_PUT ||
                                              route->method == HTTP_PATCH);
    assert_int_equal(need_of(route) != POLICY_NEED_NOTHING, is_management(route));
    if (!is_management(route))
        return;
    /* Nothing of the management is on the public listener by itself, and everything is a problem or
     * no-store. */
    assert_int_equal(route->flags & API_LISTENERS, API_MANAGEMENT);
    assert_true((route->flags & (API_PROBLEM | API_NO_STORE)) == (API_PROBLEM | API_NO_STORE));
    assert_int_equal(of_tenant,
                     need_of(route) == POLICY_NEED_READ || need_of(route) == POLICY_NEED_WRITE);
    if (changes(route))
        assert_true(need_of(route) == POLICY_NEED_WRITE || need_of(route) == POLICY_NEED_PLATFORM);
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < api_n_routes; i++) {
        check_route(&api_routes[i]);
        for (size_t j = 0; j < i; j++) {
            if (api_routes[i].method == api_routes[j].method &&
                strcmp(api_routes[i].path, api_routes[j].path) == 0)
                fail_msg("%s is there twice", api_routes[i].path);
        }
    }
}

/* --- the description --- */

static json_t *description(void)
{
    json_error_t error;
    json_t *doc = json_loadb(api_openapi_file[0].text.ptr, api_openapi_file[0].text.len,
                             JSON_REJECT_DUPLICATES, &error);

    if (!doc)
        fail_msg("openapi.json, line %d: %s", error.line, error.text);
    return doc;
}

/* Operations and the console are for people and machines of another kind. */
static bool is_described(const struct http_route *route)
{
    return !(route->flags & API_OPS) && strncmp(route->path, "/console", 8) != 0;
}

/* "/v1/tenants/{tenant}" becomes "/v1/tenants/{}". */
static void without_names(const char *path, char *out)
{
    for (; *path; path++) {
        *out++ = *path;
        if (*path == '{')
            path += strcspn(path, "}") - 1;
    }
    *out = '\0';
}

static enum http_method method_of(const char *name)
{
    for (enum http_method method = HTTP_GET; method < HTTP_OTHER; method++) {
        if (strcasecmp(http_method_name(method), name) == 0)
            return method;
    }
    fail_msg("%s is no method", name);
    return HTTP_OTHER;
}

static const struct http_route *find_route(enum http_method method, const char *pattern)
{
    for (size_t i = 0; i < api_n_routes; i++) {
        if (api_routes[i].method == method && strcmp(api_routes[i].path, pattern) == 0)
            return &api_routes[i];
    }
    return NULL;
}

static bool offers(const json_t *security, const char *scope)
{
    const json_t *item;
    size_t i;

    json_array_foreach (security, i, item) {
        const json_t *scopes = json_object_get(item, "management");

        if (json_array_size(scopes) == 1 &&
            strcmp(json_string_value(json_array_get(scopes, 0)), scope) == 0)
            return true;
    }
    return false;
}

/* Who is said to may, and who may. */
static void check_security(const struct http_route *route, const json_t *operation)
{
    const json_t *security = json_object_get(operation, "security");
    unsigned need = need_of(route);
    bool reads = need == POLICY_NEED_READ || need == POLICY_NEED_ANY;

    assert_true(json_is_array(security));
    if (need == POLICY_NEED_NOTHING) {
        assert_false(offers(security, "cardea.platform"));
        return;
    }
    assert_true(offers(security, "cardea.platform"));
    assert_int_equal(offers(security, "cardea.admin"), reads || need == POLICY_NEED_WRITE);
    assert_int_equal(offers(security, "cardea.read"), reads);
    assert_int_equal(json_array_size(security), reads ? 3 : need == POLICY_NEED_WRITE ? 2 : 1);
}

static void has(const struct http_route *route, const json_t *responses, const char *status,
                bool wanted)
{
    if ((json_object_get(responses, status) != NULL) != wanted)
        fail_msg("%s %s: %s is %s", http_method_name(route->method), route->path, status,
                 wanted ? "missing" : "out of place");
}

static void check_errors(const struct http_route *route, const json_t *operation)
{
    const json_t *responses = json_object_get(operation, "responses");
    bool body = route->max_body > 0, manages = is_management(route);

    has(route, responses, "default", true);
    has(route, responses, "403", manages);
    has(route, responses, "415", manages && body);
    has(route, responses, "413", body);
    has(route, responses, "422", manages && body);
    has(route, responses, "412",
        manages && (route->method == HTTP_PATCH || strstr(route->path, "/secret") ||
                    (route->method == HTTP_DELETE && strstr(route->path, "tenants"))));
    has(route, responses, "429", strcmp(route->name, "token") == 0);
    if (!manages)
        return;
    has(route, responses, "400", true);
    has(route, responses, "401", true);
    has(route, responses, "503", true);
}

static void check_operation(const char *path, const char *method, const json_t *operation)
{
    const json_t *id = json_object_get(operation, "operationId");
    const struct http_route *route;
    char pattern[256];

    without_names(path, pattern);
    route = find_route(method_of(method), pattern);
    if (!route || !is_described(route)) {
        fail_msg("%s %s is documented and does not exist", method, path);
        return;
    }
    assert_string_equal(json_string_value(id), route->name);
    check_security(route, operation);
    check_errors(route, operation);
}

static void test_description_has_only_routes(void **state)
{
    json_t *doc = description(), *path_item, *operation;
    const char *path, *method;

    (void)state;
    json_object_foreach (json_object_get(doc, "paths"), path, path_item) {
        json_object_foreach (path_item, method, operation)
            check_operation(path, method, operation);
    }
    json_decref(doc);
}

static bool documents(const json_t *doc, const struct http_route *route)
{
    json_t *path_item, *operation;
    const char *path, *method;
    char pattern[256];

    json_object_foreach (json_object_get(doc, "paths"), path, path_item) {
        without_names(path, pattern);
        json_object_foreach (path_item, method, operation) {
            if (strcmp(pattern, route->path) == 0 && method_of(method) == route->method)
                return true;
        }
    }
    return false;
}

static void test_description_has_every_route(void **state)
{
    json_t *doc = description();

    (void)state;
    for (size_t i = 0; i < api_n_routes; i++) {
        if (is_described(&api_routes[i]) && !documents(doc, &api_routes[i]))
            fail_msg("%s %s is not documented", http_method_name(api_routes[i].method),
                     api_routes[i].path);
    }
    json_decref(doc);
}

/* --- its handler --- */

static void test_served_with_etag(void **state)
{
    struct base_span text = api_openapi_file[0].text;
    struct loopback loopback;
    static struct loopback_reply reply;
    char request[256];

    (void)state;
    loopback_init(&loopback);
    loopback_send(&loopback, "GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n", &reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.content_type, "application/json");
    assert_int_equal(reply.body_len, text.len);
    assert_string_equal(loopback_header(&reply, "Cache-Control"), "public, max-age=300");
    snprintf(request, sizeof request,
             "GET /openapi.json HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"x\", W/%s\r\n\r\n",
             loopback_header(&reply, "ETag"));
    loopback_send(&loopback, request, &reply);
    assert_int_equal(reply.status, 304);
    assert_int_equal(reply.body_len, 0);
    assert_non_null(loopback_header(&reply, "ETag"));
    loopback_clear(&loopback);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_description_has_only_routes),
        cmocka_unit_test(test_description_has_every_route),
        cmocka_unit_test(test_served_with_etag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
