/* SPDX-License-Identifier: Apache-2.0 */
/* Answers for people, as tables, or as the JSON that they are. */
#ifndef CMD_PRINT_H
#define CMD_PRINT_H

#include "cmd.h"

#include <jansson.h>

struct cmd_column {
    const char *title;
    const char *member; /* of each object; NULL ends the table */
};

/* With --json the answer itself; otherwise `print`, or nothing when that is NULL. */
void cmd_print(const struct cmd *cmd, const json_t *answer, void (*print)(const json_t *answer));
/* Rows of an array of objects, columns as wide as they need to be. Arrays are joined by spaces,
 * null is "-"; control characters are replaced. */
void cmd_print_table(const json_t *items, const struct cmd_column *columns);
/* One object, a line a member. */
void cmd_print_object(const json_t *object, const struct cmd_column *columns);

#endif
