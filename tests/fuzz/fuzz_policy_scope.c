/* SPDX-License-Identifier: Apache-2.0 */
/* What a stranger asks a token for: `scope`, and `resource` or `audience`. Three lines of input:
 * what is held, what is asked, and a target. */
#include "policy_claims.h"
#include "policy_scope.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Only in a fuzz target: goes on checking when NDEBUG is set. */
static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct base_span take_line(struct base_span *rest)
{
    const char *end = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;
    struct base_span line = *rest;

    if (!end) {
        *rest = (struct base_span){0};
        return line;
    }
    line.len = (size_t)(end - line.ptr);
    *rest = base_span_of(end + 1, rest->len - line.len - 1);
    return line;
}

/* Every name is valid, is there once, and is in the text. */
static void check_names(struct base_span text, const struct policy_scopes *scopes)
{
    must(scopes->count <= POLICY_MAX_SCOPES);
    must((scopes->count == 0) == (text.len == 0));
    for (size_t i = 0; i < scopes->count; i++) {
        must(policy_scope_name_valid(scopes->names[i]));
        must(policy_scope_holds(text, scopes->names[i]));
        for (size_t j = 0; j < i; j++)
            must(!base_span_eq(scopes->names[i], scopes->names[j]));
    }
}

/* What is granted is held and was asked, and nothing that was asked is missing. */
static void check_grant(struct base_span held, const struct policy_scopes *asked)
{
    char memory[POLICY_MAX_SCOPES * (POLICY_MAX_SCOPE_NAME + 1)];
    struct policy_scopes granted;
    struct base_buf out;

    base_buf_init_fixed(&out, memory, sizeof memory);
    if (!policy_scope_grant(held, asked, &out)) {
        must(out.len == 0);
        return;
    }
    must(policy_scope_parse(base_buf_span(&out), &granted) == BASE_OK);
    must(asked->count == 0 || granted.count == asked->count);
    for (size_t i = 0; i < granted.count; i++)
        must(policy_scope_holds(held, granted.names[i]));
    for (size_t i = 0; i < asked->count; i++)
        must(policy_scope_holds(base_buf_span(&out), asked->names[i]));
}

static void check_sorted(struct policy_scopes scopes)
{
    size_t count = scopes.count;

    policy_scope_sort(&scopes);
    must(scopes.count == count);
    for (size_t i = 1; i < count; i++)
        must(!base_span_eq(scopes.names[i - 1], scopes.names[i]));
}

static void check_target(struct base_span target, struct base_span scope)
{
    static const struct base_span issuer = BASE_SPAN_INIT("https://as.example");
    static const struct base_span fallback = BASE_SPAN_INIT("https://as.example/api");
    struct store_key key = {.scope = scope};
    struct policy_audience got;

    if (policy_claims_resource_valid(target)) {
        must(memchr(target.ptr, ':', target.len) != NULL);
        must(memchr(target.ptr, '#', target.len) == NULL);
        must(memchr(target.ptr, ' ', target.len) == NULL);
    }
    if (!policy_claims_audience_valid(target, issuer))
        return;
    key.fields.n_audience = 1;
    key.fields.audience[0] = target;
    must(policy_claims_audience(&key, issuer, fallback, NULL, 0, &got));
    must(got.count == 1);
    must(base_span_eq(got.names[0], policy_scope_is_management(scope) ? issuer : target));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_span rest = base_span_of((const char *)data, size);
    struct base_span held = take_line(&rest), asked = take_line(&rest);
    struct policy_scopes held_names, asked_names;

    if (policy_scope_parse(held, &held_names) == BASE_OK) {
        check_names(held, &held_names);
        check_sorted(held_names);
        if (policy_scope_parse(asked, &asked_names) == BASE_OK)
            check_grant(held, &asked_names);
    }
    check_target(rest, held);
    return 0;
}
