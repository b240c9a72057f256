/* SPDX-License-Identifier: Apache-2.0 */
/* Who changed what, when and from where: a row written in the transaction of the change itself, by
 * every store function that changes something. The table takes no updates or deletes. */
#ifndef STORE_AUDIT_H
#define STORE_AUDIT_H

#include "base_err.h"
#include "base_span.h"

#include <stdbool.h>
#include <stdint.h>

struct db_conn;

/* What the caller of a change knows about it; spans must live until the call returns. */
struct store_audit {
    struct base_span actor;      /* a key ID, "cli:root", or "server" for jobs */
    struct base_span action;     /* "key.create" */
    struct base_span tenant;     /* empty: of no tenant (scopes, signing keys) */
    struct base_span object;     /* "key_…", a tenant's ID, a scope's name, a kid */
    struct base_span changes;    /* JSON object {"field":[before,after]…}; never a secret */
    struct base_span address;    /* of the client; empty for the command line */
    struct base_span request_id; /* may be empty */
};

struct store_audit_row {
    int64_t id;
    int64_t at_us;
    struct store_audit entry;
};

/* Newest first, before entry `before_id` (0: from the newest), at most `limit` rows (1 to 200);
 * `more` tells whether older ones are left. `tenant` empty: of the whole installation. With
 * `with_former`, also those of tenants that had the same ID and were deleted. Rows are valid during
 * the callback. */
typedef void store_audit_list_fn(void *ctx, enum base_err err, const struct store_audit_row *rows,
                                 size_t n_rows, bool more);
void store_audit_list(struct db_conn *db, struct base_span tenant, bool with_former,
                      int64_t before_id, int limit, store_audit_list_fn *done, void *ctx);

#endif
