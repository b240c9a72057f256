/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of DESIGN's table: one row each in settings.c, from which come the environment
 * variable, the key of the INI file, the flag, the default and the help text. Read at start and on
 * SIGHUP. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "base_conf.h"
#include "http_server.h"
#include "jose_key.h"

#define SETTINGS_MAX_LISTENERS 8
#define SETTINGS_MAX_PROXIES   64

/* Strings are owned; NULL when neither set nor given a default. */
struct settings {
    char *database_url;
    char *issuer;
    char *listen;
    char *management_listen;
    char *ops_listen;
    char *master_key_file;
    char *audience;
    char *tls_cert_file;
    char *tls_key_file;
    char *trusted_proxies;
    int64_t token_ttl; /* all durations in microseconds */
    int64_t signing_key_rotation;
    int64_t jwks_max_age;
    int64_t jwks_margin;
    int64_t header_timeout, body_timeout, idle_timeout, tls_timeout;
    int64_t database_timeout;
    int64_t drain_timeout, drain_idle;
    int64_t workers; /* 0: one a core */
    int64_t max_connections;
    int64_t max_pending;
    int64_t failed_auth_limit; /* a minute; 0: off */
    int token_typ;             /* index of SETTINGS_TOKEN_TYPS */
    int signing_alg;           /* enum jose_alg */
    int log_format;            /* enum base_log_format */
    int log_level;             /* enum base_log_level */
};

extern const struct base_conf_table settings_table;
extern const char *const settings_token_typs[];

/* What the lists hold, parsed. */
struct settings_addresses {
    struct http_address items[SETTINGS_MAX_LISTENERS];
    size_t count;
};

/* Loads from `file` (NULL: /etc/cardea/cardea.ini where it exists), the environment and the flags;
 * fills in what depends on other settings (audience). `why`: one sentence that names the setting,
 * its source and what it accepts. */
enum base_err settings_load(const char *file, const char *const *flags, size_t n_flags,
                            struct settings *out, struct base_conf_origins *origins,
                            struct base_buf *why) BASE_MUST_USE;
/* What `serve` needs besides: issuer and master key file are set, certificate and key come
 * together, plain-HTTP issuer only on loopback. */
enum base_err settings_check_serve(const struct settings *settings,
                                   struct base_buf *why) BASE_MUST_USE;
void settings_clear(struct settings *settings);

/* Comma-separated lists that were checked when they were loaded. NULL or empty: none. */
void settings_parse_listen(const char *text, struct settings_addresses *out);
size_t settings_parse_proxies(const char *text, struct http_cidr *out, size_t max);

#endif
