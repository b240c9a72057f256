/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store share: a migrated database, connections as its owner and as the
 * runtime role, and callbacks that keep a copy of what they were given. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "db_conn.h"
#include "pg_cluster.h"
#include "store_jobs.h"
#include "store_schema.h"
#include "store_scope.h"
#include "store_signing_key.h"
#include "store_tenant.h"

#define RUNTIME_ROLE "cardea_runtime_test"
#define MAX_ROWS     201

/* One server for the program; NULL where none can be had. */
extern struct event_base *fix_base;
extern char *fix_owner;   /* connection string of the database's owner */
extern char *fix_runtime; /* … and of the role that the server uses */
extern struct db_conn *fix_db;

/* Group fixtures: a migrated database and a connection as the runtime role; a bare server only. */
int fix_setup(void **state);
int fix_setup_bare(void **state);
int fix_teardown(void **state);

struct db_conn *fix_open(const char *conninfo);
/* A fresh database in the server, to be freed. */
char *fix_database(void);
/* The first value, as a number. */
long long fix_number(const char *sql);
void fix_exec(const char *sql);

/* What a callback was given. Texts are copies and live until the next fix_reset(). */
struct answer {
    int count; /* how often it was called */
    enum base_err err;
    struct store_outcome outcome;
    bool found, more, created;
    size_t n;
    struct store_key key;
    struct store_key *keys;
    struct store_tenant tenant;
    struct store_tenant *tenants;
    struct store_scope scope;
    struct store_scope *scopes;
    struct store_signing_key *signing;
    int64_t now_us, generation;
    struct store_audit_row *audit;
    struct store_seal_use *uses;
    struct store_seal_need *needs;
    char why[512];
    int applied, version;
};
extern struct answer fix_answer; /* of fix_one() calls: cleared by fix_reset() */
void fix_reset(void);
/* Turns the loop until the answer has come, once; fails the test after half a minute. */
void fix_wait(struct answer *answer, int count);
/* The usual: the answer in fix_answer. */
void fix_done(void);

void on_lookup(void *ctx, enum base_err err, bool found, const struct store_key *key);
void on_key(void *ctx, enum base_err err, const struct store_key *key);
void on_key_list(void *ctx, enum base_err err, const struct store_key_list *list);
void on_key_change(void *ctx, const struct store_outcome *outcome, const struct store_key *key);
void on_done(void *ctx, const struct store_outcome *outcome);
void on_expire(void *ctx, enum base_err err, bool more);
void on_tenant(void *ctx, enum base_err err, const struct store_tenant *tenant);
void on_tenant_list(void *ctx, enum base_err err, const struct store_tenant *tenants, size_t n,
                    bool more);
void on_tenant_change(void *ctx, const struct store_outcome *outcome,
                      const struct store_tenant *tenant);
void on_scope(void *ctx, enum base_err err, const struct store_scope *scope);
void on_scope_list(void *ctx, enum base_err err, const struct store_scope *scopes, size_t n);
void on_scope_put(void *ctx, const struct store_outcome *outcome, bool created,
                  const struct store_scope *scope);
void on_signing_list(void *ctx, enum base_err err, const struct store_signing_key *keys, size_t n,
                     int64_t now_us, int64_t generation);
void on_audit_list(void *ctx, enum base_err err, const struct store_audit_row *rows, size_t n,
                   bool more);
void on_seal_use(void *ctx, enum base_err err, const struct store_seal_use *uses, size_t n);
void on_seal_need(void *ctx, enum base_err err, const struct store_seal_need *needs, size_t n);
void on_schema(void *ctx, enum base_err err, const char *why);
void on_migrate(void *ctx, enum base_err err, const char *why, int applied, int version);

/* Makings. */
struct base_span fix_text(const char *fmt, ...) BASE_PRINTF(1, 2); /* lives until fix_reset() */
struct base_span fix_key_id(unsigned number);
struct store_audit fix_audit(const char *action, const char *tenant, struct base_span object);
struct store_secret fix_secret(uint8_t byte);
struct store_key_fields fix_fields(const char *name);
void fix_tenant(const char *id);
void fix_scope(const char *name);
/* Creates a key with the scope data:read and a secret of `number`. */
struct base_span fix_key(const char *tenant, unsigned number);

#define assert_span(span, text)                                                                    \
    do {                                                                                           \
        assert_int_equal((span).len, strlen(text));                                                \
        assert_memory_equal((span).ptr ? (span).ptr : "", (text), (span).len);                     \
    } while (0)
#define assert_outcome(wanted) assert_int_equal(fix_answer.outcome.err, (wanted))

#endif
