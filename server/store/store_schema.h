/* SPDX-License-Identifier: Apache-2.0 */
/* The migrations of sql/, embedded in the binary, and the check of the schema's version. */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

#include "base_buf.h"
#include "base_err.h"

struct db_conn;

/* The version this binary needs: the number of its newest migration. */
int store_schema_wanted(void);

/* BASE_OK: the schema is ours. BASE_CONFLICT: older, newer or changed; BASE_NOT_FOUND: none at all.
 * `why` is a sentence with the command that mends it ("run `cardea migrate`", "upgrade this
 * cardea"). Other errors: not answered. */
typedef void store_schema_fn(void *ctx, enum base_err err, const char *why);
void store_schema_check(struct db_conn *db, store_schema_fn *done, void *ctx);

/* Applies what is missing, each migration in a transaction of its own under an advisory lock (held
 * for all of them, so that several hosts may run it at once), with its SHA-256 in the table
 * schema_migration; a checksum that differs is refused, and so is a database whose encoding is not
 * UTF8. `applied` counts what this call did; `version` is where it ended. */
typedef void store_migrate_fn(void *ctx, enum base_err err, const char *why, int applied,
                              int version);
void store_schema_migrate(struct db_conn *db, store_migrate_fn *done, void *ctx);

#endif
