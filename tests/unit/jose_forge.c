/* SPDX-License-Identifier: Apache-2.0 */
/* Forged tokens; whatever fails here is a fault of the test, so it aborts. */
#include "jose_forge.h"

#include "base_encode.h"
#include "base_mem.h"

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_TOKEN 65536

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "jose_forge: %s failed\n", what);
    abort();
}

static const char *digest_of(struct jose_forge wish)
{
    enum jose_alg alg = jose_key_alg(wish.key);

    if (wish.digest)
        return wish.digest;
    return alg == JOSE_EDDSA ? NULL : alg == JOSE_ES384 ? "SHA384" : "SHA256";
}

static size_t half_width(const EVP_PKEY *pkey)
{
    return EVP_PKEY_is_a(pkey, "EC") ? (size_t)(EVP_PKEY_get_bits(pkey) + 7) / 8 : 0;
}

static size_t fix_width(uint8_t *signature, size_t len, size_t width)
{
    const uint8_t *at = signature;
    ECDSA_SIG *parsed = d2i_ECDSA_SIG(NULL, &at, (long)len);

    must(parsed != NULL, "d2i_ECDSA_SIG");
    must(BN_bn2binpad(ECDSA_SIG_get0_r(parsed), signature, (int)width) == (int)width, "r");
    must(BN_bn2binpad(ECDSA_SIG_get0_s(parsed), signature + width, (int)width) == (int)width, "s");
    ECDSA_SIG_free(parsed);
    return 2 * width;
}

static void set_padding(EVP_PKEY_CTX *ctx, enum jose_alg alg)
{
    if (alg != JOSE_PS256)
        return;
    must(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0, "padding");
    must(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 32) > 0, "salt");
}

static size_t sign(struct jose_forge wish, const struct base_buf *text, uint8_t out[1024])
{
    EVP_PKEY *pkey = jose_key_pkey(wish.key);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pkey_ctx;
    size_t len = 1024;

    must(EVP_DigestSignInit_ex(ctx, &pkey_ctx, digest_of(wish), NULL, NULL, pkey, NULL) > 0,
         "init");
    set_padding(pkey_ctx, jose_key_alg(wish.key));
    must(EVP_DigestSign(ctx, out, &len, (uint8_t *)text->ptr, text->len) > 0, "sign");
    EVP_MD_CTX_free(ctx);
    if (half_width(pkey) && !wish.der)
        len = fix_width(out, len, half_width(pkey));
    return len;
}

static size_t hmac(const char *secret, const struct base_buf *text, uint8_t out[1024])
{
    unsigned len;

    must(HMAC(EVP_sha256(), secret, (int)strlen(secret), (uint8_t *)text->ptr, text->len, out,
              &len) != NULL,
         "HMAC");
    return len;
}

char *jose_forge(struct jose_forge wish)
{
    struct base_buf token;
    uint8_t signature[1024];
    size_t len = 0;
    char *copy;

    base_buf_init(&token, MAX_TOKEN);
    base_encode_base64url(&token, wish.header, strlen(wish.header));
    base_buf_put_char(&token, '.');
    base_encode_base64url(&token, wish.payload, strlen(wish.payload));
    if (wish.hmac)
        len = hmac(wish.hmac, &token, signature);
    else if (wish.key)
        len = sign(wish, &token, signature);
    base_buf_put_char(&token, '.');
    base_encode_base64url(&token, signature, len);
    copy = base_strdup(base_buf_cstr(&token));
    base_buf_clear(&token);
    return copy;
}

char *jose_forge_encode(const void *bytes, size_t len)
{
    struct base_buf text;
    char *copy;

    base_buf_init(&text, MAX_TOKEN);
    base_encode_base64url(&text, bytes, len);
    copy = base_strdup(base_buf_cstr(&text));
    base_buf_clear(&text);
    return copy;
}

struct jose_key *jose_forge_jwk(const char *text)
{
    json_t *jwk = json_loads(text, 0, NULL);
    struct jose_key *key;
    char memory[512];
    struct base_buf why;

    base_buf_init_fixed(&why, memory, sizeof memory);
    if (jose_key_from_jwk(jwk, &key, &why) != BASE_OK)
        must(false, base_buf_cstr(&why));
    json_decref(jwk);
    return key;
}

static size_t to_der(const uint8_t *raw, size_t width, uint8_t der[160])
{
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, (int)width, NULL);
    BIGNUM *s = BN_bin2bn(raw + width, (int)width, NULL);
    int len;

    must(ECDSA_SIG_set0(signature, r, s), "ECDSA_SIG_set0");
    len = i2d_ECDSA_SIG(signature, &der);
    must(len > 0, "i2d_ECDSA_SIG");
    ECDSA_SIG_free(signature);
    return (size_t)len;
}

bool jose_forge_verify(const struct jose_key *key, struct base_span text, const uint8_t *raw,
                       size_t len)
{
    EVP_PKEY *pkey = jose_key_pkey(key);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t width = half_width(pkey);
    EVP_PKEY_CTX *pkey_ctx;
    uint8_t der[160];
    bool ok;

    must(EVP_DigestVerifyInit_ex(ctx, &pkey_ctx, digest_of((struct jose_forge){.key = key}), NULL,
                                 NULL, pkey, NULL) > 0,
         "init");
    set_padding(pkey_ctx, jose_key_alg(key));
    if (width && len == 2 * width) {
        len = to_der(raw, width, der);
        raw = der;
    }
    ok = EVP_DigestVerify(ctx, raw, len, (const uint8_t *)text.ptr, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}
