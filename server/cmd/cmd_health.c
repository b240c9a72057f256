/* SPDX-License-Identifier: Apache-2.0 */
/* Is the server beside us ready? For health checks of containers, which then need neither a shell
 * nor curl. It asks the operations listener of the same settings. */
#include "base_clock.h"
#include "base_mem.h"
#include "cmd.h"
#include "settings.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_US (4 * BASE_US_PER_S) /* /readyz itself waits 3 s for the database */

const struct cmd_option cmd_health_options[] = {
    {"--live", NULL, "ask whether the process lives (/livez), not whether it is ready", false,
     false},
    {NULL, NULL, NULL, false, false}};

static bool wait_for(int fd, short events, int64_t end_us)
{
    struct pollfd one = {.fd = fd, .events = events};
    int64_t left_us = end_us - base_clock_mono_us();

    return left_us > 0 && poll(&one, 1, (int)(left_us / BASE_US_PER_MS) + 1) == 1;
}

static socklen_t fill_sockaddr(const struct http_address *address, struct sockaddr_storage *out)
{
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    static const uint8_t any[16];
    bool is_any = memcmp(address->bytes, any, address->family == AF_INET ? 4 : 16) == 0;

    memset(out, 0, sizeof *out);
    if (address->family == AF_INET) {
        in->sin_family = AF_INET;
        in->sin_port = htons(address->port);
        memcpy(&in->sin_addr, address->bytes, 4);
        if (is_any)
            in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sizeof *in;
    }
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(address->port);
    memcpy(&in6->sin6_addr, address->bytes, 16);
    if (is_any)
        in6->sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
    return sizeof *in6;
}

/* A connection that is established; -1 when there is none by then. */
static int connect_by(const struct http_address *address, int64_t end_us)
{
    struct sockaddr_storage to;
    socklen_t to_len = fill_sockaddr(address, &to), len = sizeof(int);
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;

    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&to, to_len) == 0)
        return fd;
    if (errno == EINPROGRESS && wait_for(fd, POLLOUT, end_us) &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0)
        return fd;
    close(fd);
    return -1;
}

/* The status of GET path; 0 when no answer came in time. */
static int get_status(const struct http_address *address, const char *path)
{
    int64_t end_us = base_clock_mono_us() + PATIENCE_US;
    char request[128], answer[32] = "";
    int len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    size_t got = 0;
    ssize_t count = 1;
    int status = 0;
    int fd = connect_by(address, end_us);

    if (fd < 0)
        return 0;
    /* So short a request fits the empty buffer of a new socket in one piece. */
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) == len) {
        while (count > 0 && got < sizeof answer - 1 && wait_for(fd, POLLIN, end_us)) {
            count = recv(fd, answer + got, sizeof answer - 1 - got, 0);
            got += count > 0 ? (size_t)count : 0;
        }
    }
    close(fd);
    return sscanf(answer, "HTTP/1.1 %3d ", &status) == 1 ? status : 0;
}

static int ask(const struct cmd *cmd, const char *listen)
{
    const char *path = cmd_value(cmd, "--live") ? "/livez" : "/readyz";
    struct settings_addresses addresses;
    char text[HTTP_ADDRESS_TEXT_MAX];
    int status;

    settings_parse_listen(listen, &addresses);
    if (addresses.count == 0)
        return cmd_fail("CARDEA_OPS_LISTEN is empty: there is nobody to ask");
    http_address_format(&addresses.items[0], text);
    status = get_status(&addresses.items[0], path);
    if (cmd->json)
        printf("{\"path\":\"%s\",\"status\":%d}\n", path, status);
    else if (status == 0)
        printf("no answer from %s port %d\n", text, addresses.items[0].port);
    else
        printf("%s: %s (%d)\n", path, status == 200 ? "yes" : "no", status);
    return status == 200 ? CMD_DONE : CMD_FAILED;
}

int cmd_health(struct cmd *cmd)
{
    struct base_conf_origins *origins = base_calloc(1, sizeof *origins);
    struct settings settings;
    struct base_buf why;
    int status;

    base_buf_init(&why, 2048);
    if (settings_load(cmd->config_file, cmd->flags, cmd->n_flags, &settings, origins, &why) !=
        BASE_OK) {
        cmd_fail("%s", base_buf_cstr(&why));
        status = CMD_USAGE;
    } else {
        status = ask(cmd, settings.ops_listen);
    }
    settings_clear(&settings);
    base_buf_clear(&why);
    base_free(&origins);
    return status;
}
