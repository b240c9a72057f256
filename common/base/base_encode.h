/* SPDX-License-Identifier: Apache-2.0 */
/* Text forms of bytes. Encoders append to a buffer; decoders are strict (no white space, no padding
 * where none belongs, no stray bits: RFC 4648 §3.5) and append nothing when they return
 * BASE_INVALID, or BASE_TOO_LARGE because the buffer may not grow by so much. Any thread. */
#ifndef BASE_ENCODE_H
#define BASE_ENCODE_H

#include "base_buf.h"
#include "base_err.h"

/* RFC 4648 §5, without padding, as JOSE wants it (RFC 7515 §2). */
void base_encode_base64url(struct base_buf *out, const void *bytes, size_t len);
enum base_err base_decode_base64url(struct base_buf *out, struct base_span text) BASE_MUST_USE;
/* RFC 4648 §4, with padding. */
void base_encode_base64(struct base_buf *out, const void *bytes, size_t len);
enum base_err base_decode_base64(struct base_buf *out, struct base_span text) BASE_MUST_USE;
/* RFC 4648 §6 in lower case, without padding: 15 bytes give 24 characters. */
void base_encode_base32(struct base_buf *out, const void *bytes, size_t len);
/* Lower case. */
void base_encode_hex(struct base_buf *out, const void *bytes, size_t len);
/* A big-endian number as exactly `digits` base62 digits (0-9A-Za-z, most significant first); higher
 * digits that do not fit are dropped. At most 64 bytes. */
void base_encode_base62(struct base_buf *out, const void *bytes, size_t len, size_t digits);

/* Percent-decoding, once (RFC 3986 §2.1). A `%` without two hex digits, %00 and NUL are
 * BASE_INVALID. With `plus_is_space`, `+` means a space (the form's rule). */
enum base_err base_decode_percent(struct base_buf *out, struct base_span text,
                                  bool plus_is_space) BASE_MUST_USE;

/* Well-formed UTF-8 (no overlong forms, no surrogates, nothing over U+10FFFF); NUL counts as bad.
 */
bool base_utf8_valid(struct base_span text);
/* The next code point of valid UTF-8; advances *at. */
uint32_t base_utf8_next(struct base_span text, size_t *at);
/* How many code points valid UTF-8 has: what a JSON Schema, a database and a person count. */
size_t base_utf8_length(struct base_span text);

/* CRC-32 as zlib computes it (IEEE 802.3). */
uint32_t base_crc32(const void *bytes, size_t len);

#endif
