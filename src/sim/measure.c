/* SPDX-License-Identifier: MIT */
/* Histograms, sums and the judgement of a step. */
#include "sim/measure.h"

#include <math.h>

#define LEAST_S 1e-4
#define STEP 1.02
#define SMOOTH_S 20.0 /* queues are looked at through a window this wide */

void ek_sim_sketch_add(struct ek_sim_sketch *s, double seconds)
{
    MUST(seconds >= 0);
    double at = seconds > LEAST_S ? log(seconds / LEAST_S) / log(STEP) : 0;
    size_t i = at < EK_SIM_SKETCH - 1 ? (size_t)at : EK_SIM_SKETCH - 1;
    s->count[i]++;
    s->n++;
    s->sum += seconds;
    if (seconds > s->max) s->max = seconds;
}

double ek_sim_sketch_quantile(const struct ek_sim_sketch *s, double part)
{
    MUST(part >= 0 && part <= 1);
    if (s->n == 0) return 0;
    double want = part * (double)s->n;
    double sum = 0;
    for (size_t i = 0; i < EK_SIM_SKETCH; i++) {
        sum += s->count[i];
        if (sum < want || s->count[i] == 0) continue;
        double value = i == 0 ? 0 : LEAST_S * pow(STEP, (double)i + 0.5);
        return value < s->max ? value : s->max;
    }
    return s->max;
}

double ek_sim_result_amplification(const struct ek_sim_tier_result *t)
{
    return t->arrived ? (double)t->attempts / (double)t->arrived : 1.0;
}

double ek_sim_coverage(const struct ek_sim_truth *t, bool p90)
{
    if (t->shown == 0) return -1;
    return (double)(p90 ? t->within_p90 : t->within_p50) / (double)t->shown;
}

static void add_sketch(struct ek_sim_sketch *to, const struct ek_sim_sketch *from)
{
    to->n += from->n;
    to->sum += from->sum;
    if (from->max > to->max) to->max = from->max;
    for (size_t i = 0; i < EK_SIM_SKETCH; i++) to->count[i] += from->count[i];
}

static void add_truth(struct ek_sim_truth *to, const struct ek_sim_truth *from)
{
    to->shown += from->shown;
    to->within_p50 += from->within_p50;
    to->within_p90 += from->within_p90;
    to->deep += from->deep;
    to->wait_s += from->wait_s;
    to->error_s += from->error_s;
    to->raised += from->raised;
    add_sketch(&to->deep_error, &from->deep_error);
}

void ek_sim_result_sum(struct ek_sim_result *r)
{
    struct ek_sim_tier_result *all = &r->all;
    for (uint32_t i = 0; i < r->tiers; i++) {
        const struct ek_sim_tier_result *t = &r->tier[i];
        all->arrived += t->arrived;
        all->attempts += t->attempts;
        all->finished += t->finished;
        all->good += t->good;
        all->shortened += t->shortened;
        for (int k = 0; k < EK_SIM_STEPS; k++) all->step_finished[k] += t->step_finished[k];
        for (int k = 0; k < EK_SIM_STEPS; k++) all->step_good[k] += t->step_good[k];
        all->over.arrived += t->over.arrived;
        all->over.good += t->over.good;
        all->peak.arrived += t->peak.arrived;
        all->peak.good += t->peak.good;
        all->refused += t->refused;
        all->left += t->left;
        all->tokens += t->tokens;
        all->good_tokens += t->good_tokens;
        all->wasted += t->wasted;
        all->lent += t->lent;
        all->service += t->service;
        all->service_contended += t->service_contended;
        for (int k = 0; k < EK_REASON_COUNT; k++) all->refusals[k] += t->refusals[k];
        add_sketch(&all->ttft, &t->ttft);
        add_sketch(&all->answer, &t->answer);
        add_sketch(&all->tpot, &t->tpot);
        add_sketch(&all->wait, &t->wait);
        add_sketch(&all->itl, &t->itl);
        add_truth(&all->truth, &t->truth);
    }
}

/* Mean depth of the queue over the points within half `wide_s` of point i. */
static double depth_at(const struct ek_sim_result *r, uint32_t i, double wide_s)
{
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t k = i; k < r->points && r->series[k].at_s <= r->series[i].at_s + wide_s / 2; k++, n++)
        sum += r->series[k].waiting + r->series[k].queued;
    for (uint32_t k = i; k-- > 0 && r->series[k].at_s >= r->series[i].at_s - wide_s / 2; n++)
        sum += r->series[k].waiting + r->series[k].queued;
    return sum / n;
}

/* Means over a part of the series: who waits (anywhere), and who is in the house at all. */
static double mean_depth(const struct ek_sim_result *r, double from_s, double until_s, double *inside)
{
    double sum = 0;
    uint32_t n = 0;
    *inside = 0;
    for (uint32_t i = 0; i < r->points; i++) {
        const struct ek_sim_point *p = &r->series[i];
        if (p->at_s < from_s || p->at_s >= until_s) continue;
        sum += p->waiting + p->queued;
        *inside += p->waiting + p->running;
        n++;
    }
    *inside = n ? *inside / n : 0;
    return n ? sum / n : 0;
}

void ek_sim_result_settle(struct ek_sim_result *r, double step_at_s, double step_until_s)
{
    double span_s = step_until_s - step_at_s;
    double inside, before_inside, top = 0;
    double final = mean_depth(r, step_until_s - span_s / 3, step_until_s, &inside);
    double before = mean_depth(r, step_at_s / 2, step_at_s, &before_inside);
    double margin = fmax(0.2 * final, fmax(0.1 * inside, 10)); /* a handful of requests is no queue */
    r->settle_s = r->overshoot = r->back_s = -1;
    if (span_s <= 0 || r->points == 0 || step_until_s >= r->series[r->points - 1].at_s) return;
    r->settle_s = r->back_s = 0;
    for (uint32_t i = 0; i < r->points; i++) {
        double at_s = r->series[i].at_s;
        double depth = depth_at(r, i, SMOOTH_S);
        bool first_half = at_s >= step_at_s && at_s < step_at_s + span_s / 2;
        if (first_half && fabs(depth - final) > margin) r->settle_s = at_s - step_at_s;
        if (first_half) top = fmax(top, depth);
        bool after = at_s > step_until_s && at_s < step_until_s + span_s / 2;
        if (after && depth > before + margin) r->back_s = at_s - step_until_s;
    }
    r->overshoot = inside > 0 ? fmax(0, top - final) / inside : 0;
}
