/* SPDX-License-Identifier: MIT */
/* The clock of the simulated world: take the earliest moment, let it happen, let the policy act until it
 * is idle, ask the touched engines when they will next do something, check that nobody was lost. */
#include "sim/world.h"

#include "base/clock.h"
#include "base/must.h"
#include "sim/world_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LOAD_NS EK_S_NS           /* engines are asked for their load this often */
#define SAMPLE_NS (2 * EK_S_NS)   /* tokens are reported, fairness is looked at */
#define CHECK_NS (600 * EK_S_NS)  /* the costly invariants */
#define SERIES_POINTS 2000

/* ---- what the policy decides ---------------------------------------------------------------------- */

static void start(struct ek_sim_world *w, struct ek_sim_request *r, const struct ek_action *a)
{
    MUST(a->upstream < w->machines);
    if (a->upstream >= w->plan->engines) w->r->tier[r->tier].lent++;
    ek_sim_client_started(w, r);
    r->engine = (uint8_t)a->upstream;
    uint32_t answer = r->spec.output_tokens - r->spec.think_tokens;
    bool whole = a->thinking_budget_tokens == EK_DESK_THINKING_UNLIMITED;
    r->step = whole ? 0 : (uint8_t)((100 - a->thinking_percent) / 25);
    if (r->spec.think_tokens > a->thinking_budget_tokens) {
        r->shortened = true;
        r->think_tokens = a->thinking_budget_tokens;
        r->output_tokens = r->think_tokens + answer;
    }
    ek_sim_engine_send(&w->engine[r->engine], w->now_ns, r, w->source->block);
    w->dirty |= 1u << r->engine;
}

static void obey(struct ek_sim_world *w)
{
    struct ek_action a;
    while (w->policy->next(w->policy, w->now_ns, &a)) {
        struct ek_sim_request *r = (struct ek_sim_request *)(uintptr_t)a.id;
        switch (a.act) {
        case EK_DESK_START: start(w, r, &a); break;
        case EK_DESK_TELL: ek_sim_client_told(w, r, &a); break;
        case EK_DESK_REFUSE:
            w->n.waiting--;
            ek_sim_client_backlog(w, r, -1);
            ek_sim_client_refused(w, r, &a);
            break;
        case EK_DESK_CANCEL: WRONG("nothing is drained here"); break;
        case EK_DESK_RECALL: WRONG("no lender has a budget here"); break;
        case EK_DESK_IDLE: WRONG("idle is no action"); break;
        }
    }
}

/* ---- what the machine does ------------------------------------------------------------------------ */

static void engine_moves(struct ek_sim_world *w, struct ek_sim_engine *e)
{
    struct ek_sim_request *r = NULL;
    enum ek_sim_event event = ek_sim_engine_step(e, w->now_ns, w->source->block, &r);
    if (event == EK_SIM_FIRST_TOKEN) {
        const struct ek_desk_price *price = &w->s->price;
        double cached = r->cached_tokens, fresh = r->spec.prompt_tokens - cached;
        ek_sim_moment_drop(w, &r->timer); /* who reads does not leave */
        ek_sim_client_backlog(w, r, -1);
        ek_sim_client_first_token(w, r);
        ek_sim_client_served(w, r, cached * (double)price->cached_pico +
                                       fresh * (double)price->prompt_pico);
        if (w->policy->first_token) w->policy->first_token(w->policy, w->now_ns, r);
        ek_sim_client_tokens(w, r, 1); /* the others are told in lumps */
    } else if (event == EK_SIM_FINISHED) {
        ek_sim_client_finished(w, r);
    }
    w->dirty |= 1u << (e - w->engine);
}

static uint32_t told_slots(const struct ek_sim_world *w)
{
    return w->s->told_slots ? w->s->told_slots : w->s->engine.slots;
}

static void report_loads(struct ek_sim_world *w)
{
    for (uint32_t i = 0; i < w->plan->engines && w->policy->load; i++) {
        struct ek_sim_engine *e = &w->engine[i];
        ek_sim_engine_advance(e, w->now_ns);
        uint64_t used = ek_sim_engine_kv_used(e);
        struct ek_load l = {.up = true, .slots = told_slots(w), .running = ek_sim_engine_running(e),
                            .waiting = ek_sim_engine_queued(e), .kv_total_tokens = e->o.kv_tokens,
                            .kv_free_tokens = used < e->o.kv_tokens ? e->o.kv_tokens - used : 0,
                            .prefill_tokens_per_s = 1.0 / (e->o.prompt_s * e->slow)};
        if (w->s->mute) l = (struct ek_load){.up = true, .slots = 1, .learn = true};
        w->policy->load(w->policy, w->now_ns, i, &l);
    }
    struct ek_load lender = {.up = true, .slots = w->s->lender.slots};
    if (w->machines > w->plan->engines && w->policy->lent)
        w->policy->load(w->policy, w->now_ns, w->plan->engines, &lender);
    ek_sim_moment_set(w, &w->load_node, w->now_ns + LOAD_NS);
}

static void slow_down(struct ek_sim_world *w)
{
    double at_s = (double)w->now_ns * 1e-9;
    bool slow = at_s + 1e-6 < w->s->slow_until_s;
    for (uint32_t i = 0; i < w->plan->engines; i++) {
        ek_sim_engine_slow(&w->engine[i], w->now_ns, w->plan->slow * (slow ? w->s->slow_factor : 1));
        w->dirty |= 1u << i;
    }
    ek_sim_moment_drop(w, &w->slow_node);
    if (slow) ek_sim_moment_set(w, &w->slow_node, (uint64_t)(w->s->slow_until_s * 1e9));
}

/* ---- looking -------------------------------------------------------------------------------------- */

static void close_point(struct ek_sim_world *w)
{
    struct ek_sim_point *p = &w->point;
    uint64_t repeats = 0;
    if (w->now_ns < w->next_point_ns || w->r->points == EK_SIM_SERIES_MAX) return;
    p->at_s = (double)w->now_ns * 1e-9;
    p->waiting = (uint32_t)w->n.waiting;
    p->running = (uint32_t)w->n.running;
    p->percent = 100;
    if (w->policy->look) w->policy->look(w->policy, &p->percent, &repeats);
    for (uint32_t i = 0; i < w->plan->engines; i++) p->queued += ek_sim_engine_queued(&w->engine[i]);
    struct ek_sim_lent lent = {0};
    if (w->machines > w->plan->engines && w->policy->lent) w->policy->lent(w->policy, w->now_ns, &lent);
    p->spent = lent.cost;
    p->wait_s = w->point_starts ? w->point_wait_s / w->point_starts : 0;
    w->r->series[w->r->points++] = *p;
    *p = (struct ek_sim_point){0};
    w->point_wait_s = 0;
    w->point_starts = 0;
    w->next_point_ns = w->now_ns + w->point_ns;
}

static void sample(struct ek_sim_world *w)
{
    bool all = true;
    for (uint32_t i = 0; i < w->machines; i++) {
        struct ek_sim_engine *e = &w->engine[i];
        ek_sim_engine_advance(e, w->now_ns);
        EK_LIST_EACH(&e->batch, n) {
            struct ek_sim_request *r = EK_CONTAINER(n, struct ek_sim_request, link);
            ek_sim_client_tokens(w, r, ek_sim_engine_made(e, r));
        }
        w->dirty |= 1u << i;
    }
    for (uint32_t t = 0; t < w->s->tiers; t++) {
        double service = w->r->tier[t].service;
        if (w->contended) w->r->tier[t].service_contended += service - w->tier_service[t];
        w->tier_service[t] = service;
        all = all && w->tier_waiting[t] > 0;
    }
    w->contended = all;
    ek_sim_fair_tick(&w->fair, (double)w->now_ns * 1e-9);
    w->point.apart = fmax(w->point.apart, w->fair.apart);
    close_point(w);
    ek_sim_moment_set(w, &w->sample_node, w->now_ns + SAMPLE_NS);
}

static void check(struct ek_sim_world *w)
{
    struct ek_sim_counts *n = &w->n;
    const struct ek_sim_counts *was = &w->was;
    MUST(n->arrived == n->finished + n->refused + n->gone + n->waiting + n->running);
    MUST(n->arrived >= was->arrived && n->finished >= was->finished && n->refused >= was->refused &&
         n->gone >= was->gone);
    MUST(w->live == n->waiting + n->running + n->away);
    w->was = *n;
    if (w->now_ns < w->next_check_ns) return;
    w->next_check_ns = w->now_ns + CHECK_NS;
    if (w->policy->check) w->policy->check(w->policy);
    for (uint32_t i = 0; i < w->machines; i++) ek_sim_engine_check(&w->engine[i]);
}

/* ---- the loop ------------------------------------------------------------------------------------- */

static void next_arrival(struct ek_sim_world *w)
{
    w->over = !w->source->next(w->source, &w->coming);
    ek_sim_moment_set(w, &w->arrive_node, w->over ? UINT64_MAX : w->coming.at_ns);
    if (!w->over) MUST(w->coming.at_ns >= w->now_ns);
}

static void timer_rings(struct ek_sim_world *w, struct ek_sim_request *r)
{
    if (r->state == EK_SIM_AWAY) {
        MUST(w->n.away > 0);
        w->n.away--;
        ek_sim_client_tries(w, r);
    } else {
        ek_sim_client_leaves(w, r);
    }
}

static void happen(struct ek_sim_world *w, struct ek_heap_node *n)
{
    const char *at = (const char *)n;
    if (n == &w->arrive_node) {
        ek_sim_client_arrives(w);
        next_arrival(w);
    } else if (n == &w->wake_node) {
        ek_sim_moment_drop(w, n); /* obey() is all it is for */
    } else if (n == &w->load_node) {
        report_loads(w);
    } else if (n == &w->sample_node) {
        sample(w);
    } else if (n == &w->slow_node) {
        slow_down(w);
    } else if (at >= (const char *)w->engine && at < (const char *)(w->engine + EK_SIM_ENGINES_MAX)) {
        engine_moves(w, EK_CONTAINER(n, struct ek_sim_engine, next));
    } else {
        timer_rings(w, EK_CONTAINER(n, struct ek_sim_request, timer));
    }
}

static void arm(struct ek_sim_world *w)
{
    for (; w->dirty; w->dirty &= w->dirty - 1) {
        struct ek_sim_engine *e = &w->engine[__builtin_ctz(w->dirty)];
        ek_sim_moment_set(w, &e->next, ek_sim_engine_next_ns(e));
    }
    uint64_t wake_ns = w->policy->wake_ns ? w->policy->wake_ns(w->policy) : UINT64_MAX;
    /* A policy that is idle now and wants to be woken now is asked again a millisecond later. */
    if (wake_ns <= w->now_ns) wake_ns = w->now_ns + EK_MS_NS;
    ek_sim_moment_set(w, &w->wake_node, wake_ns);
}

static bool done(const struct ek_sim_world *w)
{
    if (!w->over) return false;
    if (w->live == 0) return true;
    return w->now_ns > w->source->end_ns + (uint64_t)(w->s->drain_s * 1e9);
}

static void run(struct ek_sim_world *w, void (*progress)(double part))
{
    next_arrival(w);
    report_loads(w);
    ek_sim_moment_set(w, &w->sample_node, SAMPLE_NS);
    while (!done(w)) {
        struct ek_heap_node *n = ek_heap_first(&w->moments);
        MUST(n && n->key >= w->now_ns);
        w->now_ns = n->key;
        happen(w, n);
        obey(w);
        arm(w);
        check(w);
        w->r->events++;
        if (progress && w->r->events % 65536 == 0)
            progress((double)w->now_ns / (double)(w->source->end_ns + 1));
    }
}

/* ---- birth and results ---------------------------------------------------------------------------- */

static struct ek_sim_policy_options policy_options(const struct ek_sim_world *w)
{
    const struct ek_sim_scenario *s = w->s;
    struct ek_sim_policy_options o = {
        .lender = s->lender, .engines = w->plan->engines, .tiers = s->tiers, .tier = s->tier,
        .accounts = w->plan->accounts, .tier_of = w->plan->tier_of, .price = s->price,
        .mute = s->mute, .waiting_max = s->waiting_max, .brownout = s->brownout, .shed = s->shed,
        .tpot_target_s = s->tpot_target_s, .cap = s->cap, .ttl_s = s->ttl_s,
        .rpm = s->rpm > 0 ? s->rpm : w->plan->rpm,
        .split_from = s->split_into ? w->plan->accounts - s->split_into : 0,
        .block = w->source->block, .seed = s->seed};
    for (uint32_t i = 0; i < o.engines; i++) {
        o.slots[i] = told_slots(w);
        o.kv_tokens[i] = s->engine.kv_tokens;
    }
    return o;
}

/* What the splitting client got: with all its accounts, or, for comparison, with its one. */
static double split_part(const struct ek_sim_world *w)
{
    uint32_t from = w->plan->accounts - w->s->split_into;
    double all = 0, its = 0;
    if (w->s->split_client < 0) return -1;
    for (uint32_t i = 0; i < w->plan->accounts; i++) {
        double service = w->fair.account[i].service;
        all += service;
        if (i >= from || (int32_t)i == w->s->split_client) its += service;
    }
    return all > 0 ? its / all : -1;
}

static void sum_up(struct ek_sim_world *w)
{
    struct ek_sim_result *r = w->r;
    const struct ek_sim_scenario *s = w->s;
    double span_s = fmax((double)w->now_ns * 1e-9, 1e-3);
    double prompt = 0, hit = 0, output = 0, busy = 0;
    uint32_t percent;
    for (uint32_t i = 0; i < w->plan->engines; i++) {
        const struct ek_sim_engine *e = &w->engine[i];
        prompt += (double)e->prompt_tokens;
        hit += (double)e->hit_tokens;
        output += e->stream_steps;
        busy += e->busy_s;
        r->preempted += e->preempted;
        r->reread_tokens += e->reread_tokens;
    }
    r->span_s = w->plan->span_s; /* of the arrivals: goodput is per second of the day, not of its end */
    r->over_s = w->plan->over_s;
    r->peak_s = fmin(600, r->span_s);
    r->busy = busy / span_s / w->plan->engines;
    r->output_tokens_per_s = output / span_s;
    r->prompt_tokens_per_s = prompt / span_s;
    r->hit = prompt + hit > 0 ? hit / (prompt + hit) : 0;
    if (w->policy->look) w->policy->look(w->policy, &percent, &r->repeats);
    struct ek_sim_lent lent = {0};
    if (w->machines > w->plan->engines && w->policy->lent) w->policy->lent(w->policy, w->now_ns, &lent);
    r->lent_cost = lent.cost;
    ek_sim_fair_result(&w->fair, &r->fair);
    r->split_part = split_part(w);
    double memory = (double)s->engine.kv_tokens * w->plan->engines;
    r->fair.bound = 2e-12 * fmax((double)s->price.prompt_pico * 131072,
                                 (double)s->price.output_pico * memory);
    r->settle_s = r->overshoot = r->back_s = -1;
    if (s->source.step_until_s > 0)
        ek_sim_result_settle(r, s->source.step_at_s, s->source.step_until_s);
    ek_sim_result_sum(r);
}

static void free_world(struct ek_sim_world *w)
{
    w->policy->free(w->policy);
    w->source->free(w->source);
    for (uint32_t i = 0; i < w->machines; i++) ek_sim_engine_free(&w->engine[i]);
    while (w->slabs) {
        struct ek_sim_slab *next = w->slabs->next;
        free(w->slabs);
        w->slabs = next;
    }
    ek_sim_fair_free(&w->fair);
    ek_heap_free(&w->moments);
    free(w);
}

/* A cloud: a wall, and behind it machines enough. */
static void add_lender(struct ek_sim_world *w)
{
    const struct ek_sim_lender *l = &w->s->lender;
    struct ek_sim_engine_options o = {.slots = l->slots + 1, .kv_tokens = 4000000000ull, .step_s = l->token_s,
                                      .prompt_s = 1e-7, .chunk_tokens = 1u << 20};
    struct ek_sim_engine *e = &w->engine[w->machines++];
    ek_sim_engine_init(e, &o);
    e->slow = 1;
}

struct ek_sim_result *ek_sim_run(const struct ek_sim_scenario *s, const struct ek_sim_plan *plan,
                                 const char *policy, void (*progress)(double part), char *why,
                                 size_t cap)
{
    struct ek_sim_source *source = ek_sim_source_open(&s->source, why, cap);
    if (!source) return NULL;
    struct ek_sim_world *w = calloc(1, sizeof *w);
    struct ek_sim_result *r = calloc(1, sizeof *r);
    MUST(w && r && plan->engines + (s->lender.slots > 0) <= EK_SIM_ENGINES_MAX);
    w->s = s;
    w->plan = plan;
    w->source = source;
    w->r = r;
    w->random = ek_random_make(s->seed ^ 0x5eedull);
    ek_list_init(&w->free);
    ek_sim_fair_init(&w->fair, plan->accounts, plan->accounts - s->split_into, plan->tier_of);
    struct ek_sim_policy_options o = policy_options(w);
    w->policy = ek_sim_policy_open(policy, &o);
    MUST(w->policy); /* the scenario's names were checked */
    for (uint32_t i = 0; i < plan->engines; i++) {
        ek_sim_engine_init(&w->engine[i], &s->engine);
        w->engine[i].slow = plan->slow;
    }
    w->machines = plan->engines;
    if (s->lender.slots) add_lender(w);
    r->policy = w->policy->name;
    r->tiers = s->tiers;
    w->point_ns = (uint64_t)(plan->span_s * 1e9 / SERIES_POINTS);
    if (s->slow_at_s > 0) ek_sim_moment_set(w, &w->slow_node, (uint64_t)(s->slow_at_s * 1e9));
    run(w, progress);
    sum_up(w);
    free_world(w);
    return r;
}
