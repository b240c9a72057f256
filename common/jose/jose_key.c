/* SPDX-License-Identifier: Apache-2.0 */
/* A key is parsed, judged and described once (decoding one costs more than a signature); from then
 * on nothing of it changes but the count of its references. */
#include "jose_key.h"

#include "base_encode.h"
#include "base_mem.h"
#include "base_secret.h"
#include "jose_internal.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdatomic.h>

#define THUMBPRINT_LEN 43   /* 32 bytes in base64url */
#define MAX_TEXT       8192 /* of a JWK or a PEM: the largest RSA key needs a quarter */

struct jose_key {
    atomic_uint refs;
    enum jose_alg alg;
    EVP_PKEY *pkey;
    char thumbprint[THUMBPRINT_LEN + 1];
    char *client_kid; /* "" when there is none */
    char *public_jwk;
    char *public_pem;
};

static const struct jose_alg_info infos[JOSE_ALG_COUNT] = {
    [JOSE_ES256] = {"ES256", "EC", "P-256", "EC", "prime256v1", "SHA256", 32},
    [JOSE_ES384] = {"ES384", "EC", "P-384", "EC", "secp384r1", "SHA384", 48},
    [JOSE_RS256] = {"RS256", "RSA", NULL, "RSA", NULL, "SHA256", 0},
    [JOSE_PS256] = {"PS256", "RSA", NULL, "RSA", NULL, "SHA256", 0},
    [JOSE_EDDSA] = {"EdDSA", "OKP", "Ed25519", "ED25519", NULL, NULL, 32},
};

const struct jose_alg_info *jose_alg_info(enum jose_alg alg)
{
    assert((unsigned)alg < JOSE_ALG_COUNT);
    return &infos[alg];
}

const char *jose_alg_name(enum jose_alg alg)
{
    return jose_alg_info(alg)->name;
}

enum base_err jose_alg_parse(struct base_span text, enum jose_alg *out)
{
    for (unsigned alg = 0; alg < JOSE_ALG_COUNT; alg++)
        if (base_span_eq(text, base_span_str(infos[alg].name))) {
            *out = (enum jose_alg)alg;
            return BASE_OK;
        }
    return BASE_INVALID;
}

void jose_pkey_free(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
    *pkey = NULL;
}

void jose_pkey_ctx_free(EVP_PKEY_CTX **ctx)
{
    EVP_PKEY_CTX_free(*ctx);
    *ctx = NULL;
}

void jose_md_ctx_free(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
    *ctx = NULL;
}

static void free_number(BIGNUM **number)
{
    BN_free(*number);
    *number = NULL;
}

static void free_bio(BIO **bio)
{
    BIO_free(*bio);
    *bio = NULL;
}

static void free_pkcs8(PKCS8_PRIV_KEY_INFO **info)
{
    PKCS8_PRIV_KEY_INFO_free(*info); /* wipes */
    *info = NULL;
}

/* Type, curve and size are what the algorithm asks for: HAZARDS has what happens to those who leave
 * this to the library. */
static bool pkey_fits(const EVP_PKEY *pkey, const struct jose_alg_info *info)
{
    char group[32];

    if (!EVP_PKEY_is_a(pkey, info->type))
        return false;
    if (info->group)
        return EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) == 1 &&
               strcmp(group, info->group) == 0;
    return info->crv || (EVP_PKEY_get_bits(pkey) >= JOSE_MIN_RSA_BITS &&
                         EVP_PKEY_get_bits(pkey) <= JOSE_MAX_RSA_BITS);
}

/* A public number in base64url: at its full fixed width (RFC 7518 §6.2.1.2), or in as few bytes as
 * it needs (§6.3.1) when `width` is 0. */
static enum base_err put_number(struct base_buf *out, const EVP_PKEY *pkey, const char *param,
                                size_t width)
{
    BASE_AUTO(free_number) BIGNUM *number = NULL;
    uint8_t bytes[JOSE_MAX_RSA_BITS / 8];
    int len;

    if (!EVP_PKEY_get_bn_param(pkey, param, &number))
        return BASE_CRYPTO;
    len = width ? (int)width : BN_num_bytes(number);
    if (len > (int)sizeof bytes || BN_bn2binpad(number, bytes, len) != len)
        return BASE_CRYPTO;
    base_encode_base64url(out, bytes, (size_t)len);
    return BASE_OK;
}

static enum base_err put_raw(struct base_buf *out, const EVP_PKEY *pkey, size_t width)
{
    uint8_t bytes[64];
    size_t len = sizeof bytes;

    if (!EVP_PKEY_get_raw_public_key(pkey, bytes, &len) || len != width)
        return BASE_CRYPTO;
    base_encode_base64url(out, bytes, len);
    return BASE_OK;
}

/* The numbers of the public key: x and y, x alone, or n and e. */
static enum base_err put_numbers(const struct jose_key *key, struct base_buf *first,
                                 struct base_buf *second)
{
    const struct jose_alg_info *info = jose_alg_info(key->alg);
    bool ec = info->group != NULL;
    enum base_err err;

    if (info->crv && !ec)
        return put_raw(first, key->pkey, info->width);
    err = put_number(first, key->pkey, ec ? OSSL_PKEY_PARAM_EC_PUB_X : OSSL_PKEY_PARAM_RSA_N,
                     info->width);
    if (err != BASE_OK)
        return err;
    return put_number(second, key->pkey, ec ? OSSL_PKEY_PARAM_EC_PUB_Y : OSSL_PKEY_PARAM_RSA_E,
                      info->width);
}

/* RFC 7638 §3, RFC 8037 §2: the required members only, in alphabetical order, without white space.
 */
static void set_thumbprint(struct jose_key *key, const char *first, const char *second)
{
    const struct jose_alg_info *info = jose_alg_info(key->alg);
    BASE_AUTO(base_buf_clear) struct base_buf text = {.max = MAX_TEXT};
    uint8_t digest[BASE_SHA256_LEN];
    struct base_buf out;

    if (info->group)
        base_buf_putf(&text, "{\"crv\":\"%s\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", info->crv,
                      first, second);
    else if (info->crv)
        base_buf_putf(&text, "{\"crv\":\"%s\",\"kty\":\"OKP\",\"x\":\"%s\"}", info->crv, first);
    else
        base_buf_putf(&text, "{\"e\":\"%s\",\"kty\":\"RSA\",\"n\":\"%s\"}", second, first);
    base_sha256(base_buf_span(&text), digest);
    base_buf_init_fixed(&out, key->thumbprint, sizeof key->thumbprint);
    base_encode_base64url(&out, digest, sizeof digest);
    (void)base_buf_cstr(&out);
}

static void set_public_jwk(struct jose_key *key, const char *first, const char *second)
{
    const struct jose_alg_info *info = jose_alg_info(key->alg);
    BASE_AUTO(base_buf_clear) struct base_buf text = {.max = MAX_TEXT};

    base_buf_putf(&text, "{\"kty\":\"%s\",", info->kty);
    if (info->group)
        base_buf_putf(&text, "\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"", info->crv, first, second);
    else if (info->crv)
        base_buf_putf(&text, "\"crv\":\"%s\",\"x\":\"%s\"", info->crv, first);
    else
        base_buf_putf(&text, "\"n\":\"%s\",\"e\":\"%s\"", first, second);
    base_buf_putf(&text, ",\"use\":\"sig\",\"alg\":\"%s\",\"kid\":\"%s\"}", info->name,
                  key->thumbprint);
    key->public_jwk = base_strdup(base_buf_cstr(&text));
}

static enum base_err set_public_pem(struct jose_key *key)
{
    BASE_AUTO(free_bio) BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long len;

    if (!bio || !PEM_write_bio_PUBKEY(bio, key->pkey))
        return BASE_CRYPTO;
    if ((len = BIO_get_mem_data(bio, &text)) <= 0)
        return BASE_CRYPTO;
    key->public_pem = base_strndup(text, (size_t)len);
    return BASE_OK;
}

static enum base_err describe(struct jose_key *key)
{
    BASE_AUTO(base_buf_clear) struct base_buf first = {.max = MAX_TEXT};
    BASE_AUTO(base_buf_clear) struct base_buf second = {.max = MAX_TEXT};
    enum base_err err = put_numbers(key, &first, &second);

    if (err != BASE_OK)
        return err;
    set_thumbprint(key, base_buf_cstr(&first), base_buf_cstr(&second));
    set_public_jwk(key, base_buf_cstr(&first), base_buf_cstr(&second));
    return set_public_pem(key);
}

enum base_err jose_key_adopt(enum jose_alg alg, EVP_PKEY **pkey, struct base_span client_kid,
                             struct jose_key **out)
{
    BASE_AUTO(jose_key_unref) struct jose_key *key = NULL;
    enum base_err err;

    *out = NULL;
    if (!pkey_fits(*pkey, jose_alg_info(alg)))
        return jose_fail(BASE_INVALID);
    key = base_calloc(1, sizeof *key);
    atomic_init(&key->refs, 1);
    key->alg = alg;
    key->client_kid = base_strndup(client_kid.ptr, client_kid.len);
    key->pkey = *pkey;
    if ((err = describe(key)) != BASE_OK) {
        key->pkey = NULL; /* still the caller's */
        return jose_fail(err);
    }
    *pkey = NULL;
    *out = key;
    key = NULL;
    return jose_fail(BASE_OK); /* short of memory, OpenSSL does without some of it, and says so */
}

enum base_err jose_key_generate(enum jose_alg alg, struct jose_key **out)
{
    const struct jose_alg_info *info = jose_alg_info(alg);
    BASE_AUTO(jose_pkey_free) EVP_PKEY *pkey = NULL;
    uint64_t failures = base_mem_failures();

    *out = NULL;
    if (info->group)
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, info->type, info->group);
    else if (info->crv)
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, info->type);
    else
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, info->type, (size_t)JOSE_MIN_RSA_BITS);
    if (!pkey)
        return jose_verdict(jose_fail(BASE_CRYPTO), failures);
    return jose_verdict(jose_key_adopt(alg, &pkey, (struct base_span){0}, out), failures);
}

enum base_err jose_key_export_private(const struct jose_key *key, struct base_buf *out)
{
    uint64_t failures = base_mem_failures();
    BASE_AUTO(free_pkcs8) PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key->pkey);
    unsigned char *to;
    int len;

    if (!info || (len = i2d_PKCS8_PRIV_KEY_INFO(info, NULL)) <= 0)
        return jose_verdict(jose_fail(BASE_CRYPTO), failures);
    if (!(to = (unsigned char *)base_buf_reserve(out, (size_t)len)))
        return BASE_TOO_LARGE;
    if (i2d_PKCS8_PRIV_KEY_INFO(info, &to) != len)
        return jose_fail(BASE_CRYPTO);
    out->len += (size_t)len;
    return BASE_OK;
}

enum base_err jose_key_import_private(enum jose_alg alg, struct base_span der,
                                      struct jose_key **out)
{
    BASE_AUTO(free_pkcs8) PKCS8_PRIV_KEY_INFO *info = NULL;
    BASE_AUTO(jose_pkey_free) EVP_PKEY *pkey = NULL;
    const unsigned char *at = (const unsigned char *)der.ptr;
    uint64_t failures = base_mem_failures();

    *out = NULL;
    if (der.len == 0 || der.len > MAX_TEXT)
        return BASE_INVALID;
    info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)der.len);
    if (!info || at != (const unsigned char *)der.ptr + der.len || !(pkey = EVP_PKCS82PKEY(info)))
        return jose_verdict(jose_fail(BASE_INVALID), failures);
    return jose_verdict(jose_key_adopt(alg, &pkey, (struct base_span){0}, out), failures);
}

struct jose_key *jose_key_ref(struct jose_key *key)
{
    atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
    return key;
}

void jose_key_unref(struct jose_key **key)
{
    struct jose_key *mine = *key;

    *key = NULL;
    if (!mine || atomic_fetch_sub_explicit(&mine->refs, 1, memory_order_acq_rel) > 1)
        return;
    EVP_PKEY_free(mine->pkey);
    base_free(&mine->client_kid);
    base_free(&mine->public_jwk);
    base_free(&mine->public_pem);
    base_free(&mine);
}

enum jose_alg jose_key_alg(const struct jose_key *key)
{
    return key->alg;
}

const char *jose_key_thumbprint(const struct jose_key *key)
{
    return key->thumbprint;
}

struct base_span jose_key_client_kid(const struct jose_key *key)
{
    return base_span_str(key->client_kid);
}

const char *jose_key_public_jwk(const struct jose_key *key)
{
    return key->public_jwk;
}

const char *jose_key_public_pem(const struct jose_key *key)
{
    return key->public_pem;
}

struct evp_pkey_st *jose_key_pkey(const struct jose_key *key)
{
    return key->pkey;
}
