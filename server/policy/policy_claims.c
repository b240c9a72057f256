/* SPDX-License-Identifier: Apache-2.0 */
/* Claims are written straight as text: a tree of jansson values would cost more than the
 * signature's hash, and names that pass through the escaping half as much as what they name. The
 * key's own claims were checked when they were set, and are copied as they are stored. */
#include "policy_claims.h"

#include "base_attr.h"
#include "base_clock.h"
#include "base_encode.h"
#include "base_json.h"
#include "base_secret.h"
#include "policy_scope.h"
#include "policy_uri.h"

#define JTI_BYTES    16 /* 128 bits: none comes twice, none can be guessed */
#define MAX_AUDIENCE 255
#define MAX_DEPTH    8

/* RFC 7519 §4.1, and what RFC 9068 and we put in. */
static const char *const reserved_names[] = {
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "tenant",
};

/* Downwards, before 1970 too: a token may seem older than it is, never younger. */
static int64_t whole_seconds(int64_t us)
{
    return us / BASE_US_PER_S - (us % BASE_US_PER_S < 0);
}

static int64_t end_of_life(const struct policy_claims_input *input, int64_t iat)
{
    const struct store_key_fields *fields = &input->key->fields;
    int64_t ttl = fields->token_ttl_s > 0 ? fields->token_ttl_s : whole_seconds(input->ttl_us);
    int64_t key_end = whole_seconds(fields->expires_us);

    return key_end < iat + ttl ? key_end : iat + ttl;
}

/* RFC 7519 §4.1.3: a single audience is a plain string. */
static void put_audience(struct base_buf *out, const struct base_span *names, size_t n_names)
{
    if (n_names == 1) {
        base_json_put_string(out, names[0]);
        return;
    }
    for (size_t i = 0; i < n_names; i++) {
        base_buf_put_char(out, i ? ',' : '[');
        base_json_put_string(out, names[i]);
    }
    base_buf_put_char(out, ']');
}

static void put_jti(struct base_buf *out)
{
    uint8_t bytes[JTI_BYTES];

    base_random(bytes, sizeof bytes);
    base_buf_put_char(out, '"');
    base_encode_base64url(out, bytes, sizeof bytes);
    base_buf_put_char(out, '"');
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct base_span trim(struct base_span text)
{
    while (text.len && is_blank(text.ptr[text.len - 1]))
        text.len--;
    while (text.len && is_blank(text.ptr[0]))
        text = base_span_of(text.ptr + 1, text.len - 1);
    return text;
}

/* What is between the braces of the stored object. PostgreSQL keeps a json value's text as it was
 * given, so one that an operator changed by hand may have blanks. */
static bool put_own(struct base_buf *out, struct base_span claims)
{
    claims = trim(claims);
    if (claims.len == 0)
        return true;
    if (claims.len < 2 || claims.ptr[0] != '{' || claims.ptr[claims.len - 1] != '}')
        return false;
    claims = trim(base_span_of(claims.ptr + 1, claims.len - 2));
    if (claims.len)
        base_buf_put_char(out, ',');
    base_buf_put_span(out, claims);
    return true;
}

enum base_err policy_claims_write(const struct policy_claims_input *input, struct base_buf *out,
                                  int64_t *expires_in_s)
{
    const struct store_key *key = input->key;
    int64_t iat = whole_seconds(input->now_us);
    int64_t exp = end_of_life(input, iat);

    *expires_in_s = 0;
    if (exp <= iat)
        return BASE_INVALID;
    BASE_BUF_LIT(out, "{\"iss\":");
    base_json_put_string(out, input->issuer);
    BASE_BUF_LIT(out, ",\"sub\":");
    base_json_put_string(out, key->key_id);
    BASE_BUF_LIT(out, ",\"client_id\":");
    base_json_put_string(out, key->key_id);
    BASE_BUF_LIT(out, ",\"aud\":");
    put_audience(out, input->audience, input->n_audience);
    BASE_BUF_LIT(out, ",\"iat\":");
    base_buf_put_i64(out, iat);
    BASE_BUF_LIT(out, ",\"exp\":");
    base_buf_put_i64(out, exp);
    BASE_BUF_LIT(out, ",\"jti\":");
    put_jti(out);
    BASE_BUF_LIT(out, ",\"scope\":");
    base_json_put_string(out, input->scope);
    BASE_BUF_LIT(out, ",\"tenant\":");
    base_json_put_string(out, key->tenant);
    if (!put_own(out, key->fields.claims))
        return BASE_INTERNAL;
    base_buf_put_char(out, '}');
    if (out->overflow)
        return BASE_TOO_LARGE;
    *expires_in_s = exp - iat;
    return BASE_OK;
}

static struct base_span without_slash(struct base_span url)
{
    if (url.len && url.ptr[url.len - 1] == '/')
        url.len--;
    return url;
}

/* Some gateways drop the slash before they compare. */
bool policy_claims_is_issuer(struct base_span name, struct base_span issuer)
{
    return base_span_eq(without_slash(name), without_slash(issuer));
}

static bool is_among(struct base_span name, const struct base_span *names, size_t n_names)
{
    for (size_t i = 0; i < n_names; i++)
        if (base_span_eq(names[i], name))
            return true;
    return false;
}

/* Names that a key was given before CARDEA_ISSUER became one of them are left out: a token for the
 * issuer opens the management API. */
static void add_all_but_issuer(struct policy_audience *to, const struct base_span *names,
                               size_t n_names, struct base_span issuer)
{
    for (size_t i = 0; i < n_names; i++)
        if (!policy_claims_is_issuer(names[i], issuer))
            to->names[to->count++] = names[i];
}

/* All that the key may have. Kinds never mix, so its first scope tells which it is. */
static struct policy_audience allowed_audience(const struct store_key *key, struct base_span issuer,
                                               struct base_span default_audience)
{
    const struct store_key_fields *fields = &key->fields;
    struct policy_audience allowed = {0};

    if (policy_scope_is_management(key->scope))
        allowed.names[allowed.count++] = issuer;
    else if (fields->n_audience)
        add_all_but_issuer(&allowed, fields->audience, fields->n_audience, issuer);
    else
        add_all_but_issuer(&allowed, &default_audience, 1, issuer);
    return allowed;
}

bool policy_claims_audience(const struct store_key *key, struct base_span issuer,
                            struct base_span default_audience, const struct base_span *asked,
                            size_t n_asked, struct policy_audience *out)
{
    struct policy_audience allowed = allowed_audience(key, issuer, default_audience);

    out->count = 0;
    for (size_t i = 0; i < n_asked; i++)
        if (!is_among(asked[i], allowed.names, allowed.count))
            return false;
    for (size_t i = 0; i < allowed.count; i++)
        if (n_asked == 0 || is_among(allowed.names[i], asked, n_asked))
            out->names[out->count++] = allowed.names[i];
    return out->count > 0;
}

bool policy_claims_resource_valid(struct base_span resource)
{
    return policy_uri_is_absolute(resource);
}

bool policy_claims_audience_valid(struct base_span audience, struct base_span issuer)
{
    if (audience.len == 0 || audience.len > MAX_AUDIENCE)
        return false;
    for (size_t i = 0; i < audience.len; i++)
        if (audience.ptr[i] <= ' ' || audience.ptr[i] > '~')
            return false;
    return !policy_claims_is_issuer(audience, issuer);
}

static bool nests_deeper(const json_t *value, unsigned max_depth);

static bool object_nests_deeper(const json_t *value, unsigned max_depth)
{
    json_t *object = (json_t *)(uintptr_t)value; /* iterators take no const, but change nothing */

    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at))
        if (nests_deeper(json_object_iter_value(at), max_depth))
            return true;
    return false;
}

static bool nests_deeper(const json_t *value, unsigned max_depth)
{
    json_type type = json_typeof(value);

    if (type != JSON_OBJECT && type != JSON_ARRAY)
        return false;
    if (max_depth == 0)
        return true;
    if (type == JSON_OBJECT)
        return object_nests_deeper(value, max_depth - 1);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (nests_deeper(json_array_get(value, i), max_depth - 1))
            return true;
    return false;
}

/* As it will be stored and written into tokens, escapes included. */
static bool is_small(const json_t *claims)
{
    char memory[POLICY_CLAIMS_MAX_CUSTOM + 1];
    struct base_buf text;

    base_buf_init_fixed(&text, memory, sizeof memory);
    return base_json_put_value(&text, claims) == BASE_OK;
}

static const char *reserved_name(const json_t *claims)
{
    for (size_t i = 0; i < BASE_COUNT(reserved_names); i++)
        if (json_object_get(claims, reserved_names[i]))
            return reserved_names[i];
    return NULL;
}

bool policy_claims_custom_valid(const json_t *claims, struct base_buf *why)
{
    const char *name = reserved_name(claims);

    if (!json_is_object(claims))
        base_buf_put_str(why, "must be an object");
    else if (name)
        base_buf_putf(why, "may not hold \"%s\", which is set by the server", name);
    else if (nests_deeper(claims, MAX_DEPTH))
        base_buf_putf(why, "must not nest deeper than %d levels", MAX_DEPTH);
    else if (!is_small(claims))
        base_buf_putf(why, "must have at most %d bytes as JSON text", POLICY_CLAIMS_MAX_CUSTOM);
    else
        return true;
    return false;
}
