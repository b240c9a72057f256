/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and chunked bodies. Every input of the tables is parsed whole, and again byte by byte, each
 * time from a block of its own size so that the sanitizer sees a read past the end; both must
 * agree. */
#include "http_parse.h"

#include "base_attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define H      "Host: a\r\n"
#define END    "\r\n"
#define HIDDEN "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"

static struct http_head head;

/* A copy without a byte behind it; the caller frees. */
static char *exact_copy(struct base_span text)
{
    char *copy = malloc(text.len ? text.len : 1);

    assert_non_null(copy);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    return copy;
}

/* The first verdict other than MORE when the bytes arrive one by one. */
static struct http_parse_result parse_slowly(struct base_span text)
{
    struct http_parse_result result = {0};
    size_t scanned = 0;

    for (size_t len = 0; len <= text.len; len++) {
        char *copy = exact_copy(base_span_of(text.ptr, len));

        result = http_parse_head(base_span_of(copy, len), &scanned, &head);
        free(copy);
        if (result.state != HTTP_PARSE_MORE)
            break;
    }
    return result;
}

/* The verdict on all of it; the head's spans point into `text`. */
static struct http_parse_result parse(struct base_span text)
{
    struct http_parse_result slow = parse_slowly(text), result;
    char *copy = exact_copy(text);
    size_t scanned = 0;

    result = http_parse_head(base_span_of(copy, text.len), &scanned, &head);
    free(copy);
    assert_int_equal(slow.state, result.state);
    assert_int_equal(slow.used, result.used);
    assert_int_equal(slow.status, result.status);
    assert_ptr_equal(slow.reason, result.reason);
    scanned = 0;
    return http_parse_head(text, &scanned, &head);
}

static void assert_span(struct base_span span, const char *text)
{
    if (!base_span_eq(span, base_span_str(text)))
        fail_msg("\"%.*s\" instead of \"%s\"", BASE_SPAN_ARGS(span), text);
}

static void parse_done(const char *text)
{
    struct http_parse_result result = parse(base_span_str(text));

    if (result.state != HTTP_PARSE_DONE)
        fail_msg("%d %s: %s", result.status, result.reason ? result.reason : "more", text);
}

struct bad_case {
    const char *name;
    struct base_span text;
    int status;
};
#define BAD(name, status, text)                                                                    \
    {                                                                                              \
        name, BASE_SPAN_INIT(text), status                                                         \
    }

static void check_bad(const struct bad_case *cases, size_t n_cases)
{
    for (size_t i = 0; i < n_cases; i++) {
        struct http_parse_result result = parse(cases[i].text);

        if (result.state != HTTP_PARSE_BAD || result.status != cases[i].status || !result.reason)
            fail_msg("%s: state %d, status %d (%s), expected %d", cases[i].name, result.state,
                     result.status, result.reason ? result.reason : "", cases[i].status);
    }
}

static void test_request_line(void **state BASE_UNUSED)
{
    static const struct {
        const char *text;
        enum http_method method;
        const char *target, *path, *query; /* query NULL: none */
        int minor;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" H END, HTTP_GET, "/", "/", NULL, 1},
        {"HEAD /a HTTP/1.1\r\n" H END, HTTP_HEAD, "/a", "/a", NULL, 1},
        {"POST /oauth2/token HTTP/1.1\r\n" H END, HTTP_POST, "/oauth2/token", "/oauth2/token", NULL,
         1},
        {"PUT /a?b HTTP/1.1\r\n" H END, HTTP_PUT, "/a?b", "/a", "b", 1},
        {"PATCH /a?b=c&d=/? HTTP/1.1\r\n" H END, HTTP_PATCH, "/a?b=c&d=/?", "/a", "b=c&d=/?", 1},
        {"DELETE /a? HTTP/1.1\r\n" H END, HTTP_DELETE, "/a?", "/a", "", 1},
        {"OPTIONS /a HTTP/1.1\r\n" H END, HTTP_OPTIONS, "/a", "/a", NULL, 1},
        {"get / HTTP/1.1\r\n" H END, HTTP_OTHER, "/", "/", NULL, 1},
        {"TRACE / HTTP/1.1\r\n" H END, HTTP_OTHER, "/", "/", NULL, 1},
        {"GETT / HTTP/1.1\r\n" H END, HTTP_OTHER, "/", "/", NULL, 1},
        {"M-!#$%&'*+.^_`|~9 / HTTP/1.1\r\n" H END, HTTP_OTHER, "/", "/", NULL, 1},
        {"GET / HTTP/1.0\r\n\r\n", HTTP_GET, "/", "/", NULL, 0},
        {"\r\nGET / HTTP/1.1\r\n" H END, HTTP_GET, "/", "/", NULL, 1},
        {"\r\n\r\nGET / HTTP/1.1\r\n" H END, HTTP_GET, "/", "/", NULL, 1},
        {"GET /a%20b/%c3%A9 HTTP/1.1\r\n" H END, HTTP_GET, "/a%20b/%c3%A9", "/a%20b/%c3%A9", NULL,
         1},
        {"GET /%252e%252e/%252f HTTP/1.1\r\n" H END, HTTP_GET, "/%252e%252e/%252f",
         "/%252e%252e/%252f", NULL, 1},
        {"GET /.well-known/a HTTP/1.1\r\n" H END, HTTP_GET, "/.well-known/a", "/.well-known/a",
         NULL, 1},
        {"GET /.../a..b/..a/a.%2e HTTP/1.1\r\n" H END, HTTP_GET, "/.../a..b/..a/a.%2e",
         "/.../a..b/..a/a.%2e", NULL, 1},
        {"GET //evil.example/v1 HTTP/1.1\r\n" H END, HTTP_GET, "//evil.example/v1",
         "//evil.example/v1", NULL, 1},
        {"GET /a!$&'()*+,;=:@-._~ HTTP/1.1\r\n" H END, HTTP_GET, "/a!$&'()*+,;=:@-._~",
         "/a!$&'()*+,;=:@-._~", NULL, 1},
        {"GET /a?%2F%5c..&x=../ HTTP/1.1\r\n" H END, HTTP_GET, "/a?%2F%5c..&x=../", "/a",
         "%2F%5c..&x=../", 1},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        parse_done(cases[i].text);
        assert_int_equal(head.method, cases[i].method);
        assert_span(head.target, cases[i].target);
        assert_span(head.path, cases[i].path);
        assert_int_equal(head.minor, cases[i].minor);
        assert_int_equal(head.query.ptr != NULL, cases[i].query != NULL);
        assert_span(head.query, cases[i].query ? cases[i].query : "");
        assert_int_equal(head.authority.len, 0);
    }
}

static void test_absolute_form(void **state BASE_UNUSED)
{
    static const struct {
        const char *text;
        const char *authority, *path, *query;
    } cases[] = {
        {"GET http://a/b?c HTTP/1.1\r\n" H END, "a", "/b", "c"},
        {"GET HTTPS://a.example:8443/ HTTP/1.1\r\n" H END, "a.example:8443", "/", NULL},
        {"GET http://a HTTP/1.1\r\n" H END, "a", "/", NULL},
        {"GET http://a?c HTTP/1.1\r\n" H END, "a", "/", "c"},
        {"GET http://[::1]:80/x HTTP/1.1\r\n" H END, "[::1]:80", "/x", NULL},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        parse_done(cases[i].text);
        assert_span(head.authority, cases[i].authority);
        assert_span(head.path, cases[i].path);
        assert_span(head.query, cases[i].query ? cases[i].query : "");
        assert_int_equal(head.query.ptr != NULL, cases[i].query != NULL);
    }
}

static void test_bad_request_lines(void **state BASE_UNUSED)
{
    static const struct bad_case cases[] = {
        BAD("TLS hello", 400, "\x16\x03\x01\x02\x00\x01\x00"),
        BAD("SSH banner", 400, "SSH-2.0-OpenSSH_9.2p1\r\n"),
        BAD("NUL", 400, "\0"),
        BAD("8-bit", 400, "\xff"),
        BAD("space first", 400, " GET / HTTP/1.1\r\n" H END),
        BAD("tab for space", 400, "GET\t/ HTTP/1.1\r\n" H END),
        BAD("three empty lines", 400, "\r\n\r\n\r\nGET / HTTP/1.1\r\n" H END),
        BAD("empty line with bare LF", 400, "\nGET / HTTP/1.1\r\n" H END),
        BAD("CR first", 400, "\rGET / HTTP/1.1\r\n" H END),
        BAD("CR CR", 400, "\r\r"),
        BAD("method in brackets", 400, "G[T / HTTP/1.1\r\n" H END),
        BAD("method with colon", 400, "GET: / HTTP/1.1\r\n" H END),
        BAD("method of 33", 400, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        BAD("only a method", 400, "GET\r\n" H END),
        BAD("only a method, LF", 400, "GET\n"),
        BAD("method and space", 400, "GET \r\n"),
        BAD("HTTP/0.9", 400, "GET /\r\n"),
        BAD("no target", 400, "GET HTTP/1.1\r\n" H END),
        BAD("no target, two spaces", 400, "GET  HTTP/1.1\r\n" H END),
        BAD("two spaces before target", 400, "GET  / HTTP/1.1\r\n" H END),
        BAD("two spaces before version", 400, "GET /  HTTP/1.1\r\n" H END),
        BAD("space behind version", 400, "GET / HTTP/1.1 \r\n" H END),
        BAD("tab before version", 400, "GET /\tHTTP/1.1\r\n" H END),
        BAD("space in target", 400, "GET /a b HTTP/1.1\r\n" H END),
        BAD("no version", 400, "GET / \r\n" H END),
        BAD("bare LF", 400, "GET / HTTP/1.1\n" H END),
        BAD("bare CR", 400, "GET / HTTP/1.1\r" H END),
        BAD("CR CR LF", 400, "GET / HTTP/1.1\r\r\n" H END),
        BAD("CR in target", 400, "GET /\ra HTTP/1.1\r\n" H END),
        BAD("NUL in target", 400, "GET /\0a HTTP/1.1\r\n" H END),
        BAD("DEL in target", 400, "GET /\x7f HTTP/1.1\r\n" H END),
        BAD("control in target", 400, "GET /\x01 HTTP/1.1\r\n" H END),
        BAD("8-bit in target", 400, "GET /\xc3\xa9 HTTP/1.1\r\n" H END),
        BAD("8-bit in query", 400, "GET /?\xc3\xa9 HTTP/1.1\r\n" H END),
        BAD("backslash", 400, "GET /\\a HTTP/1.1\r\n" H END),
        BAD("backslash first", 400, "GET \\a HTTP/1.1\r\n" H END),
        BAD("backslash in query", 400, "GET /?\\ HTTP/1.1\r\n" H END),
        BAD("fragment", 400, "GET /a#b HTTP/1.1\r\n" H END),
        BAD("fragment in query", 400, "GET /?a#b HTTP/1.1\r\n" H END),
        BAD("quote", 400, "GET /\" HTTP/1.1\r\n" H END),
        BAD("angle", 400, "GET /<a> HTTP/1.1\r\n" H END),
        BAD("braces", 400, "GET /{a} HTTP/1.1\r\n" H END),
        BAD("pipe in query", 400, "GET /?a|b HTTP/1.1\r\n" H END),
        BAD("%00", 400, "GET /%00 HTTP/1.1\r\n" H END),
        BAD("%00 in query", 400, "GET /?a=%00 HTTP/1.1\r\n" H END),
        BAD("%zz", 400, "GET /%zz HTTP/1.1\r\n" H END),
        BAD("%2z", 400, "GET /%2z HTTP/1.1\r\n" H END),
        BAD("%zz in query", 400, "GET /?%zz HTTP/1.1\r\n" H END),
        BAD("% at the end", 400, "GET /% HTTP/1.1\r\n" H END),
        BAD("%4 at the end", 400, "GET /%4 HTTP/1.1\r\n" H END),
        BAD("%4? ", 400, "GET /%4?a HTTP/1.1\r\n" H END),
        BAD("%2f", 400, "GET /a%2fb HTTP/1.1\r\n" H END),
        BAD("%2F", 400, "GET /a%2Fb HTTP/1.1\r\n" H END),
        BAD("%5c", 400, "GET /a%5cb HTTP/1.1\r\n" H END),
        BAD("dot", 400, "GET /. HTTP/1.1\r\n" H END),
        BAD("dot segment", 400, "GET /a/./b HTTP/1.1\r\n" H END),
        BAD("dot dot", 400, "GET /a/.. HTTP/1.1\r\n" H END),
        BAD("dot dot segment", 400, "GET /../a HTTP/1.1\r\n" H END),
        BAD("dot dot before a query", 400, "GET /..?a HTTP/1.1\r\n" H END),
        BAD("encoded dots", 400, "GET /%2e%2E/a HTTP/1.1\r\n" H END),
        BAD("half encoded dots", 400, "GET /a/.%2e HTTP/1.1\r\n" H END),
        BAD("encoded dot", 400, "GET /%2e HTTP/1.1\r\n" H END),
        BAD("asterisk", 400, "OPTIONS * HTTP/1.1\r\n" H END),
        BAD("authority form", 400, "GET a:80 HTTP/1.1\r\n" H END),
        BAD("CONNECT", 400, "CONNECT a:80 HTTP/1.1\r\n" H END),
        BAD("CONNECT with a path", 400, "CONNECT / HTTP/1.1\r\n" H END),
        BAD("relative", 400, "GET a HTTP/1.1\r\n" H END),
        BAD("another scheme", 400, "GET ftp://a/ HTTP/1.1\r\n" H END),
        BAD("scheme alone", 400, "GET http:// HTTP/1.1\r\n" H END),
        BAD("one slash", 400, "GET http:/a HTTP/1.1\r\n" H END),
        BAD("no authority", 400, "GET http:///a HTTP/1.1\r\n" H END),
        BAD("user in authority", 400, "GET http://u@a/ HTTP/1.1\r\n" H END),
        BAD("bad port in authority", 400, "GET http://a:b/ HTTP/1.1\r\n" H END),
        BAD("dot dot in absolute form", 400, "GET http://a/.. HTTP/1.1\r\n" H END),
        BAD("fragment behind authority", 400, "GET http://a#b HTTP/1.1\r\n" H END),
        BAD("HTTP/1.2", 505, "GET / HTTP/1.2\r\n" H END),
        BAD("HTTP/1.9", 505, "GET / HTTP/1.9\r\n" H END),
        BAD("HTTP/2.0", 505, "GET / HTTP/2.0\r\n" H END),
        BAD("HTTP/0.9 said", 505, "GET / HTTP/0.9\r\n" H END),
        BAD("HTTP/2 preface", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        BAD("HTTP/2", 400, "GET / HTTP/2\r\n" H END),
        BAD("HTTP/1.10", 400, "GET / HTTP/1.10\r\n" H END),
        BAD("HTTP/11.1", 400, "GET / HTTP/11.1\r\n" H END),
        BAD("HTTP/1.", 400, "GET / HTTP/1.\r\n" H END),
        BAD("HTTP/.1", 400, "GET / HTTP/a.1\r\n" H END),
        BAD("HTTP/1,1", 400, "GET / HTTP/1,1\r\n" H END),
        BAD("HTTP/1.a", 400, "GET / HTTP/1.a\r\n" H END),
        BAD("http/1.1", 400, "GET / http/1.1\r\n" H END),
        BAD("HTTP 1.1", 400, "GET / HTTP 1.1\r\n" H END),
        BAD("HTTPS/1.1", 400, "GET / HTTPS/1.1\r\n" H END),
        BAD("long version, unfinished", 400, "GET / HTTP/1.1AA"),
    };

    check_bad(cases, BASE_COUNT(cases));
}

#define R "GET / HTTP/1.1\r\n"
#define P "POST / HTTP/1.1\r\n" H

static void test_bad_headers(void **state BASE_UNUSED)
{
    static const struct bad_case cases[] = {
        BAD("no colon", 400, R H "abc\r\n" END),
        BAD("no name", 400, R H ": a\r\n" END),
        BAD("space before colon", 400, R H "a : b\r\n" END),
        BAD("tab before colon", 400, R H "a\t: b\r\n" END),
        BAD("space in name", 400, R H "a b: c\r\n" END),
        BAD("slash in name", 400, R H "a/b: c\r\n" END),
        BAD("8-bit in name", 400, R H "\xc3\xa9: c\r\n" END),
        BAD("NUL in name", 400, R H "a\0b: c\r\n" END),
        BAD("CR in name", 400, R H "a\rb: c\r\n" END),
        BAD("obs-fold", 400, R H "a: b\r\n c\r\n" END),
        BAD("obs-fold, tab", 400, R H "a: b\r\n\tc\r\n" END),
        BAD("folded first", 400, R " Host: a\r\n" END),
        BAD("blank line with a space", 400, R H " \r\n" END),
        BAD("NUL in value", 400, R H "a: b\0c\r\n" END),
        BAD("NUL alone in value", 400, R H "a: \0\r\n" END),
        BAD("control in value", 400, R H "a: \x08\r\n" END),
        BAD("DEL in value", 400, R H "a: \x7f\r\n" END),
        BAD("escape in value", 400, R H "a: \x1b[0m\r\n" END),
        BAD("CR in value", 400, R H "a: b\rc\r\n" END),
        BAD("CR hides a header", 400, R H "a: b\rContent-Length: 3\r\n" END),
        BAD("CR CR LF", 400, R H "a: b\r\r\n" END),
        BAD("bare LF", 400, R "Host: a\n" END),
        BAD("bare LF at the end", 400, R H "\n"),
        BAD("LF CR", 400, R "Host: a\n\r\n"),
        BAD("no Host", 400, R END),
        BAD("no Host but others", 400, R "a: b\r\n" END),
        BAD("two Host", 400, R H H END),
        BAD("two Host on 1.0", 400, "GET / HTTP/1.0\r\n" H H END),
        BAD("two Host, other case", 400, R H "hOST: b\r\n" END),
        BAD("empty Host", 400, R "Host:\r\n" END),
        BAD("blank Host", 400, R "Host: \t \r\n" END),
        BAD("Host with user", 400, R "Host: u@a\r\n" END),
        BAD("Host with path", 400, R "Host: a/b\r\n" END),
        BAD("Host with scheme", 400, R "Host: http://a\r\n" END),
        BAD("Host list", 400, R "Host: a, b\r\n" END),
        BAD("Host list without space", 400, R "Host: a,b\r\n" END),
        BAD("Host with space", 400, R "Host: a b\r\n" END),
        BAD("Host with escape", 400, R "Host: a%41\r\n" END),
        BAD("Host 8-bit", 400, R "Host: \xc3\xa9\r\n" END),
        BAD("Host only port", 400, R "Host: :80\r\n" END),
        BAD("Host bad port", 400, R "Host: a:8o\r\n" END),
        BAD("Host signed port", 400, R "Host: a:+80\r\n" END),
        BAD("Host port too large", 400, R "Host: a:65536\r\n" END),
        BAD("Host port too long", 400, R "Host: a:000080\r\n" END),
        BAD("Host two ports", 400, R "Host: a:80:80\r\n" END),
        BAD("Host bare IPv6", 400, R "Host: ::1\r\n" END),
        BAD("Host bad IPv6", 400, R "Host: [::1::]\r\n" END),
        BAD("Host IPv6 unclosed", 400, R "Host: [::1\r\n" END),
        BAD("Host IPv6 unclosed, port", 400, R "Host: [::1:80\r\n" END),
        BAD("Host IPv6 text behind", 400, R "Host: [::1]a\r\n" END),
        BAD("Host IPv6 zone", 400, R "Host: [fe80::1%25eth0]\r\n" END),
        BAD("Host IPv4 in brackets", 400, R "Host: [127.0.0.1]\r\n" END),
        BAD("Host empty brackets", 400, R "Host: []\r\n" END),
        BAD("Host bracket", 400, R "Host: [\r\n" END),
        BAD("Expect", 417, P "Expect: 200-ok\r\n" END),
        BAD("Expect empty", 417, P "Expect:\r\n" END),
        BAD("Expect list", 417, P "Expect: 100-continue, a\r\n" END),
        BAD("Expect twice, one wrong", 417, P "Expect: 100-continue\r\nExpect: a\r\n" END),
        BAD("Connection not a token", 400, R H "Connection: cl ose\r\n" END),
        BAD("Connection quoted", 400, R H "Connection: \"close\"\r\n" END),
        BAD("Connection second bad", 400, R H "Connection: close\r\nConnection: a;b\r\n" END),
    };

    check_bad(cases, BASE_COUNT(cases));
}

static void test_bad_framing(void **state BASE_UNUSED)
{
    static const struct bad_case cases[] = {
        BAD("CL 0 and 3", 400, P "Content-Length: 0\r\nContent-Length: 3\r\n" END HIDDEN),
        BAD("CL 3 and 3", 400, P "Content-Length: 3\r\nContent-Length: 3\r\n" END "abc"),
        BAD("CL list", 400, P "Content-Length: 3, 3\r\n" END "abc"),
        BAD("CL list, other", 400, P "Content-Length: 0,3\r\n" END "abc"),
        BAD("CL empty", 400, P "Content-Length:\r\n" END),
        BAD("CL +3", 400, P "Content-Length: +3\r\n" END "abc"),
        BAD("CL -3", 400, P "Content-Length: -3\r\n" END),
        BAD("CL 0x3", 400, P "Content-Length: 0x3\r\n" END),
        BAD("CL 3e0", 400, P "Content-Length: 3e0\r\n" END),
        BAD("CL 3.0", 400, P "Content-Length: 3.0\r\n" END),
        BAD("CL 3 3", 400, P "Content-Length: 3 3\r\n" END),
        BAD("CL 3;", 400, P "Content-Length: 3;\r\n" END),
        BAD("CL quoted", 400, P "Content-Length: \"3\"\r\n" END),
        BAD("CL octal", 400, P "Content-Length: 010\r\n" END),
        BAD("CL 00", 400, P "Content-Length: 00\r\n" END),
        BAD("CL underscore", 400, P "Content-Length: 1_0\r\n" END),
        BAD("CL 8-bit digit", 400, P "Content-Length: \xd9\xa3\r\n" END),
        BAD("CL of 20 digits", 400, P "Content-Length: 10000000000000000000\r\n" END),
        BAD("CL 2^64 + 3", 400, P "Content-Length: 18446744073709551619\r\n" END),
        BAD("TE and CL", 400, P "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n" END HIDDEN),
        BAD("CL and TE", 400, P "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" END HIDDEN),
        BAD("CL and unknown TE", 400, P "Content-Length: 3\r\nTransfer-Encoding: x\r\n" END HIDDEN),
        BAD("TE twice", 400, P "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END),
        BAD("TE twice, other", 400, P "Transfer-Encoding: chunked\r\nTransfer-Encoding: a\r\n" END),
        BAD("TE on 1.0", 400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END),
        BAD("unknown TE on 1.0", 400, "POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n" END),
        BAD("TE empty", 400, P "Transfer-Encoding:\r\n" END),
        BAD("TE list", 400, P "Transfer-Encoding: gzip, chunked\r\n" END),
        BAD("TE list, same", 400, P "Transfer-Encoding: chunked, chunked\r\n" END),
        BAD("TE list, chunked first", 400, P "Transfer-Encoding: chunked, gzip\r\n" END),
        BAD("TE comma", 400, P "Transfer-Encoding: chunked,\r\n" END),
        BAD("TE comma first", 400, P "Transfer-Encoding: ,chunked\r\n" END),
        BAD("TE parameter", 400, P "Transfer-Encoding: chunked;a=b\r\n" END),
        BAD("TE quoted", 400, P "Transfer-Encoding: \"chunked\"\r\n" END),
        BAD("TE space inside", 400, P "Transfer-Encoding: chu nked\r\n" END),
        BAD("TE 8-bit space", 400,
            P "Transfer-Encoding: \xa0"
              "chunked\r\n" END),
        BAD("TE vertical tab", 400,
            P "Transfer-Encoding: \x0b"
              "chunked\r\n" END),
        BAD("TE NUL behind", 400, P "Transfer-Encoding: chunked\0\r\n" END),
        BAD("TE xchunked", 501, P "Transfer-Encoding: xchunked\r\n" END),
        BAD("TE chunkedx", 501, P "Transfer-Encoding: chunkedx\r\n" END),
        BAD("TE gzip", 501, P "Transfer-Encoding: gzip\r\n" END),
        BAD("TE identity", 501, P "Transfer-Encoding: identity\r\n" END),
        BAD("TE space before colon", 400, P "Transfer-Encoding : chunked\r\n" END),
        BAD("TE folded", 400, P "Transfer-Encoding:\r\n chunked\r\n" END),
        BAD("CL folded", 400, P "Content-Length:\r\n 3\r\n" END),
        BAD("CL behind bare CR", 400, P "a: b\rContent-Length: 3\r\n" END),
        BAD("CL behind bare LF", 400, P "a: b\nContent-Length: 3\r\n" END),
    };

    check_bad(cases, BASE_COUNT(cases));
}

static void test_good_headers(void **state BASE_UNUSED)
{
    static const char *const names[] = {
        [HTTP_FIELD_HOST] = "hOsT",
        [HTTP_FIELD_CONTENT_LENGTH] = "CONTENT-LENGTH",
        [HTTP_FIELD_CONTENT_TYPE] = "content-type",
        [HTTP_FIELD_CONTENT_ENCODING] = "Content-encoding",
        [HTTP_FIELD_TRANSFER_ENCODING] = "transfer-Encoding",
        [HTTP_FIELD_CONNECTION] = "connection",
        [HTTP_FIELD_EXPECT] = "expect",
        [HTTP_FIELD_AUTHORIZATION] = "authorization",
        [HTTP_FIELD_IF_MATCH] = "if-match",
        [HTTP_FIELD_IF_NONE_MATCH] = "IF-NONE-MATCH",
        [HTTP_FIELD_IDEMPOTENCY_KEY] = "idempotency-key",
        [HTTP_FIELD_X_REQUEST_ID] = "x-request-id",
        [HTTP_FIELD_X_FORWARDED_FOR] = "X-FORWARDED-FOR",
        [HTTP_FIELD_TRACEPARENT] = "TraceParent",
    };
    char text[256];

    for (int field = 0; field < HTTP_FIELD_OTHER; field++) {
        const char *value = field == HTTP_FIELD_EXPECT              ? "100-continue"
                            : field == HTTP_FIELD_TRANSFER_ENCODING ? "Chunked"
                                                                    : "7";

        snprintf(text, sizeof text, "GET / HTTP/1.1\r\n%s%s: \t%s \t\r\n\r\n",
                 field == HTTP_FIELD_HOST ? "" : "host: a\r\n", names[field], value);
        parse_done(text);
        assert_int_equal(http_head_count(&head, (enum http_field)field), 1);
        assert_span(http_head_get(&head, (enum http_field)field)->name, names[field]);
        assert_span(http_head_get(&head, (enum http_field)field)->value, value);
        assert_int_equal(head.headers[head.n_headers - 1].field, field);
    }
}

static void test_other_headers(void **state BASE_UNUSED)
{
    parse_done(R H "Hosts: 1\r\nExpectx:\r\nX-Very-Long-Name-Of-No-Use: \xc3\xa9\t\"x\"\r\n"
                   "x-request-ix: 2\r\nauthorizatiom: 3\r\nif-match: a\r\nIf-Match: b\r\n"
                   "!#$%&'*+-.^_`|~09azAZ:x\r\n" END);
    assert_int_equal(head.n_headers, 9);
    assert_int_equal(http_head_count(&head, HTTP_FIELD_OTHER), 6);
    assert_int_equal(http_head_count(&head, HTTP_FIELD_IF_MATCH), 2);
    assert_span(http_head_get(&head, HTTP_FIELD_IF_MATCH)->value, "a");
    assert_span(head.headers[2].name, "Expectx");
    assert_int_equal(head.headers[2].value.len, 0);
    assert_non_null(head.headers[2].value.ptr);
    assert_span(head.headers[3].value, "\xc3\xa9\t\"x\"");
    assert_null(http_head_get(&head, HTTP_FIELD_AUTHORIZATION));
    assert_int_equal(http_head_count(&head, HTTP_FIELD_AUTHORIZATION), 0);
}

static void test_hosts(void **state BASE_UNUSED)
{
    static const char *const hosts[] = {
        "a",       "a.example",   "A.Example:8080",      "a:",    "a:0",        "127.0.0.1:65535",
        "a_b-c~d", "[::1]:65534", "[::ffff:10.0.0.1]:1", "[::1]", "a.example.", "123",
    };
    char text[512], name[254] = "";

    for (size_t i = 0; i < BASE_COUNT(hosts); i++) {
        snprintf(text, sizeof text, R "Host: %s\r\n\r\n", hosts[i]);
        parse_done(text);
    }
    parse_done("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    memset(name, 'a', 253);
    snprintf(text, sizeof text, R "Host: %s\r\n\r\n", name);
    parse_done(text);
    snprintf(text, sizeof text, R "Host: a%s\r\n\r\n", name);
    assert_int_equal(parse(base_span_str(text)).status, 400);
}

static void test_good_framing(void **state BASE_UNUSED)
{
    static const struct {
        const char *text;
        bool chunked, has_length;
        uint64_t length;
    } cases[] = {
        {R H END, false, false, 0},
        {P "Content-Length: 0\r\n" END, false, true, 0},
        {P "Content-Length:3\r\n" END "abc", false, true, 3},
        {P "Content-Length: \t 16384\t\r\n" END, false, true, 16384},
        {P "Content-Length: 9999999999999999999\r\n" END, false, true,
         UINT64_C(9999999999999999999)},
        {"GET / HTTP/1.0\r\nContent-Length: 3\r\n" END, false, true, 3},
        {P "Transfer-Encoding: chunked\r\n" END, true, false, 0},
        {P "Transfer-Encoding:  CHUNKED \r\n" END, true, false, 0},
        {P "Content-Lengthx: 3\r\nTransfer-Encodingx: a\r\n" END, false, false, 0},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        parse_done(cases[i].text);
        assert_int_equal(head.chunked, cases[i].chunked);
        assert_int_equal(head.has_length, cases[i].has_length);
        assert_true(head.content_length == cases[i].length);
    }
}

static void test_keep_alive(void **state BASE_UNUSED)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {R H END, true},
        {R H "Connection: close\r\n" END, false},
        {R H "Connection: CLOSE\r\n" END, false},
        {R H "Connection: keep-alive\r\n" END, true},
        {R H "Connection: keep-alive, close\r\n" END, false},
        {R H "Connection: close\r\nConnection: keep-alive\r\n" END, false},
        {R H "Connection: keep-alive\r\nConnection: close\r\n" END, false},
        {R H "Connection: ,\t close ,\r\n" END, false},
        {R H "Connection: closed, x\r\n" END, true},
        {R H "Connection:\r\n" END, true},
        {"GET / HTTP/1.0\r\n" END, false},
        {"GET / HTTP/1.0\r\nConnection: x\r\n" END, false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n" END, true},
        {"GET / HTTP/1.0\r\nConnection: x,keep-alive\r\n" END, true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n" END, false},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        parse_done(cases[i].text);
        assert_int_equal(head.keep_alive, cases[i].keep_alive);
    }
}

static void test_expect(void **state BASE_UNUSED)
{
    parse_done(P "Expect: 100-Continue\r\n" END);
    assert_true(head.expect_continue);
    parse_done(P "Expect: 100-continue\r\nExpect: 100-continue\r\n" END);
    assert_true(head.expect_continue);
    parse_done("POST / HTTP/1.0\r\nExpect: 100-continue\r\n" END);
    assert_false(head.expect_continue);
    parse_done(R H END);
    assert_false(head.expect_continue);
}

/* Every prefix of a good request asks for more, whatever the steps in which it grows. */
static void test_prefixes(void **state BASE_UNUSED)
{
    static const struct base_span text = BASE_SPAN_INIT(
        "\r\nPOST /oauth2/token?x=%41 HTTP/1.1\r\nHost: a.example:8080\r\nConnection: "
        "keep-alive\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\nhello");
    const size_t head_len = text.len - 5;

    for (size_t cut = 0; cut <= text.len; cut++) {
        size_t scanned = 0;
        char *copy = exact_copy(base_span_of(text.ptr, cut));
        struct http_parse_result first = http_parse_head(base_span_of(copy, cut), &scanned, &head);

        free(copy);
        assert_int_equal(first.state, cut < head_len ? HTTP_PARSE_MORE : HTTP_PARSE_DONE);
        if (cut < head_len)
            first = http_parse_head(text, &scanned, &head);
        assert_int_equal(first.state, HTTP_PARSE_DONE);
        assert_int_equal(first.used, head_len);
    }
}

static void test_nothing(void **state BASE_UNUSED)
{
    size_t scanned = 0;
    struct http_parse_result result = http_parse_head((struct base_span){0}, &scanned, &head);

    assert_int_equal(result.state, HTTP_PARSE_MORE);
}

/* Only the first message is looked at. */
static void test_pipelined(void **state BASE_UNUSED)
{
    const char *text = R H END "\x16 garbage";
    struct http_parse_result result = parse(base_span_str(text));

    assert_int_equal(result.state, HTTP_PARSE_DONE);
    assert_int_equal(result.used, strlen(R H END));
}

static char *repeat(char *to, const char *text, size_t times)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < times; i++, to += len)
        memcpy(to, text, len);
    *to = '\0';
    return to;
}

static char big[64 * 1024];

static int status_of(const char *text)
{
    return parse(base_span_str(text)).status;
}

static enum http_parse_state state_of(const char *text)
{
    return parse(base_span_str(text)).state;
}

static void test_target_limit(void **state BASE_UNUSED)
{
    char *at = stpcpy(big, "GET /");

    at = repeat(at, "a", HTTP_MAX_TARGET - 1);
    assert_int_equal(state_of(big), HTTP_PARSE_MORE);
    strcpy(at, " HTTP/1.1\r\n" H END);
    assert_int_equal(state_of(big), HTTP_PARSE_DONE);
    strcpy(at, "a");
    assert_int_equal(status_of(big), 414);
    strcpy(at, "a HTTP/1.1\r\n" H END);
    assert_int_equal(status_of(big), 414);
    strcpy(at, "\r\n");
    assert_int_equal(status_of(big), 414);
}

static void test_method_limit(void **state BASE_UNUSED)
{
    char *at = repeat(big, "M", 32);

    assert_int_equal(state_of(big), HTTP_PARSE_MORE);
    strcpy(at, " / HTTP/1.1\r\n" H END);
    assert_int_equal(state_of(big), HTTP_PARSE_DONE);
    assert_int_equal(head.method, HTTP_OTHER);
    strcpy(at, "M / HTTP/1.1\r\n" H END);
    assert_int_equal(status_of(big), 400);
}

/* Header lines of exactly `size` bytes behind the request line; returns their end. */
static char *fill_headers(size_t size)
{
    char *at = stpcpy(big, R H "a: ");

    at = repeat(at, "x", size - strlen(H "a: \r\n"));
    return stpcpy(at, "\r\n");
}

static void test_header_limit(void **state BASE_UNUSED)
{
    char *at = fill_headers(HTTP_MAX_HEADERS);

    assert_int_equal(state_of(big), HTTP_PARSE_MORE);
    strcpy(at, "\r");
    assert_int_equal(state_of(big), HTTP_PARSE_MORE);
    strcpy(at, "\r\n");
    assert_int_equal(state_of(big), HTTP_PARSE_DONE);
    strcpy(at, "a");
    assert_int_equal(status_of(big), 431);
    strcpy(at, "\ra");
    assert_int_equal(status_of(big), 431);
    strcpy(at, "\r\r\n");
    assert_int_equal(status_of(big), 431);
    fill_headers(HTTP_MAX_HEADERS + 1);
    assert_int_equal(status_of(big), 431);
}

static void test_header_limit_unfinished(void **state BASE_UNUSED)
{
    char *at = fill_headers(HTTP_MAX_HEADERS + 2);

    at[-2] = '\0'; /* 16,384 bytes without an end of line */
    assert_int_equal(state_of(big), HTTP_PARSE_MORE);
    strcpy(at - 2, "x");
    assert_int_equal(status_of(big), 431);
}

static void test_field_limit(void **state BASE_UNUSED)
{
    char *at = repeat(stpcpy(big, R H), "a:\r\n", HTTP_MAX_FIELDS - 1);

    strcpy(at, "\r\n");
    assert_int_equal(state_of(big), HTTP_PARSE_DONE);
    assert_int_equal(head.n_headers, HTTP_MAX_FIELDS);
    strcpy(at, "a:\r\n"); /* at once: the end is not waited for */
    assert_int_equal(status_of(big), 431);
}

static void test_method_names(void **state BASE_UNUSED)
{
    assert_string_equal(http_method_name(HTTP_GET), "GET");
    assert_string_equal(http_method_name(HTTP_OPTIONS), "OPTIONS");
    assert_string_equal(http_method_name(HTTP_OTHER), "OTHER");
}

/* Chunked bodies */

struct chunked_outcome {
    enum http_parse_state state;
    int status;
    size_t used;
    size_t len;
    char data[64 * 1024];
};

/* Feeds `text` in pieces of at most `step` bytes. */
static void decode(struct base_span text, size_t step, struct chunked_outcome *out)
{
    struct http_chunked chunked = {0};

    out->used = out->len = 0;
    for (;;) {
        size_t left = text.len - out->used;
        size_t len = left < step ? left : step;
        char *copy = exact_copy(base_span_of(text.ptr + out->used, len));
        struct http_chunked_result result = http_chunked_step(&chunked, base_span_of(copy, len));

        assert_true(result.used <= len);
        if (result.data.len)
            memcpy(out->data + out->len, result.data.ptr, result.data.len);
        free(copy);
        out->len += result.data.len;
        out->used += result.used;
        out->state = result.state;
        out->status = result.status;
        if (result.state == HTTP_PARSE_BAD)
            assert_non_null(result.reason);
        if (result.state != HTTP_PARSE_MORE || result.used == 0)
            return;
    }
}

static struct chunked_outcome whole, slow;

static void decode_both(struct base_span text)
{
    decode(text, text.len + 1, &whole);
    decode(text, 1, &slow);
    assert_int_equal(whole.state, slow.state);
    assert_int_equal(whole.status, slow.status);
    assert_int_equal(whole.len, slow.len);
    assert_memory_equal(whole.data, slow.data, whole.len);
    if (whole.state != HTTP_PARSE_BAD)
        assert_int_equal(whole.used, slow.used);
}

static void test_chunked(void **state BASE_UNUSED)
{
    static const struct {
        const char *text, *data, *rest;
    } cases[] = {
        {"0\r\n\r\n", "", ""},
        {"000\r\n\r\n", "", ""},
        {"3\r\nabc\r\n0\r\n\r\n", "abc", ""},
        {"3\r\nabc\r\n0\r\n\r\n" HIDDEN, "abc", HIDDEN},
        {"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc", ""},
        {"0003\r\na\r\n\r\n0\r\n\r\n", "a\r\n", ""},
        {"b\r\n0123456789a\r\n0\r\n\r\n", "0123456789a", ""},
        {"A\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""},
        {"3;a\r\nabc\r\n0\r\n\r\n", "abc", ""},
        {"3; \ta=b;c=\"d\\\" ;\"\r\nabc\r\n0;x\r\n\r\n", "abc", ""},
        {"0\r\nA: b\r\nContent-Length: 3\r\nx:\t\xc3\xa9 \"\r\n\r\n", "", ""},
        {"0\r\n0: b\r\n\r\n", "", ""},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct base_span text = base_span_str(cases[i].text);

        decode_both(text);
        assert_int_equal(whole.state, HTTP_PARSE_DONE);
        assert_span(base_span_of(whole.data, whole.len), cases[i].data);
        assert_span(base_span_of(text.ptr + whole.used, text.len - whole.used), cases[i].rest);
    }
}

static void test_bad_chunked(void **state BASE_UNUSED)
{
    static const struct bad_case cases[] = {
        BAD("no size", 400, "\r\nabc"),
        BAD("no digit", 400, "g\r\n"),
        BAD("0x", 400, "0x3\r\nabc\r\n0\r\n\r\n"),
        BAD("plus", 400, "+3\r\nabc"),
        BAD("minus", 400, "-3\r\nabc"),
        BAD("space first", 400, " 3\r\nabc"),
        BAD("space behind", 400, "3 \r\nabc"),
        BAD("space before extension", 400, "3 ;a\r\nabc"),
        BAD("tab behind", 400, "3\t\r\nabc"),
        BAD("underscore", 400, "1_0\r\n"),
        BAD("comma", 400, "3,3\r\n"),
        BAD("bare LF", 400, "3\nabc\r\n"),
        BAD("bare CR", 400, "3\rabc\r\n"),
        BAD("CR CR LF", 400, "3\r\r\nabc"),
        BAD("NUL", 400, "3\0\r\nabc"),
        BAD("8-bit", 400, "3\xa0\r\nabc"),
        BAD("empty extension", 400, "3;\r\nabc"),
        BAD("extension without a name", 400, "3;=b\r\nabc"),
        BAD("two semicolons", 400, "3;;a\r\nabc"),
        BAD("bare LF in extension", 400, "3;a\nabc"),
        BAD("bare CR in extension", 400, "3;a\rb\r\nabc"),
        BAD("NUL in extension", 400, "3;a\0\r\nabc"),
        BAD("LF in quotes", 400, "3;a=\"\n\"\r\nabc"),
        BAD("data too long", 400, "3\r\nabcd\r\n0\r\n\r\n"),
        BAD("data without CR", 400, "3\r\nabc\n0\r\n\r\n"),
        BAD("data without LF", 400, "3\r\nabc\r0\r\n\r\n"),
        BAD("data without line end", 400, "3\r\nabc0\r\n\r\n"),
        BAD("two line ends", 400, "3\r\nabc\r\n\r\n0\r\n\r\n"),
        BAD("second size bad", 400, "1\r\na\r\nx\r\n"),
        BAD("trailer without colon", 400, "0\r\nabc\r\n\r\n"),
        BAD("trailer without name", 400, "0\r\n: a\r\n\r\n"),
        BAD("trailer name with space", 400, "0\r\na : b\r\n\r\n"),
        BAD("trailer folded", 400, "0\r\na: b\r\n c\r\n\r\n"),
        BAD("trailer with bare LF", 400, "0\r\na: b\n\r\n"),
        BAD("trailer with bare CR", 400, "0\r\na: b\rc\r\n\r\n"),
        BAD("trailer with NUL", 400, "0\r\na: \0\r\n\r\n"),
        BAD("end with bare LF", 400, "0\r\n\n"),
        BAD("end with bare CR", 400, "0\r\n\rGET"),
        BAD("request for a trailer", 400, "0\r\nGET / HTTP/1.1\r\n"),
        BAD("17 digits", 413, "10000000000000003\r\nabc"),
        BAD("17 zeros", 400, "00000000000000000\r\n\r\n"),
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        decode_both(cases[i].text);
        if (whole.state != HTTP_PARSE_BAD || whole.status != cases[i].status)
            fail_msg("%s: state %d, status %d", cases[i].name, whole.state, whole.status);
    }
}

static void test_chunked_prefixes(void **state BASE_UNUSED)
{
    static const struct base_span text =
        BASE_SPAN_INIT("3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: x\r\n\r\n");

    for (size_t len = 0; len < text.len; len++) {
        decode_both(base_span_of(text.ptr, len));
        assert_int_equal(whole.state, HTTP_PARSE_MORE);
        assert_int_equal(whole.used, len);
    }
}

static void test_chunked_largest(void **state BASE_UNUSED)
{
    decode_both(BASE_SPAN("ffffffffffffffff\r\nabc"));
    assert_int_equal(whole.state, HTTP_PARSE_MORE);
    assert_span(base_span_of(whole.data, whole.len), "abc");
}

/* Extensions and trailers have their bytes in common; the frames around them are free. */
static void test_chunked_overhead(void **state BASE_UNUSED)
{
    char *at = big;

    at = repeat(stpcpy(at, "1;"), "x", 1999);               /* 2,000 with the semicolon */
    at = repeat(stpcpy(at, "\r\na\r\n0\r\nt:"), "x", 2092); /* 2,096 with the line's end */
    strcpy(at, "\r\n\r\n");
    decode_both(base_span_str(big));
    assert_int_equal(whole.state, HTTP_PARSE_DONE);
    strcpy(at, "x\r\n\r\n");
    decode_both(base_span_str(big));
    assert_int_equal(whole.state, HTTP_PARSE_BAD);
    assert_int_equal(whole.status, 413);
}

static void test_chunked_after_end(void **state BASE_UNUSED)
{
    struct http_chunked chunked = {0};
    struct http_chunked_result result = http_chunked_step(&chunked, BASE_SPAN("0\r\n\r\n"));

    assert_int_equal(result.state, HTTP_PARSE_DONE);
    result = http_chunked_step(&chunked, BASE_SPAN("abc"));
    assert_int_equal(result.state, HTTP_PARSE_DONE);
    assert_int_equal(result.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_line),
        cmocka_unit_test(test_absolute_form),
        cmocka_unit_test(test_bad_request_lines),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_bad_framing),
        cmocka_unit_test(test_good_headers),
        cmocka_unit_test(test_other_headers),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_good_framing),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_target_limit),
        cmocka_unit_test(test_method_limit),
        cmocka_unit_test(test_header_limit),
        cmocka_unit_test(test_header_limit_unfinished),
        cmocka_unit_test(test_field_limit),
        cmocka_unit_test(test_method_names),
        cmocka_unit_test(test_chunked),
        cmocka_unit_test(test_bad_chunked),
        cmocka_unit_test(test_chunked_prefixes),
        cmocka_unit_test(test_chunked_largest),
        cmocka_unit_test(test_chunked_overhead),
        cmocka_unit_test(test_chunked_after_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
