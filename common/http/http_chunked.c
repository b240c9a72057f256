/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of chunked bodies (RFC 9112 §7.1): a table of states, because the framing comes in
 * crumbs of a few bytes; the data between them is handed over in whole runs. */
#include "http_parse.h"

#include "base_attr.h"
#include "http_char.h"

/* Zero is where a zeroed struct begins. It is never entered again, so in the table it stands for a
 * refusal. */
enum chunk_state {
    CHUNK_FIRST,
    CHUNK_SIZE,     /* before the first digit of a size */
    CHUNK_DIGITS,   /* behind a digit; no white space here: some readers stop at it */
    CHUNK_EXT,      /* behind the `;`, a name must come */
    CHUNK_EXT_TEXT, /* in an extension, whose grammar no longer matters: it has no line end */
    CHUNK_SIZE_LF,  /* between CR and LF */
    CHUNK_DATA,     /* in the data, which the table does not lead through */
    CHUNK_DATA_CR,  /* behind the data */
    CHUNK_DATA_LF,
    CHUNK_TRAILER, /* at the start of a trailer line */
    CHUNK_NAME,
    CHUNK_VALUE,
    CHUNK_TRAILER_LF,
    CHUNK_END_LF, /* between CR and LF of the empty line at the end */
    CHUNK_DONE,
};

#define MAX_DIGITS 16 /* of a uint64_t */

#define HEX   HTTP_CHAR_HEX
#define TOKEN HTTP_CHAR_TOKEN
#define TEXT  HTTP_CHAR_TEXT

/* What may come in each state and where it leads: bytes of a class, or two single ones. */
static const struct {
    bool is_overhead; /* the byte that led here is an extension's or a trailer's */
    unsigned classes;
    enum chunk_state next;
    struct {
        char c;
        enum chunk_state next;
    } single[2];
} states[] = {
    [CHUNK_FIRST] = {false, HEX, CHUNK_DIGITS, {{0}}},
    [CHUNK_SIZE] = {false, HEX, CHUNK_DIGITS, {{0}}},
    [CHUNK_DIGITS] = {false, HEX, CHUNK_DIGITS, {{';', CHUNK_EXT}, {'\r', CHUNK_SIZE_LF}}},
    [CHUNK_EXT] = {true, TOKEN, CHUNK_EXT_TEXT, {{' ', CHUNK_EXT}, {'\t', CHUNK_EXT}}},
    [CHUNK_EXT_TEXT] = {true, TEXT, CHUNK_EXT_TEXT, {{'\r', CHUNK_SIZE_LF}}},
    [CHUNK_SIZE_LF] = {false, 0, 0, {{'\n', CHUNK_DATA}}}, /* or CHUNK_TRAILER behind a size of 0 */
    [CHUNK_DATA_CR] = {false, 0, 0, {{'\r', CHUNK_DATA_LF}}},
    [CHUNK_DATA_LF] = {false, 0, 0, {{'\n', CHUNK_SIZE}}},
    [CHUNK_TRAILER] = {true, TOKEN, CHUNK_NAME, {{'\r', CHUNK_END_LF}}},
    [CHUNK_NAME] = {true, TOKEN, CHUNK_NAME, {{':', CHUNK_VALUE}}},
    [CHUNK_VALUE] = {true, TEXT, CHUNK_VALUE, {{'\r', CHUNK_TRAILER_LF}}},
    [CHUNK_TRAILER_LF] = {true, 0, 0, {{'\n', CHUNK_TRAILER}}},
    [CHUNK_END_LF] = {false, 0, 0, {{'\n', CHUNK_DONE}}},
    [CHUNK_DONE] = {false, 0, 0, {{0}}},
};

static enum chunk_state next_state(int state, char c)
{
    if (http_char_is(c, states[state].classes))
        return states[state].next;
    for (size_t i = 0; i < BASE_COUNT(states[state].single); i++)
        if (c == states[state].single[i].c)
            return states[state].single[i].next;
    return CHUNK_FIRST;
}

/* One byte of framing. Returns the status of a refusal, 0 when there is none. */
static int read_byte(struct http_chunked *chunked, char c)
{
    enum chunk_state next = next_state(chunked->state, c);

    if (next == CHUNK_FIRST)
        return 400;
    chunked->overhead += states[next].is_overhead;
    if (next == CHUNK_DIGITS) {
        if (chunked->left >> 60 != 0) /* one more digit would not fit */
            return 413;
        if (++chunked->line > MAX_DIGITS) /* zeros in front: nobody writes so many */
            return 400;
        chunked->left = chunked->left << 4 | http_char_hex(c);
    } else if (next == CHUNK_SIZE) {
        chunked->line = 0;
    } else if (next == CHUNK_DATA && chunked->left == 0) {
        next = CHUNK_TRAILER;
    }
    chunked->state = (int)next;
    return chunked->overhead > HTTP_MAX_TRAILER ? 413 : 0;
}

/* As much of the chunk's data as is there. */
static struct base_span take_data(struct http_chunked *chunked, struct base_span bytes)
{
    if (bytes.len >= chunked->left) {
        bytes.len = (size_t)chunked->left;
        chunked->state = CHUNK_DATA_CR;
    }
    chunked->left -= bytes.len;
    return bytes;
}

static struct http_chunked_result refuse(int status)
{
    return (struct http_chunked_result){
        .state = HTTP_PARSE_BAD,
        .status = status,
        .reason = status == 400 ? "malformed chunk" : "chunk size or trailers too large",
    };
}

struct http_chunked_result http_chunked_step(struct http_chunked *chunked, struct base_span bytes)
{
    struct http_chunked_result result = {.state = HTTP_PARSE_MORE};

    while (result.used < bytes.len && chunked->state != CHUNK_DONE) {
        int refusal;

        if (chunked->state == CHUNK_DATA) {
            result.data =
                take_data(chunked, base_span_of(bytes.ptr + result.used, bytes.len - result.used));
            result.used += result.data.len;
            return result;
        }
        if ((refusal = read_byte(chunked, bytes.ptr[result.used])) != 0)
            return refuse(refusal);
        result.used++;
    }
    if (chunked->state == CHUNK_DONE)
        result.state = HTTP_PARSE_DONE;
    return result;
}
