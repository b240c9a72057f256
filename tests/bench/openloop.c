/* SPDX-License-Identifier: Apache-2.0 */
/* A load generator whose requests arrive at a constant rate, whatever the server does (wrk asks
 * again only once it has been answered, and so leaves out the waiting that a slow server causes). A
 * request that finds no free connection waits for one, and its latency counts from the moment it
 * was due.
 *
 *   openloop PORT RATE SECONDS CONNECTIONS FILE
 *
 * to 127.0.0.1. FILE has a request a line (value of Authorization, tab, body), used in their order,
 * from the start again at the end. RATE 0: each line once, as fast as the connections allow. Prints
 * JSON; latencies in microseconds, of answers with 200 and of all others (refusals) apart. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S   1000000000LL
#define ANSWER_MAX 16384
#define PATIENCE   (3 * NS_PER_S) /* for what is still open at the end */

struct message {
    char *bytes;
    size_t len;
};

struct connection {
    struct connection *next_free;
    int fd;
    bool busy;
    int64_t due_ns;
    size_t got;
    char answer[ANSWER_MAX];
};

struct samples {
    uint32_t *us;
    size_t count, cap;
};

static struct {
    struct message *messages;
    size_t n_messages;
    struct connection *connections, *free;
    size_t n_connections;
    int port, epoll;
    int64_t start_ns, end_ns, interval_ns; /* interval 0: as fast as possible */
    uint64_t sent, total, open, errors;
    struct samples ok, refused;
} load;

static void die(const char *what)
{
    fprintf(stderr, "openloop: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* ---- Requests ---- */

static struct message make_message(char *line)
{
    char *tab = strchr(line, '\t'), *text;
    int len;

    if (!tab)
        die("a line without a tab");
    *tab = '\0';
    len = asprintf(
        &text,
        "POST /oauth2/token HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n%s%s%sContent-Length: %zu\r\n\r\n%s",
        load.port, *line ? "Authorization: " : "", line, *line ? "\r\n" : "", strlen(tab + 1),
        tab + 1);
    if (len < 0)
        die("memory");
    return (struct message){text, (size_t)len};
}

static void read_messages(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t cap = 0, size = 0;
    char *line = NULL;
    ssize_t len;

    if (!file)
        die(path);
    while ((len = getline(&line, &size, file)) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (load.n_messages == cap) {
            cap = cap ? 2 * cap : 1024;
            if (!(load.messages = realloc(load.messages, cap * sizeof *load.messages)))
                die("memory");
        }
        load.messages[load.n_messages++] = make_message(line);
    }
    free(line);
    fclose(file);
    if (load.n_messages == 0)
        die("no requests");
}

/* ---- Connections ---- */

static void release(struct connection *connection)
{
    connection->busy = false;
    connection->next_free = load.free;
    load.free = connection;
}

static void connect_it(struct connection *connection)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load.port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    int one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        die("epoll_ctl");
    connection->got = 0;
    release(connection);
}

/* Whatever was asked on it counts as an error. */
static void reconnect(struct connection *connection)
{
    load.errors += connection->busy;
    load.open -= connection->busy;
    close(connection->fd);
    connect_it(connection);
}

static void send_one(int64_t due_ns)
{
    const struct message *message = &load.messages[load.sent++ % load.n_messages];
    struct connection *connection = load.free;

    load.free = connection->next_free;
    connection->busy = true;
    connection->due_ns = due_ns;
    connection->got = 0;
    load.open++;
    /* A request fits the socket's buffer; if not, the connection is broken. */
    if (send(connection->fd, message->bytes, message->len, MSG_NOSIGNAL) != (ssize_t)message->len)
        reconnect(connection);
}

/* ---- Answers ---- */

static void add_sample(struct samples *samples, int64_t ns)
{
    if (samples->count == samples->cap) {
        samples->cap = samples->cap ? 2 * samples->cap : 65536;
        if (!(samples->us = realloc(samples->us, samples->cap * sizeof *samples->us)))
            die("memory");
    }
    samples->us[samples->count++] = (uint32_t)(ns / 1000);
}

/* The length of the whole answer; 0: the head is not whole yet. */
static size_t answer_len(struct connection *connection)
{
    const char *end, *length;

    connection->answer[connection->got] = '\0';
    if (!(end = strstr(connection->answer, "\r\n\r\n")))
        return 0;
    length = strcasestr(connection->answer, "\r\nContent-Length:");
    return (size_t)(end + 4 - connection->answer) +
           (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

static void take_answer(struct connection *connection)
{
    bool ok = strncmp(connection->answer, "HTTP/1.1 200 ", 13) == 0;
    bool closing = strcasestr(connection->answer, "\r\nConnection: close") != NULL;

    add_sample(ok ? &load.ok : &load.refused, now_ns() - connection->due_ns);
    load.open--;
    connection->busy = false;
    if (closing)
        reconnect(connection);
    else
        release(connection);
}

static void on_readable(struct connection *connection)
{
    ssize_t len = recv(connection->fd, connection->answer + connection->got,
                       ANSWER_MAX - 1 - connection->got, 0);
    size_t whole;

    if (len < 0 && errno == EAGAIN)
        return;
    if (len <= 0 || !connection->busy) {
        bool was_free = !connection->busy;

        if (was_free) { /* it is on the list of free ones, and stays there with another socket */
            struct connection **at = &load.free;

            while (*at != connection)
                at = &(*at)->next_free;
            *at = connection->next_free;
        }
        reconnect(connection);
        return;
    }
    connection->got += (size_t)len;
    whole = answer_len(connection);
    if (whole && connection->got >= whole)
        take_answer(connection);
}

/* ---- The run ---- */

static int64_t due_of(uint64_t index)
{
    return load.start_ns + (int64_t)index * load.interval_ns;
}

static void send_due(int64_t now)
{
    while (load.free && load.sent < load.total && due_of(load.sent) <= now)
        send_one(load.interval_ns ? due_of(load.sent) : now);
}

static struct timespec until_next(int64_t now)
{
    int64_t ns = NS_PER_S / 10;

    if (load.free && load.sent < load.total)
        ns = due_of(load.sent) - now;
    if (ns < 0)
        ns = 0;
    return (struct timespec){ns / NS_PER_S, ns % NS_PER_S};
}

/* Requests that are still waiting for a connection when the time is over are not sent any more. */
static bool finished(int64_t now)
{
    if (load.interval_ns && now >= load.end_ns)
        load.total = load.sent;
    return (load.sent == load.total && load.open == 0) || now >= load.end_ns + PATIENCE;
}

static void run(void)
{
    struct epoll_event events[256];
    int64_t now;

    load.start_ns = now_ns();
    load.end_ns += load.start_ns;
    while (!finished(now = now_ns())) {
        struct timespec wait;
        int count;

        send_due(now);
        wait = until_next(now);
        count = epoll_pwait2(load.epoll, events, 256, &wait, NULL);
        for (int i = 0; i < count; i++)
            on_readable(events[i].data.ptr);
    }
}

/* ---- Figures ---- */

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

static uint32_t quantile(const struct samples *samples, double q)
{
    size_t at = (size_t)(q * (double)samples->count);

    if (samples->count == 0)
        return 0;
    return samples->us[at < samples->count ? at : samples->count - 1];
}

static void print_samples(const char *name, struct samples *samples, const char *end)
{
    qsort(samples->us, samples->count, sizeof *samples->us, compare);
    printf("\"%s\": {\"count\": %zu, \"p50\": %u, \"p99\": %u, \"p999\": %u, \"max\": %u}%s", name,
           samples->count, quantile(samples, 0.5), quantile(samples, 0.99),
           quantile(samples, 0.999), quantile(samples, 1), end);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    double rate, seconds, elapsed;

    if (argc != 6) {
        fprintf(stderr, "usage: openloop PORT RATE SECONDS CONNECTIONS FILE\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1UL); /* nanosecond: or each wait would last 50 µs longer */
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    load.port = atoi(argv[1]);
    rate = atof(argv[2]);
    seconds = atof(argv[3]);
    load.n_connections = strtoul(argv[4], NULL, 10);
    read_messages(argv[5]);
    load.interval_ns = rate > 0 ? (int64_t)((double)NS_PER_S / rate) : 0;
    load.end_ns = (int64_t)(seconds * (double)NS_PER_S);
    load.total = rate > 0 ? (uint64_t)(rate * seconds) : load.n_messages;
    if (!(load.connections = calloc(load.n_connections, sizeof *load.connections)))
        die("memory");
    load.epoll = epoll_create1(0);
    for (size_t i = 0; i < load.n_connections; i++)
        connect_it(&load.connections[i]);
    run();
    elapsed = (double)(now_ns() - load.start_ns) / (double)NS_PER_S;
    printf("{\"seconds\": %.3f, \"asked\": %llu, \"unanswered\": %llu, \"errors\": %llu, ", elapsed,
           (unsigned long long)load.sent, (unsigned long long)load.open,
           (unsigned long long)load.errors);
    print_samples("ok", &load.ok, ", ");
    print_samples("refused", &load.refused, "}\n");
    return 0;
}
