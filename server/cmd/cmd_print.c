/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd_print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 16
#define CELL_MAX    512

/* A name that an admin typed may hold what moves a terminal's cursor: it is shown, not obeyed. */
static void put_text(struct base_buf *out, const char *text)
{
    for (; *text; text++)
        base_buf_put_char(out, (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

static void put_cell(struct base_buf *out, const json_t *value)
{
    const json_t *item;
    size_t i;

    if (json_is_string(value))
        put_text(out, json_string_value(value));
    else if (json_is_integer(value))
        base_buf_put_i64(out, json_integer_value(value));
    else if (json_is_boolean(value))
        base_buf_put_str(out, json_is_true(value) ? "yes" : "no");
    else if (json_is_array(value))
        json_array_foreach (value, i, item) {
            if (i > 0)
                base_buf_put_char(out, ' ');
            put_cell(out, item);
        }
    else
        base_buf_put_char(out, '-');
}

/* How many columns a terminal uses for it: continuation bytes of UTF-8 take none. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void read_cell(const json_t *object, const char *member, struct base_buf *cell)
{
    base_buf_reset(cell);
    put_cell(cell, json_object_get(object, member));
}

static void measure(const json_t *items, const struct cmd_column *columns, size_t *widths,
                    struct base_buf *cell)
{
    const json_t *item;
    size_t i;

    for (size_t c = 0; columns[c].title; c++)
        widths[c] = strlen(columns[c].title);
    json_array_foreach (items, i, item) {
        for (size_t c = 0; columns[c].title; c++) {
            size_t width;

            read_cell(item, columns[c].member, cell);
            width = width_of(base_buf_cstr(cell));
            if (width > widths[c])
                widths[c] = width;
        }
    }
}

static void print_cell(const char *text, size_t width, bool last)
{
    fputs(text, stdout);
    for (size_t pad = width_of(text); !last && pad < width + 2; pad++)
        putchar(' ');
    if (last)
        putchar('\n');
}

void cmd_print_table(const json_t *items, const struct cmd_column *columns)
{
    size_t widths[MAX_COLUMNS], i;
    struct base_buf cell;
    const json_t *item;

    base_buf_init(&cell, CELL_MAX);
    measure(items, columns, widths, &cell);
    for (size_t c = 0; columns[c].title; c++)
        print_cell(columns[c].title, widths[c], !columns[c + 1].title);
    json_array_foreach (items, i, item) {
        for (size_t c = 0; columns[c].title; c++) {
            read_cell(item, columns[c].member, &cell);
            print_cell(base_buf_cstr(&cell), widths[c], !columns[c + 1].title);
        }
    }
    base_buf_clear(&cell);
}

void cmd_print_object(const json_t *object, const struct cmd_column *columns)
{
    struct base_buf cell;

    base_buf_init(&cell, CELL_MAX);
    for (; columns->title; columns++) {
        read_cell(object, columns->member, &cell);
        printf("%-24s %s\n", columns->title, base_buf_cstr(&cell));
    }
    base_buf_clear(&cell);
}

void cmd_print(const struct cmd *cmd, const json_t *answer, void (*print)(const json_t *answer))
{
    if (cmd->json) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (print) {
        print(answer);
    }
}
