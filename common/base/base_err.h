/* SPDX-License-Identifier: Apache-2.0 */
/* Failures, as values. A decision ("this client may not") is not a failure and never one of these.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum base_err {
    BASE_OK = 0,
    BASE_INVALID,     /* the input is not what it has to be */
    BASE_TOO_LARGE,   /* over a limit of ours */
    BASE_NOT_FOUND,   /* no such thing */
    BASE_CONFLICT,    /* it exists already, is still in use, or changed meanwhile */
    BASE_DENIED,      /* no right to it (file mode, database role) */
    BASE_BUSY,        /* a bounded queue is full */
    BASE_TIMEOUT,     /* no answer before the deadline */
    BASE_UNAVAILABLE, /* the peer or the database is away */
    BASE_IO,          /* the operating system said no; errno tells */
    BASE_CRYPTO,      /* OpenSSL or libjwt failed where it must not */
    BASE_NO_MEMORY,   /* a library had none, at that moment */
    BASE_INTERNAL,    /* ours to mend */
};

/* One sentence without a full stop, fit for a log line. Never NULL. */
const char *base_err_text(enum base_err err);

#endif
