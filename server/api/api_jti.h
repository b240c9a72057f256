/* SPDX-License-Identifier: Apache-2.0 */
/* Each jti of a client's assertion is good once (RFC 7523 §3), and that has to be on the disk
 * before the token leaves. One commit per assertion would make the disk's latency the limit of them
 * all, so they commit in groups: what comes while a group is being written leaves with the next. An
 * assertion that comes alone waits for nobody. */
#ifndef API_JTI_H
#define API_JTI_H

#include "api.h"

/* BASE_OK: it was not seen before, on any instance. BASE_CONFLICT: it was. Anything else is the
 * database's, and no verdict. */
typedef void api_jti_fn(void *ctx, enum base_err err);

/* The jti of an assertion of this key, whose exp is `expires_us`. `done` is called exactly once,
 * later, on the worker's loop. BASE_BUSY: too many wait already, and `done` will not be called. */
enum base_err api_jti_use(struct api_worker *worker, struct base_span key_id, struct base_span jti,
                          int64_t expires_us, api_jti_fn *done, void *ctx) BASE_MUST_USE;

/* When nobody waits any more. */
void api_jti_free(struct api_jti **queue);

#endif
