/* SPDX-License-Identifier: Apache-2.0 */
/* The bearer token of a management request: jose_verify() against keys that the corpus was signed
 * with, so that the fuzzer also gets behind the signature. Nothing but a token of the corpus' own
 * may pass. */
#include "base_attr.h"
#include "jose_verify.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Public halves; the private ones made the corpus and are gone. */
static const char *const jwks[] = {
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"hDgKN5P7HwgBYbMeSehMu-T6UvlToNpolcbTtC"
    "qGL-0\",\"y\":\"owpJARDxmDJXdeN1hey3QVZLxcYeAmA08WKjPNLTN4c\",\"use\":\"sig\",\""
    "alg\":\"ES256\",\"kid\":\"xRUWmc68SbPheLVwQl646qJTToW2MSA_C4CtzAYxKxI\"}",
    "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"0UyaWg3WRTmKf36WDLTa5BD93VYcvGS8jD3xFq"
    "CQmXg1_UX8eoCM-BKwZiS7_AyL\",\"y\":\"ReaRkMiYa0XZP-4DnR5bWjPNqbMZTFa-ufEkhTo21sQ"
    "3U2xi7JLp4HQoEyvrRdYm\",\"use\":\"sig\",\"alg\":\"ES384\",\"kid\":\"Hvu5ETKfUsFM"
    "O5MyJYAxiCo-7cNIJLIKUX4eU3MzAww\"}",
    "{\"kty\":\"RSA\",\"n\":\"sZtQnwTUsJ7lpmNte_tsfdpOOrwuIdtUWwKwxumMSNLbud0jEJziwHA"
    "0-33DsJbhm6GtkkTWFhXskoTYFdnp2ip5VG-NTMfBcDp7e9qxIhrcH3rTAMFdzc-5pVJxdFOdVQ3dQzV"
    "QiWPoWFeFi7rK6xNdmULywZH3u5J8MEuk_ttPFhHoUbZrACnqjWoIRsvG2qBjrQd8taUGGnmeD7iXGRM"
    "blml9fsFPzdG2o3-f6vbP58_5Xd9vHwxXvYVYcDXDE3lhRcJfu_96yPgqe0JFnABQt62CQ95UT51dG-E"
    "5DZQ33XKPc8-SeohUjypvtypjjNuKXASTNEiuyhEmJxU5Ew\",\"e\":\"AQAB\",\"use\":\"sig\""
    ",\"alg\":\"RS256\",\"kid\":\"-YJ4IN-dsE8Ygdx4REp8qO0W_t6dBxQf_BBdg27ZxYE\"}",
    "{\"kty\":\"RSA\",\"n\":\"rZttMkm9zlkZL4GoIPyWSIfVjNTZ5Yg_HQj9BUxvglfx4-pUtp7srTU"
    "OvV9IDwyIKyjL2nZRxwCZfxjSd6C-fsWF4URVdw_DRe0imVeo8I9wBq4SEOL7stJzP51XeQMXq80j_0Q"
    "GUIdPCWhd63BvWujx9hxgvI43dI2G-szWAND1e_oAMsUhT6k9APESRoCM-NI4W77ebuizWnvT-MP1-Rb"
    "W6oLkN0LCSkP3TVU7G10lLvCioeFi-d-ZameFek9etpFCulcTGRPltBFRrlXQ8sJAVSsGm91I1a2AlFU"
    "BVvRLCwr7dL290X06PDZ7cZl07VBeYehkdWMwgMkuzlyNQw\",\"e\":\"AQAB\",\"use\":\"sig\""
    ",\"alg\":\"PS256\",\"kid\":\"EaaM0raGgITOdgWIKnH9FulQNfJx03mxx-tOUm2tyIU\"}",
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"wLTey94OXUkHQxAyAay3oJX2bLS-zCmU-mX"
    "AywoINFE\",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"dSIntLri-NLzAu8iV5hguZHeM"
    "hruW-qXyYbrEZN_M2s\"}",
};
static struct jose_key *keys[BASE_COUNT(jwks)];

static void load_keys(void)
{
    for (size_t i = 0; i < BASE_COUNT(jwks); i++) {
        json_t *jwk = json_loads(jwks[i], 0, NULL);
        char memory[256];
        struct base_buf why;

        base_buf_init_fixed(&why, memory, sizeof memory);
        if (!jwk || jose_key_from_jwk(jwk, &keys[i], &why) != BASE_OK)
            abort();
        json_decref(jwk);
    }
}

/* An unknown kid leads to the first key: otherwise the fuzzer would have to guess thumbprints. */
static const struct jose_key *find(void *ctx, struct base_span kid)
{
    (void)ctx;
    for (size_t i = 0; i < BASE_COUNT(jwks); i++)
        if (base_span_eq(kid, base_span_str(jose_key_thumbprint(keys[i]))))
            return keys[i];
    return kid.len % 2 ? keys[0] : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_span token = base_span_of((const char *)data, size);
    json_t *claims;

    if (!keys[0])
        load_keys();
    if (jose_verify(token, "at+jwt", find, NULL, &claims) != BASE_OK) {
        if (claims)
            abort();
        return 0;
    }
    if (!json_is_object(claims))
        abort();
    json_decref(claims);
    return 0;
}
