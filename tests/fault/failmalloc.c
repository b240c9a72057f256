/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: the n-th allocation of the process from now fails, and no other; and every block is
 * counted, so that one that was lost shows.
 *
 * Allocations of our own end the process by design (base_mem), which a test of thousands of them
 * cannot afford. So these fail in a child that is made at that very place: it has to say its
 * sentence and abort, and the parent, which waits for it, then gets its memory after all. They are
 * told by their caller: FAILMALLOC_OURS holds the places of base_mem's functions in the program, as
 * "from-to" in hexadecimal, and separated by commas.
 *
 * FAILMALLOC_FILE is the page through which the test speaks to us, mapped by both. With
 * FAILMALLOC_START in the environment counting begins at once, aiming at that number. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_FRAMES 24
#define N_STACKS (64 * 1024)
#define CHILD_MS 3000
#define N_RANGES 16

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *ptr, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *ptr);

/* As test_out_of_memory.py reads it. */
struct page {
    _Atomic int64_t target; /* 0: off; -1: only count; otherwise the allocation that fails */
    _Atomic int64_t count;  /* since the test has put 0 here */
    _Atomic int64_t failed; /* 1: a library's has; 2: one of ours, in a child */
    _Atomic int64_t child;  /* its wait status; -1: it did not end */
    _Atomic int64_t blocks; /* in use */
    _Atomic int64_t n_frames;
    _Atomic int64_t leak;      /* 1: what is freed next after a library's failure is lost: a fault
                                  made for the test of the test */
    int64_t frames[N_FRAMES];  /* return addresses where it failed */
    uint64_t stacks[N_STACKS]; /* while it only counts: a hash of where each came from */
};

static struct page *page, none;
static struct {
    uintptr_t from, to;
} ours[N_RANGES];
static int n_ours;
static __thread int inside; /* our own doing */

static int is_ours(const void *caller)
{
    for (int i = 0; i < n_ours; i++)
        if ((uintptr_t)caller >= ours[i].from && (uintptr_t)caller < ours[i].to)
            return 1;
    return 0;
}

/* From the caller of malloc() outwards. Names are for whoever reads them: too slow for here. */
static void note_frames(const void *caller)
{
    void *frames[N_FRAMES + 4];
    int n = backtrace(frames, N_FRAMES + 4), from = 0;

    while (from < n && frames[from] != caller)
        from++;
    page->n_frames = 0;
    for (int i = from; i < n && page->n_frames < N_FRAMES; i++)
        page->frames[page->n_frames++] = (int64_t)(uintptr_t)frames[i];
}

static void note_stack(int64_t number, const void *caller)
{
    void *frames[64];
    int n, from = 0;
    uint64_t hash = 14695981039346656037u;

    if (number > N_STACKS)
        return;
    inside = 1;
    n = backtrace(frames, 64);
    inside = 0;
    while (from < n && frames[from] != caller)
        from++;
    for (int i = from; i < n; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * 1099511628211u;
    page->stacks[number - 1] = hash;
}

/* 1: this one fails. In the parent of a child that failed: 0. */
static int fail_in_child(void)
{
    pid_t child = fork();
    int status = -1;

    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        return 1;
    }
    for (int ms = 0; child > 0 && ms < CHILD_MS; ms++) {
        if (waitpid(child, &status, WNOHANG) == child) {
            page->child = status;
            return 0;
        }
        usleep(1000);
    }
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    page->child = -1;
    return 0;
}

static __attribute__((noinline)) int fails(const void *caller)
{
    int64_t this, aim;
    int answer = 1;

    if (!page || inside || !(aim = atomic_load_explicit(&page->target, memory_order_relaxed)))
        return 0;
    this = atomic_fetch_add(&page->count, 1) + 1;
    if (aim < 0)
        note_stack(this, caller);
    if (this != aim)
        return 0;
    inside = 1;
    note_frames(caller);
    page->failed = is_ours(caller) ? 2 : 1;
    if (page->failed == 2)
        answer = fail_in_child();
    inside = 0;
    if (answer)
        errno = ENOMEM;
    return answer;
}

static void *counted(void *ptr)
{
    if (page && ptr)
        atomic_fetch_add_explicit(&page->blocks, 1, memory_order_relaxed);
    return ptr;
}

static void discount(void *ptr)
{
    if (page && ptr)
        atomic_fetch_sub_explicit(&page->blocks, 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : counted(__libc_calloc(n, size));
}

static void *resize(void *ptr, size_t size)
{
    void *fresh;

    discount(ptr);
    fresh = __libc_realloc(ptr, size);
    counted(fresh ? fresh : size ? ptr : NULL);
    return fresh;
}

void *realloc(void *ptr, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : resize(ptr, size);
}

void *reallocarray(void *ptr, size_t n, size_t size)
{
    size_t all;

    if (__builtin_mul_overflow(n, size, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return fails(__builtin_return_address(0)) ? NULL : resize(ptr, all);
}

static void *aligned(size_t alignment, size_t size, const void *caller)
{
    return fails(caller) ? NULL : counted(__libc_memalign(alignment, size));
}

void *memalign(size_t alignment, size_t size)
{
    return aligned(alignment, size, __builtin_return_address(0));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return aligned(alignment, size, __builtin_return_address(0));
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *ptr = aligned(alignment, size, __builtin_return_address(0));

    if (!ptr)
        return ENOMEM;
    *out = ptr;
    return 0;
}

static int is_lost(void)
{
    int64_t asked = 1;

    return page && page->leak == 1 && page->failed == 1 &&
           atomic_compare_exchange_strong(&page->leak, &asked, 2);
}

void free(void *ptr)
{
    int saved = errno;

    if (ptr && is_lost())
        return;
    discount(ptr);
    __libc_free(ptr);
    errno = saved;
}

/* glibc's name service crashes for want of memory (2.36: getpwuid(), which libpq and the command
 * line ask), which nobody here can mend: what it allocates is left out. */
struct passwd *getpwuid(uid_t uid)
{
    struct passwd *(*real)(uid_t) = (struct passwd * (*)(uid_t)) dlsym(RTLD_NEXT, "getpwuid");
    struct passwd *answer;

    inside++;
    answer = real(uid);
    inside--;
    return answer;
}

int getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size, struct passwd **out)
{
    int (*real)(uid_t, struct passwd *, char *, size_t, struct passwd **) =
        (int (*)(uid_t, struct passwd *, char *, size_t, struct passwd **))dlsym(RTLD_NEXT,
                                                                                 "getpwuid_r");
    int answer;

    inside++;
    answer = real(uid, entry, buffer, size, out);
    inside--;
    return answer;
}

static int find_base(struct dl_phdr_info *info, size_t size, void *out)
{
    (void)size;
    *(uintptr_t *)out = info->dlpi_addr;
    return 1; /* the first is the program */
}

static void read_ours(const char *text)
{
    uintptr_t base = 0;
    char *end;

    dl_iterate_phdr(find_base, &base);
    while (text && *text && n_ours < N_RANGES) {
        ours[n_ours].from = base + strtoul(text, &end, 16);
        if (*end != '-')
            return;
        ours[n_ours++].to = base + strtoul(end + 1, &end, 16);
        text = *end == ',' ? end + 1 : NULL;
    }
}

__attribute__((constructor)) static void open_page(void)
{
    const char *file = getenv("FAILMALLOC_FILE"), *start = getenv("FAILMALLOC_START");
    void *warm[4];
    int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    void *mapped;

    if (fd < 0)
        return;
    backtrace(warm, 4); /* loads what it needs */
    read_ours(getenv("FAILMALLOC_OURS"));
    mapped = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        return;
    page = mapped;
    unsetenv("LD_PRELOAD"); /* not for programs that this one starts */
    if (start) {
        page->count = page->failed = 0;
        page->target = strtol(start, NULL, 10);
    }
}
