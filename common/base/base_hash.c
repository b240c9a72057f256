/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4, as the paper's §2 has it. */
#include "base_hash.h"

static uint64_t rotate(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

static void half_round(uint64_t *a, uint64_t *b, unsigned bits_b, uint64_t *c, uint64_t *d,
                       unsigned bits_d)
{
    *a += *b;
    *c += *d;
    *b = rotate(*b, bits_b) ^ *a;
    *d = rotate(*d, bits_d) ^ *c;
    *a = rotate(*a, 32);
}

static void rounds(uint64_t v[4], int count)
{
    while (count-- > 0) {
        half_round(&v[0], &v[1], 13, &v[2], &v[3], 16);
        half_round(&v[2], &v[1], 17, &v[0], &v[3], 21);
    }
}

static void absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    rounds(v, 2);
    v[0] ^= word;
}

/* Little-endian, at most eight bytes. */
static uint64_t load(const char *bytes, size_t len)
{
    uint64_t word = 0;

    while (len-- > 0)
        word = word << 8 | (uint8_t)bytes[len];
    return word;
}

uint64_t base_hash(const struct base_hash_key *key, struct base_span data)
{
    uint64_t v[4] = {
        key->words[0] ^ UINT64_C(0x736f6d6570736575),
        key->words[1] ^ UINT64_C(0x646f72616e646f6d),
        key->words[0] ^ UINT64_C(0x6c7967656e657261),
        key->words[1] ^ UINT64_C(0x7465646279746573),
    };
    const char *rest = data.len ? data.ptr : "";
    size_t left = data.len;

    for (; left >= 8; rest += 8, left -= 8)
        absorb(v, load(rest, 8));
    absorb(v, (uint64_t)data.len << 56 | load(rest, left));
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
