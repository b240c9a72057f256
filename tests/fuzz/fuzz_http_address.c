/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, networks and listen addresses. What was accepted is written and read back unchanged.
 */
#include "http_address.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(what)                                                                              \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static bool are_equal(const struct http_address *a, const struct http_address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static void check_again(const struct http_address *address)
{
    char text[HTTP_ADDRESS_TEXT_MAX];
    struct http_address again;

    http_address_format(address, text);
    REQUIRE(http_address_parse(base_span_str(text), &again) == BASE_OK);
    REQUIRE(are_equal(address, &again));
}

static void check_address(struct base_span text)
{
    struct http_address address;
    struct http_cidr cidr;

    if (http_address_parse(text, &address) != BASE_OK) {
        REQUIRE(address.family == 0);
        return;
    }
    REQUIRE(address.port == 0);
    check_again(&address);
    REQUIRE(http_cidr_parse(text, &cidr) == BASE_OK); /* a network of one */
    REQUIRE(http_cidr_contains(&cidr, &address));
}

static void check_cidr(struct base_span text)
{
    struct http_cidr cidr;
    struct http_address address = {0};

    if (http_cidr_parse(text, &cidr) != BASE_OK) {
        REQUIRE(cidr.network.family == 0);
        return;
    }
    REQUIRE(cidr.network.prefix <= (cidr.network.family == AF_INET ? 32 : 128));
    address.family = cidr.network.family;
    memcpy(address.bytes, cidr.network.bytes, sizeof address.bytes);
    REQUIRE(http_cidr_contains(&cidr, &address));
    check_again(&address);
    if (cidr.network.prefix > 0) { /* its last fixed bit is all that has to differ */
        address.bytes[(cidr.network.prefix - 1) / 8] ^=
            (uint8_t)(0x80 >> (cidr.network.prefix - 1) % 8);
        REQUIRE(!http_cidr_contains(&cidr, &address));
    }
}

static void check_listen(struct base_span text)
{
    struct http_address address;

    if (http_listen_parse(text, &address) == BASE_OK)
        check_again(&address);
    else
        REQUIRE(address.family == 0);
}

/* A plain address means the same with and without what proxies may put around it. */
static void check_forwarded(struct base_span text)
{
    struct http_address address, plain;

    if (http_forwarded_parse(text, &address) != BASE_OK) {
        REQUIRE(address.family == 0);
        REQUIRE(http_address_parse(text, &plain) != BASE_OK);
        return;
    }
    check_again(&address);
    if (http_address_parse(text, &plain) == BASE_OK)
        REQUIRE(are_equal(&address, &plain));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_span text = {(const char *)data, size};

    check_address(text);
    check_cidr(text);
    check_listen(text);
    check_forwarded(text);
    return 0;
}
