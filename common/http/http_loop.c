/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines without a timer each: moving to the end of a list costs a few stores, where a libevent
 * timer would walk a heap twice a request. The price is a deadline met up to one tick late. */
#include "http_loop.h"

#include "base_mem.h"
#include "http_stream.h"

#include <event2/event.h>
#include <utlist.h>

#define TICK_US      (100 * BASE_US_PER_MS)
#define OUT_MAX      (64 * 1024 * 1024) /* of one reply; the largest are pages of a list, far below */
#define OUT_KEEP_MAX (256 * 1024)       /* memory kept from one reply to the next */

static void expire(struct http_loop *loop, enum http_wait wait)
{
    struct http_link *link;

    while ((link = loop->lists[wait]) && link->deadline_us <= loop->now_us)
        loop->on_deadline(link);
}

static void on_tick(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *data)
{
    struct http_loop *loop = data;

    loop->now_us = base_clock_mono_us();
    for (enum http_wait wait = 0; wait < HTTP_WAIT_END; wait++)
        if (wait != HTTP_WAIT_HANDLER)
            expire(loop, wait);
    if (loop->out.len == 0 && loop->out.cap > OUT_KEEP_MAX) {
        base_buf_clear(&loop->out);
        base_buf_init(&loop->out, OUT_MAX);
    }
    if (loop->n_links == 0)
        event_del(loop->tick);
    loop->on_tick(loop->owner);
}

/* Replies may hold tokens, hence the wiping. */
void http_loop_send(struct http_loop *loop)
{
    struct http_link *link;

    loop->now_us = base_clock_mono_us();
    while ((link = loop->lists[HTTP_WAIT_SEND]))
        loop->on_send(link);
    base_wipe(loop->out.ptr, loop->out.len);
    base_buf_reset(&loop->out);
}

static void on_send(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *data)
{
    http_loop_send(data);
}

void http_loop_reap(struct http_loop *loop)
{
    struct http_link *link;

    while ((link = loop->lists[HTTP_WAIT_END])) {
        DL_DELETE(loop->lists[HTTP_WAIT_END], link);
        loop->n_links--;
        loop->on_end(link);
    }
}

static void on_turn(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *data)
{
    struct http_loop *loop = data;

    http_loop_reap(loop);
    if (loop->draining && loop->n_links == 0 && loop->pool.n_taken == 0)
        loop->on_quiet(loop->owner);
}

enum base_err http_loop_init(struct http_loop *loop)
{
    const struct http_server_options *options = &loop->options;

    loop->timeout_us[HTTP_WAIT_HANDSHAKE] = options->tls_timeout_us;
    loop->timeout_us[HTTP_WAIT_HEAD] = options->header_timeout_us;
    loop->timeout_us[HTTP_WAIT_BODY] = options->body_timeout_us;
    loop->timeout_us[HTTP_WAIT_WRITE] = options->body_timeout_us;
    loop->timeout_us[HTTP_WAIT_IDLE] = options->idle_timeout_us;
    /* Long enough for a client to send what it had begun and to read why that was refused. */
    loop->timeout_us[HTTP_WAIT_LINGER] = 5 * BASE_US_PER_S;
    base_buf_init(&loop->out, OUT_MAX);
    loop->in = base_malloc(HTTP_STREAM_READ_MAX);
    loop->date_s = -1;
    loop->tick = event_new(loop->base, -1, EV_PERSIST, on_tick, loop);
    loop->turn = event_new(loop->base, -1, 0, on_turn, loop);
    loop->send = event_new(loop->base, -1, 0, on_send, loop);
    return loop->tick && loop->turn && loop->send ? BASE_OK : BASE_INTERNAL;
}

void http_loop_clear(struct http_loop *loop)
{
    if (loop->tick)
        event_free(loop->tick);
    if (loop->turn)
        event_free(loop->turn);
    if (loop->send)
        event_free(loop->send);
    base_buf_clear(&loop->out);
    base_free(&loop->in);
    http_incoming_pool_clear(&loop->pool);
}

static void enlist(struct http_loop *loop, struct http_link *link, enum http_wait wait)
{
    int64_t timeout_us = loop->timeout_us[wait];

    link->wait = wait;
    link->deadline_us = timeout_us ? loop->now_us + timeout_us : INT64_MAX;
    DL_APPEND(loop->lists[wait], link);
}

void http_loop_add(struct http_loop *loop, struct http_link *link, enum http_wait wait)
{
    loop->n_links++;
    enlist(loop, link, wait);
    http_loop_need_tick(loop);
}

void http_loop_wait(struct http_loop *loop, struct http_link *link, enum http_wait wait)
{
    DL_DELETE(loop->lists[link->wait], link);
    if (wait == HTTP_WAIT_SEND && !loop->lists[wait])
        event_active(loop->send, 0, 0); /* runs after all that is active already */
    enlist(loop, link, wait);
    if (wait == HTTP_WAIT_END)
        event_active(loop->turn, 0, 0);
}

void http_loop_check_quiet(struct http_loop *loop)
{
    if (loop->draining)
        event_active(loop->turn, 0, 0);
}

void http_loop_need_tick(struct http_loop *loop)
{
    static const struct timeval tick = {0, TICK_US};

    if (!event_pending(loop->tick, EV_TIMEOUT, NULL))
        event_add(loop->tick, &tick);
}

const char *http_loop_date(struct http_loop *loop)
{
    int64_t now_us = base_clock_wall_us(), now_s = now_us / BASE_US_PER_S;

    if (now_s != loop->date_s) {
        base_time_format_http(now_us, loop->date);
        loop->date_s = now_s;
    }
    return loop->date;
}
