/* SPDX-License-Identifier: MIT */
/* The look before the run.
 *
 * What a request costs an engine: its prompt tokens at prompt_s, and its output tokens at a full batch's
 * step divided by the streams in it. That is exact for the engine of engine.h when its batch is full,
 * since the time of a step is the sum of both parts. */
#include "sim/plan.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/must.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW_S 600
#define WINDOWS_MAX 8192

struct look {
    struct { double prompt, output; } window[WINDOWS_MAX];
    double *work; /* of each account, currency */
    double prompt, output, context; /* sums; context: of all tokens while they are made */
    uint64_t requests;
    uint64_t last_ns;
};

uint32_t ek_sim_plan_account(const struct ek_sim_plan *p, const struct ek_sim_spec *spec)
{
    MUST(spec->client < p->clients && p->per_client > 0);
    if (p->per_client == 1) return spec->client;
    uint64_t of[2] = {spec->at_ns, (uint64_t)spec->prompt_tokens << 32 | spec->output_tokens};
    uint64_t hash = ek_hash(ek_str_make((const char *)of, sizeof of), spec->client);
    return spec->client + (uint32_t)(hash % p->per_client) * p->clients;
}

static void look_at(struct look *l, const struct ek_sim_plan *p, const struct ek_sim_scenario *s,
                    const struct ek_sim_spec *r)
{
    size_t w = (size_t)(r->at_ns / (WINDOW_S * EK_S_NS));
    double prompt = r->prompt_tokens, output = r->output_tokens;
    if (w >= WINDOWS_MAX) w = WINDOWS_MAX - 1;
    l->window[w].prompt += prompt;
    l->window[w].output += output;
    l->prompt += prompt;
    l->output += output;
    l->context += output * (prompt + output / 2);
    l->work[ek_sim_plan_account(p, r)] +=
        prompt * (double)s->price.prompt_pico + output * (double)s->price.output_pico;
    l->requests++;
    l->last_ns = r->at_ns;
}

/* Accounts in order of falling work, each to the tier that lacks most of its part. */
static void deal_tiers(struct ek_sim_plan *p, const struct ek_sim_scenario *s, const struct look *l)
{
    double total = 0;
    const uint32_t dealt_out = p->clients * p->per_client; /* the splitting ones follow */
    bool *dealt = calloc(dealt_out, sizeof *dealt);
    MUST(dealt);
    for (uint32_t c = 0; c < dealt_out; c++) total += l->work[c];
    for (uint32_t round = 0; round < dealt_out; round++) {
        uint32_t best = UINT32_MAX, tier = 0;
        for (uint32_t c = 0; c < dealt_out; c++)
            if (!dealt[c] && (best == UINT32_MAX || l->work[c] > l->work[best])) best = c;
        for (uint32_t t = 1; t < s->tiers; t++)
            if (s->tier[t].work - p->tier_work[t] > s->tier[tier].work - p->tier_work[tier]) tier = t;
        dealt[best] = true;
        p->tier_of[best] = (uint8_t)tier;
        p->tier_work[tier] += total > 0 ? l->work[best] / total : 0;
    }
    for (uint32_t a = dealt_out; a < p->accounts; a++)
        p->tier_of[a] = p->tier_of[s->split_client < 0 ? 0 : s->split_client];
    free(dealt);
}

/* Seconds of one engine for one output token in a full batch. */
static double token_s(const struct ek_sim_scenario *s, const struct look *l, double *batch)
{
    double context = l->output > 0 ? l->context / l->output : 1;
    *batch = fmin(s->engine.slots, (double)s->engine.kv_tokens / fmax(context, 1));
    *batch = fmax(*batch, 1);
    double step = s->engine.step_s + s->engine.stream_s * *batch + s->engine.kv_s * *batch * context;
    return step / *batch;
}

static void fit_engines(struct ek_sim_plan *p, const struct ek_sim_scenario *s, const struct look *l)
{
    double batch;
    double per_token_s = token_s(s, l, &batch);
    double peak = 0;
    for (size_t w = 0; w < WINDOWS_MAX; w++) {
        double work = l->window[w].prompt * s->engine.prompt_s + l->window[w].output * per_token_s;
        if (work <= peak) continue;
        peak = work;
        p->peak_at_s = (double)w * WINDOW_S;
    }
    double window_s = fmin(WINDOW_S, fmax(p->span_s, 1));
    p->windows = (uint32_t)fmin(WINDOWS_MAX, ceil(p->span_s / WINDOW_S));
    double total = l->prompt * s->engine.prompt_s + l->output * per_token_s;
    p->engines = s->engines;
    p->slow = 1;
    if (s->load > 0) {
        p->engines = (uint32_t)fmax(1, round(s->engines / s->load));
        p->slow = s->load * window_s * p->engines / peak;
    }
    p->window_load = calloc(p->windows, sizeof *p->window_load);
    MUST(p->window_load);
    for (uint32_t w = 0; w < p->windows; w++) {
        double work = l->window[w].prompt * s->engine.prompt_s + l->window[w].output * per_token_s;
        p->window_load[w] = (float)(work * p->slow / (window_s * p->engines));
        p->over_s += p->window_load[w] > 1.0f ? window_s : 0;
    }
    p->load = peak * p->slow / (window_s * p->engines);
    p->mean_load = total * p->slow / (p->span_s * p->engines);
    double mean_s = total / (double)l->requests * p->slow; /* of one engine, for one request */
    p->rpm = 4 * 60 * p->engines / mean_s / p->accounts;
    if (p->rpm < 1) p->rpm = 1;
    p->mean_service_s = p->slow * (p->output_mean * per_token_s * batch +
                                   p->prompt_mean * s->engine.prompt_s);
}

bool ek_sim_plan_make(struct ek_sim_plan *p, const struct ek_sim_scenario *s, char *why, size_t cap)
{
    struct ek_sim_spec spec;
    *p = (struct ek_sim_plan){0};
    if (!ek_sim_scenario_sound(s, why, cap)) return false;
    struct ek_sim_source *source = ek_sim_source_open(&s->source, why, cap);
    if (!source) return false;
    struct look *l = calloc(1, sizeof *l);
    MUST(l);
    p->clients = source->clients;
    p->per_client = s->accounts_per_client;
    p->accounts = p->clients * p->per_client + s->split_into;
    l->work = calloc(p->accounts, sizeof *l->work);
    p->tier_of = calloc(p->accounts, sizeof *p->tier_of);
    MUST(l->work && p->tier_of);
    while (source->next(source, &spec)) look_at(l, p, s, &spec);
    p->requests = l->requests;
    p->span_s = fmax((double)source->end_ns * 1e-9, 1);
    source->free(source);
    bool any = l->requests > 0;
    if (any) {
        p->prompt_mean = l->prompt / (double)l->requests;
        p->output_mean = l->output / (double)l->requests;
        deal_tiers(p, s, l);
        fit_engines(p, s, l);
    } else {
        snprintf(why, cap, "the source gives no arrivals");
    }
    free(l->work);
    free(l);
    if (!any) ek_sim_plan_free(p);
    return any;
}

double ek_sim_plan_load_at(const struct ek_sim_plan *p, double at_s)
{
    MUST(at_s >= 0 && p->windows > 0);
    double w = floor(at_s / WINDOW_S);
    return (double)p->window_load[w < p->windows ? (uint32_t)w : p->windows - 1];
}

void ek_sim_plan_free(struct ek_sim_plan *p)
{
    free(p->tier_of);
    free(p->window_load);
    p->tier_of = NULL;
    p->window_load = NULL;
}
