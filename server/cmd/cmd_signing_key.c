/* SPDX-License-Identifier: Apache-2.0 */
#include "api_signing_keys.h"
#include "cmd_call.h"
#include "cmd_print.h"

#include <stdio.h>
#include <string.h>

const struct cmd_option cmd_signing_key_rotate_options[] = {
    {"--emergency", NULL, "withdraw every older key at once, because one may be known to others",
     false, false},
    {NULL, NULL, NULL, false, false},
};

static const struct cmd_column columns[] = {{"KID", "kid"},
                                            {"ALG", "alg"},
                                            {"STATE", "state"},
                                            {"PUBLISHED", "created_at"},
                                            {"SIGNS FROM", "signs_from"},
                                            {"RETIRED", "retired_at"},
                                            {"GONE AFTER", "publish_until"},
                                            {NULL, NULL}};

static void print_list(const json_t *list)
{
    cmd_print_table(json_object_get(list, "items"), columns);
}

static void print_rotation(const json_t *answer)
{
    const char *warning = json_string_value(json_object_get(answer, "warning"));

    cmd_print_object(answer, columns);
    if (warning)
        printf("\n%s\n", warning);
}

int cmd_signing_key_list(struct cmd *cmd)
{
    return cmd_call_once(cmd, false, HTTP_GET, "/v1/signing-keys", NULL, print_list);
}

int cmd_signing_key_rotate(struct cmd *cmd)
{
    json_t *body =
        cmd_value(cmd, "--emergency") ? json_pack("{sb}", "emergency", 1) : json_object();

    return cmd_call_once(cmd, true, HTTP_POST, "/v1/signing-keys", body, print_rotation);
}

/* --- reseal: every signing key under the first master key --- */

#define MAX_KEYS 64

struct reseal {
    struct cmd_call *call;
    struct {
        char kid[64];
        struct base_seal_id old_seal;
        struct base_buf sealed;
    } keys[MAX_KEYS];
    size_t n_keys;
    bool done;
    enum base_err err;
    int resealed;
};

static void reseal_row(struct reseal *reseal, const struct store_signing_key *row)
{
    const struct base_seal *seal = cmd_call_worker(reseal->call)->snapshot->seal;
    struct base_buf context, plain, *sealed = &reseal->keys[reseal->n_keys].sealed;

    if (memcmp(&row->seal_id, base_seal_id_at(seal, 0), sizeof row->seal_id) == 0 ||
        reseal->n_keys == MAX_KEYS)
        return;
    base_buf_init(&context, 256);
    base_buf_init(&plain, 16u << 10);
    base_buf_init(sealed, 16u << 10);
    policy_ring_seal_context(row->kid, &context);
    reseal->err = base_seal_open(seal, base_buf_span(&context), row->sealed, &plain);
    if (reseal->err == BASE_OK)
        reseal->err = base_seal_close(seal, base_buf_span(&context), base_buf_span(&plain), sealed);
    snprintf(reseal->keys[reseal->n_keys].kid, sizeof reseal->keys[0].kid, "%.*s",
             BASE_SPAN_ARGS(row->kid));
    reseal->keys[reseal->n_keys++].old_seal = row->seal_id;
    base_buf_clear(&plain);
    base_buf_clear(&context);
}

static void on_list(void *ctx, enum base_err err, const struct store_signing_key *keys,
                    size_t n_keys, int64_t now_us BASE_UNUSED, int64_t generation BASE_UNUSED)
{
    struct reseal *reseal = ctx;

    reseal->done = true;
    reseal->err = err;
    for (size_t i = 0; i < n_keys && reseal->err == BASE_OK; i++)
        reseal_row(reseal, &keys[i]);
}

static void on_resealed(void *ctx, const struct store_outcome *outcome)
{
    struct reseal *reseal = ctx;

    reseal->done = true;
    if (outcome->err == BASE_OK)
        reseal->resealed++;
    else if (outcome->err != BASE_CONFLICT &&
             outcome->err != BASE_NOT_FOUND) /* gone, or another was faster */
        reseal->err = outcome->err;
}

static void store_key(struct reseal *reseal, size_t i)
{
    struct api_worker *worker = cmd_call_worker(reseal->call);
    struct base_span kid = base_span_str(reseal->keys[i].kid);
    struct store_audit audit = {.actor = base_span_str(worker->local->actor),
                                .action = BASE_SPAN("signing_key.reseal"),
                                .object = kid,
                                .changes = BASE_SPAN("{}")};

    reseal->done = false;
    store_signing_key_reseal(
        worker->admin, kid, &reseal->keys[i].old_seal, base_buf_span(&reseal->keys[i].sealed),
        base_seal_id_at(worker->snapshot->seal, 0), &audit, on_resealed, reseal);
    cmd_call_wait(reseal->call, &reseal->done);
}

int cmd_signing_key_reseal(struct cmd *cmd)
{
    struct reseal reseal = {0};
    int status;

    reseal.call = cmd_call_open(cmd, true, &status);
    if (!reseal.call)
        return status;
    store_signing_key_list(cmd_call_worker(reseal.call)->admin, on_list, &reseal);
    cmd_call_wait(reseal.call, &reseal.done);
    for (size_t i = 0; i < reseal.n_keys; i++) {
        if (reseal.err == BASE_OK)
            store_key(&reseal, i);
        base_buf_clear(&reseal.keys[i].sealed);
    }
    cmd_call_close(&reseal.call);
    if (reseal.err == BASE_NOT_FOUND)
        return cmd_fail("a signing key is sealed under a master key that is not in the file: add "
                        "that key again");
    if (reseal.err != BASE_OK)
        return cmd_fail("cannot reseal: %s", base_err_text(reseal.err));
    printf(cmd->json ? "{\"resealed\":%d}\n" : "%d signing keys were sealed anew\n",
           reseal.resealed);
    return CMD_DONE;
}
