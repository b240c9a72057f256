/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping: what expires by itself. Contract of calls as in store_key.h. */
#ifndef STORE_JOBS_H
#define STORE_JOBS_H

#include "store_key.h"

/* Does nothing wait on this connection? Then what nobody waits for may use it. */
bool store_idle(const struct db_conn *db);

/* Deletes idempotency keys older than 24 h and `jti`s whose assertions have expired, and forgets
 * previous secrets whose overlap is over: at most 1,000 of each. `more`: one of the thousands was
 * full, so that it is worth asking again at once. */
typedef void store_expire_fn(void *ctx, enum base_err err, bool more);
void store_expire(struct db_conn *db, store_expire_fn *done, void *ctx);

/* Remembers the `jti`s of clients' assertions, each until its `expires_us` by the database's clock
 * (RFC 7523 §3, 7.), all in one transaction. `digest` is the SHA-256 of key ID and jti; no two in a
 * call are the same. fresh[i]: it was not known before, on whichever instance. A write, which waits
 * for the disk: not on a connection where reads stand behind it. `fresh` is NULL unless BASE_OK;
 * BASE_CONFLICT is never the answer. */
#define STORE_MAX_ASSERTIONS 64 /* in one call */
struct store_assertion {
    uint8_t digest[BASE_SHA256_LEN];
    int64_t expires_us;
};
typedef void store_assertions_fn(void *ctx, enum base_err err, const bool *fresh);
void store_assertions_use(struct db_conn *db, const struct store_assertion *assertions, size_t n,
                          store_assertions_fn *done, void *ctx);

#endif
