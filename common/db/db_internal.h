/* SPDX-License-Identifier: Apache-2.0 */
/* Inside common/db: what db_conn.c (is there a connection?), db_query.c (who waits for what?) and
 * db_batch.c (what is on its way?) share. Everything on the loop's thread. */
#ifndef DB_INTERNAL_H
#define DB_INTERNAL_H

#include "db_hosts.h"
#include "db_query.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#define DB_EPOCH_US      (INT64_C(946684800) * 1000000) /* PostgreSQL's 2000-01-01 after 1970 */
#define DB_MAX_CALLS     4
#define DB_INLINE_PARAMS 512 /* a look-up needs 40 bytes, an audited change less than this */
#define DB_ARRAY_HEAD    20  /* of a text[], before its elements */

struct db_result {
    PGresult *pg;
    int only; /* this row is all there is of it, counted from 1; 0: every row */
};

/* A query from db_query() to its answer. */
struct db_pending {
    struct db_pending *prev, *next;
    db_answer_fn *done;
    void *ctx;
    int64_t deadline_us;
    enum base_err refusal; /* the answer, when it was never sent */
    bool script;           /* `params` is its text */
    bool write;            /* one of its calls is */
    bool own_sync;         /* shares its Sync with nobody */
    bool ends_group;       /* a Sync has been sent after it */
    bool retried;          /* sent on a connection that was lost */
    bool aborted;          /* sent behind one that failed */
    uint16_t n_shared;     /* sent: so many, from this one on, are answered by its execution */
    uint8_t n_calls;
    struct {
        const struct db_statement *statement;
        uint8_t n_params;
        bool parsed; /* a Parse was sent before it */
    } calls[DB_MAX_CALLS];
    PGresult *rows, *failure; /* once settled: the answer … */
    int only;                 /* … as in db_result … */
    bool shares_rows;         /* … and another one, answered later, has the same rows */
    size_t used;
    char *params; /* of all calls: length as int32_t (-1: NULL) and bytes; inline_params or heap */
    char inline_params[DB_INLINE_PARAMS];
};

/* What libpq reports next about the batch in flight. */
enum db_expect {
    DB_EXPECT_NOTHING, /* no batch is in flight */
    DB_EXPECT_PARSE,
    DB_EXPECT_ROWS,
    DB_EXPECT_SYNC,
    DB_EXPECT_SCRIPT,
};

enum db_phase {
    DB_PHASE_WAIT,    /* for phase_due_us, when the next round over the hosts begins */
    DB_PHASE_RESOLVE, /* these three end at phase_due_us: then the next address is tried */
    DB_PHASE_CONNECT,
    DB_PHASE_SETUP,
    DB_PHASE_READY,
};

struct db_channel {
    struct db_channel *next;
    char sql[80];
    struct db_statement listen;
};

struct db_conn {
    struct event_base *base;
    struct db_options options;
    struct db_hosts hosts;
    struct db_channel *channels;
    bool closing;

    /* Connecting: db_conn.c. */
    PGconn *pg;
    enum db_phase phase;
    int64_t phase_due_us;
    size_t host;    /* being tried, or connected to */
    size_t address; /* of that host */
    size_t n_addresses;
    char addresses[DB_MAX_ADDRESSES][DB_ADDRESS_MAX];
    const char *next_address; /* NULL: a socket */
    bool failing;             /* a round over all hosts has failed since the last connection */
    int64_t ready_us;         /* since when this connection is */
    bool useful;              /* it has answered something */
    unsigned failures;        /* rounds in a row, for the back-off */
    char problem[1024];
    char notice[256];    /* the last FATAL that came unasked */
    struct event io;     /* reading, once ready; one step at a time before */
    struct event output; /* pending only while the kernel takes no more */
    struct event timer;  /* the only one; fires at timer_due_us, then looks who is due */
    int64_t timer_due_us;

    /* Queries: db_query.c and db_batch.c. */
    struct db_pending *waiting;
    struct db_pending *flight;  /* sent; answered from the head */
    struct db_pending *again;   /* of the batch in flight, to be sent once more */
    struct db_pending *settled; /* have their results; answered before this callback returns */
    struct db_pending *refused; /* answered a turn later */
    struct db_pending *spare;
    size_t n_pending, n_spare;
    enum db_expect expect;
    unsigned call;       /* of the head of flight */
    unsigned stage;      /* of a script */
    PGresult *rows;      /* what the head has got so far: the last good result … */
    PGresult *failure;   /* … the first bad one … */
    bool head_aborted;   /* … or a failure before it */
    struct event gather; /* active at the end of a turn with queries to send */
    struct event later;
    bool gathering;
    struct base_buf array; /* the parameter of a gathered execution */
    const struct db_statement **prepared;
    size_t n_prepared, cap_prepared;
    int64_t read_us, last_answer_us;
};

/* db_conn.c */
/* Drops the connection, settles what was in flight, and connects again. `why`: of libpq or ours. */
void db_conn_lost(struct db_conn *conn, const char *why);
/* Sends what libpq has gathered, now and when the kernel takes more; may lose the connection. */
void db_conn_flush(struct db_conn *conn);
/* Makes sure that the timer fires at `due_us` at the latest. */
void db_conn_wake_at(struct db_conn *conn, int64_t due_us);
unsigned db_conn_statement_timeout_ms(const struct db_conn *conn);

/* db_batch.c */
void db_batch_init(struct db_conn *conn);
/* Has what waits sent at the end of this turn, unless a batch is in flight. */
void db_batch_gather(struct db_conn *conn);
/* The socket is readable. */
void db_batch_read(struct db_conn *conn);
/* A new connection, on which nothing is prepared; what waits can go. */
void db_batch_connected(struct db_conn *conn);
/* Nothing more will come of the batch in flight. */
void db_batch_reset(struct db_conn *conn);
/* A field of an error, never NULL: PG_DIAG_... */
const char *db_batch_field(const PGresult *result, int code);

/* db_query.c */
void db_query_init(struct db_conn *conn);
/* Answers those that have their results, and frees these. */
void db_query_answer_settled(struct db_conn *conn);
/* Puts those to be sent again before those that wait. */
void db_query_requeue(struct db_conn *conn);
/* The connection is gone: answers what cannot be sent again, keeps the rest. */
void db_query_disconnected(struct db_conn *conn);
/* Answers all that waits: a round of attempts has failed. */
void db_query_refuse_waiting(struct db_conn *conn);
/* Acts on deadlines that are over; the next one, or 0. */
int64_t db_query_expire(struct db_conn *conn, int64_t now_us);
/* LISTEN now. `channel` lives as long as the connection. */
void db_query_listen(struct db_conn *conn, const struct db_channel *channel);
/* Answers everything, and frees. */
void db_query_close(struct db_conn *conn);

#endif
