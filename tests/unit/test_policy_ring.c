/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_ring.h"

#include "base_clock.h"
#include "base_json.h"
#include "base_mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FIRST  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=\n"
#define SECOND "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=\n"
#define THIRD  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAM=\n"

#define NOW_US   (INT64_C(1800000000) * BASE_US_PER_S)
#define MAX_AGE  (5 * BASE_US_PER_MIN)
#define MARGIN   BASE_US_PER_MIN
#define WAIT     (MAX_AGE + MARGIN)
#define ROTATION (30 * BASE_US_PER_DAY)

static const struct policy_rotation rotation = {ROTATION, MAX_AGE, MARGIN, JOSE_ES256};

/* --- rows with real keys, sealed as the store keeps them --- */

static struct base_seal *master_keys(const char *lines)
{
    BASE_AUTO(base_buf_clear) struct base_buf why;
    struct base_seal *seal;

    base_buf_init(&why, 256);
    assert_int_equal(base_seal_parse(base_span_str(lines), &seal, &why), BASE_OK);
    return seal;
}

/* What a row's spans point to. */
struct stored {
    struct jose_key *key;
    struct base_buf sealed;
    struct store_signing_key row;
};

static void seal_key(struct stored *stored, const struct base_seal *seal, const char *kid)
{
    BASE_AUTO(base_buf_clear) struct base_buf der, context;

    base_buf_init(&der, 16384);
    base_buf_init(&context, 256);
    base_buf_putf(&context, "signing_key:%s", kid);
    base_buf_clear(&stored->sealed);
    base_buf_init(&stored->sealed, 16384);
    assert_int_equal(jose_key_export_private(stored->key, &der), BASE_OK);
    assert_int_equal(
        base_seal_close(seal, base_buf_span(&context), base_buf_span(&der), &stored->sealed),
        BASE_OK);
    stored->row.sealed = base_buf_span(&stored->sealed);
    stored->row.seal_id = *base_seal_id_at(seal, 0);
    stored->row.kid = base_span_str(kid);
}

static void make_row(struct stored *stored, const struct base_seal *seal, enum jose_alg alg,
                     enum store_signing_state state, int64_t created_us)
{
    *stored = (struct stored){.row = {.alg = base_span_str(jose_alg_name(alg)), .state = state}};
    assert_int_equal(jose_key_generate(alg, &stored->key), BASE_OK);
    stored->row.public_jwk = base_span_str(jose_key_public_jwk(stored->key));
    stored->row.created_us = created_us;
    stored->row.signs_from_us = created_us + WAIT;
    if (state != STORE_SIGNING_ANNOUNCED)
        stored->row.activated_us = created_us + WAIT;
    if (state == STORE_SIGNING_RETIRED) {
        stored->row.retired_us = created_us + ROTATION;
        stored->row.publish_until_us = created_us + ROTATION + BASE_US_PER_H;
    }
    seal_key(stored, seal, jose_key_thumbprint(stored->key));
}

static void free_row(struct stored *stored)
{
    jose_key_unref(&stored->key);
    base_buf_clear(&stored->sealed);
}

/* Two retired keys, one announced, one that signs, in no order. */
#define N_ROWS 4
struct scene {
    struct base_seal *seal;
    struct stored stored[N_ROWS];
    struct store_signing_key rows[N_ROWS];
    struct base_buf why;
};

static void collect(struct scene *scene)
{
    for (size_t i = 0; i < N_ROWS; i++)
        scene->rows[i] = scene->stored[i].row;
}

static int setup(void **state)
{
    struct scene *scene = base_calloc(1, sizeof *scene);

    scene->seal = master_keys(FIRST);
    base_buf_init(&scene->why, 1024);
    make_row(&scene->stored[0], scene->seal, JOSE_ES384, STORE_SIGNING_RETIRED, NOW_US - 5);
    make_row(&scene->stored[1], scene->seal, JOSE_EDDSA, STORE_SIGNING_ANNOUNCED, NOW_US - 1);
    make_row(&scene->stored[2], scene->seal, JOSE_ES256, STORE_SIGNING_RETIRED, NOW_US - 9);
    make_row(&scene->stored[3], scene->seal, JOSE_ES256, STORE_SIGNING_ACTIVE, NOW_US - 3);
    collect(scene);
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;

    for (size_t i = 0; i < N_ROWS; i++)
        free_row(&scene->stored[i]);
    base_seal_unref(&scene->seal);
    base_buf_clear(&scene->why);
    base_free(state);
    return 0;
}

static enum base_err try_ring(struct scene *scene, size_t n_rows, struct policy_ring **out)
{
    base_buf_reset(&scene->why);
    return policy_ring_new(scene->rows, n_rows, scene->seal, out, &scene->why);
}

static struct policy_ring *ring_of(struct scene *scene)
{
    struct policy_ring *ring;

    assert_int_equal(try_ring(scene, N_ROWS, &ring), BASE_OK);
    assert_int_equal(scene->why.len, 0);
    return ring;
}

static void keys_come_in_one_order(void **state)
{
    static const size_t order[] = {3, 1, 2, 0};
    struct scene *scene = *state;
    BASE_AUTO(policy_ring_unref) struct policy_ring *ring = ring_of(scene);

    assert_int_equal(policy_ring_count(ring), N_ROWS);
    for (size_t i = 0; i < N_ROWS; i++) {
        const struct store_signing_key *row = &scene->rows[order[i]];
        const struct policy_ring_key *key = policy_ring_at(ring, i);

        assert_true(base_span_eq(base_span_str(jose_key_thumbprint(key->key)), row->kid));
        assert_int_equal(key->state, row->state);
        assert_memory_equal(&key->seal_id, &row->seal_id, sizeof row->seal_id);
        assert_int_equal(key->created_us, row->created_us);
        assert_int_equal(key->signs_from_us, row->signs_from_us);
        assert_int_equal(key->activated_us, row->activated_us);
        assert_int_equal(key->retired_us, row->retired_us);
        assert_int_equal(key->publish_until_us, row->publish_until_us);
    }
    assert_ptr_equal(policy_ring_signing(ring), policy_ring_at(ring, 0));
}

/* Those of one age are ordered too. */
static void the_order_of_rows_does_not_matter(void **state)
{
    struct scene *scene = *state;
    BASE_AUTO(policy_ring_unref) struct policy_ring *ring = NULL, *other = NULL;
    struct store_signing_key last;

    for (size_t i = 0; i < N_ROWS; i++) {
        scene->rows[i].state = STORE_SIGNING_RETIRED;
        scene->rows[i].created_us = NOW_US;
    }
    ring = ring_of(scene);
    last = scene->rows[3];
    memmove(&scene->rows[1], &scene->rows[0], 3 * sizeof last);
    scene->rows[0] = last;
    other = ring_of(scene);
    assert_true(policy_ring_is_of(ring, scene->rows, N_ROWS));
    assert_true(base_span_eq(policy_ring_jwks(ring), policy_ring_jwks(other)));
    assert_true(base_span_eq(policy_ring_etag(ring), policy_ring_etag(other)));
    assert_null(policy_ring_signing(ring));
}

static void the_document_has_every_public_key(void **state)
{
    struct scene *scene = *state;
    BASE_AUTO(policy_ring_unref) struct policy_ring *ring = ring_of(scene);
    const char *why;
    json_auto_t *jwks = NULL;

    assert_int_equal(base_json_parse(policy_ring_jwks(ring), 1 << 16, 4, &jwks, &why), BASE_OK);
    assert_int_equal(json_object_size(jwks), 1);
    assert_int_equal(json_array_size(json_object_get(jwks, "keys")), N_ROWS);
    for (size_t i = 0; i < N_ROWS; i++) {
        const json_t *jwk = json_array_get(json_object_get(jwks, "keys"), i);

        assert_string_equal(json_string_value(json_object_get(jwk, "kid")),
                            jose_key_thumbprint(policy_ring_at(ring, i)->key));
        assert_string_equal(json_string_value(json_object_get(jwk, "use")), "sig");
        assert_null(json_object_get(jwk, "d"));
    }
}

static void the_tag_changes_with_the_document(void **state)
{
    struct scene *scene = *state;
    BASE_AUTO(policy_ring_unref) struct policy_ring *ring = ring_of(scene), *less = NULL;
    struct base_span tag = policy_ring_etag(ring);

    assert_int_equal(tag.len, 24);
    assert_int_equal(tag.ptr[0], '"');
    assert_int_equal(tag.ptr[23], '"');
    assert_int_equal(try_ring(scene, N_ROWS - 1, &less), BASE_OK);
    assert_false(base_span_eq(tag, policy_ring_etag(less)));
    assert_false(policy_ring_is_of(ring, scene->rows, N_ROWS - 1));
    assert_false(policy_ring_is_of(less, scene->rows, N_ROWS));
}

static void keys_are_found_by_thumbprint(void **state)
{
    struct scene *scene = *state;
    BASE_AUTO(policy_ring_unref) struct policy_ring *ring = ring_of(scene);

    for (size_t i = 0; i < N_ROWS; i++)
        assert_string_equal(jose_key_thumbprint(policy_ring_find(ring, scene->rows[i].kid)),
                            jose_key_thumbprint(scene->stored[i].key));
    assert_null(policy_ring_find(ring, BASE_SPAN("")));
    assert_null(policy_ring_find(ring, base_span_of(scene->rows[0].kid.ptr, 42)));
    assert_null(policy_ring_find(ring, BASE_SPAN("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
}

static void an_empty_table_is_an_empty_ring(void **state)
{
    struct scene *scene = *state;
    BASE_AUTO(policy_ring_unref) struct policy_ring *ring = NULL;

    assert_int_equal(policy_ring_new(NULL, 0, scene->seal, &ring, &scene->why), BASE_OK);
    assert_int_equal(policy_ring_count(ring), 0);
    assert_null(policy_ring_signing(ring));
    assert_null(policy_ring_find(ring, BASE_SPAN("x")));
    assert_true(base_span_eq(policy_ring_jwks(ring), BASE_SPAN("{\"keys\":[]}")));
    assert_true(policy_ring_overdue(ring, &rotation, NOW_US));
}

static void missing_master_keys_are_named(void **state)
{
    struct scene *scene = *state;
    struct base_seal *second = master_keys(SECOND), *third = master_keys(THIRD);
    struct policy_ring *ring = (struct policy_ring *)scene;

    seal_key(&scene->stored[0], second, jose_key_thumbprint(scene->stored[0].key));
    seal_key(&scene->stored[1], third, jose_key_thumbprint(scene->stored[1].key));
    seal_key(&scene->stored[2], second, jose_key_thumbprint(scene->stored[2].key));
    collect(scene);
    assert_int_equal(try_ring(scene, N_ROWS, &ring), BASE_NOT_FOUND);
    assert_null(ring);
    assert_int_equal(strncmp(base_buf_cstr(&scene->why),
                             "3 of 4 signing keys need a master key that is not loaded: ", 58),
                     0);
    assert_int_equal(scene->why.len, 58 + 16 + 2 + 16); /* each once, in hex */
    base_seal_unref(&scene->seal);
    scene->seal = master_keys(FIRST SECOND THIRD);
    ring = ring_of(scene);
    policy_ring_unref(&ring);
    base_seal_unref(&second);
    base_seal_unref(&third);
}

/* Spoils one row and expects a refusal that names its key. */
static void refused(struct scene *scene, enum base_err expected)
{
    struct policy_ring *ring;

    assert_int_equal(try_ring(scene, N_ROWS, &ring), expected);
    assert_null(ring);
    assert_non_null(
        memmem(scene->why.ptr, scene->why.len, scene->rows[2].kid.ptr, scene->rows[2].kid.len));
    collect(scene);
}

static void rows_that_do_not_fit_together_are_refused(void **state)
{
    struct scene *scene = *state;
    struct store_signing_key *row = &scene->rows[2];
    char kid[64];

    row->sealed.len--;
    refused(scene, BASE_INVALID);
    row->sealed = scene->rows[3].sealed; /* another row's: sealed for another context */
    refused(scene, BASE_INVALID);
    row->sealed = (struct base_span){0};
    refused(scene, BASE_INVALID);
    row->alg = BASE_SPAN("ES384");
    refused(scene, BASE_INVALID);
    row->alg = BASE_SPAN("HS256");
    refused(scene, BASE_INVALID);
    row->alg = BASE_SPAN("none");
    refused(scene, BASE_INVALID);
    /* Sealed for the name it is stored under, which is not its own. */
    memcpy(kid, jose_key_thumbprint(scene->stored[2].key), 44);
    kid[0] = kid[0] == 'a' ? 'b' : 'a';
    seal_key(&scene->stored[2], scene->seal, kid);
    collect(scene);
    refused(scene, BASE_INVALID);
}

static void a_flood_of_keys_is_refused(void **state)
{
    struct scene *scene = *state;
    size_t n_rows = 1200;
    struct store_signing_key *rows = base_calloc(n_rows, sizeof *rows);
    struct policy_ring *ring;

    for (size_t i = 0; i < n_rows; i++)
        rows[i] = scene->rows[0];
    assert_int_equal(policy_ring_new(rows, n_rows, scene->seal, &ring, &scene->why),
                     BASE_TOO_LARGE);
    assert_null(ring);
    base_free(&rows);
}

static void a_ring_is_of_its_rows_and_of_no_others(void **state)
{
    struct scene *scene = *state;
    BASE_AUTO(policy_ring_unref) struct policy_ring *ring = ring_of(scene);

    assert_true(policy_ring_is_of(ring, scene->rows, N_ROWS));
    scene->rows[1].state = STORE_SIGNING_RETIRED;
    assert_false(policy_ring_is_of(ring, scene->rows, N_ROWS));
    collect(scene);
    scene->rows[0].publish_until_us++;
    assert_false(policy_ring_is_of(ring, scene->rows, N_ROWS));
    collect(scene);
    scene->rows[3].activated_us--;
    assert_false(policy_ring_is_of(ring, scene->rows, N_ROWS));
    collect(scene);
    assert_true(policy_ring_is_of(ring, scene->rows, N_ROWS));

    free_row(&scene->stored[1]);
    make_row(&scene->stored[1], scene->seal, JOSE_EDDSA, STORE_SIGNING_ANNOUNCED, NOW_US - 1);
    collect(scene);
    assert_false(policy_ring_is_of(ring, scene->rows, N_ROWS));
}

static void a_resealed_key_makes_another_ring(void **state)
{
    struct scene *scene = *state;
    BASE_AUTO(policy_ring_unref) struct policy_ring *before = NULL, *after = NULL;

    base_seal_unref(&scene->seal);
    scene->seal = master_keys(SECOND FIRST);
    before = ring_of(scene);
    seal_key(&scene->stored[3], scene->seal, jose_key_thumbprint(scene->stored[3].key));
    collect(scene);
    after = ring_of(scene);
    assert_false(policy_ring_is_of(before, scene->rows, N_ROWS));
    assert_true(policy_ring_is_of(after, scene->rows, N_ROWS));
    assert_true(base_span_eq(policy_ring_etag(before), policy_ring_etag(after)));
}

static void *look_and_drop(void *data)
{
    struct policy_ring *ring = data;

    assert_non_null(policy_ring_signing(ring));
    policy_ring_unref(&ring);
    return NULL;
}

static void the_last_reference_frees(void **state)
{
    struct policy_ring *ring = ring_of(*state);
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_and_drop, policy_ring_ref(ring)),
                         0);
    policy_ring_unref(&ring);
    assert_null(ring);
    policy_ring_unref(&ring);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void a_lease_ends(void **state)
{
    static const struct {
        int64_t mono_later_us, wall_later_us;
        bool holds;
    } cases[] = {
        {0, 0, true},
        {1, 1, true},
        {POLICY_RING_LEASE_US, POLICY_RING_LEASE_US, true},
        {POLICY_RING_LEASE_US + 1, POLICY_RING_LEASE_US + 1, false},
        {POLICY_RING_LEASE_US + 1, 1, false},
        {-1, -1, false},
        {BASE_US_PER_S, 3 * BASE_US_PER_S, true}, /* a clock that is being corrected */
        {BASE_US_PER_S, -BASE_US_PER_S, true},
        {BASE_US_PER_S, 6 * BASE_US_PER_S, true},
        {BASE_US_PER_S, 6 * BASE_US_PER_S + 1, false},
        {BASE_US_PER_S, -4 * BASE_US_PER_S, true},
        {BASE_US_PER_S, -4 * BASE_US_PER_S - 1, false},
        {BASE_US_PER_S, BASE_US_PER_H, false},
        {BASE_US_PER_S, -BASE_US_PER_H, false},
        {BASE_US_PER_H, BASE_US_PER_H, false},
    };

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        assert_int_equal(policy_ring_lease_holds(500, NOW_US, 500 + cases[i].mono_later_us,
                                                 NOW_US + cases[i].wall_later_us),
                         cases[i].holds);
}

/* --- the rules --- */

enum {
    NOTHING = POLICY_RING_NOTHING,
    FIRST_KEY = POLICY_RING_FIRST,
    ANNOUNCE = POLICY_RING_ANNOUNCE,
    ACTIVATE = POLICY_RING_ACTIVATE,
    EXPIRE = POLICY_RING_EXPIRE
};

/* A set of at most one key a state; times count from NOW_US, NONE: no such key. */
struct set {
    int64_t signs_since, announced_since, retired_until;
    const char *alg; /* of the signing key */
};
#define NONE INT64_MIN

static size_t rows_of(const struct set *set, struct store_signing_key *rows)
{
    size_t count = 0;

    if (set->retired_until != NONE)
        rows[count++] = (struct store_signing_key){.state = STORE_SIGNING_RETIRED,
                                                   .alg = BASE_SPAN("RS256"),
                                                   .publish_until_us = NOW_US + set->retired_until};
    if (set->signs_since != NONE)
        rows[count++] = (struct store_signing_key){.state = STORE_SIGNING_ACTIVE,
                                                   .alg = base_span_str(set->alg),
                                                   .activated_us = NOW_US + set->signs_since};
    if (set->announced_since != NONE)
        rows[count++] =
            (struct store_signing_key){.state = STORE_SIGNING_ANNOUNCED,
                                       .alg = BASE_SPAN("PS256"),
                                       .created_us = NOW_US + set->announced_since,
                                       .signs_from_us = NOW_US + set->announced_since + WAIT};
    return count;
}

static void what_is_to_be_done(void **state)
{
    static const struct {
        struct set set;
        int step;
    } cases[] = {
        /* fresh */
        {{0, NONE, NONE, "ES256"}, NOTHING},
        {{0, NONE, 1, "ES256"}, NOTHING},
        {{0, NONE, 0, "ES256"}, EXPIRE},
        {{0, NONE, -BASE_US_PER_DAY, "ES256"}, EXPIRE},
        /* its time is nearly over */
        {{-ROTATION + WAIT + 1, NONE, NONE, "ES256"}, NOTHING},
        {{-ROTATION + WAIT, NONE, NONE, "ES256"}, ANNOUNCE},
        {{-2 * ROTATION, NONE, NONE, "ES256"}, ANNOUNCE},
        {{-ROTATION, NONE, -1, "ES256"}, ANNOUNCE}, /* before cleaning up */
        /* a successor is announced, by time or by hand */
        {{-ROTATION, -WAIT + 1, NONE, "ES256"}, NOTHING},
        {{-ROTATION, -WAIT, NONE, "ES256"}, ACTIVATE},
        {{-1, -WAIT, NONE, "ES256"}, ACTIVATE},
        {{-1, 0, NONE, "ES256"}, NOTHING},
        {{-1, 0, -1, "ES256"}, EXPIRE},
        {{-1, -WAIT, -1, "ES256"}, ACTIVATE},
        /* another algorithm is configured */
        {{0, NONE, NONE, "ES384"}, ANNOUNCE},
        {{0, 0, NONE, "ES384"}, NOTHING},
        {{0, -WAIT, NONE, "ES384"}, ACTIVATE}, /* and when it signs, the next is announced */
        {{0, NONE, NONE, "ES512"}, ANNOUNCE},
        /* the clock went back */
        {{BASE_US_PER_H, NONE, NONE, "ES256"}, NOTHING},
        {{BASE_US_PER_H, BASE_US_PER_H, BASE_US_PER_H, "ES256"}, NOTHING},
        /* nobody signs: an operator's hand, or an emergency that broke off */
        {{NONE, NONE, 1, NULL}, FIRST_KEY},
        {{NONE, NONE, -1, NULL}, FIRST_KEY},
        {{NONE, 0, NONE, NULL}, NOTHING},
        {{NONE, -WAIT, NONE, NULL}, ACTIVATE},
    };
    struct store_signing_key rows[3];

    (void)state;
    for (size_t i = 0; i < BASE_COUNT(cases); i++) {
        size_t n_rows = rows_of(&cases[i].set, rows);
        enum policy_ring_step step = policy_ring_next(rows, n_rows, &rotation, NOW_US);

        if (step != (enum policy_ring_step)cases[i].step)
            fail_msg("case %zu: step %d", i, step);
    }
    assert_int_equal(policy_ring_next(rows, 0, &rotation, NOW_US), POLICY_RING_FIRST);
    assert_int_equal(policy_ring_next(NULL, 0, &rotation, NOW_US), POLICY_RING_FIRST);
}

static void the_first_of_several_retired_keys_goes(void **state)
{
    struct store_signing_key rows[] = {
        {.state = STORE_SIGNING_RETIRED, .publish_until_us = NOW_US + 2},
        {.state = STORE_SIGNING_RETIRED, .publish_until_us = NOW_US - 1},
        {.state = STORE_SIGNING_RETIRED, .publish_until_us = NOW_US + 1},
        {.state = STORE_SIGNING_ACTIVE, .alg = BASE_SPAN("ES256"), .activated_us = NOW_US},
    };

    (void)state;
    assert_int_equal(policy_ring_next(rows, 4, &rotation, NOW_US), POLICY_RING_EXPIRE);
    rows[1].publish_until_us = NOW_US + 1;
    assert_int_equal(policy_ring_next(rows, 4, &rotation, NOW_US), POLICY_RING_NOTHING);
}

static void a_rotation_shorter_than_the_wait_announces_at_once(void **state)
{
    struct policy_rotation hasty = rotation;
    struct store_signing_key rows[3];
    struct set set = {0, NONE, NONE, "ES256"};

    (void)state;
    hasty.rotation_us = BASE_US_PER_S;
    assert_int_equal(policy_ring_next(rows, rows_of(&set, rows), &hasty, NOW_US),
                     POLICY_RING_ANNOUNCE);
    set.announced_since = -WAIT + 1;
    assert_int_equal(policy_ring_next(rows, rows_of(&set, rows), &hasty, NOW_US),
                     POLICY_RING_NOTHING);
}

/* Settings changed while a key was announced: the longer wait counts. */
static void caches_that_were_told_a_longer_age_are_waited_for(void **state)
{
    struct policy_rotation longer = rotation, shorter = rotation;
    struct store_signing_key rows[3];
    struct set set = {-1, -WAIT, NONE, "ES256"};

    (void)state;
    longer.max_age_us = BASE_US_PER_H;
    shorter.max_age_us = BASE_US_PER_S;
    assert_int_equal(policy_ring_next(rows, rows_of(&set, rows), &longer, NOW_US),
                     POLICY_RING_NOTHING);
    set.announced_since = -BASE_US_PER_H - MARGIN;
    assert_int_equal(policy_ring_next(rows, rows_of(&set, rows), &longer, NOW_US),
                     POLICY_RING_ACTIVATE);
    set.announced_since = -WAIT + 1;
    assert_int_equal(policy_ring_next(rows, rows_of(&set, rows), &shorter, NOW_US),
                     POLICY_RING_NOTHING);
}

static bool overdue_after(struct scene *scene, size_t n_rows, const struct policy_rotation *rules,
                          int64_t ahead_us)
{
    BASE_AUTO(policy_ring_unref) struct policy_ring *ring = NULL;

    assert_int_equal(try_ring(scene, n_rows, &ring), BASE_OK);
    return policy_ring_overdue(ring, rules, NOW_US + ahead_us);
}

static void a_rotation_can_be_overdue(void **state)
{
    struct scene *scene = *state;
    struct policy_rotation hasty = rotation;
    int64_t signs_since = NOW_US - 3 + WAIT, may_sign = NOW_US - 1 + WAIT;

    hasty.rotation_us = BASE_US_PER_S;
    /* the announced key should have signed an hour ago */
    assert_false(overdue_after(scene, N_ROWS, &rotation, 0));
    assert_false(overdue_after(scene, N_ROWS, &rotation, may_sign - NOW_US + BASE_US_PER_H));
    assert_true(overdue_after(scene, N_ROWS, &rotation, may_sign - NOW_US + BASE_US_PER_H + 1));
    /* nobody was announced */
    scene->rows[1].state = STORE_SIGNING_RETIRED;
    assert_false(
        overdue_after(scene, N_ROWS, &rotation, signs_since - NOW_US + ROTATION + BASE_US_PER_H));
    assert_true(overdue_after(scene, N_ROWS, &rotation,
                              signs_since - NOW_US + ROTATION + BASE_US_PER_H + 1));
    assert_false(overdue_after(scene, N_ROWS, &hasty, signs_since - NOW_US + WAIT + BASE_US_PER_H));
    assert_true(
        overdue_after(scene, N_ROWS, &hasty, signs_since - NOW_US + WAIT + BASE_US_PER_H + 1));
    /* nobody signs */
    assert_true(overdue_after(scene, N_ROWS - 1, &rotation, 0));
}

static void times_follow_from_the_settings(void **state)
{
    (void)state;
    assert_int_equal(policy_ring_wait_us(&rotation), WAIT);
    assert_int_equal(policy_ring_publish_us(&rotation), WAIT + POLICY_RING_LEASE_US);
}

/* With max-age and margin of the set: a cache filled from a set confirmed `age` ago ends no later
 * than max-age and margin after that confirmation. */
static void an_unconfirmed_set_is_cached_shorter(void **state BASE_UNUSED)
{
    const struct policy_rotation rules = {.max_age_us = 300 * BASE_US_PER_S,
                                          .margin_us = 60 * BASE_US_PER_S};
    static const struct {
        int64_t age_us, expected_s;
    } cases[] = {
        {-1, 300},
        {0, 300},
        {60 * BASE_US_PER_S, 300},
        {60 * BASE_US_PER_S + 1, 299},
        {61 * BASE_US_PER_S, 299},
        {359 * BASE_US_PER_S, 1},
        {360 * BASE_US_PER_S, 0},
        {361 * BASE_US_PER_S, 0},
        {INT64_MAX, 0},
    };

    for (size_t i = 0; i < BASE_COUNT(cases); i++)
        assert_int_equal(policy_ring_cache_s(&rules, cases[i].age_us), cases[i].expected_s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_come_in_one_order, setup, teardown),
        cmocka_unit_test_setup_teardown(the_order_of_rows_does_not_matter, setup, teardown),
        cmocka_unit_test_setup_teardown(the_document_has_every_public_key, setup, teardown),
        cmocka_unit_test_setup_teardown(the_tag_changes_with_the_document, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_are_found_by_thumbprint, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_table_is_an_empty_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_master_keys_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_that_do_not_fit_together_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_keys_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ring_is_of_its_rows_and_of_no_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_resealed_key_makes_another_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_reference_frees, setup, teardown),
        cmocka_unit_test(a_lease_ends),
        cmocka_unit_test(what_is_to_be_done),
        cmocka_unit_test(the_first_of_several_retired_keys_goes),
        cmocka_unit_test(a_rotation_shorter_than_the_wait_announces_at_once),
        cmocka_unit_test(caches_that_were_told_a_longer_age_are_waited_for),
        cmocka_unit_test_setup_teardown(a_rotation_can_be_overdue, setup, teardown),
        cmocka_unit_test(times_follow_from_the_settings),
        cmocka_unit_test(an_unconfirmed_set_is_cached_shorter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
