/* SPDX-License-Identifier: Apache-2.0 */
/* cardea: the table of verbs. Exit status: 0 done, 1 failed, 2 wrong usage. */
#include "cmd.h"

static const struct cmd_verb verbs[] = {
    {"serve", NULL, "runs the server in the foreground", 0, NULL, cmd_serve},
    {"migrate", NULL, "brings the database's schema to this version", 0, NULL, cmd_migrate},
    {"tenant create", "ID", "creates a tenant", 1, cmd_tenant_create_options, cmd_tenant_create},
    {"tenant list", NULL, "lists all tenants", 0, NULL, cmd_tenant_list},
    {"tenant disable", "ID", "ends all of a tenant's keys at once", 1, NULL, cmd_tenant_disable},
    {"tenant enable", "ID", "lets a tenant's keys work again", 1, NULL, cmd_tenant_enable},
    {"tenant delete", "ID", "deletes a tenant that has no keys, for good", 1, NULL,
     cmd_tenant_delete},
    {"key create", NULL, "creates an API access key and shows its secret once", 0,
     cmd_key_create_options, cmd_key_create},
    {"key list", NULL, "lists a tenant's keys", 0, cmd_key_list_options, cmd_key_list},
    {"key show", "KEY_ID", "shows one key", 1, NULL, cmd_key_show},
    {"key enable", "KEY_ID", "lets a key get tokens again", 1, NULL, cmd_key_enable},
    {"key disable", "KEY_ID", "ends a key at once, on every instance", 1, NULL, cmd_key_disable},
    {"key rotate", "KEY_ID", "gives a key a new secret and shows it once", 1,
     cmd_key_rotate_options, cmd_key_rotate},
    {"key delete", "KEY_ID", "deletes a key for good", 1, NULL, cmd_key_delete},
    {"scope create", "NAME", "adds a scope to the catalog, or changes its texts", 1,
     cmd_scope_create_options, cmd_scope_create},
    {"scope list", NULL, "lists the catalog of API scopes", 0, NULL, cmd_scope_list},
    {"scope delete", "NAME", "removes a scope that no key holds", 1, NULL, cmd_scope_delete},
    {"signing-key list", NULL, "lists the keys that sign tokens", 0, NULL, cmd_signing_key_list},
    {"signing-key rotate", NULL, "announces a new signing key", 0, cmd_signing_key_rotate_options,
     cmd_signing_key_rotate},
    {"signing-key reseal", NULL, "seals all signing keys under the first master key", 0, NULL,
     cmd_signing_key_reseal},
    {"config", NULL, "prints the effective settings and where each came from", 0, NULL, cmd_config},
    {"health", NULL, "asks the server of these settings whether it is ready", 0, cmd_health_options,
     cmd_health},
    {"version", NULL, "prints the version", 0, NULL, cmd_version},
    {"help", "[COMMAND]", "explains a command", 2, NULL, cmd_help},
};

int main(int argc, char **argv)
{
    return cmd_main(verbs, sizeof verbs / sizeof verbs[0], argc, argv);
}
