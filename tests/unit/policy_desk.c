/* SPDX-License-Identifier: MIT */
/* The desk under seeded random crowds, with a second bookkeeping beside it that knows the promises:
 * each arrival ends in exactly one way, no upstream gets more than its slots + 1, first come first
 * served inside an account, words at the right times, the same seed gives the same actions. */
#include "cm.h"

#include "base/random.h"
#include "policy/accounts.h"
#include "policy/desk.h"

#include <stdio.h>
#include <stdlib.h>

#define GUESTS 6000
#define UPSTREAMS 3

enum guest_state { UNBORN, WAITS, RUNS, STOPS, ENDED };

struct guest {
    enum guest_state state;
    uint32_t ticket;
    uint32_t tier;
    uint32_t pool;
    uint32_t upstream;
    uint64_t account;
    uint64_t seq;
    uint64_t arrived_ns;
    uint64_t told_ns; /* 0: not yet */
    uint64_t deadline_ns;
    bool returned;
};

struct crowd {
    struct ek_policy *desk;
    struct ek_random random;
    struct ek_now now;
    struct guest guest[GUESTS];
    uint32_t guests;
    uint32_t slots[UPSTREAMS];
    bool up[UPSTREAMS];
    uint32_t inflight[UPSTREAMS];
    uint64_t digest; /* of all actions */
    uint64_t tells, starts, refusals, ends;
};

static const struct ek_tier_options two_tiers[] = {
    {.name = "free", .weight = 1, .waiting_max = 30},
    {.name = "paid", .weight = 10, .account_running_max = 6, .account_waiting_max = 25},
};

static struct ek_desk_options usual(uint64_t seed)
{
    return (struct ek_desk_options){.queue.waiting_max = 50, .tiers = {two_tiers, 2}, .running_max = 100,
                                    .tell_min_ns = EK_S_NS, .tell_max_ns = 10 * EK_S_NS,
                                    .tell_change = 0.1, .down_grace_ns = 60 * EK_S_NS, .seed = seed};
}

static void digest(struct crowd *c, const struct ek_action *a)
{
    const uint64_t parts[] = {a->act, a->id, a->position, (uint64_t)a->eta_ms, a->retry_after_ms,
                              a->upstream, (uint64_t)a->why, (uint64_t)a->reason, c->now.mono_ns};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        c->digest = (c->digest ^ parts[i]) * 1099511628211ull;
}

static void on_start(struct crowd *c, const struct ek_action *a)
{
    struct guest *g = &c->guest[a->id];
    assert_int_equal(g->state, WAITS);
    assert_true(a->upstream < UPSTREAMS && c->up[a->upstream]);
    assert_true(c->inflight[a->upstream] < c->slots[a->upstream] + 1);
    /* Of one account, one tier and one pool: first come, first served. */
    for (uint32_t i = 0; i < c->guests; i++) {
        const struct guest *o = &c->guest[i];
        assert_false(o->state == WAITS && o->tier == g->tier && o->pool == g->pool &&
                     o->account == g->account && !o->returned && o->seq < g->seq);
    }
    g->state = RUNS;
    g->upstream = a->upstream;
    c->inflight[a->upstream]++;
    c->starts++;
}

static void on_tell(struct crowd *c, const struct ek_action *a)
{
    struct guest *g = &c->guest[a->id];
    assert_int_equal(g->state, WAITS);
    assert_true(a->position >= 1);
    assert_true(a->eta_ms >= -1 && a->eta_p90_ms >= a->eta_ms);
    assert_true((a->why == EK_WHY_MEASURING) <= (a->eta_ms == -1));
    if (g->told_ns) assert_true(c->now.mono_ns - g->told_ns >= EK_S_NS);
    g->told_ns = c->now.mono_ns;
    c->tells++;
}

static void pull(struct crowd *c)
{
    struct ek_action a;
    while (ek_desk_next(c->desk, c->now, &a) != EK_DESK_IDLE) {
        digest(c, &a);
        struct guest *g = &c->guest[a.id];
        assert_int_equal(g->ticket, a.ticket);
        if (a.act == EK_DESK_START) on_start(c, &a);
        if (a.act == EK_DESK_TELL) on_tell(c, &a);
        if (a.act == EK_DESK_REFUSE) {
            assert_int_equal(g->state, WAITS);
            assert_true(a.retry_after_ms >= 1000 && a.retry_after_ms <= 60000);
            g->state = ENDED;
            c->refusals++;
        }
        if (a.act == EK_DESK_CANCEL) {
            assert_int_equal(g->state, RUNS);
            g->state = STOPS;
        }
        if (ek_random_below(&c->random, 8) == 0 && g->state == WAITS) { /* it leaves while being told */
            ek_desk_gone(c->desk, c->now, a.ticket);
            g->state = ENDED;
        }
    }
    ek_desk_check(c->desk);
    for (uint32_t i = 0; i < c->guests; i++) {
        const struct guest *g = &c->guest[i];
        if (g->state != WAITS) continue;
        assert_true(g->told_ns != 0); /* the first word comes at once */
        assert_true(c->now.mono_ns - g->told_ns <= 10 * EK_S_NS);
    }
}

static void arrive(struct crowd *c)
{
    if (c->guests == GUESTS) return;
    struct guest *g = &c->guest[c->guests];
    uint32_t tier = (uint32_t)ek_random_below(&c->random, 2);
    struct ek_arrival a = {.id = c->guests, .account = 1 + ek_random_below(&c->random, 5), .tier = tier,
                           .pool = (uint32_t)ek_random_below(&c->random, 2), .deadline_ns = UINT64_MAX};
    if (ek_random_below(&c->random, 4) == 0) a.deadline_ns = c->now.mono_ns + 30 * EK_S_NS;
    struct ek_action refusal;
    *g = (struct guest){.state = WAITS, .account = a.account, .tier = tier, .pool = a.pool, .seq = c->guests,
                        .arrived_ns = c->now.mono_ns, .deadline_ns = a.deadline_ns};
    c->guests++;
    if (ek_desk_arrive(c->desk, c->now, &a, &g->ticket, &refusal)) {
        assert_true(g->ticket != 0);
    } else {
        digest(c, &refusal);
        assert_int_equal(refusal.act, EK_DESK_REFUSE);
        assert_true(refusal.retry_after_ms >= 1000 && refusal.retry_after_ms <= 60000);
        g->state = ENDED;
        c->refusals++;
    }
}

/* Something happens to a random guest. */
static void disturb(struct crowd *c)
{
    if (c->guests == 0) return;
    struct guest *g = &c->guest[ek_random_below(&c->random, c->guests)];
    /* Most leave by being served. */
    for (int i = 0; i < 200 && (g->state == ENDED || g->state == WAITS); i++)
        g = &c->guest[ek_random_below(&c->random, c->guests)];
    uint64_t what = ek_random_below(&c->random, 10);
    if (g->state == WAITS && what == 0) {
        ek_desk_gone(c->desk, c->now, g->ticket);
        g->state = ENDED;
    } else if (g->state == RUNS && what < 7) {
        ek_desk_started(c->desk, c->now, g->ticket);
        ek_desk_tokens(c->desk, c->now, g->ticket, 5);
        if (what == 0) ek_desk_gone(c->desk, c->now, g->ticket);
        else ek_desk_finished(c->desk, c->now, g->ticket, what != 1);
        g->state = ENDED;
        c->inflight[g->upstream]--;
        c->ends++;
    } else if (g->state == RUNS && what == 7) {
        ek_desk_back(c->desk, c->now, g->ticket, EK_WHY_RETRYING);
        g->state = WAITS;
        g->told_ns = 0;
        c->inflight[g->upstream]--;
    } else if (g->state == STOPS) {
        ek_desk_finished(c->desk, c->now, g->ticket, false);
        g->state = ENDED;
        c->inflight[g->upstream]--;
    }
}

static void shake_upstream(struct crowd *c)
{
    uint32_t u = (uint32_t)ek_random_below(&c->random, UPSTREAMS);
    c->up[u] = ek_random_below(&c->random, 4) != 0;
    c->slots[u] = 1 + (uint32_t)ek_random_below(&c->random, 6);
    struct ek_load l = {.up = c->up[u], .slots = c->slots[u]};
    ek_desk_load(c->desk, c->now, u, &l);
}

static uint64_t run_crowd(uint64_t seed, bool say)
{
    struct crowd *c = calloc(1, sizeof *c);
    struct ek_desk_options o = usual(seed);
    c->random = ek_random_make(seed);
    c->now = (struct ek_now){.mono_ns = 5 * EK_S_NS, .unix_ns = 1};
    c->desk = ek_desk_new(&o, c->now);
    assert_non_null(c->desk);
    assert_int_equal(ek_desk_pool(c->desk, 0x3), 0);
    assert_int_equal(ek_desk_pool(c->desk, 0x6), 1);
    assert_int_equal(ek_desk_pool(c->desk, 0x3), 0);
    for (int step = 0; step < 12000; step++) {
        uint64_t r = ek_random_below(&c->random, 100);
        if (r < 48) arrive(c);
        else if (r < 99) disturb(c);
        else shake_upstream(c);
        pull(c);
        uint64_t wake_ns = ek_desk_wake_ns(c->desk);
        c->now.mono_ns += ek_random_below(&c->random, EK_S_NS / 5);
        if (wake_ns < c->now.mono_ns) c->now.mono_ns = wake_ns; /* a shell wakes when it was asked to */
        pull(c);
    }
    ek_desk_drain(c->desk, c->now, c->now.mono_ns + EK_S_NS);
    for (int i = 0; i < 200000 && ek_desk_counts(c->desk).waiting + ek_desk_counts(c->desk).running; i++) {
        c->now.mono_ns += EK_S_NS / 10;
        pull(c);
        disturb(c);
    }
    struct ek_desk_counts n = ek_desk_counts(c->desk);
    assert_int_equal(n.waiting, 0);
    assert_int_equal(n.running, 0);
    assert_int_equal(n.arrived, c->guests);
    for (uint32_t i = 0; i < c->guests; i++) assert_int_equal(c->guest[i].state, ENDED);
    if (say)
        printf("seed %llu: %u guests, %llu starts, %llu words, %llu refusals\n", (unsigned long long)seed,
               c->guests, (unsigned long long)c->starts, (unsigned long long)c->tells,
               (unsigned long long)c->refusals);
    assert_true(c->starts > 100 && c->tells > 100 && c->refusals > 20);
    uint64_t d = c->digest;
    ek_desk_free(&c->desk);
    assert_null(c->desk);
    free(c);
    return d;
}

static void a_random_crowd_is_served_refused_or_gone_each_exactly_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) run_crowd(seed, true);
}

static void the_same_seed_gives_the_same_actions(void **state)
{
    (void)state;
    assert_true(run_crowd(77, false) == run_crowd(77, false));
    assert_true(run_crowd(77, false) != run_crowd(78, false));
}

/* ---- one thing at a time ------------------------------------------------------------------------ */

static struct ek_now at_ms(uint64_t ms) { return (struct ek_now){.mono_ns = ms * EK_MS_NS, .unix_ns = 0}; }

static struct ek_policy *one_slot_desk(void)
{
    struct ek_desk_options o = usual(1);
    struct ek_policy *p = ek_desk_new(&o, at_ms(1));
    assert_int_equal(ek_desk_pool(p, 1), 0);
    ek_desk_load(p, at_ms(1), 0, &(struct ek_load){.up = true, .slots = 0}); /* 0 + 1 at a time */
    return p;
}

static uint32_t come(struct ek_policy *p, uint64_t ms, uint64_t id, uint32_t tier)
{
    struct ek_arrival a = {.id = id, .account = id, .tier = tier, .deadline_ns = UINT64_MAX};
    struct ek_action refusal;
    uint32_t ticket;
    assert_true(ek_desk_arrive(p, at_ms(ms), &a, &ticket, &refusal));
    return ticket;
}

static struct ek_action expect(struct ek_policy *p, uint64_t ms, enum ek_desk_act act, uint64_t id)
{
    struct ek_action a;
    assert_int_equal(ek_desk_next(p, at_ms(ms), &a), act);
    if (act != EK_DESK_IDLE) assert_int_equal(a.id, id);
    return a;
}

static void it_says_measuring_before_it_knows_and_an_estimate_after(void **state)
{
    (void)state;
    struct ek_policy *p = one_slot_desk();
    uint32_t first = come(p, 1, 10, 0);
    expect(p, 1, EK_DESK_START, 10);
    expect(p, 1, EK_DESK_IDLE, 0);
    uint32_t second = come(p, 1, 11, 0);
    struct ek_action a = expect(p, 1, EK_DESK_TELL, 11);
    assert_int_equal(a.why, EK_WHY_MEASURING);
    assert_int_equal(a.eta_ms, -1);
    assert_int_equal(a.position, 1);
    come(p, 1, 12, 0);
    assert_int_equal(expect(p, 1, EK_DESK_TELL, 12).position, 2);
    expect(p, 1, EK_DESK_IDLE, 0);
    ek_desk_finished(p, at_ms(4001), first, true);
    expect(p, 4001, EK_DESK_START, 11);
    a = expect(p, 4001, EK_DESK_TELL, 12); /* position and estimate moved */
    assert_int_equal(a.position, 1);
    assert_int_equal(a.why, EK_WHY_BUSY);
    print_message("after one answer of 4 s: %d ms\n", (int)a.eta_ms);
    assert_true(a.eta_ms > 3700 && a.eta_ms < 4400); /* that of 11 has only just begun */
    assert_true(a.eta_p90_ms > a.eta_ms);
    expect(p, 4001, EK_DESK_IDLE, 0);
    ek_desk_gone(p, at_ms(4100), second);
    expect(p, 4100, EK_DESK_START, 12);
    ek_desk_check(p);
    ek_desk_free(&p);
}

static void the_heavier_tier_goes_first(void **state)
{
    (void)state;
    struct ek_policy *p = one_slot_desk();
    uint32_t first = come(p, 1, 1, 0);
    expect(p, 1, EK_DESK_START, 1);
    come(p, 2, 2, 0);
    expect(p, 2, EK_DESK_TELL, 2);
    come(p, 3, 3, 1);
    assert_int_equal(expect(p, 3, EK_DESK_TELL, 3).position, 1);
    ek_desk_finished(p, at_ms(4), first, true);
    expect(p, 4, EK_DESK_START, 3);
    ek_desk_check(p);
    ek_desk_free(&p);
}

static void a_request_that_lost_its_engine_goes_before_those_after_it(void **state)
{
    (void)state;
    struct ek_policy *p = one_slot_desk();
    uint32_t first = come(p, 1, 1, 0);
    expect(p, 1, EK_DESK_START, 1);
    come(p, 2, 2, 0);
    expect(p, 2, EK_DESK_TELL, 2);
    ek_desk_load(p, at_ms(3), 0, &(struct ek_load){.up = false});
    ek_desk_back(p, at_ms(3), first, EK_WHY_ENGINE_RESTARTED);
    struct ek_action a = expect(p, 3, EK_DESK_TELL, 1);
    assert_int_equal(a.position, 1);
    assert_int_equal(a.why, EK_WHY_ENGINE_RESTARTED);
    a = expect(p, 1100, EK_DESK_TELL, 2);
    assert_int_equal(a.position, 2);
    assert_int_equal(a.why, EK_WHY_ENGINE_DOWN);
    ek_desk_load(p, at_ms(1200), 0, &(struct ek_load){.up = true, .slots = 0});
    expect(p, 1200, EK_DESK_START, 1);
    ek_desk_check(p);
    ek_desk_free(&p);
}

/* Three answers to one prompt take three slots: one must be free, the others may be what comes next. */
static void choices_take_slots(void **state)
{
    (void)state;
    struct ek_policy *p = one_slot_desk();
    ek_desk_load(p, at_ms(1), 0, &(struct ek_load){.up = true, .slots = 3}); /* 3 + 1 at a time */
    struct ek_arrival a = {.id = 1, .account = 1, .deadline_ns = UINT64_MAX, .choices = 3};
    struct ek_action refusal;
    uint32_t three, two;
    assert_true(ek_desk_arrive(p, at_ms(1), &a, &three, &refusal));
    expect(p, 1, EK_DESK_START, 1);
    a.id = a.account = 2;
    a.choices = 2;
    assert_true(ek_desk_arrive(p, at_ms(1), &a, &two, &refusal));
    expect(p, 1, EK_DESK_START, 2);
    come(p, 2, 3, 0);
    expect(p, 2, EK_DESK_TELL, 3);
    ek_desk_finished(p, at_ms(3), two, true);
    expect(p, 3, EK_DESK_START, 3);
    ek_desk_check(p);
    ek_desk_finished(p, at_ms(4), three, true);
    for (uint64_t id = 4; id < 7; id++) {
        come(p, 4, id, 0);
        expect(p, 4, EK_DESK_START, id);
    }
    come(p, 5, 7, 0);
    expect(p, 5, EK_DESK_TELL, 7);
    ek_desk_check(p);
    ek_desk_free(&p);
}

static void those_sent_away_at_the_end_hear_the_place_they_had(void **state)
{
    (void)state;
    struct ek_policy *p = one_slot_desk();
    come(p, 1, 1, 0);
    expect(p, 1, EK_DESK_START, 1);
    for (uint64_t id = 2; id <= 4; id++) {
        come(p, id, id, 0);
        assert_int_equal(expect(p, id, EK_DESK_TELL, id).position, id - 1);
    }
    ek_desk_drain(p, at_ms(10), 500 * EK_MS_NS);
    for (uint64_t id = 2; id <= 4; id++) {
        struct ek_action a = expect(p, 500, EK_DESK_REFUSE, id);
        assert_int_equal(a.reason, EK_REASON_DRAINING);
        assert_int_equal(a.position, id - 1); /* not 1 for each, those before it being gone */
    }
    assert_int_equal(expect(p, 500, EK_DESK_CANCEL, 1).reason, EK_REASON_DRAINING);
    ek_desk_free(&p);
}

static void nobody_waits_long_for_an_engine_that_is_not_there(void **state)
{
    (void)state;
    struct ek_policy *p = one_slot_desk();
    ek_desk_load(p, at_ms(10), 0, &(struct ek_load){.up = false});
    come(p, 20, 1, 0);
    assert_int_equal(expect(p, 20, EK_DESK_TELL, 1).why, EK_WHY_ENGINE_DOWN);
    struct ek_action a = expect(p, 61000, EK_DESK_REFUSE, 1);
    assert_int_equal(a.reason, EK_REASON_NO_UPSTREAM);
    struct ek_arrival late = {.id = 2, .account = 2, .deadline_ns = UINT64_MAX};
    uint32_t ticket;
    assert_false(ek_desk_arrive(p, at_ms(61001), &late, &ticket, &a));
    assert_int_equal(a.reason, EK_REASON_NO_UPSTREAM);
    ek_desk_free(&p);
}

static void retry_after_is_personal_and_spreads_the_turned_away(void **state)
{
    (void)state;
    struct ek_desk_options o = usual(3);
    o.queue.waiting_max = 0;
    struct ek_policy *p = ek_desk_new(&o, at_ms(1));
    ek_desk_pool(p, 1);
    ek_desk_load(p, at_ms(1), 0, &(struct ek_load){.up = true, .slots = 0});
    uint32_t ticket = come(p, 1, 1, 0); /* a queue of 0 still lets in whom it can start */
    expect(p, 1, EK_DESK_START, 1);
    ek_desk_finished(p, at_ms(2001), ticket, true);
    come(p, 2001, 2, 0);
    expect(p, 2001, EK_DESK_START, 2);
    uint32_t least = UINT32_MAX, most = 0;
    for (uint64_t i = 0; i < 20; i++) {
        struct ek_arrival a = {.id = 10 + i, .account = i, .deadline_ns = UINT64_MAX};
        struct ek_action refusal;
        assert_false(ek_desk_arrive(p, at_ms(2002), &a, &ticket, &refusal));
        assert_int_equal(refusal.reason, EK_REASON_QUEUE_FULL);
        if (refusal.retry_after_ms < least) least = refusal.retry_after_ms;
        if (refusal.retry_after_ms > most) most = refusal.retry_after_ms;
    }
    assert_true(least < 4000);  /* the first of them could start in about 2 s */
    assert_true(most > 30000);  /* the last in about 40 s */
    ek_desk_free(&p);
}

static void a_crowd_of_the_light_leaves_room_for_the_heavy(void **state)
{
    (void)state;
    static const struct ek_tier_options tiers[] = {
        {.name = "free", .weight = 1}, {.name = "paid", .weight = 4}};
    struct ek_desk_options o = usual(4);
    o.queue.waiting_max = 50;
    o.tiers = (struct ek_tier_list){tiers, 2};
    struct ek_policy *p = ek_desk_new(&o, at_ms(1));
    ek_desk_pool(p, 1);
    ek_desk_load(p, at_ms(1), 0, &(struct ek_load){.up = true, .slots = 0});
    uint32_t in[2] = {0, 0}, ticket;
    for (uint64_t i = 0; i < 200; i++) { /* first a flood of the free, then one of the paid */
        struct ek_arrival a = {.id = 1 + i, .account = i, .tier = i >= 100, .deadline_ns = UINT64_MAX};
        struct ek_action refusal;
        bool let_in = ek_desk_arrive(p, at_ms(2), &a, &ticket, &refusal);
        in[a.tier] += let_in;
        if (let_in) continue;
        assert_int_equal(refusal.reason, a.tier ? EK_REASON_QUEUE_FULL : EK_REASON_TIER_QUEUE_FULL);
    }
    assert_int_equal(in[1], 50 * 4 / (2 * 5)); /* half of its share was kept */
    assert_int_equal(in[0] + in[1], 50);
    ek_desk_check(p);
    ek_desk_free(&p);
}

static void who_is_turned_away_hears_the_place_it_would_have_had(void **state)
{
    (void)state;
    struct ek_desk_options o = usual(4);
    o.queue.waiting_max = 8;
    struct ek_policy *p = ek_desk_new(&o, at_ms(1));
    ek_desk_pool(p, 1);
    ek_desk_load(p, at_ms(1), 0, &(struct ek_load){.up = true, .slots = 0});
    struct ek_arrival a = {.id = 1, .account = 7, .tier = 1, .deadline_ns = UINT64_MAX};
    struct ek_action action;
    uint32_t ticket;
    for (; a.id <= 9; a.id++) {
        assert_true(ek_desk_arrive(p, at_ms(1 + a.id), &a, &ticket, &action));
        while (ek_desk_next(p, at_ms(1 + a.id), &action) != EK_DESK_IDLE) assert_int_equal(action.id, a.id);
    }
    assert_false(ek_desk_arrive(p, at_ms(20), &a, &ticket, &action));
    assert_int_equal(action.position, 9); /* behind its own eight */
    a.account = 8;
    assert_false(ek_desk_arrive(p, at_ms(20), &a, &ticket, &action));
    assert_int_equal(action.position, 2); /* a new account takes turns with it */
    ek_desk_check(p);
    ek_desk_free(&p);
}

static void accounts_agree_with_a_plain_array(void **state)
{
    (void)state;
    struct ek_accounts a;
    uint32_t plain[64] = {0};
    uint32_t total = 0;
    struct ek_random r = ek_random_make(9);
    assert_true(ek_accounts_init(&a, 40));
    for (int i = 0; i < 50000; i++) {
        uint64_t k = ek_random_below(&r, 64);
        /* Keys that collide on purpose: the same low bits in groups of eight. */
        uint64_t key = (k % 8) | (k / 8) << 40;
        if (total < 40 && ek_random_below(&r, 2)) {
            ek_accounts_add(&a, key, +1, 0);
            plain[k]++;
            total++;
        } else if (plain[k]) {
            ek_accounts_add(&a, key, -1, 0);
            plain[k]--;
            total--;
        }
        uint64_t q = ek_random_below(&r, 64);
        assert_int_equal(ek_accounts_get(&a, (q % 8) | (q / 8) << 40).waiting, plain[q]);
    }
    ek_accounts_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_measuring_before_it_knows_and_an_estimate_after),
        cmocka_unit_test(the_heavier_tier_goes_first),
        cmocka_unit_test(a_request_that_lost_its_engine_goes_before_those_after_it),
        cmocka_unit_test(choices_take_slots),
        cmocka_unit_test(those_sent_away_at_the_end_hear_the_place_they_had),
        cmocka_unit_test(nobody_waits_long_for_an_engine_that_is_not_there),
        cmocka_unit_test(retry_after_is_personal_and_spreads_the_turned_away),
        cmocka_unit_test(a_crowd_of_the_light_leaves_room_for_the_heavy),
        cmocka_unit_test(who_is_turned_away_hears_the_place_it_would_have_had),
        cmocka_unit_test(accounts_agree_with_a_plain_array),
        cmocka_unit_test(a_random_crowd_is_served_refused_or_gone_each_exactly_once),
        cmocka_unit_test(the_same_seed_gives_the_same_actions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
