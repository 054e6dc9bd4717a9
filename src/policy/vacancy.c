/* SPDX-License-Identifier: MIT */
/* The life table of services, and the curve of departures that follows from it. */
#include "policy/vacancy.h"

#include "base/must.h"

#include <math.h>

#define REMEMBERED 512.0  /* departures */
#define SIZES 64.0        /* starts whose predictions stand for those to come */
#define AN_OCTAVE 8.0     /* buckets an octave */
#define LOWEST (-16)      /* octave of the first bucket */
/* Before anything was seen, and beyond the longest that ever was: a hazard of 1 / u. */
#define PRIOR_ENDS 0.083  /* 1 - 2^(-1/8) */
#define PRIOR 0.02        /* so many departures */
#define CALIBRATION 64.0  /* departures in which a factor is learned */
#define FACTOR_MAX 3.0
#define WAIT_MAX_S 86400.0

/* Where x lies among buckets, `per` an octave: a logarithm to base 2, straight between powers of two, which
 * is as good as any as long as all use the same. */
static double place(double x, double per, double buckets)
{
    int exponent;
    double mantissa = frexp(x, &exponent); /* 0.5 <= mantissa < 1 */
    double at = (exponent - 1 - LOWEST + 2 * mantissa - 1) * per;
    return at < 0 ? 0 : at > buckets - 0.001 ? buckets - 0.001 : at;
}

void ek_life_began(struct ek_life *l, double tokens, uint32_t *at)
{
    MUST(tokens >= 1);
    uint32_t own = (uint32_t)place(ldexp(tokens, LOWEST), 2, EK_LIFE_SIZES);
    for (uint32_t b = 0; b < EK_LIFE_SIZES; b++) {
        l->size[b].n *= 1 - 1 / SIZES;
        l->size[b].tokens *= 1 - 1 / SIZES;
    }
    l->size[own].n += 1;
    l->size[own].tokens += tokens;
    l->inside[0] += 1;
    *at = 0;
}

void ek_life_lasts(struct ek_life *l, double tokens, double slot_s, uint32_t *at)
{
    MUST(tokens >= 1 && slot_s >= 0);
    uint32_t now = (uint32_t)place(slot_s / tokens + 1e-12, AN_OCTAVE, EK_LIFE_BUCKETS);
    if (now <= *at) return;
    l->inside[*at] -= 1;
    for (; *at < now; ++*at) l->passed[*at] += 1;
    l->inside[now] += 1;
    l->stale = true;
}

void ek_life_taken(struct ek_life *l, uint32_t at)
{
    MUST(at < EK_LIFE_BUCKETS && l->inside[at] >= 1);
    l->inside[at] -= 1;
    l->stale = true;
}

void ek_life_ended(struct ek_life *l, double tokens, double slot_s, uint32_t *at)
{
    ek_life_lasts(l, tokens, slot_s, at);
    ek_life_taken(l, *at);
    for (uint32_t b = 0; b < EK_LIFE_BUCKETS; b++) {
        l->ended[b] *= 1 - 1 / REMEMBERED;
        l->passed[b] *= 1 - 1 / REMEMBERED;
    }
    l->ended[*at] += 1;
}

static void work_out(struct ek_life *l)
{
    double alive = 1;
    for (uint32_t b = 0; b < EK_LIFE_BUCKETS; b++) {
        l->alive[b] = alive;
        double came = l->ended[b] + l->passed[b] + l->inside[b] / 2;
        alive *= 1 - (l->ended[b] + PRIOR * PRIOR_ENDS) / (came + PRIOR);
        alive = fmax(alive, 1e-12);
    }
    l->alive[EK_LIFE_BUCKETS] = alive;
    l->stale = false;
    MUST(alive > 0 && alive < 1);
}

/* Part that lasts beyond u. */
static double lasting(const struct ek_life *l, double u)
{
    double at = place(u + 1e-12, AN_OCTAVE, EK_LIFE_BUCKETS);
    uint32_t b = (uint32_t)at;
    return l->alive[b] + (l->alive[b + 1] - l->alive[b]) * (at - b);
}

void ek_vacancy_begin(struct ek_vacancy *v, struct ek_life *l, double service_s, double speed)
{
    MUST(service_s > 0 && speed > 0);
    *v = (struct ek_vacancy){.step_s = 3 * service_s / EK_VACANCY_STEPS, .factor = v->factor};
    if (l->stale) work_out(l);
}

void ek_vacancy_add(struct ek_vacancy *v, struct ek_life *l, double tokens, double age_s, double speed)
{
    MUST(tokens >= 1 && age_s >= 0);
    if (l->stale) work_out(l);
    double now = lasting(l, age_s / tokens);
    v->running++;
    for (uint32_t i = 1; i <= EK_VACANCY_STEPS; i++)
        v->gone[i] += 1 - lasting(l, (age_s + i * v->step_s * speed) / tokens) / now;
}

/* Of one started in the middle of a step: part that ends within that step, and in each one after it. */
static void renewals(const struct ek_life *l, double step_s, double speed, double ends[EK_VACANCY_STEPS])
{
    double all = 0, before = 0;
    for (uint32_t b = 0; b < EK_LIFE_SIZES; b++) all += l->size[b].n;
    for (uint32_t i = 0; i < EK_VACANCY_STEPS; i++) {
        double sum = 0;
        for (uint32_t b = 0; b < EK_LIFE_SIZES && all > 0; b++) {
            if (l->size[b].n < 1e-3 * all) continue;
            double tokens = l->size[b].tokens / l->size[b].n;
            sum += l->size[b].n / all * (1 - lasting(l, (i + 0.5) * step_s * speed / tokens));
        }
        ends[i] = fmax(sum - before, 0);
        before = sum;
    }
}

void ek_vacancy_end(struct ek_vacancy *v, struct ek_life *l, double speed, double rate, uint64_t now_ns)
{
    double ends[EK_VACANCY_STEPS], in[EK_VACANCY_STEPS], before = 0, sum = 0;
    renewals(l, v->step_s, speed, ends);
    for (uint32_t i = 0; i < EK_VACANCY_STEPS; i++) {
        in[i] = v->gone[i + 1] - before;
        before = v->gone[i + 1];
        for (uint32_t k = 0; k < i; k++) in[i] += in[k] * ends[i - k];
        in[i] /= fmax(1 - ends[0], 0.05);
        sum += in[i];
        v->gone[i + 1] = sum;
    }
    v->rate = rate;
    v->at_ns = now_ns;
    MUST(v->rate > 0);
}

/* From the moment it was worked out. */
static double curve(const struct ek_vacancy *v, double t_s)
{
    double at = t_s / v->step_s;
    if (at >= EK_VACANCY_STEPS)
        return v->gone[EK_VACANCY_STEPS] + (t_s - EK_VACANCY_STEPS * v->step_s) * v->rate;
    uint32_t i = (uint32_t)at;
    return v->gone[i] + (v->gone[i + 1] - v->gone[i]) * (at - i);
}

void ek_vacancy_learn(struct ek_vacancy *v, const struct ek_vacancy *last, double old_s, uint64_t came)
{
    MUST(last->at_ns && old_s >= 0);
    if (old_s > 2 * last->step_s) return;
    double by = ((double)came - curve(last, old_s)) / CALIBRATION;
    by = fmin(fmax(by, -0.1), 0.1);
    v->factor = fmin(fmax(ek_vacancy_factor(last) * exp(by), 1 / FACTOR_MAX), FACTOR_MAX);
}

double ek_vacancy_factor(const struct ek_vacancy *v)
{
    MUST(v->factor >= 0);
    return v->factor > 0 ? v->factor : 1.0;
}

double ek_vacancy_gone(const struct ek_vacancy *v, double old_s, double surplus, double t_s)
{
    MUST(v->at_ns && t_s >= 0 && old_s >= 0);
    return fmax(curve(v, old_s + t_s) - curve(v, old_s) - surplus, 0);
}

double ek_vacancy_until(const struct ek_vacancy *v, double old_s, double surplus, double n)
{
    MUST(v->at_ns && n >= 0 && old_s >= 0);
    double want = curve(v, old_s) + surplus + n, last = v->gone[EK_VACANCY_STEPS];
    double t_s = EK_VACANCY_STEPS * v->step_s + (want - last) / v->rate;
    if (want < last) {
        uint32_t i = 0;
        while (v->gone[i + 1] < want) i++;
        double by = v->gone[i + 1] - v->gone[i];
        t_s = (i + (by > 0 ? (want - v->gone[i]) / by : 0)) * v->step_s;
    }
    return fmin(fmax(t_s - old_s, 0), WAIT_MAX_S);
}
