/* SPDX-License-Identifier: Apache-2.0 */
/* The effective settings; and, when the database can be asked, how many objects still need which
 * master key, so that one knows which may be dropped from the file. */
#include "api_signing_keys.h"
#include "base_mem.h"
#include "cmd_call.h"
#include "cmd_print.h"

#include <stdio.h>
#include <string.h>

static json_t *setting_object(const struct settings *settings,
                              const struct base_conf_origins *origins, size_t i)
{
    const struct base_conf_item *item = &settings_table.items[i];
    struct base_buf name, value;
    json_t *object;

    base_buf_init(&name, 128);
    base_buf_init(&value, 8192);
    base_conf_env_name(&settings_table, item, &name);
    base_conf_format(item, settings, &value);
    object = json_pack("{ss ss ss}", "name", base_buf_cstr(&name), "value", base_buf_cstr(&value),
                       "source", origins->where[i]);
    base_buf_clear(&name);
    base_buf_clear(&value);
    return object;
}

static json_t *settings_array(const struct settings *settings,
                              const struct base_conf_origins *origins)
{
    json_t *array = json_array();

    for (size_t i = 0; i < settings_table.n_items; i++)
        json_array_append_new(array, setting_object(settings, origins, i));
    return array;
}

/* --- master keys --- */

struct uses {
    const struct base_seal *seal;
    json_t *array;
    bool done;
};

static void add_use(struct uses *uses, const struct base_seal_id *id, const char *state,
                    int64_t secrets, int64_t signing_keys)
{
    struct base_buf text;

    base_buf_init(&text, 64);
    api_put_fingerprint(&text, id);
    json_array_append_new(uses->array,
                          json_pack("{ss ss sI sI}", "fingerprint", base_buf_cstr(&text), "state",
                                    state, "secrets", (json_int_t)secrets, "signing_keys",
                                    (json_int_t)signing_keys));
    base_buf_clear(&text);
}

static const struct store_seal_use *find_use(const struct store_seal_use *uses, size_t n,
                                             const struct base_seal_id *id)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&uses[i].seal_id, id, sizeof *id) == 0)
            return &uses[i];
    }
    return NULL;
}

static void on_uses(void *ctx, enum base_err err, const struct store_seal_use *found,
                    size_t n_found)
{
    struct uses *uses = ctx;

    uses->done = true;
    if (err != BASE_OK)
        return;
    for (size_t i = 0; i < base_seal_count(uses->seal); i++) {
        const struct base_seal_id *id = base_seal_id_at(uses->seal, i);
        const struct store_seal_use *use = find_use(found, n_found, id);

        add_use(uses, id,
                i == 0 ? "seals and opens"
                : use  ? "still needed"
                       : "may be dropped",
                use ? use->secrets : 0, use ? use->signing_keys : 0);
    }
    for (size_t i = 0; i < n_found; i++) {
        if (!base_seal_has(uses->seal, &found[i].seal_id))
            add_use(uses, &found[i].seal_id, "MISSING from the file", found[i].secrets,
                    found[i].signing_keys);
    }
}

static json_t *master_keys(struct cmd *cmd)
{
    struct uses uses = {.array = json_array()};
    int status;
    struct cmd_call *call = cmd_call_open(cmd, true, &status);

    if (!call)
        return uses.array; /* the reason is on standard error */
    uses.seal = cmd_call_worker(call)->snapshot->seal;
    store_seal_uses(cmd_call_worker(call)->admin, on_uses, &uses);
    cmd_call_wait(call, &uses.done);
    cmd_call_close(&call);
    return uses.array;
}

static void print_config(const json_t *answer)
{
    static const struct cmd_column settings[] = {
        {"SETTING", "name"}, {"VALUE", "value"}, {"FROM", "source"}, {NULL, NULL}};
    static const struct cmd_column keys[] = {{"MASTER KEY", "fingerprint"},
                                             {"STATE", "state"},
                                             {"SECRETS", "secrets"},
                                             {"SIGNING KEYS", "signing_keys"},
                                             {NULL, NULL}};

    cmd_print_table(json_object_get(answer, "settings"), settings);
    if (json_array_size(json_object_get(answer, "master_keys")) == 0)
        return;
    putchar('\n');
    cmd_print_table(json_object_get(answer, "master_keys"), keys);
}

int cmd_config(struct cmd *cmd)
{
    struct base_conf_origins *origins = base_calloc(1, sizeof *origins);
    struct settings settings;
    struct base_buf why;
    json_t *answer;
    int status = CMD_DONE;

    base_buf_init(&why, 2048);
    if (settings_load(cmd->config_file, cmd->flags, cmd->n_flags, &settings, origins, &why) !=
        BASE_OK) {
        cmd_fail("%s", base_buf_cstr(&why));
        status = CMD_USAGE;
    } else {
        answer = json_pack("{so}", "settings", settings_array(&settings, origins));
        if (settings.master_key_file)
            json_object_set_new(answer, "master_keys", master_keys(cmd));
        cmd_print(cmd, answer, print_config);
        json_decref(answer);
    }
    settings_clear(&settings);
    base_buf_clear(&why);
    base_free(&origins);
    return status;
}
