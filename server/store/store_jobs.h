/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping: what expires by itself. Contract of calls as in store_key.h. */
#ifndef STORE_JOBS_H
#define STORE_JOBS_H

#include "store_key.h"

/* Reads nothing but the database's clock: is it there? */
typedef void store_ping_fn(void *ctx, enum base_err err);
void store_ping(struct db_conn *db, store_ping_fn *done, void *ctx);

/* Deletes idempotency keys older than 24 h and `jti`s whose assertions have expired, at most 1,000
 * each, and forgets previous secrets whose overlap is over. */
void store_expire(struct db_conn *db, store_done_fn *done, void *ctx);

/* Remembers the `jti` of a client's assertion until it expires (RFC 7523 §3, 7.). BASE_CONFLICT:
 * seen before, on whichever instance. `digest` is the SHA-256 of key ID and jti. */
void store_assertion_use(struct db_conn *db, const uint8_t digest[BASE_SHA256_LEN],
                         int64_t expires_us, store_done_fn *done, void *ctx);

#endif
