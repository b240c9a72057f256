/* SPDX-License-Identifier: Apache-2.0 */
#include "base_err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Log lines are made of these sentences: all there, all different, none with a full stop. */
static void every_error_has_its_own_sentence(void **state)
{
    (void)state;
    for (int a = BASE_OK; a <= BASE_INTERNAL; a++) {
        const char *text = base_err_text((enum base_err)a);

        assert_non_null(text);
        assert_true(strlen(text) > 0);
        assert_int_not_equal(text[strlen(text) - 1], '.');
        for (int b = BASE_OK; b < a; b++)
            assert_string_not_equal(text, base_err_text((enum base_err)b));
    }
}

static void a_number_that_is_no_error_has_one_too(void **state)
{
    (void)state;
    assert_string_equal(base_err_text((enum base_err)(BASE_INTERNAL + 1)), "an unknown error");
    assert_string_equal(base_err_text((enum base_err)1000000), "an unknown error");
    assert_string_equal(base_err_text((enum base_err) - 1), "an unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_own_sentence),
        cmocka_unit_test(a_number_that_is_no_error_has_one_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
