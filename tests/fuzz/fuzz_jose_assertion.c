/* SPDX-License-Identifier: Apache-2.0 */
/* What a client sends: an assertion; and what an admin registers: a JWK Set. An input that begins
 * with `{` is read as the set, anything else as an assertion, which is verified with fixed keys and
 * through libjwt. */
#include "base_json.h"
#include "jose_assertion.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_KEYS 4

/* Public halves; the private ones made the corpus and are gone. */
static const char jwks[] =
    "{\"keys\":["
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"hDgKN5P7HwgBYbMeSehMu-T6UvlToNpolcbTtC"
    "qGL-0\",\"y\":\"owpJARDxmDJXdeN1hey3QVZLxcYeAmA08WKjPNLTN4c\",\"use\":\"sig\",\""
    "alg\":\"ES256\",\"kid\":\"xRUWmc68SbPheLVwQl646qJTToW2MSA_C4CtzAYxKxI\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"0UyaWg3WRTmKf36WDLTa5BD93VYcvGS8jD3xFq"
    "CQmXg1_UX8eoCM-BKwZiS7_AyL\",\"y\":\"ReaRkMiYa0XZP-4DnR5bWjPNqbMZTFa-ufEkhTo21sQ"
    "3U2xi7JLp4HQoEyvrRdYm\",\"use\":\"sig\",\"alg\":\"ES384\",\"kid\":\"Hvu5ETKfUsFM"
    "O5MyJYAxiCo-7cNIJLIKUX4eU3MzAww\"},"
    "{\"kty\":\"RSA\",\"n\":\"sZtQnwTUsJ7lpmNte_tsfdpOOrwuIdtUWwKwxumMSNLbud0jEJziwHA"
    "0-33DsJbhm6GtkkTWFhXskoTYFdnp2ip5VG-NTMfBcDp7e9qxIhrcH3rTAMFdzc-5pVJxdFOdVQ3dQzV"
    "QiWPoWFeFi7rK6xNdmULywZH3u5J8MEuk_ttPFhHoUbZrACnqjWoIRsvG2qBjrQd8taUGGnmeD7iXGRM"
    "blml9fsFPzdG2o3-f6vbP58_5Xd9vHwxXvYVYcDXDE3lhRcJfu_96yPgqe0JFnABQt62CQ95UT51dG-E"
    "5DZQ33XKPc8-SeohUjypvtypjjNuKXASTNEiuyhEmJxU5Ew\",\"e\":\"AQAB\",\"use\":\"sig\""
    ",\"alg\":\"RS256\",\"kid\":\"-YJ4IN-dsE8Ygdx4REp8qO0W_t6dBxQf_BBdg27ZxYE\"}"
    "]}";
static struct jose_key *keys[MAX_KEYS];
static size_t n_keys;

static size_t parse_set(struct base_span text, struct jose_key **out)
{
    char memory[512];
    struct base_buf why;
    const char *why_json;
    json_t *set;
    size_t n;

    base_buf_init_fixed(&why, memory, sizeof memory);
    if (base_json_parse(text, 65536, 16, &set, &why_json) != BASE_OK)
        return 0;
    if (jose_jwks_parse(set, out, MAX_KEYS, &n, &why) == BASE_OK) {
        if (n == 0)
            abort();
    } else if (n != 0 || why.len == 0) {
        abort();
    }
    json_decref(set);
    return n;
}

static void try_set(struct base_span text)
{
    struct jose_key *out[MAX_KEYS];
    size_t n = parse_set(text, out);

    while (n > 0)
        jose_key_unref(&out[--n]);
}

static void try_assertion(struct base_span text)
{
    struct jose_assertion peeked;

    if (jose_assertion_peek(text, &peeked) == BASE_OK) {
        if (!json_is_object(peeked.claims) || peeked.issuer.len == 0)
            abort();
        (void)!jose_assertion_verify(text, &peeked, keys, n_keys);
        peeked.kid[0] = '\0'; /* so that the keys are reached without their kid being guessed */
        (void)!jose_assertion_verify(text, &peeked, keys, n_keys);
    }
    jose_assertion_clear(&peeked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_span text = base_span_of((const char *)data, size);

    if (n_keys == 0 && (n_keys = parse_set(base_span_str(jwks), keys)) == 0)
        abort();
    if (size > 0 && data[0] == '{')
        try_set(text);
    else
        try_assertion(text);
    return 0;
}
