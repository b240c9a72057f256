/* SPDX-License-Identifier: Apache-2.0 */
/* The router walks its table from the top: a table of some dozens of lines needs no tree, and the
 * busiest route comes first. */
#include "http_router.h"

#include "base_encode.h"

#include <assert.h>

/* The segment at the start, up to the next slash. */
static struct base_span first_segment(struct base_span path)
{
    const char *slash = path.len ? memchr(path.ptr, '/', path.len) : NULL;

    return base_span_of(path.ptr, slash ? (size_t)(slash - path.ptr) : path.len);
}

/* `params` is written to as it goes, also when the path turns out not to match. */
static bool match_path(const char *pattern, struct base_span path,
                       struct base_span params[HTTP_MAX_PARAMS])
{
    size_t at = 0, n_params = 0;

    memset(params, 0, HTTP_MAX_PARAMS * sizeof *params);
    while (*pattern) {
        if (pattern[0] == '{' && pattern[1] == '}') {
            struct base_span segment = first_segment(base_span_of(path.ptr + at, path.len - at));

            assert(n_params < HTTP_MAX_PARAMS);
            if (segment.len == 0 || !base_utf8_valid(segment))
                return false;
            params[n_params++] = segment;
            at += segment.len;
            pattern += 2;
        } else if (at == path.len || path.ptr[at++] != *pattern++) {
            return false;
        }
    }
    return at == path.len;
}

static void add_name(char *list, size_t size, const char *name)
{
    size_t used = strlen(list), len = strlen(name);
    size_t comma = used ? 2 : 0;

    if (used + comma + len >= size)
        return; /* whole names only */
    memcpy(list + used, ", ", comma);
    memcpy(list + used + comma, name, len + 1);
}

/* `seen`: one bit for each method that is in the list already. */
static void add_method(char *allow, size_t allow_size, enum http_method method, unsigned *seen)
{
    if (*seen & 1U << method)
        return;
    *seen |= 1U << method;
    add_name(allow, allow_size, http_method_name(method));
    if (method == HTTP_GET)
        add_name(allow, allow_size, http_method_name(HTTP_HEAD));
}

enum http_match http_router_match(const struct http_route *routes, size_t n_routes, unsigned mask,
                                  enum http_method method, struct base_span path,
                                  const struct http_route **out,
                                  struct base_span params[HTTP_MAX_PARAMS], char *allow,
                                  size_t allow_size)
{
    struct base_span found[HTTP_MAX_PARAMS];
    unsigned seen = 0;

    assert(allow_size > 0);
    *out = NULL;
    allow[0] = '\0';
    memset(params, 0, HTTP_MAX_PARAMS * sizeof *params);
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (const struct http_route *route = routes; route < routes + n_routes; route++) {
        if (!(route->flags & mask) || !match_path(route->path, path, found))
            continue;
        if (route->method == method) {
            memcpy(params, found, sizeof found);
            allow[0] = '\0';
            *out = route;
            return HTTP_MATCH_FOUND;
        }
        add_method(allow, allow_size, route->method, &seen);
        if (!*out)
            *out = route;
    }
    return *out ? HTTP_MATCH_NO_METHOD : HTTP_MATCH_NO_PATH;
}
