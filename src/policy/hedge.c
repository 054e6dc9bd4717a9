/* SPDX-License-Identifier: MIT */
/* When a first token is late, and whether a second attempt is worth its price. Knows nothing of the desk. */
#include "policy/hedge.h"

#include "base/must.h"

#include <math.h>

#define CREDIT_MAX 20.0 /* calm is not saved up for long: a burst of a second at most */

/* ---- first tokens ------------------------------------------------------------------------------------ */

static uint32_t class_of(uint32_t prompt_tokens)
{
    uint32_t class = 0;
    for (uint64_t most = 256; prompt_tokens > most && class + 1 < EK_HEDGE_CLASSES; most *= 4) class++;
    return class;
}

/* The sample that 19 of 20 do not exceed. */
static double p95_of(const float *s, uint32_t count)
{
    float sorted[EK_HEDGE_SAMPLES];
    MUST(count > 0 && count <= EK_HEDGE_SAMPLES);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] > s[i]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = s[i];
    }
    return (double)sorted[(count * 19 + 19) / 20 - 1];
}

void ek_hedge_learn(struct ek_hedge_firsts *f, uint32_t prompt_tokens, double first_s, bool at_least)
{
    uint32_t class = class_of(prompt_tokens);
    MUST(first_s >= 0);
    /* Given up early it says nothing: it might have come the next moment. Left out altogether the late ones
     * would be forgotten one by one, and what is late would come sooner and sooner. */
    if (at_least && first_s < ek_hedge_p95_s(f, prompt_tokens)) return;
    f->s[class][f->seen[class] % EK_HEDGE_SAMPLES] = (float)first_s;
    f->seen[class]++;
    if (f->seen[class] == 2 * EK_HEDGE_SAMPLES) f->seen[class] = EK_HEDGE_SAMPLES; /* it stays a ring */
}

double ek_hedge_p95_s(const struct ek_hedge_firsts *f, uint32_t prompt_tokens)
{
    uint32_t class = class_of(prompt_tokens), seen = f->seen[class];
    if (seen < EK_HEDGE_LEAST) return 0;
    return p95_of(f->s[class], seen < EK_HEDGE_SAMPLES ? seen : EK_HEDGE_SAMPLES);
}

/* ---- the budget -------------------------------------------------------------------------------------- */

void ek_hedge_earn(struct ek_hedge_budget *b, double part)
{
    MUST(part >= 0 && part <= 1);
    b->credit = fmin(b->credit + part, CREDIT_MAX);
}

void ek_hedge_spend(struct ek_hedge_budget *b)
{
    MUST(b->credit >= 1);
    b->credit -= 1;
}

/* ---- the decision ------------------------------------------------------------------------------------ */

enum ek_hedge_verdict ek_hedge_decide(const struct ek_hedge_sight *s)
{
    MUST(s->waited_s >= 0 && s->after_s >= 0);
    if (!s->asked) return EK_HEDGE_NOT;
    if (s->after_s <= 0) return EK_HEDGE_UNKNOWN;
    if (s->waited_s < s->after_s) return EK_HEDGE_EARLY;
    if (!s->there) return EK_HEDGE_NOWHERE;
    if (s->waiting > 0 || s->load_here >= EK_HEDGE_LOAD_MAX || s->load_there >= EK_HEDGE_LOAD_MAX)
        return EK_HEDGE_BUSY;
    return s->credit >= 1 ? EK_HEDGE_GO : EK_HEDGE_BUDGET;
}

const char *ek_hedge_name(enum ek_hedge_verdict v)
{
    static const char *const names[] = {"", "", "unknown", "", "nowhere", "busy", "budget"};
    _Static_assert(sizeof names / sizeof *names == EK_HEDGE_VERDICTS, "a word for each");
    MUST((unsigned)v < EK_HEDGE_VERDICTS);
    return names[v];
}
