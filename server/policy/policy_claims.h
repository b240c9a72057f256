/* SPDX-License-Identifier: Apache-2.0 */
/* What goes into a token: RFC 9068 §2.2, and which audience it may have (RFC 8707). Pure. */
#ifndef POLICY_CLAIMS_H
#define POLICY_CLAIMS_H

#include "base_buf.h"
#include "base_err.h"
#include "store_key.h"

#include <jansson.h>

#define POLICY_CLAIMS_MAX_CUSTOM 2048 /* bytes of a key's own claims as compact text */

struct policy_claims_input {
    struct base_span issuer;
    const struct store_key *key;
    struct base_span scope;           /* granted */
    const struct base_span *audience; /* granted, at least one */
    size_t n_audience;
    int64_t now_us;
    int64_t ttl_us; /* the server's default */
};

/* Writes the claims as JSON text: iss, sub, client_id, aud (one: a string), iat, exp, jti, scope,
 * tenant and the key's own. A token never outlives its key, and exp is always after iat:
 * *expires_in_s is at least 1. BASE_INVALID when the key ends within this second (the caller
 * answers as for an expired key), BASE_TOO_LARGE when `out` is too small, BASE_INTERNAL when the
 * stored claims are no object. No allocation but of `out`. */
enum base_err policy_claims_write(const struct policy_claims_input *input, struct base_buf *out,
                                  int64_t *expires_in_s) BASE_MUST_USE;

/* Which audiences a token gets. A management key: the issuer alone. An API key: its own, or the
 * default, and never the issuer. `asked` (from `resource` or `audience`) must be among them; none
 * asked: all. False: invalid_target. Spans point into what was given. */
struct policy_audience {
    size_t count;
    struct base_span names[STORE_KEY_MAX_AUDIENCE];
};
bool policy_claims_audience(const struct store_key *key, struct base_span issuer,
                            struct base_span default_audience, const struct base_span *asked,
                            size_t n_asked, struct policy_audience *out);
/* RFC 8707 §2: an absolute URI (RFC 3986 §4.3) without a fragment. */
bool policy_claims_resource_valid(struct base_span resource);

/* Is this the issuer, with or without a slash at its end? Then it is the audience of management
 * tokens, and of no other. */
bool policy_claims_is_issuer(struct base_span name, struct base_span issuer);

/* May an admin set these claims of a key's own? No registered claim (RFC 7519 §4.1), none of ours;
 * at most 2 KiB as compact text, depth 8. `why`: one clause. */
bool policy_claims_custom_valid(const json_t *claims, struct base_buf *why);
/* A key's own audience: 1 to 255 bytes, visible, no space, and not the issuer. */
bool policy_claims_audience_valid(struct base_span audience, struct base_span issuer);

#endif
