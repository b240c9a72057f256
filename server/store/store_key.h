/* SPDX-License-Identifier: Apache-2.0 */
/* The table api_key: API access keys of the tenants. Secrets are here only as MACs. All functions
 * are asynchronous on the connection's loop, answer exactly once and never before they have
 * returned; spans given are copied, spans received are valid during the callback. */
#ifndef STORE_KEY_H
#define STORE_KEY_H

#include "base_seal.h"
#include "store_audit.h"

#define STORE_KEY_MAX_SCOPES   64
#define STORE_KEY_MAX_AUDIENCE 8
#define STORE_KEY_MAX_CIDRS    32

/* A secret as it is stored: HMAC under the key derived from master key `seal_id`. */
struct store_secret {
    bool present;
    uint8_t mac[BASE_SHA256_LEN];
    struct base_seal_id seal_id;
};

/* What an admin decides about a key. */
struct store_key_fields {
    struct base_span name;
    struct base_span description; /* empty: none */
    size_t n_scopes;
    struct base_span scopes[STORE_KEY_MAX_SCOPES]; /* sorted, no duplicates */
    bool enabled;
    int64_t expires_us;
    int32_t token_ttl_s; /* 0: the server's */
    size_t n_audience;   /* 0: the server's */
    struct base_span audience[STORE_KEY_MAX_AUDIENCE];
    size_t n_cidrs; /* 0: any address */
    struct base_span cidrs[STORE_KEY_MAX_CIDRS];
    struct base_span claims; /* JSON object as text; "{}" when none */
    struct base_span
        jwks; /* JSON text of the client's public JWK Set; empty: a client with a secret */
};

struct store_key {
    struct base_span key_id;
    struct base_span tenant;
    bool tenant_enabled;
    struct store_key_fields fields;
    struct base_span scope; /* the scopes as one text, single spaces, sorted */
    int64_t seq;            /* grows with every key created: the order of lists */
    int64_t version;        /* grows with every change: the entity tag; last_used does not count */
    int64_t created_us, updated_us;
    int64_t last_used_us; /* 0: never */
    struct base_span created_by;
    struct store_secret secret;
    struct store_secret previous; /* accepted until previous_expires_us */
    int64_t previous_expires_us;  /* 0: none */
};

/* The read of the token path, batched with others on the connection. An ID that does not exist
 * gives found == false and the decoy row, after the same work of the database, so that time tells
 * nothing; the decoy has a present secret that no input matches. `err` other than BASE_OK: key is
 * NULL. */
typedef void store_key_lookup_fn(void *ctx, enum base_err err, bool found,
                                 const struct store_key *key);
void store_key_lookup(struct db_conn *db, struct base_span key_id, store_key_lookup_fn *done,
                      void *ctx);
/* Would that be refused at once, with BASE_BUSY? */
bool store_key_lookup_busy(const struct db_conn *db);

/* One key of one tenant; BASE_NOT_FOUND covers another tenant's too. */
typedef void store_key_fn(void *ctx, enum base_err err, const struct store_key *key);
void store_key_get(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                   store_key_fn *done, void *ctx);
/* The same whatever its tenant, for the command line. */
void store_key_find(struct db_conn *db, struct base_span key_id, store_key_fn *done, void *ctx);

enum store_key_status { STORE_KEY_ANY, STORE_KEY_ACTIVE, STORE_KEY_DISABLED, STORE_KEY_EXPIRED };
struct store_key_filter {
    enum store_key_status status; /* judged at now_us; disabled goes before expired */
    struct base_span text;        /* part of the name or ID, case-insensitive; empty: all */
    int64_t now_us;
    int64_t before_seq; /* 0: from the newest */
    int limit;          /* 1 to 200 */
};
struct store_key_list;
/* BASE_NOT_FOUND: no such tenant. */
typedef void store_key_list_fn(void *ctx, enum base_err err, const struct store_key_list *list);
void store_key_list(struct db_conn *db, struct base_span tenant,
                    const struct store_key_filter *filter, store_key_list_fn *done, void *ctx);
size_t store_key_list_count(const struct store_key_list *list);
bool store_key_list_more(const struct store_key_list *list);
void store_key_list_at(const struct store_key_list *list, size_t index, struct store_key *out);

/* An Idempotency-Key of a request (actor and key name it, the digest is of its route and body). */
struct store_idempotency {
    struct base_span actor;
    struct base_span key; /* empty: the request has none */
    uint8_t digest[BASE_SHA256_LEN];
};

/* How a change ended. BASE_CONFLICT with `repeated`: the Idempotency-Key was used before in the
 * last 24 h, nothing was changed; `object` is what it led to, `same_request` whether the digest is
 * the same. BASE_CONFLICT else: `expected_version` is not the row's, or the name in `field`
 * ("scopes", "tenant") is unknown or in use. */
struct store_outcome {
    enum base_err err;
    bool repeated;
    bool same_request;
    struct base_span object;
    const char *field; /* NULL: none */
};

typedef void store_key_change_fn(void *ctx, const struct store_outcome *outcome,
                                 const struct store_key *key); /* NULL unless BASE_OK */
/* BASE_NOT_FOUND: no such tenant; BASE_CONFLICT with field "scopes": a scope is not in the catalog.
 */
void store_key_create(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                      const struct store_key_fields *fields, const struct store_secret *secret,
                      struct base_span created_by, const struct store_idempotency *idempotency,
                      const struct store_audit *audit, store_key_change_fn *done, void *ctx);
/* Writes all fields, if the row still has `expected_version`. */
void store_key_update(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                      int64_t expected_version, const struct store_key_fields *fields,
                      const struct store_audit *audit, store_key_change_fn *done, void *ctx);
/* A new secret; the old one stays valid until overlap_until_us (0: not at all).
 * STORE_KEEP_PREVIOUS: the new one takes the place of one that got lost on its way to the client,
 * and the one before stays valid as long as it was going to. The version is checked as above. */
#define STORE_KEEP_PREVIOUS INT64_C(-1)
void store_key_set_secret(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                          int64_t expected_version, const struct store_secret *secret,
                          int64_t overlap_until_us, const struct store_idempotency *idempotency,
                          const struct store_audit *audit, store_key_change_fn *done, void *ctx);
typedef void store_done_fn(void *ctx, const struct store_outcome *outcome);
void store_key_delete(struct db_conn *db, struct base_span tenant, struct base_span key_id,
                      int64_t expected_version, const struct store_audit *audit,
                      store_done_fn *done, void *ctx);

/* Last-used times, many keys in one statement; those less than a minute after the stored ones
 * change nothing, and no version grows. At most 1,000 a call. */
struct store_key_use {
    char key_id[32];
    int64_t at_us;
};
void store_key_touch(struct db_conn *db, const struct store_key_use *uses, size_t n_uses,
                     store_done_fn *done, void *ctx);

/* Moves the MAC of the current secret under another master key: only if the row still has
 * `old_mac`; no version grows and no audit row is written, since nothing an admin sees has changed.
 */
void store_key_remac(struct db_conn *db, struct base_span key_id,
                     const uint8_t old_mac[BASE_SHA256_LEN], const struct store_secret *secret,
                     store_done_fn *done, void *ctx);

#endif
