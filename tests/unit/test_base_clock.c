/* SPDX-License-Identifier: Apache-2.0 */
#include "base_clock.h"

#include "base_attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#define S BASE_US_PER_S

static int64_t parse(const char *text)
{
    int64_t us = -77;
    enum base_err err = base_time_parse(base_span_str(text), &us);

    if (err != BASE_OK)
        fail_msg("%s: refused", text);
    return us;
}

static void good_times(void **state)
{
    (void)state;
    assert_int_equal(parse("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(parse("2027-01-01T00:00:00Z"), 1798761600 * S);
    assert_int_equal(parse("2000-02-29T12:34:56Z"), 951827696 * S);
    assert_int_equal(parse("1900-03-01T00:00:00Z"), -2203891200 * S);
    assert_int_equal(parse("0001-01-01T00:00:00Z"), -62135596800 * S);
    assert_int_equal(parse("0000-01-01T00:00:00Z"), -62167219200 * S);
    assert_int_equal(parse("9999-12-31T23:59:59Z"), 253402300799 * S);
    assert_int_equal(parse("2027-01-01t00:00:00z"), 1798761600 * S);
}

static void offsets_and_fractions(void **state)
{
    (void)state;
    assert_int_equal(parse("2027-01-01T01:30:00+01:30"), 1798761600 * S);
    assert_int_equal(parse("2026-12-31T18:00:00-06:00"), 1798761600 * S);
    assert_int_equal(parse("2027-01-01T00:00:00-00:00"), 1798761600 * S);
    assert_int_equal(parse("2027-01-01T23:59:00+23:59"), 1798761600 * S);
    assert_int_equal(parse("1970-01-01T00:00:00.5Z"), 500000);
    assert_int_equal(parse("1970-01-01T00:00:00.000001Z"), 1);
    assert_int_equal(parse("1970-01-01T00:00:00.123456789Z"), 123456);
    assert_int_equal(parse("1970-01-01T00:00:00.12345678901234567890Z"), 123456);
    assert_int_equal(parse("1969-12-31T23:59:59.999999Z"), -1);
    assert_int_equal(parse("1970-01-01T00:00:00.999999999+00:00"), 999999);
}

static void bad_times(void **state)
{
    static const char *const bad[] = {
        "",
        "2027",
        "2027-01-01",
        "2027-01-01T00:00:00",
        "2027-01-01 00:00:00Z",
        "2027-01-01T00:00Z",
        "2027-1-01T00:00:00Z",
        "27-01-01T00:00:00Z",
        "02027-01-01T00:00:00Z",
        "+2027-01-01T00:00:00Z",
        "-001-01-01T00:00:00Z",
        "2027-00-01T00:00:00Z",
        "2027/01-01T00:00:00Z",
        "2027-01/01T00:00:00Z",
        "2027-13-01T00:00:00Z",
        "2027-01-00T00:00:00Z",
        "2027-01-32T00:00:00Z",
        "2027-04-31T00:00:00Z",
        "2027-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2000-02-30T00:00:00Z",
        "2027-01-01T24:00:00Z",
        "2027-01-01T00:60:00Z",
        "2016-12-31T23:59:60Z",
        "2027-01-01T00:00:61Z",
        "2027-01-01T00:00:00.Z",
        "2027-01-01T00:00:00,5Z",
        "2027-01-01T00:00:00+24:00",
        "2027-01-01T00:00:00+01:60",
        "2027-01-01T00:00:00+0100",
        "2027-01-01T00:00:00+01",
        "2027-01-01T00:00:00+1:00",
        "2027-01-01T00:00:00ZZ",
        "2027-01-01T00:00:00Z ",
        " 2027-01-01T00:00:00Z",
        "2027-01-01T00:00:00Z\n",
        "2027/01/01T00:00:00Z",
        "2027-01-01T00.00.00Z",
        "2027-01-01T 0:00:00Z",
        "2027-01-01T-1:00:00Z",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "1798761600",
        "tomorrow",
        "90d",
        "2027-W01-1T00:00:00Z",
        "2027-001T00:00:00Z",
        "\xd9\xa2\xd9\xa0\xd9\xa2\xd9\xa7-01-01T00:00:00Z",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        int64_t us = -77;

        if (base_time_parse(base_span_str(bad[i]), &us) != BASE_INVALID)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(us, 0);
    }
}

static void a_nul_in_a_time_is_bad(void **state)
{
    int64_t us;

    (void)state;
    assert_int_equal(base_time_parse(BASE_SPAN("2027-01-01\0"
                                               "00:00:00Z"),
                                     &us),
                     BASE_INVALID);
    assert_int_equal(base_time_parse(BASE_SPAN("2027-01-01T00:00:00\0"), &us), BASE_INVALID);
    assert_int_equal(base_time_parse(BASE_SPAN("2027-01-01T00:00:00Z\0"), &us), BASE_INVALID);
    assert_int_equal(base_time_parse((struct base_span){0}, &us), BASE_INVALID);
}

static void every_day_agrees_with_libc(void **state)
{
    char ours[BASE_TIME_TEXT_MAX], theirs[64];

    (void)state;
    for (int64_t day = -719528; day < 2932896; day += 97) { /* 0000-01-01 to 9999-12-31 */
        time_t at = day * 86400 + 86399;
        struct tm tm;

        gmtime_r(&at, &tm);
        snprintf(theirs, sizeof theirs, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        base_time_format(at * S + 999999, ours);
        assert_string_equal(ours, theirs);
        assert_int_equal(parse(ours), at * S);
        strftime(theirs, sizeof theirs, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        base_time_format_http(at * S, ours);
        if (tm.tm_year + 1900 >= 1000) /* strftime does not pad years */
            assert_string_equal(ours, theirs);
    }
}

static void times_are_cut_downwards(void **state)
{
    char text[BASE_TIME_TEXT_MAX];

    (void)state;
    base_time_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59Z");
    base_time_format_ms(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    base_time_format_ms(1999, text);
    assert_string_equal(text, "1970-01-01T00:00:00.001Z");
    base_time_format_http(784111777 * S, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void times_out_of_the_calendar_are_clamped(void **state)
{
    char text[BASE_TIME_TEXT_MAX];

    (void)state;
    base_time_format_ms(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    base_time_format(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01T00:00:00Z");
    base_time_format_http(INT64_MIN, text);
    assert_string_equal(text, "Sat, 01 Jan 0000 00:00:00 GMT");
}

static void good_durations(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
        const char *shortest;
    } good[] = {
        {"0s", 0, "0s"},
        {"0d", 0, "0s"},
        {"250ms", 250000, "250ms"},
        {"1000ms", S, "1s"},
        {"90s", 90 * S, "90s"},
        {"60s", 60 * S, "1m"},
        {"10m", 600 * S, "10m"},
        {"24h", 86400 * S, "1d"},
        {"36h", 36 * 3600 * S, "36h"},
        {"90d", 90 * 86400 * S, "90d"},
        {"007s", 7 * S, "7s"},
        {"4000d", 4000 * 86400 * S, "4000d"},
        {"3652424d", 3652424 * BASE_US_PER_DAY, "3652424d"}, /* ten thousand years, less a day */
        {"87658199h", 87658199 * BASE_US_PER_H, "87658199h"},
        {"315569519999s", 315569519999 * S, "315569519999s"},
        {"315569519999999ms", 315569519999 * S + 999000, "315569519999999ms"},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(good); i++) {
        char text[BASE_TIME_TEXT_MAX];
        int64_t us = -1;

        assert_int_equal(base_duration_parse(base_span_str(good[i].text), &us), BASE_OK);
        assert_int_equal(us, good[i].us);
        base_duration_format(us, text);
        assert_string_equal(text, good[i].shortest);
    }
}

static void bad_durations(void **state)
{
    static const char *const bad[] = {
        "",
        "s",
        "ms",
        "5",
        "5 s",
        " 5s",
        "5s ",
        "5s\n",
        "-5s",
        "+5s",
        "5.5s",
        "5,5s",
        "1e3s",
        "0x5s",
        "5S",
        "5M",
        "5H",
        "5D",
        "5sec",
        "5min",
        "5w",
        "5y",
        "5us",
        "5mss",
        "1h30m",
        "3652425d",
        "87658200h",
        "5259492000m",
        "315569520000s",
        "315569520000000ms",
        "9223372036854775807ms",
        "9223372036854775808d",
        "99999999999999999999999999999s",
        "5s5",
        "forever",
        "off",
        "d5",
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        int64_t us = -77;

        if (base_duration_parse(base_span_str(bad[i]), &us) != BASE_INVALID)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(us, 0);
    }
}

static void odd_durations_still_have_a_text(void **state)
{
    char text[BASE_TIME_TEXT_MAX];

    (void)state;
    base_duration_format(1500, text);
    assert_string_equal(text, "1ms");
    base_duration_format(1, text);
    assert_string_equal(text, "0s");
    base_duration_format(-5 * S, text);
    assert_string_equal(text, "0s");
    base_duration_format(INT64_MAX, text);
    assert_string_equal(text, "9223372036854775ms");
}

static void clocks_freeze_and_go_on(void **state)
{
    int64_t wall_us, mono_us;

    (void)state;
    base_clock_freeze(1798761600 * S, 5);
    assert_int_equal(base_clock_wall_us(), 1798761600 * S);
    assert_int_equal(base_clock_mono_us(), 5);
    base_clock_freeze(-1, 6);
    assert_int_equal(base_clock_wall_us(), -1);
    base_clock_release();
    wall_us = base_clock_wall_us();
    mono_us = base_clock_mono_us();
    assert_true(wall_us / S - time(NULL) <= 1 && time(NULL) - wall_us / S <= 1);
    assert_true(mono_us > 0);
    assert_true(base_clock_mono_us() >= mono_us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_times),
        cmocka_unit_test(offsets_and_fractions),
        cmocka_unit_test(bad_times),
        cmocka_unit_test(a_nul_in_a_time_is_bad),
        cmocka_unit_test(every_day_agrees_with_libc),
        cmocka_unit_test(times_are_cut_downwards),
        cmocka_unit_test(times_out_of_the_calendar_are_clamped),
        cmocka_unit_test(good_durations),
        cmocka_unit_test(bad_durations),
        cmocka_unit_test(odd_durations_still_have_a_text),
        cmocka_unit_test(clocks_freeze_and_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
