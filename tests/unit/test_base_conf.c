/* SPDX-License-Identifier: Apache-2.0 */
#include "base_conf.h"

#include "base_attr.h"
#include "base_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct settings {
    char *issuer;
    char *database_url;
    int64_t workers;
    int64_t token_ttl_us;
    int log_level;
    int64_t limit;
    char *ops_listen;
};

static bool check_issuer(const char *text, struct base_buf *why)
{
    if (strncmp(text, "https://", 8) == 0)
        return true;
    base_buf_put_str(why, "it must begin with https://");
    return false;
}

static const char *const levels[] = {"error", "warning", "info", "debug", NULL};

#define FIELD(name) offsetof(struct settings, name)
static const struct base_conf_item items[] = {
    {"ISSUER", BASE_CONF_STRING, FIELD(issuer), NULL, 1, 100, NULL, "an https URL", "h",
     check_issuer},
    {"DATABASE_URL", BASE_CONF_SECRET, FIELD(database_url), NULL, 1, 1000, NULL,
     "a connection string", "h", NULL},
    {"WORKERS", BASE_CONF_INT, FIELD(workers), "2", -1, 64, NULL, "-1 to 64", "h", NULL},
    {"TOKEN_TTL", BASE_CONF_DURATION, FIELD(token_ttl_us), "10m", 10 * BASE_US_PER_S,
     BASE_US_PER_DAY, NULL, "10s to 24h", "h", NULL},
    {"LOG_LEVEL", BASE_CONF_ENUM, FIELD(log_level), "info", 0, 0, levels,
     "error, warning, info or debug", "h", NULL},
    {"FAILED_AUTH_LIMIT", BASE_CONF_RATE, FIELD(limit), "20/min", 1, 100000, NULL,
     "1/min to 100000/min, or off", "h", NULL},
    {"OPS_LISTEN", BASE_CONF_STRING, FIELD(ops_listen), "127.0.0.1:9090", 0, 0, NULL, "host:port",
     "h", NULL},
};
static const struct base_conf_table table = {"CARDEA_", items, BASE_COUNT(items)};

struct fixture {
    char path[64];
    struct settings settings;
    struct base_conf_origins origins;
    struct base_buf why;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    int fd;

    strcpy(fixture->path, "/tmp/test_base_conf.XXXXXX");
    fd = mkstemp(fixture->path);
    base_buf_init(&fixture->why, 4096);
    *state = fixture;
    return close(fd);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    base_conf_clear(&table, &fixture->settings);
    base_buf_clear(&fixture->why);
    unlink(fixture->path);
    free(fixture);
    return 0;
}

static enum base_err load_bytes(struct fixture *fixture, struct base_span file,
                                const char *const *environ_list, const char *const *flags)
{
    size_t n_flags = 0;

    base_conf_clear(&table, &fixture->settings);
    memset(&fixture->settings, 0, sizeof fixture->settings);
    base_buf_reset(&fixture->why);
    if (file.ptr) {
        FILE *to = fopen(fixture->path, "w");

        assert_int_equal(fwrite(file.ptr, 1, file.len, to), file.len);
        fclose(to);
    }
    while (flags && flags[n_flags])
        n_flags++;
    return base_conf_load(&table, file.ptr ? fixture->path : NULL, environ_list, flags, n_flags,
                          &fixture->settings, &fixture->origins, &fixture->why);
}

static enum base_err load(struct fixture *fixture, const char *file,
                          const char *const *environ_list, const char *const *flags)
{
    return load_bytes(fixture, base_span_str(file), environ_list, flags);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void defaults(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(load(fixture, NULL, NULL, NULL), BASE_OK);
    assert_null(fixture->settings.issuer);
    assert_int_equal(fixture->settings.workers, 2);
    assert_int_equal(fixture->settings.token_ttl_us, 600 * BASE_US_PER_S);
    assert_int_equal(fixture->settings.log_level, 2);
    assert_int_equal(fixture->settings.limit, 20);
    assert_string_equal(fixture->settings.ops_listen, "127.0.0.1:9090");
    assert_string_equal(fixture->origins.where[0], "default");
    assert_string_equal(fixture->origins.where[3], "default");
    assert_int_equal(fixture->why.len, 0);
}

static void stronger_sources_win(void **state)
{
    struct fixture *fixture = *state;
    char line2[160];

    snprintf(line2, sizeof line2, "file %s, line 2", fixture->path);
    assert_int_equal(load(fixture, "[cardea]\nworkers = 3\ntoken_ttl=3m\nlog_level: error\n",
                          LIST("PATH=/bin", "CARDEA_TOKEN_TTL=4m", "CARDEA_LOG_LEVEL=debug",
                               "cardea_workers=9", "XCARDEA_WORKERS=9"),
                          LIST("--log-level=warning", "--issuer", "https://i")),
                     BASE_OK);
    assert_int_equal(fixture->settings.workers, 3);
    assert_int_equal(fixture->settings.token_ttl_us, 240 * BASE_US_PER_S);
    assert_int_equal(fixture->settings.log_level, 1);
    assert_string_equal(fixture->settings.issuer, "https://i");
    assert_string_equal(fixture->origins.where[0], "flag --issuer");
    assert_string_equal(fixture->origins.where[2], line2);
    assert_string_equal(fixture->origins.where[3], "environment CARDEA_TOKEN_TTL");
    assert_string_equal(fixture->origins.where[4], "flag --log-level");
    assert_string_equal(fixture->origins.where[5], "default");
}

static void empty_is_a_value(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(load(fixture, "ops_listen =\n", NULL, NULL), BASE_OK);
    assert_string_equal(fixture->settings.ops_listen, "");
    assert_int_equal(load(fixture, NULL, LIST("CARDEA_OPS_LISTEN="), NULL), BASE_OK);
    assert_string_equal(fixture->settings.ops_listen, "");
    assert_int_equal(load(fixture, NULL, NULL, LIST("--ops-listen=")), BASE_OK);
    assert_string_equal(fixture->settings.ops_listen, "");
    assert_int_equal(load(fixture, NULL, NULL, LIST("--ops-listen", "")), BASE_OK);
    assert_string_equal(fixture->settings.ops_listen, "");
}

static void files_as_people_write_them(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(load(fixture, "", NULL, NULL), BASE_OK);
    assert_int_equal(load(fixture,
                          "\xef\xbb\xbf# settings\r\n\r\n; more\r\n  [cardea]  ; ours\r\n"
                          "   workers=5 ; five\r\n\ttoken_ttl   =   5m\r\n"
                          "\v\fops_listen\f=\va;b = c: #d\f;\r\nlog_level = debug",
                          NULL, NULL),
                     BASE_OK);
    assert_int_equal(fixture->settings.workers, 5);
    assert_int_equal(fixture->settings.token_ttl_us, 300 * BASE_US_PER_S);
    assert_string_equal(fixture->settings.ops_listen, "a;b = c: #d");
    assert_int_equal(fixture->settings.log_level, 3);
}

/* inih itself stops at 200 bytes. */
static void long_lines_arrive_whole(void **state)
{
    struct fixture *fixture = *state;
    BASE_AUTO(base_buf_clear) struct base_buf file, value;

    base_buf_init(&file, 10000);
    base_buf_init(&value, 10000);
    for (int i = 0; i < 60; i++) /* with everything that a cut could stumble over */
        base_buf_putf(&value, "%sh%d ;x", i ? ",#" : "", i);
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] == ' ')
            value.ptr[i] = ';';
    base_buf_putf(&file, "workers=4\ndatabase_url = %s\ntoken_ttl=4m\n", base_buf_cstr(&value));
    assert_int_equal(load(fixture, base_buf_cstr(&file), NULL, NULL), BASE_OK);
    assert_string_equal(fixture->settings.database_url, base_buf_cstr(&value));
    assert_int_equal(fixture->settings.token_ttl_us, 240 * BASE_US_PER_S);

    for (int blanks = 0; blanks < 12; blanks++) { /* a blank falls on the cut, somewhere */
        base_buf_reset(&file);
        base_buf_reset(&value);
        for (int i = 0; i < 50; i++)
            base_buf_putf(&value, "%.*sh%d  =", blanks, "xxxxxxxxxxxx", i);
        base_buf_putf(&file, "database_url=%s ; comment %s\nworkers=4\n", base_buf_cstr(&value),
                      base_buf_cstr(&value));
        assert_int_equal(load(fixture, base_buf_cstr(&file), NULL, NULL), BASE_OK);
        assert_string_equal(fixture->settings.database_url, base_buf_cstr(&value));
        assert_int_equal(fixture->settings.workers, 4);
    }
}

static void expect_refused(struct fixture *fixture, enum base_err err, const char *const *says)
{
    struct settings empty = {0};

    for (; *says; says++)
        if (!strstr(base_buf_cstr(&fixture->why), *says))
            fail_msg("\"%s\" does not say \"%s\"", base_buf_cstr(&fixture->why), *says);
    assert_int_equal(err, BASE_INVALID);
    assert_null(strstr(base_buf_cstr(&fixture->why), "hunter2"));
    assert_null(strchr(base_buf_cstr(&fixture->why), '\n'));
    assert_ptr_equal(fixture->settings.issuer, empty.issuer);
    assert_ptr_equal(fixture->settings.ops_listen, empty.ops_listen);
}

static void bad_files(void **state)
{
    static const struct {
        struct base_span file;
        const char *says[3];
    } bad[] = {
        {BASE_SPAN_INIT("worker = 3\n"), {"worker (file", "line 1", "did you mean workers?"}},
        {BASE_SPAN_INIT("\n\nTOKEN_TTL = 3m\n"), {"TOKEN_TTL (file", "line 3", "no setting"}},
        {BASE_SPAN_INIT("token-ttl = 3m"), {"line 1", "did you mean token_ttl?"}},
        {BASE_SPAN_INIT("CARDEA_WORKERS=3"), {"CARDEA_WORKERS (file", "line 1"}},
        {BASE_SPAN_INIT("export workers=3"), {"export workers", "line 1"}},
        {BASE_SPAN_INIT("[server]\nworkers=3"), {"line 1", "there is only [cardea]"}},
        {BASE_SPAN_INIT("[cardea]\n[Cardea]\n"), {"line 2", "there is only [cardea]"}},
        {BASE_SPAN_INIT("[cardea\nworkers=3"), {"line 1", "there is only [cardea]"}},
        {BASE_SPAN_INIT("[]"), {"line 1", "there is only [cardea]"}},
        {BASE_SPAN_INIT("workers"), {"line 1", "is not \"name = value\""}},
        {BASE_SPAN_INIT("workers=3\nfoo\ntoken_ttl=3m"), {"line 2", "is not \"name = value\""}},
        {BASE_SPAN_INIT("workers=3\n  4\n"), {"line 2", "is not \"name = value\""}},
        {BASE_SPAN_INIT("workers = ; 3"), {"workers", "line 1", "accepts -1 to 64"}},
        {BASE_SPAN_INIT("= 3"), {"line 1", "no setting"}},
        {BASE_SPAN_INIT("workers=3\n\nworkers=3"), {"workers", "line 3", "given twice"}},
        {BASE_SPAN_INIT("[cardea]\nworkers=3\n[cardea]\nworkers=4"), {"line 4", "given twice"}},
        {BASE_SPAN_INIT("workers = many"), {"workers (file", "\"many\"", "-1 to 64"}},
        {BASE_SPAN_INIT("token_ttl = 600"), {"line 1", "\"600\"", "accepts 10s to 24h"}},
        {BASE_SPAN_INIT("ops_listen = \xff"), {"not UTF-8"}},
        {BASE_SPAN_INIT("workers=3\0"), {"not UTF-8"}},
        {BASE_SPAN_INIT("ops_listen = a\x1b[2Jb"), {"\"a?[2Jb\"", "line 1"}},
        {BASE_SPAN_INIT("database_url = hunter2\x07"), {"database_url", "a connection string"}},
        {BASE_SPAN_INIT("<?xml version=\"1.0\"?>"), {"line 1", "no setting"}},
        {BASE_SPAN_INIT("{\"workers\": 3}"), {"line 1", "no setting"}},
    };

    for (size_t i = 0; i < BASE_COUNT(bad); i++)
        expect_refused(
            *state, load_bytes(*state, bad[i].file, NULL, NULL),
            LIST(bad[i].says[0], bad[i].says[1], bad[i].says[1] ? bad[i].says[2] : NULL));
}

static void a_long_line_without_a_name(void **state)
{
    BASE_AUTO(base_buf_clear) struct base_buf file;

    base_buf_init(&file, 10000);
    base_buf_put_str(&file, "workers=3\n");
    for (int i = 0; i < 250; i++)
        base_buf_put_char(&file, 'x');
    base_buf_put_str(&file, "token_ttl=3m\n"); /* inih alone would take the rest for a setting */
    expect_refused(*state, load(*state, base_buf_cstr(&file), NULL, NULL),
                   LIST("line 2", "is not \"name = value\""));
    base_buf_reset(&file);
    base_buf_put_str(&file, "x");
    for (int i = 0; i < 250; i++)
        base_buf_put_char(&file, ' ');
    base_buf_put_str(&file, "= 3\n");
    expect_refused(*state, load(*state, base_buf_cstr(&file), NULL, NULL),
                   LIST("line 1", "too many blanks"));
}

static void files_that_cannot_be_read(void **state)
{
    struct fixture *fixture = *state;
    struct settings settings = {0};

    assert_int_equal(base_conf_load(&table, "/nonexistent/cardea.ini", NULL, NULL, 0, &settings,
                                    NULL, &fixture->why),
                     BASE_NOT_FOUND);
    assert_non_null(strstr(base_buf_cstr(&fixture->why), "/nonexistent/cardea.ini"));
    assert_null(settings.ops_listen);
    base_buf_reset(&fixture->why);
    assert_int_equal(base_conf_load(&table, "/tmp", NULL, NULL, 0, &settings, NULL, &fixture->why),
                     BASE_IO);
    base_buf_reset(&fixture->why);
    assert_int_equal(truncate(fixture->path, 1 << 20), 0);
    assert_int_equal(
        base_conf_load(&table, fixture->path, NULL, NULL, 0, &settings, NULL, &fixture->why),
        BASE_TOO_LARGE);
}

/* Nobody is let through a permission but root, so root becomes somebody else for the moment. */
static void a_file_that_others_own(void **state)
{
    struct fixture *fixture = *state;
    struct settings settings = {0};
    uid_t user = geteuid();
    enum base_err err;

    assert_int_equal(chmod(fixture->path, 0), 0);
    assert_int_equal(user == 0 ? seteuid(65534) : 0, 0);
    err = base_conf_load(&table, fixture->path, NULL, NULL, 0, &settings, NULL, &fixture->why);
    assert_int_equal(seteuid(user), 0);
    assert_int_equal(err, BASE_DENIED);
    assert_non_null(strstr(base_buf_cstr(&fixture->why), "Permission denied"));
}

/* The table's own mistake comes before any of the user's. */
static void a_default_is_checked_too(void **state)
{
    static const struct base_conf_item wrong[] = {
        {"WORKERS", BASE_CONF_INT, FIELD(workers), "65", -1, 64, NULL, "-1 to 64", "h", NULL},
    };
    static const struct base_conf_table bad = {"CARDEA_", wrong, BASE_COUNT(wrong)};
    struct fixture *fixture = *state;
    struct settings settings = {0};

    assert_int_equal(
        base_conf_load(&bad, fixture->path, NULL, NULL, 0, &settings, NULL, &fixture->why),
        BASE_INVALID);
    assert_string_equal(base_buf_cstr(&fixture->why),
                        "workers (default) is \"65\"; it accepts -1 to 64");
}

static void bad_environments(void **state)
{
    static const struct {
        const char *variable;
        const char *says[3];
    } bad[] = {
        {"CARDEA_TOKEN_TLL=5m", {"CARDEA_TOKEN_TLL", "did you mean CARDEA_TOKEN_TTL?"}},
        {"CARDEA_PASSWORD=hunter2", {"CARDEA_PASSWORD", "environment", "no setting"}},
        {"CARDEA_=1", {"CARDEA_ ", "no setting"}},
        {"CARDEA_workers=1", {"CARDEA_workers"}},
        {"CARDEA_TOKEN_TTL=9s", {"environment CARDEA_TOKEN_TTL", "\"9s\"", "10s to 24h"}},
        {"CARDEA_TOKEN_TTL=25h", {"\"25h\"", "10s to 24h"}},
        {"CARDEA_TOKEN_TTL=600", {"\"600\"", "10s to 24h"}},
        {"CARDEA_TOKEN_TTL=", {"\"\"", "10s to 24h"}},
        {"CARDEA_TOKEN_TTL", {"\"\"", "10s to 24h"}},
        {"CARDEA_WORKERS=65", {"\"65\"", "-1 to 64"}},
        {"CARDEA_WORKERS=-2", {"\"-2\"", "-1 to 64"}},
        {"CARDEA_WORKERS=--1", {"-1 to 64"}},
        {"CARDEA_WORKERS=-", {"-1 to 64"}},
        {"CARDEA_WORKERS=+1", {"-1 to 64"}},
        {"CARDEA_WORKERS= 1", {"-1 to 64"}},
        {"CARDEA_WORKERS=1 ", {"-1 to 64"}},
        {"CARDEA_WORKERS=0x10", {"-1 to 64"}},
        {"CARDEA_WORKERS=1.0", {"-1 to 64"}},
        {"CARDEA_WORKERS=99999999999999999999", {"-1 to 64"}},
        {"CARDEA_LOG_LEVEL=INFO", {"\"INFO\"", "error, warning, info or debug"}},
        {"CARDEA_LOG_LEVEL=2", {"error, warning"}},
        {"CARDEA_LOG_LEVEL=", {"error, warning"}},
        {"CARDEA_FAILED_AUTH_LIMIT=20", {"1/min to 100000/min, or off"}},
        {"CARDEA_FAILED_AUTH_LIMIT=0/min", {"or off"}},
        {"CARDEA_FAILED_AUTH_LIMIT=-1/min", {"or off"}},
        {"CARDEA_FAILED_AUTH_LIMIT=100001/min", {"or off"}},
        {"CARDEA_FAILED_AUTH_LIMIT=20/s", {"or off"}},
        {"CARDEA_FAILED_AUTH_LIMIT=20/hour", {"or off"}},
        {"CARDEA_FAILED_AUTH_LIMIT=/min", {"or off"}},
        {"CARDEA_FAILED_AUTH_LIMIT=20 /min", {"or off"}},
        {"CARDEA_FAILED_AUTH_LIMIT=Off", {"or off"}},
        {"CARDEA_FAILED_AUTH_LIMIT=0", {"or off"}},
        {"CARDEA_ISSUER=http://i", {"issuer", "begin with https://", "an https URL"}},
        {"CARDEA_ISSUER=", {"issuer", "an https URL"}},
        {"CARDEA_ISSUER=https://i\nX: y", {"issuer", "https://i?X: y"}},
        {"CARDEA_ISSUER=https://\xe9", {"issuer", "https://?"}},
        {"CARDEA_ISSUER=https://\x7f", {"issuer", "https://?"}},
        {"CARDEA_ISSUER=https://"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxx",
         {"issuer", "xxx...\"", "an https URL"}},
        {"CARDEA_DATABASE_URL=", {"database_url", "a connection string"}},
        {"CARDEA_DATABASE_URL=hunter2\r\n", {"database_url", "is not acceptable"}},
    };

    for (size_t i = 0; i < BASE_COUNT(bad); i++)
        expect_refused(
            *state, load(*state, NULL, LIST("HOME=/", bad[i].variable), NULL),
            LIST(bad[i].says[0], bad[i].says[1], bad[i].says[1] ? bad[i].says[2] : NULL));
}

static void a_bad_value_is_told_even_when_overridden(void **state)
{
    expect_refused(*state,
                   load(*state, "workers = x", LIST("CARDEA_WORKERS=3"), LIST("--workers=4")),
                   LIST("file", "line 1"));
    expect_refused(*state, load(*state, NULL, LIST("CARDEA_WORKERS=3", "CARDEA_WORKERS=3"), NULL),
                   LIST("given twice"));
}

static void bad_flags(void **state)
{
    expect_refused(*state, load(*state, NULL, NULL, LIST("--worker=3")),
                   LIST("--worker", "flag", "did you mean --workers?"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--token_ttl=5m")),
                   LIST("did you mean --token-ttl?"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--password=hunter2")),
                   LIST("--password", "no setting"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--log-levle=info")),
                   LIST("did you mean --log-level?"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--lug-lovle=info")), LIST("no setting"));
    assert_null(strstr(base_buf_cstr(&((struct fixture *)*state)->why), "did you mean"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("workers=3")), LIST("no setting"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("-workers=3")), LIST("no setting"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--")), LIST("no setting"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("")), LIST("no setting"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("=")), LIST("no setting"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--workers")),
                   LIST("--workers needs a value"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--workers=3", "3")), LIST("no setting"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--workers", "--token-ttl=5m")),
                   LIST("workers", "flag --workers", "-1 to 64"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--workers=3", "--workers", "3")),
                   LIST("given twice"));
    expect_refused(*state, load(*state, NULL, NULL, LIST("--database-url=hunter2\x01")),
                   LIST("database_url", "flag --database-url"));
}

static void names_in_all_spellings(void **state)
{
    struct fixture *fixture = *state;

    base_conf_env_name(&table, &items[3], &fixture->why);
    base_buf_put_char(&fixture->why, ' ');
    base_conf_flag_name(&items[3], &fixture->why);
    assert_string_equal(base_buf_cstr(&fixture->why), "CARDEA_TOKEN_TTL --token-ttl");
    assert_ptr_equal(base_conf_find_flag(&table, "--token-ttl"), &items[3]);
    assert_ptr_equal(base_conf_find_flag(&table, "--token-ttl=5m"), &items[3]);
    assert_null(base_conf_find_flag(&table, "--token-tt"));
    assert_null(base_conf_find_flag(&table, "--token-ttl5m"));
    assert_null(base_conf_find_flag(&table, "--TOKEN-TTL"));
    assert_null(base_conf_find_flag(&table, ""));
}

static void formatted_values_read_back(void **state)
{
    static const char *const expected[] = {"https://i", "(hidden)", "-1", "90s",
                                           "debug",     "off",      ""};
    struct fixture *fixture = *state;

    assert_int_equal(
        load(fixture, NULL,
             LIST("CARDEA_ISSUER=https://i", "CARDEA_DATABASE_URL=hunter2", "CARDEA_WORKERS=-1",
                  "CARDEA_TOKEN_TTL=90s", "CARDEA_LOG_LEVEL=debug", "CARDEA_FAILED_AUTH_LIMIT=off",
                  "CARDEA_OPS_LISTEN="),
             NULL),
        BASE_OK);
    for (size_t i = 0; i < BASE_COUNT(items); i++) {
        base_buf_reset(&fixture->why);
        base_conf_format(&items[i], &fixture->settings, &fixture->why);
        assert_string_equal(base_buf_cstr(&fixture->why), expected[i]);
    }
    assert_int_equal(load(fixture, NULL, NULL, NULL), BASE_OK);
    base_conf_format(&items[5], &fixture->settings, &fixture->why);
    assert_string_equal(base_buf_cstr(&fixture->why), "20/min");
    base_buf_reset(&fixture->why);
    base_conf_format(&items[1], &fixture->settings, &fixture->why); /* a secret that is not set */
    base_conf_format(&items[0], &fixture->settings, &fixture->why);
    assert_int_equal(fixture->why.len, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(defaults),
        CASE(stronger_sources_win),
        CASE(empty_is_a_value),
        CASE(files_as_people_write_them),
        CASE(long_lines_arrive_whole),
        CASE(bad_files),
        CASE(a_long_line_without_a_name),
        CASE(files_that_cannot_be_read),
        CASE(a_file_that_others_own),
        CASE(a_default_is_checked_too),
        CASE(bad_environments),
        CASE(a_bad_value_is_told_even_when_overridden),
        CASE(bad_flags),
        CASE(names_in_all_spellings),
        CASE(formatted_values_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
