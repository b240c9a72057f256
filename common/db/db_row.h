/* SPDX-License-Identifier: Apache-2.0 */
/* Typed reading of result rows in binary format. Reading a column as another type than it has is a
 * mistake of ours: asserted by width in debug builds, and answered with the type's zero otherwise.
 */
#ifndef DB_ROW_H
#define DB_ROW_H

#include "base_span.h"

#include <stdint.h>

struct db_result;

int db_result_rows(const struct db_result *result);
/* Rows that an INSERT, UPDATE or DELETE touched. */
int64_t db_result_affected(const struct db_result *result);

bool db_row_is_null(const struct db_result *result, int row, int column);
/* text, bytea, json; NULL is the empty span with ptr NULL. Points into the result. jsonb: cast to
 * text. */
struct base_span db_row_text(const struct db_result *result, int row, int column);
bool db_row_bool(const struct db_result *result, int row, int column);
int32_t db_row_int4(const struct db_result *result, int row, int column);
int64_t db_row_int8(const struct db_result *result, int row, int column);
/* timestamptz as µs since 1970; NULL is 0. ±infinity: INT64_MAX, INT64_MIN. */
int64_t db_row_time(const struct db_result *result, int row, int column);
/* text[] of one dimension: at most `max` elements into `out`; returns how many it has. NULL: 0. */
size_t db_row_text_array(const struct db_result *result, int row, int column, struct base_span *out,
                         size_t max);

#endif
