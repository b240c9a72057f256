/* SPDX-License-Identifier: Apache-2.0 */
/* Forms, credentials, media types and entity tags: small grammars, each read from left to right by
 * cutting pieces off the front of a span. */
#include "http_form.h"

#include "base_encode.h"
#include "http_char.h"

static struct base_span skip(struct base_span text, size_t len)
{
    return len ? base_span_of(text.ptr + len, text.len - len) : text; /* NULL + 0 is undefined */
}

/* Cuts off and returns what stands before the first `c` (all, when there is none), and drops the
 * `c`; *found tells whether there was one. */
static struct base_span cut(struct base_span *text, char c, bool *found)
{
    const char *at = text->len ? memchr(text->ptr, c, text->len) : NULL;
    struct base_span head = {text->ptr, at ? (size_t)(at - text->ptr) : text->len};

    *found = at != NULL;
    *text = skip(*text, head.len + *found);
    return head;
}

/* Cuts `c` off the front; false when another byte is there. */
static bool take(struct base_span *text, char c)
{
    if (text->len == 0 || text->ptr[0] != c)
        return false;
    *text = skip(*text, 1);
    return true;
}

static void skip_blanks(struct base_span *text)
{
    while (take(text, ' ') || take(text, '\t'))
        ;
}

/* Forms */

/* One name or value, appended to storage. */
static enum base_err decode(struct base_span text, struct base_buf *storage, struct base_span *out)
{
    size_t start = storage->len;
    enum base_err err = base_decode_percent(storage, text, true);

    if (err != BASE_OK)
        return err;
    *out = base_span_of(storage->ptr + start, storage->len - start);
    return base_utf8_valid(*out) ? BASE_OK : BASE_INVALID; /* a raw NUL is bad as well */
}

static enum base_err parse_pair(struct base_span text, struct base_buf *storage,
                                struct http_form *form)
{
    struct http_form_pair pair;
    struct base_span name;
    enum base_err err;
    bool found;

    if (form->n_pairs == HTTP_FORM_MAX_PAIRS)
        return BASE_TOO_LARGE;
    name = cut(&text, '=', &found);
    if ((err = decode(name, storage, &pair.name)) != BASE_OK)
        return err;
    if ((err = decode(text, storage, &pair.value)) != BASE_OK)
        return err;
    form->pairs[form->n_pairs++] = pair;
    return BASE_OK;
}

enum base_err http_form_parse(struct base_span text, struct base_buf *storage,
                              struct http_form *out)
{
    bool more = true;

    out->n_pairs = 0;
    /* All room at once: were the buffer to grow later, the spans would point into freed memory. */
    if (!base_buf_reserve(storage, text.len))
        return BASE_TOO_LARGE;
    while (more) {
        struct base_span pair = cut(&text, '&', &more);
        enum base_err err = pair.len ? parse_pair(pair, storage, out) : BASE_OK;

        if (err != BASE_OK) {
            out->n_pairs = 0;
            return err;
        }
    }
    return BASE_OK;
}

const struct base_span *http_form_get(const struct http_form *form, struct base_span name)
{
    for (size_t i = 0; i < form->n_pairs; i++)
        if (base_span_eq(form->pairs[i].name, name))
            return &form->pairs[i].value;
    return NULL;
}

bool http_form_has_duplicate(const struct http_form *form, struct base_span except)
{
    for (size_t i = 1; i < form->n_pairs; i++) {
        struct base_span name = form->pairs[i].name;

        if (base_span_eq(name, except) && except.len)
            continue;
        if (http_form_get(form, name) != &form->pairs[i].value)
            return true;
    }
    return false;
}

/* Credentials, RFC 9110 §11.4 */

/* The token68 behind the scheme. Spaces at the end were trimmed with the header's value. */
static enum base_err parse_token68(struct base_span authorization, struct base_span scheme,
                                   struct base_span *out)
{
    size_t len = http_char_run(authorization, HTTP_CHAR_TOKEN);
    struct base_span rest = skip(authorization, len);
    struct base_span token;

    if (!base_span_eq_nocase(base_span_of(authorization.ptr, len), scheme))
        return BASE_NOT_FOUND;
    if (!take(&rest, ' '))
        return BASE_INVALID;
    while (take(&rest, ' '))
        ;
    token = rest;
    len = http_char_run(rest, HTTP_CHAR_TOKEN68);
    rest = skip(rest, len);
    while (take(&rest, '='))
        ;
    if (len == 0 || rest.len)
        return BASE_INVALID;
    *out = token;
    return BASE_OK;
}

enum base_err http_bearer_parse(struct base_span authorization, struct base_span *out)
{
    *out = (struct base_span){0};
    return parse_token68(authorization, BASE_SPAN("Bearer"), out);
}

/* Base64 with or without its padding, appended to storage. */
static enum base_err decode_base64(struct base_span text, struct base_buf *storage)
{
    size_t rest = text.len % 4;
    char last[4] = "====";
    enum base_err err;

    if (rest == 0)
        return base_decode_base64(storage, text);
    if (text.ptr[text.len - 1] == '=') /* half a padding */
        return BASE_INVALID;
    memcpy(last, text.ptr + text.len - rest, rest);
    err = base_decode_base64(storage, base_span_of(text.ptr, text.len - rest));
    return err == BASE_OK ? base_decode_base64(storage, base_span_of(last, sizeof last)) : err;
}

static enum base_err parse_basic(struct base_span token, struct base_buf *storage,
                                 struct http_basic *out)
{
    size_t start = storage->len;
    struct base_span pair, id;
    enum base_err err;
    bool has_colon;

    /* No growing later on: the decoded pair is decoded once more, from and into the same bytes. */
    if (!base_buf_reserve(storage, token.len))
        return BASE_TOO_LARGE;
    if ((err = decode_base64(token, storage)) != BASE_OK)
        return err;
    pair = base_span_of(storage->ptr + start, storage->len - start);
    id = cut(&pair, ':', &has_colon);
    if (!has_colon)
        return BASE_INVALID;
    /* In place: decoded text is never longer, so what is written stays behind what is still to be
     * read. */
    storage->len = start;
    if ((err = decode(id, storage, &out->id)) != BASE_OK)
        return err;
    return decode(pair, storage, &out->secret);
}

enum base_err http_basic_parse(struct base_span authorization, struct base_buf *storage,
                               struct http_basic *out)
{
    struct base_span token;
    struct http_basic basic;
    enum base_err err;

    *out = (struct http_basic){0};
    if ((err = parse_token68(authorization, BASE_SPAN("Basic"), &token)) != BASE_OK)
        return err;
    if ((err = parse_basic(token, storage, &basic)) == BASE_OK)
        *out = basic;
    return err;
}

/* Media types, RFC 9110 §8.3.1 */

static struct base_span take_token(struct base_span *text)
{
    struct base_span token = {text->ptr, http_char_run(*text, HTTP_CHAR_TOKEN)};

    *text = skip(*text, token.len);
    return token;
}

/* RFC 9110 §5.6.4; *out is what stands between the quotes, escapes and all. */
static bool take_quoted(struct base_span *text, struct base_span *out)
{
    size_t len = 1;

    while (len < text->len && text->ptr[len] != '"') {
        len += text->ptr[len] == '\\';
        if (len == text->len || !http_char_is(text->ptr[len], HTTP_CHAR_TEXT))
            return false;
        len++;
    }
    if (len >= text->len)
        return false;
    *out = base_span_of(text->ptr + 1, len - 1);
    *text = skip(*text, len + 1);
    return true;
}

/* token "=" ( token / quoted-string ), without spaces around the `=`. */
static bool take_parameter(struct base_span *text, struct http_form_pair *out)
{
    out->name = take_token(text);
    if (out->name.len == 0 || !take(text, '='))
        return false;
    if (text->len && text->ptr[0] == '"')
        return take_quoted(text, &out->value);
    out->value = take_token(text);
    return out->value.len > 0;
}

static bool is_foreign_charset(const struct http_form_pair *parameter)
{
    return base_span_eq_nocase(parameter->name, BASE_SPAN("charset")) &&
           !base_span_eq_nocase(parameter->value, BASE_SPAN("utf-8"));
}

/* *( OWS ";" OWS [ parameter ] ), all of the text. */
static bool are_parameters_fine(struct base_span text)
{
    skip_blanks(&text);
    while (text.len) {
        struct http_form_pair parameter;

        if (!take(&text, ';'))
            return false;
        skip_blanks(&text);
        if (text.len == 0 || text.ptr[0] == ';')
            continue;
        if (!take_parameter(&text, &parameter) || is_foreign_charset(&parameter))
            return false;
        skip_blanks(&text);
    }
    return true;
}

bool http_media_type_is(struct base_span content_type, struct base_span type)
{
    if (content_type.len < type.len ||
        !base_span_eq_nocase(base_span_of(content_type.ptr, type.len), type))
        return false;
    return are_parameters_fine(skip(content_type, type.len));
}

/* Entity tags, RFC 9110 §8.8.3 */

struct etag {
    bool is_weak;
    struct base_span opaque;
};

static bool take_etag(struct base_span *text, struct etag *out)
{
    size_t len = 0;

    out->is_weak = base_span_starts(*text, BASE_SPAN("W/"));
    *text = skip(*text, out->is_weak ? 2 : 0);
    if (!take(text, '"'))
        return false;
    while (len < text->len && text->ptr[len] != '"' && text->ptr[len] != ' ' &&
           http_char_is(text->ptr[len], HTTP_CHAR_TEXT) && text->ptr[len] != '\t')
        len++;
    out->opaque = base_span_of(text->ptr, len);
    *text = skip(*text, len);
    return take(text, '"');
}

static bool are_equal(const struct etag *a, const struct etag *b, bool weak)
{
    return base_span_eq(a->opaque, b->opaque) && (weak || !(a->is_weak || b->is_weak));
}

/* Commas and blanks; empty elements are nothing, RFC 9110 §5.6.1.2. */
static bool skip_separator(struct base_span *list)
{
    bool found = false;

    skip_blanks(list);
    while (take(list, ',')) {
        found = true;
        skip_blanks(list);
    }
    return found || list->len == 0;
}

bool http_etag_matches(struct base_span list, struct base_span etag, bool weak, bool *valid)
{
    struct etag ours, theirs;
    bool matches = false;
    size_t count = 0;

    *valid = true;
    if (base_span_eq(list, BASE_SPAN("*")))
        return true;
    *valid = take_etag(&etag, &ours);
    (void)skip_separator(&list);
    for (; *valid && list.len; count++) {
        *valid = take_etag(&list, &theirs) && skip_separator(&list);
        matches |= *valid && are_equal(&ours, &theirs, weak);
    }
    *valid &= count > 0;
    return *valid && matches;
}
