/* SPDX-License-Identifier: Apache-2.0 */
/* Embedded files, and the headers that keep the page to itself: nothing inline, nothing from
 * elsewhere, no frame around it, no referrer out of it. */
#include "console.h"

#include "base_embed.h"
#include "console_hash.h" /* CONSOLE_HASH: made by bundle.cmake */

#include <assert.h>
#include <stdio.h>

#define INDEX       "index.html"
#define MAX_HEADERS 2048
#define MAX_ETAG    80 /* a SHA-256 in hex, its quotes and NUL */

extern const struct base_embedded console_assets[];
extern const size_t console_assets_count;

static const struct {
    struct base_span suffix;
    const char *content_type;
} content_types[] = {
    {BASE_SPAN_INIT(".html"), "text/html; charset=utf-8"},
    {BASE_SPAN_INIT(".css"), "text/css; charset=utf-8"},
    {BASE_SPAN_INIT(".js"), "text/javascript; charset=utf-8"},
    {BASE_SPAN_INIT(".svg"), "image/svg+xml"},
};

static bool ends_with(struct base_span text, struct base_span suffix)
{
    return text.len >= suffix.len &&
           base_span_eq(base_span_of(text.ptr + text.len - suffix.len, suffix.len), suffix);
}

/* Every file of assets/ has one: nosniff leaves the browser nothing to guess. */
static const char *content_type_of(const struct base_embedded *asset)
{
    for (size_t i = 0; i < BASE_COUNT(content_types); i++) {
        if (ends_with(base_span_str(asset->name), content_types[i].suffix))
            return content_types[i].content_type;
    }
    assert(false && "an asset of a type that is not in the table");
    return "application/octet-stream";
}

static const struct base_embedded *find_asset(struct base_span name)
{
    for (size_t i = 0; i < console_assets_count; i++) {
        if (base_span_eq(base_span_str(console_assets[i].name), name))
            return &console_assets[i];
    }
    return NULL;
}

/* Trusted types take `innerHTML` away from the page's own scripts too. Fetching is to this server
 * only, and a form that escapes the script sends nothing. */
static void put_security_headers(struct base_buf *out, const struct http_request *request)
{
    BASE_BUF_LIT(
        out,
        "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'\r\n"
        "Referrer-Policy: no-referrer\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "X-Frame-Options: DENY\r\n"
        "Cross-Origin-Opener-Policy: same-origin\r\n"
        "Cross-Origin-Resource-Policy: same-origin\r\n");
    if (request->is_tls)
        BASE_BUF_LIT(out, "Strict-Transport-Security: max-age=31536000\r\n");
}

static void send_asset(struct http_request *request, const struct base_embedded *asset,
                       const char *cache)
{
    char memory[MAX_HEADERS], etag[MAX_ETAG];
    struct base_buf headers;
    struct http_reply reply = {.status = 304};

    snprintf(etag, sizeof etag, "\"%s\"", asset->sha256);
    base_buf_init_fixed(&headers, memory, sizeof memory);
    base_buf_putf(&headers, "ETag: %s\r\nCache-Control: %s\r\n", etag, cache);
    put_security_headers(&headers, request);
    assert(!headers.overflow);
    reply.headers = base_buf_span(&headers);
    if (!http_request_knows(request, base_span_str(etag))) {
        reply.status = 200;
        reply.content_type = content_type_of(asset);
        reply.body = asset->text;
    }
    http_reply_send(request, &reply);
}

void console_redirect(struct http_request *request)
{
    BASE_AUTO(base_buf_clear) struct base_buf headers = {.max = 2048};

    base_buf_putf(&headers, "Location: %.*s/console/\r\nCache-Control: no-cache\r\n",
                  BASE_SPAN_ARGS(request->prefix));
    http_reply_send(request,
                    &(struct http_reply){.status = 308, .headers = base_buf_span(&headers)});
}

void console_index(struct http_request *request)
{
    /* Kept, but never used unasked: it names the files of this version. */
    send_asset(request, find_asset(BASE_SPAN(INDEX)), "no-cache");
}

/* Another version's hash is asked for while a fleet is being upgraded. What this version has under
 * that name would be kept for ever as the other's, so it is not there. */
static void send_not_found(struct http_request *request)
{
    http_reply_send(
        request,
        &(struct http_reply){
            .status = 404,
            .content_type = "text/plain; charset=utf-8",
            .headers = BASE_SPAN("Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"),
            .body = BASE_SPAN("There is no such file. Reload the console.\n"),
        });
}

void console_asset(struct http_request *request)
{
    const struct base_embedded *asset = find_asset(request->params[1]);

    /* The page itself resolves its files against /console/, and has its place there. */
    if (!asset || !base_span_eq(request->params[0], BASE_SPAN(CONSOLE_HASH)) ||
        base_span_eq(request->params[1], BASE_SPAN(INDEX)))
        send_not_found(request);
    else
        send_asset(request, asset, "public, max-age=31536000, immutable");
}
