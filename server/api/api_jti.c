/* SPDX-License-Identifier: Apache-2.0 */
#include "api_jti.h"

#include "base_clock.h"
#include "base_mem.h"
#include "base_secret.h"
#include "store_jobs.h"

#include <assert.h>
#include <string.h>
#include <utlist.h>

/* As CARDEA_MAX_PENDING's default; each waiting one is a request whose body is here already. */
#define MAX_WAITING 4096

/* A jti is kept longer than its assertion is good, since the database that forgets it may have a
 * clock that is ahead of an instance's. */
#define MARGIN_US BASE_US_PER_MIN

struct jti_use {
    struct store_assertion assertion;
    api_jti_fn *done;
    void *ctx;
    struct jti_use *prev, *next;
};

struct api_jti {
    struct db_conn *db;
    struct jti_use *waiting;
    size_t n_waiting;
    struct jti_use *group[STORE_MAX_ASSERTIONS]; /* being written */
    size_t n_group;
};

static void answer(struct jti_use *use, enum base_err err)
{
    use->done(use->ctx, err);
    base_free(&use);
}

static bool in_group(const struct api_jti *queue, const struct jti_use *use)
{
    for (size_t i = 0; i < queue->n_group; i++) {
        if (memcmp(queue->group[i]->assertion.digest, use->assertion.digest,
                   sizeof use->assertion.digest) == 0)
            return true;
    }
    return false;
}

static void on_written(void *ctx, enum base_err err, const bool *fresh);

/* A copy of one that goes now stays for the next group, which will find it used. */
static void send_group(struct api_jti *queue)
{
    struct store_assertion assertions[STORE_MAX_ASSERTIONS];
    struct jti_use *use, *next;

    DL_FOREACH_SAFE (queue->waiting, use, next) {
        if (queue->n_group == STORE_MAX_ASSERTIONS)
            break;
        if (in_group(queue, use))
            continue;
        DL_DELETE(queue->waiting, use);
        queue->n_waiting--;
        assertions[queue->n_group] = use->assertion;
        queue->group[queue->n_group++] = use;
    }
    store_assertions_use(queue->db, assertions, queue->n_group, on_written, queue);
}

/* The database does not answer: nor will it those behind, and they have waited as long. */
static void fail_waiting(struct api_jti *queue, enum base_err err)
{
    struct jti_use *list = queue->waiting, *use, *next;

    queue->waiting = NULL;
    queue->n_waiting = 0;
    DL_FOREACH_SAFE (list, use, next)
        answer(use, err);
}

static void on_written(void *ctx, enum base_err err, const bool *fresh)
{
    struct api_jti *queue = ctx;
    struct jti_use *group[STORE_MAX_ASSERTIONS];
    size_t n = queue->n_group;

    memcpy(group, queue->group, n * sizeof *group);
    queue->n_group = 0;
    if (err == BASE_OK && queue->waiting)
        send_group(queue);
    for (size_t i = 0; i < n; i++)
        answer(group[i], err != BASE_OK ? err : fresh[i] ? BASE_OK : BASE_CONFLICT);
    if (err != BASE_OK)
        fail_waiting(queue, err);
}

/* What the database keeps of it. A key ID has a fixed length, so the two parts cannot run into each
 * other. */
static void make_digest(struct base_span key_id, struct base_span jti, uint8_t out[BASE_SHA256_LEN])
{
    struct base_buf name;

    base_buf_init(&name, 1024);
    base_buf_put_span(&name, key_id);
    base_buf_put_span(&name, jti);
    base_sha256(base_buf_span(&name), out);
    base_buf_clear(&name);
}

enum base_err api_jti_use(struct api_worker *worker, struct base_span key_id, struct base_span jti,
                          int64_t expires_us, api_jti_fn *done, void *ctx)
{
    struct api_jti *queue = worker->jti;
    struct jti_use *use;

    if (!queue) {
        queue = worker->jti = base_calloc(1, sizeof *queue);
        queue->db = worker->once;
    }
    if (queue->n_waiting >= MAX_WAITING)
        return BASE_BUSY;
    use = base_calloc(1, sizeof *use);
    make_digest(key_id, jti, use->assertion.digest);
    use->assertion.expires_us = expires_us + MARGIN_US;
    use->done = done;
    use->ctx = ctx;
    DL_APPEND(queue->waiting, use);
    queue->n_waiting++;
    if (queue->n_group == 0)
        send_group(queue);
    return BASE_OK;
}

void api_jti_free(struct api_jti **queue)
{
    assert(!*queue || ((*queue)->n_group == 0 && !(*queue)->waiting));
    base_free(queue);
}
