/* SPDX-License-Identifier: MIT */
/* The cursor and the retry budget. */
#include "policy/shed.h"

#include "base/must.h"
#include "policy/index.h"

#include <string.h>

#define ALPHA 0.05
#define BETA 0.01
#define WINDOW_NS 1000000000ull
#define WINDOW_ARRIVALS 20u /* fewer say nothing; the window goes on */
#define WINDOW_MAX_NS (30 * WINDOW_NS)
#define AGAIN_SHARE 0.1
#define FADE 0.8 /* of the retry budget's memory, a window */

void ek_shed_tiers(struct ek_shed *s, uint32_t tiers, const double *weight)
{
    MUST(tiers >= 1 && tiers <= EK_SHED_TIERS_MAX);
    bool open = s->tiers == 0 || !ek_shed_active(s);
    s->tiers = tiers;
    for (uint32_t t = 0; t < tiers; t++) {
        s->rank[t] = 0;
        for (uint32_t o = 0; o < tiers; o++)
            s->rank[t] += weight[o] > weight[t] || (!(weight[o] < weight[t]) && o < t);
    }
    if (open || s->cursor > tiers * EK_SHED_PEOPLE) s->cursor = tiers * EK_SHED_PEOPLE;
}

bool ek_shed_admits(struct ek_shed *s, uint32_t tier, uint64_t who, uint64_t hour, bool again)
{
    MUST(tier < s->tiers);
    uint32_t person = (uint32_t)(ek_index_mix(who, hour * 0x9e3779b97f4a7c15ull) >> 40) % EK_SHED_PEOPLE;
    uint32_t level = s->rank[tier] * EK_SHED_PEOPLE + person;
    s->came[level]++;
    s->total++;
    if (level >= s->cursor) return false;
    if (again && ek_shed_active(s) && s->again + 1 > AGAIN_SHARE * (s->fresh + s->again + 10)) return false;
    s->in++;
    *(again ? &s->again : &s->fresh) += 1;
    return true;
}

/* The cursor below which, by this window's arrivals, `want` come in. */
static uint32_t cursor_for(const struct ek_shed *s, double want)
{
    double sum = 0;
    uint32_t levels = s->tiers * EK_SHED_PEOPLE;
    for (uint32_t l = 0; l < levels; l++) {
        sum += s->came[l];
        if (sum > want) return l;
    }
    return levels;
}

void ek_shed_tick(struct ek_shed *s, uint64_t now_ns, bool overloaded)
{
    if (s->window_ns == 0) s->window_ns = now_ns;
    uint64_t age_ns = now_ns - s->window_ns;
    if (age_ns < WINDOW_NS || (s->total < WINDOW_ARRIVALS && age_ns < WINDOW_MAX_NS)) return;
    uint32_t levels = s->tiers * EK_SHED_PEOPLE;
    uint32_t by = levels / 100 + 1; /* where arrivals are few, levels are counted instead */
    if (overloaded && s->total) {
        uint32_t next = cursor_for(s, (1 - ALPHA) * s->in);
        if (next >= s->cursor && s->cursor > 0) next = s->cursor - 1;
        s->cursor = next > EK_SHED_PEOPLE / 8 ? next : EK_SHED_PEOPLE / 8; /* never shut to all */
    } else if (!overloaded && s->cursor < levels) {
        uint32_t next = s->total ? cursor_for(s, s->in + BETA * s->total) : s->cursor + by;
        s->cursor = next > s->cursor ? next : s->cursor + 1;
        if (s->cursor > levels) s->cursor = levels;
    }
    memset(s->came, 0, sizeof s->came);
    s->total = s->in = 0;
    s->fresh *= FADE;
    s->again *= FADE;
    s->window_ns = now_ns;
}
