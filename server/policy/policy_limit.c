/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table in 64 stripes. An address's own bucket and those of its pairs with key IDs are in
 * one stripe, so that a check takes one lock, and one address can crowd out few others. Buckets are
 * known by a keyed 64-bit hash alone: two subjects that share one by chance (once in 10^10 full
 * tables) share a limit, and nobody can bring it about without the key. */
#include "policy_limit.h"

#include "base_clock.h"
#include "base_hash.h"
#include "base_mem.h"
#include "base_net.h"
#include "base_secret.h"

#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#define N_STRIPES      64
#define STRIPE_SHIFT   58 /* the top six bits of an address's hash */
#define MIN_ENTRIES    1024
#define MAX_ENTRIES    (1U << 28) /* indexes are 32 bits */
#define ADDRESS_FACTOR 10

struct entry {
    uint64_t id;
    int64_t at_us;
    uint32_t next; /* index and one; 0 ends the chain */
};

struct stripe {
    pthread_mutex_t lock;
    _Atomic int64_t latest_us; /* no bucket in here has a later time: then nobody has to wait */
    uint32_t n_used;
    uint32_t hand; /* where to look first for one that gives way */
    uint32_t *heads;
    struct entry *entries;
};

struct policy_limit {
    struct stripe stripes[N_STRIPES];
    int64_t per_minute;
    struct base_hash_key key;
    uint32_t size; /* entries, and heads, of a stripe: a power of two */
    uint32_t *all_heads;
    struct entry *all_entries;
};

/* --- the arithmetic: Generic Cell Rate Algorithm --- */

static int64_t step_us(int64_t per_minute)
{
    return BASE_US_PER_MIN / per_minute;
}

int64_t policy_limit_wait_us(int64_t at_us, int64_t per_minute, int64_t mono_us)
{
    /* One step less than a minute, so that exactly per_minute failures fit into a fresh bucket. */
    int64_t wait_us = at_us - step_us(per_minute) * (per_minute - 1) - mono_us;

    return wait_us > 0 ? wait_us : 0;
}

int64_t policy_limit_count(int64_t at_us, int64_t per_minute, int64_t mono_us)
{
    int64_t empty_us = mono_us + step_us(per_minute) * per_minute;
    int64_t next_us = (at_us > mono_us ? at_us : mono_us) + step_us(per_minute);

    /* Never beyond empty: a thousand failures under way at once must not lock an address for hours.
     */
    return next_us < empty_us ? next_us : empty_us;
}

/* --- the table --- */

static size_t round_up(size_t entries)
{
    size_t size = MIN_ENTRIES;

    while (size < entries)
        size *= 2;
    return size;
}

struct policy_limit *policy_limit_new(int64_t per_minute, size_t entries)
{
    struct policy_limit *limit = base_calloc(1, sizeof *limit);

    assert(per_minute >= 0 && entries <= MAX_ENTRIES);
    limit->per_minute = per_minute;
    limit->size = (uint32_t)(round_up(entries) / N_STRIPES);
    base_random(&limit->key, sizeof limit->key);
    limit->all_heads = base_calloc((size_t)limit->size * N_STRIPES, sizeof *limit->all_heads);
    limit->all_entries = base_calloc((size_t)limit->size * N_STRIPES, sizeof *limit->all_entries);
    for (size_t i = 0; i < N_STRIPES; i++) {
        pthread_mutex_init(&limit->stripes[i].lock, NULL);
        limit->stripes[i].heads = limit->all_heads + i * limit->size;
        limit->stripes[i].entries = limit->all_entries + i * limit->size;
    }
    return limit;
}

void policy_limit_free(struct policy_limit **limit)
{
    struct policy_limit *mine = *limit;

    *limit = NULL;
    if (!mine)
        return;
    for (size_t i = 0; i < N_STRIPES; i++)
        pthread_mutex_destroy(&mine->stripes[i].lock);
    base_free(&mine->all_heads);
    base_free(&mine->all_entries);
    base_free(&mine);
}

/* Who has one IPv6 address has its whole /64, RFC 6177. */
static uint64_t address_id(const struct policy_limit *limit,
                           const struct policy_limit_subject *subject)
{
    const uint8_t *address = subject->address;
    int family = subject->family;
    char text[1 + 8] = {0};
    size_t len = 0;

    base_net_unmap(&family, &address);
    if (family == AF_INET)
        len = 4;
    else if (family == AF_INET6)
        len = 8;
    text[0] = (char)len; /* the kind: 1.2.3.4 is not the beginning of an IPv6 address */
    if (len)
        memcpy(text + 1, address, len);
    return base_hash(&limit->key, base_span_of(text, 1 + len));
}

static uint64_t pair_id(const struct policy_limit *limit, uint64_t address, struct base_span key_id)
{
    uint64_t both[] = {address, base_hash(&limit->key, key_id)};

    return base_hash(&limit->key, base_span_of((const char *)both, sizeof both));
}

static uint32_t *chain_of(const struct policy_limit *limit, struct stripe *stripe, uint64_t id)
{
    return &stripe->heads[id & (limit->size - 1)];
}

static struct entry *find(const struct policy_limit *limit, struct stripe *stripe, uint64_t id)
{
    for (uint32_t at = *chain_of(limit, stripe, id); at; at = stripe->entries[at - 1].next)
        if (stripe->entries[at - 1].id == id)
            return &stripe->entries[at - 1];
    return NULL;
}

static void unlink_entry(const struct policy_limit *limit, struct stripe *stripe, uint32_t index)
{
    uint32_t *link = chain_of(limit, stripe, stripe->entries[index].id);

    while (*link != index + 1)
        link = &stripe->entries[*link - 1].next;
    *link = stripe->entries[index].next;
}

/* At worst a look at all of them: some microseconds, for a new bucket in a stripe full of recent
 * ones. Among equals it goes round, or an address's bucket would push out the pair's that was made
 * just before it. */
static uint32_t nearest_to_recovered(const struct policy_limit *limit, struct stripe *stripe,
                                     int64_t mono_us)
{
    uint32_t nearest = stripe->hand;

    for (uint32_t i = 1; i < limit->size && stripe->entries[nearest].at_us > mono_us; i++) {
        uint32_t index = (stripe->hand + i) & (limit->size - 1);

        if (stripe->entries[index].at_us < stripe->entries[nearest].at_us)
            nearest = index;
    }
    stripe->hand = (nearest + 1) & (limit->size - 1);
    return nearest;
}

static struct entry *add(const struct policy_limit *limit, struct stripe *stripe, uint64_t id,
                         int64_t mono_us)
{
    uint32_t *head = chain_of(limit, stripe, id);
    uint32_t index;

    if (stripe->n_used < limit->size) {
        index = stripe->n_used++;
    } else {
        index = nearest_to_recovered(limit, stripe, mono_us);
        unlink_entry(limit, stripe, index);
    }
    stripe->entries[index] = (struct entry){.id = id, .next = *head};
    *head = index + 1;
    return &stripe->entries[index];
}

static int64_t wait_us(const struct policy_limit *limit, struct stripe *stripe, uint64_t id,
                       int64_t per_minute, int64_t mono_us)
{
    const struct entry *entry = find(limit, stripe, id);

    return entry ? policy_limit_wait_us(entry->at_us, per_minute, mono_us) : 0;
}

/* How long it would have had to wait, before it was counted. */
static int64_t count(const struct policy_limit *limit, struct stripe *stripe, uint64_t id,
                     int64_t per_minute, int64_t mono_us)
{
    struct entry *entry = find(limit, stripe, id);
    int64_t wait;

    if (!entry)
        entry = add(limit, stripe, id, mono_us);
    wait = policy_limit_wait_us(entry->at_us, per_minute, mono_us);
    entry->at_us = policy_limit_count(entry->at_us, per_minute, mono_us);
    if (entry->at_us > atomic_load(&stripe->latest_us))
        atomic_store(&stripe->latest_us, entry->at_us);
    return wait;
}

static int64_t seconds_of_longer(int64_t a_us, int64_t b_us)
{
    int64_t longer_us = a_us > b_us ? a_us : b_us;

    return (longer_us + BASE_US_PER_S - 1) / BASE_US_PER_S;
}

int64_t policy_limit_check(struct policy_limit *limit, const struct policy_limit_subject *subject,
                           int64_t mono_us)
{
    uint64_t address, pair;
    struct stripe *stripe;
    int64_t by_pair, by_address;

    if (limit->per_minute == 0)
        return 0;
    address = address_id(limit, subject);
    stripe = &limit->stripes[address >> STRIPE_SHIFT];
    if (atomic_load(&stripe->latest_us) <= mono_us)
        return 0;
    pair = pair_id(limit, address, subject->key_id);
    pthread_mutex_lock(&stripe->lock);
    by_pair = wait_us(limit, stripe, pair, limit->per_minute, mono_us);
    by_address = wait_us(limit, stripe, address, limit->per_minute * ADDRESS_FACTOR, mono_us);
    pthread_mutex_unlock(&stripe->lock);
    return seconds_of_longer(by_pair, by_address);
}

int64_t policy_limit_failed(struct policy_limit *limit, const struct policy_limit_subject *subject,
                            int64_t mono_us)
{
    uint64_t address, pair;
    struct stripe *stripe;
    int64_t by_pair, by_address;

    if (limit->per_minute == 0)
        return 0;
    address = address_id(limit, subject);
    pair = pair_id(limit, address, subject->key_id);
    stripe = &limit->stripes[address >> STRIPE_SHIFT];
    pthread_mutex_lock(&stripe->lock);
    by_pair = count(limit, stripe, pair, limit->per_minute, mono_us);
    by_address = count(limit, stripe, address, limit->per_minute * ADDRESS_FACTOR, mono_us);
    pthread_mutex_unlock(&stripe->lock);
    return seconds_of_longer(by_pair, by_address);
}
