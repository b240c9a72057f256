/* SPDX-License-Identifier: Apache-2.0 */
/* One batch after the other: what is sent, and what comes back.
 *
 * A query waits until the turn of the loop ends and no batch is in flight, then leaves with all
 * others that wait, up to max_batch. In the pipeline a batch looks like this (P: Parse, on the
 * first use of a statement on this connection; Q: Bind, Describe, Execute):
 *
 *     P Q Q Q S    Q S      Q Q S
 *     reads        a write  reads        S: Sync
 *
 * PostgreSQL runs what stands between two Syncs as one transaction, and after an error skips to the
 * next Sync. So reads share one, and those behind a failed read are sent once more, each under a
 * Sync of its own so that it cannot happen to them again. A write has its own from the start, and
 * is answered when the Sync is, because that is when it is committed.
 *
 * Reads of one gathered statement, one behind the other, even share one Q: most of what a small
 * read costs, here and there, is the cost of an execution. Should it fail, they part in the same
 * way.
 *
 * When the last result of a batch is in, the next batch leaves before anybody is answered: what the
 * callers do with their answers (sign) is then done while PostgreSQL works, and neither waits for
 * the other.
 *
 * The state of the batch is the head of `flight`, and what libpq will report about it next
 * (`expect`). A query leaves the list before its callback runs, and nothing is touched after it, so
 * callbacks may ask again. Whatever libpq reports out of turn costs the connection. */
#include "db_internal.h"

#include "base_clock.h"
#include "base_mem.h"

#include <assert.h>
#include <stdio.h>
#include <utlist.h>

const char *db_batch_field(const PGresult *result, int code)
{
    const char *text = result ? PQresultErrorField(result, code) : NULL;

    return text ? text : "";
}

static const char *unpack(const char *at, size_t count, const char **values, int *lengths)
{
    for (size_t i = 0; i < count; i++) {
        int32_t len;

        memcpy(&len, at, sizeof len);
        at += sizeof len;
        values[i] = len < 0 ? NULL : at;
        lengths[i] = len < 0 ? 0 : len;
        at += lengths[i];
    }
    return at;
}

void db_batch_gather(struct db_conn *conn)
{
    if (conn->gathering || conn->phase != DB_PHASE_READY || conn->expect != DB_EXPECT_NOTHING ||
        !conn->waiting)
        return;
    conn->gathering = true;
    event_active(&conn->gather, EV_TIMEOUT, 0); /* runs after all that is active already */
}

/* ---- Sending ---- */

static bool is_prepared(const struct db_conn *conn, const struct db_statement *statement)
{
    for (size_t i = 0; i < conn->n_prepared; i++) {
        if (conn->prepared[i] == statement)
            return true;
    }
    return false;
}

static void remember(struct db_conn *conn, const struct db_statement *statement)
{
    if (conn->n_prepared == conn->cap_prepared) {
        conn->cap_prepared = conn->cap_prepared ? 2 * conn->cap_prepared : 16;
        conn->prepared = base_realloc(conn->prepared, conn->cap_prepared * sizeof *conn->prepared);
    }
    conn->prepared[conn->n_prepared++] = statement;
}

static void forget(struct db_conn *conn, const struct db_statement *statement)
{
    for (size_t i = 0; i < conn->n_prepared; i++) {
        if (conn->prepared[i] == statement)
            conn->prepared[i] = conn->prepared[--conn->n_prepared];
    }
}

/* The parameters of all that share the execution, as one text[]. */
static void gather_params(struct db_conn *conn, const struct db_pending *query, const char **value,
                          int *length)
{
    size_t n = query->n_shared;

    base_buf_reset(&conn->array);
    db_array_begin(&conn->array, n, false);
    for (; n > 0; n--, query = query->next) {
        unpack(query->params, 1, value, length);
        db_array_put(&conn->array, base_span_of(*value, (size_t)*length));
    }
    assert(!conn->array.overflow);
    *value = conn->array.ptr;
    *length = (int)conn->array.len;
}

static bool send_call(struct db_conn *conn, struct db_pending *query, unsigned index,
                      const char **params)
{
    static const int binary[DB_MAX_PARAMS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                              1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const struct db_statement *statement = query->calls[index].statement;
    const char *values[DB_MAX_PARAMS];
    int n_params = query->calls[index].n_params, lengths[DB_MAX_PARAMS];

    if (statement->kind == DB_GATHERED_READ)
        gather_params(conn, query, values, lengths);
    else
        *params = unpack(*params, (size_t)n_params, values, lengths);
    if (*statement->name == '\0') /* our own LISTEN: not worth a name */
        return PQsendQueryParams(conn->pg, statement->sql, 0, NULL, NULL, NULL, NULL, 1);
    query->calls[index].parsed = !is_prepared(conn, statement);
    if (query->calls[index].parsed) {
        if (!PQsendPrepare(conn->pg, statement->name, statement->sql, 0, NULL))
            return false;
        remember(conn, statement);
    }
    return PQsendQueryPrepared(conn->pg, statement->name, n_params, values, lengths, binary, 1);
}

static bool send_query(struct db_conn *conn, struct db_pending *query)
{
    const char *params = query->params;

    for (unsigned i = 0; i < query->n_calls; i++) {
        if (!send_call(conn, query, i, &params))
            return false;
    }
    return true;
}

/* Ends the group that `last` is in; libpq 15 sends what it has gathered at each Sync. */
static bool end_group(struct db_conn *conn, struct db_pending *last)
{
    if (!last || last->ends_group)
        return true;
    last->ends_group = true;
    return PQpipelineSync(conn->pg);
}

static void move_to_flight(struct db_conn *conn, struct db_pending *query)
{
    query->n_shared = 1;
    DL_DELETE(conn->waiting, query);
    DL_APPEND(conn->flight, query);
}

static bool may_share(const struct db_pending *query, const struct db_pending *next)
{
    const struct db_statement *statement = query->calls[0].statement;

    return statement->kind == DB_GATHERED_READ && next && next->calls[0].statement == statement &&
           !query->own_sync && !next->own_sync;
}

/* The first that waits, and with it those behind it that can share its execution: `room` is how
 * many. Returns how many it were; 0: the connection is broken. */
static size_t send_next(struct db_conn *conn, struct db_pending **last, size_t room)
{
    struct db_pending *query = conn->waiting;

    if (query->own_sync && !end_group(conn, *last))
        return 0;
    move_to_flight(conn, query);
    while (query->n_shared < room && may_share(query, conn->waiting)) {
        move_to_flight(conn, conn->waiting);
        query->n_shared++;
    }
    *last = query;
    if (!send_query(conn, query) || (query->own_sync && !end_group(conn, query)))
        return 0;
    return query->n_shared;
}

static void expect_head(struct db_conn *conn)
{
    const struct db_pending *head = conn->flight;

    if (!head)
        conn->expect = DB_EXPECT_NOTHING;
    else
        conn->expect = head->calls[conn->call].parsed ? DB_EXPECT_PARSE : DB_EXPECT_ROWS;
}

static void script_step(struct db_conn *conn);

static void send_script(struct db_conn *conn)
{
    move_to_flight(conn, conn->waiting);
    conn->expect = DB_EXPECT_SCRIPT;
    conn->stage = 0;
    if (PQexitPipelineMode(conn->pg))
        script_step(conn);
    else
        db_conn_lost(conn, PQerrorMessage(conn->pg));
}

static void send_batch(struct db_conn *conn)
{
    size_t room = conn->options.max_batch, n = 1;
    struct db_pending *last = NULL;
    bool sent;

    for (; n > 0 && room > 0 && conn->waiting && !conn->waiting->script; room -= n)
        n = send_next(conn, &last, room);
    sent = n > 0 && end_group(conn, last);
    expect_head(conn);
    if (!sent)
        db_conn_lost(conn, PQerrorMessage(conn->pg));
    else
        db_conn_flush(conn);
}

static void send_waiting(struct db_conn *conn)
{
    if (conn->phase != DB_PHASE_READY || conn->expect != DB_EXPECT_NOTHING || !conn->waiting)
        return;
    if (conn->waiting->script)
        send_script(conn);
    else
        send_batch(conn);
}

static void on_gather(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *arg)
{
    struct db_conn *conn = arg;

    conn->gathering = false;
    send_waiting(conn);
}

/* ---- Receiving ---- */

static void clear_head(struct db_conn *conn)
{
    PQclear(conn->rows);
    PQclear(conn->failure);
    conn->rows = NULL;
    conn->failure = NULL;
    conn->head_aborted = false;
    conn->call = 0;
}

static void batch_over(struct db_conn *conn)
{
    db_query_requeue(conn);
    db_batch_gather(conn);
}

static void send_again(struct db_conn *conn, struct db_pending *query)
{
    query->aborted = true;
    query->own_sync = true;
    query->ends_group = false;
    DL_APPEND(conn->again, query);
}

/* An execution that was shared has failed, or one before this: who did it shows when each goes
 * alone. */
static bool is_worth_repeating(const struct db_conn *conn, const struct db_pending *head)
{
    if (head->n_shared > 1)
        return conn->failure || conn->head_aborted;
    return conn->head_aborted && !conn->failure && !head->aborted && !head->write;
}

static bool is_gathered(const struct db_pending *query)
{
    return !query->script && query->calls[0].statement->kind == DB_GATHERED_READ;
}

/* Rows count only without a failure; and a gathered statement that does not give one for each who
 * asked is a mistake of ours. */
static void check_rows(struct db_conn *conn, const struct db_pending *head)
{
    if (!conn->failure && (!is_gathered(head) || PQntuples(conn->rows) == head->n_shared))
        return;
    PQclear(conn->rows);
    conn->rows = NULL;
}

static void hand_over(struct db_conn *conn, struct db_pending *query, int index, int n)
{
    query->rows = conn->rows;
    query->failure = conn->failure;
    query->only = is_gathered(query) ? index + 1 : 0;
    query->shares_rows = index + 1 < n;
    DL_APPEND(conn->settled, query);
}

/* The head has all of its results, and so have those that share its execution. */
static void settle(struct db_conn *conn)
{
    struct db_pending *query = conn->flight, *next;
    bool again = is_worth_repeating(conn, query);
    int n = query->n_shared;

    check_rows(conn, query);
    for (int i = 0; i < n; i++, query = next) {
        next = query->next;
        DL_DELETE(conn->flight, query);
        if (again)
            send_again(conn, query);
        else
            hand_over(conn, query, i, n);
    }
    if (!again)
        conn->rows = conn->failure = NULL;
    clear_head(conn);
    conn->useful = true;
    expect_head(conn);
    if (conn->expect == DB_EXPECT_NOTHING)
        batch_over(conn);
}

/* Takes the result. Of good ones the last counts, of bad ones the first. */
static void keep(struct db_conn *conn, PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        PQclear(conn->rows);
        conn->rows = result;
        return;
    case PGRES_PIPELINE_ABORTED:
        conn->head_aborted = true;
        break;
    default:
        if (conn->failure)
            break;
        conn->failure = result;
        return;
    }
    PQclear(result);
}

static void got_parse(struct db_conn *conn, PGresult *result)
{
    if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        PQclear(result);
    } else {
        forget(conn, conn->flight->calls[conn->call].statement);
        keep(conn, result);
    }
    conn->expect = DB_EXPECT_ROWS;
}

static void got_rows(struct db_conn *conn, PGresult *result)
{
    const struct db_pending *head = conn->flight;

    keep(conn, result);
    if (conn->call + 1U < head->n_calls) {
        conn->call++;
        expect_head(conn);
    } else if (head->ends_group) {
        conn->expect = DB_EXPECT_SYNC;
    } else {
        settle(conn);
    }
}

/* A failure here is one of the commit. */
static void got_sync(struct db_conn *conn, PGresult *result)
{
    if (PQresultStatus(result) != PGRES_PIPELINE_SYNC) {
        keep(conn, result);
        return;
    }
    PQclear(result);
    settle(conn);
}

/* The statement is gone from the server (DISCARD ALL, a pooler) or its columns have another type
 * since a migration: nothing was run, and a new connection puts it right. */
static bool is_stale(const char *sqlstate)
{
    return strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "0A000") == 0;
}

static bool ends_connection(const struct db_conn *conn, const PGresult *result)
{
    const char *sqlstate = db_batch_field(result, PG_DIAG_SQLSTATE);

    if (PQresultStatus(result) != PGRES_FATAL_ERROR)
        return false;
    if (*sqlstate == '\0') /* libpq's own: the connection broke */
        return true;
    if (is_stale(sqlstate))
        return !conn->flight->retried && !conn->flight->script;
    return strncmp(sqlstate, "57P", 3) == 0 || strncmp(sqlstate, "08", 2) == 0 ||
           strcmp(sqlstate, "25006") == 0;
}

static void lost_with(struct db_conn *conn, PGresult *result)
{
    const char *primary = db_batch_field(result, PG_DIAG_MESSAGE_PRIMARY);

    if (is_stale(db_batch_field(result, PG_DIAG_SQLSTATE)))
        conn->flight->write = false; /* known not to have happened */
    db_conn_lost(conn, *primary ? primary : PQresultErrorMessage(result));
    PQclear(result);
}

/* libpq would repeat this result until somebody copies. */
static bool is_copy(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

static bool is_out_of_step(const struct db_conn *conn, const PGresult *result)
{
    return is_copy(result) ||
           (PQresultStatus(result) == PGRES_PIPELINE_SYNC && conn->expect != DB_EXPECT_SYNC);
}

static void lost_step(struct db_conn *conn, PGresult *result)
{
    PQclear(result);
    db_conn_lost(conn, "the answers do not match the questions");
}

static void got_result(struct db_conn *conn, PGresult *result)
{
    static void (*const handlers[])(struct db_conn *, PGresult *) = {
        [DB_EXPECT_PARSE] = got_parse,
        [DB_EXPECT_ROWS] = got_rows,
        [DB_EXPECT_SYNC] = got_sync,
    };

    if (is_out_of_step(conn, result))
        lost_step(conn, result);
    else if (ends_connection(conn, result))
        lost_with(conn, result);
    else
        handlers[conn->expect](conn, result);
}

/* ---- Scripts ----
 * Three strings by the simple protocol: the statement timeout is lifted, the script, and what it
 * may have left behind is tidied up. */

static const char *script_text(const struct db_conn *conn, char *out, size_t size)
{
    bool open = PQtransactionStatus(conn->pg) != PQTRANS_IDLE;

    if (conn->stage == 0)
        return "SET statement_timeout = 0";
    if (conn->stage == 1)
        return conn->flight->params;
    snprintf(out, size, "%sSET statement_timeout = %u", open ? "ROLLBACK; " : "",
             db_conn_statement_timeout_ms(conn));
    return out;
}

static void script_step(struct db_conn *conn)
{
    char tidy[96];

    if (conn->stage < 3) {
        if (PQsendQuery(conn->pg, script_text(conn, tidy, sizeof tidy)))
            db_conn_flush(conn);
        else
            db_conn_lost(conn, PQerrorMessage(conn->pg));
    } else if (PQenterPipelineMode(conn->pg)) {
        settle(conn);
    } else {
        db_conn_lost(conn, PQerrorMessage(conn->pg));
    }
}

static void got_script(struct db_conn *conn, PGresult *result)
{
    if (!result) {
        conn->stage++;
        script_step(conn);
    } else if (is_copy(result)) {
        PQclear(result);
        db_conn_lost(conn, "a script may not COPY");
    } else if (ends_connection(conn, result)) {
        lost_with(conn, result);
    } else if (conn->stage == 1 || PQresultStatus(result) == PGRES_FATAL_ERROR) {
        keep(conn, result);
    } else {
        PQclear(result);
    }
}

/* ---- The socket is readable ---- */

/* Never calls PQgetResult() when it would wait. */
static void take_results(struct db_conn *conn)
{
    bool quiet = false; /* libpq said NULL, which ends the results of one command */

    while (conn->phase == DB_PHASE_READY && conn->expect != DB_EXPECT_NOTHING &&
           !PQisBusy(conn->pg)) {
        PGresult *result = PQgetResult(conn->pg);

        if (conn->expect == DB_EXPECT_SCRIPT) {
            got_script(conn, result);
        } else if (result) {
            got_result(conn, result);
        } else if (quiet) {
            lost_step(conn, NULL);
        }
        quiet = !result;
    }
    /* The NULL after the last Sync makes libpq idle; only then does it take unasked messages. */
    if (conn->phase == DB_PHASE_READY && conn->expect == DB_EXPECT_NOTHING && !PQisBusy(conn->pg))
        PQclear(PQgetResult(conn->pg));
}

static void take_notifies(struct db_conn *conn)
{
    PGnotify *notify;

    while (conn->phase == DB_PHASE_READY && (notify = PQnotifies(conn->pg))) {
        if (conn->options.on_notify)
            conn->options.on_notify(conn->options.data, notify->relname, notify->extra);
        PQfreemem(notify);
    }
}

/* One recv() at a time, and at least 8 KiB. A TLS record may hold twice that, and what OpenSSL
 * keeps of it makes no socket readable: hence the second call. */
static bool consume(PGconn *pg)
{
    return PQconsumeInput(pg) && (!PQsslInUse(pg) || PQconsumeInput(pg));
}

/* Without memory for the result of a Sync libpq 15 notes so, and then waits for another, which will
 * not come. It forgets what it has noted before each result, so while it waits it has nothing to
 * say; but for scripts, whose error stays until their end. */
static bool is_stuck(const struct db_conn *conn)
{
    return conn->expect != DB_EXPECT_NOTHING && conn->expect != DB_EXPECT_SCRIPT &&
           *PQerrorMessage(conn->pg);
}

void db_batch_read(struct db_conn *conn)
{
    bool alive = consume(conn->pg);

    conn->read_us = base_clock_mono_us();
    take_results(conn);
    if (conn->phase == DB_PHASE_READY)
        take_notifies(conn);
    if (conn->phase == DB_PHASE_READY && (!alive || is_stuck(conn)))
        db_conn_lost(conn, PQerrorMessage(conn->pg));
    send_waiting(conn);
    db_query_answer_settled(conn);
}

/* ---- A connection comes, or goes ---- */

void db_batch_init(struct db_conn *conn)
{
    event_assign(&conn->gather, conn->base, -1, 0, on_gather, conn);
}

void db_batch_connected(struct db_conn *conn)
{
    conn->n_prepared = 0;
    db_batch_gather(conn);
}

void db_batch_reset(struct db_conn *conn)
{
    clear_head(conn);
    conn->expect = DB_EXPECT_NOTHING;
}
