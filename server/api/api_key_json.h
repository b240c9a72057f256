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

/* Reads and judges the decided members of the reader's object. Errors go to call->errors; spans
 * point into the object, call->text and text2. `stored` NULL: a new key; what is required must be
 * there, and expires_at must lie ahead. Otherwise the row that the patch in call->body changes, and
 * the object is what the patch makes of it: only members that the patch names are read and judged,
 * and all others are as stored. So a key that would not pass any more can still be switched off. */
void api_key_read(struct api_call *call, struct base_json_reader *reader,
                  const struct store_key_fields *stored, struct store_key_fields *out);

#endif
