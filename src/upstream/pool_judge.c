/* SPDX-License-Identifier: MIT */
/* What became of the work decides what an upstream is given: health.h judges each by itself, and here stands
 * what needs the others. The last one that serves a model is never taken out, however bad it is: a bad chance
 * is better than none, and one caller's poisonous requests must not close the house. */
#include "upstream/pool_state.h"

#include <math.h>

#define EJECT_EVERY_NS (5 * EK_S_NS)

static uint64_t now_of(const struct ek_pool *p)
{
    return ek_loop_now(p->loop).mono_ns;
}

static uint32_t dice(struct ek_pool *p)
{
    uint32_t random;
    ek_loop_random(p->loop, &random, sizeof random);
    return random;
}

/* It answers, stays, and its breaker is not open. */
static bool is_fit(const struct ek_upstream *u, uint64_t now_ns)
{
    bool resting = u->health.rest_ns > now_ns;
    struct ek_pool_identity who;
    ek_pool_identity(u->pool, u->index, &who);
    if (who.other) return false; /* no silent way to a weaker model */
    return u->said.up && !u->leaving && u->health.state != EK_HEALTH_OPEN && !resting;
}

/* Does it serve a model that nobody fit serves? */
static bool is_needed(const struct ek_upstream *u, uint64_t fit_mask)
{
    const struct ek_pool_names *n = &u->pool->names;
    for (uint32_t m = 0; m < n->count; m++) {
        uint64_t mask = n->model[m].upstream_mask;
        if ((mask >> u->index & 1) && !(mask & fit_mask)) return true;
    }
    return false;
}

static uint64_t fit_mask_of(const struct ek_pool *p, uint64_t now_ns)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (is_fit(&p->upstream[i], now_ns)) mask |= 1ull << i;
    return mask;
}

static struct ek_upstream_load effective(const struct ek_upstream *u, uint64_t fit_mask)
{
    struct ek_upstream_load load = u->said;
    load.weight = u->weight;
    if (u->leaving) load.up = false;
    if (!load.up || is_needed(u, fit_mask)) return load;
    if (!(fit_mask >> u->index & 1)) load.up = false;
    if (u->health.state == EK_HEALTH_HALF) { /* the desk sends one more than there are slots: the trial */
        load.slots = 0;
        load.slots_unknown = false;
    }
    return load;
}

static void set_judge(struct ek_upstream *u)
{
    uint64_t wake_ns = ek_health_wake_ns(&u->health);
    if (wake_ns == UINT64_MAX) ek_timer_clear(u->pool->loop, &u->judge);
    else ek_timer_set(u->pool->loop, &u->judge, wake_ns);
}

void ek_pool_tell(struct ek_upstream *u)
{
    struct ek_pool *p = u->pool;
    u->told = effective(u, fit_mask_of(p, now_of(p)));
    p->events->load(p->arg, u->index);
    ek_pool_refresh(p);
}

void ek_pool_refresh(struct ek_pool *p)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    uint64_t fit_mask = fit_mask_of(p, now_of(p));
    for (uint32_t i = 0; i < p->count; i++) {
        struct ek_upstream *u = &p->upstream[i];
        struct ek_upstream_load load = effective(u, fit_mask);
        bool same = load.up == u->told.up && load.slots == u->told.slots &&
                    load.slots_unknown == u->told.slots_unknown && load.weight == u->told.weight;
        if (same) continue;
        u->told = load;
        p->events->load(p->arg, i);
    }
}

static void on_judge(struct ek_timer *t)
{
    struct ek_upstream *u = EK_CONTAINER(t, struct ek_upstream, judge);
    MUST_OBJ(u->pool, EK_POOL_MAGIC);
    bool was_open = u->health.state == EK_HEALTH_OPEN;
    ek_health_tick(&u->health, now_of(u->pool));
    if (was_open && u->health.state == EK_HEALTH_HALF)
        ek_info(u->pool->log, "upstream %s: its breaker lets one request through", u->name);
    set_judge(u);
    ek_pool_refresh(u->pool);
}

void ek_pool_judge_init(struct ek_upstream *u)
{
    ek_health_init(&u->health, now_of(u->pool));
    ek_timer_init(&u->judge, on_judge);
}

void ek_pool_judge_end(struct ek_upstream *u)
{
    ek_timer_clear(u->pool->loop, &u->judge);
}

/* The slow among those who serve the first model u serves; peers are nearly always the same for all. */
static void eject_slow(struct ek_upstream *u, uint64_t now_ns)
{
    struct ek_pool *p = u->pool;
    struct ek_health *peer[EK_POOL_UPSTREAMS_MAX];
    size_t count = 0;
    uint64_t mask = 0;
    if (ek_ns_since(now_ns, p->ejected_ns) < EJECT_EVERY_NS) return;
    p->ejected_ns = now_ns;
    for (uint32_t m = 0; m < p->names.count && !mask; m++)
        if (p->names.model[m].upstream_mask >> u->index & 1) mask = p->names.model[m].upstream_mask;
    for (uint32_t i = 0; i < p->count; i++)
        if ((mask >> i & 1) && p->upstream[i].said.up) peer[count++] = &p->upstream[i].health;
    size_t ejected = ek_health_eject(peer, count, now_ns, dice(p));
    if (ejected) ek_warn(p->log, "%zu upstreams are far slower than their peers and rest for half a minute",
                         ejected);
    for (uint32_t i = 0; ejected && i < p->count; i++) set_judge(&p->upstream[i]);
}

void ek_pool_sent(struct ek_pool *p, uint32_t index)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    MUST(index < p->count);
    p->upstream[index].relays++;
    ek_health_sent(&p->upstream[index].health, now_of(p));
}

void ek_pool_outcome(struct ek_pool *p, uint32_t index, const struct ek_health_event *e)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    MUST(index < p->count);
    struct ek_upstream *u = &p->upstream[index];
    uint64_t now_ns = now_of(p);
    uint64_t opened = u->health.opened;
    MUST(u->relays > 0);
    u->relays--;
    ek_health_outcome(&u->health, now_ns, e, dice(p));
    if (u->health.opened != opened && u->said.up && is_needed(u, fit_mask_of(p, now_ns)))
        ek_warn(p->log, "upstream %s fails; it goes on, for nobody else serves what it serves", u->name);
    else if (u->health.opened != opened)
        ek_warn(p->log, "upstream %s fails: its breaker is open", u->name);
    if (e->what == EK_OUTCOME_DONE) u->quarrels = false;
    eject_slow(u, now_ns);
    set_judge(u);
    ek_pool_refresh(p);
}

void ek_pool_quarrel(struct ek_pool *p, uint32_t index, int status)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    MUST(index < p->count && status >= 401 && status <= 403);
    struct ek_upstream *u = &p->upstream[index];
    if (u->quarrels) return;
    u->quarrels = true;
    ek_warn(p->log, "upstream %s answers %d: %s", u->name, status,
            u->key ? "its `key` here is wrong, or may not do this"
                   : "it wants a `key`, and the configuration has none for it");
}

void ek_pool_miscounts(struct ek_pool *p, uint32_t index)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    MUST(index < p->count);
    struct ek_upstream *u = &p->upstream[index];
    if (u->miscounts) return;
    u->miscounts = true;
    ek_warn(p->log, "upstream %s reports usage that cannot be (no whole numbers, or more than %u tokens for "
            "one request): not believed, the door's own count stands", u->name, EK_UP_USAGE_TOKENS_MAX);
}

/* ---- what flows ------------------------------------------------------------------------------------ */

static struct ek_pool_flow flow_at(const struct ek_upstream *u, uint64_t now_ns)
{
    struct ek_pool_flow f = u->flow;
    f.stream_s += (double)ek_ns_since(now_ns, u->flow_ns) * 1e-9 * u->flowing;
    return f;
}

static void flow_changes(struct ek_upstream *u, int32_t by)
{
    uint64_t now_ns = now_of(u->pool);
    u->flow = flow_at(u, now_ns);
    u->flow_ns = now_ns;
    MUST(by > 0 || u->flowing > 0);
    u->flowing = (uint32_t)((int64_t)u->flowing + by);
}

static struct ek_upstream *flow_of(const struct ek_pool *p, uint32_t index)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    MUST(index < p->count);
    return (struct ek_upstream *)(uintptr_t)&p->upstream[index];
}

void ek_pool_flow_begin(struct ek_pool *p, uint32_t index)
{
    flow_changes(flow_of(p, index), 1);
    p->upstream[index].flow_token_ns = p->upstream[index].flow_ns;
}

void ek_pool_flow_end(struct ek_pool *p, uint32_t index) { flow_changes(flow_of(p, index), -1); }

void ek_pool_flow_token(struct ek_pool *p, uint32_t index, uint64_t now_ns)
{
    p->upstream[index].flow.tokens++;
    p->upstream[index].flow_token_ns = now_ns;
}

struct ek_pool_flow ek_pool_flow(const struct ek_pool *p, uint32_t index)
{
    return flow_at(flow_of(p, index), now_of(p));
}

#define FLOW_LEAST_S 30.0 /* of others' streams, that they say something */

double ek_pool_usual_tokens(const struct ek_pool *p, uint32_t index, const struct ek_pool_flow *then,
                            uint64_t own, double span_s)
{
    const struct ek_upstream *u = flow_of(p, index);
    struct ek_pool_flow now = flow_at(u, now_of(p));
    double usual = HUGE_VAL, others_s = now.stream_s - then->stream_s - span_s;
    uint64_t all = now.tokens - then->tokens;
    if (u->said.token_s > 0) usual = span_s / u->said.token_s;
    double theirs = (double)(all > own ? all - own : 0);
    if (others_s >= FLOW_LEAST_S) usual = fmin(usual, theirs * span_s / others_s);
    return usual;
}

uint64_t ek_pool_retry_wait_ns(struct ek_pool *p)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    return ek_retry_take(&p->retries, now_of(p));
}

void ek_pool_first_sent(struct ek_pool *p)
{
    ek_retry_sent(&p->retries);
}

const struct ek_health *ek_pool_health(const struct ek_pool *p, uint32_t index)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    MUST(index < p->count);
    return &p->upstream[index].health;
}

const struct ek_retry_budget *ek_pool_retries(const struct ek_pool *p) { return &p->retries; }
