/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the tokens that jose_sign() would never make, with an implementation of its own: OpenSSL's
 * one-shot calls and its ECDSA_SIG, none of our conversions. */
#ifndef JOSE_FORGE_H
#define JOSE_FORGE_H

#include "jose_key.h"

struct jose_forge {
    const char *header; /* JSON, or what should be in its place */
    const char *payload;
    const struct jose_key *key; /* NULL: an empty signature */
    const char *hmac;           /* HS256 with these bytes instead of `key` */
    const char *digest;         /* "SHA256"; NULL: what the key's algorithm asks for */
    bool der;                   /* an ECDSA signature as OpenSSL writes it */
};

/* The token; the caller frees it. */
char *jose_forge(struct jose_forge wish);
/* base64url of a text; the caller frees it. */
char *jose_forge_encode(const void *bytes, size_t len);
/* A key of its own kind from a JWK's text, or the test fails. */
struct jose_key *jose_forge_jwk(const char *text);
/* OpenSSL's own verification of a raw signature, at its fixed width. */
bool jose_forge_verify(const struct jose_key *key, struct base_span text, const uint8_t *raw,
                       size_t len);

#endif
