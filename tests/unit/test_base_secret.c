/* SPDX-License-Identifier: Apache-2.0 */
#include "base_secret.h"

#include "base_attr.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void hex(const uint8_t bytes[32], char out[65])
{
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void expect(const uint8_t bytes[32], const char *text)
{
    char ours[65];

    hex(bytes, ours);
    assert_string_equal(ours, text);
}

static const uint8_t key[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

static void sha256_vectors(void **state)
{
    uint8_t out[32];

    (void)state;
    for (int i = 0; i < 2; i++) { /* a used context starts afresh */
        base_sha256(BASE_SPAN("abc"), out);
        expect(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        base_sha256((struct base_span){0}, out);
        expect(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}

static void hmac_knows_where_parts_end(void **state)
{
    const struct base_span two[] = {BASE_SPAN_INIT("ab"), BASE_SPAN_INIT("c")};
    const struct base_span one[] = {BASE_SPAN_INIT("abc")};
    const struct base_span moved[] = {BASE_SPAN_INIT("a"), BASE_SPAN_INIT("bc")};
    const struct base_span empty[] = {BASE_SPAN_INIT("abc"), {NULL, 0}};
    uint8_t a[32], b[32];

    (void)state;
    base_hmac_sha256(key, two, 2, a);
    expect(a, "17eca1f3cf4e1f92cd415f54de5121e367cbc209edff96da287c5cd432cf9a46");
    base_hmac_sha256(key, one, 1, b);
    expect(b, "8dd9401ea4e5af73c5d169c6484b3c13ab4b9e48b9a8c682b06bcd74e3d5bd6f");
    base_hmac_sha256(key, moved, 2, b);
    assert_memory_not_equal(a, b, 32);
    base_hmac_sha256(key, one, 1, a);
    base_hmac_sha256(key, empty, 2, b);
    assert_memory_not_equal(a, b, 32);
    base_hmac_sha256(key, NULL, 0, a);
    expect(a, "d38b42096d80f45f826b44a9d5607de72496a415d3f4a1a8c88e3bb9da8dc1cb");
}

static void hmac_depends_on_every_bit_of_the_key(void **state)
{
    const struct base_span part = BASE_SPAN_INIT("secret");
    uint8_t other[32], a[32], b[32];

    (void)state;
    base_hmac_sha256(key, &part, 1, a);
    for (int bit = 0; bit < 256; bit++) {
        memcpy(other, key, 32);
        other[bit / 8] ^= (uint8_t)(1 << bit % 8);
        base_hmac_sha256(other, &part, 1, b);
        assert_memory_not_equal(a, b, 32);
    }
}

static void hkdf_is_rfc_5869(void **state)
{
    uint8_t a[32], b[32];

    (void)state;
    base_hkdf_sha256(key, "purpose", a);
    expect(a, "c938f7c9c926b1456b39fd3811e7b2d8beccd709fed368d133553b438fb89d0b");
    base_hkdf_sha256(key, "purposf", b);
    assert_memory_not_equal(a, b, 32);
    base_hkdf_sha256(key, "", b);
    assert_memory_not_equal(a, b, 32);
    memcpy(b, key, 32);
    base_hkdf_sha256(b, "purpose", b); /* in place */
    assert_memory_equal(a, b, 32);
}

static void comparison_sees_every_byte(void **state)
{
    uint8_t other[32];

    (void)state;
    assert_true(base_equal_ct(key, key, 32));
    assert_true(base_equal_ct(NULL, NULL, 0));
    for (int bit = 0; bit < 256; bit++) {
        memcpy(other, key, 32);
        other[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(base_equal_ct(key, other, 32));
        assert_true(base_equal_ct(key, other, (size_t)bit / 8));
    }
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i])
            return false;
    return true;
}

static void random_bytes_fill_exactly(void **state)
{
    static const size_t lens[] = {0, 1, 15, 16, 32, 255, 256, 257, 1023, 1024, 1025, 5000};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(lens); i++) {
        uint8_t bytes[5002] = {0};

        base_random(bytes + 1, lens[i]);
        assert_int_equal(bytes[0], 0);
        assert_int_equal(bytes[1 + lens[i]], 0);
        if (lens[i] >= 15)
            assert_false(all_zero(bytes + 1, lens[i]));
    }
}

static void random_bytes_do_not_repeat(void **state)
{
    static uint8_t drawn[500][16];

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(drawn); i++) {
        base_random(drawn[i], 16);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(drawn[i], drawn[j], 16);
    }
}

struct drawer {
    uint8_t drawn[200][16];
    uint8_t mac[32], digest[32];
};

static void *draw(void *argument)
{
    struct drawer *drawer = argument;
    const struct base_span part = BASE_SPAN_INIT("abc");

    for (size_t i = 0; i < BASE_COUNT(drawer->drawn); i++) {
        base_random(drawer->drawn[i], 16);
        base_hmac_sha256(key, &part, 1, drawer->mac);
        base_sha256(part, drawer->digest);
    }
    return NULL;
}

static void threads_share_nothing(void **state)
{
    static struct drawer drawers[4];
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, draw, &drawers[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 4; i++) {
        expect(drawers[i].mac, "8dd9401ea4e5af73c5d169c6484b3c13ab4b9e48b9a8c682b06bcd74e3d5bd6f");
        expect(drawers[i].digest,
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        for (size_t a = 0; a < i; a++)
            for (size_t at = 0; at < 200; at++)
                assert_memory_not_equal(drawers[a].drawn[at], drawers[i].drawn[at], 16);
    }
}

static void a_child_draws_other_bytes(void **state)
{
    uint8_t mine[32], theirs[32];
    int ends[2];
    pid_t child;

    (void)state;
    base_random(mine, sizeof mine); /* so that there is a pool to inherit */
    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        base_random(mine, sizeof mine);
        _exit(write(ends[1], mine, sizeof mine) != sizeof mine);
    }
    assert_int_equal(read(ends[0], theirs, sizeof theirs), sizeof theirs);
    base_random(mine, sizeof mine);
    assert_memory_not_equal(mine, theirs, sizeof mine);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_vectors),
        cmocka_unit_test(hmac_knows_where_parts_end),
        cmocka_unit_test(hmac_depends_on_every_bit_of_the_key),
        cmocka_unit_test(hkdf_is_rfc_5869),
        cmocka_unit_test(comparison_sees_every_byte),
        cmocka_unit_test(random_bytes_fill_exactly),
        cmocka_unit_test(random_bytes_do_not_repeat),
        cmocka_unit_test(threads_share_nothing),
        cmocka_unit_test(a_child_draws_other_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
