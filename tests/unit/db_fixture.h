/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of common/db: a loop, a connection to a throwaway PostgreSQL, a record of every
 * answer, and a proxy that can be told to hold or cut what passes. One thread. */
#ifndef DB_FIXTURE_H
#define DB_FIXTURE_H

#include "db_conn.h"
#include "db_query.h"
#include "pg_cluster.h"

#include <event2/event.h>

/* What the callbacks of a connection reported. */
struct db_fixture {
    struct event_base *base;
    struct event *tick; /* so that waiting loops look at their conditions */
    struct db_conn *conn;
    struct db_options options;
    int ups, downs;
    char why[1024]; /* of the last report */
    int notifies;
    char channel[64], payload[64];
};

/* An answer, and how often it came. */
struct db_seen {
    int count;
    enum base_err err;
    char sqlstate[6];
    char constraint[64];
    char message[512];
    int rows;
    int64_t number; /* the first column of the first row, when it is 4 or 8 bytes wide */
    char text[64];  /* otherwise */
    int64_t affected;
    int order;                    /* 1: the first answer of all */
    void (*then)(void *then_ctx); /* called from the callback */
    void *then_ctx;
};

/* Starts the PostgreSQL of this program on first use; db_fixture_stop() ends it. */
struct pg_cluster *db_fixture_cluster(void);
void db_fixture_stop(void);

void db_fixture_init(struct db_fixture *fixture, const char *conninfo, int64_t timeout_us);
/* Opens the connection with fixture->options. */
void db_fixture_open(struct db_fixture *fixture);
/* Closes what is open, runs the loop empty. */
void db_fixture_clear(struct db_fixture *fixture);

void db_seen_answer(void *ctx, const struct db_answer *answer);
/* Asks without parameters. `seen` is zeroed first. */
void db_ask(struct db_fixture *fixture, const struct db_statement *statement, struct db_seen *seen);
/* Asks, and runs the loop until the answer. */
void db_ask_now(struct db_fixture *fixture, const struct db_statement *statement,
                struct db_seen *seen);

/* One turn of the loop, at most 2 ms long. */
void db_turn(struct db_fixture *fixture);
/* Turns until the condition holds; fails the test after ten seconds. */
#define DB_UNTIL(fixture, condition)                                                               \
    do {                                                                                           \
        int64_t db_until_ = base_clock_mono_us() + 10 * BASE_US_PER_S;                             \
        while (!(condition)) {                                                                     \
            if (base_clock_mono_us() > db_until_)                                                  \
                fail_msg("waited in vain for: %s", #condition);                                    \
            db_turn(fixture);                                                                      \
        }                                                                                          \
    } while (0)
/* Turns for so long. */
void db_pass(struct db_fixture *fixture, int64_t us);

/* A TCP port on 127.0.0.1 that leads to the socket of the cluster; or nowhere: then it accepts and
 * says nothing. */
struct db_proxy;
struct db_proxy *db_proxy_new(struct event_base *base, const char *socket_path);
void db_proxy_free(struct db_proxy **proxy);
int db_proxy_port(const struct db_proxy *proxy);
/* While held, what the server says stays in the proxy. */
void db_proxy_hold(struct db_proxy *proxy, bool hold);
/* Ends all connections, towards the server in good order: what it has been sent it will do. */
void db_proxy_cut(struct db_proxy *proxy);
/* Ends every connection as soon as it has been accepted. */
void db_proxy_slam(struct db_proxy *proxy, bool slam);
/* Sends these bytes at once to whoever connects, … */
void db_proxy_greet(struct db_proxy *proxy, const char *bytes, size_t len);
/* … and these to whatever comes after the first message. */
void db_proxy_reply(struct db_proxy *proxy, const char *bytes, size_t len);
int db_proxy_accepted(const struct db_proxy *proxy);
/* Bytes that clients have sent, over all connections. */
size_t db_proxy_received(const struct db_proxy *proxy);

#endif
