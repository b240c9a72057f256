/* SPDX-License-Identifier: Apache-2.0 */
/* db_hosts.c: connection strings taken apart, and names resolved. No server. */
#include "db_hosts.h"

#include "base_attr.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct db_hosts hosts;
static char memory[512];
static struct base_buf why;

static int setup(void **state BASE_UNUSED)
{
    static const char *const variables[] = {"PGHOST",       "PGHOSTADDR", "PGPORT",
                                            "PGUSER",       "PGSERVICE",  "PGSERVICEFILE",
                                            "PGGSSENCMODE", "PGSSLMODE"};

    for (size_t i = 0; i < BASE_COUNT(variables); i++)
        unsetenv(variables[i]);
    hosts = (struct db_hosts){0};
    base_buf_init_fixed(&why, memory, sizeof memory);
    return 0;
}

static int teardown(void **state BASE_UNUSED)
{
    db_hosts_clear(&hosts);
    return 0;
}

static void parses(const char *conninfo)
{
    if (db_hosts_parse(conninfo, "test", &hosts, &why) != BASE_OK)
        fail_msg("%s: %s", conninfo, base_buf_cstr(&why));
}

static void host_is(size_t index, const char *name, const char *address, const char *port)
{
    const struct db_host *host = &hosts.items[index];

    assert_true(index < hosts.count);
    assert_string_equal(host->name ? host->name : "(none)", name);
    assert_string_equal(host->address ? host->address : "(none)", address);
    assert_string_equal(host->port, port);
}

/* What libpq would be given. */
static char *param(size_t index, const char *keyword)
{
    PGconn *pg = db_hosts_connect(&hosts, &hosts.items[index], "127.0.0.1");
    PQconninfoOption *options = PQconninfo(pg);
    char *value = NULL;

    for (PQconninfoOption *option = options; option->keyword; option++) {
        if (strcmp(option->keyword, keyword) == 0 && option->val)
            value = strdup(option->val);
    }
    PQconninfoFree(options);
    PQfinish(pg);
    return value ? value : strdup("(none)");
}

static void param_is(const char *keyword, const char *expected)
{
    char *value = param(0, keyword);

    assert_string_equal(value, expected);
    free(value);
}

static void nothing_given(void **state BASE_UNUSED)
{
    parses("");
    assert_int_equal(hosts.count, 1);
    host_is(0, "/var/run/postgresql", "(none)", "5432");
}

static void one_host(void **state BASE_UNUSED)
{
    parses("host=db1 user=u password='a b' dbname=d");
    assert_int_equal(hosts.count, 1);
    host_is(0, "db1", "(none)", "5432");
    param_is("host", "db1");
    param_is("hostaddr", "127.0.0.1");
    param_is("user", "u");
    param_is("password", "a b");
    param_is("dbname", "d");
    param_is("client_encoding", "UTF8");
    param_is("fallback_application_name", "test");
    param_is("target_session_attrs", "read-write");
    param_is("keepalives_idle", "10");
    param_is("gssencmode", "disable");
}

static void what_is_given_counts(void **state BASE_UNUSED)
{
    parses("host=db1 user=u keepalives_idle=77 tcp_user_timeout=5 target_session_attrs=any"
           " gssencmode=prefer client_encoding=LATIN1 application_name=mine");
    param_is("keepalives_idle", "77");
    param_is("keepalives_interval", "5");
    param_is("tcp_user_timeout", "5");
    param_is("target_session_attrs", "any");
    param_is("gssencmode", "prefer");
    param_is("client_encoding", "UTF8"); /* this one is ours: all texts are UTF-8 */
    param_is("application_name", "mine");
}

static void lists(void **state BASE_UNUSED)
{
    parses("host=db1,db2,/tmp,,10.0.0.1 port=1,2,3,,5 user=u");
    assert_int_equal(hosts.count, 5);
    host_is(0, "db1", "(none)", "1");
    host_is(1, "db2", "(none)", "2");
    host_is(2, "/tmp", "(none)", "3");
    host_is(3, "/var/run/postgresql", "(none)", "5432");
    host_is(4, "10.0.0.1", "(none)", "5");
}

static void one_port_for_all(void **state BASE_UNUSED)
{
    parses("host=db1,db2 hostaddr=10.0.0.1,10.0.0.2 port=7 user=u");
    host_is(0, "db1", "10.0.0.1", "7");
    host_is(1, "db2", "10.0.0.2", "7");
}

static void only_addresses(void **state BASE_UNUSED)
{
    parses("hostaddr=10.0.0.1,::1 user=u");
    assert_int_equal(hosts.count, 2);
    host_is(0, "(none)", "10.0.0.1", "5432");
    host_is(1, "(none)", "::1", "5432");
}

static void a_url(void **state BASE_UNUSED)
{
    parses("postgresql://u:p%40ss@[::1]:6000,db2:6001/d?sslmode=require&connect_timeout=3");
    assert_int_equal(hosts.count, 2);
    host_is(0, "::1", "(none)", "6000");
    host_is(1, "db2", "(none)", "6001");
    param_is("password", "p@ss");
    param_is("sslmode", "require");
}

static void the_environment(void **state BASE_UNUSED)
{
    setenv("PGHOST", "env1,env2", 1);
    setenv("PGPORT", "6000,6001", 1);
    setenv("PGGSSENCMODE", "prefer", 1);
    parses("user=u");
    assert_int_equal(hosts.count, 2);
    host_is(1, "env2", "(none)", "6001");
    param_is("host", "env1"); /* and not both */
    param_is("gssencmode", "prefer");
    db_hosts_clear(&hosts);
    parses("user=u host=,given");
    host_is(0, "/var/run/postgresql", "(none)", "6000");
    param_is("host", "/var/run/postgresql");
}

static void a_service(void **state BASE_UNUSED)
{
    char path[] = "/tmp/cardea-service-XXXXXX";
    FILE *file = fdopen(mkstemp(path), "w");

    fputs("[cardea]\nhost=svc1,svc2\nport=7000\nuser=svc\nsslmode=disable\n", file);
    fclose(file);
    setenv("PGSERVICEFILE", path, 1);
    parses("service=cardea user=given");
    assert_int_equal(hosts.count, 2);
    host_is(1, "svc2", "(none)", "7000");
    param_is("user", "given");
    param_is("sslmode", "disable");
    db_hosts_clear(&hosts);
    setenv("PGSERVICE", "cardea", 1);
    parses("");
    host_is(0, "svc1", "(none)", "7000");
    unlink(path);
}

/* Each has a fault, and somewhere the password. */
static void bad_strings_are_not_quoted(void **state BASE_UNUSED)
{
    static const char *const bad[] = {
        "password=s3cret x",
        "password=x s3cret",
        "password='s3cret",
        "password=x s3cret=y",
        "hots=x password=s3cret",
        "password=s3cret sslmode=maybe",
        "password=s3cret host=a,b port=1,2,3",
        "password=s3cret host=a hostaddr=1.1.1.1,2.2.2.2",
        "password=s3cret target_session_attrs=writable",
        "password=s3cret service=nowhere",
        "password=s3cret channel_binding=x",
        "postgresql://u:s3cret@[::1/d",
        "postgresql://u:s3cret@[::1]x/d",
        "postgresql://u:s3cret%zz@h/d",
        "postgresql://u:%s3cret@h/d",
        "postgresql://u:s3cret@h/d?s3cret=1",
        "postgresql://u:p@h/d?s3cret",
        "postgresql://u:p@h/d?x=s3cret=y",
        "postgresql://u:\"s3cret\"@[/d",
        "s3cret",
    };

    setenv("PGSERVICEFILE", "/nonexistent", 1);
    for (size_t i = 0; i < BASE_COUNT(bad); i++) {
        base_buf_reset(&why);
        assert_int_equal(db_hosts_parse(bad[i], "test", &hosts, &why), BASE_INVALID);
        assert_true(why.len > 0);
        if (strstr(base_buf_cstr(&why), "s3cret") || strchr(base_buf_cstr(&why), '\n'))
            fail_msg("%s: %s", bad[i], base_buf_cstr(&why));
        db_hosts_clear(&hosts);
    }
}

static void resolve(const char *conninfo)
{
    const char *numeric;
    struct pollfd done = {.events = POLLIN};

    parses(conninfo);
    assert_true(db_host_needs_lookup(&hosts.items[0], &numeric));
    done.fd = db_host_lookup(&hosts.items[0]);
    assert_true(done.fd >= 0);
    assert_int_equal(db_host_lookup(&hosts.items[0]), done.fd); /* the same one */
    assert_int_equal(poll(&done, 1, 30000), 1);
}

static void names_are_resolved(void **state BASE_UNUSED)
{
    char addresses[DB_MAX_ADDRESSES][DB_ADDRESS_MAX];
    const char *problem;
    size_t count;
    bool v4 = false;

    resolve("host=localhost user=u");
    count = db_host_addresses(&hosts.items[0], addresses, &problem);
    assert_true(count >= 1);
    for (size_t i = 0; i < count; i++)
        v4 |= strcmp(addresses[i], "127.0.0.1") == 0;
    assert_true(v4);
    assert_null(hosts.items[0].lookup);
}

static void names_that_are_none(void **state BASE_UNUSED)
{
    char addresses[DB_MAX_ADDRESSES][DB_ADDRESS_MAX];
    const char *problem;

    /* A label may have 63 characters: no name server is asked. */
    resolve(
        "user=u host=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.x");
    assert_int_equal(db_host_addresses(&hosts.items[0], addresses, &problem), 0);
    assert_true(strlen(problem) > 0);
}

/* Left behind: it frees itself, which the leak checker sees. */
static void a_lookup_nobody_waits_for(void **state BASE_UNUSED)
{
    parses("host=localhost user=u");
    assert_true(db_host_lookup(&hosts.items[0]) >= 0);
}

static void what_needs_no_lookup(void **state BASE_UNUSED)
{
    const char *numeric = "x";

    parses("user=u host=/tmp,@abstract,10.1.2.3,::1,name hostaddr=,,,,10.9.9.9");
    for (size_t i = 0; i < 5; i++) {
        static const char *const expected[] = {NULL, NULL, "10.1.2.3", "::1", "10.9.9.9"};

        assert_false(db_host_needs_lookup(&hosts.items[i], &numeric));
        assert_string_equal(numeric ? numeric : "", expected[i] ? expected[i] : "");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_given),
        TEST(one_host),
        TEST(what_is_given_counts),
        TEST(lists),
        TEST(one_port_for_all),
        TEST(only_addresses),
        TEST(a_url),
        TEST(the_environment),
        TEST(a_service),
        TEST(bad_strings_are_not_quoted),
        TEST(names_are_resolved),
        TEST(names_that_are_none),
        TEST(a_lookup_nobody_waits_for),
        TEST(what_needs_no_lookup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
