/* SPDX-License-Identifier: Apache-2.0 */
/* A whole list, whatever its number of pages. */
#ifndef CMD_LIST_H
#define CMD_LIST_H

#include "cmd.h"

#include <jansson.h>

/* Follows next_cursor to the end and prints all items as one list. `query` begins with `&` or is
 * empty. */
int cmd_list(struct cmd *cmd, const char *path, const char *query,
             void (*print)(const json_t *list));

#endif
