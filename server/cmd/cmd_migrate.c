/* SPDX-License-Identifier: Apache-2.0 */
#include "base_clock.h"
#include "base_mem.h"
#include "cmd.h"
#include "db_conn.h"
#include "settings.h"
#include "store_schema.h"

#include <event2/event.h>
#include <stdio.h>

/* One statement of a migration may rewrite a large table. */
#define MIGRATION_US BASE_US_PER_H

struct migration {
    const struct cmd *cmd;
    struct db_conn *db;
    bool done;
    int status;
};

static void on_migrated(void *ctx, enum base_err err, const char *why, int applied, int version)
{
    struct migration *migration = ctx;

    migration->done = true;
    migration->status = CMD_DONE;
    if (err != BASE_OK)
        migration->status = cmd_fail("%s", why && *why ? why : db_conn_problem(migration->db));
    else if (migration->cmd->json)
        printf("{\"version\":%d,\"applied\":%d}\n", version, applied);
    else if (applied > 0)
        printf("the schema is now at version %d (%d applied)\n", version, applied);
    else
        printf("the schema is at version %d already\n", version);
}

static int migrate(struct cmd *cmd, struct event_base *base, const char *conninfo,
                   struct base_buf *why)
{
    struct migration migration = {.cmd = cmd, .status = CMD_FAILED};
    const struct db_options options = {.conninfo = conninfo,
                                       .application_name = "cardea migrate",
                                       .query_timeout_us = MIGRATION_US,
                                       .connect_timeout_us = CMD_CONNECT_US,
                                       .max_pending = 16};

    if (db_conn_open(base, &options, &migration.db, why) != BASE_OK)
        return cmd_fail("CARDEA_DATABASE_URL: %s", base_buf_cstr(why));
    store_schema_migrate(migration.db, on_migrated, &migration);
    while (!migration.done && event_base_loop(base, EVLOOP_ONCE) == 0)
        ;
    db_conn_close(&migration.db);
    return migration.status;
}

int cmd_migrate(struct cmd *cmd)
{
    struct base_conf_origins *origins = base_calloc(1, sizeof *origins);
    struct event_base *base = event_base_new();
    struct settings settings;
    struct base_buf why;
    int status;

    base_buf_init(&why, 2048);
    if (settings_load(cmd->config_file, cmd->flags, cmd->n_flags, &settings, origins, &why) !=
        BASE_OK) {
        cmd_fail("%s", base_buf_cstr(&why));
        status = CMD_USAGE;
    } else {
        status = migrate(cmd, base, settings.database_url ? settings.database_url : "", &why);
    }
    settings_clear(&settings);
    base_buf_clear(&why);
    base_free(&origins);
    event_base_free(base);
    return status;
}
