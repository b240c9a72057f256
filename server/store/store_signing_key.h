/* SPDX-License-Identifier: Apache-2.0 */
/* The table signing_key: the fleet's signing keys, private parts sealed. States: announced ->
 * signing -> retired -> (row deleted). At most one key signs and at most one is announced: unique
 * indexes hold that. Times are the database's clock. Contract of calls as in store_key.h. */
#ifndef STORE_SIGNING_KEY_H
#define STORE_SIGNING_KEY_H

#include "base_seal.h"
#include "store_key.h"

enum store_signing_state { STORE_SIGNING_ANNOUNCED, STORE_SIGNING_ACTIVE, STORE_SIGNING_RETIRED };

struct store_signing_key {
    struct base_span kid;
    struct base_span alg;        /* "ES256" */
    struct base_span public_jwk; /* JSON text */
    struct base_span sealed;     /* PKCS #8 under the master key, context "signing_key:" + kid */
    struct base_seal_id seal_id;
    enum store_signing_state state;
    int64_t created_us;       /* committed; published from then on */
    int64_t signs_from_us;    /* not before */
    int64_t activated_us;     /* 0: not yet */
    int64_t retired_us;       /* 0: not yet */
    int64_t publish_until_us; /* retired: gone after that; 0 otherwise */
};

/* All keys, with the database's clock and the ring's generation (grows with every change of the
 * table). */
typedef void store_signing_list_fn(void *ctx, enum base_err err,
                                   const struct store_signing_key *keys, size_t n_keys,
                                   int64_t now_us, int64_t generation);
void store_signing_key_list(struct db_conn *db, store_signing_list_fn *done, void *ctx);

/* The first key: signs at once. Only while none signs and none is announced: otherwise
 * BASE_CONFLICT (another instance was first), and the caller reloads. Under the rotation's advisory
 * lock, as all that follow. */
void store_signing_key_first(struct db_conn *db, const struct store_signing_key *key,
                             const struct store_audit *audit, store_done_fn *done, void *ctx);
/* A key to be: published now, signs after `wait_us`. BASE_CONFLICT: one is announced already.
 * `idempotency` here and below: NULL, or as for store_key_create(), the object being the kid. */
void store_signing_key_announce(struct db_conn *db, const struct store_signing_key *key,
                                int64_t wait_us, const struct store_idempotency *idempotency,
                                const struct store_audit *audit, store_done_fn *done, void *ctx);
/* The announced key `kid` signs, the signing one retires and stays published for publish_us after
 * its last possible token, the longest token_ttl of any key and of any server's default (at least
 * default_ttl_us) being taken into account. BASE_CONFLICT: not announced any more, or not yet time.
 */
void store_signing_key_activate(struct db_conn *db, struct base_span kid, int64_t default_ttl_us,
                                int64_t publish_us, const struct store_audit *audit,
                                store_done_fn *done, void *ctx);
/* A server that is about to issue tokens of this lifetime says so first: later activations, by
 * whichever instance and with whatever default, keep the retired key published for them. */
void store_signing_ring_note_ttl(struct db_conn *db, int64_t ttl_us, store_done_fn *done,
                                 void *ctx);
/* Emergency: every other key is deleted, `key` signs at once. */
void store_signing_key_replace_all(struct db_conn *db, const struct store_signing_key *key,
                                   const struct store_idempotency *idempotency,
                                   const struct store_audit *audit, store_done_fn *done, void *ctx);
/* Deletes retired keys whose time is over. */
void store_signing_key_expire(struct db_conn *db, store_done_fn *done, void *ctx);
/* The same key sealed under another master key, if its old seal is still `old_seal`. */
void store_signing_key_reseal(struct db_conn *db, struct base_span kid,
                              const struct base_seal_id *old_seal, struct base_span sealed,
                              const struct base_seal_id *seal_id, const struct store_audit *audit,
                              store_done_fn *done, void *ctx);

/* Which master keys are needed: quick, however many keys there are. */
struct store_seal_need {
    struct base_seal_id seal_id;
    bool signing_keys;
    bool secrets; /* those that store_seal_uses() counts */
};
typedef void store_seal_need_fn(void *ctx, enum base_err err, const struct store_seal_need *needs,
                                size_t n_needs);
void store_seals_needed(struct db_conn *db, store_seal_need_fn *done, void *ctx);

/* How many objects need which master key: reads every key. */
struct store_seal_use {
    struct base_seal_id seal_id;
    int64_t signing_keys;
    int64_t secrets; /* current ones, and previous ones that are still accepted, of keys that have
                        not expired */
};
typedef void store_seal_use_fn(void *ctx, enum base_err err, const struct store_seal_use *uses,
                               size_t n_uses);
void store_seal_uses(struct db_conn *db, store_seal_use_fn *done, void *ctx);

/* Every change of the table sends a NOTIFY on this channel when it commits. */
#define STORE_RING_CHANNEL "cardea_ring"

#endif
