/* SPDX-License-Identifier: Apache-2.0 */
/* What a managing verb needs: settings, the database, the master key, and a way to call the
 * management API's handlers in memory, with the operating system's user as the author. Synchronous:
 * runs a loop of its own until the answer is there. */
#ifndef CMD_CALL_H
#define CMD_CALL_H

#include "api.h"
#include "cmd.h"
#include "settings.h"

#include <jansson.h>

struct cmd_call;

/* Reads settings, opens the database and checks its schema. `needs_seal`: the verb makes or stores
 * secrets. On failure the reason is on standard error, and NULL is returned with the exit status in
 * *status. */
struct cmd_call *cmd_call_open(struct cmd *cmd, bool needs_seal, int *status);
void cmd_call_close(struct cmd_call **call);

struct api_worker *cmd_call_worker(struct cmd_call *call);
/* Runs the loop until *done; false when the time for it is over. */
bool cmd_call_wait(struct cmd_call *call, const bool *done);

/* `before`, a name that a person typed, `after`: false (and a message) when the name would not be
 * one segment of a path, because a tenant "acme/keys/key_x" is none, nor is a scope "..". */
bool cmd_call_path(const char *before, const char *name, const char *after, char *path,
                   size_t size);

/* One request; `query` may be NULL. Takes over `body` (may be NULL). Prints an error answer; NULL
 * then. 204 gives an empty object. The caller owns the result. */
json_t *cmd_call_request(struct cmd_call *call, enum http_method method, const char *path,
                         const char *query, json_t *body);
/* The path of a key whose tenant is not known, in `path`; false (and a message) when there is none.
 */
bool cmd_call_key_path(struct cmd_call *call, const char *key_id, const char *suffix, char *path,
                       size_t size);

/* Open, call, close: the answer, which the caller owns; NULL, with the exit status in *status.
 * Takes over `body`. */
json_t *cmd_call_answer(struct cmd *cmd, bool needs_seal, enum http_method method, const char *path,
                        json_t *body, int *status);
/* The whole life of a verb that is one request: the same, and print. */
int cmd_call_once(struct cmd *cmd, bool needs_seal, enum http_method method, const char *path,
                  json_t *body, void (*print)(const json_t *answer));

#endif
