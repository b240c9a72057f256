/* SPDX-License-Identifier: Apache-2.0 */
/* Networks as admins write them: what is accepted holds its own first address, and what it holds is
 * told by its prefix. */
#include "base_net.h"

#include <arpa/inet.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_cidr cidr;
    unsigned width;
    uint8_t other[16];

    if (base_cidr_parse(base_span_of((const char *)data, size), &cidr) != BASE_OK) {
        must(cidr.family == 0 && cidr.prefix == 0);
        return 0;
    }
    must(cidr.family == AF_INET || cidr.family == AF_INET6);
    width = cidr.family == AF_INET ? 32 : 128;
    must(cidr.prefix <= width);
    must(base_cidr_contains(&cidr, cidr.family, cidr.bytes));
    /* One bit changed: inside behind the prefix, outside before it. */
    for (unsigned bit = 0; bit < width; bit++) {
        int family = cidr.family;
        const uint8_t *address = other;

        memcpy(other, cidr.bytes, sizeof other);
        other[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
        base_net_unmap(&family, &address);
        if (family == cidr.family) /* else it has become an IPv4 address in IPv6 */
            must(base_cidr_contains(&cidr, cidr.family, other) == (bit >= cidr.prefix));
    }
    return 0;
}
