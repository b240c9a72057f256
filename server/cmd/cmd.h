/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: a table of verbs (main.c), the options of each, and one function a verb. Verbs
 * that manage something call the management API's own handlers in memory (cmd_call.h). Single
 * thread. */
#ifndef CMD_H
#define CMD_H

#include "base_buf.h"
#include "base_clock.h"

#include <stddef.h>

#define CMD_MAX_VALUES 128

/* For each address of the database: two hosts that hang are passed over while a person still waits
 * for the answer (ANSWER_US in cmd_call.c). */
#define CMD_CONNECT_US (3 * BASE_US_PER_S)

struct cmd_option {
    const char *name;  /* "--scope"; NULL ends the table */
    const char *value; /* what it takes, for the usage; NULL: nothing */
    const char *help;
    bool required;
    bool many; /* may be repeated */
};

struct cmd;
struct cmd_verb {
    const char *name;     /* "key create" */
    const char *operands; /* for the usage; NULL: none */
    const char *help;
    unsigned max_operands;            /* `help` alone may have fewer */
    const struct cmd_option *options; /* NULL: none */
    int (*run)(struct cmd *cmd);
};

/* A command line taken apart. Pointers are into argv. */
struct cmd {
    const struct cmd_verb *verbs;
    size_t n_verbs;
    const struct cmd_verb *verb;
    bool json;
    const char *config_file;
    const char *operands[2];
    unsigned n_operands;
    struct {
        const char *option;
        const char *value;
    } values[CMD_MAX_VALUES];
    size_t n_values;
    const char *flags[CMD_MAX_VALUES]; /* settings, as base_conf_load() takes them */
    size_t n_flags;
};

enum { CMD_DONE = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

int cmd_main(const struct cmd_verb *verbs, size_t n_verbs, int argc, char **argv);

/* The value of an option given once; NULL when absent. A flag without a value gives "". */
const char *cmd_value(const struct cmd *cmd, const char *option);
/* The index-th value of an option that may be repeated; NULL after the last. */
const char *cmd_value_at(const struct cmd *cmd, const char *option, size_t index);

/* "cardea: …" on standard error; returns CMD_FAILED, and the other CMD_USAGE with a pointer to the
 * help. */
int cmd_fail(const char *fmt, ...) BASE_PRINTF(1, 2);
int cmd_usage(const struct cmd *cmd, const char *fmt, ...) BASE_PRINTF(2, 3);

/* False when standard output did not take all that was printed. */
bool cmd_flush(void);

int cmd_serve(struct cmd *cmd);
int cmd_migrate(struct cmd *cmd);
int cmd_tenant_create(struct cmd *cmd), cmd_tenant_list(struct cmd *cmd),
    cmd_tenant_disable(struct cmd *cmd), cmd_tenant_enable(struct cmd *cmd),
    cmd_tenant_delete(struct cmd *cmd);
int cmd_key_create(struct cmd *cmd), cmd_key_list(struct cmd *cmd), cmd_key_show(struct cmd *cmd),
    cmd_key_enable(struct cmd *cmd), cmd_key_disable(struct cmd *cmd),
    cmd_key_rotate(struct cmd *cmd), cmd_key_delete(struct cmd *cmd);
int cmd_scope_create(struct cmd *cmd), cmd_scope_list(struct cmd *cmd),
    cmd_scope_delete(struct cmd *cmd);
int cmd_signing_key_list(struct cmd *cmd), cmd_signing_key_rotate(struct cmd *cmd),
    cmd_signing_key_reseal(struct cmd *cmd);
int cmd_config(struct cmd *cmd), cmd_health(struct cmd *cmd), cmd_version(struct cmd *cmd),
    cmd_help(struct cmd *cmd);

extern const struct cmd_option cmd_tenant_create_options[], cmd_key_create_options[],
    cmd_key_list_options[], cmd_key_rotate_options[], cmd_scope_create_options[],
    cmd_signing_key_rotate_options[], cmd_health_options[];

/* The options that every verb takes. */
extern const struct cmd_option cmd_common_options[];

#endif
