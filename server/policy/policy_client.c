/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict on a key, its secrets' form, and the rules of assertions. What would be an early
 * return elsewhere is a bit here: all checks are made, then the first that failed is looked up. */
#include "policy_client.h"

#include "base_attr.h"
#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"
#include "base_net.h"

#define ID_PREFIX     "key_"
#define ID_BYTES      15 /* 120 bits: 24 characters of base32 */
#define SECRET_PREFIX "cardea_"
#define SECRET_BYTES  32
#define SECRET_DIGITS 43 /* 62^43 > 2^256 */
#define CRC_DIGITS    6  /* 62^6 > 2^32 */
#define MAX_JTI       256
#define TOLERANCE_US  (10 * BASE_US_PER_S)
#define MAX_AHEAD_US  BASE_US_PER_H
#define LAST_SECOND   253402300799.0 /* of the year 9999: times fit microseconds in int64_t */

const char *policy_client_reason(enum policy_client_verdict verdict)
{
    static const char *const reasons[] = {
        [POLICY_CLIENT_OK] = "ok",
        [POLICY_CLIENT_OK_PREVIOUS] = "ok_previous_secret",
        [POLICY_CLIENT_UNKNOWN] = "unknown_key",
        [POLICY_CLIENT_WRONG_SECRET] = "wrong_secret",
        [POLICY_CLIENT_WRONG_METHOD] = "wrong_method",
        [POLICY_CLIENT_DISABLED] = "key_disabled",
        [POLICY_CLIENT_TENANT_DISABLED] = "tenant_disabled",
        [POLICY_CLIENT_EXPIRED] = "key_expired",
        [POLICY_CLIENT_ADDRESS] = "address_not_allowed",
        [POLICY_CLIENT_MASTER_KEY] = "master_key_not_loaded",
    };

    return reasons[verdict];
}

enum { CURRENT, PREVIOUS, N_SLOTS };

/* Its arguments are both evaluated first; && would stop at the first that is false. */
static bool both(bool a, bool b)
{
    return (unsigned)a & (unsigned)b;
}

/* What the stored secrets say of the one that was sent. */
struct comparison {
    bool fits[N_SLOTS];
    bool unread; /* one that counts is under a master key that is not loaded */
};

/* Which of the stored secrets fit. How many MACs are made depends on the number of loaded master
 * keys alone, never on the row: two rows that differ in having a previous secret, or none at all,
 * take the same time. With one master key a single MAC serves both slots, since what is stored
 * under another cannot be checked anyway. */
static struct comparison compare_secrets(const struct policy_client_input *input,
                                         const struct base_seal *seal)
{
    const struct store_secret *stored[] = {&input->key->secret, &input->key->previous};
    const bool counts[] = {true, input->now_us < input->key->previous_expires_us};
    const struct base_span parts[] = {input->key->key_id, input->secret};
    bool several = base_seal_count(seal) > 1;
    struct comparison comparison = {0};
    uint8_t mac[BASE_SHA256_LEN];

    for (int slot = CURRENT; slot < N_SLOTS; slot++) {
        bool loaded = base_seal_has(seal, &stored[slot]->seal_id);
        bool stands = both(stored[slot]->present, counts[slot]);

        if (slot == CURRENT || several)
            (void)base_seal_mac(seal, several ? &stored[slot]->seal_id : NULL, parts,
                                BASE_COUNT(parts), mac);
        comparison.fits[slot] =
            both(both(stands, loaded), base_equal_ct(mac, stored[slot]->mac, sizeof mac));
        comparison.unread |= both(stands, !loaded);
    }
    return comparison;
}

static bool is_old(const struct base_seal *seal, const struct store_secret *stored)
{
    return memcmp(&stored->seal_id, base_seal_id_at(seal, 0), sizeof stored->seal_id) != 0;
}

/* One that cannot be read matches nobody: the API lets none in. */
bool policy_client_address_allowed(const struct store_key *key, int family, const uint8_t *address)
{
    const struct store_key_fields *fields = &key->fields;
    bool allowed = fields->n_cidrs == 0;

    for (size_t i = 0; i < fields->n_cidrs; i++) {
        struct base_cidr cidr;

        allowed |= base_cidr_parse(fields->cidrs[i], &cidr) == BASE_OK &&
                   base_cidr_contains(&cidr, family, address);
    }
    return allowed;
}

/* The reason that a person needs first: a wrong secret for a disabled key is a wrong secret. Last
 * comes what is no verdict: where any other is certain without the secret, that is the answer. */
static const enum policy_client_verdict precedence[] = {
    POLICY_CLIENT_UNKNOWN,  POLICY_CLIENT_WRONG_METHOD,    POLICY_CLIENT_WRONG_SECRET,
    POLICY_CLIENT_DISABLED, POLICY_CLIENT_TENANT_DISABLED, POLICY_CLIENT_EXPIRED,
    POLICY_CLIENT_ADDRESS,  POLICY_CLIENT_MASTER_KEY,
};

enum policy_client_verdict policy_client_judge(const struct policy_client_input *input,
                                               const struct base_seal *seal, bool *old_seal)
{
    const struct store_key *key = input->key;
    enum policy_client_verdict verdict = POLICY_CLIENT_OK;
    struct comparison stored = {0};
    bool fits, unread;

    /* What is sent decides whether MACs are made, not what the row holds. */
    if (input->has_secret) {
        stored = compare_secrets(input, seal);
        verdict = stored.fits[CURRENT] ? POLICY_CLIENT_OK : POLICY_CLIENT_OK_PREVIOUS;
    }
    fits = stored.fits[CURRENT] || stored.fits[PREVIOUS];
    unread = stored.unread && !fits;
    const bool failed[] = {
        [POLICY_CLIENT_UNKNOWN] = !input->found,
        [POLICY_CLIENT_WRONG_METHOD] = input->has_secret == (key->fields.jwks.len > 0),
        [POLICY_CLIENT_WRONG_SECRET] = input->has_secret && !fits && !unread,
        [POLICY_CLIENT_DISABLED] = !key->fields.enabled,
        [POLICY_CLIENT_TENANT_DISABLED] = !key->tenant_enabled,
        [POLICY_CLIENT_EXPIRED] = input->now_us >= key->fields.expires_us,
        [POLICY_CLIENT_ADDRESS] =
            !policy_client_address_allowed(key, input->family, input->address),
        [POLICY_CLIENT_MASTER_KEY] = unread,
    };
    for (size_t i = BASE_COUNT(precedence); i-- > 0;)
        verdict = failed[precedence[i]] ? precedence[i] : verdict;
    *old_seal = stored.fits[CURRENT]    ? is_old(seal, &key->secret)
                : stored.fits[PREVIOUS] ? is_old(seal, &key->previous)
                                        : false;
    return verdict;
}

bool policy_client_id_valid(struct base_span key_id)
{
    if (key_id.len != POLICY_KEY_ID_LEN || !base_span_starts(key_id, BASE_SPAN(ID_PREFIX)))
        return false;
    for (size_t i = sizeof ID_PREFIX - 1; i < key_id.len; i++)
        if ((key_id.ptr[i] < 'a' || key_id.ptr[i] > 'z') &&
            (key_id.ptr[i] < '2' || key_id.ptr[i] > '7'))
            return false;
    return true;
}

void policy_client_new_id(char out[POLICY_KEY_ID_LEN + 1])
{
    uint8_t bytes[ID_BYTES];
    struct base_buf text;

    base_random(bytes, sizeof bytes);
    base_buf_init_fixed(&text, out, POLICY_KEY_ID_LEN + 1);
    BASE_BUF_LIT(&text, ID_PREFIX);
    base_encode_base32(&text, bytes, sizeof bytes);
    base_buf_cstr(&text);
}

static void put_checksum(struct base_buf *text)
{
    uint32_t crc = base_crc32(text->ptr, text->len);
    uint8_t big_endian[4];

    for (int i = 3; i >= 0; i--, crc >>= 8)
        big_endian[i] = (uint8_t)crc;
    base_encode_base62(text, big_endian, sizeof big_endian, CRC_DIGITS);
}

void policy_client_new_secret(char out[POLICY_SECRET_LEN + 1])
{
    uint8_t bytes[SECRET_BYTES];
    struct base_buf text;

    base_random(bytes, sizeof bytes);
    base_buf_init_fixed(&text, out, POLICY_SECRET_LEN + 1);
    BASE_BUF_LIT(&text, SECRET_PREFIX);
    base_encode_base62(&text, bytes, sizeof bytes, SECRET_DIGITS);
    put_checksum(&text);
    base_buf_cstr(&text);
    base_wipe(bytes, sizeof bytes);
}

static bool is_base62(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool policy_client_secret_wellformed(struct base_span secret)
{
    char memory[POLICY_SECRET_LEN + 1];
    struct base_buf expected;
    bool fits;

    if (secret.len != POLICY_SECRET_LEN || !base_span_starts(secret, BASE_SPAN(SECRET_PREFIX)))
        return false;
    for (size_t i = sizeof SECRET_PREFIX - 1; i < secret.len; i++)
        if (!is_base62(secret.ptr[i]))
            return false;
    base_buf_init_fixed(&expected, memory, sizeof memory);
    base_buf_put(&expected, secret.ptr, POLICY_SECRET_LEN - CRC_DIGITS);
    put_checksum(&expected);
    fits = base_equal_ct(memory, secret.ptr, POLICY_SECRET_LEN);
    base_wipe(memory, sizeof memory);
    return fits;
}

void policy_client_mac(const struct base_seal *seal, const struct base_seal_id *id,
                       struct base_span key_id, struct base_span secret, struct store_secret *out)
{
    const struct base_span parts[] = {key_id, secret};

    *out = (struct store_secret){.seal_id = id ? *id : *base_seal_id_at(seal, 0)};
    out->present = base_seal_mac(seal, id, parts, BASE_COUNT(parts), out->mac);
}

static struct base_span string_of(const json_t *value)
{
    return base_span_of(json_string_value(value), json_string_length(value));
}

/* NumericDate (RFC 7519 §2) may have a fraction. */
static bool read_date(const json_t *value, int64_t *out_us)
{
    double seconds = json_number_value(value);

    *out_us = 0;
    if (!json_is_number(value) || seconds < 0 || seconds > LAST_SECOND)
        return false;
    *out_us = (int64_t)(seconds * (double)BASE_US_PER_S);
    return true;
}

static const char *check_exp(const struct policy_assertion_input *input, int64_t *out_expires_us)
{
    if (!read_date(json_object_get(input->claims, "exp"), out_expires_us))
        return "assertion_exp";
    if (*out_expires_us <= input->now_us)
        return "assertion_expired";
    if (*out_expires_us > input->now_us + MAX_AHEAD_US + TOLERANCE_US)
        return "assertion_exp_too_far";
    return NULL;
}

/* iat and nbf: optional, and not in the future. */
static bool has_begun(const struct policy_assertion_input *input, const char *name)
{
    const json_t *value = json_object_get(input->claims, name);
    int64_t at_us;

    return !value || (read_date(value, &at_us) && at_us <= input->now_us + TOLERANCE_US);
}

static bool is_us(const struct policy_assertion_input *input, const json_t *audience)
{
    return base_span_eq(string_of(audience), input->issuer) ||
           base_span_eq(string_of(audience), input->token_endpoint);
}

static bool is_for_us(const struct policy_assertion_input *input)
{
    const json_t *audience = json_object_get(input->claims, "aud");
    bool found = false;

    if (json_is_string(audience))
        return is_us(input, audience);
    for (size_t i = 0; i < json_array_size(audience); i++) {
        if (!json_string_value(json_array_get(audience, i)))
            return false;
        found |= is_us(input, json_array_get(audience, i));
    }
    return found;
}

const char *policy_client_assertion(const struct policy_assertion_input *input,
                                    struct base_span *out_jti, int64_t *out_expires_us)
{
    struct base_span jti = string_of(json_object_get(input->claims, "jti"));
    int64_t expires_us;
    const char *reason = check_exp(input, &expires_us);

    *out_jti = (struct base_span){0};
    *out_expires_us = 0;
    if (reason)
        return reason;
    if (!has_begun(input, "iat"))
        return "assertion_iat";
    if (!has_begun(input, "nbf"))
        return "assertion_nbf";
    if (!is_for_us(input))
        return "assertion_aud";
    if (jti.len == 0 || jti.len > MAX_JTI)
        return "assertion_jti";
    *out_jti = jti;
    *out_expires_us = expires_us;
    return NULL;
}
