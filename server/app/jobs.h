/* SPDX-License-Identifier: Apache-2.0 */
/* The work that no request asked for, on the main thread's loop and a database connection of its
 * own: checking the schema, keeping the key ring in step with the fleet, rotating signing keys,
 * storing last-used times, clearing what has expired. The poll of the ring is at the same time the
 * check that the database is there. */
#ifndef JOBS_H
#define JOBS_H

#include "api.h"
#include "base_log.h"
#include "settings.h"

struct event_base;
struct jobs;

struct jobs_options {
    struct event_base *base;
    const struct settings *settings;
    struct api_shared *shared;
    unsigned shard;         /* of metrics */
    struct base_seal *seal; /* the reference is taken over */
    struct base_log_gate *database_gate;
    /* A new snapshot is there; the receiver takes references of its own. */
    void (*publish)(void *data, struct api_snapshot *snapshot);
    /* Moves up to `max` noted uses of all workers into `out`. */
    size_t (*take_uses)(void *data, struct store_key_use *out, size_t max);
    /* What has become of the master keys of jobs_offer_seal(): taken (NULL), or why not. */
    void (*seal_decided)(void *data, const char *why);
    void *data;
};

enum base_err jobs_new(const struct jobs_options *options, struct jobs **out,
                       struct base_buf *why) BASE_MUST_USE;
void jobs_free(struct jobs **jobs);

/* How the first contact with the database ended. */
enum jobs_verdict {
    JOBS_PENDING,
    JOBS_READY,   /* schema and keys are fine */
    JOBS_WAITING, /* the database is away: go on, live but not ready */
    JOBS_REFUSED, /* schema or master key do not fit: do not start */
};
enum jobs_verdict jobs_first_verdict(const struct jobs *jobs);

/* The current snapshot, with a reference for the caller. Never NULL. */
struct api_snapshot *jobs_snapshot(struct jobs *jobs);
/* Look at the ring now. */
void jobs_poke(struct jobs *jobs);
/* Other master keys (the reference is taken over), after SIGHUP. They are only taken when the
 * database says that no other is still needed; of several offers the last counts. The answer comes
 * with seal_decided(), perhaps before this returns. */
void jobs_offer_seal(struct jobs *jobs, struct base_seal *seal);
/* Stores what is noted; jobs_flushed() tells when nothing is left or the database did not answer.
 */
void jobs_flush(struct jobs *jobs);
bool jobs_flushed(const struct jobs *jobs);

#endif
