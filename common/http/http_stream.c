/* SPDX-License-Identifier: Apache-2.0 */
/* Reading goes into memory that all streams of a loop share, and straight from there to the parser:
 * hardly ever is anything left over, and only then does a stream get a buffer of its own.
 *
 * TLS is OpenSSL on the socket itself. Whatever it wants the socket to be ready for, it is tried
 * again when it is: reading and the handshake on `readable`, which is always watched, writing on
 * `writable`, and both of them also on the other, since TLS may have to write in order to read. */
#include "http_stream.h"

#include "base_mem.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_MAX (64 * 1024 * 1024) /* over any reply */
/* One more reading behind what made its owner pause us. */
#define IN_MAX (4 * HTTP_STREAM_READ_MAX)

enum outcome { DONE, WAIT, END, FAILED };

/* --- its memory --- */

/* Where the next bytes go: behind what is left over, so that all lie together. */
static char *room(struct http_stream *stream)
{
    struct base_buf *in = &stream->in;
    size_t len = stream->unread.len;
    char *at;

    if (len == 0)
        return stream->scratch;
    assert(in->len >= len && stream->unread.ptr == in->ptr + in->len - len);
    memmove(in->ptr, stream->unread.ptr, len);
    base_wipe(in->ptr + len, in->len - len);
    in->len = len;
    at = base_buf_reserve(in, HTTP_STREAM_READ_MAX);
    assert(at);
    stream->unread = base_buf_span(in); /* it may have moved */
    return at;
}

static void took(struct http_stream *stream, char *at, size_t len)
{
    if (at == stream->scratch) {
        stream->unread = base_span_of(at, len);
    } else {
        stream->in.len += len;
        stream->unread = base_buf_span(&stream->in);
    }
}

/* The callback is over, and somebody else may read into the shared memory next: what is left over
 * is in the stream's own from here on, and when nothing is, there is no such memory. */
static void keep_unread(struct http_stream *stream)
{
    struct base_span left = stream->unread;

    if (left.len == 0) {
        base_buf_clear(&stream->in);
    } else if (stream->in.len == 0) {
        base_buf_init(&stream->in, IN_MAX);
        base_buf_put_span(&stream->in, left);
        base_wipe((char *)left.ptr, left.len);
        stream->unread = base_buf_span(&stream->in);
    }
}

void http_stream_consume(struct http_stream *stream, size_t len)
{
    if (len == 0)
        return;
    assert(len <= stream->unread.len);
    base_wipe((char *)stream->unread.ptr, len);
    stream->unread = base_span_of(stream->unread.ptr + len, stream->unread.len - len);
}

/* --- the socket --- */

static enum outcome plain_outcome(ssize_t len)
{
    if (len > 0)
        return DONE;
    if (len == 0)
        return END;
    return errno == EAGAIN || errno == EINTR ? WAIT : FAILED;
}

/* After a failure OpenSSL forbids SSL_shutdown(). What it says depends on its list of errors, which
 * has to be empty before each call. */
static enum outcome tls_outcome(struct http_stream *stream, int done)
{
    switch (SSL_get_error(stream->ssl, done)) {
    case SSL_ERROR_NONE:
        return DONE;
    case SSL_ERROR_WANT_READ:
        return WAIT;
    case SSL_ERROR_WANT_WRITE:
        return event_add(&stream->writable, NULL) == 0 ? WAIT : FAILED;
    case SSL_ERROR_ZERO_RETURN:
        return END;
    default:
        ERR_clear_error();
        stream->is_over = true;
        return FAILED;
    }
}

static enum outcome read_plain(struct http_stream *stream, char *at, size_t *out_len)
{
    ssize_t len = recv(stream->fd, at, HTTP_STREAM_READ_MAX, 0);

    *out_len = len > 0 ? (size_t)len : 0;
    return plain_outcome(len);
}

/* Until OpenSSL has nothing more of what it read from the socket, or there is no room. */
static enum outcome read_tls(struct http_stream *stream, char *at, size_t *out_len)
{
    enum outcome outcome = DONE;
    size_t len;

    for (*out_len = 0; outcome == DONE && *out_len < HTTP_STREAM_READ_MAX; *out_len += len) {
        if (*out_len > 0 && !SSL_has_pending(stream->ssl))
            break;
        ERR_clear_error();
        len = 0;
        outcome = tls_outcome(
            stream, SSL_read_ex(stream->ssl, at + *out_len, HTTP_STREAM_READ_MAX - *out_len, &len));
    }
    stream->has_more = outcome == DONE && SSL_has_pending(stream->ssl);
    return outcome;
}

static enum outcome write_some(struct http_stream *stream, struct base_span bytes, size_t *out_len)
{
    ssize_t len;

    *out_len = 0;
    if (stream->ssl) {
        ERR_clear_error();
        return tls_outcome(stream, SSL_write_ex(stream->ssl, bytes.ptr, bytes.len, out_len));
    }
    len = send(stream->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
    *out_len = len > 0 ? (size_t)len : 0;
    return plain_outcome(len);
}

/* --- what happens on it --- */

/* Nothing is told of a stream that has been stopped meanwhile. */
static void tell(struct http_stream *stream, enum http_stream_event event)
{
    if (stream->on_event)
        stream->on_event(stream, event);
    keep_unread(stream);
}

static void fail(struct http_stream *stream)
{
    http_stream_pause(stream, true);
    tell(stream, HTTP_STREAM_BROKEN);
}

/* An end of stream would be told of for ever. */
static void end_input(struct http_stream *stream)
{
    http_stream_pause(stream, true);
    stream->is_eof = true;
}

static bool fill(struct http_stream *stream)
{
    char *at = room(stream);
    enum outcome outcome;
    size_t len;

    outcome = stream->ssl ? read_tls(stream, at, &len) : read_plain(stream, at, &len);
    if (len > 0)
        took(stream, at, len);
    if (outcome == END)
        end_input(stream);
    return outcome != FAILED;
}

/* True when it is done. */
static bool shake_hands(struct http_stream *stream)
{
    ERR_clear_error();
    switch (tls_outcome(stream, SSL_do_handshake(stream->ssl))) {
    case DONE:
        stream->is_open = true;
        tell(stream, HTTP_STREAM_OPEN);
        return true;
    case WAIT:
        return false;
    case END:
        end_input(stream);
        tell(stream, HTTP_STREAM_INPUT);
        return false;
    default:
        fail(stream);
        return false;
    }
}

static void on_readable(evutil_socket_t fd BASE_UNUSED, short what, void *data)
{
    struct http_stream *stream = data;

    if (!stream->is_open && !shake_hands(stream))
        return;
    if (stream->is_reading && (what & EV_READ) && !fill(stream)) {
        fail(stream);
        return;
    }
    tell(stream, HTTP_STREAM_INPUT);
    if (stream->is_reading && stream->has_more)
        http_stream_look_again(stream);
}

/* A timer, so that the loop sees to all others first: a client that sends as fast as we read must
 * not keep us to itself. */
void http_stream_look_again(struct http_stream *stream)
{
    static const struct timeval at_once = {0, 0};

    event_add(&stream->again, &at_once);
}

static void on_again(evutil_socket_t fd, short what BASE_UNUSED, void *data)
{
    struct http_stream *stream = data;

    on_readable(fd, stream->has_more ? EV_READ : 0, stream);
}

/* False: it is broken. */
static bool flush(struct http_stream *stream)
{
    struct base_buf *out = &stream->out;
    enum outcome outcome = DONE;
    size_t len;

    while (outcome == DONE && stream->out_at < out->len) {
        outcome = write_some(
            stream, base_span_of(out->ptr + stream->out_at, out->len - stream->out_at), &len);
        stream->out_at += len;
    }
    if (stream->out_at == out->len) {
        base_buf_clear(out);
        stream->out_at = 0;
        return true;
    }
    return outcome == WAIT && event_add(&stream->writable, NULL) == 0;
}

static void on_writable(evutil_socket_t fd, short what BASE_UNUSED, void *data)
{
    struct http_stream *stream = data;
    bool was_left = stream->out.len > 0;

    if (was_left && !flush(stream)) {
        fail(stream);
        return;
    }
    if (was_left && stream->out.len == 0)
        tell(stream, HTTP_STREAM_WRITTEN);
    if (stream->ssl && stream->is_reading)
        on_readable(fd, EV_READ, stream);
}

/* --- from outside --- */

static bool begin_tls(struct http_stream *stream, struct ssl_ctx_st *tls)
{
    stream->ssl = SSL_new(tls);
    if (!stream->ssl || !SSL_set_fd(stream->ssl, stream->fd)) {
        ERR_clear_error();
        return false;
    }
    SSL_set_accept_state(stream->ssl);
    return true;
}

enum base_err http_stream_open(struct http_stream *stream, struct event_base *base, char *scratch,
                               int fd, struct ssl_ctx_st *tls, http_stream_fn *on_event)
{
    stream->scratch = scratch;
    stream->on_event = on_event;
    stream->fd = fd;
    stream->is_open = tls == NULL;
    event_assign(&stream->readable, base, fd, EV_READ | EV_PERSIST, on_readable, stream);
    event_assign(&stream->writable, base, fd, EV_WRITE, on_writable, stream);
    event_assign(&stream->again, base, -1, 0, on_again, stream);
    if ((tls && !begin_tls(stream, tls)) || event_add(&stream->readable, NULL) != 0) {
        http_stream_close(stream);
        return BASE_INTERNAL;
    }
    stream->is_reading = true;
    return BASE_OK;
}

static void close_tls(struct http_stream *stream)
{
    if (!stream->ssl || !stream->is_open || stream->is_over)
        return;
    stream->is_over = true;
    SSL_shutdown(stream->ssl);
    ERR_clear_error();
}

void http_stream_stop(struct http_stream *stream)
{
    stream->on_event = NULL;
    stream->is_reading = false;
    event_del(&stream->readable);
    event_del(&stream->writable);
    event_del(&stream->again);
}

void http_stream_close(struct http_stream *stream)
{
    http_stream_stop(stream);
    close_tls(stream);
    SSL_free(stream->ssl);
    close(stream->fd);
    base_buf_clear(&stream->in);
    base_buf_clear(&stream->out);
}

/* Should it not be possible to go on, the connection ends at its deadline. */
void http_stream_pause(struct http_stream *stream, bool pause)
{
    if (stream->is_eof || stream->is_reading == !pause)
        return;
    stream->is_reading = !pause;
    if (pause)
        event_del(&stream->readable);
    else if (event_add(&stream->readable, NULL) == 0 && stream->has_more)
        http_stream_look_again(stream);
}

bool http_stream_write(struct http_stream *stream, struct base_span bytes)
{
    enum outcome outcome = DONE;
    size_t len;

    while (stream->out.len == 0 && outcome == DONE && bytes.len > 0) {
        outcome = write_some(stream, bytes, &len);
        bytes = base_span_of(bytes.ptr + len, bytes.len - len);
    }
    if (bytes.len == 0)
        return true;
    if (outcome != DONE && outcome != WAIT)
        return false;
    if (stream->out.len == 0)
        base_buf_init(&stream->out, OUT_MAX);
    base_buf_put_span(&stream->out, bytes);
    return !stream->out.overflow && event_add(&stream->writable, NULL) == 0;
}

void http_stream_end_output(struct http_stream *stream)
{
    close_tls(stream);
    shutdown(stream->fd, SHUT_WR);
}
