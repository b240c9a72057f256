/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes, digests, MACs and comparison for secrets. Any thread; algorithms are fetched once.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base_span.h"

#include <stdint.h>

#define BASE_SHA256_LEN 32

/* Cryptographically strong; ends the process when the system has none. Taken from a pool per thread
 * that is refilled from OpenSSL's generator and wiped as it is used: a call costs nanoseconds. */
void base_random(void *out, size_t len);

void base_sha256(struct base_span data, uint8_t out[BASE_SHA256_LEN]);

/* HMAC-SHA-256 (RFC 2104) over the parts, each preceded by its length as 8 bytes, so that moving
 * bytes between parts changes the result. Key: 32 bytes. */
void base_hmac_sha256(const uint8_t key[32], const struct base_span *parts, size_t n_parts,
                      uint8_t out[BASE_SHA256_LEN]);

/* HKDF-SHA-256 (RFC 5869) without salt: 32 bytes from a 32-byte key, for the purpose `info`. */
void base_hkdf_sha256(const uint8_t key[32], const char *info, uint8_t out[32]);

/* Constant time in the content of both. */
bool base_equal_ct(const void *a, const void *b, size_t len);

#endif
