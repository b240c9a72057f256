/* SPDX-License-Identifier: Apache-2.0 */
/* What one plain connection says and does, seen from the client's socket. */
#include "http_peer.h"

#include "base_clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST      "Host: issuer.example\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" HOST "\r\n"
#define SHORT_US  (300 * INT64_C(1000))
#define MANY      10000

/* Most tests: a fresh server with long timeouts. */
static int open_peer(void **state)
{
    struct peer *peer = malloc(sizeof *peer);

    peer_open(peer);
    *state = peer;
    return 0;
}

/* Where the timeouts themselves are looked at. */
static int open_hasty_peer(void **state)
{
    struct peer *peer = malloc(sizeof *peer);

    peer_init(peer);
    peer->options.header_timeout_us = SHORT_US;
    peer->options.body_timeout_us = SHORT_US;
    peer->options.idle_timeout_us = SHORT_US;
    peer_start(peer, NULL);
    *state = peer;
    return 0;
}

static int close_peer(void **state)
{
    peer_close(*state);
    free(*state);
    return 0;
}

static void assert_closing(const struct peer_reply *reply)
{
    assert_non_null(strstr(reply->head, "\r\nConnection: close\r\n"));
}

static void assert_keeping(const struct peer_reply *reply)
{
    assert_null(strstr(reply->head, "\r\nConnection:"));
}

/* Still good for another request. */
static void assert_alive(struct peer *peer, int fd)
{
    assert_string_equal(peer_ask(peer, fd, GET("/sync"), 200)->body, "sync");
}

static void test_keep_alive(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    for (size_t i = 1; i <= 3; i++) {
        assert_keeping(peer_ask(peer, fd, GET("/sync"), 200));
        assert_int_equal(peer->n_replies, i);
    }
    assert_int_equal(http_server_connections(peer->server), 1);
    assert_int_equal(peer->shared.connections, 1);
    close(fd);
    peer_await_connections(peer, 0);
    assert_int_equal(peer->n_refused, 0);
}

static void test_close(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    assert_closing(
        peer_ask(peer, fd, "GET /sync HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", 200));
    peer_expect_end(peer, fd);
    fd = peer_dial(peer);
    assert_closing(peer_ask(peer, fd, GET("/close") GET("/sync"), 200));
    peer_expect_end(peer, fd); /* what was pipelined behind is not answered */
    peer_await_connections(peer, 0);
    assert_int_equal(peer->n_calls, 2);
}

static void test_http_1_0(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);
    const struct peer_reply *reply;

    reply = peer_ask(peer, fd, "GET /sync HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200);
    assert_non_null(strstr(reply->head, "\r\nConnection: keep-alive\r\n"));
    assert_closing(peer_ask(peer, fd, "GET /sync HTTP/1.0\r\n\r\n", 200));
    peer_expect_end(peer, fd);
}

static void test_head(void **state)
{
    struct peer *peer = *state;
    struct peer_reply reply = {0};
    int fd = peer_dial(peer);

    peer_say(peer, fd, "HEAD /sync HTTP/1.1\r\n" HOST "\r\n");
    peer_hear(peer, fd, &reply, true);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.head, "\r\nContent-Length: 4\r\n"));
    assert_alive(peer, fd);
    close(fd);
    free(reply.body);
}

/* Handlers that answer at once, in the next turn and later, all in one write. */
static void test_pipelining(void **state)
{
    struct peer *peer = *state;
    static const char *const bodies[] = {"1", "sync", "2", "sync", "3", "echo", "4"};
    struct peer_reply reply = {0};
    int fd = peer_dial(peer);

    peer_say(peer, fd,
             GET("/later?1") GET("/sync") GET("/soon?2") GET("/sync")
                 GET("/later?3") "POST /echo HTTP/1.1\r\n" HOST
                                 "Content-Length: 4\r\n\r\necho" GET("/soon?4"));
    for (size_t i = 0; i < BASE_COUNT(bodies); i++) {
        peer_hear(peer, fd, &reply, false);
        assert_int_equal(reply.status, 200);
        assert_string_equal(reply.body, bodies[i]);
    }
    free(reply.body);
    close(fd);
}

static void test_one_at_a_time(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_say(peer, fd, GET("/hold?a") GET("/hold?b"));
    peer_await(peer, &peer->n_calls, 1);
    peer_expect_silence(peer, fd, 30);
    assert_int_equal(peer->n_calls, 1);
    peer_release(peer);
    assert_int_equal(peer->n_calls, 1); /* not from within the reply */
    peer_await(peer, &peer->n_calls, 2);
    peer_release(peer);
    assert_string_equal(peer_ask(peer, fd, "", 200)->body, "a");
    assert_string_equal(peer_ask(peer, fd, "", 200)->body, "b");
    close(fd);
}

/* Far more than is read ahead, so reading stops and goes on; no recursion, no growth. */
static void pipeline_many(struct peer *peer, const char *request)
{
    size_t len = strlen(request), sent = 0;
    char *all = malloc(len * MANY);
    struct peer_reply reply = {0};
    int fd = peer_dial(peer);

    for (size_t i = 0; i < MANY; i++)
        memcpy(all + i * len, request, len);
    for (size_t heard = 0; heard < MANY;) {
        ssize_t n = send(fd, all + sent, len * MANY - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        size_t sure = (sent += n > 0 ? (size_t)n : 0) / len;

        for (; heard < sure; heard++) {
            peer_hear(peer, fd, &reply, false);
            assert_int_equal(reply.status, 200);
        }
    }
    assert_int_equal(peer->n_calls, MANY);
    free(all);
    free(reply.body);
    close(fd);
}

static void test_ten_thousand(void **state)
{
    pipeline_many(*state, GET("/sync"));
}

static void test_ten_thousand_async(void **state)
{
    pipeline_many(*state, GET("/soon?x"));
}

/* A request that waits, and as much behind it as the client can send: it cannot send it all. */
static void test_reads_no_further(void **state)
{
    static const size_t all = 64 * 1024 * 1024, piece = 64 * 1024;
    struct peer *peer = *state;
    char *zeros = calloc(1, piece);
    size_t sent = 0;
    int fd = peer_dial(peer);

    peer_say(peer, fd, GET("/hold?x"));
    peer_await(peer, &peer->n_held, 1);
    for (int full = 0; full < 100 && sent < all; full++) {
        ssize_t len;

        while (sent < all && (len = send(fd, zeros, piece, MSG_DONTWAIT)) > 0)
            sent += (size_t)len;
        peer_turn_for(peer, 1);
    }
    assert_true(sent < all);
    peer_release(peer);
    assert_string_equal(peer_ask(peer, fd, "", 200)->body, "x");
    peer_ask(peer, fd, "", 400);
    close(fd);
    free(zeros);
}

static void test_split(void **state)
{
    static const char text[] =
        "\r\nPOST /echo?q HTTP/1.1\r\n" HOST
        "Content-Length: 5\r\n\r\nhelloGET /part/a%20b HTTP/1.1\r\n" HOST "\r\n";
    struct peer *peer = *state;
    struct peer_reply reply = {0};
    int fd = peer_dial(peer);

    for (size_t i = 0; i < sizeof text - 1; i++)
        peer_say_bytes(peer, fd, text + i, 1);
    peer_hear(peer, fd, &reply, false);
    assert_string_equal(reply.body, "hello");
    peer_hear(peer, fd, &reply, false);
    assert_string_equal(reply.body, "a b");
    close(fd);
    free(reply.body);
}

static void test_chunked(void **state)
{
    static const char text[] = "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                               "3;ext=\"a\"\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n";
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    assert_string_equal(peer_ask(peer, fd, text, 200)->body, "abcde");
    for (size_t i = 0; i < sizeof text - 1; i++)
        peer_say_bytes(peer, fd, text + i, 1);
    assert_string_equal(peer_ask(peer, fd, "", 200)->body, "abcde");
    assert_alive(peer, fd);
    close(fd);
}

static void test_chunked_refused(void **state)
{
    static const struct {
        const char *body;
        int status;
    } cases[] = {
        {"0x3\r\nabc\r\n0\r\n\r\n", 400}, {"+3\r\nabc\r\n0\r\n\r\n", 400},
        {"3\nabc\r\n0\r\n\r\n", 400},     {"3\r\nabcX\r\n0\r\n\r\n", 400},
        {"401\r\n", 200 /* not yet */},   {"11111111111111111\r\n", 413},
    };
    struct peer *peer = *state;

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        int fd = peer_dial(peer);

        peer_say(peer, fd, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
        if (cases[i].status == 200) {
            char data[1025];

            peer_say(peer, fd, cases[i].body);
            memset(data, 'x', sizeof data);
            peer_say_bytes(peer, fd, data, sizeof data);
            assert_closing(peer_ask(peer, fd, "\r\n0\r\n\r\n", 413));
        } else {
            assert_closing(peer_ask(peer, fd, cases[i].body, cases[i].status));
        }
        peer_expect_end(peer, fd);
    }
    assert_int_equal(peer->n_calls, 0);
    assert_int_equal(peer->n_replies, BASE_COUNT(cases));
}

#define EXPECTING(method, path, len)                                                               \
    method " " path " HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: " len "\r\n\r\n"

static void test_continue(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    assert_string_equal(peer_ask(peer, fd, EXPECTING("POST", "/echo", "5"), 100)->head,
                        "HTTP/1.1 100 Continue\r\n\r\n");
    assert_string_equal(peer_ask(peer, fd, "hello", 200)->body, "hello");
    /* The body is here already: nothing to wait for. */
    assert_string_equal(peer_ask(peer, fd, EXPECTING("POST", "/echo", "5") "again", 200)->body,
                        "again");
    assert_keeping(peer_ask(peer, fd, EXPECTING("GET", "/sync", "0"), 200));
    assert_closing(peer_ask(peer, fd, EXPECTING("POST", "/echo", "1025"), 413));
    peer_expect_end(peer, fd);
    fd = peer_dial(peer);
    assert_closing(peer_ask(peer, fd, EXPECTING("POST", "/nowhere", "5"), 404));
    peer_expect_end(peer, fd);
}

static void test_not_found(void **state)
{
    struct peer *peer = *state;
    const struct peer_reply *reply;
    int fd = peer_dial(peer);

    reply = peer_ask(peer, fd, GET("/nowhere"), 404);
    assert_keeping(reply);
    assert_string_equal(reply->body, "{\"status\":404}");
    assert_keeping(peer_ask(peer, fd, GET("//sync"), 404));
    assert_keeping(peer_ask(peer, fd, GET("/elsewhere"), 404)); /* on another listener */
    assert_keeping(peer_ask(
        peer, fd, "POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nGET /", 404));
    assert_keeping(peer_ask(peer, fd,
                            "POST /nowhere HTTP/1.1\r\n" HOST
                            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                            404));
    assert_alive(peer, fd);
    assert_closing(
        peer_ask(peer, fd, "POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 16385\r\n\r\n", 404));
    peer_expect_end(peer, fd);
    assert_int_equal(peer->n_replies, 7);
    assert_int_equal(peer->n_refused, 0);
}

static void test_other_method(void **state)
{
    struct peer *peer = *state;
    const struct peer_reply *reply;
    int fd = peer_dial(peer);

    reply = peer_ask(peer, fd, "DELETE /sync HTTP/1.1\r\n" HOST "\r\n", 405);
    assert_keeping(reply);
    assert_non_null(strstr(reply->head, "\r\nAllow: GET, HEAD\r\n"));
    reply = peer_ask(peer, fd, "BREW /echo HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx", 405);
    assert_non_null(strstr(reply->head, "\r\nAllow: POST\r\n"));
    assert_string_equal(peer->last_reason, "method not allowed");
    assert_alive(peer, fd);
    close(fd);
}

static void test_unwanted_body(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_ask(peer, fd, "GET /sync HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nGET /", 200);
    assert_alive(peer, fd);
    assert_closing(
        peer_ask(peer, fd, "GET /sync HTTP/1.1\r\n" HOST "Content-Length: 16385\r\n\r\n", 413));
    peer_expect_end(peer, fd);
}

static char *repeat(const char *before, char c, size_t count, const char *after)
{
    size_t before_len = strlen(before), after_len = strlen(after);
    char *text = malloc(before_len + count + after_len + 1);

    memcpy(text, before, before_len);
    memset(text + before_len, c, count);
    memcpy(text + before_len + count, after, after_len + 1);
    return text;
}

static void check_refused(struct peer *peer, const char *text, int status)
{
    size_t refused_before = peer->n_refused;
    const struct peer_reply *reply;
    int fd = peer_dial(peer);

    reply = peer_ask(peer, fd, text, status);
    assert_closing(reply);
    assert_non_null(strstr(reply->head, "\r\nContent-Type: application/json\r\n"));
    assert_true(reply->body_len > 0);
    assert_int_equal(peer->n_refused, refused_before + 1);
    assert_int_equal(peer->last_status, status);
    assert_true(peer->last_reason[0]);
    peer_say(peer, fd, GET("/sync")); /* not answered, and no reset */
    peer_expect_end(peer, fd);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"\x16\x03\x01\x02", 400},
        {"GET /sync HTTP/1.1\r\n\r\n", 400},
        {"GET /sync HTTP/1.9\r\n" HOST "\r\n", 505},
        {"GET /../sync HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /sync HTTP/1.1\r\n" HOST
         "Content-Length: 0\r\nContent-Length: 44\r\n\r\n" GET("/hidden"),
         400},
        {"GET /sync HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
        {"GET /sync HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 501},
        {"GET /sync HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", 417},
    };
    struct peer *peer = *state;
    char *text;

    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        check_refused(peer, cases[i].text, cases[i].status);
    check_refused(peer, text = repeat("GET /", 'a', 8192, ""), 414);
    free(text);
    check_refused(peer, text = repeat("GET / HTTP/1.1\r\nX: ", 'a', 16385, ""), 431);
    free(text);
    assert_int_equal(peer->n_replies, 0);
    assert_int_equal(peer->n_calls, 0);
}

static void test_path_not_utf8(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    assert_closing(peer_ask(peer, fd, GET("/part/%ff"), 400));
    peer_expect_end(peer, fd);
}

/* Just within all limits at once. */
static void test_largest_head(void **state)
{
    struct peer *peer = *state;
    char *head = repeat("GET /sync?", 'q', 8192 - strlen("/sync?"), " HTTP/1.1\r\n");
    char *headers = repeat(HOST "X: ", 'h', 16384 - strlen(HOST "X: \r\n"), "\r\n\r\n");
    int fd = peer_dial(peer);

    for (int i = 0; i < 3; i++) {
        peer_say(peer, fd, head);
        assert_keeping(peer_ask(peer, fd, headers, 200));
    }
    close(fd);
    free(head);
    free(headers);
}

/* The client is still sending when it has been answered: it must be able to read why. */
static void test_refused_upload(void **state)
{
    struct peer *peer = *state;
    size_t len = 4 * 1024 * 1024;
    char *data = repeat("", 'x', len, "");
    int fd = peer_dial(peer);

    peer_say(peer, fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4194304\r\n\r\n");
    peer_say_bytes(peer, fd, data, len);
    assert_closing(peer_ask(peer, fd, "", 413));
    assert_string_equal(peer->last_reason, "body too large");
    peer_expect_end(peer, fd);
    free(data);
    fd = peer_dial(peer);
    data = repeat("GET / HTTP/1.1\r\nX: ", 'x', len, "");
    peer_say(peer, fd, data);
    assert_closing(peer_ask(peer, fd, "", 431));
    peer_expect_end(peer, fd);
    free(data);
}

static void test_absolute_form(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_ask(peer, fd, "GET http://issuer.example/sync HTTP/1.1\r\nHost: other\r\n\r\n", 200);
    peer_ask(peer, fd, "GET http://ISSUER.example/sync HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
             200);
    peer_ask(peer, fd, "GET http://other:1/sync HTTP/1.1\r\nHost: OTHER:1\r\n\r\n", 200);
    assert_keeping(
        peer_ask(peer, fd, "GET http://evil.example/sync HTTP/1.1\r\n" HOST "\r\n", 421));
    assert_alive(peer, fd);
    close(fd);
}

static void test_half_close(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_say(peer, fd, GET("/later?1") GET("/sync") GET("/hold?3"));
    shutdown(fd, SHUT_WR);
    assert_string_equal(peer_ask(peer, fd, "", 200)->body, "1");
    assert_string_equal(peer_ask(peer, fd, "", 200)->body, "sync");
    peer_await(peer, &peer->n_held, 1);
    peer_expect_silence(peer, fd, 20);
    peer_release(peer);
    assert_string_equal(peer_ask(peer, fd, "", 200)->body, "3");
    peer_expect_end(peer, fd);
    peer_await_connections(peer, 0);
}

static void test_half_close_in_the_middle(void **state)
{
    static const char *const texts[] = {"GET /sync", "POST /echo HTTP/1.1\r\n" HOST
                                                     "Content-Length: 5\r\n\r\nhell"};
    struct peer *peer = *state;

    for (size_t i = 0; i < BASE_COUNT(texts); i++) {
        int fd = peer_dial(peer);

        peer_say(peer, fd, texts[i]);
        shutdown(fd, SHUT_WR);
        peer_expect_end(peer, fd);
        assert_int_equal(peer->n_refused, i + 1);
        assert_int_equal(peer->last_status, 0);
    }
    assert_int_equal(peer->n_replies, 0);
}

static void test_big_half_closed(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_say(peer, fd, GET("/big"));
    shutdown(fd, SHUT_WR);
    assert_int_equal(peer_ask(peer, fd, "", 200)->body_len, PEER_BIG);
    peer_expect_end(peer, fd);
}

static void test_gone_while_pending(void **state)
{
    struct peer *peer = *state;
    int reset_fd = peer_dial(peer), closed_fd = peer_dial(peer);

    peer_say(peer, reset_fd, GET("/hold?a") GET("/sync"));
    peer_say(peer, closed_fd, GET("/hold?b"));
    peer_await(peer, &peer->n_held, 2);
    peer_reset(reset_fd);
    peer_await_connections(peer, 1);
    close(closed_fd);
    peer_turn_for(peer, 20);
    peer_release(peer);
    peer_release(peer);
    peer_await(peer, &peer->n_replies, 2); /* reported all the same */
    peer_await_connections(peer, 0);
    assert_int_equal(peer->n_calls, 2);
    assert_int_equal(peer->n_refused, 0);
}

static void test_reset_while_writing(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_say(peer, fd, GET("/big"));
    peer_await(peer, &peer->n_replies, 1);
    peer_reset(fd);
    peer_await_connections(peer, 0);
}

static void test_big(void **state)
{
    struct peer *peer = *state;
    const struct peer_reply *reply;
    int fd = peer_dial(peer);

    for (int i = 0; i < 2; i++) {
        reply = peer_ask(peer, fd, GET("/big"), 200);
        assert_int_equal(reply->body_len, PEER_BIG);
        for (size_t j = 0; j < PEER_BIG; j++)
            if (reply->body[j] != (char)('a' + j % 23))
                fail_msg("wrong at %zu", j);
    }
    close(fd);
}

/* What is read ahead is the connection's own, however often it is used up and comes again, and
 * whatever others read meanwhile. */
static void test_left_over(void **state)
{
    static const char stranger[] = GET("/part/stranger-stranger-stranger-stranger-stranger");
    struct peer *peer = *state;
    int fd = peer_dial(peer), other = peer_dial(peer);

    /* The end of a big reply is told by the socket, and what was left over is used up then. */
    peer_say(peer, fd, GET("/big") GET("/part/one"));
    peer_await(peer, &peer->n_calls, 1);
    assert_int_equal(peer_ask(peer, fd, "", 200)->body_len, PEER_BIG);
    assert_string_equal(peer_ask(peer, fd, "", 200)->body, "one");
    for (int round = 0; round < 3; round++) {
        peer_say(peer, fd, GET("/hold?x") GET("/part/two") GET("/part/three"));
        peer_await(peer, &peer->n_held, 1);
        peer_ask(peer, other, stranger, 200);
        peer_say(peer, fd, GET("/part/four"));
        peer_ask(peer, other, stranger, 200);
        peer_release(peer);
        assert_string_equal(peer_ask(peer, fd, "", 200)->body, "x");
        assert_string_equal(peer_ask(peer, fd, "", 200)->body, "two");
        assert_string_equal(peer_ask(peer, fd, "", 200)->body, "three");
        assert_string_equal(peer_ask(peer, fd, "", 200)->body, "four");
    }
    close(other);
    close(fd);
}

/* A client that asks and asks, but does not read, is given one reply. */
static void test_never_reads(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer), small = 64 * 1024;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small); /* else all of it might fit */
    peer_say(peer, fd, GET("/big") GET("/big") GET("/big") GET("/big") GET("/big"));
    peer_await_connections(peer, 0);
    assert_int_equal(peer->n_calls, 1);
    assert_int_equal(peer->last_status, 0);
    assert_string_equal(peer->last_reason, "reply was not read");
    close(fd);
}

static void test_silent(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_expect_end(peer, fd);
    assert_int_equal(peer->n_refused, 1);
    assert_int_equal(peer->last_status, 0);
}

/* One byte now and then. Returns how long the server stood it. */
static int64_t drip(struct peer *peer, int fd, const char *text)
{
    int64_t start_us = base_clock_mono_us();

    while (*text && peer->n_refused + peer->n_replies == 0) {
        peer_say_bytes(peer, fd, text++, 1);
        peer_turn_for(peer, 20);
    }
    return base_clock_mono_us() - start_us;
}

static void assert_in_time(int64_t took_us)
{
    assert_in_range(took_us, SHORT_US - 50000, SHORT_US + 1000000);
}

static void test_dripped_head(void **state)
{
    struct peer *peer = *state;
    char *text = repeat("GET /", 'a', 1000, "");
    int fd = peer_dial(peer);

    assert_in_time(drip(peer, fd, text));
    assert_closing(peer_ask(peer, fd, "", 408));
    assert_int_equal(peer->n_refused, 1);
    peer_expect_end(peer, fd);
    free(text);
}

static void test_dripped_body(void **state)
{
    struct peer *peer = *state;
    char *text = repeat("", 'a', 1000, "");
    int fd = peer_dial(peer);

    peer_say(peer, fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n");
    assert_in_time(drip(peer, fd, text));
    assert_closing(peer_ask(peer, fd, "", 408));
    assert_int_equal(peer->n_replies, 1);
    peer_expect_end(peer, fd);
    free(text);
}

/* The second head has its own time, from its first byte. */
static void test_idle(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    assert_alive(peer, fd);
    peer_turn_for(peer, 200);
    peer_say(peer, fd, "GET /syn");
    peer_turn_for(peer, 200);
    assert_keeping(peer_ask(peer, fd, "c HTTP/1.1\r\n" HOST "\r\n", 200));
    peer_expect_end(peer, fd);
    assert_int_equal(peer->n_refused, 0);
}

/* The handler's time is its own. */
static void test_slow_handler(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_say(peer, fd, GET("/hold?x"));
    peer_await(peer, &peer->n_held, 1);
    peer_expect_silence(peer, fd, 600);
    peer_release(peer);
    assert_string_equal(peer_ask(peer, fd, "", 200)->body, "x");
    close(fd);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, open_peer, close_peer)
#define HASTY_TEST(name) cmocka_unit_test_setup_teardown(name, open_hasty_peer, close_peer)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_keep_alive),
        TEST(test_close),
        TEST(test_http_1_0),
        TEST(test_head),
        TEST(test_pipelining),
        TEST(test_one_at_a_time),
        TEST(test_ten_thousand),
        TEST(test_ten_thousand_async),
        TEST(test_reads_no_further),
        TEST(test_split),
        TEST(test_chunked),
        TEST(test_chunked_refused),
        TEST(test_continue),
        TEST(test_not_found),
        TEST(test_other_method),
        TEST(test_unwanted_body),
        TEST(test_refused),
        TEST(test_path_not_utf8),
        TEST(test_largest_head),
        TEST(test_refused_upload),
        TEST(test_absolute_form),
        TEST(test_half_close),
        TEST(test_half_close_in_the_middle),
        TEST(test_big_half_closed),
        TEST(test_gone_while_pending),
        TEST(test_reset_while_writing),
        TEST(test_big),
        TEST(test_left_over),
        HASTY_TEST(test_never_reads),
        HASTY_TEST(test_silent),
        HASTY_TEST(test_dripped_head),
        HASTY_TEST(test_dripped_body),
        HASTY_TEST(test_idle),
        HASTY_TEST(test_slow_handler),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
