/* SPDX-License-Identifier: Apache-2.0 */
#include "http_peer.h"

#include "base_clock.h"
#include "base_mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_US (10 * BASE_US_PER_S)

/* Handlers */

static void answer(struct http_request *request, struct base_span body, bool close)
{
    struct http_reply reply = {
        .status = 200, .content_type = "text/plain", .body = body, .close = close};

    http_reply_send(request, &reply);
}

static struct peer *called(struct http_request *request)
{
    struct peer *peer = request->server_data;

    peer->n_calls++;
    return peer;
}

static void handle_sync(struct http_request *request)
{
    called(request);
    answer(request, BASE_SPAN("sync"), false);
}

static void handle_echo(struct http_request *request)
{
    called(request);
    answer(request, request->body, false);
}

static void handle_close(struct http_request *request)
{
    called(request);
    answer(request, BASE_SPAN("closing"), true);
}

static void on_timer(evutil_socket_t fd BASE_UNUSED, short what BASE_UNUSED, void *data)
{
    struct http_request *request = data;

    answer(request, request->head.query, false);
}

static void answer_after(struct http_request *request, int ms)
{
    struct timeval delay = {0, ms * 1000};

    assert_int_equal(
        event_base_once(called(request)->base, -1, EV_TIMEOUT, on_timer, request, &delay), 0);
}

static void handle_soon(struct http_request *request)
{
    answer_after(request, 0);
}

static void handle_later(struct http_request *request)
{
    answer_after(request, 20);
}

static void handle_hold(struct http_request *request)
{
    struct peer *peer = called(request);

    assert_true(peer->n_held < PEER_MAX_HELD);
    peer->held[peer->n_held++] = request;
}

static void handle_big(struct http_request *request)
{
    char *body = malloc(PEER_BIG);

    called(request);
    for (size_t i = 0; i < PEER_BIG; i++)
        body[i] = (char)('a' + i % 23);
    answer(request, base_span_of(body, PEER_BIG), false);
    free(body);
}

static void handle_who(struct http_request *request)
{
    char client[HTTP_ADDRESS_TEXT_MAX], body[512];

    called(request);
    http_address_format(&request->client, client);
    snprintf(body, sizeof body, "%s %s %.*s", client, request->request_id,
             BASE_SPAN_ARGS(request->trace_id));
    answer(request, base_span_str(body), false);
}

static void handle_part(struct http_request *request)
{
    called(request);
    answer(request, request->params[0], false);
}

static const struct http_route routes[] = {
    {HTTP_GET, "/sync", handle_sync, 0, PEER_MASK, "sync"},
    {HTTP_POST, "/echo", handle_echo, 1024, PEER_MASK, "echo"},
    {HTTP_GET, "/soon", handle_soon, 0, PEER_MASK, "soon"},
    {HTTP_GET, "/later", handle_later, 0, PEER_MASK, "later"},
    {HTTP_GET, "/hold", handle_hold, 0, PEER_MASK, "hold"},
    {HTTP_GET, "/big", handle_big, 0, PEER_MASK, "big"},
    {HTTP_GET, "/close", handle_close, 0, PEER_MASK, "close"},
    {HTTP_GET, "/who", handle_who, 0, PEER_MASK, "who"},
    {HTTP_GET, "/part/{}", handle_part, 0, PEER_MASK, "part"},
    {HTTP_GET, "/elsewhere", handle_sync, 0, PEER_MASK << 1, "elsewhere"},
};

/* Reports */

static void note(struct peer *peer, int status, const char *reason)
{
    peer->last_status = status;
    snprintf(peer->last_reason, sizeof peer->last_reason, "%s", reason ? reason : "");
}

static void on_reply(void *data, const struct http_request *request, const struct http_reply *reply,
                     int64_t duration_us)
{
    struct peer *peer = data;

    assert_true(duration_us >= 0);
    assert_true(request->request_id[0]);
    peer->n_replies++;
    peer->last_client = request->client;
    note(peer, reply->status, reply->reason);
}

static void on_refused(void *data, const struct http_address *address, int status,
                       const char *reason)
{
    struct peer *peer = data;

    assert_true(address->port != 0);
    peer->n_refused++;
    note(peer, status, reason);
}

static void on_warning(void *data, const char *what, uint64_t suppressed BASE_UNUSED)
{
    struct peer *peer = data;

    peer->n_warnings++;
    note(peer, 0, what);
}

static void error_reply(void *data BASE_UNUSED, const struct http_request *request BASE_UNUSED,
                        struct base_span target BASE_UNUSED, int status, const char *allow,
                        struct http_reply *reply)
{
    static char headers[128], body[64];

    headers[0] = '\0';
    if (allow)
        snprintf(headers, sizeof headers, "Allow: %s\r\n", allow);
    snprintf(body, sizeof body, "{\"status\":%d}", status);
    reply->content_type = "application/json";
    reply->headers = base_span_str(headers);
    reply->body = base_span_str(body);
}

/* The server */

void peer_init(struct peer *peer)
{
    signal(SIGPIPE, SIG_IGN);
    *peer = (struct peer){
        .base = event_base_new(),
        .shared = {.max_connections = 1000},
        .options = {.routes = routes,
                    .n_routes = BASE_COUNT(routes),
                    .header_timeout_us = PATIENCE_US,
                    .body_timeout_us = PATIENCE_US,
                    .idle_timeout_us = PATIENCE_US,
                    .tls_timeout_us = PATIENCE_US,
                    .drain_idle_us = PATIENCE_US,
                    .authority = BASE_SPAN("issuer.example"),
                    .events = {on_reply, on_refused, on_warning},
                    .error_reply = error_reply},
    };
}

void peer_start(struct peer *peer, struct ssl_ctx_st *tls)
{
    static const struct http_address any_port = {AF_INET, {127, 0, 0, 1}, 0};
    struct base_buf why;

    base_buf_init(&why, 1024);
    peer->options.shared = &peer->shared;
    peer->options.data = peer;
    peer->server = http_server_new(peer->base, &peer->options);
    assert_non_null(peer->server);
    assert_int_equal(
        http_server_listen(peer->server, &any_port, PEER_MASK, tls, &peer->address, &why), BASE_OK);
    assert_true(peer->address.port != 0);
    base_buf_clear(&why);
}

void peer_open(struct peer *peer)
{
    peer_init(peer);
    peer_start(peer, NULL);
}

void peer_close(struct peer *peer)
{
    while (peer->n_held > 0)
        peer_release(peer);
    http_server_free(&peer->server);
    event_base_free(peer->base);
    assert_int_equal(peer->shared.connections, 0);
}

void peer_turn(struct peer *peer, int64_t *deadline_us)
{
    int64_t now_us = base_clock_mono_us();

    if (*deadline_us == 0)
        *deadline_us = now_us + PATIENCE_US;
    if (now_us > *deadline_us)
        fail_msg("waited in vain");
    event_base_loop(peer->base, EVLOOP_NONBLOCK);
}

static void nap(void)
{
    poll(NULL, 0, 1);
}

void peer_await(struct peer *peer, const size_t *value, size_t want)
{
    int64_t deadline_us = 0;

    while (*value != want) {
        peer_turn(peer, &deadline_us);
        if (*value != want)
            nap();
    }
}

void peer_await_connections(struct peer *peer, size_t want)
{
    int64_t deadline_us = 0;

    while (http_server_connections(peer->server) != want) {
        peer_turn(peer, &deadline_us);
        nap();
    }
}

void peer_turn_for(struct peer *peer, int ms)
{
    int64_t end_us = base_clock_mono_us() + ms * BASE_US_PER_MS, deadline_us = 0;

    while (base_clock_mono_us() < end_us) {
        peer_turn(peer, &deadline_us);
        nap();
    }
}

void peer_release(struct peer *peer)
{
    struct http_request *request;

    assert_true(peer->n_held > 0);
    request = peer->held[0];
    peer->n_held--;
    memmove(peer->held, peer->held + 1, peer->n_held * sizeof *peer->held);
    answer(request, request->head.query, false);
}

/* Clients */

int peer_dial(struct peer *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(peer->address.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void peer_say_bytes(struct peer *peer, int fd, const char *bytes, size_t len)
{
    int64_t deadline_us = 0;

    while (len > 0) {
        ssize_t sent = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent > 0) {
            bytes += sent;
            len -= (size_t)sent;
        } else {
            assert_int_equal(errno, EAGAIN);
        }
        peer_turn(peer, &deadline_us);
    }
}

void peer_say(struct peer *peer, int fd, const char *text)
{
    peer_say_bytes(peer, fd, text, strlen(text));
}

/* Reads `len` bytes; false at the end of the stream. */
static bool read_fully(struct peer *peer, int fd, char *out, size_t len)
{
    int64_t deadline_us = 0;

    while (len > 0) {
        ssize_t got = recv(fd, out, len, MSG_DONTWAIT);

        if (got == 0)
            return false;
        if (got > 0) {
            out += got;
            len -= (size_t)got;
            deadline_us = 0;
        } else if (errno != EAGAIN) {
            fail_msg("reading failed: %s", strerror(errno));
        } else {
            peer_turn(peer, &deadline_us);
            poll(&(struct pollfd){fd, POLLIN, 0}, 1, 1);
        }
    }
    return true;
}

static size_t content_length(const char *head)
{
    const char *at = strstr(head, "\r\nContent-Length: ");

    return at ? strtoul(at + strlen("\r\nContent-Length: "), NULL, 10) : 0;
}

void peer_hear(struct peer *peer, int fd, struct peer_reply *reply, bool no_body)
{
    size_t len = 0;

    free(reply->body);
    do {
        assert_true(len < sizeof reply->head - 1);
        if (!read_fully(peer, fd, reply->head + len, 1))
            fail_msg("end of stream instead of a reply, after %zu bytes", len);
        reply->head[++len] = '\0';
    } while (len < 4 || strcmp(reply->head + len - 4, "\r\n\r\n") != 0);
    assert_memory_equal(reply->head, "HTTP/1.1 ", 9);
    reply->status = atoi(reply->head + 9);
    reply->body_len = no_body ? 0 : content_length(reply->head);
    reply->body = malloc(reply->body_len + 1);
    assert_true(read_fully(peer, fd, reply->body, reply->body_len));
    reply->body[reply->body_len] = '\0';
}

const struct peer_reply *peer_ask(struct peer *peer, int fd, const char *text, int status)
{
    static struct peer_reply reply;

    peer_say(peer, fd, text);
    peer_hear(peer, fd, &reply, false);
    assert_int_equal(reply.status, status);
    return &reply;
}

void peer_expect_end(struct peer *peer, int fd)
{
    char byte;

    if (read_fully(peer, fd, &byte, 1))
        fail_msg("a byte (%c) instead of the end of stream", byte);
    close(fd);
}

void peer_expect_silence(struct peer *peer, int fd, int ms)
{
    char byte;

    peer_turn_for(peer, ms);
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

void peer_reset(int fd)
{
    struct linger now = {1, 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}
