/* SPDX-License-Identifier: Apache-2.0 */
/* Small allocations of our own: they succeed or end the process. Sizes that come from a peer are
 * bounded by the caller first. Any thread.
 *
 * Those of libraries may fail, and are survived. But jansson and OpenSSL then often say no more
 * than "no", as they do to what is wrong, or go on with a part (jansson 2.14 drops a character of a
 * text that could not grow). So their allocations pass here, and whoever is about to call something
 * wrong asks first whether memory was the reason. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base_attr.h"

#include <stddef.h>
#include <stdint.h>

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

/* To be called before anything else: OpenSSL takes no other allocator once it has used its own.
 * Until base_mem_survive_libraries(), want of memory ends the process with our sentence and status
 * 1: OpenSSL 3.0 may crash when it meets it in its own beginnings, and a command has nothing to
 * save by half an answer. */
void base_mem_watch_libraries(void);
void base_mem_survive_libraries(void);

/* How many allocations of libraries have failed on this thread. What was made, read or refused
 * between two calls with the same answer had all the memory it wanted. */
uint64_t base_mem_failures(void);
/* One more, of a library that allocates by itself. */
void base_mem_note_failure(void);

/* For tests: of the libraries' allocations on this thread from now on, the n-th fails; 0: none.
 * What is left of n is returned: above 0 when there were fewer. */
long base_mem_fail_nth(long n);

#endif
