/* SPDX-License-Identifier: Apache-2.0 */
/* From the question to its one answer.
 *
 * A query is on exactly one list from db_query() to its answer: waiting, in flight, or to be sent
 * again (db_batch.c), or refused and told so a turn later. When the connection is lost, those in
 * flight that are reads go back to the head of the waiting ones, once; writes do not, since they
 * may have happened. When connecting has failed, all that wait are refused.
 *
 * All queries have the same time allowed, so the lists are in order of deadline and looking at
 * their heads is enough; scripts alone differ. When a deadline of the batch in flight passes, the
 * connection is given up: the answer may still come, and would meet the next question. */
#include "db_internal.h"

#include "base_clock.h"
#include "base_mem.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <utlist.h>

/* Kept for reuse; a burst above it costs malloc() again, and not memory for ever. */
#define MAX_SPARE 128

/* While closing, a callback may ask again, and is refused again. One that never stops asking has to
 * be stopped. */
#define MAX_CLOSING_ROUNDS 100

#define TEXT_OID 25

static const struct timeval at_once = {0, 0};

/* ---- Parameters ---- */

struct db_param db_text(struct base_span text)
{
    return (struct db_param){.ptr = text.ptr ? text.ptr : "", .len = (int)text.len};
}

struct db_param db_text_or_null(struct base_span text)
{
    return text.len ? db_text(text) : db_null();
}

struct db_param db_bytes(const void *ptr, size_t len)
{
    return db_text(base_span_of(ptr, len));
}

struct db_param db_null(void)
{
    return (struct db_param){.ptr = NULL};
}

struct db_param db_int8(int64_t value)
{
    struct db_param param = {.len = 8, .in_place = true};
    uint64_t wire = htobe64((uint64_t)value);

    memcpy(param.bytes, &wire, sizeof wire);
    return param;
}

struct db_param db_int4(int32_t value)
{
    struct db_param param = {.len = 4, .in_place = true};
    uint32_t wire = htonl((uint32_t)value);

    memcpy(param.bytes, &wire, sizeof wire);
    return param;
}

struct db_param db_bool(bool value)
{
    return (struct db_param){.len = 1, .in_place = true, .bytes = {value}};
}

/* The ends of the range are PostgreSQL's infinities, as in db_row_time(). */
struct db_param db_time(int64_t wall_us)
{
    if (wall_us == INT64_MAX)
        return db_int8(INT64_MAX);
    if (wall_us <= INT64_MIN + DB_EPOCH_US)
        return db_int8(INT64_MIN);
    return db_int8(wall_us - DB_EPOCH_US);
}

static void put_int4(struct base_buf *out, size_t value)
{
    uint32_t wire = htonl((uint32_t)value);

    base_buf_put(out, &wire, sizeof wire);
}

/* As array_recv() reads it: how many dimensions, "has NULLs", the type of the elements; size and
 * lower bound of the one dimension; then each element after its length. */
void db_array_begin(struct base_buf *out, size_t n, bool has_null)
{
    put_int4(out, n > 0 ? 1 : 0);
    put_int4(out, has_null);
    put_int4(out, TEXT_OID);
    if (n > 0) {
        put_int4(out, n);
        put_int4(out, 1);
    }
}

void db_array_put(struct base_buf *out, struct base_span element)
{
    put_int4(out, element.ptr ? element.len : UINT32_MAX);
    base_buf_put_span(out, element);
}

/* Lengths and bytes one after the other; see struct db_pending. */
static size_t packed_size(const struct db_param *params, size_t n_params)
{
    size_t size = n_params * sizeof(int32_t);

    for (size_t i = 0; i < n_params; i++)
        size += params[i].in_place || params[i].ptr ? (size_t)params[i].len : 0;
    return size;
}

static void pack(struct db_pending *query, const struct db_param *param)
{
    const char *bytes = param->in_place ? param->bytes : param->ptr;
    int32_t len = bytes ? param->len : -1;

    memcpy(query->params + query->used, &len, sizeof len);
    query->used += sizeof len;
    if (len > 0) {
        memcpy(query->params + query->used, bytes, (size_t)len);
        query->used += (size_t)len;
    }
}

/* ---- Queries on their way ---- */

static struct db_pending *pending_new(struct db_conn *conn, db_answer_fn *done, void *ctx)
{
    struct db_pending *query = conn->spare;

    if (query) {
        LL_DELETE(conn->spare, query);
        conn->n_spare--;
    } else {
        query = base_malloc(sizeof *query);
    }
    memset(query, 0, offsetof(struct db_pending, inline_params));
    query->params = query->inline_params;
    query->done = done;
    query->ctx = ctx;
    return query;
}

static void pending_free(struct db_conn *conn, struct db_pending *query)
{
    if (query->params != query->inline_params)
        base_free(&query->params);
    if (conn->n_spare == MAX_SPARE) {
        base_free(&query);
        return;
    }
    conn->n_spare++;
    LL_PREPEND(conn->spare, query);
}

static void add_call(struct db_pending *query, const struct db_call *call)
{
    assert(call->n_params <= DB_MAX_PARAMS && query->n_calls < DB_MAX_CALLS);
    assert(call->statement->kind != DB_GATHERED_READ ||
           (call->n_params == 1 && query->params == query->inline_params));
    query->calls[query->n_calls].statement = call->statement;
    query->calls[query->n_calls].n_params = (uint8_t)call->n_params;
    query->n_calls++;
    query->write |= call->statement->kind == DB_WRITE;
    for (size_t i = 0; i < call->n_params; i++)
        pack(query, &call->params[i]);
}

static void refuse(struct db_conn *conn, struct db_pending *query, enum base_err refusal)
{
    query->refusal = refusal;
    if (!conn->refused && !conn->closing)
        event_add(&conn->later, &at_once); /* a turn later, so that the loop sees to others first */
    DL_APPEND(conn->refused, query);
}

static void submit(struct db_conn *conn, struct db_pending *query, int64_t allowed_us)
{
    if (conn->closing || conn->failing) {
        refuse(conn, query, BASE_UNAVAILABLE);
        return;
    }
    if (db_conn_full(conn)) {
        refuse(conn, query, BASE_BUSY);
        return;
    }
    query->deadline_us = base_clock_mono_us() + allowed_us;
    db_conn_wake_at(conn, query->deadline_us);
    conn->n_pending++;
    DL_APPEND(conn->waiting, query);
    db_batch_gather(conn);
}

void db_query_all(struct db_conn *conn, const struct db_call *calls, size_t n_calls,
                  db_answer_fn *done, void *ctx)
{
    struct db_pending *query = pending_new(conn, done, ctx);
    size_t size = 0;

    assert(n_calls >= 1 && n_calls <= DB_MAX_CALLS);
    for (size_t i = 0; i < n_calls; i++)
        size += packed_size(calls[i].params, calls[i].n_params);
    if (size > sizeof query->inline_params)
        query->params = base_malloc(size);
    for (size_t i = 0; i < n_calls; i++)
        add_call(query, &calls[i]);
    query->own_sync = query->write || n_calls > 1;
    submit(conn, query, conn->options.query_timeout_us);
}

void db_query(struct db_conn *conn, const struct db_statement *statement,
              const struct db_param *params, size_t n_params, db_answer_fn *done, void *ctx)
{
    struct db_call call = {statement, params, n_params};

    db_query_all(conn, &call, 1, done, ctx);
}

void db_script(struct db_conn *conn, const char *sql, int64_t timeout_us, db_answer_fn *done,
               void *ctx)
{
    struct db_pending *query = pending_new(conn, done, ctx);

    query->params = base_strdup(sql);
    query->script = true;
    query->write = true;
    submit(conn, query, timeout_us);
}

/* ---- Answers ---- */

static const struct {
    const char *prefix; /* of the SQLSTATE; the first that fits counts */
    enum base_err err;
} errors[] = {
    {"23", BASE_CONFLICT},       /* integrity constraints */
    {"40", BASE_UNAVAILABLE},    /* deadlock, serialization failure: worth another try */
    {"42501", BASE_DENIED},      /* insufficient privilege */
    {"22", BASE_INVALID},        /* data that does not fit */
    {"57014", BASE_TIMEOUT},     /* statement_timeout */
    {"55P03", BASE_TIMEOUT},     /* lock_timeout */
    {"57P", BASE_UNAVAILABLE},   /* shutting down, crashed, starting */
    {"08", BASE_UNAVAILABLE},    /* connection exceptions */
    {"53", BASE_UNAVAILABLE},    /* out of connections, memory, disk */
    {"58", BASE_UNAVAILABLE},    /* I/O errors of the server */
    {"25006", BASE_UNAVAILABLE}, /* read-only: a primary that was demoted */
};

static enum base_err err_of(const char *sqlstate)
{
    for (size_t i = 0; i < BASE_COUNT(errors); i++) {
        if (strncmp(sqlstate, errors[i].prefix, strlen(errors[i].prefix)) == 0)
            return errors[i].err;
    }
    return BASE_INTERNAL;
}

/* The last thing done for a query, and the caller is told. */
static void answer(struct db_conn *conn, struct db_pending *query, const struct db_answer *said)
{
    db_answer_fn *done = query->done;
    void *ctx = query->ctx;

    pending_free(conn, query);
    done(ctx, said);
}

static void answer_err(struct db_conn *conn, struct db_pending *query, enum base_err err)
{
    struct db_answer said = {.err = err, .constraint = "", .message = conn->problem};

    answer(conn, query, &said);
}

static void answer_rows(struct db_conn *conn, struct db_pending *query)
{
    struct db_result result = {query->rows, query->only};
    struct db_answer said = {
        .err = BASE_OK, .result = &result, .sqlstate = "00000", .constraint = "", .message = ""};
    PGresult *last = query->shares_rows ? NULL : query->rows;

    answer(conn, query, &said);
    PQclear(last);
}

static void answer_failure(struct db_conn *conn, struct db_pending *query)
{
    PGresult *failure = query->failure;
    struct db_answer said = {.constraint = db_batch_field(failure, PG_DIAG_CONSTRAINT_NAME),
                             .message = db_batch_field(failure, PG_DIAG_MESSAGE_PRIMARY)};

    snprintf(said.sqlstate, sizeof said.sqlstate, "%s", db_batch_field(failure, PG_DIAG_SQLSTATE));
    said.err = err_of(said.sqlstate);
    answer(conn, query, &said);
    PQclear(failure);
}

static void answer_settled(struct db_conn *conn, struct db_pending *query)
{
    conn->n_pending--;
    if (query->failure) {
        answer_failure(conn, query);
    } else if (query->rows) {
        conn->last_answer_us = conn->read_us;
        answer_rows(conn, query);
    } else {
        answer_err(conn, query, BASE_INTERNAL); /* aborted, with no failure before it */
    }
}

void db_query_answer_settled(struct db_conn *conn)
{
    struct db_pending *query;

    while ((query = conn->settled)) {
        DL_DELETE(conn->settled, query);
        answer_settled(conn, query);
    }
}

/* The list is taken whole first: a callback that asks again waits for the next time. */
static void answer_list(struct db_conn *conn, struct db_pending *list)
{
    struct db_pending *next;

    for (; list; list = next) {
        next = list->next;
        answer_err(conn, list, list->refusal);
    }
}

static void on_later(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *arg)
{
    struct db_conn *conn = arg;
    struct db_pending *list = conn->refused;

    conn->refused = NULL;
    answer_list(conn, list);
}

/* ---- What becomes of the connection ---- */

void db_query_init(struct db_conn *conn)
{
    event_assign(&conn->later, conn->base, -1, 0, on_later, conn);
}

/* Those that are to be sent again are older than all that wait. */
void db_query_requeue(struct db_conn *conn)
{
    DL_CONCAT(conn->again, conn->waiting);
    conn->waiting = conn->again;
    conn->again = NULL;
}

static void to_refuse(struct db_conn *conn, struct db_pending **list, struct db_pending *query,
                      enum base_err refusal)
{
    query->refusal = refusal;
    conn->n_pending--;
    DL_APPEND(*list, query);
}

/* A query that was sent: once more if it is a read and there is time. */
static void unsend(struct db_conn *conn, struct db_pending **refused, struct db_pending *query,
                   int64_t now)
{
    if (query->deadline_us <= now) {
        to_refuse(conn, refused, query, BASE_TIMEOUT);
    } else if (query->write || query->retried || conn->closing) {
        to_refuse(conn, refused, query, BASE_UNAVAILABLE);
    } else {
        query->retried = true;
        query->ends_group = false;
        DL_APPEND(conn->again, query);
    }
}

void db_query_disconnected(struct db_conn *conn)
{
    struct db_pending *query = conn->flight, *next, *refused = NULL;
    int64_t now = base_clock_mono_us();

    conn->flight = NULL;
    db_batch_reset(conn);
    for (; query; query = next) {
        next = query->next;
        unsend(conn, &refused, query, now);
    }
    db_query_requeue(conn);
    answer_list(conn, refused);
}

void db_query_refuse_waiting(struct db_conn *conn)
{
    struct db_pending *list = conn->waiting, *query;

    conn->waiting = NULL;
    for (query = list; query; query = query->next) {
        query->refusal = BASE_UNAVAILABLE;
        conn->n_pending--;
    }
    answer_list(conn, list);
}

/* In order of deadline, but for scripts, which have their own. */
static void expire_waiting(struct db_conn *conn, int64_t now)
{
    struct db_pending *query, *next, *refused = NULL;

    for (query = conn->waiting; query; query = next) {
        next = query->next;
        if (query->deadline_us <= now) {
            DL_DELETE(conn->waiting, query);
            to_refuse(conn, &refused, query, BASE_TIMEOUT);
        } else if (!query->script) {
            break;
        }
    }
    answer_list(conn, refused);
}

/* Of the batch in flight, in which those that are to be sent again wait for the rest. */
static int64_t batch_deadline(const struct db_conn *conn)
{
    int64_t due = conn->flight ? conn->flight->deadline_us : INT64_MAX;

    return conn->again && conn->again->deadline_us < due ? conn->again->deadline_us : due;
}

static int64_t next_deadline(const struct db_conn *conn)
{
    int64_t due = batch_deadline(conn);

    for (const struct db_pending *query = conn->waiting; query; query = query->next) {
        if (query->deadline_us < due)
            due = query->deadline_us;
        if (!query->script)
            break;
    }
    return due == INT64_MAX ? 0 : due;
}

int64_t db_query_expire(struct db_conn *conn, int64_t now_us)
{
    if (batch_deadline(conn) <= now_us)
        db_conn_lost(conn, "no answer within the time allowed");
    expire_waiting(conn, now_us);
    return next_deadline(conn);
}

/* Without it notifications would be missed in silence; the set-up of a new connection has it. */
static void on_listening(void *ctx, const struct db_answer *said)
{
    struct db_conn *conn = ctx;

    if (said->err != BASE_OK && conn->phase == DB_PHASE_READY)
        db_conn_lost(conn, "LISTEN failed");
}

void db_query_listen(struct db_conn *conn, const struct db_channel *channel)
{
    struct db_pending *query = pending_new(conn, on_listening, conn);
    struct db_call call = {&channel->listen, NULL, 0};

    add_call(query, &call);
    query->own_sync = true;
    query->deadline_us = base_clock_mono_us() + conn->options.query_timeout_us;
    db_conn_wake_at(conn, query->deadline_us);
    conn->n_pending++; /* one of ours, whatever max_pending says */
    DL_APPEND(conn->waiting, query);
    db_batch_gather(conn);
}

static void free_list(struct db_pending *list)
{
    struct db_pending *next;

    for (; list; list = next) {
        next = list->next;
        if (list->params != list->inline_params)
            base_free(&list->params);
        base_free(&list);
    }
}

void db_query_close(struct db_conn *conn)
{
    event_del(&conn->gather);
    event_del(&conn->later);
    db_query_disconnected(conn);
    db_query_refuse_waiting(conn);
    for (int i = 0; i < MAX_CLOSING_ROUNDS && conn->refused; i++)
        on_later(-1, 0, conn);
    free_list(conn->refused);
    free_list(conn->spare);
    base_buf_clear(&conn->array);
    base_free(&conn->prepared);
}
