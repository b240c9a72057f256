/* SPDX-License-Identifier: Apache-2.0 */
/* Scopes: RFC 6749 §3.3's grammar, subsets, and the two kinds that never mix. Pure. */
#ifndef POLICY_SCOPE_H
#define POLICY_SCOPE_H

#include "base_buf.h"
#include "base_err.h"

#include <stdint.h>

#define POLICY_MAX_SCOPES     64
#define POLICY_MAX_SCOPE_NAME 128

struct policy_scopes {
    size_t count;
    struct base_span names[POLICY_MAX_SCOPES];
};

/* scope-token *( SP scope-token ): single spaces, none at the ends. Duplicates are kept once. The
 * empty text gives none. BASE_INVALID otherwise; BASE_TOO_LARGE over the maximum. Spans point into
 * the text. */
enum base_err policy_scope_parse(struct base_span text, struct policy_scopes *out) BASE_MUST_USE;
/* One scope-token of 1 to 128 characters. */
bool policy_scope_name_valid(struct base_span name);
/* Is `name` among the space-separated `scope` text? */
bool policy_scope_holds(struct base_span scope, struct base_span name);
/* Appends what a token gets: all of `held` when `asked` is empty, otherwise what was asked, in the
 * order and spelling of `held`. False, and nothing appended, when something was asked that is not
 * held, or `out` is too small for it. */
bool policy_scope_grant(struct base_span held, const struct policy_scopes *asked,
                        struct base_buf *out);
/* Begins with "cardea.": the management kind. */
bool policy_scope_is_management(struct base_span name);
/* Sorts by bytes and removes duplicates. */
void policy_scope_sort(struct policy_scopes *scopes);

/* The next name of a space-separated text, cut off its front; empty when there are no more. */
struct base_span policy_scope_next(struct base_span *scope);

#endif
