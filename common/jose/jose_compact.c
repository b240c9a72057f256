/* SPDX-License-Identifier: Apache-2.0 */
/* The compact form of a JWS, read strictly: one token has one text. */
#include "base_encode.h"
#include "base_json.h"
#include "jose_internal.h"

#define MAX_DEPTH 16 /* of header and claims */

/* Cuts off what precedes the next dot. */
static bool next_part(struct base_span *rest, struct base_span *out)
{
    const char *dot = rest->len ? memchr(rest->ptr, '.', rest->len) : NULL;

    if (!dot || dot == rest->ptr)
        return false;
    *out = base_span_of(rest->ptr, (size_t)(dot - rest->ptr));
    *rest = base_span_of(dot + 1, rest->len - out->len - 1);
    return true;
}

enum base_err jose_compact_object(struct base_span part, json_t **out)
{
    BASE_AUTO(base_buf_clear) struct base_buf text = {.max = part.len};
    const char *why;
    enum base_err err;

    *out = NULL;
    if (base_decode_base64url(&text, part) != BASE_OK)
        return BASE_INVALID;
    if ((err = base_json_parse(base_buf_span(&text), part.len, MAX_DEPTH, out, &why)) != BASE_OK)
        return err;
    if (json_typeof(*out) == JSON_OBJECT)
        return BASE_OK;
    json_decref(*out);
    *out = NULL;
    return BASE_INVALID;
}

enum base_err jose_compact_parse(struct base_span text, struct jose_compact *out)
{
    struct base_span rest = text, header;

    *out = (struct jose_compact){.signature = {.max = text.len}};
    if (!next_part(&rest, &header) || !next_part(&rest, &out->payload) || rest.len == 0)
        return BASE_INVALID;
    out->signed_text = base_span_of(text.ptr, header.len + 1 + out->payload.len);
    /* A fourth part would show here as a dot, which is no digit of base64url. */
    if (base_decode_base64url(&out->signature, rest) != BASE_OK)
        return BASE_INVALID;
    return jose_compact_object(header, &out->header);
}

void jose_compact_clear(struct jose_compact *compact)
{
    json_decref(compact->header);
    base_buf_clear(&compact->signature);
    *compact = (struct jose_compact){0};
}

enum base_err jose_member_string(const json_t *object, const char *name, struct base_span *out)
{
    const json_t *value = json_object_get(object, name);

    *out = (struct base_span){0};
    if (!value)
        return BASE_OK;
    if (json_typeof(value) != JSON_STRING)
        return BASE_INVALID;
    *out = base_span_of(json_string_value(value), json_string_length(value));
    return BASE_OK;
}
