/* SPDX-License-Identifier: Apache-2.0 */
#include "base_net.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool parses(const char *text)
{
    struct base_cidr cidr;

    return base_cidr_parse(base_span_str(text), &cidr) == BASE_OK;
}

/* Does the network hold the address? Both must be well-formed. */
static bool holds(const char *network, const char *address)
{
    int family = strchr(address, ':') ? AF_INET6 : AF_INET;
    struct base_cidr cidr;
    uint8_t bytes[16];

    assert_int_equal(base_cidr_parse(base_span_str(network), &cidr), BASE_OK);
    assert_int_equal(inet_pton(family, address, bytes), 1);
    return base_cidr_contains(&cidr, family, bytes);
}

static void reads_networks(void **state)
{
    static const struct {
        const char *text;
        int family;
        unsigned prefix;
    } cases[] = {
        {"10.0.0.0/8", AF_INET, 8},
        {"0.0.0.0/0", AF_INET, 0},
        {"10.0.0.1", AF_INET, 32},
        {"10.0.0.1/32", AF_INET, 32},
        {"255.255.255.254/31", AF_INET, 31},
        {"::/0", AF_INET6, 0},
        {"::1", AF_INET6, 128},
        {"2001:db8::/32", AF_INET6, 32},
        {"2001:DB8:0:0:8000::/65", AF_INET6, 65},
        {"fe80::/10", AF_INET6, 10},
        {"::ffff:10.0.0.0/104", AF_INET, 8},
        {"::ffff:10.1.2.3", AF_INET, 32},
        {"::ffff:0:0/96", AF_INET, 0},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct base_cidr cidr;

        assert_int_equal(base_cidr_parse(base_span_str(cases[i].text), &cidr), BASE_OK);
        assert_int_equal(cidr.family, cases[i].family);
        assert_int_equal(cidr.prefix, cases[i].prefix);
    }
}

static void refuses_what_is_no_network(void **state)
{
    static const char *const cases[] = {
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.0/-1",
        "10.0.0.0/ 8",
        "10.0.0.0/8 ",
        " 10.0.0.0/8",
        "10.0.0.0/8/8",
        "10.0.0.0/8x",
        "10.0.0.0/:",
        "10.0.0.0/1000",
        "10.0.0.0/4294967304",
        "10.0.0.1/8",
        "10.0.0.1/31",
        "0.0.0.1/0",
        "128.0.0.0/0",
        "10/8",
        "10.0.0/24",
        "10.0.0.0.0",
        "010.0.0.0/8",
        "0x0a.0.0.0/8",
        "256.0.0.0/8",
        "10.0.0.0/255.0.0.0",
        "localhost",
        "::/129",
        "::1/127",
        "2001:db8::1/32",
        "fe80::1%eth0",
        "[::1]",
        "1::2::3",
        "12345::",
        "::ffff:10.0.0.0/95",
        "::ffff:10.0.0.1/104",
        "::ffff:0:0/95",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        if (parses(cases[i]))
            fail_msg("accepted: %s", cases[i]);
}

static void a_nul_hides_nothing(void **state)
{
    struct base_cidr cidr = {.prefix = 7};

    (void)state;
    assert_int_equal(base_cidr_parse(base_span_of("10.0.0.1\0x", 10), &cidr), BASE_INVALID);
    assert_int_equal(base_cidr_parse(base_span_of("10.0.0.1\0", 9), &cidr), BASE_INVALID);
    assert_int_equal(cidr.prefix, 0); /* cleared on entry */
    assert_int_equal(base_cidr_parse((struct base_span){0}, &cidr), BASE_INVALID);
}

static void contains_its_own_addresses(void **state)
{
    (void)state;
    assert_true(holds("10.0.0.0/8", "10.255.255.255"));
    assert_true(holds("10.0.0.0/8", "10.0.0.0"));
    assert_true(holds("192.168.4.0/22", "192.168.7.255"));
    assert_true(holds("0.0.0.0/0", "8.8.8.8"));
    assert_true(holds("10.0.0.1", "10.0.0.1"));
    assert_true(holds("2001:db8::/33", "2001:db8:7fff::1"));
    assert_true(holds("::/0", "2001:db8::1"));
    assert_true(holds("::1", "::1"));
}

static void contains_no_others(void **state)
{
    (void)state;
    assert_false(holds("10.0.0.0/8", "11.0.0.0"));
    assert_false(holds("192.168.4.0/22", "192.168.8.0"));
    assert_false(holds("192.168.4.0/22", "192.168.3.255"));
    assert_false(holds("10.0.0.1", "10.0.0.2"));
    assert_false(holds("2001:db8::/33", "2001:db8:8000::"));
    assert_false(holds("::1", "::2"));
    assert_false(holds("0.0.0.0/0", "::1"));
    assert_false(holds("::/0", "10.0.0.1"));
}

static void a_mapped_address_is_its_ipv4(void **state)
{
    (void)state;
    assert_true(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_true(holds("::ffff:10.0.0.0/104", "10.1.2.3"));
    assert_true(holds("::ffff:10.0.0.0/104", "::ffff:10.1.2.3"));
    assert_false(holds("10.0.0.0/8", "::ffff:11.1.2.3"));
    assert_false(holds("::/0", "::ffff:10.1.2.3"));
    assert_false(holds("10.0.0.0/8", "::10.1.2.3")); /* compatible is not mapped */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_networks),      cmocka_unit_test(refuses_what_is_no_network),
        cmocka_unit_test(a_nul_hides_nothing), cmocka_unit_test(contains_its_own_addresses),
        cmocka_unit_test(contains_no_others),  cmocka_unit_test(a_mapped_address_is_its_ipv4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
