/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes that let the compiler check what a contract says. */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

/* The caller must look at the result. */
#define BASE_MUST_USE __attribute__((warn_unused_result))

/* Argument `fmt` is a printf format, its values start at argument `args` (both count from 1). */
#define BASE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* The variable is handed, by address, to `destructor` when it goes out of scope. */
#define BASE_AUTO(destructor) __attribute__((cleanup(destructor)))

#define BASE_UNUSED __attribute__((unused))

#define BASE_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
