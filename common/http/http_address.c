/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as peers, proxies and listeners have them. An address is read as the network of one
 * that it is, so that base_net.c alone knows what they look like. */
#include "http_address.h"

#include "base_buf.h"
#include "http_char.h"

#include <arpa/inet.h>

/* Every line of the log has an address, and inet_ntop() goes through snprintf(). */
static void format_v4(const uint8_t bytes[4], char out[HTTP_ADDRESS_TEXT_MAX])
{
    struct base_buf text;

    base_buf_init_fixed(&text, out, HTTP_ADDRESS_TEXT_MAX);
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            base_buf_put_char(&text, '.');
        base_buf_put_u64(&text, bytes[i]);
    }
    base_buf_cstr(&text);
}

void http_address_format(const struct http_address *address, char out[HTTP_ADDRESS_TEXT_MAX])
{
    if (address->family == AF_INET)
        format_v4(address->bytes, out);
    else if (!inet_ntop(address->family, address->bytes, out, HTTP_ADDRESS_TEXT_MAX))
        strcpy(out, "unknown");
}

enum base_err http_address_parse(struct base_span text, struct http_address *out)
{
    struct base_cidr one;

    *out = (struct http_address){0};
    if (text.len == 0 || memchr(text.ptr, '/', text.len) || base_cidr_parse(text, &one) != BASE_OK)
        return BASE_INVALID;
    out->family = one.family;
    memcpy(out->bytes, one.bytes, sizeof out->bytes);
    return BASE_OK;
}

enum base_err http_cidr_parse(struct base_span text, struct http_cidr *out)
{
    return base_cidr_parse(text, &out->network);
}

bool http_cidr_contains(const struct http_cidr *cidr, const struct http_address *address)
{
    return base_cidr_contains(&cidr->network, address->family, address->bytes);
}

/* A decimal number as people write it: no sign, no leading zeros. */
static bool parse_port(struct base_span text, uint16_t *out)
{
    unsigned value = 0;

    if (text.len == 0 || text.len > 5 || !http_char_all(text, HTTP_CHAR_DIGIT) ||
        (text.len > 1 && text.ptr[0] == '0'))
        return false;
    for (size_t i = 0; i < text.len; i++)
        value = value * 10 + http_char_hex(text.ptr[i]);
    *out = (uint16_t)value;
    return value <= UINT16_MAX;
}

/* The part before the port: an IPv4 address, or an IPv6 address in brackets. */
static enum base_err parse_host(struct base_span host, struct http_address *out)
{
    bool bracketed = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';

    if (bracketed)
        host = base_span_of(host.ptr + 1, host.len - 2);
    if (bracketed != (host.len > 0 && memchr(host.ptr, ':', host.len)))
        return BASE_INVALID;
    return http_address_parse(host, out);
}

/* `localhost` stands for 127.0.0.1 where we listen; a proxy that says so names nobody. */
static enum base_err parse_host_port(struct base_span text, bool localhost,
                                     struct http_address *out)
{
    const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
    struct http_address address;
    struct base_span host;

    *out = (struct http_address){0};
    if (!colon)
        return BASE_INVALID;
    host = base_span_of(text.ptr, (size_t)(colon - text.ptr));
    text = base_span_of(colon + 1, text.len - host.len - 1);
    if (localhost && base_span_eq_nocase(host, BASE_SPAN("localhost")))
        host = BASE_SPAN("127.0.0.1");
    if (parse_host(host, &address) != BASE_OK || !parse_port(text, &address.port))
        return BASE_INVALID;
    *out = address;
    return BASE_OK;
}

enum base_err http_listen_parse(struct base_span text, struct http_address *out)
{
    return parse_host_port(text, true, out);
}

enum base_err http_forwarded_parse(struct base_span text, struct http_address *out)
{
    if (http_address_parse(text, out) == BASE_OK || parse_host(text, out) == BASE_OK)
        return BASE_OK;
    return parse_host_port(text, false, out);
}
