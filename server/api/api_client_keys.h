/* SPDX-License-Identifier: Apache-2.0 */
/* The public keys of clients that sign (private_key_jwt), parsed once per worker instead of once
 * per token: reading a JWK and checking its point costs more than verifying with it. Found by the
 * digest of the JWK Set's text, which comes with each token from the key's row, so that nothing
 * here can be out of date: a changed set is another text. One thread's own. */
#ifndef API_CLIENT_KEYS_H
#define API_CLIENT_KEYS_H

#include "jose_assertion.h"

#define API_CLIENT_MAX_KEYS 5 /* in one set */

struct api_client_keys;

struct api_client_keys *api_client_keys_new(void); /* NULL: no memory for the decoys */
void api_client_keys_free(struct api_client_keys **cache);

/* The keys of a stored set; borrowed until the next call. None: it cannot be read; NULL: there was
 * no memory to read it now. When too many are held, those give way that have not been asked for
 * longest. */
struct jose_key *const *api_client_keys_of(struct api_client_keys *cache, struct base_span jwks,
                                           size_t *n);

/* One key of every algorithm that an assertion may have, and nobody's: what is verified when there
 * is no key to verify with, so that time does not tell which IDs exist. */
struct jose_key *const *api_client_keys_decoys(const struct api_client_keys *cache, size_t *n);

#endif
