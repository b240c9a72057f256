/* SPDX-License-Identifier: Apache-2.0 */
/* What clients sign. libjwt checks the signature, but is told no more than it has to know: HAZARDS
 * lists what it would accept. So form, size, header and claims are judged here first, the key must
 * have been registered for the very algorithm, and what libjwt says it has read is compared with
 * what we have.
 *
 * libjwt 1.10 refuses any `typ` but JWT. The explicit type that the revision of RFC 7523 asks for
 * (client-authentication+jwt) is therefore verified by our own code, the same that checks our
 * tokens: it works alike whichever libjwt is installed. Every other type is refused, at+jwt before
 * all: an access token is not an assertion. */
#include "jose_assertion.h"

#include "base_json.h"
#include "base_mem.h"
#include "jose_internal.h"

#include <errno.h>
#include <jwt.h>
#include <stdlib.h>

#define MAX_CLAIMS_DEPTH 16

static void free_jwt(jwt_t **jwt)
{
    jwt_free(*jwt);
    *jwt = NULL;
}

static void free_text(char **text)
{
    free(*text); /* from libjwt's json_dumps() */
    *text = NULL;
}

/* BASE_INVALID for what libjwt is never asked: none, HS256, PS256, … */
static enum base_err to_libjwt(enum jose_alg alg, jwt_alg_t *out)
{
    switch (alg) {
    case JOSE_ES256:
        *out = JWT_ALG_ES256;
        return BASE_OK;
    case JOSE_ES384:
        *out = JWT_ALG_ES384;
        return BASE_OK;
    case JOSE_RS256:
        *out = JWT_ALG_RS256;
        return BASE_OK;
    default:
        return BASE_INVALID;
    }
}

/* `crit` and `b64` change what is signed (RFC 7515 §4.1.11, RFC 7797); the others bring or fetch a
 * key, and the only keys we know are the registered ones. */
static bool has_forbidden(const json_t *header)
{
    static const char *const names[] = {"crit", "b64", "jwk", "jku", "x5u", "x5c"};

    for (size_t i = 0; i < BASE_COUNT(names); i++)
        if (json_object_get(header, names[i]))
            return true;
    return false;
}

static enum base_err read_typ(const json_t *header, bool *explicit_typ)
{
    struct base_span typ;

    if (jose_member_string(header, "typ", &typ) != BASE_OK)
        return BASE_INVALID;
    *explicit_typ = base_span_eq_nocase(typ, BASE_SPAN("client-authentication+jwt"));
    if (*explicit_typ || !json_object_get(header, "typ") ||
        base_span_eq_nocase(typ, BASE_SPAN("JWT")))
        return BASE_OK;
    return BASE_INVALID;
}

static enum base_err read_header(const json_t *header, struct jose_assertion *out)
{
    struct base_span alg, kid;
    jwt_alg_t known;

    if (has_forbidden(header) || read_typ(header, &out->explicit_typ) != BASE_OK ||
        jose_member_string(header, "alg", &alg) != BASE_OK ||
        jose_member_string(header, "kid", &kid) != BASE_OK)
        return BASE_INVALID;
    if (jose_alg_parse(alg, &out->alg) != BASE_OK || to_libjwt(out->alg, &known) != BASE_OK ||
        kid.len >= sizeof out->kid)
        return BASE_INVALID;
    if (kid.len)
        memcpy(out->kid, kid.ptr, kid.len);
    return BASE_OK;
}

/* RFC 7523 §3: for client authentication both name the client. */
static enum base_err read_issuer(const json_t *claims, struct base_span *out)
{
    struct base_span sub;

    if (jose_member_string(claims, "iss", out) != BASE_OK ||
        jose_member_string(claims, "sub", &sub) != BASE_OK)
        return BASE_INVALID;
    return out->len && base_span_eq(*out, sub) ? BASE_OK : BASE_INVALID;
}

enum base_err jose_assertion_peek(struct base_span assertion, struct jose_assertion *out)
{
    BASE_AUTO(jose_compact_clear) struct jose_compact compact = {0};
    BASE_AUTO(jose_assertion_clear) struct jose_assertion read = {0};
    uint64_t failures = base_mem_failures();

    *out = (struct jose_assertion){0};
    /* Every failure of the assertion's is the same to the caller, size included. */
    if (assertion.len > JOSE_MAX_ASSERTION || jose_compact_parse(assertion, &compact) != BASE_OK ||
        read_header(compact.header, &read) != BASE_OK ||
        jose_compact_object(compact.payload, &read.claims) != BASE_OK ||
        read_issuer(read.claims, &read.issuer) != BASE_OK)
        return jose_verdict(BASE_INVALID, failures);
    *out = read;
    read.claims = NULL;
    return BASE_OK;
}

void jose_assertion_clear(struct jose_assertion *assertion)
{
    json_decref(assertion->claims);
    *assertion = (struct jose_assertion){0};
}

bool jose_assertion_fits(const struct jose_assertion *peeked, const struct jose_key *key)
{
    struct base_span kid = base_span_str(peeked->kid);

    return jose_key_alg(key) == peeked->alg &&
           (kid.len == 0 || base_span_eq(kid, jose_key_client_kid(key)) ||
            base_span_eq(kid, base_span_str(jose_key_thumbprint(key))));
}

/* libjwt read the same algorithm and the same claims as we did, from the text whose signature it
 * checked. */
static bool reads_alike(jwt_t *jwt, jwt_alg_t alg, const json_t *claims)
{
    BASE_AUTO(free_text) char *text = jwt_get_grants_json(jwt, NULL);
    json_auto_t *read = NULL;
    const char *why;

    if (jwt_get_alg(jwt) != alg || !text)
        return false;
    /* Written anew it may be longer than it was: escapes. */
    if (base_json_parse(base_span_str(text), 8 * JOSE_MAX_ASSERTION, MAX_CLAIMS_DEPTH, &read,
                        &why) != BASE_OK)
        return false;
    return json_equal(read, claims);
}

/* malloc() tells what libjwt does not: that memory was the reason. 1.10 takes its own want of it
 * for a wrong signature or, worse, for a good one, with `none` and no claims: hence reads_alike().
 */
static bool decode(const char *text, const char *pem, jwt_t **out)
{
    bool decoded;

    errno = 0;
    decoded =
        jwt_decode(out, text, (const unsigned char *)pem, (int)strlen(pem)) == 0 && *out != NULL;
    if (errno == ENOMEM)
        base_mem_note_failure();
    return decoded;
}

static enum base_err verify_libjwt(struct base_span assertion, const struct jose_assertion *peeked,
                                   const struct jose_key *key)
{
    BASE_AUTO(base_free) char *text = base_strndup(assertion.ptr, assertion.len);
    const char *pem = jose_key_public_pem(key);
    BASE_AUTO(free_jwt) jwt_t *jwt = NULL;
    jwt_alg_t alg;

    if (to_libjwt(peeked->alg, &alg) != BASE_OK)
        return BASE_DENIED;
    if (!decode(text, pem, &jwt))
        return jose_fail(BASE_DENIED);
    return reads_alike(jwt, alg, peeked->claims) ? BASE_OK : jose_fail(BASE_DENIED);
}

static enum base_err verify_evp(struct base_span assertion, const struct jose_key *key)
{
    BASE_AUTO(jose_compact_clear) struct jose_compact compact = {0};

    if (jose_compact_parse(assertion, &compact) != BASE_OK)
        return BASE_DENIED; /* it was well-formed when peeked at: there was no memory */
    return jose_check_signature(key, compact.signed_text, base_buf_span(&compact.signature));
}

enum base_err jose_assertion_verify(struct base_span assertion, const struct jose_assertion *peeked,
                                    struct jose_key *const *keys, size_t n_keys)
{
    uint64_t failures = base_mem_failures();

    if (assertion.len > JOSE_MAX_ASSERTION || !peeked->claims)
        return BASE_DENIED;
    for (size_t i = 0; i < n_keys; i++) {
        enum base_err err;

        if (!jose_assertion_fits(peeked, keys[i]))
            continue;
        err = peeked->explicit_typ ? verify_evp(assertion, keys[i])
                                   : verify_libjwt(assertion, peeked, keys[i]);
        if (err != BASE_DENIED)
            return jose_verdict(err, failures);
    }
    return jose_verdict(BASE_DENIED, failures);
}

static enum base_err parse_one(const json_t *jwk, struct jose_key **out, struct base_buf *why)
{
    enum base_err err = jose_key_from_jwk(jwk, out, why);
    jwt_alg_t known;

    if (err != BASE_OK || to_libjwt(jose_key_alg(*out), &known) == BASE_OK)
        return err;
    /* It could never verify anything: better said now than as invalid_client later. */
    jose_key_unref(out);
    base_buf_put_str(why, "\"alg\" must be ES256, ES384 or RS256");
    return BASE_INVALID;
}

static void drop_keys(struct jose_key **keys, size_t *n)
{
    while (*n > 0)
        jose_key_unref(&keys[--*n]);
}

/* As a merge patch it would leave the old keys in place, and lie beside them for all to read. */
static enum base_err refuse_single(const json_t *jwk, struct base_buf *why)
{
    struct jose_key *key = NULL;
    size_t start = why->len;
    enum base_err err = jose_key_from_jwk(jwk, &key, why);

    jose_key_unref(&key);
    if (err == BASE_DENIED || err == BASE_NO_MEMORY)
        return err;
    why->len = start;
    base_buf_put_str(why, "must be {\"keys\":[…]}, and this is a single key");
    return BASE_INVALID;
}

enum base_err jose_jwks_parse(const json_t *jwks, struct jose_key **out, size_t max, size_t *n,
                              struct base_buf *why)
{
    const json_t *list = json_object_get(jwks, "keys");
    size_t count = json_array_size(list);

    *n = 0;
    if (json_object_get(jwks, "kty"))
        return refuse_single(jwks, why);
    if (count == 0 || count > max) {
        base_buf_putf(why, "must be {\"keys\":[…]} with 1 to %zu public keys", max);
        return BASE_INVALID;
    }
    while (*n < count) {
        size_t start = why->len;
        enum base_err err;

        base_buf_putf(why, "keys[%zu]: ", *n);
        if ((err = parse_one(json_array_get(list, *n), &out[*n], why)) != BASE_OK) {
            drop_keys(out, n);
            return err;
        }
        why->len = start; /* nothing to say about this one */
        ++*n;
    }
    return BASE_OK;
}
