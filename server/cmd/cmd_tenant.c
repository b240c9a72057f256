/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd_call.h"
#include "cmd_list.h"
#include "cmd_print.h"

#include <stdio.h>

const struct cmd_option cmd_tenant_create_options[] = {
    {"--name", "NAME", "what people call it", true, false},
    {NULL, NULL, NULL, false, false},
};

static const struct cmd_column columns[] = {{"ID", "id"},
                                            {"NAME", "name"},
                                            {"ENABLED", "enabled"},
                                            {"CREATED", "created_at"},
                                            {NULL, NULL}};

static void print_one(const json_t *tenant)
{
    cmd_print_object(tenant, columns);
}

static void print_list(const json_t *list)
{
    cmd_print_table(json_object_get(list, "items"), columns);
}

int cmd_tenant_create(struct cmd *cmd)
{
    return cmd_call_once(
        cmd, false, HTTP_POST, "/v1/tenants",
        json_pack("{ss ss}", "id", cmd->operands[0], "name", cmd_value(cmd, "--name")), print_one);
}

int cmd_tenant_list(struct cmd *cmd)
{
    return cmd_list(cmd, "/v1/tenants", "", print_list);
}

static int change(struct cmd *cmd, enum http_method method, json_t *body,
                  void (*print)(const json_t *))
{
    char path[128];

    if (cmd_call_path("/v1/tenants/", cmd->operands[0], "", path, sizeof path))
        return cmd_call_once(cmd, false, method, path, body, print);
    json_decref(body);
    return CMD_FAILED;
}

int cmd_tenant_disable(struct cmd *cmd)
{
    return change(cmd, HTTP_PATCH, json_pack("{sb}", "enabled", 0), print_one);
}

int cmd_tenant_enable(struct cmd *cmd)
{
    return change(cmd, HTTP_PATCH, json_pack("{sb}", "enabled", 1), print_one);
}

int cmd_tenant_delete(struct cmd *cmd)
{
    return change(cmd, HTTP_DELETE, NULL, NULL);
}
