/* SPDX-License-Identifier: Apache-2.0 */
/* From a bearer token to an admin who may do what the route does. Every management handler begins
 * here. */
#ifndef API_AUTH_H
#define API_AUTH_H

#include "api.h"
#include "base_json.h"

/* One management request, from its admission to its reply; freed by api_call_end(). */
struct api_call {
    struct http_request *request;
    struct api_worker *worker;
    struct policy_principal principal;
    struct base_span tenant; /* of the path; empty when the route has none */
    json_t *body;            /* owned; NULL without one */
    json_t *before, *after;  /* owned: what a change starts from and ends with */
    struct base_json_errors errors;
    struct store_idempotency idempotency;
    char key_id[32]; /* of a key that was made by this call, or by the one that it repeats */
    char client[HTTP_ADDRESS_TEXT_MAX];
    char secret[64];      /* a fresh secret on its way into the reply: wiped */
    struct base_buf text; /* claims, changes: JSON text that parameters point into */
    struct base_buf text2;
    struct base_buf text3;
    struct base_span if_match; /* the header; ptr NULL: any version will do */
    bool repeated;             /* the Idempotency-Key was used for this very request before */
    int attempts;
    uint64_t memory_failures; /* of libraries on this thread: api_json_starved() */
    void (*next)(struct api_call *call);
};

/* Judges token, key and rights, and then calls `next`; otherwise answers 401, 403, 404 or 503
 * itself. */
void api_admit(struct http_request *request, void (*next)(struct api_call *call));
/* After the reply. */
void api_call_end(struct api_call **call);

/* What the audit row says, spans into the call: `changes` is JSON. */
struct store_audit api_call_audit(const struct api_call *call, const char *action,
                                  struct base_span object, struct base_span changes);

#endif
