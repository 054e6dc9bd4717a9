/* SPDX-License-Identifier: MIT */
/* A small world in virtual time around the desk: guests come, an engine of so many slots takes a time for
 * each that depends on its tokens alone, guests go. One file of tests includes it once. */
#ifndef EK_TESTS_POLICY_WORLD_H
#define EK_TESTS_POLICY_WORLD_H

#include "cm.h"

#include "base/heap.h"
#include "base/random.h"
#include "policy/desk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WORLD_GUESTS 120000u
#define WORLD_PROMPT_TPS 4000.0
#define WORLD_OUTPUT_TPS 40.0

/* Pico-units: 0.07, 0.27 and 1.1 a million. */
static const struct ek_desk_price world_price = {70000, 270000, 1100000};

struct world_guest {
    struct ek_heap_node ends;
    struct ek_arrival a;
    struct ek_used used;
    uint32_t ticket;
    uint32_t order; /* number of its START, from 1 */
    uint32_t first_position;
    int64_t first_p50_ms, first_p90_ms;
    uint64_t came_ns, started_ns, ended_ns;
    uint64_t user_account; /* of the test's own choice */
    bool waits, refused;
    uint32_t budget, percent;
};

struct world {
    struct ek_policy *desk;
    struct ek_random rng;
    struct ek_now now;
    struct ek_heap ends;
    struct world_guest *guest;
    uint32_t guests, starts, refusals;
    double speed; /* of the engine; 1 */
    double cached_share;
};

static double world_unit(struct world *w) { return ek_random_unit(&w->rng); }

static inline double world_normal(struct world *w)
{
    double u = world_unit(w), v = world_unit(w);
    return sqrt(-2 * log(u + 1e-12)) * cos(6.283185307 * v);
}

static struct world *world_new(const struct ek_desk_options *o, uint32_t slots, uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    printf("seed %llu\n", (unsigned long long)seed);
    w->guest = calloc(WORLD_GUESTS, sizeof *w->guest);
    w->rng = ek_random_make(seed);
    w->now = (struct ek_now){.mono_ns = 10 * EK_S_NS, .unix_ns = 1000 * EK_S_NS};
    w->speed = 1;
    w->desk = ek_desk_new(o, w->now);
    assert_non_null(w->desk);
    ek_desk_pool(w->desk, 1);
    ek_desk_load(w->desk, w->now, 0, &(struct ek_load){.up = true, .slots = slots - 1});
    return w;
}

static void world_free(struct world *w)
{
    ek_desk_free(&w->desk);
    ek_heap_free(&w->ends);
    free(w->guest);
    free(w);
}

static void world_start(struct world *w, const struct ek_action *act)
{
    struct world_guest *g = &w->guest[act->id];
    assert_true(g->waits);
    g->waits = false;
    g->order = ++w->starts;
    g->started_ns = w->now.mono_ns;
    g->percent = act->thinking_percent;
    g->budget = act->thinking_budget_tokens;
    if (act->thinking_budget_tokens < g->used.thought_tokens) {
        g->used.output_tokens -= g->used.thought_tokens - act->thinking_budget_tokens;
        g->used.thought_tokens = act->thinking_budget_tokens;
    }
    uint32_t prompt = g->used.prompt_tokens;
    g->used.cached_tokens = act->cached_tokens < prompt ? act->cached_tokens : prompt;
    double s = (g->used.prompt_tokens - g->used.cached_tokens) / WORLD_PROMPT_TPS +
               g->used.output_tokens / WORLD_OUTPUT_TPS;
    g->ended_ns = w->now.mono_ns + (uint64_t)(s / w->speed * 1e9) + 1;
    ek_heap_put(&w->ends, &g->ends, g->ended_ns);
    ek_desk_first(w->desk, w->now, g->ticket); /* how many they were is told at its end */
}

static void world_pull(struct world *w)
{
    struct ek_action act;
    while (ek_desk_next(w->desk, w->now, &act) != EK_DESK_IDLE) {
        struct world_guest *g = &w->guest[act.id];
        assert_int_equal(g->ticket, act.ticket);
        if (act.act == EK_DESK_START) world_start(w, &act);
        if (act.act == EK_DESK_TELL && !g->first_position) {
            g->first_position = act.position;
            g->first_p50_ms = act.eta_ms;
            g->first_p90_ms = act.eta_p90_ms;
        }
        if (act.act == EK_DESK_REFUSE) {
            g->waits = false;
            g->refused = true;
            w->refusals++;
        }
    }
}

/* Up to this time: requests end, the desk is woken when it wants to be. */
static void world_until(struct world *w, uint64_t ns)
{
    for (;;) {
        struct ek_heap_node *n = ek_heap_first(&w->ends);
        uint64_t wake_ns = ek_desk_wake_ns(w->desk);
        uint64_t at_ns = n && n->key < wake_ns ? n->key : wake_ns;
        if (at_ns > ns) break;
        if (at_ns > w->now.mono_ns) {
            w->now.unix_ns += at_ns - w->now.mono_ns;
            w->now.mono_ns = at_ns;
        }
        if (n && n->key <= w->now.mono_ns) {
            struct world_guest *g = EK_CONTAINER(n, struct world_guest, ends);
            ek_heap_remove(&w->ends, n);
            ek_desk_tokens(w->desk, w->now, g->ticket, g->used.output_tokens);
            ek_desk_used(w->desk, w->now, g->ticket, &g->used);
            ek_desk_finished(w->desk, w->now, g->ticket, true);
        }
        world_pull(w);
    }
    if (ns > w->now.mono_ns) {
        w->now.unix_ns += ns - w->now.mono_ns;
        w->now.mono_ns = ns;
    }
}

/* Someone comes. What it will really take is in `used`; the desk does not know. NULL: refused. */
static struct world_guest *world_come(struct world *w, const struct ek_arrival *a, const struct ek_used *used)
{
    struct ek_action refusal;
    assert_true(w->guests < WORLD_GUESTS);
    struct world_guest *g = &w->guest[w->guests];
    *g = (struct world_guest){.a = *a, .used = *used, .came_ns = w->now.mono_ns, .waits = true};
    g->a.id = w->guests++;
    if (!g->a.deadline_ns) g->a.deadline_ns = UINT64_MAX;
    if (!g->a.price.output_pico) g->a.price = world_price;
    if (!ek_desk_arrive(w->desk, w->now, &g->a, &g->ticket, &refusal)) {
        assert_true(refusal.retry_after_ms >= 1000 && refusal.retry_after_ms <= 60000);
        g->waits = false;
        g->refused = true;
        w->refusals++;
        return NULL;
    }
    world_pull(w);
    return g;
}

/* The settled cost of what a guest took. */
static inline double world_cost(const struct world_guest *g)
{
    return (g->used.cached_tokens * (double)world_price.cached_pico +
            (g->used.prompt_tokens - g->used.cached_tokens) * (double)world_price.prompt_pico +
            g->used.output_tokens * (double)world_price.output_pico) / 1000.0;
}

#endif
