/* SPDX-License-Identifier: Apache-2.0 */
#include "base_hash.h"

#include "base_attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The paper's Appendix A, and its authors' reference vectors: key and data count up from 0. */
static void agrees_with_the_reference(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } cases[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31)}, {1, UINT64_C(0x74f839c593dc67fd)},
        {2, UINT64_C(0x0d6c8009d9a94f5a)}, {7, UINT64_C(0xab0200f58b01d137)},
        {8, UINT64_C(0x93f5f5799a932462)}, {15, UINT64_C(0xa129ca6149be45e5)},
    };
    struct base_hash_key key = {{UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)}};
    char data[16];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)i;
    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        assert_int_equal(base_hash(&key, base_span_of(data, cases[i].len)), cases[i].hash);
    assert_int_equal(base_hash(&key, (struct base_span){0}), cases[0].hash);
}

static void another_key_gives_another_hash(void **state)
{
    struct base_hash_key a = {{1, 2}}, b = {{1, 3}};

    (void)state;
    assert_int_equal(base_hash(&a, BASE_SPAN("x")), base_hash(&a, BASE_SPAN("x")));
    assert_int_not_equal(base_hash(&a, BASE_SPAN("x")), base_hash(&b, BASE_SPAN("x")));
    assert_int_not_equal(base_hash(&a, BASE_SPAN("x")), base_hash(&a, base_span_of("x", 2)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_reference),
        cmocka_unit_test(another_key_gives_another_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
