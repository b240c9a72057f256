/* SPDX-License-Identifier: Apache-2.0 */
#include "base_seal.h"

#include "base_attr.h"
#include "base_mem.h"

#include <openssl/err.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define KEY_B "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA="

static struct base_seal *parse(const char *text)
{
    BASE_AUTO(base_buf_clear) struct base_buf why;
    struct base_seal *seal = NULL;

    base_buf_init(&why, 1000);
    if (base_seal_parse(base_span_str(text), &seal, &why) != BASE_OK)
        fail_msg("refused: %s", base_buf_cstr(&why));
    assert_int_equal(why.len, 0);
    return seal;
}

static void good_key_files(void **state)
{
    static const struct {
        const char *text;
        size_t keys;
    } good[] = {
        {KEY_A, 1},
        {KEY_A "\n", 1},
        {KEY_A "\r\n" KEY_B "\r\n", 2},
        {"# new\n\n" KEY_B "\n  \n# old\n" KEY_A, 2},
        {"  " KEY_A "\t\n", 1},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(good); i++) {
        BASE_AUTO(base_seal_unref) struct base_seal *seal = parse(good[i].text);

        assert_int_equal(base_seal_count(seal), good[i].keys);
    }
}

static void bad_key_files(void **state)
{
    static const struct {
        struct base_span text;
        const char *why;
    } bad[] = {
        {BASE_SPAN_INIT(""), "no key"},
        {BASE_SPAN_INIT("\n\n"), "no key"},
        {BASE_SPAN_INIT("# " KEY_A), "no key"},
        {BASE_SPAN_INIT("secret"), "line 1 is not the base64"},
        {BASE_SPAN_INIT("\n\n" KEY_A "\nsecret"), "line 4 is not the base64"},
        {BASE_SPAN_INIT("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"), "not the base64"},
        {BASE_SPAN_INIT(KEY_A KEY_B), "not the base64"},
        {BASE_SPAN_INIT(KEY_A " " KEY_B), "not the base64"},
        {BASE_SPAN_INIT(KEY_A " # mine"), "not the base64"},
        {BASE_SPAN_INIT("__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA="), "not the base64"},
        {BASE_SPAN_INIT("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg=="), "31 bytes"},
        {BASE_SPAN_INIT("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g"), "33 bytes"},
        {BASE_SPAN_INIT("Zm9v"), "3 bytes"},
        {BASE_SPAN_INIT(KEY_A "\n" KEY_B "\n" KEY_A), "line 3 repeats"},
        {BASE_SPAN_INIT("\0"), "not the base64"},
        {BASE_SPAN_INIT(KEY_A "\0"), "not the base64"},
        {BASE_SPAN_INIT("\xef\xbb\xbf" KEY_A), "not the base64"},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        BASE_AUTO(base_buf_clear) struct base_buf why;
        struct base_seal *seal = (struct base_seal *)&why;

        base_buf_init(&why, 1000);
        assert_int_equal(base_seal_parse(bad[i].text, &seal, &why), BASE_INVALID);
        assert_null(seal);
        if (!strstr(base_buf_cstr(&why), bad[i].why))
            fail_msg("\"%s\" does not say \"%s\"", base_buf_cstr(&why), bad[i].why);
        /* The operator may paste the message into a ticket. */
        assert_null(strstr(base_buf_cstr(&why), "secret"));
        assert_null(strstr(base_buf_cstr(&why), "AAECAwQF"));
    }
}

static void too_many_keys(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf text, why;
    struct base_seal *seal;

    (void)state;
    base_buf_init(&text, 10000);
    base_buf_init(&why, 1000);
    for (int i = 0; i < 17; i++)
        base_buf_putf(&text, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd%c%c8=\n", 'A' + i, 'A');
    assert_int_equal(base_seal_parse(base_buf_span(&text), &seal, &why), BASE_INVALID);
    assert_non_null(strstr(base_buf_cstr(&why), "line 17 is one key too many"));
}

static void sealed_opens_again(void **state)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = parse(KEY_A);
    BASE_AUTO(base_buf_clear) struct base_buf sealed, plain;

    (void)state;
    base_buf_init(&sealed, 10000);
    base_buf_init(&plain, 10000);
    base_buf_put_str(&plain, ">");
    assert_int_equal(
        base_seal_close(seal, BASE_SPAN("signing_key/k1"), BASE_SPAN("a private key"), &sealed),
        BASE_OK);
    assert_int_equal(sealed.len, 13 + 37);
    assert_int_equal(sealed.ptr[0], 1);
    assert_int_equal(
        base_seal_open(seal, BASE_SPAN("signing_key/k1"), base_buf_span(&sealed), &plain), BASE_OK);
    assert_string_equal(base_buf_cstr(&plain), ">a private key");
}

static void sealing_twice_differs(void **state)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = parse(KEY_A);
    BASE_AUTO(base_buf_clear) struct base_buf a, b;

    (void)state;
    base_buf_init(&a, 1000);
    base_buf_init(&b, 1000);
    assert_int_equal(base_seal_close(seal, BASE_SPAN("c"), BASE_SPAN("same"), &a), BASE_OK);
    assert_int_equal(base_seal_close(seal, BASE_SPAN("c"), BASE_SPAN("same"), &b), BASE_OK);
    assert_int_equal(a.len, b.len);
    assert_memory_not_equal(a.ptr + 9, b.ptr + 9, 12);
    assert_memory_not_equal(a.ptr + 21, b.ptr + 21, 4);
}

static void empty_values_seal_too(void **state)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = parse(KEY_A);
    BASE_AUTO(base_buf_clear) struct base_buf sealed, plain;

    (void)state;
    base_buf_init(&sealed, 1000);
    base_buf_init(&plain, 1000);
    assert_int_equal(base_seal_close(seal, (struct base_span){0}, (struct base_span){0}, &sealed),
                     BASE_OK);
    assert_int_equal(base_seal_open(seal, (struct base_span){0}, base_buf_span(&sealed), &plain),
                     BASE_OK);
    assert_int_equal(plain.len, 0);
}

static void every_changed_bit_is_noticed(void **state)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = parse(KEY_A);
    BASE_AUTO(base_buf_clear) struct base_buf sealed, plain;

    (void)state;
    base_buf_init(&sealed, 1000);
    base_buf_init(&plain, 1000);
    assert_int_equal(base_seal_close(seal, BASE_SPAN("c"), BASE_SPAN("plain"), &sealed), BASE_OK);
    for (size_t bit = 0; bit < sealed.len * 8; bit++) {
        enum base_err err;

        sealed.ptr[bit / 8] ^= (char)(1 << bit % 8);
        err = base_seal_open(seal, BASE_SPAN("c"), base_buf_span(&sealed), &plain);
        assert_int_equal(err, bit >= 8 && bit < 72 ? BASE_NOT_FOUND : BASE_INVALID);
        assert_int_equal(plain.len, 0);
        sealed.ptr[bit / 8] ^= (char)(1 << bit % 8);
    }
}

static void cut_extended_and_moved_values_do_not_open(void **state)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = parse(KEY_A);
    BASE_AUTO(base_buf_clear) struct base_buf sealed, plain;
    struct base_span whole;

    (void)state;
    base_buf_init(&sealed, 1000);
    base_buf_init(&plain, 1000);
    assert_int_equal(base_seal_close(seal, BASE_SPAN("row 1"), BASE_SPAN("plain"), &sealed),
                     BASE_OK);
    base_buf_put_char(&sealed, 'x');
    whole = base_buf_span(&sealed);
    for (size_t len = 0; len <= whole.len; len++)
        if (len != whole.len - 1)
            assert_int_equal(
                base_seal_open(seal, BASE_SPAN("row 1"), base_span_of(whole.ptr, len), &plain),
                BASE_INVALID);
    whole.len--;
    assert_int_equal(base_seal_open(seal, BASE_SPAN("row 2"), whole, &plain), BASE_INVALID);
    assert_int_equal(base_seal_open(seal, BASE_SPAN("row 1 "), whole, &plain), BASE_INVALID);
    assert_int_equal(base_seal_open(seal, BASE_SPAN(""), whole, &plain), BASE_INVALID);
    assert_int_equal(plain.len, 0);
    assert_int_equal(base_seal_open(seal, BASE_SPAN("row 1"), whole, &plain), BASE_OK);
}

static void what_does_not_fit_is_refused(void **state)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = parse(KEY_A);
    BASE_AUTO(base_buf_clear) struct base_buf sealed, small;
    char *huge = calloc(1, (1 << 20) + 1);

    (void)state;
    base_buf_init(&sealed, 1000);
    base_buf_init(&small, 4);
    assert_int_equal(base_seal_close(seal, BASE_SPAN("c"), BASE_SPAN("plain"), &small),
                     BASE_TOO_LARGE);
    assert_int_equal(base_seal_close(seal, BASE_SPAN("c"), BASE_SPAN("plain"), &sealed), BASE_OK);
    base_buf_reset(&small);
    assert_int_equal(base_seal_open(seal, BASE_SPAN("c"), base_buf_span(&sealed), &small),
                     BASE_TOO_LARGE);
    assert_int_equal(
        base_seal_close(seal, BASE_SPAN("c"), base_span_of(huge, (1 << 20) + 1), &sealed),
        BASE_TOO_LARGE);
    free(huge);
}

static void keys_rotate(void **state)
{
    BASE_AUTO(base_seal_unref) struct base_seal *old = parse(KEY_A);
    BASE_AUTO(base_seal_unref) struct base_seal *both = parse(KEY_B "\n" KEY_A);
    BASE_AUTO(base_seal_unref) struct base_seal *new = parse(KEY_B);
    BASE_AUTO(base_buf_clear) struct base_buf sealed, plain;
    struct base_seal_id id;

    (void)state;
    base_buf_init(&sealed, 1000);
    base_buf_init(&plain, 1000);
    assert_int_equal(base_seal_close(old, BASE_SPAN("c"), BASE_SPAN("plain"), &sealed), BASE_OK);
    assert_int_equal(base_seal_open(both, BASE_SPAN("c"), base_buf_span(&sealed), &plain), BASE_OK);
    assert_int_equal(base_seal_open(new, BASE_SPAN("c"), base_buf_span(&sealed), &plain),
                     BASE_NOT_FOUND);
    assert_int_equal(base_seal_id_of(base_buf_span(&sealed), &id), BASE_OK);
    assert_memory_equal(&id, base_seal_id_at(old, 0), sizeof id);
    assert_memory_equal(&id, base_seal_id_at(both, 1), sizeof id);
    assert_true(base_seal_has(both, &id));
    assert_false(base_seal_has(new, &id));
    base_buf_reset(&sealed);
    assert_int_equal(base_seal_close(both, BASE_SPAN("c"), BASE_SPAN("plain"), &sealed), BASE_OK);
    assert_int_equal(base_seal_open(new, BASE_SPAN("c"), base_buf_span(&sealed), &plain), BASE_OK);
}

static void an_id_needs_a_sealed_value(void **state)
{
    static const struct base_span bad[] = {
        BASE_SPAN_INIT(""),
        BASE_SPAN_INIT("\x01"),
        BASE_SPAN_INIT("\x01"
                       "12345678"),
        BASE_SPAN_INIT("\x02"
                       "12345678abcdefghijklABCDEFGHIJKLMNOP"),
        BASE_SPAN_INIT("{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":\"…\"}"),
    };
    struct base_seal_id id, zero = {0};

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        memset(&id, 7, sizeof id);
        assert_int_equal(base_seal_id_of(bad[i], &id), BASE_INVALID);
        assert_memory_equal(&id, &zero, sizeof id);
    }
}

static void ids_are_no_part_of_the_key(void **state)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = parse(KEY_A);

    (void)state;
    for (uint8_t at = 0; at + 8 <= 32; at++) {
        uint8_t part[8];

        for (uint8_t i = 0; i < 8; i++)
            part[i] = (uint8_t)(at + i); /* key A is 0, 1, 2 … 31 */
        assert_memory_not_equal(part, base_seal_id_at(seal, 0), 8);
    }
}

static void macs_belong_to_a_key(void **state)
{
    const struct base_span parts[] = {BASE_SPAN_INIT("key_abc"), BASE_SPAN_INIT("secret")};
    BASE_AUTO(base_seal_unref) struct base_seal *old = parse(KEY_A);
    BASE_AUTO(base_seal_unref) struct base_seal *both = parse(KEY_B "\n" KEY_A);
    uint8_t a[32], b[32];

    (void)state;
    assert_true(base_seal_mac(old, NULL, parts, 2, a));
    assert_true(base_seal_mac(both, base_seal_id_at(old, 0), parts, 2, b));
    assert_memory_equal(a, b, 32);
    assert_true(base_seal_mac(both, NULL, parts, 2, b));
    assert_memory_not_equal(a, b, 32);
    assert_true(base_seal_mac(both, base_seal_id_at(both, 0), parts, 2, a));
    assert_memory_equal(a, b, 32);
    assert_true(base_seal_mac(both, NULL, parts, 1, a));
    assert_memory_not_equal(a, b, 32);
}

static void an_unknown_id_gives_a_mac_of_its_own(void **state)
{
    const struct base_span part = BASE_SPAN_INIT("secret");
    const struct base_seal_id unknown = {{1, 2, 3}};
    BASE_AUTO(base_seal_unref) struct base_seal *first = parse(KEY_A);
    BASE_AUTO(base_seal_unref) struct base_seal *second = parse(KEY_A);
    uint8_t a[32], b[32], zero[32] = {0};

    (void)state;
    assert_false(base_seal_mac(first, &unknown, &part, 1, a));
    assert_false(base_seal_mac(second, &unknown, &part, 1, b));
    assert_memory_not_equal(a, b, 32); /* not computable from the file */
    assert_memory_not_equal(a, zero, 32);
    assert_true(base_seal_mac(first, NULL, &part, 1, b));
    assert_memory_not_equal(a, b, 32);
}

static void *use(void *argument)
{
    struct base_seal *seal = argument;
    const struct base_span part = BASE_SPAN_INIT("secret");

    for (int i = 0; i < 50; i++) {
        BASE_AUTO(base_buf_clear) struct base_buf sealed, plain;
        struct base_seal *mine = base_seal_ref(seal);
        uint8_t mac[32];

        base_buf_init(&sealed, 1000);
        base_buf_init(&plain, 1000);
        if (base_seal_close(mine, part, part, &sealed) != BASE_OK ||
            base_seal_open(mine, part, base_buf_span(&sealed), &plain) != BASE_OK ||
            !base_seal_mac(mine, NULL, &part, 1, mac))
            abort();
        base_seal_unref(&mine);
    }
    base_seal_unref(&seal);
    return NULL;
}

static void threads_share_a_set(void **state)
{
    struct base_seal *seal = parse(KEY_A);
    struct base_seal *none = NULL;
    pthread_t threads[3];

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use, base_seal_ref(seal)), 0);
    base_seal_unref(&seal);
    assert_null(seal);
    for (size_t i = 0; i < BASE_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    base_seal_unref(&none);
}

struct file {
    char folder[64];
    char path[96];
};

static int make_folder(void **state)
{
    static struct file file;

    strcpy(file.folder, "/tmp/test_base_seal.XXXXXX");
    if (!mkdtemp(file.folder))
        return -1;
    snprintf(file.path, sizeof file.path, "%s/master.key", file.folder);
    *state = &file;
    return 0;
}

static int remove_folder(void **state)
{
    struct file *file = *state;

    unlink(file->path);
    return rmdir(file->folder);
}

static void write_key(const struct file *file, const char *text, mode_t mode)
{
    FILE *to = fopen(file->path, "w");

    assert_non_null(to);
    assert_true(fputs(text, to) >= 0);
    fclose(to);
    assert_int_equal(chmod(file->path, mode), 0);
}

static enum base_err load(const struct file *file, const char *expected)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = NULL;
    BASE_AUTO(base_buf_clear) struct base_buf why;
    enum base_err err;

    base_buf_init(&why, 1000);
    err = base_seal_load(file->path, &seal, &why);
    assert_int_equal(err == BASE_OK, seal != NULL);
    if (err == BASE_OK) {
        assert_int_equal(why.len, 0);
        return err;
    }
    assert_non_null(strstr(base_buf_cstr(&why), file->path));
    if (!strstr(base_buf_cstr(&why), expected))
        fail_msg("\"%s\" does not say \"%s\"", base_buf_cstr(&why), expected);
    assert_null(strstr(base_buf_cstr(&why), "hunter2"));
    return err;
}

static void key_files_must_be_private(void **state)
{
    static const mode_t open_modes[] = {0644, 0640, 0604, 0610, 0601, 0620, 0602,
                                        0660, 0666, 0777, 0444, 0404, 0460, 04440};

    write_key(*state, KEY_A "\n", 0600);
    assert_int_equal(load(*state, ""), BASE_OK);
    chmod(((struct file *)*state)->path, 0400);
    assert_int_equal(load(*state, ""), BASE_OK);
    for (size_t i = 0; i < BASE_COUNT(open_modes); i++) {
        chmod(((struct file *)*state)->path, open_modes[i]);
        assert_int_equal(load(*state, "chmod 600"), BASE_DENIED);
    }
    chmod(((struct file *)*state)->path, 0440); /* as systemd hands credentials over */
    assert_int_equal(load(*state, "chmod 600"), geteuid() == 0 ? BASE_OK : BASE_DENIED);
}

static void key_files_that_are_none(void **state)
{
    struct file *file = *state;
    struct file folder = {.path = "/tmp"};

    assert_int_equal(load(file, "does not exist"), BASE_NOT_FOUND);
    assert_int_equal(load(&folder, "not a regular file"), BASE_INVALID);
    assert_int_equal(mkfifo(file->path, 0600), 0);
    assert_int_equal(load(file, "not a regular file"), BASE_INVALID); /* and does not hang */
    unlink(file->path);
    write_key(file, "", 0600);
    assert_int_equal(load(file, "no key"), BASE_INVALID);
    write_key(file, "hunter2\n", 0600);
    assert_int_equal(load(file, "line 1 is not the base64"), BASE_INVALID);
    if (geteuid() != 0) {
        chmod(file->path, 0);
        assert_int_equal(load(file, "may not be read"), BASE_DENIED);
    }
}

static void endless_key_files_are_refused(void **state)
{
    struct file *file = *state;

    write_key(file, "", 0600);
    assert_int_equal(truncate(file->path, 16385), 0);
    assert_int_equal(load(file, "too long"), BASE_TOO_LARGE);
    assert_int_equal(truncate(file->path, 1 << 30), 0); /* sparse */
    assert_int_equal(load(file, "too long"), BASE_TOO_LARGE);
}

/* Each allocation of OpenSSL's fails in turn, until there are no more. */
static void no_verdict_without_memory(const struct base_seal *seal, struct base_span sealed,
                                      enum base_err verdict)
{
    long n = 0, left;

    do {
        BASE_AUTO(base_buf_clear) struct base_buf plain = {.max = 1000};
        enum base_err err;

        base_mem_fail_nth(++n);
        err = base_seal_open(seal, BASE_SPAN("c"), sealed, &plain);
        left = base_mem_fail_nth(0);
        assert_int_equal(err, left > 0 ? verdict : BASE_NO_MEMORY);
        assert_int_equal(plain.len, err == BASE_OK ? 5 : 0);
        assert_int_equal(ERR_peek_error(), 0);
    } while (left == 0);
    assert_true(n > 2);
}

static void want_of_memory_is_no_verdict(void **state)
{
    BASE_AUTO(base_seal_unref) struct base_seal *seal = parse(KEY_A);
    BASE_AUTO(base_buf_clear) struct base_buf sealed = {.max = 1000};
    enum base_err err;
    long n = 0;

    (void)state;
    do {
        base_mem_fail_nth(++n);
        err = base_seal_close(seal, BASE_SPAN("c"), BASE_SPAN("plain"), &sealed);
        assert_int_equal(err, base_mem_fail_nth(0) > 0 ? BASE_OK : BASE_NO_MEMORY);
        assert_int_equal(sealed.len, err == BASE_OK ? 5 + 37 : 0);
        assert_int_equal(ERR_peek_error(), 0);
    } while (err != BASE_OK);
    assert_true(n > 2);
    no_verdict_without_memory(seal, base_buf_span(&sealed), BASE_OK);
    sealed.ptr[sealed.len - 1] ^= 1;
    no_verdict_without_memory(seal, base_buf_span(&sealed), BASE_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_key_files),
        cmocka_unit_test(bad_key_files),
        cmocka_unit_test(too_many_keys),
        cmocka_unit_test(sealed_opens_again),
        cmocka_unit_test(sealing_twice_differs),
        cmocka_unit_test(empty_values_seal_too),
        cmocka_unit_test(every_changed_bit_is_noticed),
        cmocka_unit_test(cut_extended_and_moved_values_do_not_open),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(keys_rotate),
        cmocka_unit_test(an_id_needs_a_sealed_value),
        cmocka_unit_test(ids_are_no_part_of_the_key),
        cmocka_unit_test(macs_belong_to_a_key),
        cmocka_unit_test(an_unknown_id_gives_a_mac_of_its_own),
        cmocka_unit_test(threads_share_a_set),
        cmocka_unit_test(want_of_memory_is_no_verdict),
        cmocka_unit_test_setup_teardown(key_files_must_be_private, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(key_files_that_are_none, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(endless_key_files_are_refused, make_folder, remove_folder),
    };

    base_mem_watch_libraries();
    base_mem_survive_libraries();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
