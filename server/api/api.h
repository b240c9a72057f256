/* SPDX-License-Identifier: Apache-2.0 */
/* Where HTTP, rules and data meet: what handlers work with, and the handlers themselves. One struct
 * api_worker per thread is reached through request->server_data; struct api_shared is the
 * process's. The command line calls the same handlers over a request made in memory (api_local.h).
 */
#ifndef API_H
#define API_H

#include "api_metrics.h"
#include "base_metrics.h"
#include "base_seal.h"
#include "http_router.h"
#include "jose_key.h"
#include "jose_sign.h"
#include "policy_admin.h"
#include "policy_limit.h"
#include "policy_ring.h"

#include <pthread.h>
#include <stdatomic.h>

struct db_conn;

/* Route flags. The low bits say which listeners answer, the next how errors look, then who may
 * call. */
enum api_flag {
    API_PUBLIC = 1,
    API_MANAGEMENT = 2,
    API_OPS = 4,
    API_LISTENERS = 7,
    API_PROBLEM = 16, /* errors as RFC 9457 problems; otherwise as OAuth errors */
    API_NO_STORE =
        32, /* every answer, errors too, carries Cache-Control: no-store and Pragma: no-cache */
    API_NEED_SHIFT = 8, /* enum policy_admin_need << API_NEED_SHIFT */
};

/* The one route table. */
extern const struct http_route api_routes[];
extern const size_t api_n_routes;

/* Values fixed at start; strings live as long as the process serves. */
struct api_config {
    struct base_span issuer;
    struct base_span token_endpoint; /* its URL */
    struct base_span default_audience;
    const char *token_typ;
    int64_t token_ttl_us;
    struct policy_rotation rotation;
};

/* What changes while running, replaced whole: immutable, shared by reference; but for its lease. */
struct api_snapshot {
    _Atomic unsigned refs;
    /* The ring's lease: when the database last confirmed it (policy_ring_lease_holds). It is this
     * ring's own: a worker that has not yet got the next one must not sign with a key that is
     * withdrawn there, on the strength of the next one's confirmation. */
    _Atomic int64_t confirmed_mono_us, confirmed_wall_us;
    struct base_seal *seal;
    struct policy_ring *ring; /* NULL before the database was first read */
    uint64_t serial;          /* grows from snapshot to snapshot of one process */
    struct base_buf metadata; /* RFC 8414 document */
    struct base_buf metadata_openid;
};
/* Takes over the references on seal and ring. `scopes` is the catalog for scopes_supported. */
struct api_snapshot *api_snapshot_new(const struct api_config *config, struct base_seal *seal,
                                      struct policy_ring *ring, const struct base_span *scopes,
                                      size_t n_scopes);
struct api_snapshot *api_snapshot_ref(struct api_snapshot *snapshot);
void api_snapshot_unref(struct api_snapshot **snapshot);

#define API_MAX_WORKERS 64

struct api_shared {
    struct api_config config;
    struct policy_limit *limit;
    struct base_metrics *metrics;
    unsigned n_workers;
    /* For /readyz. Times are monotonic; the job that polls the database writes them. */
    _Atomic bool draining;
    _Atomic int64_t
        database_seen_us; /* last answer of the database; 0: never, or the last poll failed */
    _Atomic bool lookup_ready[API_MAX_WORKERS]; /* each worker's connection for look-ups is open */
    /* After an emergency no worker signs with or believes a ring that the database has not
     * confirmed since then (monotonic; 0: there was none). */
    _Atomic int64_t ring_needed_us;
    /* Which snapshot the database confirmed last, and when it was asked; and which one each worker
     * has: what the emergency's answer waits for. */
    _Atomic int64_t ring_confirmed_us;
    _Atomic uint64_t ring_serial, ring_adopted[API_MAX_WORKERS + 1]; /* and the operations' */
    /* Asks the jobs to look at the ring now (after a rotation by the API); any thread; may be NULL.
     */
    void (*wake_jobs)(void *app);
    int64_t (*tls_not_after_us)(void *app); /* for /metrics; NULL or 0: no TLS */
    void *app;
};

struct api_use; /* api_used.c: keys used since the last flush */
struct api_client_keys;
struct api_jti;
struct api_pause;

struct api_worker {
    struct api_shared *shared;
    unsigned shard; /* of metrics */
    struct event_base *base;
    struct db_conn *lookup; /* the token path's reads, and nothing else */
    struct db_conn *admin;  /* management */
    struct db_conn *once;   /* the jti of assertions: writes, which wait for the disk one by one */
    struct api_jti *jti;    /* of them, waiting for it; made with the first assertion */
    struct api_client_keys *client_keys; /* parsed; made when the first assertion comes */
    struct api_snapshot *snapshot;
    struct jose_signer *signer; /* of the snapshot's signing key; NULL: none */
    struct base_buf scratch;    /* replies are built here, one at a time */
    struct base_buf payload;    /* and claims here */
    struct base_buf granted;    /* and the scope that was granted here */
    struct api_pause *pauses;   /* emergencies that wait (api_signing_keys.c) */
    pthread_mutex_t uses_lock;  /* worker adds, the flushing job takes */
    struct api_use *uses;
    /* Set on the command line only: who acts, instead of a bearer token. */
    const struct policy_principal *local;
};

/* Zeroes and prepares; base, connections and snapshot are the caller's to set. */
void api_worker_init(struct api_worker *worker, struct api_shared *shared, unsigned shard);
/* A new snapshot (its reference is taken over); makes the signer anew when the signing key changed.
 */
void api_worker_adopt(struct api_worker *worker, struct api_snapshot *snapshot);
void api_worker_clear(struct api_worker *worker);

static inline struct api_worker *api_worker_of(const struct http_request *request)
{
    return request->server_data;
}

/* The ring, if its lease still holds at this moment: what it says of keys may be believed. NULL:
 * answer 503. */
struct policy_ring *api_worker_ring(struct api_worker *worker);
/* Its signer, under the same condition. */
struct jose_signer *api_worker_signer(struct api_worker *worker);

static inline void api_count(struct api_worker *worker, enum api_metric metric, unsigned value)
{
    base_metrics_add(worker->shared->metrics, worker->shard, metric, value, 1);
}

/* Notes that the key was used now, unless its row already says so for this minute. Never blocks
 * longer than the flush takes to exchange a pointer. */
void api_used_note(struct api_worker *worker, struct base_span key_id, int64_t last_used_us,
                   int64_t now_us);
/* Takes up to `max` noted uses, for the flushing job; any thread. Returns how many. */
size_t api_used_take(struct api_worker *worker, struct store_key_use *out, size_t max);

/* Handlers, as the route table names them. */
http_handler api_token, api_jwks, api_metadata, api_metadata_openid;
/* Why /readyz says no, a literal; NULL when it says yes. On the worker's own thread. */
const char *api_not_ready(struct api_worker *worker);
http_handler api_livez, api_readyz, api_metrics_page;
http_handler api_keys_list, api_keys_create, api_keys_get, api_keys_patch, api_keys_delete,
    api_keys_secret;
http_handler api_tenants_list, api_tenants_create, api_tenants_get, api_tenants_patch,
    api_tenants_delete;
http_handler api_scopes_list, api_scopes_get, api_scopes_put, api_scopes_delete;
http_handler api_signing_keys_list, api_signing_keys_rotate;
http_handler api_audit_tenant, api_audit_all;
http_handler api_openapi;

/* For http_server_options.error_reply: answers in the route's own format. */
void api_error_reply(void *data, const struct http_request *request, struct base_span target,
                     int status, const char *allow, struct http_reply *reply);

#endif
