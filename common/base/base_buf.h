/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte buffer with a hard maximum. Writing past the maximum sets `overflow` and drops
 * what does not fit, so that a whole message is built first and judged once at its end. One thread.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base_attr.h"
#include "base_span.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

struct base_buf {
    char *ptr; /* len bytes; not terminated, see base_buf_cstr() */
    size_t len;
    size_t cap;
    size_t max;
    bool overflow;
};

void base_buf_init(struct base_buf *buf, size_t max);
/* Over `size` (at least 1) bytes of the caller's, which stay the caller's: no allocation, ever.
 * Never hand such a buffer to base_buf_clear(). */
void base_buf_init_fixed(struct base_buf *buf, char *memory, size_t size);
/* Wipes, frees and zeroes; a buffer never initialised but zeroed is fine. For BASE_AUTO too. */
void base_buf_clear(struct base_buf *buf);
/* Empties it, wiping nothing and keeping the memory, for the next message. */
void base_buf_reset(struct base_buf *buf);

/* base_buf_put() where there may be too little room. */
void base_buf_put_slowly(struct base_buf *buf, const void *bytes, size_t len);

/* Every byte of every token, reply and log line passes here, mostly in small pieces: inline, they
 * cost half. */
static inline void base_buf_put(struct base_buf *buf, const void *bytes, size_t len)
{
    if (len == 0 || len > buf->cap - buf->len) {
        base_buf_put_slowly(buf, bytes, len);
        return;
    }
    memcpy(buf->ptr + buf->len, bytes, len);
    buf->len += len;
}

static inline void base_buf_put_char(struct base_buf *buf, char c)
{
    base_buf_put(buf, &c, 1);
}

static inline void base_buf_put_span(struct base_buf *buf, struct base_span span)
{
    base_buf_put(buf, span.ptr, span.len);
}

void base_buf_put_str(struct base_buf *buf, const char *text);
void base_buf_put_u64(struct base_buf *buf, uint64_t value); /* decimal */
void base_buf_put_i64(struct base_buf *buf, int64_t value);
void base_buf_putf(struct base_buf *buf, const char *fmt, ...) BASE_PRINTF(2, 3);
#define BASE_BUF_LIT(buf, literal) base_buf_put((buf), "" literal, sizeof(literal) - 1)

/* Room for `len` more bytes at the end, to be written by the caller, who then adds to buf->len what
 * it used; NULL (and overflow) when the maximum forbids it. */
char *base_buf_reserve(struct base_buf *buf, size_t len) BASE_MUST_USE;

static inline struct base_span base_buf_span(const struct base_buf *buf)
{
    return (struct base_span){buf->ptr, buf->len};
}

/* Terminates and returns it; the NUL is not counted in len. "" when empty. */
const char *base_buf_cstr(struct base_buf *buf);

#endif
