/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes to text and back. Decoders write behind the buffer's end and count the bytes in only when
 * all of the text was good. */
#include "base_encode.h"

#include "base_attr.h"
#include "base_mem.h"

#include <assert.h>

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_digits[] = "0123456789abcdef";

static void encode_64(struct base_buf *out, const void *bytes, size_t len, const char *digits,
                      bool pad)
{
    const uint8_t *in = bytes;
    size_t rest = len % 3;
    size_t need = len / 3 * 4 + (rest ? (pad ? 4 : rest + 1) : 0);
    char *to = base_buf_reserve(out, need);

    if (!to)
        return;
    for (; len >= 3; in += 3, len -= 3) {
        *to++ = digits[in[0] >> 2];
        *to++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
        *to++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
        *to++ = digits[in[2] & 63];
    }
    if (rest) {
        unsigned second = rest == 2 ? in[1] : 0;

        *to++ = digits[in[0] >> 2];
        *to++ = digits[(in[0] & 3U) << 4 | second >> 4];
        if (rest == 2)
            *to++ = digits[(second & 15) << 2];
        else if (pad)
            *to++ = '=';
        if (pad)
            *to = '=';
    }
    out->len += need;
}

/* The value of a digit, or -1. Comparisons instead of a table, so that key material does not choose
 * cache lines; and no branches, which random digits would make the processor guess wrong. */
static int value_64(char c, char plus, char slash)
{
    int value = -1;

    value = ((c >= 'A') & (c <= 'Z')) ? c - 'A' : value;
    value = ((c >= 'a') & (c <= 'z')) ? c - 'a' + 26 : value;
    value = ((c >= '0') & (c <= '9')) ? c - '0' + 52 : value;
    value = c == plus ? 62 : value;
    return c == slash ? 63 : value;
}

/* `text` without its padding. */
static enum base_err decode_64(struct base_buf *out, struct base_span text, char plus, char slash)
{
    size_t need = text.len / 4 * 3 + (text.len % 4 ? text.len % 4 - 1 : 0);
    uint32_t bits = 0;
    unsigned n_bits = 0;
    char *to;

    if (text.len % 4 == 1)
        return BASE_INVALID;
    if (!(to = base_buf_reserve(out, need)))
        return BASE_TOO_LARGE;
    for (size_t i = 0; i < text.len; i++) {
        int value = value_64(text.ptr[i], plus, slash);

        if (value < 0)
            return BASE_INVALID;
        bits = (bits << 6 | (uint32_t)value) & 0xfff;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            *to++ = (char)(bits >> n_bits);
        }
    }
    if (bits & ((1U << n_bits) - 1)) /* RFC 4648 §3.5: else one value has several texts */
        return BASE_INVALID;
    out->len += need;
    return BASE_OK;
}

void base_encode_base64url(struct base_buf *out, const void *bytes, size_t len)
{
    encode_64(out, bytes, len, base64url_digits, false);
}

enum base_err base_decode_base64url(struct base_buf *out, struct base_span text)
{
    return decode_64(out, text, '-', '_');
}

void base_encode_base64(struct base_buf *out, const void *bytes, size_t len)
{
    encode_64(out, bytes, len, base64_digits, true);
}

enum base_err base_decode_base64(struct base_buf *out, struct base_span text)
{
    if (text.len % 4)
        return BASE_INVALID;
    for (int pad = 0; pad < 2 && text.len && text.ptr[text.len - 1] == '='; pad++)
        text.len--;
    return decode_64(out, text, '+', '/');
}

void base_encode_base32(struct base_buf *out, const void *bytes, size_t len)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    const uint8_t *in = bytes;
    size_t need = (len * 8 + 4) / 5;
    uint32_t bits = 0;
    unsigned n_bits = 0;
    char *to = base_buf_reserve(out, need);

    if (!to)
        return;
    for (size_t i = 0; i < len; i++) {
        bits = (bits << 8 | in[i]) & 0xfff;
        for (n_bits += 8; n_bits >= 5; n_bits -= 5)
            *to++ = digits[bits >> (n_bits - 5) & 31];
    }
    if (n_bits)
        *to = digits[bits << (5 - n_bits) & 31];
    out->len += need;
}

void base_encode_hex(struct base_buf *out, const void *bytes, size_t len)
{
    const uint8_t *in = bytes;
    char *to = base_buf_reserve(out, len * 2);

    if (!to)
        return;
    for (size_t i = 0; i < len; i++) {
        *to++ = hex_digits[in[i] >> 4];
        *to++ = hex_digits[in[i] & 15];
    }
    out->len += len * 2;
}

void base_encode_base62(struct base_buf *out, const void *bytes, size_t len, size_t digits)
{
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint8_t number[64];
    char *to = base_buf_reserve(out, digits);

    assert(len <= sizeof number);
    if (!to)
        return;
    if (len)
        memcpy(number, bytes, len);
    for (size_t at = digits; at-- > 0;) { /* school division; the remainder is the next digit */
        unsigned rest = 0;

        for (size_t i = 0; i < len; i++) {
            unsigned value = rest << 8 | number[i];

            number[i] = (uint8_t)(value / 62);
            rest = value % 62;
        }
        to[at] = alphabet[rest];
    }
    out->len += digits;
    base_wipe(number, sizeof number);
}

static int value_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that %XX at `at` stands for; -1 when it is malformed. */
static int percent_byte(struct base_span text, size_t at)
{
    int high, low;

    if (text.len - at < 3)
        return -1;
    high = value_hex(text.ptr[at + 1]);
    low = value_hex(text.ptr[at + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

enum base_err base_decode_percent(struct base_buf *out, struct base_span text, bool plus_is_space)
{
    char *start = base_buf_reserve(out, text.len);
    char *to = start;

    if (!start)
        return BASE_TOO_LARGE;
    for (size_t i = 0; i < text.len; i++) {
        int c = (unsigned char)text.ptr[i];

        if (c == '%') {
            c = percent_byte(text, i);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c <= 0) /* malformed, or a NUL that would end a C string early */
            return BASE_INVALID;
        *to++ = (char)c;
    }
    out->len += (size_t)(to - start);
    return BASE_OK;
}

/* What a lead byte announces: the length of the sequence, and the smallest code point that needs
 * it. */
static size_t utf8_lead(unsigned char c, uint32_t *bits, uint32_t *smallest)
{
    static const struct {
        unsigned char mask, lead, payload;
        uint32_t smallest;
    } forms[] = {
        {0x80, 0x00, 0x7f, 0x01}, /* NUL is bad: it would end a C string early */
        {0xe0, 0xc0, 0x1f, 0x80},
        {0xf0, 0xe0, 0x0f, 0x800},
        {0xf8, 0xf0, 0x07, 0x10000},
    };

    for (size_t i = 0; i < BASE_COUNT(forms); i++)
        if ((c & forms[i].mask) == forms[i].lead) {
            *bits = c & forms[i].payload;
            *smallest = forms[i].smallest;
            return i + 1;
        }
    return 0;
}

/* Length of the sequence at `at`, 0 when it is bad. */
static size_t utf8_sequence(struct base_span text, size_t at, uint32_t *point)
{
    uint32_t bits, smallest;
    size_t len = utf8_lead((unsigned char)text.ptr[at], &bits, &smallest);

    if (len == 0 || len > text.len - at)
        return 0;
    for (size_t i = 1; i < len; i++) {
        unsigned char c = (unsigned char)text.ptr[at + i];

        if ((c & 0xc0) != 0x80)
            return 0;
        bits = bits << 6 | (c & 0x3f);
    }
    if (bits < smallest || bits > 0x10ffff || (bits >= 0xd800 && bits <= 0xdfff))
        return 0;
    *point = bits;
    return len;
}

bool base_utf8_valid(struct base_span text)
{
    size_t at = 0;

    while (at < text.len) {
        uint32_t point;
        size_t len;

        if (text.ptr[at] > 0) { /* ASCII, by far the most */
            at++;
            continue;
        }
        if ((len = utf8_sequence(text, at, &point)) == 0)
            return false;
        at += len;
    }
    return true;
}

uint32_t base_utf8_next(struct base_span text, size_t *at)
{
    uint32_t point;
    size_t len = *at < text.len ? utf8_sequence(text, *at, &point) : 0;

    if (len == 0) { /* not valid after all: go on, byte by byte */
        *at += *at < text.len;
        return 0xfffd;
    }
    *at += len;
    return point;
}

size_t base_utf8_length(struct base_span text)
{
    size_t length = 0;

    for (size_t at = 0; at < text.len; length++)
        (void)base_utf8_next(text, &at);
    return length;
}

uint32_t base_crc32(const void *bytes, size_t len)
{
    /* Polynomial 0xedb88320, half a byte a step: small enough to read, fast enough for a secret. */
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *in = bytes;
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < len; i++) {
        crc = table[(crc ^ in[i]) & 15] ^ crc >> 4;
        crc = table[(crc ^ (uint32_t)(in[i] >> 4)) & 15] ^ crc >> 4;
    }
    return ~crc;
}
