/* SPDX-License-Identifier: Apache-2.0 */
/* Making a signing key, for the first one, a rotation, and an emergency alike. */
#ifndef API_SIGNING_KEYS_H
#define API_SIGNING_KEYS_H

#include "api.h"
#include "base_seal.h"
#include "jose_key.h"
#include "store_signing_key.h"

/* Generates a key and seals it under the first master key. `row` then points into *key and
 * `sealed`, which the caller owns. RSA takes some tenths of a second, sometimes more than one: a
 * worker that is asked for a rotation answers nobody else meanwhile (README, Rotation). */
enum base_err api_signing_key_make(enum jose_alg alg, const struct base_seal *seal,
                                   struct jose_key **key, struct base_buf *sealed,
                                   struct store_signing_key *row) BASE_MUST_USE;

/* Answers the emergencies that still wait for others; before the worker's server ends. */
void api_signing_keys_stop(struct api_worker *worker);

/* A master key's ID as people see it: 16 hex digits. */
void api_put_fingerprint(struct base_buf *out, const struct base_seal_id *id);

#endif
