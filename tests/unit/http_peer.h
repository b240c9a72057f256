/* SPDX-License-Identifier: Apache-2.0 */
/* A server with a few simple handlers, and raw clients of it, on one thread: whoever waits for
 * something turns the server's loop meanwhile. Every wait fails the test after ten seconds. */
#ifndef HTTP_PEER_H
#define HTTP_PEER_H

#include "http_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PEER_MASK       1U
#define PEER_MAX_HELD   64
#define PEER_BIG        (8 * 1024 * 1024)
#define PEER_REPLY_HEAD 4096

/* The routes: GET /sync; POST /echo (at most 1,024 bytes), also HEAD; GET /soon, answered in the
 * next turn of the loop; GET /later, after 20 ms; GET /hold, when the test says so; GET /big, of
 * PEER_BIG bytes; GET /close; GET /who tells client, id and trace; GET /part/{} */
struct peer {
    struct event_base *base;
    struct http_server_options options;
    struct http_server_shared shared;
    struct http_server *server;
    struct http_address address;

    struct http_request *held[PEER_MAX_HELD];
    size_t n_held;
    size_t n_calls; /* of handlers */
    /* What the server reported. */
    size_t n_replies, n_refused, n_warnings;
    int last_status;
    char last_reason[128];
    struct http_address last_client;
    size_t n_drained;
};

/* Ten seconds for everything; change options before peer_start(). */
void peer_init(struct peer *peer);
void peer_start(struct peer *peer, struct ssl_ctx_st *tls);
/* Init and start, plain. */
void peer_open(struct peer *peer);
void peer_close(struct peer *peer);

/* Turns the loop until *value is `want`. */
void peer_await(struct peer *peer, const size_t *value, size_t want);
void peer_await_connections(struct peer *peer, size_t want);
void peer_turn_for(struct peer *peer, int ms);
/* One turn; sleeps a little when there is nothing to do. Fails the test after ten seconds from
 * *deadline_us, which is 0 at first. */
void peer_turn(struct peer *peer, int64_t *deadline_us);
/* Answers the oldest request of /hold: its query is the body. */
void peer_release(struct peer *peer);

struct peer_reply {
    int status;
    char head[PEER_REPLY_HEAD]; /* status line and headers, terminated */
    char *body;                 /* terminated; freed by the next peer_hear() into it */
    size_t body_len;
};

int peer_dial(struct peer *peer);
/* All of it, turning the loop when the socket is full. */
void peer_say(struct peer *peer, int fd, const char *text);
void peer_say_bytes(struct peer *peer, int fd, const char *bytes, size_t len);
/* Reads one reply; `no_body`: to a HEAD. */
void peer_hear(struct peer *peer, int fd, struct peer_reply *reply, bool no_body);
/* Says, hears, and compares; returns the reply until the next call. */
const struct peer_reply *peer_ask(struct peer *peer, int fd, const char *text, int status);
/* The client sees an orderly end of stream, and nothing before it; closes fd. */
void peer_expect_end(struct peer *peer, int fd);
/* Nothing arrives for that long, and the connection stays. */
void peer_expect_silence(struct peer *peer, int fd, int ms);
/* Ends it with a reset. */
void peer_reset(int fd);

#endif
