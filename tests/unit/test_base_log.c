/* SPDX-License-Identifier: Apache-2.0 */
#include "base_log.h"

#include "base_attr.h"
#include "base_buf.h"
#include "base_clock.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct sink {
    int fd;
    struct base_buf text;
};

static int open_sink(void **state)
{
    struct sink *sink = calloc(1, sizeof *sink);

    sink->fd = memfd_create("log", MFD_CLOEXEC);
    base_buf_init(&sink->text, 16U << 20);
    base_clock_freeze(INT64_C(1798761600123456), 5 * BASE_US_PER_S);
    *state = sink;
    return sink->fd < 0;
}

static int close_sink(void **state)
{
    struct sink *sink = *state;

    base_log_close();
    base_clock_release();
    base_buf_clear(&sink->text);
    close(sink->fd);
    free(sink);
    return 0;
}

/* What has been written, after the log was closed. */
static const char *written(struct sink *sink)
{
    size_t len = (size_t)lseek(sink->fd, 0, SEEK_END);
    char *to = base_buf_reserve(&sink->text, len);

    assert_non_null(to);
    assert_int_equal(pread(sink->fd, to, len, 0), len);
    sink->text.len += len;
    return base_buf_cstr(&sink->text);
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;

    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

static void a_json_line(void **state)
{
    struct sink *sink = *state;

    base_log_open(sink->fd, BASE_LOG_JSON, BASE_LOG_INFO);
    BASE_LOG(BASE_LOG_INFO, "request", base_log_str("path", "/a b"), base_log_int("status", -401),
             base_log_bool("tls", true), base_log_bool("late", false), base_log_str("empty", ""),
             base_log_str("none", NULL), base_log_text("name", BASE_SPAN("\"\n<\xc3\xa9\xff")));
    base_log_event(BASE_LOG_ERROR, "bare", NULL, 0);
    base_log_close();
    assert_string_equal(
        written(sink),
        "{\"time\":\"2027-01-01T00:00:00.123Z\",\"level\":\"info\",\"event\":\"request\","
        "\"path\":\"/a b\",\"status\":-401,\"tls\":true,\"late\":false,"
        "\"name\":\"\\\"\\n\\u003c\xc3\xa9\\ufffd\"}\n"
        "{\"time\":\"2027-01-01T00:00:00.123Z\",\"level\":\"error\",\"event\":\"bare\"}\n");
}

static void a_text_line(void **state)
{
    struct sink *sink = *state;

    base_log_open(sink->fd, BASE_LOG_TEXT, BASE_LOG_DEBUG);
    BASE_LOG(BASE_LOG_WARNING, "request", base_log_str("path", "/oauth2/token"),
             base_log_int("status", 200), base_log_bool("tls", true), base_log_str("empty", ""),
             base_log_str("words", "two words"), base_log_str("quote", "a\"b"),
             base_log_str("forged", "x\n2027 ERROR y"), base_log_str("pair", "a=b"),
             base_log_str("esc", "\x1b[2J"), base_log_str("bad", "\xff"));
    BASE_LOG(BASE_LOG_DEBUG, "more", base_log_int("n", 1));
    base_log_close();
    assert_string_equal(written(sink),
                        "2027-01-01T00:00:00.123Z WARNING request path=/oauth2/token status=200 "
                        "tls=true words=\"two words\" quote=\"a\\\"b\" "
                        "forged=\"x\\n2027 ERROR y\" pair=\"a=b\" esc=\"\\u001b[2J\" "
                        "bad=\"\\ufffd\"\n"
                        "2027-01-01T00:00:00.123Z DEBUG   more n=1\n");
}

static void the_time_goes_on(void **state)
{
    static const int64_t times_us[] = {0, 999, 1000, 999999, 1000000, -1, 61 * BASE_US_PER_S};
    struct sink *sink = *state;

    base_log_open(sink->fd, BASE_LOG_TEXT, BASE_LOG_INFO);
    for (size_t i = 0; i < BASE_COUNT(times_us); i++) {
        base_clock_freeze(times_us[i], 1);
        base_log_event(BASE_LOG_INFO, "t", NULL, 0);
    }
    base_log_close();
    assert_string_equal(written(sink), "1970-01-01T00:00:00.000Z INFO    t\n"
                                       "1970-01-01T00:00:00.000Z INFO    t\n"
                                       "1970-01-01T00:00:00.001Z INFO    t\n"
                                       "1970-01-01T00:00:00.999Z INFO    t\n"
                                       "1970-01-01T00:00:01.000Z INFO    t\n"
                                       "1969-12-31T23:59:59.999Z INFO    t\n"
                                       "1970-01-01T00:01:01.000Z INFO    t\n");
}

static void levels_are_obeyed(void **state)
{
    struct sink *sink = *state;

    base_log_open(sink->fd, BASE_LOG_TEXT, BASE_LOG_WARNING);
    for (int level = BASE_LOG_ERROR; level <= BASE_LOG_DEBUG; level++) {
        assert_int_equal(base_log_enabled((enum base_log_level)level), level <= BASE_LOG_WARNING);
        base_log_event((enum base_log_level)level, "first", NULL, 0);
    }
    base_log_set_level(BASE_LOG_ERROR);
    BASE_LOG(BASE_LOG_WARNING, "second", base_log_int("n", 1));
    base_log_set_level(BASE_LOG_DEBUG);
    BASE_LOG(BASE_LOG_DEBUG, "third", base_log_int("n", 1));
    base_log_close();
    base_log_set_level(BASE_LOG_INFO);
    assert_int_equal(count_lines(written(sink)), 3);
    assert_null(strstr(base_buf_cstr(&sink->text), "second"));
    assert_non_null(strstr(base_buf_cstr(&sink->text), "third"));
}

/* Whatever a stranger sends, a line stays one line of JSON with our own fields in it. */
static void hostile_text_leaves_good_json(void **state)
{
    struct sink *sink = *state;
    json_t *line;
    char hostile[5000];

    for (size_t i = 0; i < sizeof hostile; i++)
        hostile[i] = (char)(i * 7);
    base_log_open(sink->fd, BASE_LOG_JSON, BASE_LOG_INFO);
    BASE_LOG(BASE_LOG_INFO, "request", base_log_text("path", base_span_of(hostile, 5000)),
             base_log_text("agent", base_span_of(hostile + 1, 4000)),
             base_log_text("id", base_span_of(hostile + 2, 1025)), base_log_int("status", 400));
    base_log_close();
    assert_int_equal(count_lines(written(sink)), 1);
    line = json_loads(base_buf_cstr(&sink->text), JSON_ALLOW_NUL, NULL);
    assert_non_null(line);
    assert_int_equal(json_integer_value(json_object_get(line, "status")), 400);
    assert_true(json_string_length(json_object_get(line, "path")) >= 1024);
    json_decref(line);
}

static void a_line_that_is_too_long_loses_whole_fields(void **state)
{
    struct sink *sink = *state;
    struct base_log_field fields[10];
    char controls[1024];
    json_t *line;

    memset(controls, 1, sizeof controls); /* each becomes six bytes */
    for (size_t i = 0; i < BASE_COUNT(fields); i++)
        fields[i] = base_log_text(i == 0 ? "first" : "more", base_span_of(controls, 1024));
    fields[9] = base_log_int("last", 9);
    base_log_open(sink->fd, BASE_LOG_JSON, BASE_LOG_INFO);
    base_log_event(BASE_LOG_INFO, "long", fields, BASE_COUNT(fields));
    base_log_close();
    line = json_loads(written(sink), 0, NULL);
    assert_non_null(line);
    assert_int_equal(json_string_length(json_object_get(line, "first")), 1024);
    assert_int_equal(json_integer_value(json_object_get(line, "last")), 9);
    json_decref(line);
}

static void texts_are_cut_between_characters(void **state)
{
    struct sink *sink = *state;
    char text[2000];

    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    base_log_open(sink->fd, BASE_LOG_JSON, BASE_LOG_INFO);
    BASE_LOG(BASE_LOG_INFO, "cut", base_log_text("a", base_span_of(text, 2000)),
             base_log_text("b", base_span_of(text + 1, 1999)));
    base_log_close();
    (void)written(sink);
    assert_null(strstr(base_buf_cstr(&sink->text), "\\ufffd\""));
}

static void *write_lines(void *argument)
{
    for (int i = 0; i < 500; i++)
        BASE_LOG(BASE_LOG_INFO, "thread", base_log_int("thread", (intptr_t)argument),
                 base_log_int("line", i));
    return NULL;
}

static void threads_write_whole_lines_in_order(void **state)
{
    struct sink *sink = *state;
    uint64_t dropped = base_log_dropped();
    int next[4] = {0};
    pthread_t threads[4];

    base_clock_release();
    base_log_open(sink->fd, BASE_LOG_JSON, BASE_LOG_INFO);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, (void *)(intptr_t)i), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    base_log_close();
    for (const char *at = written(sink); *at; at = strchr(at, '\n') + 1) {
        const char *thread = strstr(at, "\"thread\":");
        const char *line = strstr(at, "\"line\":");
        long number = strtol(thread + 9, NULL, 10);

        assert_true(number >= 0 && number < 4);
        assert_int_equal(strtol(line + 7, NULL, 10), next[number]++);
    }
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(next[i], 500);
    assert_int_equal(base_log_dropped(), dropped);
}

/* Appears without closing: the writer does not wait for more than its 20 ms. */
static void lines_appear_soon(void **state)
{
    struct sink *sink = *state;

    base_log_open(sink->fd, BASE_LOG_TEXT, BASE_LOG_INFO);
    for (int line = 1; line <= 3; line++) {
        base_log_event(BASE_LOG_INFO, "soon", NULL, 0);
        for (int waited = 0; lseek(sink->fd, 0, SEEK_END) < 36 * line; waited++) {
            assert_true(waited < 5000);
            usleep(1000);
        }
    }
}

static void a_stuck_reader_blocks_nobody(void **state)
{
    uint64_t dropped = base_log_dropped();
    char text[1000];
    int ends[2];

    (void)state;
    base_clock_release();
    memset(text, 'x', sizeof text);
    assert_int_equal(pipe(ends), 0);
    base_log_open(ends[1], BASE_LOG_JSON, BASE_LOG_INFO);
    for (int i = 0; i < 4000; i++) /* 4 MB, and nobody reads: pipe and both buffers overflow */
        BASE_LOG(BASE_LOG_INFO, "stuck", base_log_text("text", base_span_of(text, 1000)));
    assert_true(base_log_dropped() - dropped >= 1500);
    assert_true(base_log_dropped() - dropped < 4000);
    base_log_close(); /* after a second at most; the test's time limit sees to it */
    /* The writer comes back with an error, unharmed by SIGPIPE, and cleans up. Its end of the pipe
     * stays open: nobody can know when it has let go. */
    dropped = base_log_dropped();
    close(ends[0]);
    for (int waited = 0; base_log_dropped() == dropped; waited++) {
        assert_true(waited < 5000);
        usleep(1000);
    }
}

static void a_nonblocking_reader_loses_nothing(void **state)
{
    uint64_t dropped = base_log_dropped();
    char text[1000], sink[4096];
    size_t lines = 0;
    int ends[2];

    (void)state;
    memset(text, 'x', sizeof text);
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    base_log_open(ends[1], BASE_LOG_JSON, BASE_LOG_INFO);
    for (int i = 0; i < 500; i++)
        BASE_LOG(BASE_LOG_INFO, "slow", base_log_text("text", base_span_of(text, 1000)));
    while (lines < 500) {
        ssize_t got = read(ends[0], sink, sizeof sink);

        if (got < 0)
            usleep(1000);
        for (ssize_t i = 0; i < got; i++)
            lines += sink[i] == '\n';
    }
    base_log_close();
    assert_int_equal(base_log_dropped(), dropped);
    close(ends[0]);
    close(ends[1]);
}

static void a_descriptor_that_fails_counts_lines(void **state)
{
    uint64_t dropped = base_log_dropped();
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_true(full >= 0);
    base_log_open(full, BASE_LOG_JSON, BASE_LOG_INFO);
    for (int i = 0; i < 5; i++)
        base_log_event(BASE_LOG_INFO, "lost", NULL, 0);
    base_log_close();
    assert_int_equal(base_log_dropped() - dropped, 5);
    close(full);
}

static void closed_and_reopened(void **state)
{
    struct sink *sink = *state;
    int saved = dup(STDERR_FILENO);

    base_log_close();
    base_log_close();
    dup2(sink->fd, STDERR_FILENO); /* where lines go while there is no log */
    base_log_event(BASE_LOG_ERROR, "unopened", NULL, 0);
    dup2(saved, STDERR_FILENO);
    close(saved);
    base_log_open(sink->fd, BASE_LOG_TEXT, BASE_LOG_INFO);
    base_log_event(BASE_LOG_INFO, "one", NULL, 0);
    base_log_open(sink->fd, BASE_LOG_TEXT, BASE_LOG_INFO); /* closes the one before */
    base_log_event(BASE_LOG_INFO, "two", NULL, 0);
    base_log_close();
    assert_int_equal(count_lines(written(sink)), 3);
    assert_non_null(strstr(base_buf_cstr(&sink->text), "unopened"));
}

static void the_gate_opens_once_a_second(void **state)
{
    struct base_log_gate gate = {0};
    uint64_t suppressed = 77;

    (void)state;
    base_clock_freeze(0, 0); /* even in the first microsecond after boot */
    assert_true(base_log_gate_open(&gate, &suppressed));
    assert_int_equal(suppressed, 0);
    for (int i = 0; i < 5; i++)
        assert_false(base_log_gate_open(&gate, &suppressed));
    base_clock_freeze(0, BASE_US_PER_S);
    assert_false(base_log_gate_open(&gate, &suppressed));
    base_clock_freeze(0, BASE_US_PER_S + 1);
    assert_true(base_log_gate_open(&gate, &suppressed));
    assert_int_equal(suppressed, 6);
    base_clock_freeze(0, 10 * BASE_US_PER_S);
    assert_true(base_log_gate_open(&gate, &suppressed));
    assert_int_equal(suppressed, 0);
}

static struct base_log_gate shared_gate;

static void *knock(void *argument)
{
    uint64_t suppressed;

    for (int i = 0; i < 1000; i++)
        if (base_log_gate_open(&shared_gate, &suppressed))
            ++*(int *)argument;
    return NULL;
}

static void one_thread_gets_through_the_gate(void **state)
{
    pthread_t threads[3];
    int through[3] = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, knock, &through[i]), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(through[0] + through[1] + through[2], 1);
    assert_int_equal(shared_gate.swallowed, 2999);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_sink, close_sink)
    const struct CMUnitTest tests[] = {
        CASE(a_json_line),
        CASE(a_text_line),
        CASE(the_time_goes_on),
        CASE(levels_are_obeyed),
        CASE(hostile_text_leaves_good_json),
        CASE(a_line_that_is_too_long_loses_whole_fields),
        CASE(texts_are_cut_between_characters),
        CASE(threads_write_whole_lines_in_order),
        CASE(lines_appear_soon),
        CASE(a_stuck_reader_blocks_nobody),
        CASE(a_nonblocking_reader_loses_nothing),
        CASE(a_descriptor_that_fails_counts_lines),
        CASE(closed_and_reopened),
        CASE(the_gate_opens_once_a_second),
        CASE(one_thread_gets_through_the_gate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
