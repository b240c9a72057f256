/* SPDX-License-Identifier: Apache-2.0 */
/* Small allocations of our own: they succeed or end the process. Sizes that come from a peer are
 * bounded by the caller first. Any thread. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base_attr.h"

#include <stddef.h>

void *base_malloc(size_t size) BASE_MUST_USE;
void *base_calloc(size_t count, size_t size) BASE_MUST_USE;
void *base_realloc(void *ptr, size_t size) BASE_MUST_USE;
char *base_strdup(const char *text) BASE_MUST_USE; /* NULL stays NULL */
char *base_strndup(const char *bytes, size_t len) BASE_MUST_USE;

/* Frees *pointer and leaves NULL behind; takes the address of any object pointer, so it also serves
 * BASE_AUTO(base_free). */
void base_free(void *pointer_address);

/* Overwrites secrets; the compiler may not remove it. NULL with 0 bytes is fine. */
void base_wipe(void *bytes, size_t len);

/* Wipes a NUL-terminated secret, then frees it; for BASE_AUTO(base_free_secret) on a char *. */
void base_free_secret(char **text);

#endif
