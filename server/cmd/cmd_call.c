/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd_call.h"

#include "api_local.h"
#include "base_clock.h"
#include "base_log.h"
#include "base_mem.h"
#include "cmd_print.h"
#include "db_conn.h"
#include "store_schema.h"

#include <event2/event.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Longer than a server's: a person at a terminal would rather wait than repeat. */
#define ANSWER_US (10 * BASE_US_PER_S)

struct cmd_call {
    struct settings settings;
    struct event_base *base;
    struct db_conn *db;
    struct api_shared shared;
    struct api_worker worker;
    struct policy_principal principal;
    struct base_buf why;
};

static void set_principal(struct policy_principal *principal)
{
    const struct passwd *user = getpwuid(getuid());

    principal->can_read = principal->can_write = principal->is_platform = principal->is_local =
        true;
    if (user)
        snprintf(principal->actor, sizeof principal->actor, "cli:%s", user->pw_name);
    else
        snprintf(principal->actor, sizeof principal->actor, "cli:uid %ld", (long)getuid());
}

static int fail_why(struct cmd_call *call, int status)
{
    cmd_fail("%s", base_buf_cstr(&call->why));
    return status;
}

static int load_settings(struct cmd *cmd, struct cmd_call *call)
{
    struct base_conf_origins *origins = base_calloc(1, sizeof *origins);
    enum base_err err = settings_load(cmd->config_file, cmd->flags, cmd->n_flags, &call->settings,
                                      origins, &call->why);

    base_free(&origins);
    return err == BASE_OK ? CMD_DONE : fail_why(call, CMD_USAGE);
}

static int load_seal(struct cmd_call *call, struct base_seal **seal)
{
    if (!call->settings.master_key_file) {
        cmd_fail("CARDEA_MASTER_KEY_FILE is not set: secrets are stored under the master key, and "
                 "the server must know the same one");
        return CMD_USAGE; /* as for `serve` */
    }
    if (base_seal_load(call->settings.master_key_file, seal, &call->why) != BASE_OK)
        return fail_why(call, CMD_FAILED);
    return CMD_DONE;
}

static void fill_shared(struct cmd_call *call, struct base_seal *seal)
{
    const struct settings *settings = &call->settings;
    struct api_config *config = &call->shared.config;

    config->issuer = base_span_str(settings->issuer);
    config->default_audience = base_span_str(settings->audience);
    config->token_typ = settings_token_typs[settings->token_typ];
    config->token_ttl_us = settings->token_ttl;
    config->rotation =
        (struct policy_rotation){settings->signing_key_rotation, settings->jwks_max_age,
                                 settings->jwks_margin, (enum jose_alg)settings->signing_alg};
    call->shared.metrics = base_metrics_new(api_metric_defs, API_METRIC_COUNT, 1);
    api_worker_init(&call->worker, &call->shared, 0);
    call->worker.base = call->base;
    call->worker.admin = call->worker.lookup = call->db;
    call->worker.local = &call->principal;
    api_worker_adopt(&call->worker, api_snapshot_new(config, seal, NULL, NULL, 0));
}

struct schema_answer {
    struct cmd_call *call;
    bool done;
    enum base_err err;
};

static void on_schema(void *ctx, enum base_err err, const char *why)
{
    struct schema_answer *answer = ctx;
    const char *problem = db_conn_problem(answer->call->db);

    answer->err = err;
    answer->done = true;
    if (err == BASE_CONFLICT || err == BASE_NOT_FOUND)
        base_buf_put_str(&answer->call->why, why);
    else if (*problem)
        base_buf_putf(&answer->call->why, "cannot reach the database: %s", problem);
    else if (err != BASE_OK)
        base_buf_putf(&answer->call->why, "the database does not answer as it should: %s", why);
}

static int open_database(struct cmd_call *call, bool check_schema)
{
    struct schema_answer answer = {.call = call};
    const struct db_options options = {
        .conninfo = call->settings.database_url ? call->settings.database_url : "",
        .application_name = "cardea command line",
        .query_timeout_us = ANSWER_US,
        .connect_timeout_us = CMD_CONNECT_US,
        .max_pending = 16,
    };

    call->base = event_base_new();
    if (!call->base)
        return cmd_fail("cannot open an event loop");
    base_buf_put_str(&call->why, "CARDEA_DATABASE_URL: ");
    if (db_conn_open(call->base, &options, &call->db, &call->why) != BASE_OK)
        return fail_why(call, CMD_FAILED);
    base_buf_reset(&call->why);
    if (!check_schema)
        return CMD_DONE;
    store_schema_check(call->db, on_schema, &answer);
    cmd_call_wait(call, &answer.done);
    return answer.err == BASE_OK ? CMD_DONE : fail_why(call, CMD_FAILED);
}

struct cmd_call *cmd_call_open(struct cmd *cmd, bool needs_seal, int *status)
{
    struct cmd_call *call = base_calloc(1, sizeof *call);
    struct base_seal *seal = NULL;

    base_buf_init(&call->why, 2048);
    set_principal(&call->principal);
    base_log_set_level(BASE_LOG_ERROR);
    if ((*status = load_settings(cmd, call)) == CMD_DONE &&
        (!needs_seal || (*status = load_seal(call, &seal)) == CMD_DONE) &&
        (*status = open_database(call, true)) == CMD_DONE) {
        fill_shared(call, seal);
        return call;
    }
    base_seal_unref(&seal);
    cmd_call_close(&call);
    return NULL;
}

void cmd_call_close(struct cmd_call **address)
{
    struct cmd_call *call = *address;

    *address = NULL;
    if (!call)
        return;
    db_conn_close(&call->db);
    if (call->worker.shared)
        api_worker_clear(&call->worker);
    base_metrics_free(&call->shared.metrics);
    if (call->base)
        event_base_free(call->base);
    settings_clear(&call->settings);
    base_buf_clear(&call->why);
    base_free(&call);
}

struct api_worker *cmd_call_worker(struct cmd_call *call)
{
    return &call->worker;
}

bool cmd_call_wait(struct cmd_call *call, const bool *done)
{
    /* Every database call has a deadline of its own, so this ends. */
    while (!*done && event_base_loop(call->base, EVLOOP_ONCE) == 0)
        ;
    return *done;
}

/* --- one request --- */

struct request {
    bool done;
    int status;
    json_t *body;
};

static void on_reply(void *ctx, const struct api_local_reply *reply)
{
    struct request *request = ctx;

    request->done = true;
    request->status = reply->status;
    request->body = reply->body.len
                        ? json_loadb(reply->body.ptr, reply->body.len, JSON_REJECT_DUPLICATES, NULL)
                        : json_object();
}

static void print_problem(const json_t *problem, int status)
{
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    const json_t *errors = json_object_get(problem, "errors"), *item;
    size_t i;

    if (json_array_size(errors) == 0)
        cmd_fail("%s", detail          ? detail
                       : status == 404 ? "there is no such object"
                                       : "the request failed");
    json_array_foreach (errors, i, item) {
        const char *field = json_string_value(json_object_get(item, "field"));
        const char *message = json_string_value(json_object_get(item, "message"));

        cmd_fail("%s: %s", field ? field : "", message ? message : "");
    }
}

/* Why a name is not one segment of a path; NULL: it is. */
static const char *no_segment(const char *name)
{
    if (!*name)
        return "it is empty";
    if (strchr(name, '/'))
        return "it is divided by a slash";
    /* RFC 3986 sections 5.2.4 and 6.2.2: clients take these out of a path, escaped or not, and our
     * own parser refuses them. */
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "a URL never keeps it, so the API and the console could not reach it";
    return NULL;
}

bool cmd_call_path(const char *before, const char *name, const char *after, char *path, size_t size)
{
    int len = snprintf(path, size, "%s%s%s", before, name, after);
    const char *why = no_segment(name);

    if (!why && (len < 0 || (size_t)len >= size))
        why = "it is too long";
    if (why)
        cmd_fail("\"%.80s\" cannot be a name: %s", name, why);
    return !why;
}

json_t *cmd_call_request(struct cmd_call *call, enum http_method method, const char *path,
                         const char *query, json_t *body)
{
    struct request request = {0};
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    const struct api_local_request local = {method, path, query, base_span_str(text), NULL};

    api_local_call(&call->worker, &local, on_reply, &request);
    cmd_call_wait(call, &request.done);
    if (text)
        base_wipe(text, strlen(text));
    free(text);
    json_decref(body);
    if (request.status >= 200 && request.status < 300)
        return request.body;
    print_problem(request.body, request.status);
    json_decref(request.body);
    return NULL;
}

struct found {
    bool done;
    enum base_err err;
    char tenant[64];
};

static void on_found(void *ctx, enum base_err err, const struct store_key *key)
{
    struct found *found = ctx;

    found->done = true;
    found->err = err;
    if (err == BASE_OK)
        snprintf(found->tenant, sizeof found->tenant, "%.*s", BASE_SPAN_ARGS(key->tenant));
}

bool cmd_call_key_path(struct cmd_call *call, const char *key_id, const char *suffix, char *path,
                       size_t size)
{
    struct found found = {0};

    if (strchr(key_id, '/') || strlen(key_id) > 64) {
        cmd_fail("\"%s\" is not a key ID", key_id);
        return false;
    }
    store_key_find(call->db, base_span_str(key_id), on_found, &found);
    cmd_call_wait(call, &found.done);
    if (found.err == BASE_NOT_FOUND)
        cmd_fail("there is no key %s", key_id);
    else if (found.err != BASE_OK)
        cmd_fail("cannot read the key: %s", base_err_text(found.err));
    if (found.err != BASE_OK)
        return false;
    snprintf(path, size, "/v1/tenants/%s/keys/%s%s", found.tenant, key_id, suffix);
    return true;
}

json_t *cmd_call_answer(struct cmd *cmd, bool needs_seal, enum http_method method, const char *path,
                        json_t *body, int *status)
{
    struct cmd_call *call = cmd_call_open(cmd, needs_seal, status);
    json_t *answer;

    if (!call) {
        json_decref(body);
        return NULL;
    }
    answer = cmd_call_request(call, method, path, NULL, body);
    cmd_call_close(&call);
    *status = answer ? CMD_DONE : CMD_FAILED;
    return answer;
}

int cmd_call_once(struct cmd *cmd, bool needs_seal, enum http_method method, const char *path,
                  json_t *body, void (*print)(const json_t *answer))
{
    int status;
    json_t *answer = cmd_call_answer(cmd, needs_seal, method, path, body, &status);

    if (answer)
        cmd_print(cmd, answer, print);
    json_decref(answer);
    return status;
}
