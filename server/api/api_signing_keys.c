/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/signing-keys: what signs, what is about to, what still verifies; and rotations that a person
 * starts. */
#include "api_signing_keys.h"

#include "api_json.h"
#include "api_problem.h"
#include "base_clock.h"
#include "base_encode.h"
#include "base_mem.h"
#include "policy_ring.h"

#include <event2/event.h>

/* After an emergency: what the other instances, told by its commit, have to read the ring; how
 * often it is looked whether the workers here have it; and when the answer goes out all the same.
 */
#define OTHERS_US     (250 * BASE_US_PER_MS)
#define LOOK_AGAIN_US (10 * BASE_US_PER_MS)
#define FOLLOW_US     (2 * BASE_US_PER_S)

/* --- making a key --- */

void api_put_fingerprint(struct base_buf *out, const struct base_seal_id *id)
{
    base_encode_hex(out, id->bytes, sizeof id->bytes);
}

static enum base_err seal_key(const struct base_seal *seal, const struct jose_key *key,
                              struct base_buf *out)
{
    BASE_AUTO(base_buf_clear) struct base_buf plain = {.max = 16u << 10};
    BASE_AUTO(base_buf_clear) struct base_buf context = {.max = 256};
    enum base_err err = jose_key_export_private(key, &plain);

    if (err != BASE_OK)
        return err;
    policy_ring_seal_context(base_span_str(jose_key_thumbprint(key)), &context);
    return base_seal_close(seal, base_buf_span(&context), base_buf_span(&plain), out);
}

enum base_err api_signing_key_make(enum jose_alg alg, const struct base_seal *seal,
                                   struct jose_key **key, struct base_buf *sealed,
                                   struct store_signing_key *row)
{
    enum base_err err;

    memset(row, 0, sizeof *row);
    if ((err = jose_key_generate(alg, key)) != BASE_OK ||
        (err = seal_key(seal, *key, sealed)) != BASE_OK)
        return err;
    row->kid = base_span_str(jose_key_thumbprint(*key));
    row->alg = base_span_str(jose_alg_name(alg));
    row->public_jwk = base_span_str(jose_key_public_jwk(*key));
    row->sealed = base_buf_span(sealed);
    row->seal_id = *base_seal_id_at(seal, 0);
    return BASE_OK;
}

/* --- list --- */

static void put_key(struct base_buf *out, const struct store_signing_key *key, const char *warning)
{
    static const char *const states[] = {"announced", "signing", "retired"};

    base_buf_put_char(out, '{');
    base_json_put_member_string(out, "kid", key->kid);
    base_json_put_member_string(out, "alg", key->alg);
    base_json_put_member_string(out, "state", base_span_str(states[key->state]));
    base_json_put_member_time(out, "created_at", key->created_us);
    api_json_put_time_or_null(out, "signs_from", key->signs_from_us);
    api_json_put_time_or_null(out, "activated_at", key->activated_us);
    api_json_put_time_or_null(out, "retired_at", key->retired_us);
    api_json_put_time_or_null(out, "publish_until", key->publish_until_us);
    if (warning)
        base_json_put_member_string(out, "warning", base_span_str(warning));
    base_buf_put_char(out, '}');
}

static void on_list(void *ctx, enum base_err err, const struct store_signing_key *keys,
                    size_t n_keys, int64_t now_us BASE_UNUSED, int64_t generation BASE_UNUSED)
{
    struct api_call *call = ctx;
    struct base_buf *body = &call->worker->scratch;

    if (err != BASE_OK) {
        api_problem_failure(call->request, err);
        api_call_end(&call);
        return;
    }
    base_buf_reset(body);
    BASE_BUF_LIT(body, "{\"items\":[");
    for (size_t i = 0; i < n_keys; i++) {
        if (i > 0)
            base_buf_put_char(body, ',');
        put_key(body, &keys[i], NULL);
    }
    BASE_BUF_LIT(body, "],\"next_cursor\":null}");
    api_json_send(call, 200, (struct base_span){0}, (struct base_span){0});
    api_call_end(&call);
}

static void list_keys(struct api_call *call)
{
    store_signing_key_list(call->worker->admin, on_list, call);
}

void api_signing_keys_list(struct http_request *request)
{
    api_admit(request, list_keys);
}

/* --- rotate --- */

static bool is_emergency(const struct api_call *call)
{
    return json_is_true(json_object_get(call->body, "emergency"));
}

/* The key with the ID in call->text; without one, that of the rotation that was under way already:
 * keys come in the order in which they were made, and one that has retired is no answer. NULL:
 * withdrawn since. */
static const struct store_signing_key *find_key(const struct api_call *call,
                                                const struct store_signing_key *keys, size_t n_keys)
{
    struct base_span kid = base_buf_span(&call->text);

    for (size_t i = n_keys; i-- > 0;) {
        if (kid.len > 0 ? base_span_eq(keys[i].kid, kid) : keys[i].state != STORE_SIGNING_RETIRED)
            return &keys[i];
    }
    return NULL;
}

static void send_rotated(struct api_call *call, enum base_err err,
                         const struct store_signing_key *keys, size_t n_keys)
{
    static const char warning[] = "Every older key was withdrawn. Until your gateways have "
                                  "read the key set again (max-age), they may accept tokens "
                                  "signed before, and refuse new ones: restart them, or empty "
                                  "their caches, for it to be over now.";
    const struct store_signing_key *key = err == BASE_OK ? find_key(call, keys, n_keys) : NULL;

    if (key) {
        base_buf_reset(&call->worker->scratch);
        put_key(&call->worker->scratch, key, is_emergency(call) ? warning : NULL);
        api_json_send(call, call->text.len ? 201 : 200, (struct base_span){0}, key->kid);
    } else if (err == BASE_OK) {
        api_problem(call->request, 409,
                    "No key signs yet, or the key that this request made has been withdrawn since.",
                    "key_gone");
    } else {
        api_problem_failure(call->request, err);
    }
    api_call_end(&call);
}

static void on_reread(void *ctx, enum base_err err, const struct store_signing_key *keys,
                      size_t n_keys, int64_t now_us BASE_UNUSED, int64_t generation BASE_UNUSED)
{
    send_rotated(ctx, err, keys, n_keys);
}

static void reread(struct api_call *call)
{
    store_signing_key_list(call->worker->admin, on_reread, call);
}

/* --- after an emergency --- */

/* On the worker's loop, and known to it: none may be left when it ends. */
struct api_pause {
    struct api_call *call;
    struct event *timer;
    int64_t since_us;
    struct api_pause *next, **link;
};

static struct api_call *pause_end(struct api_pause **address)
{
    struct api_pause *pause = *address;
    struct api_call *call = pause->call;

    if (pause->next)
        pause->next->link = pause->link;
    *pause->link = pause->next;
    event_free(pause->timer);
    base_free(address);
    return call;
}

/* No ring that was read before is used here from now on. Another emergency may have gone further.
 */
static void need_ring_since(struct api_shared *shared, int64_t since_us)
{
    int64_t needed = atomic_load(&shared->ring_needed_us);

    while (needed < since_us &&
           !atomic_compare_exchange_weak(&shared->ring_needed_us, &needed, since_us))
        ;
}

/* Has every worker here a ring that was read after the emergency? Until then it uses none. */
static bool all_follow(const struct api_shared *shared, int64_t since_us)
{
    uint64_t serial;

    if (shared->n_workers > 0 && atomic_load(&shared->ring_confirmed_us) < since_us)
        return false;
    serial = atomic_load(&shared->ring_serial); /* after its confirmation: jobs write it before */
    for (unsigned i = 0; i < shared->n_workers; i++) {
        if (atomic_load(&shared->ring_adopted[i]) < serial)
            return false;
    }
    return true;
}

static void pause_for(struct api_pause *pause, int64_t us)
{
    const struct timeval wait = {us / BASE_US_PER_S, us % BASE_US_PER_S};

    (void)evtimer_add(pause->timer, &wait);
}

static void on_pause(evutil_socket_t fd BASE_UNUSED, short events BASE_UNUSED, void *data)
{
    struct api_pause *pause = data;
    bool is_over = base_clock_mono_us() - pause->since_us >= FOLLOW_US;

    if (is_over || all_follow(pause->call->worker->shared, pause->since_us))
        reread(pause_end(&pause));
    else
        pause_for(pause, LOOK_AGAIN_US);
}

static void wait_for_others(struct api_call *call)
{
    struct api_worker *worker = call->worker;
    struct api_pause *pause = base_calloc(1, sizeof *pause);

    pause->call = call;
    pause->since_us = base_clock_mono_us();
    pause->timer = evtimer_new(worker->base, on_pause, pause);
    pause->link = &worker->pauses;
    pause->next = worker->pauses;
    if (pause->next)
        pause->next->link = &pause->next;
    worker->pauses = pause;
    need_ring_since(worker->shared, pause->since_us);
    pause_for(pause, OTHERS_US);
}

void api_signing_keys_stop(struct api_worker *worker)
{
    while (worker->pauses) {
        struct api_pause *pause = worker->pauses;
        struct api_call *call = pause_end(&pause);

        api_problem_failure(call->request, BASE_UNAVAILABLE);
        api_call_end(&call);
    }
}

static void on_rotated(void *ctx, const struct store_outcome *outcome)
{
    struct api_call *call = ctx;
    struct api_shared *shared = call->worker->shared;

    if (outcome->err != BASE_OK) {
        base_buf_reset(&call->text);
        if (outcome->same_request)
            base_buf_put_span(&call->text, outcome->object);
        if (outcome->err != BASE_CONFLICT || (outcome->repeated && !outcome->same_request)) {
            api_json_outcome(call, outcome);
            api_call_end(&call);
            return;
        }
    }
    if (is_emergency(call) && outcome->err == BASE_OK)
        wait_for_others(call);
    else
        reread(call);
    if (shared->wake_jobs)
        shared->wake_jobs(shared->app);
}

static void store_rotation(struct api_call *call, const struct store_signing_key *row)
{
    const struct policy_rotation *rotation = &call->worker->shared->config.rotation;
    bool emergency = is_emergency(call);
    struct store_audit audit;

    base_buf_put_span(&call->text, row->kid);
    base_buf_putf(&call->text2, "{\"alg\":[null,\"%.*s\"],\"state\":[null,\"%s\"]}",
                  BASE_SPAN_ARGS(row->alg), emergency ? "signing" : "announced");
    audit = api_call_audit(call, emergency ? "signing_key.emergency" : "signing_key.announce",
                           row->kid, base_buf_span(&call->text2));
    if (emergency)
        store_signing_key_replace_all(call->worker->admin, row, &call->idempotency, &audit,
                                      on_rotated, call);
    else
        store_signing_key_announce(call->worker->admin, row, policy_ring_wait_us(rotation),
                                   &call->idempotency, &audit, on_rotated, call);
}

static void rotate(struct api_call *call)
{
    const struct api_config *config = &call->worker->shared->config;
    BASE_AUTO(base_buf_clear) struct base_buf sealed = {.max = 16u << 10};
    struct store_signing_key row;
    struct jose_key *key = NULL;
    enum base_err err = api_signing_key_make(config->rotation.alg, call->worker->snapshot->seal,
                                             &key, &sealed, &row);

    if (err == BASE_OK) {
        store_rotation(call, &row);
    } else {
        api_problem_failure(call->request, err);
        api_call_end(&call);
    }
    jose_key_unref(&key);
}

static void rotate_from_body(struct api_call *call)
{
    struct base_json_reader reader;
    bool emergency;

    if (!api_json_body(call, true) || !api_json_idempotency(call)) {
        api_call_end(&call);
        return;
    }
    base_json_reader_init(&reader, call->body, &call->errors);
    base_json_get_bool(&reader, "emergency", &emergency);
    if (api_json_done(call, &reader))
        rotate(call);
    else
        api_call_end(&call);
}

void api_signing_keys_rotate(struct http_request *request)
{
    api_admit(request, rotate_from_body);
}
