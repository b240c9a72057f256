/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3986, Appendix A, from left to right: scheme, then what is behind `?`, then authority and
 * path.
 * `#` is in no part's alphabet, so a fragment is refused wherever it hides. */
#include "policy_uri.h"

#include "base_net.h"

/* ASCII only, whatever the locale. */
static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* unreserved / sub-delims, which every part may hold */
static bool is_common(char c)
{
    return is_alpha(c) || is_digit(c) || is_one_of(c, "-._~!$&'()*+,;=");
}

/* Only common characters, percent-encoded bytes and those of `extra`. */
static bool consists_of(struct base_span text, const char *extra)
{
    for (size_t i = 0; i < text.len; i++) {
        if (is_common(text.ptr[i]) || is_one_of(text.ptr[i], extra))
            continue;
        if (text.ptr[i] != '%' || text.len - i < 3 || !is_hex(text.ptr[i + 1]) ||
            !is_hex(text.ptr[i + 2]))
            return false;
        i += 2;
    }
    return true;
}

/* Cuts `*text` at the first `mark`, which goes away; what was behind it is returned, empty when
 * there is no mark. */
static struct base_span cut(struct base_span *text, char mark)
{
    const char *at = text->len ? memchr(text->ptr, mark, text->len) : NULL;
    struct base_span behind = {0};

    if (at) {
        size_t before = (size_t)(at - text->ptr);

        behind = base_span_of(at + 1, text->len - before - 1);
        text->len = before;
    }
    return behind;
}

static bool is_scheme(struct base_span text)
{
    if (text.len == 0 || !is_alpha(text.ptr[0]))
        return false;
    for (size_t i = 1; i < text.len; i++)
        if (!is_alpha(text.ptr[i]) && !is_digit(text.ptr[i]) && !is_one_of(text.ptr[i], "+-."))
            return false;
    return true;
}

static bool is_port(struct base_span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_digit(text.ptr[i]))
            return false;
    return true;
}

/* "[2001:db8::1]:8443", cut behind its "[". IPvFuture has never come. */
static bool is_bracketed(struct base_span text)
{
    struct base_span behind = cut(&text, ']');
    struct base_cidr address;

    /* An empty rest is either "[…]" or a "]" that is missing: the address must end where it lay. */
    if (behind.ptr == NULL || !memchr(text.ptr, ':', text.len) ||
        base_cidr_parse(text, &address) != BASE_OK)
        return false;
    return behind.len == 0 ||
           (behind.ptr[0] == ':' && is_port(base_span_of(behind.ptr + 1, behind.len - 1)));
}

static bool is_authority(struct base_span text, bool host_needed)
{
    struct base_span user = text, port;
    struct base_span host = cut(&user, '@');

    if (!host.ptr) /* no user: all of it is the host */
        host = text;
    else if (!consists_of(user, ":"))
        return false;
    if (host.len && host.ptr[0] == '[')
        return is_bracketed(base_span_of(host.ptr + 1, host.len - 1));
    port = cut(&host, ':');
    return consists_of(host, "") && is_port(port) && (host.len > 0 || !host_needed);
}

static bool is_hierarchy(struct base_span text, bool is_http)
{
    struct base_span authority, path;

    if (!base_span_starts(text, BASE_SPAN("//")))
        return !is_http && consists_of(text, ":@/");
    authority = base_span_of(text.ptr + 2, text.len - 2);
    path = cut(&authority, '/');
    return is_authority(authority, is_http) && consists_of(path, ":@/");
}

bool policy_uri_is_absolute(struct base_span text)
{
    struct base_span scheme = text;
    struct base_span rest = cut(&scheme, ':');
    struct base_span query = cut(&rest, '?');
    bool is_http = base_span_eq_nocase(scheme, BASE_SPAN("http")) ||
                   base_span_eq_nocase(scheme, BASE_SPAN("https"));

    return scheme.len < text.len && is_scheme(scheme) && consists_of(query, ":@/?") &&
           is_hierarchy(rest, is_http);
}
