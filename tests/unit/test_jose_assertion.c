/* SPDX-License-Identifier: Apache-2.0 */
/* What clients sign, and what libjwt would have let pass. */
#include "jose_assertion.h"

#include "base_mem.h"
#include "jose_forge.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <jwt.h>
#include <openssl/err.h>

#define CLAIMS                                                                                     \
    "{\"iss\":\"key_a\",\"sub\":\"key_a\",\"aud\":\"https://issuer.example/oauth2/token\","        \
    "\"exp\":1700000060,\"jti\":\"j\\u00e9\\/\",\"nbf\":1.5e3,\"x\":[null,true,{\"y\":-0.1}]}"

static struct jose_key *keys[JOSE_ALG_COUNT];
static const enum jose_alg assertion_algs[] = {JOSE_ES256, JOSE_ES384, JOSE_RS256};

static int make_keys(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++)
        if (jose_key_generate((enum jose_alg)i, &keys[i]) != BASE_OK)
            return 1;
    return 0;
}

static int drop_keys(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++)
        jose_key_unref(&keys[i]);
    return 0;
}

static enum base_err peek(const char *text, struct jose_assertion *out)
{
    enum base_err err = jose_assertion_peek(base_span_str(text), out);

    assert_int_equal(out->claims != NULL, err == BASE_OK);
    assert_int_equal(ERR_peek_error(), 0);
    return err;
}

/* Peek, then verify with `n` keys: BASE_INVALID means that the first step refused. */
static enum base_err judge(const char *text, struct jose_key *const *with, size_t n)
{
    struct jose_assertion peeked;
    enum base_err err = peek(text, &peeked);

    if (err == BASE_OK)
        err = jose_assertion_verify(base_span_str(text), &peeked, with, n);
    jose_assertion_clear(&peeked);
    assert_int_equal(ERR_peek_error(), 0);
    return err;
}

static void expect(struct jose_forge wish, struct jose_key *with, enum base_err expected)
{
    char *text = jose_forge(wish);
    enum base_err err = judge(text, &with, 1);

    if (err != expected)
        fail_msg("%s %s: %d instead of %d", wish.header, wish.payload, err, expected);
    base_free(&text);
}

static const char *header(const char *alg, const char *more)
{
    static char text[1024];

    snprintf(text, sizeof text, "{\"alg\":\"%s\"%s}", alg, more);
    return text;
}

static void expect_header(enum jose_alg alg, const char *name, const char *more,
                          enum base_err expected)
{
    expect((struct jose_forge){.key = keys[alg], .header = header(name, more), .payload = CLAIMS},
           keys[alg], expected);
}

static void expect_payload(const char *payload, enum base_err expected)
{
    expect((struct jose_forge){.key = keys[JOSE_ES256],
                               .header = header("ES256", ""),
                               .payload = payload},
           keys[JOSE_ES256], expected);
}

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_COUNT(assertion_algs); i++) {
        enum jose_alg alg = assertion_algs[i];
        char kid[128];

        expect_header(alg, jose_alg_name(alg), "", BASE_OK);
        expect_header(alg, jose_alg_name(alg), ",\"typ\":\"JWT\"", BASE_OK);
        expect_header(alg, jose_alg_name(alg), ",\"typ\":\"jwt\",\"x5t\":\"AAAA\"", BASE_OK);
        expect_header(alg, jose_alg_name(alg), ",\"typ\":\"client-authentication+jwt\"", BASE_OK);
        snprintf(kid, sizeof kid, ",\"kid\":\"%s\"", jose_key_thumbprint(keys[alg]));
        expect_header(alg, jose_alg_name(alg), kid, BASE_OK);
    }
}

static void test_peek_reads(void **state)
{
    char *text = jose_forge((struct jose_forge){
        .key = keys[JOSE_ES384], .header = header("ES384", ",\"kid\":\"k1\""), .payload = CLAIMS});
    struct jose_assertion peeked;

    (void)state;
    assert_int_equal(peek(text, &peeked), BASE_OK);
    assert_int_equal(peeked.alg, JOSE_ES384);
    assert_string_equal(peeked.kid, "k1");
    assert_true(base_span_eq(peeked.issuer, BASE_SPAN("key_a")));
    assert_int_equal(json_integer_value(json_object_get(peeked.claims, "exp")), 1700000060);
    jose_assertion_clear(&peeked);
    jose_assertion_clear(&peeked);
    base_free(&text);
}

static void test_kid(void **state)
{
    struct jose_key *named, *unnamed;
    char text[1024], kid[300], more[400];

    (void)state;
    snprintf(text, sizeof text, "%s", jose_key_public_jwk(keys[JOSE_ES256]));
    strcpy(strstr(text, "\"kid\""), "\"kid\":\"mine\"}");
    named = jose_forge_jwk(text);
    unnamed = keys[JOSE_ES256];
    for (int explicit_typ = 0; explicit_typ < 2; explicit_typ++) {
        const char *typ = explicit_typ ? ",\"typ\":\"client-authentication+jwt\"" : "";
        struct jose_forge wish = {.key = unnamed, .header = more, .payload = CLAIMS};

        snprintf(more, sizeof more, "{\"alg\":\"ES256\",\"kid\":\"mine\"%s}", typ);
        expect(wish, named, BASE_OK);
        expect(wish, unnamed, BASE_DENIED);
        snprintf(more, sizeof more, "{\"alg\":\"ES256\",\"kid\":\"Mine\"%s}", typ);
        expect(wish, named, BASE_DENIED);
        snprintf(more, sizeof more, "{\"alg\":\"ES256\",\"kid\":\"%s\"%s}",
                 jose_key_thumbprint(unnamed), typ);
        expect(wish, named, BASE_OK);
        expect(wish, unnamed, BASE_OK);
    }
    jose_key_unref(&named);
    memset(kid, 'k', sizeof kid);
    snprintf(more, sizeof more, ",\"kid\":\"%.255s\"", kid);
    expect_header(JOSE_ES256, "ES256", more, BASE_DENIED);
    snprintf(more, sizeof more, ",\"kid\":\"%.256s\"", kid);
    expect_header(JOSE_ES256, "ES256", more, BASE_INVALID);
}

static void test_fits(void **state)
{
    struct jose_assertion peeked = {.alg = JOSE_ES256};

    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++)
        assert_int_equal(jose_assertion_fits(&peeked, keys[i]), i == JOSE_ES256);
    strcpy(peeked.kid, jose_key_thumbprint(keys[JOSE_ES256]));
    assert_true(jose_assertion_fits(&peeked, keys[JOSE_ES256]));
    peeked.alg = JOSE_ES384;
    assert_false(jose_assertion_fits(&peeked, keys[JOSE_ES256]));
    assert_false(jose_assertion_fits(&peeked, keys[JOSE_ES384]));
}

/* Without a kid, each key of the algorithm is asked. */
static void test_several_keys(void **state)
{
    struct jose_key *others[4] = {keys[JOSE_RS256], NULL, keys[JOSE_ES384], keys[JOSE_ES256]};
    char *text = jose_forge((struct jose_forge){
        .key = keys[JOSE_ES256], .header = header("ES256", ""), .payload = CLAIMS});

    (void)state;
    assert_int_equal(jose_key_generate(JOSE_ES256, &others[1]), BASE_OK);
    assert_int_equal(judge(text, others, 4), BASE_OK);
    assert_int_equal(judge(text, others, 3), BASE_DENIED);
    assert_int_equal(judge(text, others, 0), BASE_DENIED);
    jose_key_unref(&others[1]);
    base_free(&text);
}

static void test_algorithms_refused(void **state)
{
    static const char *const names[] = {"none",  "NONE",  "HS256", "HS384", "HS512", "hs256",
                                        "es256", "Es384", "rs256", "RS384", "RS512", "ES512",
                                        "PS256", "EdDSA", "",      "ES256 "};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(names); i++)
        for (unsigned k = 0; k < JOSE_ALG_COUNT; k++)
            expect_header((enum jose_alg)k, names[i], "", BASE_INVALID);
    expect_header(JOSE_ES256, "ES256", ",\"alg\":\"ES256\"", BASE_INVALID);
}

/* What libjwt 1.10 accepts: the RSA key's PEM as a secret, ES256 over P-384. */
static void test_key_confusion(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_COUNT(assertion_algs); i++) {
        struct jose_key *key = keys[assertion_algs[i]];

        expect((struct jose_forge){.hmac = jose_key_public_pem(key),
                                   .header = header("HS256", ",\"typ\":\"JWT\""),
                                   .payload = CLAIMS},
               key, BASE_INVALID);
        for (size_t n = 0; n < BASE_COUNT(assertion_algs); n++)
            if (n != i)
                expect((struct jose_forge){.key = key,
                                           .digest = "SHA256",
                                           .header = header(jose_alg_name(assertion_algs[n]), ""),
                                           .payload = CLAIMS},
                       key, BASE_DENIED);
    }
    /* The right algorithm, but registered for PSS. */
    expect((struct jose_forge){.key = keys[JOSE_RS256],
                               .header = header("RS256", ""),
                               .payload = CLAIMS},
           keys[JOSE_PS256], BASE_DENIED);
    expect((struct jose_forge){.header = header("none", ""), .payload = CLAIMS}, keys[0],
           BASE_INVALID);
    expect((struct jose_forge){.header = header("ES256", ""), .payload = CLAIMS}, keys[0],
           BASE_INVALID);
}

static void test_headers_refused(void **state)
{
    static const char *const more[] = {
        ",\"crit\":[\"exp\"]",
        ",\"crit\":[]",
        ",\"crit\":null",
        ",\"b64\":true",
        ",\"jwk\":{}",
        ",\"jku\":\"https://evil\"",
        ",\"x5u\":\"https://evil\"",
        ",\"x5c\":[]",
        ",\"typ\":\"at+jwt\"",
        ",\"typ\":\"\"",
        ",\"typ\":null",
        ",\"typ\":1",
        ",\"typ\":\"JWT \"",
        ",\"typ\":\"token-introspection+jwt\"",
        ",\"typ\":\"JWT\",\"typ\":\"JWT\"",
        ",\"kid\":1",
        ",\"kid\":null",
        ",\"kid\":\"a\",\"kid\":\"a\"",
        ",\"\\u0061lg\":\"ES256\"",
        ",",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(more); i++)
        expect_header(JOSE_ES256, "ES256", more[i], BASE_INVALID);
    expect((struct jose_forge){.key = keys[0], .header = "{}", .payload = CLAIMS}, keys[0],
           BASE_INVALID);
    expect((struct jose_forge){.key = keys[0], .header = "{\"alg\":256}", .payload = CLAIMS},
           keys[0], BASE_INVALID);
    expect((struct jose_forge){.key = keys[0], .header = "[]", .payload = CLAIMS}, keys[0],
           BASE_INVALID);
}

/* A key brought along is never used, even if the signature is its own. */
static void test_embedded_key(void **state)
{
    struct jose_key *mine;
    char text[1024];

    (void)state;
    assert_int_equal(jose_key_generate(JOSE_ES256, &mine), BASE_OK);
    snprintf(text, sizeof text, "{\"alg\":\"ES256\",\"jwk\":%s}", jose_key_public_jwk(mine));
    expect((struct jose_forge){.key = mine, .header = text, .payload = CLAIMS}, keys[JOSE_ES256],
           BASE_INVALID);
    expect((struct jose_forge){.key = mine, .header = header("ES256", ""), .payload = CLAIMS},
           keys[JOSE_ES256], BASE_DENIED);
    jose_key_unref(&mine);
}

static void test_payloads(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "1",
        "",
        "{\"iss\":\"a\"}",
        "{\"sub\":\"a\"}",
        "{\"iss\":\"a\",\"sub\":\"b\"}",
        "{\"iss\":\"a\",\"sub\":\"A\"}",
        "{\"iss\":\"\",\"sub\":\"\"}",
        "{\"iss\":1,\"sub\":1}",
        "{\"iss\":\"a\",\"sub\":1}",
        "{\"iss\":[\"a\"],\"sub\":[\"a\"]}",
        "{\"iss\":null,\"sub\":null}",
        "{\"iss\":\"a\",\"sub\":\"a\",\"sub\":\"a\"}",
        "{\"iss\":\"a\",\"sub\":\"a\",\"x\":{\"y\":1,\"y\":2}}",
        "{\"iss\":\"a\",\"sub\":\"a\\u0000\"}",
        "{\"iss\":\"a\",\"sub\":\"a\"}x",
        "{\"iss\":\"a\",\"sub\":\"a\"",
        "{\"iss\":\"\xff\",\"sub\":\"\xff\"}",
        "{\"iss\":\"a\",\"sub\":\"a\",\"x\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++)
        expect_payload(bad[i], BASE_INVALID);
    expect_payload("{\"iss\":\"a\",\"sub\":\"a\"}", BASE_OK);
    expect_payload(" {\"sub\":\"\\u0061\",\n\"iss\":\"a\"}\r\n", BASE_OK);
    expect_payload("{\"iss\":\"\xc3\xa9\",\"sub\":\"\\u00e9\",\"n\":9007199254740993}", BASE_OK);
}

static void test_signatures_refused(void **state)
{
    static const char *const types[] = {"", ",\"typ\":\"client-authentication+jwt\""};

    (void)state;
    for (size_t t = 0; t < BASE_COUNT(types); t++)
        for (size_t i = 0; i < BASE_COUNT(assertion_algs); i++) {
            enum jose_alg alg = assertion_algs[i];
            struct jose_forge wish = {.key = keys[alg],
                                      .header = header(jose_alg_name(alg), types[t]),
                                      .payload = CLAIMS,
                                      .der = true};
            char *text;

            if (alg != JOSE_RS256)
                expect(wish, keys[alg], BASE_DENIED);
            wish.der = false;
            text = jose_forge(wish);
            for (int cut = 0; cut < 12; cut++) {
                assert_int_equal(judge(text, &keys[alg], 1) == BASE_OK, cut == 0);
                text[strlen(text) - 1] = '\0';
            }
            base_free(&text);
        }
}

/* Any character of it changed: refused. What libjwt's lenient base64 would overlook is refused
 * first. */
static void test_every_change(void **state)
{
    char *text = jose_forge((struct jose_forge){
        .key = keys[JOSE_RS256], .header = header("RS256", ""), .payload = CLAIMS});
    static const char others[] = {'A', '=', '+', '/', ' ', '\n', '.', '\x80'};

    (void)state;
    for (size_t i = 0; text[i]; i++) {
        char kept = text[i];

        for (size_t o = 0; o < sizeof others; o++) {
            text[i] = others[o];
            assert_int_equal(judge(text, &keys[JOSE_RS256], 1) == BASE_OK, others[o] == kept);
        }
        text[i] = kept;
    }
    base_free(&text);
}

static void test_form(void **state)
{
    static const char *const whole[] = {"",         ".",        "..",      "...",
                                        "e30..e30", ".e30.e30", "e30.e30", "e30.e30.e30"};
    char *text = jose_forge((struct jose_forge){
        .key = keys[JOSE_ES256], .header = header("ES256", ""), .payload = CLAIMS});
    static const char *const after[] = {"", ".", ".AAAA", "=", "==", " ", "\n"};
    char longer[4096];

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(whole); i++)
        assert_int_equal(judge(whole[i], keys, 1), BASE_INVALID);
    for (size_t i = 0; i < BASE_COUNT(after); i++) {
        snprintf(longer, sizeof longer, "%s%s", text, after[i]);
        assert_int_equal(judge(longer, keys, 1), i == 0 ? BASE_OK : BASE_INVALID);
    }
    snprintf(longer, sizeof longer, " %s", text);
    assert_int_equal(judge(longer, keys, 1), BASE_INVALID);
    base_free(&text);
}

/* The largest that we look at passes through libjwt; one byte more is not looked at. */
static void test_size(void **state)
{
    char payload[JOSE_MAX_ASSERTION], *text;
    struct jose_assertion peeked;
    size_t len = 0, fill = 5900;

    (void)state;
    do {
        snprintf(payload, sizeof payload, "{\"iss\":\"a\",\"sub\":\"a\",\"x\":\"%*s\"}",
                 (int)fill++, "");
        text = jose_forge((struct jose_forge){
            .key = keys[JOSE_ES256], .header = header("ES256", ""), .payload = payload});
        len = strlen(text);
        if (len <= JOSE_MAX_ASSERTION && len > JOSE_MAX_ASSERTION - 16)
            assert_int_equal(judge(text, keys, 1), BASE_OK);
        if (len > JOSE_MAX_ASSERTION)
            assert_int_equal(peek(text, &peeked), BASE_INVALID);
        base_free(&text);
    } while (len <= JOSE_MAX_ASSERTION);
}

/* Verification with another text than the one looked at, or with nothing looked at. */
static void test_peeked_must_match(void **state)
{
    struct jose_forge wish = {
        .key = keys[JOSE_ES256], .header = header("ES256", ""), .payload = CLAIMS};
    char *text = jose_forge(wish), *other;
    struct jose_assertion peeked;

    (void)state;
    wish.payload = "{\"iss\":\"b\",\"sub\":\"b\"}";
    other = jose_forge(wish);
    assert_int_equal(peek(other, &peeked), BASE_OK);
    assert_int_equal(jose_assertion_verify(base_span_str(text), &peeked, keys, 1), BASE_DENIED);
    jose_assertion_clear(&peeked);
    assert_int_equal(jose_assertion_verify(base_span_str(text), &peeked, keys, 1), BASE_DENIED);
    wish.header = header("ES256", ",\"typ\":\"client-authentication+jwt\"");
    base_free(&other);
    other = jose_forge(wish);
    assert_int_equal(peek(other, &peeked), BASE_OK);
    assert_int_equal(jose_assertion_verify(BASE_SPAN("a.b"), &peeked, keys, 1), BASE_DENIED);
    jose_assertion_clear(&peeked);
    base_free(&other);
    base_free(&text);
}

/* The size is judged again, and so is the algorithm: what libjwt never sees, a registered key of
 * that kind does not change. */
static void test_verify_trusts_no_peek(void **state)
{
    char *text = jose_forge((struct jose_forge){
        .key = keys[JOSE_ES256], .header = header("ES256", ""), .payload = CLAIMS});
    char *big = base_calloc(1, JOSE_MAX_ASSERTION + 2);
    struct jose_assertion peeked;

    (void)state;
    assert_int_equal(peek(text, &peeked), BASE_OK);
    memset(big, 'A', JOSE_MAX_ASSERTION + 1);
    assert_int_equal(jose_assertion_verify(base_span_str(big), &peeked, keys, 1), BASE_DENIED);
    peeked.alg = JOSE_PS256;
    assert_true(jose_assertion_fits(&peeked, keys[JOSE_PS256]));
    assert_int_equal(jose_assertion_verify(base_span_str(text), &peeked, &keys[JOSE_PS256], 1),
                     BASE_DENIED);
    jose_assertion_clear(&peeked);
    base_free(&big);
    base_free(&text);
}

/* A libjwt that says yes to what it has not read: each lie alone must fail. */
static struct {
    bool no_token, no_text, active;
    jwt_alg_t alg;
    const char *grants;
} lie;

int __real_jwt_decode(jwt_t **jwt, const char *token, const unsigned char *key, int key_len);
int __wrap_jwt_decode(jwt_t **jwt, const char *token, const unsigned char *key, int key_len);
jwt_alg_t __real_jwt_get_alg(jwt_t *jwt);
jwt_alg_t __wrap_jwt_get_alg(jwt_t *jwt);
char *__real_jwt_get_grants_json(jwt_t *jwt, const char *grant);
char *__wrap_jwt_get_grants_json(jwt_t *jwt, const char *grant);

int __wrap_jwt_decode(jwt_t **jwt, const char *token, const unsigned char *key, int key_len)
{
    *jwt = NULL;
    return lie.no_token ? 0 : __real_jwt_decode(jwt, token, key, key_len);
}

jwt_alg_t __wrap_jwt_get_alg(jwt_t *jwt)
{
    return lie.active ? lie.alg : __real_jwt_get_alg(jwt);
}

char *__wrap_jwt_get_grants_json(jwt_t *jwt, const char *grant)
{
    if (lie.no_text)
        return NULL;
    return lie.grants ? strdup(lie.grants) : __real_jwt_get_grants_json(jwt, grant);
}

static void test_libjwt_is_not_believed(void **state)
{
    char *text = jose_forge((struct jose_forge){
        .key = keys[JOSE_ES256], .header = header("ES256", ""), .payload = CLAIMS});
    struct jose_key **with = &keys[JOSE_ES256];

    (void)state;
    assert_int_equal(judge(text, with, 1), BASE_OK);
    lie.no_token = true;
    assert_int_equal(judge(text, with, 1), BASE_DENIED);
    lie.no_token = false;
    lie.active = true;
    lie.alg = JWT_ALG_HS256;
    assert_int_equal(judge(text, with, 1), BASE_DENIED);
    lie.active = false;
    lie.no_text = true;
    assert_int_equal(judge(text, with, 1), BASE_DENIED);
    lie.no_text = false;
    lie.grants = "{\"iss\":\"key_a\",\"sub\":\"key_a\"}";
    assert_int_equal(judge(text, with, 1), BASE_DENIED);
    lie.grants = "{";
    assert_int_equal(judge(text, with, 1), BASE_DENIED);
    lie.grants = NULL;
    assert_int_equal(judge(text, with, 1), BASE_OK);
    base_free(&text);
}

static enum base_err parse_set(const char *text, size_t max, struct jose_key **out, size_t *n,
                               struct base_buf *why)
{
    json_t *jwks = json_loads(text, JSON_DECODE_ANY, NULL);
    enum base_err err;

    assert_non_null(jwks);
    base_buf_reset(why);
    err = jose_jwks_parse(jwks, out, max, n, why);
    json_decref(jwks);
    assert_int_equal(ERR_peek_error(), 0);
    return err;
}

static void test_key_set(void **state)
{
    struct jose_key *out[4];
    char memory[512], text[4096];
    struct base_buf why;
    size_t n;

    (void)state;
    base_buf_init_fixed(&why, memory, sizeof memory);
    snprintf(text, sizeof text, "{\"keys\":[%s,%s,%s],\"more\":1}",
             jose_key_public_jwk(keys[JOSE_ES256]), jose_key_public_jwk(keys[JOSE_ES384]),
             jose_key_public_jwk(keys[JOSE_RS256]));
    assert_int_equal(parse_set(text, 4, out, &n, &why), BASE_OK);
    assert_int_equal(n, 3);
    assert_int_equal(why.len, 0);
    assert_int_equal(jose_key_alg(out[1]), JOSE_ES384);
    while (n > 0)
        jose_key_unref(&out[--n]);
    assert_int_equal(parse_set(text, 2, out, &n, &why), BASE_INVALID);
    assert_non_null(strstr(base_buf_cstr(&why), "1 to 2"));
    assert_int_equal(n, 0);
}

static void test_key_sets_refused(void **state)
{
    static const char *const forms[] = {
        "{}", "[]", "1", "{\"keys\":[]}", "{\"keys\":{}}", "{\"keys\":\"x\"}", "{\"keys\":null}"};
    struct jose_key *out[4];
    char memory[512], text[4096];
    struct base_buf why;
    size_t n;

    (void)state;
    base_buf_init_fixed(&why, memory, sizeof memory);
    for (size_t i = 0; i < BASE_COUNT(forms); i++) {
        assert_int_equal(parse_set(forms[i], 4, out, &n, &why), BASE_INVALID);
        assert_int_equal(n, 0);
    }
    snprintf(text, sizeof text, "{\"keys\":[%s,{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
             jose_key_public_jwk(keys[JOSE_ES256]));
    assert_int_equal(parse_set(text, 4, out, &n, &why), BASE_DENIED);
    assert_int_equal(n, 0);
    assert_non_null(strstr(base_buf_cstr(&why), "keys[1]: the secret member \"k\""));
    snprintf(text, sizeof text, "{\"keys\":[%s,%s]}", jose_key_public_jwk(keys[JOSE_ES256]),
             jose_key_public_jwk(keys[JOSE_EDDSA]));
    assert_int_equal(parse_set(text, 4, out, &n, &why), BASE_INVALID);
    assert_non_null(strstr(base_buf_cstr(&why), "keys[1]: \"alg\""));
    snprintf(text, sizeof text, "{\"keys\":[%s]}", jose_key_public_jwk(keys[JOSE_PS256]));
    assert_int_equal(parse_set(text, 4, out, &n, &why), BASE_INVALID);
    /* A single key, as a merge patch would put it beside the keys that are there. */
    snprintf(text, sizeof text, "{\"keys\":[%s],%s", jose_key_public_jwk(keys[JOSE_ES256]),
             jose_key_public_jwk(keys[JOSE_ES256]) + 1);
    assert_int_equal(parse_set(text, 4, out, &n, &why), BASE_INVALID);
    assert_non_null(strstr(base_buf_cstr(&why), "single key"));
    snprintf(text, sizeof text, "{\"d\":\"AAAA\",%s", jose_key_public_jwk(keys[JOSE_ES256]) + 1);
    assert_int_equal(parse_set(text, 4, out, &n, &why), BASE_DENIED);
    assert_non_null(strstr(base_buf_cstr(&why), "must not be used any more"));
    assert_int_equal(parse_set("{\"keys\":[1]}", 4, out, &n, &why), BASE_INVALID);
    assert_non_null(strstr(base_buf_cstr(&why), "keys[0]: "));
}

/* Each allocation that passes base_mem fails in turn; those of libjwt's own do not. One that was
 * not needed may change nothing; no other verdict may come of it. */
static void no_verdict_without_memory(const char *text, struct jose_key *with,
                                      enum base_err verdict)
{
    int unjudged = 0;
    long n = 0, left;

    do {
        enum base_err err;

        base_mem_fail_nth(++n);
        err = judge(text, &with, 1);
        left = base_mem_fail_nth(0);
        if (left > 0 || err != BASE_NO_MEMORY)
            assert_int_equal(err, verdict);
        else
            unjudged++;
    } while (left == 0);
    assert_true(unjudged > 10);
}

static void test_no_verdict_without_memory(void **state)
{
    static const char *const types[] = {"", ",\"typ\":\"client-authentication+jwt\""};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(types); i++) {
        /* With an EC key libjwt forgets its ECDSA_SIG when OpenSSL has no memory. */
        enum jose_alg alg = i == 0 ? JOSE_RS256 : JOSE_ES256;
        char *good = jose_forge((struct jose_forge){
            .key = keys[alg], .header = header(jose_alg_name(alg), types[i]), .payload = CLAIMS});
        char *forged = base_strdup(good), *at = forged + strlen(forged) - 10;

        *at = *at == 'A' ? 'B' : 'A';
        no_verdict_without_memory(good, keys[alg], BASE_OK);
        no_verdict_without_memory(forged, keys[alg], BASE_DENIED);
        base_free(&good);
        base_free(&forged);
    }
}

static void test_no_verdict_on_a_key_without_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_COUNT(assertion_algs); i++) {
        json_auto_t *jwk = json_loads(jose_key_public_jwk(keys[assertion_algs[i]]), 0, NULL);
        int unjudged = 0;
        long n = 0, left;

        do {
            BASE_AUTO(base_buf_clear) struct base_buf why = {.max = 512};
            struct jose_key *key;
            enum base_err err;

            base_mem_fail_nth(++n);
            err = jose_key_from_jwk(jwk, &key, &why);
            left = base_mem_fail_nth(0);
            jose_key_unref(&key);
            assert_true(err == BASE_OK || (err == BASE_NO_MEMORY && left == 0));
            unjudged += err == BASE_NO_MEMORY;
        } while (left == 0);
        assert_true(unjudged > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_peek_reads),
        cmocka_unit_test(test_kid),
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_several_keys),
        cmocka_unit_test(test_algorithms_refused),
        cmocka_unit_test(test_key_confusion),
        cmocka_unit_test(test_headers_refused),
        cmocka_unit_test(test_embedded_key),
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_signatures_refused),
        cmocka_unit_test(test_every_change),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_peeked_must_match),
        cmocka_unit_test(test_verify_trusts_no_peek),
        cmocka_unit_test(test_libjwt_is_not_believed),
        cmocka_unit_test(test_key_set),
        cmocka_unit_test(test_key_sets_refused),
        cmocka_unit_test(test_no_verdict_without_memory),
        cmocka_unit_test(test_no_verdict_on_a_key_without_memory),
    };

    base_mem_watch_libraries();
    base_mem_survive_libraries();
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
