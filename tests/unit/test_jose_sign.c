/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures: the exact text of a token, and that OpenSSL, asked independently, verifies it. */
#include "jose_sign.h"

#include "base_encode.h"
#include "base_mem.h"
#include "jose_forge.h"
#include "jose_verify.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <pthread.h>

#define CLAIMS "{\"iss\":\"https://issuer.example\",\"sub\":\"key_a\",\"exp\":1700000600}"

static const struct jose_key *find_only(void *ctx, struct base_span kid)
{
    const struct jose_key *key = ctx;

    return base_span_eq(kid, base_span_str(jose_key_thumbprint(key))) ? key : NULL;
}

static void expect_part(const char **at, const char *expected)
{
    char *text = jose_forge_encode(expected, strlen(expected));

    assert_memory_equal(*at, text, strlen(text));
    *at += strlen(text);
    assert_int_equal(**at, '.');
    ++*at;
    base_free(&text);
}

/* The raw signature behind `text`, which `token` begins with. */
static size_t decode_signature(const char *text, uint8_t out[1100])
{
    struct base_buf raw;

    base_buf_init_fixed(&raw, (char *)out, 1100);
    assert_int_equal(base_decode_base64url(&raw, base_span_str(text)), BASE_OK);
    return raw.len;
}

static void expect_token(const struct jose_key *key, const char *typ, const char *token)
{
    const char *at = token;
    uint8_t signature[1100];
    char header[256];

    snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"%s\",\"kid\":\"%s\"}",
             jose_alg_name(jose_key_alg(key)), typ, jose_key_thumbprint(key));
    expect_part(&at, header);
    expect_part(&at, CLAIMS);
    assert_true(jose_forge_verify(key, base_span_of(token, (size_t)(at - token) - 1), signature,
                                  decode_signature(at, signature)));
}

static void expect_signs(struct jose_key *key, const char *typ)
{
    struct jose_signer *signer;
    struct base_buf out;
    json_t *claims;

    base_buf_init(&out, JOSE_MAX_TOKEN);
    base_buf_put_str(&out, "before:");
    assert_int_equal(jose_signer_new(key, typ, &signer), BASE_OK);
    assert_ptr_equal(jose_signer_key(signer), key);
    for (int i = 0; i < 3; i++) { /* contexts are used again */
        out.len = 7;
        assert_int_equal(jose_sign(signer, BASE_SPAN(CLAIMS), &out), BASE_OK);
        assert_memory_equal(base_buf_cstr(&out), "before:", 7);
        expect_token(key, typ, out.ptr + 7);
    }
    assert_int_equal(
        jose_verify(base_span_of(out.ptr + 7, out.len - 7), typ, find_only, key, &claims), BASE_OK);
    json_decref(claims);
    jose_signer_free(&signer);
    jose_signer_free(&signer);
    base_buf_clear(&out);
}

static void test_every_algorithm(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++) {
        struct jose_key *key;

        assert_int_equal(jose_key_generate((enum jose_alg)i, &key), BASE_OK);
        expect_signs(key, "at+jwt");
        expect_signs(key, "JWT");
        jose_key_unref(&key);
    }
    assert_int_equal(ERR_peek_error(), 0);
}

/* About one ECDSA signature in 128 has a half that begins with a zero byte: it keeps its width. */
static void test_fixed_width(void **state)
{
    struct jose_signer *signer;
    struct jose_key *key;
    struct base_buf out;
    int zeros = 0;

    (void)state;
    base_buf_init(&out, JOSE_MAX_TOKEN);
    assert_int_equal(jose_key_generate(JOSE_ES256, &key), BASE_OK);
    assert_int_equal(jose_signer_new(key, "at+jwt", &signer), BASE_OK);
    for (int i = 0; i < 2000; i++) {
        uint8_t raw[1100];
        const char *dot;

        base_buf_reset(&out);
        assert_int_equal(jose_sign(signer, BASE_SPAN(CLAIMS), &out), BASE_OK);
        dot = strrchr(base_buf_cstr(&out), '.');
        assert_int_equal(strlen(dot + 1), 86);
        assert_int_equal(decode_signature(dot + 1, raw), 64);
        zeros += (raw[0] == 0) + (raw[32] == 0);
        assert_true(
            jose_forge_verify(key, base_span_of(out.ptr, (size_t)(dot - out.ptr)), raw, 64));
    }
    assert_true(zeros > 0); /* else the test has seen nothing; chance 10^-7 */
    jose_signer_free(&signer);
    jose_key_unref(&key);
    base_buf_clear(&out);
}

static void test_refused_signers(void **state)
{
    static const char *const types[] = {"", "jwt", "AT+JWT", "at+jwt\"", "application/at+jwt"};
    struct jose_signer *signer;
    struct jose_key *key, *public_half;

    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++) {
        assert_int_equal(jose_key_generate((enum jose_alg)i, &key), BASE_OK);
        for (size_t t = 0; t < BASE_COUNT(types); t++)
            assert_int_equal(jose_signer_new(key, types[t], &signer), BASE_INVALID);
        public_half = jose_forge_jwk(jose_key_public_jwk(key));
        assert_int_equal(jose_signer_new(public_half, "at+jwt", &signer), BASE_INVALID);
        assert_null(signer);
        assert_int_equal(ERR_peek_error(), 0);
        jose_key_unref(&public_half);
        jose_key_unref(&key);
    }
}

/* One byte less than the token needs: nothing is written; just enough: all of it is. */
static void test_bounded_output(void **state)
{
    struct jose_signer *signer;
    struct jose_key *key;
    struct base_buf out;
    size_t need;

    (void)state;
    assert_int_equal(jose_key_generate(JOSE_EDDSA, &key), BASE_OK);
    assert_int_equal(jose_signer_new(key, "JWT", &signer), BASE_OK);
    base_buf_init(&out, JOSE_MAX_TOKEN);
    assert_int_equal(jose_sign(signer, BASE_SPAN(CLAIMS), &out), BASE_OK);
    need = out.len;
    base_buf_clear(&out);
    for (size_t max = 0; max < need; max += 7) {
        base_buf_init(&out, max);
        assert_int_equal(jose_sign(signer, BASE_SPAN(CLAIMS), &out), BASE_TOO_LARGE);
        assert_int_equal(out.len, 0);
        base_buf_clear(&out);
    }
    base_buf_init(&out, need);
    assert_int_equal(jose_sign(signer, BASE_SPAN(CLAIMS), &out), BASE_OK);
    base_buf_clear(&out);
    jose_signer_free(&signer);
    jose_key_unref(&key);
}

static void *sign_many(void *key)
{
    struct jose_signer *signer;
    struct base_buf out;

    base_buf_init(&out, JOSE_MAX_TOKEN);
    if (jose_signer_new(key, "at+jwt", &signer) != BASE_OK)
        return key;
    for (int i = 0; i < 50; i++) {
        json_t *claims;

        base_buf_reset(&out);
        if (jose_sign(signer, BASE_SPAN(CLAIMS), &out) != BASE_OK ||
            jose_verify(base_buf_span(&out), "at+jwt", find_only, key, &claims) != BASE_OK)
            return key;
        json_decref(claims);
    }
    jose_signer_free(&signer);
    base_buf_clear(&out);
    return NULL;
}

/* One key, a signer for each thread, as the workers have it. */
static void test_threads_share_a_key(void **state)
{
    (void)state;
    for (unsigned alg = 0; alg < JOSE_ALG_COUNT; alg++) {
        pthread_t threads[4];
        struct jose_key *key;

        assert_int_equal(jose_key_generate((enum jose_alg)alg, &key), BASE_OK);
        for (size_t i = 0; i < BASE_COUNT(threads); i++)
            assert_int_equal(pthread_create(&threads[i], NULL, sign_many, key), 0);
        for (size_t i = 0; i < BASE_COUNT(threads); i++) {
            void *failed;

            pthread_join(threads[i], &failed);
            assert_null(failed);
        }
        jose_key_unref(&key);
    }
}

/* Without memory: the token, or none of it; and OpenSSL's list of errors is as it was. */
static void test_without_memory(void **state)
{
    (void)state;
    for (unsigned alg = 0; alg < JOSE_ALG_COUNT; alg++) {
        struct jose_signer *signer;
        struct jose_key *key;
        int refused = 0;
        long n = 0, left;

        assert_int_equal(jose_key_generate((enum jose_alg)alg, &key), BASE_OK);
        assert_int_equal(jose_signer_new(key, "at+jwt", &signer), BASE_OK);
        do {
            BASE_AUTO(base_buf_clear) struct base_buf out = {.max = 8192};
            enum base_err err;

            base_mem_fail_nth(++n);
            err = jose_sign(signer, BASE_SPAN(CLAIMS), &out);
            left = base_mem_fail_nth(0);
            assert_int_equal(ERR_peek_error(), 0);
            if (err == BASE_OK)
                expect_token(key, "at+jwt", base_buf_cstr(&out));
            else
                assert_true(left == 0 && err == BASE_NO_MEMORY && out.len == 0);
            refused += err != BASE_OK;
        } while (left == 0);
        assert_true(refused > 0);
        jose_signer_free(&signer);
        jose_key_unref(&key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_algorithm),     cmocka_unit_test(test_fixed_width),
        cmocka_unit_test(test_refused_signers),     cmocka_unit_test(test_bounded_output),
        cmocka_unit_test(test_threads_share_a_key), cmocka_unit_test(test_without_memory),
    };

    base_mem_watch_libraries();
    base_mem_survive_libraries();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
