/* SPDX-License-Identifier: Apache-2.0 */
/* What HTTP's grammar calls each byte: one table for heads, forms and header values. */
#ifndef HTTP_CHAR_H
#define HTTP_CHAR_H

#include "base_span.h"

#include <stdint.h>

enum {
    HTTP_CHAR_TOKEN = 1,  /* tchar, RFC 9110 §5.6.2: methods and names */
    HTTP_CHAR_TEXT = 2,   /* what a field value may hold, RFC 9110 §5.5: HTAB SP VCHAR obs-text */
    HTTP_CHAR_PATH = 4,   /* RFC 3986 §3.3: pchar and `/`, but not `%`, which is looked at alone */
    HTTP_CHAR_QUERY = 8,  /* RFC 3986 §3.4: the same and `?` */
    HTTP_CHAR_HOST = 16,  /* RFC 3986 §2.3: unreserved, all that a host name is made of */
    HTTP_CHAR_DIGIT = 32, /* 0-9 */
    HTTP_CHAR_HEX = 64,   /* and a-f, A-F */
    HTTP_CHAR_TOKEN68 = 128, /* RFC 9110 §11.2, without the `=` at its end */
};

extern const uint8_t http_char_classes[256];

static inline bool http_char_is(char c, unsigned classes)
{
    return (http_char_classes[(unsigned char)c] & classes) != 0;
}

/* How many of the first bytes are of these classes. */
static inline size_t http_char_run(struct base_span text, unsigned classes)
{
    size_t len = 0;

    while (len < text.len && http_char_is(text.ptr[len], classes))
        len++;
    return len;
}

static inline bool http_char_all(struct base_span text, unsigned classes)
{
    return http_char_run(text, classes) == text.len;
}

/* The value of a byte that is HTTP_CHAR_HEX. */
static inline unsigned http_char_hex(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

#endif
