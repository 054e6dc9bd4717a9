/* SPDX-License-Identifier: MIT */
/* The cursor and the retry budget. */
#include "policy/shed.h"

#include "base/must.h"
#include "policy/index.h"

#include <math.h>
#include <string.h>

#define ALPHA_MAX 0.05 /* of what comes in, down ... */
#define ALPHA_MIN 0.005
#define BETA 0.2       /* ... and so much of it up */
#define OPEN 0.5   /* the line below which more come in */
#define FAR 0.25
#define REST 8u /* windows */
#define USUAL 0.95f /* of what usually comes, kept from window to window */
#define SHUT_MIN (EK_SHED_PEOPLE / 8)
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
    *(again ? &s->again : &s->fresh) += 1;
    return true;
}

/* What usually comes below this level. */
static double below(const struct ek_shed *s, uint32_t level)
{
    double sum = 0;
    for (uint32_t l = 0; l < level; l++) sum += (double)s->usual[l];
    return sum;
}

/* The cursor below which, by what usually comes, `want` come in. */
static uint32_t cursor_for(const struct ek_shed *s, double want)
{
    double sum = 0;
    uint32_t levels = s->tiers * EK_SHED_PEOPLE;
    for (uint32_t l = 0; l < levels; l++) {
        sum += (double)s->usual[l];
        if (sum > want) return l;
    }
    return levels;
}

static void move(struct ek_shed *s, double line)
{
    uint32_t levels = s->tiers * EK_SHED_PEOPLE;
    double all = below(s, levels), in = below(s, s->cursor), was = s->line;
    bool down = line > 1 && line >= was, up = line < OPEN && line <= was && s->cursor < levels;
    s->line = line;
    s->rested++;
    if (!down && !up) return;
    int8_t way = down ? -1 : 1;
    bool far = down ? line > 1 + FAR : line < OPEN - FAR; /* it did not come to rest near where it should */
    if (s->way != 0 && !far && s->rested < REST) return; /* what the last move did shows through the noise */
    s->rested = 0;
    if (s->way == 0) s->step = ALPHA_MAX;
    else if (s->way != way) s->step = fmax(s->step / 2, ALPHA_MIN);
    else if (far) s->step = fmin(s->step * 1.2, ALPHA_MAX);
    s->way = way;
    if (down && in > 0) {
        uint32_t next = cursor_for(s, (1 - s->step) * in);
        if (next >= s->cursor && s->cursor > 0) next = s->cursor - 1;
        s->cursor = next > SHUT_MIN ? next : SHUT_MIN; /* never shut to all */
    } else if (up) {
        uint32_t by = levels / 100 + 1; /* where nobody comes, levels are counted instead */
        uint32_t next = s->total ? cursor_for(s, in + s->step * BETA * all) : s->cursor + by;
        s->cursor = next > s->cursor ? next : s->cursor + 1;
        if (s->cursor > levels) s->cursor = levels;
    }
}

void ek_shed_tick(struct ek_shed *s, uint64_t now_ns, double line)
{
    MUST(line >= 0);
    if (s->window_ns == 0) s->window_ns = now_ns;
    uint64_t age_ns = now_ns - s->window_ns;
    if (age_ns < WINDOW_NS || (s->total < WINDOW_ARRIVALS && age_ns < WINDOW_MAX_NS)) return;
    for (uint32_t l = 0; l < s->tiers * EK_SHED_PEOPLE; l++)
        s->usual[l] = s->usual[l] * USUAL + (float)s->came[l];
    move(s, line);
    memset(s->came, 0, sizeof s->came);
    s->total = 0;
    s->fresh *= FADE;
    s->again *= FADE;
    s->window_ns = now_ns;
}
