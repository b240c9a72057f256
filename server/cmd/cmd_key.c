/* SPDX-License-Identifier: Apache-2.0 */
#include "base_clock.h"
#include "base_encode.h"
#include "cmd_call.h"
#include "cmd_list.h"
#include "cmd_print.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct cmd_option cmd_key_create_options[] = {
    {"--tenant", "ID", "whose key it is", true, false},
    {"--name", "NAME", "what people call it", true, false},
    {"--scope", "SCOPE",
     "what it may do; cardea.admin, cardea.read or cardea.platform make a management key", true,
     true},
    {"--expires", "90d", "a duration, or an RFC 3339 time", true, false},
    {"--description", "TEXT", "for whom or what it is", false, false},
    {"--disabled", NULL, "create it switched off", false, false},
    {"--token-ttl", "SECONDS", "lifetime of its tokens, 10 to 86400", false, false},
    {"--audience", "AUDIENCE", "the aud of its tokens", false, true},
    {"--allowed-cidr", "NETWORK", "from where it may be used", false, true},
    {"--claims", "JSON", "an object of further claims for its tokens", false, false},
    {"--jwks", "FILE", "public keys (JWK Set) instead of a secret: private_key_jwt", false, false},
    {NULL, NULL, NULL, false, false},
};

const struct cmd_option cmd_key_list_options[] = {
    {"--tenant", "ID", "whose keys", true, false},
    {"--status", "STATUS", "active, disabled or expired", false, false},
    {"--search", "TEXT", "part of the name or ID", false, false},
    {NULL, NULL, NULL, false, false},
};

const struct cmd_option cmd_key_rotate_options[] = {
    {"--overlap", "24h", "keep the old secret valid that long; not at all without", false, false},
    {NULL, NULL, NULL, false, false},
};

static const struct cmd_column row[] = {
    {"KEY ID", "key_id"}, {"NAME", "name"},          {"STATUS", "status"},
    {"SCOPES", "scopes"}, {"EXPIRES", "expires_at"}, {"LAST USED", "last_used_at"},
    {NULL, NULL}};
static const struct cmd_column whole[] = {{"key ID", "key_id"},
                                          {"tenant", "tenant"},
                                          {"name", "name"},
                                          {"description", "description"},
                                          {"scopes", "scopes"},
                                          {"status", "status"},
                                          {"expires", "expires_at"},
                                          {"created", "created_at"},
                                          {"created by", "created_by"},
                                          {"last used", "last_used_at"},
                                          {"token lifetime (s)", "token_ttl"},
                                          {"audience", "audience"},
                                          {"allowed addresses", "allowed_cidrs"},
                                          {"authenticates with", "auth_method"},
                                          {"old secret valid until", "previous_secret_expires_at"},
                                          {NULL, NULL}};

static void print_one(const json_t *key)
{
    cmd_print_object(key, whole);
}

static void print_list(const json_t *list)
{
    cmd_print_table(json_object_get(list, "items"), row);
}

static void print_with_secret(const json_t *key)
{
    const char *secret = json_string_value(json_object_get(key, "secret"));

    cmd_print_object(key, whole);
    if (secret)
        printf("%-24s %s\n\nThe secret is shown this once and cannot be retrieved again.\n",
               "secret", secret);
}

/* The last word about a key whose secret is shown once; takes over `key`. It is stored by now, so
 * when the output takes nothing more, a person has to be told which it is: that goes to `lost`. */
static int show_secret(const struct cmd *cmd, json_t *key,
                       void (*lost)(const json_t *, const char *))
{
    int status = CMD_DONE;

    signal(SIGPIPE, SIG_IGN); /* a reader that has gone is told of like a full disk */
    cmd_print(cmd, key, print_with_secret);
    if (!cmd_flush()) {
        lost(key, json_string_value(json_object_get(key, "key_id")));
        status = CMD_FAILED;
    }
    json_decref(key);
    return status;
}

/* --- create --- */

static json_t *values_of(const struct cmd *cmd, const char *option)
{
    json_t *array = json_array();
    const char *value;

    for (size_t i = 0; (value = cmd_value_at(cmd, option, i)); i++)
        json_array_append_new(array, json_string(value));
    return array;
}

/* A duration from now, or a time. False: neither, or later than a time can be written. */
static bool read_expiry(const char *text, char out[BASE_TIME_TEXT_MAX])
{
    struct base_span span = base_span_str(text);
    int64_t us;

    if (base_duration_parse(span, &us) == BASE_OK)
        us += base_clock_wall_us();
    else if (base_time_parse(span, &us) != BASE_OK)
        return false;
    base_time_format(us, out);
    return us <= BASE_TIME_LATEST_US;
}

static json_t *read_file(const char *path)
{
    json_error_t error;
    json_t *value = json_load_file(path, JSON_REJECT_DUPLICATES, &error);

    if (!value)
        cmd_fail("%s: %s", path, error.text);
    return value;
}

static bool add_number(const struct cmd *cmd, json_t *body)
{
    const char *text = cmd_value(cmd, "--token-ttl");
    char *end;
    long value;

    if (!text)
        return true;
    value = strtol(text, &end, 10);
    if (*end || end == text)
        return false;
    json_object_set_new(body, "token_ttl", json_integer(value));
    return true;
}

static bool add_json(const struct cmd *cmd, json_t *body)
{
    const char *claims = cmd_value(cmd, "--claims"), *jwks = cmd_value(cmd, "--jwks");
    json_t *value;

    if (claims) {
        value = json_loads(claims, JSON_REJECT_DUPLICATES, NULL);
        if (!value) {
            cmd_fail("--claims is not a JSON object");
            return false;
        }
        json_object_set_new(body, "claims", value);
    }
    if (jwks) {
        value = read_file(jwks);
        if (!value)
            return false;
        json_object_set_new(body, "jwks", value);
    }
    return true;
}

static void add_lists(const struct cmd *cmd, json_t *body)
{
    if (cmd_value(cmd, "--audience"))
        json_object_set_new(body, "audience", values_of(cmd, "--audience"));
    if (cmd_value(cmd, "--allowed-cidr"))
        json_object_set_new(body, "allowed_cidrs", values_of(cmd, "--allowed-cidr"));
    if (cmd_value(cmd, "--description"))
        json_object_set_new(body, "description", json_string(cmd_value(cmd, "--description")));
    if (cmd_value(cmd, "--disabled"))
        json_object_set_new(body, "enabled", json_false());
}

static void created_unseen(const json_t *key, const char *id)
{
    if (json_object_get(key, "secret"))
        cmd_fail("cannot write to standard output: key %s exists, but its secret is lost; give "
                 "it another one with `cardea key rotate %s`, or remove it with `cardea key delete "
                 "%s`",
                 id, id, id);
    else
        cmd_fail("cannot write to standard output, but key %s has been created: see `cardea key "
                 "show %s`",
                 id, id);
}

int cmd_key_create(struct cmd *cmd)
{
    char path[128], expires[BASE_TIME_TEXT_MAX];
    json_t *body, *key;
    int status;

    if (!read_expiry(cmd_value(cmd, "--expires"), expires))
        return cmd_usage(cmd, "--expires takes a duration such as 90d (units ms s m h d), or an "
                              "RFC 3339 time such as 2027-01-01T00:00:00Z, up to the year 9999");
    body = json_pack("{ss so ss}", "name", cmd_value(cmd, "--name"), "scopes",
                     values_of(cmd, "--scope"), "expires_at", expires);
    if (!body)
        return cmd_usage(cmd, "--name must be UTF-8 text");
    add_lists(cmd, body);
    if (!add_number(cmd, body)) {
        json_decref(body);
        return cmd_usage(cmd, "--token-ttl takes a number of seconds");
    }
    if (!add_json(cmd, body)) {
        json_decref(body);
        return CMD_FAILED;
    }
    if (!cmd_call_path("/v1/tenants/", cmd_value(cmd, "--tenant"), "/keys", path, sizeof path)) {
        json_decref(body);
        return CMD_FAILED;
    }
    key = cmd_call_answer(cmd, true, HTTP_POST, path, body, &status);
    return key ? show_secret(cmd, key, created_unseen) : status;
}

/* --- the rest --- */

int cmd_key_list(struct cmd *cmd)
{
    const char *status = cmd_value(cmd, "--status"), *text = cmd_value(cmd, "--search");
    struct base_buf query;
    char path[128];
    int result;

    if (!cmd_call_path("/v1/tenants/", cmd_value(cmd, "--tenant"), "/keys", path, sizeof path))
        return CMD_FAILED;
    base_buf_init(&query, 512);
    if (status)
        base_buf_putf(&query, "&status=%s", status);
    if (text) {
        base_buf_put_str(&query, "&q=");
        for (; *text; text++)
            base_buf_putf(&query, "%%%02X", (unsigned char)*text);
    }
    result = query.overflow ? cmd_usage(cmd, "--search is too long")
                            : cmd_list(cmd, path, base_buf_cstr(&query), print_list);
    base_buf_clear(&query);
    return result;
}

/* One request about a key that is named by its ID alone: as cmd_call_answer(). */
static json_t *ask_key(struct cmd *cmd, bool needs_seal, enum http_method method,
                       const char *suffix, json_t *body, int *status)
{
    struct cmd_call *call = cmd_call_open(cmd, needs_seal, status);
    json_t *answer = NULL;
    char path[256];

    if (call && cmd_call_key_path(call, cmd->operands[0], suffix, path, sizeof path))
        answer = cmd_call_request(call, method, path, NULL, json_incref(body));
    if (call)
        *status = answer ? CMD_DONE : CMD_FAILED;
    json_decref(body);
    cmd_call_close(&call);
    return answer;
}

static int on_key(struct cmd *cmd, enum http_method method, json_t *body,
                  void (*print)(const json_t *))
{
    int status;
    json_t *answer = ask_key(cmd, false, method, "", body, &status);

    if (answer)
        cmd_print(cmd, answer, print);
    json_decref(answer);
    return status;
}

int cmd_key_show(struct cmd *cmd)
{
    return on_key(cmd, HTTP_GET, NULL, print_one);
}

int cmd_key_enable(struct cmd *cmd)
{
    return on_key(cmd, HTTP_PATCH, json_pack("{sb}", "enabled", 1), print_one);
}

int cmd_key_disable(struct cmd *cmd)
{
    return on_key(cmd, HTTP_PATCH, json_pack("{sb}", "enabled", 0), print_one);
}

/* An old secret that is still valid is the one in use: rotating again ends it at once. */
static void rotated_unseen(const json_t *key, const char *id)
{
    const char *until = json_string_value(json_object_get(key, "previous_secret_expires_at"));

    if (until)
        cmd_fail("cannot write to standard output: key %s has a new secret that nobody has seen; "
                 "the old one is valid until %s, or until you get another one with `cardea key "
                 "rotate %s`",
                 id, until, id);
    else
        cmd_fail("cannot write to standard output: key %s has a new secret that nobody has seen; "
                 "get another one with `cardea key rotate %s`",
                 id, id);
}

int cmd_key_rotate(struct cmd *cmd)
{
    const char *overlap = cmd_value(cmd, "--overlap");
    json_t *key;
    int64_t us;
    int status;

    if (overlap && base_duration_parse(base_span_str(overlap), &us) != BASE_OK)
        return cmd_usage(cmd, "--overlap takes a duration such as 24h (units ms s m h d), at most "
                              "30d");
    key = ask_key(cmd, true, HTTP_POST, "/secret",
                  overlap ? json_pack("{ss}", "overlap", overlap) : json_object(), &status);
    return key ? show_secret(cmd, key, rotated_unseen) : status;
}

int cmd_key_delete(struct cmd *cmd)
{
    return on_key(cmd, HTTP_DELETE, NULL, NULL);
}
