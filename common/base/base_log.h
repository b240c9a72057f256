/* SPDX-License-Identifier: Apache-2.0 */
/* The log: one line an event, JSON or text, to one descriptor. Callers format into a bounded buffer
 * in memory and go on; one thread of the log's own writes it out, so a stuck reader never blocks a
 * worker. What does not fit is dropped and counted. Secrets never come here: callers pass names and
 * reasons, not credentials. Before base_log_open() lines go straight to standard error. Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base_err.h"
#include "base_span.h"

#include <stdint.h>

enum base_log_level { BASE_LOG_ERROR, BASE_LOG_WARNING, BASE_LOG_INFO, BASE_LOG_DEBUG };
enum base_log_format { BASE_LOG_JSON, BASE_LOG_TEXT };

struct base_log_field {
    const char *name; /* a JSON member name of ours */
    enum { BASE_LOG_FIELD_TEXT, BASE_LOG_FIELD_INT, BASE_LOG_FIELD_BOOL } type;
    struct base_span text; /* escaped on output; bad UTF-8 is replaced; cut at 1,024 bytes */
    int64_t number;
};

static inline struct base_log_field base_log_text(const char *name, struct base_span text)
{
    return (struct base_log_field){name, BASE_LOG_FIELD_TEXT, text, 0};
}
static inline struct base_log_field base_log_str(const char *name, const char *text)
{
    return (struct base_log_field){name, BASE_LOG_FIELD_TEXT, base_span_str(text), 0};
}
static inline struct base_log_field base_log_int(const char *name, int64_t number)
{
    return (struct base_log_field){name, BASE_LOG_FIELD_INT, {0}, number};
}
static inline struct base_log_field base_log_bool(const char *name, bool value)
{
    return (struct base_log_field){name, BASE_LOG_FIELD_BOOL, {0}, value};
}

/* Starts the writing thread. */
void base_log_open(int fd, enum base_log_format format, enum base_log_level level);
/* Writes out what is pending (for at most one second) and ends the thread. */
void base_log_close(void);
void base_log_set_level(enum base_log_level level);
bool base_log_enabled(enum base_log_level level);
/* Lines dropped since the start. */
uint64_t base_log_dropped(void);

/* One line: {"time":…,"level":…,"event":…, fields…}. A field with empty text is left out. */
void base_log_event(enum base_log_level level, const char *event,
                    const struct base_log_field *fields, size_t n_fields);
#define BASE_LOG(level, event, ...)                                                                \
    do {                                                                                           \
        if (base_log_enabled(level)) {                                                             \
            const struct base_log_field base_log_fields_[] = {__VA_ARGS__};                        \
            base_log_event((level), (event), base_log_fields_,                                     \
                           sizeof base_log_fields_ / sizeof base_log_fields_[0]);                  \
        }                                                                                          \
    } while (0)

/* "At most one a second" for warnings that a fault would repeat: true when the caller may log now;
 * *suppressed then holds how many were swallowed since. Zero-initialise the gate; any thread. */
struct base_log_gate {
    _Atomic int64_t last_us;
    _Atomic uint64_t swallowed;
};
bool base_log_gate_open(struct base_log_gate *gate, uint64_t *suppressed);

#endif
