/* SPDX-License-Identifier: Apache-2.0 */
#include "api_json.h"

#include "api_oauth_error.h"
#include "api_problem.h"
#include "base_encode.h"
#include "base_mem.h"
#include "http_form.h"

#define MAX_BODY       (64u << 10)
#define MAX_QUERY_TEXT 255 /* characters */
#define MAX_DEPTH      10  /* a key's claims may have 8 levels, inside the key, inside the body */

void api_json_begin(struct api_call *call)
{
    call->memory_failures = base_mem_failures();
}

bool api_json_starved(struct api_call *call)
{
    if (base_mem_failures() == call->memory_failures)
        return false;
    api_problem_failure(call->request, BASE_NO_MEMORY);
    api_call_end(&call);
    return true;
}

/* --- the body --- */

static bool media_type_ok(const struct http_request *request)
{
    bool repeated = false;
    struct base_span type = http_request_header(request, HTTP_FIELD_CONTENT_TYPE, &repeated);

    if (repeated)
        return false;
    return http_media_type_is(type, BASE_SPAN("application/json")) ||
           (request->head.method == HTTP_PATCH &&
            http_media_type_is(type, BASE_SPAN("application/merge-patch+json")));
}

static void refuse_text(struct api_call *call, const char *why)
{
    struct base_buf detail;

    base_buf_init(&detail, 256);
    base_buf_putf(&detail, "The body is not acceptable: %s.", why);
    api_problem(call->request, 400, base_buf_cstr(&detail), "body_not_json");
    base_buf_clear(&detail);
}

bool api_json_body(struct api_call *call, bool optional)
{
    struct http_request *request = call->request;
    const char *why = "";

    api_json_begin(call);
    if (optional && request->body.len == 0) {
        call->body = json_object();
        if (!call->body)
            api_problem_failure(request, BASE_NO_MEMORY);
        return call->body != NULL;
    }
    if (!media_type_ok(request)) {
        api_problem(request, 415, NULL, "media_type");
        return false;
    }
    if (http_head_count(&request->head, HTTP_FIELD_CONTENT_ENCODING) > 0) {
        api_problem(request, 415, "The body must not be compressed.", "content_encoding");
        return false;
    }
    switch (base_json_parse(request->body, MAX_BODY, MAX_DEPTH, &call->body, &why)) {
    case BASE_OK:
        break;
    case BASE_TOO_LARGE:
        api_problem(request, 413, NULL, "body_too_large");
        return false;
    case BASE_NO_MEMORY:
        api_problem_failure(request, BASE_NO_MEMORY);
        return false;
    default:
        refuse_text(call, why);
        return false;
    }
    if (json_is_object(call->body))
        return true;
    api_problem(request, 400, "The body must be a JSON object.", "body_not_object");
    return false;
}

static void refuse_member(struct api_call *call, const char *name)
{
    struct base_buf detail;

    base_buf_init(&detail, 512);
    base_buf_putf(&detail, "The member \"%.200s\" is not known here.", name);
    api_problem(call->request, 400, base_buf_cstr(&detail), "unknown_member");
    base_buf_clear(&detail);
}

static bool is_among(const char *const *names, const char *name)
{
    for (; *names; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

bool api_json_patch_names(struct api_call *call, const char *const *decided,
                          const char *const *read_only)
{
    const char *name;
    json_t *value;
    void *next;

    json_object_foreach_safe (call->body, next, name, value) {
        if (is_among(read_only, name)) {
            base_json_error_add(&call->errors, name, "is read-only");
            json_object_del(call->body, name);
        } else if (!is_among(decided, name)) {
            refuse_member(call, name);
            return false;
        }
    }
    return true;
}

bool api_json_known(struct api_call *call, struct base_json_reader *reader)
{
    const char *unknown = base_json_reader_unknown(reader);

    if (unknown)
        refuse_member(call, unknown);
    return unknown == NULL;
}

bool api_json_done(struct api_call *call, struct base_json_reader *reader)
{
    if (!api_json_known(call, reader))
        return false;
    if (call->errors.count > 0)
        api_problem_fields(call->request, &call->errors);
    return call->errors.count == 0;
}

/* --- queries --- */

static bool bad_query(struct api_call *call, const char *detail)
{
    api_problem(call->request, 400, detail, "bad_query");
    return false;
}

static bool read_limit(const struct base_span *text, int *out)
{
    int value = 0;

    if (!text)
        return true;
    for (size_t i = 0; i < text->len; i++) {
        if (text->ptr[i] < '0' || text->ptr[i] > '9' || i >= 3)
            return false;
        value = value * 10 + (text->ptr[i] - '0');
    }
    *out = value;
    return value >= 1 && value <= 200;
}

static bool read_cursor(const struct base_span *text, int64_t *out)
{
    struct base_buf bytes;
    uint64_t value = 0;
    bool ok;

    if (!text)
        return true;
    base_buf_init(&bytes, 8);
    ok = base_decode_base64url(&bytes, *text) == BASE_OK && bytes.len == 8 && !bytes.overflow;
    for (size_t i = 0; ok && i < 8; i++)
        value = value << 8 | (unsigned char)bytes.ptr[i];
    base_buf_clear(&bytes);
    *out = (int64_t)value;
    return ok && *out > 0;
}

static bool is_short(const struct base_span *text)
{
    return !text || base_utf8_length(*text) <= MAX_QUERY_TEXT;
}

static bool copy_text(const struct base_span *text, char *out, size_t size)
{
    if (!text)
        return true;
    if (text->len >= size)
        return false;
    memcpy(out, text->ptr, text->len);
    return true;
}

static bool read_page(struct api_call *call, const struct http_form *form, struct api_page *out)
{
    if (http_form_has_duplicate(form, (struct base_span){0}))
        return bad_query(call, "A parameter occurs twice.");
    if (!read_limit(http_form_get(form, BASE_SPAN("limit")), &out->limit))
        return bad_query(call, "limit takes 1 to 200.");
    if (!read_cursor(http_form_get(form, BASE_SPAN("cursor")), &out->before))
        return bad_query(call, "cursor is not one of ours: take it from next_cursor.");
    if (!is_short(http_form_get(form, BASE_SPAN("q"))) ||
        !copy_text(http_form_get(form, BASE_SPAN("q")), out->text, sizeof out->text))
        return bad_query(call, "q is too long.");
    if (!copy_text(http_form_get(form, BASE_SPAN("status")), out->status, sizeof out->status))
        return bad_query(call, "status takes active, disabled or expired.");
    return true;
}

bool api_json_page(struct api_call *call, struct api_page *out)
{
    struct base_span query = call->request->head.query;
    struct http_form form = {0};
    struct base_buf storage;
    bool ok;

    memset(out, 0, sizeof *out);
    out->limit = 50;
    base_buf_init(&storage, query.len + 1);
    if (http_form_parse(query, &storage, &form) == BASE_OK)
        ok = read_page(call, &form, out);
    else
        ok = bad_query(call, "The query string is malformed.");
    base_buf_clear(&storage);
    return ok;
}

void api_json_put_cursor(struct base_buf *out, int64_t before, bool more)
{
    uint8_t bytes[8];

    base_json_put_name(out, "next_cursor");
    if (more) {
        for (int i = 0; i < 8; i++)
            bytes[i] = (uint8_t)((uint64_t)before >> (56 - 8 * i));
        base_buf_put_char(out, '"');
        base_encode_base64url(out, bytes, sizeof bytes);
        base_buf_put_char(out, '"');
    } else {
        BASE_BUF_LIT(out, "null");
    }
    base_buf_put_char(out, '}');
}

/* --- members --- */

void api_json_put_text_or_null(struct base_buf *out, const char *name, struct base_span text)
{
    if (text.len > 0)
        base_json_put_member_string(out, name, text);
    else
        base_json_put_member_null(out, name);
}

void api_json_put_time_or_null(struct base_buf *out, const char *name, int64_t wall_us)
{
    if (wall_us > 0)
        base_json_put_member_time(out, name, wall_us);
    else
        base_json_put_member_null(out, name);
}

/* --- preconditions --- */

bool api_json_if_match(struct api_call *call)
{
    bool repeated = false, valid = false;
    struct base_span header = http_request_header(call->request, HTTP_FIELD_IF_MATCH, &repeated);

    if (!header.ptr)
        return true;
    (void)http_etag_matches(header, BASE_SPAN("\"\""), false, &valid);
    if (repeated || !valid) {
        api_problem(call->request, 400,
                    "If-Match takes an entity tag, in its quotes as ETag has it, or *.",
                    "if_match");
        return false;
    }
    call->if_match = header;
    return true;
}

bool api_json_matches(const struct api_call *call, int64_t version)
{
    char etag[32];
    bool valid;

    if (!call->if_match.ptr)
        return true;
    snprintf(etag, sizeof etag, "\"%lld\"", (long long)version);
    return http_etag_matches(call->if_match, base_span_str(etag), false, &valid);
}

void api_json_put_etag(struct base_buf *out, int64_t version)
{
    BASE_BUF_LIT(out, "ETag: \"");
    base_buf_put_i64(out, version);
    BASE_BUF_LIT(out, "\"\r\n");
}

bool api_json_idempotency(struct api_call *call)
{
    const struct http_request *request = call->request;
    bool repeated = false;
    struct base_span key = http_request_header(request, HTTP_FIELD_IDEMPOTENCY_KEY, &repeated);
    struct base_buf all;

    if (!key.ptr)
        return true;
    if (repeated || key.len == 0 || key.len > 255 || !base_utf8_valid(key)) {
        api_problem(call->request, 400, "Idempotency-Key takes 1 to 255 characters.",
                    "idempotency_key");
        return false;
    }
    base_buf_init(&all, MAX_BODY + HTTP_MAX_TARGET + 64);
    base_buf_put_span(&all, request->head.method_text);
    base_buf_put_char(&all, ' ');
    base_buf_put_span(&all, request->path);
    base_buf_put_char(&all, '\n');
    base_buf_put_span(&all, request->body);
    base_sha256(base_buf_span(&all), call->idempotency.digest);
    base_buf_clear(&all);
    call->idempotency.actor = base_span_str(call->principal.actor);
    call->idempotency.key = key;
    return true;
}

/* --- changes --- */

void api_json_merge(json_t *target, const json_t *patch)
{
    const char *name;
    json_t *value;

    json_object_foreach ((json_t *)patch, name, value) {
        json_t *old = json_object_get(target, name);

        if (json_is_null(value)) {
            json_object_del(target, name);
        } else if (json_is_object(value)) {
            if (!json_is_object(old)) {
                old = json_object();
                json_object_set_new(target, name, old);
            }
            api_json_merge(old, value);
        } else {
            json_object_set(target, name, value);
        }
    }
}

static void put_or_null(struct base_buf *out, const json_t *value)
{
    if (!value || base_json_put_value(out, value) != BASE_OK)
        BASE_BUF_LIT(out, "null");
}

static void put_pair(struct base_buf *out, const char *name, const json_t *before,
                     const json_t *after)
{
    base_json_put_name(out, name);
    base_buf_put_char(out, '[');
    put_or_null(out, before);
    base_buf_put_char(out, ',');
    put_or_null(out, after);
    base_buf_put_char(out, ']');
}

void api_json_diff(const json_t *before, const json_t *after, struct base_buf *out)
{
    const char *name;
    json_t *value;

    base_buf_reset(out);
    base_buf_put_char(out, '{');
    json_object_foreach ((json_t *)after, name, value) {
        const json_t *old = json_object_get(before, name);

        if (!old || !json_equal(old, value))
            put_pair(out, name, old, value);
    }
    json_object_foreach ((json_t *)before, name, value) {
        if (!json_object_get(after, name))
            put_pair(out, name, value, NULL);
    }
    base_buf_put_char(out, '}');
}

void api_json_check_text(struct base_json_errors *errors, const char *field, struct base_span text)
{
    for (size_t at = 0; at < text.len;) {
        uint32_t c = base_utf8_next(text, &at);

        if (c < 0x20 || (c >= 0x7f && c < 0xa0)) {
            base_json_error_add(errors, field, "must not hold control characters");
            return;
        }
    }
}

/* --- replies --- */

void api_json_send(struct api_call *call, int status, struct base_span headers,
                   struct base_span subject)
{
    struct base_buf *lines = &call->worker->payload;

    if (call->worker->scratch.overflow) {
        api_problem_failure(call->request,
                            BASE_TOO_LARGE); /* better none than a part that looks like the whole */
        return;
    }
    base_buf_reset(lines);
    BASE_BUF_LIT(lines, API_NO_STORE_HEADERS);
    base_buf_put_span(lines, headers);
    http_reply_send(call->request,
                    &(struct http_reply){.status = status,
                                         .content_type = "application/json",
                                         .headers = base_buf_span(lines),
                                         .body = base_buf_span(&call->worker->scratch),
                                         .subject = subject});
}

void api_json_no_content(struct api_call *call, struct base_span subject)
{
    http_reply_send(call->request, &(struct http_reply){.status = 204,
                                                        .headers = BASE_SPAN(API_NO_STORE_HEADERS),
                                                        .subject = subject});
}

bool api_json_have(struct api_call *call, enum base_err err)
{
    if (err == BASE_OK)
        return true;
    if (err == BASE_NOT_FOUND)
        api_problem_not_found(call->request);
    else
        api_problem_failure(call->request, err);
    api_call_end(&call);
    return false;
}

void api_json_outcome(struct api_call *call, const struct store_outcome *outcome)
{
    struct http_request *request = call->request;

    if (outcome->err == BASE_NOT_FOUND) {
        api_problem_not_found(request);
    } else if (outcome->err == BASE_CONFLICT && outcome->repeated) {
        api_problem(request, 409, "This Idempotency-Key was used for another request.",
                    "idempotency_key");
    } else if (outcome->err == BASE_CONFLICT) {
        api_problem(request, 409, NULL, "conflict");
    } else if (outcome->err == BASE_INVALID && outcome->field) {
        /* A constraint of the schema that no check above has foreseen. */
        base_json_error_add(&call->errors, outcome->field, "is not acceptable");
        api_problem_fields(request, &call->errors);
    } else {
        api_problem_failure(request, outcome->err);
    }
}
