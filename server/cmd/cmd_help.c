/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd.h"
#include "settings.h"

#include <stdio.h>
#include <string.h>

int cmd_version(struct cmd *cmd)
{
    if (cmd->json)
        printf("{\"version\":\"%s\"}\n", CARDEA_VERSION);
    else
        printf("cardea %s\n", CARDEA_VERSION);
    return CMD_DONE;
}

static void print_options(const struct cmd_option *option)
{
    for (; option && option->name; option++) {
        char left[64];

        snprintf(left, sizeof left, "%s %s%s", option->name, option->value ? option->value : "",
                 option->many ? "..." : "");
        printf("  %-26s %s%s\n", left, option->help, option->required ? " (required)" : "");
    }
}

static void print_settings(void)
{
    struct base_buf flag;

    base_buf_init(&flag, 256);
    printf("\nSettings, as flags; CARDEA_NAME in the environment and name in the INI file mean the "
           "same:\n");
    for (size_t i = 0; i < settings_table.n_items; i++) {
        const struct base_conf_item *item = &settings_table.items[i];

        base_buf_reset(&flag);
        base_conf_flag_name(item, &flag);
        printf("  %-26s %s\n  %-26s accepts %s%s%s\n", base_buf_cstr(&flag), item->help, "",
               item->accepts, item->fallback && *item->fallback ? "; default " : "",
               item->fallback ? item->fallback : "");
    }
    base_buf_clear(&flag);
}

static void print_verb(const struct cmd_verb *verb)
{
    printf("cardea %s%s%s [OPTIONS]\n  %s\n\nOptions:\n", verb->name, verb->operands ? " " : "",
           verb->operands ? verb->operands : "", verb->help);
    print_options(verb->options);
    print_options(cmd_common_options);
    print_settings();
}

/* `help key` shows every verb that begins so, `help key create` that one. */
static int help_about(struct cmd *cmd)
{
    char name[64];
    size_t len, found = 0;

    snprintf(name, sizeof name, "%s%s%s", cmd->operands[0], cmd->n_operands > 1 ? " " : "",
             cmd->n_operands > 1 ? cmd->operands[1] : "");
    len = strlen(name);
    for (size_t i = 0; i < cmd->n_verbs; i++) {
        if (strcmp(cmd->verbs[i].name, name) == 0) {
            print_verb(&cmd->verbs[i]);
            return CMD_DONE;
        }
    }
    for (size_t i = 0; i < cmd->n_verbs; i++) {
        const struct cmd_verb *verb = &cmd->verbs[i];

        if (strncmp(verb->name, name, len) == 0 && verb->name[len] == ' ') {
            printf("  cardea %-20s %-10s %s\n", verb->name, verb->operands ? verb->operands : "",
                   verb->help);
            found++;
        }
    }
    return found > 0 ? CMD_DONE : cmd_usage(cmd, "there is no command \"%s\"", name);
}

int cmd_help(struct cmd *cmd)
{
    if (cmd->n_operands > 0)
        return help_about(cmd);
    printf(
        "cardea issues short-lived signed tokens to machines (OAuth 2.0 client credentials).\n\n");
    for (size_t i = 0; i < cmd->n_verbs; i++) {
        const struct cmd_verb *verb = &cmd->verbs[i];

        printf("  cardea %-20s %-10s %s\n", verb->name, verb->operands ? verb->operands : "",
               verb->help);
    }
    printf("\n`cardea help COMMAND` shows a command's options and the settings.\n"
           "Exit status: 0 done, 1 failed, 2 wrong usage.\n");
    return CMD_DONE;
}
