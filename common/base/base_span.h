/* SPDX-License-Identifier: Apache-2.0 */
/* A view of bytes that somebody else owns. Not terminated, may hold any byte, may be empty. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct base_span {
    const char *ptr; /* NULL only when len is 0 */
    size_t len;
};

/* A view of a string literal, without its NUL; BASE_SPAN_INIT for static initialisers. */
#define BASE_SPAN_INIT(literal)                                                                    \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }
#define BASE_SPAN(literal) ((struct base_span)BASE_SPAN_INIT(literal))

/* printf("%.*s", BASE_SPAN_ARGS(span)) */
#define BASE_SPAN_ARGS(span) (int)(span).len, (span).ptr

static inline struct base_span base_span_of(const char *ptr, size_t len)
{
    return (struct base_span){ptr, len};
}

/* NULL gives the empty span. */
static inline struct base_span base_span_str(const char *text)
{
    return (struct base_span){text, text ? strlen(text) : 0};
}

/* Not for secrets: see base_equal_ct(). */
static inline bool base_span_eq(struct base_span a, struct base_span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* ASCII letters alike in both cases; what HTTP calls case-insensitive (RFC 9110 §5.1). */
static inline bool base_span_eq_nocase(struct base_span a, struct base_span b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool base_span_starts(struct base_span text, struct base_span prefix)
{
    return text.len >= prefix.len &&
           (prefix.len == 0 || memcmp(text.ptr, prefix.ptr, prefix.len) == 0);
}

#endif
