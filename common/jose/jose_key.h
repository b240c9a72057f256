/* SPDX-License-Identifier: Apache-2.0 */
/* One asymmetric key, parsed once: immutable, reference-counted, any thread. Public or private. */
#ifndef JOSE_KEY_H
#define JOSE_KEY_H

#include "base_buf.h"
#include "base_err.h"

#include <jansson.h>
#include <stdint.h>

/* RFC 7518 §3.1, RFC 8037 §3.1. Order is the order of the settings' choices. */
enum jose_alg { JOSE_ES256, JOSE_ES384, JOSE_RS256, JOSE_PS256, JOSE_EDDSA, JOSE_ALG_COUNT };

const char *jose_alg_name(enum jose_alg alg); /* "ES256" */
/* Exact, case-sensitive. BASE_INVALID: not one of ours (`none`, HS256, …). */
enum base_err jose_alg_parse(struct base_span text, enum jose_alg *out) BASE_MUST_USE;

struct jose_key;

/* A fresh private key: P-256, P-384, RSA 2048 or Ed25519 as the algorithm asks. Slow (RSA: up to a
 * second): off the loop or at start. */
enum base_err jose_key_generate(enum jose_alg alg, struct jose_key **out) BASE_MUST_USE;

/* The private key as PKCS #8 DER, to be sealed and stored; a secret: clear the buffer. */
enum base_err jose_key_export_private(const struct jose_key *key,
                                      struct base_buf *out) BASE_MUST_USE;
/* BASE_INVALID when it is not a key of that algorithm (type, curve, RSA of 2048 to 8192 bits). */
enum base_err jose_key_import_private(enum jose_alg alg, struct base_span der,
                                      struct jose_key **out) BASE_MUST_USE;

/* From a public JWK (RFC 7517) of a client: RSA >= 2048 (and at most 8192, odd exponent >= 3 of at
 * most 32 bits), P-256, P-384, Ed25519 only as `alg` allows; the point must be on the curve; a
 * present `alg`, `use` or `key_ops` must fit. Private members (`d`, `p`, …, `k`): BASE_DENIED,
 * since such a key is burnt. `alg` absent: EC by curve, RSA as RS256. `why`: one clause for the
 * person. */
enum base_err jose_key_from_jwk(const json_t *jwk, struct jose_key **out,
                                struct base_buf *why) BASE_MUST_USE;

struct jose_key *jose_key_ref(struct jose_key *key);
void jose_key_unref(struct jose_key **key);

enum jose_alg jose_key_alg(const struct jose_key *key);
/* RFC 7638 thumbprint with SHA-256, base64url: 43 characters, terminated. Of a client's JWK with a
 * `kid` of its own, jose_key_client_kid() is that one (empty when it had none). */
const char *jose_key_thumbprint(const struct jose_key *key);
struct base_span jose_key_client_kid(const struct jose_key *key);
/* The public JWK as JSON text, members in a fixed order: kty, the public members at full fixed
 * width, use, alg, kid (the thumbprint). Terminated; lives as long as the key. */
const char *jose_key_public_jwk(const struct jose_key *key);
/* The public key as PEM (SubjectPublicKeyInfo), for libjwt. */
const char *jose_key_public_pem(const struct jose_key *key);

struct evp_pkey_st *jose_key_pkey(const struct jose_key *key); /* borrowed; for jose_*.c only */

#endif
