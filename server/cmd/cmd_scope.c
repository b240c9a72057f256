/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd_call.h"
#include "cmd_print.h"

#include <stdio.h>

const struct cmd_option cmd_scope_create_options[] = {
    {"--title", "TITLE", "what people read beside its checkbox", true, false},
    {"--description", "TEXT", "what a key with it may do", false, false},
    {NULL, NULL, NULL, false, false},
};

static const struct cmd_column columns[] = {
    {"NAME", "name"}, {"TITLE", "title"}, {"DESCRIPTION", "description"}, {NULL, NULL}};

static void print_one(const json_t *scope)
{
    cmd_print_object(scope, columns);
}

static void print_list(const json_t *list)
{
    cmd_print_table(json_object_get(list, "items"), columns);
}

static int call_named(struct cmd *cmd, enum http_method method, json_t *body,
                      void (*print)(const json_t *))
{
    char path[256];

    if (cmd_call_path("/v1/scopes/", cmd->operands[0], "", path, sizeof path))
        return cmd_call_once(cmd, false, method, path, body, print);
    json_decref(body);
    return CMD_FAILED;
}

int cmd_scope_create(struct cmd *cmd)
{
    json_t *body = json_pack("{ss ss*}", "title", cmd_value(cmd, "--title"), "description",
                             cmd_value(cmd, "--description"));

    return call_named(cmd, HTTP_PUT, body, print_one);
}

int cmd_scope_list(struct cmd *cmd)
{
    return cmd_call_once(cmd, false, HTTP_GET, "/v1/scopes", NULL, print_list);
}

int cmd_scope_delete(struct cmd *cmd)
{
    return call_named(cmd, HTTP_DELETE, NULL, NULL);
}
