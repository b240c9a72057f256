/* SPDX-License-Identifier: Apache-2.0 */
/* Queries on a db_conn: prepared once per connection and statement, parameters and rows in
 * PostgreSQL's binary format. */
#ifndef DB_QUERY_H
#define DB_QUERY_H

#include "db_conn.h"
#include "db_row.h"

#define DB_MAX_PARAMS 20

enum db_kind {
    DB_READ,
    DB_WRITE, /* has effects: never sent twice, and a Sync of its own */
    /* A read that many ask at once. Its one parameter, a text of at most 500 bytes, travels with
     * those of the others that wait as one text[], and the SQL gives exactly one row for each
     * element, in their order: one execution answers them all. Each query gets its own row, as if
     * it had been alone. */
    DB_GATHERED_READ,
};

/* A statement: static, and prepared under its name on first use on each connection. */
struct db_statement {
    const char *name; /* unique in the program: "key_lookup" */
    const char *sql;
    enum db_kind kind;
};

/* A parameter; NULL ptr: SQL NULL. Types are inferred by PostgreSQL, so SQL casts where it matters.
 */
struct db_param {
    const char *ptr;
    int len;
    bool in_place; /* a number in network order, kept in `bytes`; ptr is then not used */
    char bytes[8];
};
struct db_param
db_text(struct base_span text); /* not NUL-terminated is fine: sent as binary text */
struct db_param db_bytes(const void *ptr, size_t len); /* bytea */
struct db_param db_int8(int64_t value);
struct db_param db_int4(int32_t value);
struct db_param db_bool(bool value);
struct db_param db_time(int64_t wall_us); /* timestamptz */
struct db_param db_null(void);
/* For NULL pointers: empty ptr means SQL NULL. */
struct db_param db_text_or_null(struct base_span text);
/* A text[] of `n` elements: begun, then each put (ptr NULL: SQL NULL), then db_bytes() of `out`. */
void db_array_begin(struct base_buf *out, size_t n, bool has_null);
void db_array_put(struct base_buf *out, struct base_span element);

/* The answer. err BASE_OK: `result` has rows (or the count of rows written). BASE_CONFLICT: a
 * unique, foreign-key, check or exclusion constraint said no, and `sqlstate` and `constraint` tell
 * which. BASE_DENIED: the role has no right. BASE_INVALID: bad data. BASE_BUSY, BASE_TIMEOUT,
 * BASE_UNAVAILABLE: not answered; a write may or may not have happened after BASE_TIMEOUT or
 * BASE_UNAVAILABLE. A deadlock and a serialization failure, which a role may be set up for, are
 * BASE_UNAVAILABLE too: no verdict. BASE_INTERNAL: any other error of PostgreSQL. */
struct db_answer {
    enum base_err err;
    const struct db_result *result; /* NULL unless BASE_OK; valid during the callback */
    char sqlstate[6];
    const char *constraint; /* "" when none; valid during the callback */
    const char *message;    /* PostgreSQL's primary message, for the log; "" when none */
};
typedef void db_answer_fn(void *ctx, const struct db_answer *answer);

/* Parameters are copied before it returns. `statement` must live for ever. */
void db_query(struct db_conn *conn, const struct db_statement *statement,
              const struct db_param *params, size_t n_params, db_answer_fn *done, void *ctx);

/* Several statements as one unit under one Sync: all take effect or none (an implicit transaction,
 * READ COMMITTED: each statement sees what was committed before it began, so that a lock taken by
 * the first holds for the second). At most four. The answer is that of the last, or of the first
 * that failed. */
struct db_call {
    const struct db_statement *statement;
    const struct db_param *params;
    size_t n_params;
};
void db_query_all(struct db_conn *conn, const struct db_call *calls, size_t n_calls,
                  db_answer_fn *done, void *ctx);

/* A script of several statements without parameters (a migration): BEGIN, the script, COMMIT are
 * the caller's, inside the text. Sent by the simple protocol outside the pipeline when nothing else
 * is pending; for the command line, not for servers. Timeout as given, since a migration may take
 * long. */
void db_script(struct db_conn *conn, const char *sql, int64_t timeout_us, db_answer_fn *done,
               void *ctx);

#endif
