/* SPDX-License-Identifier: Apache-2.0 */
/* A sentence for each failure, for the log. */
#include "base_err.h"

#include "base_attr.h"

const char *base_err_text(enum base_err err)
{
    static const char *const text[] = {
        [BASE_OK] = "done",
        [BASE_INVALID] = "the input is not what it has to be",
        [BASE_TOO_LARGE] = "the input is over a limit",
        [BASE_NOT_FOUND] = "there is no such thing",
        [BASE_CONFLICT] = "it exists already, is still in use or has changed meanwhile",
        [BASE_DENIED] = "no right to it",
        [BASE_BUSY] = "a queue is full",
        [BASE_TIMEOUT] = "no answer before the deadline",
        [BASE_UNAVAILABLE] = "the peer or the database is away",
        [BASE_IO] = "the operating system refused",
        [BASE_CRYPTO] = "a cryptographic operation failed",
        [BASE_NO_MEMORY] = "a library found no memory",
        [BASE_INTERNAL] = "an internal error, which is a fault of this program",
    };
    unsigned index = (unsigned)err;

    return index < BASE_COUNT(text) ? text[index] : "an unknown error";
}
