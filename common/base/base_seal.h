/* SPDX-License-Identifier: Apache-2.0 */
/* The master keys: what is stored in the database and must not be readable there is sealed under
 * them (AES-256-GCM), and secrets are stored as MACs under keys derived from them (HKDF, RFC 5869).
 * The first key of the file seals; all of them open. A set of keys is immutable after loading,
 * shared between threads by reference, and wiped with the last reference. */
#ifndef BASE_SEAL_H
#define BASE_SEAL_H

#include "base_buf.h"
#include "base_err.h"
#include "base_secret.h"

/* Names a master key without telling anything about it: HKDF output, not a part of the key. */
#define BASE_SEAL_ID_LEN 8
struct base_seal_id {
    uint8_t bytes[BASE_SEAL_ID_LEN];
};

struct base_seal;

/* Reads base64 of 32 bytes, one key a line; empty lines and lines that start with `#` are skipped;
 * at most 16 keys, no key twice. On failure `why` is one sentence for the operator that names the
 * file and the remedy (and never shows content): file missing, readable by others (any bit of 077,
 * unless it is a root-owned credential directory file of mode 0440), not base64, wrong length,
 * empty. */
enum base_err base_seal_load(const char *path, struct base_seal **out,
                             struct base_buf *why) BASE_MUST_USE;
/* From memory: what load does after reading; also the fuzz target's entry. */
enum base_err base_seal_parse(struct base_span text, struct base_seal **out,
                              struct base_buf *why) BASE_MUST_USE;
struct base_seal *base_seal_ref(struct base_seal *seal);
void base_seal_unref(struct base_seal **seal);

size_t base_seal_count(const struct base_seal *seal);
const struct base_seal_id *base_seal_id_at(const struct base_seal *seal, size_t index);
bool base_seal_has(const struct base_seal *seal, const struct base_seal_id *id);

/* Seals under the first key. `context` (a table and a row's name) is authenticated, not stored: a
 * sealed value that was moved to another row does not open. Output: version byte, key id, nonce,
 * ciphertext, tag. */
enum base_err base_seal_close(const struct base_seal *seal, struct base_span context,
                              struct base_span plain, struct base_buf *out) BASE_MUST_USE;
/* BASE_NOT_FOUND when no loaded key has its id; BASE_INVALID when it was changed, cut or moved. */
enum base_err base_seal_open(const struct base_seal *seal, struct base_span context,
                             struct base_span sealed, struct base_buf *out) BASE_MUST_USE;
/* The id of the master key a sealed value needs. */
enum base_err base_seal_id_of(struct base_span sealed, struct base_seal_id *out) BASE_MUST_USE;

/* MAC of a secret under the key derived from master key `id` (NULL: the first). An id that is not
 * loaded takes as long, gives a MAC that equals nothing stored, and returns false. */
bool base_seal_mac(const struct base_seal *seal, const struct base_seal_id *id,
                   const struct base_span *parts, size_t n_parts, uint8_t out[BASE_SHA256_LEN]);

#endif
