/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation that ends the process when memory is out, and wiping that the compiler keeps. */
#include "base_mem.h"

#include "base_attr.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Without memory there is nothing to format with: one fixed sentence, straight to the descriptor.
 */
static void say_out_of_memory(void)
{
    static const char text[] = "cardea: out of memory\n";

    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        abort();
}

static _Noreturn void out_of_memory(void)
{
    say_out_of_memory();
    abort();
}

/* malloc(0) may return NULL, which would look like failure. */
static size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

void *base_malloc(size_t size)
{
    void *ptr = malloc(at_least_one(size));

    if (!ptr)
        out_of_memory();
    return ptr;
}

void *base_calloc(size_t count, size_t size)
{
    void *ptr = calloc(at_least_one(count), at_least_one(size));

    if (!ptr)
        out_of_memory();
    return ptr;
}

/* Not inlined: tests/fault/failmalloc.c tells our allocations by where they are made. */
__attribute__((noinline)) void *base_realloc(void *ptr, size_t size)
{
    void *grown = realloc(ptr, at_least_one(size));

    if (!grown)
        out_of_memory();
    return grown;
}

char *base_strdup(const char *text)
{
    return text ? base_strndup(text, strlen(text)) : NULL;
}

char *base_strndup(const char *bytes, size_t len)
{
    size_t used = len ? strnlen(bytes, len) : 0;
    char *copy = base_malloc(used + 1);

    if (used)
        memcpy(copy, bytes, used);
    copy[used] = '\0';
    return copy;
}

void base_free(void *pointer_address)
{
    void *ptr;

    /* The caller's pointer has a type of its own: copied, not cast, to stay within the aliasing
     * rules. */
    memcpy(&ptr, pointer_address, sizeof ptr);
    free(ptr);
    ptr = NULL;
    memcpy(pointer_address, &ptr, sizeof ptr);
}

void base_wipe(void *bytes, size_t len)
{
    if (len)
        explicit_bzero(bytes, len);
}

void base_free_secret(char **text)
{
    if (*text)
        base_wipe(*text, strlen(*text));
    base_free(text);
}

/* --- what libraries allocate --- */

static atomic_bool is_survived;
static _Thread_local uint64_t failures;
static _Thread_local long left_to_fail;

uint64_t base_mem_failures(void)
{
    return failures;
}

void base_mem_note_failure(void)
{
    failures++;
}

long base_mem_fail_nth(long n)
{
    long left = left_to_fail;

    left_to_fail = n;
    return left;
}

static void *library_realloc(void *ptr, size_t size)
{
    void *fresh = NULL;

    if (left_to_fail == 0 || --left_to_fail > 0)
        fresh = realloc(ptr, size);
    if (fresh)
        return fresh;
    failures++;
    if (!atomic_load_explicit(&is_survived, memory_order_relaxed)) {
        say_out_of_memory();
        _exit(1);
    }
    return NULL;
}

static void *jansson_malloc(size_t size)
{
    return library_realloc(NULL, at_least_one(size));
}

static void *crypto_malloc(size_t size, const char *file BASE_UNUSED, int line BASE_UNUSED)
{
    return size ? library_realloc(NULL, size) : NULL;
}

/* As OpenSSL's own: nothing asked for means that it is not needed any more. */
static void *crypto_realloc(void *ptr, size_t size, const char *file BASE_UNUSED,
                            int line BASE_UNUSED)
{
    if (size)
        return library_realloc(ptr, size);
    free(ptr);
    return NULL;
}

static void crypto_free(void *ptr, const char *file BASE_UNUSED, int line BASE_UNUSED)
{
    free(ptr);
}

void base_mem_watch_libraries(void)
{
    json_set_alloc_funcs(jansson_malloc, free);
    (void)CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free);
}

void base_mem_survive_libraries(void)
{
    atomic_store(&is_survived, true);
}
