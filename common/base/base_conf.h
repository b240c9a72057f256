/* SPDX-License-Identifier: Apache-2.0 */
/* Settings from one table: a row gives the environment variable, the key in the INI file, the flag,
 * the default and the help text. Flag beats environment beats file beats default. Used once at
 * start, and again on reload; one thread. */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include "base_buf.h"
#include "base_err.h"

#include <stdint.h>

enum base_conf_type {
    BASE_CONF_STRING,   /* char *, owned by the struct; min and max are its length, max 0: 16 KiB */
    BASE_CONF_SECRET,   /* the same, hidden by base_conf_format() */
    BASE_CONF_INT,      /* int64_t */
    BASE_CONF_DURATION, /* int64_t microseconds; min and max too */
    BASE_CONF_ENUM,     /* int: index into choices */
    BASE_CONF_RATE,     /* int64_t events a minute, "20/min" or "off" (0) */
};

struct base_conf_item {
    const char *name; /* TOKEN_TTL: CARDEA_TOKEN_TTL, token_ttl, --token-ttl */
    enum base_conf_type type;
    size_t offset;        /* of the field in the caller's struct */
    const char *fallback; /* the default as text; NULL: none */
    int64_t min, max;
    const char *const *choices; /* ENUM: NULL-terminated */
    const char *accepts;        /* "10s to 24h": completes "… accepts" */
    const char *help;           /* one line */
    /* An extra check of the text, NULL for none: false, and one clause in why, when it is wrong. */
    bool (*check)(const char *text, struct base_buf *why);
};

struct base_conf_table {
    const char *env_prefix; /* "CARDEA_" */
    const struct base_conf_item *items;
    size_t n_items;
};

/* Where a value came from: "default", "environment CARDEA_X", "file /etc/…, line 7", "flag --x". */
#define BASE_CONF_MAX_ITEMS 64
struct base_conf_origins {
    char where[BASE_CONF_MAX_ITEMS][160];
};

/* Fills the zeroed struct at `settings`. `flags` are "--name=value" or "--name" "value" pairs
 * already cut from the command line. `file` NULL: none. An unknown key in the file, an unknown
 * flag, or an unknown variable that begins with the prefix, a bad or duplicate value: BASE_INVALID,
 * and `why` names the setting, where it was read and what it accepts. Secrets are never echoed. A
 * file that cannot be read: BASE_NOT_FOUND, BASE_DENIED, BASE_IO or BASE_TOO_LARGE. On failure the
 * strings are freed again. */
enum base_err base_conf_load(const struct base_conf_table *table, const char *file,
                             const char *const *environ_list, const char *const *flags,
                             size_t n_flags, void *settings, struct base_conf_origins *origins,
                             struct base_buf *why) BASE_MUST_USE;
/* Frees the strings. */
void base_conf_clear(const struct base_conf_table *table, void *settings);
/* The item that a flag ("--token-ttl", "--token-ttl=5m") names; NULL when there is none. */
const struct base_conf_item *base_conf_find_flag(const struct base_conf_table *table,
                                                 const char *flag);
/* The value as text, as it would be read back; secrets as "(hidden)" when set. */
void base_conf_format(const struct base_conf_item *item, const void *settings,
                      struct base_buf *out);
void base_conf_env_name(const struct base_conf_table *table, const struct base_conf_item *item,
                        struct base_buf *out);
void base_conf_flag_name(const struct base_conf_item *item, struct base_buf *out);

#endif
