/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes, digests and MACs through EVP. What OpenSSL is slow at, fetching algorithms and
 * making contexts, is done once: algorithms a process, contexts a thread. A thread's contexts and
 * its pool of random bytes are wiped and freed when it ends. */
#include "base_secret.h"

#include "base_mem.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
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

/* OpenSSL may allocate in each of these: that it had no memory once is no reason to end the
 * process. What it has noted about that would be taken by TLS, on the same thread, for its own. */
static void second_chance(void)
{
    ERR_clear_error();
}

static void random_from_openssl(uint8_t *out, size_t len)
{
    while (len) {
        size_t part = len < 1U << 20 ? len : 1U << 20; /* OpenSSL counts in int */

        if (RAND_priv_bytes(out, (int)part) != 1) {
            second_chance();
            if (RAND_priv_bytes(out, (int)part) != 1)
                give_up();
        }
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

static bool try_sha256(struct base_span data, uint8_t out[BASE_SHA256_LEN])
{
    EVP_MD_CTX *ctx = get_state()->digest;

    return EVP_DigestInit_ex2(ctx, NULL, NULL) && EVP_DigestUpdate(ctx, data.ptr, data.len) &&
           EVP_DigestFinal_ex(ctx, out, NULL);
}

void base_sha256(struct base_span data, uint8_t out[BASE_SHA256_LEN])
{
    if (try_sha256(data, out))
        return;
    second_chance();
    if (!try_sha256(data, out))
        give_up();
}

/* A MAC over parts, each after its length when that is asked for. */
struct mac_input {
    const struct base_span *parts;
    size_t n_parts;
    bool with_lengths;
};

/* With the key of the time before, what OpenSSL made of it is still there: half the work. The token
 * path uses one key all day. */
static bool mac_start(struct thread_state *mine, const uint8_t key[32])
{
    bool same = mine->mac_ready && base_equal_ct(mine->mac_key, key, sizeof mine->mac_key);

    mine->mac_ready = false;
    if (!EVP_MAC_init(mine->mac, same ? NULL : key, same ? 0 : sizeof mine->mac_key, NULL))
        return false;
    memcpy(mine->mac_key, key, sizeof mine->mac_key);
    mine->mac_ready = true;
    return true;
}

static bool mac_add(EVP_MAC_CTX *ctx, const struct base_span *part, bool with_length)
{
    uint64_t len = part->len;
    uint8_t prefix[8];

    for (int byte = 7; byte >= 0; byte--, len >>= 8)
        prefix[byte] = (uint8_t)len;
    return (!with_length || EVP_MAC_update(ctx, prefix, sizeof prefix)) &&
           (part->len == 0 || EVP_MAC_update(ctx, (const uint8_t *)part->ptr, part->len));
}

static bool try_mac(const uint8_t key[32], const struct mac_input *input,
                    uint8_t out[BASE_SHA256_LEN])
{
    struct thread_state *mine = get_state();
    bool ok = mac_start(mine, key);
    size_t len;

    for (size_t i = 0; ok && i < input->n_parts; i++)
        ok = mac_add(mine->mac, &input->parts[i], input->with_lengths);
    return ok && EVP_MAC_final(mine->mac, out, &len, BASE_SHA256_LEN);
}

static void make_mac(const uint8_t key[32], const struct mac_input *input,
                     uint8_t out[BASE_SHA256_LEN])
{
    if (try_mac(key, input, out))
        return;
    second_chance();
    if (!try_mac(key, input, out))
        give_up();
}

void base_hmac_sha256(const uint8_t key[32], const struct base_span *parts, size_t n_parts,
                      uint8_t out[BASE_SHA256_LEN])
{
    make_mac(key, &(struct mac_input){parts, n_parts, true}, out);
}

void base_hkdf_sha256(const uint8_t key[32], const char *info, uint8_t out[32])
{
    static const uint8_t no_salt[32]; /* RFC 5869 §2.2: as many zeros as the hash is long */
    const struct base_span secret = base_span_of((const char *)key, 32);
    const struct base_span block[] = {base_span_str(info), BASE_SPAN("\x01")};
    uint8_t extracted[32];

    make_mac(no_salt, &(struct mac_input){&secret, 1, false}, extracted);
    make_mac(extracted, &(struct mac_input){block, 2, false}, out);
    base_wipe(extracted, sizeof extracted);
}

bool base_equal_ct(const void *a, const void *b, size_t len)
{
    return len == 0 || CRYPTO_memcmp(a, b, len) == 0;
}
