/* SPDX-License-Identifier: Apache-2.0 */
#include "api_key_json.h"

#include "base_clock.h"
#include "base_net.h"
#include "jose_assertion.h"
#include "policy_claims.h"
#include "policy_scope.h"

#define MAX_NAME        200
#define MAX_DESCRIPTION 1000
#define MAX_KEYS        5
#define MAX_JWKS        (16u << 10) /* bytes of a JWK Set as compact text */
#define MIN_TTL_S       10
#define MAX_TTL_S       86400

/* --- out --- */

static void put_list_or_null(struct base_buf *out, const char *name, const struct base_span *items,
                             size_t n)
{
    base_json_put_name(out, name);
    if (n == 0) {
        BASE_BUF_LIT(out, "null");
        return;
    }
    base_buf_put_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            base_buf_put_char(out, ',');
        base_json_put_string(out, items[i]);
    }
    base_buf_put_char(out, ']');
}

/* JSON text that was checked when it was stored. */
static void put_text_as_json(struct base_buf *out, const char *name, struct base_span json)
{
    base_json_put_name(out, name);
    base_buf_put_span(out, json);
}

static const char *status_of(const struct store_key *key, int64_t now_us)
{
    if (!key->fields.enabled)
        return "disabled";
    return key->fields.expires_us <= now_us ? "expired" : "active";
}

static void put_decided(struct base_buf *out, const struct store_key_fields *fields)
{
    base_json_put_member_string(out, "name", fields->name);
    api_json_put_text_or_null(out, "description", fields->description);
    put_list_or_null(out, "scopes", fields->scopes, fields->n_scopes);
    base_json_put_member_bool(out, "enabled", fields->enabled);
}

static void put_optional(struct base_buf *out, const struct store_key_fields *fields)
{
    if (fields->token_ttl_s > 0)
        base_json_put_member_int(out, "token_ttl", fields->token_ttl_s);
    else
        base_json_put_member_null(out, "token_ttl");
    put_list_or_null(out, "audience", fields->audience, fields->n_audience);
    put_list_or_null(out, "allowed_cidrs", fields->cidrs, fields->n_cidrs);
    put_text_as_json(out, "claims", fields->claims.len ? fields->claims : BASE_SPAN("{}"));
}

void api_key_put(struct base_buf *out, const struct store_key *key, const char *secret,
                 int64_t now_us)
{
    const struct store_key_fields *fields = &key->fields;
    bool overlap = key->previous.present && key->previous_expires_us > now_us;

    base_buf_put_char(out, '{');
    base_json_put_member_string(out, "key_id", key->key_id);
    if (secret)
        base_json_put_member_string(out, "secret", base_span_str(secret));
    base_json_put_member_string(out, "tenant", key->tenant);
    put_decided(out, fields);
    base_json_put_member_string(out, "status", base_span_str(status_of(key, now_us)));
    base_json_put_member_time(out, "expires_at", fields->expires_us);
    base_json_put_member_time(out, "created_at", key->created_us);
    api_json_put_text_or_null(out, "created_by", key->created_by);
    base_json_put_member_time(out, "updated_at", key->updated_us);
    api_json_put_time_or_null(out, "last_used_at", key->last_used_us);
    put_optional(out, fields);
    base_json_put_member_string(out, "auth_method",
                                fields->jwks.len ? BASE_SPAN("private_key_jwt")
                                                 : BASE_SPAN("client_secret"));
    if (fields->jwks.len)
        put_text_as_json(out, "jwks", fields->jwks);
    api_json_put_time_or_null(out, "previous_secret_expires_at",
                              overlap ? key->previous_expires_us : 0);
    base_buf_put_char(out, '}');
}

/* A null member is as good as an absent one (RFC 7396), and absent ones make the difference to a
 * change small. */
static void drop_nulls(json_t *object)
{
    const char *name;
    json_t *value;
    void *next;

    json_object_foreach_safe (object, next, name, value) {
        if (json_is_null(value))
            json_object_del(object, name);
    }
}

const char *const api_key_decided[] = {"name",       "description", "scopes",   "enabled",
                                       "expires_at", "token_ttl",   "audience", "allowed_cidrs",
                                       "claims",     "jwks",        NULL};

json_t *api_key_editable(const struct store_key_fields *fields)
{
    struct base_buf text;
    json_t *object;

    base_buf_init(&text, 256u << 10);
    base_buf_put_char(&text, '{');
    put_decided(&text, fields);
    base_json_put_member_time(&text, "expires_at", fields->expires_us);
    put_optional(&text, fields);
    if (fields->jwks.len)
        put_text_as_json(&text, "jwks", fields->jwks);
    base_buf_put_char(&text, '}');
    object = json_loadb(text.ptr, text.len, 0, NULL);
    base_buf_clear(&text);
    drop_nulls(object);
    return object;
}

/* --- in --- */

static void required(struct api_call *call, enum base_json_got got, const char *field)
{
    if (got == BASE_JSON_ABSENT || got == BASE_JSON_NULL)
        base_json_error_add(&call->errors, field, "is required");
}

/* One member of a new key or, if `creating` is false, of a patch. */
typedef void read_member(struct api_call *call, struct base_json_reader *reader, bool creating,
                         struct store_key_fields *out);

static void read_name(struct api_call *call, struct base_json_reader *reader,
                      bool creating BASE_UNUSED, struct store_key_fields *out)
{
    enum base_json_got got = base_json_get_string(reader, "name", 1, MAX_NAME, &out->name);

    required(call, got, "name");
    if (got == BASE_JSON_VALUE)
        api_json_check_text(&call->errors, "name", out->name);
}

static void read_description(struct api_call *call, struct base_json_reader *reader,
                             bool creating BASE_UNUSED, struct store_key_fields *out)
{
    if (base_json_get_string(reader, "description", 0, MAX_DESCRIPTION, &out->description) ==
        BASE_JSON_VALUE)
        api_json_check_text(&call->errors, "description", out->description);
}

/* The strings of an array, each judged by `valid` (whose clause on failure is `must`). An empty
 * array is refused: for one reader it is "none", for the next "any". */
struct list_rule {
    const char *field;
    size_t max;
    bool (*valid)(struct api_call *call, struct base_span item);
    const char *must;
    const char *empty;
};

static bool is_listed(const struct base_span *items, size_t n, struct base_span item)
{
    for (size_t i = 0; i < n; i++) {
        if (base_span_eq(items[i], item))
            return true;
    }
    return false;
}

static enum base_json_got read_list(struct api_call *call, struct base_json_reader *reader,
                                    const struct list_rule *rule, struct base_span *out, size_t *n)
{
    json_t *array, *item;
    enum base_json_got got = base_json_get_array(reader, rule->field, rule->max, &array);
    size_t i;

    *n = 0;
    if (got != BASE_JSON_VALUE)
        return got;
    if (json_array_size(array) == 0)
        base_json_error_add(&call->errors, rule->field, "%s", rule->empty);
    json_array_foreach (array, i, item) {
        struct base_span text = base_span_of(json_string_value(item), json_string_length(item));
        char field[64];

        if (json_is_string(item) && rule->valid(call, text)) {
            if (!is_listed(out, *n, text))
                out[(*n)++] = text;
            continue;
        }
        snprintf(field, sizeof field, "%s[%zu]", rule->field, i);
        base_json_error_add(&call->errors, field, "%s", rule->must);
    }
    return got;
}

static bool scope_valid(struct api_call *call BASE_UNUSED, struct base_span item)
{
    return policy_scope_name_valid(item);
}

static bool audience_valid(struct api_call *call, struct base_span item)
{
    return policy_claims_audience_valid(item, call->worker->shared->config.issuer);
}

static bool cidr_valid(struct api_call *call BASE_UNUSED, struct base_span item)
{
    struct base_cidr ignored;

    return base_cidr_parse(item, &ignored) == BASE_OK;
}

static void read_scopes(struct api_call *call, struct base_json_reader *reader,
                        bool creating BASE_UNUSED, struct store_key_fields *out)
{
    static const struct list_rule rule = {"scopes", POLICY_MAX_SCOPES, scope_valid,
                                          "must be a scope's name", "must name at least one scope"};
    struct policy_scopes scopes = {0};
    enum base_json_got got = read_list(call, reader, &rule, scopes.names, &scopes.count);
    const char *why;

    required(call, got, "scopes");
    if (got != BASE_JSON_VALUE)
        return;
    policy_scope_sort(&scopes);
    out->n_scopes = scopes.count;
    memcpy(out->scopes, scopes.names, scopes.count * sizeof scopes.names[0]);
    if (!policy_admin_may_grant(&call->principal, out->scopes, out->n_scopes, &why))
        base_json_error_add(&call->errors, "scopes", "%s", why);
}

static void read_enabled(struct api_call *call, struct base_json_reader *reader, bool creating,
                         struct store_key_fields *out)
{
    enum base_json_got got = base_json_get_bool(reader, "enabled", &out->enabled);

    if (got == BASE_JSON_ABSENT && creating)
        out->enabled = true;
    else if (got == BASE_JSON_ABSENT || got == BASE_JSON_NULL)
        base_json_error_add(&call->errors, "enabled", "must be true or false");
}

static void read_expiry(struct api_call *call, struct base_json_reader *reader, bool creating,
                        struct store_key_fields *out)
{
    enum base_json_got got = base_json_get_time(reader, "expires_at", &out->expires_us);

    required(call, got, "expires_at");
    /* Whole seconds, as it will be shown: what is written back unchanged changes nothing. */
    out->expires_us -= ((out->expires_us % BASE_US_PER_S) + BASE_US_PER_S) % BASE_US_PER_S;
    if (creating && got == BASE_JSON_VALUE && out->expires_us <= base_clock_wall_us())
        base_json_error_add(&call->errors, "expires_at", "must be in the future");
}

static void read_token_ttl(struct api_call *call BASE_UNUSED, struct base_json_reader *reader,
                           bool creating BASE_UNUSED, struct store_key_fields *out)
{
    int64_t ttl_s = 0;

    (void)base_json_get_int(reader, "token_ttl", MIN_TTL_S, MAX_TTL_S, &ttl_s);
    out->token_ttl_s = (int32_t)ttl_s;
}

/* The issuer opens the management API, so it is no key's audience. The server knows its own; a
 * command may have been started without, and would let it pass. */
static void read_audience(struct api_call *call, struct base_json_reader *reader,
                          bool creating BASE_UNUSED, struct store_key_fields *out)
{
    static const struct list_rule rule = {
        "audience", STORE_KEY_MAX_AUDIENCE, audience_valid,
        "must be 1 to 255 visible characters, and not this server's issuer",
        "must not be empty: null stands for the server's default"};
    enum base_json_got got = read_list(call, reader, &rule, out->audience, &out->n_audience);

    if (got == BASE_JSON_VALUE && call->worker->shared->config.issuer.len == 0)
        base_json_error_add(&call->errors, "audience",
                            "needs CARDEA_ISSUER to be set, which it must not name");
}

static void read_cidrs(struct api_call *call, struct base_json_reader *reader,
                       bool creating BASE_UNUSED, struct store_key_fields *out)
{
    static const struct list_rule rule = {
        "allowed_cidrs", STORE_KEY_MAX_CIDRS, cidr_valid,
        "must be a network such as 192.0.2.0/24, without host bits",
        "must not be empty: null stands for any address"};

    read_list(call, reader, &rule, out->cidrs, &out->n_cidrs);
}

static void read_claims(struct api_call *call, struct base_json_reader *reader,
                        bool creating BASE_UNUSED, struct store_key_fields *out)
{
    json_t *claims;
    struct base_buf why;

    out->claims = BASE_SPAN("{}");
    if (base_json_get_object(reader, "claims", &claims) != BASE_JSON_VALUE)
        return;
    base_buf_init(&why, 160);
    base_buf_reset(&call->text);
    if (!policy_claims_custom_valid(claims, &why))
        base_json_error_add(&call->errors, "claims", "%s", base_buf_cstr(&why));
    else if (base_json_put_value(&call->text, claims) != BASE_OK)
        base_json_error_add(&call->errors, "claims", "cannot be written as JSON text");
    else
        out->claims = base_buf_span(&call->text);
    base_buf_clear(&why);
}

static void read_jwks(struct api_call *call, struct base_json_reader *reader,
                      bool creating BASE_UNUSED, struct store_key_fields *out)
{
    struct jose_key *keys[MAX_KEYS] = {NULL};
    size_t n_keys = 0;
    struct base_buf why;
    json_t *jwks;

    out->jwks = (struct base_span){0};
    if (base_json_get_object(reader, "jwks", &jwks) != BASE_JSON_VALUE)
        return;
    base_buf_init(&why, 160);
    base_buf_reset(&call->text2);
    if (jose_jwks_parse(jwks, keys, MAX_KEYS, &n_keys, &why) != BASE_OK)
        base_json_error_add(&call->errors, "jwks", "%s", base_buf_cstr(&why));
    else if (base_json_put_value(&call->text2, jwks) != BASE_OK || call->text2.len > MAX_JWKS)
        base_json_error_add(&call->errors, "jwks", "must have at most %u bytes as JSON text",
                            MAX_JWKS);
    else
        out->jwks = base_buf_span(&call->text2);
    for (size_t i = 0; i < n_keys; i++)
        jose_key_unref(&keys[i]);
    base_buf_clear(&why);
}

static const struct {
    const char *name;
    read_member *read;
} members[] = {
    {"name", read_name},         {"description", read_description}, {"scopes", read_scopes},
    {"enabled", read_enabled},   {"expires_at", read_expiry},       {"token_ttl", read_token_ttl},
    {"audience", read_audience}, {"allowed_cidrs", read_cidrs},     {"claims", read_claims},
    {"jwks", read_jwks},
};

/* Tokens of a management key are for this server alone: another audience would be shown, but never
 * be in one. What was stored before this was refused does not stand in the way of other changes. */
static void check_management(struct api_call *call, const struct store_key_fields *fields,
                             bool creating)
{
    bool is_asked = creating || json_object_get(call->body, "audience") ||
                    json_object_get(call->body, "scopes");

    if (is_asked && fields->n_audience > 0 && fields->n_scopes > 0 &&
        policy_scope_is_management(fields->scopes[0]))
        base_json_error_add(&call->errors, "audience",
                            "must be null: tokens of a management key are for this server only");
}

void api_key_read(struct api_call *call, struct base_json_reader *reader,
                  const struct store_key_fields *stored, struct store_key_fields *out)
{
    bool creating = stored == NULL;

    if (creating)
        memset(out, 0, sizeof *out);
    else
        *out = *stored;
    for (size_t i = 0; i < BASE_COUNT(members); i++) {
        if (creating || json_object_get(call->body, members[i].name))
            members[i].read(call, reader, creating, out);
    }
    check_management(call, out, creating);
}
