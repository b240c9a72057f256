/* SPDX-License-Identifier: Apache-2.0 */
/* What the service manager is told over $NOTIFY_SOCKET (sd_notify(3)'s protocol, spoken here: it is
 * one datagram a message). Without that variable everything does nothing. Main thread. */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify {
    int fd;              /* -1: nobody listens */
    int64_t watchdog_us; /* the manager's patience; 0: it has no watchdog */
    int64_t fed_us;
    const char *status; /* last told */
};

/* Reads the manager's variables, and removes them from the environment. */
void notify_init(struct notify *notify);
void notify_clear(struct notify *notify);

/* The start is done, or the reload. */
void notify_ready(struct notify *notify);
void notify_reloading(struct notify *notify);
void notify_stopping(struct notify *notify);
/* A sentence for `systemctl status`, a string literal; sent when it is another than before. */
void notify_status(struct notify *notify, const char *status);
/* Is it time to tell the watchdog? Four times within its patience. */
bool notify_watchdog_due(const struct notify *notify);
void notify_watchdog(struct notify *notify);

#endif
