/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation that ends the process when memory is out, and wiping that the compiler keeps. */
#include "base_mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Without memory there is nothing to format with: one fixed sentence, straight to the descriptor.
 */
static _Noreturn void out_of_memory(void)
{
    static const char text[] = "cardea: out of memory\n";

    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        abort();
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

void *base_realloc(void *ptr, size_t size)
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
