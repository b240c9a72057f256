/* SPDX-License-Identifier: Apache-2.0 */
/* The table tenant. Contract of calls as in store_key.h. */
#ifndef STORE_TENANT_H
#define STORE_TENANT_H

#include "store_key.h"

struct store_tenant {
    struct base_span id;
    struct base_span name;
    bool enabled;
    int64_t seq, version;
    int64_t created_us, updated_us;
};

typedef void store_tenant_fn(void *ctx, enum base_err err, const struct store_tenant *tenant);
void store_tenant_get(struct db_conn *db, struct base_span id, store_tenant_fn *done, void *ctx);

/* Newest first, as in store_key_list(). */
typedef void store_tenant_list_fn(void *ctx, enum base_err err, const struct store_tenant *tenants,
                                  size_t n_tenants, bool more);
void store_tenant_list(struct db_conn *db, struct base_span text, int64_t before_seq, int limit,
                       store_tenant_list_fn *done, void *ctx);

typedef void store_tenant_change_fn(void *ctx, const struct store_outcome *outcome,
                                    const struct store_tenant *tenant);
/* BASE_CONFLICT with field "id": it exists. */
void store_tenant_create(struct db_conn *db, struct base_span id, struct base_span name,
                         bool enabled, const struct store_idempotency *idempotency,
                         const struct store_audit *audit, store_tenant_change_fn *done, void *ctx);
void store_tenant_update(struct db_conn *db, struct base_span id, int64_t expected_version,
                         struct base_span name, bool enabled, const struct store_audit *audit,
                         store_tenant_change_fn *done, void *ctx);
/* BASE_CONFLICT with field "keys": it still has keys. */
void store_tenant_delete(struct db_conn *db, struct base_span id, int64_t expected_version,
                         const struct store_audit *audit, store_done_fn *done, void *ctx);

#endif
