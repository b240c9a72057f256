/* SPDX-License-Identifier: Apache-2.0 */
/* The one route table: which path, who may call it, on which listener, how large its body may be
 * and in which format its errors are. Tests walk it, so that no route is forgotten. */
#include "api.h"
#include "api_oauth_error.h"
#include "api_problem.h"
#include "console.h"

#define KIB     1024u
#define NEED(n) ((unsigned)POLICY_NEED_##n << API_NEED_SHIFT)

#define OAUTH  (API_PUBLIC | API_MANAGEMENT | API_NO_STORE)
#define FACTS  (API_PUBLIC)
#define OPS    (API_OPS)
#define MANAGE (API_MANAGEMENT | API_PROBLEM | API_NO_STORE)
#define PAGE   (API_MANAGEMENT)

const struct http_route api_routes[] = {
    {HTTP_POST, "/oauth2/token", api_token, 16 * KIB, OAUTH, "token"},
    {HTTP_GET, "/.well-known/jwks.json", api_jwks, 0, FACTS, "jwks"},
    {HTTP_GET, "/.well-known/oauth-authorization-server", api_metadata, 0, FACTS, "metadata"},
    {HTTP_GET, "/.well-known/openid-configuration", api_metadata_openid, 0, FACTS,
     "metadata_openid"},

    {HTTP_GET, "/livez", api_livez, 0, OPS, "livez"},
    {HTTP_GET, "/readyz", api_readyz, 0, OPS, "readyz"},
    {HTTP_GET, "/metrics", api_metrics_page, 0, OPS, "metrics"},

    {HTTP_GET, "/v1/tenants/{}/keys", api_keys_list, 0, MANAGE | NEED(READ), "keys.list"},
    {HTTP_POST, "/v1/tenants/{}/keys", api_keys_create, 64 * KIB, MANAGE | NEED(WRITE),
     "keys.create"},
    {HTTP_GET, "/v1/tenants/{}/keys/{}", api_keys_get, 0, MANAGE | NEED(READ), "keys.get"},
    {HTTP_PATCH, "/v1/tenants/{}/keys/{}", api_keys_patch, 64 * KIB, MANAGE | NEED(WRITE),
     "keys.patch"},
    {HTTP_DELETE, "/v1/tenants/{}/keys/{}", api_keys_delete, 0, MANAGE | NEED(WRITE),
     "keys.delete"},
    {HTTP_POST, "/v1/tenants/{}/keys/{}/secret", api_keys_secret, 64 * KIB, MANAGE | NEED(WRITE),
     "keys.secret"},
    {HTTP_GET, "/v1/tenants/{}/audit", api_audit_tenant, 0, MANAGE | NEED(READ), "audit.tenant"},

    {HTTP_GET, "/v1/tenants", api_tenants_list, 0, MANAGE | NEED(PLATFORM), "tenants.list"},
    {HTTP_POST, "/v1/tenants", api_tenants_create, 64 * KIB, MANAGE | NEED(PLATFORM),
     "tenants.create"},
    {HTTP_GET, "/v1/tenants/{}", api_tenants_get, 0, MANAGE | NEED(PLATFORM), "tenants.get"},
    {HTTP_PATCH, "/v1/tenants/{}", api_tenants_patch, 64 * KIB, MANAGE | NEED(PLATFORM),
     "tenants.patch"},
    {HTTP_DELETE, "/v1/tenants/{}", api_tenants_delete, 0, MANAGE | NEED(PLATFORM),
     "tenants.delete"},

    {HTTP_GET, "/v1/scopes", api_scopes_list, 0, MANAGE | NEED(ANY), "scopes.list"},
    {HTTP_GET, "/v1/scopes/{}", api_scopes_get, 0, MANAGE | NEED(ANY), "scopes.get"},
    {HTTP_PUT, "/v1/scopes/{}", api_scopes_put, 64 * KIB, MANAGE | NEED(PLATFORM), "scopes.put"},
    {HTTP_DELETE, "/v1/scopes/{}", api_scopes_delete, 0, MANAGE | NEED(PLATFORM), "scopes.delete"},

    {HTTP_GET, "/v1/signing-keys", api_signing_keys_list, 0, MANAGE | NEED(PLATFORM),
     "signing_keys.list"},
    {HTTP_POST, "/v1/signing-keys", api_signing_keys_rotate, 64 * KIB, MANAGE | NEED(PLATFORM),
     "signing_keys.rotate"},
    {HTTP_GET, "/v1/audit", api_audit_all, 0, MANAGE | NEED(PLATFORM), "audit.all"},
    {HTTP_GET, "/openapi.json", api_openapi, 0, API_MANAGEMENT | API_PROBLEM, "openapi"},

    {HTTP_GET, "/console", console_redirect, 0, PAGE, "console"},
    {HTTP_GET, "/console/", console_index, 0, PAGE, "console"},
    {HTTP_GET, "/console/{}/{}", console_asset, 0, PAGE, "console"},
};
const size_t api_n_routes = BASE_COUNT(api_routes);

/* The format of an error is its route's; without a route, its path's, read or not: clients of /v1
 * read problems. */
static unsigned flags_of(const struct http_request *request, struct base_span target)
{
    static const struct base_span management = BASE_SPAN_INIT("/v1/");

    if (request && request->route)
        return request->route->flags;
    if (base_span_starts(target, management) ||
        (request && base_span_starts(request->path, management)))
        return API_PROBLEM | API_NO_STORE;
    return API_NO_STORE;
}

void api_error_reply(void *data, const struct http_request *request, struct base_span target,
                     int status, const char *allow, struct http_reply *reply)
{
    struct api_worker *worker = data;
    unsigned flags = flags_of(request, target);
    struct base_buf *headers = &worker->payload, *body = &worker->scratch;

    base_buf_reset(headers);
    base_buf_reset(body);
    if (flags & API_NO_STORE)
        BASE_BUF_LIT(headers, API_NO_STORE_HEADERS);
    if (allow)
        base_buf_putf(headers, "Allow: %s\r\n", allow);
    if (flags & API_PROBLEM)
        api_problem_http_error(status, body);
    else
        base_buf_put_span(body, api_oauth_http_error(status));
    reply->content_type = flags & API_PROBLEM ? "application/problem+json" : "application/json";
    reply->headers = base_buf_span(headers);
    reply->body = base_buf_span(body);
}
