/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the binary forms that PostgreSQL sends (src/backend/utils/adt/, the *send functions).
 * Numbers are big-endian; a timestamp counts microseconds from 2000-01-01. */
#include "db_row.h"

#include "base_attr.h"
#include "db_internal.h"

#include <assert.h>
#include <stdlib.h>

static uint64_t big_endian(const char *bytes, size_t len)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len; i++)
        value = value << 8 | (uint8_t)bytes[i];
    return value;
}

int db_result_rows(const struct db_result *result)
{
    return result->only ? 1 : PQntuples(result->pg);
}

/* Where the row is in a result that many share. */
static int place(const struct db_result *result, int row)
{
    return result->only ? result->only - 1 : row;
}

int64_t db_result_affected(const struct db_result *result)
{
    return strtoll(PQcmdTuples(result->pg), NULL, 10);
}

/* libpq prints a warning for a column that does not exist; we would rather hear of it in a test. */
static bool exists(const struct db_result *result, int row, int column)
{
    bool ok =
        row >= 0 && row < db_result_rows(result) && column >= 0 && column < PQnfields(result->pg);

    assert(ok);
    return ok;
}

bool db_row_is_null(const struct db_result *result, int row, int column)
{
    return !exists(result, row, column) || PQgetisnull(result->pg, place(result, row), column);
}

struct base_span db_row_text(const struct db_result *result, int row, int column)
{
    if (db_row_is_null(result, row, column))
        return base_span_of(NULL, 0);
    row = place(result, row);
    return base_span_of(PQgetvalue(result->pg, row, column),
                        (size_t)PQgetlength(result->pg, row, column));
}

/* The bytes of a value that has this width, otherwise NULL. */
static const char *fixed(const struct db_result *result, int row, int column, size_t width)
{
    struct base_span value = db_row_text(result, row, column);

    assert(!value.ptr || value.len == width);
    return value.len == width ? value.ptr : NULL;
}

bool db_row_bool(const struct db_result *result, int row, int column)
{
    const char *bytes = fixed(result, row, column, 1);

    return bytes && *bytes;
}

int32_t db_row_int4(const struct db_result *result, int row, int column)
{
    const char *bytes = fixed(result, row, column, 4);

    return bytes ? (int32_t)(uint32_t)big_endian(bytes, 4) : 0;
}

int64_t db_row_int8(const struct db_result *result, int row, int column)
{
    const char *bytes = fixed(result, row, column, 8);

    return bytes ? (int64_t)big_endian(bytes, 8) : 0;
}

int64_t db_row_time(const struct db_result *result, int row, int column)
{
    const char *bytes = fixed(result, row, column, 8);
    int64_t value;

    if (!bytes)
        return 0;
    value = (int64_t)big_endian(bytes, 8);
    if (value == INT64_MIN || value > INT64_MAX - DB_EPOCH_US)
        return value == INT64_MIN ? INT64_MIN : INT64_MAX;
    return value + DB_EPOCH_US;
}

/* The next `len` bytes of an array's text, or NULL when it ends before. */
static const char *next(struct base_span *rest, size_t len)
{
    const char *bytes = rest->ptr;

    if (rest->len < len)
        return NULL;
    rest->ptr += len;
    rest->len -= len;
    return bytes;
}

static bool next_element(struct base_span *rest, struct base_span *out)
{
    const char *head = next(rest, 4);
    int32_t len;

    *out = base_span_of(NULL, 0);
    if (!head)
        return false;
    if ((len = (int32_t)(uint32_t)big_endian(head, 4)) < 0)
        return true; /* NULL */
    out->ptr = next(rest, (size_t)len);
    out->len = out->ptr ? (size_t)len : 0;
    return out->ptr != NULL;
}

/* Dimensions, has-nulls flag, element type; per dimension its size and lower bound; elements. */
size_t db_row_text_array(const struct db_result *result, int row, int column, struct base_span *out,
                         size_t max)
{
    struct base_span rest = db_row_text(result, row, column), ignored;
    const char *head = next(&rest, 12), *size;
    size_t count;

    if (!head || big_endian(head, 4) == 0)
        return 0; /* SQL NULL, or '{}', which has no dimension */
    size = next(&rest, 8);
    assert(big_endian(head, 4) == 1 && size);
    if (big_endian(head, 4) != 1 || !size)
        return 0;
    count = big_endian(size, 4);
    for (size_t i = 0; i < count; i++) {
        bool whole = next_element(&rest, i < max ? &out[i] : &ignored);

        assert(whole);
        if (!whole)
            return 0;
    }
    return count;
}
