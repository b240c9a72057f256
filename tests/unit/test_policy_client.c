/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_client.h"

#include "base_clock.h"
#include "base_encode.h"
#include "base_json.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW_US   (INT64_C(1800000000) * BASE_US_PER_S + 500000)
#define KEY_ID   "key_abcdefghijklmnopqrstuvwx"
#define OTHER_ID "key_abcdefghijklmnopqrstuvwy"
#define FIRST    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=\n"
#define SECOND   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=\n"
#define THIRD    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAM=\n"

static struct base_seal *master_keys(const char *lines)
{
    BASE_AUTO(base_buf_clear) struct base_buf why;
    struct base_seal *seal;

    base_buf_init(&why, 256);
    assert_int_equal(base_seal_parse(base_span_str(lines), &seal, &why), BASE_OK);
    return seal;
}

/* One request for one key, good until a test spoils it. */
struct scene {
    struct base_seal *seal;
    struct store_key key;
    struct policy_client_input input;
    uint8_t address[16];
    bool old_seal;
};

static void set_address(struct scene *scene, const char *text)
{
    scene->input.family = strchr(text, ':') ? AF_INET6 : AF_INET;
    assert_int_equal(inet_pton(scene->input.family, text, scene->address), 1);
}

static void set_secret(struct scene *scene, const struct base_seal *seal, struct store_secret *out,
                       const char *secret)
{
    policy_client_mac(seal, NULL, scene->key.key_id, base_span_str(secret), out);
    assert_true(out->present);
}

static int setup(void **state)
{
    static struct scene scene;

    scene = (struct scene){
        .seal = master_keys(FIRST),
        .key = {.key_id = BASE_SPAN(KEY_ID),
                .tenant = BASE_SPAN("acme"),
                .tenant_enabled = true,
                .fields = {.enabled = true, .expires_us = NOW_US + BASE_US_PER_DAY}},
        .input = {.found = true,
                  .key = &scene.key,
                  .has_secret = true,
                  .secret = BASE_SPAN("right"),
                  .address = scene.address,
                  .now_us = NOW_US},
        .old_seal = true,
    };
    set_address(&scene, "192.0.2.1");
    set_secret(&scene, scene.seal, &scene.key.secret, "right");
    *state = &scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;

    base_seal_unref(&scene->seal);
    return 0;
}

static enum policy_client_verdict judge(struct scene *scene)
{
    return policy_client_judge(&scene->input, scene->seal, &scene->old_seal);
}

static void use_master_keys(struct scene *scene, const char *lines)
{
    base_seal_unref(&scene->seal);
    scene->seal = master_keys(lines);
}

/* A secret that was stored when only those master keys were there. */
static void store_under(struct scene *scene, const char *lines, struct store_secret *out,
                        const char *secret)
{
    struct base_seal *seal = master_keys(lines);

    set_secret(scene, seal, out, secret);
    base_seal_unref(&seal);
}

static void the_right_secret_is_right(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
    assert_false(scene->old_seal);
}

static void every_other_secret_is_wrong(void **state)
{
    static const char *const secrets[] = {"", "Right", "right ", "righ", "rightright", "right\n"};
    struct scene *scene = *state;

    for (size_t i = 0; i < BASE_COUNT(secrets); i++) {
        scene->input.secret = base_span_str(secrets[i]);
        assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
        assert_false(scene->old_seal);
    }
    scene->input.secret = base_span_of("right", 6); /* with its NUL */
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
    scene->input.secret = (struct base_span){0};
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
}

static void a_mac_is_bound_to_its_key(void **state)
{
    struct scene *scene = *state;

    scene->key.key_id = BASE_SPAN(OTHER_ID);
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
    /* Nor do bytes move between the ID and the secret. */
    scene->key.key_id = BASE_SPAN(KEY_ID "r");
    scene->input.secret = BASE_SPAN("ight");
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
}

static void without_a_stored_secret_nothing_fits(void **state)
{
    struct scene *scene = *state;

    scene->key.secret.present = false; /* though the bytes of the MAC are there */
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
    scene->key.secret = (struct store_secret){0};
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
}

static void the_previous_secret_lasts_as_long_as_its_overlap(void **state)
{
    static const char *const files[] = {FIRST, FIRST SECOND};
    struct scene *scene = *state;

    set_secret(scene, scene->seal, &scene->key.previous, "before");
    for (size_t i = 0; i < BASE_COUNT(files); i++) {
        use_master_keys(scene, files[i]);
        scene->input.secret = BASE_SPAN("before");
        scene->key.previous_expires_us = NOW_US + 1;
        assert_int_equal(judge(scene), POLICY_CLIENT_OK_PREVIOUS);
        assert_false(scene->old_seal);
        scene->key.previous_expires_us = NOW_US;
        assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
        scene->key.previous_expires_us = 0;
        assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
        scene->key.previous_expires_us = NOW_US + 1;
        scene->input.secret = BASE_SPAN("right");
        assert_int_equal(judge(scene), POLICY_CLIENT_OK);
        scene->input.secret = BASE_SPAN("other");
        assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
        scene->key.previous.present = false;
        scene->input.secret = BASE_SPAN("before");
        assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
        scene->key.previous.present = true;
    }
}

static void a_secret_in_both_slots_is_the_current_one(void **state)
{
    struct scene *scene = *state;

    scene->key.previous = scene->key.secret;
    scene->key.previous_expires_us = NOW_US + 1;
    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
    store_under(scene, SECOND, &scene->key.previous, "right");
    use_master_keys(scene, FIRST SECOND);
    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
    assert_false(scene->old_seal);
}

static void old_master_keys_still_verify_and_are_told(void **state)
{
    struct scene *scene = *state;

    store_under(scene, SECOND, &scene->key.previous, "before");
    scene->key.previous_expires_us = NOW_US + 1;
    use_master_keys(scene, THIRD FIRST SECOND);
    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
    assert_true(scene->old_seal);
    scene->input.secret = BASE_SPAN("before");
    assert_int_equal(judge(scene), POLICY_CLIENT_OK_PREVIOUS);
    assert_true(scene->old_seal);
    scene->input.secret = BASE_SPAN("other");
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
    assert_false(scene->old_seal);

    use_master_keys(scene, FIRST SECOND);
    scene->input.secret = BASE_SPAN("right");
    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
    assert_false(scene->old_seal);
    scene->input.secret = BASE_SPAN("before");
    assert_int_equal(judge(scene), POLICY_CLIENT_OK_PREVIOUS);
    assert_true(scene->old_seal);
}

/* Whether the secret is right nobody can tell, so nobody is told that it is wrong. */
static void what_needs_a_dropped_master_key_gets_no_verdict(void **state)
{
    struct scene *scene = *state;

    store_under(scene, SECOND, &scene->key.previous, "before");
    scene->key.previous_expires_us = NOW_US + 1;
    use_master_keys(scene, THIRD);
    assert_int_equal(judge(scene), POLICY_CLIENT_MASTER_KEY);
    assert_false(scene->old_seal);
    scene->input.secret = BASE_SPAN("before");
    assert_int_equal(judge(scene), POLICY_CLIENT_MASTER_KEY);
    use_master_keys(scene, SECOND);
    assert_int_equal(judge(scene), POLICY_CLIENT_OK_PREVIOUS);
    use_master_keys(scene, THIRD FIRST);
    assert_int_equal(judge(scene), POLICY_CLIENT_MASTER_KEY);
    scene->input.secret = BASE_SPAN("right");
    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
    /* One that is over counts no more, and an absent one never did. */
    scene->input.secret = BASE_SPAN("other");
    scene->key.previous_expires_us = NOW_US;
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
    scene->key.previous_expires_us = NOW_US + 1;
    scene->key.previous.present = false;
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
}

/* What is refused whatever the secret is refused here too. */
static void a_verdict_that_needs_no_secret_needs_no_master_key(void **state)
{
    struct scene *scene = *state;

    use_master_keys(scene, THIRD);
    scene->input.found = false;
    assert_int_equal(judge(scene), POLICY_CLIENT_UNKNOWN);
    scene->input.found = true;
    scene->key.fields.enabled = false;
    assert_int_equal(judge(scene), POLICY_CLIENT_DISABLED);
    scene->key.fields.enabled = true;
    scene->key.fields.expires_us = NOW_US;
    assert_int_equal(judge(scene), POLICY_CLIENT_EXPIRED);
    scene->key.fields.expires_us = NOW_US + 1;
    scene->input.has_secret = false;
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_METHOD);
    assert_string_equal(policy_client_reason(POLICY_CLIENT_MASTER_KEY), "master_key_not_loaded");
}

static void a_key_has_one_way_to_authenticate(void **state)
{
    struct scene *scene = *state;

    scene->input.has_secret = false;
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_METHOD);
    scene->key.fields.jwks = BASE_SPAN("{\"keys\":[]}");
    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
    assert_false(scene->old_seal);
    scene->key.secret = (struct store_secret){0};
    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
    scene->input.has_secret = true;
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_METHOD);
}

static void a_key_lives_until_the_microsecond(void **state)
{
    struct scene *scene = *state;

    scene->key.fields.expires_us = NOW_US + 1;
    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
    scene->key.fields.expires_us = NOW_US;
    assert_int_equal(judge(scene), POLICY_CLIENT_EXPIRED);
}

static void addresses_are_judged(void **state)
{
    static const struct {
        const char *address;
        bool allowed;
    } cases[] = {
        {"10.200.3.4", true},      {"192.0.2.7", true}, {"2001:db8:1::9", true},
        {"::ffff:10.1.1.1", true}, {"11.0.0.1", false}, {"192.0.2.8", false},
        {"2001:db9::1", false},    {"::1", false},      {"::ffff:192.0.2.8", false},
    };
    struct scene *scene = *state;
    struct store_key_fields *fields = &scene->key.fields;

    fields->n_cidrs = 4;
    fields->cidrs[0] = BASE_SPAN("10.0.0.0/8");
    fields->cidrs[1] = BASE_SPAN("nonsense");
    fields->cidrs[2] = BASE_SPAN("2001:db8::/32");
    fields->cidrs[3] = BASE_SPAN("192.0.2.7");
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        set_address(scene, cases[i].address);
        assert_int_equal(judge(scene), cases[i].allowed ? POLICY_CLIENT_OK : POLICY_CLIENT_ADDRESS);
    }
    scene->input.family = 0; /* no address at all, as on the command line */
    scene->input.address = NULL;
    assert_int_equal(judge(scene), POLICY_CLIENT_ADDRESS);
    fields->n_cidrs = 1;
    fields->cidrs[0] = BASE_SPAN("nonsense");
    set_address(scene, "192.0.2.1");
    scene->input.address = scene->address;
    assert_int_equal(judge(scene), POLICY_CLIENT_ADDRESS);
}

/* Everything wrong at once, then mended one by one: the reason that comes next. */
static void reasons_have_an_order(void **state)
{
    struct scene *scene = *state;

    scene->input.found = false;
    scene->input.secret = BASE_SPAN("wrong");
    scene->key.fields.jwks = BASE_SPAN("{}");
    scene->key.fields.enabled = false;
    scene->key.tenant_enabled = false;
    scene->key.fields.expires_us = NOW_US;
    scene->key.fields.n_cidrs = 1;
    scene->key.fields.cidrs[0] = BASE_SPAN("10.0.0.0/8");
    assert_int_equal(judge(scene), POLICY_CLIENT_UNKNOWN);
    scene->input.found = true;
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_METHOD);
    scene->key.fields.jwks = BASE_SPAN("");
    assert_int_equal(judge(scene), POLICY_CLIENT_WRONG_SECRET);
    scene->input.secret = BASE_SPAN("right");
    assert_int_equal(judge(scene), POLICY_CLIENT_DISABLED);
    scene->key.fields.enabled = true;
    assert_int_equal(judge(scene), POLICY_CLIENT_TENANT_DISABLED);
    scene->key.tenant_enabled = true;
    assert_int_equal(judge(scene), POLICY_CLIENT_EXPIRED);
    scene->key.fields.expires_us = NOW_US + 1;
    assert_int_equal(judge(scene), POLICY_CLIENT_ADDRESS);
    set_address(scene, "10.0.0.1");
    assert_int_equal(judge(scene), POLICY_CLIENT_OK);
}

/* The decoy has a secret; whatever was sent, and were it the right one, the key is unknown. */
static void an_unknown_key_is_unknown_whatever_was_sent(void **state)
{
    struct scene *scene = *state;

    scene->input.found = false;
    assert_int_equal(judge(scene), POLICY_CLIENT_UNKNOWN);
    scene->input.has_secret = false;
    assert_int_equal(judge(scene), POLICY_CLIENT_UNKNOWN);
}

static void every_verdict_has_a_reason(void **state)
{
    (void)state;
    for (int a = POLICY_CLIENT_OK; a <= POLICY_CLIENT_ADDRESS; a++)
        for (int b = POLICY_CLIENT_OK; b < a; b++)
            assert_string_not_equal(policy_client_reason((enum policy_client_verdict)a),
                                    policy_client_reason((enum policy_client_verdict)b));
    assert_string_equal(policy_client_reason(POLICY_CLIENT_WRONG_SECRET), "wrong_secret");
}

static void ids_have_one_form(void **state)
{
    static const char *const bad[] = {
        "",
        "key_",
        "key_abcdefghijklmnopqrstuvw",
        "key_abcdefghijklmnopqrstuvwxy",
        "Key_abcdefghijklmnopqrstuvwx",
        "kex_abcdefghijklmnopqrstuvwx",
        "key_Abcdefghijklmnopqrstuvwx",
        "key_abcdefghijklmnopqrstuvw1",
        "key_abcdefghijklmnopqrstuvw8",
        "key_abcdefghijklmnopqrstuvw ",
        "key_abcdefghijklmnopqrstuvw{",
        "key_abcdefghijklmnopqrstuvw=",
        "cardea_abcdefghijklmnopqrstu",
    };

    (void)state;
    assert_true(policy_client_id_valid(BASE_SPAN(KEY_ID)));
    assert_true(policy_client_id_valid(BASE_SPAN("key_azazazazazaz272727272727")));
    for (size_t i = 0; i < BASE_COUNT(bad); i++)
        assert_false(policy_client_id_valid(base_span_str(bad[i])));
    assert_false(policy_client_id_valid((struct base_span){0}));
}

static void new_ids_and_secrets_have_their_form(void **state)
{
    char id[2][POLICY_KEY_ID_LEN + 1], secret[2][POLICY_SECRET_LEN + 1];

    (void)state;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 2; i++) {
            policy_client_new_id(id[i]);
            policy_client_new_secret(secret[i]);
            assert_int_equal(strlen(id[i]), POLICY_KEY_ID_LEN);
            assert_int_equal(strlen(secret[i]), POLICY_SECRET_LEN);
            assert_true(policy_client_id_valid(base_span_str(id[i])));
            assert_true(policy_client_secret_wellformed(base_span_str(secret[i])));
            assert_int_equal(strncmp(secret[i], "cardea_", 7), 0);
        }
        assert_string_not_equal(id[0], id[1]);
        assert_string_not_equal(secret[0], secret[1]);
    }
}

/* A checksum computed elsewhere: Python's zlib.crc32, in base 62. */
static void the_checksum_is_crc_32(void **state)
{
    (void)state;
    assert_true(policy_client_secret_wellformed(
        BASE_SPAN("cardea_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg"
                  "0kZCLa")));
    assert_true(policy_client_secret_wellformed(
        BASE_SPAN("cardea_0000000000000000000000000000000000000000000"
                  "4btY9J")));
}

static void slips_are_noticed(void **state)
{
    char secret[POLICY_SECRET_LEN + 2];

    (void)state;
    policy_client_new_secret(secret);
    for (size_t i = 0; i < POLICY_SECRET_LEN; i++) {
        char right = secret[i];

        for (int c = 1; c < 256; c += 7) {
            secret[i] = (char)c;
            assert_true(secret[i] == right ||
                        !policy_client_secret_wellformed(base_span_str(secret)));
        }
        secret[i] = right;
    }
    assert_false(policy_client_secret_wellformed(base_span_of(secret, POLICY_SECRET_LEN - 1)));
    assert_false(policy_client_secret_wellformed(base_span_of(secret, POLICY_SECRET_LEN + 1)));
    assert_false(policy_client_secret_wellformed((struct base_span){0}));
    for (size_t i = 7; i + 1 < POLICY_SECRET_LEN; i++) /* two characters exchanged */
        if (secret[i] != secret[i + 1]) {
            char swapped[sizeof secret];

            memcpy(swapped, secret, sizeof swapped);
            swapped[i] = secret[i + 1];
            swapped[i + 1] = secret[i];
            assert_false(policy_client_secret_wellformed(base_span_str(swapped)));
        }
}

static void macs_name_their_master_key(void **state)
{
    struct scene *scene = *state;
    struct store_secret first, second, unknown;
    struct base_seal_id other = {{1, 2, 3}};

    use_master_keys(scene, FIRST SECOND);
    policy_client_mac(scene->seal, NULL, scene->key.key_id, BASE_SPAN("s"), &first);
    policy_client_mac(scene->seal, base_seal_id_at(scene->seal, 1), scene->key.key_id,
                      BASE_SPAN("s"), &second);
    assert_true(first.present);
    assert_true(second.present);
    assert_memory_equal(&first.seal_id, base_seal_id_at(scene->seal, 0), BASE_SEAL_ID_LEN);
    assert_memory_equal(&second.seal_id, base_seal_id_at(scene->seal, 1), BASE_SEAL_ID_LEN);
    assert_memory_not_equal(first.mac, second.mac, sizeof first.mac);
    policy_client_mac(scene->seal, &other, scene->key.key_id, BASE_SPAN("s"), &unknown);
    assert_false(unknown.present);
}

/* --- assertions --- */

#define NOW_S "1800000000"
#define JTI   "\"jti\":\"j\""
#define AUD   "\"aud\":\"https://as.example\""
#define EXP   "\"exp\":1800000060"
#define LONG_256                                                                                   \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                             \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                             \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                             \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const char *judge_assertion(const char *text, struct base_span *jti, int64_t *expires_us)
{
    static json_t *claims; /* kept until the next, since jti points into it */
    const char *why;

    json_decref(claims);
    claims = NULL;
    if (!text)
        return NULL;
    assert_int_equal(base_json_parse(base_span_str(text), 4096, 8, &claims, &why), BASE_OK);
    *jti = BASE_SPAN("before");
    *expires_us = 7;
    return policy_client_assertion(
        &(struct policy_assertion_input){
            .claims = claims,
            .issuer = BASE_SPAN("https://as.example"),
            .token_endpoint = BASE_SPAN("https://as.example/oauth2/token"),
            .now_us = NOW_US,
        },
        jti, expires_us);
}

static void good_assertions_pass(void **state)
{
    static const struct {
        const char *claims;
        int64_t expires_us;
    } cases[] = {
        {"{" JTI "," AUD "," EXP "}", INT64_C(1800000060000000)},
        {"{" JTI "," AUD ",\"exp\":1800000060.25}", INT64_C(1800000060250000)},
        {"{" JTI "," AUD ",\"exp\":1800003600}", INT64_C(1800003600000000)},
        {"{" JTI "," AUD ",\"exp\":1800003610}", INT64_C(1800003610000000)},
        {"{" JTI "," AUD ",\"exp\":1800000001}", INT64_C(1800000001000000)},
        {"{" JTI ",\"aud\":\"https://as.example/oauth2/token\"," EXP "}",
         INT64_C(1800000060000000)},
        {"{" JTI ",\"aud\":[\"https://as.example\"]," EXP "}", INT64_C(1800000060000000)},
        {"{" JTI ",\"aud\":[\"x\",\"https://as.example/oauth2/token\"]," EXP "}",
         INT64_C(1800000060000000)},
        {"{" JTI "," AUD "," EXP ",\"iat\":" NOW_S ",\"nbf\":" NOW_S "}",
         INT64_C(1800000060000000)},
        {"{" JTI "," AUD "," EXP ",\"iat\":1800000010.5,\"nbf\":1800000010}",
         INT64_C(1800000060000000)},
        {"{" JTI "," AUD "," EXP ",\"iat\":0,\"nbf\":1.5}", INT64_C(1800000060000000)},
    };
    struct base_span jti;
    int64_t expires_us;

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        const char *reason = judge_assertion(cases[i].claims, &jti, &expires_us);

        if (reason)
            fail_msg("%s: %s", cases[i].claims, reason);
        assert_int_equal(expires_us, cases[i].expires_us);
        assert_true(base_span_eq(jti, BASE_SPAN("j")));
    }
    assert_null(judge_assertion("{\"jti\":\"" LONG_256 "\"," AUD "," EXP "}", &jti, &expires_us));
    assert_int_equal(jti.len, 256);
    judge_assertion(NULL, NULL, NULL);
}

static void bad_assertions_are_refused(void **state)
{
    static const struct {
        const char *claims, *reason;
    } cases[] = {
        {"{" JTI "," AUD "}", "assertion_exp"},
        {"{" JTI "," AUD ",\"exp\":null}", "assertion_exp"},
        {"{" JTI "," AUD ",\"exp\":\"1800000060\"}", "assertion_exp"},
        {"{" JTI "," AUD ",\"exp\":true}", "assertion_exp"},
        {"{" JTI "," AUD ",\"exp\":[1800000060]}", "assertion_exp"},
        {"{" JTI "," AUD ",\"exp\":-1}", "assertion_exp"},
        {"{" JTI "," AUD ",\"exp\":1e300}", "assertion_exp"},
        {"{" JTI "," AUD ",\"exp\":9223372036854775807}", "assertion_exp"},
        {"{" JTI "," AUD ",\"exp\":0}", "assertion_expired"},
        {"{" JTI "," AUD ",\"exp\":1800000000}", "assertion_expired"},
        {"{" JTI "," AUD ",\"exp\":1800000000.5}", "assertion_expired"},
        {"{" JTI "," AUD ",\"exp\":1800003611}", "assertion_exp_too_far"},
        {"{" JTI "," AUD ",\"exp\":1800000060000}", "assertion_exp"}, /* milliseconds */
        {"{" JTI "," AUD ",\"exp\":253402300799}", "assertion_exp_too_far"},
        {"{" JTI "," AUD "," EXP ",\"iat\":1800000011}", "assertion_iat"},
        {"{" JTI "," AUD "," EXP ",\"iat\":\"" NOW_S "\"}", "assertion_iat"},
        {"{" JTI "," AUD "," EXP ",\"iat\":null}", "assertion_iat"},
        {"{" JTI "," AUD "," EXP ",\"iat\":-5}", "assertion_iat"},
        {"{" JTI "," AUD "," EXP ",\"nbf\":1800000011}", "assertion_nbf"},
        {"{" JTI "," AUD "," EXP ",\"nbf\":{}}", "assertion_nbf"},
        {"{" JTI "," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":\"\"," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":\"https://as.example/\"," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":\"https://as.example/oauth2/token/\"," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":\"HTTPS://as.example\"," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":\"https://other.example\"," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":[]," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":[\"x\"]," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":[\"https://as.example\",1]," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":[[\"https://as.example\"]]," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":{\"https://as.example\":1}," EXP "}", "assertion_aud"},
        {"{" JTI ",\"aud\":1," EXP "}", "assertion_aud"},
        {"{" AUD "," EXP "}", "assertion_jti"},
        {"{" AUD "," EXP ",\"jti\":\"\"}", "assertion_jti"},
        {"{" AUD "," EXP ",\"jti\":1}", "assertion_jti"},
        {"{" AUD "," EXP ",\"jti\":\"" LONG_256 "b\"}", "assertion_jti"},
    };
    struct base_span jti;
    int64_t expires_us;

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        const char *reason = judge_assertion(cases[i].claims, &jti, &expires_us);

        if (!reason || strcmp(reason, cases[i].reason) != 0)
            fail_msg("%s: %s", cases[i].claims, reason ? reason : "accepted");
        assert_int_equal(jti.len, 0);
        assert_int_equal(expires_us, 0);
    }
    judge_assertion(NULL, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_right_secret_is_right, setup, teardown),
        cmocka_unit_test_setup_teardown(every_other_secret_is_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mac_is_bound_to_its_key, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_stored_secret_nothing_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(the_previous_secret_lasts_as_long_as_its_overlap, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_secret_in_both_slots_is_the_current_one, setup, teardown),
        cmocka_unit_test_setup_teardown(old_master_keys_still_verify_and_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(what_needs_a_dropped_master_key_gets_no_verdict, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_verdict_that_needs_no_secret_needs_no_master_key, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_key_has_one_way_to_authenticate, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_lives_until_the_microsecond, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_are_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(reasons_have_an_order, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_key_is_unknown_whatever_was_sent, setup,
                                        teardown),
        cmocka_unit_test(every_verdict_has_a_reason),
        cmocka_unit_test(ids_have_one_form),
        cmocka_unit_test(new_ids_and_secrets_have_their_form),
        cmocka_unit_test(the_checksum_is_crc_32),
        cmocka_unit_test(slips_are_noticed),
        cmocka_unit_test_setup_teardown(macs_name_their_master_key, setup, teardown),
        cmocka_unit_test(good_assertions_pass),
        cmocka_unit_test(bad_assertions_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
