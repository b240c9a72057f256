/* SPDX-License-Identifier: Apache-2.0 */
/* The settings table, and the checks that need more than one row. */
#include "settings.h"

#include "base_clock.h"
#include "base_log.h"
#include "base_mem.h"
#include "policy_claims.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FILE "/etc/cardea/cardea.ini"

const char *const settings_token_typs[] = {"at+jwt", "JWT", NULL};
static const char *const algs[] = {"ES256", "ES384", "RS256", "PS256", "EdDSA", NULL};
static const char *const log_formats[] = {"json", "text", NULL};
static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};

/* Calls `one` for each element of a comma-separated list, spaces around it removed; false at the
 * first that it refuses, or when there are more than `max`. */
static bool each_element(const char *text, size_t max, bool (*one)(struct base_span, void *),
                         void *ctx)
{
    size_t count = 0;

    while (text && *text) {
        size_t len = strcspn(text, ",");
        struct base_span item = {text, len};

        while (item.len && *item.ptr == ' ') {
            item.ptr++;
            item.len--;
        }
        while (item.len && item.ptr[item.len - 1] == ' ')
            item.len--;
        if (++count > max || !one(item, ctx))
            return false;
        text += len + (text[len] == ',');
    }
    return true;
}

static bool add_listen(struct base_span item, void *ctx)
{
    struct settings_addresses *out = ctx;

    return http_listen_parse(item, &out->items[out->count++]) == BASE_OK;
}

struct cidrs {
    struct http_cidr *items;
    size_t count;
};

static bool add_cidr(struct base_span item, void *ctx)
{
    struct cidrs *out = ctx;

    return http_cidr_parse(item, &out->items[out->count++]) == BASE_OK;
}

static bool check_listen(const char *text, struct base_buf *why)
{
    struct settings_addresses ignored = {0};

    if (each_element(text, SETTINGS_MAX_LISTENERS, add_listen, &ignored))
        return true;
    base_buf_put_str(why, "not a list of addresses");
    return false;
}

static bool check_proxies(const char *text, struct base_buf *why)
{
    struct http_cidr items[SETTINGS_MAX_PROXIES];

    if (each_element(text, SETTINGS_MAX_PROXIES, add_cidr, &(struct cidrs){items, 0}))
        return true;
    base_buf_put_str(why, "not a list of networks without host bits");
    return false;
}

/* The authority of an http or https URL without user, query, fragment or a slash at its end: what
 * iss must look like for RFC 8414 §2 and for the absolute form of requests. Empty when it is none.
 */
static struct base_span url_authority(const char *url)
{
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    const char *start = url + scheme;
    size_t len = strlen(url);
    struct base_span authority;

    if (scheme == 0 || url[len - 1] == '/' || strpbrk(start, "?#@ \\\"<>") != NULL)
        return (struct base_span){0};
    for (const char *c = url; *c; c++) {
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f)
            return (struct base_span){0};
    }
    authority = base_span_of(start, strcspn(start, "/"));
    return http_authority_valid(authority) ? authority : (struct base_span){0};
}

/* Plain http is for the same machine only: a token sent over it can be read on the way. */
static bool is_loopback(struct base_span authority)
{
    static const struct base_span hosts[] = {BASE_SPAN_INIT("localhost"), BASE_SPAN_INIT("[::1]")};

    for (size_t i = 0; i < BASE_COUNT(hosts); i++) {
        size_t len = hosts[i].len;

        if (base_span_starts(authority, hosts[i]) &&
            (authority.len == len || authority.ptr[len] == ':'))
            return true;
    }
    for (size_t i = 0; i < authority.len && authority.ptr[i] != ':'; i++) {
        if (!strchr("0123456789.", authority.ptr[i]))
            return false;
    }
    return base_span_starts(authority, BASE_SPAN("127."));
}

/* A path that requests can have once it is decoded, and that none of our own begins with. */
static bool is_servable(const char *path)
{
    static const char *const ours[] = {"/console", "/.well-known"};

    for (size_t i = 0; i < BASE_COUNT(ours); i++) {
        size_t len = strlen(ours[i]);

        if (strncmp(path, ours[i], len) == 0 && (path[len] == '/' || path[len] == '\0'))
            return false;
    }
    while (*path == '/') {
        size_t len = strcspn(++path, "/");

        if (len == 0 || memchr(path, '%', len) || (len <= 2 && strspn(path, ".") >= len))
            return false;
        path += len;
    }
    return true;
}

static bool check_issuer(const char *text, struct base_buf *why)
{
    struct base_span authority = url_authority(text);

    if (authority.len == 0) {
        base_buf_put_str(why, "not such a URL");
        return false;
    }
    if (!is_servable(authority.ptr + authority.len)) {
        base_buf_put_str(why, "its path cannot be served: no escapes, no empty or dot segments, "
                              "not under /console or /.well-known");
        return false;
    }
    if (text[4] == 's' || is_loopback(authority))
        return true;
    base_buf_put_str(why, "plain http would show every token to the network");
    return false;
}

static bool check_audience(const char *text, struct base_buf *why)
{
    for (; *text; text++) {
        if ((unsigned char)*text <= 0x20 || (unsigned char)*text == 0x7f) {
            base_buf_put_str(why, "spaces and control characters are not allowed");
            return false;
        }
    }
    return true;
}

#define S   BASE_US_PER_S
#define MS  BASE_US_PER_MS
#define H   BASE_US_PER_H
#define DAY BASE_US_PER_DAY

#define FIELD(name) offsetof(struct settings, name)
#define TIMEOUT(name, field, fallback, help)                                                       \
    {                                                                                              \
        name, BASE_CONF_DURATION, FIELD(field), fallback, 100 * MS, H, NULL, "100ms to 1h", help,  \
            NULL                                                                                   \
    }

static const struct base_conf_item items[] = {
    {"DATABASE_URL", BASE_CONF_SECRET, FIELD(database_url), NULL, 1, 4096, NULL,
     "a libpq connection string or URL", "PostgreSQL; libpq's own variables (PGHOST...) otherwise",
     NULL},
    {"ISSUER", BASE_CONF_STRING, FIELD(issuer), NULL, 8, 512, NULL,
     "an https URL without a slash at its end (http on loopback only)", "the iss of every token",
     check_issuer},
    {"LISTEN", BASE_CONF_STRING, FIELD(listen), "127.0.0.1:8080", 1, 1024, NULL,
     "host:port, up to 8 separated by commas, IPv6 in brackets",
     "where clients and gateways connect", check_listen},
    {"MANAGEMENT_LISTEN", BASE_CONF_STRING, FIELD(management_listen), "", 0, 1024, NULL,
     "host:port, up to 8 separated by commas", "an address of its own for /v1 and /console/",
     check_listen},
    {"OPS_LISTEN", BASE_CONF_STRING, FIELD(ops_listen), "127.0.0.1:9090", 0, 1024, NULL,
     "host:port, or empty for none", "/metrics, /livez and /readyz", check_listen},
    {"MASTER_KEY_FILE", BASE_CONF_STRING, FIELD(master_key_file), NULL, 1, 4096, NULL, "a path",
     "base64 of 32 bytes a line (openssl rand -base64 32); the first seals, all open", NULL},
    {"AUDIENCE", BASE_CONF_STRING, FIELD(audience), NULL, 1, 255, NULL,
     "1 to 255 characters without spaces", "aud of API tokens; the issuer + /api otherwise",
     check_audience},
    {"TOKEN_TTL", BASE_CONF_DURATION, FIELD(token_ttl), "10m", 10 * S, 24 * H, NULL, "10s to 24h",
     "how long a token is valid", NULL},
    {"TOKEN_TYP", BASE_CONF_ENUM, FIELD(token_typ), "at+jwt", 0, 0, settings_token_typs,
     "at+jwt or JWT", "the token header's typ; JWT for gateways that know no other", NULL},
    {"SIGNING_ALG", BASE_CONF_ENUM, FIELD(signing_alg), "ES256", 0, 0, algs,
     "ES256, ES384, RS256, PS256 or EdDSA", "how tokens are signed", NULL},
    {"SIGNING_KEY_ROTATION", BASE_CONF_DURATION, FIELD(signing_key_rotation), "30d", 10 * S,
     3650 * DAY, NULL, "10s to 3650d", "how long one key signs", NULL},
    {"JWKS_MAX_AGE", BASE_CONF_DURATION, FIELD(jwks_max_age), "5m", 5 * S, 24 * H, NULL,
     "5s to 24h", "how long caches may keep the key set; a new key waits this long before it signs",
     NULL},
    {"JWKS_MARGIN", BASE_CONF_DURATION, FIELD(jwks_margin), "1m", S, 24 * H, NULL, "1s to 24h",
     "how much longer a new key waits", NULL},
    {"WORKERS", BASE_CONF_INT, FIELD(workers), "0", 0, 64, NULL, "1 to 64, or 0 for one a core",
     "threads that serve", NULL},
    {"TLS_CERT_FILE", BASE_CONF_STRING, FIELD(tls_cert_file), NULL, 1, 4096, NULL, "a path",
     "PEM certificate chain; plain HTTP without", NULL},
    {"TLS_KEY_FILE", BASE_CONF_STRING, FIELD(tls_key_file), NULL, 1, 4096, NULL, "a path",
     "PEM private key of the certificate", NULL},
    {"TRUSTED_PROXIES", BASE_CONF_STRING, FIELD(trusted_proxies), "", 0, 4096, NULL,
     "networks such as 10.0.0.0/8, up to 64 separated by commas",
     "whose X-Forwarded-For is believed", check_proxies},
    {"MAX_CONNECTIONS", BASE_CONF_INT, FIELD(max_connections), "10000", 1, 1000000, NULL,
     "1 to 1000000", "over it, the newest is closed at accept", NULL},
    TIMEOUT("HEADER_TIMEOUT", header_timeout, "10s",
            "from a request's first byte to the end of its head"),
    TIMEOUT("BODY_TIMEOUT", body_timeout, "10s", "from there to the end of its body"),
    TIMEOUT("IDLE_TIMEOUT", idle_timeout, "60s",
            "how long a connection may wait for its next request"),
    TIMEOUT("TLS_TIMEOUT", tls_timeout, "5s", "how long a TLS handshake may take"),
    TIMEOUT("DATABASE_TIMEOUT", database_timeout, "2s",
            "from a request to PostgreSQL's answer; then 503"),
    {"MAX_PENDING", BASE_CONF_INT, FIELD(max_pending), "4096", 1, 1000000, NULL, "1 to 1000000",
     "requests waiting for the database, per worker; over it 503", NULL},
    {"FAILED_AUTH_LIMIT", BASE_CONF_RATE, FIELD(failed_auth_limit), "20/min", 1, 100000, NULL,
     "1/min to 100000/min, or off",
     "failures per client address and key ID; ten times that per address", NULL},
    {"LOG_FORMAT", BASE_CONF_ENUM, FIELD(log_format), "json", 0, 0, log_formats, "json or text",
     "of the lines on standard error", NULL},
    {"LOG_LEVEL", BASE_CONF_ENUM, FIELD(log_level), "info", 0, 0, log_levels,
     "error, warning, info or debug", "the least important line that is written", NULL},
    TIMEOUT("DRAIN_TIMEOUT", drain_timeout, "30s",
            "how long a stopping server waits for its clients"),
    TIMEOUT("DRAIN_IDLE", drain_idle, "5s", "how long idle connections are kept meanwhile"),
};

const struct base_conf_table settings_table = {"CARDEA_", items, BASE_COUNT(items)};

enum base_err settings_load(const char *file, const char *const *flags, size_t n_flags,
                            struct settings *out, struct base_conf_origins *origins,
                            struct base_buf *why)
{
    extern char **environ;
    enum base_err err;

    if (!file && access(DEFAULT_FILE, F_OK) == 0)
        file = DEFAULT_FILE;
    memset(out, 0, sizeof *out);
    err = base_conf_load(&settings_table, file, (const char *const *)environ, flags, n_flags, out,
                         origins, why);
    if (err != BASE_OK)
        return err;
    if (!out->audience && out->issuer) {
        size_t size = strlen(out->issuer) + sizeof "/api";

        out->audience = base_malloc(size);
        snprintf(out->audience, size, "%s/api", out->issuer);
    }
    return BASE_OK;
}

static bool is_same_address(const struct http_address *a, const struct http_address *b)
{
    return a->family == b->family && a->port == b->port && a->port != 0 &&
           memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Every worker listens with SO_REUSEPORT, so binding an address twice succeeds: the kernel would
 * deal connections out between listeners that answer different paths. */
static bool listens_twice(const char *one, const char *other)
{
    struct settings_addresses a, b;

    settings_parse_listen(one, &a);
    settings_parse_listen(other, &b);
    for (size_t i = 0; i < a.count; i++) {
        for (size_t k = 0; k < b.count; k++) {
            if (is_same_address(&a.items[i], &b.items[k]))
                return true;
        }
    }
    return false;
}

enum base_err settings_check_serve(const struct settings *settings, struct base_buf *why)
{
    if (!settings->issuer)
        base_buf_put_str(why,
                         "CARDEA_ISSUER is not set: it is the public https URL of this server, the "
                         "iss of every token");
    else if (!settings->master_key_file)
        base_buf_put_str(
            why, "CARDEA_MASTER_KEY_FILE is not set: make one with `openssl rand -base64 32 "
                 "> master.key && chmod 600 master.key`");
    else if (!settings->tls_cert_file != !settings->tls_key_file)
        base_buf_put_str(
            why, "CARDEA_TLS_CERT_FILE and CARDEA_TLS_KEY_FILE belong together: set both or "
                 "neither");
    else if (settings->audience && policy_claims_is_issuer(base_span_str(settings->audience),
                                                           base_span_str(settings->issuer)))
        base_buf_put_str(
            why, "CARDEA_AUDIENCE must not be the issuer, with or without a slash at its end: that "
                 "is the audience of management tokens");
    else if (!settings->listen || !*settings->listen)
        base_buf_put_str(why, "CARDEA_LISTEN is empty: it accepts host:port");
    else if (listens_twice(settings->listen, settings->management_listen))
        base_buf_put_str(
            why, "CARDEA_MANAGEMENT_LISTEN names an address that CARDEA_LISTEN has already: give "
                 "it one of its own, or leave it empty to have /v1 and /console/ on CARDEA_LISTEN");
    else if (listens_twice(settings->listen, settings->ops_listen) ||
             listens_twice(settings->management_listen, settings->ops_listen))
        base_buf_put_str(why, "CARDEA_OPS_LISTEN names an address that another listener has "
                              "already: give it one of its own");
    else
        return BASE_OK;
    return BASE_INVALID;
}

void settings_clear(struct settings *settings)
{
    base_conf_clear(&settings_table, settings);
}

void settings_parse_listen(const char *text, struct settings_addresses *out)
{
    out->count = 0;
    (void)each_element(text, SETTINGS_MAX_LISTENERS, add_listen, out);
}

size_t settings_parse_proxies(const char *text, struct http_cidr *out, size_t max)
{
    struct cidrs cidrs = {out, 0};

    (void)each_element(text, max, add_cidr, &cidrs);
    return cidrs.count;
}
