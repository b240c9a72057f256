/* SPDX-License-Identifier: Apache-2.0 */
/* The log.
 *
 * A caller formats its line in memory of its thread and appends it, under a mutex held for one
 * memcpy, to the buffer being filled. The writing thread wakes when the first line arrives, waits
 * 20 ms for company, swaps the two buffers and writes the full one with as few system calls as
 * possible. So a line costs its caller about a microsecond and a share of a wake-up, and whoever
 * reads the log may stall for as long as he likes: then the buffer fills up, and lines are dropped
 * and counted.
 *
 * The writer may hang in write(2) for ever. base_log_close() waits for it a second and then walks
 * away: the writer owns its memory and frees it should it ever come back. */
#include "base_log.h"

#include "base_buf.h"
#include "base_clock.h"
#include "base_encode.h"
#include "base_json.h"
#include "base_mem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE  (1U << 20)
#define LINE_MAX_LEN 32768 /* five texts of a stranger, each byte escaped as six */
#define TEXT_MAX     1024
#define GATHER_US    (20 * BASE_US_PER_MS)
#define CLOSE_US     BASE_US_PER_S
#define POLL_MS      100

struct writer {
    int fd;
    pthread_t thread;
    pthread_cond_t wake; /* the writer: a first line, a half-full buffer, or closing */
    pthread_cond_t done; /* base_log_close(): finished */
    char *filling;       /* producers append here */
    size_t filled;
    char *writing; /* the writer's own */
    bool closing, finished, abandoned;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards `current` and its fields */
static struct writer *current;
static _Atomic int current_level = BASE_LOG_INFO;
static _Atomic int current_format = BASE_LOG_JSON;
static _Atomic uint64_t dropped;

static void free_writer(struct writer **writer)
{
    if (!*writer)
        return;
    pthread_cond_destroy(&(*writer)->wake);
    pthread_cond_destroy(&(*writer)->done);
    base_free(&(*writer)->filling);
    base_free(&(*writer)->writing);
    base_free(writer);
}

static void count_dropped_lines(const char *bytes, size_t len)
{
    uint64_t lines = 0;

    for (size_t i = 0; i < len; i++)
        lines += bytes[i] == '\n';
    atomic_fetch_add_explicit(&dropped, lines, memory_order_relaxed);
}

static bool is_abandoned(struct writer *writer)
{
    bool abandoned;

    pthread_mutex_lock(&mutex);
    abandoned = writer->abandoned;
    pthread_mutex_unlock(&mutex);
    return abandoned;
}

/* The descriptor is another's too (a terminal, say), who may have made it non-blocking. */
static bool wait_writable(struct writer *writer)
{
    struct pollfd poll_fd = {.fd = writer->fd, .events = POLLOUT};

    while (poll(&poll_fd, 1, POLL_MS) == 0)
        if (is_abandoned(writer))
            return false;
    return true;
}

static void write_all(struct writer *writer, const char *bytes, size_t len)
{
    while (len) {
        ssize_t written = write(writer->fd, bytes, len);

        if (written > 0) {
            bytes += written;
            len -= (size_t)written;
        } else if (errno == EAGAIN ? !wait_writable(writer) : errno != EINTR) {
            count_dropped_lines(bytes, len); /* disk full, reader gone: there is nobody to tell */
            return;
        }
    }
}

static struct timespec deadline_in(int64_t us)
{
    struct timespec at;

    /* Not base_clock: the condition waits by a clock that tests cannot stop. */
    clock_gettime(CLOCK_MONOTONIC, &at);
    us += at.tv_nsec / 1000;
    at.tv_sec += us / BASE_US_PER_S;
    at.tv_nsec = us % BASE_US_PER_S * 1000;
    return at;
}

/* With the mutex held. False when there is nothing left to write, ever. */
static bool wait_for_lines(struct writer *writer)
{
    struct timespec deadline;

    while (!writer->filled && !writer->closing)
        pthread_cond_wait(&writer->wake, &mutex);
    deadline = deadline_in(GATHER_US);
    while (!writer->closing && writer->filled < BUFFER_SIZE / 2 &&
           pthread_cond_timedwait(&writer->wake, &mutex, &deadline) != ETIMEDOUT)
        ;
    return writer->filled > 0 && !writer->abandoned;
}

static void *run_writer(void *argument)
{
    struct writer *writer = argument;
    bool abandoned;

    pthread_mutex_lock(&mutex);
    while (wait_for_lines(writer)) {
        char *full = writer->filling;
        size_t len = writer->filled;

        writer->filling = writer->writing;
        writer->filled = 0;
        writer->writing = full;
        pthread_mutex_unlock(&mutex);
        write_all(writer, full, len);
        pthread_mutex_lock(&mutex);
    }
    writer->finished = true;
    pthread_cond_signal(&writer->done);
    abandoned = writer->abandoned;
    pthread_mutex_unlock(&mutex);
    if (abandoned)
        free_writer(&writer);
    return NULL;
}

static void init_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* Signals are for the main thread to handle. */
static bool start_thread(struct writer *writer)
{
    sigset_t all, before;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&writer->thread, NULL, run_writer, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}

void base_log_open(int fd, enum base_log_format format, enum base_log_level level)
{
    struct writer *writer;

    base_log_close(); /* one log at a time */
    writer = base_calloc(1, sizeof *writer);
    writer->fd = fd;
    writer->filling = base_malloc(BUFFER_SIZE);
    writer->writing = base_malloc(BUFFER_SIZE);
    init_cond(&writer->wake);
    init_cond(&writer->done);
    atomic_store(&current_format, (int)format);
    base_log_set_level(level);
    if (!start_thread(writer)) { /* no threads left: lines go on to standard error */
        free_writer(&writer);
        return;
    }
    pthread_mutex_lock(&mutex);
    current = writer;
    pthread_mutex_unlock(&mutex);
}

void base_log_close(void)
{
    struct timespec deadline = deadline_in(CLOSE_US);
    struct writer *writer;
    bool finished;

    pthread_mutex_lock(&mutex);
    writer = current;
    current = NULL;
    if (!writer) {
        pthread_mutex_unlock(&mutex);
        return;
    }
    writer->closing = true;
    pthread_cond_signal(&writer->wake);
    while (!writer->finished &&
           pthread_cond_timedwait(&writer->done, &mutex, &deadline) != ETIMEDOUT)
        ;
    finished = writer->finished;
    if (!finished) {
        count_dropped_lines(writer->filling, writer->filled);
        pthread_detach(writer->thread);
        writer->abandoned = true; /* from here on the writer is the thread's */
    }
    pthread_mutex_unlock(&mutex);
    if (finished) {
        pthread_join(writer->thread, NULL);
        free_writer(&writer);
    }
}

void base_log_set_level(enum base_log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

bool base_log_enabled(enum base_log_level level)
{
    return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

uint64_t base_log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}

/* The calendar is computed once a second and thread; the milliseconds are put in each time. */
static void put_time(struct base_buf *line)
{
    static _Thread_local struct {
        int64_t from_us;
        char text[BASE_TIME_TEXT_MAX];
    } cached = {.from_us = INT64_MIN};
    static const size_t ms_at = sizeof "2027-01-01T00:00:00." - 1;
    int64_t now_us = base_clock_wall_us();
    int64_t rest_us = now_us % BASE_US_PER_S;
    int64_t second_us;
    int ms;

    if (rest_us < 0) /* before 1970, in tests */
        rest_us += BASE_US_PER_S;
    second_us = now_us - rest_us;
    if (cached.from_us != second_us) {
        base_time_format_ms(now_us, cached.text);
        cached.from_us = second_us;
    }
    ms = (int)(rest_us / BASE_US_PER_MS);
    cached.text[ms_at] = (char)('0' + ms / 100);
    cached.text[ms_at + 1] = (char)('0' + ms / 10 % 10);
    cached.text[ms_at + 2] = (char)('0' + ms % 10);
    base_buf_put(line, cached.text, ms_at + 4);
}

/* At most TEXT_MAX bytes, and no half character at the end. */
static struct base_span cut(struct base_span text)
{
    if (text.len <= TEXT_MAX)
        return text;
    text.len = TEXT_MAX;
    for (int i = 0; i < 3 && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80; i++)
        text.len--;
    return text;
}

static void put_value(struct base_buf *line, const struct base_log_field *field)
{
    switch (field->type) {
    case BASE_LOG_FIELD_INT:
        base_buf_put_i64(line, field->number);
        return;
    case BASE_LOG_FIELD_BOOL:
        base_buf_put_str(line, field->number ? "true" : "false");
        return;
    case BASE_LOG_FIELD_TEXT:
        base_json_put_string(line, cut(field->text));
        return;
    }
}

/* Text that a person reads as one word needs no quotes. */
static bool is_word(struct base_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c >= 0x7f)
            return false;
    }
    return text.len <= TEXT_MAX;
}

static void put_json_field(struct base_buf *line, const struct base_log_field *field)
{
    BASE_BUF_LIT(line, ",\"");
    base_buf_put_str(line, field->name); /* a name of ours: nothing in it to escape */
    BASE_BUF_LIT(line, "\":");
    put_value(line, field);
}

static void put_text_field(struct base_buf *line, const struct base_log_field *field)
{
    base_buf_put_char(line, ' ');
    base_buf_put_str(line, field->name);
    base_buf_put_char(line, '=');
    if (field->type == BASE_LOG_FIELD_TEXT && is_word(field->text))
        base_buf_put_span(line, field->text);
    else
        put_value(line, field);
}

/* Whole fields only: a line that was cut anywhere would be no JSON. */
static void put_fields(struct base_buf *line, bool json, const struct base_log_field *fields,
                       size_t n_fields)
{
    for (size_t i = 0; i < n_fields; i++) {
        size_t before = line->len;

        if (fields[i].type == BASE_LOG_FIELD_TEXT && fields[i].text.len == 0)
            continue;
        if (json)
            put_json_field(line, &fields[i]);
        else
            put_text_field(line, &fields[i]);
        if (line->overflow) {
            line->len = before;
            line->overflow = false;
        }
    }
}

static void put_json_head(struct base_buf *line, enum base_log_level level, const char *event)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    BASE_BUF_LIT(line, "{\"time\":\"");
    put_time(line);
    BASE_BUF_LIT(line, "\",\"level\":\"");
    base_buf_put_str(line, names[level]);
    BASE_BUF_LIT(line, "\",\"event\":\"");
    base_buf_put_str(line, event); /* ours, like names */
    base_buf_put_char(line, '"');
}

static void put_text_head(struct base_buf *line, enum base_log_level level, const char *event)
{
    static const char *const names[] = {" ERROR   ", " WARNING ", " INFO    ", " DEBUG   "};

    put_time(line);
    base_buf_put_str(line, names[level]);
    base_buf_put_str(line, event);
}

/* Straight to standard error, as long as there is no log. */
static void write_now(struct base_span line)
{
    while (line.len) {
        ssize_t written = write(STDERR_FILENO, line.ptr, line.len);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            count_dropped_lines(line.ptr, line.len);
            return;
        }
        line = base_span_of(line.ptr + written, line.len - (size_t)written);
    }
}

/* False when there is no log to append to. */
static bool append(struct base_span line)
{
    bool opened, wake = false;

    pthread_mutex_lock(&mutex);
    opened = current != NULL;
    if (opened && line.len > BUFFER_SIZE - current->filled) {
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
    } else if (opened) {
        size_t before = current->filled;

        memcpy(current->filling + before, line.ptr, line.len);
        current->filled += line.len;
        /* Twice a batch at most: a system call for each line would cost more than the line. */
        wake = before == 0 || (before < BUFFER_SIZE / 2 && current->filled >= BUFFER_SIZE / 2);
        if (wake)
            pthread_cond_signal(&current->wake);
    }
    pthread_mutex_unlock(&mutex);
    return opened;
}

void base_log_event(enum base_log_level level, const char *event,
                    const struct base_log_field *fields, size_t n_fields)
{
    bool json = atomic_load_explicit(&current_format, memory_order_relaxed) == BASE_LOG_JSON;
    static _Thread_local char memory[LINE_MAX_LEN];
    struct base_buf line;

    if (!base_log_enabled(level))
        return;
    base_buf_init_fixed(&line, memory, sizeof memory - 2); /* keeps room for the end of the line */
    if (json)
        put_json_head(&line, level, event);
    else
        put_text_head(&line, level, event);
    put_fields(&line, json, fields, n_fields);
    line.max = line.cap = sizeof memory;
    base_buf_put_str(&line, json ? "}\n" : "\n");
    if (!append(base_buf_span(&line)))
        write_now(base_buf_span(&line));
}

bool base_log_gate_open(struct base_log_gate *gate, uint64_t *suppressed)
{
    int64_t now_us = base_clock_mono_us();
    int64_t last_us = atomic_load_explicit(&gate->last_us, memory_order_relaxed);

    *suppressed = 0;
    if (now_us <= 0) /* 0 means never */
        now_us = 1;
    /* Of several threads at once, the one that moves the time logs. */
    if ((last_us == 0 || now_us - last_us >= BASE_US_PER_S) &&
        atomic_compare_exchange_strong(&gate->last_us, &last_us, now_us)) {
        *suppressed = atomic_exchange_explicit(&gate->swallowed, 0, memory_order_relaxed);
        return true;
    }
    atomic_fetch_add_explicit(&gate->swallowed, 1, memory_order_relaxed);
    return false;
}
