/* SPDX-License-Identifier: Apache-2.0 */
/* Speaks to the service manager. Messages are dropped when it does not read: a server must not stop
 * for its supervisor. */
#include "notify.h"

#include "base_attr.h"
#include "base_clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGE_MAX 256

static void send_text(struct notify *notify, const char *fmt, ...) BASE_PRINTF(2, 3);

static void send_text(struct notify *notify, const char *fmt, ...)
{
    char text[MESSAGE_MAX];
    va_list args;
    ssize_t sent;
    int len;

    if (notify->fd < 0)
        return;
    va_start(args, fmt);
    len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (len < 0 || len >= MESSAGE_MAX)
        return;
    sent = send(notify->fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
}

/* A path, or "@" and a name in the abstract namespace; -1 for anything else. */
static int open_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    int fd;

    if ((path[0] != '/' && path[0] != '@') || len >= sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* WATCHDOG_PID says whom the watchdog means; a child that inherited the variables is not it. */
static int64_t watchdog_us(void)
{
    const char *period = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    char *end;
    long long us;

    if (!period || (pid && strtoll(pid, NULL, 10) != (long long)getpid()))
        return 0;
    errno = 0;
    us = strtoll(period, &end, 10);
    return errno == 0 && *end == '\0' && us > 0 ? (int64_t)us : 0;
}

void notify_init(struct notify *notify)
{
    const char *path = getenv("NOTIFY_SOCKET");

    *notify = (struct notify){.fd = path ? open_socket(path) : -1};
    if (notify->fd >= 0)
        notify->watchdog_us = watchdog_us();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_clear(struct notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    notify->fd = -1;
}

void notify_ready(struct notify *notify)
{
    send_text(notify, "READY=1");
}

void notify_reloading(struct notify *notify)
{
    /* systemd tells the reload's start from earlier messages by this clock (Type=notify-reload). */
    send_text(notify, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)base_clock_mono_us());
}

void notify_stopping(struct notify *notify)
{
    notify->status = "draining";
    send_text(notify, "STOPPING=1\nSTATUS=draining");
}

void notify_status(struct notify *notify, const char *status)
{
    if (notify->status == status)
        return;
    notify->status = status;
    send_text(notify, "STATUS=%s", status);
}

bool notify_watchdog_due(const struct notify *notify)
{
    return notify->watchdog_us > 0 &&
           base_clock_mono_us() - notify->fed_us >= notify->watchdog_us / 4;
}

void notify_watchdog(struct notify *notify)
{
    notify->fed_us = base_clock_mono_us();
    send_text(notify, "WATCHDOG=1");
}
