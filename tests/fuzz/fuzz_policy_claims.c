/* SPDX-License-Identifier: Apache-2.0 */
/* A key's own claims, as an admin sends them: what is accepted is written into a token, and the
 * token must still say each registered claim once, and what we say. */
#include "base_clock.h"
#include "base_json.h"
#include "policy_claims.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEY_ID   "key_abcdefghijklmnopqrstuvwx"
#define N_OURS   9
#define MAX_TEXT 16384

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void must_say(const json_t *claims, const char *name, const char *text)
{
    const char *said = json_string_value(json_object_get(claims, name));

    must(said && strcmp(said, text) == 0);
}

static void write_token(struct base_span own, struct base_buf *out)
{
    struct base_span audience = BASE_SPAN_INIT("urn:api");
    struct store_key key = {.key_id = BASE_SPAN(KEY_ID),
                            .tenant = BASE_SPAN("acme"),
                            .fields = {.expires_us = INT64_MAX, .claims = own}};
    struct policy_claims_input input = {.issuer = BASE_SPAN("https://as.example"),
                                        .key = &key,
                                        .scope = BASE_SPAN("a b"),
                                        .audience = &audience,
                                        .n_audience = 1,
                                        .now_us = 1800000000 * BASE_US_PER_S,
                                        .ttl_us = BASE_US_PER_MIN};
    int64_t expires_in_s;

    must(policy_claims_write(&input, out, &expires_in_s) == BASE_OK);
    must(expires_in_s == 60);
}

/* Every own claim is in the token, and equal. */
static void must_hold_own(const json_t *claims, const json_t *token)
{
    json_t *object = (json_t *)(uintptr_t)claims;

    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at))
        must(json_equal(json_object_iter_value(at),
                        json_object_get(token, json_object_iter_key(at))));
}

static void check(const json_t *claims)
{
    BASE_AUTO(base_buf_clear) struct base_buf own, text;
    json_auto_t *token = NULL;
    const char *why;

    base_buf_init(&own, POLICY_CLAIMS_MAX_CUSTOM);
    base_buf_init(&text, MAX_TEXT);
    must(base_json_put_value(&own, claims) == BASE_OK);
    write_token(base_buf_span(&own), &text);
    /* The strictest reader: no name twice, nothing behind the end. */
    must(base_json_parse(base_buf_span(&text), MAX_TEXT, 10, &token, &why) == BASE_OK);
    must(json_object_size(token) == json_object_size(claims) + N_OURS);
    must_say(token, "iss", "https://as.example");
    must_say(token, "sub", KEY_ID);
    must_say(token, "client_id", KEY_ID);
    must_say(token, "aud", "urn:api");
    must_say(token, "scope", "a b");
    must_say(token, "tenant", "acme");
    must(json_integer_value(json_object_get(token, "iat")) == 1800000000);
    must(json_integer_value(json_object_get(token, "exp")) == 1800000060);
    must(json_string_length(json_object_get(token, "jti")) == 22);
    must(!json_object_get(token, "nbf"));
    must_hold_own(claims, token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    BASE_AUTO(base_buf_clear) struct base_buf why_not;
    json_auto_t *claims = NULL;
    const char *why;

    base_buf_init(&why_not, 1024);
    if (base_json_parse(base_span_of((const char *)data, size), MAX_TEXT, 16, &claims, &why) !=
        BASE_OK)
        return 0;
    if (policy_claims_custom_valid(claims, &why_not))
        check(claims);
    else
        must(why_not.len > 0);
    return 0;
}
