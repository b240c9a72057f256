/* SPDX-License-Identifier: Apache-2.0 */
/* A keyed hash for tables whose keys strangers choose: without the key nobody can make entries
 * collide. SipHash-2-4 (Aumasson and Bernstein, 2012): a few nanoseconds, where an HMAC takes half
 * a microsecond. For tables only; what must not be forged is signed or MACed. Any thread. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base_span.h"

#include <stdint.h>

/* Drawn at random at start, and never the same for two processes. */
struct base_hash_key {
    uint64_t words[2];
};

uint64_t base_hash(const struct base_hash_key *key, struct base_span data);

#endif
