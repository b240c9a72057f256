/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "store_fixture.h"

#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_US (60 * BASE_US_PER_S)

struct event_base *fix_base;
char *fix_owner, *fix_runtime;
struct db_conn *fix_db;
struct answer fix_answer;
static struct pg_cluster *cluster;

/* Copies of what callbacks were given: one list, freed as a whole. */
static struct copy {
    struct copy *next;
    _Alignas(max_align_t) char bytes[];
} * copies;

static void *keep_room(size_t len)
{
    struct copy *copy = base_calloc(1, sizeof *copy + len + 1);

    copy->next = copies;
    copies = copy;
    return copy->bytes;
}

static void *keep(const void *bytes, size_t len)
{
    void *room = keep_room(len);

    if (len > 0)
        memcpy(room, bytes, len);
    return room;
}

static void keep_span(struct base_span *span)
{
    if (span->ptr)
        span->ptr = keep(span->ptr, span->len);
}

void fix_reset(void)
{
    while (copies) {
        struct copy *next = copies->next;

        base_free(&copies);
        copies = next;
    }
    memset(&fix_answer, 0, sizeof fix_answer);
}

/* ---- Server and connections ---- */

struct db_conn *fix_open(const char *conninfo)
{
    const struct db_options options = {.conninfo = conninfo,
                                       .application_name = "test_store",
                                       .query_timeout_us = 30 * BASE_US_PER_S,
                                       .connect_timeout_us = 10 * BASE_US_PER_S,
                                       .max_pending = 4096};
    struct db_conn *conn = NULL;
    struct base_buf why;

    base_buf_init(&why, 1024);
    if (db_conn_open(fix_base, &options, &conn, &why) != BASE_OK) {
        fprintf(stderr, "db_conn_open: %s\n", base_buf_cstr(&why));
        abort();
    }
    base_buf_clear(&why);
    return conn;
}

char *fix_database(void)
{
    return pg_cluster_database(cluster);
}

long long fix_number(const char *sql)
{
    char *text = pg_cluster_query(fix_owner, sql);
    long long value = atoll(text);

    free(text);
    return value;
}

void fix_exec(const char *sql)
{
    free(pg_cluster_query(fix_owner, sql));
}

int fix_setup_bare(void **state)
{
    (void)state;
    fix_base = event_base_new();
    cluster = pg_cluster_new();
    return 0;
}

static void grant_runtime(void)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        execlp("psql", "psql", "-X", "-q", "-v", "role=" RUNTIME_ROLE, "-f",
               SOURCE_DIR "/docker/runtime-role.sql", fix_owner, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

int fix_setup(void **state)
{
    struct db_conn *owner;

    fix_setup_bare(state);
    fix_owner = fix_database();
    fix_runtime = pg_cluster_as(fix_owner, RUNTIME_ROLE);
    owner = fix_open(fix_owner);
    store_schema_migrate(owner, on_migrate, &fix_answer);
    fix_done();
    if (fix_answer.err != BASE_OK)
        fprintf(stderr, "%s\n", fix_answer.why);
    assert_int_equal(fix_answer.err, BASE_OK);
    db_conn_close(&owner);
    grant_runtime();
    grant_runtime(); /* twice does no harm */
    fix_db = fix_open(fix_runtime);
    fix_reset();
    return 0;
}

int fix_teardown(void **state)
{
    (void)state;
    fix_reset();
    if (fix_db)
        db_conn_close(&fix_db);
    event_base_free(fix_base);
    pg_cluster_free(&cluster);
    free(fix_owner);
    free(fix_runtime);
    return 0;
}

void fix_wait(struct answer *answer, int count)
{
    int64_t deadline_us = base_clock_mono_us() + WAIT_US;

    while (answer->count < count && base_clock_mono_us() < deadline_us)
        event_base_loop(fix_base, EVLOOP_ONCE);
    assert_int_equal(answer->count, count);
}

void fix_done(void)
{
    fix_wait(&fix_answer, fix_answer.count + 1);
}

/* ---- Callbacks ---- */

static void keep_fields(struct store_key_fields *fields)
{
    keep_span(&fields->name);
    keep_span(&fields->description);
    keep_span(&fields->claims);
    keep_span(&fields->jwks);
    for (size_t i = 0; i < fields->n_scopes; i++)
        keep_span(&fields->scopes[i]);
    for (size_t i = 0; i < fields->n_audience; i++)
        keep_span(&fields->audience[i]);
    for (size_t i = 0; i < fields->n_cidrs; i++)
        keep_span(&fields->cidrs[i]);
}

static void keep_key(struct store_key *to, const struct store_key *from)
{
    *to = *from;
    keep_span(&to->key_id);
    keep_span(&to->tenant);
    keep_span(&to->scope);
    keep_span(&to->created_by);
    keep_fields(&to->fields);
}

static void keep_outcome(struct answer *answer, const struct store_outcome *outcome)
{
    answer->outcome = *outcome;
    keep_span(&answer->outcome.object);
    answer->err = outcome->err;
    answer->count++;
}

static void keep_err(struct answer *answer, enum base_err err)
{
    answer->err = err;
    answer->count++;
}

void on_lookup(void *ctx, enum base_err err, bool found, const struct store_key *key)
{
    struct answer *answer = ctx;

    assert_true((err == BASE_OK) == (key != NULL));
    answer->found = found;
    if (key)
        keep_key(&answer->key, key);
    keep_err(answer, err);
}

void on_key(void *ctx, enum base_err err, const struct store_key *key)
{
    struct answer *answer = ctx;

    assert_true((err == BASE_OK) == (key != NULL));
    if (key)
        keep_key(&answer->key, key);
    keep_err(answer, err);
}

void on_key_list(void *ctx, enum base_err err, const struct store_key_list *list)
{
    struct answer *answer = ctx;

    assert_true((err == BASE_OK) == (list != NULL));
    keep_err(answer, err);
    if (!list)
        return;
    answer->n = store_key_list_count(list);
    answer->more = store_key_list_more(list);
    answer->keys = keep_room(answer->n * sizeof *answer->keys);
    for (size_t i = 0; i < answer->n; i++) {
        struct store_key key;

        store_key_list_at(list, i, &key);
        keep_key(&answer->keys[i], &key);
    }
}

void on_key_change(void *ctx, const struct store_outcome *outcome, const struct store_key *key)
{
    struct answer *answer = ctx;

    assert_true((outcome->err == BASE_OK) == (key != NULL));
    if (key)
        keep_key(&answer->key, key);
    keep_outcome(answer, outcome);
}

void on_done(void *ctx, const struct store_outcome *outcome)
{
    keep_outcome(ctx, outcome);
}

void on_expire(void *ctx, enum base_err err, bool more)
{
    struct answer *answer = ctx;

    answer->more = more;
    keep_err(answer, err);
}

static void keep_tenant(struct store_tenant *to, const struct store_tenant *from)
{
    *to = *from;
    keep_span(&to->id);
    keep_span(&to->name);
}

void on_tenant(void *ctx, enum base_err err, const struct store_tenant *tenant)
{
    struct answer *answer = ctx;

    assert_true((err == BASE_OK) == (tenant != NULL));
    if (tenant)
        keep_tenant(&answer->tenant, tenant);
    keep_err(answer, err);
}

void on_tenant_list(void *ctx, enum base_err err, const struct store_tenant *tenants, size_t n,
                    bool more)
{
    struct answer *answer = ctx;

    answer->n = n;
    answer->more = more;
    answer->tenants = keep(tenants, n * sizeof *tenants);
    for (size_t i = 0; i < n; i++)
        keep_tenant(&answer->tenants[i], &tenants[i]);
    keep_err(answer, err);
}

void on_tenant_change(void *ctx, const struct store_outcome *outcome,
                      const struct store_tenant *tenant)
{
    struct answer *answer = ctx;

    assert_true((outcome->err == BASE_OK) == (tenant != NULL));
    if (tenant)
        keep_tenant(&answer->tenant, tenant);
    keep_outcome(answer, outcome);
}

static void keep_scope(struct store_scope *to, const struct store_scope *from)
{
    *to = *from;
    keep_span(&to->name);
    keep_span(&to->title);
    keep_span(&to->description);
}

void on_scope(void *ctx, enum base_err err, const struct store_scope *scope)
{
    struct answer *answer = ctx;

    assert_true((err == BASE_OK) == (scope != NULL));
    if (scope)
        keep_scope(&answer->scope, scope);
    keep_err(answer, err);
}

void on_scope_list(void *ctx, enum base_err err, const struct store_scope *scopes, size_t n)
{
    struct answer *answer = ctx;

    answer->n = n;
    answer->scopes = keep(scopes, n * sizeof *scopes);
    for (size_t i = 0; i < n; i++)
        keep_scope(&answer->scopes[i], &scopes[i]);
    keep_err(answer, err);
}

void on_scope_put(void *ctx, const struct store_outcome *outcome, bool created,
                  const struct store_scope *scope)
{
    struct answer *answer = ctx;

    assert_true((outcome->err == BASE_OK) == (scope != NULL));
    answer->created = created;
    if (scope)
        keep_scope(&answer->scope, scope);
    keep_outcome(answer, outcome);
}

void on_signing_list(void *ctx, enum base_err err, const struct store_signing_key *keys, size_t n,
                     int64_t now_us, int64_t generation)
{
    struct answer *answer = ctx;

    answer->n = n;
    answer->now_us = now_us;
    answer->generation = generation;
    answer->signing = keep(keys, n * sizeof *keys);
    for (size_t i = 0; i < n; i++) {
        keep_span(&answer->signing[i].kid);
        keep_span(&answer->signing[i].alg);
        keep_span(&answer->signing[i].public_jwk);
        keep_span(&answer->signing[i].sealed);
    }
    keep_err(answer, err);
}

void on_audit_list(void *ctx, enum base_err err, const struct store_audit_row *rows, size_t n,
                   bool more)
{
    struct answer *answer = ctx;

    answer->n = n;
    answer->more = more;
    answer->audit = keep(rows, n * sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        struct store_audit *entry = &answer->audit[i].entry;

        keep_span(&entry->actor);
        keep_span(&entry->action);
        keep_span(&entry->tenant);
        keep_span(&entry->object);
        keep_span(&entry->changes);
        keep_span(&entry->address);
        keep_span(&entry->request_id);
    }
    keep_err(answer, err);
}

void on_seal_use(void *ctx, enum base_err err, const struct store_seal_use *uses, size_t n)
{
    struct answer *answer = ctx;

    answer->n = n;
    answer->uses = keep(uses, n * sizeof *uses);
    keep_err(answer, err);
}

void on_seal_need(void *ctx, enum base_err err, const struct store_seal_need *needs, size_t n)
{
    struct answer *answer = ctx;

    answer->n = n;
    answer->needs = keep(needs, n * sizeof *needs);
    keep_err(answer, err);
}

void on_schema(void *ctx, enum base_err err, const char *why)
{
    struct answer *answer = ctx;

    snprintf(answer->why, sizeof answer->why, "%s", why);
    keep_err(answer, err);
}

void on_migrate(void *ctx, enum base_err err, const char *why, int applied, int version)
{
    struct answer *answer = ctx;

    snprintf(answer->why, sizeof answer->why, "%s", why);
    answer->applied = applied;
    answer->version = version;
    keep_err(answer, err);
}

/* ---- Makings ---- */

struct base_span fix_text(const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return base_span_str(keep(text, strlen(text)));
}

struct base_span fix_key_id(unsigned number)
{
    uint8_t bytes[15] = {0};
    char text[40] = "key_";
    struct base_buf buf;

    for (size_t i = 0; i < 4; i++)
        bytes[14 - i] = (uint8_t)(number >> (8 * i));
    base_buf_init_fixed(&buf, text + 4, sizeof text - 4);
    base_encode_base32(&buf, bytes, sizeof bytes);
    return base_span_str(keep(text, 28));
}

struct store_audit fix_audit(const char *action, const char *tenant, struct base_span object)
{
    return (struct store_audit){.actor = BASE_SPAN("cli:tester"),
                                .action = base_span_str(action),
                                .tenant = base_span_str(tenant),
                                .object = object,
                                .changes = BASE_SPAN("{\"name\":[null,\"x\"]}"),
                                .address = BASE_SPAN("192.0.2.7"),
                                .request_id = BASE_SPAN("req-1")};
}

struct store_secret fix_secret(uint8_t byte)
{
    struct store_secret secret = {.present = true};

    memset(secret.mac, byte, sizeof secret.mac);
    memset(secret.seal_id.bytes, 0x51, sizeof secret.seal_id.bytes);
    return secret;
}

struct store_key_fields fix_fields(const char *name)
{
    return (struct store_key_fields){.name = base_span_str(name),
                                     .n_scopes = 1,
                                     .scopes = {BASE_SPAN("data:read")},
                                     .enabled = true,
                                     .expires_us = base_clock_wall_us() + BASE_US_PER_DAY,
                                     .claims = BASE_SPAN("{}")};
}

void fix_tenant(const char *id)
{
    struct store_audit audit = fix_audit("tenant.create", id, base_span_str(id));

    store_tenant_create(fix_db, base_span_str(id), BASE_SPAN("A tenant"), true, NULL, &audit,
                        on_tenant_change, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
}

void fix_scope(const char *name)
{
    struct store_audit audit = fix_audit("scope.put", "", base_span_str(name));

    store_scope_put(fix_db, base_span_str(name), BASE_SPAN("A scope"), BASE_SPAN(""), &audit,
                    on_scope_put, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
}

struct base_span fix_key(const char *tenant, unsigned number)
{
    struct base_span key_id = fix_key_id(number);
    struct store_audit audit = fix_audit("key.create", tenant, key_id);
    struct store_key_fields fields = fix_fields(fix_text("Key %u", number).ptr);
    struct store_secret secret = fix_secret((uint8_t)number);

    store_key_create(fix_db, base_span_str(tenant), key_id, &fields, &secret,
                     BASE_SPAN("cli:tester"), NULL, &audit, on_key_change, &fix_answer);
    fix_done();
    assert_outcome(BASE_OK);
    return key_id;
}
