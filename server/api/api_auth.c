/* SPDX-License-Identifier: Apache-2.0 */
#include "api_auth.h"

#include "api_problem.h"
#include "base_clock.h"
#include "base_mem.h"
#include "http_form.h"
#include "jose_verify.h"
#include "policy_client.h"

static struct api_call *call_new(struct http_request *request, void (*next)(struct api_call *call))
{
    struct api_call *call = base_calloc(1, sizeof *call);
    unsigned need = request->route->flags >> API_NEED_SHIFT;

    call->request = request;
    call->worker = api_worker_of(request);
    call->next = next;
    if (need == POLICY_NEED_READ || need == POLICY_NEED_WRITE)
        call->tenant = request->params[0];
    if (request->client.family)
        http_address_format(&request->client, call->client);
    base_buf_init(&call->text, 256u << 10);
    base_buf_init(&call->text2, 256u << 10);
    base_buf_init(&call->text3, 256u << 10);
    return call;
}

void api_call_end(struct api_call **address)
{
    struct api_call *call = *address;

    *address = NULL;
    json_decref(call->body);
    json_decref(call->before);
    json_decref(call->after);
    base_buf_clear(&call->text);
    base_buf_clear(&call->text2);
    base_buf_clear(&call->text3);
    base_wipe(call->secret, sizeof call->secret);
    base_free(&call);
}

static void refuse_token(struct api_call *call, bool had_token, const char *reason)
{
    api_problem_unauthenticated(call->request, had_token, reason);
    api_call_end(&call);
}

static void decide(struct api_call *call)
{
    struct http_request *request = call->request;
    enum policy_admin_need need = (enum policy_admin_need)(request->route->flags >> API_NEED_SHIFT);

    switch (policy_admin_may(&call->principal, need, call->tenant)) {
    case POLICY_ADMIN_OK:
        call->next(call);
        return;
    case POLICY_ADMIN_HIDDEN:
        api_problem_not_found(request);
        break;
    case POLICY_ADMIN_FORBIDDEN:
        api_problem_forbidden(request,
                              "The management key does not hold the scope that this needs.");
        break;
    case POLICY_ADMIN_UNAUTHENTICATED:
        api_problem_unauthenticated(request, true, "token_refused");
        break;
    }
    api_call_end(&call);
}

/* The key behind the token, as it is at this very moment. Its network rules hold here as at the
 * token endpoint. */
static void on_key(void *ctx, enum base_err err, bool found, const struct store_key *key)
{
    struct api_call *call = ctx;
    const struct http_address *client = &call->request->client;

    if (err != BASE_OK) {
        api_problem_failure(call->request, err);
        api_call_end(&call);
    } else if (!policy_admin_key(found, key, base_clock_wall_us(), &call->principal) ||
               !policy_client_address_allowed(key, client->family, client->bytes)) {
        refuse_token(call, true, "key_refused");
    } else {
        decide(call);
    }
}

/* BASE_OK with *reason NULL, or why it is refused; otherwise it could not be judged. */
static enum base_err check_token(struct api_call *call, struct policy_ring *ring,
                                 struct base_span token, const char **reason)
{
    const struct api_config *config = &call->worker->shared->config;
    json_auto_t *claims = NULL;
    enum base_err err = jose_verify(token, config->token_typ, policy_ring_find, ring, &claims);

    *reason = NULL;
    switch (err) {
    case BASE_OK:
        if (!policy_admin_token(claims, config->issuer, base_clock_wall_us(), &call->principal))
            *reason = "not_a_management_token";
        return BASE_OK;
    case BASE_INVALID:
    case BASE_TOO_LARGE:
    case BASE_NOT_FOUND:
    case BASE_DENIED:
        *reason = "token_invalid";
        return BASE_OK;
    default:
        return err;
    }
}

static void admit_bearer(struct api_call *call, struct base_span token)
{
    struct policy_ring *ring = api_worker_ring(call->worker);
    const char *reason = NULL;
    /* The ring has not been read yet, or so long ago that a key may have been withdrawn since: no
     * verdict on the token, but a failure of ours. */
    enum base_err err = ring ? check_token(call, ring, token, &reason) : BASE_UNAVAILABLE;

    if (err != BASE_OK) {
        api_problem_failure(call->request, err);
        api_call_end(&call);
    } else if (reason) {
        refuse_token(call, true, reason);
    } else {
        store_key_lookup(call->worker->admin, base_span_str(call->principal.key_id), on_key, call);
    }
}

void api_admit(struct http_request *request, void (*next)(struct api_call *call))
{
    struct api_call *call = call_new(request, next);
    bool repeated = false;
    struct base_span header = http_request_header(request, HTTP_FIELD_AUTHORIZATION, &repeated),
                     token;
    enum base_err err = header.ptr ? http_bearer_parse(header, &token) : BASE_NOT_FOUND;

    if (call->worker->local) {
        call->principal = *call->worker->local;
        decide(call);
    } else if (err == BASE_NOT_FOUND && !repeated) {
        refuse_token(call, false,
                     "no_token"); /* another scheme is as good as none: RFC 6750 §3.1 */
    } else if (err != BASE_OK || repeated) {
        refuse_token(call, true, "token_malformed");
    } else {
        admit_bearer(call, token);
    }
}

struct store_audit api_call_audit(const struct api_call *call, const char *action,
                                  struct base_span object, struct base_span changes)
{
    return (struct store_audit){
        .actor = base_span_str(call->principal.actor),
        .action = base_span_str(action),
        .tenant = call->tenant,
        .object = object,
        .changes = changes.len ? changes : BASE_SPAN("{}"),
        .address = base_span_str(call->client),
        .request_id = base_span_str(call->request->request_id),
    };
}
