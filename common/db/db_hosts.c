/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a connection string apart, and asks the resolver in a thread of its own.
 *
 * The full set of options (string, then service file, then environment, then defaults) is known to
 * libpq only once a connection has been started. So one is started that must fail before it opens a
 * socket: its target_session_attrs is nonsense, and that is the last thing libpq checks. The
 * options are then read back from it. */
#include "db_hosts.h"

#include "base_mem.h"

#include <netdb.h>
#include <pg_config.h> /* which the next one needs */
#include <pg_config_manual.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SETTINGS 96 /* libpq 15 has 44 */

static const char probe[] = "cardea-probe";

/* Options given here come last, so they win. */
struct params {
    const char *keywords[MAX_SETTINGS + 1];
    const char *values[MAX_SETTINGS + 1];
    size_t count;
};

static void put(struct params *params, const char *keyword, const char *value)
{
    if (!value || !*value || params->count >= MAX_SETTINGS)
        return;
    params->keywords[params->count] = keyword;
    params->values[params->count++] = value;
}

static const char *setting(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword; options++) {
        if (strcmp(options->keyword, keyword) == 0)
            return options->val && *options->val ? options->val : NULL;
    }
    return NULL;
}

static void put_all(struct params *params, const PQconninfoOption *options)
{
    for (; options->keyword; options++)
        put(params, options->keyword, options->val);
}

/* Passwords are starred by libpq, for dialogs. */
static void free_options(PQconninfoOption **options)
{
    if (!*options)
        return;
    for (PQconninfoOption *option = *options; option->keyword; option++) {
        if (option->val && *option->dispchar == '*')
            base_wipe(option->val, strlen(option->val));
    }
    PQconninfoFree(*options);
    *options = NULL;
}

/* libpq quotes what it could not read, and that may be the password or a part of it. */
static void say_parse_error(struct base_buf *why, const char *text)
{
    const char *first = strchr(text, '"'), *last = strrchr(text, '"');

    if (strncmp(text, "missing \"=\"", 11) == 0) {
        base_buf_put_str(why, "missing \"=\" after a word of the connection string");
    } else if (first) {
        base_buf_put(why, text, (size_t)(first - text));
        base_buf_put_str(why, "\"...\"");
        base_buf_put(why, last + 1, strcspn(last + 1, "\n"));
    } else {
        base_buf_put(why, text, strcspn(text, "\n"));
    }
}

static enum base_err read_string(const char *conninfo, PQconninfoOption **out, struct base_buf *why)
{
    char *error = NULL;

    *out = PQconninfoParse(conninfo, &error);
    if (*out)
        return BASE_OK;
    say_parse_error(why, error ? error : "out of memory");
    if (error)
        base_wipe(error, strlen(error));
    PQfreemem(error);
    return BASE_INVALID;
}

static const char *session_attrs(const PQconninfoOption *given)
{
    static const char *const known[] = {"read-write", "any",     "read-only",
                                        "primary",    "standby", "prefer-standby"};
    const char *wanted = setting(given, "target_session_attrs");

    if (!wanted)
        return known[0];
    for (size_t i = 0; i < BASE_COUNT(known); i++) {
        if (strcmp(wanted, known[i]) == 0)
            return known[i];
    }
    return NULL;
}

static enum base_err read_all(const PQconninfoOption *given, PQconninfoOption **out,
                              struct base_buf *why)
{
    struct params params = {.count = 0};
    const char *message;
    PGconn *pg;

    put_all(&params, given);
    put(&params, "target_session_attrs", probe);
    pg = PQconnectStartParams(params.keywords, params.values, 0);
    message = PQerrorMessage(pg);
    if (pg && PQstatus(pg) == CONNECTION_BAD && strstr(message, probe))
        *out = PQconninfo(pg);
    else
        base_buf_put(why, message, strcspn(message, "\n"));
    PQfinish(pg);
    return *out ? BASE_OK : BASE_INVALID;
}

/* Element `index` of a list separated by commas; NULL when it is empty or there is none. */
static char *element(const char *list, size_t index)
{
    size_t len;

    if (!list)
        return NULL;
    for (; index > 0; index--) {
        list += strcspn(list, ",");
        if (*list++ == '\0')
            return NULL;
    }
    len = strcspn(list, ",");
    return len ? base_strndup(list, len) : NULL;
}

static size_t elements(const char *list)
{
    size_t count = 1;

    for (; *list; list++)
        count += *list == ',';
    return count;
}

/* libpq has checked already that the lists are as long as each other, or hold one port for all. */
static void cut_hosts(struct db_hosts *hosts)
{
    const char *names = setting(hosts->settings, "host");
    const char *addresses = setting(hosts->settings, "hostaddr");
    const char *ports = setting(hosts->settings, "port");

    hosts->count = addresses ? elements(addresses) : names ? elements(names) : 1;
    hosts->items = base_calloc(hosts->count, sizeof *hosts->items);
    for (size_t i = 0; i < hosts->count; i++) {
        struct db_host *host = &hosts->items[i];

        host->name = element(names, i);
        host->address = element(addresses, i);
        host->port = element(ports, ports && elements(ports) > 1 ? i : 0);
        if (!host->port)
            host->port = base_strdup("5432");
        /* Left empty, libpq would take all of PGHOST for it. */
        if (!host->name && !host->address)
            host->name = base_strdup(DEFAULT_PGSOCKET_DIR);
    }
}

enum base_err db_hosts_parse(const char *conninfo, const char *application, struct db_hosts *out,
                             struct base_buf *why)
{
    BASE_AUTO(free_options) PQconninfoOption *given = NULL;
    enum base_err err;

    if ((err = read_string(conninfo ? conninfo : "", &given, why)) != BASE_OK)
        return err;
    if (!(out->session = session_attrs(given))) {
        base_buf_put_str(why, "target_session_attrs has no such value");
        return BASE_INVALID;
    }
    if ((err = read_all(given, &out->settings, why)) != BASE_OK)
        return err;
    out->gss = setting(given, "gssencmode") || getenv("PGGSSENCMODE");
    out->application = base_strdup(application);
    cut_hosts(out);
    return BASE_OK;
}

static bool is_place(const char *keyword)
{
    return strcmp(keyword, "host") == 0 || strcmp(keyword, "hostaddr") == 0 ||
           strcmp(keyword, "port") == 0;
}

/* Without these the kernel keeps a connection to a machine that is gone for two hours and more. */
static void put_keepalives(struct params *params, const PQconninfoOption *settings)
{
    static const char *const defaults[][2] = {{"keepalives_idle", "10"},
                                              {"keepalives_interval", "5"},
                                              {"keepalives_count", "3"},
                                              {"tcp_user_timeout", "15000"}};

    for (size_t i = 0; i < BASE_COUNT(defaults); i++) {
        if (!setting(settings, defaults[i][0]))
            put(params, defaults[i][0], defaults[i][1]);
    }
}

PGconn *db_hosts_connect(const struct db_hosts *hosts, const struct db_host *host,
                         const char *address)
{
    struct params params = {.count = 0};

    for (const PQconninfoOption *option = hosts->settings; option->keyword; option++) {
        if (!is_place(option->keyword))
            put(&params, option->keyword, option->val);
    }
    put(&params, "host",
        host->name); /* stays the name that TLS verifies and ~/.pgpass is read by */
    put(&params, "hostaddr", address);
    put(&params, "port", host->port);
    put(&params, "target_session_attrs", hosts->session);
    put(&params, "client_encoding", "UTF8");
    put(&params, "fallback_application_name", hosts->application);
    /* libpq prefers GSS encryption where it finds Kerberos credentials, and then talks to the KDC
     * in our thread, for as long as that takes. */
    put(&params, "gssencmode", hosts->gss ? NULL : "disable");
    put_keepalives(&params, hosts->settings);
    return PQconnectStartParams(params.keywords, params.values, 0);
}

/* ---- Names ----
 * getaddrinfo() can be neither interrupted nor hurried. Its thread shares this object with the loop
 * and the last of the two frees it, so that closing never waits for a name server. */
struct db_lookup {
    atomic_int refs;
    int done; /* eventfd, readable when the rest is set */
    char *name;
    int status; /* getaddrinfo()'s */
    size_t count;
    char addresses[DB_MAX_ADDRESSES][DB_ADDRESS_MAX];
};

static void lookup_unref(struct db_lookup **lookup)
{
    struct db_lookup *shared = *lookup;

    *lookup = NULL;
    if (!shared || atomic_fetch_sub(&shared->refs, 1) > 1)
        return;
    if (shared->done >= 0)
        close(shared->done);
    base_free(&shared->name);
    base_free(&shared);
}

static void lookup_take(struct db_lookup *lookup, const struct addrinfo *list)
{
    for (; list && lookup->count < DB_MAX_ADDRESSES; list = list->ai_next) {
        if (getnameinfo(list->ai_addr, list->ai_addrlen, lookup->addresses[lookup->count],
                        DB_ADDRESS_MAX, NULL, 0, NI_NUMERICHOST) == 0)
            lookup->count++;
    }
}

static void *lookup_run(void *arg)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct db_lookup *lookup = arg;
    struct addrinfo *list = NULL;
    uint64_t one = 1;

    lookup->status = getaddrinfo(lookup->name, NULL, &hints, &list);
    if (lookup->status == 0) {
        lookup_take(lookup, list);
        freeaddrinfo(list);
    }
    /* An eventfd that was never written to takes one write, always. */
    if (write(lookup->done, &one, sizeof one) < 0)
        lookup->count = 0;
    lookup_unref(&lookup);
    return NULL;
}

/* Signals are for the threads that handle them. */
static bool start_thread(struct db_lookup *lookup)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;
    int err;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&thread, &attr, lookup_run, lookup);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return err == 0;
}

int db_host_lookup(struct db_host *host)
{
    struct db_lookup *lookup;

    if (host->lookup)
        return host->lookup->done;
    lookup = base_calloc(1, sizeof *lookup);
    lookup->name = base_strdup(host->name);
    lookup->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_init(&lookup->refs, 2);
    if (lookup->done < 0 || !start_thread(lookup)) {
        atomic_store(&lookup->refs, 1);
        lookup_unref(&lookup);
        return -1;
    }
    host->lookup = lookup;
    return lookup->done;
}

size_t db_host_addresses(struct db_host *host, char out[DB_MAX_ADDRESSES][DB_ADDRESS_MAX],
                         const char **why)
{
    struct db_lookup *lookup = host->lookup;
    uint64_t ticks;
    size_t count;

    /* What the thread wrote is ours to read only after this. */
    count = read(lookup->done, &ticks, sizeof ticks) < 0 ? 0 : lookup->count;
    memcpy(out, lookup->addresses, sizeof lookup->addresses);
    *why = lookup->status ? gai_strerror(lookup->status) : "the name has no address";
    lookup_unref(&host->lookup);
    return count;
}

static bool is_numeric(const char *name)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;

    if (getaddrinfo(name, NULL, &hints, &list) != 0)
        return false;
    freeaddrinfo(list);
    return true;
}

bool db_host_needs_lookup(const struct db_host *host, const char **out)
{
    *out = host->address;
    if (host->address || *host->name == '/' || *host->name == '@')
        return false;
    if (!is_numeric(host->name))
        return true;
    *out = host->name;
    return false;
}

void db_hosts_clear(struct db_hosts *hosts)
{
    for (size_t i = 0; i < hosts->count; i++) {
        base_free(&hosts->items[i].name);
        base_free(&hosts->items[i].address);
        base_free(&hosts->items[i].port);
        lookup_unref(&hosts->items[i].lookup);
    }
    base_free(&hosts->items);
    base_free(&hosts->application);
    free_options(&hosts->settings);
    hosts->count = 0;
}
