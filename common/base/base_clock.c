/* SPDX-License-Identifier: Apache-2.0 */
/* Two clocks, and the text forms of instants and durations. The calendar is computed here: gmtime()
 * and strftime() know locales and time zones, which have no place in a protocol. */
#include "base_clock.h"

#include "base_attr.h"

#include <stdatomic.h>
#include <time.h>

#define S_PER_DAY 86400

/* 0000-01-01T00:00:00Z: the first that four digits of year can say. */
#define EARLIEST_US (INT64_C(-62167219200) * BASE_US_PER_S)

static _Atomic bool frozen;
static _Atomic int64_t frozen_wall_us, frozen_mono_us;

/* Both are in the vDSO: no system call. */
static int64_t read_clock(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return now.tv_sec * BASE_US_PER_S + now.tv_nsec / 1000;
}

int64_t base_clock_wall_us(void)
{
    if (atomic_load_explicit(&frozen, memory_order_acquire))
        return atomic_load_explicit(&frozen_wall_us, memory_order_relaxed);
    return read_clock(CLOCK_REALTIME);
}

int64_t base_clock_mono_us(void)
{
    if (atomic_load_explicit(&frozen, memory_order_acquire))
        return atomic_load_explicit(&frozen_mono_us, memory_order_relaxed);
    return read_clock(CLOCK_BOOTTIME);
}

void base_clock_freeze(int64_t wall_us, int64_t mono_us)
{
    atomic_store(&frozen_wall_us, wall_us);
    atomic_store(&frozen_mono_us, mono_us);
    atomic_store(&frozen, true);
}

void base_clock_release(void)
{
    atomic_store(&frozen, false);
}

struct civil {
    int year, month, day; /* month and day from 1 */
    int hour, minute, second;
    int weekday; /* 0: Sunday */
    int us;
};

/* Days since 1970-01-01 and back, in the proleptic Gregorian calendar. Years are counted from
 * March, so that the leap day is the last of its year, and in eras of 400 years, which are all
 * alike. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

static void set_date(struct civil *out, int64_t days)
{
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;

    out->day = (int)(day_of_year - (153 * march_month + 2) / 5 + 1);
    out->month = (int)(march_month < 10 ? march_month + 3 : march_month - 9);
    out->year = (int)(year_of_era + era * 400) + (out->month <= 2);
    out->weekday = (int)(((days + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
}

static struct civil civil_from_us(int64_t wall_us)
{
    struct civil out;
    int64_t days, rest_us;
    int second;

    if (wall_us < EARLIEST_US)
        wall_us = EARLIEST_US;
    if (wall_us > BASE_TIME_LATEST_US)
        wall_us = BASE_TIME_LATEST_US;
    days = wall_us / BASE_US_PER_DAY;
    rest_us = wall_us % BASE_US_PER_DAY;
    if (rest_us < 0) { /* C divides towards zero, calendars downwards */
        rest_us += BASE_US_PER_DAY;
        days--;
    }
    set_date(&out, days);
    second = (int)(rest_us / BASE_US_PER_S);
    out.us = (int)(rest_us % BASE_US_PER_S);
    out.hour = second / 3600;
    out.minute = second / 60 % 60;
    out.second = second % 60;
    return out;
}

static char *put_digits(char *to, int value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value /= 10)
        to[i] = (char)('0' + value % 10);
    return to + digits;
}

static char *put_time_of_day(char *to, const struct civil *at)
{
    to = put_digits(to, at->hour, 2);
    *to++ = ':';
    to = put_digits(to, at->minute, 2);
    *to++ = ':';
    return put_digits(to, at->second, 2);
}

static char *put_date_time(char *to, const struct civil *at)
{
    to = put_digits(to, at->year, 4);
    *to++ = '-';
    to = put_digits(to, at->month, 2);
    *to++ = '-';
    to = put_digits(to, at->day, 2);
    *to++ = 'T';
    return put_time_of_day(to, at);
}

void base_time_format(int64_t wall_us, char out[BASE_TIME_TEXT_MAX])
{
    struct civil at = civil_from_us(wall_us);
    char *to = put_date_time(out, &at);

    *to++ = 'Z';
    *to = '\0';
}

void base_time_format_ms(int64_t wall_us, char out[BASE_TIME_TEXT_MAX])
{
    struct civil at = civil_from_us(wall_us);
    char *to = put_date_time(out, &at);

    *to++ = '.';
    to = put_digits(to, at.us / 1000, 3);
    *to++ = 'Z';
    *to = '\0';
}

void base_time_format_http(int64_t wall_us, char out[BASE_TIME_TEXT_MAX])
{
    static const char weekdays[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct civil at = civil_from_us(wall_us);
    char *to = out;

    to = mempcpy(to, weekdays + 3 * at.weekday, 3);
    to = mempcpy(to, ", ", 2);
    to = put_digits(to, at.day, 2);
    *to++ = ' ';
    to = mempcpy(to, months + 3 * (at.month - 1), 3);
    *to++ = ' ';
    to = put_digits(to, at.year, 4);
    *to++ = ' ';
    to = put_time_of_day(to, &at);
    memcpy(to, " GMT", 5);
}

/* Takes exactly `digits` digits off the front; they must make a number from min to max. */
static bool take_number(struct base_span *text, int digits, int min, int max, int *out)
{
    int value = 0;

    if (text->len < (size_t)digits)
        return false;
    for (int i = 0; i < digits; i++) {
        char c = text->ptr[i];

        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *text = base_span_of(text->ptr + digits, text->len - (size_t)digits);
    *out = value;
    return value >= min && value <= max;
}

/* Takes one of `chars`, and says which; 0 when the text goes on differently. */
static char take_char(struct base_span *text, const char *chars)
{
    char c = text->len ? text->ptr[0] : '\0';

    if (c == '\0' || !strchr(chars, c))
        return '\0';
    *text = base_span_of(text->ptr + 1, text->len - 1);
    return c;
}

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static bool take_date(struct base_span *text, struct civil *out)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return take_number(text, 4, 0, 9999, &out->year) && take_char(text, "-") &&
           take_number(text, 2, 1, 12, &out->month) && take_char(text, "-") &&
           take_number(text, 2, 1, 31, &out->day) &&
           out->day <= month_days[out->month - 1] + (out->month == 2 && is_leap(out->year));
}

/* At least one digit; six count. */
static bool take_fraction(struct base_span *text, int *out_us)
{
    int digits = 0;

    *out_us = 0;
    if (!take_char(text, "."))
        return true;
    for (char c; (c = take_char(text, "0123456789")); digits++)
        if (digits < 6)
            *out_us = *out_us * 10 + (c - '0');
    for (int i = digits; i < 6; i++)
        *out_us *= 10;
    return digits >= 1;
}

static bool take_time(struct base_span *text, struct civil *out)
{
    return take_number(text, 2, 0, 23, &out->hour) && take_char(text, ":") &&
           take_number(text, 2, 0, 59, &out->minute) && take_char(text, ":") &&
           take_number(text, 2, 0, 59, &out->second) && take_fraction(text, &out->us);
}

static bool take_offset(struct base_span *text, int *out_minutes)
{
    char sign = take_char(text, "Zz+-");
    int hours, minutes;

    *out_minutes = 0;
    if (sign == 'Z' || sign == 'z')
        return true;
    if (!sign || !take_number(text, 2, 0, 23, &hours) || !take_char(text, ":") ||
        !take_number(text, 2, 0, 59, &minutes))
        return false;
    *out_minutes = (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

enum base_err base_time_parse(struct base_span text, int64_t *out_us)
{
    struct civil at;
    int offset_minutes;
    int64_t seconds, us;

    *out_us = 0;
    if (!take_date(&text, &at) || !take_char(&text, "Tt") || !take_time(&text, &at) ||
        !take_offset(&text, &offset_minutes) || text.len)
        return BASE_INVALID;
    seconds = days_from_civil(at.year, at.month, at.day) * S_PER_DAY + at.hour * 3600 +
              (at.minute - offset_minutes) * 60 + at.second;
    us = seconds * BASE_US_PER_S + at.us;
    /* The offset led out of the years we can write. */
    if (us < EARLIEST_US || us > BASE_TIME_LATEST_US)
        return BASE_INVALID;
    *out_us = us;
    return BASE_OK;
}

/* From long to short, so that the first that divides gives the shortest text. */
static const struct {
    const char *name;
    int64_t us;
} units[] = {
    {"d", BASE_US_PER_DAY}, {"h", BASE_US_PER_H},   {"m", BASE_US_PER_MIN},
    {"s", BASE_US_PER_S},   {"ms", BASE_US_PER_MS},
};

enum base_err base_duration_parse(struct base_span text, int64_t *out_us)
{
    /* No two times that have a text are further apart. */
    const int64_t longest_us = BASE_TIME_LATEST_US - EARLIEST_US;
    int64_t value = 0;
    size_t digits = 0;

    *out_us = 0;
    for (; digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9'; digits++) {
        value = value * 10 + (text.ptr[digits] - '0');
        if (value > longest_us) /* before it can overflow */
            return BASE_INVALID;
    }
    if (digits == 0)
        return BASE_INVALID;
    text = base_span_of(text.ptr + digits, text.len - digits);
    for (size_t i = 0; i < BASE_COUNT(units); i++)
        if (base_span_eq(text, base_span_str(units[i].name))) {
            if (value > longest_us / units[i].us)
                return BASE_INVALID;
            *out_us = value * units[i].us;
            return BASE_OK;
        }
    return BASE_INVALID;
}

void base_duration_format(int64_t us, char out[BASE_TIME_TEXT_MAX])
{
    struct base_buf text;
    size_t unit = 0;

    base_buf_init_fixed(&text, out, BASE_TIME_TEXT_MAX);
    us -= us % BASE_US_PER_MS; /* there is no shorter unit */
    if (us <= 0) {
        BASE_BUF_LIT(&text, "0s");
    } else {
        while (us % units[unit].us)
            unit++;
        base_buf_put_i64(&text, us / units[unit].us);
        base_buf_put_str(&text, units[unit].name);
    }
    (void)base_buf_cstr(&text);
}
