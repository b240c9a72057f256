/* SPDX-License-Identifier: Apache-2.0 */
/* TLS: what is spoken, its deadlines, half-closed and rude clients, and the loading of
 * certificates. The clients are OpenSSL over memory, so that the test decides how the bytes travel.
 */
#include "base_clock.h"
#include "base_mem.h"
#include "http_peer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: issuer.example\r\n\r\n"
#define SHORT_US  (300 * BASE_US_PER_MS)

/* Certificates */

static char folder[] = "/tmp/test_http_tls.XXXXXX";
static char cert_file[64], key_file[64], other_cert_file[64], other_key_file[64];
static char locked_key_file[64], empty_file[64], missing_file[64];

static X509 *new_certificate(EVP_PKEY *key, const char *name)
{
    X509 *cert = X509_new();

    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    return cert;
}

static void write_pair(const char *name, char *cert_path, char *key_path, const char *locked_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = new_certificate(key, name);
    FILE *file;

    snprintf(cert_path, 64, "%s/%s.pem", folder, name);
    snprintf(key_path, 64, "%s/%s.key", folder, name);
    file = fopen(cert_path, "w");
    assert_true(PEM_write_X509(file, cert));
    fclose(file);
    file = fopen(key_path, "w");
    assert_true(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
    fclose(file);
    if (locked_path) {
        file = fopen(locked_path, "w");
        assert_true(PEM_write_PKCS8PrivateKey(file, key, EVP_aes_256_cbc(), "pass", 4, NULL, NULL));
        fclose(file);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

static int make_files(void **state BASE_UNUSED)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(locked_key_file, sizeof locked_key_file, "%s/locked.key", folder);
    snprintf(empty_file, sizeof empty_file, "%s/empty", folder);
    snprintf(missing_file, sizeof missing_file, "%s/missing", folder);
    fclose(fopen(empty_file, "w"));
    write_pair("one", cert_file, key_file, locked_key_file);
    write_pair("other", other_cert_file, other_key_file, NULL);
    return 0;
}

static int remove_files(void **state BASE_UNUSED)
{
    const char *const files[] = {cert_file,      key_file,        other_cert_file,
                                 other_key_file, locked_key_file, empty_file};

    for (size_t i = 0; i < BASE_COUNT(files); i++)
        unlink(files[i]);
    return rmdir(folder);
}

static SSL_CTX *load(const char *cert, const char *key)
{
    BASE_AUTO(base_buf_clear) struct base_buf why;
    SSL_CTX *tls;
    int64_t not_after_us;

    base_buf_init(&why, 1024);
    if (http_tls_load(cert, key, &tls, &not_after_us, &why) != BASE_OK)
        fail_msg("%s", base_buf_cstr(&why));
    assert_in_range(not_after_us - base_clock_wall_us(), 3500 * BASE_US_PER_S,
                    3600 * BASE_US_PER_S);
    return tls;
}

/* Servers */

static int open_peer_with(void **state, int64_t timeout_us)
{
    struct peer *peer = malloc(sizeof *peer);
    SSL_CTX *tls = load(cert_file, key_file);

    peer_init(peer);
    peer->options.tls_timeout_us = timeout_us;
    peer->options.header_timeout_us = timeout_us;
    peer->options.body_timeout_us = timeout_us;
    peer->options.idle_timeout_us = timeout_us;
    peer_start(peer, tls);
    http_tls_free(&tls); /* the server has its own reference */
    *state = peer;
    return 0;
}

static int open_peer(void **state)
{
    return open_peer_with(state, 10 * BASE_US_PER_S);
}

static int open_hasty_peer(void **state)
{
    return open_peer_with(state, SHORT_US);
}

static int close_peer(void **state)
{
    peer_close(*state);
    free(*state);
    return 0;
}

/* Clients */

struct client {
    struct peer *peer;
    int fd;
    size_t step; /* bytes sent at a time */
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out; /* the ssl's */
};

static void client_init(struct client *client, struct peer *peer, size_t step)
{
    *client = (struct client){.peer = peer, .step = step, .fd = peer_dial(peer)};
    client->context = SSL_CTX_new(TLS_client_method());
    client->ssl = SSL_new(client->context);
    client->in = BIO_new(BIO_s_mem());
    client->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(client->in, -1);
    SSL_set_bio(client->ssl, client->in, client->out);
    SSL_set_connect_state(client->ssl);
}

static void client_clear(struct client *client)
{
    SSL_free(client->ssl);
    SSL_CTX_free(client->context);
    close(client->fd);
    ERR_clear_error();
}

static bool may_be_closed; /* the server's end may be, at any time: it has no memory */

static void flush(struct client *client)
{
    char bytes[32 * 1024]; /* whole records at once, where the step allows it */
    size_t step = client->step < sizeof bytes ? client->step : sizeof bytes;
    int len;

    while ((len = BIO_read(client->out, bytes, (int)step)) > 0) {
        if (may_be_closed)
            (void)!send(client->fd, bytes, (size_t)len, MSG_NOSIGNAL);
        else
            peer_say_bytes(client->peer, client->fd, bytes, (size_t)len);
    }
}

/* The n-th allocation of a library fails, counted over all that the server does; 0: none. */
static long server_fails;

/* The server's turns. What others have left in OpenSSL's list of errors is not its own. */
int __real_event_base_loop(struct event_base *base, int flags);
int __wrap_event_base_loop(struct event_base *base, int flags);
int __wrap_event_base_loop(struct event_base *base, int flags)
{
    int status;

    ERR_raise(ERR_LIB_USER, ERR_R_MALLOC_FAILURE);
    base_mem_fail_nth(server_fails);
    status = __real_event_base_loop(base, flags);
    server_fails = base_mem_fail_nth(0);
    ERR_clear_error();
    return status;
}

/* Bytes from the socket to OpenSSL; false at the end of the stream. */
static bool fill(struct client *client, int64_t *deadline_us)
{
    char bytes[16384];
    ssize_t len;

    flush(client);
    peer_turn(client->peer, deadline_us);
    poll(&(struct pollfd){client->fd, POLLIN, 0}, 1, 1);
    len = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (len < 0 && may_be_closed && errno == ECONNRESET)
        return false;
    if (len < 0 && errno != EAGAIN)
        fail_msg("reading failed: %s", strerror(errno));
    if (len > 0)
        BIO_write(client->in, bytes, (int)len);
    return len != 0;
}

/* True when it succeeded; false when the server refused. */
static bool handshake(struct client *client)
{
    int64_t deadline_us = 0;

    for (;;) {
        int done = SSL_do_handshake(client->ssl);

        if (done == 1) {
            flush(client);
            return true;
        }
        if (SSL_get_error(client->ssl, done) != SSL_ERROR_WANT_READ)
            return false;
        if (!fill(client, &deadline_us))
            return false;
    }
}

static void client_open(struct client *client, struct peer *peer, size_t step)
{
    client_init(client, peer, step);
    assert_true(handshake(client));
}

static void say(struct client *client, const char *text)
{
    assert_int_equal(SSL_write(client->ssl, text, (int)strlen(text)), strlen(text));
    flush(client);
}

/* False at the server's close_notify. */
static bool read_fully(struct client *client, char *out, size_t len)
{
    int64_t deadline_us = 0;

    while (len > 0) {
        int got = SSL_read(client->ssl, out, (int)len);

        if (got > 0) {
            out += got;
            len -= (size_t)got;
            deadline_us = 0;
            continue;
        }
        if (SSL_get_error(client->ssl, got) == SSL_ERROR_ZERO_RETURN)
            return false;
        assert_int_equal(SSL_get_error(client->ssl, got), SSL_ERROR_WANT_READ);
        if (!fill(client, &deadline_us))
            fail_msg("end of stream without close_notify");
    }
    return true;
}

/* The body is compared with `body`, or only measured against PEER_BIG when that is NULL. */
static void hear(struct client *client, int status, const char *body)
{
    char head[4096], *content, *at;
    size_t len = 0, body_len;

    do {
        assert_true(read_fully(client, head + len, 1));
        head[++len] = '\0';
    } while (len < 4 || strcmp(head + len - 4, "\r\n\r\n") != 0);
    assert_int_equal(atoi(head + 9), status);
    at = strstr(head, "Content-Length: ");
    body_len = strtoul(at + strlen("Content-Length: "), NULL, 10);
    content = calloc(1, body_len + 1);
    assert_true(read_fully(client, content, body_len));
    if (body)
        assert_string_equal(content, body);
    else
        assert_int_equal(body_len, PEER_BIG);
    free(content);
}

static void expect_close_notify(struct client *client)
{
    char byte;

    assert_false(read_fully(client, &byte, 1));
}

/* Talking */

static void test_requests(void **state)
{
    struct peer *peer = *state;
    struct client client;

    client_open(&client, peer, SIZE_MAX);
    say(&client, GET("/sync"));
    hear(&client, 200, "sync");
    say(&client, GET("/later?1") GET("/sync") GET("/soon?2"));
    hear(&client, 200, "1");
    hear(&client, 200, "sync");
    hear(&client, 200, "2");
    say(&client, GET("/big") GET("/close"));
    hear(&client, 200, NULL);
    hear(&client, 200, "closing");
    expect_close_notify(&client);
    client_clear(&client);
    peer_await_connections(peer, 0);
    assert_int_equal(peer->n_refused, 0);
}

static void test_by_the_byte(void **state)
{
    struct peer *peer = *state;
    struct client client;

    client_open(&client, peer, 1);
    say(&client, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    hear(&client, 200, "hello");
    client_clear(&client);
}

/* More than is read ahead, in one go. */
static void test_many(void **state)
{
    enum { COUNT = 2000 };
    struct peer *peer = *state;
    struct client client;

    client_open(&client, peer, SIZE_MAX);
    for (int i = 0; i < COUNT; i++)
        assert_true(SSL_write(client.ssl, GET("/sync"), (int)strlen(GET("/sync"))) > 0);
    flush(&client);
    for (int i = 0; i < COUNT; i++)
        hear(&client, 200, "sync");
    client_clear(&client);
}

/* Two records that together are more than is read at once: OpenSSL holds the rest of the body and
 * what follows, and the socket says nothing of it any more. */
static void test_rest_of_a_record(void **state)
{
    enum { BODY = 16350 };
    static const char head[] = "POST /nowhere HTTP/1.1\r\nHost: issuer.example\r\n"
                               "Content-Length: 16350\r\n\r\n";
    static char text[sizeof head - 1 + BODY + sizeof GET("/sync")];
    struct peer *peer = *state;
    struct client client;

    memset(text, 'x', sizeof text);
    memcpy(text, head, sizeof head - 1);
    memcpy(text + sizeof head - 1 + BODY, GET("/sync"), sizeof GET("/sync"));
    client_open(&client, peer, SIZE_MAX);
    assert_int_equal(SSL_write(client.ssl, text, 9000), 9000);
    assert_true(SSL_write(client.ssl, text + 9000, (int)(sizeof text - 1 - 9000)) > 0);
    flush(&client);
    hear(&client, 404, "{\"status\":404}");
    hear(&client, 200, "sync");
    client_clear(&client);
}

static void test_refused(void **state)
{
    struct peer *peer = *state;
    struct client client;

    client_open(&client, peer, SIZE_MAX);
    say(&client, "GET / HTTP/1.1\r\n\r\n" GET("/sync"));
    hear(&client, 400, "{\"status\":400}");
    expect_close_notify(&client);
    client_clear(&client);
    assert_int_equal(peer->n_calls, 0);
}

/* It has said all it has to say, and wants the answers. */
static void test_half_close(void **state)
{
    struct peer *peer = *state;

    for (int clean = 0; clean < 2; clean++) {
        struct client client;

        client_open(&client, peer, SIZE_MAX);
        assert_true(SSL_write(client.ssl, GET("/later?1") GET("/big") GET("/sync"),
                              (int)strlen(GET("/later?1") GET("/big") GET("/sync"))) > 0);
        if (clean)
            SSL_shutdown(client.ssl); /* travels with the requests */
        flush(&client);
        shutdown(client.fd, SHUT_WR);
        hear(&client, 200, "1");
        hear(&client, 200, NULL);
        hear(&client, 200, "sync");
        expect_close_notify(&client);
        client_clear(&client);
    }
    peer_await_connections(peer, 0);
    assert_int_equal(peer->n_refused, 0);
}

/* The end comes when half of the reply is out. */
static void test_half_close_while_writing(void **state)
{
    struct peer *peer = *state;
    struct client client;

    client_open(&client, peer, SIZE_MAX);
    say(&client, GET("/big"));
    peer_await(peer, &peer->n_replies, 1);
    peer_turn_for(peer, 10);
    SSL_shutdown(client.ssl);
    flush(&client);
    peer_turn_for(peer, 10);
    hear(&client, 200, NULL);
    expect_close_notify(&client);
    client_clear(&client);
}

static void test_gone(void **state)
{
    struct peer *peer = *state;
    struct client client;

    client_open(&client, peer, SIZE_MAX);
    say(&client, GET("/hold?x"));
    peer_await(peer, &peer->n_held, 1);
    peer_reset(client.fd);
    peer_await_connections(peer, 0);
    peer_release(peer);
    assert_int_equal(peer->n_replies, 1);
    client.fd = -1;
    client_clear(&client);

    client_open(&client, peer, SIZE_MAX);
    say(&client, GET("/big"));
    peer_await(peer, &peer->n_replies, 2);
    peer_reset(client.fd);
    peer_await_connections(peer, 0);
    client.fd = -1;
    client_clear(&client);
}

/* Want of memory */

/* False: the server has closed, as it may when a library found no memory. */
static bool is_served(struct peer *peer)
{
    struct client client;
    char reply[512];
    int64_t deadline_us = 0;
    bool ok;

    client_init(&client, peer, SIZE_MAX);
    ok = handshake(&client);
    if (ok)
        say(&client, GET("/sync"));
    while (ok && SSL_read(client.ssl, reply, sizeof reply) <= 0)
        ok = fill(&client, &deadline_us);
    assert_true(!ok || memcmp(reply, "HTTP/1.1 200", 12) == 0);
    client_clear(&client);
    return ok;
}

/* Each allocation of OpenSSL's fails in turn: that connection may end, and nobody else's. */
static void test_without_memory(void **state)
{
    struct peer *peer = *state;
    struct client neighbour;
    int refused = 0;
    long n = 0, left;

    client_open(&neighbour, peer, SIZE_MAX);
    do {
        bool ok;

        server_fails = ++n;
        may_be_closed = true;
        ok = is_served(peer);
        may_be_closed = false;
        left = server_fails;
        server_fails = 0;
        assert_true(ok || left == 0);
        refused += !ok;
        say(&neighbour, GET("/sync"));
        hear(&neighbour, 200, "sync");
        peer_await_connections(peer, 1);
    } while (left == 0);
    assert_true(refused > 100);
    client_clear(&neighbour);
}

/* Deadlines */

static void test_silent_handshake(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_expect_end(peer, fd);
    assert_string_equal(peer->last_reason, "TLS handshake timed out");
}

static void test_dripped_handshake(void **state)
{
    struct peer *peer = *state;
    int64_t start_us = base_clock_mono_us();
    struct client client;
    char byte;

    client_init(&client, peer, 1);
    SSL_do_handshake(client.ssl);
    while (peer->n_refused == 0 && BIO_read(client.out, &byte, 1) == 1) {
        peer_say_bytes(peer, client.fd, &byte, 1);
        peer_turn_for(peer, 20);
    }
    assert_string_equal(peer->last_reason, "TLS handshake timed out");
    assert_in_range(base_clock_mono_us() - start_us, SHORT_US - 50000, SHORT_US + 1000000);
    client_clear(&client);
}

static void test_silent_after_handshake(void **state)
{
    struct peer *peer = *state;
    struct client client;

    client_open(&client, peer, SIZE_MAX);
    expect_close_notify(&client);
    assert_string_equal(peer->last_reason, "nothing was sent");
    client_clear(&client);
}

static void test_idle(void **state)
{
    struct peer *peer = *state;
    struct client client;

    client_open(&client, peer, SIZE_MAX);
    say(&client, GET("/sync"));
    hear(&client, 200, "sync");
    expect_close_notify(&client);
    assert_int_equal(peer->n_refused, 0);
    client_clear(&client);
}

static void test_late_body(void **state)
{
    struct peer *peer = *state;
    struct client client;

    client_open(&client, peer, SIZE_MAX);
    say(&client, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell");
    hear(&client, 408, "{\"status\":408}");
    expect_close_notify(&client);
    client_clear(&client);
}

static void test_never_reads(void **state)
{
    struct peer *peer = *state;
    struct client client;
    int small = 64 * 1024;

    client_open(&client, peer, SIZE_MAX);
    setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    say(&client, GET("/big") GET("/big"));
    peer_await_connections(peer, 0);
    assert_int_equal(peer->n_calls, 1);
    client_clear(&client);
}

/* What is spoken */

static void test_plain_text(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_say(peer, fd, GET("/sync"));
    peer_await_connections(peer, 0);
    assert_int_equal(peer->n_calls, 0);
    assert_string_equal(peer->last_reason, "TLS handshake failed");
    close(fd);
}

/* As a load balancer does to see whether we are there: no reason to complain. */
static void test_only_connects(void **state)
{
    struct peer *peer = *state;
    int fd = peer_dial(peer);

    peer_await_connections(peer, 1);
    close(fd);
    peer_await_connections(peer, 0);
    assert_int_equal(peer->n_refused, 0);
}

static void test_versions(void **state)
{
    static const struct {
        int version;
        bool is_spoken;
    } cases[] = {{TLS1_3_VERSION, true}, {TLS1_2_VERSION, true}, {TLS1_1_VERSION, false}};
    struct peer *peer = *state;

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct client client;

        client_init(&client, peer, SIZE_MAX);
        SSL_set_security_level(client.ssl, 0);
        SSL_set_min_proto_version(client.ssl, cases[i].version);
        SSL_set_max_proto_version(client.ssl, cases[i].version);
        assert_int_equal(handshake(&client), cases[i].is_spoken);
        if (cases[i].is_spoken)
            assert_int_equal(SSL_version(client.ssl), cases[i].version);
        client_clear(&client);
    }
}

static void test_suites(void **state)
{
    static const struct {
        const char *suites;
        bool is_spoken;
    } cases[] = {
        {"ECDHE-ECDSA-AES128-GCM-SHA256", true},
        {"ECDHE-ECDSA-CHACHA20-POLY1305", true},
        {"ECDHE-ECDSA-AES128-SHA256", false},
        {"ECDHE-ECDSA-AES256-SHA", false},
        {"AES128-GCM-SHA256", false},
    };
    struct peer *peer = *state;

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct client client;

        client_init(&client, peer, SIZE_MAX);
        SSL_set_max_proto_version(client.ssl, TLS1_2_VERSION);
        assert_true(SSL_set_cipher_list(client.ssl, cases[i].suites));
        assert_int_equal(handshake(&client), cases[i].is_spoken);
        client_clear(&client);
    }
}

static void test_alpn(void **state)
{
    static const struct {
        const char *offered;
        bool is_spoken;
    } cases[] = {{"\x08http/1.1", true}, {"\x02h2\x08http/1.1", true}, {"\x02h2", false}};
    struct peer *peer = *state;

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        const unsigned char *selected;
        unsigned len;
        struct client client;

        client_init(&client, peer, SIZE_MAX);
        SSL_set_alpn_protos(client.ssl, (const unsigned char *)cases[i].offered,
                            (unsigned)strlen(cases[i].offered));
        assert_int_equal(handshake(&client), cases[i].is_spoken);
        SSL_get0_alpn_selected(client.ssl, &selected, &len);
        assert_int_equal(len, cases[i].is_spoken ? 8 : 0);
        client_clear(&client);
    }
}

static void test_renegotiation(void **state)
{
    struct peer *peer = *state;
    struct client client;
    int64_t deadline_us = 0;

    client_init(&client, peer, SIZE_MAX);
    SSL_set_max_proto_version(client.ssl, TLS1_2_VERSION);
    assert_true(handshake(&client));
    assert_true(SSL_renegotiate(client.ssl));
    SSL_do_handshake(client.ssl);
    flush(&client);
    for (int i = 0; i < 20; i++)
        fill(&client, &deadline_us);
    assert_int_not_equal(SSL_do_handshake(client.ssl), 1);
    client_clear(&client);
}

static void test_tickets(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct peer *peer = *state;

    for (size_t i = 0; i < BASE_COUNT(versions); i++) {
        SSL_SESSION *session = NULL;

        for (int resumed = 0; resumed < 2; resumed++) {
            struct client client;

            client_init(&client, peer, SIZE_MAX);
            SSL_set_max_proto_version(client.ssl, versions[i]);
            if (resumed)
                SSL_set_session(client.ssl, session);
            assert_true(handshake(&client));
            assert_int_equal(SSL_session_reused(client.ssl), resumed);
            say(&client, GET("/close"));
            hear(&client, 200, "closing");
            expect_close_notify(&client);
            if (!resumed)
                /* In 1.3 it came with the reply; a copy, which outlives its connection. */
                session = SSL_SESSION_dup(SSL_get0_session(client.ssl));
            client_clear(&client);
        }
        SSL_SESSION_free(session);
    }
}

static void expect_name(struct peer *peer, const char *name)
{
    char found[64] = "";
    struct client client;
    X509 *cert;

    client_open(&client, peer, SIZE_MAX);
    cert = SSL_get1_peer_certificate(client.ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, found, sizeof found);
    assert_string_equal(found, name);
    X509_free(cert);
    client_clear(&client);
}

static void test_reload(void **state)
{
    struct peer *peer = *state;
    SSL_CTX *fresh = load(other_cert_file, other_key_file);
    struct client old;

    client_open(&old, peer, SIZE_MAX);
    expect_name(peer, "one");
    http_server_set_tls(peer->server, fresh);
    http_tls_free(&fresh);
    assert_null(fresh);
    expect_name(peer, "other");
    say(&old, GET("/sync"));
    hear(&old, 200, "sync");
    client_clear(&old);
}

/* Loading */

static void test_load_refused(void **state BASE_UNUSED)
{
    const struct {
        const char *cert, *key;
        const char *names, *says;
    } cases[] = {
        {missing_file, key_file, missing_file, "No such file"},
        {cert_file, missing_file, missing_file, "No such file"},
        {empty_file, key_file, empty_file, "no certificate"},
        {cert_file, empty_file, empty_file, "no private key"},
        {cert_file, cert_file, cert_file, "no private key"},
        {key_file, key_file, key_file, "no certificate"},
        {cert_file, other_key_file, other_key_file, "not the certificate's key"},
        {cert_file, locked_key_file, locked_key_file, "encrypted"},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        BASE_AUTO(base_buf_clear) struct base_buf why;
        SSL_CTX *tls = (SSL_CTX *)&why;
        int64_t not_after_us = 1;

        base_buf_init(&why, 1024);
        assert_int_not_equal(http_tls_load(cases[i].cert, cases[i].key, &tls, &not_after_us, &why),
                             BASE_OK);
        assert_null(tls);
        assert_int_equal(not_after_us, 0);
        if (!strstr(base_buf_cstr(&why), cases[i].names) ||
            !strstr(base_buf_cstr(&why), cases[i].says))
            fail_msg("case %zu: %s", i, base_buf_cstr(&why));
    }
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, open_peer, close_peer)
#define HASTY_TEST(name) cmocka_unit_test_setup_teardown(name, open_hasty_peer, close_peer)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_requests),
        TEST(test_by_the_byte),
        TEST(test_many),
        TEST(test_rest_of_a_record),
        TEST(test_refused),
        TEST(test_half_close),
        TEST(test_half_close_while_writing),
        TEST(test_gone),
        TEST(test_without_memory),
        HASTY_TEST(test_silent_handshake),
        HASTY_TEST(test_dripped_handshake),
        HASTY_TEST(test_silent_after_handshake),
        HASTY_TEST(test_idle),
        HASTY_TEST(test_late_body),
        HASTY_TEST(test_never_reads),
        TEST(test_plain_text),
        TEST(test_only_connects),
        TEST(test_versions),
        TEST(test_suites),
        TEST(test_alpn),
        TEST(test_renegotiation),
        TEST(test_tickets),
        TEST(test_reload),
        cmocka_unit_test(test_load_refused),
    };

    base_mem_watch_libraries();
    base_mem_survive_libraries();
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
