/* SPDX-License-Identifier: Apache-2.0 */
/* The page that admins use, served from the binary. It is static: what it shows comes from /v1,
 * with the bearer token of whoever has signed in. Handlers answer at once; any thread. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include "http_router.h"

/* GET /console: to /console/, against which the page resolves what it loads. */
http_handler console_redirect;
/* GET /console/: the page; asked for anew each time, by its entity tag. */
http_handler console_index;
/* GET /console/{}/{}: one file under the hash of all of them, so that it may be kept for ever; 404
 * under another. */
http_handler console_asset;

#endif
