/* SPDX-License-Identifier: Apache-2.0 */
/* application/x-www-form-urlencoded bodies, query strings, the Basic scheme and media types. Pure,
 * strict, bounded. Any thread. */
#ifndef HTTP_FORM_H
#define HTTP_FORM_H

#include "base_buf.h"
#include "base_err.h"

#define HTTP_FORM_MAX_PAIRS 100

struct http_form_pair {
    struct base_span name;
    struct base_span value;
};

struct http_form {
    size_t n_pairs;
    struct http_form_pair pairs[HTTP_FORM_MAX_PAIRS];
};

/* Decodes names and values into `storage` (which must live as long as the form and have a maximum
 * of at least the input's length). BASE_INVALID: bad percent-encoding, NUL, bad UTF-8; more than
 * 100 pairs is BASE_TOO_LARGE. Empty pairs (`a=1&&b=2`) are skipped; a name without `=` has an
 * empty value. */
enum base_err http_form_parse(struct base_span text, struct base_buf *storage,
                              struct http_form *out) BASE_MUST_USE;
/* The first value of that name; NULL when absent. */
const struct base_span *http_form_get(const struct http_form *form, struct base_span name);
/* A name that occurs twice, other than `except` (may be empty): RFC 6749 §3.2 forbids it. */
bool http_form_has_duplicate(const struct http_form *form, struct base_span except);

/* RFC 7617, with ID and secret form-encoded inside (RFC 6749 §2.3.1), decoded into `storage`.
 * Scheme case-insensitive, one or more spaces, token68, strict base64 (padding optional), the first
 * colon splits. BASE_NOT_FOUND: another scheme; BASE_INVALID: Basic, but malformed (no colon, bad
 * base64, bad percent, bad UTF-8, NUL). The storage needs a maximum of at least the header's
 * length, and holds a secret: clear it, also after a failure. */
struct http_basic {
    struct base_span id;
    struct base_span secret;
};
enum base_err http_basic_parse(struct base_span authorization, struct base_buf *storage,
                               struct http_basic *out) BASE_MUST_USE;
/* RFC 6750 §2.1: the token68 after `Bearer`. BASE_NOT_FOUND and BASE_INVALID as above. */
enum base_err http_bearer_parse(struct base_span authorization,
                                struct base_span *out) BASE_MUST_USE;

/* Does a Content-Type value name this media type, whatever its (well-formed) parameters? A charset
 * other than UTF-8 is no match. */
bool http_media_type_is(struct base_span content_type, struct base_span type);

/* Does an If-None-Match or If-Match list (RFC 9110 §13.1) name this entity tag (with its quotes)?
 * Weak comparison with `weak`. `*` matches. *valid tells whether the list was well-formed. */
bool http_etag_matches(struct base_span list, struct base_span etag, bool weak, bool *valid);

#endif
