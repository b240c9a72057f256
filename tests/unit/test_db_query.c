/* SPDX-License-Identifier: Apache-2.0 */
/* db_query.c on a real PostgreSQL: every question gets exactly one answer, and the right one,
 * whatever happens to the batch it went with and to the connection. */
#include "db_fixture.h"

#include "base_attr.h"
#include "base_clock.h"
#include "base_mem.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_US (2000 * BASE_US_PER_MS) /* for a machine that does other things as well */

static struct db_fixture f;
static char *database;

static const struct db_statement one = {"one", "SELECT 1", DB_READ};
static const struct db_statement two = {"two", "SELECT 2", DB_READ};
static const struct db_statement broken = {"broken", "SELECT 1 / 0", DB_READ};
static const struct db_statement nap = {"nap", "SELECT pg_sleep(30)::text", DB_READ};
static const struct db_statement pid = {"pid", "SELECT pg_backend_pid()", DB_READ};
static const struct db_statement insert = {"insert", "INSERT INTO t (id) VALUES (1)", DB_WRITE};
static const struct db_statement insert_bad = {"insert_bad", "INSERT INTO t (id) VALUES (-1)",
                                               DB_WRITE};
static const struct db_statement count = {"count", "SELECT count(*) FROM t", DB_READ};

static int setup(void **state BASE_UNUSED)
{
    free(pg_cluster_query(
        database,
        "SET client_min_messages = warning; DROP TABLE IF EXISTS child; DROP TABLE IF EXISTS t;"
        "CREATE TABLE t (id int CONSTRAINT t_pkey PRIMARY KEY"
        " CONSTRAINT t_id_positive CHECK (id > 0), name text CONSTRAINT t_name UNIQUE"
        " DEFERRABLE INITIALLY DEFERRED);"
        "CREATE TABLE child (id int CONSTRAINT child_id_fkey REFERENCES t)"));
    db_fixture_init(&f, database, TIMEOUT_US);
    db_fixture_open(&f);
    return 0;
}

static int teardown(void **state BASE_UNUSED)
{
    db_fixture_clear(&f);
    return 0;
}

static void ready(void)
{
    DB_UNTIL(&f, db_conn_ready(f.conn));
}

static void reopen(const char *conninfo)
{
    db_conn_close(&f.conn);
    f.options.conninfo = conninfo;
    db_fixture_open(&f);
}

static void answered(const struct db_seen *seen, enum base_err err)
{
    assert_int_equal(seen->count, 1);
    assert_string_equal(base_err_text(seen->err), base_err_text(err));
}

static int64_t rows_in_t(void)
{
    char *text = pg_cluster_query(database, "SELECT count(*) FROM t");
    int64_t n = strtoll(text, NULL, 10);

    free(text);
    return n;
}

/* ---- Values ---- */

struct values {
    int64_t i8, time, past, future;
    int32_t i4;
    bool yes, no, null, empty_is_null;
    char text[16], bytes[16];
    size_t text_len, bytes_len, n_array;
    int count;
};

static void take_values(void *ctx, const struct db_answer *answer)
{
    struct values *v = ctx;
    const struct db_result *r = answer->result;
    struct base_span array[4];

    assert_int_equal(answer->err, BASE_OK);
    v->count++;
    v->i8 = db_row_int8(r, 0, 0);
    v->i4 = db_row_int4(r, 0, 1);
    v->yes = db_row_bool(r, 0, 2);
    v->no = db_row_bool(r, 0, 3);
    v->time = db_row_time(r, 0, 4);
    v->past = db_row_time(r, 0, 5);
    v->future = db_row_time(r, 0, 6);
    v->text_len = db_row_text(r, 0, 7).len;
    memcpy(v->text, db_row_text(r, 0, 7).ptr, v->text_len);
    v->bytes_len = db_row_text(r, 0, 8).len;
    memcpy(v->bytes, db_row_text(r, 0, 8).ptr, v->bytes_len);
    v->null = db_row_is_null(r, 0, 9);
    v->empty_is_null = db_row_is_null(r, 0, 10);
    v->n_array = db_row_text_array(r, 0, 11, array, 4);
    assert_true(base_span_eq(array[0], BASE_SPAN("a")));
    assert_null(array[1].ptr);
    assert_true(base_span_eq(array[2], BASE_SPAN("")) && array[2].ptr);
}

static void values_go_and_come_back(void **state BASE_UNUSED)
{
    static const struct db_statement all = {
        "all",
        "SELECT $1::int8, $2::int4, $3::bool, $4::bool, $5::timestamptz, $6::timestamptz,"
        " $7::timestamptz, $8::text, $9::bytea, $10::text, $11::text, ARRAY['a', NULL, '']",
        DB_READ};
    const struct db_param params[] = {
        db_int8(INT64_MIN + 7),
        db_int4(-5),
        db_bool(true),
        db_bool(false),
        db_time(1234567890123456),
        db_time(INT64_MIN),
        db_time(INT64_MAX),
        db_text(BASE_SPAN("h\xc3\xa9llo")),
        db_bytes("\0\1\xff", 3),
        db_null(),
        db_text_or_null(BASE_SPAN("")),
    };
    struct values v = {0};

    db_query(f.conn, &all, params, BASE_COUNT(params), take_values, &v);
    DB_UNTIL(&f, v.count);
    assert_true(v.i8 == INT64_MIN + 7 && v.i4 == -5 && v.yes && !v.no);
    assert_true(v.time == 1234567890123456 && v.past == INT64_MIN && v.future == INT64_MAX);
    assert_int_equal(v.text_len, 6);
    assert_memory_equal(v.text, "h\xc3\xa9llo", 6);
    assert_int_equal(v.bytes_len, 3);
    assert_memory_equal(v.bytes, "\0\1\xff", 3);
    assert_true(v.null && v.empty_is_null);
    assert_int_equal(v.n_array, 3);
}

/* Larger than what a query holds inline, and than libpq's and the kernel's buffers. */
static void large_parameters(void **state BASE_UNUSED)
{
    static const struct db_statement length = {"length", "SELECT octet_length($1::bytea)::int8",
                                               DB_READ};
    static const size_t sizes[] = {0, 1, 507, 508, 509, 65536, 20000000};
    struct db_seen seen[BASE_COUNT(sizes)] = {0};
    char *bytes = base_calloc(1, 20000000);

    db_conn_close(&f.conn);
    f.options.query_timeout_us = 9 * BASE_US_PER_S; /* 20 MB under a sanitizer */
    db_fixture_open(&f);
    for (size_t i = 0; i < BASE_COUNT(sizes); i++) {
        struct db_param param = db_bytes(bytes, sizes[i]);

        db_query(f.conn, &length, &param, 1, db_seen_answer, &seen[i]);
    }
    memset(bytes, 'x', 100); /* they are copies */
    base_free(&bytes);
    DB_UNTIL(&f, seen[BASE_COUNT(sizes) - 1].count);
    for (size_t i = 0; i < BASE_COUNT(sizes); i++) {
        answered(&seen[i], BASE_OK);
        assert_int_equal(seen[i].number, sizes[i]);
    }
}

static void the_most_parameters(void **state BASE_UNUSED)
{
    static const struct db_statement sum = {
        "sum",
        "SELECT $1::int8 + $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9 + $10 + $11 + $12 + $13 + $14 +"
        " $15 + $16 + $17 + $18 + $19 + $20",
        DB_READ};
    struct db_param params[DB_MAX_PARAMS];
    struct db_seen seen = {0};

    for (int i = 0; i < DB_MAX_PARAMS; i++)
        params[i] = db_int8(1 << i);
    db_query(f.conn, &sum, params, DB_MAX_PARAMS, db_seen_answer, &seen);
    DB_UNTIL(&f, seen.count);
    assert_int_equal(seen.number, (1 << DB_MAX_PARAMS) - 1);
}

/* ---- Batches ---- */

static void many_at_once_are_answered_once_and_in_order(void **state BASE_UNUSED)
{
    struct db_seen seen[300];

    for (int i = 0; i < 300; i++)
        db_ask(&f, i % 2 ? &one : &two, &seen[i]);
    assert_int_equal(db_conn_pending(f.conn), 300);
    assert_int_equal(db_conn_last_answer_us(f.conn), 0);
    DB_UNTIL(&f, seen[299].count);
    for (int i = 0; i < 300; i++) {
        answered(&seen[i], BASE_OK);
        assert_int_equal(seen[i].order, i + 1);
        assert_int_equal(seen[i].number, i % 2 ? 1 : 2);
    }
    assert_int_equal(db_conn_pending(f.conn), 0);
    assert_in_range(base_clock_mono_us() - db_conn_last_answer_us(f.conn), 0, BASE_US_PER_S);
}

/* A batch is one message to the server: one Sync for all reads. */
static void reads_of_one_turn_share_a_sync(void **state BASE_UNUSED)
{
    char path[128];
    struct db_proxy *proxy;
    struct db_seen seen[10];
    char conninfo[256];
    size_t first, ten;

    snprintf(path, sizeof path, "%s/.s.PGSQL.5432", pg_cluster_socket_dir(db_fixture_cluster()));
    proxy = db_proxy_new(f.base, path);
    snprintf(conninfo, sizeof conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable",
             db_proxy_port(proxy));
    reopen(conninfo);
    db_ask_now(&f, &one, &seen[0]);
    first = db_proxy_received(proxy);
    db_ask_now(&f, &one, &seen[0]);
    first = db_proxy_received(proxy) - first;
    ten = db_proxy_received(proxy);
    for (int i = 0; i < 10; i++)
        db_ask(&f, &one, &seen[i]);
    DB_UNTIL(&f, seen[9].count);
    ten = db_proxy_received(proxy) - ten;
    assert_int_equal(ten, 10 * first - 9 * 5); /* a Sync has five bytes */
    db_conn_close(&f.conn);
    db_proxy_free(&proxy);
}

static void a_failed_read_does_not_harm_its_neighbours(void **state BASE_UNUSED)
{
    struct db_seen seen[40];

    ready();
    for (int i = 0; i < 40; i++)
        db_ask(&f, i % 10 == 3 ? &broken : &one, &seen[i]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    for (int i = 0; i < 40; i++) {
        answered(&seen[i], i % 10 == 3 ? BASE_INVALID : BASE_OK);
        if (i % 10 == 3)
            assert_string_equal(seen[i].sqlstate, "22012");
    }
    assert_string_equal(seen[3].message, "division by zero");
    assert_int_equal(f.downs, 0);
}

static void a_statement_that_cannot_be_prepared(void **state BASE_UNUSED)
{
    static const struct db_statement missing = {"missing", "SELECT n FROM not_yet", DB_READ};
    struct db_seen seen[6];

    ready();
    db_ask(&f, &one, &seen[0]);
    db_ask(&f, &missing, &seen[1]);
    db_ask(&f, &two, &seen[2]); /* its Parse is skipped, too */
    db_ask(&f, &missing, &seen[3]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_OK);
    answered(&seen[1], BASE_INTERNAL);
    assert_string_equal(seen[1].sqlstate, "42P01");
    answered(&seen[2], BASE_OK);
    assert_int_equal(seen[2].number, 2);
    answered(&seen[3], BASE_INTERNAL);
    assert_string_equal(seen[3].sqlstate, "42P01");
    free(pg_cluster_query(database, "CREATE TABLE not_yet AS SELECT 5 AS n"));
    db_ask_now(&f, &missing, &seen[4]);
    answered(&seen[4], BASE_OK);
    assert_int_equal(seen[4].number, 5);
    db_ask_now(&f, &two, &seen[5]);
    answered(&seen[5], BASE_OK);
    free(pg_cluster_query(database, "DROP TABLE not_yet"));
    assert_int_equal(f.downs, 0);
}

static void writes_stand_alone(void **state BASE_UNUSED)
{
    struct db_seen seen[7];

    ready();
    db_ask(&f, &broken, &seen[0]);
    db_ask(&f, &insert, &seen[1]);
    db_ask(&f, &one, &seen[2]);
    db_ask(&f, &insert_bad, &seen[3]);
    db_ask(&f, &insert, &seen[4]);
    db_ask(&f, &two, &seen[5]);
    db_ask(&f, &broken, &seen[6]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_INVALID);
    answered(&seen[1], BASE_OK);
    assert_int_equal(seen[1].affected, 1);
    answered(&seen[2], BASE_OK);
    answered(&seen[3], BASE_CONFLICT);
    assert_string_equal(seen[3].constraint, "t_id_positive");
    answered(&seen[4], BASE_CONFLICT);
    assert_string_equal(seen[4].sqlstate, "23505");
    assert_string_equal(seen[4].constraint, "t_pkey");
    answered(&seen[5], BASE_OK);
    answered(&seen[6], BASE_INVALID);
    assert_int_equal(rows_in_t(), 1);
}

/* ---- Gathered reads ---- */

/* Each row says what was asked, and how many were asked together: 1000 × the one + the other. */
#define TOGETHER(value)                                                                            \
    "SELECT (" value ") * 1000 + count(*) OVER () FROM unnest($1::text[]) WITH ORDINALITY"         \
    " AS asked (key, n) ORDER BY n"
static const struct db_statement together = {"together", TOGETHER("key::int8"), DB_GATHERED_READ};
static const struct db_statement divided = {"divided", TOGETHER("60 / key::int8"),
                                            DB_GATHERED_READ};

static void ask_key(const struct db_statement *statement, const char *key, struct db_seen *seen)
{
    struct db_param param = db_text(base_span_str(key));

    *seen = (struct db_seen){0};
    db_query(f.conn, statement, &param, 1, db_seen_answer, seen);
}

static void ask_number(const struct db_statement *statement, int number, struct db_seen *seen)
{
    char key[16];

    snprintf(key, sizeof key, "%d", number);
    ask_key(statement, key, seen);
}

static void gathered_reads_share_an_execution(void **state BASE_UNUSED)
{
    static const int batches[] = {64, 64, 2}; /* the default of max_batch */
    struct db_seen seen[130];
    int i = 0;

    ready();
    for (i = 0; i < 130; i++)
        ask_number(&together, i, &seen[i]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    for (i = 0; i < 130; i++) {
        answered(&seen[i], BASE_OK);
        assert_int_equal(seen[i].order, i + 1);
        assert_int_equal(seen[i].rows, 1);
        assert_int_equal(seen[i].number, i * 1000 + batches[i / 64]);
    }
}

/* Only what stands together: the order of the answers is that of the questions. */
static void gathered_reads_among_others(void **state BASE_UNUSED)
{
    static const struct db_statement other = {"other", TOGETHER("key::int8 + 1"), DB_GATHERED_READ};
    static const int shared[] = {2, 2, 0, 1, 0, 3, 3, 3, 1};
    struct db_seen seen[9];

    ready();
    for (int i = 0; i < 9; i++) {
        if (i == 2)
            db_ask(&f, &one, &seen[i]);
        else if (i == 4)
            db_ask(&f, &insert, &seen[i]);
        else
            ask_number(i == 8 ? &other : &together, i, &seen[i]);
    }
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    for (int i = 0; i < 9; i++) {
        answered(&seen[i], BASE_OK);
        assert_int_equal(seen[i].order, i + 1);
        if (shared[i])
            assert_int_equal(seen[i].number, (i == 8 ? 9 : i) * 1000 + shared[i]);
    }
}

static void a_failed_gathered_read_is_told_to_who_caused_it(void **state BASE_UNUSED)
{
    struct db_seen seen[20];

    ready();
    for (int i = 0; i < 20; i++)
        ask_number(&divided, i % 10, &seen[i]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    for (int i = 0; i < 20; i++) {
        answered(&seen[i], i % 10 ? BASE_OK : BASE_INVALID);
        if (i % 10)
            assert_int_equal(seen[i].number, 60 / (i % 10) * 1000 + 1);
        else
            assert_string_equal(seen[i].sqlstate, "22012");
    }
    assert_int_equal(f.downs, 0);
    ask_number(&divided, 6, &seen[0]);
    ask_number(&divided, 5, &seen[1]);
    DB_UNTIL(&f, seen[1].count);
    assert_int_equal(seen[0].number, 10002);
}

/* Behind a read of another kind that failed, and with none of them prepared yet. */
static void gathered_reads_behind_a_failure(void **state BASE_UNUSED)
{
    struct db_seen seen[4];

    ready();
    db_ask(&f, &broken, &seen[0]);
    for (int i = 1; i < 4; i++)
        ask_number(&together, i, &seen[i]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_INVALID);
    for (int i = 1; i < 4; i++) {
        answered(&seen[i], BASE_OK);
        assert_int_equal(seen[i].number, i * 1000 + 1);
    }
}

/* A mistake of ours in the SQL must not give one the row of another. */
static void gathered_reads_with_a_row_too_few_or_too_many(void **state BASE_UNUSED)
{
    static const struct db_statement few = {
        "few", "SELECT key FROM unnest($1::text[]) AS asked (key) WHERE key <> '2'",
        DB_GATHERED_READ};
    static const struct db_statement many = {
        "many", "SELECT key FROM unnest($1::text[] || '2'::text) AS asked (key)", DB_GATHERED_READ};
    struct db_seen seen[8];

    ready();
    for (int i = 0; i < 8; i++)
        ask_number(i < 4 ? &few : &many, i % 4, &seen[i]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    for (int i = 0; i < 8; i++)
        answered(&seen[i], BASE_INTERNAL);
    ask_number(&few, 2, &seen[0]);
    DB_UNTIL(&f, seen[0].count);
    answered(&seen[0], BASE_INTERNAL);
    assert_int_equal(f.downs, 0);
}

static void gathered_reads_with_the_longest_keys(void **state BASE_UNUSED)
{
    static const struct db_statement length = {
        "key_length",
        "SELECT length(key) FROM unnest($1::text[]) WITH ORDINALITY AS asked (key, n) ORDER BY n",
        DB_GATHERED_READ};
    struct db_seen seen[64];
    char key[501];

    memset(key, 'k', sizeof key);
    key[500] = '\0';
    for (int i = 0; i < 64; i++)
        ask_key(&length, key + i * 500 / 63, &seen[i]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    for (int i = 0; i < 64; i++) {
        answered(&seen[i], BASE_OK);
        assert_int_equal(seen[i].number, 500 - i * 500 / 63);
    }
}

static void errors_get_their_class(void **state BASE_UNUSED)
{
    static const struct {
        struct db_statement statement;
        enum base_err err;
        const char *sqlstate, *constraint;
    } cases[] = {
        {{"c0", "INSERT INTO child VALUES (9)", DB_WRITE}, BASE_CONFLICT, "23503", "child_id_fkey"},
        {{"c1", "INSERT INTO t VALUES (NULL)", DB_WRITE}, BASE_CONFLICT, "23502", ""},
        {{"c2", "SELECT 'x'::text::int", DB_READ}, BASE_INVALID, "22P02", ""},
        {{"c3", "SELECT * FROM pg_read_file('/etc/hostname' || random())", DB_READ},
         BASE_UNAVAILABLE,
         "58P01",
         ""},
        {{"c4", "SELECT nonsense", DB_READ}, BASE_INTERNAL, "42703", ""},
        {{"c5", "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", DB_WRITE},
         BASE_UNAVAILABLE,
         "40001",
         ""},
        {{"c6", "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", DB_WRITE},
         BASE_UNAVAILABLE,
         "40P01",
         ""},
        {{"c7", "DO $$ BEGIN RAISE SQLSTATE '42501'; END $$", DB_WRITE}, BASE_DENIED, "42501", ""},
        {{"c8", "DO $$ BEGIN RAISE SQLSTATE '53100'; END $$", DB_WRITE},
         BASE_UNAVAILABLE,
         "53100",
         ""},
        {{"c9", "DO $$ BEGIN RAISE SQLSTATE '57014'; END $$", DB_WRITE}, BASE_TIMEOUT, "57014", ""},
        {{"c10", "DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$", DB_WRITE},
         BASE_TIMEOUT,
         "55P03",
         ""},
        {{"c11", "DO $$ BEGIN RAISE SQLSTATE 'XX000'; END $$", DB_WRITE},
         BASE_INTERNAL,
         "XX000",
         ""},
    };
    struct db_seen seen;

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        db_ask_now(&f, &cases[i].statement, &seen);
        answered(&seen, cases[i].err);
        assert_string_equal(seen.sqlstate, cases[i].sqlstate);
        assert_string_equal(seen.constraint, cases[i].constraint);
    }
    assert_int_equal(f.downs, 0);
}

/* What the role may not, the role may not. */
static void another_role(void **state BASE_UNUSED)
{
    char *conninfo = pg_cluster_as(database, "nobody_special");
    struct db_seen seen;

    reopen(conninfo);
    db_ask_now(&f, &count, &seen);
    answered(&seen, BASE_DENIED);
    assert_string_equal(seen.sqlstate, "42501");
    free(conninfo);
}

/* A write is not done before its commit is. */
static void a_commit_that_fails(void **state BASE_UNUSED)
{
    static const struct db_statement twice = {
        "twice", "INSERT INTO t (id, name) VALUES (1, 'a'), (2, 'a')", DB_WRITE};
    struct db_seen seen[3];

    ready();
    db_ask(&f, &one, &seen[0]);
    db_ask(&f, &twice, &seen[1]);
    db_ask(&f, &one, &seen[2]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_OK);
    answered(&seen[1], BASE_CONFLICT);
    assert_string_equal(seen[1].constraint, "t_name");
    answered(&seen[2], BASE_OK);
    assert_int_equal(rows_in_t(), 0);
}

static void several_as_one(void **state BASE_UNUSED)
{
    static const struct db_statement insert_id = {
        "insert_id", "INSERT INTO t (id) VALUES ($1::int) RETURNING id", DB_WRITE};
    struct db_param params[] = {db_int4(1), db_int4(2), db_int4(3)};
    struct db_call good[] = {
        {&insert_id, &params[0], 1}, {&count, NULL, 0}, {&insert_id, &params[1], 1}};
    struct db_call bad[] = {{&insert_id, &params[2], 1},
                            {&insert_id, &params[0], 1},
                            {&broken, NULL, 0},
                            {&count, NULL, 0}};
    struct db_seen seen[4] = {0};

    ready();
    db_query_all(f.conn, good, 3, db_seen_answer, &seen[0]);
    db_query_all(f.conn, bad, 4, db_seen_answer, &seen[1]);
    db_query(f.conn, &count, NULL, 0, db_seen_answer, &seen[2]);
    db_query_all(f.conn, &good[1], 2, db_seen_answer, &seen[3]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_OK); /* the answer of the last */
    assert_int_equal(seen[0].number, 2);
    answered(&seen[1], BASE_CONFLICT); /* of the first that failed */
    assert_string_equal(seen[1].constraint, "t_pkey");
    answered(&seen[2], BASE_OK);
    assert_int_equal(seen[2].number, 2);
    answered(&seen[3], BASE_CONFLICT);
    assert_int_equal(rows_in_t(), 2);
}

/* ---- Bounds and deadlines ---- */

static void too_many_are_refused_later(void **state BASE_UNUSED)
{
    struct db_seen seen[10];

    db_conn_close(&f.conn);
    f.options.max_pending = 4;
    f.options.max_batch = 3;
    db_fixture_open(&f);
    for (int i = 0; i < 10; i++)
        db_ask(&f, &one, &seen[i]);
    assert_int_equal(db_conn_pending(f.conn), 4);
    DB_UNTIL(&f, seen[3].count);
    for (int i = 0; i < 10; i++)
        answered(&seen[i], i < 4 ? BASE_OK : BASE_BUSY);
    db_ask_now(&f, &one, &seen[0]);
    answered(&seen[0], BASE_OK);
}

static void a_late_answer_costs_the_connection(void **state BASE_UNUSED)
{
    struct db_seen seen[5];
    int64_t start;

    ready();
    start = base_clock_mono_us();
    db_ask(&f, &insert, &seen[0]); /* answered before the nap */
    db_ask(&f, &nap, &seen[1]);
    db_ask(&f, &one, &seen[2]); /* behind it: a deadline of its own, of the same moment */
    DB_UNTIL(&f, seen[2].count);
    assert_in_range(base_clock_mono_us() - start, TIMEOUT_US, 3 * TIMEOUT_US);
    answered(&seen[0], BASE_OK);
    answered(&seen[1], BASE_TIMEOUT);
    assert_int_equal(f.downs, 1);
    db_ask_now(&f, &two, &seen[3]);
    answered(&seen[3], BASE_OK);
    assert_int_equal(f.ups, 2);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    assert_int_equal(rows_in_t(), 1);
}

/* The later ones in the same batch have time left: reads use it on a new connection. */
static void neighbours_of_a_late_answer(void **state BASE_UNUSED)
{
    struct db_seen seen[4];

    db_conn_close(&f.conn); /* so that they wait for the connection, and leave together */
    db_fixture_open(&f);
    db_ask(&f, &nap, &seen[0]);
    usleep(TIMEOUT_US / 2);
    db_ask(&f, &one, &seen[1]);
    db_ask(&f, &insert, &seen[2]);
    db_ask(&f, &two, &seen[3]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_TIMEOUT);
    answered(&seen[1], BASE_OK);
    answered(&seen[2], BASE_UNAVAILABLE); /* sent, so it may have happened */
    answered(&seen[3], BASE_OK);
    assert_int_equal(f.downs, 1);
    db_pass(&f, BASE_US_PER_S); /* the nap ends by statement_timeout; then whatever was to come */
    assert_int_equal(seen[1].count + seen[2].count + seen[3].count, 3);
}

/* One that waits for the end of its batch to be sent again, and the batch hangs. */
static void a_deadline_between_two_batches(void **state BASE_UNUSED)
{
    static const struct db_statement nap_write = {"nap_write", "SELECT pg_sleep(30)::text",
                                                  DB_WRITE};
    struct db_seen seen[3];
    int64_t start = base_clock_mono_us();

    db_conn_close(&f.conn);
    db_fixture_open(&f);
    db_ask(&f, &broken, &seen[0]);
    db_ask(&f, &one, &seen[1]);
    usleep(TIMEOUT_US / 2);
    db_ask(&f, &nap_write, &seen[2]);
    DB_UNTIL(&f, seen[1].count);
    assert_in_range(base_clock_mono_us() - start, TIMEOUT_US, TIMEOUT_US * 5 / 4);
    answered(&seen[0], BASE_INVALID);
    answered(&seen[1], BASE_TIMEOUT);
    answered(&seen[2], BASE_UNAVAILABLE);
}

static void the_server_gives_up_too(void **state BASE_UNUSED)
{
    static const struct db_statement limit = {
        "limit", "SELECT setting::int8 FROM pg_settings WHERE name = 'statement_timeout'", DB_READ};
    struct db_seen seen;

    db_ask_now(&f, &limit, &seen);
    answered(&seen, BASE_OK);
    assert_int_equal(seen.number, TIMEOUT_US / 1000 + 500);
}

/* A statement timeout below our deadline: what is slow fails, and those beside and behind it have
 * their answers over the same connection. */
static void the_server_gives_up_first(void **state BASE_UNUSED)
{
    static const struct db_statement slow_write = {"slow_write", "SELECT pg_sleep(30)::text",
                                                   DB_WRITE};
    struct db_seen seen[6];

    db_conn_close(&f.conn);
    f.options.query_timeout_us = 10 * BASE_US_PER_S;
    f.options.statement_timeout_us = BASE_US_PER_S / 10;
    db_fixture_open(&f);
    ready();
    db_ask(&f, &one, &seen[0]);
    db_ask(&f, &nap, &seen[1]);
    db_ask(&f, &two, &seen[2]);
    db_ask(&f, &insert, &seen[3]);
    db_ask(&f, &slow_write, &seen[4]);
    db_ask(&f, &one, &seen[5]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    for (int i = 0; i < 6; i++) {
        answered(&seen[i], i == 1 || i == 4 ? BASE_TIMEOUT : BASE_OK);
        if (seen[i].err == BASE_TIMEOUT)
            assert_string_equal(seen[i].sqlstate, "57014");
    }
    assert_int_equal(f.downs, 0);
    assert_int_equal(rows_in_t(), 1);
}

static void again(void *ctx)
{
    db_query(f.conn, &one, NULL, 0, db_seen_answer, ctx);
}

/* Asking again from a callback is fine, also when the answer was no: others get their turn. */
static void callbacks_may_ask(void **state BASE_UNUSED)
{
    static struct db_seen stubborn;
    struct db_seen seen;

    ready();
    db_ask(&f, &one, &stubborn);
    stubborn.then = again;
    stubborn.then_ctx = &stubborn;
    DB_UNTIL(&f, stubborn.count > 20);
    pg_cluster_stop(db_fixture_cluster());
    DB_UNTIL(&f, stubborn.err == BASE_UNAVAILABLE);
    db_pass(&f, 50 * BASE_US_PER_MS); /* db_turn() comes back, so the loop turns */
    pg_cluster_start(db_fixture_cluster());
    DB_UNTIL(&f, stubborn.err == BASE_OK);
    stubborn.then = NULL;
    db_ask_now(&f, &two, &seen);
    answered(&seen, BASE_OK);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
}

/* ---- Losing the connection ---- */

struct through {
    struct db_proxy *proxy;
    char conninfo[256];
};

static void open_through(struct through *t)
{
    char path[128];
    char *name = pg_cluster_query(database, "SELECT current_database()");

    snprintf(path, sizeof path, "%s/.s.PGSQL.5432", pg_cluster_socket_dir(db_fixture_cluster()));
    t->proxy = db_proxy_new(f.base, path);
    snprintf(t->conninfo, sizeof t->conninfo,
             "host=127.0.0.1 port=%d user=postgres dbname=%s sslmode=disable",
             db_proxy_port(t->proxy), name);
    free(name);
    reopen(t->conninfo);
    ready();
}

static void close_through(struct through *t)
{
    db_conn_close(&f.conn);
    db_proxy_free(&t->proxy);
}

/* The server does what it was sent, and the answers are lost. */
static void the_connection_breaks(void **state BASE_UNUSED)
{
    struct through t;
    struct db_seen seen[4];

    open_through(&t);
    db_proxy_hold(t.proxy, true);
    db_ask(&f, &one, &seen[0]);
    db_ask(&f, &insert, &seen[1]);
    db_ask(&f, &two, &seen[2]);
    DB_UNTIL(&f, rows_in_t() == 1);
    db_ask(&f, &count, &seen[3]); /* not sent: a batch is in flight */
    db_proxy_hold(t.proxy, false);
    db_proxy_cut(t.proxy);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_OK);
    answered(&seen[1], BASE_UNAVAILABLE);
    answered(&seen[2], BASE_OK);
    answered(&seen[3], BASE_OK);
    assert_int_equal(seen[3].number, 1); /* once, not twice */
    assert_int_equal(f.downs, 1);
    close_through(&t);
}

/* Together on the first connection, and again on the second. */
static void the_connection_breaks_under_gathered_reads(void **state BASE_UNUSED)
{
    struct through t;
    struct db_seen seen[5];

    open_through(&t);
    db_proxy_hold(t.proxy, true);
    for (int i = 0; i < 4; i++)
        ask_number(&together, i, &seen[i]);
    db_pass(&f, 50 * BASE_US_PER_MS);
    ask_number(&together, 4, &seen[4]); /* not sent: a batch is in flight */
    db_proxy_hold(t.proxy, false);
    db_proxy_cut(t.proxy);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    for (int i = 0; i < 5; i++) {
        answered(&seen[i], BASE_OK);
        assert_int_equal(seen[i].number, i * 1000 + 5);
    }
    assert_int_equal(f.downs, 1);
    close_through(&t);
}

/* A read that broke two connections is not given a third. */
static void the_connection_breaks_twice(void **state BASE_UNUSED)
{
    static const struct db_statement suicide = {
        "suicide", "SELECT pg_terminate_backend(pg_backend_pid())", DB_READ};
    struct db_seen seen[2];

    db_ask_now(&f, &one, &seen[0]);
    db_ask(&f, &suicide, &seen[0]);
    db_ask(&f, &one, &seen[1]); /* in the same batch, both times */
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_UNAVAILABLE);
    assert_int_equal(seen[1].count, 1);
    assert_int_equal(f.downs, 2);
    assert_non_null(strstr(f.why, "terminating connection due to administrator command"));
    db_ask_now(&f, &one, &seen[1]);
    answered(&seen[1], BASE_OK);
}

static void kill_backend(int64_t backend)
{
    char sql[64];

    snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%lld)", (long long)backend);
    free(pg_cluster_query(database, sql));
}

static void killed_while_idle(void **state BASE_UNUSED)
{
    struct db_seen seen;
    int64_t before;

    db_ask_now(&f, &pid, &seen);
    before = seen.number;
    kill_backend(before);
    DB_UNTIL(&f, f.downs == 1);
    assert_non_null(strstr(f.why, "terminating connection due to administrator command"));
    db_ask_now(&f, &pid, &seen);
    answered(&seen, BASE_OK);
    assert_int_not_equal(seen.number, before);
    assert_int_equal(f.ups, 2);
    assert_string_equal(db_conn_problem(f.conn), "");
}

/* Asked after the server has closed, before we know. */
static void killed_unnoticed(void **state BASE_UNUSED)
{
    struct db_seen seen[2];

    db_ask_now(&f, &pid, &seen[0]);
    kill_backend(seen[0].number);
    usleep(100000);
    db_ask(&f, &one, &seen[0]);
    db_ask(&f, &insert, &seen[1]);
    DB_UNTIL(&f, seen[0].count && seen[1].count);
    answered(&seen[0], BASE_OK);
    assert_int_equal(seen[1].count, 1);
    assert_true(seen[1].err == BASE_UNAVAILABLE || seen[1].err == BASE_OK);
    assert_int_equal(rows_in_t(), seen[1].err == BASE_OK);
}

static void a_write_is_never_sent_twice(void **state BASE_UNUSED)
{
    static const struct db_statement slow_insert = {
        "slow_insert", "INSERT INTO t SELECT 1 FROM pg_sleep(10)", DB_WRITE};
    struct db_seen seen;

    ready();
    db_ask(&f, &slow_insert, &seen);
    db_pass(&f, 50 * BASE_US_PER_MS);
    free(pg_cluster_query(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                    " WHERE application_name = 'cardea-test'"));
    DB_UNTIL(&f, seen.count);
    answered(&seen, BASE_UNAVAILABLE);
    DB_UNTIL(&f, db_conn_ready(f.conn));
    db_pass(&f, 100 * BASE_US_PER_MS);
    assert_int_equal(rows_in_t(), 0);
}

/* A pooler that resets the session takes our prepared statements with it. */
static void prepared_statements_vanish(void **state BASE_UNUSED)
{
    static const struct db_statement discard = {"discard", "DISCARD ALL", DB_WRITE};
    struct db_seen seen[3];

    db_ask_now(&f, &one, &seen[0]);
    db_ask_now(&f, &insert, &seen[0]);
    free(pg_cluster_query(database, "DELETE FROM t"));
    db_ask_now(&f, &discard, &seen[0]);
    answered(&seen[0], BASE_OK);
    db_ask(&f, &insert, &seen[0]); /* known not to have happened, so it may be sent again */
    db_ask(&f, &one, &seen[1]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_OK);
    answered(&seen[1], BASE_OK);
    assert_int_equal(rows_in_t(), 1);
    assert_int_equal(f.downs, 1);
}

static void columns_change_their_type(void **state BASE_UNUSED)
{
    static const struct db_statement everything = {"everything", "SELECT * FROM shifting", DB_READ};
    struct db_seen seen;

    free(pg_cluster_query(database, "CREATE TABLE shifting AS SELECT 7::int4 AS n"));
    db_ask_now(&f, &everything, &seen);
    assert_int_equal(seen.number, 7);
    free(pg_cluster_query(database, "ALTER TABLE shifting ALTER n TYPE text"));
    db_ask_now(&f, &everything, &seen);
    answered(&seen, BASE_OK);
    assert_string_equal(seen.text, "7");
    free(pg_cluster_query(database, "DROP TABLE shifting"));
}

/* What PostgreSQL cannot do at all is told after one more try. */
static void not_supported(void **state BASE_UNUSED)
{
    static const struct db_statement never = {"never", "DO $$ BEGIN RAISE SQLSTATE '0A000'; END $$",
                                              DB_READ};
    struct db_seen seen;

    db_ask_now(&f, &never, &seen);
    answered(&seen, BASE_INTERNAL);
    assert_string_equal(seen.sqlstate, "0A000");
}

/* A primary that was demoted under us. */
static void read_only_all_of_a_sudden(void **state BASE_UNUSED)
{
    static const struct db_statement demote = {
        "demote", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", DB_WRITE};
    struct db_seen seen[2];

    db_ask_now(&f, &demote, &seen[0]);
    answered(&seen[0], BASE_OK);
    db_ask(&f, &insert, &seen[0]);
    db_ask(&f, &one, &seen[1]);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    answered(&seen[0], BASE_UNAVAILABLE);
    answered(&seen[1], BASE_OK);
    assert_int_equal(f.downs, 1);
    db_ask_now(&f, &insert, &seen[0]);
    answered(&seen[0], BASE_OK);
}

/* One question of the storm, and what may come of it. */
static void ask_at_random(struct db_seen *seen, int id)
{
    static const struct db_statement insert_id = {"insert_id",
                                                  "INSERT INTO t (id) VALUES ($1::int)", DB_WRITE};
    struct db_param param = db_int4(id);
    struct db_call calls[] = {{&insert_id, &param, 1}, {&count, NULL, 0}};

    *seen = (struct db_seen){0};
    switch (random() % 8) {
    case 0:
        db_query(f.conn, &insert_id, &param, 1, db_seen_answer, seen);
        break;
    case 1:
        db_query_all(f.conn, calls, 2, db_seen_answer, seen);
        break;
    case 2:
        db_query(f.conn, &broken, NULL, 0, db_seen_answer, seen);
        break;
    default:
        db_query(f.conn, random() % 2 ? &one : &two, NULL, 0, db_seen_answer, seen);
    }
    assert_int_equal(seen->count, 0);
}

static void disturb(struct db_proxy *proxy)
{
    switch (random() % 64) {
    case 0:
        db_proxy_cut(proxy);
        break;
    case 1:
        db_proxy_hold(proxy, true);
        break;
    case 2:
    case 3:
        db_proxy_hold(proxy, false);
        break;
    case 4:
        free(pg_cluster_query(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                        " WHERE application_name = 'cardea-test'"));
        break;
    case 5:
        db_pass(&f, 20 * BASE_US_PER_MS);
        break;
    default:
        db_turn(&f);
    }
}

/* Every question is answered once. A write said to be done is done; one sent twice would meet its
 * own row, and answer with a conflict. */
static void a_storm(void **state BASE_UNUSED)
{
    enum { QUESTIONS = 1500 };
    static struct db_seen seen[QUESTIONS];
    struct through t;
    int done = 0, ok = 0;

    f.options.max_pending = 40;
    open_through(&t);
    srandom(20270101);
    for (int i = 0; i < QUESTIONS; i++) {
        ask_at_random(&seen[i], i + 1);
        if (random() % 4 == 0)
            disturb(t.proxy);
        for (int turns = 0; turns < 30 && db_conn_pending(f.conn) > 20; turns++)
            db_turn(&f);
    }
    db_proxy_hold(t.proxy, false);
    DB_UNTIL(&f, db_conn_pending(f.conn) == 0);
    db_pass(&f, 20 * BASE_US_PER_MS);
    for (int i = 0; i < QUESTIONS; i++) {
        assert_int_equal(seen[i].count, 1);
        assert_int_not_equal(seen[i].err, BASE_CONFLICT);
        done += seen[i].err == BASE_OK && (seen[i].affected == 1 && seen[i].rows == 0);
        ok += seen[i].err == BASE_OK;
    }
    assert_true(f.downs > 3 && ok > QUESTIONS / 20 && rows_in_t() >= done);
    close_through(&t);
}

/* ---- Closing ---- */

static void closing_answers_all(void **state BASE_UNUSED)
{
    struct db_seen seen[30];

    ready();
    for (int i = 0; i < 10; i++)
        db_ask(&f, i % 3 ? &one : &insert, &seen[i]);
    db_turn(&f); /* in flight */
    for (int i = 10; i < 20; i++)
        db_ask(&f, &one, &seen[i]);
    db_conn_close(&f.conn);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(seen[i].count, 1);
        assert_true(seen[i].err == BASE_UNAVAILABLE || i < 10);
    }
    assert_null(f.conn);
}

static void closing_before_the_first_turn(void **state BASE_UNUSED)
{
    struct db_seen seen;

    db_conn_close(&f.conn);
    db_fixture_open(&f);
    db_ask(&f, &one, &seen);
    db_conn_close(&f.conn);
    answered(&seen, BASE_UNAVAILABLE);
    db_conn_close(&f.conn); /* NULL is fine */
}

static struct db_seen echo;

static void ask_echo(void *ctx)
{
    struct db_seen *first = ctx;

    first->then = NULL;
    db_query(f.conn, &one, NULL, 0, db_seen_answer, &echo);
}

static void closing_answers_what_callbacks_ask(void **state BASE_UNUSED)
{
    struct db_seen seen;

    ready();
    echo = (struct db_seen){0};
    db_ask(&f, &nap, &seen);
    seen.then = ask_echo;
    seen.then_ctx = &seen;
    db_pass(&f, 20 * BASE_US_PER_MS);
    db_conn_close(&f.conn);
    answered(&seen, BASE_UNAVAILABLE);
    answered(&echo, BASE_UNAVAILABLE);
}

/* One that never stops is stopped. */
static void closing_ends(void **state BASE_UNUSED)
{
    struct db_seen seen;

    db_ask(&f, &one, &seen);
    seen.then = again;
    seen.then_ctx = &seen;
    db_conn_close(&f.conn);
    assert_true(seen.count > 1);
}

/* ---- Scripts ---- */

static void script(const char *sql, int64_t timeout_us, struct db_seen *seen)
{
    *seen = (struct db_seen){0};
    db_script(f.conn, sql, timeout_us, db_seen_answer, seen);
    assert_int_equal(seen->count, 0);
}

static void scripts_run(void **state BASE_UNUSED)
{
    struct db_seen before, seen, after;

    db_ask(&f, &one, &before);
    script("BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); COMMIT", BASE_US_PER_S,
           &seen);
    db_ask(&f, &count, &after);
    DB_UNTIL(&f, after.count);
    answered(&before, BASE_OK);
    answered(&seen, BASE_OK);
    answered(&after, BASE_OK);
    assert_true(before.order < seen.order && seen.order < after.order);
    assert_int_equal(after.number, 2);
    script("SELECT 'last'", BASE_US_PER_S, &seen);
    DB_UNTIL(&f, seen.count);
    assert_string_equal(seen.text, "last");
    script("", BASE_US_PER_S, &seen);
    DB_UNTIL(&f, seen.count);
    answered(&seen, BASE_OK);
}

static void scripts_that_fail_leave_nothing(void **state BASE_UNUSED)
{
    struct db_seen seen, after;

    db_ask_now(&f, &pid, &seen);
    script("BEGIN; INSERT INTO t VALUES (1); SELECT 1/0; COMMIT", BASE_US_PER_S, &seen);
    db_ask(&f, &count, &after);
    DB_UNTIL(&f, after.count);
    answered(&seen, BASE_INVALID);
    assert_string_equal(seen.sqlstate, "22012");
    answered(&after, BASE_OK);
    assert_int_equal(after.number, 0);
    script("BEGIN; INSERT INTO t VALUES (1)", BASE_US_PER_S, &seen); /* COMMIT forgotten */
    db_ask(&f, &count, &after);
    DB_UNTIL(&f, after.count);
    answered(&seen, BASE_OK);
    assert_int_equal(after.number, 0);
    script("DO $$ BEGIN RAISE SQLSTATE '0A000'; END $$", BASE_US_PER_S, &seen);
    DB_UNTIL(&f, seen.count);
    answered(&seen, BASE_INTERNAL);
    assert_int_equal(f.downs, 0); /* a lock that the session holds is held still */
}

/* Longer than queries may take, and then the limit is back. */
static void scripts_have_time(void **state BASE_UNUSED)
{
    struct db_seen seen, behind;

    ready();
    script("SELECT pg_sleep(5)", 10 * BASE_US_PER_S, &seen);
    db_ask(&f, &one, &behind);
    DB_UNTIL(&f, seen.count);
    answered(&seen, BASE_OK);
    answered(&behind, BASE_TIMEOUT);
    the_server_gives_up_too(NULL);
    assert_int_equal(f.downs, 0);
}

static void scripts_have_deadlines(void **state BASE_UNUSED)
{
    struct db_seen seen;

    ready();
    script("SELECT pg_sleep(30)", 100 * BASE_US_PER_MS, &seen);
    DB_UNTIL(&f, seen.count);
    answered(&seen, BASE_TIMEOUT);
    assert_int_equal(f.downs, 1);
    db_ask_now(&f, &one, &seen);
    script("COPY t FROM STDIN", BASE_US_PER_S, &seen);
    DB_UNTIL(&f, seen.count);
    answered(&seen, BASE_UNAVAILABLE);
    db_ask_now(&f, &one, &seen);
    script("COPY t TO STDOUT", BASE_US_PER_S, &seen);
    DB_UNTIL(&f, seen.count);
    answered(&seen, BASE_UNAVAILABLE);
    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_OK);
}

/* It may have happened. */
static void a_script_that_loses_its_connection(void **state BASE_UNUSED)
{
    struct db_seen seen;

    db_ask_now(&f, &one, &seen);
    script("INSERT INTO t VALUES (1); COMMIT; SELECT pg_terminate_backend(pg_backend_pid())",
           BASE_US_PER_S, &seen);
    DB_UNTIL(&f, seen.count);
    answered(&seen, BASE_UNAVAILABLE);
    DB_UNTIL(&f, db_conn_ready(f.conn));
    assert_int_equal(f.downs, 1);
    assert_int_equal(rows_in_t(), 1);
}

/* A mistake of ours, which must not make the loop spin. */
static void queries_that_copy(void **state BASE_UNUSED)
{
    static const struct db_statement copy = {"copy", "COPY t TO STDOUT", DB_WRITE};
    struct db_seen seen;

    db_ask_now(&f, &one, &seen);
    db_ask_now(&f, &copy, &seen);
    answered(&seen, BASE_UNAVAILABLE);
    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_OK);
}

/* libpq prints notices to standard error unless told otherwise. */
static void notices_are_not_printed(void **state BASE_UNUSED)
{
    static const struct db_statement noisy = {"noisy", "DO $$ BEGIN RAISE WARNING 'noise'; END $$",
                                              DB_READ};
    char path[] = "/tmp/cardea-notice-XXXXXX";
    int file = mkstemp(path), before = dup(STDERR_FILENO);
    struct db_seen seen[2];
    struct stat info;

    assert_true(file >= 0 && before >= 0);
    dup2(file, STDERR_FILENO);
    db_ask_now(&f, &noisy, &seen[0]);
    script("DO $$ BEGIN RAISE WARNING 'noise'; END $$", BASE_US_PER_S, &seen[1]);
    DB_UNTIL(&f, seen[1].count);
    dup2(before, STDERR_FILENO);
    assert_int_equal(fstat(file, &info), 0);
    close(file);
    close(before);
    unlink(path);
    answered(&seen[0], BASE_OK);
    answered(&seen[1], BASE_OK);
    assert_int_equal(info.st_size, 0);
}

/* ---- libpq finds no memory ---- */

static bool no_memory_for_a_sync; /* once */

/* Instead of libpq's own, which libpq calls by this name too. */
__attribute__((visibility("default"))) PGresult *PQmakeEmptyPGresult(PGconn *pg,
                                                                     ExecStatusType status)
{
    PGresult *(*real)(PGconn *, ExecStatusType);
    void *found = dlsym(RTLD_NEXT, "PQmakeEmptyPGresult");

    if (no_memory_for_a_sync && status == PGRES_PIPELINE_SYNC) {
        no_memory_for_a_sync = false;
        return NULL;
    }
    memcpy(&real, &found, sizeof real);
    return real(pg, status);
}

static void no_memory_for_the_end_of_a_batch(void **state BASE_UNUSED)
{
    int64_t began;
    struct db_seen seen;

    ready();
    began = base_clock_mono_us();
    no_memory_for_a_sync = true;
    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_OK); /* by a new connection */
    assert_int_equal(f.downs, 1);
    no_memory_for_a_sync = true;
    db_ask_now(&f, &insert, &seen);
    answered(&seen, BASE_UNAVAILABLE); /* it may have happened, and has */
    assert_int_equal(rows_in_t(), 1);
    assert_int_equal(f.downs, 2);
    assert_in_range(base_clock_mono_us() - began, 0, TIMEOUT_US - 1); /* nothing was waited for */
    db_ask_now(&f, &one, &seen);
    answered(&seen, BASE_OK);
}

/* ---- Notifications ---- */

static void notify(const char *sql)
{
    free(pg_cluster_query(database, sql));
}

static void notifications_arrive(void **state BASE_UNUSED)
{
    struct db_seen seen;

    db_conn_close(&f.conn);
    db_fixture_open(&f);
    db_conn_listen(f.conn, "early");
    ready();
    db_conn_listen(f.conn, "late_1");
    db_ask_now(&f, &one, &seen); /* behind the LISTEN */
    notify("NOTIFY early, 'worm'");
    DB_UNTIL(&f, f.notifies == 1);
    assert_string_equal(f.channel, "early");
    assert_string_equal(f.payload, "worm");
    notify("NOTIFY late_1; NOTIFY unheard");
    DB_UNTIL(&f, f.notifies == 2);
    assert_string_equal(f.channel, "late_1");
    assert_string_equal(f.payload, "");
    db_ask_now(&f, &pid, &seen);
    kill_backend(seen.number);
    DB_UNTIL(&f, f.ups == 2);
    notify("NOTIFY early; NOTIFY late_1");
    DB_UNTIL(&f, f.notifies == 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(values_go_and_come_back),
        TEST(large_parameters),
        TEST(the_most_parameters),
        TEST(many_at_once_are_answered_once_and_in_order),
        TEST(reads_of_one_turn_share_a_sync),
        TEST(a_failed_read_does_not_harm_its_neighbours),
        TEST(a_statement_that_cannot_be_prepared),
        TEST(writes_stand_alone),
        TEST(gathered_reads_share_an_execution),
        TEST(gathered_reads_among_others),
        TEST(a_failed_gathered_read_is_told_to_who_caused_it),
        TEST(gathered_reads_behind_a_failure),
        TEST(gathered_reads_with_a_row_too_few_or_too_many),
        TEST(gathered_reads_with_the_longest_keys),
        TEST(errors_get_their_class),
        TEST(another_role),
        TEST(a_commit_that_fails),
        TEST(several_as_one),
        TEST(too_many_are_refused_later),
        TEST(a_late_answer_costs_the_connection),
        TEST(neighbours_of_a_late_answer),
        TEST(a_deadline_between_two_batches),
        TEST(the_server_gives_up_too),
        TEST(the_server_gives_up_first),
        TEST(callbacks_may_ask),
        TEST(the_connection_breaks),
        TEST(the_connection_breaks_under_gathered_reads),
        TEST(the_connection_breaks_twice),
        TEST(killed_while_idle),
        TEST(killed_unnoticed),
        TEST(a_write_is_never_sent_twice),
        TEST(prepared_statements_vanish),
        TEST(columns_change_their_type),
        TEST(not_supported),
        TEST(read_only_all_of_a_sudden),
        TEST(a_storm),
        TEST(no_memory_for_the_end_of_a_batch),
        TEST(closing_answers_all),
        TEST(closing_before_the_first_turn),
        TEST(closing_answers_what_callbacks_ask),
        TEST(closing_ends),
        TEST(scripts_run),
        TEST(scripts_that_fail_leave_nothing),
        TEST(scripts_have_time),
        TEST(scripts_have_deadlines),
        TEST(a_script_that_loses_its_connection),
        TEST(queries_that_copy),
        TEST(notices_are_not_printed),
        TEST(notifications_arrive),
    };
    int failed;

    database = pg_cluster_database(db_fixture_cluster());
    free(pg_cluster_query(database, "CREATE ROLE nobody_special LOGIN"));
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(database);
    db_fixture_stop();
    return failed;
}
