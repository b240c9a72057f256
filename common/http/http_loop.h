/* SPDX-License-Identifier: Apache-2.0 */
/* What the connections of one server share: deadlines, the moment when ended ones are freed, the
 * buffer replies are written in, and the pool of requests. Inside common/http only; one loop's
 * thread. */
#ifndef HTTP_LOOP_H
#define HTTP_LOOP_H

#include "base_clock.h"
#include "http_incoming.h"
#include "http_server.h"

struct event;

/* What a connection waits for. */
enum http_wait {
    HTTP_WAIT_HANDSHAKE,
    HTTP_WAIT_HEAD, /* the first byte on a new connection, or the rest of a head */
    HTTP_WAIT_BODY,
    HTTP_WAIT_HANDLER, /* the answer; no deadline here: the handler has its own */
    HTTP_WAIT_SEND,    /* the end of the turn, when replies are given to the sockets */
    HTTP_WAIT_WRITE,   /* the client's reading of the reply */
    HTTP_WAIT_IDLE,    /* the first byte of the next request */
    HTTP_WAIT_LINGER,  /* the client's end of stream, after ours */
    HTTP_WAIT_END,     /* being freed in the next turn */
    HTTP_N_WAITS,
};

/* A connection's place in the lists; its first member. */
struct http_link {
    struct http_link *prev, *next;
    int64_t deadline_us; /* monotonic; INT64_MAX: none */
    enum http_wait wait;
};

struct http_loop {
    struct event_base *base;
    struct http_server_options options;
    int64_t now_us; /* monotonic, as of the start of this callback */
    bool draining;
    size_t n_links;
    struct http_incoming_pool pool;
    char *in;            /* what is being read, by one connection at a time */
    struct base_buf out; /* the replies of those in HTTP_WAIT_SEND, one after the other */

    /* One list per kind of wait. All members of a list wait equally long, so each list is sorted
     * by deadline, and one coarse timer that looks at its head is all it takes. */
    struct http_link *lists[HTTP_N_WAITS];
    int64_t timeout_us[HTTP_N_WAITS]; /* 0: for ever */
    struct event *tick;
    struct event *turn;
    struct event *send;
    int64_t date_s; /* the second that `date` is of */
    char date[BASE_TIME_TEXT_MAX];

    /* The owners', each with `owner`: */
    void *owner;
    void (*on_deadline)(struct http_link *link); /* must make it wait for something else */
    void (*on_end)(struct http_link *link);      /* frees it */
    void (*on_send)(struct http_link *link); /* sends its reply; waits for something else then */
    void (*on_tick)(void *owner);            /* every 100 ms while something waits */
    void (*on_quiet)(void *owner);           /* draining, and nothing is left; once */
};

/* `loop` is zeroed but for base, options, owner and the callbacks. */
enum base_err http_loop_init(struct http_loop *loop) BASE_MUST_USE;
/* No links may be left. */
void http_loop_clear(struct http_loop *loop);

void http_loop_add(struct http_loop *loop, struct http_link *link, enum http_wait wait);
/* From now on it waits for that, its deadline counted from loop->now_us. HTTP_WAIT_END: on_end() is
 * called in the next turn of the loop, outside of the callback that found the end. */
void http_loop_wait(struct http_loop *loop, struct http_link *link, enum http_wait wait);

/* Calls on_send() for all that wait for it, now instead of at the end of the turn. */
void http_loop_send(struct http_loop *loop);
/* Calls on_end() for what has ended, now: for the server's own end. */
void http_loop_reap(struct http_loop *loop);
/* Something has gone that on_quiet() may have waited for. */
void http_loop_check_quiet(struct http_loop *loop);
/* Makes the timer run; it stops by itself when there are no links. */
void http_loop_need_tick(struct http_loop *loop);

/* IMF-fixdate of this second. */
const char *http_loop_date(struct http_loop *loop);

#endif
