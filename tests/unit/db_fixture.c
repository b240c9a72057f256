/* SPDX-License-Identifier: Apache-2.0 */
/* Loop, record and proxy for the tests of common/db. */
#include "db_fixture.h"

#include "base_clock.h"
#include "base_mem.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <utlist.h>

#include <cmocka.h>

static struct pg_cluster *cluster;
static int answers;

/* Always one of our own: these tests stop it, hang it and kill its processes. */
struct pg_cluster *db_fixture_cluster(void)
{
    if (!cluster) {
        unsetenv("CARDEA_TEST_DATABASE_URL");
        cluster = pg_cluster_new();
    }
    return cluster;
}

void db_fixture_stop(void)
{
    pg_cluster_free(&cluster);
}

static void on_tick(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *arg BASE_UNUSED)
{
}

static void on_state(void *data, bool connected, const char *why)
{
    struct db_fixture *fixture = data;

    *(connected ? &fixture->ups : &fixture->downs) += 1;
    snprintf(fixture->why, sizeof fixture->why, "%s", why);
}

static void on_notify(void *data, const char *channel, const char *payload)
{
    struct db_fixture *fixture = data;

    fixture->notifies++;
    snprintf(fixture->channel, sizeof fixture->channel, "%s", channel);
    snprintf(fixture->payload, sizeof fixture->payload, "%s", payload);
}

void db_fixture_init(struct db_fixture *fixture, const char *conninfo, int64_t timeout_us)
{
    const struct timeval tick = {0, 2000};

    *fixture = (struct db_fixture){0};
    answers = 0;
    fixture->base = event_base_new();
    fixture->tick = event_new(fixture->base, -1, EV_PERSIST, on_tick, NULL);
    event_add(fixture->tick, &tick);
    fixture->options = (struct db_options){.conninfo = conninfo,
                                           .application_name = "cardea-test",
                                           .query_timeout_us = timeout_us,
                                           .connect_timeout_us = BASE_US_PER_S,
                                           .max_pending = 1000,
                                           .on_state = on_state,
                                           .on_notify = on_notify,
                                           .data = fixture};
}

void db_fixture_open(struct db_fixture *fixture)
{
    char memory[512];
    struct base_buf why;

    base_buf_init_fixed(&why, memory, sizeof memory);
    if (db_conn_open(fixture->base, &fixture->options, &fixture->conn, &why) != BASE_OK)
        fail_msg("db_conn_open: %.*s", (int)why.len, why.ptr);
}

void db_fixture_clear(struct db_fixture *fixture)
{
    db_conn_close(&fixture->conn);
    event_free(fixture->tick);
    event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    event_base_free(fixture->base);
}

static void see_rows(struct db_seen *seen, const struct db_result *result)
{
    struct base_span text;

    seen->rows = db_result_rows(result);
    seen->affected = db_result_affected(result);
    if (seen->rows == 0)
        return;
    text = db_row_text(result, 0, 0);
    if (text.len == 4)
        seen->number = db_row_int4(result, 0, 0);
    if (text.len == 8)
        seen->number = db_row_int8(result, 0, 0);
    snprintf(seen->text, sizeof seen->text, "%.*s", (int)text.len, text.ptr ? text.ptr : "");
}

void db_seen_answer(void *ctx, const struct db_answer *answer)
{
    struct db_seen *seen = ctx;

    seen->count++;
    seen->order = ++answers;
    seen->err = answer->err;
    snprintf(seen->sqlstate, sizeof seen->sqlstate, "%s", answer->sqlstate);
    snprintf(seen->constraint, sizeof seen->constraint, "%s", answer->constraint);
    snprintf(seen->message, sizeof seen->message, "%s", answer->message);
    assert_true((answer->err == BASE_OK) == (answer->result != NULL));
    if (answer->result)
        see_rows(seen, answer->result);
    if (seen->then)
        seen->then(seen->then_ctx);
}

void db_ask(struct db_fixture *fixture, const struct db_statement *statement, struct db_seen *seen)
{
    *seen = (struct db_seen){0};
    db_query(fixture->conn, statement, NULL, 0, db_seen_answer, seen);
    assert_int_equal(seen->count, 0);
}

void db_ask_now(struct db_fixture *fixture, const struct db_statement *statement,
                struct db_seen *seen)
{
    db_ask(fixture, statement, seen);
    DB_UNTIL(fixture, seen->count > 0);
}

void db_turn(struct db_fixture *fixture)
{
    event_base_loop(fixture->base, EVLOOP_ONCE);
}

void db_pass(struct db_fixture *fixture, int64_t us)
{
    int64_t end = base_clock_mono_us() + us;

    while (base_clock_mono_us() < end)
        db_turn(fixture);
}

/* ---- Proxy ---- */

struct link {
    struct link *prev, *next;
    struct db_proxy *proxy;
    struct bufferevent *client, *server; /* server NULL: leads nowhere */
    bool met;                            /* the client has said something */
};

struct db_proxy {
    struct event_base *base;
    struct evconnlistener *listener;
    struct sockaddr_un target;
    bool leads, hold, slam;
    const char *greeting, *reply;
    size_t greeting_len, reply_len;
    int accepted;
    size_t received;
    struct link *links;
};

static void link_free(struct link *link)
{
    DL_DELETE(link->proxy->links, link);
    bufferevent_free(link->client);
    if (link->server)
        bufferevent_free(link->server);
    base_free(&link);
}

static void on_client(struct bufferevent *client, void *arg)
{
    struct link *link = arg;
    struct evbuffer *input = bufferevent_get_input(client);

    link->proxy->received += evbuffer_get_length(input);
    if (link->server)
        bufferevent_write_buffer(link->server, input);
    else
        evbuffer_drain(input, evbuffer_get_length(input));
    if (link->met)
        bufferevent_write(link->client, link->proxy->reply, link->proxy->reply_len);
    link->met = true;
}

static void on_server(struct bufferevent *server, void *arg)
{
    struct link *link = arg;

    if (!link->proxy->hold)
        bufferevent_write_buffer(link->client, bufferevent_get_input(server));
}

static void on_end(struct bufferevent *end BASE_UNUSED, short what, void *arg)
{
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        link_free(arg);
}

static void on_accept(struct evconnlistener *listener BASE_UNUSED, evutil_socket_t fd,
                      struct sockaddr *addr BASE_UNUSED, int len BASE_UNUSED, void *arg)
{
    struct db_proxy *proxy = arg;
    struct link *link;

    proxy->accepted++;
    if (proxy->slam) {
        evutil_closesocket(fd);
        return;
    }
    link = base_calloc(1, sizeof *link);
    link->proxy = proxy;
    DL_APPEND(proxy->links, link);
    link->client = bufferevent_socket_new(proxy->base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(link->client, on_client, NULL, on_end, link);
    bufferevent_enable(link->client, EV_READ);
    bufferevent_write(link->client, proxy->greeting, proxy->greeting_len);
    if (!proxy->leads)
        return;
    link->server = bufferevent_socket_new(proxy->base, -1, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(link->server, on_server, NULL, on_end, link);
    bufferevent_enable(link->server, EV_READ);
    bufferevent_socket_connect(link->server, (struct sockaddr *)&proxy->target,
                               sizeof proxy->target);
}

struct db_proxy *db_proxy_new(struct event_base *base, const char *socket_path)
{
    struct db_proxy *proxy = base_calloc(1, sizeof *proxy);
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    signal(SIGPIPE, SIG_IGN); /* bufferevents write to peers that have gone; libpq does not */
    proxy->base = base;
    proxy->leads = socket_path != NULL;
    proxy->greeting = proxy->reply = "";
    proxy->target.sun_family = AF_UNIX;
    snprintf(proxy->target.sun_path, sizeof proxy->target.sun_path, "%s",
             socket_path ? socket_path : "");
    proxy->listener = evconnlistener_new_bind(base, on_accept, proxy, LEV_OPT_CLOSE_ON_FREE, 16,
                                              (struct sockaddr *)&local, sizeof local);
    assert_non_null(proxy->listener);
    return proxy;
}

void db_proxy_free(struct db_proxy **proxy)
{
    db_proxy_cut(*proxy);
    evconnlistener_free((*proxy)->listener);
    base_free(proxy);
}

int db_proxy_port(const struct db_proxy *proxy)
{
    struct sockaddr_in local = {0};
    socklen_t len = sizeof local;

    getsockname(evconnlistener_get_fd(proxy->listener), (struct sockaddr *)&local, &len);
    return ntohs(local.sin_port);
}

void db_proxy_hold(struct db_proxy *proxy, bool hold)
{
    struct link *link;

    proxy->hold = hold;
    DL_FOREACH (proxy->links, link) {
        if (!hold && link->server)
            on_server(link->server, link);
    }
}

void db_proxy_cut(struct db_proxy *proxy)
{
    while (proxy->links)
        link_free(proxy->links);
}

void db_proxy_slam(struct db_proxy *proxy, bool slam)
{
    proxy->slam = slam;
}

void db_proxy_greet(struct db_proxy *proxy, const char *bytes, size_t len)
{
    proxy->greeting = bytes;
    proxy->greeting_len = len;
}

void db_proxy_reply(struct db_proxy *proxy, const char *bytes, size_t len)
{
    proxy->reply = bytes;
    proxy->reply_len = len;
}

int db_proxy_accepted(const struct db_proxy *proxy)
{
    return proxy->accepted;
}

size_t db_proxy_received(const struct db_proxy *proxy)
{
    return proxy->received;
}
