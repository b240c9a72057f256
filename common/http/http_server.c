/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners: who may come in. What happens to those who have is http_conn.c's.
 *
 * Each worker binds its own socket to the same address (SO_REUSEPORT) and the kernel spreads the
 * connections, so that no lock and no thundering herd is needed.
 *
 * When the process has no descriptor left, the kernel would report the waiting connection again and
 * again: so the listener pauses. A descriptor kept in reserve lets us take one such connection and
 * end it, so that at least its client learns, instead of waiting in the backlog. */
#include "http_server.h"

#include "base_log.h"
#include "base_mem.h"
#include "http_conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define BACKLOG  1024
#define PAUSE_US (100 * BASE_US_PER_MS)

struct listener {
    struct listener *next;
    struct http_server *server;
    struct evconnlistener *ev;
    unsigned mask;
    SSL_CTX *tls; /* NULL: plain */
};

struct http_server {
    struct http_loop loop;
    struct listener *listeners;
    int spare_fd;
    int64_t paused_until_us; /* 0: not paused */
    struct base_log_gate cap_gate, accept_gate;
    void (*drained)(void *data);
    void *drained_data;
};

static void warn(struct http_server *server, struct base_log_gate *gate, const char *what)
{
    const struct http_server_options *options = &server->loop.options;
    uint64_t suppressed;

    if (options->events.on_warning && base_log_gate_open(gate, &suppressed))
        options->events.on_warning(options->data, what, suppressed);
}

/* Socket addresses */

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t to_socket_address(const struct http_address *address, union socket_address *out)
{
    *out = (union socket_address){0};
    if (address->family == AF_INET) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(address->port);
        memcpy(&out->v4.sin_addr, address->bytes, 4);
        return sizeof out->v4;
    }
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(address->port);
    memcpy(&out->v6.sin6_addr, address->bytes, 16);
    return sizeof out->v6;
}

static struct http_address from_socket_address(const struct sockaddr *address)
{
    struct http_address out = {.family = AF_INET};

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;

        out.port = ntohs(v4->sin_port);
        memcpy(out.bytes, &v4->sin_addr, 4);
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);

        out.port = ntohs(v6->sin6_port);
        out.family = is_mapped ? AF_INET : AF_INET6;
        memcpy(out.bytes, v6->sin6_addr.s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 16);
    }
    return out;
}

/* Accepting */

static bool take_place(struct http_server_shared *shared)
{
    if (!shared || atomic_fetch_add(&shared->connections, 1) < shared->max_connections)
        return true;
    atomic_fetch_sub(&shared->connections, 1);
    return false;
}

static void on_accept(struct evconnlistener *ev BASE_UNUSED, evutil_socket_t fd,
                      struct sockaddr *address, int len BASE_UNUSED, void *data)
{
    struct listener *listener = data;
    struct http_server *server = listener->server;
    struct http_server_shared *shared = server->loop.options.shared;
    struct http_conn_options conn = {fd, from_socket_address(address), listener->mask,
                                     listener->tls};

    if (!take_place(shared)) {
        close(fd);
        warn(server, &server->cap_gate, "too many connections: the newest are closed");
    } else if (http_conn_open(&server->loop, &conn) != BASE_OK && shared) {
        atomic_fetch_sub(&shared->connections, 1);
    }
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void turn_one_away(struct http_server *server, int listener_fd)
{
    int fd;

    if (server->spare_fd < 0)
        return;
    close(server->spare_fd);
    fd = accept4(listener_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    server->spare_fd = open_spare();
}

static void pause_all(struct http_server *server)
{
    struct listener *listener;

    LL_FOREACH (server->listeners, listener)
        evconnlistener_disable(listener->ev);
    server->paused_until_us = base_clock_mono_us() + PAUSE_US;
    http_loop_need_tick(&server->loop);
}

static void on_accept_error(struct evconnlistener *ev, void *data)
{
    struct listener *listener = data;
    struct http_server *server = listener->server;

    if (errno == EMFILE || errno == ENFILE)
        turn_one_away(server, evconnlistener_get_fd(ev));
    pause_all(server);
    warn(server, &server->accept_gate, "accepting failed, most likely for want of descriptors");
}

static void on_tick(void *data)
{
    struct http_server *server = data;
    struct listener *listener;

    if (server->paused_until_us == 0)
        return;
    if (server->paused_until_us > server->loop.now_us) {
        http_loop_need_tick(&server->loop);
        return;
    }
    server->paused_until_us = 0;
    if (server->spare_fd < 0)
        server->spare_fd = open_spare();
    LL_FOREACH (server->listeners, listener)
        evconnlistener_enable(listener->ev);
}

/* Listening */

static void explain(const struct http_address *address, int error, struct base_buf *why)
{
    static const struct {
        int error;
        const char *text;
    } texts[] = {
        {EADDRINUSE, "is in use"},
        {EADDRNOTAVAIL, "is not one of this machine's"},
        {EACCES, "may not be listened on: ports below 1024 need a privilege"},
    };
    const char *text = NULL;
    char host[HTTP_ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < BASE_COUNT(texts); i++)
        if (texts[i].error == error)
            text = texts[i].text;
    http_address_format(address, host);
    base_buf_putf(why, address->family == AF_INET6 ? "address [%s]:%u " : "address %s:%u ", host,
                  (unsigned)address->port);
    if (text)
        base_buf_put_str(why, text);
    else
        base_buf_putf(why, "cannot be listened on: %s", strerror(error));
}

static bool set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

/* What accepted sockets inherit (TCP_NODELAY) is set once here, not with each of them. */
static bool set_options(int fd, const struct http_address *address)
{
    static const uint8_t any[16];
    bool is_dual = memcmp(address->bytes, any, sizeof any) == 0; /* [::] also means IPv4 */

    return set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
           set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) &&
           set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
           (address->family == AF_INET || set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !is_dual));
}

/* -1 with errno. */
static int open_socket(const struct http_address *address, struct http_address *bound)
{
    union socket_address socket_address;
    socklen_t len = to_socket_address(address, &socket_address);
    int fd = socket(address->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

    if (fd < 0)
        return -1;
    if (set_options(fd, address) && bind(fd, &socket_address.any, len) == 0 &&
        listen(fd, BACKLOG) == 0 && getsockname(fd, &socket_address.any, &len) == 0) {
        *bound = *address; /* as asked for, but for the port: [::] stays [::] */
        bound->port = from_socket_address(&socket_address.any).port;
        return fd;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

bool http_server_address_free(const struct http_address *address, struct base_buf *why)
{
    union socket_address socket_address;
    socklen_t len = to_socket_address(address, &socket_address);
    int fd = socket(address->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_taken;

    if (fd < 0)
        return true; /* listening itself will say why not */
    is_taken = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
               bind(fd, &socket_address.any, len) != 0 && errno == EADDRINUSE;
    if (is_taken)
        explain(address, EADDRINUSE, why);
    close(fd);
    return !is_taken;
}

static void listener_free(struct listener *listener)
{
    evconnlistener_free(listener->ev);
    SSL_CTX_free(listener->tls);
    base_free(&listener);
}

enum base_err http_server_listen(struct http_server *server, const struct http_address *address,
                                 unsigned mask, struct ssl_ctx_st *tls, struct http_address *bound,
                                 struct base_buf *why)
{
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
    int fd = open_socket(address, bound);
    struct evconnlistener *ev;
    struct listener *listener;

    if (fd < 0) {
        explain(address, errno, why);
        return errno == EADDRINUSE ? BASE_CONFLICT : BASE_IO;
    }
    listener = base_calloc(1, sizeof *listener);
    ev = evconnlistener_new(server->loop.base, on_accept, listener, flags, 0, fd);
    if (!ev) {
        base_buf_put_str(why, "libevent cannot listen");
        close(fd);
        base_free(&listener);
        return BASE_INTERNAL;
    }
    evconnlistener_set_error_cb(ev, on_accept_error);
    *listener =
        (struct listener){.server = server, .ev = ev, .mask = mask, .tls = http_tls_ref(tls)};
    LL_PREPEND(server->listeners, listener);
    return BASE_OK;
}

void http_server_set_tls(struct http_server *server, struct ssl_ctx_st *tls)
{
    struct listener *listener;

    LL_FOREACH (server->listeners, listener) {
        if (!listener->tls)
            continue;
        SSL_CTX_free(listener->tls);
        listener->tls = http_tls_ref(tls);
    }
}

/* Those the kernel has accepted already believe they are connected: they are taken in, to be
 * answered, rather than reset with the listener. */
static void accept_rest(struct listener *listener)
{
    int listener_fd = evconnlistener_get_fd(listener->ev), fd;
    union socket_address address;
    socklen_t len;

    for (;;) {
        len = sizeof address;
        fd = accept4(listener_fd, &address.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        on_accept(listener->ev, fd, &address.any, (int)len, listener);
    }
}

static void close_listeners(struct http_server *server)
{
    struct listener *listener, *next;

    LL_FOREACH_SAFE (server->listeners, listener, next) {
        LL_DELETE(server->listeners, listener);
        listener_free(listener);
    }
}

/* Its life */

static void on_quiet(void *data)
{
    struct http_server *server = data;
    void (*drained)(void *) = server->drained;

    server->drained = NULL;
    if (drained)
        drained(server->drained_data);
}

struct http_server *http_server_new(struct event_base *base,
                                    const struct http_server_options *options)
{
    struct http_server *server = base_calloc(1, sizeof *server);

    server->spare_fd = open_spare();
    server->loop.base = base;
    server->loop.options = *options;
    server->loop.owner = server;
    server->loop.on_deadline = http_conn_on_deadline;
    server->loop.on_end = http_conn_on_end;
    server->loop.on_send = http_conn_on_send;
    server->loop.on_tick = on_tick;
    server->loop.on_quiet = on_quiet;
    if (http_loop_init(&server->loop) != BASE_OK)
        http_server_free(&server);
    return server;
}

void http_server_drain(struct http_server *server, void (*drained)(void *data), void *data)
{
    struct listener *listener;

    server->drained = drained;
    server->drained_data = data;
    LL_FOREACH (server->listeners, listener)
        accept_rest(listener);
    close_listeners(server);
    server->loop.draining = true;
    http_conn_drain_all(&server->loop);
    http_loop_check_quiet(&server->loop);
}

size_t http_server_connections(const struct http_server *server)
{
    return server->loop.n_links;
}

void http_server_free(struct http_server **address)
{
    struct http_server *server = *address;

    *address = NULL;
    if (!server)
        return;
    close_listeners(server);
    http_loop_send(&server->loop);
    http_conn_end_all(&server->loop);
    http_loop_reap(&server->loop);
    http_loop_clear(&server->loop);
    if (server->spare_fd >= 0)
        close(server->spare_fd);
    base_free(&server);
}
