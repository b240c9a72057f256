/* SPDX-License-Identifier: Apache-2.0 */
#include "api_json.h"

#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"
#include "loopback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct loopback loopback;
static struct loopback_reply reply;

static int setup(void **state)
{
    (void)state;
    loopback_init(&loopback);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loopback_clear(&loopback);
    return 0;
}

/* A call as api_admit() makes it. */
static struct api_call begin(const char *text)
{
    struct api_call call = {.request = loopback_request(&loopback, text, &reply),
                            .worker = &loopback.worker};

    base_buf_init(&call.text, 65536);
    base_buf_init(&call.text2, 65536);
    base_buf_init(&call.text3, 65536);
    snprintf(call.principal.actor, sizeof call.principal.actor, "key_actor");
    return call;
}

static void end(struct api_call *call)
{
    json_decref(call->body);
    base_buf_clear(&call->text);
    base_buf_clear(&call->text2);
    base_buf_clear(&call->text3);
    if (reply.count == 0)
        loopback_drop(&call->request);
}

#define HEAD_OF(method) method " /v1/tenants/acme/keys/key_a HTTP/1.1\r\nHost: h\r\n"

/* --- bodies --- */

static int status_of_body(const char *method, const char *type, const char *body)
{
    char text[1024];
    struct api_call call;
    int status = 0;

    snprintf(text, sizeof text, "%s /v1/tenants/acme/keys HTTP/1.1\r\nHost: h\r\n%s\r\n%s", method,
             type, body);
    call = begin(text);
    if (!api_json_body(&call, false))
        status = reply.status;
    end(&call);
    return status;
}

static void test_body_types(void **state)
{
    (void)state;
    assert_int_equal(status_of_body("POST", "Content-Type: application/json\r\n", "{}"), 0);
    assert_int_equal(
        status_of_body("POST", "Content-Type: Application/JSON; charset=utf-8\r\n", "{}"), 0);
    assert_int_equal(
        status_of_body("PATCH", "Content-Type: application/merge-patch+json\r\n", "{}"), 0);
    assert_int_equal(status_of_body("PATCH", "Content-Type: application/json\r\n", "{}"), 0);
    assert_int_equal(status_of_body("POST", "Content-Type: application/merge-patch+json\r\n", "{}"),
                     415);
    assert_int_equal(status_of_body("POST", "", "{}"), 415);
    assert_int_equal(status_of_body("POST", "Content-Type: text/plain\r\n", "{}"), 415);
    assert_int_equal(
        status_of_body("POST", "Content-Type: application/json; charset=latin1\r\n", "{}"), 415);
    assert_int_equal(
        status_of_body("POST", "Content-Type: application/x-www-form-urlencoded\r\n", "a=b"), 415);
    assert_int_equal(
        status_of_body(
            "POST", "Content-Type: application/json\r\nContent-Type: application/json\r\n", "{}"),
        415);
    assert_int_equal(status_of_body("POST",
                                    "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
                                    "{}"),
                     415);
}

static void test_bad_bodies(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[]",
        "3",
        "null",
        "\"x\"",
        "{} x",
        "{}{}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":1,\"b\":2}}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":\"\\ud800\"}",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"a\":NaN}",
        "{\"a\":1e999}",
        "{\"a\":99999999999999999999}",
        "{\"a\":[[[[[[[[[[1]]]]]]]]]]}",
        "\xef\xbb\xbf{}",
        "// comment\n{}",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        if (status_of_body("POST", "Content-Type: application/json\r\n", bad[i]) != 400)
            fail_msg("accepted: %s", bad[i]);
        assert_string_equal(reply.content_type, "application/problem+json");
        assert_non_null(strstr(reply.body, "\"status\":400"));
    }
    assert_int_equal(
        status_of_body("POST", "Content-Type: application/json\r\n", "{\"a\":[[[[[[[[[1]]]]]]]]]}"),
        0);
}

static void test_body_optional(void **state)
{
    struct api_call call = begin(HEAD_OF("POST") "\r\n");

    (void)state;
    assert_true(api_json_body(&call, true));
    assert_int_equal(json_object_size(call.body), 0);
    end(&call);
}

static void test_body_over_64_kib(void **state)
{
    size_t size = (64u << 10) + 256;
    char *text = malloc(size);
    struct api_call call;
    int head =
        snprintf(text, size, HEAD_OF("POST") "Content-Type: application/json\r\n\r\n{\"a\":\"");

    (void)state;
    memset(text + head, 'x', (64u << 10));
    memcpy(text + head + (64u << 10), "\"}", 3);
    call = begin(text);
    assert_false(api_json_body(&call, false));
    assert_int_equal(reply.status, 413);
    end(&call);
    free(text);
}

static void test_patch_names(void **state)
{
    static const char *const decided[] = {"name", "enabled", NULL}, *const read_only[] = {
                                                                        "id", "seq", NULL};
    struct api_call call = begin(HEAD_OF("PATCH") "\r\n");

    (void)state;
    call.body = json_pack("{ss sn si sb}", "name", "x", "id", "seq", 3, "enabled", 1);
    assert_true(api_json_patch_names(&call, decided, read_only));
    assert_int_equal(call.errors.count, 2);
    assert_string_equal(call.errors.items[0].field, "id");
    assert_string_equal(call.errors.items[1].field, "seq");
    assert_int_equal(json_object_size(call.body), 2);
    /* An unknown member is unknown with a null as well, which a merge would silently drop. */
    json_object_set_new(call.body, "colour", json_null());
    assert_false(api_json_patch_names(&call, decided, read_only));
    assert_int_equal(reply.status, 400);
    assert_non_null(strstr(reply.body, "colour"));
    end(&call);
}

static void test_unknown_member(void **state)
{
    struct api_call call = begin(HEAD_OF("POST") "\r\n");
    struct base_json_reader reader;
    struct base_span name;

    (void)state;
    call.body = json_pack("{ss ss}", "name", "x", "<script>", "y");
    base_json_reader_init(&reader, call.body, &call.errors);
    base_json_get_string(&reader, "name", 5, 9, &name);
    assert_int_equal(call.errors.count, 1);
    assert_false(api_json_done(&call, &reader)); /* 400 goes before 422 */
    assert_int_equal(reply.status, 400);
    assert_null(strstr(reply.body, "<script>"));
    end(&call);
}

static void test_fields(void **state)
{
    struct api_call call = begin(HEAD_OF("POST") "\r\n");
    struct base_json_reader reader;
    struct base_span name;
    int64_t number;

    (void)state;
    call.body = json_pack("{si ss}", "name", 3, "n", "x");
    base_json_reader_init(&reader, call.body, &call.errors);
    base_json_get_string(&reader, "name", 1, 9, &name);
    base_json_get_int(&reader, "n", 1, 9, &number);
    assert_false(api_json_done(&call, &reader));
    assert_int_equal(reply.status, 422);
    assert_non_null(strstr(reply.body,
                           "\"errors\":[{\"field\":\"name\",\"message\":\"must be a string\"},"
                           "{\"field\":\"n\",\"message\":\"must be an integer\"}]"));
    end(&call);
}

/* --- queries --- */

static int page_status(const char *query, struct api_page *page)
{
    char text[2048];
    struct api_call call;

    snprintf(text, sizeof text, "GET /v1/tenants%s HTTP/1.1\r\nHost: h\r\n\r\n", query);
    call = begin(text);
    if (!api_json_page(&call, page)) {
        end(&call);
        return reply.status;
    }
    end(&call);
    return 0;
}

static void test_page(void **state)
{
    static const char *const bad[] = {
        "?limit=0",
        "?limit=201",
        "?limit=",
        "?limit=-1",
        "?limit=1000",
        "?limit=0x10",
        "?limit=50&limit=50",
        "?cursor=",
        "?cursor=x",
        "?cursor=AAAAAAAAAAA",
        "?cursor=gAAAAAAAAAA",
        "?cursor=AAAAAAAAAAEA",
        "?cursor=AAAAAAAAAE4=",

        "?q=%ff",
    };
    struct api_page page;
    char query[512] = "?q=";

    (void)state;
    assert_int_equal(page_status("", &page), 0);
    assert_int_equal(page.limit, 50);
    assert_int_equal(page.before, 0);
    assert_string_equal(page.text, "");
    assert_int_equal(
        page_status("?limit=200&cursor=AAAAAAAAAE4&q=%C3%A4+b&status=active&other=1", &page), 0);
    assert_int_equal(page.limit, 200);
    assert_int_equal(page.before, 78);
    assert_string_equal(page.text, "\xc3\xa4 b");
    assert_string_equal(page.status, "active");
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        if (page_status(bad[i], &page) != 400)
            fail_msg("accepted: %s", bad[i]);
    }
    memset(query + 3, 'x', 256);
    assert_int_equal(page_status(query, &page), 400);
    query[3 + 255] = '\0';
    assert_int_equal(page_status(query, &page), 0);
    assert_int_equal(strlen(page.text), 255);
}

static void test_cursor_round_trip(void **state)
{
    static const int64_t values[] = {1, 78, 255, 256, INT64_C(1) << 40, INT64_MAX};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(values); i++) {
        struct base_buf out;
        struct api_page page;
        char query[64];

        base_buf_init(&out, 256);
        BASE_BUF_LIT(&out, "{\"items\":[]");
        api_json_put_cursor(&out, values[i], true);
        snprintf(query, sizeof query, "?cursor=%.11s",
                 base_buf_cstr(&out) + strlen("{\"items\":[],\"next_cursor\":\""));
        assert_int_equal(page_status(query, &page), 0);
        assert_int_equal(page.before, values[i]);
        base_buf_reset(&out);
        BASE_BUF_LIT(&out, "{\"items\":[]");
        api_json_put_cursor(&out, values[i], false);
        assert_string_equal(base_buf_cstr(&out), "{\"items\":[],\"next_cursor\":null}");
        base_buf_clear(&out);
    }
}

/* --- preconditions --- */

/* 0: refused; 1: matches version 3; -1: does not. */
static int matches_three(const char *header)
{
    char text[512];
    struct api_call call;
    int result = 0;

    snprintf(text, sizeof text, HEAD_OF("PATCH") "%s\r\n", header);
    call = begin(text);
    if (api_json_if_match(&call))
        result = api_json_matches(&call, 3) ? 1 : -1;
    else
        assert_int_equal(reply.status, 400);
    end(&call);
    return result;
}

static void test_if_match(void **state)
{
    (void)state;
    assert_int_equal(matches_three(""), 1);
    assert_int_equal(matches_three("If-Match: *\r\n"), 1);
    assert_int_equal(matches_three("If-Match: \"3\"\r\n"), 1);
    assert_int_equal(matches_three("If-Match: \"2\", \"3\"\r\n"), 1);
    assert_int_equal(matches_three("If-Match: \"2\"\r\n"), -1);
    assert_int_equal(matches_three("If-Match: \"33\"\r\n"), -1);
    assert_int_equal(matches_three("If-Match: \"\"\r\n"), -1);
    assert_int_equal(matches_three("If-Match: \"x\"\r\n"), -1);
    /* RFC 9110 §13.1.1: strong comparison. */
    assert_int_equal(matches_three("If-Match: W/\"3\"\r\n"), -1);
    assert_int_equal(matches_three("If-Match: 3\r\n"), 0);
    assert_int_equal(matches_three("If-Match: \"3\r\n"), 0);
    assert_int_equal(matches_three("If-Match:\r\n"), 0);
    assert_int_equal(matches_three("If-Match: \"3\"\r\nIf-Match: \"3\"\r\n"), 0);
}

static void test_etag(void **state)
{
    struct base_buf out;

    (void)state;
    base_buf_init(&out, 64);
    api_json_put_etag(&out, 42);
    assert_string_equal(base_buf_cstr(&out), "ETag: \"42\"\r\n");
    base_buf_clear(&out);
}

static struct store_idempotency idempotency_of(const char *text)
{
    struct api_call call = begin(text);
    struct store_idempotency result = {0};

    if (api_json_idempotency(&call))
        result = call.idempotency;
    end(&call);
    return result;
}

static void test_idempotency(void **state)
{
    struct store_idempotency a =
        idempotency_of(HEAD_OF("POST") "Idempotency-Key: k\r\n\r\n{\"a\":1}");
    struct store_idempotency same =
        idempotency_of(HEAD_OF("POST") "Idempotency-Key: other\r\n\r\n{\"a\":1}");
    struct store_idempotency body =
        idempotency_of(HEAD_OF("POST") "Idempotency-Key: k\r\n\r\n{\"a\":2}");
    struct store_idempotency path =
        idempotency_of("POST /v1/tenants/other/keys/key_a HTTP/1.1\r\nHost: h\r\nIdempotency-Key: "
                       "k\r\n\r\n{\"a\":1}");
    char text[512];

    (void)state;
    assert_int_equal(a.key.len, 1);
    assert_memory_equal(a.digest, same.digest, sizeof a.digest);
    assert_memory_not_equal(a.digest, body.digest, sizeof a.digest);
    assert_memory_not_equal(a.digest, path.digest, sizeof a.digest);
    assert_int_equal(idempotency_of(HEAD_OF("POST") "\r\n").key.len, 0);
    assert_int_equal(reply.count, 0);
    idempotency_of(HEAD_OF("POST") "Idempotency-Key:\r\n\r\n");
    assert_int_equal(reply.status, 400);
    idempotency_of(HEAD_OF("POST") "Idempotency-Key: a\r\nIdempotency-Key: a\r\n\r\n");
    assert_int_equal(reply.status, 400);
    idempotency_of(HEAD_OF("POST") "Idempotency-Key: \xff\r\n\r\n");
    assert_int_equal(reply.status, 400);
    snprintf(text, sizeof text, HEAD_OF("POST") "Idempotency-Key: %0256d\r\n\r\n", 0);
    idempotency_of(text);
    assert_int_equal(reply.status, 400);
}

/* --- merging, comparing --- */

/* RFC 7396, appendix A, as far as both sides are objects, and a few of our own. */
static void test_merge(void **state)
{
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        {"{\"a\":1}", "{\"a\":{\"b\":null,\"c\":2}}", "{\"a\":{\"c\":2}}"},
        {"{\"a\":1}", "{\"a\":[null,{\"b\":null}]}", "{\"a\":[null,{\"b\":null}]}"},
        {"{\"a\":1}", "{}", "{\"a\":1}"},
        {"{}", "{\"a\":null}", "{}"},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        json_auto_t *target = json_loads(cases[i][0], 0, NULL),
                    *patch = json_loads(cases[i][1], 0, NULL);
        json_auto_t *wanted = json_loads(cases[i][2], 0, NULL), *untouched = json_deep_copy(patch);

        api_json_merge(target, patch);
        if (!json_equal(target, wanted))
            fail_msg("%s merged with %s", cases[i][0], cases[i][1]);
        assert_true(json_equal(patch, untouched));
    }
}

static void test_diff(void **state)
{
    static const char *const cases[][3] = {
        {"{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":3}", "{\"b\":[2,3]}"},
        {"{\"a\":1}", "{\"a\":1}", "{}"},
        {"{\"a\":1}", "{}", "{\"a\":[1,null]}"},
        {"{}", "{\"a\":[\"<\"]}", "{\"a\":[null,[\"\\u003c\"]]}"},
        {NULL, "{\"a\":true}", "{\"a\":[null,true]}"},
        {"{\"a\":{\"x\":1}}", NULL, "{\"a\":[{\"x\":1},null]}"},
        {"{\"a\":{\"x\":1,\"y\":2}}", "{\"a\":{\"y\":2,\"x\":1}}", "{}"},
    };
    struct base_buf out;

    (void)state;
    base_buf_init(&out, 4096);
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        json_auto_t *before = cases[i][0] ? json_loads(cases[i][0], 0, NULL) : NULL;
        json_auto_t *after = cases[i][1] ? json_loads(cases[i][1], 0, NULL) : NULL;

        api_json_diff(before, after, &out);
        assert_string_equal(base_buf_cstr(&out), cases[i][2]);
    }
    base_buf_clear(&out);
}

static void test_text(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {{"plain", true},
                 {"<script>\"'&", true},
                 {"\xe2\x80\xae rtl", true},
                 {"\xf0\x9f\x94\x91", true},
                 {"", true},
                 {"a\nb", false},
                 {"\t", false},
                 {"\x7f", false},
                 {"\xc2\x85", false},
                 {"\x1b[0m", false},
                 {"\xc2\xa0", true}};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct base_json_errors errors = {0};

        api_json_check_text(&errors, "name", base_span_str(cases[i].text));
        assert_int_equal(errors.count, cases[i].good ? 0 : 1);
    }
}

/* --- without memory --- */

/* Each allocation of jansson's fails in turn: a body that could not be read is not called wrong. */
static void body_without_memory(const char *body, int status)
{
    char text[1024];
    long n = 0, left;

    snprintf(text, sizeof text, HEAD_OF("POST") "Content-Type: application/json\r\n\r\n%s", body);
    do {
        struct api_call call = begin(text);
        bool ok;

        base_mem_fail_nth(++n);
        ok = api_json_body(&call, false);
        left = base_mem_fail_nth(0);
        assert_int_equal(ok ? 200 : reply.status, left > 0 ? status : 503);
        assert_int_equal(loopback_header(&reply, "Retry-After") != NULL, left == 0);
        end(&call);
    } while (left == 0);
    assert_true(n > 5);
}

static void test_body_without_memory(void **state)
{
    (void)state;
    body_without_memory("{\"a\":{\"b\":[1,\"text\"]}}", 200);
    body_without_memory("{\"a\":{\"b\":[1,\"text\"]},\"a\":2}", 400);
    body_without_memory("[1,2,{\"a\":\"text\"}]", 400);
}

/* As a PATCH does it: whatever was lost on the way, nothing is changed by half. */
static void test_change_without_memory(void **state)
{
    json_auto_t *before = json_loads("{\"a\":{\"b\":1},\"c\":\"text\"}", 0, NULL);
    json_auto_t *patch = json_loads("{\"a\":{\"d\":{\"e\":2}},\"f\":[3]}", 0, NULL);
    json_auto_t *wanted =
        json_loads("{\"a\":{\"b\":1,\"d\":{\"e\":2}},\"c\":\"text\",\"f\":[3]}", 0, NULL);
    struct base_buf diff;
    long n = 0;
    bool starved;

    (void)state;
    base_buf_init(&diff, 4096);
    do {
        struct api_call *call = base_calloc(1, sizeof *call); /* which "starved" ends */
        json_t *after;

        *call = begin(HEAD_OF("PATCH") "\r\n");
        base_mem_fail_nth(++n);
        api_json_begin(call);
        after = json_deep_copy(before);
        api_json_merge(after, patch);
        api_json_diff(before, after, &diff);
        base_mem_fail_nth(0);
        starved = api_json_starved(call);
        assert_int_equal(reply.count, starved);
        if (starved) {
            assert_int_equal(reply.status, 503);
        } else {
            assert_true(json_equal(after, wanted));
            assert_string_equal(base_buf_cstr(&diff), "{\"a\":[{\"b\":1},{\"b\":1,\"d\":{\"e\":2}}]"
                                                      ",\"f\":[null,[3]]}");
            end(call);
            base_free(&call);
        }
        json_decref(after);
    } while (starved);
    assert_true(n > 10);
    base_buf_clear(&diff);
}

/* --- replies --- */

static void test_reply_too_large_is_no_part_of_itself(void **state)
{
    struct api_call call = begin(HEAD_OF("GET") "\r\n");

    (void)state;
    base_buf_reset(&loopback.worker.scratch);
    BASE_BUF_LIT(&loopback.worker.scratch, "{\"items\":[");
    loopback.worker.scratch.overflow = true;
    api_json_send(&call, 200, (struct base_span){0}, (struct base_span){0});
    assert_int_equal(reply.status, 500);
    end(&call);
}

static void test_outcomes(void **state)
{
    static const struct {
        struct store_outcome outcome;
        int status;
    } cases[] = {
        {{.err = BASE_NOT_FOUND}, 404},   {{.err = BASE_CONFLICT}, 409},
        {{.err = BASE_BUSY}, 503},        {{.err = BASE_TIMEOUT}, 503},
        {{.err = BASE_UNAVAILABLE}, 503}, {{.err = BASE_DENIED}, 500},
        {{.err = BASE_INTERNAL}, 500},    {{.err = BASE_CONFLICT, .repeated = true}, 409},
        {{.err = BASE_INVALID}, 500},     {{.err = BASE_INVALID, .field = "jwks"}, 422},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct api_call call = begin(HEAD_OF("PATCH") "\r\n");

        api_json_outcome(&call, &cases[i].outcome);
        assert_int_equal(reply.status, cases[i].status);
        assert_int_equal(loopback_header(&reply, "Retry-After") != NULL, cases[i].status == 503);
        assert_string_equal(loopback_header(&reply, "Cache-Control"), "no-store");
        end(&call);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_types),
        cmocka_unit_test(test_bad_bodies),
        cmocka_unit_test(test_body_optional),
        cmocka_unit_test(test_body_over_64_kib),
        cmocka_unit_test(test_patch_names),
        cmocka_unit_test(test_unknown_member),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_cursor_round_trip),
        cmocka_unit_test(test_if_match),
        cmocka_unit_test(test_etag),
        cmocka_unit_test(test_idempotency),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_body_without_memory),
        cmocka_unit_test(test_change_without_memory),
        cmocka_unit_test(test_reply_too_large_is_no_part_of_itself),
        cmocka_unit_test(test_outcomes),
    };

    base_mem_watch_libraries();
    base_mem_survive_libraries();
    return cmocka_run_group_tests(tests, setup, teardown);
}
