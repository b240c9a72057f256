/* SPDX-License-Identifier: Apache-2.0 */
#include "console.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HASH_LEN 16

/* What a handler sent, copied while it was sent. */
struct answer {
    int status;
    int n_sent;
    char *content_type; /* NULL: none */
    struct base_buf headers;
    struct base_buf body;
};

static void keep_answer(struct http_request *request, const struct http_reply *reply)
{
    struct answer *answer = request->server_data;

    answer->n_sent++;
    answer->status = reply->status;
    answer->content_type = reply->content_type ? strdup(reply->content_type) : NULL;
    base_buf_put_span(&answer->headers, reply->headers);
    base_buf_put_span(&answer->body, reply->body);
}

static void answer_clear(struct answer *answer)
{
    free(answer->content_type);
    base_buf_clear(&answer->headers);
    base_buf_clear(&answer->body);
}

struct ask {
    http_handler *handler;
    const char *hash, *name;  /* of an asset */
    const char *more_headers; /* lines, each with CR LF; NULL: none */
    bool is_tls;
};

static struct answer ask(struct ask what)
{
    struct answer answer = {.headers = {.max = 1 << 16}, .body = {.max = 1 << 20}};
    struct http_request request = {
        .server_data = &answer, .send = keep_answer, .is_tls = what.is_tls};
    char head[1024];
    size_t scanned = 0;

    snprintf(head, sizeof head, "GET /console/ HTTP/1.1\r\nHost: a\r\n%s\r\n",
             what.more_headers ? what.more_headers : "");
    assert_int_equal(http_parse_head(base_span_str(head), &scanned, &request.head).state,
                     HTTP_PARSE_DONE);
    request.params[0] = base_span_str(what.hash);
    request.params[1] = base_span_str(what.name);
    what.handler(&request);
    assert_int_equal(answer.n_sent, 1);
    return answer;
}

static bool has(const struct base_buf *text, const char *part)
{
    return memmem(text->ptr, text->len, part, strlen(part)) != NULL;
}

#define ASSERT_HAS(buf, part)                                                                      \
    do {                                                                                           \
        if (!has((buf), (part)))                                                                   \
            fail_msg("no %s in %.*s", (part), (int)(buf)->len, (buf)->ptr);                        \
    } while (0)

/* The value of a header line. */
static void header_value(const struct base_buf *headers, const char *name, char *out, size_t size)
{
    const char *at = memmem(headers->ptr, headers->len, name, strlen(name)), *end;

    assert_non_null(at);
    at += strlen(name);
    end = memmem(at, headers->len - (size_t)(at - headers->ptr), "\r\n", 2);
    assert_non_null(end);
    snprintf(out, size, "%.*s", (int)(end - at), at);
}

static void find_hash(char out[HASH_LEN + 1])
{
    struct answer index = ask((struct ask){.handler = console_index});
    const char *at = memmem(index.body.ptr, index.body.len, "/app.js\"", 8);

    assert_non_null(at);
    snprintf(out, HASH_LEN + 1, "%.*s", HASH_LEN, at - HASH_LEN);
    assert_int_equal(strspn(out, "0123456789abcdef"), HASH_LEN);
    answer_clear(&index);
}

static void check_security_headers(const struct answer *answer)
{
    ASSERT_HAS(&answer->headers,
               "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
               "connect-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; "
               "form-action 'none'; frame-ancestors 'none'");
    assert_false(has(&answer->headers, "unsafe"));
    ASSERT_HAS(&answer->headers, "Referrer-Policy: no-referrer\r\n");
    ASSERT_HAS(&answer->headers, "X-Content-Type-Options: nosniff\r\n");
    ASSERT_HAS(&answer->headers, "Cross-Origin-Opener-Policy: same-origin\r\n");
}

static void test_redirect(void **state BASE_UNUSED)
{
    struct answer answer = ask((struct ask){.handler = console_redirect});

    assert_int_equal(answer.status, 308);
    ASSERT_HAS(&answer.headers, "Location: /console/\r\n");
    assert_null(answer.content_type);
    assert_int_equal(answer.body.len, 0);
    answer_clear(&answer);
}

static void test_index(void **state BASE_UNUSED)
{
    struct answer answer = ask((struct ask){.handler = console_index});

    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.content_type, "text/html; charset=utf-8");
    ASSERT_HAS(&answer.headers, "Cache-Control: no-cache\r\n");
    assert_false(has(&answer.headers, "Strict-Transport-Security"));
    check_security_headers(&answer);
    /* What the policy would refuse is not there. */
    assert_false(has(&answer.body, "<style"));
    assert_false(has(&answer.body, " style="));
    assert_false(has(&answer.body, "<script>"));
    assert_false(has(&answer.body, " onclick="));
    assert_false(has(&answer.body, "//"));
    answer_clear(&answer);
}

static void test_tls(void **state BASE_UNUSED)
{
    struct answer answer = ask((struct ask){.handler = console_index, .is_tls = true});

    ASSERT_HAS(&answer.headers, "Strict-Transport-Security: max-age=31536000\r\n");
    answer_clear(&answer);
}

static void check_asset(const char *hash, const char *name, const char *content_type)
{
    struct answer answer = ask((struct ask){.handler = console_asset, .hash = hash, .name = name});

    if (answer.status != 200)
        fail_msg("%s: %d", name, answer.status);
    assert_string_equal(answer.content_type, content_type);
    assert_true(answer.body.len > 0);
    ASSERT_HAS(&answer.headers, "Cache-Control: public, max-age=31536000, immutable\r\n");
    check_security_headers(&answer);
    assert_false(has(&answer.body, "innerHTML ="));
    assert_false(has(&answer.body, "eval("));
    assert_false(has(&answer.body, "localStorage"));
    assert_false(has(&answer.body, "sessionStorage"));
    answer_clear(&answer);
}

static const char *type_for(const char *name)
{
    const char *dot = strrchr(name, '.');

    assert_non_null(dot);
    return strcmp(dot, ".js") == 0    ? "text/javascript; charset=utf-8"
           : strcmp(dot, ".css") == 0 ? "text/css; charset=utf-8"
                                      : "image/svg+xml";
}

/* Everything that the page names is there. */
static void test_assets(void **state BASE_UNUSED)
{
    struct answer index = ask((struct ask){.handler = console_index});
    char hash[HASH_LEN + 1], prefix[HASH_LEN + 4];
    const char *page = base_buf_cstr(&index.body), *at = page;
    int n_assets = 0;

    find_hash(hash);
    snprintf(prefix, sizeof prefix, "=\"%s/", hash);
    while ((at = strstr(at, prefix))) {
        char name[64];

        at += strlen(prefix);
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "\""), at);
        check_asset(hash, name, type_for(name));
        n_assets++;
    }
    assert_true(n_assets > 20);
    answer_clear(&index);
}

static void test_asset_not_found(void **state BASE_UNUSED)
{
    char hash[HASH_LEN + 1];
    static const char *const names[] = {"nothing.js", "",       "app",    "app.js.map",
                                        "../app.js",  "APP.JS", "app.js/"};

    find_hash(hash);
    for (size_t i = 0; i < BASE_COUNT(names) + 2; i++) {
        struct ask what = {.handler = console_asset, .hash = hash};
        struct answer answer;

        what.name = i < BASE_COUNT(names)    ? names[i]
                    : i == BASE_COUNT(names) ? "index.html"
                                             : "app.js";
        if (i == BASE_COUNT(names) + 1)
            what.hash = "0123456789abcdef"; /* another version's */
        answer = ask(what);
        assert_int_equal(answer.status, 404);
        ASSERT_HAS(&answer.headers, "Cache-Control: no-store\r\n");
        answer_clear(&answer);
    }
}

struct tag_case {
    const char *lines; /* of the request; @ stands for the tag without its quotes */
    int status;
};

static void check_tag(const struct tag_case *c, const char *tag, struct ask what)
{
    BASE_AUTO(base_buf_clear) struct base_buf text = {.max = 512};
    const char *lines;
    struct answer answer;

    for (const char *at = c->lines; *at; at++) {
        if (*at == '@')
            base_buf_put_str(&text, tag);
        else
            base_buf_put_char(&text, *at);
    }
    lines = base_buf_cstr(&text);
    what.more_headers = lines;
    answer = ask(what);
    if (answer.status != c->status)
        fail_msg("%s: %d", lines, answer.status);
    ASSERT_HAS(&answer.headers, "ETag: \"");
    ASSERT_HAS(&answer.headers, "Cache-Control: ");
    assert_int_equal(answer.body.len > 0, c->status == 200);
    if (c->status == 304)
        assert_null(answer.content_type);
    answer_clear(&answer);
}

static void test_not_modified(void **state BASE_UNUSED)
{
    static const struct tag_case cases[] = {
        {"If-None-Match: \"@\"\r\n", 304},
        {"If-None-Match: W/\"@\"\r\n", 304},
        {"If-None-Match: *\r\n", 304},
        {"If-None-Match: \"a\", \"@\"\r\n", 304},
        {"If-None-Match: \"a,b\" ,W/\"@\",\"c\"\r\n", 304},
        {"If-None-Match: \"x@\"\r\n", 200},
        {"If-None-Match: \"@\r\n", 200},
        {"If-None-Match: @\r\n", 200},
        {"If-None-Match: \"\"\r\n", 200},
        {"If-None-Match: \"\r\n", 200},
        {"If-None-Match: \"a\", *\r\n", 200},
        {"If-None-Match:\r\n", 200},
        {"If-None-Match: \"@\"\r\nIf-None-Match: \"@\"\r\n", 200},
        {"If-Match: \"@\"\r\n", 200},
    };
    char hash[HASH_LEN + 1];
    struct ask asks[2] = {{.handler = console_index},
                          {.handler = console_asset, .hash = hash, .name = "app.js"}};

    find_hash(hash);
    for (size_t a = 0; a < BASE_COUNT(asks); a++) {
        struct answer first = ask(asks[a]);
        char tag[80];

        header_value(&first.headers, "ETag: \"", tag, sizeof tag);
        *strchr(tag, '"') = '\0';
        for (size_t i = 0; i < BASE_COUNT(cases); i++)
            check_tag(&cases[i], tag, asks[a]);
        answer_clear(&first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redirect),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_assets),
        cmocka_unit_test(test_asset_not_found),
        cmocka_unit_test(test_not_modified),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
