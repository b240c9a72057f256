/* SPDX-License-Identifier: Apache-2.0 */
/* The one place for errors of the management API: RFC 9457 problems, and the Bearer challenges of
 * RFC 6750 §3. */
#ifndef API_PROBLEM_H
#define API_PROBLEM_H

#include "api.h"
#include "base_json.h"

/* `detail` is a sentence of ours that says what to do; it may name fields, never secrets. */
void api_problem(struct http_request *request, int status, const char *detail, const char *reason);
/* 422 with every wrong field. */
void api_problem_fields(struct http_request *request, const struct base_json_errors *errors);
/* 401 with `error="invalid_token"` when a token was sent (RFC 6750 §3.1), bare otherwise. */
void api_problem_unauthenticated(struct http_request *request, bool had_token, const char *reason);
/* 403 insufficient_scope. */
void api_problem_forbidden(struct http_request *request, const char *detail);
/* 404, the same bytes for what does not exist and what is another tenant's. */
void api_problem_not_found(struct http_request *request);
/* A failure of the database or of a library's memory, as 503 with Retry-After, or 500. */
void api_problem_failure(struct http_request *request, enum base_err err);

/* The body for errors of HTTP itself, written into `out`. */
void api_problem_http_error(int status, struct base_buf *out);

#endif
