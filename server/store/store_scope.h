/* SPDX-License-Identifier: Apache-2.0 */
/* The table scope: the catalog of API scopes, and the three management scopes (cardea.admin,
 * cardea.read, cardea.platform), which are there from the first migration on and cannot be changed.
 * Contract of calls as in store_key.h. */
#ifndef STORE_SCOPE_H
#define STORE_SCOPE_H

#include "store_key.h"

struct store_scope {
    struct base_span name;
    struct base_span title;
    struct base_span description;
    int64_t created_us, updated_us;
};

/* By name; at most 1,000, the catalog's limit. The management scopes are not listed. */
typedef void store_scope_list_fn(void *ctx, enum base_err err, const struct store_scope *scopes,
                                 size_t n_scopes);
void store_scope_list(struct db_conn *db, store_scope_list_fn *done, void *ctx);
typedef void store_scope_fn(void *ctx, enum base_err err, const struct store_scope *scope);
void store_scope_get(struct db_conn *db, struct base_span name, store_scope_fn *done, void *ctx);

/* Creates or replaces; *created tells. BASE_TOO_LARGE: the catalog is full. */
typedef void store_scope_put_fn(void *ctx, const struct store_outcome *outcome, bool created,
                                const struct store_scope *scope);
void store_scope_put(struct db_conn *db, struct base_span name, struct base_span title,
                     struct base_span description, const struct store_audit *audit,
                     store_scope_put_fn *done, void *ctx);
/* BASE_CONFLICT with field "keys": a key holds it. */
void store_scope_delete(struct db_conn *db, struct base_span name, const struct store_audit *audit,
                        store_done_fn *done, void *ctx);

#endif
