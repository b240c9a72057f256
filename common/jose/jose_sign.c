/* SPDX-License-Identifier: Apache-2.0 */
/* Signing, where a token's time goes. What OpenSSL does beside the arithmetic (fetching algorithms,
 * making contexts, decoding keys) is done once per signer; a token then costs one digest, one
 * EVP_PKEY_sign() and two passes of base64url, written where they belong. */
#include "jose_sign.h"

#include "base_encode.h"
#include "base_mem.h"
#include "jose_internal.h"

#include <openssl/rsa.h>

struct jose_signer {
    struct jose_key *key;
    const struct jose_alg_info *info;
    EVP_MD *digest;     /* NULL for EdDSA */
    EVP_MD_CTX *hash;   /* for EdDSA: the signing context */
    EVP_PKEY_CTX *pkey; /* NULL for EdDSA */
    char *header;       /* encoded, with the dot that follows it */
    size_t header_len;
    size_t signature_len; /* raw */
};

bool jose_set_padding(EVP_PKEY_CTX *ctx, enum jose_alg alg)
{
    if (alg == JOSE_RS256)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0;
    if (alg ==
        JOSE_PS256) /* RFC 7518 §3.5: salt as long as the digest, MGF1 with the same digest */
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0;
    return true;
}

static bool prepare_digest(struct jose_signer *signer)
{
    signer->digest = EVP_MD_fetch(NULL, signer->info->digest, NULL);
    return signer->digest && EVP_DigestInit_ex2(signer->hash, signer->digest, NULL);
}

static bool prepare_pkey(struct jose_signer *signer)
{
    signer->pkey = EVP_PKEY_CTX_new_from_pkey(NULL, jose_key_pkey(signer->key), NULL);
    return signer->pkey && EVP_PKEY_sign_init(signer->pkey) > 0 &&
           jose_set_padding(signer->pkey, jose_key_alg(signer->key)) &&
           EVP_PKEY_CTX_set_signature_md(signer->pkey, signer->digest) > 0;
}

static bool prepare(struct jose_signer *signer)
{
    const struct jose_alg_info *info = signer->info;

    signer->signature_len =
        info->width ? 2 * info->width : (size_t)EVP_PKEY_get_size(jose_key_pkey(signer->key));
    signer->hash = EVP_MD_CTX_new();
    return signer->hash && (!info->digest || (prepare_digest(signer) && prepare_pkey(signer)));
}

/* All of these are plain ASCII of ours: nothing to escape. */
static void set_header(struct jose_signer *signer, const char *typ)
{
    BASE_AUTO(base_buf_clear) struct base_buf json = {.max = 256};
    BASE_AUTO(base_buf_clear) struct base_buf text = {.max = 512};

    base_buf_putf(&json, "{\"alg\":\"%s\",\"typ\":\"%s\",\"kid\":\"%s\"}", signer->info->name, typ,
                  jose_key_thumbprint(signer->key));
    base_encode_base64url(&text, json.ptr, json.len);
    base_buf_put_char(&text, '.');
    signer->header_len = text.len;
    signer->header = base_strdup(base_buf_cstr(&text));
}

/* One INTEGER of a signature, right-aligned at its fixed width. OpenSSL wrote it, so anything but
 * minimal DER with lengths of one byte is a bug to be stopped here. */
static bool take_integer(const uint8_t **at, const uint8_t *end, uint8_t *out, size_t width)
{
    const uint8_t *from = *at;
    size_t len;

    if (end - from < 3 || from[0] != 0x02)
        return false;
    len = from[1];
    from += 2;
    if (len == 0 || len > (size_t)(end - from) || (from[0] & 0x80))
        return false;
    *at = from + len;
    if (from[0] == 0) { /* keeps a number with its top bit set positive */
        from++;
        len--;
    }
    if (len > width)
        return false;
    memset(out, 0, width - len);
    memcpy(out + width - len, from, len);
    return true;
}

/* SEQUENCE { r, s } to r || s (RFC 7518 §3.4). */
static bool fix_width(const uint8_t *der, size_t len, uint8_t *out, size_t width)
{
    const uint8_t *at = der + 2, *end = der + len;

    return len >= 2 && der[0] == 0x30 && der[1] == len - 2 && take_integer(&at, end, out, width) &&
           take_integer(&at, end, out + width, width) && at == end;
}

/* The context is made ready anew each time: later versions of OpenSSL refuse a second signature
 * without. */
static bool sign_whole(struct jose_signer *signer, struct base_span text, uint8_t *out)
{
    size_t len = signer->signature_len;

    return EVP_DigestSignInit_ex(signer->hash, NULL, NULL, NULL, NULL, jose_key_pkey(signer->key),
                                 NULL) > 0 &&
           EVP_DigestSign(signer->hash, out, &len, (const uint8_t *)text.ptr, text.len) > 0 &&
           len == signer->signature_len;
}

static bool sign_digest(struct jose_signer *signer, struct base_span text, uint8_t *out)
{
    uint8_t digest[EVP_MAX_MD_SIZE], der[JOSE_MAX_DER];
    bool ec = signer->info->group != NULL;
    size_t len = ec ? sizeof der : signer->signature_len;
    unsigned digest_len;

    if (!EVP_DigestInit_ex2(signer->hash, NULL, NULL) ||
        !EVP_DigestUpdate(signer->hash, text.ptr, text.len) ||
        !EVP_DigestFinal_ex(signer->hash, digest, &digest_len) ||
        EVP_PKEY_sign(signer->pkey, ec ? der : out, &len, digest, digest_len) <= 0)
        return false;
    return ec ? fix_width(der, len, out, signer->info->width) : len == signer->signature_len;
}

static bool sign_raw(struct jose_signer *signer, struct base_span text, uint8_t *out)
{
    return signer->info->digest ? sign_digest(signer, text, out) : sign_whole(signer, text, out);
}

enum base_err jose_signer_new(struct jose_key *key, const char *typ, struct jose_signer **out)
{
    BASE_AUTO(jose_signer_free) struct jose_signer *signer = NULL;
    uint64_t failures = base_mem_failures();
    uint8_t trial[JOSE_MAX_SIGNATURE];

    *out = NULL;
    if (strcmp(typ, "at+jwt") != 0 && strcmp(typ, "JWT") != 0)
        return BASE_INVALID;
    signer = base_calloc(1, sizeof *signer);
    signer->key = jose_key_ref(key);
    signer->info = jose_alg_info(jose_key_alg(key));
    if (!prepare(signer))
        return jose_verdict(jose_fail(BASE_CRYPTO), failures);
    /* A public key is noticed only when it has to sign: now, rather than at the first token. */
    if (!sign_raw(signer, BASE_SPAN("trial"), trial))
        return jose_verdict(jose_fail(BASE_INVALID), failures);
    set_header(signer, typ);
    *out = signer;
    signer = NULL;
    return BASE_OK;
}

void jose_signer_free(struct jose_signer **signer)
{
    struct jose_signer *mine = *signer;

    *signer = NULL;
    if (!mine)
        return;
    EVP_PKEY_CTX_free(mine->pkey);
    EVP_MD_CTX_free(mine->hash);
    EVP_MD_free(mine->digest);
    jose_key_unref(&mine->key);
    base_free(&mine->header);
    base_free(&mine);
}

const struct jose_key *jose_signer_key(const struct jose_signer *signer)
{
    return signer->key;
}

/* What `len` bytes become in base64url. */
static size_t encoded_len(size_t len)
{
    return len / 3 * 4 + (len % 3 * 4 + 2) / 3;
}

enum base_err jose_sign(struct jose_signer *signer, struct base_span payload, struct base_buf *out)
{
    uint8_t signature[JOSE_MAX_SIGNATURE];
    uint64_t failures = base_mem_failures();
    size_t start = out->len;
    struct base_span text;

    if (payload.len > out->max) /* also keeps the sum below from wrapping */
        return BASE_TOO_LARGE;
    /* Room for the whole token at once: the buffer grows at most once, and the text stays put. */
    if (!base_buf_reserve(out, signer->header_len + encoded_len(payload.len) + 1 +
                                   encoded_len(signer->signature_len)))
        return BASE_TOO_LARGE;
    base_buf_put(out, signer->header, signer->header_len);
    base_encode_base64url(out, payload.ptr, payload.len);
    text = base_span_of(out->ptr + start, out->len - start);
    if (!sign_raw(signer, text, signature)) {
        out->len = start;
        return jose_verdict(jose_fail(BASE_CRYPTO), failures);
    }
    base_buf_put_char(out, '.');
    base_encode_base64url(out, signature, signer->signature_len);
    return jose_verdict(BASE_OK, failures);
}
