/* SPDX-License-Identifier: Apache-2.0 */
/* A fleet in miniature: a table of signing keys, three instances that poll it, and every verifier
 * there could be. Random schedules of rotations, changes of algorithm, stops, restarts and clock
 * steps; after each tick no token that is still valid may carry a kid that some permitted cache
 * does not have. Instead of simulating caches the model remembers for each kid when an instance
 * last served a set without it: the worst cache is the one that was filled just then. */
#include "base_attr.h"
#include "base_clock.h"
#include "policy_ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define N_INSTANCES 3
#define MAX_ROWS    64
#define MAX_KIDS    4096
#define SEEDS       200
#define TICKS       6000
#define LEASE_US    POLICY_RING_LEASE_US

/* The table as an instance has read it. */
struct view {
    struct store_signing_key rows[MAX_ROWS];
    size_t count;
};

struct instance {
    struct view view;
    int64_t confirmed_us, confirmed_wall_us; /* 0: nothing read yet */
    int64_t skew_us;                         /* its wall clock, against the true time */
    int64_t next_read_us;
    int64_t stopped_until_us;
    int64_t cut_off_until_us; /* from the database */
    enum jose_alg alg;
    enum policy_ring_step step; /* decided on what was read, not done yet */
};

struct kid {
    char name[16];
    int64_t lacked_us;      /* an instance served a set without it */
    int64_t valid_until_us; /* the last token that names it; 0: none */
};

struct fleet {
    uint64_t random;
    struct policy_rotation rotation;
    int64_t ttl_us, tick_us;
    int64_t now_us;      /* the true time, and everybody's monotonic clock */
    int64_t db_step_us;  /* the database's clock: all its steps back … */
    int64_t db_drift_us; /* … and how far it runs ahead, within the margin */
    struct view table;
    struct instance instances[N_INSTANCES];
    struct kid kids[MAX_KIDS];
    size_t n_kids;
    bool faults;
    size_t n_activations;
};

/* xorshift64*: the same schedule for the same seed, everywhere. */
static uint64_t draw(struct fleet *fleet, uint64_t below)
{
    fleet->random ^= fleet->random >> 12;
    fleet->random ^= fleet->random << 25;
    fleet->random ^= fleet->random >> 27;
    return (fleet->random * UINT64_C(0x2545f4914f6cdd1d) >> 32) % below;
}

static int64_t draw_us(struct fleet *fleet, int64_t below_us)
{
    return (int64_t)draw(fleet, (uint64_t)below_us);
}

static bool happens(struct fleet *fleet, uint64_t once_in_ticks)
{
    return draw(fleet, once_in_ticks) == 0;
}

static int64_t db_now_us(const struct fleet *fleet)
{
    return fleet->now_us + fleet->db_step_us + fleet->db_drift_us;
}

/* --- the table, as store_signing_key_*() keeps it --- */

static struct store_signing_key *row_in(struct view *view, enum store_signing_state state)
{
    for (size_t i = 0; i < view->count; i++)
        if (view->rows[i].state == state)
            return &view->rows[i];
    return NULL;
}

static struct store_signing_key *new_row(struct fleet *fleet, enum jose_alg alg)
{
    struct kid *kid = &fleet->kids[fleet->n_kids++];
    struct store_signing_key *row = &fleet->table.rows[fleet->table.count++];

    assert_true(fleet->n_kids < MAX_KIDS);
    assert_true(fleet->table.count < MAX_ROWS);
    snprintf(kid->name, sizeof kid->name, "%zu", fleet->n_kids - 1);
    *row = (struct store_signing_key){
        .kid = base_span_str(kid->name),
        .alg = base_span_str(jose_alg_name(alg)),
        .created_us = db_now_us(fleet),
        .signs_from_us = db_now_us(fleet),
    };
    return row;
}

static void do_first(struct fleet *fleet, enum jose_alg alg)
{
    struct store_signing_key *row;

    if (row_in(&fleet->table, STORE_SIGNING_ACTIVE) ||
        row_in(&fleet->table, STORE_SIGNING_ANNOUNCED))
        return; /* another instance was first */
    row = new_row(fleet, alg);
    row->state = STORE_SIGNING_ACTIVE;
    row->activated_us = row->created_us;
}

static void do_announce(struct fleet *fleet, enum jose_alg alg)
{
    struct store_signing_key *row;

    if (row_in(&fleet->table, STORE_SIGNING_ANNOUNCED))
        return;
    row = new_row(fleet, alg);
    row->state = STORE_SIGNING_ANNOUNCED;
    row->signs_from_us += policy_ring_wait_us(&fleet->rotation);
}

static void do_activate(struct fleet *fleet)
{
    struct store_signing_key *next = row_in(&fleet->table, STORE_SIGNING_ANNOUNCED);
    struct store_signing_key *last = row_in(&fleet->table, STORE_SIGNING_ACTIVE);
    int64_t now_us = db_now_us(fleet);

    if (!next || now_us < next->signs_from_us)
        return;
    if (last) {
        last->state = STORE_SIGNING_RETIRED;
        last->retired_us = now_us;
        last->publish_until_us = now_us + fleet->ttl_us + policy_ring_publish_us(&fleet->rotation);
    }
    next->state = STORE_SIGNING_ACTIVE;
    next->activated_us = now_us;
    fleet->n_activations++;
}

static void do_expire(struct fleet *fleet)
{
    struct view *table = &fleet->table;
    size_t kept = 0;

    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i].state != STORE_SIGNING_RETIRED ||
            table->rows[i].publish_until_us > db_now_us(fleet))
            table->rows[kept++] = table->rows[i];
    table->count = kept;
}

static void do_step(struct fleet *fleet, struct instance *instance)
{
    switch (instance->step) {
    case POLICY_RING_NOTHING:
        break;
    case POLICY_RING_FIRST:
        do_first(fleet, instance->alg);
        break;
    case POLICY_RING_ANNOUNCE:
        do_announce(fleet, instance->alg);
        break;
    case POLICY_RING_ACTIVATE:
        do_activate(fleet);
        break;
    case POLICY_RING_EXPIRE:
        do_expire(fleet);
        break;
    }
    instance->step = POLICY_RING_NOTHING;
}

/* --- instances --- */

static int64_t wall_us(const struct fleet *fleet, const struct instance *instance)
{
    return fleet->now_us + instance->skew_us;
}

/* Does what it decided at its last reading, which may be an hour ago if it was stopped since; then
 * reads again and decides. */
static void work(struct fleet *fleet, struct instance *instance)
{
    struct policy_rotation rotation = fleet->rotation;

    if (fleet->now_us < instance->next_read_us || fleet->now_us < instance->cut_off_until_us)
        return;
    do_step(fleet, instance);
    instance->view = fleet->table;
    instance->confirmed_us = fleet->now_us;
    instance->confirmed_wall_us = wall_us(fleet, instance);
    instance->next_read_us = fleet->now_us + draw_us(fleet, fleet->rotation.margin_us / 2);
    rotation.alg = instance->alg;
    instance->step =
        policy_ring_next(instance->view.rows, instance->view.count, &rotation, db_now_us(fleet));
}

static struct kid *kid_of(struct fleet *fleet, struct base_span name)
{
    size_t index = 0;

    for (size_t i = 0; i < name.len; i++)
        index = index * 10 + (size_t)(name.ptr[i] - '0');
    return &fleet->kids[index];
}

static void sign(struct fleet *fleet, struct instance *instance)
{
    const struct store_signing_key *row = row_in(&instance->view, STORE_SIGNING_ACTIVE);
    int64_t until_us = wall_us(fleet, instance) + fleet->ttl_us;
    struct kid *kid;

    if (!row || !policy_ring_lease_holds(instance->confirmed_us, instance->confirmed_wall_us,
                                         fleet->now_us, wall_us(fleet, instance)))
        return;
    kid = kid_of(fleet, row->kid);
    if (until_us > kid->valid_until_us)
        kid->valid_until_us = until_us;
}

static bool publishes(const struct view *view, const struct kid *kid)
{
    for (size_t i = 0; i < view->count; i++)
        if (view->rows[i].kid.ptr == kid->name)
            return true;
    return false;
}

/* Who has not heard of the database for most of the margin is not ready, and gets no requests; an
 * empty set is not served, since caches would keep it. */
static void serve_jwks(struct fleet *fleet, const struct instance *instance)
{
    if (instance->view.count == 0 ||
        fleet->now_us > instance->confirmed_us + fleet->rotation.margin_us * 3 / 4)
        return;
    for (size_t i = 0; i < fleet->n_kids; i++)
        if (!publishes(&instance->view, &fleet->kids[i]))
            fleet->kids[i].lacked_us = fleet->now_us;
}

static void restart(struct fleet *fleet, struct instance *instance)
{
    instance->view.count = 0;
    instance->confirmed_us = 0;
    instance->confirmed_wall_us = 0;
    instance->step = POLICY_RING_NOTHING;
    instance->next_read_us = fleet->now_us;
}

/* --- what goes wrong, and what must not --- */

static void stir_instance(struct fleet *fleet, struct instance *instance)
{
    if (happens(fleet, 500))
        instance->stopped_until_us = fleet->now_us + draw_us(fleet, BASE_US_PER_H);
    if (happens(fleet, 500))
        instance->cut_off_until_us = fleet->now_us + draw_us(fleet, BASE_US_PER_H);
    if (happens(fleet, 700))
        restart(fleet, instance);
    if (happens(fleet, 1000))
        instance->alg = (enum jose_alg)draw(fleet, JOSE_ALG_COUNT);
    /* What is published on top of the longest lifetime is for clocks like these. */
    if (happens(fleet, 300))
        instance->skew_us =
            draw_us(fleet, policy_ring_wait_us(&fleet->rotation)) * (happens(fleet, 2) ? 1 : -1);
    if (happens(fleet, 2000))
        instance->skew_us -= BASE_US_PER_H;
}

static void stir(struct fleet *fleet)
{
    if (happens(fleet, 400) && fleet->table.count > 0) /* somebody asks for a rotation */
        do_announce(fleet, fleet->instances[0].alg);
    if (happens(fleet, 3000))
        fleet->db_step_us -= draw_us(fleet, BASE_US_PER_H);
    if (happens(fleet, 50))
        fleet->db_drift_us = draw_us(fleet, fleet->rotation.margin_us / 5);
    for (size_t i = 0; i < N_INSTANCES; i++)
        stir_instance(fleet, &fleet->instances[i]);
}

static void check(struct fleet *fleet, unsigned seed)
{
    int n_signing = 0, n_announced = 0;

    for (size_t i = 0; i < fleet->table.count; i++) {
        n_signing += fleet->table.rows[i].state == STORE_SIGNING_ACTIVE;
        n_announced += fleet->table.rows[i].state == STORE_SIGNING_ANNOUNCED;
    }
    if (n_signing > 1 || n_announced > 1 || (fleet->table.count > 0 && n_signing == 0))
        fail_msg("seed %u: %d keys sign, %d are announced", seed, n_signing, n_announced);
    for (size_t i = 0; i < fleet->n_kids; i++)
        if (fleet->kids[i].valid_until_us > fleet->now_us &&
            fleet->kids[i].lacked_us >= fleet->now_us - fleet->rotation.max_age_us)
            fail_msg("seed %u, tick %lld: a permitted cache does not know kid %zu", seed,
                     (long long)(fleet->now_us / fleet->tick_us), i);
}

static void tick(struct fleet *fleet, unsigned seed)
{
    fleet->now_us += fleet->tick_us;
    if (fleet->faults)
        stir(fleet);
    for (size_t i = 0; i < N_INSTANCES; i++) {
        struct instance *instance = &fleet->instances[i];

        if (fleet->now_us < instance->stopped_until_us)
            continue;
        sign(fleet, instance); /* first: what was read before a stop must not do any more */
        work(fleet, instance);
        sign(fleet, instance);
        serve_jwks(fleet, instance);
    }
    check(fleet, seed);
}

static void start(struct fleet *fleet, unsigned seed)
{
    *fleet = (struct fleet){.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1, .faults = true};
    fleet->rotation.margin_us = (int64_t)(1 + draw(fleet, 60)) * BASE_US_PER_S;
    fleet->rotation.max_age_us = (int64_t)(5 + draw(fleet, 600)) * BASE_US_PER_S;
    fleet->rotation.rotation_us = (int64_t)(10 + draw(fleet, 7200)) * BASE_US_PER_S;
    fleet->ttl_us = (int64_t)(10 + draw(fleet, 3600)) * BASE_US_PER_S;
    fleet->tick_us = fleet->rotation.margin_us / 8;
    fleet->now_us = INT64_C(1000000) * BASE_US_PER_S;
    /* No cache holds anything before the first key: it may sign at once. */
    for (size_t i = 0; i < MAX_KIDS; i++)
        fleet->kids[i].lacked_us = INT64_MIN;
}

static void no_permitted_cache_meets_an_unknown_kid(void **state)
{
    static struct fleet fleet;
    size_t n_activations = 0;

    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        start(&fleet, seed);
        for (int i = 0; i < TICKS; i++)
            tick(&fleet, seed);
        n_activations += fleet.n_activations;
    }
    assert_true(n_activations > SEEDS); /* or the model sleeps */
}

/* Without faults each key signs for its time, give or take a reading of the table, and rows go. */
static void keys_rotate_in_time(void **state)
{
    static struct fleet fleet;

    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        int64_t period_us, slack_us, length_us;
        size_t expected;

        start(&fleet, seed);
        fleet.faults = false;
        period_us = policy_ring_wait_us(&fleet.rotation);
        slack_us = 2 * fleet.rotation.margin_us + 4 * fleet.tick_us;
        if (period_us < fleet.rotation.rotation_us)
            period_us = fleet.rotation.rotation_us;
        length_us = TICKS * fleet.tick_us;
        for (int i = 0; i < TICKS; i++)
            tick(&fleet, seed);
        expected = (size_t)(length_us / (period_us + slack_us));
        if (fleet.n_activations < expected ||
            (int64_t)fleet.n_activations > length_us / (period_us - slack_us))
            fail_msg("seed %u: %zu activations instead of %zu", seed, fleet.n_activations,
                     expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_permitted_cache_meets_an_unknown_kid),
        cmocka_unit_test(keys_rotate_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
