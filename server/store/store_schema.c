/* SPDX-License-Identifier: Apache-2.0 */
/* Migrations. The steps of a run are callbacks, one after the other: look at the encoding, take the
 * lock, read what is applied, apply what is missing, one by one, give the lock back, answer. The
 * lock belongs to the session, so it holds over all transactions; each migration takes it once more
 * for its own, in case the connection was lost and opened again in between. */
#include "store_internal.h"

#include "base_clock.h"
#include "base_embed.h"
#include "base_mem.h"

#include <assert.h>
#include <stdio.h>

#define LOCK_TIMEOUT_US (10 * BASE_US_PER_MIN) /* another host's migrations may take long */
#define STEP_TIMEOUT_US (60 * BASE_US_PER_MIN)
#define MAX_SQL         (4 << 20)
#define WHY_MAX         512

/* The files of sql/, in order: number n is at n - 1 (CMakeLists.txt). */
extern const struct base_embedded store_migrations[];
extern const size_t store_migrations_count;

int store_schema_wanted(void)
{
    return (int)store_migrations_count;
}

/* ---- What is applied ---- */

static const struct db_statement list = {
    "schema_list", "SELECT version, checksum FROM schema_migration ORDER BY version", DB_READ};

/* Judges the rows. `*applied` is how many migrations are there; all of them are ours unless it
 * answers BASE_CONFLICT, and `why` (a buffer of WHY_MAX) says what to do. */
static enum base_err judge(const struct db_result *result, size_t *applied, char *why)
{
    size_t n = (size_t)db_result_rows(result);

    *applied = 0;
    for (size_t i = 0; i < n; i++) {
        int version = db_row_int4(result, (int)i, 0);

        if (version > store_schema_wanted()) {
            snprintf(why, WHY_MAX,
                     "the database has schema version %d, this cardea knows only %d: upgrade this "
                     "cardea",
                     db_row_int4(result, (int)n - 1, 0), store_schema_wanted());
            return BASE_CONFLICT;
        }
        if (version != (int)i + 1 || !base_span_eq(db_row_text(result, (int)i, 1),
                                                   base_span_str(store_migrations[i].sha256))) {
            snprintf(why, WHY_MAX,
                     "migration %d in the database is not the one of this cardea (%s): use the "
                     "cardea that made this schema",
                     version, store_migrations[i].name);
            return BASE_CONFLICT;
        }
    }
    *applied = n;
    return BASE_OK;
}

static bool is_no_table(const struct db_answer *answer)
{
    return strcmp(answer->sqlstate, "42P01") == 0;
}

/* An error that says nothing about the schema. */
static enum base_err failure(const struct db_answer *answer, char *why)
{
    if (answer->err == BASE_DENIED)
        snprintf(why, WHY_MAX,
                 "PostgreSQL says \"%s\": grant the role its rights with docker/runtime-role.sql",
                 answer->message);
    else
        snprintf(why, WHY_MAX, "%s",
                 *answer->message ? answer->message : base_err_text(answer->err));
    return answer->err;
}

static enum base_err check(const struct db_answer *answer, char *why)
{
    size_t applied = 0;
    enum base_err err;

    if (is_no_table(answer)) {
        snprintf(why, WHY_MAX, "the database has no schema of Cardea's: run `cardea migrate`");
        return BASE_NOT_FOUND;
    }
    if (answer->err != BASE_OK)
        return failure(answer, why);
    if ((err = judge(answer->result, &applied, why)) != BASE_OK)
        return err;
    if (applied == store_migrations_count)
        return BASE_OK;
    snprintf(why, WHY_MAX,
             "the database has schema version %zu, this cardea needs %d: run `cardea migrate`",
             applied, store_schema_wanted());
    return BASE_CONFLICT;
}

static void checked(void *data, const struct db_answer *answer)
{
    struct store_call *call = data;
    char why[WHY_MAX] = "";
    enum base_err err = check(answer, why);

    call->fn.schema(call->ctx, err, why);
    base_free(&call);
}

void store_schema_check(struct db_conn *db, store_schema_fn *done, void *ctx)
{
    struct store_call *call = store_call_new(ctx);

    call->fn.schema = done;
    db_query(db, &list, NULL, 0, checked, call);
}

/* ---- A run ---- */

static const struct db_statement encoding = {"schema_encoding",
                                             "SELECT current_setting('server_encoding')", DB_READ};

struct run {
    struct db_conn *db;
    store_migrate_fn *done;
    void *ctx;
    size_t next; /* the migration to apply */
    int applied;
    enum base_err err;
    char why[WHY_MAX];
};

static void unlocked(void *data, const struct db_answer *answer)
{
    struct run *run = data;

    /* Without the unlock the lock ends with the session: what was done is done. */
    (void)answer;
    run->done(run->ctx, run->err, run->why, run->applied, (int)run->next);
    base_free(&run);
}

/* A migration that failed has left its transaction open. */
static void finish(struct run *run)
{
    db_script(run->db, "ROLLBACK; SELECT pg_advisory_unlock(" STORE_LOCK_MIGRATE ")",
              STEP_TIMEOUT_US, unlocked, run);
}

static void apply_next(struct run *run);

static void was_applied(void *data, const struct db_answer *answer)
{
    struct run *run = data;

    if (answer->err != BASE_OK) {
        run->err = answer->err;
        snprintf(run->why, sizeof run->why, "migration %s failed: %s",
                 store_migrations[run->next].name,
                 *answer->message ? answer->message : base_err_text(answer->err));
        finish(run);
        return;
    }
    run->next++;
    run->applied++;
    apply_next(run);
}

static void apply_next(struct run *run)
{
    BASE_AUTO(base_buf_clear) struct base_buf sql = {0};
    const struct base_embedded *migration;

    if (run->next == store_migrations_count) {
        finish(run);
        return;
    }
    migration = &store_migrations[run->next];
    base_buf_init(&sql, MAX_SQL);
    base_buf_put_str(&sql, "BEGIN; SELECT pg_advisory_xact_lock(" STORE_LOCK_MIGRATE ");\n");
    base_buf_put_span(&sql, migration->text);
    base_buf_putf(
        &sql,
        "\nINSERT INTO schema_migration (version, name, checksum) VALUES (%d, '%s', '%s');"
        " COMMIT",
        (int)run->next + 1, migration->name, migration->sha256);
    db_script(run->db, base_buf_cstr(&sql), STEP_TIMEOUT_US, was_applied, run);
}

static void listed(void *data, const struct db_answer *answer)
{
    struct run *run = data;

    if (answer->err == BASE_OK)
        run->err = judge(answer->result, &run->next, run->why);
    else if (!is_no_table(answer))
        run->err = failure(answer, run->why);
    if (run->err == BASE_OK)
        apply_next(run);
    else
        finish(run);
}

/* Before the lock is ours. */
static void give_up(struct run *run)
{
    run->done(run->ctx, run->err, run->why, 0, 0);
    base_free(&run);
}

static void locked(void *data, const struct db_answer *answer)
{
    struct run *run = data;

    if (answer->err == BASE_OK) {
        db_query(run->db, &list, NULL, 0, listed, run);
        return;
    }
    run->err = failure(answer, run->why);
    give_up(run);
}

/* To SQL_ASCII each byte is a character, and the constraints would refuse names in UTF-8; other
 * encodings cannot hold all of them. An encoding is for life, so no migration could mend it. */
static enum base_err judge_encoding(const struct db_result *result, char *why)
{
    struct base_span found = db_row_text(result, 0, 0);

    if (base_span_eq(found, BASE_SPAN("UTF8")))
        return BASE_OK;
    snprintf(why, WHY_MAX,
             "the database's encoding is %.*s, and Cardea needs UTF8: make one with `createdb "
             "--template template0 --encoding UTF8 --locale C.UTF-8 NAME`",
             BASE_SPAN_ARGS(found));
    return BASE_CONFLICT;
}

static void encoded(void *data, const struct db_answer *answer)
{
    struct run *run = data;

    run->err = answer->err == BASE_OK ? judge_encoding(answer->result, run->why)
                                      : failure(answer, run->why);
    if (run->err == BASE_OK)
        db_script(run->db, "SELECT pg_advisory_lock(" STORE_LOCK_MIGRATE ")", LOCK_TIMEOUT_US,
                  locked, run);
    else
        give_up(run);
}

void store_schema_migrate(struct db_conn *db, store_migrate_fn *done, void *ctx)
{
    struct run *run = base_calloc(1, sizeof *run);

    run->db = db;
    run->done = done;
    run->ctx = ctx;
    db_query(db, &encoding, NULL, 0, encoded, run);
}
