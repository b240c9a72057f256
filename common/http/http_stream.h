/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of one connection, plain or TLS: what has come and is not consumed yet, and what the
 * socket has not taken yet. Inside common/http only; one loop's thread.
 *
 * Instead of libevent's bufferevent, which asks the kernel how much there is before it reads, keeps
 * buffers for idle connections, and knows two kinds of end: here a request costs one system call to
 * read and one to write, and an idle connection has no buffer. */
#ifndef HTTP_STREAM_H
#define HTTP_STREAM_H

#include "base_buf.h"
#include "base_err.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#define HTTP_STREAM_READ_MAX (16 * 1024) /* at once; a TLS record holds as much */

struct ssl_st;
struct ssl_ctx_st;

enum http_stream_event {
    HTTP_STREAM_OPEN,    /* the TLS handshake is done; what was sent with it follows */
    HTTP_STREAM_INPUT,   /* there may be more in `unread`, or the client's side has ended */
    HTTP_STREAM_WRITTEN, /* nothing is left in `out` */
    HTTP_STREAM_BROKEN,  /* it failed: nothing can be read or written any more */
};

struct http_stream;
typedef void http_stream_fn(struct http_stream *stream, enum http_stream_event event);

struct http_stream {
    struct base_span unread; /* valid during the callback, and again in the next */
    struct base_buf out;     /* from out_at on */
    bool is_eof;             /* the client's side has ended; `unread` is what it still said */

    /* Its own. */
    http_stream_fn *on_event;
    char *scratch; /* of HTTP_STREAM_READ_MAX bytes, shared by all streams of the loop */
    struct ssl_st *ssl;
    struct base_buf in; /* what was left unread by an earlier callback */
    size_t out_at;
    int fd;
    bool is_open;    /* plain, or the handshake is done */
    bool is_over;    /* our close_notify has been sent, or may not be any more */
    bool is_reading; /* not stopped, and not at its end */
    bool has_more;   /* OpenSSL has bytes that no event will tell of */
    struct event readable, writable, again;
};

/* A zeroed stream; reading begins at once. Takes `fd`, also on failure. `tls` NULL: plain. */
enum base_err http_stream_open(struct http_stream *stream, struct event_base *base, char *scratch,
                               int fd, struct ssl_ctx_st *tls,
                               http_stream_fn *on_event) BASE_MUST_USE;
/* Wipes and frees what it holds, after our close_notify. Not from its callback: stop it there. */
void http_stream_close(struct http_stream *stream);

/* No callback any more. */
void http_stream_stop(struct http_stream *stream);
/* Stops and goes on reading; what is unread stays. */
void http_stream_pause(struct http_stream *stream, bool pause);
/* HTTP_STREAM_INPUT once more, in the next turn of the loop, with whatever there is. */
void http_stream_look_again(struct http_stream *stream);

/* The first `len` unread bytes are done with. They are wiped: they may be a secret. */
void http_stream_consume(struct http_stream *stream, size_t len);

/* Writes, or keeps a copy until the socket takes it; whether some is left, `out` tells. False: the
 * stream is broken. */
bool http_stream_write(struct http_stream *stream, struct base_span bytes) BASE_MUST_USE;
/* Our side ends: close_notify, and the end of stream. Nothing may be left in `out`. */
void http_stream_end_output(struct http_stream *stream);

#endif
