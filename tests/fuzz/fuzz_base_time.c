/* SPDX-License-Identifier: Apache-2.0 */
/* Times and durations. What is accepted must have one meaning: written and read again it is the
 * same. */
#include "base_clock.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void try_time(struct base_span text)
{
    char written[BASE_TIME_TEXT_MAX];
    int64_t us, again;

    if (base_time_parse(text, &us) != BASE_OK) {
        require(us == 0);
        return;
    }
    base_time_format(us, written);
    require(base_time_parse(base_span_str(written), &again) == BASE_OK);
    require(again <= us && us - again < BASE_US_PER_S);
    base_time_format_ms(us, written);
    require(base_time_parse(base_span_str(written), &again) == BASE_OK);
    require(again <= us && us - again < BASE_US_PER_MS);
    base_time_format_http(us, written);
    require(strlen(written) == 29);
}

static void try_duration(struct base_span text)
{
    char written[BASE_TIME_TEXT_MAX];
    int64_t us, again;

    if (base_duration_parse(text, &us) != BASE_OK) {
        require(us == 0);
        return;
    }
    require(us >= 0 && us < 3652425 * BASE_US_PER_DAY);
    base_duration_format(us, written);
    require(strlen(written) <= text.len);
    require(base_duration_parse(base_span_str(written), &again) == BASE_OK && again == us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_span text = base_span_of((const char *)data, size);

    try_time(text);
    try_duration(text);
    if (size == sizeof(int64_t)) { /* any instant has a text, whatever it is */
        char written[BASE_TIME_TEXT_MAX];
        int64_t us;

        memcpy(&us, data, sizeof us);
        base_time_format_ms(us, written);
        require(strlen(written) == 24);
        base_time_format_http(us, written);
        require(strlen(written) == 29);
        base_duration_format(us, written);
        require(strlen(written) >= 2);
    }
    return 0;
}
