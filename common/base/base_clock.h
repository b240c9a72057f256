/* SPDX-License-Identifier: Apache-2.0 */
/* Wall time and monotonic time, RFC 3339 and durations. All values are microseconds in int64_t and
 * carry the suffix _us; wall time counts from 1970-01-01T00:00:00Z without leap seconds. Deadlines
 * use monotonic time only, so that a step of the wall clock breaks no wait. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base_buf.h"
#include "base_err.h"

#define BASE_US_PER_MS  INT64_C(1000)
#define BASE_US_PER_S   INT64_C(1000000)
#define BASE_US_PER_MIN (60 * BASE_US_PER_S)
#define BASE_US_PER_H   (60 * BASE_US_PER_MIN)
#define BASE_US_PER_DAY (24 * BASE_US_PER_H)

int64_t base_clock_wall_us(void);
/* Goes on while the machine sleeps (CLOCK_BOOTTIME). */
int64_t base_clock_mono_us(void);

/* Unit tests only: both clocks stand still at these values until base_clock_release(). */
void base_clock_freeze(int64_t wall_us, int64_t mono_us);
void base_clock_release(void);

/* 9999-12-31T23:59:59.999999Z: after it four digits of year have no text. */
#define BASE_TIME_LATEST_US (INT64_C(253402300800) * BASE_US_PER_S - 1)

/* "2027-01-01T00:00:00Z", cut to whole seconds; `_ms` with three decimals. Years 0000 to 9999. */
#define BASE_TIME_TEXT_MAX 32
void base_time_format(int64_t wall_us, char out[BASE_TIME_TEXT_MAX]);
void base_time_format_ms(int64_t wall_us, char out[BASE_TIME_TEXT_MAX]);
/* RFC 3339 date-time, any offset, fractions of any length cut to microseconds; a leap second
 * (:60) and anything around the text is BASE_INVALID. */
enum base_err base_time_parse(struct base_span text, int64_t *out_us) BASE_MUST_USE;
/* IMF-fixdate for the Date header: "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7). */
void base_time_format_http(int64_t wall_us, char out[BASE_TIME_TEXT_MAX]);

/* One number and one of `ms s m h d` ("90d", "250ms"); no sign, no space, no fraction; at most
 * ten thousand years, so that a sum with any time that has a text cannot overflow. */
enum base_err base_duration_parse(struct base_span text, int64_t *out_us) BASE_MUST_USE;
/* The shortest form that base_duration_parse() reads back. */
void base_duration_format(int64_t us, char out[BASE_TIME_TEXT_MAX]);

#endif
