/* SPDX-License-Identifier: Apache-2.0 */
/* What the resources of the management API share: bodies, queries, entity tags, cursors, merge
 * patches and the differences that go into the audit. */
#ifndef API_JSON_H
#define API_JSON_H

#include "api_auth.h"

/* jansson tells only some of its callers that it had no memory, and a change made of what is left
 * would be another than the one that was asked for. So whatever a handler makes of JSON values,
 * from a body or a row to a statement or a 422, begins with api_json_begin(), as api_json_body()
 * does, and goes out only if not api_json_starved(). True: a library had no memory in between; 503
 * was answered, and the call has ended. */
void api_json_begin(struct api_call *call);
bool api_json_starved(struct api_call *call);

/* Reads a JSON object from the body into call->body. False: answered already (400, 413, 415,
 * 503).
 * `optional`: an empty body counts as {}. PATCH also takes application/merge-patch+json. */
bool api_json_body(struct api_call *call, bool optional);

/* Before a merge: members of the body that are read-only become errors (422) and are taken out, so
 * that the rest is judged as well; a member in neither list, null too, is unknown. False: answered
 * already (400). Lists end in NULL. */
bool api_json_patch_names(struct api_call *call, const char *const *decided,
                          const char *const *read_only);

/* After the getters: names an unknown member. False: answered already (400). */
bool api_json_known(struct api_call *call, struct base_json_reader *reader);
/* The same, and reports wrong fields (422). */
bool api_json_done(struct api_call *call, struct base_json_reader *reader);

/* Paging of a list. */
struct api_page {
    int limit;       /* 1 to 200; 50 */
    int64_t before;  /* 0: from the newest */
    char text[1024]; /* q: 255 characters of up to 4 bytes */
    char status[16]; /* status */
};
/* False: answered already (400). */
bool api_json_page(struct api_call *call, struct api_page *out);
void api_json_put_cursor(struct base_buf *out, int64_t before, bool more); /* ,"next_cursor":…} */
/* A page whose items may be large ends here, however many were asked for; the cursor leads on. */
#define API_PAGE_BYTES (1u << 20)

/* A change that meets another one starts over. Each time means that somebody else's went through,
 * so even a crowd comes to an end; after this often the admin is told. */
#define API_MAX_ATTEMPTS 64

/* If-Match into call->if_match; false: answered already (400). */
bool api_json_if_match(struct api_call *call);
/* Does the request mean this version? */
bool api_json_matches(const struct api_call *call, int64_t version);
/* Entity tag header line of a version. */
void api_json_put_etag(struct base_buf *out, int64_t version);

/* Idempotency-Key into call->idempotency, with the digest of method, path and body. False: answered
 * already (400). */
bool api_json_idempotency(struct api_call *call);

/* Members that are null when there is nothing: an empty text, a time of 0. */
void api_json_put_text_or_null(struct base_buf *out, const char *name, struct base_span text);
void api_json_put_time_or_null(struct base_buf *out, const char *name, int64_t wall_us);

/* RFC 7396, applied to `target`, which is changed. */
void api_json_merge(json_t *target, const json_t *patch);
/* {"field":[before,after],…} of all members that differ; `before` may be NULL (created), or `after`
 * (deleted). */
void api_json_diff(const json_t *before, const json_t *after, struct base_buf *out);

/* A name or text that people typed: valid UTF-8 (jansson saw to that), no control characters. Adds
 * an error otherwise. */
void api_json_check_text(struct base_json_errors *errors, const char *field, struct base_span text);

/* Sends a JSON object from worker->scratch with no-store and these further header lines (may be
 * empty). */
void api_json_send(struct api_call *call, int status, struct base_span headers,
                   struct base_span subject);
/* 204. */
void api_json_no_content(struct api_call *call, struct base_span subject);
/* Is there a row to go on with? False: 404 or the database's failure was answered, and the call has
 * ended. */
bool api_json_have(struct api_call *call, enum base_err err);
/* What a change could not do, answered: repeated requests are the caller's, everything else comes
 * here. */
void api_json_outcome(struct api_call *call, const struct store_outcome *outcome);

#endif
