/* SPDX-License-Identifier: Apache-2.0 */
#include "http_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"

struct format_case {
    struct http_reply reply;
    int minor;
    bool is_head, keep_alive;
    const char *request_id;
    const char *text;
};

static const char extra[] = "Cache-Control: no-store\r\nPragma: no-cache\r\n";

static void check(const struct format_case *c)
{
    BASE_AUTO(base_buf_clear) struct base_buf out;

    base_buf_init(&out, 4096);
    base_buf_put_str(&out, ">"); /* it appends */
    http_reply_format(&out, &c->reply, c->minor, c->is_head, c->keep_alive, DATE, c->request_id);
    assert_string_equal(base_buf_cstr(&out) + 1, c->text);
}

static void test_format(void **state BASE_UNUSED)
{
    const struct format_case cases[] = {
        {{.status = 200,
          .content_type = "application/json",
          .headers = base_span_str(extra),
          .body = BASE_SPAN("{}")},
         1,
         false,
         true,
         "id-1",
         "HTTP/1.1 200 OK\r\nDate: " DATE "\r\nContent-Type: application/json\r\n"
         "Content-Length: 2\r\nX-Request-Id: id-1\r\n"
         "Cache-Control: no-store\r\nPragma: no-cache\r\n\r\n{}"},
        {{.status = 200, .content_type = "text/plain", .body = BASE_SPAN("abc")},
         1,
         true, /* HEAD: the length that GET would have, and nothing behind it */
         true,
         "",
         "HTTP/1.1 200 OK\r\nDate: " DATE
         "\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n"},
        {{.status = 404, .content_type = "text/plain"},
         1,
         false,
         false,
         NULL,
         "HTTP/1.1 404 Not Found\r\nDate: " DATE
         "\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
        {{.status = 200},
         0,
         false,
         true,
         "",
         "HTTP/1.1 200 OK\r\nDate: " DATE
         "\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"},
        {{.status = 200},
         0,
         false,
         false,
         "",
         "HTTP/1.1 200 OK\r\nDate: " DATE "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
        {{.status = 413, .close = true},
         1,
         false,
         true,
         "",
         "HTTP/1.1 413 Content Too Large\r\nDate: " DATE
         "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        check(&cases[i]);
}

static void test_format_without_body(void **state BASE_UNUSED)
{
    const struct format_case cases[] = {
        {{.status = 204, .content_type = "text/plain", .body = BASE_SPAN("abc")},
         1,
         false,
         true,
         "x",
         "HTTP/1.1 204 No Content\r\nDate: " DATE "\r\nX-Request-Id: x\r\n\r\n"},
        {{.status = 304, .headers = BASE_SPAN("ETag: \"a\"\r\n"), .body = BASE_SPAN("abc")},
         1,
         false,
         false,
         "",
         "HTTP/1.1 304 Not Modified\r\nDate: " DATE "\r\nConnection: close\r\nETag: \"a\"\r\n\r\n"},
        {{.status = 200, .body = BASE_SPAN("without a type it is none")},
         1,
         false,
         true,
         "",
         "HTTP/1.1 200 OK\r\nDate: " DATE "\r\nContent-Length: 0\r\n\r\n"},
        {{.status = 100, .body = BASE_SPAN("abc")},
         1,
         false,
         false,
         "x",
         "HTTP/1.1 100 Continue\r\n\r\n"},
        {{.status = 299},
         1,
         false,
         true,
         "",
         "HTTP/1.1 299 \r\nDate: " DATE "\r\nContent-Length: 0\r\n\r\n"},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        check(&cases[i]);
}

static void test_status_text(void **state BASE_UNUSED)
{
    static const int used[] = {100, 200, 201, 204, 304, 400, 401, 403, 404, 405, 408, 409,
                               412, 413, 414, 415, 417, 421, 429, 431, 500, 501, 503, 505};
    static const int unused[] = {-1, 0, 1, 99, 102, 299, 418, 506, 599, 999, INT32_MAX, INT32_MIN};

    for (size_t i = 0; i < BASE_COUNT(used); i++)
        assert_true(strlen(http_status_text(used[i])) > 1);
    for (size_t i = 0; i < BASE_COUNT(unused); i++)
        assert_string_equal(http_status_text(unused[i]), "");
    assert_string_equal(http_status_text(431), "Request Header Fields Too Large");
}

static void test_header(void **state BASE_UNUSED)
{
    static const struct base_span text = BASE_SPAN_INIT(
        "GET / HTTP/1.1\r\nHost: a\r\nIf-Match: x\r\nX-Request-Id:\r\nif-match: y\r\n\r\n");
    static struct http_request request;
    struct base_span value;
    size_t scanned = 0;
    bool repeated = true;

    assert_int_equal(http_parse_head(text, &scanned, &request.head).state, HTTP_PARSE_DONE);
    value = http_request_header(&request, HTTP_FIELD_HOST, &repeated);
    assert_true(base_span_eq(value, BASE_SPAN("a")));
    assert_false(repeated);
    value = http_request_header(&request, HTTP_FIELD_IF_MATCH, &repeated);
    assert_true(base_span_eq(value, BASE_SPAN("x")));
    assert_true(repeated);
    value = http_request_header(&request, HTTP_FIELD_AUTHORIZATION, &repeated);
    assert_null(value.ptr);
    assert_false(repeated);
    value = http_request_header(&request, HTTP_FIELD_X_REQUEST_ID, &repeated);
    assert_non_null(value.ptr); /* empty is not absent */
    assert_int_equal(value.len, 0);
}

static const struct http_reply *sent;

static void catch_reply(struct http_request *request, const struct http_reply *reply)
{
    assert_ptr_equal(request->user, &sent);
    sent = reply;
}

static void test_send(void **state BASE_UNUSED)
{
    static struct http_request request = {.send = catch_reply, .user = &sent};
    const struct http_reply reply = {.status = 200};

    http_reply_send(&request, &reply);
    assert_ptr_equal(sent, &reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),      cmocka_unit_test(test_format_without_body),
        cmocka_unit_test(test_status_text), cmocka_unit_test(test_header),
        cmocka_unit_test(test_send),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
