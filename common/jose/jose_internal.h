/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of jose share, and nobody above needs. */
#ifndef JOSE_INTERNAL_H
#define JOSE_INTERNAL_H

#include "base_mem.h"
#include "jose_key.h"

#include <openssl/err.h>
#include <openssl/evp.h>

/* RSA of 8192 bits: larger keys buy nothing but time of ours. */
#define JOSE_MIN_RSA_BITS  2048
#define JOSE_MAX_RSA_BITS  8192
#define JOSE_MAX_SIGNATURE (JOSE_MAX_RSA_BITS / 8)
/* SEQUENCE of two INTEGERs of 49 bytes each, all lengths in one byte (P-384, the widest). */
#define JOSE_MAX_DER (2 + 2 * (2 + 49))

struct jose_alg_info {
    const char *name;   /* in JOSE */
    const char *kty;    /* RFC 7517 §4.1 */
    const char *crv;    /* RFC 7518 §6.2.1.1; NULL for RSA */
    const char *type;   /* OpenSSL's name of the key type */
    const char *group;  /* OpenSSL's name of the curve; NULL when not ECDSA */
    const char *digest; /* NULL: the signature hashes for itself */
    size_t width;       /* bytes of a coordinate, and of half a signature; 0 for RSA */
};
const struct jose_alg_info *jose_alg_info(enum jose_alg alg);

/* OpenSSL keeps a list of errors per thread, and TLS on the same thread would take ours for its
 * own: every failure passes here. */
static inline enum base_err jose_fail(enum base_err err)
{
    ERR_clear_error();
    return err;
}

/* A "no" during which OpenSSL, jansson or libjwt had no memory says nothing about what was judged;
 * and a "yes" for which EVP could do without some leaves a complaint in the list all the same.
 * `failures` is base_mem_failures() of before. */
static inline enum base_err jose_verdict(enum base_err err, uint64_t failures)
{
    if (base_mem_failures() == failures)
        return err;
    ERR_clear_error();
    return err == BASE_OK ? BASE_OK : BASE_NO_MEMORY;
}

/* A key around `*pkey`, which is taken (and *pkey made NULL) on success. BASE_INVALID when it is
 * not a key of that algorithm. */
enum base_err jose_key_adopt(enum jose_alg alg, EVP_PKEY **pkey, struct base_span client_kid,
                             struct jose_key **out) BASE_MUST_USE;

/* For BASE_AUTO. */
void jose_pkey_free(EVP_PKEY **pkey);
void jose_pkey_ctx_free(EVP_PKEY_CTX **ctx);
void jose_md_ctx_free(EVP_MD_CTX **ctx);

/* Prepares `ctx` for signatures or verifications (after its _init) of digests by `alg`. */
bool jose_set_padding(EVP_PKEY_CTX *ctx, enum jose_alg alg);

/* Checks a raw signature, at its fixed width. BASE_DENIED: wrong in any way. */
enum base_err jose_check_signature(const struct jose_key *key, struct base_span signed_text,
                                   struct base_span signature) BASE_MUST_USE;

/* The compact form (RFC 7515 §7.1). Spans point into the text. */
struct jose_compact {
    json_t *header;               /* an object without duplicate names */
    struct base_span signed_text; /* header.payload, still encoded */
    struct base_span payload;     /* encoded */
    struct base_buf signature;    /* raw */
};

/* Exactly three parts, none empty, strict base64url in the first and the last. BASE_INVALID
 * otherwise. To be cleared in either case. */
enum base_err jose_compact_parse(struct base_span text, struct jose_compact *out) BASE_MUST_USE;
void jose_compact_clear(struct jose_compact *compact);
/* A base64url part that holds a JSON object; the caller owns *out. */
enum base_err jose_compact_object(struct base_span part, json_t **out) BASE_MUST_USE;

/* A member that is a string: empty when absent, BASE_INVALID when it is something else. */
enum base_err jose_member_string(const json_t *object, const char *name,
                                 struct base_span *out) BASE_MUST_USE;

#endif
