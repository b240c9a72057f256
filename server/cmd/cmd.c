/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the verb, sorts its arguments into options, settings and operands, checks them, and runs
 * it. */
#include "cmd.h"

#include "base_mem.h"
#include "settings.h"

#include <event2/event.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct cmd_option cmd_common_options[] = {
    {"--json", NULL, "print JSON, the same objects as the management API", false, false},
    {"--config", "FILE", "read settings from this INI file", false, false},
    {NULL, NULL, NULL, false, false},
};

int cmd_fail(const char *fmt, ...)
{
    va_list args;

    fputs("cardea: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return CMD_FAILED;
}

int cmd_usage(const struct cmd *cmd, const char *fmt, ...)
{
    const char *verb = cmd->verb ? cmd->verb->name : "";
    va_list args;

    fputs("cardea: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "; see `cardea help%s%s`\n", *verb ? " " : "", verb);
    return CMD_USAGE;
}

/* Does the verb's name ("key create") match the first words? Returns how many it took. */
static int match_verb(const struct cmd_verb *verb, int argc, char **argv)
{
    const char *space = strchr(verb->name, ' ');
    size_t first = space ? (size_t)(space - verb->name) : strlen(verb->name);

    if (argc < 1 || strlen(argv[0]) != first || strncmp(argv[0], verb->name, first) != 0)
        return 0;
    if (!space)
        return 1;
    return argc > 1 && strcmp(argv[1], space + 1) == 0 ? 2 : 0;
}

static int find_verb(struct cmd *cmd, int argc, char **argv)
{
    for (size_t i = 0; i < cmd->n_verbs; i++) {
        int used = match_verb(&cmd->verbs[i], argc, argv);

        if (used > 0) {
            cmd->verb = &cmd->verbs[i];
            return used;
        }
    }
    return 0;
}

/* The option of that table that `arg` names, up to a `=`. */
static const struct cmd_option *find_option(const struct cmd_option *options, const char *arg)
{
    size_t len = strcspn(arg, "=");

    for (; options && options->name; options++) {
        if (strlen(options->name) == len && strncmp(options->name, arg, len) == 0)
            return options;
    }
    return NULL;
}

/* The value after `=`, or the next argument; NULL when there is none. */
static const char *value_of(const char *arg, int argc, char **argv, int *at)
{
    const char *equals = strchr(arg, '=');

    if (equals)
        return equals + 1;
    return *at + 1 < argc ? argv[++*at] : NULL;
}

static int take_option(struct cmd *cmd, const struct cmd_option *option, int argc, char **argv,
                       int *at)
{
    const char *arg = argv[*at];
    const char *value = option->value ? value_of(arg, argc, argv, at) : "";

    if (!value)
        return cmd_usage(cmd, "%s needs a value (%s)", option->name, option->value);
    if (!option->value && strchr(arg, '='))
        return cmd_usage(cmd, "%s takes no value", option->name);
    if (!option->many && cmd_value(cmd, option->name))
        return cmd_usage(cmd, "%s was given twice", option->name);
    if (cmd->n_values == CMD_MAX_VALUES)
        return cmd_usage(cmd, "too many options");
    cmd->values[cmd->n_values].option = option->name;
    cmd->values[cmd->n_values++].value = value;
    return CMD_DONE;
}

static int take_setting(struct cmd *cmd, int argc, char **argv, int *at)
{
    const char *arg = argv[*at];

    if (cmd->n_flags + 2 > CMD_MAX_VALUES)
        return cmd_usage(cmd, "too many options");
    cmd->flags[cmd->n_flags++] = arg;
    if (strchr(arg, '='))
        return CMD_DONE;
    if (*at + 1 == argc)
        return cmd_usage(cmd, "%s needs a value", arg);
    cmd->flags[cmd->n_flags++] = argv[++*at];
    return CMD_DONE;
}

static int take_argument(struct cmd *cmd, int argc, char **argv, int *at)
{
    const char *arg = argv[*at];
    const struct cmd_option *option;

    if (strncmp(arg, "--", 2) != 0) {
        if (cmd->n_operands == cmd->verb->max_operands)
            return cmd_usage(cmd, "unexpected argument \"%s\"", arg);
        cmd->operands[cmd->n_operands++] = arg;
        return CMD_DONE;
    }
    /* A verb's own option goes before a setting of the same name (--token-ttl of a key). */
    if ((option = find_option(cmd->verb->options, arg)) ||
        (option = find_option(cmd_common_options, arg)))
        return take_option(cmd, option, argc, argv, at);
    if (base_conf_find_flag(&settings_table, arg))
        return take_setting(cmd, argc, argv, at);
    return cmd_usage(cmd, "unknown option \"%s\"", arg);
}

static int check_complete(struct cmd *cmd)
{
    const struct cmd_option *option = cmd->verb->options;

    for (; option && option->name; option++) {
        if (option->required && !cmd_value(cmd, option->name))
            return cmd_usage(cmd, "%s is missing", option->name);
    }
    if (cmd->verb->operands && cmd->verb->operands[0] != '[' &&
        cmd->n_operands < cmd->verb->max_operands)
        return cmd_usage(cmd, "%s is missing", cmd->verb->operands);
    cmd->json = cmd_value(cmd, "--json") != NULL;
    cmd->config_file = cmd_value(cmd, "--config");
    return CMD_DONE;
}

static bool is_help(const char *arg)
{
    return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

/* What `help NAME` does. */
static int explain(struct cmd *cmd, const char *name)
{
    cmd->operands[0] = name;
    cmd->n_operands = 1;
    return cmd_help(cmd);
}

bool cmd_flush(void)
{
    return fflush(stdout) == 0 && !ferror(stdout);
}

/* A verb that failed has said why, which may be this. */
static int finish(int status)
{
    if (!cmd_flush() && status == CMD_DONE)
        return cmd_fail("cannot write to standard output");
    return status;
}

/* The next file that is opened takes the place of a standard one that was closed, and what is
 * printed or logged would go into it: into a connection to PostgreSQL, say. These are open for
 * reading only, so that writing still fails. */
static void hold_standard_files(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int cmd_main(const struct cmd_verb *verbs, size_t n_verbs, int argc, char **argv)
{
    static char help[] = "help", version[] = "version";
    struct cmd cmd = {.verbs = verbs, .n_verbs = n_verbs};
    int at, status;

    hold_standard_files();
    base_mem_watch_libraries();
    /* libevent's are small and as good as ours: a timer that could not be set would leave somebody
     * waiting for ever, so it ends the process too. */
    event_set_mem_functions(base_malloc, base_realloc, free);
    if (argc > 1 && is_help(argv[1]))
        argv[1] = help;
    if (argc > 1 && strcmp(argv[1], "--version") == 0)
        argv[1] = version;
    if (argc < 2)
        return cmd_usage(&cmd, "a command is missing");
    at = 1 + find_verb(&cmd, argc - 1, argv + 1);
    if (at == 1 && argc == 3 && is_help(argv[2])) /* `cardea key --help` */
        return finish(explain(&cmd, argv[1]));
    if (at == 1)
        return cmd_usage(&cmd, "unknown command \"%s%s%s\"", argv[1], argc > 2 ? " " : "",
                         argc > 2 ? argv[2] : "");
    for (; at < argc; at++) {
        if (is_help(argv[at]))
            return finish(explain(&cmd, cmd.verb->name));
        if ((status = take_argument(&cmd, argc, argv, &at)) != CMD_DONE)
            return status;
    }
    status = check_complete(&cmd);
    if (status != CMD_DONE)
        return status;
    return finish(cmd.verb->run(&cmd));
}

const char *cmd_value_at(const struct cmd *cmd, const char *option, size_t index)
{
    for (size_t i = 0; i < cmd->n_values; i++) {
        if (strcmp(cmd->values[i].option, option) == 0 && index-- == 0)
            return cmd->values[i].value;
    }
    return NULL;
}

const char *cmd_value(const struct cmd *cmd, const char *option)
{
    return cmd_value_at(cmd, option, 0);
}
