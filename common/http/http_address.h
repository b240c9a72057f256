/* SPDX-License-Identifier: Apache-2.0 */
/* IP addresses, networks and what to listen on, as values and as text. No names are resolved. Pure;
 * any thread. */
#ifndef HTTP_ADDRESS_H
#define HTTP_ADDRESS_H

#include "base_attr.h"
#include "base_err.h"
#include "base_net.h"

#include <netinet/in.h>
#include <stdint.h>

/* An IPv4 or IPv6 address; IPv4-mapped IPv6 is stored as IPv4. One that is not known has family 0:
 * it is in no network. */
struct http_address {
    int family; /* AF_INET, AF_INET6 or 0 */
    uint8_t bytes[16];
    uint16_t port;
};
#define HTTP_ADDRESS_TEXT_MAX 46
/* Without the port; "unknown" when there is no address. */
void http_address_format(const struct http_address *address, char out[HTTP_ADDRESS_TEXT_MAX]);
/* "10.0.0.1", "::1", "::ffff:10.0.0.1"; no port, no brackets, no zone. */
enum base_err http_address_parse(struct base_span text, struct http_address *out) BASE_MUST_USE;

/* What proxies write into X-Forwarded-For: an address, or one with the port it was called from;
 * IPv6 may stand in brackets, and with a port it must. Anything else (`unknown`, a name) is
 * BASE_INVALID, and *out has family 0. */
enum base_err http_forwarded_parse(struct base_span text, struct http_address *out) BASE_MUST_USE;

/* A network, for trusted proxies. */
struct http_cidr {
    struct base_cidr network;
};
/* "10.0.0.0/8", "::1"; host bits must be zero. */
enum base_err http_cidr_parse(struct base_span text, struct http_cidr *out) BASE_MUST_USE;
bool http_cidr_contains(const struct http_cidr *cidr, const struct http_address *address);

/* "127.0.0.1:8080", "[::]:8080", "localhost:80" (127.0.0.1, no other name); port 0 asks for a free
 * one. */
enum base_err http_listen_parse(struct base_span text, struct http_address *out) BASE_MUST_USE;

#endif
