/* SPDX-License-Identifier: Apache-2.0 */
/* inet_pton() does the hard part, strictly: four decimal numbers without leading zeros, no zone. */
#include "base_net.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define V4_BITS     32
#define V6_BITS     128
#define MAPPED_BITS 96 /* of ::ffff:0:0/96 */
#define MAPPED_LEN  (MAPPED_BITS / 8)

void base_net_unmap(int *family, const uint8_t **address)
{
    static const uint8_t mapped[MAPPED_LEN] = {[10] = 0xff, [11] = 0xff};

    if (*family != AF_INET6 || memcmp(*address, mapped, sizeof mapped) != 0)
        return;
    *family = AF_INET;
    *address += MAPPED_LEN;
}

/* The number behind the slash: decimal, without leading zeros. */
static bool parse_prefix(struct base_span text, unsigned max, unsigned *out)
{
    unsigned value = 0;

    if (text.len == 0 || text.len > 3 || (text.len > 1 && text.ptr[0] == '0'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    }
    *out = value;
    return value <= max;
}

static bool parse_address(struct base_span text, struct base_cidr *out)
{
    char copy[INET6_ADDRSTRLEN];

    /* Behind a NUL inet_pton() would not see the rest. */
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, '\0', text.len))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    out->family = memchr(copy, ':', text.len) ? AF_INET6 : AF_INET;
    out->prefix = out->family == AF_INET ? V4_BITS : V6_BITS;
    return inet_pton(out->family, copy, out->bytes) == 1;
}

/* Which bits of byte `at` belong to the network. */
static uint8_t network_bits(unsigned prefix, size_t at)
{
    size_t before = at * 8;

    if (prefix >= before + 8)
        return 0xff;
    return (uint8_t)(prefix <= before ? 0 : 0xff << (8 - (prefix - before)));
}

static bool has_host_bits(const struct base_cidr *cidr)
{
    for (size_t i = 0; i < sizeof cidr->bytes; i++)
        if (cidr->bytes[i] & (uint8_t)~network_bits(cidr->prefix, i))
            return true;
    return false;
}

/* A mapped network has at least 96 bits: with fewer, those of ::ffff are host bits. */
static void unmap(struct base_cidr *cidr)
{
    const uint8_t *address = cidr->bytes;
    uint8_t v4[4];

    base_net_unmap(&cidr->family, &address);
    if (address == cidr->bytes)
        return;
    memcpy(v4, address, sizeof v4);
    memset(cidr->bytes, 0, sizeof cidr->bytes);
    memcpy(cidr->bytes, v4, sizeof v4);
    cidr->prefix -= MAPPED_BITS;
}

enum base_err base_cidr_parse(struct base_span text, struct base_cidr *out)
{
    const char *slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
    size_t before = slash ? (size_t)(slash - text.ptr) : text.len;
    struct base_cidr cidr = {0};

    *out = cidr;
    if (!parse_address(base_span_of(text.ptr, before), &cidr) ||
        (slash && !parse_prefix(base_span_of(slash + 1, text.len - before - 1), cidr.prefix,
                                &cidr.prefix)) ||
        has_host_bits(&cidr))
        return BASE_INVALID;
    unmap(&cidr);
    *out = cidr;
    return BASE_OK;
}

bool base_cidr_contains(const struct base_cidr *cidr, int family, const uint8_t *address)
{
    size_t whole = cidr->prefix / 8;

    base_net_unmap(&family, &address);
    if (family != cidr->family || memcmp(address, cidr->bytes, whole) != 0)
        return false;
    if (cidr->prefix % 8 == 0)
        return true;
    return ((address[whole] ^ cidr->bytes[whole]) & network_bits(cidr->prefix, whole)) == 0;
}
