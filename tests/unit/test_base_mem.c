/* SPDX-License-Identifier: Apache-2.0 */
#include "base_mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static void nothing_asked_is_still_a_pointer(void **state)
{
    void *a = base_malloc(0);
    void *b = base_calloc(0, 0);
    void *c = base_realloc(NULL, 0);

    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    c = base_realloc(c, 0);
    assert_non_null(c);
    base_free(&a);
    base_free(&b);
    base_free(&c);
}

static void calloc_zeroes_and_realloc_keeps(void **state)
{
    unsigned char *bytes = base_calloc(16, 4);

    (void)state;
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(bytes[i], 0);
    memset(bytes, 7, 64);
    bytes = base_realloc(bytes, 4096);
    assert_int_equal(bytes[63], 7);
    base_free(&bytes);
    assert_null(bytes);
}

static void copies_of_text(void **state)
{
    char *none = base_strdup(NULL);
    char *whole = base_strdup("hinge");
    char *part = base_strndup("hinge", 3);
    char *empty = base_strndup(NULL, 0);
    char *unterminated = base_strndup((char[]){'a', 'b'}, 2);
    char *stops = base_strndup("ab\0cd", 5);

    (void)state;
    assert_null(none);
    assert_string_equal(whole, "hinge");
    assert_string_equal(part, "hin");
    assert_string_equal(empty, "");
    assert_string_equal(unterminated, "ab");
    assert_string_equal(stops, "ab");
    base_free(&whole);
    base_free(&part);
    base_free(&empty);
    base_free(&unterminated);
    base_free(&stops);
}

static void freeing_twice_is_harmless(void **state)
{
    char *text = base_strdup("x");
    char *secret = base_strdup("hunter2");
    char *none = NULL;

    (void)state;
    base_free(&text);
    base_free(&text);
    base_free_secret(&secret);
    assert_null(secret);
    base_free_secret(&secret);
    base_free_secret(&none);
}

static void auto_cleanup_compiles_and_frees(void **state)
{
    BASE_AUTO(base_free) char *text = base_strdup("freed by the compiler");
    BASE_AUTO(base_free_secret) char *secret = base_strdup("wiped by the compiler");

    (void)state;
    assert_non_null(text);
    assert_non_null(secret);
}

static void wipe_wipes_exactly(void **state)
{
    char bytes[] = "abcdef";

    (void)state;
    base_wipe(bytes + 1, 3);
    assert_memory_equal(bytes, "a\0\0\0ef", 7);
    base_wipe(bytes, 0);
    base_wipe(NULL, 0);
    assert_int_equal(bytes[0], 'a');
}

static void libraries_failures_end_the_process_at_first(void **state)
{
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        base_mem_fail_nth(1);
        json_decref(json_object());
        _exit(7); /* survived */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

static void libraries_failures_are_counted(void **state)
{
    uint64_t before = base_mem_failures();
    json_t *value;

    (void)state;
    base_mem_survive_libraries();
    base_mem_fail_nth(1);
    assert_null(json_integer(1));
    assert_int_equal(base_mem_fail_nth(0), 0);
    assert_int_equal(base_mem_failures(), before + 1);
    base_mem_fail_nth(2);
    value = json_integer(1);
    assert_non_null(value);
    assert_int_equal(base_mem_fail_nth(0), 1);
    json_decref(value);
    base_mem_note_failure();
    assert_int_equal(base_mem_failures(), before + 2);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* Out of memory ends the process, whatever asked. */
static int exit_signal_of(int which)
{
    volatile size_t huge = SIZE_MAX / 4; /* so that the compiler does not see it coming */
    void *volatile ptr;
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        close(STDERR_FILENO);
        ptr = which == 0   ? base_malloc(huge)
              : which == 1 ? base_calloc(huge, 2)
                           : base_realloc(NULL, huge);
        _exit(ptr != NULL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void no_memory_ends_the_process(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++)
        assert_int_equal(exit_signal_of(which), SIGABRT);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_asked_is_still_a_pointer),
        cmocka_unit_test(calloc_zeroes_and_realloc_keeps),
        cmocka_unit_test(copies_of_text),
        cmocka_unit_test(freeing_twice_is_harmless),
        cmocka_unit_test(auto_cleanup_compiles_and_frees),
        cmocka_unit_test(wipe_wipes_exactly),
        cmocka_unit_test(libraries_failures_end_the_process_at_first),
        cmocka_unit_test(libraries_failures_are_counted),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(no_memory_ends_the_process),
#endif
    };

    base_mem_watch_libraries();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
