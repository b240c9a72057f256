/* SPDX-License-Identifier: Apache-2.0 */
#include "http_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_address(void **state BASE_UNUSED)
{
    static const struct {
        const char *text, *formatted;
        int family;
    } cases[] = {
        {"10.0.0.1", "10.0.0.1", AF_INET},
        {"0.0.0.0", "0.0.0.0", AF_INET},
        {"255.255.255.255", "255.255.255.255", AF_INET},
        {"::1", "::1", AF_INET6},
        {"::", "::", AF_INET6},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1", AF_INET6},
        {"::ffff:10.0.0.1", "10.0.0.1", AF_INET},
        {"::FFFF:a00:1", "10.0.0.1", AF_INET},
        {"::10.0.0.1", "::10.0.0.1", AF_INET6},
        {"64:ff9b::10.0.0.1", "64:ff9b::a00:1", AF_INET6},
        {"1111:2222:3333:4444:5555:6666:255.255.255.255", "1111:2222:3333:4444:5555:6666:ffff:ffff",
         AF_INET6},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_address address;
        char text[HTTP_ADDRESS_TEXT_MAX];

        assert_int_equal(http_address_parse(base_span_str(cases[i].text), &address), BASE_OK);
        assert_int_equal(address.family, cases[i].family);
        assert_int_equal(address.port, 0);
        http_address_format(&address, text);
        assert_string_equal(text, cases[i].formatted);
    }
}

static void test_no_address(void **state BASE_UNUSED)
{
    struct http_address address = {0};
    char text[HTTP_ADDRESS_TEXT_MAX] = "x";

    http_address_format(&address, text);
    assert_string_equal(text, "unknown");
}

/* Neither of all networks holds it, nor the one that zeros would be in. */
static void test_nowhere(void **state BASE_UNUSED)
{
    static const char *const networks[] = {"0.0.0.0/0", "0.0.0.0", "::/0", "::"};
    const struct http_address unknown = {0};

    for (size_t i = 0; i < BASE_COUNT(networks); i++) {
        struct http_cidr cidr;

        assert_int_equal(http_cidr_parse(base_span_str(networks[i]), &cidr), BASE_OK);
        assert_false(http_cidr_contains(&cidr, &unknown));
    }
}

static void test_bad_address(void **state BASE_UNUSED)
{
    static const struct base_span cases[] = {
        BASE_SPAN_INIT(""),
        BASE_SPAN_INIT(" "),
        BASE_SPAN_INIT("localhost"),
        BASE_SPAN_INIT("10"),
        BASE_SPAN_INIT("10.1"),
        BASE_SPAN_INIT("10.0.0"),
        BASE_SPAN_INIT("10.0.0."),
        BASE_SPAN_INIT("10.0.0.256"),
        BASE_SPAN_INIT("10.0.0.01"),
        BASE_SPAN_INIT("010.0.0.1"),
        BASE_SPAN_INIT("0x0a.0.0.1"),
        BASE_SPAN_INIT("10.0.0.1.1"),
        BASE_SPAN_INIT("10.0.0.1 "),
        BASE_SPAN_INIT(" 10.0.0.1"),
        BASE_SPAN_INIT("10.0.0.1:80"),
        BASE_SPAN_INIT("10.0.0.1/32"),
        BASE_SPAN_INIT("10.0.0.1\0"),
        BASE_SPAN_INIT("10.0.0.1\0x"),
        BASE_SPAN_INIT("-1.0.0.1"),
        BASE_SPAN_INIT(":"),
        BASE_SPAN_INIT(":::"),
        BASE_SPAN_INIT("[::1]"),
        BASE_SPAN_INIT("::1%lo"),
        BASE_SPAN_INIT("::1/128"),
        BASE_SPAN_INIT("::g"),
        BASE_SPAN_INIT("1::2::3"),
        BASE_SPAN_INIT("1:2:3:4:5:6:7"),
        BASE_SPAN_INIT("1:2:3:4:5:6:7:8:9"),
        BASE_SPAN_INIT("12345::"),
        BASE_SPAN_INIT("::1\0"),
        BASE_SPAN_INIT("1111:2222:3333:4444:5555:6666:255.255.255.2555"), /* a byte too long */
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_address address = {.family = AF_INET};

        assert_int_equal(http_address_parse(cases[i], &address), BASE_INVALID);
        assert_int_equal(address.family, 0);
    }
}

static void test_cidr(void **state BASE_UNUSED)
{
    static const struct {
        const char *cidr, *address;
        bool contains;
    } cases[] = {
        {"10.0.0.0/8", "10.0.0.0", true},
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"10.0.0.0/8", "::10.1.2.3", false},
        {"10.0.0.0/8", "a00::", false},
        {"0.0.0.0/0", "1.2.3.4", true},
        {"0.0.0.0/0", "::1", false},
        {"10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1", "10.0.0.2", false},
        {"10.0.0.1/32", "10.0.0.1", true},
        {"10.0.0.128/25", "10.0.0.128", true},
        {"10.0.0.128/25", "10.0.0.127", false},
        {"10.0.0.2/31", "10.0.0.3", true},
        {"10.0.0.2/31", "10.0.0.4", false},
        {"172.16.0.0/12", "172.31.255.255", true},
        {"172.16.0.0/12", "172.32.0.0", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "10.0.0.1", false},
        {"::1", "::1", true},
        {"::1", "::2", false},
        {"::1/128", "::1", true},
        {"2001:db8::/32", "2001:db8:ffff::", true},
        {"2001:db8::/32", "2001:db9::", false},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"fe80::/10", "febf::1", true},
        {"fe80::/10", "fec0::1", false},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "11.1.2.3", false},
        {"::ffff:0:0/96", "1.2.3.4", true},
        {"::ffff:10.0.0.1", "10.0.0.1", true},
        {"::ffff:10.0.0.1", "10.0.0.2", false},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_cidr cidr;
        struct http_address address;

        assert_int_equal(http_cidr_parse(base_span_str(cases[i].cidr), &cidr), BASE_OK);
        assert_int_equal(http_address_parse(base_span_str(cases[i].address), &address), BASE_OK);
        if (http_cidr_contains(&cidr, &address) != cases[i].contains)
            fail_msg("%s and %s", cases[i].cidr, cases[i].address);
    }
}

static void test_bad_cidr(void **state BASE_UNUSED)
{
    static const struct base_span cases[] = {
        BASE_SPAN_INIT(""),
        BASE_SPAN_INIT("/"),
        BASE_SPAN_INIT("/8"),
        BASE_SPAN_INIT("10.0.0.0/"),
        BASE_SPAN_INIT("10.0.0.0/33"),
        BASE_SPAN_INIT("10.0.0.0/-1"),
        BASE_SPAN_INIT("10.0.0.0/+8"),
        BASE_SPAN_INIT("10.0.0.0/08"),
        BASE_SPAN_INIT("10.0.0.0/00"),
        BASE_SPAN_INIT("10.0.0.0/8 "),
        BASE_SPAN_INIT("10.0.0.0 /8"),
        BASE_SPAN_INIT("10.0.0.0/8/8"),
        BASE_SPAN_INIT("10.0.0.0/255.0.0.0"),
        BASE_SPAN_INIT("10.0.0.0/8\0"),
        BASE_SPAN_INIT("10.0.0.0/99999"),
        BASE_SPAN_INIT("10.0.0.0/4294967304"),
        BASE_SPAN_INIT("10.0.0.1/31"),
        BASE_SPAN_INIT("10.0.0.1/8"),
        BASE_SPAN_INIT("10.1.0.0/8"),
        BASE_SPAN_INIT("0.0.0.1/0"),
        BASE_SPAN_INIT("10/8"),
        BASE_SPAN_INIT("::/129"),
        BASE_SPAN_INIT("::1/127"),
        BASE_SPAN_INIT("2001:db8::1/32"),
        BASE_SPAN_INIT("[::]/0"),
        BASE_SPAN_INIT("::ffff:10.0.0.0/8"), /* IPv4's own prefix, in IPv6's clothes */
        BASE_SPAN_INIT("::ffff:0:0/95"),
        BASE_SPAN_INIT("localhost"),
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_cidr cidr = {.network.family = AF_INET};

        if (http_cidr_parse(cases[i], &cidr) != BASE_INVALID)
            fail_msg("%.*s", BASE_SPAN_ARGS(cases[i]));
        assert_int_equal(cidr.network.family, 0);
    }
}

static void test_listen(void **state BASE_UNUSED)
{
    static const struct {
        const char *text, *formatted;
        unsigned port;
    } cases[] = {
        {"127.0.0.1:8080", "127.0.0.1", 8080}, {"0.0.0.0:0", "0.0.0.0", 0},
        {"0.0.0.0:65535", "0.0.0.0", 65535},   {"[::]:8080", "::", 8080},
        {"[2001:db8::1]:1", "2001:db8::1", 1}, {"[::ffff:127.0.0.1]:80", "127.0.0.1", 80},
        {"localhost:80", "127.0.0.1", 80},     {"LocalHost:80", "127.0.0.1", 80},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_address address;
        char text[HTTP_ADDRESS_TEXT_MAX];

        assert_int_equal(http_listen_parse(base_span_str(cases[i].text), &address), BASE_OK);
        http_address_format(&address, text);
        assert_string_equal(text, cases[i].formatted);
        assert_int_equal(address.port, cases[i].port);
    }
}

static void test_bad_listen(void **state BASE_UNUSED)
{
    static const struct base_span cases[] = {
        BASE_SPAN_INIT(""),
        BASE_SPAN_INIT(":"),
        BASE_SPAN_INIT(":80"),
        BASE_SPAN_INIT("80"),
        BASE_SPAN_INIT("*:80"),
        BASE_SPAN_INIT("127.0.0.1"),
        BASE_SPAN_INIT("127.0.0.1:"),
        BASE_SPAN_INIT("127.0.0.1:65536"),
        BASE_SPAN_INIT("127.0.0.1:100000"),
        BASE_SPAN_INIT("127.0.0.1:-1"),
        BASE_SPAN_INIT("127.0.0.1:+80"),
        BASE_SPAN_INIT("127.0.0.1:080"),
        BASE_SPAN_INIT("127.0.0.1:http"),
        BASE_SPAN_INIT("127.0.0.1: 80"),
        BASE_SPAN_INIT("127.0.0.1:80 "),
        BASE_SPAN_INIT("127.0.0.1 :80"),
        BASE_SPAN_INIT("127.0.0.1:80:80"),
        BASE_SPAN_INIT("127.0.0.1:80\0"),
        BASE_SPAN_INIT("[127.0.0.1]:80"),
        BASE_SPAN_INIT("[localhost]:80"),
        BASE_SPAN_INIT("[]:80"),
        BASE_SPAN_INIT("[:80"),
        BASE_SPAN_INIT("]:80"),
        BASE_SPAN_INIT("[::1:80"),
        BASE_SPAN_INIT("::1]:80"),
        BASE_SPAN_INIT("::1:80"),
        BASE_SPAN_INIT("[::1]"),
        BASE_SPAN_INIT("[::1]80"),
        BASE_SPAN_INIT("[::1%lo]:80"),
        BASE_SPAN_INIT("[[::1]]:80"),
        BASE_SPAN_INIT("example.com:80"),
        BASE_SPAN_INIT("localhost.:80"),
        BASE_SPAN_INIT("localhost"),
        BASE_SPAN_INIT("http://127.0.0.1:80"),
        BASE_SPAN_INIT("127.0.0.1:80,127.0.0.1:81"),
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_address address = {.family = AF_INET};

        if (http_listen_parse(cases[i], &address) != BASE_INVALID)
            fail_msg("%.*s", BASE_SPAN_ARGS(cases[i]));
        assert_int_equal(address.family, 0);
    }
}

static void test_forwarded(void **state BASE_UNUSED)
{
    static const struct {
        const char *text, *formatted;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1"},           {"192.0.2.1:1", "192.0.2.1"},
        {"192.0.2.1:65535", "192.0.2.1"},     {"2001:db8::1", "2001:db8::1"},
        {"2001:db8::1:80", "2001:db8::1:80"}, {"[2001:db8::1]", "2001:db8::1"},
        {"[2001:db8::1]:80", "2001:db8::1"},  {"[::ffff:192.0.2.1]:80", "192.0.2.1"},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_address address;
        char text[HTTP_ADDRESS_TEXT_MAX];

        assert_int_equal(http_forwarded_parse(base_span_str(cases[i].text), &address), BASE_OK);
        http_address_format(&address, text);
        assert_string_equal(text, cases[i].formatted);
    }
}

static void test_bad_forwarded(void **state BASE_UNUSED)
{
    static const struct base_span cases[] = {
        BASE_SPAN_INIT(""),
        BASE_SPAN_INIT(":"),
        BASE_SPAN_INIT(":80"),
        BASE_SPAN_INIT("unknown"),
        BASE_SPAN_INIT("_hidden"),
        BASE_SPAN_INIT("_hidden:80"),
        BASE_SPAN_INIT("localhost"),
        BASE_SPAN_INIT("localhost:80"),
        BASE_SPAN_INIT("example.com"),
        BASE_SPAN_INIT("192.0.2.1:"),
        BASE_SPAN_INIT("192.0.2.1:080"),
        BASE_SPAN_INIT("192.0.2.1:65536"),
        BASE_SPAN_INIT("192.0.2.1:_http"),
        BASE_SPAN_INIT("192.0.2.1:80:80"),
        BASE_SPAN_INIT("192.0.2.1/32"),
        BASE_SPAN_INIT("192.0.2.1/32:80"),
        BASE_SPAN_INIT("192.0.2.1\0"),
        BASE_SPAN_INIT("[192.0.2.1]"),
        BASE_SPAN_INIT("[192.0.2.1]:80"),
        BASE_SPAN_INIT("[]"),
        BASE_SPAN_INIT("["),
        BASE_SPAN_INIT("[2001:db8::1"),
        BASE_SPAN_INIT("2001:db8::1]"),
        BASE_SPAN_INIT("2001:db8::1]:80"),
        BASE_SPAN_INIT("[2001:db8::1]80"),
        BASE_SPAN_INIT("[2001:db8::1]:"),
        BASE_SPAN_INIT("[[2001:db8::1]]"),
        BASE_SPAN_INIT("[2001:db8::/32]:80"),
        BASE_SPAN_INIT("[fe80::1%lo]:80"),
        BASE_SPAN_INIT("\"[2001:db8::1]\""),
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        struct http_address address = {.family = AF_INET};

        if (http_forwarded_parse(cases[i], &address) != BASE_INVALID)
            fail_msg("%.*s", BASE_SPAN_ARGS(cases[i]));
        assert_int_equal(address.family, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address),     cmocka_unit_test(test_no_address),
        cmocka_unit_test(test_bad_address), cmocka_unit_test(test_cidr),
        cmocka_unit_test(test_bad_cidr),    cmocka_unit_test(test_listen),
        cmocka_unit_test(test_bad_listen),  cmocka_unit_test(test_nowhere),
        cmocka_unit_test(test_forwarded),   cmocka_unit_test(test_bad_forwarded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
