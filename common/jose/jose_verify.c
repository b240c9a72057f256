/* SPDX-License-Identifier: Apache-2.0 */
/* Verification through EVP. The key decides about the algorithm, never the token: the header is
 * believed only where it says what the key says (RFC 8725 §3.1). */
#include "jose_verify.h"

#include "base_mem.h"
#include "jose_internal.h"

/* A half of the signature as a DER INTEGER: without leading zeros, but positive. */
static size_t put_integer(uint8_t *out, const uint8_t *number, size_t width)
{
    size_t at = 0;

    while (width > 1 && *number == 0) {
        number++;
        width--;
    }
    out[at++] = 0x02;
    out[at++] = (uint8_t)(width + (*number >> 7));
    if (*number & 0x80)
        out[at++] = 0;
    memcpy(out + at, number, width);
    return at + width;
}

/* r || s to SEQUENCE { r, s }, which is what OpenSSL reads. */
static size_t to_der(const uint8_t *raw, size_t width, uint8_t der[JOSE_MAX_DER])
{
    size_t len = 2;

    len += put_integer(der + len, raw, width);
    len += put_integer(der + len, raw + width, width);
    der[0] = 0x30;
    der[1] = (uint8_t)(len - 2);
    return len;
}

static size_t expected_len(const struct jose_key *key)
{
    const struct jose_alg_info *info = jose_alg_info(jose_key_alg(key));

    return info->width ? 2 * info->width : (size_t)EVP_PKEY_get_size(jose_key_pkey(key));
}

static enum base_err verify_with(EVP_MD_CTX *ctx, const struct jose_key *key, struct base_span text,
                                 const uint8_t *signature, size_t len)
{
    const struct jose_alg_info *info = jose_alg_info(jose_key_alg(key));
    EVP_PKEY_CTX *pkey;

    if (EVP_DigestVerifyInit_ex(ctx, &pkey, info->digest, NULL, NULL, jose_key_pkey(key), NULL) <=
            0 ||
        !jose_set_padding(pkey, jose_key_alg(key)))
        return BASE_CRYPTO;
    return EVP_DigestVerify(ctx, signature, len, (const uint8_t *)text.ptr, text.len) == 1
               ? BASE_OK
               : BASE_DENIED;
}

enum base_err jose_check_signature(const struct jose_key *key, struct base_span signed_text,
                                   struct base_span signature)
{
    const struct jose_alg_info *info = jose_alg_info(jose_key_alg(key));
    const uint8_t *raw = (const uint8_t *)signature.ptr;
    BASE_AUTO(jose_md_ctx_free) EVP_MD_CTX *ctx = NULL;
    uint64_t failures = base_mem_failures();
    uint8_t der[JOSE_MAX_DER];
    enum base_err err;

    if (signature.len != expected_len(key)) /* cut short, or DER where the fixed form belongs */
        return BASE_DENIED;
    if (!(ctx = EVP_MD_CTX_new()))
        return jose_verdict(jose_fail(BASE_CRYPTO), failures);
    if (info->group)
        err = verify_with(ctx, key, signed_text, der, to_der(raw, info->width, der));
    else
        err = verify_with(ctx, key, signed_text, raw, signature.len);
    return jose_verdict(err == BASE_OK ? BASE_OK : jose_fail(err), failures);
}

/* We write three members and no others: a header with more is not ours, and some of the others
 * (crit, jwk, b64, …) would change what the signature says. */
static enum base_err read_header(const json_t *header, const char *expected_typ,
                                 struct base_span *alg, struct base_span *kid)
{
    struct base_span typ;

    if (json_object_size(header) != 3 || jose_member_string(header, "alg", alg) != BASE_OK ||
        jose_member_string(header, "kid", kid) != BASE_OK ||
        jose_member_string(header, "typ", &typ) != BASE_OK)
        return BASE_INVALID;
    if (alg->len == 0 || kid->len == 0 || !base_span_eq(typ, base_span_str(expected_typ)))
        return BASE_INVALID;
    return BASE_OK;
}

enum base_err jose_verify(struct base_span token, const char *expected_typ, jose_find_key *find,
                          void *ctx, json_t **out_claims)
{
    BASE_AUTO(jose_compact_clear) struct jose_compact compact = {0};
    const struct jose_key *key;
    struct base_span alg, kid;
    enum base_err err;

    *out_claims = NULL;
    if (token.len > JOSE_MAX_TOKEN)
        return BASE_TOO_LARGE;
    if ((err = jose_compact_parse(token, &compact)) != BASE_OK ||
        (err = read_header(compact.header, expected_typ, &alg, &kid)) != BASE_OK)
        return err;
    if (!(key = find(ctx, kid)))
        return BASE_NOT_FOUND;
    if (!base_span_eq(alg, base_span_str(jose_alg_name(jose_key_alg(key)))))
        return BASE_DENIED;
    err = jose_check_signature(key, compact.signed_text, base_buf_span(&compact.signature));
    return err != BASE_OK ? err : jose_compact_object(compact.payload, out_claims);
}
