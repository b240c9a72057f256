/* SPDX-License-Identifier: Apache-2.0 */
/* GET /openapi.json: the description of all that programs may call here. It is written by hand,
 * beside the route table, and a test holds the two together. */
#include "api.h"
#include "base_embed.h"

#include <stdio.h>

extern const struct base_embedded api_openapi_file[];

/* A new version of the server has a new text: caches ask, and mostly hear 304. */
#define CACHE "Cache-Control: public, max-age=300\r\n"

void api_openapi(struct http_request *request)
{
    struct http_reply reply = {.status = 200};
    char headers[128], etag[24];

    snprintf(etag, sizeof etag, "\"%.16s\"", api_openapi_file[0].sha256);
    snprintf(headers, sizeof headers, CACHE "ETag: %s\r\n", etag);
    reply.headers = base_span_str(headers);
    if (http_request_knows(request, base_span_str(etag))) {
        reply.status = 304;
    } else {
        reply.content_type = "application/json";
        reply.body = api_openapi_file[0].text;
    }
    http_reply_send(request, &reply);
}
