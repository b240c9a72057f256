/* SPDX-License-Identifier: Apache-2.0 */
#include "api_key_json.h"

#include "base_clock.h"
#include "loopback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW_US (INT64_C(1800000000) * BASE_US_PER_S) /* 2027-01-15T08:00:00Z */

static struct loopback loopback;
static struct loopback_reply reply;

/* What one test reads a key with. */
struct scene {
    struct api_call call;
    struct base_json_reader reader;
    struct store_key_fields fields;
};

static int setup(void **state)
{
    static struct scene scene;

    loopback_init(&loopback);
    base_clock_freeze(NOW_US, 1);
    memset(&scene, 0, sizeof scene);
    scene.call.worker = &loopback.worker;
    scene.call.request =
        loopback_request(&loopback, "GET /v1/tenants HTTP/1.1\r\nHost: h\r\n\r\n", &reply);
    base_buf_init(&scene.call.text, 65536);
    base_buf_init(&scene.call.text2, 65536);
    *state = &scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;

    json_decref(scene->call.body);
    base_buf_clear(&scene->call.text);
    base_buf_clear(&scene->call.text2);
    loopback_drop(&scene->call.request);
    base_clock_release();
    loopback_clear(&loopback);
    return 0;
}

/* Otherwise a patch, which names all that is in the text. */
static void read_key(struct scene *scene, const char *text, bool creating)
{
    static const struct store_key_fields stored;

    json_decref(scene->call.body);
    scene->call.body = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(scene->call.body);
    memset(&scene->call.errors, 0, sizeof scene->call.errors);
    base_json_reader_init(&scene->reader, scene->call.body, &scene->call.errors);
    api_key_read(&scene->call, &scene->reader, creating ? NULL : &stored, &scene->fields);
}

static bool wrong(const struct scene *scene, const char *field)
{
    for (size_t i = 0; i < scene->call.errors.count; i++) {
        if (strcmp(scene->call.errors.items[i].field, field) == 0)
            return true;
    }
    return false;
}

#define GOOD                                                                                       \
    "\"name\":\"n\",\"scopes\":[\"b\",\"a\"],\"expires_at\":\"2027-02-01T01:00:00.9+01:00\""

static void test_defaults(void **state)
{
    struct scene *scene = *state;
    const struct store_key_fields *fields = &scene->fields;

    read_key(scene, "{" GOOD "}", true);
    assert_int_equal(scene->call.errors.count, 0);
    assert_null(base_json_reader_unknown(&scene->reader));
    assert_true(fields->enabled);
    assert_int_equal(fields->expires_us, INT64_C(1801440000) * BASE_US_PER_S); /* whole seconds */
    assert_int_equal(fields->n_scopes, 2);
    assert_memory_equal(fields->scopes[0].ptr, "a", 1); /* sorted */
    assert_int_equal(fields->token_ttl_s, 0);
    assert_int_equal(fields->n_audience, 0);
    assert_int_equal(fields->n_cidrs, 0);
    assert_int_equal(fields->jwks.len, 0);
    assert_true(base_span_eq(fields->claims, BASE_SPAN("{}")));
}

static void test_everything(void **state)
{
    struct scene *scene = *state;
    const struct store_key_fields *fields = &scene->fields;

    read_key(scene,
             "{" GOOD ",\"description\":\"d\",\"enabled\":false,\"token_ttl\":60,\"audience\":["
             "\"x\",\"y\",\"x\"],"
             "\"allowed_cidrs\":[\"10.0.0.0/8\",\"2001:db8::/32\",\"::1\",\"10.0.0.0/"
             "8\"],\"claims\":{\"a\":{\"b\":[1.5]}}}",
             true);
    assert_int_equal(scene->call.errors.count, 0);
    assert_false(fields->enabled);
    assert_int_equal(fields->token_ttl_s, 60);
    assert_int_equal(fields->n_audience, 2);
    assert_int_equal(fields->n_cidrs, 3);
    assert_true(base_span_eq(fields->claims, BASE_SPAN("{\"a\":{\"b\":[1.5]}}")));
}

static void test_nulls_stand_for_nothing(void **state)
{
    struct scene *scene = *state;

    read_key(scene,
             "{" GOOD
             ",\"description\":null,\"token_ttl\":null,\"audience\":null,\"allowed_cidrs\":null,"
             "\"claims\":null,\"jwks\":null}",
             true);
    assert_int_equal(scene->call.errors.count, 0);
    assert_true(base_span_eq(scene->fields.claims, BASE_SPAN("{}")));
}

static void test_every_wrong_field_at_once(void **state)
{
    static const char *const fields[] = {
        "name",        "description", "scopes[1]",        "enabled", "expires_at", "token_ttl",
        "audience[0]", "audience[1]", "allowed_cidrs[0]", "claims",  "jwks"};
    struct scene *scene = *state;

    read_key(scene,
             "{\"name\":\"a\\u0007\",\"description\":\"\\u009f\",\"scopes\":[\"a\",\"b "
             "c\"],\"enabled\":1,"
             "\"expires_at\":\"2020-01-01T00:00:00Z\",\"token_ttl\":9,"
             "\"audience\":[\"" LOOPBACK_ISSUER "\",7],\"allowed_cidrs\":[\"10.0.0.1/8\"],"
             "\"claims\":{\"iss\":\"x\"},\"jwks\":{\"keys\":[]}}",
             true);
    for (size_t i = 0; i < BASE_COUNT(fields); i++) {
        if (!wrong(scene, fields[i]))
            fail_msg("%s is not reported", fields[i]);
    }
    assert_int_equal(scene->call.errors.count, BASE_COUNT(fields));
}

static void test_required(void **state)
{
    struct scene *scene = *state;

    read_key(scene, "{}", true);
    assert_int_equal(scene->call.errors.count, 3);
    assert_true(wrong(scene, "name") && wrong(scene, "scopes") && wrong(scene, "expires_at"));
    read_key(scene, "{\"name\":null,\"scopes\":null,\"expires_at\":null,\"enabled\":null}", false);
    assert_int_equal(scene->call.errors.count, 4);
}

/* field, value, whether it is acceptable */
static const struct {
    const char *member;
    const char *field; /* NULL: good */
} singles[] = {
    {"\"name\":\"\"", "name"},
    {"\"name\":7", "name"},
    {"\"name\":\"<b>\\u202e\"", NULL},
    {"\"description\":\"\"", NULL},
    {"\"scopes\":[]", "scopes"},
    {"\"scopes\":\"a\"", "scopes"},
    {"\"scopes\":[\"\"]", "scopes[0]"},
    {"\"scopes\":[null]", "scopes[0]"},
    {"\"scopes\":[\"a\",\"a\"]", NULL},
    {"\"scopes\":[\"a\",\"cardea.read\"]", "scopes"},
    {"\"scopes\":[\"cardea.platform\"]", "scopes"},
    {"\"scopes\":[\"cardea.admin\",\"cardea.read\"]", NULL},
    {"\"enabled\":\"true\"", "enabled"},
    {"\"enabled\":null", "enabled"},
    {"\"expires_at\":\"2027-01-15T08:00:00Z\"", "expires_at"}, /* now is too late */
    {"\"expires_at\":\"2027-01-15T08:00:00.9Z\"",
     "expires_at"}, /* … and this is now, in whole seconds */
    {"\"expires_at\":\"2027-01-15T08:00:01Z\"", NULL},
    {"\"expires_at\":\"2027-01-15\"", "expires_at"},
    {"\"expires_at\":1893456000", "expires_at"},
    {"\"expires_at\":\"9999-12-31T23:59:59Z\"", NULL},
    {"\"token_ttl\":10", NULL},
    {"\"token_ttl\":86400", NULL},
    {"\"token_ttl\":86401", "token_ttl"},
    {"\"token_ttl\":60.0", "token_ttl"},
    {"\"token_ttl\":\"60\"", "token_ttl"},
    {"\"audience\":[]", "audience"},
    {"\"audience\":\"x\"", "audience"},
    {"\"audience\":[\"a b\"]", "audience[0]"},
    {"\"audience\":[\"" LOOPBACK_ISSUER "/\"]", "audience[0]"},
    {"\"audience\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\"]", NULL},
    {"\"audience\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]", "audience"},
    {"\"allowed_cidrs\":[]", "allowed_cidrs"},
    {"\"allowed_cidrs\":[\"10.0.0.0/33\"]", "allowed_cidrs[0]"},
    {"\"allowed_cidrs\":[\"2001:db8::1/64\"]", "allowed_cidrs[0]"},
    {"\"allowed_cidrs\":[\"example.com\"]", "allowed_cidrs[0]"},
    {"\"allowed_cidrs\":[\"010.0.0.1\"]", "allowed_cidrs[0]"},
    {"\"allowed_cidrs\":[\"fe80::1%eth0\"]", "allowed_cidrs[0]"},
    {"\"claims\":[]", "claims"},
    {"\"claims\":{\"scope\":\"x\"}", "claims"},
    {"\"claims\":{\"tenant\":null}", "claims"},
    {"\"claims\":{\"x\":null}", NULL},
    {"\"claims\":{\"a\":[[[[[[[[1]]]]]]]]}", "claims"},
    {"\"jwks\":\"x\"", "jwks"},
    {"\"jwks\":{}", "jwks"},
    {"\"jwks\":{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "jwks"},
};

static void test_singles(void **state)
{
    struct scene *scene = *state;

    for (size_t i = 0; i < BASE_COUNT(singles); i++) {
        json_auto_t *base = json_loads("{" GOOD "}", 0, NULL);
        char text[1024], *merged;

        snprintf(text, sizeof text, "{%s}", singles[i].member);
        json_object_update_new(base, json_loads(text, 0, NULL));
        merged = json_dumps(base, 0);
        read_key(scene, merged, true);
        free(merged);
        if (scene->call.errors.count != (singles[i].field != NULL) ||
            (singles[i].field && !wrong(scene, singles[i].field)))
            fail_msg("%s: %zu errors, %s", singles[i].member, scene->call.errors.count,
                     scene->call.errors.items[0].field);
    }
}

static void test_platform_grants_platform(void **state)
{
    struct scene *scene = *state;

    scene->call.principal.is_platform = true;
    read_key(
        scene,
        "{\"name\":\"n\",\"scopes\":[\"cardea.platform\"],\"expires_at\":\"2028-01-01T00:00:00Z\"}",
        true);
    assert_int_equal(scene->call.errors.count, 0);
}

static void test_expiry_in_the_past_ends_a_key(void **state)
{
    struct scene *scene = *state;

    read_key(scene, "{\"name\":\"n\",\"scopes\":[\"a\"],\"expires_at\":\"2020-01-01T00:00:00Z\"}",
             false);
    assert_int_equal(scene->call.errors.count, 0);
}

static void test_limits_of_size(void **state)
{
    struct scene *scene = *state;
    char text[20000];

    snprintf(text, sizeof text,
             "{\"name\":\"%0201d\",\"scopes\":[\"%0129d\"],\"expires_at\":\"2028-01-01T00:00:00Z\","
             "\"description\":\"%01001d\",\"claims\":{\"x\":\"%02050d\"}}",
             0, 0, 0, 0);
    read_key(scene, text, true);
    assert_int_equal(scene->call.errors.count, 4);
    snprintf(text, sizeof text,
             "{\"name\":\"%0200d\",\"scopes\":[\"%0128d\"],\"expires_at\":\"2028-01-01T00:00:00Z\","
             "\"description\":\"%01000d\",\"claims\":{\"x\":\"%02000d\"}}",
             0, 0, 0, 0);
    read_key(scene, text, true);
    assert_int_equal(scene->call.errors.count, 0);
}

/* The text of a set that is good, with something added that nobody knows. */
static void read_jwks(struct scene *scene, char filler, size_t len)
{
    char *member = test_malloc(len + 1), *text = test_malloc(len + 1000);

    memset(member, filler, len);
    member[len] = '\0';
    snprintf(text, len + 1000,
             "{" GOOD ",\"jwks\":{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\","
             "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
             "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\",\"z\":\"%s\"}]}}",
             member);
    read_key(scene, text, true);
    test_free(text);
    test_free(member);
}

static void test_jwks_size(void **state)
{
    struct scene *scene = *state;

    read_jwks(scene, 'x', 16000);
    assert_int_equal(scene->call.errors.count, 0);
    assert_true(scene->fields.jwks.len > 16000);
    read_jwks(scene, 'x', 16384);
    assert_true(scene->call.errors.count == 1 && wrong(scene, "jwks"));
    read_jwks(scene, '<', 16000); /* escaped, it is six times as long */
    assert_true(scene->call.errors.count == 1 && wrong(scene, "jwks"));
    assert_int_equal(scene->fields.jwks.len, 0);
}

/* What holds the text is shared by a worker's requests, and may be full. */
static void test_no_room_for_claims(void **state)
{
    struct scene *scene = *state;

    base_buf_clear(&scene->call.text);
    base_buf_init(&scene->call.text, 8);
    read_key(scene, "{" GOOD ",\"claims\":{\"a\":\"too long\"}}", true);
    assert_true(scene->call.errors.count == 1 && wrong(scene, "claims"));
    assert_true(base_span_eq(scene->fields.claims, BASE_SPAN("{}")));
}

/* --- out --- */

static struct store_key a_key(void)
{
    struct store_key key = {
        .key_id = BASE_SPAN("key_aaaaaaaaaaaaaaaaaaaaaaaa"),
        .tenant = BASE_SPAN("acme"),
        .fields = {.name = BASE_SPAN("<n>"),
                   .n_scopes = 1,
                   .scopes = {BASE_SPAN_INIT("a")},
                   .enabled = true,
                   .expires_us = NOW_US + 1,
                   .claims = BASE_SPAN("{}")},
        .created_us = NOW_US,
        .updated_us = NOW_US,
        .created_by = BASE_SPAN("cli:root"),
    };

    return key;
}

static json_t *shown(const struct store_key *key, const char *secret)
{
    struct base_buf out;
    json_t *object;

    base_buf_init(&out, 65536);
    api_key_put(&out, key, secret, NOW_US);
    object = json_loadb(out.ptr, out.len, JSON_REJECT_DUPLICATES, NULL);
    base_buf_clear(&out);
    assert_non_null(object);
    return object;
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void test_shown(void **state)
{
    static const char *const members[] = {
        "key_id",      "tenant",      "name",
        "description", "scopes",      "enabled",
        "status",      "expires_at",  "created_at",
        "created_by",  "updated_at",  "last_used_at",
        "token_ttl",   "audience",    "allowed_cidrs",
        "claims",      "auth_method", "previous_secret_expires_at"};
    struct store_key key = a_key();
    json_auto_t *object = shown(&key, NULL);

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(members); i++)
        assert_non_null(json_object_get(object, members[i]));
    assert_int_equal(json_object_size(object), BASE_COUNT(members)); /* no secret among them */
    assert_string_equal(text_of(object, "name"), "<n>");
    assert_string_equal(text_of(object, "status"), "active");
    assert_string_equal(text_of(object, "auth_method"), "client_secret");
    assert_true(json_is_null(json_object_get(object, "last_used_at")));
    assert_true(json_is_null(json_object_get(object, "audience")));
    assert_true(json_is_object(json_object_get(object, "claims")));
    json_decref(object);
    key.fields.claims = (struct base_span){0};
    object = shown(&key, NULL);
    assert_true(json_is_object(json_object_get(object, "claims")));
}

static void test_status(void **state)
{
    struct store_key key = a_key();
    json_t *object;

    (void)state;
    key.fields.expires_us = NOW_US;
    object = shown(&key, "cardea_x");
    assert_string_equal(text_of(object, "status"), "expired");
    assert_string_equal(text_of(object, "secret"), "cardea_x");
    json_decref(object);
    key.fields.enabled = false;
    object = shown(&key, NULL);
    assert_string_equal(text_of(object, "status"), "disabled");
    json_decref(object);
}

static void test_overlap_is_shown_while_it_lasts(void **state)
{
    struct store_key key = a_key();
    json_t *object;

    (void)state;
    key.previous.present = true;
    key.previous_expires_us = NOW_US + BASE_US_PER_S;
    object = shown(&key, NULL);
    assert_string_equal(text_of(object, "previous_secret_expires_at"), "2027-01-15T08:00:01Z");
    json_decref(object);
    key.previous_expires_us = NOW_US;
    object = shown(&key, NULL);
    assert_true(json_is_null(json_object_get(object, "previous_secret_expires_at")));
    json_decref(object);
}

/* What a PATCH starts from is read back without an error, and changes nothing. */
static void test_round_trip(void **state)
{
    struct scene *scene = *state;
    struct store_key key = a_key();
    json_auto_t *before = NULL, *after = NULL;
    char *text;

    key.fields.description = BASE_SPAN("line");
    key.fields.expires_us = NOW_US - BASE_US_PER_S;
    key.fields.token_ttl_s = 60;
    key.fields.n_audience = key.fields.n_cidrs = 1;
    key.fields.audience[0] = BASE_SPAN("https://a");
    key.fields.cidrs[0] = BASE_SPAN("::/0");
    key.fields.claims = BASE_SPAN("{\"a\":[1,2.5,null,true]}");
    before = api_key_editable(&key.fields);
    text = json_dumps(before, 0);
    read_key(scene, text, false);
    free(text);
    assert_int_equal(scene->call.errors.count, 0);
    after = api_key_editable(&scene->fields);
    assert_true(json_equal(before, after));
    for (size_t i = 0; api_key_decided[i]; i++)
        assert_int_equal(json_object_get(before, api_key_decided[i]) != NULL,
                         strcmp(api_key_decided[i], "jwks") != 0);
}

/* Changes this key, as api_keys.c does. */
static void patch_key(struct scene *scene, const struct store_key_fields *stored, const char *patch)
{
    json_decref(scene->call.body);
    json_decref(scene->call.after);
    scene->call.body = json_loads(patch, JSON_REJECT_DUPLICATES, NULL);
    scene->call.after = api_key_editable(stored);
    api_json_merge(scene->call.after, scene->call.body);
    memset(&scene->call.errors, 0, sizeof scene->call.errors);
    base_json_reader_init(&scene->reader, scene->call.after, &scene->call.errors);
    api_key_read(&scene->call, &scene->reader, stored, &scene->fields);
}

/* A key from before the rules, or the issuer, were changed: nothing of it would pass today. */
static void test_a_patch_is_judged_by_what_it_names(void **state)
{
    static const struct store_key_fields old = {
        .name = BASE_SPAN_INIT("a\tb"),
        .description = BASE_SPAN_INIT("c\td"),
        .n_scopes = 1,
        .scopes = {BASE_SPAN_INIT("e\tf")},
        .enabled = true,
        .expires_us = NOW_US - 1,
        .token_ttl_s = 1,
        .n_audience = 1,
        .audience = {BASE_SPAN_INIT(LOOPBACK_ISSUER)},
        .n_cidrs = 1,
        .cidrs = {BASE_SPAN_INIT("10.0.0.1/8")},
        .claims = BASE_SPAN_INIT("{\"iss\":1}"),
        .jwks = BASE_SPAN_INIT("{\"keys\":[]}"),
    };
    struct scene *scene = *state;
    struct store_key_fields wanted = old;

    patch_key(scene, &old, "{\"enabled\":false}");
    assert_int_equal(scene->call.errors.count, 0);
    wanted.enabled = false;
    assert_memory_equal(&scene->fields, &wanted, sizeof wanted);

    for (size_t i = 0; api_key_decided[i]; i++) {
        json_auto_t *editable = api_key_editable(&old);
        json_auto_t *patch =
            json_pack("{sO}", api_key_decided[i], json_object_get(editable, api_key_decided[i]));
        char *text = json_dumps(patch, 0);
        bool fine = strcmp(api_key_decided[i], "enabled") == 0 ||
                    strcmp(api_key_decided[i], "expires_at") == 0;

        patch_key(scene, &old, text);
        free(text);
        assert_int_equal(scene->call.errors.count, fine ? 0 : 1);
        if (!fine)
            assert_int_equal(strncmp(scene->call.errors.items[0].field, api_key_decided[i],
                                     strlen(api_key_decided[i])),
                             0);
    }
    json_decref(scene->call.after);
    scene->call.after = NULL;
}

/* What is taken away is gone, and what must be there cannot be. */
static void test_a_patch_with_nulls(void **state)
{
    struct store_key key = a_key();
    struct store_key_fields wanted;
    struct scene *scene = *state;

    key.fields.description = BASE_SPAN("d");
    key.fields.token_ttl_s = 60;
    key.fields.n_audience = key.fields.n_cidrs = 1;
    key.fields.audience[0] = BASE_SPAN("urn:a");
    key.fields.cidrs[0] = BASE_SPAN("::/0");
    key.fields.claims = BASE_SPAN("{\"a\":1}");
    key.fields.jwks = BASE_SPAN("{\"keys\":[]}");
    patch_key(scene, &key.fields,
              "{\"description\":null,\"token_ttl\":null,\"audience\":null,"
              "\"allowed_cidrs\":null,\"claims\":null,\"jwks\":null}");
    assert_int_equal(scene->call.errors.count, 0);
    wanted = scene->fields;
    assert_int_equal(wanted.description.len + wanted.jwks.len, 0);
    assert_int_equal(wanted.n_audience + wanted.n_cidrs, 0);
    assert_int_equal(wanted.token_ttl_s, 0);
    assert_true(base_span_eq(wanted.claims, BASE_SPAN("{}")));
    assert_true(base_span_eq(wanted.name, key.fields.name));
    patch_key(scene, &key.fields,
              "{\"name\":null,\"scopes\":null,\"enabled\":null,\"expires_at\":null}");
    assert_int_equal(scene->call.errors.count, 4);
    json_decref(scene->call.after);
    scene->call.after = NULL;
}

/* A command that does not know the issuer could not tell that it is among them. */
static void test_audience_needs_the_issuer(void **state)
{
    struct scene *scene = *state;

    loopback.worker.shared->config.issuer = (struct base_span){0};
    read_key(scene, "{" GOOD ",\"audience\":[\"urn:a\"]}", true);
    assert_true(wrong(scene, "audience"));
    read_key(scene, "{" GOOD "}", true);
    assert_int_equal(scene->call.errors.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_jwks_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_room_for_claims, setup, teardown),
        cmocka_unit_test_setup_teardown(test_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nulls_stand_for_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_wrong_field_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_required, setup, teardown),
        cmocka_unit_test_setup_teardown(test_singles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_platform_grants_platform, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expiry_in_the_past_ends_a_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits_of_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlap_is_shown_while_it_lasts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_patch_is_judged_by_what_it_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_patch_with_nulls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_audience_needs_the_issuer, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
