/* SPDX-License-Identifier: Apache-2.0 */
/* Inside common/db: a connection string as a list of places to try, and names resolved off the
 * loop. libpq would go through the list by itself, but resolves names in its caller's thread and
 * has no deadline of its own for each host. One thread, but for the thread a look-up starts. */
#ifndef DB_HOSTS_H
#define DB_HOSTS_H

#include "base_buf.h"
#include "base_err.h"

#include <libpq-fe.h>

#define DB_MAX_ADDRESSES 8 /* of one name; more are not tried */
#define DB_ADDRESS_MAX   72

struct db_lookup;

struct db_host {
    char *name;    /* as given: a name, a numeric address or a socket's folder */
    char *address; /* hostaddr, as given; NULL: none */
    char *port;
    struct db_lookup *lookup; /* being resolved, possibly for longer than its first deadline */
};

struct db_hosts {
    PQconninfoOption *settings; /* all of the string, the service file and the environment */
    const char *session;        /* target_session_attrs */
    bool gss;                   /* GSS encryption was asked for by name */
    char *application;
    struct db_host *items;
    size_t count;
};

/* Zeroed `out` is filled; BASE_INVALID: `why` says what is wrong, without quoting the string. */
enum base_err db_hosts_parse(const char *conninfo, const char *application, struct db_hosts *out,
                             struct base_buf *why) BASE_MUST_USE;
/* Look-ups that still run are left behind: they free themselves. */
void db_hosts_clear(struct db_hosts *hosts);

/* A connection attempt, as PQconnectStartParams(). `address` numeric, or NULL for a socket. */
PGconn *db_hosts_connect(const struct db_hosts *hosts, const struct db_host *host,
                         const char *address) BASE_MUST_USE;

/* True when the host is a name, and DNS must be asked. Otherwise *out is its numeric address, or
 * NULL for a socket. */
bool db_host_needs_lookup(const struct db_host *host, const char **out);
/* Starts resolving, or goes on waiting for a look-up started before, so that a name server that
 * hangs costs one thread a host and no more. Returns a descriptor that becomes readable when it is
 * done, owned by the host; -1: no thread or no descriptor. */
int db_host_lookup(struct db_host *host);
/* Once readable: how many addresses, and forgets the look-up. 0: *why says why not. */
size_t db_host_addresses(struct db_host *host, char out[DB_MAX_ADDRESSES][DB_ADDRESS_MAX],
                         const char **why);

#endif
