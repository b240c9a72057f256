/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_admin.h"

#include "base_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW_S  INT64_C(1800000000)
#define NOW_US (NOW_S * BASE_US_PER_S + 1)
#define ISSUER "https://as.example"
#define KEY_ID "key_abcdefghijklmnopqrstuvwx"

static json_t *good_claims(const char *scope)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "iss", ISSUER, "aud", ISSUER,
                     "sub", KEY_ID, "client_id", KEY_ID, "tenant", "acme", "scope", scope, "iat",
                     (json_int_t)NOW_S, "exp", (json_int_t)NOW_S + 600);
}

static bool accepts(const json_t *claims, struct policy_principal *out)
{
    return policy_admin_token(claims, BASE_SPAN(ISSUER), NOW_US, out);
}

static void rights_follow_from_scopes(void **state)
{
    static const struct {
        const char *scope;
        bool read, write, platform;
    } cases[] = {
        {"cardea.read", true, false, false},
        {"cardea.admin", true, true, false},
        {"cardea.admin cardea.read", true, true, false},
        {"cardea.platform", false, false, true},
        {"cardea.platform cardea.read", true, false, true},
        {"cardea.admin cardea.platform cardea.read", true, true, true},
        {"cardea.read cardea.unheard_of", true, false, false},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        json_auto_t *claims = good_claims(cases[i].scope);
        struct policy_principal principal;

        assert_true(accepts(claims, &principal));
        assert_string_equal(principal.key_id, KEY_ID);
        assert_string_equal(principal.actor, KEY_ID);
        assert_string_equal(principal.tenant, "acme");
        assert_int_equal(principal.can_read, cases[i].read);
        assert_int_equal(principal.can_write, cases[i].write);
        assert_int_equal(principal.is_platform, cases[i].platform);
        assert_false(principal.is_local);
    }
}

/* Good claims with one member replaced; a NULL value removes it. Takes over the value. */
static bool accepts_with(const char *name, json_t *value)
{
    static const struct policy_principal nobody;
    json_auto_t *claims = good_claims("cardea.admin");
    struct policy_principal principal;
    bool accepted;

    if (value)
        assert_int_equal(json_object_set_new(claims, name, value), 0);
    else
        assert_int_equal(json_object_del(claims, name), 0);
    memset(&principal, 'x', sizeof principal);
    accepted = accepts(claims, &principal);
    if (!accepted)
        assert_memory_equal(&principal, &nobody, sizeof nobody);
    return accepted;
}

static void every_member_is_needed(void **state)
{
    static const char *const names[] = {"iss",    "aud",   "sub", "client_id",
                                        "tenant", "scope", "iat", "exp"};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(names); i++) {
        assert_false(accepts_with(names[i], NULL));
        assert_false(accepts_with(names[i], json_null()));
        assert_false(accepts_with(names[i], json_string("")));
        assert_false(accepts_with(names[i], json_object()));
        assert_false(accepts_with(names[i], json_true()));
    }
}

static void other_values_make_no_management_token(void **state)
{
    static const struct {
        const char *name, *value;
    } texts[] = {
        {"iss", ISSUER "/"},
        {"iss", "https://other.example"},
        {"aud", ISSUER "/api"},
        {"aud", ISSUER "/"},
        {"sub", "key_abcdefghijklmnopqrstuvwy"},
        {"client_id", "key_abcdefghijklmnopqrstuvwy"},
        {"scope", "data:read"},
        {"scope", "cardea.adminx"},
        {"scope", "cardea.unheard_of"},
        {"exp", "1800000600"},
        {"tenant", "0123456789012345678901234567890123456789012345678901234567890123"},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(texts); i++)
        if (accepts_with(texts[i].name, json_string(texts[i].value)))
            fail_msg("accepted: %s %s", texts[i].name, texts[i].value);
    assert_false(accepts_with("aud", json_pack("[s]", ISSUER)));
    assert_false(accepts_with("aud", json_pack("[s, s]", ISSUER, "urn:x")));
    assert_true(accepts_with("tenant", json_string("012345678901234567890123456789012345678901234"
                                                   "567890123456789012")));
}

static void an_id_that_is_none_is_refused(void **state)
{
    json_auto_t *claims = good_claims("cardea.admin");
    struct policy_principal principal;

    (void)state;
    json_object_set_new(claims, "sub", json_string("nobody"));
    json_object_set_new(claims, "client_id", json_string("nobody"));
    assert_false(accepts(claims, &principal));
}

static void times_are_exact(void **state)
{
    (void)state;
    assert_true(accepts_with("exp", json_integer(NOW_S + 1)));
    assert_false(accepts_with("exp", json_integer(NOW_S)));
    assert_false(accepts_with("exp", json_integer(0)));
    assert_false(accepts_with("exp", json_integer(INT64_MIN)));
    assert_true(accepts_with("exp", json_integer(INT64_MAX)));
    assert_false(accepts_with("exp", json_real(1.8e9 + 600)));
    assert_true(accepts_with("iat", json_integer(NOW_S + 60)));
    assert_false(accepts_with("iat", json_integer(NOW_S + 61)));
    assert_false(accepts_with("iat", json_integer(INT64_MAX)));
    assert_true(accepts_with("iat", json_integer(0)));
    assert_false(accepts_with("iat", json_real(1.8e9)));
}

/* --- the key behind the token --- */

static struct policy_principal principal_of(const char *scope)
{
    json_auto_t *claims = good_claims(scope);
    struct policy_principal principal;

    assert_true(accepts(claims, &principal));
    return principal;
}

static struct store_key good_key(const char *scope)
{
    return (struct store_key){
        .key_id = BASE_SPAN(KEY_ID),
        .tenant = BASE_SPAN("acme"),
        .tenant_enabled = true,
        .scope = base_span_str(scope),
        .fields = {.enabled = true, .expires_us = NOW_US + 1},
    };
}

static bool key_fits(const struct store_key *key)
{
    struct policy_principal principal = principal_of("cardea.admin");

    return policy_admin_key(true, key, NOW_US, &principal);
}

static void a_dead_key_ends_its_tokens(void **state)
{
    struct policy_principal principal = principal_of("cardea.admin");
    struct store_key key = good_key("cardea.admin");

    (void)state;
    assert_true(key_fits(&key));
    assert_false(policy_admin_key(false, &key, NOW_US, &principal));
    assert_false(policy_admin_key(false, NULL, NOW_US, &principal));
    key.fields.enabled = false;
    assert_false(key_fits(&key));
    key = good_key("cardea.admin");
    key.tenant_enabled = false;
    assert_false(key_fits(&key));
    key = good_key("cardea.admin");
    key.fields.expires_us = NOW_US;
    assert_false(key_fits(&key));
    key = good_key("cardea.admin");
    key.tenant = BASE_SPAN("globex");
    assert_false(key_fits(&key));
    key = good_key("cardea.admin");
    key.key_id = BASE_SPAN("key_abcdefghijklmnopqrstuvwy");
    assert_false(key_fits(&key));
}

static void rights_are_cut_and_never_grown(void **state)
{
    static const struct {
        const char *token, *key;
        bool read, write, platform;
    } cases[] = {
        {"cardea.admin", "cardea.admin", true, true, false},
        {"cardea.admin", "cardea.read", true, false, false},
        {"cardea.read", "cardea.admin cardea.platform", true, false, false},
        {"cardea.platform", "cardea.admin", false, false, false},
        {"cardea.platform", "cardea.platform", false, false, true},
        {"cardea.admin", "", false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct policy_principal principal = principal_of(cases[i].token);
        struct store_key key = good_key(cases[i].key);

        assert_true(policy_admin_key(true, &key, NOW_US, &principal));
        assert_int_equal(principal.can_read, cases[i].read);
        assert_int_equal(principal.can_write, cases[i].write);
        assert_int_equal(principal.is_platform, cases[i].platform);
    }
}

/* --- who may what --- */

enum { OK = POLICY_ADMIN_OK, NO = POLICY_ADMIN_FORBIDDEN, HIDE = POLICY_ADMIN_HIDDEN };

static void who_may_what(void **state)
{
    static const struct policy_principal local = {.is_local = true}, rightless = {.tenant = "acme"};
    struct policy_principal reader = principal_of("cardea.read");
    struct policy_principal admin = principal_of("cardea.admin");
    struct policy_principal platform = principal_of("cardea.platform");
    const struct {
        const struct policy_principal *principal;
        int nothing, any, own_read, own_write, other_read, other_write, platform;
    } table[] = {
        {&rightless, OK, NO, NO, NO, HIDE, HIDE, NO}, {&reader, OK, OK, OK, NO, HIDE, HIDE, NO},
        {&admin, OK, OK, OK, OK, HIDE, HIDE, NO},     {&platform, OK, OK, OK, OK, OK, OK, OK},
        {&local, OK, OK, OK, OK, OK, OK, OK},
    };
    struct base_span own = BASE_SPAN("acme"), other = BASE_SPAN("globex");

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(table); i++) {
        const struct policy_principal *p = table[i].principal;

        assert_int_equal(policy_admin_may(p, POLICY_NEED_NOTHING, other), table[i].nothing);
        assert_int_equal(policy_admin_may(p, POLICY_NEED_ANY, (struct base_span){0}), table[i].any);
        assert_int_equal(policy_admin_may(p, POLICY_NEED_READ, own), table[i].own_read);
        assert_int_equal(policy_admin_may(p, POLICY_NEED_WRITE, own), table[i].own_write);
        assert_int_equal(policy_admin_may(p, POLICY_NEED_READ, other), table[i].other_read);
        assert_int_equal(policy_admin_may(p, POLICY_NEED_WRITE, other), table[i].other_write);
        assert_int_equal(policy_admin_may(p, POLICY_NEED_PLATFORM, own), table[i].platform);
        assert_int_equal(policy_admin_may(p, POLICY_NEED_PLATFORM, other), table[i].platform);
    }
}

static void tenants_are_compared_whole(void **state)
{
    static const char *const others[] = {"", "acm", "acmee", "Acme", "acme ", "acme\n"};
    struct policy_principal admin = principal_of("cardea.admin");

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(others); i++)
        assert_int_equal(policy_admin_may(&admin, POLICY_NEED_READ, base_span_str(others[i])),
                         POLICY_ADMIN_HIDDEN);
    assert_int_equal(policy_admin_may(&admin, POLICY_NEED_READ, base_span_of("acme\0", 5)),
                     POLICY_ADMIN_HIDDEN);
}

static void nobody_may_only_what_is_public(void **state)
{
    (void)state;
    assert_int_equal(policy_admin_may(NULL, POLICY_NEED_NOTHING, BASE_SPAN("acme")),
                     POLICY_ADMIN_OK);
    for (int need = POLICY_NEED_ANY; need <= POLICY_NEED_PLATFORM; need++)
        assert_int_equal(policy_admin_may(NULL, (enum policy_admin_need)need, BASE_SPAN("acme")),
                         POLICY_ADMIN_UNAUTHENTICATED);
}

static void grants_do_not_escalate(void **state)
{
    static const struct policy_principal local = {.is_local = true};
    struct policy_principal admin = principal_of("cardea.admin");
    struct policy_principal platform = principal_of("cardea.platform");
    const struct {
        const struct policy_principal *principal;
        size_t n_scopes;
        struct base_span scopes[3];
        bool may;
    } cases[] = {
        {&admin, 2, {BASE_SPAN("data:read"), BASE_SPAN("data:write")}, true},
        {&admin, 2, {BASE_SPAN("cardea.admin"), BASE_SPAN("cardea.read")}, true},
        {&admin, 0, {{NULL, 0}}, true}, /* that a key needs a scope is another rule */
        {&admin, 1, {BASE_SPAN("cardea.platform")}, false},
        {&admin, 2, {BASE_SPAN("cardea.admin"), BASE_SPAN("cardea.platform")}, false},
        {&admin, 3, {BASE_SPAN("a"), BASE_SPAN("cardea.read"), BASE_SPAN("b")}, false},
        {&admin, 2, {BASE_SPAN("cardea.platform"), BASE_SPAN("a")}, false},
        {&platform, 1, {BASE_SPAN("cardea.platform")}, true},
        {&platform, 2, {BASE_SPAN("cardea.platform"), BASE_SPAN("cardea.read")}, true},
        {&platform, 2, {BASE_SPAN("cardea.platform"), BASE_SPAN("a")}, false},
        {&local, 1, {BASE_SPAN("cardea.platform")}, true},
        {&local, 2, {BASE_SPAN("a"), BASE_SPAN("cardea.read")}, false},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        const char *why = "before";

        assert_int_equal(
            policy_admin_may_grant(cases[i].principal, cases[i].scopes, cases[i].n_scopes, &why),
            cases[i].may);
        assert_int_equal(why == NULL, cases[i].may);
    }
}

static void platform_keys_are_for_platform(void **state)
{
    static const struct policy_principal local = {.is_local = true};
    struct policy_principal admin = principal_of("cardea.admin");
    struct policy_principal platform = principal_of("cardea.platform");
    struct store_key strong = good_key("cardea.admin cardea.platform");
    struct store_key ordinary = good_key("cardea.admin cardea.platformx");

    (void)state;
    assert_false(policy_admin_may_change(&admin, &strong));
    assert_true(policy_admin_may_change(&admin, &ordinary));
    assert_true(policy_admin_may_change(&platform, &strong));
    assert_true(policy_admin_may_change(&local, &strong));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_follow_from_scopes),
        cmocka_unit_test(every_member_is_needed),
        cmocka_unit_test(other_values_make_no_management_token),
        cmocka_unit_test(an_id_that_is_none_is_refused),
        cmocka_unit_test(times_are_exact),
        cmocka_unit_test(a_dead_key_ends_its_tokens),
        cmocka_unit_test(rights_are_cut_and_never_grown),
        cmocka_unit_test(who_may_what),
        cmocka_unit_test(tenants_are_compared_whole),
        cmocka_unit_test(nobody_may_only_what_is_public),
        cmocka_unit_test(grants_do_not_escalate),
        cmocka_unit_test(platform_keys_are_for_platform),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
