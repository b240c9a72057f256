/* SPDX-License-Identifier: Apache-2.0 */
/* One PostgreSQL connection on one event loop, in pipeline mode, that connects and reconnects by
 * itself.
 *
 * Queries given during one turn of the loop, or while a batch is in flight, leave together in the
 * next batch, as in a group commit: an idle connection adds no wait and a busy one batches by
 * itself. Reads in a batch share one Sync; a write has a Sync of its own, so that nothing but
 * itself can undo it.
 *
 * Every query is answered exactly once, on the loop, never before db_query() has returned: with
 * rows, with an error, at its deadline, or when the connection is closed. After a deadline the
 * connection is dropped and opened again (a late answer must not meet the next question); others
 * waiting on it that are reads are tried once more on the new one while their own deadlines hold, a
 * write never, once it was sent. Everything on the loop's thread. No blocking libpq call. */
#ifndef DB_CONN_H
#define DB_CONN_H

#include "base_buf.h"
#include "base_err.h"

#include <stdint.h>

struct event_base;
struct db_conn;

struct db_options {
    const char *conninfo; /* any libpq string or URL; several hosts are tried in turn */
    const char *application_name;
    const char *session;      /* SET statements for each new session, static; NULL: none */
    int64_t query_timeout_us; /* from db_query() to the answer */
    /* After which PostgreSQL itself gives a statement up. 0: half a second after our own deadline,
     * so that nothing goes on for whom nobody waits. Before it, a slow statement fails alone
     * (BASE_TIMEOUT), where our deadline would cost all others the connection. */
    int64_t statement_timeout_us;
    int64_t connect_timeout_us; /* per host */
    size_t max_pending;         /* queries waiting and in flight; over it BASE_BUSY */
    size_t max_batch;           /* queries in one batch; 0: 64 */
    /* Reports, each optional; `data` goes to all of them. State changes: connected, or lost and why
     * (a sentence of libpq's or ours without credentials; names the host). */
    void (*on_state)(void *data, bool connected, const char *why);
    void (*on_notify)(void *data, const char *channel, const char *payload);
    void *data;
};

/* Starts connecting on the next turn; queries may be given at once and wait for the connection
 * while it is being opened for the first time or after a loss, up to their deadline; while
 * reconnecting has failed at least once since, they are refused at once with BASE_UNAVAILABLE (fail
 * fast, nothing piles up). Adds target_session_attrs=read-write (unless the string has one),
 * client_encoding, and statement_timeout. Host names are resolved off the loop.
 * BASE_INVALID: the string does not parse; `why` says what libpq said, without passwords. */
enum base_err db_conn_open(struct event_base *base, const struct db_options *options,
                           struct db_conn **out, struct base_buf *why) BASE_MUST_USE;
/* Answers what is open with BASE_UNAVAILABLE, before it returns, and closes. Not from inside a
 * query's callback. */
void db_conn_close(struct db_conn **conn);

bool db_conn_ready(const struct db_conn *conn);
/* When the last successful answer came, in monotonic µs; 0: never. */
int64_t db_conn_last_answer_us(const struct db_conn *conn);
/* Queries waiting and in flight. */
size_t db_conn_pending(const struct db_conn *conn);
/* There are as many as allowed: the next query would be refused with BASE_BUSY. */
bool db_conn_full(const struct db_conn *conn);
/* The last failure as a sentence: "host db1, port 5432: Connection refused". "" when connected. */
const char *db_conn_problem(const struct db_conn *conn);
/* LISTEN on a channel of our own naming, now and after each reconnect. `channel` must be a static
 * lower-case identifier. */
void db_conn_listen(struct db_conn *conn, const char *channel);

#endif
