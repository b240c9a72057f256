/* SPDX-License-Identifier: Apache-2.0 */
/* Parsed keys of clients: the same text gives the same keys, another text others, and what is held
 * stays bounded. */
#include "api_client_keys.h"

#include "base_buf.h"
#include "base_mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static struct jose_key *key;

static int setup(void **state)
{
    *state = api_client_keys_new();
    return key || jose_key_generate(JOSE_ES256, &key) == BASE_OK ? 0 : 1;
}

static int teardown(void **state)
{
    struct api_client_keys *cache = *state;

    api_client_keys_free(&cache);
    assert_null(cache);
    api_client_keys_free(&cache);
    return 0;
}

static int drop_key(void **state)
{
    (void)state;
    jose_key_unref(&key);
    return 0;
}

/* A set of `count` keys that differs from others by `number`. */
static struct base_span make_set(size_t count, unsigned number)
{
    static char memory[4096];
    struct base_buf text;

    base_buf_init_fixed(&text, memory, sizeof memory);
    base_buf_put_str(&text, "{\"keys\":[");
    for (size_t i = 0; i < count; i++)
        base_buf_putf(&text, "%s%s", i ? "," : "", jose_key_public_jwk(key));
    base_buf_putf(&text, "],\"number\":%u}", number);
    return base_span_of(text.ptr, text.len);
}

static struct jose_key *first_of(struct api_client_keys *cache, size_t count, unsigned number)
{
    size_t n;
    struct jose_key *const *keys = api_client_keys_of(cache, make_set(count, number), &n);

    assert_int_equal(n, count);
    return keys[0];
}

static void the_same_text_is_parsed_once(void **state)
{
    struct jose_key *one = first_of(*state, 1, 1), *two = first_of(*state, 1, 2);

    assert_ptr_not_equal(one, two);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(first_of(*state, 1, 1), one);
        assert_ptr_equal(first_of(*state, 1, 2), two);
    }
    assert_string_equal(jose_key_thumbprint(one), jose_key_thumbprint(key));
}

static void several_keys_of_a_set(void **state)
{
    size_t n;
    struct jose_key *const *keys = api_client_keys_of(*state, make_set(API_CLIENT_MAX_KEYS, 1), &n);

    assert_int_equal(n, API_CLIENT_MAX_KEYS);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(jose_key_thumbprint(keys[i]), jose_key_thumbprint(key));
    api_client_keys_of(*state, make_set(API_CLIENT_MAX_KEYS + 1, 1), &n);
    assert_int_equal(n, 0);
}

static void what_cannot_be_read_has_no_keys(void **state)
{
    static const char *const texts[] = {"", "{", "[]", "{}", "{\"keys\":[]}", "{\"keys\":[{}]}"};

    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            size_t n = 7;

            api_client_keys_of(*state, base_span_str(texts[i]), &n);
            assert_int_equal(n, 0);
        }
}

/* A reference of ours keeps the old one's address from being used again. */
static bool still_held(struct api_client_keys *cache, size_t count, unsigned number,
                       struct jose_key *before)
{
    return first_of(cache, count, number) == before;
}

static void the_one_not_asked_for_longest_gives_way(void **state)
{
    struct jose_key *used = jose_key_ref(first_of(*state, 2, 0));
    struct jose_key *unused = jose_key_ref(first_of(*state, 2, 1));

    for (unsigned i = 2; i < 512; i++) {
        first_of(*state, 2, i);
        assert_true(still_held(*state, 2, 0, used));
    }
    assert_true(still_held(*state, 2, 1, unused)); /* 1,024 keys: full */
    for (unsigned i = 1000; i < 1600; i++) {
        first_of(*state, 1, i);
        assert_true(still_held(*state, 2, 0, used));
    }
    assert_true(still_held(*state, 2, 0, used));
    for (unsigned i = 2000; i < 3100; i++)
        first_of(*state, 1, i);
    assert_false(still_held(*state, 2, 1, unused));
    assert_false(still_held(*state, 2, 0, used));
    jose_key_unref(&used);
    jose_key_unref(&unused);
}

static void a_decoy_of_every_algorithm(void **state)
{
    static const enum jose_alg algs[] = {JOSE_ES256, JOSE_ES384, JOSE_RS256};
    size_t n;
    struct jose_key *const *decoys = api_client_keys_decoys(*state, &n);

    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(jose_key_alg(decoys[i]), algs[i]);
}

/* Each allocation of jansson's and OpenSSL's fails in turn: "not now", which is not remembered. */
static void not_read_for_want_of_memory(struct api_client_keys *cache, const char *jwk,
                                        const char *end, size_t n_keys)
{
    int unread = 0;
    long n = 0, left;

    do {
        struct jose_key *const *keys;
        char text[1024];
        size_t found;

        /* Each time one that is not known yet. */
        snprintf(text, sizeof text, "{\"n\":%ld,\"keys\":[%s%s", ++n, jwk, end);
        base_mem_fail_nth(n);
        keys = api_client_keys_of(cache, base_span_str(text), &found);
        left = base_mem_fail_nth(0);
        assert_true(keys || left == 0);
        if (!keys) {
            unread++;
            assert_int_equal(found, 0);
            keys = api_client_keys_of(cache, base_span_str(text), &found);
        }
        assert_non_null(keys);
        assert_int_equal(found, n_keys);
    } while (left == 0);
    assert_true(unread > 2);
}

static void without_memory(void **state)
{
    const char *good = jose_key_public_jwk(key);

    not_read_for_want_of_memory(*state, good, "]}", 1);
    not_read_for_want_of_memory(*state, "{\"kty\":\"EC\"}", "]}", 0);
    not_read_for_want_of_memory(*state, good, "}", 0);
}

static void no_decoys_without_memory(void **state)
{
    struct api_client_keys *cache;
    long n = 0;
    size_t found;

    (void)state;
    do {
        base_mem_fail_nth(++n);
        cache = api_client_keys_new();
        assert_true(base_mem_fail_nth(0) == 0 || cache);
    } while (!cache);
    assert_true(n > 10);
    (void)api_client_keys_decoys(cache, &found);
    assert_int_equal(found, 3);
    api_client_keys_free(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_text_is_parsed_once, setup, teardown),
        cmocka_unit_test_setup_teardown(several_keys_of_a_set, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_has_no_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(the_one_not_asked_for_longest_gives_way, setup, teardown),
        cmocka_unit_test_setup_teardown(a_decoy_of_every_algorithm, setup, teardown),
        cmocka_unit_test_setup_teardown(without_memory, setup, teardown),
        cmocka_unit_test(no_decoys_without_memory),
    };

    base_mem_watch_libraries();
    base_mem_survive_libraries();
    return cmocka_run_group_tests(tests, NULL, drop_key);
}
