/* SPDX-License-Identifier: MIT */
/* Lenders: purses, the decision, and the desk that sends to them only what would wait too long here. */
#include "cm.h"

#include "base/random.h"
#include "base/zone.h"
#include "policy/desk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MILLION 1000000
#define UNIT 1000000000ll /* of the currency, in nano-units */

static const struct ek_hours nights = {.days = 0x7f, .time_count = 1, .time = {{22 * 60, 6 * 60}}};
static const struct ek_price_options prices_[] = {
    {.model = "cloud", .when = "night", .hours = &nights, .cached_pico = 10000, .prompt_pico = 100000,
     .output_pico = 1 * MILLION},
    {.model = "cloud", .cached_pico = 20000, .prompt_pico = 200000, .output_pico = 2 * MILLION},
    {.model = "dear", .prompt_pico = 400000, .output_pico = 4 * MILLION},
    {.model = "*", .prompt_pico = 100000, .output_pico = 1 * MILLION},
};
static const struct ek_price_list prices = {prices_, EK_COUNT(prices_)};

static struct ek_now at(double s)
{
    /* 2023-11-14 22:13:20 UTC and on */
    return (struct ek_now){10 * EK_S_NS + (uint64_t)(s * 1e9), 1700000000 * EK_S_NS + (uint64_t)(s * 1e9)};
}

/* ---- purses ---------------------------------------------------------------------------------------- */

static struct ek_lender lender(double hour, double day)
{
    struct ek_lender l = {.lent = false};
    struct ek_lender_terms t = {.budget_nano = {(int64_t)(hour * UNIT), (int64_t)(day * UNIT)},
                                .prices = &prices, .price = "cloud"};
    ek_lender_agree(&l, &t);
    ek_lender_roll(&l, at(0));
    return l;
}

static void money_is_reserved_settled_and_never_passed(void **state)
{
    (void)state;
    struct ek_lender l = lender(1, 3);
    assert_true(ek_lender_reserve(&l, 6 * UNIT / 10));
    assert_false(ek_lender_reserve(&l, 5 * UNIT / 10));
    assert_true(ek_lender_left_nano(&l) == 4 * UNIT / 10);
    ek_lender_settle(&l, 6 * UNIT / 10, 2 * UNIT / 10, false);
    assert_true(ek_lender_left_nano(&l) == 8 * UNIT / 10);
    assert_true(ek_lender_reserve(&l, 8 * UNIT / 10));
    ek_lender_settle(&l, 8 * UNIT / 10, 8 * UNIT / 10, false);
    assert_false(ek_lender_reserve(&l, 1));
    ek_lender_roll(&l, at(3600)); /* another hour, the same budget of the day */
    assert_true(ek_lender_left_nano(&l) == UNIT);
    assert_true(l.kept.spent_nano[EK_PURSE_DAY] == 0 || l.kept.spent_nano[EK_PURSE_DAY] == UNIT);
    ek_lender_roll(&l, at(86400 * 2));
    assert_true(l.kept.spent_nano[EK_PURSE_DAY] == 0 && l.spent_nano == UNIT);
    assert_int_equal(l.refused, 2);
}

static void what_runs_into_the_next_hour_is_counted_there(void **state)
{
    (void)state;
    struct ek_lender l = lender(1, 0);
    assert_true(ek_lender_reserve(&l, UNIT));
    ek_lender_roll(&l, at(3600));
    assert_true(ek_lender_left_nano(&l) == 0);
    ek_lender_settle(&l, UNIT, UNIT / 2, false);
    assert_true(ek_lender_left_nano(&l) == UNIT / 2);
}

static void a_purse_says_when_it_can_pay(void **state)
{
    (void)state;
    struct ek_lender l = lender(1, 3);
    uint64_t ns = 7;
    assert_int_equal(ek_lender_can(&l, at(0), UNIT, &ns), EK_PURSE_PAYS);
    assert_int_equal(ns, 0);
    assert_int_equal(ek_lender_can(&l, at(0), UNIT + 1, &ns), EK_PURSE_NEVER);
    assert_true(ek_lender_reserve(&l, UNIT / 2));
    assert_int_equal(ek_lender_can(&l, at(0), UNIT, &ns), EK_PURSE_RESERVED);
    ek_lender_settle(&l, UNIT / 2, UNIT / 2, false);
    assert_int_equal(ek_lender_can(&l, at(0), UNIT / 2, &ns), EK_PURSE_PAYS);
    assert_int_equal(ek_lender_can(&l, at(0), UNIT, &ns), EK_PURSE_WINDOW);
    assert_true(ns == (46 * 60 + 40) * EK_S_NS); /* from 22:13:20 to 23:00 */
    l.kept.spent_nano[EK_PURSE_DAY] = 2 * UNIT + UNIT / 2;
    assert_int_equal(ek_lender_can(&l, at(0), UNIT, &ns), EK_PURSE_WINDOW);
    assert_true(ns == (3600 + 46 * 60 + 40) * EK_S_NS); /* to midnight */
    struct ek_zone china;
    assert_true(ek_zone_fixed(EK_STR("UTC+8"), &china));
    l.terms.zone = &china; /* 06:13 there */
    assert_int_equal(ek_lender_can(&l, at(0), UNIT, &ns), EK_PURSE_WINDOW);
    assert_true(ns == (17ull * 3600 + 46 * 60 + 40) * EK_S_NS);
    char why[256];
    assert_false(ek_lender_is_small(&l.terms, at(0).unix_ns, why, sizeof why));
    l.terms.budget_nano[EK_PURSE_DAY] = UNIT / 500;
    assert_true(ek_lender_is_small(&l.terms, at(0).unix_ns, why, sizeof why)); /* 1314 at 0.1, 2048 at 1 */
    assert_string_equal(why, "its budget_day of 0.002 does not hold one usual request: 0.0021794 is reserved "
                             "for a prompt of 1000 tokens and an answer of 2048");
}

static void one_alone_may_be_overdrawn(void **state)
{
    (void)state;
    struct ek_lender l = lender(1, 0);
    bool first = false, second = false;
    assert_true(ek_lender_reserve(&l, UNIT / 2) && ek_lender_reserve(&l, UNIT / 2));
    assert_true(ek_lender_grow(&l, UNIT / 10, &first) && first);
    assert_false(ek_lender_grow(&l, UNIT / 10, &second));
    assert_true(ek_lender_grow(&l, UNIT / 10, &first)); /* it goes on to its end */
    ek_lender_settle(&l, UNIT / 2 + UNIT / 5, UNIT / 2 + UNIT / 5, true);
    assert_false(l.overdrawn);
    assert_int_equal(l.recalled, 1);
    assert_int_equal(l.overdrafts, 1);
}

static void what_other_processes_have_is_not_ours(void **state)
{
    (void)state;
    uint64_t wait_ns;
    bool first = false;
    struct ek_lender l = lender(1, 3);
    l.elsewhere = (struct ek_purse_elsewhere){.spent_nano = {UNIT / 4, UNIT / 2}, .reserved_nano = UNIT / 4,
                                              .running = 3};
    assert_true(ek_lender_left_nano(&l) == UNIT / 2);
    assert_false(ek_lender_reserve(&l, UNIT / 2 + 1));
    assert_true(ek_lender_reserve(&l, UNIT / 2));
    assert_int_equal(ek_lender_can(&l, at(0), UNIT * 3 / 4, &wait_ns), EK_PURSE_RESERVED);
    assert_int_equal(ek_lender_can(&l, at(0), UNIT * 3 / 4 + 1, &wait_ns), EK_PURSE_WINDOW);
    assert_int_equal(ek_lender_room(&l, at(0).mono_ns, 2, 8), 3);
    assert_int_equal(ek_lender_room(&l, at(0).mono_ns, 6, 8), 0);
    l.elsewhere.running = UINT32_MAX;
    assert_int_equal(ek_lender_room(&l, at(0).mono_ns, 2, 8), 0);
    l.elsewhere.overdrawn = true; /* one of theirs is beyond the budget: none of ours may be, too */
    assert_false(ek_lender_grow(&l, 1, &first));
    l.elsewhere.overdrawn = false;
    assert_true(ek_lender_grow(&l, 1, &first));
    ek_lender_settle(&l, UNIT / 2 + 1, 0, first);
    ek_lender_roll(&l, at(3600)); /* another hour, the same day: what they spent in the old one is over */
    assert_true(ek_lender_left_nano(&l) == UNIT * 3 / 4);
}

static void its_price_is_that_of_the_hour(void **state)
{
    (void)state;
    struct ek_lender l = lender(1, 0);
    assert_int_equal(ek_lender_price(&l, at(0)).output_pico, 1 * MILLION);             /* 22:13 */
    assert_int_equal(ek_lender_price(&l, at(12 * 3600)).output_pico, 2 * MILLION);     /* 10:13 */
}

static void who_is_full_rests_and_is_tried_by_one(void **state)
{
    (void)state;
    struct ek_lender l = lender(1, 0);
    assert_int_equal(ek_lender_room(&l, 0, 3, 8), 5);
    assert_false(ek_lender_sent(&l));
    for (int i = 0; i < 100; i++) ek_lender_full(&l, 1000, 0, 0); /* a hundred answers of one moment */
    assert_int_equal(ek_lender_room(&l, 1000 + EK_S_NS - 1, 0, 8), 0);
    uint64_t now_ns = 1000, tries = 0;
    for (; now_ns < 600 * EK_S_NS; now_ns += EK_S_NS / 10) { /* ten minutes of nothing but 429 */
        if (!ek_lender_room(&l, now_ns, 0, 8)) continue;
        assert_int_equal(ek_lender_room(&l, now_ns, 0, 8), 1);
        assert_true(ek_lender_sent(&l));
        assert_int_equal(ek_lender_room(&l, now_ns, 1, 8), 0);
        ek_lender_full(&l, now_ns, 0, 1);
        ek_lender_tried(&l, false);
        tries++;
    }
    assert_in_range(tries, 10, 16);
    now_ns = l.rest_until_ns;
    assert_true(ek_lender_sent(&l));
    ek_lender_tried(&l, true);
    assert_int_equal(ek_lender_room(&l, now_ns, 1, 8), 7);
    ek_lender_full(&l, now_ns, 300 * EK_S_NS, 0); /* as it asks */
    assert_int_equal(ek_lender_room(&l, now_ns + 299 * EK_S_NS, 0, 8), 0);
}

static void a_decision_for_each_sight(void **state)
{
    (void)state;
    const struct ek_overflow_sight base = {.after_s = 10, .own_up = true, .known = true, .eta_s = 5,
                                           .there_s = 1, .left_s = HUGE_VAL};
    struct ek_overflow_sight s = base;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_NOT);
    s.eta_s = 11;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_WAIT);
    s.there_s = 12; /* it would be later there */
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_NOT);
    s = base;
    s.waited_s = 6; /* 11 s in all */
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_WAIT);
    s = base;
    s.left_s = 4;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_DEADLINE);
    s.left_s = 0.5; /* nor could a lender */
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_NOT);
    s = base;
    s.rescued = true;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_RESCUE);
    s.eta_s = 1.2;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_NOT);
    s = base;
    s.known = false;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_NOT);
    s.waited_s = 11;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_WAIT);
    s = base;
    s.own_up = false;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_DOWN);
    s.after_s = 0;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_NOT);
    s = base;
    s.line_full = true;
    assert_int_equal(ek_overflow_decide(&s), EK_OVERFLOW_FULL);
}

/* ---- at the desk ----------------------------------------------------------------------------------- */

#define GUESTS 4096u

static const struct ek_tier_options tiers[] = {
    {.name = "paid", .weight = 4, .overflow_after_ns = 5 * EK_S_NS},
    {.name = "free", .weight = 1}};

struct play {
    struct ek_policy *desk;
    struct ek_now now;
    uint32_t ticket[GUESTS], where[GUESTS];
    enum ek_overflow_why why[GUESTS];
    struct ek_action told, refusal; /* the last ones */
    uint32_t starts[4], recalls, refused;
};

static void deal(struct play *p, uint32_t index, const char *price, double hour, double day)
{
    struct ek_lender_terms t = {.budget_nano = {(int64_t)(hour * UNIT), (int64_t)(day * UNIT)},
                                .prices = &prices, .price = price};
    ek_desk_lend(p->desk, p->now, index, &t);
}

/* Upstream 0 is ours with one slot and another that waits; 1 and 2 are lenders. */
static struct play *play_new(double hour, double day)
{
    struct ek_desk_options o = {.queue.waiting_max = 1000, .tiers = {tiers, 2}, .running_max = 900,
                                .tell_min_ns = EK_S_NS, .tell_max_ns = 10 * EK_S_NS, .tell_change = 0.1,
                                .down_grace_ns = 30 * EK_S_NS, .seed = 7};
    struct play *p = calloc(1, sizeof *p);
    p->now = at(0);
    p->desk = ek_desk_new(&o, p->now);
    deal(p, 1, "cloud", hour, day);
    deal(p, 2, "dear", hour, day);
    assert_int_equal(ek_desk_pool(p->desk, 7), 0);
    assert_int_equal(ek_desk_pool(p->desk, 6), 1);
    ek_desk_load(p->desk, p->now, 0, &(struct ek_load){.up = true, .slots = 1});
    ek_desk_load(p->desk, p->now, 1, &(struct ek_load){.up = true, .slots = 500});
    ek_desk_load(p->desk, p->now, 2, &(struct ek_load){.up = true, .slots = 500});
    return p;
}

static void play_free(struct play *p)
{
    ek_desk_check(p->desk);
    ek_desk_free(&p->desk);
    free(p);
}

static void pull(struct play *p)
{
    struct ek_action a;
    while (ek_desk_next(p->desk, p->now, &a) != EK_DESK_IDLE) {
        if (a.act == EK_DESK_REFUSE) p->refused++;
        if (a.act == EK_DESK_REFUSE) p->refusal = a;
        if (a.act == EK_DESK_TELL) p->told = a;
        if (a.act == EK_DESK_RECALL) {
            p->recalls++;
            p->where[a.id] = 99;
            ek_desk_back(p->desk, p->now, a.ticket, EK_WHY_RETRYING);
            ek_desk_only(p->desk, a.ticket, 1);
        }
        if (a.act != EK_DESK_START) continue;
        p->where[a.id] = a.upstream;
        p->why[a.id] = a.overflow;
        p->starts[a.upstream]++;
    }
    ek_desk_check(p->desk);
}

static bool come_as(struct play *p, uint64_t id, uint32_t tier, bool may, uint32_t pool)
{
    struct ek_arrival a = {.id = id, .account = id + 1, .tier = tier, .pool = pool, .prompt_tokens = 1000,
                           .price = {0, 100000, 1 * MILLION}, .may_borrow = may,
                           .deadline_ns = UINT64_MAX, .model = 1};
    p->where[id] = 99;
    bool in = ek_desk_arrive(p->desk, p->now, &a, &p->ticket[id], &p->refusal);
    pull(p);
    return in;
}

static void come(struct play *p, uint64_t id)
{
    assert_true(come_as(p, id, 0, true, 0));
}

static void pass(struct play *p, double s)
{
    for (; s > 0; s -= 0.25) {
        p->now.mono_ns += EK_S_NS / 4;
        p->now.unix_ns += EK_S_NS / 4;
        pull(p);
    }
}

static void end(struct play *p, uint64_t id, uint32_t tokens)
{
    struct ek_used u = {.prompt_tokens = 1000, .output_tokens = tokens};
    ek_desk_used(p->desk, p->now, p->ticket[id], &u);
    ek_desk_finished(p->desk, p->now, p->ticket[id], true);
    pull(p);
}

static void only_the_tail_of_a_long_line_goes(void **state)
{
    (void)state;
    struct play *p = play_new(100, 0);
    uint64_t id = 0, own = 0;
    for (int i = 0; i < 30; i++) { /* each takes 2 s: the pace is learned */
        come(p, id);
        assert_int_equal(p->where[id], 0);
        pass(p, 2);
        ek_desk_tokens(p->desk, p->now, p->ticket[id], 8);
        end(p, id++, 400);
    }
    uint64_t first = id;
    for (int i = 0; i < 20; i++) come(p, id++);
    for (uint64_t i = first; i < id; i++) own += p->where[i] == 0 || p->where[i] == 99;
    assert_in_range(own, 3, 9); /* two are at work, and as many wait as five seconds are good for */
    for (uint64_t i = first + own; i < id; i++) {
        assert_int_equal(p->where[i], 1); /* the cheaper of the two */
        assert_int_equal(p->why[i], EK_OVERFLOW_WAIT);
    }
    assert_true(come_as(p, id, 1, true, 0)); /* a tier that is not meant for it */
    assert_int_equal(p->where[id++], 99);
    assert_true(come_as(p, id, 0, false, 0)); /* a prompt that may not leave the house */
    assert_int_equal(p->where[id], 99);
    play_free(p);
}

static void none_of_ours_is_up(void **state)
{
    (void)state;
    struct play *p = play_new(100, 0);
    come(p, 0);
    assert_int_equal(p->where[0], 0);
    ek_desk_load(p->desk, p->now, 0, &(struct ek_load){.up = false});
    ek_desk_back(p->desk, p->now, p->ticket[0], EK_WHY_ENGINE_RESTARTED);
    pull(p);
    assert_int_equal(p->where[0], 1);
    assert_int_equal(p->why[0], EK_OVERFLOW_DOWN);
    come(p, 1);
    assert_int_equal(p->where[1], 1);
    assert_true(come_as(p, 2, 0, false, 0));
    pass(p, 40);
    assert_int_equal(p->refused, 1);                 /* who may not is told the truth ... */
    assert_false(come_as(p, 3, 0, false, 0));
    come(p, 4);                                       /* ... and who may is served for as long as it takes */
    assert_int_equal(p->where[4], 1);
    play_free(p);
}

static void lenders_alone_serve_it(void **state)
{
    (void)state;
    struct play *p = play_new(100, 0);
    assert_true(come_as(p, 0, 0, true, 1));
    assert_int_equal(p->where[0], 1);
    for (uint64_t id = 1; id < 600; id++) assert_true(come_as(p, id, 0, true, 1));
    assert_int_equal(p->starts[1], 500); /* the wall */
    assert_int_equal(p->starts[2], 100); /* then the dearer one */
    play_free(p);
}

/* Lenders alone serve it, and what they may cost is used up, or never was enough. */
static void without_money_the_truth_is_told(void **state)
{
    (void)state;
    struct play *p = play_new(0.003, 0); /* one request: 0.002 is reserved */
    deal(p, 2, "dear", 0.000001, 0);
    assert_true(come_as(p, 0, 0, true, 1));
    assert_int_equal(p->where[0], 1);
    assert_true(come_as(p, 1, 0, true, 1));
    assert_int_equal(p->where[1], 99);
    assert_int_equal(p->told.why, EK_WHY_BUDGET);
    assert_int_equal(p->told.eta_ms, -1); /* the first may end for less than is reserved */
    ek_desk_tokens(p->desk, p->now, p->ticket[0], 8);
    end(p, 0, 1900);
    pass(p, 12);
    assert_int_equal(p->where[1], 99);
    assert_int_equal(p->told.why, EK_WHY_BUDGET);
    assert_in_range(p->told.eta_ms, (46 * 60 + 20) * 1000, (46 * 60 + 40) * 1000);
    assert_true(come_as(p, 2, 0, true, 1));
    assert_int_equal(p->told.eta_ms, -1); /* the next hour does not hold both */
    p->now = at(2800.5); /* 23:00 */
    pull(p);
    pass(p, 1);
    assert_int_equal(p->where[1], 1);
    assert_int_equal(p->where[2], 99);
    assert_int_equal(p->refused, 0);
    deal(p, 1, "cloud", 0.001, 0); /* a reload: never so much */
    pass(p, 1);
    assert_int_equal(p->refused, 1);
    assert_int_equal(p->refusal.reason, EK_REASON_BORROW_SMALL);
    assert_int_equal(p->refusal.retry_after_ms, 0);
    assert_false(come_as(p, 3, 0, true, 1));
    assert_int_equal(p->refusal.reason, EK_REASON_BORROW_SMALL);
    play_free(p);
}

static void who_cannot_wait_for_money_is_told_when(void **state)
{
    (void)state;
    struct play *p = play_new(0, 0.003);
    deal(p, 2, "dear", 0.000001, 0);
    assert_true(come_as(p, 0, 0, true, 1));
    ek_desk_tokens(p->desk, p->now, p->ticket[0], 8);
    end(p, 0, 1900);
    assert_false(come_as(p, 1, 0, true, 1)); /* midnight is 106 minutes away */
    assert_int_equal(p->refusal.reason, EK_REASON_BORROW_SPENT);
    assert_in_range(p->refusal.retry_after_ms, 6400 * 1000, 6431 * 1000);
    p->now = at(3000);
    assert_true(come_as(p, 2, 0, true, 1)); /* within the hour one may wait */
    assert_int_equal(p->told.why, EK_WHY_BUDGET);
    pass(p, 3410);
    assert_int_equal(p->where[2], 1);
    play_free(p);
}

static void all_are_swamped_at_once(void **state)
{
    (void)state;
    struct play *p = play_new(100, 0);
    uint32_t sent = 0;
    ek_desk_load(p->desk, p->now, 0, &(struct ek_load){.up = false});
    for (uint64_t id = 0; id < 100; id++) come(p, id);
    for (int s = 0; s < 4 * 600; s++) { /* ten minutes, in which whoever is asked says 429 */
        for (uint64_t id = 0; id < 100; id++) {
            if (p->where[id] == 99) continue;
            p->where[id] = 99;
            sent++;
            ek_desk_lender_full(p->desk, p->now, p->ticket[id], 0);
            ek_desk_unlend(p->desk, p->now, p->ticket[id]);
        }
        pass(p, 0.25);
    }
    struct ek_desk_counts n = ek_desk_counts(p->desk);
    assert_int_equal(n.waiting + n.running, 100); /* nobody is lost or refused */
    assert_int_equal(p->refused, 0);
    printf("100 waiting, ten minutes of 429 from two lenders: %u requests sent\n", sent);
    assert_in_range(sent, 20, 240); /* 100 each at first, then one a minute */
    assert_true(ek_desk_lender(p->desk, p->now, 1).reserved_nano == 0 || n.running);
    ek_desk_load(p->desk, p->now, 0, &(struct ek_load){.up = true, .slots = 1});
    pull(p);
    assert_int_equal(p->where[0], 0); /* in the order in which they came */
    assert_int_equal(p->where[1], 0);
    play_free(p);
}

/* Five hundred at once, answers of any length, a budget that is good for a few hundred of them. */
static void a_budget_is_passed_by_one_request_at_most(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct play *p = play_new(0.10, 0);
        struct ek_random rng = ek_random_make(seed);
        static uint32_t goal[GUESTS], made[GUESTS];
        int64_t most = 0, spent = 0;
        deal(p, 2, "dear", 0.000001, 0); /* nothing to be had there */
        ek_desk_load(p->desk, p->now, 0, &(struct ek_load){.up = false});
        for (uint64_t id = 0; id < 500; id++) {
            come(p, id);
            double length = exp(5.5 + 1.2 * sqrt(-2 * log(ek_random_unit(&rng) + 1e-12)) *
                                          cos(6.2831853 * ek_random_unit(&rng)));
            goal[id] = length > 30000 ? 30000 : (uint32_t)length + 1;
            made[id] = 0;
        }
        for (int round = 0; round < 2000; round++) {
            bool any = false;
            for (uint64_t id = 0; id < 500; id++) {
                if (p->where[id] != 1 || made[id] >= goal[id]) continue;
                any = true;
                uint32_t n = goal[id] - made[id] < 32 ? goal[id] - made[id] : 32;
                ek_desk_tokens(p->desk, p->now, p->ticket[id], n);
                made[id] += n;
                pull(p);
                if (p->where[id] != 1 || made[id] < goal[id]) continue;
                int64_t cost = 1000 * 100 + (int64_t)made[id] * 1000; /* at night */
                if (cost > most) most = cost;
                end(p, id, made[id]);
                p->where[id] = 50;
            }
            pass(p, 0.25);
            if (!any) break;
        }
        struct ek_lender l = ek_desk_lender(p->desk, p->now, 1);
        spent = l.spent_nano;
        assert_true(spent > 95000000);
        assert_true(l.kept.spent_nano[EK_PURSE_HOUR] <= 100000000 + most);
        if (seed <= 3)
            printf("seed %llu: spent %.4f of 0.1000, %llu overdrawn, %llu taken back, %u sent\n",
                   (unsigned long long)seed, (double)spent * 1e-9, (unsigned long long)l.overdrafts,
                   (unsigned long long)l.recalled, p->starts[1]);
        play_free(p);
    }
}

static void what_was_spent_is_known_after_a_restart(void **state)
{
    (void)state;
    struct play *p = play_new(1, 2);
    struct ek_purse_kept kept = ek_desk_lender(p->desk, p->now, 1).kept;
    kept.spent_nano[EK_PURSE_HOUR] = kept.spent_nano[EK_PURSE_DAY] = UNIT;
    ek_desk_lender_restore(p->desk, p->now, 1, &kept);
    ek_desk_load(p->desk, p->now, 0, &(struct ek_load){.up = false});
    come(p, 0);
    assert_int_equal(p->where[0], 2); /* the dearer one still has money */
    p->now = at(3600);
    come(p, 1);
    assert_int_equal(p->where[1], 1);
    play_free(p);
}

static void a_full_line_lends(void **state)
{
    (void)state;
    struct play *p = play_new(100, 0);
    for (uint64_t id = 0; id < 1002; id++) assert_true(come_as(p, id, 0, false, 0)); /* at home only */
    assert_false(come_as(p, 1002, 0, false, 0));
    come(p, 1003);
    assert_int_equal(p->where[1003], 1);
    assert_int_equal(p->why[1003], EK_OVERFLOW_FULL);
    play_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(money_is_reserved_settled_and_never_passed),
        cmocka_unit_test(what_runs_into_the_next_hour_is_counted_there),
        cmocka_unit_test(a_purse_says_when_it_can_pay),
        cmocka_unit_test(one_alone_may_be_overdrawn),
        cmocka_unit_test(what_other_processes_have_is_not_ours),
        cmocka_unit_test(its_price_is_that_of_the_hour),
        cmocka_unit_test(who_is_full_rests_and_is_tried_by_one),
        cmocka_unit_test(a_decision_for_each_sight),
        cmocka_unit_test(only_the_tail_of_a_long_line_goes),
        cmocka_unit_test(none_of_ours_is_up),
        cmocka_unit_test(lenders_alone_serve_it),
        cmocka_unit_test(without_money_the_truth_is_told),
        cmocka_unit_test(who_cannot_wait_for_money_is_told_when),
        cmocka_unit_test(all_are_swamped_at_once),
        cmocka_unit_test(a_budget_is_passed_by_one_request_at_most),
        cmocka_unit_test(what_was_spent_is_known_after_a_restart),
        cmocka_unit_test(a_full_line_lends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
