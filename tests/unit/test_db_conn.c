/* SPDX-License-Identifier: Apache-2.0 */
/* db_conn.c: connecting, over hosts that refuse, hang, lie or are not there, and connecting again.
 * The PostgreSQL of this program is stopped, started and hung on the way. */
#include "db_fixture.h"

#include "base_attr.h"
#include "base_clock.h"
#include "base_mem.h"

#include <netdb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_US (500 * BASE_US_PER_MS)
#define CONNECT_US (300 * BASE_US_PER_MS)

static struct db_fixture f;
static char *database;
static char text[512]; /* a connection string in the making */

static const struct db_statement one = {"one", "SELECT 1", DB_READ};
static const struct db_statement tick = {"tick", "UPDATE ticks SET n = n + 1", DB_WRITE};

static int setup(void **state BASE_UNUSED)
{
    db_fixture_init(&f, database, TIMEOUT_US);
    f.options.connect_timeout_us = CONNECT_US;
    return 0;
}

static int teardown(void **state BASE_UNUSED)
{
    db_fixture_clear(&f);
    return 0;
}

static const char *dir(void)
{
    return pg_cluster_socket_dir(db_fixture_cluster());
}

static void open_at(const char *conninfo)
{
    f.options.conninfo = conninfo;
    db_fixture_open(&f);
}

/* Opens with these hosts and ports; user and database are always the same. */
static void open_hosts(const char *hosts_list, const char *ports, const char *more)
{
    snprintf(text, sizeof text, "host=%s port=%s user=postgres dbname=postgres sslmode=disable %s",
             hosts_list, ports, more);
    open_at(text);
}

static void answered(const struct db_seen *seen, enum base_err err)
{
    assert_int_equal(seen->count, 1);
    assert_string_equal(base_err_text(seen->err), base_err_text(err));
}

static void works(void)
{
    struct db_seen seen;

    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_OK);
}

static struct db_proxy *proxy_to_server(void)
{
    char path[128];

    snprintf(path, sizeof path, "%s/.s.PGSQL.5432", dir());
    return db_proxy_new(f.base, path);
}

static void problem_has(const char *words)
{
    if (!strstr(db_conn_problem(f.conn), words))
        fail_msg("the problem is: %s", db_conn_problem(f.conn));
}

/* ---- The name server of this program ---- */

#define SLOW_US (900 * BASE_US_PER_MS)

static atomic_int asked, asking;

int __real_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out);
int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out);

/* Only names that end in .test come here from db_hosts.c with the wish to ask; libpq has its own.
 */
int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out)
{
    const char *first = strcmp(name, "two.test") == 0 ? "127.0.0.9" : "127.0.0.1";
    int err;

    if (!strstr(name, ".test") || (hints->ai_flags & AI_NUMERICHOST))
        return __real_getaddrinfo(name, service, hints, out);
    if (strcmp(name, "none.test") == 0)
        return EAI_NONAME;
    asking++;
    asked++;
    if (strcmp(name, "slow.test") == 0)
        usleep(SLOW_US);
    err = __real_getaddrinfo(first, service, hints, out);
    if (err == 0 && strcmp(name, "two.test") == 0)
        err = __real_getaddrinfo("127.0.0.1", service, hints, &(*out)->ai_next);
    asking--;
    return err;
}

/* ---- Connecting ---- */

static void connects(void **state BASE_UNUSED)
{
    static const struct db_statement session = {
        "session",
        "SELECT current_setting('application_name') || ' ' || current_setting('client_encoding')",
        DB_READ};
    struct db_seen seen;

    db_fixture_open(&f);
    assert_false(db_conn_ready(f.conn));
    assert_string_equal(db_conn_problem(f.conn), "");
    db_ask_now(&f, &session, &seen); /* waits for the connection */
    answered(&seen, BASE_OK);
    assert_string_equal(seen.text, "cardea-test UTF8");
    assert_true(db_conn_ready(f.conn));
    assert_int_equal(f.ups, 1);
    assert_int_equal(f.downs, 0);
}

static void bad_strings(void **state BASE_UNUSED)
{
    char memory[256];
    struct base_buf why;

    base_buf_init_fixed(&why, memory, sizeof memory);
    f.options.conninfo = "host=x password=s3cret nonsense";
    f.conn = (struct db_conn *)1;
    assert_int_equal(db_conn_open(f.base, &f.options, &f.conn, &why), BASE_INVALID);
    assert_null(f.conn);
    assert_true(why.len > 0 && !strstr(base_buf_cstr(&why), "s3cret"));
}

static void nobody_listens(void **state BASE_UNUSED)
{
    struct db_seen seen;
    int64_t start = base_clock_mono_us();

    open_hosts("/nonexistent", "5432", "password=s3cret");
    db_ask_now(&f, &one, &seen); /* refused when the first attempt has failed */
    answered(&seen, BASE_UNAVAILABLE);
    assert_true(base_clock_mono_us() - start < TIMEOUT_US);
    assert_string_equal(db_conn_problem(f.conn),
                        "host /nonexistent, port 5432: No such file or directory");
    assert_string_equal(seen.message, db_conn_problem(f.conn));
    db_ask(&f, &one, &seen);
    assert_int_equal(db_conn_pending(f.conn), 0); /* and at once from then on */
    DB_UNTIL(&f, seen.count);
    answered(&seen, BASE_UNAVAILABLE);
    db_pass(&f, 300 * BASE_US_PER_MS);
    assert_int_equal(f.downs, 1); /* told once, not at every attempt */
}

static void a_wrong_password(void **state BASE_UNUSED)
{
    struct db_seen seen;

    snprintf(text, sizeof text, "host=%s user=locked dbname=postgres password=s3cret-wrong", dir());
    open_at(text);
    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_UNAVAILABLE);
    problem_has("password authentication failed for user \"locked\"");
    assert_null(strstr(db_conn_problem(f.conn), "s3cret"));
    assert_null(strstr(f.why, "s3cret"));
    assert_null(strstr(seen.message, "s3cret"));
    db_conn_close(&f.conn);
    snprintf(text, sizeof text, "postgresql://locked:s3cret-right@/postgres?host=%s", dir());
    open_at(text);
    works();
}

static void a_hung_host_is_passed_over(void **state BASE_UNUSED)
{
    struct db_proxy *nowhere = db_proxy_new(f.base, NULL), *proxy = proxy_to_server();
    struct db_seen seen;
    char ports[32];
    int64_t start = base_clock_mono_us();

    snprintf(ports, sizeof ports, "%d,%d", db_proxy_port(nowhere), db_proxy_port(proxy));
    open_hosts("127.0.0.1,127.0.0.1", ports, "");
    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_OK);
    assert_in_range(base_clock_mono_us() - start, CONNECT_US, TIMEOUT_US);
    assert_int_equal(db_proxy_accepted(nowhere), 1);
    db_conn_close(&f.conn);
    db_proxy_free(&nowhere);
    db_proxy_free(&proxy);
}

/* All that can be wrong with a host, and the last is right. */
static void bad_hosts_are_passed_over(void **state BASE_UNUSED)
{
    struct db_proxy *babbler = db_proxy_new(f.base, NULL), *slammer = db_proxy_new(f.base, NULL);
    struct db_proxy *proxy = proxy_to_server();
    char hosts_list[256], ports[64];

    db_proxy_greet(babbler, "220 mail.example ESMTP\r\n", 24);
    db_proxy_slam(slammer, true);
    snprintf(hosts_list, sizeof hosts_list, "/nonexistent,127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1");
    snprintf(ports, sizeof ports, "5432,1,%d,%d,%d", db_proxy_port(babbler), db_proxy_port(slammer),
             db_proxy_port(proxy));
    open_hosts(hosts_list, ports, "");
    DB_UNTIL(&f, db_conn_ready(f.conn));
    works();
    assert_int_equal(f.downs, 0);
    assert_string_equal(db_conn_problem(f.conn), "");
    db_conn_close(&f.conn);
    db_proxy_free(&babbler);
    db_proxy_free(&slammer);
    db_proxy_free(&proxy);
}

static void every_host_is_named(void **state BASE_UNUSED)
{
    open_hosts("/nonexistent,127.0.0.1", "5432,1", "");
    DB_UNTIL(&f, f.downs == 1);
    assert_string_equal(f.why, "host /nonexistent, port 5432: No such file or directory; "
                               "host 127.0.0.1, port 1: Connection refused");
}

static void only_a_primary_will_do(void **state BASE_UNUSED)
{
    struct db_seen seen;
    char *replica = pg_cluster_as(database, "replica"); /* a role whose sessions are read-only */

    open_at(replica);
    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_UNAVAILABLE);
    problem_has("session is read-only");
    db_conn_close(&f.conn);
    snprintf(text, sizeof text, "%s target_session_attrs=any", replica);
    open_at(text);
    works();
    free(replica);
}

/* Asks for one host and the port of a proxy, and for the proxy itself after it if wanted. */
static struct db_proxy *open_name(const char *hosts_list)
{
    struct db_proxy *proxy = proxy_to_server();
    char port[16];

    snprintf(port, sizeof port, "%d", db_proxy_port(proxy));
    open_hosts(hosts_list, port, "");
    return proxy;
}

static void close_name(struct db_proxy **proxy)
{
    db_conn_close(&f.conn);
    db_proxy_free(proxy);
}

static void a_name_is_resolved(void **state BASE_UNUSED)
{
    struct db_proxy *proxy = open_name("one.test");

    DB_UNTIL(&f, db_conn_ready(f.conn));
    works();
    close_name(&proxy);
}

static void a_name_with_two_addresses(void **state BASE_UNUSED)
{
    struct db_proxy *proxy = open_name("two.test"); /* nobody is at the first */

    DB_UNTIL(&f, db_conn_ready(f.conn));
    works();
    assert_int_equal(f.downs, 0);
    close_name(&proxy);
}

static void a_name_that_is_none(void **state BASE_UNUSED)
{
    struct db_proxy *proxy = open_name("none.test");

    DB_UNTIL(&f, f.downs == 1);
    problem_has("host none.test, port ");
    problem_has("Name or service not known");
    close_name(&proxy);
    proxy = open_name("none.test,127.0.0.1");
    DB_UNTIL(&f, db_conn_ready(f.conn));
    works();
    close_name(&proxy);
}

/* A name server that hangs: the next host is tried, and closing does not wait for it. */
static void a_name_that_takes_long(void **state BASE_UNUSED)
{
    struct db_proxy *proxy = open_name("slow.test,127.0.0.1");
    int64_t start = base_clock_mono_us();

    DB_UNTIL(&f, db_conn_ready(f.conn));
    works();
    close_name(&proxy);
    assert_in_range(base_clock_mono_us() - start, CONNECT_US, SLOW_US);
    DB_UNTIL(&f, asking == 0); /* the thread has freed what it had */
}

/* Later rounds wait for the answer of the first, and do not ask again. */
static void a_name_that_takes_longer_than_a_round(void **state BASE_UNUSED)
{
    struct db_proxy *proxy;
    int before = asked;

    proxy = open_name("slow.test");
    DB_UNTIL(&f, f.downs == 1);
    problem_has("the name was not resolved in time");
    DB_UNTIL(&f, db_conn_ready(f.conn));
    works();
    assert_int_equal(asked, before + 1);
    close_name(&proxy);
}

/* In whatever state it is. */
static void closing_while_connecting(void **state BASE_UNUSED)
{
    struct db_proxy *proxy = proxy_to_server();
    char port[16];

    snprintf(port, sizeof port, "%d", db_proxy_port(proxy));
    for (int turns = 0; turns < 12; turns++) {
        struct db_seen seen;

        open_hosts(turns % 2 ? "one.test" : "127.0.0.1", port, "");
        db_ask(&f, &one, &seen);
        for (int i = 0; i < turns; i++)
            event_base_loop(f.base, EVLOOP_NONBLOCK);
        db_conn_close(&f.conn);
        assert_int_equal(seen.count, 1);
    }
    db_proxy_free(&proxy);
}

/* ---- Connecting again ---- */

static void attempts_are_spaced(void **state BASE_UNUSED)
{
    struct db_proxy *proxy = db_proxy_new(f.base, NULL);
    char port[16];

    db_proxy_slam(proxy, true);
    snprintf(port, sizeof port, "%d", db_proxy_port(proxy));
    open_hosts("127.0.0.1", port, "");
    db_pass(&f, 2 * BASE_US_PER_S);
    assert_in_range(db_proxy_accepted(proxy), 3, 8); /* 0.1–0.2, 0.2–0.4, 0.4–0.8, 0.5–1 s apart */
    db_conn_close(&f.conn);
    db_proxy_free(&proxy);
}

static void the_database_comes_second(void **state BASE_UNUSED)
{
    struct db_seen seen;

    pg_cluster_stop(db_fixture_cluster());
    db_fixture_open(&f);
    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_UNAVAILABLE);
    pg_cluster_start(db_fixture_cluster());
    DB_UNTIL(&f, db_conn_ready(f.conn));
    works();
    assert_int_equal(f.ups, 1);
    assert_int_equal(f.downs, 1);
}

#define N 400

static void count_answers(const struct db_seen *seen, size_t n, int counts[2])
{
    counts[0] = counts[1] = 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(seen[i].count, 1);
        assert_true(seen[i].err == BASE_OK || seen[i].err == BASE_UNAVAILABLE ||
                    seen[i].err == BASE_TIMEOUT);
        counts[seen[i].err != BASE_OK]++;
    }
}

static int64_t ticks(void)
{
    char *n = pg_cluster_query(database, "SELECT n FROM ticks");
    int64_t number = strtoll(n, NULL, 10);

    free(n);
    return number;
}

/* Under load the server crashes and comes back: one answer each, no write done twice. */
static void the_server_crashes_and_comes_back(void **state BASE_UNUSED)
{
    static struct db_seen seen[N];
    int64_t before = ticks();
    int counts[2], writes = 0;

    db_fixture_open(&f);
    works();
    for (int i = 0; i < N; i++) {
        db_ask(&f, i % 4 ? &one : &tick, &seen[i]);
        db_turn(&f);
        if (i == N / 4)
            pg_cluster_stop(db_fixture_cluster());
        if (i == N / 2) {
            pg_cluster_start(db_fixture_cluster());
            DB_UNTIL(&f, db_conn_ready(f.conn));
        }
    }
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    db_turn(&f);
    count_answers(seen, N, counts);
    assert_true(counts[0] >= N / 2 && counts[1] >= 1);
    for (int i = 0; i < N; i += 4)
        writes += seen[i].err == BASE_OK;
    assert_in_range(ticks() - before, writes, writes + 1); /* one was sent and not answered */
    assert_int_equal(f.ups, 2);
}

static void the_server_hangs(void **state BASE_UNUSED)
{
    struct db_seen seen[4];
    int64_t start;

    db_fixture_open(&f);
    works();
    pg_cluster_signal(db_fixture_cluster(), SIGSTOP);
    start = base_clock_mono_us();
    db_ask(&f, &one, &seen[0]);
    db_ask(&f, &tick, &seen[1]);
    db_pass(&f, TIMEOUT_US / 2);
    db_ask(&f, &one, &seen[2]); /* behind them; ends with the attempt to connect again */
    DB_UNTIL(&f, seen[2].count);
    assert_true(base_clock_mono_us() - start < 2 * TIMEOUT_US);
    answered(&seen[0], BASE_TIMEOUT);
    answered(&seen[1], BASE_TIMEOUT);
    assert_int_equal(seen[2].count, 1);
    DB_UNTIL(&f, f.downs == 2); /* the loss, then the first round that failed */
    problem_has("no answer in time");
    db_ask(&f, &one, &seen[3]);
    db_turn(&f);
    db_turn(&f);
    answered(&seen[3], BASE_UNAVAILABLE);
    pg_cluster_signal(db_fixture_cluster(), SIGCONT);
    DB_UNTIL(&f, db_conn_ready(f.conn));
    works();
    db_pass(&f, 50 * BASE_US_PER_MS);
    for (int i = 0; i < 4; i++)
        assert_int_equal(seen[i].count, 1);
}

/* What a server says when it lets us in. */
#define WELCOME                                                                                    \
    "R\0\0\0\x08\0\0\0\0"                                                                          \
    "S\0\0\0\x18"                                                                                  \
    "server_version\0"                                                                             \
    "15.0\0"                                                                                       \
    "Z\0\0\0\x05I"

/* One that says nothing more: the set-up has the attempt's deadline. */
static void the_server_hangs_after_the_login(void **state BASE_UNUSED)
{
    struct db_proxy *proxy = db_proxy_new(f.base, NULL);
    char port[16];

    db_proxy_greet(proxy, WELCOME, sizeof WELCOME - 1);
    snprintf(port, sizeof port, "%d", db_proxy_port(proxy));
    open_hosts("127.0.0.1", port, "target_session_attrs=any");
    DB_UNTIL(&f, f.downs == 1);
    problem_has("no answer in time");
    assert_int_equal(f.ups, 0);
    assert_int_equal(db_proxy_accepted(proxy), 1);
    db_conn_close(&f.conn);
    db_proxy_free(&proxy);
}

/* One that does not like our settings. */
static void the_server_refuses_the_set_up(void **state BASE_UNUSED)
{
    static const char refusal[] = "E\0\0\0\x20"
                                  "SERROR\0"
                                  "C42501\0"
                                  "Mnot for you\0";
    struct db_proxy *proxy = db_proxy_new(f.base, NULL);
    int64_t start = base_clock_mono_us();
    char port[16];

    db_proxy_greet(proxy, WELCOME, sizeof WELCOME - 1);
    db_proxy_reply(proxy, refusal, sizeof refusal); /* its NUL ends the fields */
    snprintf(port, sizeof port, "%d", db_proxy_port(proxy));
    open_hosts("127.0.0.1", port, "target_session_attrs=any");
    DB_UNTIL(&f, f.downs == 1);
    problem_has("not for you");
    assert_true(base_clock_mono_us() - start < CONNECT_US);
    db_conn_close(&f.conn);
    db_proxy_free(&proxy);
}

/* A script may wait longer than the queries behind it. */
static void waiting_scripts_have_their_own_deadline(void **state BASE_UNUSED)
{
    struct db_proxy *nowhere = db_proxy_new(f.base, NULL);
    struct db_seen script = {0}, soon = {0}, query;
    char port[16];

    f.options.connect_timeout_us = 20 * BASE_US_PER_S;
    snprintf(port, sizeof port, "%d", db_proxy_port(nowhere));
    open_hosts("127.0.0.1", port, "");
    db_script(f.conn, "SELECT 1", 2 * TIMEOUT_US, db_seen_answer, &script);
    db_script(f.conn, "SELECT 1", TIMEOUT_US / 2, db_seen_answer, &soon);
    db_ask_now(&f, &one, &query);
    answered(&query, BASE_TIMEOUT);
    answered(&soon, BASE_TIMEOUT);
    assert_int_equal(script.count, 0);
    DB_UNTIL(&f, script.count);
    answered(&script, BASE_TIMEOUT);
    db_conn_close(&f.conn);
    db_proxy_free(&nowhere);
}

static void waiting_queries_end_at_their_deadline(void **state BASE_UNUSED)
{
    struct db_proxy *nowhere = db_proxy_new(f.base, NULL);
    struct db_seen seen;
    char port[16];
    int64_t start = base_clock_mono_us();

    f.options.connect_timeout_us = 20 * BASE_US_PER_S;
    snprintf(port, sizeof port, "%d", db_proxy_port(nowhere));
    open_hosts("127.0.0.1", port, "");
    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_TIMEOUT);
    assert_in_range(base_clock_mono_us() - start, TIMEOUT_US, 2 * TIMEOUT_US);
    db_conn_close(&f.conn);
    db_proxy_free(&nowhere);
}

/* The trust of the other roles stays. */
static void require_password_of(const char *role)
{
    char path[128], rules[4096];
    FILE *file;
    size_t len;

    snprintf(path, sizeof path, "%s/data/pg_hba.conf", dir());
    file = fopen(path, "r+");
    assert_non_null(file);
    len = fread(rules, 1, sizeof rules, file);
    rewind(file);
    fprintf(file, "local all %s scram-sha-256\n", role);
    fwrite(rules, 1, len, file);
    fclose(file);
    free(pg_cluster_query(database, "SELECT pg_reload_conf()"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(connects),
        TEST(bad_strings),
        TEST(nobody_listens),
        TEST(a_wrong_password),
        TEST(a_hung_host_is_passed_over),
        TEST(bad_hosts_are_passed_over),
        TEST(every_host_is_named),
        TEST(only_a_primary_will_do),
        TEST(a_name_is_resolved),
        TEST(a_name_with_two_addresses),
        TEST(a_name_that_is_none),
        TEST(a_name_that_takes_long),
        TEST(a_name_that_takes_longer_than_a_round),
        TEST(closing_while_connecting),
        TEST(attempts_are_spaced),
        TEST(the_database_comes_second),
        TEST(the_server_crashes_and_comes_back),
        TEST(the_server_hangs),
        TEST(the_server_hangs_after_the_login),
        TEST(the_server_refuses_the_set_up),
        TEST(waiting_scripts_have_their_own_deadline),
        TEST(waiting_queries_end_at_their_deadline),
    };
    int failed;

    database = pg_cluster_database(db_fixture_cluster());
    require_password_of("locked");
    free(pg_cluster_query(database, "CREATE ROLE locked LOGIN PASSWORD 's3cret-right';"
                                    "CREATE ROLE replica LOGIN;"
                                    "ALTER ROLE replica SET default_transaction_read_only = on;"
                                    "CREATE TABLE ticks AS SELECT 0 AS n"));
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(database);
    db_fixture_stop();
    return failed;
}
