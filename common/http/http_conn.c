/* SPDX-License-Identifier: Apache-2.0 */
/* A connection is always waiting for exactly one thing, its `wait`; that is the whole of its state,
 * and decides what bytes from the client mean (`feeders`) and what the deadline does (`expirers`):
 *
 *   HANDSHAKE ─> HEAD ─> BODY ─> HANDLER ─> SEND ─> WRITE ─> IDLE ─> HEAD …
 *                  │       │        │         │       │
 *                  └───────┴────────┴─────────┴───────┴──> LINGER ─> END
 *
 * One request at a time: while one is with its handler, or its reply is not yet out, what the
 * client pipelines stays in the input, and over READ_AHEAD bytes of it the socket is not read any
 * more. So neither ten thousand pipelined requests nor a client that does not read cost more memory
 * than one. The loop in run() goes from one request to the next; a handler that answers within its
 * call only changes `wait`, so there is no recursion.
 *
 * The reading side stays registered with the kernel throughout, and a reply is given to the socket
 * directly; only what the socket does not take is kept and waited for. In the usual case a request
 * thus costs one read and one write, and no change of registration.
 *
 * Replies of one turn of the loop leave together at its end (SEND): given to the socket one by one,
 * between signatures, each would find its reader asleep again, and waking somebody costs more than
 * sending. A batch of look-ups is answered within one turn, so SEND_AT_ONCE bounds how long the
 * first of them waits for the last.
 *
 * A reply that ends the connection is followed by our end of stream, and then the client's bytes
 * are read and dropped for a while (LINGER): closing a socket with unread bytes makes the kernel
 * send a reset, which would destroy the reply on its way (RFC 9112 §9.6).
 *
 * A request belongs to its handler until it is answered. If the connection ends first, the two are
 * parted (incoming->conn becomes NULL) and the answer is only reported. */
#include "http_conn.h"

#include "base_mem.h"
#include "http_stream.h"

#include <assert.h>
#include <utlist.h>

#define READ_AHEAD   (16 * 1024)
#define SEND_AT_ONCE (16 * 1024)        /* some twenty tokens, or half a millisecond */
#define LINGER_MAX   (64 * 1024 * 1024) /* bytes dropped; a client that sends more gets its reset */

struct http_conn {
    struct http_link link; /* first, so that the loop's links lead back here */
    struct http_stream stream;
    struct http_loop *loop;
    struct http_incoming *incoming; /* being received, or with its handler */
    struct http_address peer;
    size_t dropped;         /* while lingering */
    size_t out_at, out_len; /* its reply in loop->out, while in HTTP_WAIT_SEND */
    unsigned mask;
    bool is_tls;
    bool is_paused; /* too much was read ahead */
    bool is_last;   /* the reply being written ends the connection */
    bool is_running;
};

static struct http_conn *conn_of(struct http_link *link)
{
    return (struct http_conn *)(void *)link;
}

static struct http_conn *owner_of(struct http_stream *stream)
{
    return (struct http_conn *)(void *)((char *)stream - offsetof(struct http_conn, stream));
}

static void wait_for(struct http_conn *conn, enum http_wait wait)
{
    http_loop_wait(conn->loop, &conn->link, wait);
}

/* Its end */

static void give_back(struct http_loop *loop, struct http_incoming *incoming)
{
    http_incoming_give(&loop->pool, incoming);
    http_loop_check_quiet(loop);
}

/* The callbacks are silenced at once; the rest is done in the next turn, when nothing of this
 * connection is on the stack. */
static void end(struct http_conn *conn)
{
    struct http_incoming *incoming = conn->incoming;

    conn->incoming = NULL;
    if (incoming && conn->link.wait == HTTP_WAIT_HANDLER)
        incoming->conn = NULL;
    else if (incoming)
        give_back(conn->loop, incoming);
    http_stream_stop(&conn->stream);
    wait_for(conn, HTTP_WAIT_END);
}

void http_conn_on_end(struct http_link *link)
{
    struct http_conn *conn = conn_of(link);
    struct http_server_shared *shared = conn->loop->options.shared;

    http_stream_close(&conn->stream);
    if (shared)
        atomic_fetch_sub(&shared->connections, 1);
    base_free(&conn);
}

static void report_refused(struct http_conn *conn, int status, const char *reason)
{
    const struct http_server_options *options = &conn->loop->options;

    if (options->events.on_refused)
        options->events.on_refused(options->data, &conn->peer, status, reason);
}

/* No request can be answered any more. */
static void end_by_peer(struct http_conn *conn)
{
    if (conn->incoming && conn->link.wait != HTTP_WAIT_HANDLER)
        report_refused(conn, 0, "client went away in the middle of a request");
    end(conn);
}

static void linger(struct http_conn *conn)
{
    if (conn->stream.is_eof) {
        end(conn);
        return;
    }
    http_stream_end_output(&conn->stream);
    wait_for(conn, HTTP_WAIT_LINGER);
}

/* Writing */

static void after_reply(struct http_conn *conn)
{
    if (conn->is_last)
        linger(conn);
    else
        wait_for(conn, HTTP_WAIT_IDLE);
}

/* False when it would be larger than any reply may be. */
static bool format_reply(struct http_conn *conn, const struct http_reply *reply,
                         const struct http_request *request)
{
    struct http_loop *loop = conn->loop;
    struct base_buf *out = &loop->out;

    conn->out_at = out->len;
    http_reply_format(out, reply, request ? request->head.minor : 1, request && request->is_head,
                      !conn->is_last, http_loop_date(loop), request ? request->request_id : NULL);
    conn->out_len = out->len - conn->out_at;
    return !out->overflow;
}

/* `request` NULL: the message was too broken to be one. */
static void reply_to(struct http_conn *conn, const struct http_reply *reply,
                     const struct http_request *request)
{
    struct http_loop *loop = conn->loop;

    conn->is_last = reply->close || loop->draining || !request || !request->head.keep_alive;
    if (!format_reply(conn, reply, request)) {
        base_wipe(loop->out.ptr + conn->out_at, conn->out_len);
        loop->out.len = conn->out_at;
        loop->out.overflow = false;
        end(conn);
        return;
    }
    wait_for(conn, HTTP_WAIT_SEND);
    if (loop->out.len >= SEND_AT_ONCE)
        http_loop_send(loop);
}

/* If the client has pipelined meanwhile, look at it in a turn of its own, so that no handler is
 * called from within another's http_reply_send(). */
static void look_again_later(struct http_conn *conn)
{
    if (conn->link.wait == HTTP_WAIT_END)
        return;
    if (conn->stream.is_eof || conn->is_paused || conn->stream.unread.len > 0)
        http_stream_look_again(&conn->stream);
}

void http_conn_on_send(struct http_link *link)
{
    struct http_conn *conn = conn_of(link);

    struct base_span reply = base_span_of(conn->loop->out.ptr + conn->out_at, conn->out_len);

    if (!http_stream_write(&conn->stream, reply))
        end(conn);
    else if (conn->stream.out.len > 0)
        wait_for(conn, HTTP_WAIT_WRITE);
    else
        after_reply(conn);
    look_again_later(conn);
}

/* What http_reply_send() comes to. */
static void send_reply(struct http_request *request, const struct http_reply *reply)
{
    struct http_incoming *incoming = (struct http_incoming *)(void *)request;
    struct http_loop *loop = incoming->loop;
    const struct http_server_options *options = &loop->options;
    struct http_conn *conn = incoming->conn;

    loop->now_us = base_clock_mono_us();
    if (conn) {
        conn->incoming = NULL;
        reply_to(conn, reply, request);
    }
    if (options->events.on_reply)
        options->events.on_reply(options->data, request, reply, loop->now_us - request->started_us);
    give_back(loop, incoming);
}

/* Answers the request that is being received with the application's own kind of error. */
static void reply_error(struct http_conn *conn, struct http_request *request, int status,
                        const char *reason, bool close)
{
    const struct http_server_options *options = &conn->loop->options;
    const char *allow = status == 405 ? conn->incoming->allow : NULL;
    struct http_reply reply = {.status = status};

    if (options->error_reply)
        options->error_reply(options->data, request,
                             http_incoming_target(conn->incoming, options->prefix), status, allow,
                             &reply);
    reply.reason = reason;
    reply.close = close;
    send_reply(request, &reply);
}

/* A head that is no request. */
static void refuse_head(struct http_conn *conn, int status, const char *reason)
{
    const struct http_server_options *options = &conn->loop->options;
    struct http_incoming *incoming = conn->incoming;
    struct http_reply reply = {.status = status};

    if (options->error_reply)
        options->error_reply(options->data, NULL, http_incoming_target(incoming, options->prefix),
                             status, NULL, &reply);
    reply.reason = reason;
    reply.close = true;
    conn->incoming = NULL;
    reply_to(conn, &reply, NULL);
    report_refused(conn, status, reason);
    give_back(conn->loop, incoming);
}

/* A request that will not be read to its end. One that would have been 404 or 405 anyway is told
 * so. */
static void refuse_body(struct http_conn *conn, int status, const char *reason)
{
    struct http_incoming *incoming = conn->incoming;
    bool has_verdict = incoming->verdict != 0 && status == 413;

    reply_error(conn, &incoming->request, has_verdict ? incoming->verdict : status,
                has_verdict ? incoming->reason : reason, true);
}

/* Reading. Feeders take bytes of the input, and tell whether there may be more to do. */

static void hand_over(struct http_conn *conn)
{
    struct http_incoming *incoming = conn->incoming;

    if (incoming->verdict) {
        reply_error(conn, &incoming->request, incoming->verdict, incoming->reason, false);
        return;
    }
    wait_for(conn, HTTP_WAIT_HANDLER);
    incoming->request.route->handler(&incoming->request);
}

/* RFC 9110 §10.1.1. To a request that gets a 404 anyway we do not say that its body is welcome; and
 * as its client may then send the body or not, nothing that follows could be told from it. */
static void expect_continue(struct http_conn *conn)
{
    struct http_incoming *incoming = conn->incoming;

    if (incoming->verdict)
        reply_error(conn, &incoming->request, incoming->verdict, incoming->reason, true);
    else if (!http_stream_write(&conn->stream, BASE_SPAN("HTTP/1.1 100 Continue\r\n\r\n")))
        end(conn);
}

static void await_body(struct http_conn *conn)
{
    const struct http_head *head = &conn->incoming->request.head;
    bool is_here = conn->stream.unread.len > 0;

    if (!head->chunked && head->content_length == 0) {
        hand_over(conn);
        return;
    }
    wait_for(conn, HTTP_WAIT_BODY);
    if (head->expect_continue && !is_here)
        expect_continue(conn);
}

static void accept_head(struct http_conn *conn)
{
    struct http_loop *loop = conn->loop;
    struct http_request *request = &conn->incoming->request;
    struct http_parse_result result;

    request->is_tls = conn->is_tls;
    request->peer = conn->peer;
    request->server_data = loop->options.data;
    request->send = send_reply;
    result = http_incoming_route(conn->incoming, &loop->options, conn->mask);
    if (result.state == HTTP_PARSE_BAD)
        refuse_body(conn, result.status, result.reason);
    else
        await_body(conn);
}

static void begin_request(struct http_conn *conn)
{
    conn->incoming = http_incoming_take(&conn->loop->pool);
    conn->incoming->conn = conn;
    conn->incoming->loop = conn->loop;
    conn->incoming->request.started_us = conn->loop->now_us;
}

static bool feed_head(struct http_conn *conn)
{
    struct base_span bytes = conn->stream.unread;
    struct http_parse_result result;

    if (bytes.len == 0)
        return false;
    if (!conn->incoming)
        begin_request(conn);
    result = http_incoming_head(conn->incoming, bytes);
    http_stream_consume(&conn->stream, result.used);
    if (result.state == HTTP_PARSE_BAD)
        refuse_head(conn, result.status, result.reason);
    else if (result.state == HTTP_PARSE_DONE)
        accept_head(conn);
    else if (conn->link.wait == HTTP_WAIT_IDLE) /* a new connection's deadline runs on */
        wait_for(conn, HTTP_WAIT_HEAD);
    return true;
}

static bool feed_body(struct http_conn *conn)
{
    struct base_span bytes = conn->stream.unread;
    struct http_parse_result result;

    if (bytes.len == 0)
        return false;
    result = http_incoming_body(conn->incoming, bytes);
    http_stream_consume(&conn->stream, result.used);
    if (result.state == HTTP_PARSE_BAD)
        refuse_body(conn, result.status, result.reason);
    else if (result.state == HTTP_PARSE_DONE)
        hand_over(conn);
    return true;
}

static bool drop(struct http_conn *conn)
{
    conn->dropped += conn->stream.unread.len;
    http_stream_consume(&conn->stream, conn->stream.unread.len);
    if (conn->dropped > LINGER_MAX)
        end(conn);
    return false;
}

static bool (*const feeders[HTTP_N_WAITS])(struct http_conn *) = {
    [HTTP_WAIT_HEAD] = feed_head,
    [HTTP_WAIT_IDLE] = feed_head,
    [HTTP_WAIT_BODY] = feed_body,
    [HTTP_WAIT_LINGER] = drop,
};

/* What remains in the input has to wait: stop reading when it is too much. Where nothing remains
 * and nothing can come, the connection is over. */
static void settle(struct http_conn *conn)
{
    bool may_wait = !feeders[conn->link.wait];
    bool is_full = conn->stream.unread.len >= READ_AHEAD;

    if (conn->link.wait == HTTP_WAIT_END)
        return;
    if (conn->stream.is_eof) {
        if (!may_wait)
            end_by_peer(conn);
        return;
    }
    conn->is_paused = may_wait && is_full;
    http_stream_pause(&conn->stream, conn->is_paused);
}

static void run(struct http_conn *conn)
{
    assert(!conn->is_running);
    conn->loop->now_us = base_clock_mono_us();
    conn->is_running = true;
    while (feeders[conn->link.wait] && feeders[conn->link.wait](conn))
        ;
    conn->is_running = false;
    settle(conn);
}

static void on_open(struct http_conn *conn)
{
    conn->loop->now_us = base_clock_mono_us();
    wait_for(conn, conn->loop->draining ? HTTP_WAIT_IDLE : HTTP_WAIT_HEAD);
}

/* During a handshake, only that the client has gone. */
static void on_input(struct http_conn *conn)
{
    if (conn->link.wait == HTTP_WAIT_HANDSHAKE)
        end(conn);
    else
        run(conn);
}

static void on_written(struct http_conn *conn)
{
    if (conn->link.wait != HTTP_WAIT_WRITE) /* it was a 100 Continue */
        return;
    conn->loop->now_us = base_clock_mono_us();
    after_reply(conn);
    run(conn);
}

static void on_broken(struct http_conn *conn)
{
    conn->loop->now_us = base_clock_mono_us();
    if (conn->link.wait == HTTP_WAIT_HANDSHAKE)
        report_refused(conn, 0, "TLS handshake failed");
    end_by_peer(conn);
}

static void on_event(struct http_stream *stream, enum http_stream_event event)
{
    static void (*const handlers[])(struct http_conn *) = {
        [HTTP_STREAM_OPEN] = on_open,
        [HTTP_STREAM_INPUT] = on_input,
        [HTTP_STREAM_WRITTEN] = on_written,
        [HTTP_STREAM_BROKEN] = on_broken,
    };

    handlers[event](owner_of(stream));
}

/* Deadlines */

static void expire_silently(struct http_conn *conn)
{
    end(conn);
}

static void expire_handshake(struct http_conn *conn)
{
    report_refused(conn, 0, "TLS handshake timed out");
    end(conn);
}

/* One that has sent nothing has asked nothing: no answer either. */
static void expire_head(struct http_conn *conn)
{
    if (conn->incoming) {
        refuse_head(conn, 408, "head timed out");
        return;
    }
    report_refused(conn, 0, "nothing was sent");
    end(conn);
}

static void expire_body(struct http_conn *conn)
{
    refuse_body(conn, 408, "body timed out");
}

static void expire_write(struct http_conn *conn)
{
    report_refused(conn, 0, "reply was not read");
    end(conn);
}

static void (*const expirers[HTTP_N_WAITS])(struct http_conn *) = {
    [HTTP_WAIT_HANDSHAKE] = expire_handshake, [HTTP_WAIT_HEAD] = expire_head,
    [HTTP_WAIT_BODY] = expire_body,           [HTTP_WAIT_WRITE] = expire_write,
    [HTTP_WAIT_IDLE] = expire_silently,       [HTTP_WAIT_LINGER] = expire_silently,
};

void http_conn_on_deadline(struct http_link *link)
{
    expirers[link->wait](conn_of(link));
}

/* Its beginning */

enum base_err http_conn_open(struct http_loop *loop, const struct http_conn_options *options)
{
    struct http_conn *conn = base_calloc(1, sizeof *conn);

    if (http_stream_open(&conn->stream, loop->base, loop->in, options->fd, options->tls,
                         on_event) != BASE_OK) {
        base_free(&conn);
        return BASE_INTERNAL;
    }
    conn->loop = loop;
    conn->peer = options->peer;
    conn->mask = options->mask;
    conn->is_tls = options->tls != NULL;
    loop->now_us = base_clock_mono_us();
    http_loop_add(loop, &conn->link, conn->is_tls ? HTTP_WAIT_HANDSHAKE : HTTP_WAIT_HEAD);
    return BASE_OK;
}

/* All at once */

void http_conn_drain_all(struct http_loop *loop)
{
    int64_t idle_us = loop->options.drain_idle_us, latest_us;
    struct http_link *link, *next;

    loop->now_us = base_clock_mono_us();
    latest_us = loop->now_us + idle_us;
    if (idle_us < loop->timeout_us[HTTP_WAIT_IDLE])
        loop->timeout_us[HTTP_WAIT_IDLE] = idle_us;
    DL_FOREACH_SAFE (loop->lists[HTTP_WAIT_HEAD], link, next)
        if (!conn_of(link)->incoming)
            wait_for(conn_of(link), HTTP_WAIT_IDLE);
    DL_FOREACH (loop->lists[HTTP_WAIT_IDLE], link)
        if (link->deadline_us > latest_us)
            link->deadline_us = latest_us;
}

void http_conn_end_all(struct http_loop *loop)
{
    for (enum http_wait wait = 0; wait < HTTP_WAIT_END; wait++)
        while (loop->lists[wait])
            end(conn_of(loop->lists[wait]));
}
