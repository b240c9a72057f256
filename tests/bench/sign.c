/* SPDX-License-Identifier: Apache-2.0 */
/* What one bare signature costs here and now: the yardstick of the token path. EVP_PKEY_sign() of a
 * digest with a context made once, which is the least that OpenSSL can do. CPU time of this thread,
 * the median of rounds, printed as JSON. */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS   25
#define ROUND_US 10000.0 /* each lasts about that long */

static void check(int ok, const char *what)
{
    if (ok > 0)
        return;
    fprintf(stderr, "sign: %s failed\n", what);
    exit(1);
}

static double cpu_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static EVP_PKEY_CTX *prepare(EVP_PKEY *key)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);

    check(ctx && EVP_PKEY_sign_init(ctx) > 0, "EVP_PKEY_sign_init");
    if (EVP_PKEY_is_a(key, "RSA"))
        check(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING), "padding");
    check(EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()), "digest");
    return ctx;
}

static double time_signatures(EVP_PKEY_CTX *ctx, unsigned count)
{
    unsigned char digest[32] = "a digest that changes each time", signature[512];
    double start = cpu_us();

    for (unsigned i = 0; i < count; i++) {
        size_t len = sizeof signature;

        memcpy(digest, &i, sizeof i);
        check(EVP_PKEY_sign(ctx, signature, &len, digest, sizeof digest), "EVP_PKEY_sign");
    }
    return (cpu_us() - start) / count;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double median_us(EVP_PKEY *key)
{
    EVP_PKEY_CTX *ctx = prepare(key);
    double rounds[ROUNDS];
    unsigned count;

    time_signatures(ctx, 20); /* warms up */
    count = 1 + (unsigned)(ROUND_US / time_signatures(ctx, 20));
    for (int i = 0; i < ROUNDS; i++)
        rounds[i] = time_signatures(ctx, count);
    qsort(rounds, ROUNDS, sizeof *rounds, compare);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    return rounds[ROUNDS / 2];
}

int main(void)
{
    EVP_PKEY *ec = EVP_EC_gen("P-256"), *rsa = EVP_RSA_gen(2048);

    check(ec && rsa, "making keys");
    printf("{\"ES256\": %.2f, \"RS256\": %.2f}\n", median_us(ec), median_us(rsa));
    return 0;
}
