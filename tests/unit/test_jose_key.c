/* SPDX-License-Identifier: Apache-2.0 */
/* Keys: what is accepted as one, how it is named, and the many things that are not keys. */
#include "jose_key.h"

#include "base_encode.h"
#include "base_mem.h"
#include "base_secret.h"
#include "jose_forge.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/* Coordinates of RFC 7515 A.3, and a modulus (RFC 7638 §3.1). */
#define EC_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define EC_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define RSA_N                                                                                      \
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"      \
    "BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-"              \
    "65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"   \
    "bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
#define OKP_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define EC    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\""
#define RSA   "\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"" RSA_N "\""
#define OKP   "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" OKP_X "\""

static enum base_err read_jwk(const char *text, struct jose_key **out, char *why, size_t size)
{
    json_t *jwk = json_loads(text, JSON_DECODE_ANY, NULL);
    struct base_buf buf;
    enum base_err err;

    assert_non_null(jwk);
    base_buf_init_fixed(&buf, why, size);
    err = jose_key_from_jwk(jwk, out, &buf);
    (void)base_buf_cstr(&buf);
    json_decref(jwk);
    return err;
}

static void expect_refused(const char *text, enum base_err expected, const char *part_of_why)
{
    struct jose_key *key = (struct jose_key *)1;
    char why[256];
    enum base_err err = read_jwk(text, &key, why, sizeof why);

    if (err != expected || !strstr(why, part_of_why))
        fail_msg("%s: error %d, \"%s\", but expected %d, \"%s\"", text, err, why, expected,
                 part_of_why);
    assert_null(key);
    assert_int_equal(ERR_peek_error(), 0); /* or TLS would stumble over it */
}

static enum jose_alg alg_of(const char *text)
{
    struct jose_key *key = jose_forge_jwk(text);
    enum jose_alg alg = jose_key_alg(key);

    jose_key_unref(&key);
    return alg;
}

static void test_alg_names(void **state)
{
    static const char *const names[] = {"ES256", "ES384", "RS256", "PS256", "EdDSA"};
    static const char *const bad[] = {"",      "none",   "None",   "HS256", "HS512",
                                      "es256", "ES256 ", "ES256K", "ES25",  "ES512",
                                      "RS1",   "eddsa",  "Ed25519"};
    enum jose_alg alg;

    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++) {
        assert_string_equal(jose_alg_name((enum jose_alg)i), names[i]);
        assert_int_equal(jose_alg_parse(base_span_str(names[i]), &alg), BASE_OK);
        assert_int_equal(alg, i);
    }
    for (size_t i = 0; i < BASE_COUNT(bad); i++)
        assert_int_equal(jose_alg_parse(base_span_str(bad[i]), &alg), BASE_INVALID);
    assert_int_equal(jose_alg_parse(base_span_of("ES256\0", 6), &alg), BASE_INVALID);
}

static void export_key(const struct jose_key *key, struct base_buf *out)
{
    base_buf_init(out, 8192);
    assert_int_equal(jose_key_export_private(key, out), BASE_OK);
    assert_true(out->len > 0);
}

static void test_generate_and_store(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++) {
        struct jose_key *key, *again, *shared;
        struct base_buf der;

        assert_int_equal(jose_key_generate((enum jose_alg)i, &key), BASE_OK);
        assert_int_equal(jose_key_alg(key), i);
        assert_int_equal(strlen(jose_key_thumbprint(key)), 43);
        assert_int_equal(jose_key_client_kid(key).len, 0);
        export_key(key, &der);
        assert_int_equal(jose_key_import_private((enum jose_alg)i, base_buf_span(&der), &again),
                         BASE_OK);
        assert_string_equal(jose_key_thumbprint(key), jose_key_thumbprint(again));
        assert_string_equal(jose_key_public_jwk(key), jose_key_public_jwk(again));
        assert_string_equal(jose_key_public_pem(key), jose_key_public_pem(again));
        base_buf_clear(&der);
        shared = jose_key_ref(again);
        jose_key_unref(&again);
        assert_null(again);
        assert_int_equal(jose_key_alg(shared), i);
        jose_key_unref(&shared);
        jose_key_unref(&key);
        jose_key_unref(&key); /* NULL by now */
    }
    assert_int_equal(ERR_peek_error(), 0);
}

/* Each private key under each algorithm: only its own kind may come back. */
static void test_import_pins_algorithm(void **state)
{
    (void)state;
    for (unsigned of = 0; of < JOSE_ALG_COUNT; of++) {
        struct jose_key *key, *read;
        struct base_buf der;

        assert_int_equal(jose_key_generate((enum jose_alg)of, &key), BASE_OK);
        export_key(key, &der);
        for (unsigned as = 0; as < JOSE_ALG_COUNT; as++) {
            bool rsa =
                (of == JOSE_RS256 || of == JOSE_PS256) && (as == JOSE_RS256 || as == JOSE_PS256);
            enum base_err err =
                jose_key_import_private((enum jose_alg)as, base_buf_span(&der), &read);

            assert_int_equal(err, of == as || rsa ? BASE_OK : BASE_INVALID);
            assert_int_equal(read != NULL, err == BASE_OK);
            jose_key_unref(&read);
        }
        base_buf_clear(&der);
        jose_key_unref(&key);
    }
    assert_int_equal(ERR_peek_error(), 0);
}

static void expect_import_refused(enum jose_alg alg, struct base_span der)
{
    struct jose_key *key;

    assert_int_equal(jose_key_import_private(alg, der, &key), BASE_INVALID);
    assert_null(key);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_import_damaged(void **state)
{
    struct jose_key *key;
    struct base_buf der;

    (void)state;
    assert_int_equal(jose_key_generate(JOSE_ES256, &key), BASE_OK);
    export_key(key, &der);
    for (size_t len = 0; len < der.len; len++)
        expect_import_refused(JOSE_ES256, base_span_of(der.ptr, len));
    base_buf_put_char(&der, 0);
    expect_import_refused(JOSE_ES256, base_buf_span(&der));
    expect_import_refused(JOSE_ES256, base_span_str(jose_key_public_pem(key)));
    expect_import_refused(JOSE_ES256, BASE_SPAN("\x30\x80"));
    base_buf_clear(&der);
    jose_key_unref(&key);
}

static void expect_pkey_refused(enum jose_alg alg, EVP_PKEY *pkey)
{
    PKCS8_PRIV_KEY_INFO *info;
    unsigned char *der = NULL;
    int len;

    assert_non_null(pkey);
    info = EVP_PKEY2PKCS8(pkey);
    len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    assert_true(len > 0);
    expect_import_refused(alg, base_span_of((char *)der, (size_t)len));
    OPENSSL_free(der);
    PKCS8_PRIV_KEY_INFO_free(info);
    EVP_PKEY_free(pkey);
}

static EVP_PKEY *make_pkey(const char *type)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    assert_true(EVP_PKEY_keygen_init(ctx) > 0);
    assert_true(EVP_PKEY_keygen(ctx, &pkey) > 0);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static void test_import_wrong_kind(void **state)
{
    (void)state;
    expect_pkey_refused(JOSE_RS256, EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024));
    expect_pkey_refused(JOSE_RS256, make_pkey("RSA-PSS"));
    expect_pkey_refused(JOSE_ES256, EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-521"));
    expect_pkey_refused(JOSE_ES256, EVP_PKEY_Q_keygen(NULL, NULL, "EC", "secp256k1"));
    expect_pkey_refused(JOSE_EDDSA, make_pkey("ED448"));
    expect_pkey_refused(JOSE_EDDSA, make_pkey("X25519"));
}

static void test_export_bounded(void **state)
{
    struct jose_key *key;
    char memory[16];
    struct base_buf out;

    (void)state;
    assert_int_equal(jose_key_generate(JOSE_EDDSA, &key), BASE_OK);
    base_buf_init_fixed(&out, memory, sizeof memory);
    assert_int_equal(jose_key_export_private(key, &out), BASE_TOO_LARGE);
    assert_int_equal(out.len, 0);
    jose_key_unref(&key);
    /* A client's key has no private half to export. */
    key = jose_forge_jwk("{" EC "}");
    base_buf_init(&out, 1024);
    assert_int_equal(jose_key_export_private(key, &out), BASE_CRYPTO);
    assert_int_equal(out.len, 0);
    assert_int_equal(ERR_peek_error(), 0);
    jose_key_unref(&key);
}

static void test_thumbprints_of_the_rfcs(void **state)
{
    struct jose_key *rsa = jose_forge_jwk("{" RSA ",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}");
    struct jose_key *okp = jose_forge_jwk("{" OKP "}");

    (void)state;
    assert_string_equal(jose_key_thumbprint(rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_true(base_span_eq(jose_key_client_kid(rsa), BASE_SPAN("2011-04-29")));
    /* RFC 8037 A.3 */
    assert_string_equal(jose_key_thumbprint(okp), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    jose_key_unref(&rsa);
    jose_key_unref(&okp);
}

static void test_public_jwk_text(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"{" EC "}", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y
                     "\",\"use\":\"sig\",\"alg\":\"ES256\",\"kid\":\"%s\"}"},
        {"{" RSA ",\"alg\":\"PS256\"}",
         "{\"kty\":\"RSA\",\"n\":\"" RSA_N
         "\",\"e\":\"AQAB\",\"use\":\"sig\",\"alg\":\"PS256\",\"kid\":\"%s\"}"},
        {"{" OKP "}", "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" OKP_X
                      "\",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"%s\"}"},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct jose_key *key = jose_forge_jwk(cases[i].in);
        const char *cut = strstr(cases[i].out, "%s");
        size_t before = (size_t)(cut - cases[i].out);
        const char *text = jose_key_public_jwk(key);

        assert_memory_equal(text, cases[i].out, before);
        assert_memory_equal(text + before, jose_key_thumbprint(key), 43);
        assert_string_equal(text + before + 43, cut + 2);
        jose_key_unref(&key);
    }
}

static void test_jwk_round_trip(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++) {
        struct jose_key *key, *read;

        assert_int_equal(jose_key_generate((enum jose_alg)i, &key), BASE_OK);
        read = jose_forge_jwk(jose_key_public_jwk(key));
        assert_int_equal(jose_key_alg(read), i);
        assert_string_equal(jose_key_thumbprint(read), jose_key_thumbprint(key));
        assert_true(
            base_span_eq(jose_key_client_kid(read), base_span_str(jose_key_thumbprint(key))));
        assert_string_equal(jose_key_public_jwk(read), jose_key_public_jwk(key));
        assert_string_equal(jose_key_public_pem(read), jose_key_public_pem(key));
        jose_key_unref(&read);
        jose_key_unref(&key);
    }
}

/* A coordinate below 2^248 in about every 128th key: it must keep its 43 characters, and come back.
 */
static void test_leading_zero_coordinates(void **state)
{
    int found = 0;

    (void)state;
    for (int i = 0; i < 20000 && found < 3; i++) {
        struct jose_key *key, *read;
        const char *x, *y;

        assert_int_equal(jose_key_generate(JOSE_ES256, &key), BASE_OK);
        x = strstr(jose_key_public_jwk(key), "\"x\":\"") + 5;
        y = strstr(jose_key_public_jwk(key), "\"y\":\"") + 5;
        assert_int_equal(strcspn(x, "\""), 43);
        assert_int_equal(strcspn(y, "\""), 43);
        /* Eight zero bits: A is six of them, and the next digit's top two. */
        if ((x[0] == 'A' && x[1] < 'Q') || (y[0] == 'A' && y[1] < 'Q')) {
            read = jose_forge_jwk(jose_key_public_jwk(key));
            assert_string_equal(jose_key_thumbprint(read), jose_key_thumbprint(key));
            jose_key_unref(&read);
            found++;
        }
        jose_key_unref(&key);
    }
    assert_int_equal(found, 3);
}

static void test_jwk_algorithms(void **state)
{
    struct jose_key *key;
    char text[1024];

    (void)state;
    assert_int_equal(alg_of("{" EC "}"), JOSE_ES256);
    assert_int_equal(alg_of("{" EC ",\"alg\":\"ES256\",\"use\":\"sig\"}"), JOSE_ES256);
    assert_int_equal(alg_of("{" RSA "}"), JOSE_RS256);
    assert_int_equal(alg_of("{" RSA ",\"alg\":\"PS256\"}"), JOSE_PS256);
    assert_int_equal(alg_of("{" OKP ",\"key_ops\":[\"verify\"]}"), JOSE_EDDSA);
    assert_int_equal(alg_of("{" EC ",\"key_ops\":[\"sign\",\"verify\"],\"x5t\":1,\"iat\":2}"),
                     JOSE_ES256);
    assert_int_equal(jose_key_generate(JOSE_ES384, &key), BASE_OK);
    snprintf(text, sizeof text, "%s", jose_key_public_jwk(key));
    memcpy(strstr(text, "ES384"), "ES256", 5); /* P-384 does not do ES256 */
    expect_refused(text, BASE_INVALID, "\"alg\" does not fit");
    jose_key_unref(&key);
}

static void test_jwk_secrets(void **state)
{
    static const char *const members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(members); i++) {
        char text[2048], name[16];

        snprintf(name, sizeof name, "\"%s\"", members[i]);
        snprintf(text, sizeof text, "{" RSA ",%s:\"c2VjcmV0\"}", name);
        expect_refused(text, BASE_DENIED, name);
        snprintf(text, sizeof text, "{%s:null}", name);
        expect_refused(text, BASE_DENIED, name);
        snprintf(text, sizeof text, "{" EC ",\"use\":\"enc\",%s:{}}", name);
        expect_refused(text, BASE_DENIED, name);
    }
    expect_refused("{\"kty\":\"oct\",\"k\":\"AAAA\"}", BASE_DENIED, "\"k\"");
}

static void test_jwk_refused(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"[]", "object"},
        {"\"EC\"", "object"},
        {"{}", "\"kty\""},
        {"{\"kty\":\"oct\"}", "\"kty\""},
        {"{\"kty\":1}", "\"kty\""},
        {"{\"kty\":\"ec\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}", "\"kty\""},
        {"{\"kty\":\"EC\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}", "\"kty\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AA\",\"y\":\"AA\"}", "\"kty\""},
        {"{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}", "\"kty\""},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"AA\"}", "\"kty\""},
        {"{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" OKP_X "\"}", "\"kty\""},
        {"{" EC ",\"alg\":\"ES384\"}", "\"alg\""},
        {"{" EC ",\"alg\":\"HS256\"}", "\"alg\""},
        {"{" EC ",\"alg\":\"none\"}", "\"alg\""},
        {"{" EC ",\"alg\":null}", "\"alg\""},
        {"{" EC ",\"alg\":\"RS256\"}", "\"alg\""},
        {"{" RSA ",\"alg\":\"ES256\"}", "\"alg\""},
        {"{" RSA ",\"alg\":\"RS512\"}", "\"alg\""},
        {"{" RSA ",\"alg\":\"RSA-OAEP\"}", "\"alg\""},
        {"{" OKP ",\"alg\":\"ES256\"}", "\"alg\""},
        {"{" EC ",\"use\":\"enc\"}", "\"use\""},
        {"{" EC ",\"use\":[\"sig\"]}", "\"use\""},
        {"{" EC ",\"key_ops\":[\"sign\"]}", "\"key_ops\""},
        {"{" EC ",\"key_ops\":[]}", "\"key_ops\""},
        {"{" EC ",\"key_ops\":\"verify\"}", "\"key_ops\""},
        {"{" EC ",\"key_ops\":null}", "\"key_ops\""},
        {"{" EC ",\"kid\":7}", "\"kid\""},
        /* Coordinates: absent, of another type, padded, cut, too wide, with stray bits, with a
           space. */
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"y\":\"" EC_Y "\"}", "\"x\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\"}", "\"y\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":1,\"y\":\"" EC_Y "\"}", "\"x\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"\",\"y\":\"" EC_Y "\"}", "\"x\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "=\",\"y\":\"" EC_Y "\"}", "\"x\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X " \",\"y\":\"" EC_Y "\"}", "\"x\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEV\","
         "\"y\":\"" EC_Y "\"}",
         "\"x\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"zc4ncPbEXUGDy-5v20t7WAczNXvp7xO6z248e9FURQ\","
         "\"y\":\"" EC_Y "\"}",
         "full width"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AH_NzidwNsRdQYPL7m_bS3tYBzM1e-nvE7rPbjx70VRF\","
         "\"y\":\"" EC_Y "\"}",
         "\"x\""},
        {"{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}", "full width"},
        /* Off the curve: x and y exchanged; zero; over the prime. */
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_Y "\",\"y\":\"" EC_X "\"}", "point"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
         "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
         "point"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"__________________________________________8\","
         "\"y\":\"__________________________________________8\"}",
         "point"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}", "full width"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}", "\"x\""},
        {"{\"kty\":\"RSA\",\"n\":\"" RSA_N "\"}", "\"e\""},
        {"{\"kty\":\"RSA\",\"e\":\"AQAB\"}", "\"n\""},
        {"{\"kty\":\"RSA\",\"e\":\"AQ\",\"n\":\"" RSA_N "\"}", "\"e\""},         /* 1 */
        {"{\"kty\":\"RSA\",\"e\":\"AA\",\"n\":\"" RSA_N "\"}", "\"e\""},         /* 0 */
        {"{\"kty\":\"RSA\",\"e\":\"Ag\",\"n\":\"" RSA_N "\"}", "\"e\""},         /* 2 */
        {"{\"kty\":\"RSA\",\"e\":\"AQAA\",\"n\":\"" RSA_N "\"}", "\"e\""},       /* 65536 */
        {"{\"kty\":\"RSA\",\"e\":\"AAEAAQ\",\"n\":\"" RSA_N "\"}", "zero byte"}, /* 0, 65537 */
        {"{\"kty\":\"RSA\",\"e\":\"AQAAAAE\",\"n\":\"" RSA_N "\"}", "\"e\""},    /* 2^32 + 1 */
        {"{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"AQAB\"}", "2048"},
        {"{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"" RSA_N "==\"}", "\"n\""},
        {"{\"kty\":\"RSA\",\"e\":65537,\"n\":\"" RSA_N "\"}", "\"e\""},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        expect_refused(cases[i].text, BASE_INVALID, cases[i].why);
}

/* A modulus of `bits` bits: all ones, or with its last bit cleared, or after `zeros` zero bytes. */
static void expect_modulus(size_t bits, bool even, size_t zeros, const char *why)
{
    uint8_t bytes[1100] = {0};
    size_t len = (bits + 7) / 8;
    char text[2048];
    char *n;

    memset(bytes + zeros, 0xff, len);
    bytes[zeros] = (uint8_t)(0xff >> (len * 8 - bits));
    if (even)
        bytes[zeros + len - 1] = 0xfe;
    n = jose_forge_encode(bytes, zeros + len);
    snprintf(text, sizeof text, "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"%s\"}", n);
    if (why)
        expect_refused(text, BASE_INVALID, why);
    else
        assert_int_equal(alg_of(text), JOSE_RS256);
    base_free(&n);
}

static void test_rsa_sizes(void **state)
{
    (void)state;
    expect_modulus(1024, false, 0, "2048");
    expect_modulus(2047, false, 0, "2048");
    expect_modulus(2048, false, 0, NULL);
    expect_modulus(2048, true, 0, "even");
    expect_modulus(2048, false, 1, "zero byte");
    expect_modulus(8192, false, 0, NULL);
    expect_modulus(8193, false, 0, "\"n\"");
    expect_modulus(8704, false, 0, "\"n\"");
}

static void test_kid_length(void **state)
{
    struct jose_key *key;
    char kid[300], text[1024];

    (void)state;
    memset(kid, 'k', sizeof kid);
    snprintf(text, sizeof text, "{" EC ",\"kid\":\"%.255s\"}", kid);
    key = jose_forge_jwk(text);
    assert_int_equal(jose_key_client_kid(key).len, 255);
    jose_key_unref(&key);
    snprintf(text, sizeof text, "{" EC ",\"kid\":\"%.256s\"}", kid);
    expect_refused(text, BASE_INVALID, "\"kid\"");
}

static void test_public_pem(void **state)
{
    struct jose_key *key = jose_forge_jwk("{" EC "}");

    (void)state;
    assert_string_equal(jose_key_public_pem(key),
                        "-----BEGIN PUBLIC KEY-----\n"
                        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n"
                        "6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n"
                        "-----END PUBLIC KEY-----\n");
    jose_key_unref(&key);
}

/* OpenSSL's allocator: the one after so many more fails, once; negative: none. */
static long left = -1;

static void *scarce_malloc(size_t size, const char *file BASE_UNUSED, int line BASE_UNUSED)
{
    return left-- == 0 ? NULL : malloc(size);
}

static void *scarce_realloc(void *old, size_t size, const char *file BASE_UNUSED,
                            int line BASE_UNUSED)
{
    return left-- == 0 ? NULL : realloc(old, size);
}

static void plain_free(void *memory, const char *file BASE_UNUSED, int line BASE_UNUSED)
{
    free(memory);
}

/* Our digest promises to end the process instead, which is not what is tried here. */
void __real_base_sha256(struct base_span data, uint8_t out[BASE_SHA256_LEN]);
void __wrap_base_sha256(struct base_span data, uint8_t out[BASE_SHA256_LEN]);

void __wrap_base_sha256(struct base_span data, uint8_t out[BASE_SHA256_LEN])
{
    long kept = left;

    left = -1;
    __real_base_sha256(data, out);
    left = kept;
}

/* Memory runs out at each place in turn: a key or an error, never half of one. */
static void test_jwk_without_memory(void **state)
{
    static const char *const texts[] = {"{" EC "}", "{" RSA "}", "{" OKP "}"};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(texts); i++) {
        long failing = 0, refused = 0;
        bool is_done = false;

        while (!is_done) {
            struct jose_key *key;
            char why[256];
            enum base_err err;

            left = failing++;
            err = read_jwk(texts[i], &key, why, sizeof why);
            is_done = left >= 0; /* it asked for less */
            left = -1;
            refused += err != BASE_OK;
            assert_int_equal(key != NULL, err == BASE_OK);
            assert_int_equal(ERR_peek_error(), 0);
            jose_key_unref(&key);
        }
        assert_true(refused > 10);
    }
}

static void test_no_jwk(void **state)
{
    struct jose_key *key;
    struct base_buf why;
    char memory[100];

    (void)state;
    base_buf_init_fixed(&why, memory, sizeof memory);
    assert_int_equal(jose_key_from_jwk(NULL, &key, &why), BASE_INVALID);
    assert_null(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alg_names),
        cmocka_unit_test(test_generate_and_store),
        cmocka_unit_test(test_import_pins_algorithm),
        cmocka_unit_test(test_import_damaged),
        cmocka_unit_test(test_import_wrong_kind),
        cmocka_unit_test(test_export_bounded),
        cmocka_unit_test(test_thumbprints_of_the_rfcs),
        cmocka_unit_test(test_public_jwk_text),
        cmocka_unit_test(test_jwk_round_trip),
        cmocka_unit_test(test_leading_zero_coordinates),
        cmocka_unit_test(test_jwk_algorithms),
        cmocka_unit_test(test_jwk_secrets),
        cmocka_unit_test(test_jwk_refused),
        cmocka_unit_test(test_rsa_sizes),
        cmocka_unit_test(test_kid_length),
        cmocka_unit_test(test_public_pem),
        cmocka_unit_test(test_no_jwk),
        cmocka_unit_test(test_jwk_without_memory),
    };

    if (!CRYPTO_set_mem_functions(scarce_malloc, scarce_realloc, plain_free))
        return 1;

    return cmocka_run_group_tests(tests, NULL, NULL);
}
