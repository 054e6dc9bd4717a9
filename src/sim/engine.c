/* SPDX-License-Identifier: MIT */
/* The engine on virtual time. The mathematics is in engine.h; what needs care is that each change of B,
 * K or of the reading happens at a moment to which the clock has been brought first (advance). */
#include "sim/engine.h"

#include "base/clock.h"
#include "sim/cache.h"

#include <math.h>
#include <stdlib.h>

#define V_SLACK 64 /* units of V (6e-5 of a step) that rounding to nanoseconds may leave */

static double batch_of(const struct ek_sim_engine *e)
{
    return (double)e->batch.count;
}

static double kv_streams(const struct ek_sim_engine *e)
{
    return ((double)e->k0 + batch_of(e) * (double)e->v) / EK_SIM_V;
}

uint64_t ek_sim_engine_kv_used(const struct ek_sim_engine *e)
{
    double k = kv_streams(e) + (e->reading ? e->reading->context_tokens : 0);
    MUST(k > -1);
    return k > 0 ? (uint64_t)k : 0;
}

/* Seconds of one step at this moment, and how they grow with each further step. */
static double step_s(const struct ek_sim_engine *e, double *grow)
{
    double b = batch_of(e);
    double s = e->o.step_s + e->o.stream_s * b + e->o.kv_s * kv_streams(e);
    if (e->reading) s += e->o.chunk_tokens * e->o.prompt_s;
    *grow = e->o.kv_s * b * e->slow;
    return s * e->slow;
}

static double steps_in(const struct ek_sim_engine *e, double dt_s)
{
    double grow;
    double s = step_s(e, &grow);
    return 2.0 * dt_s / (s + sqrt(s * s + 2.0 * grow * dt_s));
}

static double seconds_of(const struct ek_sim_engine *e, double steps)
{
    double grow;
    double s = step_s(e, &grow);
    return steps * (s + 0.5 * grow * steps);
}

static bool idle(const struct ek_sim_engine *e)
{
    return e->batch.count == 0 && !e->reading;
}

void ek_sim_engine_advance(struct ek_sim_engine *e, uint64_t now_ns)
{
    MUST(now_ns >= e->at_ns);
    if (now_ns == e->at_ns) return;
    double dt_s = (double)(now_ns - e->at_ns) * 1e-9;
    e->at_ns = now_ns;
    if (idle(e)) return;
    double steps = steps_in(e, dt_s);
    e->busy_s += dt_s;
    e->stream_steps += steps * batch_of(e);
    if (e->reading) e->left_tokens -= steps * e->o.chunk_tokens;
    e->v += (uint64_t)(steps * EK_SIM_V + 0.5);
}

void ek_sim_engine_slow(struct ek_sim_engine *e, uint64_t now_ns, double slow)
{
    MUST(slow > 0);
    ek_sim_engine_advance(e, now_ns);
    e->slow = slow;
}

void ek_sim_engine_init(struct ek_sim_engine *e, const struct ek_sim_engine_options *o)
{
    *e = (struct ek_sim_engine){.o = *o, .slow = 1.0};
    MUST(o->slots > 0 && o->kv_tokens > 0 && o->step_s >= 1e-5 && o->chunk_tokens > 0);
    ek_list_init(&e->queue);
    ek_list_init(&e->batch);
    MUST(ek_heap_reserve(&e->ends, o->slots + 1) == EK_OK);
    if (o->cache_tokens) e->cache = ek_sim_cache_new((uint32_t)(o->cache_tokens / EK_SIM_BLOCK_TOKENS));
}

void ek_sim_engine_free(struct ek_sim_engine *e)
{
    ek_heap_free(&e->ends);
    ek_sim_cache_free(e->cache);
}

/* ---- reading prompts ----------------------------------------------------------------------------- */

static void begin_reading(struct ek_sim_engine *e, const uint32_t *block)
{
    struct ek_link *n = ek_list_first(&e->queue);
    if (e->reading || !n || e->batch.count + 1 > e->o.slots) return;
    struct ek_sim_request *r = EK_CONTAINER(n, struct ek_sim_request, link);
    /* One token each until the next event is room enough: what runs out later is preempted. Alone in
     * the machine a request is read whatever its length: refusing contexts that never fit is the
     * business of the source's limits. */
    double need = kv_streams(e) + r->context_tokens + batch_of(e);
    if (need > (double)e->o.kv_tokens && e->batch.count > 0) return;
    ek_list_remove(&e->queue, n);
    r->state = EK_SIM_PREFILL;
    r->cached_tokens = 0;
    if (e->cache && r->spec.blocks)
        r->cached_tokens = ek_sim_cache_hit(e->cache, block + r->spec.block, r->spec.blocks) *
                           EK_SIM_BLOCK_TOKENS;
    if (r->cached_tokens >= r->context_tokens) r->cached_tokens = r->context_tokens - 1;
    e->reading = r;
    e->left_tokens = r->context_tokens - r->cached_tokens;
    e->hit_tokens += r->cached_tokens;
    e->prompt_tokens += r->context_tokens - r->cached_tokens;
}

static void stop_reading(struct ek_sim_engine *e)
{
    MUST(e->reading);
    e->reading = NULL;
    e->left_tokens = 0;
}

void ek_sim_engine_send(struct ek_sim_engine *e, uint64_t now_ns, struct ek_sim_request *r,
                        const uint32_t *block)
{
    ek_sim_engine_advance(e, now_ns);
    r->state = EK_SIM_QUEUED;
    r->context_tokens = r->spec.prompt_tokens + r->generated_before;
    ek_list_append(&e->queue, &r->link);
    begin_reading(e, block);
}

/* ---- decoding ------------------------------------------------------------------------------------ */

static uint64_t end_of(const struct ek_sim_request *r, uint32_t token) /* the V of token 1, 2, ... */
{
    MUST(token > r->generated_before);
    return r->v_first + (uint64_t)(token - r->generated_before - 1) * (uint64_t)EK_SIM_V;
}

static void arm(struct ek_sim_engine *e, struct ek_sim_request *r)
{
    uint32_t token = r->answer_ns == 0 ? r->think_tokens + 1 : r->output_tokens;
    if (token <= r->generated_before) token = r->generated_before + 1; /* after a preemption */
    uint64_t at = end_of(r, token);
    if (ek_heap_has(&r->finish)) {
        ek_heap_rekey(&e->ends, &r->finish, at);
    } else {
        ek_heap_put(&e->ends, &r->finish, at);
    }
}

static void join_batch(struct ek_sim_engine *e)
{
    struct ek_sim_request *r = e->reading;
    stop_reading(e);
    r->state = EK_SIM_DECODE;
    r->v_first = e->v;
    e->k0 += (int64_t)((double)r->context_tokens * EK_SIM_V) - (int64_t)e->v;
    ek_list_append(&e->batch, &r->link);
    arm(e, r);
}

static void leave_batch(struct ek_sim_engine *e, struct ek_sim_request *r)
{
    MUST(r->state == EK_SIM_DECODE);
    e->k0 -= (int64_t)((double)r->context_tokens * EK_SIM_V) - (int64_t)r->v_first;
    ek_list_remove(&e->batch, &r->link);
    ek_heap_remove(&e->ends, &r->finish);
    if (e->batch.count == 0) MUST(e->k0 == 0);
}

uint32_t ek_sim_engine_made(const struct ek_sim_engine *e, const struct ek_sim_request *r)
{
    if (r->state != EK_SIM_DECODE) return r->generated_before;
    uint32_t made = r->generated_before + 1 +
                    (uint32_t)((double)(e->v - r->v_first + V_SLACK) / EK_SIM_V);
    return made > r->output_tokens ? r->output_tokens : made;
}

uint32_t ek_sim_engine_cancel(struct ek_sim_engine *e, uint64_t now_ns, struct ek_sim_request *r)
{
    ek_sim_engine_advance(e, now_ns);
    uint32_t made = ek_sim_engine_made(e, r);
    switch ((enum ek_sim_state)r->state) {
    case EK_SIM_QUEUED: ek_list_remove(&e->queue, &r->link); break;
    case EK_SIM_PREFILL: stop_reading(e); break;
    case EK_SIM_DECODE: leave_batch(e, r); break;
    case EK_SIM_AWAY:
    case EK_SIM_WAITING: WRONG("a request is at an engine"); break;
    }
    return made;
}

static bool kv_full(const struct ek_sim_engine *e)
{
    return e->batch.count > 1 && ek_sim_engine_kv_used(e) >= e->o.kv_tokens;
}

/* The youngest stream gives its memory back and stands first in the queue. */
static void preempt(struct ek_sim_engine *e)
{
    struct ek_sim_request *r = EK_CONTAINER(ek_list_last(&e->batch), struct ek_sim_request, link);
    uint32_t made = ek_sim_engine_made(e, r);
    leave_batch(e, r);
    r->generated_before = made < r->output_tokens ? made : r->output_tokens - 1;
    r->context_tokens = r->spec.prompt_tokens + r->generated_before;
    r->state = EK_SIM_QUEUED;
    ek_list_prepend(&e->queue, &r->link);
    e->preempted++;
    e->reread_tokens += r->context_tokens;
}

/* ---- what happens next --------------------------------------------------------------------------- */

uint64_t ek_sim_engine_next_ns(const struct ek_sim_engine *e)
{
    if (idle(e)) return UINT64_MAX;
    double steps = HUGE_VAL;
    const struct ek_heap_node *n = ek_heap_first(&e->ends);
    if (n) steps = n->key > e->v ? (double)(n->key - e->v) / EK_SIM_V : 0;
    if (e->reading) steps = fmin(steps, fmax(e->left_tokens, 0) / e->o.chunk_tokens);
    if (e->batch.count > 1) {
        double free = (double)e->o.kv_tokens - (double)ek_sim_engine_kv_used(e);
        steps = fmin(steps, fmax(free, 0) / batch_of(e));
    }
    MUST(steps < HUGE_VAL);
    return e->at_ns + (uint64_t)ceil(seconds_of(e, steps) * 1e9);
}

static bool reading_done(const struct ek_sim_engine *e)
{
    return e->reading && e->left_tokens <= e->o.chunk_tokens * (V_SLACK / EK_SIM_V);
}

enum ek_sim_event ek_sim_engine_step(struct ek_sim_engine *e, uint64_t now_ns, const uint32_t *block,
                                     struct ek_sim_request **out)
{
    ek_sim_engine_advance(e, now_ns);
    struct ek_heap_node *n = ek_heap_first(&e->ends);
    if (n && n->key <= e->v + V_SLACK) {
        struct ek_sim_request *r = EK_CONTAINER(n, struct ek_sim_request, finish);
        *out = r;
        if (r->answer_ns == 0) {
            r->answer_ns = now_ns;
            arm(e, r);
            return EK_SIM_ANSWER;
        }
        leave_batch(e, r);
        begin_reading(e, block);
        return EK_SIM_FINISHED;
    }
    if (reading_done(e)) {
        struct ek_sim_request *r = e->reading;
        if (e->cache && r->spec.blocks)
            ek_sim_cache_add(e->cache, block + r->spec.block, r->spec.blocks);
        join_batch(e);
        begin_reading(e, block);
        *out = r;
        if (r->token_ns != 0) return ek_sim_engine_step(e, now_ns, block, out); /* read again */
        r->token_ns = now_ns;
        return EK_SIM_FIRST_TOKEN;
    }
    if (kv_full(e)) preempt(e);
    begin_reading(e, block);
    return EK_SIM_NOTHING;
}

void ek_sim_engine_check(const struct ek_sim_engine *e)
{
    int64_t k0 = 0;
    size_t count = 0;
    for (struct ek_link *n = ek_list_first(&e->batch); n; n = ek_list_next(&e->batch, n)) {
        const struct ek_sim_request *r = EK_CONTAINER(n, struct ek_sim_request, link);
        MUST(r->state == EK_SIM_DECODE && ek_heap_has(&r->finish));
        k0 += (int64_t)((double)r->context_tokens * EK_SIM_V) - (int64_t)r->v_first;
        count++;
    }
    MUST(k0 == e->k0 && count == e->batch.count && count == e->ends.count);
    MUST(ek_sim_engine_running(e) <= e->o.slots);
}
