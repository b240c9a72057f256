/* SPDX-License-Identifier: Apache-2.0 */
/* Last-used times wait here between two flushes. The row that was read for the token says when it
 * was last used, so a key that is busy costs a row a minute and no memory in between, on however
 * many instances. */
#include "api.h"
#include "base_clock.h"
#include "base_map.h"
#include "base_mem.h"

#include <stdlib.h>

#define MAX_USES (100u * 1000u) /* 10 MiB; every few seconds, batch after batch takes them all */

struct api_use {
    struct store_key_use use;
    UT_hash_handle hh;
};

void api_used_note(struct api_worker *worker, struct base_span key_id, int64_t last_used_us,
                   int64_t now_us)
{
    struct api_use *use;

    if (now_us - last_used_us < BASE_US_PER_MIN || key_id.len >= sizeof use->use.key_id)
        return;
    pthread_mutex_lock(&worker->uses_lock);
    HASH_FIND(hh, worker->uses, key_id.ptr, key_id.len, use);
    if (!use && HASH_COUNT(worker->uses) < MAX_USES) {
        use = base_calloc(1, sizeof *use);
        memcpy(use->use.key_id, key_id.ptr, key_id.len);
        HASH_ADD_KEYPTR(hh, worker->uses, use->use.key_id, key_id.len, use);
    }
    if (use)
        use->use.at_us = now_us;
    pthread_mutex_unlock(&worker->uses_lock);
}

size_t api_used_take(struct api_worker *worker, struct store_key_use *out, size_t max)
{
    struct api_use *use, *next;
    size_t count = 0;

    pthread_mutex_lock(&worker->uses_lock);
    HASH_ITER (hh, worker->uses, use, next) {
        if (count == max)
            break;
        out[count++] = use->use;
        HASH_DEL(worker->uses, use);
        free(use);
    }
    pthread_mutex_unlock(&worker->uses_lock);
    return count;
}
