/* SPDX-License-Identifier: Apache-2.0 */
/* Rights are three bits. A token has those of its scopes, at most those that its key still holds.
 */
#include "policy_admin.h"

#include "base_clock.h"
#include "policy_client.h"
#include "policy_scope.h"

#define MAX_AHEAD_S 60 /* another instance's clock may be that fast */

#define SCOPE_ADMIN    BASE_SPAN("cardea.admin")
#define SCOPE_READ     BASE_SPAN("cardea.read")
#define SCOPE_PLATFORM BASE_SPAN("cardea.platform")

struct rights {
    bool can_read, can_write, is_platform;
};

static struct rights rights_of(struct base_span scope)
{
    bool is_admin = policy_scope_holds(scope, SCOPE_ADMIN);

    return (struct rights){
        .can_read = is_admin || policy_scope_holds(scope, SCOPE_READ),
        .can_write = is_admin,
        .is_platform = policy_scope_holds(scope, SCOPE_PLATFORM),
    };
}

static struct base_span text_claim(const json_t *claims, const char *name)
{
    const json_t *value = json_object_get(claims, name);

    return base_span_of(json_string_value(value), json_string_length(value));
}

static bool is_text(const json_t *claims, const char *name, struct base_span expected)
{
    return json_is_string(json_object_get(claims, name)) &&
           base_span_eq(text_claim(claims, name), expected);
}

/* RFC 7519 §4.1.4: on or after exp is too late. */
static bool is_current(const json_t *claims, int64_t now_us)
{
    const json_t *exp = json_object_get(claims, "exp"), *iat = json_object_get(claims, "iat");
    int64_t now_s = now_us / BASE_US_PER_S;

    return json_is_integer(exp) && json_is_integer(iat) && json_integer_value(exp) > now_s &&
           json_integer_value(iat) <= now_s + MAX_AHEAD_S;
}

/* The text and its NUL fit, and there is something. */
static bool copy_text(char *to, size_t size, struct base_span text)
{
    if (text.len == 0 || text.len >= size)
        return false;
    memcpy(to, text.ptr, text.len);
    to[text.len] = '\0';
    return true;
}

static bool is_ours(const json_t *claims, struct base_span issuer, int64_t now_us)
{
    struct base_span key_id = text_claim(claims, "sub");

    return is_text(claims, "iss", issuer) && is_text(claims, "aud", issuer) &&
           is_text(claims, "client_id", key_id) && policy_client_id_valid(key_id) &&
           is_current(claims, now_us);
}

bool policy_admin_token(const json_t *claims, struct base_span issuer, int64_t now_us,
                        struct policy_principal *out)
{
    struct rights rights = rights_of(text_claim(claims, "scope"));
    struct base_span key_id = text_claim(claims, "sub");
    struct policy_principal principal = {
        .can_read = rights.can_read,
        .can_write = rights.can_write,
        .is_platform = rights.is_platform,
    };

    *out = (struct policy_principal){0};
    if (!is_ours(claims, issuer, now_us) || !(rights.can_read || rights.is_platform) ||
        !copy_text(principal.tenant, sizeof principal.tenant, text_claim(claims, "tenant")))
        return false;
    memcpy(principal.key_id, key_id.ptr, key_id.len); /* valid IDs fit, terminated by the zeroes */
    memcpy(principal.actor, key_id.ptr, key_id.len);
    *out = principal;
    return true;
}

bool policy_admin_key(bool found, const struct store_key *key, int64_t now_us,
                      struct policy_principal *principal)
{
    struct rights rights;

    if (!found || !base_span_eq(key->key_id, base_span_str(principal->key_id)) ||
        !base_span_eq(key->tenant, base_span_str(principal->tenant)) || !key->fields.enabled ||
        !key->tenant_enabled || now_us >= key->fields.expires_us)
        return false;
    rights = rights_of(key->scope);
    principal->can_read &= rights.can_read;
    principal->can_write &= rights.can_write;
    principal->is_platform &= rights.is_platform;
    return true;
}

static bool is_above_tenants(const struct policy_principal *principal)
{
    return principal->is_platform || principal->is_local;
}

static enum policy_admin_verdict allow_if(bool allowed)
{
    return allowed ? POLICY_ADMIN_OK : POLICY_ADMIN_FORBIDDEN;
}

enum policy_admin_verdict policy_admin_may(const struct policy_principal *principal,
                                           enum policy_admin_need need, struct base_span tenant)
{
    if (need == POLICY_NEED_NOTHING)
        return POLICY_ADMIN_OK;
    if (!principal)
        return POLICY_ADMIN_UNAUTHENTICATED;
    if (is_above_tenants(principal))
        return POLICY_ADMIN_OK;
    if (need == POLICY_NEED_PLATFORM)
        return POLICY_ADMIN_FORBIDDEN;
    if (need == POLICY_NEED_ANY)
        return allow_if(principal->can_read);
    if (!base_span_eq(tenant, base_span_str(principal->tenant)))
        return POLICY_ADMIN_HIDDEN;
    return allow_if(need == POLICY_NEED_READ ? principal->can_read : principal->can_write);
}

bool policy_admin_may_grant(const struct policy_principal *principal,
                            const struct base_span *scopes, size_t n_scopes, const char **why)
{
    size_t n_management = 0;

    *why = NULL;
    for (size_t i = 0; i < n_scopes; i++) {
        n_management += policy_scope_is_management(scopes[i]);
        if (base_span_eq(scopes[i], SCOPE_PLATFORM) && !is_above_tenants(principal))
            *why = "cardea.platform is granted by a platform admin only";
    }
    if (n_management && n_management < n_scopes)
        *why = "API scopes and management scopes (cardea.*) cannot be mixed in one key";
    return *why == NULL;
}

bool policy_admin_may_change(const struct policy_principal *principal, const struct store_key *key)
{
    return is_above_tenants(principal) || !policy_scope_holds(key->scope, SCOPE_PLATFORM);
}
