/* SPDX-License-Identifier: Apache-2.0 */
/* The one place for OAuth errors (RFC 6749 §5.2): each is a constant reply, so that a refusal tells
 * a stranger nothing but its kind. */
#ifndef API_OAUTH_ERROR_H
#define API_OAUTH_ERROR_H

#include "api.h"

#define API_NO_STORE_HEADERS "Cache-Control: no-store\r\nPragma: no-cache\r\n"

/* Answers, counts and logs. `reason` (static) goes to the log only, as does `subject`. */
void api_oauth_refuse(struct http_request *request, enum api_refusal refusal, const char *reason,
                      struct base_span subject);
/* 400 invalid_request with a description of ours that says what to mend; never input. */
void api_oauth_bad_request(struct http_request *request, const char *description);
/* 429 with Retry-After. */
void api_oauth_limited(struct http_request *request, int64_t retry_after_s,
                       struct base_span subject);

/* The body for errors of HTTP itself (404, 405, 413, 431, framing). Static. */
struct base_span api_oauth_http_error(int status);

#endif
