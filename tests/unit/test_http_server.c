/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners, the cap, descriptor shortage, draining. */
#include "base_clock.h"
#include "http_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: issuer.example\r\n\r\n"

static int open_peer(void **state)
{
    struct peer *peer = malloc(sizeof *peer);

    peer_init(peer);
    peer->options.drain_idle_us = 300 * BASE_US_PER_MS;
    peer->shared.max_connections = 3;
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

static void on_drained(void *data)
{
    struct peer *peer = data;

    peer->n_drained++;
}

static void check_in_use(struct peer *peer, const struct http_address *address)
{
    struct http_address bound;
    char sentence[64];
    BASE_AUTO(base_buf_clear) struct base_buf why;

    base_buf_init(&why, 256);
    snprintf(sentence, sizeof sentence, "address 127.0.0.1:%u is in use", address->port);
    assert_int_equal(http_server_listen(peer->server, address, PEER_MASK, NULL, &bound, &why),
                     BASE_CONFLICT);
    assert_string_equal(base_buf_cstr(&why), sentence);
}

static void test_in_use(void **state)
{
    struct http_address taken = {AF_INET, {127, 0, 0, 1}, 0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    taken.port = ntohs(address.sin_port);
    check_in_use(*state, &taken);
    close(fd);
}

/* Our own listeners would not be in each other's way; another instance's must be. */
static void test_address_free(void **state)
{
    struct peer *peer = *state;
    struct http_address port = peer->address;
    BASE_AUTO(base_buf_clear) struct base_buf why;

    base_buf_init(&why, 256);
    assert_false(http_server_address_free(&port, &why));
    assert_non_null(strstr(base_buf_cstr(&why), "is in use"));
    http_server_free(&peer->server);
    assert_true(http_server_address_free(&port, &why));
}

static void test_not_ours(void **state)
{
    static const struct http_address address = {AF_INET, {192, 0, 2, 1}, 8080};
    struct peer *peer = *state;
    struct http_address bound;
    BASE_AUTO(base_buf_clear) struct base_buf why;

    base_buf_init(&why, 256);
    assert_int_equal(http_server_listen(peer->server, &address, PEER_MASK, NULL, &bound, &why),
                     BASE_IO);
    assert_string_equal(base_buf_cstr(&why), "address 192.0.2.1:8080 is not one of this machine's");
}

/* As the workers do it. */
static void test_shared_port(void **state)
{
    struct peer *peer = *state;
    struct http_server *second = http_server_new(peer->base, &peer->options);
    struct http_address bound;
    struct base_buf why = {0};

    assert_int_equal(http_server_listen(second, &peer->address, PEER_MASK, NULL, &bound, &why),
                     BASE_OK);
    assert_int_equal(bound.port, peer->address.port);
    for (int i = 0; i < 8; i++) {
        int fd = peer_dial(peer);

        peer_ask(peer, fd, GET("/close"), 200);
        peer_expect_end(peer, fd);
    }
    http_server_free(&second);
}

/* [::] means IPv4 as well, and such a client is an IPv4 client. */
static void test_dual(void **state)
{
    static const struct http_address any = {.family = AF_INET6};
    struct peer *peer = *state;
    struct base_buf why = {0};
    int fd;

    base_buf_init(&why, 256);
    if (http_server_listen(peer->server, &any, PEER_MASK, NULL, &peer->address, &why) != BASE_OK) {
        base_buf_clear(&why);
        skip(); /* no IPv6 here */
    }
    fd = peer_dial(peer);
    assert_memory_equal(peer_ask(peer, fd, GET("/who"), 200)->body, "127.0.0.1 ", 10);
    assert_int_equal(peer->last_client.family, AF_INET);
    close(fd);
    base_buf_clear(&why);
}

static void test_mask(void **state)
{
    static const struct http_address any_port = {AF_INET, {127, 0, 0, 1}, 0};
    struct peer *peer = *state;
    struct base_buf why = {0};
    int fd;

    assert_int_equal(
        http_server_listen(peer->server, &any_port, PEER_MASK << 1, NULL, &peer->address, &why),
        BASE_OK);
    fd = peer_dial(peer);
    peer_ask(peer, fd, GET("/elsewhere"), 200);
    peer_ask(peer, fd, GET("/sync"), 404);
    close(fd);
}

/* The newest is closed; a place that has become free is given away again. */
static void test_cap(void **state)
{
    struct peer *peer = *state;
    int fds[5];
    char byte;

    for (int i = 0; i < 3; i++) {
        fds[i] = peer_dial(peer);
        peer_ask(peer, fds[i], GET("/sync"), 200);
    }
    for (int i = 3; i < 5; i++) {
        fds[i] = peer_dial(peer);
        peer_turn_for(peer, 10);
        assert_int_equal(recv(fds[i], &byte, 1, MSG_DONTWAIT), 0);
        close(fds[i]);
    }
    assert_int_equal(peer->n_warnings, 1);
    assert_int_equal(http_server_connections(peer->server), 3);
    peer_ask(peer, fds[0], GET("/sync"), 200);
    close(fds[1]);
    peer_await_connections(peer, 2);
    fds[1] = peer_dial(peer);
    peer_ask(peer, fds[1], GET("/sync"), 200);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

/* Descriptors of this process up to the limit; returns how many. */
static int use_up_descriptors(int *fds, int max)
{
    int count = 0;

    while (count < max && (fds[count] = open("/dev/null", O_RDONLY)) >= 0)
        count++;
    assert_true(errno == EMFILE);
    return count;
}

/* How many of them have seen the end of the stream. */
static size_t count_ended(const int *fds, size_t count)
{
    size_t ended = 0;
    char byte;

    for (size_t i = 0; i < count; i++)
        ended += recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0;
    return ended;
}

/* One is turned away, then there is a pause. */
static void test_descriptors(void **state)
{
    enum { N_WAITING = 8 };
    struct peer *peer = *state;
    struct rlimit before, few = {64, 64};
    int early = peer_dial(peer), waiting[N_WAITING], fds[64], count;

    peer_ask(peer, early, GET("/sync"), 200);
    for (int i = 0; i < N_WAITING; i++)
        waiting[i] = peer_dial(peer);
    getrlimit(RLIMIT_NOFILE, &before);
    few.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_NOFILE, &few);
    count = use_up_descriptors(fds, 64);
    for (int i = 0; i < 20; i++)
        event_base_loop(peer->base, EVLOOP_NONBLOCK);
    assert_int_equal(count_ended(waiting, N_WAITING), 1);
    peer_ask(peer, early, GET("/sync"), 200);
    peer_turn_for(peer, 350);
    assert_in_range(count_ended(waiting, N_WAITING), 2, 5);
    assert_int_equal(peer->n_warnings, 1);

    while (count > 0)
        close(fds[--count]);
    setrlimit(RLIMIT_NOFILE, &before);
    peer_turn_for(peer, 300);
    assert_int_equal(http_server_connections(peer->server), 3); /* the cap */
    for (int i = 0; i < N_WAITING; i++)
        close(waiting[i]);
    close(early);
}

static void test_drain(void **state)
{
    struct peer *peer = *state;
    int idle = peer_dial(peer), busy = peer_dial(peer), fresh = peer_dial(peer), fd;
    int64_t start_us;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(peer->address.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    peer_ask(peer, idle, GET("/sync"), 200);
    peer_say(peer, busy, GET("/hold?x"));
    peer_await(peer, &peer->n_held, 1);
    start_us = base_clock_mono_us();
    http_server_drain(peer->server, on_drained, peer);

    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    /* What arrives on an open connection is answered, for the last time. */
    assert_non_null(strstr(peer_ask(peer, idle, GET("/sync"), 200)->head, "Connection: close"));
    peer_expect_end(peer, idle);
    peer_expect_end(peer, fresh);
    assert_in_range(base_clock_mono_us() - start_us, 250000, 1500000);
    peer_expect_silence(peer, busy, 200);
    assert_int_equal(peer->n_drained, 0);
    peer_release(peer);
    assert_non_null(strstr(peer_ask(peer, busy, "", 200)->head, "Connection: close"));
    peer_expect_end(peer, busy);
    peer_await(peer, &peer->n_drained, 1);
    assert_int_equal(http_server_connections(peer->server), 0);
    peer_turn_for(peer, 20);
    assert_int_equal(peer->n_drained, 1);
}

/* Connected as far as the client knows, not yet accepted by us. */
static void test_drain_backlog(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    assert_int_equal(send(fd, GET("/sync"), strlen(GET("/sync")), 0), strlen(GET("/sync")));
    http_server_drain(peer->server, on_drained, peer);
    peer_ask(peer, fd, "", 200);
    peer_expect_end(peer, fd);
    peer_await(peer, &peer->n_drained, 1);
}

static void test_drain_nothing(void **state)
{
    struct peer *peer = *state;

    http_server_drain(peer->server, on_drained, peer);
    assert_int_equal(peer->n_drained, 0); /* later, never before it has returned */
    peer_await(peer, &peer->n_drained, 1);
}

/* The client has gone, its request has not: not drained yet. */
static void test_drain_parted(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_say(peer, fd, GET("/hold?x"));
    peer_await(peer, &peer->n_held, 1);
    peer_reset(fd);
    peer_await_connections(peer, 0);
    http_server_drain(peer->server, on_drained, peer);
    peer_turn_for(peer, 20);
    assert_int_equal(peer->n_drained, 0);
    peer_release(peer);
    peer_await(peer, &peer->n_drained, 1);
}

/* http_server_free() with connections in every state. */
static void test_free_open(void **state)
{
    struct peer *peer = *state;
    int fds[3];

    for (int i = 0; i < 3; i++)
        fds[i] = peer_dial(peer);
    peer_ask(peer, fds[0], GET("/sync"), 200);
    peer_say(peer, fds[1], "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    peer_say(peer, fds[2], GET("/big"));
    peer_await(peer, &peer->n_calls, 2);
    http_server_free(&peer->server);
    assert_null(peer->server);
    http_server_free(&peer->server);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_peer, close_peer)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_in_use),        TEST(test_address_free),  TEST(test_not_ours),
        TEST(test_shared_port),   TEST(test_dual),          TEST(test_mask),
        TEST(test_cap),           TEST(test_descriptors),   TEST(test_drain),
        TEST(test_drain_backlog), TEST(test_drain_nothing), TEST(test_drain_parted),
        TEST(test_free_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
