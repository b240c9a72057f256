/* SPDX-License-Identifier: Apache-2.0 */
/* Verification of tokens that we signed ourselves, through EVP. The algorithm is that of the key
 * the `kid` names; the header must say the same. Pure but for the set of keys given. Any thread. */
#ifndef JOSE_VERIFY_H
#define JOSE_VERIFY_H

#include "jose_key.h"

#define JOSE_MAX_TOKEN 16384 /* bytes of a token looked at; over it BASE_TOO_LARGE */

/* Looks up a published key by thumbprint: NULL when unknown. Borrowed. */
typedef const struct jose_key *jose_find_key(void *ctx, struct base_span kid);

/* Checks form, header (alg and kid and typ once each, typ `expected_typ`, no crit, nothing else
 * that changes the meaning) and signature. *out_claims: the payload, an object without duplicate
 * names, owned by the caller. BASE_INVALID: malformed; BASE_NOT_FOUND: unknown kid; BASE_DENIED:
 * signature or algorithm wrong. BASE_NO_MEMORY and BASE_CRYPTO: it could not be judged. Times and
 * audiences are the caller's rules. */
enum base_err jose_verify(struct base_span token, const char *expected_typ, jose_find_key *find,
                          void *ctx, json_t **out_claims) BASE_MUST_USE;

#endif
