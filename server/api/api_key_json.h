/* SPDX-License-Identifier: Apache-2.0 */
/* An API access key as JSON, and back: one representation, one validation, for create and change
 * alike. */
#ifndef API_KEY_JSON_H
#define API_KEY_JSON_H

#include "api_json.h"

/* The whole object, into `out`; `secret` NULL: none (everywhere but after create and rotate). */
void api_key_put(struct base_buf *out, const struct store_key *key, const char *secret,
                 int64_t now_us);

/* The members that an admin decides, as a new object: what a merge patch is applied to, and what
 * the audit compares. Those that are not set are absent. */
json_t *api_key_editable(const struct store_key_fields *fields);
/* Their names, ended by NULL. */
extern const char *const api_key_decided[];

/* Reads and judges the decided members of `object`. Errors go to call->errors; spans point into
 * `object` and call->text and text2. `creating`: what is required must be there, and expires_at
 * must lie ahead; otherwise expires_at may be in the past. */
void api_key_read(struct api_call *call, struct base_json_reader *reader, bool creating,
                  struct store_key_fields *out);

#endif
