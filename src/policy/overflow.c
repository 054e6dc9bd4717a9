/* SPDX-License-Identifier: MIT */
/* Purses of lenders and the one decision when they are opened. Knows nothing of the desk. */
#include "policy/overflow.h"

#include "base/must.h"
#include "base/zone.h"
#include "policy/cost.h"

#include <math.h>
#include <stdio.h>

#define REST_FIRST_NS EK_S_NS
#define REST_LONGEST_NS (60 * EK_S_NS)
#define REST_ASKED_MAX_NS (3600 * EK_S_NS)
#define PROMPT_MARGIN 4u /* a quarter more: prompts are counted by their bytes ... */
#define PROMPT_EXTRA 64u /* ... and what a template adds to them is not known */

/* ---- the purse ------------------------------------------------------------------------------------- */

void ek_lender_agree(struct ek_lender *l, const struct ek_lender_terms *t)
{
    l->lent = t != NULL;
    l->terms = t ? *t : (struct ek_lender_terms){.prices = NULL};
    MUST(l->terms.budget_nano[EK_PURSE_HOUR] >= 0 && l->terms.budget_nano[EK_PURSE_DAY] >= 0);
}

void ek_lender_roll(struct ek_lender *l, struct ek_now now)
{
    int64_t unix_s = (int64_t)(now.unix_ns / EK_S_NS);
    uint64_t window[EK_PURSE_SPANS] = {
        [EK_PURSE_HOUR] = (uint64_t)unix_s / 3600,
        [EK_PURSE_DAY] = (uint64_t)(unix_s + ek_zone_offset_s(l->terms.zone, unix_s)) / 86400};
    for (int i = 0; i < EK_PURSE_SPANS; i++) {
        if (l->kept.window[i] == window[i]) continue;
        l->kept.window[i] = window[i];
        l->kept.spent_nano[i] = 0;
        l->elsewhere.spent_nano[i] = 0;
    }
}

/* What is left of a window for what is not spent, and all that is reserved of it. */
static int64_t unspent(const struct ek_lender *l, int span)
{
    return l->terms.budget_nano[span] - l->kept.spent_nano[span] - l->elsewhere.spent_nano[span];
}

static int64_t spoken_for(const struct ek_lender *l)
{
    return l->reserved_nano + l->elsewhere.reserved_nano;
}

int64_t ek_lender_left_nano(const struct ek_lender *l)
{
    int64_t least = INT64_MAX;
    MUST(l->reserved_nano >= 0);
    for (int i = 0; i < EK_PURSE_SPANS; i++) {
        if (l->terms.budget_nano[i] == 0) continue;
        int64_t left = unspent(l, i) - spoken_for(l);
        if (left < least) least = left;
    }
    return least > 0 ? least : 0;
}

struct ek_price_options ek_lender_price(const struct ek_lender *l, struct ek_now now)
{
    if (!l->terms.prices) return (struct ek_price_options){.model = NULL};
    return *ek_cost_price(l->terms.prices, l->terms.price ? l->terms.price : "*", now.unix_ns);
}

/* When the window of this span ends that holds now. */
static uint64_t window_end_s(const struct ek_lender *l, enum ek_purse_span span, int64_t unix_s)
{
    if (span == EK_PURSE_HOUR) return ((uint64_t)unix_s / 3600 + 1) * 3600;
    int64_t local_s = unix_s + ek_zone_offset_s(l->terms.zone, unix_s);
    int64_t end_s = (local_s / 86400 + 1) * 86400 - ek_zone_offset_s(l->terms.zone, unix_s);
    /* On the two days a year on which the clock is set, midnight is by the offset of then. */
    end_s += ek_zone_offset_s(l->terms.zone, unix_s) - ek_zone_offset_s(l->terms.zone, end_s);
    return (uint64_t)(end_s > unix_s ? end_s : unix_s + 1);
}

enum ek_purse_state ek_lender_can(const struct ek_lender *l, struct ek_now now, int64_t nano,
                                  uint64_t *wait_ns)
{
    int64_t unix_s = (int64_t)(now.unix_ns / EK_S_NS);
    enum ek_purse_state state = EK_PURSE_PAYS;
    MUST(nano >= 0 && l->reserved_nano >= 0);
    *wait_ns = 0;
    for (int i = 0; i < EK_PURSE_SPANS; i++) {
        int64_t budget = l->terms.budget_nano[i];
        if (budget == 0) continue;
        if (nano > budget) return EK_PURSE_NEVER;
        if (nano <= unspent(l, i) - spoken_for(l)) continue;
        if (nano <= unspent(l, i)) { /* it is not spent, only spoken for */
            if (state == EK_PURSE_PAYS) state = EK_PURSE_RESERVED;
            continue;
        }
        uint64_t end_ns = window_end_s(l, (enum ek_purse_span)i, unix_s) * EK_S_NS;
        uint64_t ns = ek_ns_since(end_ns, now.unix_ns);
        state = EK_PURSE_WINDOW;
        if (ns > *wait_ns) *wait_ns = ns;
    }
    return state;
}

uint64_t ek_lender_prompt(uint64_t prompt_tokens)
{
    return prompt_tokens + prompt_tokens / PROMPT_MARGIN + PROMPT_EXTRA;
}

int64_t ek_lender_usual_nano(const struct ek_lender_terms *t, uint64_t unix_ns)
{
    if (!t->prices) return 0;
    const struct ek_price_options *price = ek_cost_price(t->prices, t->price ? t->price : "*", unix_ns);
    return ek_cost_nano(price, 0, ek_lender_prompt(EK_OVERFLOW_PROMPT_USUAL), EK_OVERFLOW_OUTPUT_UNKNOWN);
}

bool ek_lender_is_small(const struct ek_lender_terms *t, uint64_t unix_ns, char *why, size_t cap)
{
    static const char *const names[EK_PURSE_SPANS] = {"budget_hour", "budget_day"};
    int64_t usual = ek_lender_usual_nano(t, unix_ns);
    for (int i = 0; i < EK_PURSE_SPANS; i++) {
        if (t->budget_nano[i] == 0 || usual <= t->budget_nano[i]) continue;
        snprintf(why, cap, "its %s of %.10g does not hold one usual request: %.10g is reserved for a prompt "
                 "of %u tokens and an answer of %u", names[i], (double)t->budget_nano[i] * 1e-9,
                 (double)usual * 1e-9, EK_OVERFLOW_PROMPT_USUAL, EK_OVERFLOW_OUTPUT_UNKNOWN);
        return true;
    }
    return false;
}

bool ek_lender_reserve(struct ek_lender *l, int64_t nano)
{
    MUST(l->lent && nano >= 0);
    if (nano > ek_lender_left_nano(l)) {
        l->refused++;
        return false;
    }
    l->reserved_nano += nano;
    return true;
}

bool ek_lender_grow(struct ek_lender *l, int64_t nano, bool *overdrawn)
{
    MUST(nano >= 0);
    bool has = nano <= ek_lender_left_nano(l);
    if (!has && (l->overdrawn || l->elsewhere.overdrawn) && !*overdrawn) {
        l->recalled++;
        return false;
    }
    if (!has && !*overdrawn) {
        l->overdrawn = *overdrawn = true;
        l->overdrafts++;
    }
    l->reserved_nano += nano;
    return true;
}

void ek_lender_settle(struct ek_lender *l, int64_t reserved_nano, int64_t spent_nano, bool overdrawn)
{
    MUST(reserved_nano >= 0 && spent_nano >= 0);
    MUST(l->reserved_nano >= reserved_nano);
    l->reserved_nano -= reserved_nano;
    l->spent_nano += spent_nano;
    for (int i = 0; i < EK_PURSE_SPANS; i++) l->kept.spent_nano[i] += spent_nano;
    if (overdrawn) l->overdrawn = false;
}

/* ---- full ------------------------------------------------------------------------------------------ */

uint32_t ek_lender_room(const struct ek_lender *l, uint64_t now_ns, uint32_t running, uint32_t wall)
{
    if (!l->lent || now_ns < l->rest_until_ns) return 0;
    if (l->rests > 0) return l->trial ? 0 : 1;
    uint32_t theirs = l->elsewhere.running;
    return wall > running && wall - running > theirs ? wall - running - theirs : 0;
}

bool ek_lender_sent(struct ek_lender *l)
{
    MUST(l->lent);
    if (l->rests == 0) return false;
    MUST(!l->trial);
    l->trial = true;
    return true;
}

void ek_lender_full(struct ek_lender *l, uint64_t now_ns, uint64_t rest_ns, double jitter)
{
    l->swamped++;
    if (now_ns < l->rest_until_ns && rest_ns == 0) return; /* of those that were sent before it said so */
    uint64_t ns = l->rests < 7 ? REST_FIRST_NS << l->rests : REST_LONGEST_NS;
    if (ns > REST_LONGEST_NS) ns = REST_LONGEST_NS;
    ns += (uint64_t)((double)ns * 0.2 * jitter);
    if (rest_ns > ns) ns = rest_ns < REST_ASKED_MAX_NS ? rest_ns : REST_ASKED_MAX_NS;
    l->rests++;
    if (now_ns + ns > l->rest_until_ns) l->rest_until_ns = now_ns + ns;
}

void ek_lender_tried(struct ek_lender *l, bool good)
{
    l->trial = false;
    if (good) l->rests = 0;
}

/* ---- when ------------------------------------------------------------------------------------------ */

enum ek_overflow_why ek_overflow_decide(const struct ek_overflow_sight *s)
{
    MUST(s->after_s >= 0 && s->waited_s >= 0);
    if (s->after_s <= 0) return EK_OVERFLOW_NOT;
    if (!s->own_up) return EK_OVERFLOW_DOWN;
    if (s->line_full) return EK_OVERFLOW_FULL;
    /* Nothing has been measured yet: then the wait itself is all that is known of it. */
    double eta_s = s->known ? s->eta_s : 0;
    if (s->known && eta_s <= s->there_s) return EK_OVERFLOW_NOT;
    if (s->rescued && (!s->known || eta_s - s->there_s > EK_OVERFLOW_RESCUE_S)) return EK_OVERFLOW_RESCUE;
    if (s->known && eta_s > s->left_s && s->there_s <= s->left_s) return EK_OVERFLOW_DEADLINE;
    return s->waited_s + eta_s > s->after_s ? EK_OVERFLOW_WAIT : EK_OVERFLOW_NOT;
}

const char *ek_overflow_name(enum ek_overflow_why why)
{
    static const char *const names[] = {"", "down", "full", "wait", "deadline", "rescue"};
    _Static_assert(EK_COUNT(names) == EK_OVERFLOW_WHYS, "a word for each");
    MUST((unsigned)why < EK_COUNT(names));
    return names[why];
}
