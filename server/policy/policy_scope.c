/* SPDX-License-Identifier: Apache-2.0 */
/* Scope texts are read name by name where they lie: nothing is copied, nothing allocated. */
#include "policy_scope.h"

#include <stdlib.h>

struct base_span policy_scope_next(struct base_span *scope)
{
    const char *space = scope->len ? memchr(scope->ptr, ' ', scope->len) : NULL;
    struct base_span name = *scope;

    if (!space) {
        *scope = (struct base_span){0};
        return name;
    }
    name.len = (size_t)(space - name.ptr);
    *scope = base_span_of(space + 1, scope->len - name.len - 1);
    return name;
}

/* RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ). */
static bool is_scope_char(char c)
{
    return c > ' ' && c <= '~' && c != '"' && c != '\\';
}

bool policy_scope_name_valid(struct base_span name)
{
    if (name.len == 0 || name.len > POLICY_MAX_SCOPE_NAME)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_scope_char(name.ptr[i]))
            return false;
    return true;
}

static bool contains(const struct policy_scopes *scopes, struct base_span name)
{
    for (size_t i = 0; i < scopes->count; i++)
        if (base_span_eq(scopes->names[i], name))
            return true;
    return false;
}

static enum base_err add(struct policy_scopes *scopes, struct base_span name)
{
    if (!policy_scope_name_valid(name))
        return BASE_INVALID;
    if (contains(scopes, name))
        return BASE_OK;
    if (scopes->count == POLICY_MAX_SCOPES)
        return BASE_TOO_LARGE;
    scopes->names[scopes->count++] = name;
    return BASE_OK;
}

enum base_err policy_scope_parse(struct base_span text, struct policy_scopes *out)
{
    enum base_err err = BASE_OK;

    out->count = 0;
    /* A space at the end would be lost on the way: it has no name behind it. */
    if (text.len && text.ptr[text.len - 1] == ' ')
        return BASE_INVALID;
    while (text.len && err == BASE_OK)
        err = add(out, policy_scope_next(&text));
    if (err != BASE_OK)
        out->count = 0;
    return err;
}

bool policy_scope_holds(struct base_span scope, struct base_span name)
{
    while (scope.len)
        if (base_span_eq(policy_scope_next(&scope), name))
            return true;
    return false;
}

static bool holds_all(struct base_span held, const struct policy_scopes *asked)
{
    for (size_t i = 0; i < asked->count; i++)
        if (!policy_scope_holds(held, asked->names[i]))
            return false;
    return true;
}

bool policy_scope_grant(struct base_span held, const struct policy_scopes *asked,
                        struct base_buf *out)
{
    size_t start = out->len;

    if (!holds_all(held, asked))
        return false;
    while (held.len) {
        struct base_span name = policy_scope_next(&held);

        if (asked->count && !contains(asked, name))
            continue;
        if (out->len > start)
            base_buf_put_char(out, ' ');
        base_buf_put_span(out, name);
    }
    if (!out->overflow)
        return true;
    out->len = start; /* half a name may be the name of something else */
    return false;
}

bool policy_scope_is_management(struct base_span name)
{
    return base_span_starts(name, BASE_SPAN("cardea."));
}

static int by_bytes(const void *left, const void *right)
{
    const struct base_span *a = left, *b = right;
    size_t common = a->len < b->len ? a->len : b->len;
    int order = common ? memcmp(a->ptr, b->ptr, common) : 0;

    return order ? order : (a->len > b->len) - (a->len < b->len);
}

void policy_scope_sort(struct policy_scopes *scopes)
{
    size_t kept = 0;

    qsort(scopes->names, scopes->count, sizeof *scopes->names, by_bytes);
    for (size_t i = 0; i < scopes->count; i++)
        if (kept == 0 || !base_span_eq(scopes->names[kept - 1], scopes->names[i]))
            scopes->names[kept++] = scopes->names[i];
    scopes->count = kept;
}
