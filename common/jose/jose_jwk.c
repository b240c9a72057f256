/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a client's public JWK (RFC 7517, RFC 7518 §6, RFC 8037 §2). It comes from a stranger, so
 * each member is judged before OpenSSL sees it, and the person who sent it is told what to change;
 * values are never repeated. Members we do not know are ignored, as RFC 7517 §4 asks. */
#include "base_encode.h"
#include "base_mem.h"
#include "jose_internal.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>

#define MAX_KID 255 /* what struct jose_assertion holds */

static void free_params(OSSL_PARAM **params)
{
    OSSL_PARAM_free(*params);
    *params = NULL;
}

static void free_builder(OSSL_PARAM_BLD **builder)
{
    OSSL_PARAM_BLD_free(*builder);
    *builder = NULL;
}

static void free_number(BIGNUM **number)
{
    BN_free(*number);
    *number = NULL;
}

static enum base_err refuse(struct base_buf *why, const char *text)
{
    base_buf_put_str(why, text);
    return jose_fail(BASE_INVALID);
}

/* RFC 7518 §6.2.2, §6.3.2, §6.4.1. A key whose secret half travelled is burnt, however good the
 * rest. */
static enum base_err check_no_secret(const json_t *jwk, struct base_buf *why)
{
    static const char *const names[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};

    for (size_t i = 0; i < BASE_COUNT(names); i++)
        if (json_object_get(jwk, names[i])) {
            base_buf_putf(why,
                          "the secret member \"%s\" does not belong here; that key must not be "
                          "used any more: make a new one and send its public half",
                          names[i]);
            return BASE_DENIED;
        }
    return BASE_OK;
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static enum base_err check_purpose(const json_t *jwk, struct base_buf *why)
{
    const json_t *use = json_object_get(jwk, "use");
    const json_t *ops = json_object_get(jwk, "key_ops");

    if (use && !is_text(use, "sig"))
        return refuse(why, "\"use\" must be \"sig\" or absent");
    if (!ops)
        return BASE_OK;
    for (size_t i = 0; i < json_array_size(ops); i++)
        if (is_text(json_array_get(ops, i), "verify"))
            return BASE_OK;
    return refuse(why, "\"key_ops\" must hold \"verify\" or be absent");
}

static bool fits_type(const json_t *jwk, const struct jose_alg_info *info)
{
    return is_text(json_object_get(jwk, "kty"), info->kty) &&
           (!info->crv || is_text(json_object_get(jwk, "crv"), info->crv));
}

/* The first algorithm of the table that fits, so RSA without `alg` is RS256. */
static enum base_err choose_alg(const json_t *jwk, enum jose_alg *out, struct base_buf *why)
{
    const json_t *alg = json_object_get(jwk, "alg");
    bool known = false;

    for (unsigned i = 0; i < JOSE_ALG_COUNT; i++) {
        const struct jose_alg_info *info = jose_alg_info((enum jose_alg)i);

        if (!fits_type(jwk, info))
            continue;
        known = true;
        if (alg && !is_text(alg, info->name))
            continue;
        *out = (enum jose_alg)i;
        return BASE_OK;
    }
    return refuse(why, known ? "\"alg\" does not fit the type and curve of the key"
                             : "\"kty\" must be RSA, or EC with \"crv\" P-256 or P-384");
}

static enum base_err refuse_member(struct base_buf *why, const char *name, const char *text)
{
    base_buf_putf(why, "\"%s\" %s", name, text);
    return jose_fail(BASE_INVALID);
}

/* Appends the bytes of a base64url member: exactly `width`, or any number without a leading zero
 * when `width` is 0 (RFC 7518 §2, Base64urlUInt). */
static enum base_err read_bytes(const json_t *jwk, const char *name, size_t width,
                                struct base_buf *out, struct base_buf *why)
{
    size_t start = out->len, len;
    struct base_span text;

    if (jose_member_string(jwk, name, &text) != BASE_OK || text.len == 0)
        return refuse_member(why, name, "must be a string in base64url");
    if (base_decode_base64url(out, text) != BASE_OK)
        return refuse_member(why, name, "is not base64url without padding, or is too long");
    len = out->len - start;
    if (width && len != width)
        return refuse_member(why, name, "does not have the full width of its curve");
    if (!width && out->ptr[start] == 0) /* some digits are at least a byte */
        return refuse_member(why, name, "must not begin with a zero byte");
    return BASE_OK;
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM *params)
{
    BASE_AUTO(jose_pkey_ctx_free) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (!ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        return NULL;
    return pkey;
}

static enum base_err read_ec(const json_t *jwk, const struct jose_alg_info *info, EVP_PKEY **out,
                             struct base_buf *why)
{
    char memory[1 + 2 * 48 + 3 + 1]; /* the decoder reserves whole groups of three */
    OSSL_PARAM params[3];
    struct base_buf point;
    enum base_err err;

    base_buf_init_fixed(&point, memory, sizeof memory);
    base_buf_put_char(&point, 4); /* uncompressed (SEC 1 §2.3.3) */
    if ((err = read_bytes(jwk, "x", info->width, &point, why)) != BASE_OK ||
        (err = read_bytes(jwk, "y", info->width, &point, why)) != BASE_OK)
        return err;
    /* OpenSSL takes the name as char * but does not write to it. */
    params[0] =
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)info->group, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point.ptr, point.len);
    params[2] = OSSL_PARAM_construct_end();
    if (!(*out = from_params(info->type, params)))
        return refuse(why, "\"x\" and \"y\" are not a point of the curve");
    return BASE_OK;
}

static enum base_err read_okp(const json_t *jwk, const struct jose_alg_info *info, EVP_PKEY **out,
                              struct base_buf *why)
{
    char memory[64];
    struct base_buf raw;
    enum base_err err;

    base_buf_init_fixed(&raw, memory, sizeof memory);
    if ((err = read_bytes(jwk, "x", info->width, &raw, why)) != BASE_OK)
        return err;
    *out =
        EVP_PKEY_new_raw_public_key_ex(NULL, info->type, NULL, (unsigned char *)raw.ptr, raw.len);
    if (!*out)
        return refuse(why, "\"x\" is not a point of the curve");
    return BASE_OK;
}

static enum base_err read_number(const json_t *jwk, const char *name, size_t max_bytes,
                                 BIGNUM **out, struct base_buf *why)
{
    BASE_AUTO(base_buf_clear) struct base_buf bytes = {.max = max_bytes};
    enum base_err err = read_bytes(jwk, name, 0, &bytes, why);

    if (err != BASE_OK)
        return err;
    *out = BN_bin2bn((unsigned char *)bytes.ptr, (int)bytes.len, NULL);
    return *out ? BASE_OK : jose_fail(BASE_CRYPTO);
}

static enum base_err check_rsa(const BIGNUM *n, const BIGNUM *e, struct base_buf *why)
{
    if (BN_num_bits(n) < JOSE_MIN_RSA_BITS) /* read_rsa() has read no more than the maximum */
        return refuse(why, "\"n\" must have 2048 to 8192 bits");
    if (!BN_is_odd(n))
        return refuse(why, "\"n\" is even: no RSA modulus");
    /* A large exponent would make each verification as dear as a signature. */
    if (!BN_is_odd(e) || BN_is_one(e))
        return refuse(why, "\"e\" must be odd, from 3, of at most 32 bits");
    return BASE_OK;
}

static EVP_PKEY *rsa_from_numbers(const BIGNUM *n, const BIGNUM *e)
{
    BASE_AUTO(free_builder) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BASE_AUTO(free_params) OSSL_PARAM *params = NULL;

    if (!builder || !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) ||
        !(params = OSSL_PARAM_BLD_to_param(builder)))
        return NULL;
    return from_params("RSA", params);
}

static enum base_err read_rsa(const json_t *jwk, EVP_PKEY **out, struct base_buf *why)
{
    BASE_AUTO(free_number) BIGNUM *n = NULL;
    BASE_AUTO(free_number) BIGNUM *e = NULL;
    enum base_err err;

    if ((err = read_number(jwk, "n", JOSE_MAX_RSA_BITS / 8, &n, why)) != BASE_OK ||
        (err = read_number(jwk, "e", 4, &e, why)) != BASE_OK ||
        (err = check_rsa(n, e, why)) != BASE_OK)
        return err;
    return (*out = rsa_from_numbers(n, e)) ? BASE_OK : refuse(why, "OpenSSL refuses the key");
}

static enum base_err read_pkey(const json_t *jwk, const struct jose_alg_info *info, EVP_PKEY **out,
                               struct base_buf *why)
{
    if (info->group)
        return read_ec(jwk, info, out, why);
    return info->crv ? read_okp(jwk, info, out, why) : read_rsa(jwk, out, why);
}

/* On the curve and of its order. RSA is left out: there OpenSSL tests whether the modulus is a
 * prime, 2.4 ms at 2048 bits and much more at 8192, paid at each assertion by whoever sends one, to
 * protect nobody but the client from a modulus of its own making. check_rsa() has seen what could
 * hurt us. */
static enum base_err check_public(EVP_PKEY *pkey, const struct jose_alg_info *info,
                                  struct base_buf *why)
{
    BASE_AUTO(jose_pkey_ctx_free) EVP_PKEY_CTX *ctx = NULL;

    if (!info->crv)
        return BASE_OK;
    if (!(ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL)))
        return jose_fail(BASE_CRYPTO);
    return EVP_PKEY_public_check(ctx) == 1 ? BASE_OK
                                           : refuse(why, "the numbers are not a valid public key");
}

static enum base_err from_jwk(const json_t *jwk, struct jose_key **out, struct base_buf *why)
{
    BASE_AUTO(jose_pkey_free) EVP_PKEY *pkey = NULL;
    struct base_span kid;
    enum jose_alg alg;
    enum base_err err;

    *out = NULL;
    if (!json_is_object(jwk))
        return refuse(why, "a key must be a JSON object");
    if ((err = check_no_secret(jwk, why)) != BASE_OK ||
        (err = check_purpose(jwk, why)) != BASE_OK || (err = choose_alg(jwk, &alg, why)) != BASE_OK)
        return err;
    if (jose_member_string(jwk, "kid", &kid) != BASE_OK || kid.len > MAX_KID)
        return refuse(why, "\"kid\" must be a string of at most 255 bytes");
    if ((err = read_pkey(jwk, jose_alg_info(alg), &pkey, why)) != BASE_OK ||
        (err = check_public(pkey, jose_alg_info(alg), why)) != BASE_OK)
        return err;
    return jose_key_adopt(alg, &pkey, kid, out);
}

enum base_err jose_key_from_jwk(const json_t *jwk, struct jose_key **out, struct base_buf *why)
{
    uint64_t failures = base_mem_failures();

    return jose_verdict(from_jwk(jwk, out, why), failures);
}
