/* SPDX-License-Identifier: Apache-2.0 */
/* A handler without a socket: the bytes of a request go through the parser and the route table of
 * the real server, and what the handler answers is kept. A request is freed when it has been
 * answered, as in real life, so that AddressSanitizer sees a handler that looks back. */
#ifndef LOOPBACK_H
#define LOOPBACK_H

#include "api.h"

#define LOOPBACK_ISSUER "https://id.example.com"

struct loopback {
    struct api_shared shared;
    struct api_worker
        worker; /* without database, and without a key ring until the test adopts one */
};

/* Texts are terminated copies. */
struct loopback_reply {
    int count; /* how often it was answered */
    int status;
    char content_type[64];
    char headers[2048];
    char body[256u << 10];
    size_t body_len;
    char reason[128];
};

void loopback_init(struct loopback *loopback);
void loopback_clear(struct loopback *loopback);

/* The request in `text` (head, empty line, body), parsed, decoded and routed; a test that answers
 * nothing must drop it. The reply goes to *reply, which is cleared now. */
struct http_request *loopback_request(struct loopback *loopback, const char *text,
                                      struct loopback_reply *reply);
void loopback_drop(struct http_request **request);
/* The same, and runs the route's handler; a request without a route is answered as the server
 * would. */
void loopback_send(struct loopback *loopback, const char *text, struct loopback_reply *reply);

/* The value of a header line of the reply, in a static buffer; NULL when absent. */
const char *loopback_header(const struct loopback_reply *reply, const char *name);

#endif
