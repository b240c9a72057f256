/* SPDX-License-Identifier: Apache-2.0 */
/* Failed-authentication limits: so many a minute per client address and key ID, ten times that per
 * address (IPv6: its /64). Never per key ID alone: that would let a stranger lock a key. A token
 * bucket: it holds one minute's worth and refills evenly. The table has a fixed size; its stripes
 * are locked, and any thread may call. When a stripe is full the entry that is nearest to having
 * recovered gives way. Monotonic time goes in; no I/O. */
#ifndef POLICY_LIMIT_H
#define POLICY_LIMIT_H

#include "base_span.h"

#include <stdint.h>

struct policy_limit;

/* per_minute 0: off. `entries`: how many buckets it holds, rounded up to a power of two, at least
 * 1,024 (24 bytes each, and 4 to find it). */
struct policy_limit *policy_limit_new(int64_t per_minute, size_t entries);
void policy_limit_free(struct policy_limit **limit);

struct policy_limit_subject {
    int family; /* AF_INET, AF_INET6, or 0: all that are unknown are one */
    const uint8_t *address;
    struct base_span key_id; /* as sent, whatever it is */
};
/* 0: go on. Otherwise the seconds until it is worth trying again, at least 1. Counts nothing. Takes
 * no lock while nobody in the stripe has failed lately. */
int64_t policy_limit_check(struct policy_limit *limit, const struct policy_limit_subject *subject,
                           int64_t mono_us);
/* Counts one failure. 0: it was within the limit. Otherwise others that were under way at the same
 * time have used the limit up since this one was checked: the seconds to answer 429 with, so that
 * however many are sent at once no more than the limit are told that they failed. */
int64_t policy_limit_failed(struct policy_limit *limit, const struct policy_limit_subject *subject,
                            int64_t mono_us);

/* The arithmetic alone, GCRA: `at_us` is the bucket's theoretical arrival time (0: fresh). How long
 * the next attempt has to wait; and the bucket's new time after a failure. */
int64_t policy_limit_wait_us(int64_t at_us, int64_t per_minute, int64_t mono_us);
int64_t policy_limit_count(int64_t at_us, int64_t per_minute, int64_t mono_us);

#endif
