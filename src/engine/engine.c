/* SPDX-License-Identifier: MIT */
/* What other threads may ask of the engine: opening and closing, handing jobs in, taking events out.
 * Nothing here computes. */
#include "engine/engine_priv.h"

#include "base/thread.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* That a guess of a block ahead holds, before anything is known: DeepSeek-V3's own has 85 to 90 % (V3 paper,
 * section 5.4.3). */
#define AHEAD_CHANCE 0.8f

static uint32_t or_default(uint32_t value, uint32_t fallback) { return value ? value : fallback; }

static uint32_t default_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > 8 ? 8 : (uint32_t)n;
}

/* Fill in defaults; a sentence when something cannot be. */
static const char *settle_options(struct ek_engine_options *o, const struct ek_model *m)
{
    uint32_t file_ctx = m->shape.ctx_tokens < 8192 ? m->shape.ctx_tokens : 8192;
    o->slots = or_default(o->slots, 16);
    o->waiting_max = or_default(o->waiting_max, 2 * o->slots);
    o->ctx_tokens = or_default(o->ctx_tokens, file_ctx);
    o->step_tokens = or_default(o->step_tokens, 256);
    o->threads = or_default(o->threads, default_threads());
    if (o->slots > EK_ENGINE_SLOTS_MAX) return "slots must be 1 to 64";
    if (o->waiting_max > WAITING_MAX) return "waiting_max must be at most 65536";
    if (o->ctx_tokens < 2 || o->ctx_tokens > m->shape.ctx_tokens) {
        return "ctx_tokens must be 2 to the context length of the model file";
    }
    uint64_t kv = (uint64_t)o->slots * ((o->ctx_tokens + EK_KV_PAGE - 1) / EK_KV_PAGE * EK_KV_PAGE);
    if (o->kv_tokens == 0) o->kv_tokens = kv < UINT32_MAX / 2 ? (uint32_t)kv : UINT32_MAX / 2;
    if (o->kv_tokens < o->ctx_tokens) return "kv_tokens must hold at least one sequence of ctx_tokens";
    if (o->step_tokens < o->slots || o->step_tokens > EK_FORWARD_ROWS_MAX) {
        return "step_tokens must be between slots and 4096";
    }
    if (o->kv_disk_limit_bytes == 0) o->kv_disk_limit_bytes = UINT64_C(10) << 30;
    o->kv_disk_wait_ms = or_default(o->kv_disk_wait_ms, 5000);
    if (o->threads > EK_TEAM_MAX) return "threads must be 1 to 64";
    return NULL;
}

static void name_numerics(struct ek_engine *e)
{
    static const char *kv[] = {[EK_KV_BF16] = "bf16", [EK_KV_F16] = "f16", [EK_KV_F32] = "f32"};
    snprintf(e->numerics, sizeof e->numerics, "%s-%s-%s", e->kernels->isa,
             e->options.activation == EK_ACT_F32 ? "f32" : "q8", kv[e->options.kv_type]);
}

static uint32_t logit_rows(const struct ek_engine_options *o)
{
    uint32_t rows = o->slots + (o->speculation == EK_SPECULATION_OFF ? 0 : EK_SPEC_ROWS_MAX);
    return rows < o->step_tokens ? rows : o->step_tokens;
}

static enum ek_status build(struct ek_engine *e, char *why, size_t why_cap)
{
    const struct ek_shape *s = &e->model->shape;
    const struct ek_engine_options *o = &e->options;
    bool looks = e->model->ahead.there && o->speculation != EK_SPECULATION_OFF;
    e->team = ek_team_new(o->threads);
    e->ahead = (struct ek_spec_record){.held = AHEAD_CHANCE, .tried = 1};
    enum ek_status status = ek_kv_new(s->layers + looks, ek_shape_kv_elems(s), o->kv_type, o->kv_tokens,
                                      &e->kv);
    if (status == EK_OK) {
        status = ek_forward_new(e->model, e->kernels, e->kv, e->team, o->activation, o->step_tokens,
                                logit_rows(o), &e->forward);
    }
    if (status == EK_OK && o->kv_disk) {
        status = ek_engine_open_disk(e, why, why_cap);
        if (status != EK_OK) return status;
    }
    e->ring = calloc(RING_EVENTS, sizeof *e->ring);
    size_t words = (size_t)ek_team_size(e->team) * 2 * s->vocab;
    e->sample_scratch = calloc(words, sizeof *e->sample_scratch);
    if (looks) e->looks = calloc(o->step_tokens, sizeof *e->looks);
    if (status == EK_OK && (!e->ring || (looks && !e->looks) || !e->sample_scratch)) status = EK_NOMEM;
    if (status != EK_OK) {
        snprintf(why, why_cap, "no memory for a KV cache of %u tokens and steps of %u rows",
                 o->kv_tokens, o->step_tokens);
        return status;
    }
    e->load = (struct ek_engine_load){
        .slots = o->slots, .waiting_max = o->waiting_max, .page_tokens = EK_KV_PAGE,
        .kv_total_tokens = ek_kv_pages_total(e->kv) * EK_KV_PAGE,
        .kv_free_tokens = ek_kv_pages_free(e->kv) * EK_KV_PAGE,
    };
    return EK_OK;
}

static enum ek_status start(struct ek_engine *e, char *why, size_t why_cap)
{
    sigset_t old;
    ek_signals_hold(&old); /* the team is born in there, too */
    enum ek_status status = build(e, why, why_cap);
    if (status == EK_OK) {
        e->started = ek_thread_start(&e->thread, ek_engine_step_main, e);
        if (!e->started) {
            snprintf(why, why_cap, "the step thread cannot be started");
            status = EK_NOMEM;
        }
    }
    ek_signals_release(&old);
    return status;
}

enum ek_status ek_engine_open(const struct ek_engine_options *options, ek_engine_wake_fn *wake,
                              void *wake_arg, struct ek_engine **out, char *why, size_t why_cap)
{
    MUST(options && options->model_path);
    MUST(out && why_cap > 0);
    *out = NULL;
    struct ek_engine *e = calloc(1, sizeof *e);
    MUST(e != NULL);
    *e = (struct ek_engine){
        .magic = ENGINE_MAGIC, .options = *options, .wake = wake, .wake_arg = wake_arg,
        .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER,
        .ring_lock = PTHREAD_MUTEX_INITIALIZER, .ring_space = PTHREAD_COND_INITIALIZER,
    };
    ek_list_init(&e->waiting);
    enum ek_status status = ek_model_open(options->model_path, &e->model, why, why_cap);
    if (status == EK_OK) {
        const char *wrong = settle_options(&e->options, e->model);
        e->kernels = ek_kernels_select(options->isa);
        if (!wrong && !e->kernels) wrong = "this machine does not have the instruction set asked for";
        if (wrong) {
            snprintf(why, why_cap, "%s", wrong);
            status = EK_INVALID;
        }
    }
    if (status == EK_OK) {
        name_numerics(e);
        status = start(e, why, why_cap);
    }
    if (status != EK_OK) ek_engine_close(&e);
    *out = e;
    return status;
}

static void stop_thread(struct ek_engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->quit = true;
    e->kicks++;
    pthread_cond_broadcast(&e->work);
    pthread_mutex_unlock(&e->lock);
    pthread_mutex_lock(&e->ring_lock);
    e->ring_quit = true;
    pthread_cond_broadcast(&e->ring_space);
    pthread_mutex_unlock(&e->ring_lock);
    if (e->started) pthread_join(e->thread, NULL);
}

void ek_engine_close(struct ek_engine **ep)
{
    struct ek_engine *e = *ep;
    if (!e) return;
    MUST_OBJ(e, ENGINE_MAGIC);
    stop_thread(e);
    for (size_t i = 0; i < EK_ENGINE_SLOTS_MAX; i++) {
        if (!e->running[i]) continue;
        ek_kv_release(e->kv, &e->running[i]->seq);
        ek_engine_job_over(e, e->running[i]);
        ek_job_free(&e->running[i]);
    }
    while (e->waiting.count > 0) {
        struct ek_job *job = EK_CONTAINER(ek_list_first(&e->waiting), struct ek_job, link);
        ek_list_remove(&e->waiting, &job->link);
        ek_engine_job_over(e, job);
        ek_job_free(&job);
    }
    MUST(e->n_requests == 0);
    ek_kv_restore_drop(&e->restore);
    ek_kv_disk_close(&e->disk); /* it may still wake us: before the lock goes */
    ek_forward_free(&e->forward);
    ek_team_free(&e->team);
    ek_kv_free(&e->kv);
    ek_model_free(&e->model);
    free(e->ring);
    free(e->sample_scratch);
    free(e->looks);
    e->magic = 0;
    free(e);
    *ep = NULL;
}

enum ek_status ek_engine_submit(struct ek_engine *e, const struct ek_engine_job *from, uint64_t *job_id,
                                char *why, size_t why_cap)
{
    return ek_engine_submit_group(e, from, 1, job_id, why, why_cap);
}

/* All of them into the list, or none. */
static enum ek_status accept(struct ek_engine *e, struct ek_job **jobs, size_t count, uint64_t *job_ids,
                             char *why, size_t why_cap)
{
    struct ek_job_group *group = NULL;
    MUST(e->n_requests <= e->options.slots + e->options.waiting_max);
    if (e->n_requests == e->options.slots + e->options.waiting_max) {
        snprintf(why, why_cap, "%u jobs run and %zu wait; no more are accepted", e->n_running,
                 e->waiting.count);
        return EK_FULL;
    }
    if (count > 1) {
        group = calloc(1, sizeof *group);
        MUST(group);
        *group = (struct ek_job_group){.members = (uint32_t)count};
    }
    for (size_t i = 0; i < count; i++) {
        jobs[i]->group = group;
        jobs[i]->leads = i == 0;
        job_ids[i] = jobs[i]->id = ++e->last_id;
        ek_engine_enqueue(e, jobs[i]);
    }
    e->n_requests++;
    e->kicks++;
    pthread_cond_signal(&e->work);
    return EK_OK;
}

enum ek_status ek_engine_submit_group(struct ek_engine *e, const struct ek_engine_job *from, size_t count,
                                      uint64_t *job_ids, char *why, size_t why_cap)
{
    struct ek_job *jobs[EK_ENGINE_GROUP_MAX];
    enum ek_status status = EK_OK;
    size_t made = 0;
    MUST_OBJ(e, ENGINE_MAGIC);
    MUST(from && job_ids && count > 0 && count <= EK_ENGINE_GROUP_MAX);
    for (; made < count && status == EK_OK; made += status == EK_OK) {
        status = ek_job_new(&from[made], e->model->shape.vocab, e->options.ctx_tokens, &jobs[made], why,
                            why_cap);
    }
    if (status == EK_OK) {
        pthread_mutex_lock(&e->lock);
        status = accept(e, jobs, count, job_ids, why, why_cap);
        pthread_mutex_unlock(&e->lock);
    }
    for (size_t i = 0; status != EK_OK && i < made; i++) {
        jobs[i]->guide = NULL; /* the caller's still */
        ek_job_free(&jobs[i]);
    }
    return status;
}

void ek_engine_cancel(struct ek_engine *e, uint64_t job_id)
{
    MUST_OBJ(e, ENGINE_MAGIC);
    pthread_mutex_lock(&e->lock);
    EK_LIST_EACH(&e->waiting, it) {
        struct ek_job *job = EK_CONTAINER(it, struct ek_job, link);
        if (job->id == job_id) job->cancelled = true;
    }
    for (size_t i = 0; i < EK_ENGINE_SLOTS_MAX; i++) {
        if (e->live[i] && e->live[i]->id == job_id) e->live[i]->cancelled = true;
    }
    e->kicks++;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

size_t ek_engine_take(struct ek_engine *e, struct ek_engine_event *out, size_t cap)
{
    MUST_OBJ(e, ENGINE_MAGIC);
    pthread_mutex_lock(&e->ring_lock);
    size_t n = e->ring_count < cap ? e->ring_count : cap;
    for (size_t i = 0; i < n; i++) out[i] = e->ring[(e->ring_begin + i) % RING_EVENTS];
    e->ring_begin = (e->ring_begin + n) % RING_EVENTS;
    e->ring_count -= n;
    if (n > 0) pthread_cond_signal(&e->ring_space);
    pthread_mutex_unlock(&e->ring_lock);
    return n;
}

static void put_disk(struct ek_engine *e, struct ek_engine_load *out)
{
    struct ek_kv_disk_counters c;
    ek_kv_disk_counters(e->disk, &c);
    out->disk = true;
    out->disk_pages = c.pages;
    out->disk_bytes = c.bytes;
    out->disk_written_pages = c.written;
    out->disk_evicted_pages = c.evicted;
    out->disk_damaged = c.damaged;
    out->disk_errors = c.errors;
    out->disk_skipped_pages = c.skipped;
}

void ek_engine_load(struct ek_engine *e, struct ek_engine_load *out)
{
    MUST_OBJ(e, ENGINE_MAGIC);
    pthread_mutex_lock(&e->lock);
    *out = e->load;
    out->running = e->n_running;
    out->waiting = (uint32_t)e->waiting.count;
    pthread_mutex_unlock(&e->lock);
    if (e->disk) put_disk(e, out);
    pthread_mutex_lock(&e->ring_lock);
    out->ring_full = e->ring_full;
    pthread_mutex_unlock(&e->ring_lock);
}

const struct ek_gguf *ek_engine_gguf(const struct ek_engine *e) { return e->model->gguf; }
uint32_t ek_engine_vocab(const struct ek_engine *e) { return e->model->shape.vocab; }
uint32_t ek_engine_ctx_tokens(const struct ek_engine *e) { return e->options.ctx_tokens; }
const char *ek_engine_numerics(const struct ek_engine *e) { return e->numerics; }
