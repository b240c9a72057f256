/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker holds for its handlers, and the snapshot that is exchanged under it. */
#include "api.h"
#include "api_client_keys.h"
#include "api_jti.h"
#include "base_clock.h"
#include "base_json.h"
#include "base_mem.h"

/* More than the largest reply: a page of 200 keys, each with 2 KiB of claims and 5 public keys. */
#define SCRATCH_MAX (8u << 20)
/* Claims: 2 KiB of the key's own, 64 scopes of 128 bytes, 8 audiences of 255, and ours; six times
 * as long where all of it is `&`, which JSON text has as \u0026. */
#define PAYLOAD_MAX  (96u << 10)
#define METADATA_MAX (1u << 20)

static void put_names(struct base_buf *out, const char *member, const struct base_span *names,
                      size_t n)
{
    base_json_put_name(out, member);
    base_buf_put_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            base_buf_put_char(out, ',');
        base_json_put_string(out, names[i]);
    }
    base_buf_put_char(out, ']');
}

static void put_issuer_url(struct base_buf *out, const char *member, struct base_span issuer,
                           const char *path)
{
    base_json_put_name(out, member);
    base_json_put_string(out, issuer);
    out->len--; /* before the closing quote: the paths are plain ASCII */
    base_buf_put_str(out, path);
    base_buf_put_char(out, '"');
}

/* Of every published key, each once: while CARDEA_SIGNING_ALG changes, tokens of both are about. */
static void put_algs(struct base_buf *out, const struct api_config *config,
                     const struct policy_ring *ring)
{
    struct base_span names[JOSE_ALG_COUNT] = {base_span_str(jose_alg_name(config->rotation.alg))};
    bool is_listed[JOSE_ALG_COUNT] = {false};
    size_t n_keys = ring ? policy_ring_count(ring) : 0, n_names = 0;

    for (size_t i = 0; i < n_keys; i++) {
        enum jose_alg alg = jose_key_alg(policy_ring_at(ring, i)->key);

        if (!is_listed[alg])
            names[n_names++] = base_span_str(jose_alg_name(alg));
        is_listed[alg] = true;
    }
    put_names(out, "id_token_signing_alg_values_supported", names, n_names > 0 ? n_names : 1);
}

/* RFC 8414 §2. RFC 8414 forbids empty arrays by meaning nothing with them; a catalog without scopes
 * is left out. */
static void write_metadata(struct base_buf *out, const struct api_config *config,
                           const struct policy_ring *ring, const struct base_span *scopes,
                           size_t n_scopes, bool openid)
{
    base_buf_put_char(out, '{');
    base_json_put_member_string(out, "issuer", config->issuer);
    base_json_put_member_string(out, "token_endpoint", config->token_endpoint);
    put_issuer_url(out, "jwks_uri", config->issuer, "/.well-known/jwks.json");
    base_buf_put_str(out,
                     ",\"grant_types_supported\":[\"client_credentials\"]"
                     ",\"response_types_supported\":[\"none\"]"
                     ",\"token_endpoint_auth_methods_supported\":[\"client_secret_basic\","
                     "\"client_secret_post\",\"private_key_jwt\"]"
                     ",\"token_endpoint_auth_signing_alg_values_supported\":[\"ES256\",\"ES384\","
                     "\"RS256\"]");
    if (n_scopes > 0)
        put_names(out, "scopes_supported", scopes, n_scopes);
    if (openid) {
        put_algs(out, config, ring);
        base_buf_put_str(out, ",\"subject_types_supported\":[\"public\"]");
    }
    base_buf_put_char(out, '}');
}

struct api_snapshot *api_snapshot_new(const struct api_config *config, struct base_seal *seal,
                                      struct policy_ring *ring, const struct base_span *scopes,
                                      size_t n_scopes)
{
    struct api_snapshot *snapshot = base_calloc(1, sizeof *snapshot);

    snapshot->refs = 1;
    snapshot->seal = seal;
    snapshot->ring = ring;
    base_buf_init(&snapshot->metadata, METADATA_MAX);
    base_buf_init(&snapshot->metadata_openid, METADATA_MAX);
    write_metadata(&snapshot->metadata, config, ring, scopes, n_scopes, false);
    write_metadata(&snapshot->metadata_openid, config, ring, scopes, n_scopes, true);
    return snapshot;
}

struct api_snapshot *api_snapshot_ref(struct api_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
    return snapshot;
}

void api_snapshot_unref(struct api_snapshot **address)
{
    struct api_snapshot *snapshot = *address;

    *address = NULL;
    if (!snapshot || atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) > 1)
        return;
    base_seal_unref(&snapshot->seal);
    policy_ring_unref(&snapshot->ring);
    base_buf_clear(&snapshot->metadata);
    base_buf_clear(&snapshot->metadata_openid);
    base_free(&snapshot);
}

void api_worker_init(struct api_worker *worker, struct api_shared *shared, unsigned shard)
{
    memset(worker, 0, sizeof *worker);
    worker->shared = shared;
    worker->shard = shard;
    base_buf_init(&worker->scratch, SCRATCH_MAX);
    base_buf_init(&worker->payload, PAYLOAD_MAX);
    base_buf_init(&worker->granted, PAYLOAD_MAX);
    pthread_mutex_init(&worker->uses_lock, NULL);
}

/* The signer stays when the key does: a new one costs a context and an encoded header. */
static void renew_signer(struct api_worker *worker)
{
    const struct policy_ring *ring = worker->snapshot->ring;
    const struct policy_ring_key *signing = ring ? policy_ring_signing(ring) : NULL;

    if (signing && worker->signer &&
        strcmp(jose_key_thumbprint(signing->key),
               jose_key_thumbprint(jose_signer_key(worker->signer))) == 0)
        return;
    jose_signer_free(&worker->signer);
    if (signing &&
        jose_signer_new(signing->key, worker->shared->config.token_typ, &worker->signer) != BASE_OK)
        worker->signer = NULL; /* requests are answered 503, and each tries again */
}

void api_worker_adopt(struct api_worker *worker, struct api_snapshot *snapshot)
{
    api_snapshot_unref(&worker->snapshot);
    worker->snapshot = snapshot;
    renew_signer(worker);
    atomic_store(&worker->shared->ring_adopted[worker->shard], snapshot->serial);
}

struct policy_ring *api_worker_ring(struct api_worker *worker)
{
    const struct api_snapshot *snapshot = worker->snapshot;
    int64_t mono = atomic_load_explicit(&snapshot->confirmed_mono_us, memory_order_relaxed);
    int64_t wall = atomic_load_explicit(&snapshot->confirmed_wall_us, memory_order_relaxed);

    if (mono < atomic_load_explicit(&worker->shared->ring_needed_us, memory_order_relaxed))
        return NULL;
    if (!policy_ring_lease_holds(mono, wall, base_clock_mono_us(), base_clock_wall_us()))
        return NULL;
    return snapshot->ring;
}

struct jose_signer *api_worker_signer(struct api_worker *worker)
{
    if (!api_worker_ring(worker))
        return NULL;
    if (!worker->signer)
        renew_signer(worker);
    return worker->signer;
}

void api_worker_clear(struct api_worker *worker)
{
    struct store_key_use use;

    while (api_used_take(worker, &use, 1) > 0)
        ;
    jose_signer_free(&worker->signer);
    api_jti_free(&worker->jti);
    api_client_keys_free(&worker->client_keys);
    api_snapshot_unref(&worker->snapshot);
    base_buf_clear(&worker->scratch);
    base_buf_clear(&worker->payload);
    base_buf_clear(&worker->granted);
    pthread_mutex_destroy(&worker->uses_lock);
}
