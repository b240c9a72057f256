/* SPDX-License-Identifier: Apache-2.0 */
/* What a client signs to authenticate (RFC 7523): verified with libjwt, which HAZARDS forbids to
 * trust alone: size, form, header and algorithm are judged here before it sees the assertion, and
 * compared after. Any thread. */
#ifndef JOSE_ASSERTION_H
#define JOSE_ASSERTION_H

#include "jose_key.h"

#define JOSE_MAX_ASSERTION 8192

/* Reads header and claims without believing them, so that the caller can find the client's keys:
 * `iss` and `sub` must be equal strings. Spans point into `*claims`, which the caller owns.
 * BASE_INVALID: not a well-formed assertion of three parts (at most JOSE_MAX_ASSERTION bytes,
 * strict base64url, no duplicate names, `alg` ES256, ES384 or RS256, `typ` absent, JWT or
 * client-authentication+jwt, no crit, jwk, x5u, x5c, jku, b64). BASE_NO_MEMORY: not judged. */
struct jose_assertion {
    enum jose_alg alg;
    bool explicit_typ;       /* typ client-authentication+jwt, which libjwt 1.10 cannot read */
    char kid[256];           /* "" when absent; longer is BASE_INVALID */
    json_t *claims;          /* an object */
    struct base_span issuer; /* iss = sub, inside claims */
};
enum base_err jose_assertion_peek(struct base_span assertion,
                                  struct jose_assertion *out) BASE_MUST_USE;
void jose_assertion_clear(struct jose_assertion *assertion);

/* May this key have made it? Same algorithm; and, when the assertion names a kid, the JWK's own kid
 * or its thumbprint equals it. */
bool jose_assertion_fits(const struct jose_assertion *peeked, const struct jose_key *key);

/* Verifies the signature with those of `keys` that fit, one after the other. BASE_DENIED: none
 * verifies it. BASE_NO_MEMORY: it could not be judged. */
enum base_err jose_assertion_verify(struct base_span assertion, const struct jose_assertion *peeked,
                                    struct jose_key *const *keys, size_t n_keys) BASE_MUST_USE;

/* A client's JWK Set: {"keys":[…]} with 1 to `max` public keys; `why` as jose_key_from_jwk(), with
 * the index; a key for another algorithm than ES256, ES384 or RS256 is BASE_INVALID too, since no
 * assertion could ever use it. The caller owns the keys in out[0..*n). */
enum base_err jose_jwks_parse(const json_t *jwks, struct jose_key **out, size_t max, size_t *n,
                              struct base_buf *why) BASE_MUST_USE;

#endif
