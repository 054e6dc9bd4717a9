/* SPDX-License-Identifier: MIT */
/* The desk of the door as a policy of the simulated world: the same object code, driven by the same
 * calls in the same order as src/door does it. This file translates and decides nothing. */
#include "base/must.h"
#include "policy/cost.h"
#include "policy/learn.h"
#include "sim/policy.h"

#include <stdlib.h>
#include <string.h>

#define TELL_MIN_NS EK_S_NS
#define TELL_MAX_NS (10 * EK_S_NS)
#define LIE_TOKENS 131072u

struct shell {
    struct ek_sim_policy base; /* first */
    struct ek_policy *desk;
    struct ek_sim_policy_options o;
    struct ek_tier_options tier[EK_DESK_TIERS_MAX];
    struct ek_price_options lender_price; /* of "*" */
    struct ek_price_list lender_prices;
    uint32_t pool;
};

static struct shell *shell_of(struct ek_sim_policy *p)
{
    return (struct shell *)p;
}

static struct ek_now at(uint64_t now_ns)
{
    return (struct ek_now){now_ns, now_ns};
}

/* At most EK_DESK_PREFIX_MAX members of the chain of prefix blocks: the longest ones of a fixed grid, two an
 * octave, so that two prompts of different lengths that share a prefix also share members. */
static void add_prefix(const struct shell *s, const struct ek_sim_request *r, struct ek_arrival *a)
{
    const struct ek_sim_spec *spec = &r->spec;
    uint32_t grid[64];
    uint32_t n = 0;
    for (uint32_t b = 1; b <= spec->blocks && n + 2 <= EK_COUNT(grid); b *= 2) {
        grid[n++] = b;
        if (b >= 2 && b + b / 2 <= spec->blocks) grid[n++] = b + b / 2;
    }
    uint32_t from = n > EK_DESK_PREFIX_MAX ? n - EK_DESK_PREFIX_MAX : 0;
    for (uint32_t i = from; i < n; i++) {
        a->prefix[i - from].hash = 0x9e3779b97f4a7c15ull * s->o.block[spec->block + grid[i] - 1];
        a->prefix[i - from].tokens = grid[i] * EK_SIM_BLOCK_TOKENS;
    }
    a->prefix_count = n - from;
}

static bool shell_arrive(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r,
                         struct ek_action *refusal)
{
    struct shell *s = shell_of(p);
    struct ek_arrival a = {
        .id = (uint64_t)(uintptr_t)r, .account = r->spec.client + 1, .tier = r->tier, .pool = s->pool,
        .prompt_tokens = r->spec.prompt_tokens, .deadline_ns = UINT64_MAX, .model = 1,
        .max_tokens = r->liar ? LIE_TOKENS : 0, .price = s->o.price, .repeat = r->id + 1,
        .retries = r->tries, .thinks = r->spec.think_tokens > 0, .may_borrow = s->o.lender.slots > 0};
    double deadline_s = s->o.tier[r->tier].deadline_s;
    if (deadline_s > 0) a.deadline_ns = r->first_ns + (uint64_t)(deadline_s * 1e9);
    if (s->o.split_from && r->spec.client >= s->o.split_from) a.owner = 1;
    if (r->spec.blocks) add_prefix(s, r, &a);
    return ek_desk_arrive(s->desk, at(now_ns), &a, &r->ticket, refusal);
}

static bool shell_next(struct ek_sim_policy *p, uint64_t now_ns, struct ek_action *a)
{
    return ek_desk_next(shell_of(p)->desk, at(now_ns), a) != EK_DESK_IDLE;
}

static uint64_t shell_wake_ns(struct ek_sim_policy *p)
{
    return ek_desk_wake_ns(shell_of(p)->desk);
}

static void shell_first_token(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r)
{
    ek_desk_started(shell_of(p)->desk, at(now_ns), r->ticket);
}

static void shell_tokens(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r, uint32_t n)
{
    ek_desk_tokens(shell_of(p)->desk, at(now_ns), r->ticket, n);
}

static void shell_finished(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r)
{
    struct ek_used u = {.prompt_tokens = r->spec.prompt_tokens, .cached_tokens = r->cached_tokens,
                        .thought_tokens = r->think_tokens, .output_tokens = r->output_tokens};
    ek_desk_used(shell_of(p)->desk, at(now_ns), r->ticket, &u);
    ek_desk_finished(shell_of(p)->desk, at(now_ns), r->ticket, true);
}

static void shell_gone(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r)
{
    ek_desk_gone(shell_of(p)->desk, at(now_ns), r->ticket);
}

static void shell_load(struct ek_sim_policy *p, uint64_t now_ns, uint32_t engine, const struct ek_load *l)
{
    ek_desk_load(shell_of(p)->desk, at(now_ns), engine, l);
}

static void shell_check(const struct ek_sim_policy *p)
{
    ek_desk_check(((const struct shell *)p)->desk);
}

static void shell_look(const struct ek_sim_policy *p, uint32_t *percent, uint64_t *repeats)
{
    const struct shell *s = (const struct shell *)p;
    struct ek_desk_stats stats;
    ek_desk_stats(s->desk, &stats);
    *percent = 100;
    for (uint32_t t = 0; t < s->o.tiers; t++)
        if (stats.thinking_percent[t] < *percent) *percent = stats.thinking_percent[t];
    *repeats = stats.rejoined;
}

static void shell_lent(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_lent *out)
{
    struct shell *s = shell_of(p);
    struct ek_lender l = ek_desk_lender(s->desk, at(now_ns), s->o.engines);
    out->cost = (double)l.spent_nano * 1e-9;
    out->refused = l.refused;
}

static void shell_free(struct ek_sim_policy *p)
{
    ek_desk_free(&shell_of(p)->desk);
    free(p);
}

static struct ek_desk_options desk_options(struct shell *s)
{
    const struct ek_sim_policy_options *o = &s->o;
    uint64_t slots = 0;
    for (uint32_t t = 0; t < o->tiers; t++)
        s->tier[t] = (struct ek_tier_options){
            .name = o->tier[t].name, .weight = o->tier[t].weight,
            .waiting_max = o->tier[t].waiting_max,
            .account_running_max = o->tier[t].account_running_max,
            .account_waiting_max = o->tier[t].account_waiting_max,
            /* People's own patience ends their waiting here; the desk knows of it where it may shed. */
            .patience_ns = o->shed ? (uint64_t)(o->tier[t].patience_s * 1e9) : 0,
            .overflow_after_ns = (uint64_t)(o->tier[t].overflow_after_s * 1e9),
            .delay_target_ns = (uint64_t)(o->tier[t].delay_target_s * 1e9)};
    for (uint32_t e = 0; e < o->engines; e++) slots += o->slots[e] + 1;
    if (o->mute) slots = o->engines * (uint64_t)EK_LEARN_LIMIT_MAX;
    slots += o->lender.slots;
    if (slots > EK_DESK_RUNNING_MAX) slots = EK_DESK_RUNNING_MAX;
    return (struct ek_desk_options){
        .queue = {.waiting_max = o->waiting_max}, .tiers = {.item = s->tier, .count = o->tiers},
        .running_max = slots, .tell_min_ns = TELL_MIN_NS, .tell_max_ns = TELL_MAX_NS,
        .tell_change = 0.1, .down_grace_ns = 30 * EK_S_NS, .seed = o->seed,
        .tpot_target_ns = (uint64_t)(o->tpot_target_s * 1e9), .brownout = o->brownout,
        .shed = o->shed};
}

static void add_lender(struct shell *s)
{
    const struct ek_sim_lender *l = &s->o.lender;
    s->lender_price = (struct ek_price_options){.model = "*", .cached_pico = l->price.cached_pico,
                                                .prompt_pico = l->price.prompt_pico,
                                                .output_pico = l->price.output_pico};
    s->lender_prices = (struct ek_price_list){&s->lender_price, 1};
    struct ek_lender_terms t = {.budget_nano = {(int64_t)(l->budget_hour * 1e9),
                                                (int64_t)(l->budget_day * 1e9)},
                                .prices = &s->lender_prices};
    MUST(s->o.engines < 64);
    ek_desk_lend(s->desk, at(0), s->o.engines, &t);
}

struct ek_sim_policy *ek_sim_policy_desk(const struct ek_sim_policy_options *o)
{
    struct shell *s = calloc(1, sizeof *s);
    MUST(s);
    s->o = *o;
    s->base = (struct ek_sim_policy){
        .name = "desk", .arrive = shell_arrive, .next = shell_next, .wake_ns = shell_wake_ns,
        .first_token = shell_first_token, .tokens = shell_tokens, .finished = shell_finished,
        .gone = shell_gone, .load = shell_load, .check = shell_check, .look = shell_look,
        .lent = shell_lent, .free = shell_free};
    struct ek_desk_options d = desk_options(s);
    s->desk = ek_desk_new(&d, at(0));
    MUST(s->desk);
    if (o->lender.slots) add_lender(s);
    uint32_t all = o->engines + (o->lender.slots > 0);
    s->pool = ek_desk_pool(s->desk, all == 64 ? UINT64_MAX : (1ull << all) - 1);
    return &s->base;
}

struct ek_sim_policy *ek_sim_policy_refuse(const struct ek_sim_policy_options *o)
{
    struct ek_sim_policy_options without = *o;
    without.brownout = false;
    struct ek_sim_policy *p = ek_sim_policy_desk(&without);
    p->name = "refuse";
    return p;
}

/* The desk with this wait, as far as a tier borrows at all. */
static struct ek_sim_policy *with_overflow(const char *name, const struct ek_sim_policy_options *o,
                                           double after_s)
{
    struct ek_sim_tier tier[EK_DESK_TIERS_MAX];
    struct ek_sim_policy_options other = *o;
    for (uint32_t t = 0; t < o->tiers; t++) {
        tier[t] = o->tier[t];
        if (tier[t].overflow_after_s > 0) tier[t].overflow_after_s = after_s;
    }
    other.tier = tier;
    struct ek_sim_policy *p = ek_sim_policy_desk(&other);
    shell_of(p)->o.tier = o->tier; /* the desk has its own copy */
    p->name = name;
    return p;
}

struct ek_sim_policy *ek_sim_policy_alone(const struct ek_sim_policy_options *o)
{
    return with_overflow("alone", o, 0);
}

struct ek_sim_policy *ek_sim_policy_error(const struct ek_sim_policy_options *o)
{
    return with_overflow("error", o, 86400);
}

struct ek_sim_policy *ek_sim_policy_spill(const struct ek_sim_policy_options *o)
{
    return with_overflow("spill", o, 0.001);
}

struct ek_sim_policy *ek_sim_policy_open(const char *name, const struct ek_sim_policy_options *o)
{
#define OPEN(symbol, text) \
    if (strcmp(name, #symbol) == 0) return ek_sim_policy_##symbol(o);
    EK_SIM_POLICIES(OPEN)
#undef OPEN
    return NULL;
}
