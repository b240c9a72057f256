/* SPDX-License-Identifier: Apache-2.0 */
#include "api_client_keys.h"

#include "base_map.h"
#include "base_mem.h"
#include "base_secret.h"

#include <stdlib.h>

/* Held per worker, of all clients together: a parsed RSA key takes some 5 KiB. */
#define MAX_HELD 1024

struct client_set {
    uint8_t digest[BASE_SHA256_LEN];
    struct jose_key *keys[API_CLIENT_MAX_KEYS];
    size_t n_keys; /* 0: the text cannot be read, which is remembered too */
    UT_hash_handle hh;
};

struct api_client_keys {
    struct client_set *sets; /* the one asked for last is the last */
    size_t n_held;
    struct jose_key *decoys[API_CLIENT_MAX_KEYS];
    size_t n_decoys;
};

/* Public halves; the private ones were never written down. Nobody gains by finding them: what a
 * decoy verifies is refused all the same. */
static const char decoy_set[] =
    "{\"keys\":["
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"WW7G2jjSDRwUc1ZRZ8CDYGtQ89ecO3XqWWqc1FBep5Q"
    "\",\"y\":\"B3SAJJd1L7fP0z3bzspe0CUrIj2t6T2YLOn_gWn3yz4\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"WvxxRDSX1twZNAns4VivOukFUH4WjsF9MOFazp2g5ojr"
    "O4Ydd0TXGOvDDFneuNze\",\"y\":\"NafuOLfLpw1k19yaxYls-g00kcs6kjvx32rL5HROYnCwUsTK5J3Ndbi"
    "1AuVrlpfw\"},"
    "{\"kty\":\"RSA\",\"n\":\"lpjXvhtHvjjLC5wKyN9uGfcZqfR11idvglAHe7fH659pchlKaT4nJV8dG2sLS"
    "_k2rAw2zutQshsoxKiTKoqqfUQV6Ehn9ZyR_4btJfesrrxPma2CKgFMJnnLaKlkMwJLYGKIK75NPRavRFT9_ML"
    "_YsfsYXhgmOtvIetIYNiwM0HlPrZVIaAv1UT1looBMQ6qKUbK650QSqQapGID7YEWn4XB2BS2Fl0tjcnEjjP6K"
    "-vYk2gs0OHDQjKq49SECDaJAvBgIwmRk07lsPUC1qmtFkJKtgzkBkmYyT6nZ-oC31dLPhCTO1IGdIvhscZsPul"
    "_fcULG4cD2T6VB8wpjkkaaw\",\"e\":\"AQAB\"}"
    "]}";

/* False: there was no memory, which says nothing about the text. */
static bool parse(struct base_span text, struct jose_key **out, size_t *n)
{
    uint64_t failures = base_mem_failures();
    json_auto_t *jwks = json_loadb(text.ptr, text.len, 0, NULL);
    struct base_buf why;
    enum base_err err;

    *n = 0;
    if (base_mem_failures() != failures)
        return false;
    base_buf_init(&why, 512);
    err = jwks ? jose_jwks_parse(jwks, out, API_CLIENT_MAX_KEYS, n, &why) : BASE_INVALID;
    base_buf_clear(&why);
    return err == BASE_OK || base_mem_failures() == failures;
}

static void drop_keys(struct jose_key **keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        jose_key_unref(&keys[i]);
}

/* What a set counts for: an unreadable one takes memory too. */
static size_t weight(const struct client_set *set)
{
    return set->n_keys > 0 ? set->n_keys : 1;
}

static void drop_set(struct api_client_keys *cache, struct client_set *set)
{
    HASH_DEL(cache->sets, set);
    cache->n_held -= weight(set);
    drop_keys(set->keys, set->n_keys);
    free(set);
}

struct api_client_keys *api_client_keys_new(void)
{
    struct api_client_keys *cache = base_calloc(1, sizeof *cache);

    if (!parse(base_span_str(decoy_set), cache->decoys, &cache->n_decoys))
        api_client_keys_free(&cache);
    return cache;
}

void api_client_keys_free(struct api_client_keys **address)
{
    struct api_client_keys *cache = *address;
    struct client_set *set, *next;

    *address = NULL;
    if (!cache)
        return;
    HASH_ITER (hh, cache->sets, set, next)
        drop_set(cache, set);
    drop_keys(cache->decoys, cache->n_decoys);
    base_free(&cache);
}

static struct client_set *add(struct api_client_keys *cache, struct base_span jwks,
                              const uint8_t digest[BASE_SHA256_LEN])
{
    struct client_set *set = base_calloc(1, sizeof *set);

    if (!parse(jwks, set->keys, &set->n_keys)) {
        base_free(&set);
        return NULL;
    }
    while (cache->sets && cache->n_held + weight(set) > MAX_HELD)
        drop_set(cache, cache->sets); /* the first: of the oldest use */
    memcpy(set->digest, digest, sizeof set->digest);
    HASH_ADD(hh, cache->sets, digest, sizeof set->digest, set);
    cache->n_held += weight(set);
    return set;
}

struct jose_key *const *api_client_keys_of(struct api_client_keys *cache, struct base_span jwks,
                                           size_t *n)
{
    uint8_t digest[BASE_SHA256_LEN];
    struct client_set *set;

    base_sha256(jwks, digest);
    HASH_FIND(hh, cache->sets, digest, sizeof digest, set);
    *n = 0;
    if (!set) {
        if (!(set = add(cache, jwks, digest)))
            return NULL;
    } else if (set->hh.next) { /* to the end */
        HASH_DEL(cache->sets, set);
        HASH_ADD(hh, cache->sets, digest, sizeof set->digest, set);
    }
    *n = set->n_keys;
    return set->keys;
}

struct jose_key *const *api_client_keys_decoys(const struct api_client_keys *cache, size_t *n)
{
    *n = cache->n_decoys;
    return cache->decoys;
}
