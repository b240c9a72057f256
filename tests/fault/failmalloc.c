/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: from the moment it is armed, the n-th allocation of the process fails, and no other.
 *
 * Armed by SIGUSR2, so that a server can start and be asked first. FAILMALLOC_FILE is a file of our
 * own that is read then: the number of the allocation; 0 only counts. The count since goes to
 * FAILMALLOC_FILE.count at the next signal. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *ptr, size_t size);

static _Atomic long count;
static _Atomic long target;
static char path[256], count_path[272];

static int fails(void)
{
    long this;

    if (!target)
        return 0;
    this = atomic_fetch_add(&count, 1) + 1;
    if (this != target)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *ptr, size_t size)
{
    return fails() ? NULL : __libc_realloc(ptr, size);
}

static void write_count(void)
{
    char text[24];
    size_t at = sizeof text;
    long value = count;
    int fd = open(count_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    text[--at] = '\n';
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    if (fd < 0)
        return;
    if (write(fd, text + at, sizeof text - at) < 0)
        abort();
    close(fd);
}

/* -1 in the file: stop counting. Otherwise start again, aiming at that number; 0: at none. */
static void on_signal(int number)
{
    char text[24] = {0};
    int saved = errno, fd = open(path, O_RDONLY | O_CLOEXEC);
    long wanted;

    (void)number;
    if (target)
        write_count();
    target = 0;
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) {
        wanted = strtol(text, NULL, 10);
        count = 0;
        target = wanted == 0 ? -1 : wanted < 0 ? 0 : wanted;
    }
    if (fd >= 0)
        close(fd);
    errno = saved;
}

__attribute__((constructor)) static void arm(void)
{
    const char *file = getenv("FAILMALLOC_FILE");
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    if (!file || strlen(file) >= sizeof path)
        return;
    strcpy(path, file);
    strcpy(count_path, file);
    strcat(count_path, ".count");
    sigaction(SIGUSR2, &action, NULL);
}
