/* SPDX-License-Identifier: Apache-2.0 */
/* May this admin do that? Pure rules over the token's claims, the key's row and the object. */
#ifndef POLICY_ADMIN_H
#define POLICY_ADMIN_H

#include "store_key.h"

#include <jansson.h>

/* Who is asking. */
struct policy_principal {
    char key_id[32]; /* or empty for the command line */
    char tenant[64];
    bool can_read;    /* cardea.read, cardea.admin */
    bool can_write;   /* cardea.admin */
    bool is_platform; /* cardea.platform: everything, in every tenant */
    bool is_local;    /* the command line on the server's own machine: as platform */
    char actor[128];  /* for audit: the key ID, or "cli:root" */
};

enum policy_admin_verdict {
    POLICY_ADMIN_OK,
    POLICY_ADMIN_UNAUTHENTICATED, /* 401 invalid_token */
    POLICY_ADMIN_FORBIDDEN,       /* 403 insufficient_scope */
    POLICY_ADMIN_HIDDEN,          /* 404: another tenant's */
};

/* What a management route needs; a column of the route table. */
enum policy_admin_need {
    POLICY_NEED_NOTHING, /* public */
    POLICY_NEED_ANY,     /* any admin reads (scopes) */
    POLICY_NEED_READ,    /* this tenant, reading */
    POLICY_NEED_WRITE,   /* this tenant, writing */
    POLICY_NEED_PLATFORM,
};

/* Do the claims of a verified token make a management token at `now_us`? iss and aud are the
 * issuer, not expired (no leeway: we are the issuer), iat not in the future by more than 60 s, sub
 * = client_id, at least one management scope. Fills key_id, tenant, actor and the rights of its
 * scopes; zeroes `out` when false. */
bool policy_admin_token(const json_t *claims, struct base_span issuer, int64_t now_us,
                        struct policy_principal *out);
/* The key behind the token, read at this very moment: found, of that tenant, enabled, not expired,
 * tenant enabled. False: 401. The principal's rights are cut to the scopes that the key still
 * holds; when none is left, policy_admin_may() forbids everything. Rules on the client's address
 * are the caller's, via policy_client. */
bool policy_admin_key(bool found, const struct store_key *key, int64_t now_us,
                      struct policy_principal *principal);
/* `principal` NULL: nobody. `tenant`: of the object; for ANY and PLATFORM it does not matter.
 * Another tenant's objects are hidden whatever the rights, as ones that do not exist are. */
enum policy_admin_verdict policy_admin_may(const struct policy_principal *principal,
                                           enum policy_admin_need need, struct base_span tenant);
/* May the principal give a key these scopes? cardea.platform only by platform; kinds never mix.
 * `why`: one clause for the person, NULL when true. */
bool policy_admin_may_grant(const struct policy_principal *principal,
                            const struct base_span *scopes, size_t n_scopes, const char **why);
/* May the principal change, rotate or delete this key? One that holds cardea.platform: only
 * platform. */
bool policy_admin_may_change(const struct policy_principal *principal, const struct store_key *key);

#endif
