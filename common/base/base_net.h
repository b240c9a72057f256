/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as bytes, and networks as people write them (RFC 4632, RFC 4291 §2.3). No I/O, no
 * names. Any thread. */
#ifndef BASE_NET_H
#define BASE_NET_H

#include "base_attr.h"
#include "base_err.h"
#include "base_span.h"

#include <stdint.h>

struct base_cidr {
    int family;        /* AF_INET or AF_INET6 */
    uint8_t bytes[16]; /* 4 of them for AF_INET */
    unsigned prefix;
};

/* "10.0.0.0/8", "2001:db8::/32"; without a prefix exactly one address. Host bits must be zero: with
 * them the writer meant something else. IPv4-mapped networks (::ffff:10.0.0.0/104) become IPv4. */
enum base_err base_cidr_parse(struct base_span text, struct base_cidr *out) BASE_MUST_USE;
/* An IPv4-mapped address is judged as the IPv4 address it stands for. */
bool base_cidr_contains(const struct base_cidr *cidr, int family, const uint8_t *address);

/* A listener on [::] shows an IPv4 client as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2). Turns such an
 * address into the IPv4 one inside it, and leaves every other as it is. */
void base_net_unmap(int *family, const uint8_t **address);

#endif
