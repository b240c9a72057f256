/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping: what expires by itself. Contract of calls as in store_key.h. */
#ifndef STORE_JOBS_H
#define STORE_JOBS_H

#include "store_key.h"

/* Reads nothing but the database's clock: is it there? */
typedef void store_ping_fn(void *ctx, enum base_err err);
void store_ping(struct db_conn *db, store_ping_fn *done, void *ctx);

/* Deletes idempotency keys older than 24 h and `jti`s whose assertions have expired, and forgets
 * previous secrets whose overlap is over: at most 1,000 of each. `more`: one of the thousands was
 * full, so that it is worth asking again at once. */
typedef void store_expire_fn(void *ctx, enum base_err err, bool more);
void store_expire(struct db_conn *db, store_expire_fn *done, void *ctx);

/* Remembers the `jti` of a client's assertion until `expires_us` by the database's clock (RFC 7523
 * §3, 7.). BASE_CONFLICT: seen before, on whichever instance, and nothing else: whatever went wrong
 * in the database has another name. `digest` is the SHA-256 of key ID and jti. A write, which waits
 * for the disk: not on a connection where reads stand behind it. */
void store_assertion_use(struct db_conn *db, const uint8_t digest[BASE_SHA256_LEN],
                         int64_t expires_us, store_done_fn *done, void *ctx);

#endif
