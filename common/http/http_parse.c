/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of heads. It reads line by line, always from the start, but only when a line has been
 * completed since the last call: there are at most a hundred lines, so the work stays linear in
 * what a client sends, and nothing but one number has to be kept between calls. What is wrong is
 * found at the first byte or line that is wrong, however the bytes were cut into packets: a limit
 * is checked on an unfinished line exactly as on a finished one. */
#include "http_parse.h"

#include "base_attr.h"
#include "http_address.h"
#include "http_char.h"

#include <assert.h>

#define MAX_METHOD      32
#define MAX_EMPTY_LINES 2 /* before a request, RFC 9112 §2.2 */
#define VERSION_LEN     (sizeof "HTTP/1.1" - 1)
#define MAX_HOST        253 /* RFC 1035 §2.3.4, as text */

/* Why a message is refused. */
enum fault {
    FAULT_NONE,
    FAULT_MORE, /* none so far, but the message is not complete */
    FAULT_METHOD,
    FAULT_REQUEST_LINE,
    FAULT_TARGET_LONG,
    FAULT_TARGET,
    FAULT_VERSION,
    FAULT_VERSION_OTHER,
    FAULT_BARE_LF,
    FAULT_HEADERS_LARGE,
    FAULT_HEADERS_MANY,
    FAULT_NAME,
    FAULT_VALUE,
    FAULT_HOST,
    FAULT_LENGTH,
    FAULT_CODING,
    FAULT_CODING_OTHER,
    FAULT_CODING_TWICE,
    FAULT_CODING_LENGTH,
    FAULT_CODING_VERSION,
    FAULT_CONNECTION,
    FAULT_EXPECT,
};

static const struct {
    int status;
    const char *reason;
} faults[] = {
    [FAULT_METHOD] = {400, "no valid method"},
    [FAULT_REQUEST_LINE] = {400, "malformed request line"},
    [FAULT_TARGET_LONG] = {414, "request target too long"},
    [FAULT_TARGET] = {400, "malformed request target"},
    [FAULT_VERSION] = {400, "malformed HTTP version"},
    [FAULT_VERSION_OTHER] = {505, "HTTP version not supported"},
    [FAULT_BARE_LF] = {400, "line feed without carriage return"},
    [FAULT_HEADERS_LARGE] = {431, "headers too large"},
    [FAULT_HEADERS_MANY] = {431, "too many headers"},
    [FAULT_NAME] = {400, "malformed header name"},
    [FAULT_VALUE] = {400, "control character in a header"},
    [FAULT_HOST] = {400, "missing, repeated or malformed Host"},
    [FAULT_LENGTH] = {400, "repeated or malformed Content-Length"},
    [FAULT_CODING] = {400, "malformed Transfer-Encoding"},
    [FAULT_CODING_OTHER] = {501, "transfer coding not supported"},
    [FAULT_CODING_TWICE] = {400, "repeated Transfer-Encoding"},
    [FAULT_CODING_LENGTH] = {400, "both Transfer-Encoding and Content-Length"},
    [FAULT_CODING_VERSION] = {400, "Transfer-Encoding in HTTP/1.0"},
    [FAULT_CONNECTION] = {400, "malformed Connection"},
    [FAULT_EXPECT] = {417, "expectation not supported"},
};

static const struct base_span method_names[] = {
    [HTTP_GET] = BASE_SPAN_INIT("GET"),         [HTTP_HEAD] = BASE_SPAN_INIT("HEAD"),
    [HTTP_POST] = BASE_SPAN_INIT("POST"),       [HTTP_PUT] = BASE_SPAN_INIT("PUT"),
    [HTTP_PATCH] = BASE_SPAN_INIT("PATCH"),     [HTTP_DELETE] = BASE_SPAN_INIT("DELETE"),
    [HTTP_OPTIONS] = BASE_SPAN_INIT("OPTIONS"),
};

static const struct base_span field_names[] = {
    [HTTP_FIELD_HOST] = BASE_SPAN_INIT("Host"),
    [HTTP_FIELD_CONTENT_LENGTH] = BASE_SPAN_INIT("Content-Length"),
    [HTTP_FIELD_CONTENT_TYPE] = BASE_SPAN_INIT("Content-Type"),
    [HTTP_FIELD_CONTENT_ENCODING] = BASE_SPAN_INIT("Content-Encoding"),
    [HTTP_FIELD_TRANSFER_ENCODING] = BASE_SPAN_INIT("Transfer-Encoding"),
    [HTTP_FIELD_CONNECTION] = BASE_SPAN_INIT("Connection"),
    [HTTP_FIELD_EXPECT] = BASE_SPAN_INIT("Expect"),
    [HTTP_FIELD_AUTHORIZATION] = BASE_SPAN_INIT("Authorization"),
    [HTTP_FIELD_IF_MATCH] = BASE_SPAN_INIT("If-Match"),
    [HTTP_FIELD_IF_NONE_MATCH] = BASE_SPAN_INIT("If-None-Match"),
    [HTTP_FIELD_IDEMPOTENCY_KEY] = BASE_SPAN_INIT("Idempotency-Key"),
    [HTTP_FIELD_X_REQUEST_ID] = BASE_SPAN_INIT("X-Request-Id"),
    [HTTP_FIELD_X_FORWARDED_FOR] = BASE_SPAN_INIT("X-Forwarded-For"),
    [HTTP_FIELD_TRACEPARENT] = BASE_SPAN_INIT("traceparent"),
    [HTTP_FIELD_OTHER] = {0},
};

/* The fields whose names have that many letters: never more than two, so that no name is compared
 * with more than two others. */
#define NONE HTTP_FIELD_OTHER
static const enum http_field fields_by_length[][2] = {
    [0] = {NONE, NONE},
    [1] = {NONE, NONE},
    [2] = {NONE, NONE},
    [3] = {NONE, NONE},
    [4] = {HTTP_FIELD_HOST, NONE},
    [5] = {NONE, NONE},
    [6] = {HTTP_FIELD_EXPECT, NONE},
    [7] = {NONE, NONE},
    [8] = {HTTP_FIELD_IF_MATCH, NONE},
    [9] = {NONE, NONE},
    [10] = {HTTP_FIELD_CONNECTION, NONE},
    [11] = {HTTP_FIELD_TRACEPARENT, NONE},
    [12] = {HTTP_FIELD_CONTENT_TYPE, HTTP_FIELD_X_REQUEST_ID},
    [13] = {HTTP_FIELD_AUTHORIZATION, HTTP_FIELD_IF_NONE_MATCH},
    [14] = {HTTP_FIELD_CONTENT_LENGTH, NONE},
    [15] = {HTTP_FIELD_X_FORWARDED_FOR, HTTP_FIELD_IDEMPOTENCY_KEY},
    [16] = {HTTP_FIELD_CONTENT_ENCODING, NONE},
    [17] = {HTTP_FIELD_TRANSFER_ENCODING, NONE},
};
#undef NONE

static struct base_span skip(struct base_span text, size_t len)
{
    return len ? base_span_of(text.ptr + len, text.len - len) : text; /* NULL + 0 is undefined */
}

/* Where the byte is; text.len when it is not there. */
static size_t find(struct base_span text, char c)
{
    const char *at = text.len ? memchr(text.ptr, c, text.len) : NULL;

    return at ? (size_t)(at - text.ptr) : text.len;
}

/* Cuts the next line off, without its LF but with its CR; false when it is not complete. */
static bool next_line(struct base_span *rest, struct base_span *line)
{
    size_t len = find(*rest, '\n');

    if (len == rest->len)
        return false;
    *line = base_span_of(rest->ptr, len);
    *rest = skip(*rest, len + 1);
    return true;
}

static bool strip_cr(struct base_span *line)
{
    if (line->len == 0 || line->ptr[line->len - 1] != '\r')
        return false;
    line->len--;
    return true;
}

/* The request line */

/* Cuts the line at its two spaces. It may be unfinished (FAULT_MORE): a limit that what is there
 * breaks already, and bytes that no method begins with (a TLS hello on a plain port), are refused
 * at once. */
static enum fault split_request_line(struct base_span line, struct http_head *head,
                                     struct base_span *version)
{
    size_t len =
        http_char_run(base_span_of(line.ptr, line.len < MAX_METHOD + 1 ? line.len : MAX_METHOD + 1),
                      HTTP_CHAR_TOKEN);

    if (len > MAX_METHOD)
        return FAULT_METHOD;
    if (len == line.len)
        return FAULT_MORE;
    if (len == 0 || line.ptr[len] != ' ')
        return FAULT_METHOD;
    head->method_text = base_span_of(line.ptr, len);
    line = skip(line, len + 1);
    len = find(line, ' ');
    if (len > HTTP_MAX_TARGET)
        return FAULT_TARGET_LONG;
    if (len == line.len)
        return FAULT_MORE;
    head->target = base_span_of(line.ptr, len);
    *version = skip(line, len + 1);
    return version->len > VERSION_LEN + 1 ? FAULT_VERSION : FAULT_NONE;
}

static enum http_method find_method(struct base_span text)
{
    for (size_t i = 0; i < BASE_COUNT(method_names); i++)
        if (base_span_eq(text, method_names[i]))
            return (enum http_method)i;
    return HTTP_OTHER;
}

static enum fault parse_version(struct base_span text, int *minor)
{
    bool looks_right = text.len == VERSION_LEN && base_span_starts(text, BASE_SPAN("HTTP/")) &&
                       http_char_is(text.ptr[5], HTTP_CHAR_DIGIT) && text.ptr[6] == '.' &&
                       http_char_is(text.ptr[7], HTTP_CHAR_DIGIT);

    if (!looks_right)
        return FAULT_VERSION;
    if (text.ptr[5] != '1' || text.ptr[7] > '1')
        return FAULT_VERSION_OTHER;
    *minor = text.ptr[7] - '0';
    return FAULT_NONE;
}

/* The byte that `%XX` at the start stands for; -1 when it is malformed. */
static int percent_byte(struct base_span text)
{
    if (text.len < 3 || !http_char_is(text.ptr[1], HTTP_CHAR_HEX) ||
        !http_char_is(text.ptr[2], HTTP_CHAR_HEX))
        return -1;
    return (int)(http_char_hex(text.ptr[1]) << 4 | http_char_hex(text.ptr[2]));
}

/* How many of the first bytes are of `classes` or well-formed escapes of bytes that `forbidden`
 * does not hold; NUL is forbidden always, because somebody behind us may take it for an end. */
static size_t target_run(struct base_span text, unsigned classes, struct base_span forbidden)
{
    size_t len = 0;

    for (;;) {
        struct base_span rest;
        int byte;

        len += http_char_run(skip(text, len), classes);
        rest = skip(text, len);
        if (rest.len == 0 || rest.ptr[0] != '%')
            return len;
        byte = percent_byte(rest);
        if (byte <= 0 || find(forbidden, (char)byte) < forbidden.len)
            return len;
        len += 3;
    }
}

/* `.` and `..`, also when written as %2e. */
static bool is_dot_segment(struct base_span segment)
{
    size_t dots = 0;

    while (segment.len) {
        bool plain = segment.ptr[0] == '.';

        if (!plain && (segment.ptr[0] != '%' || percent_byte(segment) != '.'))
            return false;
        segment = skip(segment, plain ? 1 : 3);
        dots++;
    }
    return dots == 1 || dots == 2;
}

static bool has_dot_segment(struct base_span path)
{
    while (path.len) {
        size_t len;

        path = skip(path, 1); /* the slash */
        len = find(path, '/');
        if (is_dot_segment(base_span_of(path.ptr, len)))
            return true;
        path = skip(path, len);
    }
    return false;
}

/* Path and query. Encoded slashes are refused, so that a path decoded once has the segments that it
 * had on the wire. */
static enum fault parse_path(struct base_span text, struct http_head *head)
{
    size_t len = target_run(text, HTTP_CHAR_PATH, BASE_SPAN("/\\"));

    head->path = base_span_of(text.ptr, len);
    text = skip(text, len);
    if (text.len && text.ptr[0] == '?') {
        head->query = skip(text, 1);
        text = skip(head->query, target_run(head->query, HTTP_CHAR_QUERY, BASE_SPAN("")));
    }
    return text.len || has_dot_segment(head->path) ? FAULT_TARGET : FAULT_NONE;
}

/* RFC 3986 §3.2.2, without what nobody uses and readers disagree about: escapes, sub-delimiters,
 * zones. */
static bool is_host(struct base_span text)
{
    struct http_address address;

    if (text.len == 0 || text.len > MAX_HOST)
        return false;
    if (text.ptr[0] != '[')
        return http_char_all(text, HTTP_CHAR_HOST);
    if (text.ptr[text.len - 1] != ']')
        return false;
    text = base_span_of(text.ptr + 1, text.len - 2);
    return find(text, ':') < text.len && http_address_parse(text, &address) == BASE_OK;
}

bool http_authority_valid(struct base_span text)
{
    const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
    struct base_span port;

    if (!colon || text.ptr[text.len - 1] == ']')
        return is_host(text);
    port = skip(text, (size_t)(colon + 1 - text.ptr));
    text.len -= port.len + 1;
    return http_char_all(port, HTTP_CHAR_DIGIT) && port.len <= 5 &&
           (port.len < 5 || memcmp(port.ptr, "65535", 5) <= 0) && is_host(text);
}

/* "http://authority/path", RFC 9112 §3.2.2. */
static enum fault parse_absolute(struct base_span scheme_less, struct http_head *head)
{
    size_t len = 0;

    while (len < scheme_less.len && scheme_less.ptr[len] != '/' && scheme_less.ptr[len] != '?')
        len++;
    head->authority = base_span_of(scheme_less.ptr, len);
    if (!http_authority_valid(head->authority))
        return FAULT_TARGET;
    if (parse_path(skip(scheme_less, len), head) != FAULT_NONE)
        return FAULT_TARGET;
    if (head->path.len == 0) /* RFC 9110 §4.2.3: the same as a slash */
        head->path = BASE_SPAN("/");
    return FAULT_NONE;
}

static enum fault parse_target(struct http_head *head)
{
    static const struct base_span schemes[] = {BASE_SPAN_INIT("http://"),
                                               BASE_SPAN_INIT("https://")};
    struct base_span target = head->target;

    if (target.len && target.ptr[0] == '/')
        return parse_path(target, head);
    for (size_t i = 0; i < BASE_COUNT(schemes); i++) {
        size_t len = schemes[i].len;

        if (target.len > len && base_span_eq_nocase(base_span_of(target.ptr, len), schemes[i]))
            return parse_absolute(skip(target, len), head);
    }
    return FAULT_TARGET; /* `*`, authority-form, another scheme */
}

static enum fault parse_request_line(struct base_span line, struct http_head *head)
{
    struct base_span version;
    enum fault fault = split_request_line(line, head, &version);

    if (fault != FAULT_NONE)
        return fault == FAULT_MORE ? FAULT_REQUEST_LINE : fault;
    if (!strip_cr(&version))
        return FAULT_BARE_LF;
    if ((fault = parse_version(version, &head->minor)) != FAULT_NONE)
        return fault;
    head->method = find_method(head->method_text);
    if (base_span_eq(head->method_text, BASE_SPAN("CONNECT")))
        return FAULT_TARGET;
    return parse_target(head);
}

/* Headers */

static enum http_field find_field(struct base_span name)
{
    if (name.len >= BASE_COUNT(fields_by_length))
        return HTTP_FIELD_OTHER;
    for (size_t i = 0; i < 2; i++) {
        enum http_field field = fields_by_length[name.len][i];

        if (base_span_eq_nocase(name, field_names[field]))
            return field;
    }
    return HTTP_FIELD_OTHER;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct base_span trim(struct base_span text)
{
    while (text.len && is_blank(text.ptr[0]))
        text = skip(text, 1);
    while (text.len && is_blank(text.ptr[text.len - 1]))
        text.len--;
    return text;
}

/* A line that begins with a space (obs-fold) has no name; nor has one with a space before its
 * colon. */
static enum fault parse_header(struct base_span line, struct http_head *head)
{
    size_t len = http_char_run(line, HTTP_CHAR_TOKEN);
    struct http_header *header;

    if (head->n_headers == HTTP_MAX_FIELDS)
        return FAULT_HEADERS_MANY;
    if (!strip_cr(&line))
        return FAULT_BARE_LF;
    if (len == 0 || len == line.len || line.ptr[len] != ':')
        return FAULT_NAME;
    header = &head->headers[head->n_headers];
    header->name = base_span_of(line.ptr, len);
    line = skip(line, len + 1);
    if (!http_char_all(line, HTTP_CHAR_TEXT))
        return FAULT_VALUE;
    header->value = trim(line);
    header->field = find_field(header->name);
    if (header->field != HTTP_FIELD_OTHER && head->first[header->field] < 0)
        head->first[header->field] = (int16_t)head->n_headers;
    head->n_headers++;
    return FAULT_NONE;
}

/* What the headers say together */

static enum fault check_host(struct http_head *head)
{
    const struct http_header *host = http_head_get(head, HTTP_FIELD_HOST);

    if (!host)
        return head->minor == 0 ? FAULT_NONE : FAULT_HOST;
    if (http_head_count(head, HTTP_FIELD_HOST) > 1 || !http_authority_valid(host->value))
        return FAULT_HOST;
    return FAULT_NONE;
}

/* Digits only, and no zero in front: some readers take that for octal. */
static enum fault check_length(struct http_head *head)
{
    const struct http_header *length = http_head_get(head, HTTP_FIELD_CONTENT_LENGTH);
    struct base_span digits;

    if (!length)
        return FAULT_NONE;
    digits = length->value;
    if (http_head_count(head, HTTP_FIELD_CONTENT_LENGTH) > 1 || digits.len == 0 ||
        digits.len > 19 || !http_char_all(digits, HTTP_CHAR_DIGIT) ||
        (digits.ptr[0] == '0' && digits.len > 1))
        return FAULT_LENGTH;
    for (size_t i = 0; i < digits.len; i++) /* nineteen digits fit */
        head->content_length = head->content_length * 10 + http_char_hex(digits.ptr[i]);
    head->has_length = true;
    return FAULT_NONE;
}

/* `chunked` and nothing else, RFC 9112 §6.1. */
static enum fault check_coding(struct http_head *head)
{
    const struct http_header *coding = http_head_get(head, HTTP_FIELD_TRANSFER_ENCODING);

    if (!coding)
        return FAULT_NONE;
    if (head->minor == 0)
        return FAULT_CODING_VERSION;
    if (head->has_length)
        return FAULT_CODING_LENGTH;
    if (http_head_count(head, HTTP_FIELD_TRANSFER_ENCODING) > 1)
        return FAULT_CODING_TWICE;
    if (coding->value.len == 0 || !http_char_all(coding->value, HTTP_CHAR_TOKEN))
        return FAULT_CODING;
    head->chunked = base_span_eq_nocase(coding->value, BASE_SPAN("chunked"));
    return head->chunked ? FAULT_NONE : FAULT_CODING_OTHER;
}

static enum fault check_expect(struct http_head *head)
{
    for (size_t i = 0; i < head->n_headers; i++) {
        if (head->headers[i].field != HTTP_FIELD_EXPECT)
            continue;
        if (!base_span_eq_nocase(head->headers[i].value, BASE_SPAN("100-continue")))
            return FAULT_EXPECT;
        head->expect_continue = head->minor == 1; /* RFC 9110 §10.1.1: ignored in 1.0 */
    }
    return FAULT_NONE;
}

struct connection_options {
    bool close;
    bool keep_alive;
};

/* A comma-separated list of tokens; elements may be empty, RFC 9110 §5.6.1.2. */
static bool read_connection(struct base_span list, struct connection_options *options)
{
    for (;;) {
        size_t len = find(list, ',');
        struct base_span option = trim(base_span_of(list.ptr, len));

        if (!http_char_all(option, HTTP_CHAR_TOKEN))
            return false;
        options->close |= base_span_eq_nocase(option, BASE_SPAN("close"));
        options->keep_alive |= base_span_eq_nocase(option, BASE_SPAN("keep-alive"));
        if (len == list.len)
            return true;
        list = skip(list, len + 1);
    }
}

/* RFC 9112 §9.3. */
static enum fault check_connection(struct http_head *head)
{
    struct connection_options options = {0};

    for (size_t i = 0; i < head->n_headers; i++)
        if (head->headers[i].field == HTTP_FIELD_CONNECTION &&
            !read_connection(head->headers[i].value, &options))
            return FAULT_CONNECTION;
    head->keep_alive = !options.close && (head->minor == 1 || options.keep_alive);
    return FAULT_NONE;
}

static enum fault check_headers(struct http_head *head)
{
    static enum fault (*const checks[])(struct http_head *) = {
        check_host,   check_length,     check_coding, /* needs to know of a length */
        check_expect, check_connection,
    };
    enum fault fault = FAULT_NONE;

    for (size_t i = 0; i < BASE_COUNT(checks) && fault == FAULT_NONE; i++)
        fault = checks[i](head);
    return fault;
}

static bool is_lone_cr(struct base_span line)
{
    return line.len == 1 && line.ptr[0] == '\r';
}

/* `lines`: all headers so far, the last line unfinished. A lone CR in that one may become the empty
 * line, which does not count. */
static enum fault check_unfinished(struct base_span lines)
{
    const char *lf = lines.len ? memrchr(lines.ptr, '\n', lines.len) : NULL;
    size_t last = lf ? (size_t)(lf + 1 - lines.ptr) : 0;
    size_t size = is_lone_cr(skip(lines, last)) ? last : lines.len;

    return size > HTTP_MAX_HEADERS ? FAULT_HEADERS_LARGE : FAULT_MORE;
}

static enum fault parse_headers(struct base_span lines, struct base_span *rest,
                                struct http_head *head)
{
    struct base_span line;
    enum fault fault;

    *rest = lines;
    while (next_line(rest, &line)) {
        if (is_lone_cr(line))
            return check_headers(head);
        if (lines.len - rest->len > HTTP_MAX_HEADERS)
            return FAULT_HEADERS_LARGE;
        if ((fault = parse_header(line, head)) != FAULT_NONE)
            return fault;
    }
    return check_unfinished(lines);
}

/* The head */

static void skip_empty_lines(struct base_span *rest)
{
    for (int i = 0; i < MAX_EMPTY_LINES && base_span_starts(*rest, BASE_SPAN("\r\n")); i++)
        *rest = skip(*rest, 2);
}

/* `has_new_line`: a line has been completed since the last call, so there is something new to
 * parse. */
static enum fault parse_head(struct base_span *rest, bool has_new_line, struct http_head *head)
{
    struct base_span line, version;
    enum fault fault;

    if (!next_line(rest, &line)) {
        fault = split_request_line(*rest, head, &version);
        return fault == FAULT_NONE ? FAULT_MORE : fault;
    }
    if (!has_new_line)
        return check_unfinished(*rest);
    if ((fault = parse_request_line(line, head)) != FAULT_NONE)
        return fault;
    return parse_headers(*rest, rest, head);
}

/* All but the array, which n_headers tells about. */
static void clear_head(struct http_head *head)
{
    memset(head, 0, offsetof(struct http_head, headers));
    memset(head->first, -1, sizeof head->first);
}

struct http_parse_result http_parse_head(struct base_span bytes, size_t *scanned,
                                         struct http_head *out)
{
    struct base_span fresh = skip(bytes, *scanned);
    struct base_span rest = bytes;
    enum fault fault;

    clear_head(out);
    *scanned = bytes.len;
    skip_empty_lines(&rest);
    if (is_lone_cr(rest) && bytes.len - rest.len < MAX_EMPTY_LINES * 2)
        return (struct http_parse_result){.state = HTTP_PARSE_MORE}; /* one more empty line? */
    fault = parse_head(&rest, find(fresh, '\n') < fresh.len, out);
    if (fault == FAULT_MORE)
        return (struct http_parse_result){.state = HTTP_PARSE_MORE};
    if (fault != FAULT_NONE)
        return (struct http_parse_result){.state = HTTP_PARSE_BAD,
                                          .status = faults[fault].status,
                                          .reason = faults[fault].reason};
    return (struct http_parse_result){.state = HTTP_PARSE_DONE, .used = bytes.len - rest.len};
}

const struct http_header *http_head_get(const struct http_head *head, enum http_field field)
{
    assert(field < HTTP_FIELD_OTHER);
    return head->first[field] < 0 ? NULL : &head->headers[head->first[field]];
}

size_t http_head_count(const struct http_head *head, enum http_field field)
{
    size_t count = 0;

    for (size_t i = 0; i < head->n_headers; i++)
        count += head->headers[i].field == field;
    return count;
}

const char *http_method_name(enum http_method method)
{
    return method < HTTP_OTHER ? method_names[method].ptr : "OTHER";
}
