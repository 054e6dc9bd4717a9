/* SPDX-License-Identifier: MIT */
/* The step thread and the disk tier of its KV cache. A job whose beginning lies on the disk keeps its place
 * in the line while its pages are brought back, one job at a time, in the order of the line; those behind go
 * on. Nobody waits for the disk longer than kv_disk_wait_ms, his turn to be served included, however slow it
 * is: what has not come by then is computed again. When nothing came at all in that time the disk is taken
 * for stuck and not asked until it answers. Whether pages came from there shows in nothing but the time and
 * usage.cached_tokens. */
#include "engine/engine_priv.h"

#include "engine/gguf.h"

#include <stdio.h>
#include <xxhash.h>

enum { SAMPLES = 8, SAMPLE_BYTES = 4096 };

/* ---- whose pages ------------------------------------------------------------------------------------ */

static void add_text(XXH3_state_t *x, struct ek_str s)
{
    uint64_t n = s.len;
    MUST(XXH3_128bits_update(x, &n, sizeof n) == XXH_OK);
    if (n > 0) MUST(XXH3_128bits_update(x, s.data, n) == XXH_OK);
}

/* A tensor's name, shape and contents: all of a small one, evenly spread samples of a large one. Two models
 * that share a name differ everywhere; reading hundreds of gigabytes to be sure would take minutes. */
static void add_tensor(XXH3_state_t *x, const struct ek_gguf_tensor *t)
{
    uint64_t head[2 + EK_GGUF_DIMS_MAX] = {t->type, t->bytes};
    const uint8_t *bytes = t->data;
    for (int i = 0; i < EK_GGUF_DIMS_MAX; i++) head[2 + i] = t->ne[i];
    add_text(x, t->name);
    MUST(XXH3_128bits_update(x, head, sizeof head) == XXH_OK);
    if (t->bytes <= SAMPLES * SAMPLE_BYTES) {
        if (t->bytes > 0) MUST(XXH3_128bits_update(x, bytes, t->bytes) == XXH_OK);
        return;
    }
    for (uint64_t i = 0; i < SAMPLES; i++) {
        uint64_t at = (t->bytes - SAMPLE_BYTES) / (SAMPLES - 1) * i;
        MUST(XXH3_128bits_update(x, bytes + at, SAMPLE_BYTES) == XXH_OK);
    }
}

/* Keys that are numbers: how the tensors are computed with. */
static void add_key(XXH3_state_t *x, const struct ek_gguf_value *v)
{
    static const uint8_t bytes[] = {[EK_GGUF_U8] = 1, [EK_GGUF_I8] = 1, [EK_GGUF_U16] = 2, [EK_GGUF_I16] = 2,
                                    [EK_GGUF_U32] = 4, [EK_GGUF_I32] = 4, [EK_GGUF_F32] = 4,
                                    [EK_GGUF_BOOL] = 1, [EK_GGUF_U64] = 8, [EK_GGUF_I64] = 8,
                                    [EK_GGUF_F64] = 8};
    if (v->type == EK_GGUF_STRING || v->type == EK_GGUF_ARRAY) return;
    MUST(v->type < sizeof bytes && bytes[v->type] > 0);
    add_text(x, v->key);
    add_text(x, (struct ek_str){(const char *)v->at, bytes[v->type]});
}

static struct ek_kv_fingerprint fingerprint(const struct ek_engine *e)
{
    const struct ek_gguf *g = e->model->gguf;
    XXH3_state_t *x = XXH3_createState();
    MUST(x && XXH3_128bits_reset(x) == XXH_OK);
    add_text(x, EK_STR("evenkeel " EK_VERSION " kv 2"));
    add_text(x, ek_str_of(e->numerics));
    if (ek_forward_looks(e->forward)) add_text(x, EK_STR("rows of the block ahead"));
    for (size_t i = 0; i < ek_gguf_key_count(g); i++) add_key(x, ek_gguf_key_at(g, i));
    for (size_t i = 0; i < ek_gguf_tensor_count(g); i++) add_tensor(x, ek_gguf_tensor_at(g, i));
    XXH128_hash_t h = XXH3_128bits_digest(x);
    XXH3_freeState(x);
    return (struct ek_kv_fingerprint){h.low64, h.high64};
}

static void kick(void *arg) /* on the disk thread */
{
    struct ek_engine *e = arg;
    pthread_mutex_lock(&e->lock);
    e->kicks++;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

enum ek_status ek_engine_open_disk(struct ek_engine *e, char *why, size_t why_cap)
{
    struct ek_kv_disk_options o = {
        .dir = e->options.kv_disk, .limit_bytes = e->options.kv_disk_limit_bytes, .whose = fingerprint(e),
        .rows_bytes = ek_kv_rows_bytes(e->kv), .waits = e->options.kv_disk_waits, .wake = kick,
        .wake_arg = e,
    };
    enum ek_status status = ek_kv_disk_open(&o, &e->disk, why, why_cap);
    if (status == EK_FULL) status = EK_INVALID; /* to our caller: another folder is needed */
    if (status == EK_OK) ek_kv_use_disk(e->kv, e->disk);
    return status;
}

/* ---- coming back ------------------------------------------------------------------------------------- */

static bool too_long(const struct ek_engine *e, uint64_t since_ns, uint64_t now_ns)
{
    return now_ns - since_ns > UINT64_C(1000000) * e->options.kv_disk_wait_ms;
}

bool ek_engine_from_disk(struct ek_engine *e, struct ek_job *job)
{
    uint64_t now_ns = ek_engine_clock_ns();
    struct ek_kv_text text = {.ids = job->ids, .count = job->n_ids, .prompt = job->prompt_tokens,
                              .salt = job->cache_salt};
    struct ek_kv_restore r = {0};
    MUST(job->state == EK_JOB_WAITING);
    if (!e->disk || job->disk_asked || e->disk_stuck) return false;
    if (e->restoring == job) return true; /* ek_engine_tend_disk sees that it does not take too long */
    if (job->disk_since_ns != 0 && too_long(e, job->disk_since_ns, now_ns)) {
        job->disk_asked = true;
        e->load.disk_late++;
        return false;
    }
    enum ek_status status = ek_kv_restore_begin(e->kv, &text, e->n_running, &r);
    if (status == EK_ABSENT) job->disk_asked = true;
    if (status != EK_OK) return false;
    if (job->disk_since_ns == 0) job->disk_since_ns = now_ns;
    if (e->restoring) { /* after that one */
        ek_kv_restore_drop(&r);
        return true;
    }
    e->restore = r;
    e->restoring = job;
    e->restore_moved_ns = now_ns;
    return true;
}

void ek_engine_forget_restore(struct ek_engine *e)
{
    MUST(e->restoring);
    ek_kv_restore_drop(&e->restore);
    e->restoring = NULL;
}

static void end_restore(struct ek_engine *e, bool late, bool stuck)
{
    pthread_mutex_lock(&e->lock);
    MUST(e->restoring);
    e->restoring->disk_asked = true;
    ek_engine_forget_restore(e);
    e->load.disk_late += late;
    e->load.disk_stuck += stuck;
    e->stalled = false;
    pthread_mutex_unlock(&e->lock);
    e->disk_stuck = stuck;
}

bool ek_engine_tend_disk(struct ek_engine *e)
{
    uint64_t now_ns = ek_engine_clock_ns();
    bool moved = false, more = false;
    struct ek_kv_disk_read late;
    ek_kv_save_some(e->kv);
    if (e->restore.count > 0) {
        more = ek_kv_restore_go_on(e->kv, &e->restore, &moved);
        if (moved) e->restore_moved_ns = now_ns;
        bool stuck = too_long(e, e->restore_moved_ns, now_ns);
        bool enough = more && (stuck || too_long(e, e->restoring->disk_since_ns, now_ns));
        if (!more || enough) end_restore(e, enough, enough && stuck);
    } else if (e->disk_stuck && ek_kv_disk_take(e->disk, &late)) {
        if (late.rows) ek_kv_disk_give_back(e->disk, late.rows);
        e->disk_stuck = false;
    }
    return e->restore.count > 0;
}
