/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_limit.h"

#include "base_attr.h"
#include "base_clock.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define START_US (INT64_C(1000) * BASE_US_PER_S)

/* --- the arithmetic --- */

static int64_t count_times(int64_t at_us, int64_t per_minute, int64_t now_us, int64_t times)
{
    while (times-- > 0)
        at_us = policy_limit_count(at_us, per_minute, now_us);
    return at_us;
}

/* Rates that do not divide a minute too. */
static const int64_t rates[] = {1, 2, 7, 20, 59, 61, 200, 9999, 99999, 100000, 999990, 1000000};

static void exactly_one_minutes_worth_fits(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_COUNT(rates); i++) {
        int64_t at_us = count_times(0, rates[i], START_US, rates[i] - 1);

        assert_int_equal(policy_limit_wait_us(at_us, rates[i], START_US), 0);
        at_us = policy_limit_count(at_us, rates[i], START_US);
        assert_int_equal(policy_limit_wait_us(at_us, rates[i], START_US),
                         BASE_US_PER_MIN / rates[i]);
    }
}

static void it_refills_evenly(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_COUNT(rates); i++) {
        int64_t step_us = BASE_US_PER_MIN / rates[i];
        int64_t at_us = count_times(0, rates[i], START_US, rates[i]);
        int64_t now_us = START_US;

        while (now_us < START_US + 5 * step_us) {
            assert_true(policy_limit_wait_us(at_us, rates[i], now_us + step_us - 1) > 0);
            now_us += step_us;
            assert_int_equal(policy_limit_wait_us(at_us, rates[i], now_us), 0);
            at_us = policy_limit_count(at_us, rates[i], now_us);
        }
        /* After a minute of quiet it is as new. */
        now_us += BASE_US_PER_MIN;
        at_us = count_times(at_us, rates[i], now_us, rates[i] - 1);
        assert_int_equal(policy_limit_wait_us(at_us, rates[i], now_us), 0);
    }
}

static void it_is_never_emptier_than_empty(void **state)
{
    int64_t at_us = count_times(0, 20, START_US, 100000);

    (void)state;
    assert_int_equal(policy_limit_wait_us(at_us, 20, START_US), 3 * BASE_US_PER_S);
    assert_int_equal(policy_limit_wait_us(at_us, 20, START_US + 3 * BASE_US_PER_S), 0);
}

/* --- the table --- */

/* `address` NULL: unknown. */
static struct policy_limit_subject from(const char *address, const char *key_id)
{
    static uint8_t memory[8][16];
    static unsigned next;
    uint8_t *bytes = memory[next++ % BASE_COUNT(memory)];
    int family = !address ? 0 : strchr(address, ':') ? AF_INET6 : AF_INET;

    memset(bytes, 0, sizeof memory[0]);
    if (!address)
        return (struct policy_limit_subject){0, bytes, base_span_str(key_id)};
    assert_int_equal(inet_pton(family, address, bytes), 1);
    return (struct policy_limit_subject){family, bytes, base_span_str(key_id)};
}

/* One attempt, which fails unless it has to wait. */
static int64_t try_once(struct policy_limit *limit, const char *address, const char *key_id,
                        int64_t now_us)
{
    struct policy_limit_subject subject = from(address, key_id);
    int64_t wait_s = policy_limit_check(limit, &subject, now_us);

    if (wait_s == 0)
        assert_int_equal(policy_limit_failed(limit, &subject, now_us), 0);
    return wait_s;
}

/* How many of `tries` attempts were let through. */
static int passed(struct policy_limit *limit, const char *address, const char *key_id,
                  int64_t now_us, int tries)
{
    int count = 0;

    while (tries-- > 0)
        count += try_once(limit, address, key_id, now_us) == 0;
    return count;
}

static int setup(void **state)
{
    *state = policy_limit_new(20, 4096);
    return 0;
}

static int teardown(void **state)
{
    policy_limit_free((struct policy_limit **)state);
    assert_null(*state);
    policy_limit_free((struct policy_limit **)state);
    return 0;
}

static void twenty_pass_and_then_one_each_three_seconds(void **state)
{
    struct policy_limit *limit = *state;

    assert_int_equal(passed(limit, "192.0.2.1", "a", START_US, 20), 20);
    assert_int_equal(try_once(limit, "192.0.2.1", "a", START_US), 3);
    assert_int_equal(try_once(limit, "192.0.2.1", "a", START_US + 1), 3);
    assert_int_equal(try_once(limit, "192.0.2.1", "a", START_US + 2 * BASE_US_PER_S), 1);
    assert_int_equal(try_once(limit, "192.0.2.1", "a", START_US + 3 * BASE_US_PER_S - 1), 1);
    assert_int_equal(try_once(limit, "192.0.2.1", "a", START_US + 3 * BASE_US_PER_S), 0);
    assert_int_equal(try_once(limit, "192.0.2.1", "a", START_US + 3 * BASE_US_PER_S), 3);
    assert_int_equal(passed(limit, "192.0.2.1", "a", START_US + 2 * BASE_US_PER_MIN, 50), 20);
}

/* Clients that a proxy would not name: one bucket, and nobody else's. */
static void unknown_is_an_address_of_its_own(void **state)
{
    static const char *const others[] = {"0.0.0.0", "::", "127.0.0.1"};
    struct policy_limit *limit = *state;

    assert_int_equal(passed(limit, NULL, "a", START_US, 50), 20);
    for (size_t i = 0; i < BASE_COUNT(others); i++)
        assert_int_equal(passed(limit, others[i], "a", START_US, 50), 20);
    assert_int_equal(passed(limit, NULL, "b", START_US, 50), 20);
    assert_int_equal(try_once(limit, NULL, "a", START_US), 3);
}

static void others_are_not_touched(void **state)
{
    struct policy_limit *limit = *state;

    assert_int_equal(passed(limit, "192.0.2.1", "a", START_US, 50), 20);
    assert_int_equal(passed(limit, "192.0.2.1", "b", START_US, 50), 20); /* behind the same NAT */
    assert_int_equal(passed(limit, "192.0.2.2", "a", START_US, 50), 20); /* the key elsewhere */
    assert_int_equal(passed(limit, "192.0.2.3", "", START_US, 50), 20);
}

static void an_address_has_ten_times_as_many(void **state)
{
    struct policy_limit *limit = *state;
    char key_id[] = "a";

    for (; key_id[0] < 'a' + 10; key_id[0]++)
        assert_int_equal(passed(limit, "192.0.2.1", key_id, START_US, 21), 20);
    assert_int_equal(passed(limit, "192.0.2.1", "new", START_US, 5), 0);
    assert_int_equal(try_once(limit, "192.0.2.1", "new", START_US), 1); /* 0.3 s, in seconds */
    assert_int_equal(passed(limit, "192.0.2.1", "new", START_US + 300000, 5), 1);
    assert_int_equal(passed(limit, "192.0.2.2", "new", START_US, 5), 5);
}

static void a_limited_pair_does_not_use_up_its_address(void **state)
{
    struct policy_limit *limit = *state;

    assert_int_equal(passed(limit, "192.0.2.1", "mad", START_US, 100000), 20);
    assert_int_equal(passed(limit, "192.0.2.1", "good", START_US, 20), 20);
}

static void ipv6_counts_by_its_64(void **state)
{
    struct policy_limit *limit = *state;

    assert_int_equal(passed(limit, "2001:db8::1", "a", START_US, 10), 10);
    assert_int_equal(passed(limit, "2001:db8::ffff:ffff:ffff:2", "a", START_US, 20), 10);
    assert_int_equal(passed(limit, "2001:db8:0:1::1", "a", START_US, 50), 20);
}

static void ipv4_in_ipv6_counts_as_ipv4(void **state)
{
    struct policy_limit *limit = *state;

    assert_int_equal(passed(limit, "::ffff:192.0.2.1", "a", START_US, 15), 15);
    assert_int_equal(passed(limit, "192.0.2.1", "a", START_US, 50), 5);
    assert_int_equal(passed(limit, "::ffff:192.0.2.2", "a", START_US, 50), 20);
    /* The bytes of an IPv4 address in front of an IPv6 one are another address. */
    assert_int_equal(passed(limit, "c000:201::", "a", START_US, 50), 20);
}

static void without_an_address_there_is_a_bucket_too(void **state)
{
    struct policy_limit_subject nobody = {0, NULL, BASE_SPAN_INIT("a")};
    int count = 0;

    while (count < 100 && policy_limit_check(*state, &nobody, START_US) == 0) {
        assert_int_equal(policy_limit_failed(*state, &nobody, START_US), 0);
        count++;
    }
    assert_int_equal(count, 20);
}

/* All checked before the first has failed. */
static void many_at_once_are_told_apart_when_they_fail(void **state)
{
    struct policy_limit *limit = *state;
    struct policy_limit_subject subject = from("192.0.2.1", "a");
    int told = 0;

    for (int i = 0; i < 1000; i++)
        assert_int_equal(policy_limit_check(limit, &subject, START_US), 0);
    for (int i = 0; i < 1000; i++)
        told += policy_limit_failed(limit, &subject, START_US) == 0;
    assert_int_equal(told, 20);
    assert_int_equal(policy_limit_check(limit, &subject, START_US), 3);
}

static void off_is_off(void **state)
{
    struct policy_limit *limit = policy_limit_new(0, 1);
    struct policy_limit_subject subject = from("192.0.2.1", "a");

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(policy_limit_check(limit, &subject, START_US), 0);
        assert_int_equal(policy_limit_failed(limit, &subject, START_US), 0);
    }
    policy_limit_free(&limit);
}

/* One failure each of that many addresses. */
static void crowd(struct policy_limit *limit, uint32_t addresses, int64_t now_us)
{
    for (uint32_t i = 0; i < addresses; i++) {
        uint32_t address = htonl(0x0a000000 + i);
        struct policy_limit_subject subject = {AF_INET, (uint8_t *)&address, BASE_SPAN("x")};

        policy_limit_failed(limit, &subject, now_us);
    }
}

static void a_full_table_keeps_the_worst(void **state)
{
    struct policy_limit *limit = policy_limit_new(20, 1); /* the smallest: 1,024 */

    (void)state;
    assert_int_equal(passed(limit, "192.0.2.1", "a", START_US, 50), 20);
    crowd(limit, 100000, START_US);
    assert_int_equal(passed(limit, "192.0.2.1", "a", START_US, 50), 0);
    /* Once it has recovered it gives way like any other, and starts afresh. */
    crowd(limit, 100000, START_US + 2 * BASE_US_PER_MIN);
    assert_int_equal(passed(limit, "192.0.2.1", "a", START_US + 2 * BASE_US_PER_MIN, 50), 20);
    policy_limit_free(&limit);
}

static void a_table_with_room_forgets_nobody(void **state)
{
    struct policy_limit *limit = policy_limit_new(1, 60000); /* 65,536 */

    (void)state;
    crowd(limit, 20000, START_US); /* two buckets each; stripes are not filled alike */
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t address = htonl(0x0a000000 + i);
        struct policy_limit_subject subject = {AF_INET, (uint8_t *)&address, BASE_SPAN("x")};

        assert_int_equal(policy_limit_check(limit, &subject, START_US), 60);
    }
    policy_limit_free(&limit);
}

/* --- threads --- */

#define N_THREADS 8

struct crowd_of_threads {
    struct policy_limit *limit;
    _Atomic int told;
};

static void *fail_often(void *data)
{
    struct crowd_of_threads *all = data;
    static const uint8_t address[] = {192, 0, 2, 1};
    struct policy_limit_subject shared = {AF_INET, address, BASE_SPAN("a")};

    for (uint32_t i = 0; i < 2000; i++) {
        uint8_t own[4] = {10, 0, (uint8_t)(i >> 8), (uint8_t)i};
        struct policy_limit_subject other = {AF_INET, own, BASE_SPAN("b")};

        if (policy_limit_check(all->limit, &shared, START_US) == 0 &&
            policy_limit_failed(all->limit, &shared, START_US) == 0)
            atomic_fetch_add(&all->told, 1);
        policy_limit_check(all->limit, &other, START_US);
        policy_limit_failed(all->limit, &other, START_US);
    }
    return NULL;
}

static void threads_share_one_limit(void **state)
{
    struct crowd_of_threads all = {.limit = policy_limit_new(20, 65536)};
    pthread_t threads[N_THREADS];

    (void)state;
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_often, &all), 0);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(all.told, 20);
    policy_limit_free(&all.limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_one_minutes_worth_fits),
        cmocka_unit_test(it_refills_evenly),
        cmocka_unit_test(it_is_never_emptier_than_empty),
        cmocka_unit_test_setup_teardown(twenty_pass_and_then_one_each_three_seconds, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(others_are_not_touched, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_is_an_address_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_has_ten_times_as_many, setup, teardown),
        cmocka_unit_test_setup_teardown(a_limited_pair_does_not_use_up_its_address, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(ipv6_counts_by_its_64, setup, teardown),
        cmocka_unit_test_setup_teardown(ipv4_in_ipv6_counts_as_ipv4, setup, teardown),
        cmocka_unit_test_setup_teardown(without_an_address_there_is_a_bucket_too, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once_are_told_apart_when_they_fail, setup,
                                        teardown),
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(a_full_table_keeps_the_worst),
        cmocka_unit_test(a_table_with_room_forgets_nobody),
        cmocka_unit_test(threads_share_one_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
