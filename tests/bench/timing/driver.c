/* SPDX-License-Identifier: Apache-2.0 */
/* Sends the requests in FILES in random order, SAMPLES times each, one at a time on one kept
 * connection to 127.0.0.1, and prints the median of the answers' times of each in microseconds.
 *
 *   driver PORT SAMPLES FILE…
 *
 * Answers must not differ by a byte but for Date, whose length is fixed. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CASES 8

struct sample_set {
    char request[2048];
    size_t len;
    uint32_t *ns;
    size_t n;
};

static void die(const char *why)
{
    fprintf(stderr, "driver: %s\n", why);
    exit(2);
}

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint64_t state;

static uint32_t next_random(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33);
}

static size_t ask(int fd, const struct sample_set *set, char *answer, size_t size, uint32_t *ns)
{
    int64_t begin = now_ns();
    size_t len = 0;
    ssize_t got;

    if (send(fd, set->request, set->len, MSG_NOSIGNAL) != (ssize_t)set->len)
        die("cannot send");
    do {
        got = recv(fd, answer + len, size - 1 - len, 0);
        if (got <= 0)
            die("the connection ended");
        len += (size_t)got;
        answer[len] = '\0';
    } while (answer[len - 1] != '}');
    *ns = (uint32_t)(now_ns() - begin);
    return len;
}

static void blank_date(char *answer)
{
    char *date = strstr(answer, "Date: ");

    if (date)
        memset(date, ' ', 35);
}

int main(int argc, char **argv)
{
    static struct sample_set sets[MAX_CASES];
    struct sockaddr_in address = {.sin_family = AF_INET};
    size_t n_sets = (size_t)argc - 3, samples, left, len;
    char first[4096] = "", answer[4096];
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    uint32_t ns;

    if (argc < 4 || n_sets > MAX_CASES)
        die("usage: driver PORT SAMPLES FILE…");
    samples = strtoul(argv[2], NULL, 10);
    for (size_t i = 0; i < n_sets; i++) {
        FILE *file = fopen(argv[3 + i], "rb");

        if (!file || !(sets[i].len = fread(sets[i].request, 1, sizeof sets[i].request, file)))
            die("cannot read a request");
        fclose(file);
        sets[i].ns = calloc(samples, sizeof *sets[i].ns);
    }
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    state = (uint64_t)now_ns();
    for (size_t i = 0; i < 2000; i++) { /* warm, and all answers alike */
        len = ask(fd, &sets[i % n_sets], answer, sizeof answer, &ns);
        blank_date(answer);
        if (i == 0)
            memcpy(first, answer, len + 1);
        else if (strcmp(first, answer) != 0)
            die("two refusals differ");
    }
    for (left = samples * n_sets; left > 0; left--) {
        size_t pick = next_random() % n_sets;

        while (sets[pick].n == samples)
            pick = (pick + 1) % n_sets;
        ask(fd, &sets[pick], answer, sizeof answer, &ns);
        sets[pick].ns[sets[pick].n++] = ns;
    }
    for (size_t i = 0; i < n_sets; i++) {
        qsort(sets[i].ns, samples, sizeof *sets[i].ns, compare);
        printf("%.3f\n", sets[i].ns[samples / 2] / 1000.0);
    }
    close(fd);
    return 0;
}
