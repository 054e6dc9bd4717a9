/* SPDX-License-Identifier: MIT */
/* People and their SDKs: they come, are told a place, wait, leave, come again, and are counted.
 *
 * An SDK's retry (OpenAI's and its kin): twice by default; it obeys Retry-After up to 60 s, else waits
 * 0.5 s doubled each time up to 8 s, less a quarter at random. A hammering client comes again after
 * 50 ms, ten times, whatever it is told. */
#include "base/clock.h"
#include "base/must.h"
#include "sim/dist.h"
#include "sim/world_state.h"

#include <math.h>
#include <stdlib.h>

#define HAMMER_RETRIES 10
#define HAMMER_S 0.05
#define RETRY_AFTER_MAX_MS 60000
#define FOREVER_S 1e6

void ek_sim_moment_drop(struct ek_sim_world *w, struct ek_heap_node *n)
{
    if (ek_heap_has(n)) ek_heap_remove(&w->moments, n);
}

void ek_sim_moment_set(struct ek_sim_world *w, struct ek_heap_node *n, uint64_t at_ns)
{
    if (at_ns == UINT64_MAX) {
        ek_sim_moment_drop(w, n);
    } else if (!ek_heap_has(n)) {
        ek_heap_put(&w->moments, n, at_ns);
    } else if (n->key != at_ns) {
        ek_heap_rekey(&w->moments, n, at_ns);
    }
}

static struct ek_sim_tier_result *tier_of(struct ek_sim_world *w, const struct ek_sim_request *r)
{
    MUST(r->tier < w->s->tiers);
    return &w->r->tier[r->tier];
}

static double since_s(uint64_t now_ns, uint64_t then_ns)
{
    return (double)ek_ns_since(now_ns, then_ns) * 1e-9;
}

/* ---- memory -------------------------------------------------------------------------------------- */

static struct ek_sim_request *new_request(struct ek_sim_world *w)
{
    struct ek_link *n = ek_list_first(&w->free);
    if (!n) {
        MUST(w->live < EK_SIM_LIVE_MAX); /* a scenario with a queue of millions is a mistake */
        struct ek_sim_slab *slab = calloc(1, sizeof *slab);
        MUST(slab);
        slab->next = w->slabs;
        w->slabs = slab;
        for (int i = 0; i < EK_SIM_SLAB; i++) ek_list_append(&w->free, &slab->request[i].link);
        n = ek_list_first(&w->free);
    }
    ek_list_remove(&w->free, n);
    struct ek_sim_request *r = EK_CONTAINER(n, struct ek_sim_request, link);
    *r = (struct ek_sim_request){.id = w->next_id++};
    w->live++;
    return r;
}

void ek_sim_client_free(struct ek_sim_world *w, struct ek_sim_request *r)
{
    MUST(!ek_heap_has(&r->finish) && !ek_link_linked(&r->link));
    ek_sim_moment_drop(w, &r->timer);
    ek_list_prepend(&w->free, &r->link);
    w->live--;
}

/* ---- service ------------------------------------------------------------------------------------- */

void ek_sim_client_served(struct ek_sim_world *w, const struct ek_sim_request *r, double pico)
{
    tier_of(w, r)->service += pico * 1e-12;
    ek_sim_fair_served(&w->fair, r->spec.client, pico * 1e-12);
}

void ek_sim_client_tokens(struct ek_sim_world *w, struct ek_sim_request *r, uint32_t tokens)
{
    MUST(tokens >= r->reported_tokens || r->state != EK_SIM_DECODE);
    if (tokens <= r->reported_tokens) return;
    uint32_t n = tokens - r->reported_tokens;
    r->reported_tokens = tokens;
    ek_sim_client_served(w, r, (double)n * (double)w->s->price.output_pico);
    w->policy->tokens(w->policy, w->now_ns, r, n);
}

/* ---- coming -------------------------------------------------------------------------------------- */

/* For fairness one waits until the first token, wherever: a queue inside an engine is a queue. */
void ek_sim_client_backlog(struct ek_sim_world *w, const struct ek_sim_request *r, int by)
{
    MUST(by > 0 || w->tier_waiting[r->tier] > 0);
    w->tier_waiting[r->tier] += (uint32_t)by;
    ek_sim_fair_waiting(&w->fair, r->spec.client, by);
}

void ek_sim_client_tries(struct ek_sim_world *w, struct ek_sim_request *r)
{
    struct ek_action refusal;
    MUST(r->state == EK_SIM_AWAY);
    ek_sim_moment_drop(w, &r->timer);
    r->arrived_ns = w->now_ns;
    r->told_ns = 0;
    w->n.arrived++;
    w->point.arrived++;
    tier_of(w, r)->attempts++;
    r->state = EK_SIM_WAITING;
    if (!w->policy->arrive(w->policy, w->now_ns, r, &refusal)) {
        ek_sim_client_refused(w, r, &refusal);
        return;
    }
    w->n.waiting++;
    ek_sim_client_backlog(w, r, 1);
    ek_sim_moment_set(w, &r->timer, r->leave_ns);
}

/* It came, or it was served within its targets: in an overloaded part of the day? */
static void count_part(struct ek_sim_world *w, const struct ek_sim_request *r, bool good)
{
    struct ek_sim_tier_result *t = tier_of(w, r);
    double came_s = (double)r->first_ns * 1e-9;
    bool peak = came_s >= w->plan->peak_at_s && came_s < w->plan->peak_at_s + 600;
    if (ek_sim_plan_load_at(w->plan, came_s) > 1) good ? t->over.good++ : t->over.arrived++;
    if (peak) good ? t->peak.good++ : t->peak.arrived++;
}

void ek_sim_client_arrives(struct ek_sim_world *w)
{
    const struct ek_sim_scenario *s = w->s;
    struct ek_sim_request *r = new_request(w);
    r->spec = w->coming;
    r->spec.client = ek_sim_plan_account(w->plan, &w->coming); /* an account from here on */
    if (s->split_into && (int32_t)w->coming.client == s->split_client)
        r->spec.client = w->plan->accounts - 1 - (uint32_t)ek_random_below(&w->random, s->split_into);
    r->tier = w->plan->tier_of[r->spec.client];
    r->output_tokens = r->spec.output_tokens;
    r->think_tokens = r->spec.think_tokens;
    r->first_ns = w->now_ns;
    r->liar = ek_random_unit(&w->random) < s->liars;
    r->hammers = ek_random_unit(&w->random) < s->hammer;
    double median_s = s->tier[r->tier].patience_s;
    double patience_s = ek_sim_lognormal(&w->random, median_s > 0 ? median_s : FOREVER_S,
                                         median_s > 0 ? s->patience_sigma : 0);
    r->leave_ns = w->now_ns + (uint64_t)(fmin(patience_s, FOREVER_S) * 1e9);
    tier_of(w, r)->arrived++;
    count_part(w, r, false);
    ek_sim_client_tries(w, r);
}

/* ---- being refused -------------------------------------------------------------------------------- */

static double retry_s(struct ek_sim_world *w, const struct ek_sim_request *r, const struct ek_action *a)
{
    if (r->hammers) return HAMMER_S;
    if (a->retry_after_ms > 0 && a->retry_after_ms <= RETRY_AFTER_MAX_MS)
        return (double)((a->retry_after_ms + 999) / 1000); /* the header is in whole seconds */
    return fmin(8, 0.5 * pow(2, r->tries)) * (1 - 0.25 * ek_random_unit(&w->random));
}

void ek_sim_client_refused(struct ek_sim_world *w, struct ek_sim_request *r, const struct ek_action *a)
{
    MUST(a->act == EK_DESK_REFUSE && a->reason < EK_REASON_COUNT);
    struct ek_sim_tier_result *t = tier_of(w, r);
    w->n.refused++;
    w->point.refused++;
    t->refusals[a->reason]++;
    r->state = EK_SIM_AWAY;
    ek_sim_moment_drop(w, &r->timer);
    uint32_t retries = r->hammers ? HAMMER_RETRIES : w->s->retries;
    uint64_t again_ns = w->now_ns + (uint64_t)(retry_s(w, r, a) * 1e9);
    if (r->tries >= retries || again_ns >= r->leave_ns) {
        t->refused++;
        ek_sim_client_free(w, r);
        return;
    }
    r->tries++;
    w->n.away++;
    ek_sim_moment_set(w, &r->timer, again_ns);
}

/* ---- waiting ------------------------------------------------------------------------------------- */

void ek_sim_client_told(struct ek_sim_world *w, struct ek_sim_request *r, const struct ek_action *a)
{
    MUST(r->state == EK_SIM_WAITING);
    tier_of(w, r)->truth.raised += a->raised;
    if (r->told_ns != 0 || a->eta_ms < 0) return;
    r->told_ns = w->now_ns;
    r->told_eta_ms = a->eta_ms;
    r->told_p90_ms = a->eta_p90_ms;
    r->told_position = a->position;
}

static void score(struct ek_sim_truth *t, const struct ek_sim_request *r, double wait_s)
{
    double p50_s = (double)r->told_eta_ms * 1e-3;
    double p90_s = (double)r->told_p90_ms * 1e-3;
    /* What is shown is in whole milliseconds. */
    t->shown++;
    t->within_p50 += wait_s <= p50_s + 0.001;
    t->within_p90 += wait_s <= p90_s + 0.001;
    t->wait_s += wait_s;
    t->error_s += wait_s - p50_s;
    if (r->told_position <= 50) return;
    t->deep++;
    ek_sim_sketch_add(&t->deep_error, fabs(wait_s - p50_s) / fmax(wait_s, 0.001));
}

static void score_all(struct ek_sim_world *w, const struct ek_sim_request *r, double wait_s)
{
    double step_at_s = w->s->source.step_at_s;
    score(&tier_of(w, r)->truth, r, wait_s);
    if (step_at_s <= 0) return;
    double told_s = (double)r->told_ns * 1e-9;
    if (told_s >= step_at_s && told_s < step_at_s + 60) score(&w->r->after_step, r, wait_s);
}

void ek_sim_client_started(struct ek_sim_world *w, struct ek_sim_request *r)
{
    MUST(r->state == EK_SIM_WAITING);
    w->n.waiting--;
    w->n.running++;
    r->start_ns = w->now_ns;
    double wait_s = since_s(w->now_ns, r->first_ns);
    ek_sim_sketch_add(&tier_of(w, r)->wait, wait_s);
    w->point_wait_s += wait_s;
    w->point_starts++;
}

void ek_sim_client_first_token(struct ek_sim_world *w, const struct ek_sim_request *r)
{
    MUST(r->state == EK_SIM_DECODE);
    if (r->told_ns) score_all(w, r, since_s(w->now_ns, r->told_ns));
}

/* The shown p90 has passed and it still has no token: the estimate was wrong, whatever comes. One who leaves
 * earlier says nothing about it. */
static void score_in_vain(struct ek_sim_world *w, const struct ek_sim_request *r)
{
    double waited_s = r->told_ns ? since_s(w->now_ns, r->told_ns) : 0;
    if (r->told_ns && waited_s > (double)r->told_p90_ms * 1e-3) score_all(w, r, waited_s);
}

void ek_sim_client_leaves(struct ek_sim_world *w, struct ek_sim_request *r)
{
    struct ek_sim_tier_result *t = tier_of(w, r);
    w->point.left++;
    t->left++;
    if (r->state == EK_SIM_AWAY) {
        w->n.away--;
        ek_sim_client_free(w, r);
        return;
    }
    w->n.gone++;
    ek_sim_client_backlog(w, r, -1); /* only those without a token leave */
    score_in_vain(w, r);
    if (r->state == EK_SIM_WAITING) {
        w->n.waiting--;
        w->policy->gone(w->policy, w->now_ns, r);
    } else {
        uint32_t made = ek_sim_engine_cancel(&w->engine[r->engine], w->now_ns, r);
        w->dirty |= 1u << r->engine;
        ek_sim_client_tokens(w, r, made);
        t->wasted += made;
        w->n.running--;
        w->policy->gone(w->policy, w->now_ns, r);
    }
    ek_sim_client_free(w, r);
}

/* ---- the end ------------------------------------------------------------------------------------- */

void ek_sim_client_finished(struct ek_sim_world *w, struct ek_sim_request *r)
{
    const struct ek_sim_tier *tier = &w->s->tier[r->tier];
    struct ek_sim_tier_result *t = tier_of(w, r);
    double ttft_s = since_s(r->token_ns, r->first_ns);
    double tpot_s = r->output_tokens > 1
                        ? since_s(w->now_ns, r->token_ns) / (r->output_tokens - 1.0) : 0;
    ek_sim_client_tokens(w, r, r->output_tokens);
    w->n.finished++;
    w->n.running--;
    w->point.finished++;
    t->finished++;
    t->shortened += r->shortened;
    t->tokens += r->output_tokens;
    ek_sim_sketch_add(&t->ttft, ttft_s);
    ek_sim_sketch_add(&t->answer, since_s(r->answer_ns, r->first_ns));
    if (r->output_tokens > 1) ek_sim_sketch_add(&t->tpot, tpot_s);
    bool good = ttft_s <= tier->ttft_s && tpot_s <= tier->tpot_s;
    MUST(r->step < EK_SIM_STEPS);
    t->step_finished[r->step]++;
    t->step_good[r->step] += good;
    if (good) count_part(w, r, true);
    w->point.good += good;
    t->good += good;
    t->good_tokens += good ? r->output_tokens : 0;
    w->policy->finished(w->policy, w->now_ns, r);
    ek_sim_client_free(w, r);
}
