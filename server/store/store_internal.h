/* SPDX-License-Identifier: Apache-2.0 */
/* What the functions of the store share: the record of a call under way, parameters that several
 * statements have, and the reading of outcomes. Seen by server/store only. */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "db_query.h"
#include "store_jobs.h"
#include "store_schema.h"
#include "store_scope.h"
#include "store_signing_key.h"
#include "store_tenant.h"

/* Advisory locks: always both numbers, so that other programs in the same database stay out of the
 * way. */
#define STORE_LOCK_MIGRATE  "1128354372, 1"
#define STORE_LOCK_ROTATION "1128354372, 2"
#define STORE_LOCK_SCOPES   "1128354372, 3"

/* One call under way, from the public function to its answer. */
struct store_call {
    union {
        store_expire_fn *expire;
        store_assertions_fn *assertions;
        store_done_fn *done;
        store_key_lookup_fn *lookup;
        store_key_fn *key;
        store_key_list_fn *key_list;
        store_key_change_fn *key_change;
        store_tenant_fn *tenant;
        store_tenant_list_fn *tenant_list;
        store_tenant_change_fn *tenant_change;
        store_scope_fn *scope;
        store_scope_list_fn *scope_list;
        store_scope_put_fn *scope_put;
        store_audit_list_fn *audit_list;
        store_signing_list_fn *signing_list;
        store_seal_use_fn *seal_use;
        store_seal_need_fn *seal_need;
        store_schema_fn *schema;
    } fn;
    void *ctx;
    int limit;          /* lists: rows asked for */
    char requested[32]; /* look-up: the ID, cut to what no ID of ours exceeds */
    size_t requested_len;
};

/* Every call is freed by its answer, which comes exactly once. */
struct store_call *store_call_new(void *ctx);

/* Parameters in order: store_put(&params, db_text(…)). Arrays and the audit entry need memory of
 * their own until db_query() has copied it: `memory`. */
struct store_params {
    struct db_param items[DB_MAX_PARAMS];
    size_t n;
    struct base_buf memory[4];
    size_t n_memory;
};
/* For BASE_AUTO too. */
void store_params_clear(struct store_params *params);
void store_put(struct store_params *params, struct db_param param);
/* Never NULL: what is absent is an empty text. */
void store_put_text(struct store_params *params, struct base_span text);
void store_put_text_or_null(struct store_params *params, struct base_span text);
/* text[] in PostgreSQL's binary format; spans with ptr NULL are NULL. */
void store_put_array(struct store_params *params, const struct base_span *spans, size_t n);
/* The same, SQL NULL when there are none. */
void store_put_array_or_null(struct store_params *params, const struct base_span *spans, size_t n);
/* The entry as one text[]: see STORE_AUDIT. */
void store_put_audit(struct store_params *params, const struct store_audit *audit);
/* actor, key, digest: three parameters. */
void store_put_idempotency(struct store_params *params,
                           const struct store_idempotency *idempotency);

void store_query(struct db_conn *db, const struct db_statement *statement,
                 const struct store_params *params, db_answer_fn *answered,
                 struct store_call *call);
/* The same after a lock, held until the statement has taken effect: `lock` is one of the statements
 * below. */
void store_query_locked(struct db_conn *db, const struct db_statement *lock,
                        const struct db_statement *statement, const struct store_params *params,
                        db_answer_fn *answered, struct store_call *call);
/* With the lock on the Idempotency-Key where the request has one: the copies of a request come one
 * after the other, so that each sees what the one before has left. */
void store_query_idempotent(struct db_conn *db, const struct store_idempotency *idempotency,
                            const struct db_statement *statement, const struct store_params *params,
                            db_answer_fn *answered, struct store_call *call);

extern const struct db_statement store_lock_rotation;
extern const struct db_statement store_lock_scopes;

/* A change is one statement: `changed` is the CTE with the changed rows, and these are its
 * companions. What they need is written as parameter numbers, such as "$7". */

/* logged AS (…): the audit entry, one for each changed row. */
#define STORE_LOGGED(audit)                                                                        \
    " logged AS (INSERT INTO audit"                                                                \
    " (tenant_id, actor, action, object, changes, address, request_id)"                            \
    " SELECT (" audit "::text[])[1], (" audit ")[2], (" audit ")[3], (" audit ")[4],"              \
    " (" audit ")[5]::jsonb, (" audit ")[6], (" audit ")[7] FROM changed)"

/* used AS (…): what the Idempotency-Key has led to before. */
#define STORE_USED(actor, key)                                                                     \
    " used AS (SELECT object, digest FROM idempotency WHERE actor = " actor " AND key = " key      \
    " AND created_at > now() - interval '24 hours')"

/* kept AS (…): what it has led to now. */
#define STORE_KEPT(actor, key, digest, object)                                                     \
    " kept AS (INSERT INTO idempotency (actor, key, digest, object)"                               \
    " SELECT " actor ", " key ", " digest "::bytea, " object " FROM changed WHERE " key            \
    " IS NOT NULL"                                                                                 \
    " ON CONFLICT (actor, key) DO UPDATE SET digest = excluded.digest, object = excluded.object,"  \
    " created_at = excluded.created_at)"

/* The first columns of every change, read by store_read_outcome(): what was used before and whether
 * by the same request, whether the row to be changed exists at all, whether it was changed. */
#define STORE_OUTCOME(exists) " NULL::text, NULL::boolean, " exists ", EXISTS (SELECT FROM changed)"
#define STORE_OUTCOME_IDEMPOTENT(digest, exists)                                                   \
    " (SELECT object FROM used), (SELECT digest = " digest " FROM used), " exists                  \
    ", EXISTS (SELECT FROM changed)"
enum { STORE_OUTCOME_COLUMNS = 4 };

/* `in_use` is the field to name when a foreign key forbids a deletion; NULL for other changes. */
struct store_outcome store_read_outcome(const struct db_answer *answer, const char *in_use);
/* For statements that answer no such columns: an error, or BASE_OK. */
struct store_outcome store_read_error(const struct db_answer *answer, const char *in_use);
/* For statements without rows to show: hands the outcome to fn.done. */
void store_answer_done(void *data, const struct db_answer *answer);

struct base_span store_row_text_or(const struct db_result *result, int row, int column,
                                   struct base_span otherwise);
struct base_seal_id store_row_seal_id(const struct db_result *result, int row, int column);

/* Lists are read one row further than asked, to know whether there are more. The planner has to
 * know that this is few, whatever the parameter says: hence a constant inside and the parameter
 * outside. */
#define STORE_LIST_MAX 200
#define STORE_PAGE(inner, limit)                                                                   \
    "SELECT * FROM (" inner " LIMIT 201) AS page LIMIT " limit "::int + 1"

#endif
