/* SPDX-License-Identifier: Apache-2.0 */
/* POST /oauth2/token: RFC 6749 §4.4. In one line: form -> credentials -> limit -> the key's row ->
 * verdict -> scope and audience -> claims -> signature. Whatever fails at the credentials gets the
 * same 401; the reason goes to the log. */
#include "api_client_keys.h"
#include "api_jti.h"
#include "api_oauth_error.h"
#include "base_clock.h"
#include "base_json.h"
#include "base_mem.h"
#include "http_form.h"
#include "jose_assertion.h"
#include "policy_claims.h"
#include "policy_client.h"
#include "policy_scope.h"
#include "store_jobs.h"

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

/* Of the largest token there can be (api_worker.c), in base64, and its scope once more. */
#define REPLY_MAX (256u << 10)

/* One request, from the form to the reply. The buffers hold the secret: they are wiped when it
 * ends. */
struct token_request {
    struct http_request *request;
    struct base_buf form;  /* decoded parameters */
    struct base_buf basic; /* decoded Authorization header */
    struct base_span key_id;
    struct base_span secret;
    struct base_span assertion; /* instead of a secret: private_key_jwt */
    struct base_span scope;
    struct base_span targets[STORE_KEY_MAX_AUDIENCE];
    size_t n_targets;
    bool too_many_targets;
    bool id_valid;
    bool assertion_typed; /* client_assertion_type is the one we know */
    struct jose_assertion peeked;
    /* Of an assertion, kept until its jti is stored. */
    struct base_buf reply;
    int64_t last_used_us;
};

static void token_request_free(struct token_request **address)
{
    struct token_request *token = *address;

    if (!token)
        return;
    base_buf_clear(&token->form);
    base_buf_clear(&token->basic);
    base_buf_clear(&token->reply);
    jose_assertion_clear(&token->peeked);
    base_free(address);
}

#define TWO_WAYS "Two ways of authenticating were used at once."

/* --- the request's shape: NULL, or what is wrong with it, for a 400 --- */

static const char *check_head(const struct http_request *request)
{
    bool repeated = false;
    struct base_span type = http_request_header(request, HTTP_FIELD_CONTENT_TYPE, &repeated);

    if (request->head.query.ptr)
        return "Parameters belong into the body, not into the query string.";
    if (repeated || !http_media_type_is(type, BASE_SPAN("application/x-www-form-urlencoded")))
        return "The Content-Type must be application/x-www-form-urlencoded.";
    if (http_head_count(&request->head, HTTP_FIELD_CONTENT_ENCODING) > 0)
        return "The body must not be compressed.";
    return NULL;
}

static const char *read_form(struct token_request *token, struct http_form *form)
{
    struct base_span body = token->request->body;

    base_buf_init(&token->form, body.len);
    switch (http_form_parse(body, &token->form, form)) {
    case BASE_OK:
        break;
    case BASE_TOO_LARGE:
        return "There are too many parameters.";
    default:
        return "The form is malformed.";
    }
    if (http_form_has_duplicate(form, BASE_SPAN("resource")))
        return "A parameter occurs twice.";
    return NULL;
}

/* A parameter without a value counts as absent: RFC 6749 §3.2. */
static struct base_span parameter(const struct http_form *form, struct base_span name)
{
    const struct base_span *value = http_form_get(form, name);

    return value && value->len > 0 ? *value : (struct base_span){0};
}

static bool is_target(const struct token_request *token, struct base_span name)
{
    for (size_t i = 0; i < token->n_targets; i++)
        if (base_span_eq(token->targets[i], name))
            return true;
    return false;
}

static void read_targets(struct token_request *token, const struct http_form *form)
{
    for (size_t i = 0; i < form->n_pairs; i++) {
        const struct http_form_pair *pair = &form->pairs[i];

        if (!base_span_eq(pair->name, BASE_SPAN("resource")) &&
            !(base_span_eq(pair->name, BASE_SPAN("audience")) && pair->value.len > 0))
            continue;
        if (is_target(token, pair->value)) /* asked for twice */
            continue;
        if (token->n_targets == BASE_COUNT(token->targets))
            token->too_many_targets = true;
        else
            token->targets[token->n_targets++] = pair->value;
    }
}

static bool resources_valid(const struct http_form *form)
{
    for (size_t i = 0; i < form->n_pairs; i++) {
        if (base_span_eq(form->pairs[i].name, BASE_SPAN("resource")) &&
            !policy_claims_resource_valid(form->pairs[i].value))
            return false;
    }
    return true;
}

/* Credentials in the body: a secret or an assertion. */
static const char *read_body_credentials(struct token_request *token, const struct http_form *form)
{
    struct base_span assertion = parameter(form, BASE_SPAN("client_assertion"));

    token->key_id = parameter(form, BASE_SPAN("client_id"));
    token->secret = parameter(form, BASE_SPAN("client_secret"));
    if (assertion.len > 0 && token->secret.len > 0)
        return TWO_WAYS;
    token->assertion = assertion;
    token->assertion_typed = base_span_eq(parameter(form, BASE_SPAN("client_assertion_type")),
                                          BASE_SPAN(ASSERTION_TYPE));
    return NULL;
}

/* RFC 6749 §2.3: one way only. The same client_id in the body as in the header is what some clients
 * send, and says nothing new. */
static const char *read_basic(struct token_request *token, struct base_span header,
                              const struct http_form *form)
{
    struct http_basic basic;
    struct base_span id = parameter(form, BASE_SPAN("client_id"));

    /* Whatever its scheme, a header beside an assertion is a second way. */
    if (parameter(form, BASE_SPAN("client_assertion")).len > 0)
        return TWO_WAYS;
    base_buf_init(&token->basic, header.len);
    switch (http_basic_parse(header, &token->basic, &basic)) {
    case BASE_OK:
        break;
    case BASE_NOT_FOUND: /* another scheme: no credentials of ours, hence 401 */
        return NULL;
    default:
        return "The Authorization header is malformed.";
    }
    if (parameter(form, BASE_SPAN("client_secret")).len > 0)
        return TWO_WAYS;
    if (id.len > 0 && !base_span_eq(id, basic.id))
        return "The client_id differs from that of the Authorization header.";
    token->key_id = basic.id;
    token->secret = basic.secret;
    return NULL;
}

static const char *read_credentials(struct token_request *token, const struct http_form *form)
{
    bool repeated = false;
    struct base_span header =
        http_request_header(token->request, HTTP_FIELD_AUTHORIZATION, &repeated);

    if (repeated)
        return "There are two Authorization headers.";
    return header.ptr ? read_basic(token, header, form) : read_body_credentials(token, form);
}

/* --- the answer --- */

/* Instead of a reason: credentials that could not be checked have not failed. */
static const char out_of_memory[] = "out_of_memory";

static struct base_span subject_of(const struct token_request *token)
{
    /* What a stranger sent as an ID goes to the log only when it looks like one. */
    return token->id_valid ? token->key_id : (struct base_span){0};
}

static void refuse(struct token_request *token, enum api_refusal refusal, const char *reason)
{
    api_oauth_refuse(token->request, refusal, reason, subject_of(token));
    token_request_free(&token);
}

static struct policy_limit_subject limit_subject(const struct token_request *token)
{
    const struct http_address *client = &token->request->client;

    return (struct policy_limit_subject){client->family, client->bytes, token->key_id};
}

static void refuse_limited(struct token_request *token, int64_t wait_s)
{
    api_oauth_limited(token->request, wait_s, subject_of(token));
    token_request_free(&token);
}

/* Authentication failed: counted against the address, and answered like every other failure of its
 * kind. Of attempts that were under way together, those over the limit are told so here. */
static void refuse_client(struct token_request *token, const char *reason)
{
    struct api_worker *worker = api_worker_of(token->request);
    struct policy_limit_subject subject = limit_subject(token);
    int64_t wait_s;

    if (reason == out_of_memory) {
        refuse(token, API_REFUSED_UNAVAILABLE, reason);
        return;
    }
    wait_s = policy_limit_failed(worker->shared->limit, &subject, base_clock_mono_us());
    if (wait_s > 0)
        refuse_limited(token, wait_s);
    else
        refuse(token, API_REFUSED_INVALID_CLIENT, reason);
}

static void write_reply(struct base_buf *out, int64_t expires_in_s, struct base_span scope)
{
    BASE_BUF_LIT(out, "\",\"token_type\":\"Bearer\",\"expires_in\":");
    base_buf_put_i64(out, expires_in_s);
    BASE_BUF_LIT(out, ",\"scope\":");
    base_json_put_string(out, scope);
    base_buf_put_char(out, '}');
}

/* Claims, signature and reply into `out`. NULL, or the reason why there is no token; *refusal says
 * which kind. */
static const char *make_token(struct token_request *token, const struct store_key *key,
                              int64_t now_us, struct base_span scope,
                              const struct policy_audience *audience, struct base_buf *out,
                              enum api_refusal *refusal)
{
    struct api_worker *worker = api_worker_of(token->request);
    const struct api_config *config = &worker->shared->config;
    struct jose_signer *signer = api_worker_signer(worker);
    const struct policy_claims_input input = {
        .issuer = config->issuer,
        .key = key,
        .scope = scope,
        .audience = audience->names,
        .n_audience = audience->count,
        .now_us = now_us,
        .ttl_us = config->token_ttl_us,
    };
    int64_t expires_in_s;
    enum base_err err;

    *refusal = API_REFUSED_UNAVAILABLE;
    if (!signer)
        return "no_signing_key";
    base_buf_reset(&worker->payload);
    err = policy_claims_write(&input, &worker->payload, &expires_in_s);
    if (err == BASE_INVALID) {
        *refusal = API_REFUSED_INVALID_CLIENT;
        return policy_client_reason(POLICY_CLIENT_EXPIRED);
    }
    if (err != BASE_OK) /* not the client's doing: no verdict on its credentials */
        return err == BASE_TOO_LARGE ? "claims_too_large" : "claims_unreadable";
    base_buf_reset(out);
    BASE_BUF_LIT(out, "{\"access_token\":\"");
    if (jose_sign(signer, base_buf_span(&worker->payload), out) != BASE_OK)
        return "signing_failed";
    write_reply(out, expires_in_s, scope);
    return out->overflow ? "reply_too_large" : NULL;
}

/* The scope that this token gets, in *out; false: invalid_scope. */
static bool grant_scope(struct token_request *token, const struct store_key *key,
                        struct base_span *out)
{
    struct api_worker *worker = api_worker_of(token->request);
    struct policy_scopes asked;

    *out = key->scope;
    if (token->scope.len == 0)
        return true;
    base_buf_reset(&worker->granted);
    if (policy_scope_parse(token->scope, &asked) != BASE_OK ||
        !policy_scope_grant(key->scope, &asked, &worker->granted))
        return false;
    *out = base_buf_span(&worker->granted);
    return true;
}

/* What an authenticated client asked for, decided and written into `out`; false: it was answered
 * already. */
static bool issue(struct token_request *token, const struct store_key *key, int64_t now_us,
                  struct base_buf *out)
{
    const struct api_config *config = &api_worker_of(token->request)->shared->config;
    struct policy_audience audience;
    struct base_span scope;
    enum api_refusal refusal;
    const char *reason;

    if (!grant_scope(token, key, &scope)) {
        refuse(token, API_REFUSED_INVALID_SCOPE, "scope_not_granted");
        return false;
    }
    if (token->too_many_targets ||
        !policy_claims_audience(key, config->issuer, config->default_audience, token->targets,
                                token->n_targets, &audience)) {
        refuse(token, API_REFUSED_INVALID_TARGET, "audience_not_granted");
        return false;
    }
    reason = make_token(token, key, now_us, scope, &audience, out, &refusal);
    if (reason)
        refuse(token, refusal, reason);
    return reason == NULL;
}

static void send_token(struct token_request *token, struct base_span body)
{
    api_count(api_worker_of(token->request), API_METRIC_TOKENS, 0);
    http_reply_send(token->request, &(struct http_reply){.status = 200,
                                                         .content_type = "application/json",
                                                         .headers = BASE_SPAN(API_NO_STORE_HEADERS),
                                                         .body = body,
                                                         .subject = token->key_id});
    token_request_free(&token);
}

/* --- a secret --- */

static void ignore_outcome(void *ctx BASE_UNUSED, const struct store_outcome *outcome BASE_UNUSED)
{
    /* A MAC that could not be moved now is moved with the key's next token. */
}

/* The secret fitted under an older master key: its MAC moves to the first, so that the old one can
 * be dropped. One at a time, and only while management is quiet: nobody waits for it, and just
 * after a change of the master key every token would queue a write before the admins'. */
static void move_mac(struct token_request *token, const struct store_key *key)
{
    struct api_worker *worker = api_worker_of(token->request);
    struct store_secret fresh;

    if (!store_idle(worker->admin))
        return;
    policy_client_mac(worker->snapshot->seal, NULL, key->key_id, token->secret, &fresh);
    store_key_remac(worker->admin, key->key_id, key->secret.mac, &fresh, ignore_outcome, NULL);
}

static void on_secret_row(void *ctx, enum base_err err, bool found, const struct store_key *key)
{
    struct token_request *token = ctx;
    struct http_request *request = token->request;
    struct api_worker *worker = api_worker_of(request);
    int64_t now_us = base_clock_wall_us();
    enum policy_client_verdict verdict;
    bool old_seal = false;

    if (err != BASE_OK) {
        api_count(worker, API_METRIC_DATABASE_FAILURES, 0);
        refuse(token, API_REFUSED_UNAVAILABLE, base_err_text(err));
        return;
    }
    verdict = policy_client_judge(&(struct policy_client_input){.found = found && token->id_valid,
                                                                .key = key,
                                                                .has_secret = true,
                                                                .secret = token->secret,
                                                                .family = request->client.family,
                                                                .address = request->client.bytes,
                                                                .now_us = now_us},
                                  worker->snapshot->seal, &old_seal);
    if (verdict == POLICY_CLIENT_MASTER_KEY) {
        refuse(token, API_REFUSED_UNAVAILABLE, policy_client_reason(verdict));
        return;
    }
    if (verdict != POLICY_CLIENT_OK && verdict != POLICY_CLIENT_OK_PREVIOUS) {
        refuse_client(token, policy_client_reason(verdict));
        return;
    }
    if (!issue(token, key, now_us, &worker->scratch))
        return;
    api_used_note(worker, key->key_id, key->last_used_us, now_us);
    if (old_seal && verdict == POLICY_CLIENT_OK)
        move_mac(token, key);
    send_token(token, base_buf_span(&worker->scratch));
}

/* --- an assertion (RFC 7523) --- */

static void on_assertion_used(void *ctx, enum base_err err)
{
    struct token_request *token = ctx;
    struct api_worker *worker = api_worker_of(token->request);

    if (err == BASE_CONFLICT) {
        refuse_client(token, "assertion_used_before");
    } else if (err != BASE_OK) {
        api_count(worker, API_METRIC_DATABASE_FAILURES, 0);
        refuse(token, API_REFUSED_UNAVAILABLE, base_err_text(err));
    } else {
        api_used_note(worker, token->key_id, token->last_used_us, base_clock_wall_us());
        send_token(token, base_buf_span(&token->reply));
    }
}

static bool any_fits(const struct jose_assertion *peeked, struct jose_key *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (jose_assertion_fits(peeked, keys[i]))
            return true;
    }
    return false;
}

static const char *not_signed_by(const struct token_request *token, struct jose_key *const *keys,
                                 size_t n_keys)
{
    switch (jose_assertion_verify(token->assertion, &token->peeked, keys, n_keys)) {
    case BASE_OK:
        return NULL;
    case BASE_DENIED:
        return "assertion_signature";
    default: /* it could not be checked: no memory, or OpenSSL failed */
        return out_of_memory;
    }
}

/* Signature by one of the keys of the row; NULL or the reason. Where none could have made it, as
 * with an unknown ID or a key that has a secret, a decoy is asked for its time. */
static const char *check_signature(const struct token_request *token, const struct store_key *key)
{
    struct api_worker *worker = api_worker_of(token->request);
    struct jose_assertion nameless = token->peeked;
    struct jose_key *const *keys;
    size_t n_keys;

    if (!worker->client_keys && !(worker->client_keys = api_client_keys_new()))
        return out_of_memory;
    if (!(keys = api_client_keys_of(worker->client_keys, key->fields.jwks, &n_keys)))
        return out_of_memory;
    if (any_fits(&token->peeked, keys, n_keys))
        return not_signed_by(token, keys, n_keys);
    nameless.kid[0] = '\0';
    keys = api_client_keys_decoys(worker->client_keys, &n_keys);
    (void)!jose_assertion_verify(token->assertion, &nameless, keys, n_keys);
    return "assertion_no_such_key";
}

static void use_assertion(struct token_request *token, const struct store_key *key,
                          struct base_span jti, int64_t expires_us)
{
    struct api_worker *worker = api_worker_of(token->request);

    if (api_jti_use(worker, key->key_id, jti, expires_us, on_assertion_used, token) != BASE_OK)
        refuse(token, API_REFUSED_UNAVAILABLE, base_err_text(BASE_BUSY));
}

static const char *check_assertion(const struct token_request *token, bool found,
                                   const struct store_key *key, int64_t now_us,
                                   struct base_span *jti, int64_t *expires_us)
{
    const struct http_request *request = token->request;
    struct api_worker *worker = api_worker_of(request);
    const struct api_config *config = &worker->shared->config;
    bool old_seal;
    enum policy_client_verdict verdict =
        policy_client_judge(&(struct policy_client_input){.found = found && token->id_valid,
                                                          .key = key,
                                                          .family = request->client.family,
                                                          .address = request->client.bytes,
                                                          .now_us = now_us},
                            worker->snapshot->seal, &old_seal);
    /* Checked whatever the verdict: the same work for everybody. */
    const char *reason = check_signature(token, key);

    if (verdict != POLICY_CLIENT_OK && reason != out_of_memory)
        return policy_client_reason(verdict);
    if (reason)
        return reason;
    return policy_client_assertion(&(struct policy_assertion_input){token->peeked.claims,
                                                                    config->issuer,
                                                                    config->token_endpoint, now_us},
                                   jti, expires_us);
}

static void on_assertion_row(void *ctx, enum base_err err, bool found, const struct store_key *key)
{
    struct token_request *token = ctx;
    struct api_worker *worker = api_worker_of(token->request);
    int64_t now_us = base_clock_wall_us(), expires_us;
    struct base_span jti;
    const char *reason;

    if (err != BASE_OK) {
        api_count(worker, API_METRIC_DATABASE_FAILURES, 0);
        refuse(token, API_REFUSED_UNAVAILABLE, base_err_text(err));
        return;
    }
    reason = check_assertion(token, found, key, now_us, &jti, &expires_us);
    if (reason) {
        refuse_client(token, reason);
        return;
    }
    /* The token is made first and kept until its jti is stored: the row does not outlive this call.
     */
    base_buf_init(&token->reply, REPLY_MAX);
    if (!issue(token, key, now_us, &token->reply))
        return;
    token->last_used_us = key->last_used_us;
    use_assertion(token, key, jti, expires_us);
}

/* Reads the assertion without believing it, for the ID of whoever says to have made it. NULL, or
 * the reason why it can be nobody's. */
static const char *read_assertion(struct token_request *token)
{
    enum base_err err;

    if (!token->assertion_typed)
        return "assertion_type";
    if ((err = jose_assertion_peek(token->assertion, &token->peeked)) != BASE_OK)
        return err == BASE_NO_MEMORY ? out_of_memory : "assertion_malformed";
    if (token->key_id.len > 0 && !base_span_eq(token->key_id, token->peeked.issuer))
        return "assertion_of_another_client";
    token->key_id = token->peeked.issuer;
    return NULL;
}

/* --- the handler --- */

/* NULL, or the reason why there is nothing to look up. */
static const char *identify(struct token_request *token)
{
    if (token->assertion.len > 0)
        return read_assertion(token);
    return token->key_id.len == 0 || token->secret.len == 0 ? "no_credentials" : NULL;
}

static void authenticate(struct token_request *token)
{
    struct api_worker *worker = api_worker_of(token->request);
    const char *reason = identify(token);
    struct policy_limit_subject subject = limit_subject(token);
    int64_t wait_s = policy_limit_check(worker->shared->limit, &subject, base_clock_mono_us());

    token->id_valid = policy_client_id_valid(token->key_id);
    if (wait_s > 0) {
        refuse_limited(token, wait_s);
    } else if (reason) {
        refuse_client(token, reason);
    } else {
        /* An ID that cannot exist takes the way of one that does not, so that time does not tell
         * them apart; it need not travel there itself. */
        struct base_span id = token->id_valid ? token->key_id : BASE_SPAN("key_");

        store_key_lookup(worker->lookup, id,
                         token->assertion.len > 0 ? on_assertion_row : on_secret_row, token);
    }
}

/* Everything that can be judged without the key's row; NULL, or what is wrong. */
static const char *read_request(struct token_request *token, struct http_form *form)
{
    const char *wrong;

    if ((wrong = check_head(token->request)) != NULL || (wrong = read_form(token, form)) != NULL ||
        (wrong = read_credentials(token, form)) != NULL)
        return wrong;
    token->scope = parameter(form, BASE_SPAN("scope"));
    read_targets(token, form);
    if (parameter(form, BASE_SPAN("grant_type")).len == 0)
        return "The grant_type is missing.";
    return NULL;
}

/* With too many waiting, the answer is given before anything is read: what a refusal costs is
 * missing for those who are served. */
static bool turn_away(struct http_request *request)
{
    struct api_worker *worker = api_worker_of(request);

    if (!store_key_lookup_busy(worker->lookup))
        return false;
    api_count(worker, API_METRIC_DATABASE_FAILURES, 0);
    api_oauth_refuse(request, API_REFUSED_UNAVAILABLE, base_err_text(BASE_BUSY),
                     (struct base_span){0});
    return true;
}

void api_token(struct http_request *request)
{
    struct token_request *token;
    struct http_form form;
    const char *wrong;

    if (turn_away(request))
        return;
    token = base_calloc(1, sizeof *token);
    token->request = request;
    if ((wrong = read_request(token, &form)) != NULL) {
        api_oauth_bad_request(request, wrong);
        token_request_free(&token);
    } else if (!base_span_eq(parameter(&form, BASE_SPAN("grant_type")),
                             BASE_SPAN("client_credentials"))) {
        refuse(token, API_REFUSED_UNSUPPORTED_GRANT_TYPE, "unsupported_grant_type");
    } else if (!resources_valid(&form)) {
        refuse(token, API_REFUSED_INVALID_TARGET, "resource_malformed");
    } else {
        authenticate(token);
    }
}
