/* SPDX-License-Identifier: Apache-2.0 */
/* Our own tokens, and everything that only looks like one. */
#include "jose_verify.h"

#include "base_mem.h"
#include "jose_forge.h"
#include "jose_internal.h"
#include "jose_sign.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CLAIMS "{\"sub\":\"key_a\",\"n\":1}"

static struct jose_key *keys[JOSE_ALG_COUNT];

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

static const struct jose_key *find(void *ctx, struct base_span kid)
{
    (void)ctx;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++)
        if (base_span_eq(kid, base_span_str(jose_key_thumbprint(keys[i]))))
            return keys[i];
    return NULL;
}

/* A copy of its own size, so that the sanitizer sees a read past its end. */
static enum base_err verify(const char *token, size_t len, json_t **claims)
{
    char *copy = base_malloc(len);
    enum base_err err;

    memcpy(copy, token, len);
    err = jose_verify(base_span_of(copy, len), "at+jwt", find, NULL, claims);
    base_free(&copy);
    return err;
}

static void expect(const char *token, enum base_err expected)
{
    json_t *claims = (json_t *)1;
    enum base_err err = verify(token, strlen(token), &claims);

    if (err != expected)
        fail_msg("%s: %d instead of %d", token, err, expected);
    assert_int_equal(claims != NULL, expected == BASE_OK);
    if (claims)
        json_decref(claims);
    assert_int_equal(ERR_peek_error(), 0);
}

static void expect_forged(struct jose_forge wish, enum base_err expected)
{
    char *token = jose_forge(wish);

    expect(token, expected);
    base_free(&token);
}

/* {"alg":…,"typ":…,"kid":…} and what else `more` holds; valid until the next call. */
static const char *header(const char *alg, const char *typ, const struct jose_key *key,
                          const char *more)
{
    static char text[1024];

    snprintf(text, sizeof text, "{\"alg\":\"%s\",\"typ\":\"%s\",\"kid\":\"%s\"%s}", alg, typ,
             jose_key_thumbprint(key), more);
    return text;
}

static void test_good(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++) {
        const char *alg = jose_alg_name((enum jose_alg)i);

        expect_forged((struct jose_forge){.key = keys[i],
                                          .header = header(alg, "at+jwt", keys[i], ""),
                                          .payload = CLAIMS},
                      BASE_OK);
    }
}

static void test_claims_are_given(void **state)
{
    char *token = jose_forge((struct jose_forge){
        .key = keys[0], .header = header("ES256", "at+jwt", keys[0], ""), .payload = CLAIMS});
    json_t *claims;

    (void)state;
    assert_int_equal(verify(token, strlen(token), &claims), BASE_OK);
    assert_int_equal(json_object_size(claims), 2);
    assert_string_equal(json_string_value(json_object_get(claims, "sub")), "key_a");
    json_decref(claims);
    base_free(&token);
}

/* Every algorithm that the header may name, under every key that is not of it. */
static void test_algorithm_is_the_keys(void **state)
{
    static const char *const names[] = {"ES256", "ES384", "RS256", "PS256", "EdDSA", "HS256",
                                        "none",  "None",  "es256", "RS512", "ES512"};

    (void)state;
    for (unsigned k = 0; k < JOSE_ALG_COUNT; k++)
        for (size_t n = 0; n < BASE_COUNT(names); n++)
            if (strcmp(names[n], jose_alg_name((enum jose_alg)k)) != 0)
                expect_forged((struct jose_forge){.key = keys[k],
                                                  .header = header(names[n], "at+jwt", keys[k], ""),
                                                  .payload = CLAIMS},
                              BASE_DENIED);
}

/* CVE-2015-9235 and its kin: the public key, which everybody has, taken as a secret. */
static void test_public_key_is_no_secret(void **state)
{
    (void)state;
    for (unsigned k = 0; k < JOSE_ALG_COUNT; k++) {
        struct jose_forge wish = {.hmac = jose_key_public_pem(keys[k]),
                                  .header = header("HS256", "at+jwt", keys[k], ""),
                                  .payload = CLAIMS};

        expect_forged(wish, BASE_DENIED);
        wish.header = header(jose_alg_name((enum jose_alg)k), "at+jwt", keys[k], "");
        expect_forged(wish, BASE_DENIED);
        wish.hmac = jose_key_public_jwk(keys[k]);
        expect_forged(wish, BASE_DENIED);
    }
}

/* ES256's digest under a P-384 key, signed well: libjwt 1.10 would take it. */
static void test_curve_of_another_algorithm(void **state)
{
    (void)state;
    expect_forged((struct jose_forge){.key = keys[JOSE_ES384],
                                      .digest = "SHA256",
                                      .header = header("ES256", "at+jwt", keys[JOSE_ES384], ""),
                                      .payload = CLAIMS},
                  BASE_DENIED);
    expect_forged((struct jose_forge){.key = keys[JOSE_ES384],
                                      .digest = "SHA256",
                                      .header = header("ES384", "at+jwt", keys[JOSE_ES384], ""),
                                      .payload = CLAIMS},
                  BASE_DENIED);
    expect_forged((struct jose_forge){.key = keys[JOSE_ES384],
                                      .header = header("ES256", "at+jwt", keys[JOSE_ES256], ""),
                                      .payload = CLAIMS},
                  BASE_DENIED);
    /* PKCS #1 v1.5 where PSS belongs, and the other way round. */
    expect_forged((struct jose_forge){.key = keys[JOSE_RS256],
                                      .header = header("PS256", "at+jwt", keys[JOSE_PS256], ""),
                                      .payload = CLAIMS},
                  BASE_DENIED);
}

static void test_headers_refused(void **state)
{
    static const char *const more[] = {
        ",\"crit\":[\"exp\"]",
        ",\"crit\":[]",
        ",\"jwk\":{}",
        ",\"jku\":\"https://evil\"",
        ",\"x5u\":\"x\"",
        ",\"x5c\":[]",
        ",\"b64\":false",
        ",\"cty\":\"JWT\"",
        ",\"zip\":\"DEF\"",
        ",\"alg\":\"ES256\"",
        ",\"kid\":\"other\"",
        ",\"typ\":\"at+jwt\"",
        ",\"\\u0061lg\":\"ES256\"",
        ",\"x\":1",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(more); i++)
        expect_forged((struct jose_forge){.key = keys[0],
                                          .header = header("ES256", "at+jwt", keys[0], more[i]),
                                          .payload = CLAIMS},
                      BASE_INVALID);
}

static void test_headers_malformed(void **state)
{
    static const char *const headers[] = {
        "[]",
        "\"\"",
        "1",
        "{",
        "{}",
        "{}x",
        "null",
        "{\"alg\":\"ES256\"}",
        "{\"alg\":\"ES256\",\"kid\":\"a\",\"a\":1}",
        "{\"alg\":1,\"kid\":\"a\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":null,\"typ\":\"at+jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":\"a\",\"typ\":[\"at+jwt\"]}",
        "{\"alg\":\"ES256\",\"kid\":\"\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"\",\"kid\":\"a\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":\"a\\u0000\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":\"\xff\",\"typ\":\"at+jwt\"}",
        "\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"a\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":\"a\",\"typ\":\"at+jwt\",}",
    };
    static const char *const types[] = {"JWT", "AT+JWT", "at+jwt ", "", "application/at+jwt"};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(headers); i++)
        expect_forged((struct jose_forge){.key = keys[0], .header = headers[i], .payload = CLAIMS},
                      BASE_INVALID);
    for (size_t i = 0; i < BASE_COUNT(types); i++)
        expect_forged((struct jose_forge){.key = keys[0],
                                          .header = header("ES256", types[i], keys[0], ""),
                                          .payload = CLAIMS},
                      BASE_INVALID);
}

static void test_unknown_kid(void **state)
{
    struct jose_key *other;

    (void)state;
    assert_int_equal(jose_key_generate(JOSE_ES256, &other), BASE_OK);
    expect_forged((struct jose_forge){.key = other,
                                      .header = header("ES256", "at+jwt", other, ""),
                                      .payload = CLAIMS},
                  BASE_NOT_FOUND);
    /* A known one, but another key signed. */
    expect_forged((struct jose_forge){.key = other,
                                      .header = header("ES256", "at+jwt", keys[0], ""),
                                      .payload = CLAIMS},
                  BASE_DENIED);
    jose_key_unref(&other);
}

/* Signed well, by ourselves: still no claims. */
static void test_payloads_refused(void **state)
{
    static const char *const payloads[] = {"[]",
                                           "1",
                                           "\"x\"",
                                           "{",
                                           "{}{}",
                                           "{\"a\":1,\"a\":2}",
                                           "{\"a\":\"\xc0\x80\"}",
                                           "{\"a\":\"\\u0000\"}",
                                           " ",
                                           "{\"a\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}"};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(payloads); i++)
        expect_forged((struct jose_forge){.key = keys[0],
                                          .header = header("ES256", "at+jwt", keys[0], ""),
                                          .payload = payloads[i]},
                      BASE_INVALID);
}

static void test_der_signature(void **state)
{
    (void)state;
    for (unsigned alg = JOSE_ES256; alg <= JOSE_ES384; alg++)
        expect_forged((struct jose_forge){.key = keys[alg],
                                          .der = true,
                                          .header = header(jose_alg_name((enum jose_alg)alg),
                                                           "at+jwt", keys[alg], ""),
                                          .payload = CLAIMS},
                      BASE_DENIED);
}

static char *good_token(enum jose_alg alg)
{
    return jose_forge(
        (struct jose_forge){.key = keys[alg],
                            .header = header(jose_alg_name(alg), "at+jwt", keys[alg], ""),
                            .payload = CLAIMS});
}

/* No prefix of a token is a token, nor is one with any character exchanged. */
static void test_every_cut_and_change(void **state)
{
    char *token = good_token(JOSE_EDDSA);
    size_t len = strlen(token);
    json_t *claims;

    (void)state;
    for (size_t i = 0; i < len; i++)
        assert_int_not_equal(verify(token, i, &claims), BASE_OK);
    for (size_t i = 0; i < len; i++) {
        char kept = token[i];

        token[i] = kept == 'A' ? 'B' : 'A';
        assert_int_not_equal(verify(token, len, &claims), BASE_OK);
        token[i] = '\0';
        assert_int_not_equal(verify(token, len, &claims), BASE_OK);
        token[i] = kept;
    }
    expect(token, BASE_OK);
    base_free(&token);
}

/* The text of a good token with something before, after or between. */
static void test_form(void **state)
{
    static const char *const forms[] = {"%s.", ".%s",  "%s.AAAA", "%s=", "%s==", " %s",
                                        "%s ", "%s\n", "\t%s",    "%s+", "%s/",  "%s.."};
    static const char *const whole[] = {"",         ".",        "..",          "...",
                                        "a.b.c",    "....",     "e30.e30.e30", "e30..e30",
                                        ".e30.e30", "e30.e30.", "e30.e30",     "e30"};
    char *token = good_token(JOSE_ES256);

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(forms); i++) {
        const char *at = strstr(forms[i], "%s");
        char text[2048];

        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - forms[i]), forms[i], token, at + 2);
        expect(text, BASE_INVALID);
    }
    for (size_t i = 0; i < BASE_COUNT(whole); i++)
        expect(whole[i], BASE_INVALID);
    base_free(&token);
    /* Everything right, but nothing behind the last dot. */
    expect_forged((struct jose_forge){.header = header("ES256", "at+jwt", keys[JOSE_ES256], ""),
                                      .payload = CLAIMS},
                  BASE_INVALID);
}

/* The last digit of 64 bytes carries two bits of nothing: they must be zero, or one token has four
 * texts. */
static void test_stray_bits(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *token = good_token(JOSE_ES256);
    char *last = token + strlen(token) - 1;
    size_t value = (size_t)(strchr(digits, *last) - digits);

    (void)state;
    assert_int_equal(value & 15, 0);
    for (size_t bits = 1; bits < 16; bits++) {
        *last = digits[value + bits];
        expect(token, BASE_INVALID);
    }
    base_free(&token);
}

static void test_too_large(void **state)
{
    char *token = base_malloc(JOSE_MAX_TOKEN + 2);
    char *good = good_token(JOSE_ES256);
    json_t *claims;

    (void)state;
    memset(token, 'A', JOSE_MAX_TOKEN + 2);
    assert_int_equal(verify(token, JOSE_MAX_TOKEN + 1, &claims), BASE_TOO_LARGE);
    assert_int_equal(verify(token, JOSE_MAX_TOKEN, &claims), BASE_INVALID);
    memcpy(token, good, strlen(good));
    assert_int_equal(verify(token, JOSE_MAX_TOKEN + 1, &claims), BASE_TOO_LARGE);
    base_free(&good);
    base_free(&token);
}

/* r or s of zero, or of the group's order: CVE-2022-21449. */
static void test_psychic_signatures(void **state)
{
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
                                      0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    uint8_t raw[64];

    (void)state;
    for (unsigned r = 0; r < 4; r++)
        for (unsigned s = 0; s < 4; s++) {
            static const uint8_t fill[] = {0, 0, 0xff, 1};

            memset(raw, fill[r], 32);
            memset(raw + 32, fill[s], 32);
            if (r == 1)
                memcpy(raw, order, 32);
            if (s == 1)
                memcpy(raw + 32, order, 32);
            assert_int_equal(jose_check_signature(keys[JOSE_ES256], BASE_SPAN("text"),
                                                  base_span_of((char *)raw, sizeof raw)),
                             BASE_DENIED);
        }
    assert_int_equal(jose_check_signature(keys[JOSE_ES256], BASE_SPAN("text"), BASE_SPAN("")),
                     BASE_DENIED);
}

/* The examples of the RFCs have neither kid nor typ: only their signatures are ours to check. */
static void expect_example(const char *jwk, const char *token)
{
    struct jose_compact compact;
    struct jose_key *key = jose_forge_jwk(jwk);

    assert_int_equal(jose_compact_parse(base_span_str(token), &compact), BASE_OK);
    assert_int_equal(
        jose_check_signature(key, compact.signed_text, base_buf_span(&compact.signature)), BASE_OK);
    compact.signature.ptr[5] ^= 1;
    assert_int_equal(
        jose_check_signature(key, compact.signed_text, base_buf_span(&compact.signature)),
        BASE_DENIED);
    jose_compact_clear(&compact);
    jose_key_unref(&key);
}

#define JOE                                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV"  \
    "lfQ"

static void test_examples_of_the_rfcs(void **state)
{
    (void)state;
    /* RFC 7515 A.3, A.2 */
    expect_example("{\"kty\":\"EC\",\"crv\":\"P-256\","
                   "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                   "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
                   "eyJhbGciOiJFUzI1NiJ9." JOE
                   ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqP"
                   "P3-Kg6NU1Q");
    expect_example(
        "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_"
        "wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_"
        "YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-"
        "KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-"
        "DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}",
        "eyJhbGciOiJSUzI1NiJ9." JOE
        ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_"
        "lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
        "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--"
        "xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXL"
        "IhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw");
    /* RFC 8037 A.4 */
    expect_example("{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                   "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
                   "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
                   "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_"
                   "MuM0KAg");
}

/* Each allocation of OpenSSL's and jansson's fails in turn. One that was not needed may change
 * nothing; no other verdict may come of it. */
static void no_verdict_without_memory(const char *token, enum base_err verdict)
{
    int unjudged = 0;
    long n = 0, left;

    do {
        json_t *claims;
        enum base_err err;

        base_mem_fail_nth(++n);
        err = verify(token, strlen(token), &claims);
        left = base_mem_fail_nth(0);
        assert_int_equal(ERR_peek_error(), 0);
        json_decref(claims);
        if (left > 0 || err != BASE_NO_MEMORY)
            assert_int_equal(err, verdict);
        else
            unjudged++;
    } while (left == 0);
    assert_true(unjudged > 10);
}

static void test_no_verdict_without_memory(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++) {
        char text[512];
        char *good, *forged, *at;

        snprintf(text, sizeof text, "{\"alg\":\"%s\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
                 jose_alg_name((enum jose_alg)i), jose_key_thumbprint(keys[i]));
        good = jose_forge((struct jose_forge){.header = text, .payload = CLAIMS, .key = keys[i]});
        forged = base_strdup(good);
        at = forged + strlen(forged) - 10;
        *at = *at == 'A' ? 'B' : 'A';
        no_verdict_without_memory(good, BASE_OK);
        no_verdict_without_memory(forged, BASE_DENIED);
        base_free(&good);
        base_free(&forged);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_claims_are_given),
        cmocka_unit_test(test_algorithm_is_the_keys),
        cmocka_unit_test(test_public_key_is_no_secret),
        cmocka_unit_test(test_curve_of_another_algorithm),
        cmocka_unit_test(test_headers_refused),
        cmocka_unit_test(test_headers_malformed),
        cmocka_unit_test(test_unknown_kid),
        cmocka_unit_test(test_payloads_refused),
        cmocka_unit_test(test_der_signature),
        cmocka_unit_test(test_every_cut_and_change),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_stray_bits),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_psychic_signatures),
        cmocka_unit_test(test_examples_of_the_rfcs),
        cmocka_unit_test(test_no_verdict_without_memory),
    };

    base_mem_watch_libraries();
    base_mem_survive_libraries();
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
