/* SPDX-License-Identifier: Apache-2.0 */
/* The server as a whole: start, reload, drain, stop, in that order. */
#ifndef APP_H
#define APP_H

#include "settings.h"

struct app_options {
    const struct settings *settings;
    /* SIGHUP: reads the settings again; false, with a sentence in `why`, leaves everything as it
     * is. The caller of reload clears *out. */
    bool (*reload)(void *data, struct settings *out, struct base_buf *why);
    void *data;
};

/* Serves until SIGTERM or SIGINT and returns the exit status: 0 after a drain, 1 when the start was
 * refused (the log says why). A second signal ends the process at once. */
int app_run(const struct app_options *options);

#endif
