/* SPDX-License-Identifier: MIT */
/* Fairness, measured on a tick. The difference of a pair is followed from the moment both wait; the
 * largest difference between any two moments of that time is the span between its extremes. */
#include "sim/fair.h"

#include "base/must.h"

#include <math.h>
#include <stdlib.h>

void ek_sim_fair_init(struct ek_sim_fair *f, uint32_t accounts, uint32_t compared, const uint8_t *tier_of)
{
    MUST(compared <= accounts);
    *f = (struct ek_sim_fair){.accounts = accounts, .compared = compared};
    f->account = calloc(accounts, sizeof *f->account);
    f->pair = calloc((size_t)EK_SIM_FAIR_MAX * EK_SIM_FAIR_MAX, sizeof *f->pair);
    MUST(f->account && f->pair);
    for (uint32_t i = 0; i < accounts; i++) {
        f->account[i].tier = tier_of[i];
        f->account[i].dry = true;
    }
}

void ek_sim_fair_free(struct ek_sim_fair *f)
{
    free(f->account);
    free(f->pair);
}

void ek_sim_fair_waiting(struct ek_sim_fair *f, uint32_t account, int by)
{
    struct ek_sim_fair_account *a = &f->account[account];
    MUST(account < f->accounts);
    MUST(by > 0 || a->waiting > 0);
    a->waiting += (uint32_t)by;
    if (a->waiting == 0) a->dry = true;
}

static void tick_account(struct ek_sim_fair *f, struct ek_sim_fair_account *a, double dt_s)
{
    if (a->since_tick && !a->dry) {
        a->backlog_s += dt_s;
        a->backlog_service += a->service - a->at_start;
    }
    a->at_start = a->service;
    if (a->dry) a->since_tick = 0;
    a->dry = a->waiting == 0;
    if (!a->dry && a->since_tick == 0) a->since_tick = f->tick;
}

static void tick_pair(struct ek_sim_fair *f, uint32_t i, uint32_t k)
{
    const struct ek_sim_fair_account *a = &f->account[i];
    const struct ek_sim_fair_account *b = &f->account[k];
    struct ek_sim_fair_pair *p = &f->pair[i * EK_SIM_FAIR_MAX + k];
    uint64_t since = a->since_tick > b->since_tick ? a->since_tick : b->since_tick;
    float now = (float)(a->service - b->service);
    if (p->since_tick != since) *p = (struct ek_sim_fair_pair){now, now, now, since};
    p->low = fminf(p->low, now);
    p->high = fmaxf(p->high, now);
    f->max = fmax(f->max, (double)(p->high - p->low));
    f->sum += fabs((double)(now - p->base));
    f->apart = fmax(f->apart, fabs((double)(now - p->base)));
    f->samples++;
}

void ek_sim_fair_tick(struct ek_sim_fair *f, double now_s)
{
    uint32_t waiting[EK_SIM_FAIR_MAX];
    uint32_t n = 0;
    f->tick++;
    f->apart = 0;
    for (uint32_t i = 0; i < f->accounts; i++) {
        tick_account(f, &f->account[i], now_s - f->last_s);
        if (i < EK_SIM_FAIR_MAX && i < f->compared && f->account[i].since_tick) waiting[n++] = i;
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = i + 1; k < n; k++)
            if (f->account[waiting[i]].tier == f->account[waiting[k]].tier)
                tick_pair(f, waiting[i], waiting[k]);
    f->last_s = now_s;
}

void ek_sim_fair_result(const struct ek_sim_fair *f, struct ek_sim_fair_result *out)
{
    double tier_sum[EK_DESK_TIERS_MAX] = {0};
    double tier_n[EK_DESK_TIERS_MAX] = {0};
    double sum = 0, squares = 0, n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < f->compared; i++) {
            const struct ek_sim_fair_account *a = &f->account[i];
            if (a->backlog_s < 60) continue;
            double rate = a->backlog_service / a->backlog_s;
            if (pass == 0) {
                tier_sum[a->tier] += rate;
                tier_n[a->tier] += 1;
                continue;
            }
            /* Against the mean of its tier, so that tiers may differ and accounts may not. */
            double x = tier_sum[a->tier] > 0 ? rate * tier_n[a->tier] / tier_sum[a->tier] : 1;
            sum += x;
            squares += x * x;
            n += 1;
        }
    out->max = f->max;
    out->mean = f->samples ? f->sum / (double)f->samples : 0;
    out->jain = squares > 0 ? sum * sum / (n * squares) : 1;
    out->samples = f->samples;
}
