/* SPDX-License-Identifier: Apache-2.0 */
/* May this key have a token? The verdict and its reason; the caller tells the client only "no".
 * Pure: the row, the credentials, the client's address and the time go in. Every check is made for
 * every key, known or not, in the same order, so that time tells nothing about which one failed. */
#ifndef POLICY_CLIENT_H
#define POLICY_CLIENT_H

#include "base_seal.h"
#include "store_key.h"

#include <jansson.h>

enum policy_client_verdict {
    POLICY_CLIENT_OK,
    POLICY_CLIENT_OK_PREVIOUS, /* the old secret, during its overlap */
    POLICY_CLIENT_UNKNOWN,
    POLICY_CLIENT_WRONG_SECRET,
    POLICY_CLIENT_WRONG_METHOD, /* a secret for a key with jwks, or the other way round */
    POLICY_CLIENT_DISABLED,
    POLICY_CLIENT_TENANT_DISABLED,
    POLICY_CLIENT_EXPIRED,
    POLICY_CLIENT_ADDRESS,
    /* No verdict: a secret that counts is stored under a master key that is not loaded, and none of
     * the others fits. A failure of ours, never the client's. */
    POLICY_CLIENT_MASTER_KEY,
};
/* For the log: "wrong_secret". */
const char *policy_client_reason(enum policy_client_verdict verdict);

struct policy_client_input {
    bool found;
    const struct store_key *key; /* the decoy when not found */
    bool has_secret;             /* false: an assertion, judged with policy_client_assertion() */
    struct base_span secret;
    int family; /* AF_INET, AF_INET6, or 0: unknown, and in no network */
    const uint8_t *address;
    int64_t now_us;
};
/* `*old_seal` is true when the secret that fitted is stored under another than the first master
 * key. */
enum policy_client_verdict policy_client_judge(const struct policy_client_input *input,
                                               const struct base_seal *seal, bool *old_seal);

/* Is the address in the key's allowed_cidrs? Holds for requests to the management API as well. */
bool policy_client_address_allowed(const struct store_key *key, int family, const uint8_t *address);

/* "key_" and 24 base32 characters: anything else need not reach the database (but takes the same
 * path). */
bool policy_client_id_valid(struct base_span key_id);

/* A new key ID and a new secret (DESIGN §6): terminated. The secret must be wiped. */
#define POLICY_KEY_ID_LEN 28
#define POLICY_SECRET_LEN 56
void policy_client_new_id(char out[POLICY_KEY_ID_LEN + 1]);
void policy_client_new_secret(char out[POLICY_SECRET_LEN + 1]);
/* Prefix, alphabet and checksum fit: tells a typing error from a wrong secret, for people at the
 * command line and in tests; never used to answer a client. */
bool policy_client_secret_wellformed(struct base_span secret);
/* How a secret is stored: under master key `id` (NULL: the first), and bound to its key ID, so that
 * a MAC copied to another row fits nothing there. `out->present` is false when `id` is not loaded.
 */
void policy_client_mac(const struct base_seal *seal, const struct base_seal_id *id,
                       struct base_span key_id, struct base_span secret, struct store_secret *out);

/* The rules of an assertion's claims (RFC 7523 §3), after its signature: iss and sub were compared
 * when it was read. */
struct policy_assertion_input {
    const json_t *claims;
    struct base_span issuer;         /* ours */
    struct base_span token_endpoint; /* its URL */
    int64_t now_us;
};
/* NULL: acceptable, and *out_jti (inside claims) and *out_expires_us are set. Otherwise the reason,
 * for the log. exp required and at most an hour ahead; 10 s of tolerance for a client's clock that
 * is fast: that hour, iat and nbf; jti 1 to 256 bytes required; aud a string or an array of
 * strings. */
const char *policy_client_assertion(const struct policy_assertion_input *input,
                                    struct base_span *out_jti, int64_t *out_expires_us);

#endif
