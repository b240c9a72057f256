/* SPDX-License-Identifier: Apache-2.0 */
/* From bytes to a request.
 *
 * Head and body are copied out of the connection's input, because an answer may come much later,
 * and what the request points at must stay where it is until then, while the input goes on moving.
 */
#include "http_incoming.h"

#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"
#include "base_secret.h"
#include "http_char.h"

#include <assert.h>

#define HEAD_MAX      (32 * 1024) /* over all limits of the parser together */
#define HEAD_STEP     4096        /* copied at once; what is not of this head is copied in vain */
#define UNWANTED_MAX  (16 * 1024) /* of a body that nobody wants, read for the connection's sake */
#define KEEP_FREE     64          /* requests kept for the next ones */
#define KEEP_BUF_MAX  (8 * 1024)  /* larger buffers of theirs are freed */
#define RANDOM_ID_LEN 16          /* 22 characters */

/* The pool */

struct http_incoming *http_incoming_take(struct http_incoming_pool *pool)
{
    struct http_incoming *incoming = pool->free;

    pool->n_taken++;
    if (incoming) {
        pool->free = incoming->next;
        pool->n_free--;
        incoming->next = NULL;
        return incoming;
    }
    incoming = base_calloc(1, sizeof *incoming);
    base_buf_init(&incoming->head, HEAD_MAX);
    base_buf_init(&incoming->path, HTTP_MAX_TARGET);
    base_buf_init(&incoming->body, UNWANTED_MAX);
    return incoming;
}

static void discard(struct http_incoming *incoming)
{
    base_buf_clear(&incoming->head);
    base_buf_clear(&incoming->path);
    base_buf_clear(&incoming->body);
    base_free(&incoming);
}

static void wipe_buf(struct base_buf *buf)
{
    if (buf->cap > KEEP_BUF_MAX) {
        size_t max = buf->max;

        base_buf_clear(buf);
        base_buf_init(buf, max);
    } else if (buf->len) {
        base_wipe(buf->ptr, buf->len);
        base_buf_reset(buf);
    }
}

/* All but the headers, which the parser counts itself and which are most of it. */
static void reset(struct http_incoming *incoming)
{
    struct http_request *request = &incoming->request;
    size_t head_len = offsetof(struct http_request, is_head);

    memset((char *)request + head_len, 0, sizeof *request - head_len);
    incoming->conn = NULL;
    incoming->scanned = 0;
    incoming->received = 0;
    incoming->body_limit = 0;
    incoming->keep_body = false;
    incoming->chunked = (struct http_chunked){0};
    incoming->verdict = 0;
    incoming->reason = NULL;
    incoming->allow[0] = '\0';
}

void http_incoming_give(struct http_incoming_pool *pool, struct http_incoming *incoming)
{
    assert(pool->n_taken > 0);
    pool->n_taken--;
    if (pool->n_free == KEEP_FREE) {
        discard(incoming);
        return;
    }
    wipe_buf(&incoming->head);
    wipe_buf(&incoming->path);
    wipe_buf(&incoming->body);
    reset(incoming);
    incoming->next = pool->free;
    pool->free = incoming;
    pool->n_free++;
}

void http_incoming_pool_clear(struct http_incoming_pool *pool)
{
    struct http_incoming *incoming;

    assert(pool->n_taken == 0);
    while ((incoming = pool->free)) {
        pool->free = incoming->next;
        discard(incoming);
    }
    pool->n_free = 0;
}

/* The head */

struct http_parse_result http_incoming_head(struct http_incoming *incoming, struct base_span bytes)
{
    struct base_buf *head = &incoming->head;
    size_t before = head->len, len = bytes.len < HEAD_STEP ? bytes.len : HEAD_STEP;
    struct http_parse_result result;

    base_buf_put(head, bytes.ptr, len);
    assert(!head->overflow);
    result = http_parse_head(base_buf_span(head), &incoming->scanned, &incoming->request.head);
    if (result.state == HTTP_PARSE_DONE) {
        assert(result.used > before && result.used <= head->len);
        base_wipe(head->ptr + result.used, head->len - result.used);
        head->len = result.used;
        result.used -= before;
    } else if (result.state == HTTP_PARSE_MORE) {
        result.used = len;
    }
    return result;
}

static struct base_span without(struct base_span path, struct base_span prefix)
{
    bool has_it =
        path.len > prefix.len && base_span_starts(path, prefix) && path.ptr[prefix.len] == '/';

    return has_it ? base_span_of(path.ptr + prefix.len, path.len - prefix.len) : path;
}

struct base_span http_incoming_target(const struct http_incoming *incoming, struct base_span prefix)
{
    struct base_span head = base_buf_span(&incoming->head);
    const char *space = head.len ? memchr(head.ptr, ' ', head.len) : NULL;
    size_t before = space ? (size_t)(space + 1 - head.ptr) : head.len;

    return without(base_span_of(head.ptr + before, head.len - before), prefix);
}

/* Decoded once; copied only where there is something to decode. Well-formed UTF-8 afterwards: what
 * it holds may go to a database or a log, which would choke on anything else. */
static bool decode_path(struct http_incoming *incoming)
{
    struct base_span path = incoming->request.head.path;

    incoming->request.path = path;
    if (!memchr(path.ptr, '%', path.len))
        return true; /* the parser lets no 8-bit bytes pass */
    if (base_decode_percent(&incoming->path, path, false) != BASE_OK)
        return false;
    incoming->request.path = base_buf_span(&incoming->path);
    return base_utf8_valid(incoming->request.path);
}

static bool is_request_id(struct base_span text)
{
    return text.len >= 1 && text.len <= HTTP_REQUEST_ID_MAX &&
           http_char_all(text, HTTP_CHAR_HOST) && !memchr(text.ptr, '~', text.len);
}

static void set_request_id(struct http_request *request)
{
    bool repeated;
    struct base_span given = http_request_header(request, HTTP_FIELD_X_REQUEST_ID, &repeated);
    struct base_buf out;
    unsigned char bytes[RANDOM_ID_LEN];

    base_buf_init_fixed(&out, request->request_id, sizeof request->request_id);
    if (!repeated && is_request_id(given)) {
        base_buf_put_span(&out, given);
    } else {
        base_random(bytes, sizeof bytes);
        base_encode_base64url(&out, bytes, sizeof bytes);
    }
    base_buf_cstr(&out);
}

static bool is_lower_hex(struct base_span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!http_char_is(text.ptr[i], HTTP_CHAR_HEX) || (text.ptr[i] >= 'A' && text.ptr[i] <= 'F'))
            return false;
    return true;
}

static bool is_zero(struct base_span text)
{
    size_t zeros = 0;

    while (zeros < text.len && text.ptr[zeros] == '0')
        zeros++;
    return zeros == text.len;
}

/* W3C Trace Context §3.2: version "-" trace-id "-" parent-id "-" flags. Later versions may go on
 * after another dash; ff is no version, and identifiers of zeros are none. */
static bool is_traceparent(struct base_span text)
{
    const char *at = text.ptr;
    bool is_long = text.len > 55;

    if (text.len < 55 || at[2] != '-' || at[35] != '-' || at[52] != '-')
        return false;
    if (is_long && (at[55] != '-' || is_zero(base_span_of(at, 2))))
        return false;
    return is_lower_hex(base_span_of(at, 2)) && (at[0] != 'f' || at[1] != 'f') &&
           is_lower_hex(base_span_of(at + 3, 32)) && !is_zero(base_span_of(at + 3, 32)) &&
           is_lower_hex(base_span_of(at + 36, 16)) && !is_zero(base_span_of(at + 36, 16)) &&
           is_lower_hex(base_span_of(at + 53, 2));
}

static void set_trace_id(struct http_request *request)
{
    bool repeated;
    struct base_span text = http_request_header(request, HTTP_FIELD_TRACEPARENT, &repeated);

    if (!repeated && is_traceparent(text))
        request->trace_id = base_span_of(text.ptr + 3, 32);
}

static bool is_trusted(const struct http_server_options *options, const struct http_address *hop)
{
    for (size_t i = 0; i < options->n_trusted_proxies; i++)
        if (http_cidr_contains(&options->trusted_proxies[i], hop))
            return true;
    return false;
}

/* Cuts the last element off a comma-separated list, without white space around it. */
static struct base_span last_element(struct base_span *list)
{
    const char *comma = list->len ? memrchr(list->ptr, ',', list->len) : NULL;
    size_t start = comma ? (size_t)(comma + 1 - list->ptr) : 0;
    struct base_span element = base_span_of(list->ptr + start, list->len - start);

    *list = base_span_of(list->ptr, comma ? start - 1 : 0);
    while (element.len && (element.ptr[0] == ' ' || element.ptr[0] == '\t'))
        element = base_span_of(element.ptr + 1, element.len - 1);
    while (element.len &&
           (element.ptr[element.len - 1] == ' ' || element.ptr[element.len - 1] == '\t'))
        element.len--;
    return element;
}

/* Follows one header line from its right end. False: the client has been found, or nobody knows it:
 * where a trusted proxy says what is no address (an empty element too) the client is unknown. It is
 * not the proxy, whose address may open what is closed to others. */
static bool follow_line(struct http_request *request, const struct http_server_options *options,
                        struct base_span line)
{
    do {
        if (!is_trusted(options, &request->client))
            return false;
        if (http_forwarded_parse(last_element(&line), &request->client) != BASE_OK)
            return false;
    } while (line.len);
    return true;
}

/* Each proxy appends whom it was called by: so we walk from the right, for as long as the one who
 * told us is trusted. Everything further left may have been written by the client itself. */
static void set_client(struct http_request *request, const struct http_server_options *options)
{
    const struct http_head *head = &request->head;

    request->client = request->peer;
    if (options->n_trusted_proxies == 0)
        return;
    for (size_t i = head->n_headers; i-- > 0;)
        if (head->headers[i].field == HTTP_FIELD_X_FORWARDED_FOR &&
            !follow_line(request, options, head->headers[i].value))
            return;
}

/* RFC 9112 §3.2.2: the absolute form overrules Host; we serve no names but ours. */
static bool is_misdirected(const struct http_request *request, struct base_span ours)
{
    const struct http_header *host = http_head_get(&request->head, HTTP_FIELD_HOST);
    struct base_span named = request->head.authority;

    if (named.len == 0 || base_span_eq_nocase(named, ours))
        return false;
    return !host || !base_span_eq_nocase(named, host->value);
}

static bool cut_prefix(struct http_request *request, struct base_span prefix)
{
    struct base_span path = request->path;

    if (prefix.len == 0 || path.len <= prefix.len)
        return false;
    request->path = without(path, prefix);
    if (base_span_starts(path, BASE_SPAN("/.well-known/")) &&
        base_span_eq(base_span_of(path.ptr + path.len - prefix.len, prefix.len), prefix))
        request->path.len -= prefix.len;
    if (request->path.len == path.len)
        return false;
    request->prefix = prefix;
    return true;
}

static enum http_match match(struct http_incoming *incoming,
                             const struct http_server_options *options, unsigned mask)
{
    struct http_request *request = &incoming->request;

    return http_router_match(options->routes, options->n_routes, mask, request->head.method,
                             request->path, &request->route, request->params, incoming->allow,
                             sizeof incoming->allow);
}

static void find_route(struct http_incoming *incoming, const struct http_server_options *options,
                       unsigned mask)
{
    static const struct {
        int status;
        const char *reason;
    } verdicts[] = {
        [HTTP_MATCH_FOUND] = {0, NULL},
        [HTTP_MATCH_NO_PATH] = {404, "no such path"},
        [HTTP_MATCH_NO_METHOD] = {405, "method not allowed"},
    };
    struct http_request *request = &incoming->request;
    enum http_match found = match(incoming, options, mask);

    if (found == HTTP_MATCH_NO_PATH && cut_prefix(request, options->prefix))
        found = match(incoming, options, mask);
    incoming->verdict = verdicts[found].status;
    incoming->reason = verdicts[found].reason;
    if (is_misdirected(request, options->authority)) {
        incoming->verdict = 421;
        incoming->reason = "target is of another authority";
    }
}

struct http_parse_result http_incoming_route(struct http_incoming *incoming,
                                             const struct http_server_options *options,
                                             unsigned mask)
{
    struct http_request *request = &incoming->request;
    bool is_found;

    request->is_head = request->head.method == HTTP_HEAD;
    if (request->is_head)
        request->head.method = HTTP_GET;
    set_request_id(request);
    set_trace_id(request);
    set_client(request, options);
    if (!decode_path(incoming))
        return (struct http_parse_result){HTTP_PARSE_BAD, 0, 400, "path is not UTF-8"};
    find_route(incoming, options, mask);
    is_found = incoming->verdict == 0;
    incoming->keep_body = is_found && request->route->max_body > 0;
    incoming->body_limit = incoming->keep_body ? request->route->max_body : UNWANTED_MAX;
    incoming->body.max = incoming->body_limit;
    if (request->head.content_length > incoming->body_limit)
        return (struct http_parse_result){HTTP_PARSE_BAD, 0, 413, "body too large"};
    return (struct http_parse_result){.state = HTTP_PARSE_DONE};
}

/* The body */

static void keep(struct http_incoming *incoming, struct base_span data)
{
    incoming->received += data.len;
    if (incoming->keep_body && incoming->received <= incoming->body_limit)
        base_buf_put_span(&incoming->body, data);
}

static struct http_parse_result plain_body(struct http_incoming *incoming, struct base_span bytes)
{
    uint64_t left = incoming->request.head.content_length - incoming->received;
    size_t len = left < bytes.len ? (size_t)left : bytes.len;

    keep(incoming, base_span_of(bytes.ptr, len));
    return (struct http_parse_result){
        .state = len == left ? HTTP_PARSE_DONE : HTTP_PARSE_MORE,
        .used = len,
    };
}

static struct http_parse_result chunked_body(struct http_incoming *incoming, struct base_span bytes)
{
    struct http_chunked_result step = http_chunked_step(&incoming->chunked, bytes);

    keep(incoming, step.data);
    /* What a chunk's size announces need not be waited for. */
    if (step.state != HTTP_PARSE_BAD &&
        (incoming->received > incoming->body_limit ||
         incoming->chunked.left > incoming->body_limit - incoming->received))
        return (struct http_parse_result){HTTP_PARSE_BAD, 0, 413, "body too large"};
    return (struct http_parse_result){step.state, step.used, step.status, step.reason};
}

struct http_parse_result http_incoming_body(struct http_incoming *incoming, struct base_span bytes)
{
    struct http_parse_result result = incoming->request.head.chunked ? chunked_body(incoming, bytes)
                                                                     : plain_body(incoming, bytes);

    if (result.state == HTTP_PARSE_DONE)
        incoming->request.body = base_buf_span(&incoming->body);
    return result;
}
