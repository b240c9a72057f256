/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes, digests and MACs through EVP. What OpenSSL is slow at, fetching algorithms and
 * making contexts, is done once: algorithms a process, contexts a thread. A thread's contexts and
 * its pool of random bytes are wiped and freed when it ends. */
#include "base_secret.h"

#include "base_mem.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define POOL_SIZE 1024

struct thread_state {
    EVP_MD_CTX *digest;
    EVP_MAC_CTX *mac;
    uint8_t mac_key[32]; /* the one that `mac` is set up with, */
    bool mac_ready;      /* if it is */
    uint8_t pool[POOL_SIZE];
    size_t pool_left; /* the last pool_left bytes are fresh */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key; /* only for its destructor */
static EVP_MD *sha256;
static EVP_MAC *hmac;
static _Thread_local struct thread_state *state;

/* Without randomness or digests nothing this program does is safe. */
static _Noreturn void give_up(void)
{
    static const char text[] = "cardea: OpenSSL's generator, SHA-256 or HMAC failed\n";

    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        abort();
    abort();
}

static void free_state(void *pointer)
{
    struct thread_state *ending = pointer;

    EVP_MD_CTX_free(ending->digest);
    EVP_MAC_CTX_free(ending->mac);
    base_wipe(ending, sizeof *ending);
    base_free(&ending);
    state = NULL; /* another destructor may still ask for a random byte: it gets a new state */
}

/* Parent and child must not draw the same bytes. */
static void drop_pool(void)
{
    if (state)
        state->pool_left = 0;
}

static void fetch_algorithms(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (!sha256 || !hmac || pthread_key_create(&thread_key, free_state) ||
        pthread_atfork(NULL, NULL, drop_pool))
        give_up();
}

static struct thread_state *make_state(void)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    pthread_once(&once, fetch_algorithms);
    state = base_calloc(1, sizeof *state);
    state->digest = EVP_MD_CTX_new();
    state->mac = EVP_MAC_CTX_new(hmac);
    if (!state->digest || !EVP_DigestInit_ex2(state->digest, sha256, NULL) || !state->mac ||
        !EVP_MAC_CTX_set_params(state->mac, params) || pthread_setspecific(thread_key, state))
        give_up();
    return state;
}

static struct thread_state *get_state(void)
{
    return state ? state : make_state();
}

static void random_from_openssl(uint8_t *out, size_t len)
{
    while (len) {
        size_t part = len < 1U << 20 ? len : 1U << 20; /* OpenSSL counts in int */

        if (RAND_priv_bytes(out, (int)part) != 1)
            give_up();
        out += part;
        len -= part;
    }
}

void base_random(void *out, size_t len)
{
    struct thread_state *mine = get_state();
    uint8_t *from;

    if (len > POOL_SIZE / 4) { /* would empty the pool: worth a call of its own */
        random_from_openssl(out, len);
        return;
    }
    if (len == 0)
        return;
    if (len > mine->pool_left) {
        random_from_openssl(mine->pool, POOL_SIZE);
        mine->pool_left = POOL_SIZE;
    }
    from = mine->pool + POOL_SIZE - mine->pool_left;
    memcpy(out, from, len);
    base_wipe(from, len); /* what has been given out must not be found here later */
    mine->pool_left -= len;
}

void base_sha256(struct base_span data, uint8_t out[BASE_SHA256_LEN])
{
    EVP_MD_CTX *ctx = get_state()->digest;

    if (!EVP_DigestInit_ex2(ctx, NULL, NULL) || !EVP_DigestUpdate(ctx, data.ptr, data.len) ||
        !EVP_DigestFinal_ex(ctx, out, NULL))
        give_up();
}

/* With the key of the time before, what OpenSSL made of it is still there: half the work. The token
 * path uses one key all day. */
static EVP_MAC_CTX *mac_start(const uint8_t key[32])
{
    struct thread_state *mine = get_state();
    bool same = mine->mac_ready && base_equal_ct(mine->mac_key, key, sizeof mine->mac_key);

    if (!EVP_MAC_init(mine->mac, same ? NULL : key, same ? 0 : sizeof mine->mac_key, NULL))
        give_up();
    memcpy(mine->mac_key, key, sizeof mine->mac_key);
    mine->mac_ready = true;
    return mine->mac;
}

static void mac_add(EVP_MAC_CTX *ctx, const void *bytes, size_t len)
{
    if (len && !EVP_MAC_update(ctx, bytes, len))
        give_up();
}

static void mac_end(EVP_MAC_CTX *ctx, uint8_t out[BASE_SHA256_LEN])
{
    size_t len;

    if (!EVP_MAC_final(ctx, out, &len, BASE_SHA256_LEN))
        give_up();
}

void base_hmac_sha256(const uint8_t key[32], const struct base_span *parts, size_t n_parts,
                      uint8_t out[BASE_SHA256_LEN])
{
    EVP_MAC_CTX *ctx = mac_start(key);

    for (size_t i = 0; i < n_parts; i++) {
        uint64_t len = parts[i].len;
        uint8_t prefix[8];

        for (int byte = 7; byte >= 0; byte--, len >>= 8)
            prefix[byte] = (uint8_t)len;
        mac_add(ctx, prefix, sizeof prefix);
        mac_add(ctx, parts[i].ptr, parts[i].len);
    }
    mac_end(ctx, out);
}

void base_hkdf_sha256(const uint8_t key[32], const char *info, uint8_t out[32])
{
    static const uint8_t no_salt[32]; /* RFC 5869 §2.2: as many zeros as the hash is long */
    static const uint8_t first_block = 1;
    uint8_t extracted[32];
    EVP_MAC_CTX *ctx;

    ctx = mac_start(no_salt);
    mac_add(ctx, key, 32);
    mac_end(ctx, extracted);

    ctx = mac_start(extracted);
    mac_add(ctx, info, strlen(info));
    mac_add(ctx, &first_block, 1);
    mac_end(ctx, out);
    base_wipe(extracted, sizeof extracted);
}

bool base_equal_ct(const void *a, const void *b, size_t len)
{
    return len == 0 || CRYPTO_memcmp(a, b, len) == 0;
}
