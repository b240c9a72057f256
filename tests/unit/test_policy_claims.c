/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_claims.h"

#include "base_clock.h"
#include "base_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW_S   INT64_C(1800000000)
#define NOW_US  (NOW_S * BASE_US_PER_S + 999999)
#define ISSUER  "https://as.example"
#define DEFAULT "https://as.example/api"
#define KEY_ID  "key_abcdefghijklmnopqrstuvwx"

struct scene {
    struct store_key key;
    struct base_span audience[3];
    struct policy_claims_input input;
    struct base_buf out;
    int64_t expires_in_s;
};

static int setup(void **state)
{
    static struct scene scene;

    scene = (struct scene){
        .key = {.key_id = BASE_SPAN(KEY_ID),
                .tenant = BASE_SPAN("acme"),
                .scope = BASE_SPAN("data:read"),
                .fields = {.expires_us = NOW_US + BASE_US_PER_DAY, .claims = BASE_SPAN("{}")}},
        .audience = {BASE_SPAN(DEFAULT), BASE_SPAN("urn:b"), BASE_SPAN("c")},
        .input = {.issuer = BASE_SPAN(ISSUER),
                  .key = &scene.key,
                  .scope = BASE_SPAN("data:read data:write"),
                  .audience = scene.audience,
                  .n_audience = 1,
                  .now_us = NOW_US,
                  .ttl_us = 600 * BASE_US_PER_S},
    };
    base_buf_init(&scene.out, 8192);
    *state = &scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;

    base_buf_clear(&scene->out);
    return 0;
}

static enum base_err write_claims(struct scene *scene)
{
    base_buf_reset(&scene->out);
    scene->expires_in_s = 77;
    return policy_claims_write(&scene->input, &scene->out, &scene->expires_in_s);
}

/* The claims, parsed again by the strictest reader. */
static json_t *written(struct scene *scene)
{
    const char *why;
    json_t *claims;

    assert_int_equal(write_claims(scene), BASE_OK);
    assert_int_equal(base_json_parse(base_buf_span(&scene->out), 8192, 16, &claims, &why), BASE_OK);
    return claims;
}

static const char *text_of(const json_t *claims, const char *name)
{
    return json_string_value(json_object_get(claims, name));
}

static int64_t number_of(const json_t *claims, const char *name)
{
    assert_true(json_is_integer(json_object_get(claims, name)));
    return json_integer_value(json_object_get(claims, name));
}

static void writes_all_members(void **state)
{
    struct scene *scene = *state;
    json_auto_t *claims = written(scene);

    assert_int_equal(json_object_size(claims), 9);
    assert_string_equal(text_of(claims, "iss"), ISSUER);
    assert_string_equal(text_of(claims, "sub"), KEY_ID);
    assert_string_equal(text_of(claims, "client_id"), KEY_ID);
    assert_string_equal(text_of(claims, "aud"), DEFAULT);
    assert_string_equal(text_of(claims, "scope"), "data:read data:write");
    assert_string_equal(text_of(claims, "tenant"), "acme");
    assert_int_equal(number_of(claims, "iat"), NOW_S);
    assert_int_equal(number_of(claims, "exp"), NOW_S + 600);
    assert_int_equal(strlen(text_of(claims, "jti")), 22); /* 128 bits */
    assert_int_equal(scene->expires_in_s, 600);
}

static void no_two_tokens_have_one_jti(void **state)
{
    struct scene *scene = *state;
    json_auto_t *first = written(scene), *second = written(scene);

    assert_string_not_equal(text_of(first, "jti"), text_of(second, "jti"));
}

static void several_audiences_are_an_array(void **state)
{
    struct scene *scene = *state;
    json_auto_t *claims = NULL;
    const json_t *aud;

    scene->input.n_audience = 3;
    claims = written(scene);
    aud = json_object_get(claims, "aud");
    assert_int_equal(json_array_size(aud), 3);
    assert_string_equal(json_string_value(json_array_get(aud, 0)), DEFAULT);
    assert_string_equal(json_string_value(json_array_get(aud, 2)), "c");
}

static void text_is_escaped(void **state)
{
    struct scene *scene = *state;
    json_auto_t *claims = NULL;

    scene->key.tenant = BASE_SPAN("a\"b\\c\n</script>");
    scene->audience[0] = BASE_SPAN("x\",\"iss\":\"evil");
    claims = written(scene);
    assert_string_equal(text_of(claims, "tenant"), "a\"b\\c\n</script>");
    assert_string_equal(text_of(claims, "aud"), "x\",\"iss\":\"evil");
    assert_string_equal(text_of(claims, "iss"), ISSUER);
}

static void the_keys_own_claims_follow(void **state)
{
    static const char *const none[] = {"", "{}", "{ }", " \t\r\n{ \n} "};
    struct scene *scene = *state;
    json_auto_t *claims = NULL;

    scene->key.fields.claims = BASE_SPAN(" { \"role\": [\"a\", {\"b\": null}],\t\"n\":1.5 }\r\n");
    claims = written(scene);
    assert_int_equal(json_object_size(claims), 11);
    assert_int_equal(json_array_size(json_object_get(claims, "role")), 2);
    assert_true(json_is_real(json_object_get(claims, "n")));
    for (size_t i = 0; i < BASE_COUNT(none); i++) {
        json_auto_t *plain = NULL;

        scene->key.fields.claims = base_span_str(none[i]);
        plain = written(scene);
        assert_int_equal(json_object_size(plain), 9);
    }
}

static void stored_claims_that_are_no_object_make_no_token(void **state)
{
    static const char *const bad[] = {"{", "}", "[]", "null", "{]", "[}", "\"{}\"", "x{}"};
    struct scene *scene = *state;

    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        scene->key.fields.claims = base_span_str(bad[i]);
        assert_int_equal(write_claims(scene), BASE_INTERNAL);
        assert_int_equal(scene->expires_in_s, 0);
    }
}

static void the_keys_lifetime_goes_before_the_servers(void **state)
{
    struct scene *scene = *state;
    json_auto_t *claims = NULL;

    scene->key.fields.token_ttl_s = 86400;
    claims = written(scene);
    assert_int_equal(number_of(claims, "exp"), NOW_S + 86400);
    assert_int_equal(scene->expires_in_s, 86400);
}

static void a_token_never_outlives_its_key(void **state)
{
    static const struct {
        int64_t key_expires_us, expires_in_s; /* 0: no token */
    } cases[] = {
        {(NOW_S + 601) * BASE_US_PER_S, 600},
        {(NOW_S + 600) * BASE_US_PER_S, 600},
        {(NOW_S + 600) * BASE_US_PER_S - 1, 599},
        {(NOW_S + 2) * BASE_US_PER_S - 1, 1},
        {(NOW_S + 1) * BASE_US_PER_S, 1},
        {(NOW_S + 1) * BASE_US_PER_S - 1, 0}, /* alive, but not for a whole second of the clock */
        {NOW_S * BASE_US_PER_S, 0},
        {0, 0},
        {-1, 0},
        {INT64_MIN, 0},
        {INT64_MAX, 600},
    };
    struct scene *scene = *state;

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        scene->key.fields.expires_us = cases[i].key_expires_us;
        assert_int_equal(write_claims(scene), cases[i].expires_in_s ? BASE_OK : BASE_INVALID);
        assert_int_equal(scene->expires_in_s, cases[i].expires_in_s);
    }
}

/* Clocks of 2038, of 1970 and before: exp is after iat, or there is no token. */
static void strange_clocks_break_nothing(void **state)
{
    static const int64_t nows_us[] = {INT64_C(2147483647) * BASE_US_PER_S,
                                      INT64_C(4294967296) * BASE_US_PER_S, 0, -1,
                                      -BASE_US_PER_S - 1};
    struct scene *scene = *state;

    for (size_t i = 0; i < BASE_COUNT(nows_us); i++) {
        json_auto_t *claims = NULL;

        scene->input.now_us = nows_us[i];
        scene->key.fields.expires_us = nows_us[i] + BASE_US_PER_H;
        claims = written(scene);
        assert_int_equal(number_of(claims, "exp") - number_of(claims, "iat"), 600);
        assert_true(number_of(claims, "iat") * BASE_US_PER_S <= nows_us[i]);
        assert_true(number_of(claims, "iat") * BASE_US_PER_S > nows_us[i] - BASE_US_PER_S);
    }
    scene->input.now_us = NOW_US;
    scene->key.fields.expires_us = INT64_MAX;
    scene->input.ttl_us = BASE_US_PER_S - 1; /* settings allow none so short */
    assert_int_equal(write_claims(scene), BASE_INVALID);
}

static void too_long_is_told(void **state)
{
    struct scene *scene = *state;

    base_buf_clear(&scene->out);
    base_buf_init(&scene->out, 100);
    assert_int_equal(write_claims(scene), BASE_TOO_LARGE);
    assert_int_equal(scene->expires_in_s, 0);
}

/* --- audiences --- */

/* Asks for the names of a NULL-terminated list; how many are granted, -1: invalid_target. */
static int grant(const struct store_key *key, const char *const *asked, struct policy_audience *out)
{
    struct base_span names[16];
    size_t n_names = 0;

    for (; asked[n_names]; n_names++)
        names[n_names] = base_span_str(asked[n_names]);
    if (policy_claims_audience(key, BASE_SPAN(ISSUER), BASE_SPAN(DEFAULT), names, n_names, out))
        return (int)out->count;
    assert_int_equal(out->count, 0);
    return -1;
}
#define GRANT(key, out, ...) grant((key), (const char *const[]){__VA_ARGS__, NULL}, (out))

static bool is(struct base_span span, const char *text)
{
    return base_span_eq(span, base_span_str(text));
}

static void a_key_without_audience_gets_the_default(void **state)
{
    struct scene *scene = *state;
    struct policy_audience got;

    assert_int_equal(GRANT(&scene->key, &got, NULL), 1);
    assert_true(is(got.names[0], DEFAULT));
    assert_int_equal(GRANT(&scene->key, &got, DEFAULT), 1);
    assert_int_equal(GRANT(&scene->key, &got, DEFAULT, DEFAULT), 1);
    assert_int_equal(GRANT(&scene->key, &got, ISSUER), -1);
    assert_int_equal(GRANT(&scene->key, &got, DEFAULT "/"), -1);
    assert_int_equal(GRANT(&scene->key, &got, DEFAULT, "urn:x"), -1);
    assert_int_equal(GRANT(&scene->key, &got, ""), -1);
}

static void a_key_with_audiences_gets_those(void **state)
{
    struct scene *scene = *state;
    struct policy_audience got;

    scene->key.fields.n_audience = 3;
    scene->key.fields.audience[0] = BASE_SPAN("urn:a");
    scene->key.fields.audience[1] = BASE_SPAN("b");
    scene->key.fields.audience[2] = BASE_SPAN("https://c.example");
    assert_int_equal(GRANT(&scene->key, &got, NULL), 3);
    assert_true(is(got.names[1], "b"));
    assert_int_equal(GRANT(&scene->key, &got, "b"), 1);
    assert_true(is(got.names[0], "b"));
    assert_int_equal(GRANT(&scene->key, &got, "https://c.example", "urn:a", "urn:a"), 2);
    assert_true(is(got.names[0], "urn:a"));
    assert_true(is(got.names[1], "https://c.example"));
    assert_int_equal(GRANT(&scene->key, &got, "b", "x"), -1);
    assert_int_equal(GRANT(&scene->key, &got, "B"), -1);
    assert_int_equal(GRANT(&scene->key, &got, DEFAULT), -1);
}

static void a_management_key_gets_the_issuer_alone(void **state)
{
    struct scene *scene = *state;
    struct policy_audience got;

    scene->key.scope = BASE_SPAN("cardea.admin cardea.read");
    scene->key.fields.n_audience = 1; /* and were it set */
    scene->key.fields.audience[0] = BASE_SPAN("urn:a");
    assert_int_equal(GRANT(&scene->key, &got, NULL), 1);
    assert_true(is(got.names[0], ISSUER));
    assert_int_equal(GRANT(&scene->key, &got, ISSUER), 1);
    assert_int_equal(GRANT(&scene->key, &got, "urn:a"), -1);
    assert_int_equal(GRANT(&scene->key, &got, DEFAULT), -1);
}

/* CARDEA_ISSUER was changed to what some key has as its audience. */
static void no_api_key_ever_gets_the_issuer(void **state)
{
    struct scene *scene = *state;
    struct policy_audience got;

    scene->key.fields.n_audience = 2;
    scene->key.fields.audience[0] = BASE_SPAN(ISSUER "/");
    scene->key.fields.audience[1] = BASE_SPAN("urn:a");
    assert_int_equal(GRANT(&scene->key, &got, NULL), 1);
    assert_true(is(got.names[0], "urn:a"));
    assert_int_equal(GRANT(&scene->key, &got, ISSUER "/"), -1);
    scene->key.fields.audience[1] = BASE_SPAN("");
    assert_int_equal(GRANT(&scene->key, &got, NULL), 1); /* none of ours, but no issuer either */
    scene->key.fields.audience[1] = BASE_SPAN(ISSUER);
    assert_int_equal(GRANT(&scene->key, &got, NULL), -1);
    scene->key.fields.n_audience = 0;
    assert_false(
        policy_claims_audience(&scene->key, BASE_SPAN(DEFAULT), BASE_SPAN(DEFAULT), NULL, 0, &got));
}

static void audiences_of_keys_are_names_or_uris(void **state)
{
    char text[257];

    (void)state;
    memset(text, 'a', sizeof text);
    assert_true(policy_claims_audience_valid(BASE_SPAN("api"), BASE_SPAN(ISSUER)));
    assert_true(
        policy_claims_audience_valid(BASE_SPAN("https://as.example/api"), BASE_SPAN(ISSUER)));
    assert_true(policy_claims_audience_valid(BASE_SPAN("!~"), BASE_SPAN(ISSUER)));
    assert_true(policy_claims_audience_valid(base_span_of(text, 255), BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid(base_span_of(text, 256), BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid((struct base_span){0}, BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid(BASE_SPAN("a b"), BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid(BASE_SPAN("a\n"), BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid(BASE_SPAN("\x7f"), BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid(BASE_SPAN("\xc3\xa4"), BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid(base_span_of("a\0b", 3), BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid(BASE_SPAN(ISSUER), BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid(BASE_SPAN(ISSUER "/"), BASE_SPAN(ISSUER)));
    assert_false(policy_claims_audience_valid(BASE_SPAN(ISSUER), BASE_SPAN(ISSUER "/")));
    assert_true(policy_claims_audience_valid(BASE_SPAN(ISSUER "//"), BASE_SPAN(ISSUER)));
}

static void resources_are_absolute_uris(void **state)
{
    static const char *const good[] = {
        "https://api.example",
        "https://api.example/",
        "HTTPS://api.example:8443/a/b;c=d?q=1/2?3",
        "http://[2001:db8::1]:80/x",
        "http://[::1]",
        "https://user:pass@api.example/",
        "https://%61pi.example/%7e",
        "https://api.example:/",
        "https://api.example?q",
        "urn:example:api",
        "x:a~b_Z%af%AF%09",
        "a+b-c.1:x",
        "file:///etc",
        "x:/a/b",
        "x:",
        "x://",
        "mailto:a@b.example",
    };
    static const char *const bad[] = {
        "",
        "api.example",
        "/api",
        "//api.example/",
        ":x",
        "1a:x",
        "a_b:x",
        "a b:x",
        "?x:y",
        "%61:x",
        "https://api.example/#",
        "https://api.example#f",
        "urn:a#b",
        "https:",
        "https:api.example",
        "https:/api.example",
        "https://",
        "https:///x",
        "http://:80/",
        "https://?q",
        "https://user@",
        "https://a b/",
        "https://api.example/a b",
        "https://api.example/<x>",
        "https://api.example/\"",
        "https://api.example/%",
        "https://api.example/%4",
        "https://api.example/%4g",
        "https://api.example/%g4",
        "https://api.example/?%",
        "x:%4G",
        "x:%4@",
        "x:%4:",
        "x:%4/",
        "x:%4`",
        "x:{a}",
        "https://api.example/[x]",
        "https://api.example/?[x]",
        "https://api.example:80a/",
        "https://api.example:80:80/",
        "https://a@b@c/",
        "https://us\"er@c/",
        "https://[::1",
        "https://::1]",
        "https://[]",
        "https://[1.2.3.4]",
        "https://[::g]",
        "https://[::1]x",
        "https://[::1]:x",
        "https://[::1%25eth0]",
        "https://[v1.x]",
        "https://api\\example/",
        "https://\xc3\xa4.example",
        "https://api.example/\n",
        "\nhttps://api.example/",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(good); i++)
        if (!policy_claims_resource_valid(base_span_str(good[i])))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < BASE_COUNT(bad); i++)
        if (policy_claims_resource_valid(base_span_str(bad[i])))
            fail_msg("accepted: %s", bad[i]);
    assert_false(policy_claims_resource_valid((struct base_span){0}));
    assert_false(policy_claims_resource_valid(base_span_of("urn:a\0b", 7)));
}

/* --- a key's own claims --- */

static bool custom_valid(const char *text, struct base_buf *why)
{
    json_auto_t *claims = json_loads(text, JSON_DECODE_ANY, NULL);

    assert_non_null(claims);
    base_buf_reset(why);
    return policy_claims_custom_valid(claims, why);
}

static void own_claims_may_be_anything_else(void **state)
{
    static const char *const good[] = {
        "{}",
        "{\"role\":\"x\",\"n\":1,\"r\":1.5,\"t\":true,\"f\":false,\"z\":null,\"a\":[1,[2]],\"o\":{"
        "\"iss\":1}}",
        "{\"Iss\":1,\"scopes\":[],\"\":0}",
        "{\"1\":{\"2\":{\"3\":{\"4\":{\"5\":{\"6\":{\"7\":{}}}}}}}}",
        "{\"1\":[[[[[[[]]]]]]]}",
    };
    struct scene *scene = *state;

    for (size_t i = 0; i < BASE_COUNT(good); i++)
        if (!custom_valid(good[i], &scene->out))
            fail_msg("%s: %s", good[i], base_buf_cstr(&scene->out));
    assert_int_equal(scene->out.len, 0);
}

static void own_claims_may_not(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"[]", "must be an object"},
        {"null", "must be an object"},
        {"\"iss\"", "must be an object"},
        {"{\"iss\":1}", "may not hold \"iss\", which is set by the server"},
        {"{\"a\":1,\"sub\":null}", "may not hold \"sub\", which is set by the server"},
        {"{\"aud\":[]}", "may not hold \"aud\", which is set by the server"},
        {"{\"exp\":1}", "may not hold \"exp\", which is set by the server"},
        {"{\"nbf\":1}", "may not hold \"nbf\", which is set by the server"},
        {"{\"iat\":1}", "may not hold \"iat\", which is set by the server"},
        {"{\"jti\":1}", "may not hold \"jti\", which is set by the server"},
        {"{\"client_id\":1}", "may not hold \"client_id\", which is set by the server"},
        {"{\"scope\":\"\"}", "may not hold \"scope\", which is set by the server"},
        {"{\"\\u0074enant\":1}", "may not hold \"tenant\", which is set by the server"},
        {"{\"1\":{\"2\":{\"3\":{\"4\":{\"5\":{\"6\":{\"7\":{\"8\":{}}}}}}}}}",
         "must not nest deeper than 8 levels"},
        {"{\"1\":[[[[[[0,[[]]]]]]]]}", "must not nest deeper than 8 levels"},
    };
    struct scene *scene = *state;

    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        assert_false(custom_valid(bad[i].text, &scene->out));
        assert_string_equal(base_buf_cstr(&scene->out), bad[i].why);
    }
    base_buf_reset(&scene->out);
    assert_false(policy_claims_custom_valid(NULL, &scene->out));
}

/* The limit is on the text as it goes into tokens. */
static void own_claims_are_at_most_2_kib(void **state)
{
    struct scene *scene = *state;
    char text[3000];

    for (int len = POLICY_CLAIMS_MAX_CUSTOM - 2; len <= POLICY_CLAIMS_MAX_CUSTOM + 2; len++) {
        snprintf(text, sizeof text, "{\"a\":\"%0*d\"}", len - 8, 0);
        assert_int_equal(strlen(text), len);
        assert_int_equal(custom_valid(text, &scene->out), len <= POLICY_CLAIMS_MAX_CUSTOM);
    }
    assert_string_equal(base_buf_cstr(&scene->out), "must have at most 2048 bytes as JSON text");
    /* 500 bytes that need six each */
    snprintf(text, sizeof text, "{\"a\":\"%0500d\"}", 0);
    memset(text + 6, '<', 500);
    assert_false(custom_valid(text, &scene->out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_all_members, setup, teardown),
        cmocka_unit_test_setup_teardown(no_two_tokens_have_one_jti, setup, teardown),
        cmocka_unit_test_setup_teardown(several_audiences_are_an_array, setup, teardown),
        cmocka_unit_test_setup_teardown(text_is_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(the_keys_own_claims_follow, setup, teardown),
        cmocka_unit_test_setup_teardown(stored_claims_that_are_no_object_make_no_token, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_keys_lifetime_goes_before_the_servers, setup, teardown),
        cmocka_unit_test_setup_teardown(a_token_never_outlives_its_key, setup, teardown),
        cmocka_unit_test_setup_teardown(strange_clocks_break_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(too_long_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_without_audience_gets_the_default, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_with_audiences_gets_those, setup, teardown),
        cmocka_unit_test_setup_teardown(a_management_key_gets_the_issuer_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(no_api_key_ever_gets_the_issuer, setup, teardown),
        cmocka_unit_test(audiences_of_keys_are_names_or_uris),
        cmocka_unit_test(resources_are_absolute_uris),
        cmocka_unit_test_setup_teardown(own_claims_may_be_anything_else, setup, teardown),
        cmocka_unit_test_setup_teardown(own_claims_may_not, setup, teardown),
        cmocka_unit_test_setup_teardown(own_claims_are_at_most_2_kib, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
