/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd_list.h"

#include "cmd_call.h"
#include "cmd_print.h"

#include <stdio.h>

/* Appends a page's items to `all`; the cursor of the next page goes to `cursor`. False: an error
 * was printed. */
static bool add_page(struct cmd_call *call, const char *path, const char *query, json_t *all,
                     char *cursor, size_t size)
{
    char paged[1024];
    json_t *page;
    const char *next;

    snprintf(paged, sizeof paged, "limit=200%s%s%s", query, *cursor ? "&cursor=" : "", cursor);
    page = cmd_call_request(call, HTTP_GET, path, paged, NULL);
    if (!page)
        return false;
    json_array_extend(all, json_object_get(page, "items"));
    next = json_string_value(json_object_get(page, "next_cursor"));
    snprintf(cursor, size, "%s", next ? next : "");
    json_decref(page);
    return true;
}

int cmd_list(struct cmd *cmd, const char *path, const char *query,
             void (*print)(const json_t *list))
{
    int status;
    struct cmd_call *call = cmd_call_open(cmd, false, &status);
    json_t *all = json_array();
    char cursor[128] = "";
    bool ok;

    if (!call) {
        json_decref(all);
        return status;
    }
    do {
        ok = add_page(call, path, query, all, cursor, sizeof cursor);
    } while (ok && *cursor);
    all = json_pack("{so sn}", "items", all, "next_cursor");
    if (ok)
        cmd_print(cmd, all, print);
    json_decref(all);
    cmd_call_close(&call);
    return ok ? CMD_DONE : CMD_FAILED;
}
