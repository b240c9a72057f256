/* SPDX-License-Identifier: Apache-2.0 */
#include "app.h"
#include "base_log.h"
#include "base_mem.h"
#include "cmd.h"

#include <unistd.h>

static bool load(struct cmd *cmd, struct settings *out, struct base_buf *why)
{
    struct base_conf_origins *origins = base_calloc(1, sizeof *origins);
    bool ok =
        settings_load(cmd->config_file, cmd->flags, cmd->n_flags, out, origins, why) == BASE_OK;

    base_free(&origins);
    if (ok && settings_check_serve(out, why) == BASE_OK)
        return true;
    settings_clear(out);
    return false;
}

static bool reload(void *data, struct settings *out, struct base_buf *why)
{
    return load(data, out, why);
}

int cmd_serve(struct cmd *cmd)
{
    struct settings settings;
    struct base_buf why;
    int status;

    base_buf_init(&why, 2048);
    if (!load(cmd, &settings, &why)) {
        cmd_fail("%s", base_buf_cstr(&why));
        base_buf_clear(&why);
        return CMD_USAGE;
    }
    base_buf_clear(&why);
    base_log_open(STDERR_FILENO, (enum base_log_format)settings.log_format,
                  (enum base_log_level)settings.log_level);
    status = app_run(&(struct app_options){&settings, reload, cmd});
    base_log_close();
    settings_clear(&settings);
    return status;
}
