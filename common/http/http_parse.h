/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 9112 and RFC 9110, strictly, as pure functions over bytes: no I/O, no allocation, no state
 * outside the structs given. What is ambiguous is refused, because a proxy in front may read it the
 * other way (request smuggling). A refused message ends its connection. Any thread. */
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include "base_span.h"

#include <stdint.h>

#define HTTP_MAX_TARGET 8192 /* bytes of the request target; over it 414 */
#define HTTP_MAX_HEADERS                                                                           \
    16384 /* bytes of all header lines, the request line not counted; over it 431 */
#define HTTP_MAX_FIELDS 100 /* header lines; over it 431 */
#define HTTP_MAX_TRAILER                                                                           \
    4096 /* bytes of chunk extensions and trailers together, read and dropped */

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER, /* a well-formed token that we do not know */
};

/* The names that code of ours looks up, found without a search. HTTP_FIELD_OTHER: any other. */
enum http_field {
    HTTP_FIELD_HOST,
    HTTP_FIELD_CONTENT_LENGTH,
    HTTP_FIELD_CONTENT_TYPE,
    HTTP_FIELD_CONTENT_ENCODING,
    HTTP_FIELD_TRANSFER_ENCODING,
    HTTP_FIELD_CONNECTION,
    HTTP_FIELD_EXPECT,
    HTTP_FIELD_AUTHORIZATION,
    HTTP_FIELD_IF_MATCH,
    HTTP_FIELD_IF_NONE_MATCH,
    HTTP_FIELD_IDEMPOTENCY_KEY,
    HTTP_FIELD_X_REQUEST_ID,
    HTTP_FIELD_X_FORWARDED_FOR,
    HTTP_FIELD_TRACEPARENT,
    HTTP_FIELD_OTHER,
};

struct http_header {
    enum http_field field;
    struct base_span name;  /* as sent */
    struct base_span value; /* optional white space around it removed; may hold bytes over 0x7f */
};

/* The head of a message; spans point into the bytes that were parsed. */
struct http_head {
    enum http_method method;
    struct base_span method_text;
    struct base_span target;    /* as sent, whatever its form */
    struct base_span authority; /* of an absolute-form target; empty otherwise */
    struct base_span path;  /* origin-form path, still percent-encoded, begins with `/`; `//…` is
                               left to the router, which answers 404 */
    struct base_span query; /* after `?`, without it; ptr NULL when there is no `?` */
    int minor;              /* 1 or 0: HTTP/1.minor */
    bool keep_alive;        /* RFC 9112 §9.3 */
    bool expect_continue;   /* and the version is 1.1 */
    bool chunked;
    bool has_length;
    uint64_t content_length; /* 0 without a body */
    size_t n_headers;
    struct http_header headers[HTTP_MAX_FIELDS];
    int16_t first[HTTP_FIELD_OTHER]; /* index of the field's first header, -1 when absent */
};

enum http_parse_state {
    HTTP_PARSE_MORE, /* well-formed so far */
    HTTP_PARSE_DONE,
    HTTP_PARSE_BAD,
};

struct http_parse_result {
    enum http_parse_state state;
    size_t used;        /* DONE: bytes the head took, the empty line included */
    int status;         /* BAD: 400, 414, 417, 431, 501, 505 */
    const char *reason; /* BAD: one static clause for the log; never holds input */
};

/* Parses a head at the start of `bytes`. Call again with more bytes, from the same start, after
 * MORE; `*scanned` (0 at first) remembers how far the search for the end had come, so that a head
 * that arrives byte by byte costs linear time. Leading empty lines (at most 2, RFC 9112 §2.2) are
 * skipped. Limits hold for what has arrived, finished or not. Refuses everything HAZARDS lists: two
 * Content-Length, both Content-Length and Transfer-Encoding, Transfer-Encoding on 1.0 or other than
 * `chunked`, white space before the colon, obs-fold, bare CR or LF, controls and NUL, two Host or
 * none on 1.1, a malformed Host, other versions (505), `\`, raw 8-bit or control bytes or spaces in
 * the target, a fragment, `%` without two hex digits, `%00`, encoded `/` and `\` in the path, dot
 * segments (encoded too), CONNECT and asterisk-form. A Host is a name of letters, digits and
 * `-._~`, an IPv4 address or an IPv6 address in brackets, and perhaps a port. */
struct http_parse_result http_parse_head(struct base_span bytes, size_t *scanned,
                                         struct http_head *out);

/* The first header of that field; NULL when absent. */
const struct http_header *http_head_get(const struct http_head *head, enum http_field field);
/* How often it occurs: more than once is refused by callers where one is meant. */
size_t http_head_count(const struct http_head *head, enum http_field field);

/* A chunked body, decoded as it arrives. Zero-initialise. */
struct http_chunked {
    int state;
    uint64_t left;   /* bytes of the chunk still to come */
    size_t overhead; /* bytes of extensions and trailers so far, at most HTTP_MAX_TRAILER */
    size_t line;     /* digits of the chunk's size so far */
};

struct http_chunked_result {
    enum http_parse_state state;
    size_t used;           /* bytes of input consumed, always whole progress: may be < input */
    struct base_span data; /* body bytes in this step, inside the input; may be empty */
    int status;            /* BAD: 400, or 413 for a size over 64 bits or too much overhead */
    const char *reason;
};

/* One step: consumes up to the end of input or of one run of data. Call until it consumes nothing,
 * or is DONE or BAD. */
struct http_chunked_result http_chunked_step(struct http_chunked *chunked, struct base_span bytes);

/* host [ ":" port ], RFC 9110 §7.2, as in Host; the port may be empty. */
bool http_authority_valid(struct base_span text);

const char *http_method_name(enum http_method method);

#endif
