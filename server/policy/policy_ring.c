/* SPDX-License-Identifier: Apache-2.0 */
/* Two halves: the snapshot, built once from the table's rows and never changed, and the rules of
 * rotation, which see nothing but states and times. */
#include "policy_ring.h"

#include "base_attr.h"
#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MAX_PRIVATE  16384        /* PKCS #8 of RSA 8192 is under 5 KiB */
#define MAX_JWKS     (256U << 10) /* a thousand keys: somebody rotates in a loop */
#define ETAG_BYTES   16           /* of a SHA-256 */
#define MAX_JUMP_US  (5 * BASE_US_PER_S)
#define OVERDUE_US   BASE_US_PER_H
#define SEAL_CONTEXT "signing_key:"

struct policy_ring {
    atomic_uint refs;
    struct base_buf jwks, etag;
    size_t count;
    struct policy_ring_key keys[];
};

/* --- building a snapshot --- */

/* The master keys that are missing, each once, and how many rows need one of them. */
static size_t name_missing(const struct store_signing_key *rows, size_t n_rows,
                           const struct base_seal *seal, struct base_buf *names)
{
    size_t n_missing = 0;

    for (size_t i = 0; i < n_rows; i++) {
        bool named = false;

        if (base_seal_has(seal, &rows[i].seal_id))
            continue;
        for (size_t j = 0; j < i; j++)
            named |= memcmp(&rows[j].seal_id, &rows[i].seal_id, sizeof rows[i].seal_id) == 0;
        n_missing++;
        if (named)
            continue;
        if (names->len)
            BASE_BUF_LIT(names, ", ");
        base_encode_hex(names, rows[i].seal_id.bytes, sizeof rows[i].seal_id.bytes);
    }
    return n_missing;
}

static enum base_err check_master_keys(const struct store_signing_key *rows, size_t n_rows,
                                       const struct base_seal *seal, struct base_buf *why)
{
    BASE_AUTO(base_buf_clear) struct base_buf names;
    size_t n_missing;

    base_buf_init(&names, 512);
    n_missing = name_missing(rows, n_rows, seal, &names);
    if (n_missing == 0)
        return BASE_OK;
    base_buf_putf(why, "%zu of %zu signing keys need a master key that is not loaded: %s",
                  n_missing, n_rows, base_buf_cstr(&names));
    return BASE_NOT_FOUND;
}

void policy_ring_seal_context(struct base_span kid, struct base_buf *out)
{
    base_buf_reset(out);
    BASE_BUF_LIT(out, SEAL_CONTEXT);
    base_buf_put_span(out, kid);
}

static enum base_err unseal(const struct store_signing_key *row, const struct base_seal *seal,
                            struct base_buf *out)
{
    BASE_AUTO(base_buf_clear) struct base_buf context;

    base_buf_init(&context, 256);
    policy_ring_seal_context(row->kid, &context);
    return base_seal_open(seal, base_buf_span(&context), row->sealed, out);
}

static enum base_err open_key(const struct store_signing_key *row, const struct base_seal *seal,
                              struct jose_key **out)
{
    BASE_AUTO(base_buf_clear) struct base_buf der;
    enum jose_alg alg;
    enum base_err err;

    base_buf_init(&der, MAX_PRIVATE);
    if ((err = jose_alg_parse(row->alg, &alg)) != BASE_OK ||
        (err = unseal(row, seal, &der)) != BASE_OK ||
        (err = jose_key_import_private(alg, base_buf_span(&der), out)) != BASE_OK)
        return err;
    /* Tokens name the kid: one that is not the key's own would verify nowhere. */
    return base_span_eq(row->kid, base_span_str(jose_key_thumbprint(*out))) ? BASE_OK
                                                                            : BASE_INVALID;
}

static enum base_err add_row(struct policy_ring *ring, const struct store_signing_key *row,
                             const struct base_seal *seal, struct base_buf *why)
{
    struct policy_ring_key *key =
        &ring->keys[ring->count++]; /* counted first, so that it is freed */
    enum base_err err = open_key(row, seal, &key->key);

    if (err != BASE_OK)
        base_buf_putf(why, "the signing key %.*s cannot be opened: %s", BASE_SPAN_ARGS(row->kid),
                      base_err_text(err));
    key->state = row->state;
    key->seal_id = row->seal_id;
    key->created_us = row->created_us;
    key->signs_from_us = row->signs_from_us;
    key->activated_us = row->activated_us;
    key->retired_us = row->retired_us;
    key->publish_until_us = row->publish_until_us;
    return err;
}

static int state_rank(const struct policy_ring_key *key)
{
    static const int ranks[] = {
        [STORE_SIGNING_ACTIVE] = 0,
        [STORE_SIGNING_ANNOUNCED] = 1,
        [STORE_SIGNING_RETIRED] = 2,
    };

    return ranks[key->state];
}

/* One order for one set, so that its document and entity tag are the same on every instance. */
static int by_state_and_age(const void *left, const void *right)
{
    const struct policy_ring_key *a = left, *b = right;

    if (a->state != b->state)
        return state_rank(a) - state_rank(b);
    if (a->created_us != b->created_us)
        return a->created_us < b->created_us ? -1 : 1;
    return strcmp(jose_key_thumbprint(a->key), jose_key_thumbprint(b->key));
}

static void write_jwks(struct policy_ring *ring)
{
    BASE_BUF_LIT(&ring->jwks, "{\"keys\":[");
    for (size_t i = 0; i < ring->count; i++) {
        if (i > 0)
            base_buf_put_char(&ring->jwks, ',');
        base_buf_put_str(&ring->jwks, jose_key_public_jwk(ring->keys[i].key));
    }
    BASE_BUF_LIT(&ring->jwks, "]}");
}

static void write_etag(struct policy_ring *ring)
{
    uint8_t digest[BASE_SHA256_LEN];

    base_sha256(base_buf_span(&ring->jwks), digest);
    base_buf_put_char(&ring->etag, '"');
    base_encode_base64url(&ring->etag, digest, ETAG_BYTES);
    base_buf_put_char(&ring->etag, '"');
}

static enum base_err write_documents(struct policy_ring *ring, struct base_buf *why)
{
    qsort(ring->keys, ring->count, sizeof *ring->keys, by_state_and_age);
    write_jwks(ring);
    write_etag(ring);
    if (!ring->jwks.overflow)
        return BASE_OK;
    base_buf_putf(why, "the %zu published signing keys make too long a document", ring->count);
    return BASE_TOO_LARGE;
}

enum base_err policy_ring_new(const struct store_signing_key *rows, size_t n_rows,
                              const struct base_seal *seal, struct policy_ring **out,
                              struct base_buf *why)
{
    BASE_AUTO(policy_ring_unref) struct policy_ring *ring = NULL;
    enum base_err err;

    *out = NULL;
    if ((err = check_master_keys(rows, n_rows, seal, why)) != BASE_OK)
        return err;
    ring = base_calloc(1, sizeof *ring + n_rows * sizeof ring->keys[0]);
    atomic_init(&ring->refs, 1);
    base_buf_init(&ring->jwks, MAX_JWKS);
    base_buf_init(&ring->etag, 64);
    for (size_t i = 0; i < n_rows; i++)
        if ((err = add_row(ring, &rows[i], seal, why)) != BASE_OK)
            return err;
    if ((err = write_documents(ring, why)) != BASE_OK)
        return err;
    *out = ring;
    ring = NULL; /* handed over */
    return BASE_OK;
}

struct policy_ring *policy_ring_ref(struct policy_ring *ring)
{
    atomic_fetch_add_explicit(&ring->refs, 1, memory_order_relaxed);
    return ring;
}

void policy_ring_unref(struct policy_ring **ring)
{
    struct policy_ring *mine = *ring;

    *ring = NULL;
    /* Acquire and release: the last one sees what all others did before it frees. */
    if (!mine || atomic_fetch_sub_explicit(&mine->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < mine->count; i++)
        jose_key_unref(&mine->keys[i].key);
    base_buf_clear(&mine->jwks);
    base_buf_clear(&mine->etag);
    base_free(&mine);
}

/* --- looking into a snapshot --- */

size_t policy_ring_count(const struct policy_ring *ring)
{
    return ring->count;
}

const struct policy_ring_key *policy_ring_at(const struct policy_ring *ring, size_t index)
{
    assert(index < ring->count);
    return &ring->keys[index];
}

static const struct policy_ring_key *find(const struct policy_ring *ring, struct base_span kid)
{
    for (size_t i = 0; i < ring->count; i++)
        if (base_span_eq(base_span_str(jose_key_thumbprint(ring->keys[i].key)), kid))
            return &ring->keys[i];
    return NULL;
}

/* All that can change while the kid stays; activated_us does by a person's hand only, but the age
 * of the key is shown. */
static bool is_of(const struct policy_ring_key *key, const struct store_signing_key *row)
{
    return key && key->state == row->state && key->activated_us == row->activated_us &&
           key->publish_until_us == row->publish_until_us &&
           memcmp(&key->seal_id, &row->seal_id, sizeof key->seal_id) == 0;
}

/* As many, and each is there: no two rows have the same kid. */
bool policy_ring_is_of(const struct policy_ring *ring, const struct store_signing_key *rows,
                       size_t n_rows)
{
    if (ring->count != n_rows)
        return false;
    for (size_t i = 0; i < n_rows; i++)
        if (!is_of(find(ring, rows[i].kid), &rows[i]))
            return false;
    return true;
}

bool policy_ring_lease_holds(int64_t confirmed_mono_us, int64_t confirmed_wall_us, int64_t mono_us,
                             int64_t wall_us)
{
    int64_t age_us = mono_us - confirmed_mono_us;
    int64_t jump_us = wall_us - confirmed_wall_us - age_us;

    return age_us >= 0 && age_us <= POLICY_RING_LEASE_US && jump_us >= -MAX_JUMP_US &&
           jump_us <= MAX_JUMP_US;
}

/* The first in the order of states, when there is one at all. */
const struct policy_ring_key *policy_ring_signing(const struct policy_ring *ring)
{
    return ring->count && ring->keys[0].state == STORE_SIGNING_ACTIVE ? &ring->keys[0] : NULL;
}

const struct jose_key *policy_ring_find(void *ring, struct base_span kid)
{
    const struct policy_ring_key *key = find(ring, kid);

    return key ? key->key : NULL;
}

struct base_span policy_ring_jwks(const struct policy_ring *ring)
{
    return base_buf_span(&ring->jwks);
}

struct base_span policy_ring_etag(const struct policy_ring *ring)
{
    return base_buf_span(&ring->etag);
}

/* --- the rules of rotation --- */

/* What the rules see of a set of keys. */
struct facts {
    bool has_signing, has_announced, has_other_alg;
    int64_t signs_since_us; /* of the signing key */
    int64_t may_sign_us;    /* of the announced key */
    int64_t gone_us;        /* of the retired key that goes first */
};

/* One key's part in a set. */
struct life {
    enum store_signing_state state;
    bool other_alg; /* than the configured one */
    int64_t created_us, signs_from_us, activated_us, publish_until_us;
};

int64_t policy_ring_wait_us(const struct policy_rotation *rotation)
{
    return rotation->max_age_us + rotation->margin_us;
}

int64_t policy_ring_publish_us(const struct policy_rotation *rotation)
{
    return rotation->max_age_us + rotation->margin_us + POLICY_RING_LEASE_US;
}

static int64_t later(int64_t a_us, int64_t b_us)
{
    return a_us > b_us ? a_us : b_us;
}

static void note(struct facts *facts, const struct life *life,
                 const struct policy_rotation *rotation)
{
    if (life->state == STORE_SIGNING_ACTIVE) {
        facts->has_signing = true;
        facts->has_other_alg = life->other_alg;
        facts->signs_since_us = life->activated_us;
    } else if (life->state == STORE_SIGNING_ANNOUNCED) {
        facts->has_announced = true;
        /* The row has the wait of then; caches may have been told a longer age since. */
        facts->may_sign_us =
            later(life->signs_from_us, life->created_us + policy_ring_wait_us(rotation));
    } else if (life->publish_until_us < facts->gone_us) {
        facts->gone_us = life->publish_until_us;
    }
}

static bool needs_successor(const struct facts *facts, const struct policy_rotation *rotation,
                            int64_t now_us)
{
    if (facts->has_announced)
        return false;
    if (facts->has_other_alg)
        return true;
    /* So early that the successor may sign when this one's time is over. */
    return now_us >= facts->signs_since_us + rotation->rotation_us - policy_ring_wait_us(rotation);
}

/* Rotation goes before cleaning up: a key that cannot be deleted must not keep the next from
 * signing. */
static enum policy_ring_step next_step(const struct facts *facts,
                                       const struct policy_rotation *rotation, int64_t now_us)
{
    /* Also with retired keys, which a person's hand has left alone: nobody has a token to lose by a
     * key that caches do not know yet. */
    if (!facts->has_signing && !facts->has_announced)
        return POLICY_RING_FIRST;
    if (facts->has_announced && now_us >= facts->may_sign_us)
        return POLICY_RING_ACTIVATE;
    if (needs_successor(facts, rotation, now_us))
        return POLICY_RING_ANNOUNCE;
    return now_us >= facts->gone_us ? POLICY_RING_EXPIRE : POLICY_RING_NOTHING;
}

enum policy_ring_step policy_ring_next(const struct store_signing_key *rows, size_t n_rows,
                                       const struct policy_rotation *rotation, int64_t now_us)
{
    struct base_span alg = base_span_str(jose_alg_name(rotation->alg));
    struct facts facts = {.gone_us = INT64_MAX};

    for (size_t i = 0; i < n_rows; i++)
        note(&facts,
             &(struct life){rows[i].state, !base_span_eq(rows[i].alg, alg), rows[i].created_us,
                            rows[i].signs_from_us, rows[i].activated_us, rows[i].publish_until_us},
             rotation);
    return next_step(&facts, rotation, now_us);
}

static struct facts facts_of(const struct policy_ring *ring, const struct policy_rotation *rotation)
{
    struct facts facts = {.gone_us = INT64_MAX};

    for (size_t i = 0; i < ring->count; i++) {
        const struct policy_ring_key *key = &ring->keys[i];

        note(&facts,
             &(struct life){key->state, jose_key_alg(key->key) != rotation->alg, key->created_us,
                            key->signs_from_us, key->activated_us, key->publish_until_us},
             rotation);
    }
    return facts;
}

bool policy_ring_overdue(const struct policy_ring *ring, const struct policy_rotation *rotation,
                         int64_t now_us)
{
    struct facts facts = facts_of(ring, rotation);
    /* A rotation shorter than the wait can be no faster than the wait. */
    int64_t period_us = later(rotation->rotation_us, policy_ring_wait_us(rotation));

    if (!facts.has_signing)
        return true;
    return now_us > facts.signs_since_us + period_us + OVERDUE_US ||
           (facts.has_announced && now_us > facts.may_sign_us + OVERDUE_US);
}

int64_t policy_ring_cache_s(const struct policy_rotation *rotation, int64_t age_us)
{
    int64_t beyond_us = age_us > rotation->margin_us ? age_us - rotation->margin_us : 0;

    return beyond_us < rotation->max_age_us ? (rotation->max_age_us - beyond_us) / BASE_US_PER_S
                                            : 0;
}
