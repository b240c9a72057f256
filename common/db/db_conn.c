/* SPDX-License-Identifier: Apache-2.0 */
/* Connects, and connects again.
 *
 * A round goes over all hosts, and over all addresses of each, one attempt at a time, each with a
 * deadline of its own. libpq could walk the list alone, but then a first host that hangs (a stopped
 * server still completes the TCP handshake) would hold up the others for ever. An attempt goes
 *
 *     WAIT -> RESOLVE (names only) -> CONNECT -> SETUP -> READY
 *
 * and falls to the next address, in the end to WAIT, when anything goes wrong. SETUP sends one
 * string by the simple protocol: the statement timeout, and LISTEN for each channel; only then does
 * the connection enter pipeline mode and is used for queries (db_batch.c).
 *
 * After a loss the first round starts at once, and queries wait for it. When a round has failed,
 * those who wait are refused and so is whoever comes, until a later round succeeds: while the
 * database is away every caller learns so without delay, and nothing piles up.
 *
 * Sentences about failures are made of libpq's first line, which names the user at most. The
 * connection string itself is never quoted (db_hosts.c). */
#include "db_internal.h"

#include "base_clock.h"
#include "base_mem.h"
#include "base_secret.h"

#include <assert.h>
#include <stdio.h>
#include <utlist.h>

#define BACKOFF_MIN_US (200 * BASE_US_PER_MS) /* halved by the jitter at most */
#define BACKOFF_MAX_US (BASE_US_PER_S)
#define SHORT_LIFE_US  (100 * BASE_US_PER_MS)

static void try_address(struct db_conn *conn);
static void on_io(evutil_socket_t fd, short what, void *arg);

/* ---- Time ---- */

void db_conn_wake_at(struct db_conn *conn, int64_t due_us)
{
    int64_t left;
    struct timeval tv;

    if (conn->timer_due_us && conn->timer_due_us <= due_us)
        return;
    left = due_us - base_clock_mono_us();
    if (left < 0)
        left = 0;
    tv.tv_sec = (time_t)(left / BASE_US_PER_S);
    tv.tv_usec = (suseconds_t)(left % BASE_US_PER_S);
    conn->timer_due_us = due_us;
    event_add(&conn->timer, &tv);
}

static void enter(struct db_conn *conn, enum db_phase phase, int64_t allowed_us)
{
    conn->phase = phase;
    conn->phase_due_us = base_clock_mono_us() + allowed_us;
    db_conn_wake_at(conn, conn->phase_due_us);
}

/* Half fixed, half random: instances that lost the same server do not return in step. */
static int64_t backoff_us(unsigned failures)
{
    int64_t limit = BACKOFF_MIN_US << (failures < 4 ? failures : 4);
    uint32_t random;

    if (limit > BACKOFF_MAX_US)
        limit = BACKOFF_MAX_US;
    base_random(&random, sizeof random);
    return limit / 2 + (int64_t)random % (limit / 2 + 1);
}

/* ---- Words ---- */

/* The first line of libpq's message, without "connection to server at … failed: ", since our own
 * words name the host, and without "FATAL:  ". */
static struct base_span first_line(const char *message)
{
    size_t len = strcspn(message, "\n");
    const char *cut = memmem(message, len, " failed: ", 9);

    if (strncmp(message, "connection to server", 20) == 0 && cut) {
        len -= (size_t)(cut + 9 - message);
        message = cut + 9;
    }
    if (strncmp(message, "FATAL:  ", 8) == 0 && len > 8) {
        message += 8;
        len -= 8;
    }
    return base_span_of(message, len);
}

/* Appends "host db1, port 5432: Connection refused"; the failures of one round are told together.
 */
static void add_problem(struct db_conn *conn, const char *why)
{
    const struct db_host *host = &conn->hosts.items[conn->host];
    size_t used = strlen(conn->problem);
    struct base_span line = first_line(why);
    int shown = line.len > 300 ? 300 : (int)line.len;

    snprintf(conn->problem + used, sizeof conn->problem - used, "%shost %s, port %s: %.*s",
             used ? "; " : "", host->name ? host->name : host->address, host->port, shown,
             line.ptr);
}

static void report(struct db_conn *conn, bool connected)
{
    if (conn->options.on_state && !conn->closing)
        conn->options.on_state(conn->options.data, connected, conn->problem);
}

/* ---- One attempt ---- */

/* The socket may be another one after every step, since libpq goes from TLS to plain, or the other
 * way, with a new one. */
static void watch(struct db_conn *conn, short what)
{
    event_del(&conn->io);
    event_assign(&conn->io, conn->base, PQsocket(conn->pg), what, on_io, conn);
    event_add(&conn->io, NULL);
}

static void drop(struct db_conn *conn)
{
    event_del(&conn->io);
    event_del(&conn->output);
    PQfinish(conn->pg); /* sends Terminate if the kernel takes it, and does not wait */
    conn->pg = NULL;
}

static void round_failed(struct db_conn *conn)
{
    bool news = !conn->failing;

    conn->failing = true;
    enter(conn, DB_PHASE_WAIT, backoff_us(conn->failures++));
    db_query_refuse_waiting(conn);
    if (news)
        report(conn, false);
}

static void try_host(struct db_conn *conn)
{
    struct db_host *host;
    int fd;

    if (conn->host == conn->hosts.count) {
        conn->host = 0;
        round_failed(conn);
        return;
    }
    host = &conn->hosts.items[conn->host];
    conn->address = 0;
    conn->n_addresses = 1;
    if (!db_host_needs_lookup(host, &conn->next_address)) {
        try_address(conn);
        return;
    }
    if ((fd = db_host_lookup(host)) < 0) {
        add_problem(conn, "no thread to resolve the name");
        conn->host++;
        try_host(conn);
        return;
    }
    event_del(&conn->io);
    event_assign(&conn->io, conn->base, fd, EV_READ, on_io, conn);
    event_add(&conn->io, NULL);
    enter(conn, DB_PHASE_RESOLVE, conn->options.connect_timeout_us);
}

static void start_round(struct db_conn *conn)
{
    conn->host = 0;
    conn->problem[0] = '\0';
    try_host(conn);
}

static void attempt_failed(struct db_conn *conn, const char *why)
{
    add_problem(conn, why);
    drop(conn);
    if (++conn->address < conn->n_addresses) {
        conn->next_address = conn->addresses[conn->address];
        try_address(conn);
        return;
    }
    conn->host++;
    try_host(conn);
}

static void resolved(struct db_conn *conn)
{
    const char *why;

    conn->n_addresses = db_host_addresses(&conn->hosts.items[conn->host], conn->addresses, &why);
    if (conn->n_addresses == 0) {
        attempt_failed(conn, why);
        return;
    }
    conn->next_address = conn->addresses[0];
    try_address(conn);
}

/* A message that nobody asked for. When the server shuts us out it says so this way. */
static void on_notice(void *arg, const PGresult *notice)
{
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    struct db_conn *conn = arg;

    if (severity && text && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        snprintf(conn->notice, sizeof conn->notice, "%s", text);
}

static void try_address(struct db_conn *conn)
{
    enter(conn, DB_PHASE_CONNECT, conn->options.connect_timeout_us);
    conn->notice[0] = '\0';
    conn->pg = db_hosts_connect(&conn->hosts, &conn->hosts.items[conn->host], conn->next_address);
    if (!conn->pg || PQstatus(conn->pg) == CONNECTION_BAD) {
        attempt_failed(conn, PQerrorMessage(conn->pg)); /* which takes NULL */
        return;
    }
    PQsetNoticeReceiver(conn->pg, on_notice, conn);
    watch(conn, EV_WRITE); /* libpq: as if the last poll had said "writing" */
}

unsigned db_conn_statement_timeout_ms(const struct db_conn *conn)
{
    int64_t us = conn->options.statement_timeout_us;

    if (us == 0)
        us = conn->options.query_timeout_us + BASE_US_PER_S / 2;
    return (unsigned)(us / BASE_US_PER_MS);
}

/* The statement timeout ends what nobody waits for any more: we drop the connection at a deadline,
 * and the server would notice only when it has an answer to send. A shorter one ends what is slow
 * before that. */
static void begin_setup(struct db_conn *conn)
{
    struct base_buf sql;
    bool sent;

    base_buf_init(&sql, 16384);
    /* No statement of ours runs long enough to be worth compiling, which PostgreSQL may believe of
     * tables that it has not analysed yet. */
    base_buf_putf(&sql, "SET statement_timeout = %u; SET jit = off",
                  db_conn_statement_timeout_ms(conn));
    if (conn->options.session)
        base_buf_putf(&sql, "; %s", conn->options.session);
    for (const struct db_channel *channel = conn->channels; channel; channel = channel->next)
        base_buf_putf(&sql, "; %s", channel->sql);
    conn->phase = DB_PHASE_SETUP; /* within the attempt's deadline */
    sent = PQsetnonblocking(conn->pg, 1) == 0 && PQsendQuery(conn->pg, base_buf_cstr(&sql)) &&
           PQflush(conn->pg) >= 0;
    base_buf_clear(&sql);
    if (!sent)
        attempt_failed(conn, PQerrorMessage(conn->pg));
    else
        watch(conn, EV_READ | EV_PERSIST);
}

static void connect_step(struct db_conn *conn)
{
    switch (PQconnectPoll(conn->pg)) {
    case PGRES_POLLING_READING:
        watch(conn, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        watch(conn, EV_WRITE);
        break;
    case PGRES_POLLING_OK:
        begin_setup(conn);
        break;
    default:
        attempt_failed(conn, PQerrorMessage(conn->pg));
    }
}

static void on_output(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *arg)
{
    struct db_conn *conn = arg;

    db_conn_flush(conn);
}

static void become_ready(struct db_conn *conn)
{
    if (!PQenterPipelineMode(conn->pg)) {
        attempt_failed(conn, PQerrorMessage(conn->pg));
        return;
    }
    event_assign(&conn->output, conn->base, PQsocket(conn->pg), EV_WRITE, on_output, conn);
    conn->phase = DB_PHASE_READY;
    conn->failing = false;
    conn->useful = false;
    conn->ready_us = base_clock_mono_us();
    conn->problem[0] = '\0';
    db_batch_connected(conn);
    report(conn, true);
}

static void setup_step(struct db_conn *conn)
{
    bool alive = PQconsumeInput(conn->pg);

    while (!PQisBusy(conn->pg)) {
        PGresult *result = PQgetResult(conn->pg);
        bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;

        PQclear(result);
        if (!result) {
            become_ready(conn);
            return;
        }
        if (!ok) {
            attempt_failed(conn, PQerrorMessage(conn->pg));
            return;
        }
    }
    if (!alive)
        attempt_failed(conn, PQerrorMessage(conn->pg));
}

static void on_io(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *arg)
{
    struct db_conn *conn = arg;

    switch (conn->phase) {
    case DB_PHASE_RESOLVE:
        resolved(conn);
        break;
    case DB_PHASE_CONNECT:
        connect_step(conn);
        break;
    case DB_PHASE_SETUP:
        setup_step(conn);
        break;
    case DB_PHASE_READY:
        db_batch_read(conn);
        break;
    case DB_PHASE_WAIT: /* nothing is watched */
        break;
    }
}

/* ---- Losing it ---- */

/* Connecting again begins at once when the connection has served, or lived for a while; with a
 * delay otherwise, or a server that accepts and closes would keep us busy. */
void db_conn_lost(struct db_conn *conn, const char *why)
{
    bool served = conn->useful || base_clock_mono_us() - conn->ready_us > SHORT_LIFE_US;

    assert(conn->phase == DB_PHASE_READY);
    conn->problem[0] = '\0';
    add_problem(conn, *conn->notice ? conn->notice : why);
    drop(conn);
    if (served)
        conn->failures = 0;
    enter(conn, DB_PHASE_WAIT, served ? 0 : backoff_us(conn->failures++));
    db_query_disconnected(conn);
    report(conn, false);
}

void db_conn_flush(struct db_conn *conn)
{
    int left = PQflush(conn->pg);

    if (left > 0)
        event_add(&conn->output, NULL);
    if (left < 0)
        db_conn_lost(conn, PQerrorMessage(conn->pg));
}

static void phase_over(struct db_conn *conn)
{
    if (conn->phase == DB_PHASE_WAIT)
        start_round(conn);
    else if (conn->phase == DB_PHASE_RESOLVE)
        attempt_failed(conn, "the name was not resolved in time");
    else
        attempt_failed(conn, "no answer in time");
}

static void on_timer(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *arg)
{
    struct db_conn *conn = arg;
    int64_t now = base_clock_mono_us(), next;

    conn->timer_due_us = 0;
    if (conn->phase != DB_PHASE_READY && conn->phase_due_us <= now)
        phase_over(conn);
    next = db_query_expire(conn, now);
    if (next)
        db_conn_wake_at(conn, next);
    if (conn->phase != DB_PHASE_READY)
        db_conn_wake_at(conn, conn->phase_due_us);
}

/* ---- From outside ---- */

static void conn_free(struct db_conn **conn)
{
    struct db_channel *channel, *next;

    if (!*conn)
        return;
    for (channel = (*conn)->channels; channel; channel = next) {
        next = channel->next;
        base_free(&channel);
    }
    db_hosts_clear(&(*conn)->hosts);
    base_free(conn);
}

enum base_err db_conn_open(struct event_base *base, const struct db_options *options,
                           struct db_conn **out, struct base_buf *why)
{
    BASE_AUTO(conn_free) struct db_conn *conn = base_calloc(1, sizeof *conn);
    enum base_err err;

    *out = NULL;
    err = db_hosts_parse(options->conninfo, options->application_name, &conn->hosts, why);
    if (err != BASE_OK)
        return err;
    conn->base = base;
    conn->options = *options;
    conn->options.conninfo = conn->options.application_name = NULL; /* the caller's */
    if (conn->options.max_batch == 0)
        conn->options.max_batch = 64;
    base_buf_init(&conn->array, DB_ARRAY_HEAD + conn->options.max_batch * DB_INLINE_PARAMS);
    event_assign(&conn->io, base, -1, 0, on_io, conn);
    event_assign(&conn->output, base, -1, 0, on_output, conn);
    event_assign(&conn->timer, base, -1, 0, on_timer, conn);
    db_query_init(conn);
    db_batch_init(conn);
    enter(conn, DB_PHASE_WAIT, 0);
    *out = conn;
    conn = NULL;
    return BASE_OK;
}

void db_conn_close(struct db_conn **conn)
{
    if (!*conn)
        return;
    (*conn)->closing = true;
    drop(*conn);
    event_del(&(*conn)->timer);
    (*conn)->phase = DB_PHASE_WAIT;
    db_query_close(*conn);
    conn_free(conn);
}

bool db_conn_ready(const struct db_conn *conn)
{
    return conn->phase == DB_PHASE_READY;
}

int64_t db_conn_last_answer_us(const struct db_conn *conn)
{
    return conn->last_answer_us;
}

size_t db_conn_pending(const struct db_conn *conn)
{
    return conn->n_pending;
}

bool db_conn_full(const struct db_conn *conn)
{
    return conn->n_pending >= conn->options.max_pending;
}

const char *db_conn_problem(const struct db_conn *conn)
{
    return conn->problem;
}

void db_conn_listen(struct db_conn *conn, const char *name)
{
    struct db_channel *channel = base_calloc(1, sizeof *channel);

    assert(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name) &&
           strlen(name) < 64);
    snprintf(channel->sql, sizeof channel->sql, "LISTEN %s", name);
    channel->listen = (struct db_statement){"", channel->sql, DB_READ};
    LL_APPEND(conn->channels, channel);
    if (conn->phase == DB_PHASE_SETUP || conn->phase == DB_PHASE_READY)
        db_query_listen(conn, channel); /* otherwise the set-up to come has it */
}
