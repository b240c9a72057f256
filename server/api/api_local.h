/* SPDX-License-Identifier: Apache-2.0 */
/* A request made in memory, for the command line and for tests: the same route table, the same
 * handlers, the same answers as over HTTP, without a socket. */
#ifndef API_LOCAL_H
#define API_LOCAL_H

#include "api.h"

struct api_local_reply {
    int status;
    struct base_span headers; /* as the handler gave them */
    struct base_span body;
};
typedef void api_local_fn(void *ctx, const struct api_local_reply *reply);

struct api_local_request {
    enum http_method method;
    const char *path;      /* decoded: a `?` in it is part of a name */
    const char *query;     /* raw; NULL: none */
    struct base_span body; /* JSON text; may be empty */
    const char *const
        *headers; /* name and value pairs ended by NULL ("If-Match", "\"3\"", NULL), or NULL */
};

/* Routes and runs the request with worker->local as its author; `done` is called exactly once,
 * perhaps before this returns. Query, body and headers must live until then. */
void api_local_call(struct api_worker *worker, const struct api_local_request *local,
                    api_local_fn *done, void *ctx);

#endif
