/* SPDX-License-Identifier: Apache-2.0 */
/* One small machine: a timer ticks; each tick starts what is due, one database call at a time, so
 * that no step overtakes another. First the schema is checked, then the master keys, then the
 * lifetime of tokens is made known; then the ring is polled for ever. What the ring needs next is
 * decided by policy_ring_next(); this file only does it. */
#include "jobs.h"

#include "api_signing_keys.h"
#include "base_clock.h"
#include "base_mem.h"
#include "db_conn.h"
#include "store_jobs.h"
#include "store_schema.h"
#include "store_scope.h"
#include "worker.h"

#include <event2/event.h>

#define TICK_US       (250 * BASE_US_PER_MS)
#define POLL_US       (500 * BASE_US_PER_MS)
#define SCOPES_US     (5 * BASE_US_PER_S)
#define FLUSH_US      (3 * BASE_US_PER_S)
#define EXPIRE_US     BASE_US_PER_MIN
#define MAX_FLUSH     1000
#define ANSWER_US     (3 * BASE_US_PER_S) /* a poll unanswered for so long means: not ready */
#define CATALOG_MAX   1000
#define CATALOG_BYTES (256u << 10)

enum phase { PHASE_SCHEMA, PHASE_SEALS, PHASE_LIFETIME, PHASE_CATALOG, PHASE_RING };

struct jobs {
    struct jobs_options options;
    struct db_conn *db;
    struct event *timer;
    enum phase phase;
    enum jobs_verdict verdict;
    bool busy; /* a call is in flight */
    bool connected_once;
    int64_t sent_us, sent_wall_us;
    int64_t next_poll_us, next_scopes_us, next_flush_us, next_expire_us;
    struct base_seal *seal;
    struct base_seal *offered; /* by a reload, until it is known whether it can be taken */
    struct policy_ring *ring;  /* of the newest snapshot */
    uint64_t serial;           /* and its number */
    struct api_snapshot *snapshot;
    struct base_buf
        catalog; /* names of the API scopes, one after the other, each ended by a newline */
    bool snapshot_stale;
    struct store_key_use uses[MAX_FLUSH];
    size_t n_uses;
    bool flushing_all, flush_over;
    struct base_log_gate fault_gate;
};

static void tick(struct jobs *jobs);

/* One tick now, besides those of the timer. It must not look like one of them: told EV_TIMEOUT,
 * libevent puts the next a whole period behind the one that was due, and many turns in a row would
 * put it off for as long as they like. */
static void turn(struct jobs *jobs)
{
    event_active(jobs->timer, 0, 0);
}

static void settle(struct jobs *jobs, enum jobs_verdict verdict)
{
    if (jobs->verdict == JOBS_PENDING || verdict == JOBS_READY)
        jobs->verdict = verdict;
}

/* Something that needs a person: said at most once a second, until it is mended. */
static void complain(struct jobs *jobs, const char *event, const char *why)
{
    uint64_t suppressed;

    if (base_log_gate_open(&jobs->fault_gate, &suppressed))
        BASE_LOG(BASE_LOG_ERROR, event, base_log_str("reason", why));
}

/* An answer has come; false when it was a failure of the database, which is noted. */
static bool answered(struct jobs *jobs, enum base_err err)
{
    struct api_shared *shared = jobs->options.shared;
    const char *why;

    jobs->busy = false;
    if (jobs->next_poll_us == 0) /* poked meanwhile, by a notice of another instance's change */
        turn(jobs);
    if (err == BASE_OK || err == BASE_CONFLICT || err == BASE_NOT_FOUND) {
        atomic_store(&shared->database_seen_us, base_clock_mono_us());
        return true;
    }
    atomic_store(&shared->database_seen_us, 0);
    if (err == BASE_DENIED)
        complain(jobs, "database_rights",
                 "the database role may not read or write a table of Cardea");
    why = db_conn_problem(jobs->db)[0] ? db_conn_problem(jobs->db) : base_err_text(err);
    settle(jobs, JOBS_WAITING);
    /* Again and again while it lasts: the reason may change, or its first line have been one too
     * many within its second. */
    worker_log_database(jobs->options.database_gate, false, why);
    return false;
}

static void enter(struct jobs *jobs, enum phase phase)
{
    jobs->phase = phase;
    jobs_poke(jobs);
}

static void sending(struct jobs *jobs)
{
    jobs->busy = true;
    jobs->sent_us = base_clock_mono_us();
    jobs->sent_wall_us = base_clock_wall_us();
}

/* --- the snapshot --- */

static size_t catalog_names(const struct jobs *jobs, struct base_span *out, size_t max)
{
    const char *at = jobs->catalog.ptr, *end = at + jobs->catalog.len;
    size_t count = 0;

    while (at < end && count < max) {
        size_t len = (size_t)((const char *)memchr(at, '\n', (size_t)(end - at)) - at);

        out[count++] = base_span_of(at, len);
        at += len + 1;
    }
    return count;
}

static void publish(struct jobs *jobs)
{
    struct base_span names[CATALOG_MAX];
    size_t n_names = catalog_names(jobs, names, CATALOG_MAX);
    struct api_snapshot *before = jobs->snapshot;
    bool is_same_ring;

    jobs->snapshot =
        api_snapshot_new(&jobs->options.shared->config, base_seal_ref(jobs->seal),
                         jobs->ring ? policy_ring_ref(jobs->ring) : NULL, names, n_names);
    /* Before any worker sees it. Where only the scopes have changed the lease goes on; a new ring
     * is what the database has just answered. */
    jobs->snapshot->serial = ++jobs->serial;
    is_same_ring = before->ring == jobs->ring;
    jobs->snapshot->confirmed_mono_us = is_same_ring ? before->confirmed_mono_us : jobs->sent_us;
    jobs->snapshot->confirmed_wall_us =
        is_same_ring ? before->confirmed_wall_us : jobs->sent_wall_us;
    api_snapshot_unref(&before);
    jobs->snapshot_stale = false;
    jobs->options.publish(jobs->options.data, jobs->snapshot);
}

static void on_scopes(void *ctx, enum base_err err, const struct store_scope *scopes,
                      size_t n_scopes)
{
    struct jobs *jobs = ctx;
    struct base_buf names;

    if (!answered(jobs, err) || err != BASE_OK)
        return;
    /* Before the ring, so that a server that says it is ready has its scopes in the metadata. */
    if (jobs->phase == PHASE_CATALOG)
        enter(jobs, PHASE_RING);
    base_buf_init(&names, CATALOG_BYTES);
    for (size_t i = 0; i < n_scopes; i++) {
        base_buf_put_span(&names, scopes[i].name);
        base_buf_put_char(&names, '\n');
    }
    if (!base_span_eq(base_buf_span(&names), base_buf_span(&jobs->catalog))) {
        base_buf_clear(&jobs->catalog);
        jobs->catalog = names;
        publish(jobs);
        return;
    }
    base_buf_clear(&names);
}

/* --- signing keys --- */

static void on_ring_changed(void *ctx, const struct store_outcome *outcome)
{
    struct jobs *jobs = ctx;

    /* After a conflict another instance was faster, or somebody has made rows that no step fits:
     * the next poll will do, and be it for ever. */
    if (answered(jobs, outcome->err) && outcome->err == BASE_OK)
        jobs_poke(jobs);
}

static struct store_audit job_audit(struct base_span action, struct base_span kid)
{
    return (struct store_audit){
        .actor = BASE_SPAN("server"), .action = action, .object = kid, .changes = BASE_SPAN("{}")};
}

/* A new key, sealed; empty kid on failure. RSA takes some tenths of a second: that delays the
 * probes of the operations listener, not the workers. */
static enum base_err make_key(struct jobs *jobs, struct jose_key **key, struct base_buf *sealed,
                              struct store_signing_key *row)
{
    enum base_err err = api_signing_key_make(jobs->options.shared->config.rotation.alg, jobs->seal,
                                             key, sealed, row);

    if (err != BASE_OK)
        complain(jobs, "signing_key_failed", base_err_text(err));
    return err;
}

static void add_key(struct jobs *jobs, bool first)
{
    const struct policy_rotation *rotation = &jobs->options.shared->config.rotation;
    struct store_signing_key row;
    struct jose_key *key = NULL;
    struct base_buf sealed;
    struct store_audit audit;

    base_buf_init(&sealed, 16u << 10);
    if (make_key(jobs, &key, &sealed, &row) == BASE_OK) {
        sending(jobs);
        audit = job_audit(
            first ? BASE_SPAN("signing_key.first") : BASE_SPAN("signing_key.announce"), row.kid);
        if (first)
            store_signing_key_first(jobs->db, &row, &audit, on_ring_changed, jobs);
        else
            store_signing_key_announce(jobs->db, &row, policy_ring_wait_us(rotation), NULL, &audit,
                                       on_ring_changed, jobs);
    }
    jose_key_unref(&key);
    base_buf_clear(&sealed);
}

static void activate(struct jobs *jobs, const struct store_signing_key *rows, size_t n_rows)
{
    const struct api_config *config = &jobs->options.shared->config;

    for (size_t i = 0; i < n_rows; i++) {
        struct store_audit audit = job_audit(BASE_SPAN("signing_key.activate"), rows[i].kid);

        if (rows[i].state != STORE_SIGNING_ANNOUNCED)
            continue;
        sending(jobs);
        store_signing_key_activate(jobs->db, rows[i].kid, config->token_ttl_us,
                                   policy_ring_publish_us(&config->rotation), &audit,
                                   on_ring_changed, jobs);
        return;
    }
}

static void take_step(struct jobs *jobs, const struct store_signing_key *rows, size_t n_rows,
                      int64_t now_us)
{
    switch (policy_ring_next(rows, n_rows, &jobs->options.shared->config.rotation, now_us)) {
    case POLICY_RING_NOTHING:
        return;
    case POLICY_RING_FIRST:
        add_key(jobs, true);
        return;
    case POLICY_RING_ANNOUNCE:
        add_key(jobs, false);
        return;
    case POLICY_RING_ACTIVATE:
        activate(jobs, rows, n_rows);
        return;
    case POLICY_RING_EXPIRE:
        sending(jobs);
        store_signing_key_expire(jobs->db, on_ring_changed, jobs);
        return;
    }
}

static void count_ring(struct jobs *jobs, int64_t db_now_us)
{
    struct base_metrics *metrics = jobs->options.shared->metrics;
    const struct policy_rotation *rotation = &jobs->options.shared->config.rotation;
    const struct policy_ring_key *signing = policy_ring_signing(jobs->ring);
    int64_t states[3] = {0};
    bool overdue = signing && policy_ring_overdue(jobs->ring, rotation, db_now_us);

    for (size_t i = 0; i < policy_ring_count(jobs->ring); i++)
        states[policy_ring_at(jobs->ring, i)->state]++;
    for (unsigned i = 0; i < BASE_COUNT(states); i++)
        base_metrics_set(metrics, jobs->options.shard, API_METRIC_SIGNING_KEYS, i, states[i]);
    base_metrics_set(metrics, jobs->options.shard, API_METRIC_SIGNING_KEY_AGE, 0,
                     signing ? (db_now_us - signing->activated_us) / BASE_US_PER_S : 0);
    base_metrics_set(metrics, jobs->options.shard, API_METRIC_ROTATION_OVERDUE, 0, overdue);
    if (overdue)
        complain(jobs, "rotation_overdue", "no successor signs an hour after it should");
}

/* The database has confirmed the ring: its lease runs from when it was asked. */
static void confirm(struct jobs *jobs)
{
    atomic_store(&jobs->snapshot->confirmed_mono_us, jobs->sent_us);
    atomic_store(&jobs->snapshot->confirmed_wall_us, jobs->sent_wall_us);
    atomic_store(&jobs->options.shared->ring_serial, jobs->snapshot->serial);
    atomic_store(&jobs->options.shared->ring_confirmed_us, jobs->sent_us);
}

static void adopt(struct jobs *jobs, struct policy_ring *ring)
{
    policy_ring_unref(&jobs->ring);
    jobs->ring = ring;
    publish(jobs);
}

/* The ring of these rows; opening the sealed keys is only needed when the table or the master keys
 * have changed. False: it cannot be opened, and a person has been told. */
static bool read_ring(struct jobs *jobs, const struct store_signing_key *rows, size_t n_rows)
{
    BASE_AUTO(base_buf_clear) struct base_buf why = {.max = 512};
    uint64_t failures = base_mem_failures();
    struct policy_ring *ring;

    if (jobs->ring && policy_ring_is_of(jobs->ring, rows, n_rows) && !jobs->snapshot_stale)
        return true;
    if (policy_ring_new(rows, n_rows, jobs->seal, &ring, &why) == BASE_OK) {
        adopt(jobs, ring);
        return true;
    }
    if (base_mem_failures() != failures) { /* says nothing about the keys: read again next time */
        complain(jobs, "ring_not_read", base_err_text(BASE_NO_MEMORY));
        return false;
    }
    /* The old ring signs on until its lease ends: an alert need not wait for that. */
    base_metrics_set(jobs->options.shared->metrics, jobs->options.shard, API_METRIC_SIGNING_KEYS,
                     STORE_SIGNING_ACTIVE, 0);
    settle(jobs, JOBS_REFUSED);
    complain(jobs, "master_key", base_buf_cstr(&why));
    return false;
}

/* Whether anything has changed is seen from the rows: after a failover that lost commits the same
 * generation may stand for other keys. */
static void on_ring(void *ctx, enum base_err err, const struct store_signing_key *rows,
                    size_t n_rows, int64_t now_us, int64_t generation BASE_UNUSED)
{
    struct jobs *jobs = ctx;

    if (!answered(jobs, err) || err != BASE_OK || !read_ring(jobs, rows, n_rows))
        return;
    confirm(jobs);
    count_ring(jobs, now_us);
    take_step(jobs, rows, n_rows, now_us);
    if (policy_ring_signing(jobs->ring))
        settle(jobs, JOBS_READY);
}

/* --- start: schema, master keys, lifetime of tokens; and other master keys --- */

/* Names what lacks its master key, in a sentence; false: nothing does. */
static bool put_missing(struct base_buf *why, const struct base_seal *seal,
                        const struct store_seal_need *needs, size_t n_needs)
{
    static const char *const whats[] = {"", " (secrets)", " (signing keys)",
                                        " (signing keys and secrets)"};
    size_t before = why->len;

    for (size_t i = 0; i < n_needs; i++) {
        const struct store_seal_need *need = &needs[i];

        if (base_seal_has(seal, &need->seal_id))
            continue;
        if (why->len == before)
            base_buf_put_str(why,
                             "CARDEA_MASTER_KEY_FILE lacks a master key that is still needed:");
        base_buf_put_char(why, ' ');
        api_put_fingerprint(why, &need->seal_id);
        base_buf_put_str(why, whats[2 * need->signing_keys + need->secrets]);
    }
    return why->len > before;
}

/* By their fingerprints, which `cardea config` shows too: so that a person can see that every
 * instance has a new key before something is sealed with it. */
static void log_seal(const struct base_seal *seal)
{
    BASE_AUTO(base_buf_clear) struct base_buf text = {.max = 1024};

    for (size_t i = 0; i < base_seal_count(seal); i++) {
        if (i > 0)
            base_buf_put_char(&text, ' ');
        api_put_fingerprint(&text, base_seal_id_at(seal, i));
    }
    BASE_LOG(BASE_LOG_INFO, "master_keys", base_log_str("fingerprints", base_buf_cstr(&text)));
}

static void take_seal(struct jobs *jobs, struct base_seal *seal)
{
    base_seal_unref(&jobs->seal);
    jobs->seal = seal;
    log_seal(seal);
    jobs->snapshot_stale = true;
    jobs_poke(jobs);
}

/* Ends the offer, one way or the other; `why` is empty when the keys were taken. */
static void decide_offer(struct jobs *jobs, struct base_buf *why)
{
    struct base_seal *offered = jobs->offered;

    jobs->offered = NULL;
    if (why->len == 0)
        take_seal(jobs, offered);
    else
        base_seal_unref(&offered);
    jobs->options.seal_decided(jobs->options.data, why->len ? base_buf_cstr(why) : NULL);
}

static void on_offer_checked(void *ctx, enum base_err err, const struct store_seal_need *needs,
                             size_t n_needs)
{
    struct jobs *jobs = ctx;
    struct base_buf why;

    base_buf_init(&why, 1024);
    if (!answered(jobs, err) || err != BASE_OK)
        base_buf_putf(&why, "the database cannot tell which master keys are still needed: %s",
                      base_err_text(err));
    else
        put_missing(&why, jobs->offered, needs, n_needs);
    decide_offer(jobs, &why);
    base_buf_clear(&why);
}

static void on_seals(void *ctx, enum base_err err, const struct store_seal_need *needs,
                     size_t n_needs)
{
    struct jobs *jobs = ctx;
    struct base_buf why;

    if (!answered(jobs, err) || err != BASE_OK)
        return;
    base_buf_init(&why, 1024);
    if (put_missing(&why, jobs->seal, needs, n_needs)) {
        settle(jobs, JOBS_REFUSED);
        complain(jobs, "master_key", base_buf_cstr(&why));
    } else {
        enter(jobs, PHASE_LIFETIME);
    }
    base_buf_clear(&why);
}

static void on_lifetime(void *ctx, const struct store_outcome *outcome)
{
    struct jobs *jobs = ctx;

    if (answered(jobs, outcome->err) && outcome->err == BASE_OK)
        enter(jobs, PHASE_CATALOG);
}

static void on_schema(void *ctx, enum base_err err, const char *why)
{
    struct jobs *jobs = ctx;

    if (!answered(jobs, err)) {
        /* It did answer, but not what a database of ours does. */
        if (err == BASE_INTERNAL)
            complain(jobs, "schema", why);
        return;
    }
    if (err == BASE_OK) {
        enter(jobs, PHASE_SEALS);
        return;
    }
    settle(jobs, JOBS_REFUSED);
    complain(jobs, "schema", why);
}

/* --- last-used times --- */

static void on_flushed(void *ctx, const struct store_outcome *outcome)
{
    struct jobs *jobs = ctx;

    /* What could not be stored is kept for the next time; more are not taken meanwhile. It says
     * nothing about reading, which is all that tokens need: the disk may be full. */
    jobs->busy = false;
    if (outcome->err != BASE_OK) {
        complain(jobs, "last_used_not_stored", base_err_text(outcome->err));
        jobs->flush_over = jobs->flushing_all;
        return;
    }
    /* After a full batch the next follows at once, though not before a poll that is due: the times
     * are stored as fast as the database takes them. */
    if (jobs->n_uses == MAX_FLUSH) {
        jobs->next_flush_us = 0;
        turn(jobs);
    }
    jobs->n_uses = 0;
    if (jobs->flushing_all)
        jobs_flush(jobs);
}

static bool flush(struct jobs *jobs)
{
    if (jobs->n_uses == 0)
        jobs->n_uses = jobs->options.take_uses(jobs->options.data, jobs->uses, MAX_FLUSH);
    if (jobs->n_uses == 0)
        return false;
    sending(jobs);
    store_key_touch(jobs->db, jobs->uses, jobs->n_uses, on_flushed, jobs);
    return true;
}

void jobs_flush(struct jobs *jobs)
{
    jobs->flushing_all = true;
    if (!jobs->busy && !flush(jobs))
        jobs->flush_over = true;
}

bool jobs_flushed(const struct jobs *jobs)
{
    return jobs->flush_over;
}

/* --- the machine --- */

/* While batches come back full the next follows with the next tick: what a thousand assertions a
 * second leave behind is cleared faster than it grows. */
static void on_expired(void *ctx, enum base_err err, bool more)
{
    struct jobs *jobs = ctx;

    jobs->busy = false;
    if (err != BASE_OK)
        complain(jobs, "not_cleared", base_err_text(err));
    else if (more)
        jobs->next_expire_us = 0;
}

static bool due(int64_t *at_us, int64_t period_us, int64_t now_us)
{
    if (now_us < *at_us)
        return false;
    *at_us = now_us + period_us;
    return true;
}

/* What the phase asks the database for; the last phase for ever. */
static void poll_database(struct jobs *jobs)
{
    sending(jobs);
    switch (jobs->phase) {
    case PHASE_SCHEMA:
        store_schema_check(jobs->db, on_schema, jobs);
        return;
    case PHASE_SEALS:
        store_seals_needed(jobs->db, on_seals, jobs);
        return;
    case PHASE_LIFETIME:
        store_signing_ring_note_ttl(jobs->db, jobs->options.shared->config.token_ttl_us,
                                    on_lifetime, jobs);
        return;
    case PHASE_CATALOG:
        store_scope_list(jobs->db, on_scopes, jobs);
        return;
    case PHASE_RING:
        store_signing_key_list(jobs->db, on_ring, jobs);
        return;
    }
}

static void tick(struct jobs *jobs)
{
    int64_t now_us = base_clock_mono_us();

    if (jobs->busy)
        return;
    if (jobs->flushing_all && !jobs->flush_over) {
        jobs_flush(jobs);
        return;
    }
    if (jobs->offered) {
        sending(jobs);
        store_seals_needed(jobs->db, on_offer_checked, jobs);
        return;
    }
    if (due(&jobs->next_poll_us, POLL_US, now_us)) {
        poll_database(jobs);
        return;
    }
    if (jobs->phase != PHASE_RING || atomic_load(&jobs->options.shared->database_seen_us) == 0)
        return;
    if (due(&jobs->next_scopes_us, SCOPES_US, now_us)) {
        sending(jobs);
        store_scope_list(jobs->db, on_scopes, jobs);
    } else if (due(&jobs->next_flush_us, FLUSH_US, now_us) && flush(jobs)) {
        return;
    } else if (due(&jobs->next_expire_us, EXPIRE_US, now_us)) {
        sending(jobs);
        store_expire(jobs->db, on_expired, jobs);
    }
}

static void on_timer(evutil_socket_t fd BASE_UNUSED, short events BASE_UNUSED, void *data)
{
    tick(data);
}

void jobs_poke(struct jobs *jobs)
{
    jobs->next_poll_us = 0;
    turn(jobs);
}

static void on_state(void *data, bool connected, const char *why)
{
    struct jobs *jobs = data;

    worker_log_database(jobs->options.database_gate, connected, why);
    if (connected) {
        jobs_poke(jobs);
        return;
    }
    atomic_store(&jobs->options.shared->database_seen_us, 0);
    settle(jobs, JOBS_WAITING);
}

static void on_notify(void *data, const char *channel BASE_UNUSED, const char *payload BASE_UNUSED)
{
    jobs_poke(data);
}

static enum base_err open_database(struct jobs *jobs, struct base_buf *why)
{
    const struct settings *settings = jobs->options.settings;
    enum base_err err =
        db_conn_open(jobs->options.base,
                     &(struct db_options){
                         .conninfo = settings->database_url ? settings->database_url : "",
                         .application_name = "cardea jobs",
                         .query_timeout_us = ANSWER_US,
                         .connect_timeout_us = settings->database_timeout,
                         .max_pending = 16,
                         .on_state = on_state,
                         .on_notify = on_notify,
                         .data = jobs,
                     },
                     &jobs->db, why);

    if (err == BASE_OK)
        db_conn_listen(jobs->db, STORE_RING_CHANNEL);
    return err;
}

enum base_err jobs_new(const struct jobs_options *options, struct jobs **out, struct base_buf *why)
{
    struct jobs *jobs = base_calloc(1, sizeof *jobs);
    struct timeval period = {0, TICK_US};
    enum base_err err;

    *out = NULL;
    jobs->options = *options;
    jobs->seal = options->seal;
    log_seal(jobs->seal);
    base_buf_init(&jobs->catalog, CATALOG_BYTES);
    jobs->snapshot =
        api_snapshot_new(&options->shared->config, base_seal_ref(jobs->seal), NULL, NULL, 0);
    jobs->timer = event_new(options->base, -1, EV_PERSIST, on_timer, jobs);
    if (!jobs->timer || event_add(jobs->timer, &period) != 0)
        err = BASE_INTERNAL;
    else
        err = open_database(jobs, why);
    if (err != BASE_OK) {
        jobs_free(&jobs);
        return err;
    }
    *out = jobs;
    return BASE_OK;
}

void jobs_free(struct jobs **address)
{
    struct jobs *jobs = *address;

    *address = NULL;
    if (!jobs)
        return;
    db_conn_close(&jobs->db);
    if (jobs->timer)
        event_free(jobs->timer);
    api_snapshot_unref(&jobs->snapshot);
    policy_ring_unref(&jobs->ring);
    base_seal_unref(&jobs->seal);
    base_seal_unref(&jobs->offered);
    base_buf_clear(&jobs->catalog);
    base_free(&jobs);
}

enum jobs_verdict jobs_first_verdict(const struct jobs *jobs)
{
    return jobs->verdict;
}

struct api_snapshot *jobs_snapshot(struct jobs *jobs)
{
    return api_snapshot_ref(jobs->snapshot);
}

/* Before the ring is read the start's own check will judge them, and there is nothing to lose yet.
 */
void jobs_offer_seal(struct jobs *jobs, struct base_seal *seal)
{
    base_seal_unref(&jobs->offered);
    if (jobs->phase <= PHASE_SEALS) {
        take_seal(jobs, seal);
        jobs->options.seal_decided(jobs->options.data, NULL);
        return;
    }
    jobs->offered = seal;
    turn(jobs);
}
