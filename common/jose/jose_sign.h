/* SPDX-License-Identifier: Apache-2.0 */
/* Compact JWS (RFC 7515 §7.1). A signer keeps the prepared OpenSSL context and the encoded header
 * of one key for one thread: an ES256 signature then costs little more than the curve's arithmetic.
 */
#ifndef JOSE_SIGN_H
#define JOSE_SIGN_H

#include "jose_key.h"

struct jose_signer;

/* `typ` is "at+jwt" or "JWT"; the header is {"alg":…,"typ":…,"kid":thumbprint}. Takes a reference
 * on the key. BASE_INVALID: another typ, or a key that cannot sign (it is tried once). */
enum base_err jose_signer_new(struct jose_key *key, const char *typ,
                              struct jose_signer **out) BASE_MUST_USE;
void jose_signer_free(struct jose_signer **signer);
const struct jose_key *jose_signer_key(const struct jose_signer *signer);

/* Appends header.payload.signature to `out`, or nothing when it fails (BASE_TOO_LARGE: no room).
 * `payload` is the claims as JSON text. ECDSA signatures have their fixed width (64 or 96 bytes),
 * not DER (RFC 7518 §3.4). */
enum base_err jose_sign(struct jose_signer *signer, struct base_span payload,
                        struct base_buf *out) BASE_MUST_USE;

#endif
