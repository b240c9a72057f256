/* SPDX-License-Identifier: Apache-2.0 */
/* The growing buffer. There is always one byte more than `cap`, for the NUL of base_buf_cstr(), so
 * that a full buffer can still be terminated. */
#include "base_buf.h"

#include "base_mem.h"

#include <assert.h>
#include <stdio.h>

#define SMALLEST_CAP 128

void base_buf_init(struct base_buf *buf, size_t max)
{
    assert(max < SIZE_MAX / 2); /* so that neither doubling nor the NUL overflows */
    *buf = (struct base_buf){.max = max};
}

void base_buf_init_fixed(struct base_buf *buf, char *memory, size_t size)
{
    assert(size > 0);
    *buf = (struct base_buf){.ptr = memory, .cap = size - 1, .max = size - 1};
}

void base_buf_clear(struct base_buf *buf)
{
    /* The whole of it: an earlier, longer message may lie behind len. */
    if (buf->ptr)
        base_wipe(buf->ptr, buf->cap);
    base_free(&buf->ptr);
    *buf = (struct base_buf){0};
}

void base_buf_reset(struct base_buf *buf)
{
    buf->len = 0;
    buf->overflow = false;
}

/* By hand instead of realloc(), which would leave a copy of a secret behind. */
static void grow(struct base_buf *buf, size_t need)
{
    size_t cap = buf->cap ? buf->cap : SMALLEST_CAP;
    char *ptr;

    while (cap < need)
        cap *= 2;
    if (cap > buf->max)
        cap = buf->max;
    ptr = base_malloc(cap + 1);
    if (buf->ptr) {
        memcpy(ptr, buf->ptr, buf->len);
        base_wipe(buf->ptr, buf->cap);
        base_free(&buf->ptr);
    }
    buf->ptr = ptr;
    buf->cap = cap;
}

/* How many of `len` bytes may be appended; there is room for them afterwards. */
static size_t make_room(struct base_buf *buf, size_t len)
{
    size_t left = buf->max - buf->len;

    if (len > left) {
        buf->overflow = true;
        len = left;
    }
    if (len > buf->cap - buf->len || !buf->ptr)
        grow(buf, buf->len + len);
    return len;
}

void base_buf_put_slowly(struct base_buf *buf, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    len = make_room(buf, len);
    memcpy(buf->ptr + buf->len, bytes, len);
    buf->len += len;
}

void base_buf_put_str(struct base_buf *buf, const char *text)
{
    base_buf_put(buf, text, strlen(text));
}

void base_buf_put_u64(struct base_buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    base_buf_put(buf, digits + at, sizeof digits - at);
}

void base_buf_put_i64(struct base_buf *buf, int64_t value)
{
    if (value >= 0) {
        base_buf_put_u64(buf, (uint64_t)value);
        return;
    }
    base_buf_put_char(buf, '-');
    base_buf_put_u64(buf, 0 - (uint64_t)value); /* -INT64_MIN is no int64_t */
}

void base_buf_putf(struct base_buf *buf, const char *fmt, ...)
{
    va_list args, again;
    int len;

    va_start(args, fmt);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len > 0) {
        size_t fits = make_room(buf, (size_t)len);

        (void)vsnprintf(buf->ptr + buf->len, fits + 1, fmt, again); /* the NUL has its own byte */
        buf->len += fits;
    } else if (len < 0) {
        buf->overflow = true;
    }
    va_end(again);
}

char *base_buf_reserve(struct base_buf *buf, size_t len)
{
    if (len > buf->max - buf->len) {
        buf->overflow = true;
        return NULL;
    }
    (void)make_room(buf, len);
    return buf->ptr + buf->len;
}

const char *base_buf_cstr(struct base_buf *buf)
{
    if (!buf->ptr)
        return "";
    buf->ptr[buf->len] = '\0';
    return buf->ptr;
}
