/* SPDX-License-Identifier: Apache-2.0 */
/* The key ring: an immutable snapshot of the fleet's signing keys, and the rules of their life:
 * announced -> signing -> retired -> gone. Pure; the clock is an argument. Snapshots are shared
 * between threads by reference.
 *
 * Why a verifier that keeps our key set for max-age at most never meets an unknown kid:
 *
 * A key is published from the moment it is committed, and signs only when max-age and margin have
 * passed since. A set fetched before it was published is older than max-age by then. The margin is
 * what an instance may lag behind the database, and what the database's clock may jump ahead.
 *
 * A retired key stays published until the last token that can carry its kid has expired: until its
 * retirement, the lease of an instance that has not heard of it, and the longest lifetime of a
 * token have passed; and the cache time on top, for clocks that differ. */
#ifndef POLICY_RING_H
#define POLICY_RING_H

#include "base_seal.h"
#include "jose_key.h"
#include "store_signing_key.h"

struct policy_ring_key {
    struct jose_key *key; /* private part included */
    enum store_signing_state state;
    struct base_seal_id seal_id;
    int64_t created_us, signs_from_us, activated_us, retired_us, publish_until_us;
};

struct policy_ring; /* immutable after policy_ring_new() */

/* Opens the sealed keys of the rows. BASE_NOT_FOUND: a key needs a master key that is not loaded;
 * `why` says which (fingerprint in hex) and how many. BASE_INVALID: a row that does not fit
 * together; `why` names it. */
enum base_err policy_ring_new(const struct store_signing_key *rows, size_t n_rows,
                              const struct base_seal *seal, struct policy_ring **out,
                              struct base_buf *why) BASE_MUST_USE;
struct policy_ring *policy_ring_ref(struct policy_ring *ring);
void policy_ring_unref(struct policy_ring **ring);

/* Keys in order: the signing one, the announced one, then retired ones, the oldest first. */
size_t policy_ring_count(const struct policy_ring *ring);
const struct policy_ring_key *policy_ring_at(const struct policy_ring *ring, size_t index);
/* The same keys in the same states as in the rows? Then they only renew the lease, and nothing need
 * be opened. */
bool policy_ring_is_of(const struct policy_ring *ring, const struct store_signing_key *rows,
                       size_t n_rows);
/* What a signing key's seal is bound to: "signing_key:" and its kid. */
void policy_ring_seal_context(struct base_span kid, struct base_buf *out);

/* A snapshot may sign for POLICY_RING_LEASE_US after it was confirmed by the database; an instance
 * that was stopped or cut off longer signs with nothing until it has read the table again.
 * `confirmed_*` are both clocks at the last confirmation: when the wall clock has run differently
 * from the monotonic one since (an hour's jump, or a machine that was frozen with its clocks), the
 * lease is over too. */
#define POLICY_RING_LEASE_US INT64_C(15000000)
bool policy_ring_lease_holds(int64_t confirmed_mono_us, int64_t confirmed_wall_us, int64_t mono_us,
                             int64_t wall_us);

/* The key that signs; NULL: none. */
const struct policy_ring_key *policy_ring_signing(const struct policy_ring *ring);
/* By thumbprint, of all published keys; NULL when unknown. `ctx` is the ring: fits jose_find_key.
 */
const struct jose_key *policy_ring_find(void *ring, struct base_span kid);
/* The JWK Set document with every published key, in the order of the keys, and its entity tag (with
 * quotes): made once, with the snapshot. */
struct base_span policy_ring_jwks(const struct policy_ring *ring);
struct base_span policy_ring_etag(const struct policy_ring *ring);

/* What has to be done now. One pure function; the job does it, under the advisory lock, and asks
 * again. `now_us` is the database's clock. */
struct policy_rotation {
    int64_t rotation_us; /* CARDEA_SIGNING_KEY_ROTATION */
    int64_t max_age_us;  /* CARDEA_JWKS_MAX_AGE */
    int64_t margin_us;   /* CARDEA_JWKS_MARGIN */
    enum jose_alg alg;   /* CARDEA_SIGNING_ALG */
};
enum policy_ring_step {
    POLICY_RING_NOTHING,
    POLICY_RING_FIRST,    /* none signs and none is announced: make a key that signs at once */
    POLICY_RING_ANNOUNCE, /* its time is nearly over, or the algorithm changed: publish a successor
                           */
    POLICY_RING_ACTIVATE, /* the announced key may sign: every cache has had it */
    POLICY_RING_EXPIRE,   /* a retired key's last token has expired and the caches' time is over */
};
enum policy_ring_step policy_ring_next(const struct store_signing_key *rows, size_t n_rows,
                                       const struct policy_rotation *rotation, int64_t now_us);
/* How long caches may keep a set that the database confirmed `age_us` ago: max-age as it is set
 * while the margin covers the age, and less beyond, so that no cache keeps a set longer than a key
 * announced right after its confirmation waits before it signs. Whole seconds, 0 when there is
 * nothing left. */
int64_t policy_ring_cache_s(const struct policy_rotation *rotation, int64_t age_us);

/* Is a rotation overdue (no successor signs an hour after it should, or nothing signs at all)? */
bool policy_ring_overdue(const struct policy_ring *ring, const struct policy_rotation *rotation,
                         int64_t now_us);
/* How long an announced key waits before it signs. */
int64_t policy_ring_wait_us(const struct policy_rotation *rotation);
/* How long a retired key stays published on top of the longest lifetime of a token. */
int64_t policy_ring_publish_us(const struct policy_rotation *rotation);

#endif
